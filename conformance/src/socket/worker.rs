// SPDX-License-Identifier: GPL-2.0

//! A thread that makes the system calls of a script, so that one that blocks does not hold up the script.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc};
use std::thread::{self, JoinHandle};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::gettid;

use super::clock::{Clock, Nanos};
use crate::backend::Outcome;

/// A system call with its arguments.
pub(super) type Job = Box<dyn FnOnce() -> Outcome + Send>;

/// See above.
pub(super) struct Worker {
    /// `None` when no more will come.
    jobs: Option<mpsc::Sender<Job>>,
    done: mpsc::Receiver<(Nanos, Outcome)>,
    /// Rings when a call has ended.
    bell: Arc<EventFd>,
    /// Whether the thread is in a call.
    inside: Arc<AtomicBool>,
    /// The thread's file in /proc.
    stat: String,
    busy: bool,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread, in the namespaces of this one.
    pub(super) fn new() -> Result<Worker, String> {
        let bell = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)
            .map_err(|error| format!("eventfd: {error}"))?;
        let bell = Arc::new(bell);
        let inside = Arc::new(AtomicBool::new(false));
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ended, done) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let (ring, within) = (bell.clone(), inside.clone());
        let thread = thread::spawn(move || {
            let _ = tell.send(gettid());
            for job in queue {
                within.store(true, Ordering::SeqCst);
                let outcome = job();
                let at = Clock::nanos();
                within.store(false, Ordering::SeqCst);
                // When nobody waits for it any more, the script is over.
                let _ = ended.send((at, outcome));
                let _ = ring.write(1);
            }
        });
        let tid = told.recv().map_err(|error| error.to_string())?;
        Ok(Worker {
            jobs: Some(jobs),
            done,
            bell,
            inside,
            stat: format!("/proc/self/task/{tid}/stat"),
            busy: false,
            thread: Some(thread),
        })
    }

    /// Begins a call. There is none that has not ended.
    pub(super) fn begin(&mut self, job: Job) {
        assert!(!self.busy, "a call while another one blocks");
        if let Some(jobs) = &self.jobs {
            self.busy = jobs.send(job).is_ok();
        }
    }

    /// Whether a call has begun and its outcome was not taken.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// The outcome of the call and when it came, if it has ended.
    pub(super) fn take(&mut self) -> Option<(Nanos, Outcome)> {
        let _ = self.bell.read();
        let outcome = self.done.try_recv().ok()?;
        self.busy = false;
        Some(outcome)
    }

    /// Whether the call sleeps, waiting for something.
    pub(super) fn is_blocked(&self) -> bool {
        self.inside.load(Ordering::SeqCst)
            && std::fs::read_to_string(&self.stat).is_ok_and(|stat| sleeps(&stat))
    }
}

/// What becomes readable when a call ends.
impl AsFd for Worker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        // A thread that still blocks ends with the program.
        if let (false, Some(thread)) = (self.busy, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

/// Whether a line of `/proc/PID/stat` is that of a thread that sleeps until it is woken. One that waits for a lock
/// is `D`.
fn sleeps(stat: &str) -> bool {
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with('S'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps__reads_behind_the_name() {
        assert!(sleeps("12 (a) S) S 1 2 3"));
        assert!(!sleeps("12 (a) S) R 1 2 3"));
        assert!(!sleeps("12 (a) D 1 2 3"));
        assert!(!sleeps(""));
    }

    #[test]
    fn worker__a_call_that_blocks_is_seen() {
        let mut worker = Worker::new().unwrap();
        let (send, receive) = mpsc::channel::<()>();
        worker.begin(Box::new(move || {
            let _ = receive.recv();
            Outcome::ok(7)
        }));
        while !worker.is_blocked() {
            assert!(worker.take().is_none());
            thread::yield_now();
        }
        assert!(worker.is_busy());
        send.send(()).unwrap();
        let outcome = loop {
            if let Some((_, outcome)) = worker.take() {
                break outcome;
            }
            thread::yield_now();
        };
        assert_eq!(outcome, Outcome::ok(7));
        assert!(!worker.is_busy() && !worker.is_blocked());
    }
}
