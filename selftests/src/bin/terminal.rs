// SPDX-License-Identifier: GPL-2.0
//! `oxtcp top` as a person has it on a terminal (tmux), beside what it is for: nginx under load, a flood of SYNs and a server that leaks
//! connections, in two namespaces.
//!
//! With OXTCP_PICTURES the screens that are judged are kept in that folder, with their colours.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use oxtcp_selftests::connection::listening_at;
use oxtcp_selftests::flood::{let_in, Flood, Kind, Sources};
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::{ktap, stack, thread, wait, Ip, Sock, Stack, Suite};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("terminal");
    suite.once("top__shows_what_goes_on", top__shows_what_goes_on);
    suite.once("top__of_another_namespace", top__of_another_namespace);
    suite.once("top__says_what_is_missing", top__says_what_is_missing);
    suite.run()
}

/// A terminal in which a command runs. What is shown when it has ended stays.
struct Terminal {
    name: String,
}

impl Terminal {
    /// Of so many columns and lines, in this thread's namespace.
    fn open(name: &str, (columns, lines): (u16, u16), command: &str) -> Terminal {
        if stack::builtin_only() {
            ktap::skip("the command is for oxtcp");
        }
        ns::need("tmux");
        let terminal = Terminal {
            name: format!("oxtcp-{name}-{}", std::process::id()),
        };
        terminal.tmux(&format!(
            "-f /dev/null new-session -d -x {columns} -y {lines} '{command}; echo It ended with $?.; exec cat'"
        ));
        terminal.tmux("set-option -g status off");
        terminal.resize((columns, lines));
        terminal
    }

    fn tmux(&self, line: &str) -> String {
        ns::sh(&format!("LANG=C.UTF-8 tmux -u -L {} {line}", self.name))
    }

    fn resize(&self, (columns, lines): (u16, u16)) {
        self.tmux(&format!("resize-window -x {columns} -y {lines}"));
    }

    fn press(&self, key: &str) {
        self.tmux(&format!("send-keys '{key}'"));
    }

    fn screen(&self) -> String {
        self.tmux("capture-pane -p")
    }

    /// Waits until the screen is as `is` says; the screen.
    #[track_caller]
    fn shows(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let found = wait::try_until_some(|| {
            last = self.screen();
            is(&last).then_some(())
        });
        assert!(found.is_some(), "the screen does not show {what}:\n{last}");
        last
    }

    /// Keeps the screen, with its colours, for who asks for it.
    fn keep(&self, name: &str) {
        if let Some(folder) = std::env::var_os("OXTCP_PICTURES").map(PathBuf::from) {
            fs::create_dir_all(&folder).expect("a folder");
            let text = self.tmux("capture-pane -p -e");
            fs::write(folder.join(format!("{name}.ansi")), text).expect("a file");
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = ns::try_sh(&format!("tmux -L {} kill-server", self.name));
    }
}

/// A process that ends with the test.
struct Ends(Child);

impl Ends {
    fn spawn(line: &str) -> Ends {
        let child = Command::new("sh")
            .args(["-c", &format!("exec {line}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Ends(child.expect("sh"))
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        // `oxtcp run` hands it on.
        // SAFETY: a child of ours that was not waited for.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGTERM) };
        let _ = self.0.wait();
    }
}

/// nginx with oxtcp's sockets at `address`, and 100 KB of zeros.
fn nginx(address: SocketAddr) -> Ends {
    ns::need("nginx");
    let folder = std::env::temp_dir().join(format!("nginx.{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let place = folder.display();
    let settings = format!(
        "daemon off; master_process off; pid {place}/pid; error_log {place}/errors;\n\
         events {{ worker_connections 256; }}\n\
         http {{ access_log off; server {{ listen {address} backlog=64; root {place}; }} }}\n"
    );
    fs::write(folder.join("conf"), settings).expect("a file");
    fs::write(folder.join("zeros"), [0; 100_000]).expect("a file");
    let server = Ends::spawn(&format!(
        "oxtcp run nginx -c {place}/conf -e {place}/errors"
    ));
    wait::until("nginx listens", || {
        let listeners = ns::sh("oxtcp ss -Hnlp");
        listeners.contains(&address.to_string()) && listeners.contains("nginx")
    });
    server
}

/// Sends SYNs of strangers until it is dropped, from this thread's namespace.
struct Flooding {
    end: Arc<AtomicBool>,
    worker: Option<thread::Worker<()>>,
}

impl Flooding {
    fn begin(to: SocketAddr) -> Flooding {
        let end = Arc::new(AtomicBool::new(false));
        let worker = {
            let end = Arc::clone(&end);
            let mut flood = Flood::new(Kind::Syn, to, Sources::Everywhere);
            thread::spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    flood.send(16);
                    std::thread::sleep(Duration::from_millis(20));
                }
            })
        };
        Flooding {
            end,
            worker: Some(worker),
        }
    }
}

impl Drop for Flooding {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            worker.join();
        }
    }
}

/// A listener whose clients have closed, and which has not.
fn leak(stack: Stack, link: &Veth, address: SocketAddr, count: usize) -> (Sock, Vec<Sock>) {
    let (listener, _) = listening_at(stack, &address, 64);
    let clients: Vec<Sock> = link.b.run(|| {
        let client = || {
            let sock = Sock::open(Stack::builtin(stack.ip));
            sock.connect(&address).expect("connect");
            sock
        };
        (0..count).map(|_| client()).collect()
    });
    let accepted = (0..count).map(|_| listener.accept().expect("accept").0);
    let kept = accepted.collect();
    drop(clients);
    (listener, kept)
}

/// The line of the screen with all of these parts.
fn line<'a>(screen: &'a str, parts: &[&str]) -> Option<&'a str> {
    screen
        .lines()
        .find(|line| parts.iter().all(|part| line.contains(part)))
}

fn top__shows_what_goes_on() {
    let stack = Stack::ours(Ip::V4);
    let link = Veth::make();
    let_in(stack.ip);
    let [web, flooded, leaking] = [8080, 8081, 8082].map(|port| Veth::address_a(stack.ip, port));
    let (wide, usual) = ((130, 36), (80, 24));
    let terminal = Terminal::open("work", wide, "oxtcp top --delay 0.5");
    terminal.shows("that there is nothing", |screen| {
        screen.contains("oxtcp top") && screen.contains("nobody listens")
    });

    let _server = nginx(web);
    let _leaking = leak(stack, &link, leaking, 12);
    let (_listener, _) = listening_at(stack, &flooded, 16);
    ns::need("ab");
    // Connections that stay, and new ones.
    let (_load, _flood) = link.b.run(|| {
        let load = |manner: &str| {
            Ends::spawn(&format!(
                "timeout 600 ab -q -r -s 60 -n 1000000 {manner} http://{web}/zeros"
            ))
        };
        ([load("-c 4 -k"), load("-c 2")], Flooding::begin(flooded))
    });

    let [web, flooded, leaking] = [web, flooded, leaking].map(|address| address.to_string());
    let is_full = |screen: &str, process: &str| {
        let bar = line(screen, &[&flooded, "17/17"]).is_some();
        let serves = line(screen, &[&web, "ESTAB", "kB", process]).is_some()
            || line(screen, &[&web, "ESTAB", "MB", process]).is_some();
        let flows = line(screen, &["out ", "/s  in ", " opened/s"]);
        let flows =
            flows.is_some_and(|line| !line.contains("out 0 ") && !line.contains(" 0 opened"));
        bar && serves && flows && screen.contains("Syncookies")
    };
    let screen = terminal.shows("the load and the flood", |screen| is_full(screen, "nginx"));
    terminal.keep("top");
    let own = std::env::current_exe().expect("the program's path");
    let own = own.file_name().expect("a name").to_string_lossy();
    assert!(line(&screen, &[&web, "/65", "nginx"]).is_some(), "{screen}");
    let leaks = format!(" 12 {own} (");
    assert!(line(&screen, &[&leaking, &leaks]).is_some(), "{screen}");
    assert!(screen.contains("CLOSE-WAIT 12"), "{screen}");
    assert!(screen.contains("q quit"), "{screen}");

    // In a terminal of the usual size the same, as far as it fits.
    terminal.resize(usual);
    let screen = terminal.shows("the same", |screen| {
        is_full(screen, "nginx") && screen.lines().count() <= 24 && screen.contains("CLOSE-WAIT 12")
    });
    assert!(
        screen.lines().all(|line| line.chars().count() <= 80),
        "{screen}"
    );
    terminal.keep("top-80x24");

    terminal.press("s");
    terminal.shows("another order", |screen| {
        screen.contains("Connections by retransmissions")
    });
    terminal.press("p");
    terminal.shows("that it stands still", |screen| screen.contains("paused"));
    let still = terminal.screen();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(terminal.screen(), still);
    terminal.press("p");
    terminal.shows("that it goes on", |screen| !screen.contains("paused"));
    terminal.press("?");
    let help = terminal.shows("help", |screen| screen.contains("Help"));
    for key in ["q, Ctrl-C", "s ", "p, space", "+ -", "arrows"] {
        assert!(line(&help, &[key]).is_some(), "{key}: {help}");
    }
    terminal.press("Escape");
    terminal.shows("connections again", |screen| {
        screen.contains("Connections by")
    });
    // The terminal is as it was.
    terminal.press("C-c");
    let screen = terminal.shows("that it has ended", |screen| {
        screen.contains("It ended with 0.")
    });
    assert!(!screen.contains("Connections by"), "{screen}");
}

fn top__of_another_namespace() {
    let stack = Stack::ours(Ip::V4);
    let link = Veth::make();
    let here = Veth::address_a(stack.ip, 8090);
    let there = Veth::address_b(stack.ip, 8091);
    let (_here, _) = listening_at(stack, &here, 5);
    let (listener, _) = link.b.run(|| listening_at(stack, &there, 7));
    let path = link.b.path();
    let terminal = Terminal::open("other", (100, 24), &format!("oxtcp top --netns {path}"));
    let screen = terminal.shows("its listener", |screen| {
        line(screen, &[&there.to_string(), "0/8"]).is_some()
    });
    assert!(!screen.contains(&here.to_string()), "{screen}");
    assert!(screen.contains(&path), "{screen}");
    // It has what it looks at, though nobody else has it any more.
    drop((listener, link));
    terminal.shows("that its listener has gone", |screen| {
        screen.contains("nobody listens")
    });
    terminal.press("q");
    terminal.shows("that it has ended", |screen| {
        screen.contains("It ended with 0.")
    });
}

/// What goes wrong is said where it can be read, and not on the screen that is taken away.
fn top__says_what_is_missing() {
    let _home = ns::isolate();
    let terminal = Terminal::open("missing", (100, 24), "oxtcp top --netns no-such-namespace");
    let screen = terminal.shows("that it has failed", |screen| {
        screen.contains("It ended with 2.")
    });
    assert!(screen.contains("there is no network namespace"), "{screen}");
}
