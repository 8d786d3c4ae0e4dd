// SPDX-License-Identifier: GPL-2.0
//! Signals that end a command which watches, and let what it has made be taken away first.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::{words, Problem, Result};

static CAUGHT: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: libc::c_int) {
    CAUGHT.store(true, Ordering::Relaxed);
}

/// SIGINT, SIGTERM and SIGHUP are noted from now on; the last one stays ignored if it is (nohup). Calls that wait end when one comes.
pub fn catch() -> Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: all-zero is a valid sigaction: no flags, so that calls are interrupted, and an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = note as extern "C" fn(libc::c_int) as usize;
        let mut before = action;
        // SAFETY: the structures are valid, and the function does what a signal handler may: it stores to an atomic.
        let result = unsafe { libc::sigaction(signal, &raw const action, &raw mut before) };
        if signal == libc::SIGHUP && before.sa_sigaction == libc::SIG_IGN {
            // SAFETY: the structure is what the kernel has given.
            unsafe { libc::sigaction(signal, &raw const before, std::ptr::null_mut()) };
        }
        if result != 0 {
            let error = io::Error::last_os_error();
            return Err(Problem::failed(format!(
                "cannot catch signals: {}",
                words(&error)
            )));
        }
    }
    Ok(())
}

/// Whether one has come.
pub fn caught() -> bool {
    CAUGHT.load(Ordering::Relaxed)
}
