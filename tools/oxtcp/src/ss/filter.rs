// SPDX-License-Identifier: GPL-2.0
//! What `ss` takes as a filter: `state established '( dport = :443 or dport = :80 )'`, and processes besides.
//!
//! `FILTER := [state STATE | exclude STATE]... [EXPRESSION]`. In an expression `and` may be left out.

use std::net::{IpAddr, SocketAddr};

use super::services::Services;
use crate::failure::{Problem, Result};
use crate::sockets::process::Owners;
use crate::sockets::{Socket, State};

/// Which sockets are wanted; all by default.
#[derive(Debug, Default, PartialEq)]
pub struct Filter {
    /// The states; `None` where the command line names none.
    pub states: Option<Vec<State>>,
    expression: Option<Expression>,
}

#[derive(Debug, PartialEq)]
enum Expression {
    Not(Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    Port(End, Comparison, u16),
    Host(End, Host),
    Pid(Comparison, u32),
    Uid(Comparison, u32),
    Process(bool, String),
}

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Local,
    Remote,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    AtLeast,
    AtMost,
    More,
    Less,
}

/// An address or a prefix, a port, or both.
#[derive(Clone, Debug, PartialEq)]
struct Host {
    prefix: Option<(IpAddr, u8)>,
    port: Option<u16>,
    not: bool,
}

impl Filter {
    /// Of the words of the command line.
    pub fn parse(words: &[String], services: &Services) -> Result<Self> {
        let mut tokens: Vec<String> = Vec::new();
        for word in words.iter().flat_map(|word| word.split_whitespace()) {
            split(word, &mut tokens);
        }
        // Each `!`, bracket and `and` is a level of the tree, which functions walk that call themselves.
        if tokens.len() > MOST_WORDS {
            return Err(Problem::usage(format!(
                "a filter has {MOST_WORDS} words at most, and this one has {}.\nA prefix (dst 192.0.2.0/24) stands for many addresses.",
                tokens.len()
            )));
        }
        let mut parser = Parser {
            tokens,
            at: 0,
            services,
        };
        let states = parser.states()?;
        let expression = if parser.peek().is_some() {
            Some(parser.alternatives()?)
        } else {
            None
        };
        match parser.peek() {
            None => Ok(Self { states, expression }),
            Some(token) => Err(parser.wrong(&format!("`{token}` cannot stand here"))),
        }
    }

    /// Whether it asks for the ends alone, apart from states.
    pub fn is_of_ends(&self) -> bool {
        self.expression.as_ref().is_none_or(Expression::is_of_ends)
    }

    /// Whether a connection between these ends is wanted, apart from its state. Of a filter that asks for more the rest never holds.
    pub fn matches_ends(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        let ends = |end: End| match end {
            End::Local => local,
            End::Remote => remote,
        };
        self.expression
            .as_ref()
            .is_none_or(|expression| expression.matches_ends(&ends).unwrap_or(false))
    }

    /// Whether [`Filter::matches`] looks at processes.
    pub fn needs_owners(&self) -> bool {
        self.expression
            .as_ref()
            .is_some_and(Expression::needs_owners)
    }

    /// Whether a socket is wanted, apart from its state.
    pub fn matches(&self, socket: &Socket, owners: &Owners) -> bool {
        self.expression
            .as_ref()
            .is_none_or(|expression| expression.matches(socket, owners))
    }
}

impl Expression {
    fn needs_owners(&self) -> bool {
        match self {
            Expression::Not(one) => one.needs_owners(),
            Expression::And(one, other) | Expression::Or(one, other) => {
                one.needs_owners() || other.needs_owners()
            }
            Expression::Pid(..) | Expression::Process(..) => true,
            Expression::Port(..) | Expression::Host(..) | Expression::Uid(..) => false,
        }
    }

    fn is_of_ends(&self) -> bool {
        match self {
            Expression::Not(one) => one.is_of_ends(),
            Expression::And(one, other) | Expression::Or(one, other) => {
                one.is_of_ends() && other.is_of_ends()
            }
            Expression::Port(..) | Expression::Host(..) => true,
            Expression::Pid(..) | Expression::Uid(..) | Expression::Process(..) => false,
        }
    }

    /// `None` where it asks for more than the ends.
    fn matches_ends(&self, end: &dyn Fn(End) -> SocketAddr) -> Option<bool> {
        Some(match self {
            Expression::Not(one) => !one.matches_ends(end)?,
            Expression::And(one, other) => one.matches_ends(end)? && other.matches_ends(end)?,
            Expression::Or(one, other) => one.matches_ends(end)? || other.matches_ends(end)?,
            Expression::Port(which, comparison, port) => {
                comparison.holds(u32::from(end(*which).port()), u32::from(*port))
            }
            Expression::Host(which, host) => host.matches(end(*which)),
            Expression::Pid(..) | Expression::Uid(..) | Expression::Process(..) => return None,
        })
    }

    fn matches(&self, socket: &Socket, owners: &Owners) -> bool {
        let end = |end: End| match end {
            End::Local => socket.local,
            End::Remote => socket.remote,
        };
        match self {
            Expression::Not(one) => !one.matches(socket, owners),
            Expression::And(one, other) => {
                one.matches(socket, owners) && other.matches(socket, owners)
            }
            Expression::Or(one, other) => {
                one.matches(socket, owners) || other.matches(socket, owners)
            }
            Expression::Port(which, comparison, port) => {
                comparison.holds(u32::from(end(*which).port()), u32::from(*port))
            }
            Expression::Host(which, host) => host.matches(end(*which)),
            Expression::Uid(comparison, uid) => comparison.holds(socket.uid, *uid),
            Expression::Pid(Comparison::NotEqual, pid) => owners
                .of(socket.inode)
                .iter()
                .all(|owner| owner.pid != *pid),
            Expression::Pid(comparison, pid) => owners
                .of(socket.inode)
                .iter()
                .any(|owner| comparison.holds(owner.pid, *pid)),
            Expression::Process(equal, name) => {
                owners
                    .of(socket.inode)
                    .iter()
                    .any(|owner| owner.name == *name)
                    == *equal
            }
        }
    }
}

impl Comparison {
    fn of(token: &str) -> Option<Self> {
        Some(match token {
            "=" | "==" | "eq" | "is" => Comparison::Equal,
            "!=" | "ne" | "neq" => Comparison::NotEqual,
            ">=" | "ge" | "geq" => Comparison::AtLeast,
            "<=" | "le" | "leq" => Comparison::AtMost,
            ">" | "gt" => Comparison::More,
            "<" | "lt" => Comparison::Less,
            _ => return None,
        })
    }

    fn holds(self, value: u32, limit: u32) -> bool {
        match self {
            Comparison::Equal => value == limit,
            Comparison::NotEqual => value != limit,
            Comparison::AtLeast => value >= limit,
            Comparison::AtMost => value <= limit,
            Comparison::More => value > limit,
            Comparison::Less => value < limit,
        }
    }
}

impl Host {
    fn matches(&self, end: SocketAddr) -> bool {
        let ip = self
            .prefix
            .is_none_or(|(ip, len)| contains(ip, len, end.ip()));
        let port = self.port.is_none_or(|port| port == end.port());
        (ip && port) != self.not
    }
}

/// Whether an address is in a prefix. One of IPv4 is there when it is mapped into IPv6 too, as `ss` has it.
fn contains(prefix: IpAddr, len: u8, ip: IpAddr) -> bool {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => (u128::from(ip.to_bits()) << 96, 32),
        IpAddr::V6(ip) => (ip.to_bits(), 128),
    };
    let ip = if prefix.is_ipv4() {
        ip.to_canonical()
    } else {
        ip
    };
    let ((prefix, width), (ip, other_width)) = (bits(prefix), bits(ip));
    width == other_width && (len == 0 || (prefix ^ ip) >> (128 - u32::from(len)) == 0)
}

/// Far more than anybody writes, and far less than what the stack holds.
const MOST_WORDS: usize = 2000;

/// Brackets, `!` and comparisons may stand without spaces.
fn split(word: &str, tokens: &mut Vec<String>) {
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '(' | ')' => 1,
            '!' | '=' | '<' | '>' => {
                if rest[1..].starts_with('=') {
                    2
                } else {
                    1
                }
            }
            '&' | '|' => rest.len() - rest.trim_start_matches(first).len(),
            _ => rest
                .find(['(', ')', '!', '=', '<', '>', '&', '|'])
                .unwrap_or(rest.len()),
        };
        tokens.push(rest[..len].to_string());
        rest = &rest[len..];
    }
}

struct Parser<'s> {
    tokens: Vec<String>,
    at: usize,
    services: &'s Services,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.at).map(String::as_str)
    }

    fn next(&mut self, wanted: &str) -> Result<String> {
        match self.tokens.get(self.at) {
            Some(token) => {
                self.at += 1;
                Ok(token.clone())
            }
            None => Err(self.wrong(&format!("{wanted} is missing at its end"))),
        }
    }

    fn take(&mut self, tokens: &[&str]) -> bool {
        let taken = self.peek().is_some_and(|token| tokens.contains(&token));
        self.at += usize::from(taken);
        taken
    }

    fn wrong(&self, what: &str) -> Problem {
        Problem::usage(format!(
            "cannot read the filter `{}`: {what}.\nSuch as: oxtcp ss state syn-recv; oxtcp ss 'sport = :80 and dst 192.0.2.0/24'; \
             oxtcp ss process nginx.",
            self.tokens.join(" ")
        ))
    }

    fn states(&mut self) -> Result<Option<Vec<State>>> {
        let mut states: Option<Vec<State>> = None;
        loop {
            let include = match self.peek() {
                Some("state") => true,
                Some("exclude") => false,
                _ => return Ok(states),
            };
            self.at += 1;
            let token = self.next("a state")?;
            let named = named(&token).ok_or_else(|| {
                self.wrong(&format!(
                    "`{token}` is no state; they are {}, all, connected, synchronized, bucket, big",
                    State::ALL.map(State::name).join(", ")
                ))
            })?;
            let mut now = match (states.take(), include) {
                (Some(states), _) => states,
                (None, true) => Vec::new(),
                (None, false) => State::ALL.to_vec(),
            };
            if include {
                now.extend(named);
            } else {
                now.retain(|state| !named.contains(state));
            }
            states = Some(now);
        }
    }

    fn alternatives(&mut self) -> Result<Expression> {
        let mut one = self.conjunction()?;
        while self.take(&["or", "|", "||"]) {
            one = Expression::Or(Box::new(one), Box::new(self.conjunction()?));
        }
        Ok(one)
    }

    fn conjunction(&mut self) -> Result<Expression> {
        let mut one = self.factor()?;
        loop {
            let and = self.take(&["and", "&", "&&"]);
            if !and && matches!(self.peek(), None | Some("or" | "|" | "||" | ")")) {
                return Ok(one);
            }
            one = Expression::And(Box::new(one), Box::new(self.factor()?));
        }
    }

    fn factor(&mut self) -> Result<Expression> {
        if self.take(&["not", "!"]) {
            return Ok(Expression::Not(Box::new(self.factor()?)));
        }
        if self.take(&["("]) {
            let inner = self.alternatives()?;
            return if self.take(&[")"]) {
                Ok(inner)
            } else {
                Err(self.wrong("a `)` is missing"))
            };
        }
        let token = self.next("an expression")?;
        match token.as_str() {
            "sport" => self.port(End::Local),
            "dport" => self.port(End::Remote),
            "src" => self.host(End::Local),
            "dst" => self.host(End::Remote),
            "pid" => {
                let (comparison, number) = self.number("a process's number")?;
                Ok(Expression::Pid(comparison, number))
            }
            "uid" => {
                let (comparison, number) = self.number("a user's number")?;
                Ok(Expression::Uid(comparison, number))
            }
            "process" | "comm" => {
                let equal = match self.comparison() {
                    Comparison::Equal => true,
                    Comparison::NotEqual => false,
                    _ => return Err(self.wrong("a process's name is compared by = and !=")),
                };
                Ok(Expression::Process(equal, self.next("a process's name")?))
            }
            "state" | "exclude" => Err(self.wrong("states stand before all else")),
            "dev" | "fwmark" | "cgroup" | "autobound" | "saddr" | "daddr" => {
                Err(self.wrong(&format!("`{token}` is not known here")))
            }
            _ => Err(self.wrong(&format!(
                "`{token}` is none of sport, dport, src, dst, pid, uid, process"
            ))),
        }
    }

    /// The comparison that comes next; without one it is equality.
    fn comparison(&mut self) -> Comparison {
        match self.peek().and_then(Comparison::of) {
            Some(comparison) => {
                self.at += 1;
                comparison
            }
            None => Comparison::Equal,
        }
    }

    fn number(&mut self, what: &str) -> Result<(Comparison, u32)> {
        let comparison = self.comparison();
        let token = self.next(what)?;
        let number = token
            .parse()
            .map_err(|_| self.wrong(&format!("`{token}` is not {what}")))?;
        Ok((comparison, number))
    }

    fn port(&mut self, end: End) -> Result<Expression> {
        let comparison = self.comparison();
        let token = self.next("a port")?;
        let port = self.port_of(token.strip_prefix(':').unwrap_or(&token))?;
        Ok(Expression::Port(end, comparison, port))
    }

    fn port_of(&self, text: &str) -> Result<u16> {
        if let Ok(port) = text.parse() {
            return Ok(port);
        }
        self.services.port(text).ok_or_else(|| {
            self.wrong(&format!(
                "`{text}` is no port: a number up to 65535, or a name of /etc/services"
            ))
        })
    }

    fn host(&mut self, end: End) -> Result<Expression> {
        let not = match self.comparison() {
            Comparison::Equal => false,
            Comparison::NotEqual => true,
            _ => return Err(self.wrong("addresses are compared by = and !=")),
        };
        let token = self.next("an address")?;
        let (ip, port) = host_and_port(&token);
        let prefix = match ip {
            "" | "*" => None,
            ip => Some(prefix(ip).ok_or_else(|| {
                self.wrong(&format!(
                    "`{token}` is no address; they are like 192.0.2.1, 192.0.2.0/24:80, [2001:db8::1]:80, :80"
                ))
            })?),
        };
        let port = match port {
            None | Some("*") => None,
            Some(port) => Some(self.port_of(port)?),
        };
        Ok(Expression::Host(end, Host { prefix, port, not }))
    }
}

/// `IP`, `IP:PORT`, `[IPv6]:PORT`, `:PORT`; an IPv6 address without brackets has no port. A prefix length may follow
/// the address.
fn host_and_port(text: &str) -> (&str, Option<&str>) {
    if let Some((ip, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        // `[2001:db8::]/32` as well as `[2001:db8::/32]`.
        return match rest.strip_prefix(':') {
            Some(port) => (ip, Some(port)),
            None if rest.is_empty() => (ip, None),
            None => (text, None),
        };
    }
    match text.split_once(':') {
        Some((ip, port)) if !port.contains(':') && text != ":" => (ip, Some(port)),
        _ => (text, None),
    }
}

fn prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, len) = match text.split_once('/') {
        Some((ip, len)) => (ip, Some(len.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let ip: IpAddr = ip.parse().ok()?;
    let width = if ip.is_ipv4() { 32 } else { 128 };
    let len = len.unwrap_or(width);
    (len <= width).then_some((ip, len))
}

/// The states of a name: `ss`'s, RFC 9293's, and `ss`'s for several.
fn named(name: &str) -> Option<Vec<State>> {
    let name = name.to_lowercase().replace('_', "-");
    let all_but = |out: &[State]| {
        State::ALL
            .into_iter()
            .filter(|state| !out.contains(state))
            .collect()
    };
    Some(match name.as_str() {
        "all" => State::ALL.to_vec(),
        "connected" => all_but(&[State::Listen, State::Close]),
        "synchronized" => all_but(&[State::Listen, State::Close, State::SynSent]),
        "bucket" => vec![State::SynRecv, State::TimeWait],
        "big" => all_but(&[State::SynRecv, State::TimeWait]),
        "listen" => vec![State::Listen],
        "estab" => vec![State::Established],
        "syn-received" => vec![State::SynRecv],
        "close" => vec![State::Close],
        name => vec![State::ALL.into_iter().find(|state| state.name() == name)?],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::Timer;

    fn parse(text: &str) -> Result<Filter> {
        Filter::parse(
            &[text.to_string()],
            &Services::parse("ssh 22/tcp\nhttp\t80/tcp www # web\nhttp 80/udp\n"),
        )
    }

    fn socket(local: &str, remote: &str) -> Socket {
        Socket {
            state: State::Established,
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            recv_queue: 0,
            send_queue: 0,
            timer: Timer::Off,
            timer_ms: 0,
            retransmits: 0,
            uid: 33,
            inode: 5,
            figures: None,
            info: None,
            algorithm: None,
            queues: None,
            memory: None,
            identity: None,
        }
    }

    /// However deep it is, there is an answer and no overflow of the stack.
    #[test]
    fn long_ones_are_refused() {
        for text in [
            "!".repeat(100_000),
            "(".repeat(100_000),
            "uid 1 ".repeat(50_000),
        ] {
            let problem = parse(&text).unwrap_err();
            assert!(problem.message().contains("words at most"), "{problem}");
        }
        assert!(parse(&"uid 1 ".repeat(900)).is_ok());
    }

    #[test]
    fn expressions_choose_sockets() {
        let web = socket("192.0.2.1:80", "198.51.100.7:40000");
        let six = socket("[2001:db8::1]:22", "[2001:db8::2]:50000");
        let mapped = socket("[::ffff:192.0.2.1]:443", "[::ffff:198.51.100.9]:1");
        for (text, expected) in [
            ("", [true, true, true]),
            ("sport = :80", [true, false, false]),
            ("sport=:http", [true, false, false]),
            ("sport 80", [true, false, false]),
            ("sport eq www or sport == ssh", [true, true, false]),
            ("sport != 80", [false, true, true]),
            ("dport>=:40000", [true, true, false]),
            ("dport ge 40000 and dport < 50000", [true, false, false]),
            ("dport gt 1 dport le 50000 sport = 22", [false, true, false]),
            ("src 192.0.2.1", [true, false, true]),
            ("src 192.0.2.0/24:80", [true, false, false]),
            ("src != 192.0.2.0/24", [false, true, false]),
            ("dst 198.51.100.0/29", [true, false, false]),
            ("dst 0.0.0.0/0", [true, false, true]),
            ("dst [2001:db8::2]:50000", [false, true, false]),
            ("dst 2001:db8::/32", [false, true, false]),
            ("dst [2001:db8::/32]:*", [false, true, false]),
            ("src :22", [false, true, false]),
            ("src *:22 or src = *:443", [false, true, true]),
            ("not ( sport = 80 or sport = 22 )", [false, false, true]),
            ("!(sport=80||sport=22)", [false, false, true]),
            ("! sport = 80 & sport = 22", [false, true, false]),
            ("uid = 33", [true, true, true]),
            ("uid > 33", [false, false, false]),
        ] {
            let filter = parse(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
            let owners = Owners::default();
            let found = [&web, &six, &mapped].map(|socket| filter.matches(socket, &owners));
            assert_eq!(found, expected, "{text}");
            assert!(!filter.needs_owners());
            assert_eq!(filter.states, None);
        }
    }

    #[test]
    fn states_by_any_name() {
        for (text, states) in [
            ("state syn-recv", vec![State::SynRecv]),
            ("state SYN_RECV", vec![State::SynRecv]),
            (
                "state established state close-wait",
                vec![State::Established, State::CloseWait],
            ),
            ("state bucket exclude time-wait", vec![State::SynRecv]),
            ("state listen", vec![State::Listen]),
        ] {
            assert_eq!(parse(text).unwrap().states, Some(states), "{text}");
        }
        let all_but_one = parse("exclude listening sport = 80").unwrap();
        assert_eq!(all_but_one.states.unwrap().len(), 10);
    }

    #[test]
    fn processes_are_asked_for_when_needed() {
        for text in ["pid = 7", "process nginx", "sport = 80 or not comm = nginx"] {
            assert!(parse(text).unwrap().needs_owners(), "{text}");
        }
        let nobody = Owners::default();
        let socket = socket("192.0.2.1:80", "192.0.2.2:1");
        for (text, expected) in [
            ("pid = 7", false),
            ("pid != 7", true),
            ("process nginx", false),
            ("process != nginx", true),
        ] {
            assert_eq!(
                parse(text).unwrap().matches(&socket, &nobody),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn nonsense_is_told() {
        for (text, part) in [
            ("state open", "`open` is no state"),
            ("state", "a state is missing at its end"),
            ("sport", "a port is missing"),
            ("sport = :gopher", "`gopher` is no port"),
            ("sport = 65536", "`65536` is no port"),
            ("sport = 80 )", "`)` cannot stand here"),
            ("( sport = 80", "a `)` is missing"),
            ("sport = 80 or", "an expression is missing"),
            ("dst 192.0.2.0/33", "is no address"),
            ("dst example.org", "is no address"),
            ("dst > 192.0.2.1", "compared by = and !="),
            ("dst [::1", "is no address"),
            ("pid = nginx", "`nginx` is not a process's number"),
            ("sport = 80 state established", "states stand before"),
            ("dev eth0", "`dev` is not known here"),
            ("established", "`established` is none of sport"),
            ("&&", "`&&` is none of"),
            ("\u{e4}\u{2260}", "is none of"),
        ] {
            let problem = parse(text).unwrap_err();
            assert!(problem.message().contains(part), "{text}: {problem}");
        }
    }
}
