// SPDX-License-Identifier: GPL-2.0
//! The program as a child, in a cgroup of its own, while this process is there.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::pipe::{pipe_with, PipeFlags};

use super::cgroup;
use super::sample;
use super::signals::{self, Blocked, Kept};

/// The program, to which signals go on; 0 for none.
static PROGRAM: AtomicI32 = AtomicI32::new(0);

/// Those that are meant for the program.
pub const PASSED_ON: [libc::c_int; 6] = [
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGINT,
    libc::SIGQUIT,
];

/// What the terminal sends, all of its foreground's process group has, and so the program. What another process sends, this one has, and
/// perhaps the program as well: that cannot be told (`kill -- -PGID`, systemd's KillMode=control-group).
extern "C" fn pass_on(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    let program = PROGRAM.load(Ordering::Relaxed);
    // SAFETY: with SA_SIGINFO the kernel gives a valid structure; which process has sent it is there for those that processes send.
    let (code, sender) = unsafe { ((*info).si_code, (*info).si_pid()) };
    // SAFETY: plain numbers; system calls that a handler may make.
    unsafe {
        let hung_up = signal == libc::SIGHUP && libc::getsid(0) == libc::getpid();
        if program > 0 && is_to_go_on(code, sender, program, hung_up) {
            libc::kill(program, signal);
        }
    }
}

/// Whether the program is to get what this process has got. `hung_up`: the terminal is gone, which a session's first process
/// alone is told.
fn is_to_go_on(
    code: libc::c_int,
    sender: libc::pid_t,
    program: libc::pid_t,
    hung_up: bool,
) -> bool {
    match code {
        libc::SI_KERNEL => hung_up,
        // It is the program's own: it has sent this to its process group.
        libc::SI_USER => sender != program,
        _ => true,
    }
}

/// A program that has been started.
pub struct Running {
    child: Child,
    /// How signals were dealt with before.
    kept: Vec<Kept>,
}

/// What TCP socket is opened and closed in the cgroup before the program is executed.
#[derive(Clone, Copy, PartialEq)]
pub enum Sample {
    /// None.
    None,
    /// One that those who count find.
    Any,
    /// One that is moved, else the program is not run.
    Moved,
}

/// Starts the program in the cgroup.
pub fn start(mut command: Command, door: File, sample: Sample) -> Result<Running, Error> {
    let (failed, told) = pipe_with(PipeFlags::CLOEXEC)
        .map_err(|errno| Error::NotPrepared(Step::Pipe, errno.into()))?;
    let told = File::from(told);
    let own = std::process::id();
    // Where it is ignored, as some parents leave it, a child's end is not told.
    let children = signals::set_default(libc::SIGCHLD);
    let ignored = children.is_ignored();
    // What comes meanwhile is kept until it is known where to.
    let blocked = Blocked::new(&PASSED_ON);
    let mask = blocked.before();
    let prepare = move || {
        // What comes for the child is for the program.
        signals::set_mask(&mask);
        if ignored {
            signals::ignore(libc::SIGCHLD);
        }
        let fail = |step: Step, error| {
            let _ = (&told).write_all(&[step as u8]);
            Err(error)
        };
        if let Err(error) = cgroup::enter(&door) {
            return fail(Step::Cgroup, error);
        }
        // Its new sockets would be the built-in TCP's, unnoticed, once this process is gone. That is forgotten by a program that
        // changes its user or gains privileges, and is not passed on to what it starts: all that is said of it in the manual.
        // SAFETY: plain numbers.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) } != 0 {
            return fail(Step::Parent, io::Error::last_os_error());
        }
        // SAFETY: no arguments.
        if unsafe { libc::getppid() } as u32 != own {
            // It is gone already, and no signal comes.
            return fail(Step::Parent, io::Error::from_raw_os_error(libc::ESRCH));
        }
        if sample != Sample::None {
            match sample::is_ours() {
                Ok(false) if sample == Sample::Moved => {
                    let error = io::Error::from_raw_os_error(libc::EPROTOTYPE);
                    return fail(Step::Moved, error);
                }
                Ok(_) => {}
                Err(error) => return fail(Step::Sample, error),
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes system calls, and allocates nothing: an error is a number.
    unsafe { command.pre_exec(prepare) };
    let child = command.spawn();
    // It has the pipe's other end.
    drop(command);
    let child = child.map_err(|error| {
        let mut step = [0];
        match File::from(failed).read(&mut step) {
            Ok(1) => Error::NotPrepared(Step::of(step[0]), error),
            _ => Error::NotExecuted(error),
        }
    })?;
    PROGRAM.store(child.id() as i32, Ordering::Relaxed);
    let mut kept = vec![children];
    // Those that are ignored (nohup, `&` of a shell without job control) are so for the program as well, which inherits it.
    kept.extend(
        PASSED_ON
            .into_iter()
            .filter_map(|signal| signals::handle(signal, pass_on)),
    );
    drop(blocked);
    Ok(Running { child, kept })
}

impl Running {
    /// Waits for its end; from then on signals are dealt with as before, and as `then` sees to before one can come.
    pub fn wait(mut self, then: impl FnOnce()) -> io::Result<ExitStatus> {
        // Its number is another process's once it is waited for: signals must not go on to that.
        loop {
            // SAFETY: the structure is valid, and all-zero is a value of it.
            let result = unsafe {
                let mut info: libc::siginfo_t = std::mem::zeroed();
                let options = libc::WEXITED | libc::WNOWAIT;
                libc::waitid(libc::P_PID, self.child.id(), &raw mut info, options)
            };
            match (result, io::Error::last_os_error()) {
                (0, _) => break,
                (_, error) if error.kind() == io::ErrorKind::Interrupted => {}
                (_, error) => return Err(error),
            }
        }
        PROGRAM.store(0, Ordering::Relaxed);
        let status = self.child.wait();
        let _blocked = Blocked::new(&PASSED_ON);
        self.kept.drain(..).for_each(Kept::restore);
        then();
        status
    }
}

/// What the shell says of it: the exit code, or 128 and the signal that has ended it.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code();
    let code = code.or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX)
}

/// What a child does before it executes the program.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
pub enum Step {
    /// The pipe by which it says what has failed.
    Pipe,
    /// Going into the cgroup.
    Cgroup,
    /// Asking for a signal when this process is gone.
    Parent,
    /// Opening a socket.
    Sample,
    /// Seeing that it was moved.
    Moved,
}

impl Step {
    fn of(number: u8) -> Self {
        match number {
            0 => Step::Pipe,
            1 => Step::Cgroup,
            2 => Step::Parent,
            3 => Step::Sample,
            _ => Step::Moved,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Pipe => "make a pipe",
            Step::Cgroup => "move the program into its cgroup",
            Step::Parent => "have the program ended with oxtcp",
            Step::Sample => "open a socket to see that sockets are moved and counted",
            Step::Moved => "have a socket moved by BPF, as this kernel does not do it",
        })
    }
}

/// Why the program was not started.
#[derive(Debug)]
pub enum Error {
    /// It was not executed, as what comes before it has failed.
    NotPrepared(Step, io::Error),
    /// It cannot be executed.
    NotExecuted(io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_to_go_on_but_what_the_program_has() {
        const PROGRAM: libc::pid_t = 7;
        for (code, sender, hung_up, goes_on) in [
            (libc::SI_USER, 1, false, true),
            (libc::SI_QUEUE, 1, false, true),
            (libc::SI_TKILL, PROGRAM, false, true),
            (libc::SI_USER, PROGRAM, false, false),
            (libc::SI_KERNEL, 0, false, false),
            (libc::SI_KERNEL, 0, true, true),
        ] {
            assert_eq!(
                is_to_go_on(code, sender, PROGRAM, hung_up),
                goes_on,
                "code {code} from {sender}"
            );
        }
    }

    #[test]
    fn step_of_its_number() {
        for step in [
            Step::Pipe,
            Step::Cgroup,
            Step::Parent,
            Step::Sample,
            Step::Moved,
        ] {
            assert_eq!(Step::of(step as u8), step);
        }
    }
}
