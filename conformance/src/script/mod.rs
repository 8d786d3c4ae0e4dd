// SPDX-License-Identifier: GPL-2.0

//! A script in packetdrill's language, as it was read.

mod code;
mod cursor;
mod expression;
mod packet;
mod parser;
mod symbols;

pub use code::{Assertion, EvalError, Term};
pub use expression::Expr;
pub use packet::{Ace, Ecn, IcmpSpec, IpSpec, OptionSpec, PacketBody, PacketSpec, TcpSpec};
pub use parser::parse;
pub use symbols::{errno_name, errno_number, Defines};

use std::fmt;

/// Microseconds, of the script's clock or of a length of time.
pub type Micros = i64;

/// What is wrong with a script, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The line, counted from 1.
    pub line: u32,
    /// What was found, or what is missing.
    pub what: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// A script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The lines that begin with `--`.
    pub options: Vec<ScriptOption>,
    /// The commands before the first event.
    pub init: Option<Command>,
    /// The events, in their order.
    pub events: Vec<Event>,
    /// The commands after the last event.
    pub cleanup: Option<Command>,
}

/// `--name=value` or `--name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptOption {
    /// Where it stands.
    pub line: u32,
    /// Without the dashes.
    pub name: String,
    /// What stands behind `=`.
    pub value: Option<String>,
}

/// Shell commands in backticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Where it begins.
    pub line: u32,
    /// What stands between the backticks.
    pub text: String,
}

/// When an event happens, or is expected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// `*`
    Any,
    /// `1.5`: after the script's start.
    Absolute(Micros),
    /// `1.5~2.5`
    AbsoluteRange(Micros, Micros),
    /// `+1.5`: after the event before.
    Relative(Micros),
    /// `+1.5~+2.5`
    RelativeRange(Micros, Micros),
}

/// One line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Where it stands.
    pub line: u32,
    /// When it happens.
    pub when: When,
    /// What happens.
    pub action: Action,
}

/// What an event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `<`: a packet that the runner sends.
    Inbound(PacketSpec),
    /// `>`: a packet that the implementation is to send.
    Outbound(PacketSpec),
    /// A system call and what it is to return.
    Call(Call),
    /// Shell commands.
    Command(String),
    /// `%{ ... }%`: assertions in Python.
    Code(Vec<Assertion>),
}

/// A system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub args: Vec<Expr>,
    /// For a call that blocks, `start...end`: when it returns, on the same clock as the event's time.
    pub end: Option<Micros>,
    /// The value that it returns; `None` for `?`.
    pub result: Option<i64>,
    /// The name of the error, where one is stated.
    pub errno: Option<String>,
}
