// SPDX-License-Identifier: GPL-2.0
//! The server's program: it answers who says `hi`, holds who says nothing, and may leave its accept queue alone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;

use oxtcp_selftests::epoll::Epoll;
use oxtcp_selftests::thread::{self, Worker};
use oxtcp_selftests::Sock;

/// The listener's number among the sockets.
const LISTENER: u64 = 0;

/// How long the program does not look at its orders, at most, in milliseconds.
const NAP: i32 = 10;

#[derive(Default)]
struct Orders {
    end: AtomicBool,
    accepts: AtomicBool,
    held: AtomicUsize,
}

/// It runs in a thread of its own till it is stopped.
pub struct Program {
    orders: Arc<Orders>,
    worker: Worker<()>,
}

impl Program {
    /// Serves a listener. Of connections it holds `most` at once: the oldest gives way.
    pub fn start(listener: Sock, accepts: bool, most: usize) -> Program {
        let orders = Arc::new(Orders::default());
        orders.accepts.store(accepts, Ordering::Relaxed);
        let worker = {
            let orders = Arc::clone(&orders);
            thread::spawn(move || serve(&listener, &orders, most))
        };
        Program { orders, worker }
    }

    /// From now on it accepts.
    pub fn accept(&self) {
        self.orders.accepts.store(true, Ordering::Relaxed);
    }

    /// How many connections it holds.
    pub fn held(&self) -> usize {
        self.orders.held.load(Ordering::Relaxed)
    }

    /// Closes all. What it held is reset: nothing of it is left.
    pub fn stop(self) {
        self.orders.end.store(true, Ordering::Relaxed);
        self.worker.join();
    }
}

fn serve(listener: &Sock, orders: &Orders, most: usize) {
    listener.set_nonblocking(true);
    let epoll = Epoll::new();
    let mut listens = false;
    let mut held: BTreeMap<u64, Sock> = BTreeMap::new();
    let mut ages: VecDeque<u64> = VecDeque::new();
    let mut next = LISTENER + 1;
    while !orders.end.load(Ordering::Relaxed) {
        if !listens && orders.accepts.load(Ordering::Relaxed) {
            epoll.add(listener, libc::EPOLLIN, LISTENER);
            listens = true;
        }
        for (number, _) in epoll.events(NAP) {
            if number != LISTENER {
                if held.get(&number).is_some_and(is_done) {
                    held.remove(&number);
                }
                continue;
            }
            while let Ok((sock, _)) = listener.accept4(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) {
                epoll.add(&sock, libc::EPOLLIN, next);
                held.insert(next, sock);
                ages.push_back(next);
                next += 1;
                while held.len() > most {
                    let oldest = ages.pop_front().and_then(|number| held.remove(&number));
                    oldest.iter().for_each(reset);
                }
            }
        }
        orders.held.store(held.len(), Ordering::Relaxed);
    }
    held.values().for_each(reset);
}

/// Hears a connection; whether it is to be closed.
fn is_done(sock: &Sock) -> bool {
    let mut heard = [0; 16];
    match sock.recv(&mut heard, 0) {
        Ok(2) if heard.starts_with(b"hi") => {
            // The client has gone meanwhile, or hears it.
            let _ = sock.send(b"in", libc::MSG_NOSIGNAL);
            true
        }
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.raw_os_error() != Some(libc::EAGAIN),
    }
}

/// Has its close forget all that it has.
fn reset(sock: &Sock) {
    sock.set_linger(true, 0).expect("SO_LINGER");
}
