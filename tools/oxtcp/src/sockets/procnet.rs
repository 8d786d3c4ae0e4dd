// SPDX-License-Identifier: GPL-2.0
//! Sockets out of `/proc/net/oxtcp` and `/proc/net/oxtcp6`, which have the layout of `/proc/net/tcp`
//! (`Documentation/networking/proc_net_tcp.rst`).

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Figures, Seen, Socket, Source, State, Timer};
use crate::failure::{Problem, Result};
use crate::host::Host;

/// The tables of `/proc`.
pub struct ProcNet<'h> {
    host: &'h Host,
    /// The names of the tables in `proc/net`.
    tables: Vec<&'static str>,
}

impl<'h> ProcNet<'h> {
    /// Of both IP versions, or of one.
    pub fn new(host: &'h Host, v4: bool, v6: bool) -> Self {
        let tables = [(v4, "oxtcp"), (v6, "oxtcp6")].into_iter();
        Self {
            host,
            tables: tables
                .filter_map(|(wanted, name)| wanted.then_some(name))
                .collect(),
        }
    }

    /// Of the built-in TCP, whose sockets have the same layout there.
    pub fn builtin(host: &'h Host) -> Self {
        Self {
            host,
            tables: vec!["tcp", "tcp6"],
        }
    }
}

impl Source for ProcNet<'_> {
    fn each(&mut self, visit: &mut dyn FnMut(Socket)) -> Result<()> {
        self.host.need_module()?;
        let mut seen = Seen::default();
        for name in &self.tables {
            let path = self.host.path("proc/net").join(name);
            let file = match File::open(&path) {
                Ok(file) => file,
                // No IPv6 in this kernel.
                Err(error) if error.kind() == io::ErrorKind::NotFound && name.ends_with('6') => {
                    continue
                }
                Err(error) => return Err(Problem::io("read", &path, &error)),
            };
            let mut lines = BufReader::with_capacity(1 << 16, file);
            let mut line = String::new();
            let mut heading = true;
            loop {
                line.clear();
                let read = lines
                    .read_line(&mut line)
                    .map_err(|error| Problem::io("read", &path, &error))?;
                if read == 0 {
                    break;
                }
                if heading {
                    heading = false;
                    continue;
                }
                let socket = parse(&line).ok_or_else(|| {
                    Problem::failed(format!(
                        "{} has a line that this command cannot read:\n  {}\nThe loaded module is of another version.",
                        path.display(),
                        line.trim_end()
                    ))
                })?;
                if seen.is_new(&socket) {
                    visit(socket);
                }
            }
        }
        Ok(())
    }
}

/// A tick of these files: `USER_HZ` is 100.
const TICK_MS: u64 = 10;

/// A line of a table; `None` for what is none.
pub fn parse(line: &str) -> Option<Socket> {
    let mut words = line.split_ascii_whitespace();
    words.next()?.strip_suffix(':')?;
    let local = address(words.next()?)?;
    let remote = address(words.next()?)?;
    let state = State::from_number(u8::from_str_radix(words.next()?, 16).ok()?)?;
    let (send_queue, recv_queue) = words.next()?.split_once(':')?;
    let (timer, ticks) = words.next()?.split_once(':')?;
    let timer = match timer {
        "00" => Timer::Off,
        "01" => Timer::On,
        "02" => Timer::Keepalive,
        "03" => Timer::TimeWait,
        "04" => Timer::Persist,
        _ => return None,
    };
    let hex = |text: &str| u32::from_str_radix(text, 16).ok();
    let timer_ms = u64::from(hex(ticks)?) * TICK_MS;
    let retransmits = hex(words.next()?)?;
    let uid = words.next()?.parse().ok()?;
    let _timeout = words.next()?;
    let inode = words.next()?.parse().ok()?;
    // References and the socket's address.
    let mut rest = words.skip(2);
    let figures = match rest.next() {
        None => None,
        Some(rto) => {
            let mut rest = rest.skip(2);
            let rto: u64 = rto.parse().ok()?;
            let cwnd = rest.next()?.parse().ok()?;
            let ssthresh: i64 = rest.next()?.parse().ok()?;
            Some(Figures {
                rto_ms: rto * TICK_MS,
                cwnd,
                ssthresh: u32::try_from(ssthresh).ok(),
            })
        }
    };
    Some(Socket {
        state,
        local,
        remote,
        recv_queue: hex(recv_queue)?,
        send_queue: hex(send_queue)?,
        timer,
        timer_ms,
        retransmits,
        uid,
        inode,
        figures,
        info: None,
        algorithm: None,
        queues: None,
        memory: None,
        identity: None,
    })
}

/// Words in host byte order, and a port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        Some(
            u32::from_str_radix(ip.get(at..at + 8)?, 16)
                .ok()?
                .to_ne_bytes(),
        )
    };
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (number, place) in bytes.chunks_exact_mut(4).enumerate() {
                place.copy_from_slice(&word(number * 8)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::fs;

    /// A system with the module loaded and these tables, recorded from a kernel.
    pub fn recorded() -> (tempfile::TempDir, Host) {
        let (folder, host) = crate::settings::store::tests::loaded();
        let net = host.path("proc/net");
        fs::create_dir_all(&net).unwrap();
        for name in ["oxtcp", "oxtcp6"] {
            let from = format!("{}/tests/recorded/{name}", env!("CARGO_MANIFEST_DIR"));
            fs::copy(&from, net.join(name)).expect(&from);
        }
        (folder, host)
    }

    #[test]
    fn lines_of_every_kind() {
        let listener = parse(
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000  1000        0 9731 1 0000000000000000 100 0 0 10 0                 \n",
        )
        .unwrap();
        assert_eq!(listener.state, State::Listen);
        assert_eq!(listener.local, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(
            (listener.recv_queue, listener.uid, listener.inode),
            (3, 1000, 9731)
        );
        let half_open =
            parse("   1: 0100007F:1F90 020000C0:D431 03 00000000:00000000 01:00000064 00000002     0        0 0 0 0000000000000000").unwrap();
        assert_eq!(half_open.remote, "192.0.0.2:54321".parse().unwrap());
        assert_eq!(
            (half_open.timer, half_open.timer_ms, half_open.retransmits),
            (Timer::On, 1000, 2)
        );
        assert_eq!(half_open.figures, None);
        let v6 = parse(
            "   7: 00000000000000000000000001000000:1F90 0000000000000000FFFF00000100007F:9C40 01 0000000A:00000000 04:00000005 00000000     0        0 77 2 0000000000000000 20 0 0 10 -1",
        )
        .unwrap();
        assert_eq!(v6.local, "[::1]:8080".parse().unwrap());
        assert_eq!(v6.remote, "[::ffff:127.0.0.1]:40000".parse().unwrap());
        assert_eq!(v6.send_queue, 10);
        assert_eq!(
            v6.figures,
            Some(Figures {
                rto_ms: 200,
                cwnd: 10,
                ssthresh: None
            })
        );
    }

    #[test]
    fn nonsense_is_no_socket() {
        for line in [
            "",
            "0:",
            "0: x y",
            "0: 0100007F:1F90 00000000:0000 FF 0:0 00:0 0 0 0 1 1 0",
            "0: 0100007F:1F90 00000000:0000 0A 0 00:0 0 0 0 1 1 0",
            "0: 0100007F:1F90 00000000:0000 0A 0:0 09:0 0 0 0 1 1 0",
            "0: 0100007F:1F901 00000000:0000 0A 0:0 00:0 0 0 0 1 1 0",
            "0: \u{e4}00007F:1F90 00000000:0000 0A 0:0 00:0 0 0 0 1 1 0",
            "0: 0100007F:1F90 00000000:0000 0A 0:0 00:0 0 0 0 1 1 0 20 0 0",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_recorded_table_is_read_whole() {
        let (_folder, host) = recorded();
        let count = |v4, v6| ProcNet::new(&host, v4, v6).all().unwrap().len();
        assert_eq!(
            (count(true, true), count(true, false), count(false, true)),
            (13, 11, 2)
        );
        let table = fs::read_to_string(host.path("proc/net/oxtcp")).unwrap();
        let twice = table.clone() + table.split_once('\n').unwrap().1;
        fs::write(host.path("proc/net/oxtcp"), twice).unwrap();
        assert_eq!(count(true, true), 13, "lines that come twice");
        fs::write(host.path("proc/net/oxtcp6"), "heading\nnonsense\n").unwrap();
        let problem = ProcNet::new(&host, true, true).all().unwrap_err();
        assert!(problem.message().contains("nonsense"), "{problem}");
        fs::remove_file(host.path("proc/net/oxtcp6")).unwrap();
        assert_eq!(count(true, true), 11);
    }
}
