// SPDX-License-Identifier: GPL-2.0
//! `oxtcp ss`: oxtcp's sockets, as `ss` shows those of the built-in TCP.

pub mod filter;
pub mod services;
pub mod summary;

use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;

use serde_json::json;

use crate::failure::Result;
use crate::host::Host;
use crate::netns;
use crate::output::{done, Color, Ink, Painter};
use crate::sockets::info::Info;
use crate::sockets::process::Owners;
use crate::sockets::{source, Memory, Socket, State, States, Timer, Wanted};
use filter::Filter;
use services::Services;

/// Show oxtcp's sockets, as `ss` shows those of the built-in TCP.
///
/// Without -a, -l or states in FILTER all are shown but listeners, half-open connections and TIME-WAITs. Recv-Q of a listener is the number of connections that wait for accept(), Send-Q the most that may.
///
/// FILTER is [state STATE | exclude STATE]... [EXPRESSION], with ss's words: sport, dport, src, dst, =, !=, <, >, <=, >=,
/// and, or, not, brackets; and pid, uid, process besides. STATE is established, syn-sent, syn-recv, fin-wait-1, fin-wait-2,
/// time-wait, close-wait, last-ack, listening, closing, or one of ss's words for several: all, connected, synchronized,
/// bucket, big.
#[derive(clap::Args)]
pub struct Arguments {
    /// Which sockets
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,

    /// Those in all states
    #[arg(long, short)]
    all: bool,

    /// Listeners
    #[arg(long, short, conflicts_with = "all")]
    listening: bool,

    /// TCP's: they all are, and nothing changes
    #[arg(long, short)]
    tcp: bool,

    /// Numbers instead of the names of ports
    #[arg(long, short)]
    numeric: bool,

    /// The processes that have them
    #[arg(long, short)]
    processes: bool,

    /// The timer that runs: which, how long, after how many retransmissions
    #[arg(long, short)]
    options: bool,

    /// User and inode
    #[arg(long, short)]
    extended: bool,

    /// What TCP knows: congestion control, round trip, windows, retransmissions, options in use; of a listener how full its queues are and were, what
    /// bounds them, and what was dropped and why
    #[arg(long, short)]
    info: bool,

    /// The memory that sockets hold
    #[arg(long, short)]
    memory: bool,

    /// How many there are in which state, and what each listener has, instead of a list
    #[arg(long, short)]
    summary: bool,

    /// Without the line of headings
    #[arg(long, short = 'H')]
    no_header: bool,

    /// IPv4
    #[arg(long, short = '4')]
    ipv4: bool,

    /// IPv6
    #[arg(long, short = '6')]
    ipv6: bool,

    /// JSON: an array of sockets, with all that is known without -i, -m and -p, and what these add
    #[arg(long)]
    json: bool,

    /// When to use colours
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    color: Color,

    #[command(flatten)]
    namespace: netns::Choice,
}

/// `oxtcp ss`.
pub fn ss(arguments: &Arguments) -> Result<()> {
    let host = Host::here();
    let services = Services::read(&host);
    let filter = Filter::parse(&arguments.filter, &services)?;
    arguments.namespace.enter()?;
    let both = arguments.ipv4 == arguments.ipv6;
    let states = arguments.states(&filter);
    let wanted = Wanted {
        v4: both || arguments.ipv4,
        v6: both || arguments.ipv6,
        details: arguments.info || arguments.memory || arguments.summary || arguments.json,
        states: States::of(&states),
    };
    let mut source = source(&host, wanted)?;
    let needs_owners = arguments.processes || arguments.summary || filter.needs_owners();
    let owners = if needs_owners {
        Owners::find(&host)
    } else {
        Owners::default()
    };
    if owners.denied && (arguments.processes || filter.needs_owners()) {
        say!("oxtcp: processes of other users cannot be looked into: run this as root to see all.");
    }
    if arguments.summary {
        return summary::summary(&host, &mut *source, &filter, &owners, arguments);
    }
    let listing = Listing {
        arguments,
        services: if arguments.numeric {
            Services::default()
        } else {
            services
        },
        owners,
        painter: Painter::new(arguments.color),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut outcome = Ok(());
    if arguments.json {
        let mut first = true;
        outcome = outcome.and(out.write_all(b"["));
        source.each(&mut |socket| {
            if outcome.is_ok()
                && states.contains(&socket.state)
                && filter.matches(&socket, &listing.owners)
            {
                let comma = if std::mem::take(&mut first) {
                    "\n"
                } else {
                    ",\n"
                };
                outcome = write!(out, "{comma}{}", listing.json(&socket));
            }
        })?;
        outcome = outcome.and_then(|()| out.write_all(b"\n]\n"));
    } else {
        let mut rows = Rows::new(&listing);
        source.each(&mut |socket| {
            if outcome.is_ok()
                && states.contains(&socket.state)
                && filter.matches(&socket, &listing.owners)
            {
                outcome = rows.add(&mut out, listing.row(&socket));
            }
        })?;
        outcome = outcome.and_then(|()| rows.end(&mut out));
    }
    done(outcome.and_then(|()| out.flush()))
}

impl Arguments {
    /// As `ss` has it.
    fn states(&self, filter: &Filter) -> Vec<State> {
        match &filter.states {
            Some(states) => states.clone(),
            None if self.all || self.summary => State::ALL.to_vec(),
            None if self.listening => vec![State::Listen],
            None => State::ALL
                .into_iter()
                .filter(|state| state.is_connected())
                .collect(),
        }
    }
}

/// What rows are made with.
struct Listing<'a> {
    arguments: &'a Arguments,
    services: Services,
    owners: Owners,
    painter: Painter,
}

/// A socket in words: the columns, and what comes below them.
struct Row {
    ink: Option<Ink>,
    cells: [String; 5],
    end: String,
    below: Option<String>,
}

impl Listing<'_> {
    fn row(&self, socket: &Socket) -> Row {
        let listening = socket.state == State::Listen;
        // Of a listener `/proc` does not say it.
        let send_queue = match socket.identity {
            None if listening => "-".into(),
            _ => socket.send_queue.to_string(),
        };
        let mut end = Vec::new();
        if self.arguments.processes {
            let owners: Vec<String> = self
                .owners
                .of(socket.inode)
                .iter()
                .map(|owner| format!("(\"{}\",pid={},fd={})", owner.name, owner.pid, owner.fd))
                .collect();
            if !owners.is_empty() {
                end.push(format!("users:({})", owners.join(",")));
            }
        }
        if self.arguments.options && socket.timer != Timer::Off {
            end.push(format!(
                "timer:({},{},{})",
                socket.timer.name(),
                time(socket.timer_ms),
                socket.retransmits
            ));
        }
        if self.arguments.extended {
            end.push(format!("uid:{} ino:{}", socket.uid, socket.inode));
        }
        Row {
            ink: match socket.state {
                State::SynRecv | State::CloseWait => Some(Ink::Yellow),
                State::TimeWait => Some(Ink::Dim),
                State::Listen => Some(Ink::Bold),
                _ if socket.retransmits > 0 => Some(Ink::Red),
                _ => None,
            },
            cells: [
                socket.state.label().into(),
                socket.recv_queue.to_string(),
                send_queue,
                self.end(socket.local),
                self.end(socket.remote),
            ],
            end: end.join(" "),
            below: Some(self.below(socket)).filter(|text| !text.is_empty()),
        }
    }

    /// What `-m` and `-i` say.
    fn below(&self, socket: &Socket) -> String {
        let mut parts = Vec::new();
        if let Some(memory) = socket.memory.as_ref().filter(|_| self.arguments.memory) {
            parts.push(skmem(memory));
        }
        if self.arguments.info {
            parts.push(match &socket.queues {
                _ if socket.state != State::Listen => details(socket),
                Some(queues) => queues.words(),
                None => String::new(),
            });
        }
        parts.retain(|part| !part.is_empty());
        parts.join(" ")
    }

    /// An address and a port, as `ss` writes them.
    fn end(&self, end: SocketAddr) -> String {
        let port = match (end.port(), self.services.name(end.port())) {
            (0, _) => "*".into(),
            (_, Some(name)) => name.to_string(),
            (port, None) => port.to_string(),
        };
        match end {
            SocketAddr::V4(end) => format!("{}:{port}", end.ip()),
            SocketAddr::V6(end) => format!("[{}]:{port}", end.ip()),
        }
    }

    fn json(&self, socket: &Socket) -> serde_json::Value {
        let mut value = json!({
            "state": socket.state.name(),
            "local": { "address": socket.local.ip(), "port": socket.local.port() },
            "remote": { "address": socket.remote.ip(), "port": socket.remote.port() },
            "recv_queue": socket.recv_queue,
            "send_queue": socket.send_queue,
            "timer": { "name": socket.timer.name(), "ms": socket.timer_ms },
            "retransmits": socket.retransmits,
            "uid": socket.uid,
            "inode": socket.inode,
            "rto_ms": socket.figures.map(|figures| figures.rto_ms),
            "cwnd": socket.figures.map(|figures| figures.cwnd),
            "ssthresh": socket.figures.and_then(|figures| figures.ssthresh),
        });
        if self.arguments.processes {
            value["processes"] = self
                .owners
                .of(socket.inode)
                .iter()
                .map(|owner| json!({ "name": owner.name, "pid": owner.pid, "fd": owner.fd }))
                .collect();
        }
        if self.arguments.memory {
            value["memory"] = socket
                .memory
                .as_ref()
                .map_or(serde_json::Value::Null, |memory| {
                    json!({
                        "rmem": memory.rmem,
                        "rcvbuf": memory.rcvbuf,
                        "wmem": memory.wmem,
                        "sndbuf": memory.sndbuf,
                        "forward": memory.forward,
                        "wmem_queued": memory.wmem_queued,
                        "options": memory.options,
                        "backlog": memory.backlog,
                        "drops": memory.drops,
                    })
                });
        }
        if self.arguments.info {
            value["info"] = socket
                .info
                .as_ref()
                .map_or(serde_json::Value::Null, |info| info_json(socket, info));
        }
        value
    }
}

fn info_json(socket: &Socket, info: &Info) -> serde_json::Value {
    if socket.state == State::Listen {
        let mut value = json!({ "waiting": info.unacked, "backlog": info.sacked });
        if let Some(queues) = &socket.queues {
            value["queues"] = queues.json();
        }
        return value;
    }
    json!({
        "congestion": socket.algorithm,
        "options": info.options(),
        "rto_us": info.rto_us,
        "rtt_us": info.rtt_us,
        "rttvar_us": info.rttvar_us,
        "min_rtt_us": info.min_rtt_us,
        "snd_mss": info.snd_mss,
        "rcv_mss": info.rcv_mss,
        "pmtu": info.pmtu,
        "cwnd": info.snd_cwnd,
        "snd_wnd": info.snd_wnd,
        "unacked": info.unacked,
        "lost": info.lost,
        "retrans": info.retrans,
        "total_retrans": info.total_retrans,
        "bytes_sent": info.bytes_sent,
        "bytes_retrans": info.bytes_retrans,
        "bytes_acked": info.bytes_acked,
        "bytes_received": info.bytes_received,
        "segs_out": info.segs_out,
        "segs_in": info.segs_in,
        "last_data_sent_ms": info.last_data_sent_ms,
        "last_data_recv_ms": info.last_data_recv_ms,
        "last_ack_recv_ms": info.last_ack_recv_ms,
        "notsent": info.not_sent,
        "delivered": info.delivered,
        "dsack_dups": info.dsack_dups,
        "reord_seen": info.reord_seen,
        "rcv_ooopack": info.rcv_ooopack,
        "pacing_rate": held(info.pacing_rate),
        "max_pacing_rate": held(info.max_pacing_rate),
        "delivery_rate": info.delivery_rate,
        "app_limited": info.app_limited,
        "busy_us": info.busy_us,
        "rwnd_limited_us": info.rwnd_limited_us,
        "sndbuf_limited_us": info.sndbuf_limited_us,
    })
}

/// A rate that something is held to, if it is.
fn held(rate: u64) -> Option<u64> {
    (rate != u64::MAX).then_some(rate)
}

/// What `-m` says, in `ss`'s words.
fn skmem(memory: &Memory) -> String {
    format!(
        "skmem:(r{},rb{},t{},tb{},f{},w{},o{},bl{},d{})",
        memory.rmem,
        memory.rcvbuf,
        memory.wmem,
        memory.sndbuf,
        memory.forward,
        memory.wmem_queued,
        memory.options,
        memory.backlog,
        memory.drops
    )
}

/// What `-i` says of a connection, in `ss`'s words: of TCP_INFO where it is told, else of the table.
fn details(socket: &Socket) -> String {
    let mut words = Vec::new();
    let Some(info) = &socket.info else {
        if let Some(figures) = socket.figures {
            words.push(format!("rto:{} cwnd:{}", figures.rto_ms, figures.cwnd));
            words.extend(
                figures
                    .ssthresh
                    .map(|ssthresh| format!("ssthresh:{ssthresh}")),
            );
        }
        return words.join(" ");
    };
    words.extend(socket.algorithm.clone());
    let options = info.options();
    if !options.is_empty() {
        words.push(options);
    }
    words.push(format!(
        "rto:{} rtt:{}/{} mss:{} pmtu:{} rcvmss:{} cwnd:{}",
        millis(info.rto_us),
        millis(info.rtt_us),
        millis(info.rttvar_us),
        info.snd_mss,
        info.pmtu,
        info.rcv_mss,
        info.snd_cwnd
    ));
    // As long as there is none it is the largest number.
    if info.snd_ssthresh < 0x7fff_ffff {
        words.push(format!("ssthresh:{}", info.snd_ssthresh));
    }
    for (name, value) in [
        ("bytes_sent", info.bytes_sent),
        ("bytes_retrans", info.bytes_retrans),
        ("bytes_acked", info.bytes_acked),
        ("bytes_received", info.bytes_received),
        ("segs_out", info.segs_out.into()),
        ("segs_in", info.segs_in.into()),
        ("lastsnd", info.last_data_sent_ms.into()),
        ("lastrcv", info.last_data_recv_ms.into()),
        ("lastack", info.last_ack_recv_ms.into()),
        ("unacked", info.unacked.into()),
        ("notsent", info.not_sent.into()),
        ("lost", info.lost.into()),
        ("delivered", info.delivered.into()),
        ("dsack_dups", info.dsack_dups.into()),
        ("reord_seen", info.reord_seen.into()),
        ("rcv_ooopack", info.rcv_ooopack.into()),
        ("snd_wnd", info.snd_wnd.into()),
    ] {
        if value != 0 {
            words.push(format!("{name}:{value}"));
        }
    }
    if info.total_retrans != 0 {
        words.push(format!("retrans:{}/{}", info.retrans, info.total_retrans));
    }
    for (name, rate) in [
        ("pacing_rate", info.pacing_rate),
        ("max_pacing_rate", info.max_pacing_rate),
        ("delivery_rate", info.delivery_rate),
    ] {
        if let Some(rate) = held(rate).filter(|rate| *rate != 0) {
            words.push(format!("{name} {}", bits(rate)));
        }
    }
    if info.app_limited {
        words.push("app_limited".into());
    }
    for (name, part) in [
        ("rwnd_limited", info.rwnd_limited_us),
        ("sndbuf_limited", info.sndbuf_limited_us),
    ] {
        if part != 0 && info.busy_us != 0 {
            words.push(format!(
                "{name}:{}ms({}%)",
                part / 1000,
                part.saturating_mul(100) / info.busy_us
            ));
        }
    }
    if info.min_rtt_us != 0 && info.min_rtt_us != u32::MAX {
        words.push(format!("minrtt:{}", millis(info.min_rtt_us)));
    }
    words.join(" ")
}

/// A rate in bytes per second, as `ss` writes it: `12.5Mbps`.
fn bits(rate: u64) -> String {
    let bits = rate as f64 * 8.0;
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match units.iter().find(|(unit, _)| bits >= *unit) {
        Some((unit, name)) => format!("{:.1}{name}bps", bits / unit),
        None => format!("{bits:.0}bps"),
    }
}

/// Microseconds in milliseconds, with what is behind the point where there is any.
fn millis(micros: u32) -> String {
    let text = format!("{}.{:03}", micros / 1000, micros % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// A time as `ss` writes it in `timer:`: `200ms`, `5.2sec`, `1min59sec`.
fn time(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms}ms"),
        1000..10_000 => format!("{}.{}sec", ms / 1000, ms % 1000 / 100),
        10_000..60_000 => format!("{}sec", ms / 1000),
        _ => {
            let (minutes, seconds) = (ms / 60_000, ms / 1000 % 60);
            if seconds == 0 {
                format!("{minutes}min")
            } else {
                format!("{minutes}min{seconds}sec")
            }
        }
    }
}

const HEADINGS: [&str; 5] = [
    "State",
    "Recv-Q",
    "Send-Q",
    "Local Address:Port",
    "Peer Address:Port",
];
/// The widths of the columns follow from so many sockets; the rest, of what may be very many, is not kept.
const LOOKED_AT: usize = 1000;

/// Prints rows in columns.
struct Rows<'a> {
    listing: &'a Listing<'a>,
    kept: Vec<Row>,
    widths: Option<[usize; 5]>,
}

impl<'a> Rows<'a> {
    fn new(listing: &'a Listing<'a>) -> Self {
        Self {
            listing,
            kept: Vec::new(),
            widths: None,
        }
    }

    fn add(&mut self, out: &mut impl Write, row: Row) -> io::Result<()> {
        match self.widths {
            Some(widths) => self.write(out, &row, widths),
            None => {
                self.kept.push(row);
                if self.kept.len() == LOOKED_AT {
                    self.start(out)
                } else {
                    Ok(())
                }
            }
        }
    }

    fn end(&mut self, out: &mut impl Write) -> io::Result<()> {
        if self.widths.is_none() {
            self.start(out)
        } else {
            Ok(())
        }
    }

    fn start(&mut self, out: &mut impl Write) -> io::Result<()> {
        let mut widths = HEADINGS.map(str::len);
        for row in &self.kept {
            for (width, cell) in widths.iter_mut().zip(&row.cells) {
                *width = (*width).max(cell.len());
            }
        }
        self.widths = Some(widths);
        if !self.listing.arguments.no_header {
            let end = if self.listing.arguments.processes {
                "Process"
            } else {
                ""
            };
            let line = columns(&HEADINGS.map(String::from), end, widths);
            writeln!(out, "{}", self.listing.painter.paint(Ink::Bold, &line))?;
        }
        for row in std::mem::take(&mut self.kept) {
            self.write(out, &row, widths)?;
        }
        Ok(())
    }

    fn write(&self, out: &mut impl Write, row: &Row, widths: [usize; 5]) -> io::Result<()> {
        let line = columns(&row.cells, &row.end, widths);
        match row.ink {
            Some(ink) => writeln!(out, "{}", self.listing.painter.paint(ink, &line))?,
            None => writeln!(out, "{line}")?,
        }
        match &row.below {
            Some(below) => writeln!(out, "\t {below}"),
            None => Ok(()),
        }
    }
}

fn columns(cells: &[String; 5], end: &str, widths: [usize; 5]) -> String {
    let [state, recv, send, local, remote] = cells;
    let [a, b, c, d, e] = widths;
    let line = format!("{state:<a$} {recv:<b$} {send:<c$} {local:>d$} {remote:>e$} {end}");
    line.trim_end().to_string()
}

#[cfg(test)]
mod tests;
