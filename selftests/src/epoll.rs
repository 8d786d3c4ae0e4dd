// SPDX-License-Identifier: GPL-2.0
//! epoll(7).

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::errno::check;
use crate::{wait, Sock};

/// An epoll instance.
pub struct Epoll(OwnedFd);

impl Epoll {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Epoll {
        // SAFETY: a plain number.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).expect("epoll_create1");
        // SAFETY: just made, owned by nobody else.
        Epoll(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// epoll_ctl, with the data that its events are to have.
    pub fn control(&self, operation: i32, sock: &Sock, events: i32, data: u64) {
        let mut event = libc::epoll_event {
            events: events as u32,
            u64: data,
        };
        // SAFETY: `event` is ours.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, sock.fd(), &mut event) })
            .expect("epoll_ctl");
    }

    pub fn add(&self, sock: &Sock, events: i32, data: u64) {
        self.control(libc::EPOLL_CTL_ADD, sock, events, data);
    }

    /// The events there are: (data, events), after at most so many milliseconds.
    pub fn events(&self, milliseconds: i32) -> Vec<(u64, i32)> {
        let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; 64];
        // SAFETY: room for 64 events.
        let count = check(unsafe {
            libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 64, milliseconds)
        });
        events.truncate(count.expect("epoll_wait") as usize);
        events
            .into_iter()
            .map(|event| (event.u64, event.events as i32))
            .collect()
    }

    /// Waits for events.
    pub fn wait(&self) -> Vec<(u64, i32)> {
        let events = self.events(wait::limit().as_millis() as i32);
        assert!(!events.is_empty(), "epoll_wait timed out");
        events
    }
}
