// SPDX-License-Identifier: GPL-2.0
//! Memory that is not there: one allocation in a hundred fails while a flood comes and clients are served. What is served is right, and nothing is left
//! behind, which the kernel's log tells (kmemleak). For kernels with CONFIG_FAILSLAB, as the debug kernel is.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use oxtcp_selftests::capture::{ACK, FIN, RST};
use oxtcp_selftests::connection::listening_at;
use oxtcp_selftests::flood::{let_in, Flood, Kind, Sources};
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::{cases, ktap, thread, wait, Sock, Stack, Suite};

/// Where the kernel's knobs are.
const KNOBS: &str = "/sys/kernel/debug";
const BYTES: usize = 96 << 10;
const CLIENTS: usize = 60;
/// More than there can be; the kernel counts down from it.
const TIMES: &str = "1000000000";

fn main() -> ExitCode {
    let mut suite = Suite::from_args("faults");
    cases!(suite.stacks: allocations__fail_under_a_flood);
    suite.run()
}

/// While it lives, one allocation in a hundred fails, of slabs and of pages, also of those that may wait.
struct Faults;

impl Faults {
    fn begin() -> Faults {
        if std::fs::metadata(format!("{KNOBS}/failslab")).is_err() {
            let _ = ns::try_sh(&format!("mount -t debugfs none {KNOBS}"));
        }
        for kind in ["failslab", "fail_page_alloc"] {
            if std::fs::metadata(format!("{KNOBS}/{kind}")).is_err() {
                ktap::skip(&format!("the kernel has no {kind}"));
            }
            for (knob, value) in [
                ("verbose", "0"),
                ("task-filter", "N"),
                ("ignore-gfp-wait", "N"),
                ("interval", "1"),
                ("times", TIMES),
            ] {
                set(kind, knob, value);
            }
        }
        set("fail_page_alloc", "min-order", "0");
        // A panic ends the process at once, and nothing is dropped: whoever comes next is to have memory.
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            for kind in ["failslab", "fail_page_alloc"] {
                let knob = format!("{KNOBS}/{kind}/probability");
                let _ = (0..1000).any(|_| std::fs::write(&knob, "0").is_ok());
            }
            before(info);
        }));
        for kind in ["failslab", "fail_page_alloc"] {
            set(kind, "probability", "1");
        }
        Faults
    }
}

impl Faults {
    /// No more of them: how many allocations have failed, of each kind.
    fn end(self) -> [u64; 2] {
        drop(self);
        let number = |text: &str| text.trim().parse::<u64>().expect("a number");
        ["failslab", "fail_page_alloc"].map(|kind| {
            let left = std::fs::read_to_string(format!("{KNOBS}/{kind}/times")).expect(kind);
            number(TIMES) - number(&left)
        })
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        for kind in ["failslab", "fail_page_alloc"] {
            set(kind, "probability", "0");
        }
    }
}

/// Sets a knob, also when that itself finds no memory.
fn set(kind: &str, knob: &str, value: &str) {
    wait::until("the knob is set", || {
        std::fs::write(format!("{KNOBS}/{kind}/{knob}"), value).is_ok()
    });
}

/// What a client sends, another one for each.
fn payload(seed: usize) -> Vec<u8> {
    (0..BYTES)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 11).wrapping_add(seed) as u8)
        .collect()
}

/// Sends and gets back; how many bytes came back right before something failed.
fn served(address: SocketAddr, seed: usize) -> usize {
    let Ok(mut client) = TcpStream::connect_timeout(&address, Duration::from_secs(5)) else {
        return 0;
    };
    let wanted = payload(seed);
    let times = Some(Duration::from_secs(20));
    if client.set_read_timeout(times).is_err() || client.set_write_timeout(times).is_err() {
        return 0;
    }
    let mut got = 0;
    let mut buffer = [0; 4096];
    for part in wanted.chunks(4096) {
        if client.write_all(part).is_err() {
            return got;
        }
        let end = got + part.len();
        while got < end {
            match client.read(&mut buffer[..end - got]) {
                Ok(0) | Err(_) => return got,
                Ok(len) => {
                    assert_eq!(
                        buffer[..len],
                        wanted[got..got + len],
                        "bytes that were not sent"
                    );
                    got += len;
                }
            }
        }
    }
    got
}

fn echo(sock: &Sock) {
    let mut buffer = [0; 4096];
    loop {
        let got = match sock.recv(&mut buffer, 0) {
            Ok(got) if got > 0 => got,
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => continue,
            _ => return,
        };
        let mut sent = 0;
        while sent < got {
            match sock.send(&buffer[sent..got], libc::MSG_NOSIGNAL) {
                Ok(more) => sent += more,
                Err(error)
                    if matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::ENOBUFS)) => {}
                Err(_) => return,
            }
        }
    }
}

fn allocations__fail_under_a_flood(stack: Stack) {
    let link = Veth::make();
    let_in(stack.ip);
    let address = Veth::address_a(stack.ip, 5001);
    let (listener, _) = listening_at(stack, &address, 64);
    listener.set_nonblocking(true);
    let end = Arc::new(AtomicBool::new(false));
    let accepting = {
        let end = Arc::clone(&end);
        thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((sock, _)) => {
                        let limit = Duration::from_secs(10);
                        if sock.set_timeout(libc::SO_RCVTIMEO, limit).is_ok() {
                            echo(&sock);
                        }
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        })
    };
    let came = Arc::new(AtomicU64::new(0));
    let flooding = {
        let (end, came) = (Arc::clone(&end), Arc::clone(&came));
        link.b.run(|| {
            let kinds = [
                Kind::Syn,
                Kind::Flags(ACK),
                Kind::Flags(RST),
                Kind::Flags(FIN | ACK),
            ];
            let mut floods = kinds.map(|kind| Flood::new(kind, address, Sources::Everywhere));
            thread::spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    for flood in &mut floods {
                        came.fetch_add(flood.send(32) as u64, Ordering::Relaxed);
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            })
        })
    };
    // To enter a namespace and to leave it takes memory of the test's own: that is not to fail.
    let whole = link.b.run(|| {
        let faults = Faults::begin();
        let all = (0..CLIENTS).map(|seed| served(address, seed));
        let whole = all.filter(|bytes| *bytes == BYTES).count();
        let done = faults.end();
        ktap::note(&format!(
            "{done:?} allocations failed, of small objects and of pages"
        ));
        assert!(done.iter().all(|count| *count > 0), "{done:?}");
        whole
    });
    ktap::note(&format!(
        "{}: {whole} of {CLIENTS} clients served whole, {} segments of floods",
        stack.name(),
        came.load(Ordering::Relaxed)
    ));
    // Now that there is memory again a client is served.
    assert_eq!(link.b.run(|| served(address, CLIENTS)), BYTES);
    end.store(true, Ordering::Relaxed);
    flooding.join();
    accepting.join();
    assert!(came.load(Ordering::Relaxed) > 0);
    assert!(whole > 0, "nobody was served");
}
