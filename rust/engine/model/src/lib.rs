// SPDX-License-Identifier: GPL-2.0
//! Model checking of two ends and a lossy channel: not samples, but every order in which packets can be delivered, dropped
//! and doubled, timers fire and programs go on, to a depth. What is explored is the engine itself, by the operations
//! and with the assertions of its other tests (`tests/common`): a state is both connections as they are in memory.
//!
//! | abstraction | why nothing is missed by it |
//! |---|---|
//! | a channel is a set of packets with counts | any of them may be delivered next, so their order says nothing |
//! | time stands still but for "the next timer fires" | a packet that is delivered after a timer was late |
//! | programs are lists of calls, each of which may come at any time | |
//!
//! From every state that is found the channel becomes reliable, on a copy: all data must arrive, and both ends must come to
//! their end. That is "no deadlock" and "data intact" for everything that begins within the depth.

#[path = "../../tests/common/mod.rs"]
mod common;

use common::duo::{Duo, Setup, Slot};
use common::op::{Op, Side};
use stateright::{Checker, Model, Property};
use std::fmt::{self, Write};
use std::hash::{Hash, Hasher};
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Packets that can be on their way in one direction; no more are doubled. Programs send fewer.
const MOST_PACKETS: usize = 4;

/// Two ends, what is on its way, and how far the programs have come.
#[derive(Clone)]
struct State {
    duo: Duo,
    done: [usize; 2],
    broken: Option<Broken>,
}

/// What must not be.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Broken {
    /// An assertion failed, of the engine's or of the bench's.
    Step(String),
    /// The channel became reliable, and not all was well.
    End(String),
}

/// Where the exploration begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// A connects to B, which listens.
    Open,
    /// Both connect.
    SimultaneousOpen,
    /// The connection stands; data is to be sent.
    Data,
    /// Each side has sent, and neither has acknowledged; then both close.
    Close,
}

impl Start {
    pub const ALL: [Start; 4] = [
        Start::Open,
        Start::SimultaneousOpen,
        Start::Data,
        Start::Close,
    ];

    /// Where fewer things can happen, more steps cost the same.
    pub fn depth(self, depth: usize) -> usize {
        match self {
            Start::Open => depth + 2,
            Start::SimultaneousOpen => depth + 1,
            Start::Data => depth + 2,
            Start::Close => depth,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Start::Open => "open",
            Start::SimultaneousOpen => "simultaneous",
            Start::Data => "data",
            Start::Close => "close",
        }
    }
}

/// The depth that is explored where nothing else is said: [`Start::depth`] adds to it.
pub const DEPTH: usize = 4;

/// What was explored.
pub struct Explored {
    pub start: Start,
    pub options: bool,
    pub depth: usize,
    /// Different states, and all that were looked at.
    pub unique: usize,
    pub states: usize,
    pub seconds: f64,
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<13} {:<16} depth {:>2}: {:>9} different states of {:>10}, {:.1} s",
            self.start.name(),
            if self.options {
                "SACK, timestamps"
            } else {
                "plain"
            },
            self.depth,
            self.unique,
            self.states,
            self.seconds,
        )
    }
}

/// Explores all states that at most [`Start::depth`] operations lead to.
///
/// # Panics
/// When something is broken: with the operations that lead there, of which there are as few as can be.
pub fn explore(start: Start, options: bool, depth: usize) -> Explored {
    let begin = std::time::Instant::now();
    let depth = start.depth(depth);
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    // The first panic of many is enough, and it is told below.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let checker = Conversation { start, options }
        .checker()
        .threads(threads)
        // The state at the beginning counts as one.
        .target_max_depth(depth + 1)
        .spawn_bfs()
        .join();
    std::panic::set_hook(hook);
    for name in ALWAYS {
        if let Some(path) = checker.discovery(name) {
            let last = path.last_state().clone();
            let actions = path.into_actions();
            panic!(
                "{start:?}, options {options}: not so: {name}\n{}\nafter {actions:#?}",
                last.broken().unwrap_or_default()
            );
        }
    }
    Explored {
        start,
        options,
        depth,
        unique: checker.unique_state_count(),
        states: checker.state_count(),
        seconds: begin.elapsed().as_secs_f64(),
    }
}

/// What holds in every state.
const ALWAYS: [&str; 2] = [
    "no assertion fails",
    "over a reliable channel all data arrives and both ends come to their end",
];

/// Two programs over a channel.
struct Conversation {
    start: Start,
    /// Selective acknowledgments and timestamps, or neither.
    options: bool,
}

impl Conversation {
    /// What the program at this end does, in this order.
    fn plan(&self, side: Side) -> &'static [Op] {
        const A: Side = Side::A;
        const B: Side = Side::B;
        // The second write finds the first in flight; three packets are the least with a hole and a tail.
        match side {
            Side::A => &[
                Op::Write { side: A, len: 200 },
                Op::Write { side: A, len: 50 },
                Op::Shutdown { side: A },
            ],
            Side::B => &[Op::Write { side: B, len: 100 }, Op::Shutdown { side: B }],
        }
    }

    fn begin(&self) -> State {
        let mut duo = Duo::new(Setup {
            simultaneous: self.start == Start::SimultaneousOpen,
            stamps: [self.options; 2],
            sack: [self.options; 2],
            mss: [112; 2],
            ..Setup::default()
        });
        let mut done = [0; 2];
        if matches!(self.start, Start::Data | Start::Close) {
            for to in [Side::B, Side::A, Side::B] {
                duo.step(&Op::Deliver { to, at: 0 });
            }
        }
        if self.start == Start::Close {
            for side in Side::BOTH {
                let plan = self.plan(side);
                done[side.index()] = plan.len() - 1;
                for op in &plan[..plan.len() - 1] {
                    duo.step(op);
                }
            }
        }
        let mut state = State {
            duo,
            done,
            broken: None,
        };
        state.sort();
        state
    }
}

impl Model for Conversation {
    type State = State;
    type Action = Op;

    fn init_states(&self) -> Vec<State> {
        vec![self.begin()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Op>) {
        if state.broken.is_some() {
            return;
        }
        for to in Side::BOTH {
            let wire = &state.duo.wires[to.index()];
            for (index, packet) in wire.iter().enumerate() {
                // Equal ones are neighbours.
                if index > 0 && wire[index - 1] == *packet {
                    continue;
                }
                let at = index as u8;
                actions.push(Op::Deliver { to, at });
                actions.push(Op::Drop { to, at });
                if wire.len() < MOST_PACKETS {
                    actions.push(Op::Duplicate { to, at });
                }
            }
            if let Some(op) = self.plan(to).get(state.done[to.index()]) {
                if matches!(state.duo.ends[to.index()].slot, Slot::Open(_)) {
                    actions.push(*op);
                }
            }
        }
        if state.duo.deadline().is_some() {
            actions.push(Op::Expire);
        }
    }

    fn next_state(&self, last: &State, action: Op) -> Option<State> {
        let mut next = last.clone();
        match action {
            Op::Write { side, .. } | Op::Shutdown { side } => {
                // In SYN-SENT a shutdown would be the end.
                if matches!(action, Op::Shutdown { .. }) && !is_established(&next.duo, side) {
                    return None;
                }
                next.done[side.index()] += 1;
            }
            _ => {}
        }
        let stepped = caught(|| next.duo.step(&action));
        next.sort();
        next.broken = match stepped {
            Err(why) => Some(Broken::Step(why)),
            Ok(()) => {
                let mut copy = next.duo.clone();
                caught(|| copy.finish()).err().map(Broken::End)
            }
        };
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ALWAYS[0], |_, state: &State| {
                !matches!(state.broken, Some(Broken::Step(_)))
            }),
            Property::always(ALWAYS[1], |_, state: &State| {
                !matches!(state.broken, Some(Broken::End(_)))
            }),
        ]
    }
}

fn is_established(duo: &Duo, side: Side) -> bool {
    matches!(&duo.ends[side.index()].slot, Slot::Open(driver) if driver.established)
}

/// A panic as words.
fn caught(run: impl FnOnce()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|what| {
        let text = what.downcast_ref::<String>().cloned();
        text.or_else(|| what.downcast_ref::<&str>().map(|text| text.to_string()))
            .unwrap_or_else(|| "a panic".to_string())
    })
}

impl State {
    /// Packets in the order of their bytes: what order they were sent in says nothing.
    fn sort(&mut self) {
        for wire in &mut self.duo.wires {
            wire.sort_unstable();
        }
    }

    /// The words of what is broken.
    fn broken(&self) -> Option<&str> {
        match &self.broken {
            Some(Broken::Step(why) | Broken::End(why)) => Some(why),
            None => None,
        }
    }
}

/// All that a state holds, private fields too, is in its debug format; so the engine needs no `Hash` of its own.
impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        struct Into<'a, H>(&'a mut H);
        impl<H: Hasher> Write for Into<'_, H> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.write(text.as_bytes());
                Ok(())
            }
        }
        for end in &self.duo.ends {
            let _ = write!(Into(state), "{:?}", end.slot);
        }
        self.duo.wires.hash(state);
        self.duo.now.hash(state);
        self.done.hash(state);
        self.broken.is_some().hash(state);
    }
}

/// Seldom asked for: when the way to a state is told.
impl PartialEq for State {
    fn eq(&self, other: &State) -> bool {
        self.done == other.done && format!("{self:?}") == format!("{other:?}")
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "at {:?}, {:?}", self.duo.now, self.done)?;
        if let Some(why) = self.broken() {
            writeln!(f, "broken: {why}")?;
        }
        for end in &self.duo.ends {
            writeln!(f, "{:?}", end.slot)?;
        }
        write!(f, "{:?}", self.duo.wires)
    }
}
