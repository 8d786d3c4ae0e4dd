// SPDX-License-Identifier: GPL-2.0
//! Header prediction beside what it stands for: a segment that a connection [expects](Connection::expects) is given to one copy of it by
//! way of that, to another by way of all rules. And so the acknowledgment that is all that is to be sent, or nothing.

use std::cell::RefCell;

use oxtcp_engine::connection::Rest;
use oxtcp_engine::reassembly::Reassembly;
use oxtcp_engine::{
    BurstLimit, Connection, Context, Counts, Event, FlightMemory, Happening, NoFlight, Payload,
    RecvMemory, Rx, Segment, Transmit,
};

/// What was counted, in its order.
#[derive(Debug, Default, PartialEq)]
struct Counted(RefCell<Vec<(String, u32)>>);

impl Counts for Counted {
    fn count(&self, what: Happening, times: u32) {
        self.0.borrow_mut().push((format!("{what:?}"), times));
    }
}

/// Compares the two, if the segment is expected; says whether it is. Nothing is held out of order; `memory` is what there will be with the
/// packet. The segment is kept by `conn` in neither way.
pub fn compare(
    conn: &Connection,
    cx: &Context<'_>,
    segment: &Segment,
    rx: Rx<'_>,
    memory: &RecvMemory,
) -> bool {
    let (fast_counts, slow_counts) = (Counted::default(), Counted::default());
    let fast_cx = Context::new(cx.now, cx.config).counted(&fast_counts);
    let slow_cx = Context::new(cx.now, cx.config).counted(&slow_counts);
    if !conn.expects(&fast_cx, segment, &rx) {
        return false;
    }
    let before = format!("{:?}", conn.standing(cx.config));
    let (mut fast, mut slow) = (conn.clone(), conn.clone());
    let taken = fast.take_expected(&fast_cx, segment, &rx, memory);

    let mut none = Reassembly::new();
    let rx = Rx {
        reassembly: Some(&mut none),
        ..rx
    };
    let mut refusal = None;
    let verdict = slow.on_segment_telling(&slow_cx, segment, rx, &mut NoFlight, &mut refusal);
    let len = segment.payload_len;
    assert_eq!(verdict, Payload::InOrder { skip: 0, len }, "{segment:?}");
    assert_eq!(refusal, None);
    assert!(none.is_empty());
    slow.set_recv_memory(memory);
    let mut poll = || slow.poll_transmit(&slow_cx, BurstLimit(65_000), &mut NoFlight);
    let sent = poll();
    assert_eq!(
        format!("{sent:?}"),
        format!("{:?}", taken.ack.map(Transmit::from))
    );
    assert!(sent.is_none() || poll().is_none());
    let events = slow.take_events();
    assert!(events.contains(Event::Readable));
    let after = format!("{:?}", slow.standing(cx.config));
    assert!(taken.changed || after == before, "{before} {after}");
    assert_eq!(format!("{fast:?}"), format!("{slow:?}"), "{segment:?}");
    assert_eq!(fast_counts, slow_counts);
    true
}

/// Compares the ways to an acknowledgment, if that is all that is to be sent, or to nothing; says whether it is. Nothing is sent.
pub fn compare_rest<M>(conn: &Connection, cx: &Context<'_>, flight: &M) -> bool
where
    M: FlightMemory + Clone + std::fmt::Debug,
{
    let (fast_counts, slow_counts) = (Counted::default(), Counted::default());
    let fast_cx = Context::new(cx.now, cx.config).counted(&fast_counts);
    let slow_cx = Context::new(cx.now, cx.config).counted(&slow_counts);
    let (mut fast, mut slow) = (conn.clone(), conn.clone());
    let owed = match fast.poll_rest(&fast_cx) {
        Rest::Acknowledgment(ack) => Some(ack),
        Rest::Nothing => None,
        Rest::Other => return false,
    };
    let mut memory = flight.clone();
    let mut poll = || slow.poll_transmit(&slow_cx, BurstLimit(65_000), &mut memory);
    let sent = poll();
    assert_eq!(
        format!("{sent:?}"),
        format!("{:?}", owed.map(Transmit::from))
    );
    assert!(owed.is_none() || poll().is_none());
    assert_eq!(format!("{fast:?}"), format!("{slow:?}"));
    assert_eq!(format!("{flight:?}"), format!("{memory:?}"));
    assert_eq!(fast_counts, slow_counts);
    true
}
