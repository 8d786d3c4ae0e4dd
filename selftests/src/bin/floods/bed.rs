// SPDX-License-Identifier: GPL-2.0
//! What every flood has: two namespaces, a server, who sends the flood, and clients that connect meanwhile.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oxtcp_selftests::flood::{let_in, Flood, Kind, Sources};
use oxtcp_selftests::handshakes::Handshakes;
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::thread::{self, Worker};
use oxtcp_selftests::{errno, wait, Ip, Sock, Stack};

/// The accept queue's length that the listeners ask for, and so the SYN queue's.
pub const BACKLOG: i32 = 128;

/// Segments that the flood sends at once.
pub const BURST: usize = 64;

/// What a client waits for, at most.
const TIME: Duration = Duration::from_secs(10);

/// So many clients that have waited in vain are enough to know.
const REFUSED: usize = 3;

/// The two namespaces: the server's `a`, in which this thread is left, and the flood's and the clients' `b`. What the server answers to those that do
/// not exist goes to nobody.
pub fn link() -> Veth {
    let link = Veth::make();
    for ip in Ip::BOTH {
        let_in(ip);
    }
    let nobody = Veth::address_of_nobody(Ip::V4, 0).ip();
    ns::sh(&format!("ip route add default via {nobody} dev va"));
    for ip in Ip::BOTH {
        let elsewhere = match ip {
            Ip::V4 => "198.18.0.0/16",
            Ip::V6 => "2001:db8:100::/40",
        };
        let router = Veth::address_b(ip, 0).ip();
        ns::sh(&format!("ip route add {elsewhere} via {router} dev va"));
        // The other namespace has all of these addresses.
        link.b.run(|| {
            ns::sh(&format!("ip route add local {elsewhere} dev lo"));
            ns::set_sysctl(&format!("net/{}/ip_nonlocal_bind", ip.name()), "1");
        });
    }
    // Every client is new: the built-in TCP keeps a part of its SYN queue for those that it has measured a round trip of (tcp_peer_is_proven()).
    ns::set_sysctl("net/ipv4/tcp_no_metrics_save", "1");
    link
}

/// So many networks there are that clients come from.
const NETWORKS: usize = 100;

/// Where a client comes from: each of a hundred from another network (/24 of IPv4, /48 of IPv6).
fn client_address(ip: Ip, number: usize) -> SocketAddr {
    let network = (number % NETWORKS) as u16;
    match ip {
        Ip::V4 => (Ipv4Addr::new(198, 18, network as u8, 1), 0).into(),
        Ip::V6 => {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 0x100 + network, 0, 0, 0, 0, 1);
            (address, 0).into()
        }
    }
}

/// An address for a server. Each has a port of its own: what it leaves in TIME-WAIT is in nobody's way.
pub fn new_address(ip: Ip) -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(5001);
    Veth::address_a(ip, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Sets a setting of this TCP, if it has it.
pub fn set(stack: Stack, name: &str, value: &str) {
    if let Some(path) = ns::find_sysctl(stack, &format!("tcp_{name}")) {
        ns::set_sysctl(&path, value);
    }
}

/// How many clients connect.
pub fn clients() -> usize {
    std::env::var("OXTCP_FLOOD_CLIENTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(100)
}

/// Who sends a flood.
#[derive(Clone, Copy)]
pub enum Sender {
    /// These segments, with forged sources.
    Forged(Kind, Sources),
    /// hping3, which takes any source of IPv4.
    Hping,
    /// Whole handshakes.
    Handshakes(Sources),
}

impl Sender {
    /// Who fills the same queues at a pace that is given: hping3 has its own.
    pub fn at_a_pace(self) -> Sender {
        match self {
            Sender::Hping => Sender::Forged(Kind::Syn, Sources::Everywhere),
            other => other,
        }
    }
}

/// When the next burst is sent.
#[derive(Clone, Copy)]
pub enum Pace {
    /// So long after the one before. For [`Duration::ZERO`], as soon as nobody else would run.
    After(Duration),
    /// In the midst of each such part of the clock's time: in one run when it is in another.
    Each(Duration),
}

impl Pace {
    /// Leaves some of the processor to the others.
    fn wait(self) {
        match self {
            Pace::After(Duration::ZERO) => std::thread::yield_now(),
            Pace::After(pause) => std::thread::sleep(pause),
            Pace::Each(period) => sleep_until(period, period / 2),
        }
    }
}

/// Waits for the clock to be `past` a whole number of `period`s.
pub fn sleep_until(period: Duration, past: Duration) {
    // SAFETY: There is room for what is written.
    let now = unsafe {
        let mut now: libc::timespec = std::mem::zeroed();
        assert_eq!(libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now), 0);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    };
    let (now, period) = (now.as_nanos(), period.as_nanos());
    let left = period - (now + period - past.as_nanos()) % period;
    std::thread::sleep(Duration::from_nanos(left as u64));
}

/// What goes on in the other namespace till it is stopped: a burst, and then it waits. If it does wait, it comes before all others, as what a
/// network brings does.
pub struct Running {
    end: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    worker: Worker<()>,
}

impl Running {
    /// Begins; the queue is full when this returns, if that flood fills it.
    pub fn start(link: &Veth, sender: Sender, to: SocketAddr, pace: Pace) -> Running {
        let flood = link.b.run(|| match sender {
            Sender::Forged(kind, sources) => {
                let mut flood = Flood::new(kind, to, sources);
                Running::of(pace, move || flood.send(BURST))
            }
            Sender::Hping => {
                let mut hping = Hping::start(to);
                // It floods by itself.
                let look = Pace::After(Duration::from_millis(1));
                Running::of(look, move || hping.sent())
            }
            Sender::Handshakes(sources) => {
                let mut shakes = Handshakes::new(to, sources, "vb");
                Running::of(pace, move || shakes.knock(BURST))
            }
        });
        wait::until("the flood is under way", || {
            flood.sent() > 10 * BACKLOG as u64
        });
        flood
    }

    /// Runs `burst`, which tells how many segments it has sent, again and again, in this thread's namespace.
    pub fn of(pace: Pace, mut burst: impl FnMut() -> usize + Send + 'static) -> Running {
        let end = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let worker = {
            let (end, sent) = (Arc::clone(&end), Arc::clone(&sent));
            thread::spawn(move || {
                if !matches!(pace, Pace::After(Duration::ZERO)) {
                    go_first();
                }
                while !end.load(Ordering::Relaxed) {
                    sent.fetch_add(burst() as u64, Ordering::Relaxed);
                    pace.wait();
                }
            })
        };
        Running { end, sent, worker }
    }

    /// How many segments were sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub fn stop(self) {
        self.end.store(true, Ordering::Relaxed);
        self.worker.join();
    }
}

/// Has this thread go before all that have no such priority.
fn go_first() {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: `priority` is valid.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &priority) };
    errno::check(result).expect("sched_setscheduler(SCHED_FIFO)");
}

/// hping3, as it floods. It makes no pause: it takes what the others leave.
struct Hping {
    child: Child,
    seen: u64,
}

impl Hping {
    /// From this thread's namespace.
    fn start(to: SocketAddr) -> Hping {
        ns::need("hping3");
        let child = Command::new("nice")
            .args([
                "-n",
                "19",
                "hping3",
                "--syn",
                "--flood",
                "--rand-source",
                "--quiet",
                "--destport",
            ])
            .arg(to.port().to_string())
            .arg(to.ip().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Hping {
            child: child.expect("hping3"),
            seen: sent_by("vb"),
        }
    }

    /// How many packets were sent since the last call, those of the clients among them.
    fn sent(&mut self) -> usize {
        let ended = self.child.try_wait().expect("waitpid");
        assert!(ended.is_none(), "hping3 has ended: {ended:?}");
        let before = std::mem::replace(&mut self.seen, sent_by("vb"));
        (self.seen - before) as usize
    }
}

impl Drop for Hping {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many packets a device of this thread's namespace has sent.
fn sent_by(device: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").expect("/proc/net/dev");
    let line = text.lines().find_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        (name.trim() == device).then_some(numbers)
    });
    // Eight columns are of what it has received; then come bytes and packets.
    let column = line.and_then(|numbers| numbers.split_whitespace().nth(9));
    let number = column.and_then(|word| word.parse().ok());
    number.unwrap_or_else(|| panic!("no {device} in {text}"))
}

/// What became of clients.
pub struct Clients {
    pub tried: usize,
    pub connected: usize,
    /// Of those that connected.
    pub median: Duration,
    pub p99: Duration,
    /// Segments of the flood in each second meanwhile.
    pub rate: f64,
}

impl Clients {
    /// Of the times that those took who connected.
    pub fn of(tried: usize, mut times: Vec<Duration>, rate: f64) -> Clients {
        times.sort_unstable();
        // The time within which so many of a hundred were in.
        let part = |percent: usize| {
            let place = (times.len() * percent).div_ceil(100);
            times.get(place.checked_sub(1)?).copied()
        };
        Clients {
            tried,
            connected: times.len(),
            median: part(50).unwrap_or_default(),
            p99: part(99).unwrap_or_default(),
            rate,
        }
    }

    pub fn all_connected(&self) -> bool {
        self.connected == self.tried && self.tried > 0
    }
}

/// Lets `count` clients connect in turn, and say and hear something, while the flood goes on; `between` is called after each tenth. When three have
/// waited in vain there are no more.
pub fn in_turn(
    link: &Veth,
    address: SocketAddr,
    count: usize,
    flood: &Running,
    mut between: impl FnMut(),
) -> Clients {
    // Without what happens between them.
    let (mut sent, mut took) = (0, Duration::ZERO);
    let mut times = Vec::new();
    let mut tried = 0;
    while tried < count && tried - times.len() < REFUSED {
        let (start, seen) = (Instant::now(), flood.sent());
        wait::until("the flood goes on", || flood.sent() >= seen + BURST as u64);
        // At any moment of a burst, or between two.
        std::thread::sleep(Duration::from_micros((tried * 370 % 5000) as u64));
        let begun = Instant::now();
        if link.b.run(|| connects(&address, tried)) {
            times.push(begun.elapsed());
        }
        tried += 1;
        sent += flood.sent() - seen;
        took += start.elapsed();
        if tried % count.div_ceil(10) == 0 {
            between();
        }
    }
    Clients::of(tried, times, sent as f64 / took.as_secs_f64())
}

/// A client of the built-in TCP, as there are others, with a number that tells where it is. It speaks first: an ACK of a cookie that is lost is made good by what follows. It is in when it
/// has heard from the server, and then resets the connection: a TIME-WAIT of it is not the flood's.
pub fn connects(address: &SocketAddr, number: usize) -> bool {
    let ip = match address {
        SocketAddr::V4(_) => Ip::V4,
        SocketAddr::V6(_) => Ip::V6,
    };
    let client = Sock::open(Stack::builtin(ip));
    client.bind(&client_address(ip, number)).expect("bind");
    for option in [libc::SO_SNDTIMEO, libc::SO_RCVTIMEO] {
        client.set_timeout(option, TIME).expect("a timeout");
    }
    let is_in = client.connect(address).is_ok()
        && matches!(client.send(b"hi", libc::MSG_NOSIGNAL), Ok(2))
        && matches!(client.recv(&mut [0; 2], 0), Ok(2));
    client.set_linger(true, 0).expect("SO_LINGER");
    is_in
}
