// SPDX-License-Identifier: GPL-2.0

//! The states of a connection and the one table of its transitions (RFC 9293 section 3.3.2, figure 5).
//!
//! The code that acts on a transition asks this table for the next state, the tests walk it, and the
//! diagram of the documentation is drawn from it ([`draw`]).

use core::fmt;

/// The state of a connection (RFC 9293 section 3.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No connection.
    Closed,
    /// Waiting for a connection request. A listener's state: no `Connection` has it.
    Listen,
    /// A SYN has been sent.
    SynSent,
    /// A SYN has been received and one has been sent; ours is not yet acknowledged.
    SynReceived,
    /// Data flows both ways.
    Established,
    /// We have no more to send; the peer has not yet acknowledged all of it.
    FinWait1,
    /// We have no more to send, and the peer knows; it may still send.
    FinWait2,
    /// The peer has no more to send; we may still send.
    CloseWait,
    /// Both have no more to send; our FIN, sent before the peer's came, is not yet acknowledged.
    Closing,
    /// Both have no more to send; our FIN, sent after the peer's came, is not yet acknowledged.
    LastAck,
    /// Both are done; we stay until all old segments have left the network.
    TimeWait,
}

/// What moves a connection from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The user opens a connection.
    ActiveOpen,
    /// The user waits for connections.
    PassiveOpen,
    /// A SYN without an ACK of ours.
    SynArrives,
    /// A SYN with the ACK of our SYN.
    SynAckArrives,
    /// The ACK of our SYN.
    AckOfSyn,
    /// The user has no more to send: `shutdown(SHUT_WR)` or `close`.
    Finish,
    /// The peer's FIN, in order.
    FinArrives,
    /// The ACK of our FIN.
    AckOfFin,
    /// 2 MSL have passed in TIME-WAIT, or `fin_timeout` in FIN-WAIT-2 without a user.
    Expire,
    /// A reset arrived or was sent, or the connection was given up.
    Die,
}

/// The transitions, in the order in which a connection lives. [`Input::Die`] leads from every state to
/// CLOSED and is not listed.
pub const TRANSITIONS: [(State, Input, State); 16] = [
    (State::Closed, Input::PassiveOpen, State::Listen),
    (State::Closed, Input::ActiveOpen, State::SynSent),
    (State::Listen, Input::SynArrives, State::SynReceived),
    (State::SynSent, Input::SynArrives, State::SynReceived),
    (State::SynSent, Input::SynAckArrives, State::Established),
    (State::SynReceived, Input::AckOfSyn, State::Established),
    (State::Established, Input::Finish, State::FinWait1),
    (State::Established, Input::FinArrives, State::CloseWait),
    (State::FinWait1, Input::AckOfFin, State::FinWait2),
    (State::FinWait1, Input::FinArrives, State::Closing),
    (State::FinWait2, Input::FinArrives, State::TimeWait),
    (State::FinWait2, Input::Expire, State::Closed),
    (State::CloseWait, Input::Finish, State::LastAck),
    (State::Closing, Input::AckOfFin, State::TimeWait),
    (State::LastAck, Input::AckOfFin, State::Closed),
    (State::TimeWait, Input::Expire, State::Closed),
];

impl State {
    /// Every state.
    pub const ALL: [State; 11] = [
        State::Closed,
        State::Listen,
        State::SynSent,
        State::SynReceived,
        State::Established,
        State::FinWait1,
        State::FinWait2,
        State::CloseWait,
        State::Closing,
        State::LastAck,
        State::TimeWait,
    ];

    /// The state that `input` leads to; `None` where it means nothing.
    pub fn next(self, input: Input) -> Option<State> {
        if input == Input::Die {
            return Some(State::Closed);
        }
        TRANSITIONS
            .iter()
            .find(|row| row.0 == self && row.1 == input)
            .map(|row| row.2)
    }

    /// The name that RFC 9293 gives the state.
    pub const fn name(self) -> &'static str {
        match self {
            State::Closed => "CLOSED",
            State::Listen => "LISTEN",
            State::SynSent => "SYN-SENT",
            State::SynReceived => "SYN-RECEIVED",
            State::Established => "ESTABLISHED",
            State::FinWait1 => "FIN-WAIT-1",
            State::FinWait2 => "FIN-WAIT-2",
            State::CloseWait => "CLOSE-WAIT",
            State::Closing => "CLOSING",
            State::LastAck => "LAST-ACK",
            State::TimeWait => "TIME-WAIT",
        }
    }
}

impl Input {
    /// Every input.
    pub const ALL: [Input; 10] = [
        Input::ActiveOpen,
        Input::PassiveOpen,
        Input::SynArrives,
        Input::SynAckArrives,
        Input::AckOfSyn,
        Input::Finish,
        Input::FinArrives,
        Input::AckOfFin,
        Input::Expire,
        Input::Die,
    ];

    /// A label for the diagram.
    pub const fn label(self) -> &'static str {
        match self {
            Input::ActiveOpen => "connect / SYN",
            Input::PassiveOpen => "listen",
            Input::SynArrives => "SYN / SYN-ACK",
            Input::SynAckArrives => "SYN-ACK / ACK",
            Input::AckOfSyn => "ACK of SYN",
            Input::Finish => "close / FIN",
            Input::FinArrives => "FIN / ACK",
            Input::AckOfFin => "ACK of FIN",
            Input::Expire => "timeout",
            Input::Die => "RST, or given up",
        }
    }
}

/// Draws the table as a Mermaid state diagram.
pub fn draw(out: &mut dyn fmt::Write) -> fmt::Result {
    writeln!(out, "stateDiagram-v2")?;
    for (from, input, to) in TRANSITIONS {
        write!(out, "    ")?;
        draw_name(out, from)?;
        write!(out, " --> ")?;
        draw_name(out, to)?;
        writeln!(out, " : {}", input.label())?;
    }
    Ok(())
}

/// Mermaid takes a hyphen in an identifier for part of an arrow.
fn draw_name(out: &mut dyn fmt::Write, state: State) -> fmt::Result {
    for letter in state.name().chars() {
        out.write_char(if letter == '-' { '_' } else { letter })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    /// RFC 9293 section 3.3.2, figure 5.
    #[test]
    fn the_table_has_no_two_rows_for_one_input() {
        for (i, a) in TRANSITIONS.iter().enumerate() {
            assert_ne!(a.1, Input::Die);
            for b in TRANSITIONS.iter().skip(i + 1) {
                assert!((a.0, a.1) != (b.0, b.1), "{a:?} {b:?}");
            }
        }
    }

    /// RFC 9293 section 3.3.2.
    #[test]
    fn every_state_is_reached_from_closed_and_leads_back_to_it() {
        for state in State::ALL {
            assert_eq!(state.next(Input::Die), Some(State::Closed));
        }
        let reach = |mut seen: std::vec::Vec<State>| loop {
            let more: std::vec::Vec<_> = TRANSITIONS
                .iter()
                .filter(|r| seen.contains(&r.0) && !seen.contains(&r.2))
                .map(|r| r.2)
                .collect();
            match more.first() {
                Some(&s) => seen.push(s),
                None => return seen.len(),
            }
        };
        assert_eq!(reach(std::vec![State::Closed]), State::ALL.len());
    }

    #[test]
    fn draw__is_what_the_documentation_shows() {
        let mut text = String::new();
        draw(&mut text).unwrap();
        let page = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../Documentation/architecture.md"
        );
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.contains(&text), "put this there:\n{text}");
    }

    #[test]
    fn draw__has_a_line_for_each_row() {
        let mut text = String::new();
        draw(&mut text).unwrap();
        assert_eq!(text.lines().count(), 1 + TRANSITIONS.len());
        assert!(text.contains("FIN_WAIT_1 --> FIN_WAIT_2 : ACK of FIN"));
    }
}
