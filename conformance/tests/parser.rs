// SPDX-License-Identifier: GPL-2.0

//! The language: each construct, and what is said of what is none.

use oxtcp_conformance::script::{
    parse, Ace, Action, Defines, Ecn, Event, Expr, OptionSpec, PacketBody, PacketSpec, TcpSpec,
    When,
};

fn event(text: &str) -> Event {
    let script = parse(text, &Defines::default()).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(script.events.len(), 1, "{text}");
    script.events[0].clone()
}

fn packet(text: &str) -> (PacketSpec, TcpSpec) {
    match event(text).action {
        Action::Inbound(spec) | Action::Outbound(spec) => match spec.body.clone() {
            PacketBody::Tcp(tcp) => (spec, tcp),
            body => panic!("{text}: {body:?}"),
        },
        action => panic!("{text}: {action:?}"),
    }
}

#[test]
fn times() {
    let table = [
        ("0", When::Absolute(0)),
        ("1.5", When::Absolute(1_500_000)),
        ("+0", When::Relative(0)),
        ("+.002", When::Relative(2_000)),
        ("  +1", When::Relative(1_000_000)),
        ("*", When::Any),
        ("+.21~+.215", When::RelativeRange(210_000, 215_000)),
        ("1~2", When::AbsoluteRange(1_000_000, 2_000_000)),
    ];
    for (time, expected) in table {
        assert_eq!(
            event(&format!("{time} > . 1:1(0) ack 1")).when,
            expected,
            "{time}"
        );
    }
    for time in ["+0...0.2", "+0 ... 0.2"] {
        let event = event(&format!("{time} accept(3, ..., ...) = 4"));
        let Action::Call(call) = event.action else {
            panic!()
        };
        assert_eq!((event.when, call.end), (When::Relative(0), Some(200_000)));
    }
}

#[test]
fn segments() {
    let (_, tcp) = packet("+0 < SEWA 0:0(0) win 32792");
    assert_eq!((tcp.flags, tcp.ace), (0x1c2, Ace::Flags));
    let (_, tcp) = packet("+0 > P.5 1:11(10) ack 1");
    assert_eq!((tcp.flags, tcp.ace), (0x158, Ace::Counter));
    let (_, tcp) = packet("+0 < - 1:1001(1000) win 20000");
    assert_eq!(
        (tcp.flags, tcp.seq, tcp.len, tcp.ack, tcp.win),
        (0, 1, 1000, None, Some(20000))
    );
    let (_, tcp) = packet("+0 < U. 1:101(100) ack 1 win 257 urg 100");
    assert_eq!((tcp.flags, tcp.urg), (0x30, Some(100)));
    let (spec, tcp) = packet("+0 > [ect01] R 1:1(0) <...>");
    assert_eq!((spec.ip.ecn, tcp.options), (Some(Ecn::Ect01), None));
    let (spec, _) = packet("+0 > 8080 > 99 . 1:1(0) ack 1");
    assert_eq!(spec.ports, Some((8080, 99)));
}

#[test]
fn options() {
    let (_, tcp) = packet(
        "+0 < S. 0:0(0) ack 1 win 1 <mss 1000,nop, eol,wscale 7,sackOK,TS val 7 ecr 0xff,sack 1:2 3:4>",
    );
    assert_eq!(
        tcp.options.unwrap(),
        [
            OptionSpec::Mss(1000),
            OptionSpec::Nop,
            OptionSpec::Eol,
            OptionSpec::WindowScale(7),
            OptionSpec::SackPermitted,
            OptionSpec::Timestamps { val: 7, ecr: 255 },
            OptionSpec::Sack(vec![(1, 2), (3, 4)]),
        ]
    );
    let bytes = |text: &str| {
        let (_, tcp) = packet(&format!("+0 < S 0:0(0) win 1 <{text}>"));
        let raw = tcp.options.unwrap()[0].raw();
        (raw.kind, raw.data)
    };
    assert_eq!(bytes("FO"), (34, vec![]));
    assert_eq!(bytes("FO abcd1234"), (34, vec![0xab, 0xcd, 0x12, 0x34]));
    assert_eq!(bytes("FOEXP 12"), (254, vec![0xf9, 0x89, 0x12]));
    assert_eq!(
        bytes("ECN e1b 1 ceb 0 e0b 65536"),
        (174, vec![0, 0, 1, 0, 0, 0, 1, 0, 0])
    );
    assert_eq!(bytes("ECN e0b 1"), (172, vec![0, 0, 1]));
}

#[test]
fn calls() {
    let Action::Call(call) = event(
        "+0 recvmsg(4, {msg_name(...)=..., msg_iov(1)=[{...,0}], msg_flags=MSG_A|MSG_B,
            msg_control=[{cmsg_level=X, cmsg_data={a=1}}]}, 0x10) = -1 EAGAIN (Try again)",
    )
    .action
    else {
        panic!()
    };
    assert_eq!((call.name.as_str(), call.result), ("recvmsg", Some(-1)));
    assert_eq!(call.errno.as_deref(), Some("EAGAIN"));
    let word = |text: &str| Expr::Word(text.into());
    let message = Expr::Fields(vec![
        ("msg_name".into(), Expr::Ellipsis),
        (
            "msg_iov".into(),
            Expr::List(vec![Expr::Tuple(vec![Expr::Ellipsis, Expr::Int(0)])]),
        ),
        (
            "msg_flags".into(),
            Expr::Or(vec![word("MSG_A"), word("MSG_B")]),
        ),
        (
            "msg_control".into(),
            Expr::List(vec![Expr::Fields(vec![
                ("cmsg_level".into(), word("X")),
                (
                    "cmsg_data".into(),
                    Expr::Fields(vec![("a".into(), Expr::Int(1))]),
                ),
            ])]),
        ),
    ]);
    assert_eq!(call.args, [Expr::Int(4), message, Expr::Int(16)]);
    let Action::Call(call) = event(r#"+0 setsockopt(3, A, B, "\xa1b", 2) = ?"#).action else {
        panic!()
    };
    assert_eq!(call.result, None);
    assert_eq!(call.args[3], Expr::Text(vec![0xa1, b'b']));
}

#[test]
fn the_parts_of_a_script() {
    let text =
        "// why\n--mss=1000\n--send_omit_free // no\n\n`./a.sh\n./b.sh`\n\n 0 close(3) = 0 // c\n\
                +0 `x` /* y */\n+0 %{ assert a == 1 }%\n`./z.sh`\n";
    let script = parse(text, &Defines::default()).unwrap();
    let options: Vec<_> = script
        .options
        .iter()
        .map(|o| (o.line, o.name.as_str()))
        .collect();
    assert_eq!(options, [(2, "mss"), (3, "send_omit_free")]);
    assert_eq!(script.init.unwrap().text, "./a.sh\n./b.sh");
    let lines: Vec<u32> = script.events.iter().map(|event| event.line).collect();
    assert_eq!(lines, [8, 9, 10]);
    assert_eq!(script.cleanup.unwrap().line, 11);
}

#[test]
fn what_is_unknown_is_named_with_its_line() {
    let table = [
        ("\n+0 > Q 1:1(0)", 2, "`Q` are no flags of a segment"),
        ("+0 > . 1:2(0)", 1, "1:2(0) does not add up"),
        (
            "+0 < . 1:1(0) ack 1",
            1,
            "an inbound segment without a window",
        ),
        (
            "+0 < . 1:1(0) ack 1 win 70000",
            1,
            "number 70000 is out of range",
        ),
        (
            "+0 < . 1:1(0) win 1 <...>",
            1,
            "`<...>` is for outbound packets",
        ),
        ("+0 > . 1:1(0) <frob 1>", 1, "the option `frob` is unknown"),
        (
            "+0 > . 1:1(0) <nop",
            1,
            "`,` or `>` behind an option expected at the end of the line",
        ),
        ("+0 > udp (5)", 1, "a TCP segment expected, not `udp (5)`"),
        ("+0 > [ttl 5] . 1:1(0)", 1, "`[ttl]` is unknown"),
        ("+0 < [ect01] . 1:1(0) win 1", 1, "`[ect01]` is unknown"),
        (
            "* close(3) = 0",
            1,
            "a range of times, or `*`, is for outbound packets",
        ),
        ("+0...1 > . 1:1(0)", 1, "`...` is for system calls"),
        (
            "+0~1 > . 1:1(0)",
            1,
            "both ends of a range are relative, or none",
        ),
        (
            "+x close(3) = 0",
            1,
            "a time expected, not `x close(3) = 0`",
        ),
        ("0 close(3)", 1, "`=` expected at the end of the line"),
        ("0 close(3 4) = 0", 1, "`,` or `)` expected, not `4) = 0`"),
        (
            "0 close(3) = 0\n`a`\n+0 close(3) = 0",
            3,
            "the end of the script after the last commands expected",
        ),
        ("0 %{ x = 1 }%", 1, "`=` in `x = 1`"),
        ("0 %{ print }%", 1, "`print` is no assertion"),
        ("// nothing", 1, "a script without events"),
    ];
    for (text, line, what) in table {
        let error = parse(text, &Defines::default()).unwrap_err();
        assert_eq!(error.line, line, "{text}: {error}");
        assert!(error.what.starts_with(what), "{text}: {error}");
    }
}
