// SPDX-License-Identifier: GPL-2.0
//! The `oxtcp` command as a person at the keyboard has it: settings, profiles, sockets, the doctor, against real traffic.
//!
//! The command is the one in PATH, or the one that OXTCP_TOOL names.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{ExitCode, Stdio};

use oxtcp_selftests::connection::listening_at;
use oxtcp_selftests::ns::{self, Namespace, Veth};
use oxtcp_selftests::procnet::{self, State};
use oxtcp_selftests::{cases, ktap, listening, stack, wait, Ip, Sock, Stack, Suite};

mod command;
mod counted;
mod doctor;
mod namespaces;
mod privilege;
mod states;

use command::{command, json, of_line, oxtcp, refused, said, tool, OnTerminal, Running};
use counted::{diff__of_five_connections, export__is_well_formed, watch__counts_each_once};
use states::ss__every_state;

fn main() -> ExitCode {
    let mut suite = Suite::from_args("tool");
    suite.once("command__needs_no_library", command__needs_no_library);
    suite.once("list__has_every_setting", list__has_every_setting);
    suite.once("get__explains", get__explains);
    suite.once("set__changes_all_or_nothing", set__changes_all_or_nothing);
    suite.once("set__of_another_namespace", set__of_another_namespace);
    suite.once("set__needs_privilege", set__needs_privilege);
    suite.once("set__persists", set__persists);
    suite.once("profile__every_one_applies", profile__every_one_applies);
    suite.once("profile__undo", profile__undo);
    suite.once("profile__corrupt_file", profile__corrupt_file);
    cases!(suite.stacks: ss__states_and_processes, ss__every_state, ss__half_open, kill__connections, top__on_a_terminal, top__on_a_serial_line);
    suite.once("ss__of_a_program_that_is_run", ss__of_a_program_that_is_run);
    suite.once("ss__many", ss__many);
    suite.once("ss__of_another_namespace", ss__of_another_namespace);
    suite.once("export__counts_sockets", export__counts_sockets);
    suite.once("counters__are_the_kernels", counters__are_the_kernels);
    cases!(suite.stacks: diff__of_five_connections, watch__counts_each_once, export__is_well_formed);
    suite.once("diff__of_each_user", counted::diff__of_each_user);
    suite.once("json__is_json", counted::json__is_json);
    suite.once("nobody__may_look", privilege::nobody__may_look);
    suite.once(
        "nobody__changes_nothing",
        privilege::nobody__changes_nothing,
    );
    suite.once("nobody__on_a_terminal", privilege::nobody__on_a_terminal);
    suite.once(
        "nobody__has_every_command",
        privilege::nobody__has_every_command,
    );
    suite.once(
        "netns__that_is_not_there",
        namespaces::netns__that_is_not_there,
    );
    suite.once("netns__deleted_between", namespaces::netns__deleted_between);
    suite.once(
        "netns__deleted_meanwhile",
        namespaces::netns__deleted_meanwhile,
    );
    suite.once(
        "netns__deleted_at_any_time",
        namespaces::netns__deleted_at_any_time,
    );
    doctor::register(&mut suite);
    suite.run()
}

fn setting(name: &str) -> String {
    let value = ns::sysctl(&format!("net/oxtcp/{name}")).expect(name);
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn all_settings() -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = fs::read_dir("/proc/sys/net/oxtcp")
        .expect("the settings")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .map(|name| (name.clone(), setting(&name)))
        .collect();
    all.sort();
    all
}

fn list__has_every_setting() {
    ns::isolate();
    let listed = json(
        "list --json",
        "'\\n'.join(sorted('%s=%s' % (s['name'], ' '.join(map(str, v)) if isinstance(v := s['value'], list) else v) for s in d))",
    );
    let there: Vec<String> = all_settings()
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(listed, there.join("\n"));
    // A fresh namespace of a machine that nobody has set up is at the defaults, by the command's own table.
    if !oxtcp("list --changed").contains('*') {
        assert_eq!(oxtcp("list --changed").lines().count(), 1);
    }
    oxtcp("set keepalive_time=77");
    let changed = oxtcp("list --changed");
    assert!(
        changed.contains("keepalive_time") && changed.contains(" 77 "),
        "{changed}"
    );
    assert!(oxtcp("list").lines().count() == all_settings().len() + 1);
    assert!(
        !oxtcp("list").contains('\x1b'),
        "colours without a terminal"
    );
}

fn get__explains() {
    ns::isolate();
    ns::set_sysctl("net/ipv4/tcp_fin_timeout", "44");
    let text = oxtcp("get net.oxtcp.fin_timeout");
    for part in [
        "fin_timeout = ",
        "default   60",
        "range     0 to 2147483",
        "unit      seconds",
        "net.ipv4.tcp_fin_timeout = 44",
        "FIN-WAIT-2",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(
        oxtcp("get -n rmem wmem"),
        format!("{}\n{}\n", setting("rmem"), setting("wmem"))
    );
    refused("get nonsense", 2, "there is no setting `nonsense`");
}

fn set__changes_all_or_nothing() {
    ns::isolate();
    oxtcp("set fin_timeout=31 congestion_control=reno");
    assert_eq!(
        (setting("fin_timeout"), setting("congestion_control")),
        ("31".into(), "reno".into())
    );
    let before = all_settings();
    for (line, part) in [
        (
            "set sack=0 fin_timeout=2147484",
            "the range is 0 to 2147483 (seconds)",
        ),
        ("set sack=0 congestion_control=bbr", "one of: reno, cubic"),
        ("set sack=0 rmem=1", "it takes 3 numbers"),
        ("set sack=0 nonsense=1", "`nonsense`"),
        ("set sack=0 sack=1", "given twice"),
        (
            "set sack=0 available_congestion_control=reno",
            "can only be read",
        ),
    ] {
        refused(line, 2, part);
        assert_eq!(all_settings(), before, "oxtcp {line}");
    }
    oxtcp("set --dry-run sack=0");
    assert_eq!(all_settings(), before);
    oxtcp("set fin_timeout=default congestion_control=default");
    assert_eq!(
        (setting("fin_timeout"), setting("congestion_control")),
        ("60".into(), "cubic".into())
    );
}

fn set__of_another_namespace() {
    let other = Namespace::enter_new();
    ns::isolate();
    let before = all_settings();
    oxtcp(&format!("set --netns {} fin_timeout=33", other.path()));
    assert_eq!(all_settings(), before);
    other.run(|| assert_eq!(setting("fin_timeout"), "33"));
    assert_eq!(
        oxtcp(&format!("get -n --netns {} fin_timeout", other.path())),
        "33\n"
    );
    refused(
        "set --netns no-such-namespace fin_timeout=3",
        2,
        "there is no network namespace",
    );
    refused(
        "set --netns /proc/self/ns/uts fin_timeout=3",
        1,
        "is no network namespace",
    );
    assert_eq!(all_settings(), before);
}

fn set__needs_privilege() {
    ns::isolate();
    let before = all_settings();
    let said = said(command(&["set", "fin_timeout=5"]).uid(65534).gid(65534));
    assert_eq!(said.code, 4, "{}", said.err);
    assert!(
        said.err.contains("as root") && said.err.contains("Nothing was changed."),
        "{}",
        said.err
    );
    assert_eq!(all_settings(), before);
}

/// In a mount namespace with an empty /etc/sysctl.d; the file does what `sysctl` makes of it.
fn set__persists() {
    ns::isolate();
    ns::need("sysctl");
    let tool = tool();
    if stack::builtin_only() {
        ktap::skip("the command is for oxtcp");
    }
    let text = ns::sh_or_skip(&format!(
        "unshare -m sh -ec 'mkdir -p /etc/sysctl.d; mount -t tmpfs tmpfs /etc/sysctl.d
         {tool} set --persist fin_timeout=21 rmem=\"4096 65536 1048576\" > /dev/null
         {tool} set fin_timeout=default > /dev/null
         sysctl -qp /etc/sysctl.d/60-oxtcp.conf
         ls -A /etc/sysctl.d'"
    ));
    assert_eq!(text, "60-oxtcp.conf\n");
    assert_eq!(
        (setting("fin_timeout"), setting("rmem")),
        ("21".into(), "4096 65536 1048576".into())
    );
}

const PROFILES: [&str; 5] = [
    "web-server",
    "behind-nat",
    "under-attack",
    "long-fat-network",
    "low-memory",
];

fn profile__every_one_applies() {
    ns::isolate();
    let before = all_settings();
    for name in PROFILES {
        assert!(oxtcp("profile list").contains(name));
        let dry = oxtcp(&format!("profile apply --dry-run {name}"));
        assert_eq!(all_settings(), before, "a dry run of {name}");
        let wet = oxtcp(&format!("profile apply {name}"));
        assert!(wet.starts_with(&dry), "{name}:\n{dry}\n{wet}");
        assert_ne!(all_settings(), before, "{name}");
        assert!(oxtcp(&format!("profile show {name}")).contains("(as it is)"));
        oxtcp("profile undo");
        assert_eq!(all_settings(), before, "{name}, taken back");
    }
    refused("profile undo", 1, "nothing to take back");
}

fn profile__undo() {
    ns::isolate();
    oxtcp("profile apply web-server");
    oxtcp("set fin_timeout=9");
    let words = ["profile", "undo"];
    let said = said(&mut command(&words));
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.err.contains("fin_timeout was changed to 9"),
        "{}",
        said.err
    );
    assert_eq!(
        (setting("fin_timeout"), setting("somaxconn")),
        ("9".into(), "4096".into())
    );
}

fn profile__corrupt_file() {
    ns::isolate();
    let before = all_settings();
    let path = format!("/tmp/oxtcp-tool-{}.toml", std::process::id());
    for (text, part) in [
        ("[settings\n", "is no profile"),
        (
            "[settings]\nfin_timeout = 3\nsack = 9\n",
            "sack = 9: 9 is out of range",
        ),
        (
            "[settings]\nfin_timeout = 3\nsnack = 0\n",
            "Is `sack` meant?",
        ),
        ("\u{0}\u{1}", "is no profile"),
    ] {
        fs::write(&path, text).expect("a file");
        refused(&format!("profile apply {path}"), 2, part);
        assert_eq!(all_settings(), before);
    }
    fs::write(&path, "[settings]\nfin_timeout = 3\n").expect("a file");
    oxtcp(&format!("profile apply {path}"));
    assert_eq!(setting("fin_timeout"), "3");
    oxtcp("profile undo");
    assert_eq!(all_settings(), before);
    fs::remove_file(&path).expect("the file");
}

/// A connection over the link, the server's side ours: client (built-in TCP, namespace b), server, listener.
struct Talk {
    client: Sock,
    server: Sock,
    listener: Sock,
    address: SocketAddr,
}

fn talk(stack: Stack, link: &Veth) -> Talk {
    talk_at(stack, link, 8080)
}

fn talk_at(stack: Stack, link: &Veth, port: u16) -> Talk {
    let (listener, address) = listening_at(stack, &Veth::address_a(stack.ip, port), 7);
    let client = link.b.run(|| {
        let client = Sock::open(Stack::builtin(stack.ip));
        client.connect(&address).expect("connect");
        client
    });
    let server = listener.accept().expect("accept").0;
    Talk {
        client,
        server,
        listener,
        address,
    }
}

fn ss__states_and_processes(stack: Stack) {
    let link = Veth::make();
    let talk = talk(stack, &link);
    talk.client.send_all(b"hello");
    wait::until("the bytes are there", || talk.server.readable() == 5);
    let (local, remote) = (
        talk.address.to_string(),
        talk.client.local().expect("name").to_string(),
    );
    let users = format!("users:((\"tool\",pid={},fd=", std::process::id());

    let line = oxtcp("ss -Hnp");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(
        words[..5],
        ["ESTAB", "5", "0", local.as_str(), remote.as_str()],
        "{line}"
    );
    assert!(words[5].starts_with(&users), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    let line = oxtcp("ss -Hnlpi");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[..4], ["LISTEN", "0", "7", local.as_str()], "{line}");
    // What TCP knows, another user sees too.
    let said = said(command(&["ss", "-Hnim"]).uid(65534).gid(65534));
    for part in ["ESTAB", "cubic", "rtt:", "skmem:(r"] {
        assert!(said.out.contains(part), "{}{}", said.out, said.err);
    }

    let pid = std::process::id();
    for (filter, found) in [
        ("state established", true),
        ("state close-wait", false),
        ("sport = :8080 and dport != :8080", true),
        ("dport = :8080", false),
        (
            if stack.ip == Ip::V4 {
                "dst 192.0.2.0/24"
            } else {
                "dst 2001:db8::/64"
            },
            true,
        ),
        ("not ( src :8080 or src :8081 )", false),
        ("process tool", true),
        ("process nginx", false),
        (&format!("pid = {pid} uid = 0"), true),
        (&format!("pid != {pid}"), false),
    ] {
        let lines = oxtcp(&format!("ss -Hn {filter}")).lines().count();
        assert_eq!(lines, usize::from(found), "{filter}");
    }
    let details = oxtcp("ss -Hni sport = :8080");
    for part in ["rtt:", "cwnd:", "bytes_received:5", "wscale:"] {
        assert!(details.contains(part), "{details}");
    }
    assert_eq!(
        json(
            "ss --json -pi",
            "[(s['state'], s['local']['port'], s['recv_queue'], s['processes'][0]['name'], s['info']['bytes_received']) for s in d]"
        ),
        "[('established', 8080, 5, 'tool', 5)]"
    );
    drop(talk.client);
    wait::until("CLOSE-WAIT", || {
        oxtcp("ss -Hn state close-wait").lines().count() == 1
    });
    let summary = oxtcp("ss --summary -n");
    assert!(
        summary.contains("CLOSE-WAIT 1\n") && summary.contains("LISTEN     1\n"),
        "{summary}"
    );
    let line = summary.lines().last().expect("the listener");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(
        words[..5],
        [local.as_str(), "0", "8", "0", "1"],
        "{summary}"
    );
    drop((talk.server, talk.listener));
}

/// On a terminal of 120 by 30, as somebody sees it who presses keys.
fn top__on_a_terminal(stack: Stack) {
    let link = Veth::make();
    let talk = talk(stack, &link);
    refused("top", 2, "needs a terminal");
    refused("top --delay 0", 2, "0.1 to 3600");
    let mut top = OnTerminal::spawn(of_line("top --delay 0.2 --color never"));
    let address = talk.address.to_string();
    wait::until("the listener", || {
        top.shows("Listeners") && top.shows(&address) && top.shows("0/8")
    });
    talk.client.send_all(&[1; 100_000]);
    talk.server.recv_exact(100_000);
    wait::until("the rate", || top.shows("kB"));
    top.press(b"s");
    wait::until("another order", || top.shows("retransmissions"));
    top.press(b"?");
    wait::until("help", || top.shows("Help"));
    top.press(b"q");
    let (code, shown) = top.end();
    assert_eq!(code, Some(0));
    assert!(
        shown.contains("\x1b[?1049l"),
        "the screen is not given back"
    );
}

/// A serial line says that it has no columns and no rows: it is taken for one of 80 by 24.
fn top__on_a_serial_line(stack: Stack) {
    let link = Veth::make();
    let talk = talk(stack, &link);
    let top = of_line("top --delay 0.2 --color never");
    let mut top = OnTerminal::of_size(0, 0, top);
    let address = talk.address.to_string();
    wait::until("the listener, and keys in the last line, the 24th", || {
        top.shows("Listeners") && top.shows(&address) && top.shows("\x1b[24;1H")
    });
    top.press(b"q");
    let (code, shown) = top.end();
    assert_eq!(code, Some(0));
    let (taken, back) = (shown.find("\x1b[?1049h"), shown.find("\x1b[?1049l"));
    assert!(taken.is_some() && taken < back, "{shown:?}");
}

/// Ends what it is asked to end, and nothing else.
fn kill__connections(stack: Stack) {
    let link = Veth::make();
    let talk = talk(stack, &link);
    let (local, remote) = (
        talk.address.to_string(),
        talk.client.local().expect("name").to_string(),
    );
    refused("kill", 2, "FILTER");
    refused("kill sport = nonsense", 2, "nonsense");
    let said = said(
        command(&["kill", "sport", "=", ":8080"])
            .uid(65534)
            .gid(65534),
    );
    assert_eq!(said.code, 4, "{}{}", said.out, said.err);
    assert!(said.err.contains("CAP_NET_ADMIN"), "{}", said.err);
    assert_eq!(oxtcp("kill sport = :8081"), "");
    let line = format!("ESTAB {local} {remote}\n");
    assert_eq!(oxtcp("kill --dry-run sport = :8080"), line);
    refused("kill state listening", 1, "ended with its program");
    assert_eq!(oxtcp("ss -Hn").lines().count(), 1);
    assert_eq!(oxtcp("kill process tool"), line);
    assert_eq!(talk.server.take_error(), libc::ECONNABORTED);
    wait::until("the reset", || talk.client.take_error() == libc::ECONNRESET);
    assert_eq!(oxtcp("ss -Hn"), "");
    assert_eq!(oxtcp("ss -Hnl").lines().count(), 1);
}

/// Clients that never see the SYN-ACK, as of forged addresses.
fn half_open(stack: Stack, link: &Veth, clients: usize, backlog: i32) -> (Sock, Vec<Sock>) {
    let listener = Sock::open(stack);
    let address = Veth::address_a(stack.ip, 8080);
    listener.bind(&address).expect("bind");
    listener.listen(backlog).expect("listen");
    let clients = link.b.run(|| {
        ns::nft_input(&[
            "tcp sport 8080 tcp flags & (syn|ack) == (syn|ack) counter name dropped drop",
        ]);
        let clients = 0..clients;
        let client = |_| {
            let client = Sock::open_nonblocking(Stack::builtin(stack.ip));
            assert!(client.connect(&address).is_err());
            client
        };
        clients.map(client).collect()
    });
    (listener, clients)
}

fn half_opens(stack: Stack) -> usize {
    let entries = procnet::entries(stack);
    entries
        .iter()
        .filter(|entry| entry.state == State::SynRecv)
        .count()
}

fn ss__half_open(stack: Stack) {
    let link = Veth::make();
    let (_listener, clients) = half_open(stack, &link, 3, 16);
    wait::until("half-open connections", || half_opens(stack) == 3);
    let lines = oxtcp("ss -Hno state syn-recv");
    for client in &clients {
        let remote = client.local().expect("name").to_string();
        assert!(
            lines
                .lines()
                .any(|line| line.contains(&remote) && line.contains("timer:(on,")),
            "{lines}"
        );
    }
    assert_eq!(oxtcp("ss -Hn").lines().count(), 0, "they are not connected");
    let summary = oxtcp("ss -s");
    assert!(summary.contains("SYN-RECV   3\n"), "{summary}");
    // The clients see no SYN-ACK, and theirs are not answered.
    wait::until("the first SYN-ACKs sent again", || {
        let lines = oxtcp("ss -Hno state syn-recv");
        lines.lines().filter(|line| line.contains(",1)")).count() == 3
    });
}

/// A web server that knows nothing of us, and a client of the built-in TCP.
fn ss__of_a_program_that_is_run() {
    ns::isolate();
    ns::need("python3");
    ns::need("curl");
    let server = command(&[
        "run",
        "python3",
        "-m",
        "http.server",
        "--bind",
        "127.0.0.1",
        "8000",
    ])
    .current_dir("/proc/sys/kernel/random")
    .stdout(Stdio::null())
    .stderr(Stdio::null())
    .spawn()
    .expect("oxtcp run");
    let server = Running(server);
    wait::until("it listens", || {
        oxtcp("ss -Hnl sport = :8000").lines().count() == 1
    });
    assert!(ns::sh("curl -sS http://127.0.0.1:8000/").contains("boot_id"));
    let line = oxtcp("ss -Hnlp process python3");
    assert!(
        line.contains(&format!("((\"python3\",pid={},fd=", server.0.id())),
        "{line}"
    );
    assert!(oxtcp("ss -a").contains(":http-alt ") || oxtcp("ss -an").contains(":8000 "));
    let waits = "oxtcp ss shows the served connection's TIME-WAIT";
    wait::until(waits, || {
        oxtcp("ss -Hn state time-wait sport = :8000")
            .lines()
            .count()
            == 1
    });
}

/// All are listed, also while others come and go.
fn ss__many() {
    const NUMBER: usize = 1500;
    ns::isolate();
    let stack = Stack::ours(Ip::V4);
    let (listener, address) = listening(stack, 16);
    let connect = || {
        let client = Sock::open(stack);
        client.connect(&address).expect("connect");
        (client, listener.accept().expect("accept").0)
    };
    let ends: Vec<(Sock, Sock)> = (0..NUMBER).map(|_| connect()).collect();
    assert_eq!(oxtcp("ss -Hn").lines().count(), 2 * NUMBER);
    let of_listener = format!("ss -Hn sport = :{}", address.port());
    assert_eq!(oxtcp(&of_listener).lines().count(), NUMBER);
    let mut dump = command(&["ss", "-Han"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("oxtcp");
    for _ in 0..200 {
        drop(connect());
    }
    let output = dump.stdout.take().expect("a pipe");
    let text = std::io::read_to_string(output).expect("text");
    assert!(dump.wait().expect("it ends").success());
    let mut listed: HashMap<&str, usize> = HashMap::new();
    for local in text
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3))
    {
        *listed.entry(local).or_default() += 1;
    }
    for (client, _) in &ends {
        let local = client.local().expect("name").to_string();
        assert_eq!(listed.get(local.as_str()), Some(&1), "{local}");
    }
}

fn ss__of_another_namespace() {
    let other = Namespace::enter_new();
    let stack = Stack::ours(Ip::V4);
    let (listener, address) = listening(stack, 16);
    ns::isolate();
    assert_eq!(oxtcp("ss -Han"), "");
    let line = oxtcp(&format!("ss -Hanp --netns {}", other.path()));
    assert!(
        line.contains(&address.to_string()) && line.contains("\"tool\""),
        "{line}"
    );
    drop(listener);
}

fn export__counts_sockets() {
    ns::isolate();
    let stack = Stack::ours(Ip::V4);
    let (listener, address) = listening(stack, 16);
    let client = Sock::open(stack);
    client.connect(&address).expect("connect");
    let text = oxtcp("export");
    for line in [
        "oxtcp_sockets{state=\"established\"} 2".to_string(),
        "oxtcp_sockets{state=\"listening\"} 1".to_string(),
        format!(
            "oxtcp_listener_waiting{{address=\"127.0.0.1\",port=\"{}\"}} 1",
            address.port()
        ),
        "# TYPE oxtcp_sockets gauge".to_string(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (metric, value) = line.rsplit_once(' ').expect("a metric and a value");
        assert!(
            metric.starts_with("oxtcp_") && value.parse::<u64>().is_ok(),
            "{line}"
        );
    }
    drop((client, listener));
}

fn counters__are_the_kernels() {
    ns::isolate();
    let Ok(stat) = fs::read_to_string("/proc/thread-self/net/oxtcp_stat") else {
        refused("counters", 1, "has no /proc/net/oxtcp_stat");
        return;
    };
    // Of each group, a line of names and one of values.
    let lines = stat.lines().step_by(2);
    let names: usize = lines.map(|line| line.split_whitespace().count() - 1).sum();
    assert_eq!(oxtcp("counters --all --brief").lines().count(), 1 + names);
    assert_eq!(oxtcp("counters"), "All are 0.\n");
}

/// The command is copied to systems older than the one that it was built on: no library of theirs is loaded.
fn command__needs_no_library() {
    const PT_INTERP: u32 = 3;
    if stack::builtin_only() {
        ktap::skip("the command is for oxtcp");
    }
    let path = ns::sh(&format!("command -v {}", tool()));
    let elf = fs::read(path.trim()).expect("the command");
    let half = |at: usize| usize::from(u16::from_le_bytes([elf[at], elf[at + 1]]));
    assert_eq!(elf[..5], *b"\x7fELF\x02", "ELF of 64 bits");
    let table = u64::from_le_bytes(elf[32..40].try_into().expect("eight bytes")) as usize;
    let (size, count) = (half(54), half(56));
    assert!(count > 0);
    for n in 0..count {
        let at = table + n * size;
        let kind = u32::from_le_bytes(elf[at..at + 4].try_into().expect("four bytes"));
        assert_ne!(kind, PT_INTERP, "a dynamic loader is asked for");
    }
}
