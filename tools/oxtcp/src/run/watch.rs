// SPDX-License-Identifier: GPL-2.0
//! The program as a child, in a cgroup whose sockets are moved while this process is there.

use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicI32, Ordering};

use super::cgroup;

/// The program, to which signals go on; 0 for none.
static PROGRAM: AtomicI32 = AtomicI32::new(0);

extern "C" fn pass_on(signal: libc::c_int) {
    let program = PROGRAM.load(Ordering::Relaxed);
    if program > 0 {
        // SAFETY: plain numbers.
        unsafe { libc::kill(program, signal) };
    }
}

/// The terminal sends these to the program as well, which is in the same process group.
extern "C" fn leave_to_the_program(_: libc::c_int) {}

/// Starts the program in the cgroup.
pub fn start(mut command: Command, door: File) -> io::Result<Child> {
    let enter = move || {
        cgroup::enter(&door)?;
        // Its new sockets would be the built-in TCP's, unnoticed, once this process is gone.
        // SAFETY: plain numbers.
        match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec it makes two system calls, and allocates nothing.
    unsafe { command.pre_exec(enter) };
    let child = command.spawn()?;
    PROGRAM.store(child.id() as i32, Ordering::Relaxed);
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2] {
        on(signal, pass_on as extern "C" fn(libc::c_int) as usize);
    }
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        on(
            signal,
            leave_to_the_program as extern "C" fn(libc::c_int) as usize,
        );
    }
    Ok(child)
}

/// Waits for its end; from then on signals end this process.
pub fn wait(mut child: Child) -> io::Result<ExitStatus> {
    // Its number is another process's once it is waited for: signals must not go on to that.
    // SAFETY: the structure is valid, and all-zero is a value of it.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let options = libc::WEXITED | libc::WNOWAIT;
        libc::waitid(libc::P_PID, child.id(), &raw mut info, options);
    }
    PROGRAM.store(0, Ordering::Relaxed);
    let status = child.wait();
    for signal in [
        libc::SIGTERM,
        libc::SIGHUP,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGINT,
        libc::SIGQUIT,
    ] {
        on(signal, libc::SIG_DFL);
    }
    status
}

/// What the shell says of it: the exit code, or 128 and the signal that has ended it.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code();
    let code = code.or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX)
}

fn on(signal: libc::c_int, handler: libc::sighandler_t) {
    // SAFETY: all-zero is a valid sigaction, with an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the structure is valid; the handlers above do what a signal handler may. It fails for no signal that is caught here.
    unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
}
