// SPDX-License-Identifier: GPL-2.0
//! How signals are dealt with, and how they were before.

use std::mem::MaybeUninit;
use std::ptr;

/// A handler that is told who has sent the signal.
pub type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// How a signal was dealt with.
pub struct Kept {
    signal: libc::c_int,
    action: libc::sigaction,
}

impl Kept {
    /// Whether it was ignored.
    pub fn is_ignored(&self) -> bool {
        self.action.sa_sigaction == libc::SIG_IGN
    }

    /// Deals with it as before.
    pub fn restore(self) {
        set(self.signal, &self.action);
    }
}

/// Catches a signal, unless it is ignored. The handler does what a signal handler may.
pub fn handle(signal: libc::c_int, handler: Handler) -> Option<Kept> {
    let mut action = plain(handler as *const () as usize);
    action.sa_flags = libc::SA_RESTART | libc::SA_SIGINFO;
    let kept = set(signal, &action);
    if kept.is_ignored() {
        kept.restore();
        return None;
    }
    Some(kept)
}

/// Has a signal do what it does where nobody has said otherwise.
pub fn set_default(signal: libc::c_int) -> Kept {
    set(signal, &plain(libc::SIG_DFL))
}

/// Ignores a signal. Allocates nothing.
pub fn ignore(signal: libc::c_int) {
    set(signal, &plain(libc::SIG_IGN));
}

fn plain(handler: libc::sighandler_t) -> libc::sigaction {
    // SAFETY: all-zero is a valid sigaction, with an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action
}

fn set(signal: libc::c_int, action: &libc::sigaction) -> Kept {
    let mut before = plain(libc::SIG_DFL);
    // SAFETY: both structures are valid, and the handlers are functions of the type that the flags say, or one of the two constants. It
    // fails for no signal that can be caught, and changes nothing then.
    unsafe { libc::sigaction(signal, action, &raw mut before) };
    Kept {
        signal,
        action: before,
    }
}

/// Signals wait while this lives.
pub struct Blocked {
    before: libc::sigset_t,
}

impl Blocked {
    /// In the calling thread.
    pub fn new(signals: &[libc::c_int]) -> Self {
        let mut set = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: the first call fills the set, the last one what was blocked; neither fails with these arguments.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for &signal in signals {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), before.as_mut_ptr());
            Self {
                before: before.assume_init(),
            }
        }
    }

    /// Which ones waited before.
    pub fn before(&self) -> libc::sigset_t {
        self.before
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        set_mask(&self.before);
    }
}

/// Has these signals wait, and no others, in the calling thread. Allocates nothing.
pub fn set_mask(mask: &libc::sigset_t) {
    // SAFETY: the set is valid; the call does not fail with these arguments.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    extern "C" fn nothing(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

    fn is_now(signal: libc::c_int) -> usize {
        let mut now = plain(libc::SIG_DFL);
        // SAFETY: the structure is valid; nothing is changed.
        unsafe { libc::sigaction(signal, ptr::null(), &raw mut now) };
        now.sa_sigaction
    }

    // One test, as signals are the process's.
    #[test]
    fn handle_keeps_what_is_ignored() {
        const SIGNAL: libc::c_int = libc::SIGURG;
        let before = set_default(SIGNAL);
        let kept = handle(SIGNAL, nothing).expect("it is not ignored");
        assert_eq!(is_now(SIGNAL), nothing as *const () as usize);
        kept.restore();
        assert_eq!(is_now(SIGNAL), libc::SIG_DFL);
        ignore(SIGNAL);
        assert!(handle(SIGNAL, nothing).is_none());
        assert_eq!(is_now(SIGNAL), libc::SIG_IGN);
        assert!(set_default(SIGNAL).is_ignored());
        before.restore();
    }
}
