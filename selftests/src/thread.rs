// SPDX-License-Identifier: GPL-2.0
//! Threads that block in a system call, and signals sent to them.

use std::fs;
use std::sync::mpsc;
use std::thread::JoinHandle;

use crate::wait;

/// A thread, known to the kernel by its id.
pub struct Worker<T> {
    pub tid: i32,
    handle: JoinHandle<T>,
}

/// Starts `work` in a thread of its own.
pub fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Worker<T> {
    let (sender, receiver) = mpsc::channel();
    let handle = std::thread::spawn(move || {
        // SAFETY: no arguments.
        sender
            .send(unsafe { libc::gettid() })
            .expect("the spawner waits");
        work()
    });
    Worker {
        tid: receiver.recv().expect("the thread starts"),
        handle,
    }
}

impl<T> Worker<T> {
    /// Waits until the thread sleeps in this system call.
    #[track_caller]
    pub fn wait_blocked_in(&self, syscall: libc::c_long) {
        wait::until(&format!("thread blocks in system call {syscall}"), || {
            self.is_blocked_in(syscall)
        });
    }

    /// Whether the thread sleeps in this system call.
    pub fn is_blocked_in(&self, syscall: libc::c_long) -> bool {
        let path = format!("/proc/self/task/{}/syscall", self.tid);
        let text = fs::read_to_string(&path).unwrap_or_default();
        text.split_whitespace().next() == Some(&syscall.to_string())
    }

    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Sends the thread a signal.
    #[track_caller]
    pub fn kill(&self, signal: i32) {
        assert!(self.try_kill(signal), "the thread has ended");
    }

    /// Sends the thread a signal, if it has not ended. Tells whether it was there.
    pub fn try_kill(&self, signal: i32) -> bool {
        // SAFETY: plain numbers.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), self.tid, signal) == 0 }
    }

    /// The thread's result. A panic in it has ended the test already.
    pub fn join(self) -> T {
        self.handle.join().expect("the thread")
    }
}

extern "C" fn do_nothing(_: libc::c_int) {}

/// Has `signal` interrupt system calls: with `flags` of SA_RESTART they go on, without they return EINTR.
pub fn catch(signal: i32, flags: i32) {
    // SAFETY: all bytes zero is a sigaction; the handler does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = do_nothing as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = flags;
        assert_eq!(
            libc::sigaction(signal, &action, std::ptr::null_mut()),
            0,
            "sigaction"
        );
    }
}
