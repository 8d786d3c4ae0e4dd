// SPDX-License-Identifier: GPL-2.0
//! `--stats`: what a program's connections came to.

use std::fmt::Write as _;

use serde_json::{json, Value};

use crate::output::{Color, Painter, Table};
use crate::trace::program::Seen;
use crate::trace::summary::{Connection, End, Opened};

/// Of more connections the text has only the sum.
const MOST: usize = 100;

/// For people.
pub fn text(seen: &Seen) -> String {
    let list = &seen.connections;
    let mut text = match list.len() {
        0 => return "oxtcp: stats: no connection\n".to_string() + &lost(seen),
        1 => "oxtcp: stats: 1 connection".to_string(),
        number => format!("oxtcp: stats: {number} connections"),
    };
    for end in [End::Open, End::Closed, End::Aborted, End::Failed] {
        match list.iter().filter(|one| one.end == end).count() {
            0 => {}
            number => {
                let _ = write!(text, ", {number} {}", end.name());
            }
        }
    }
    let sum = |of: &dyn Fn(&Connection) -> u64| list.iter().map(of).sum::<u64>();
    let _ = writeln!(
        text,
        "; {} bytes sent, {} received, {} segments sent again",
        sum(&|one| one.sent),
        sum(&|one| one.received),
        sum(&|one| one.retransmits.into())
    );
    let mut table = Table::new(
        &[
            "LOCAL", "PEER", "OPENED", "STATE", "END", "SECONDS", "SENT", "RECEIVED", "AGAIN",
            "RTT ms",
        ],
        &[5, 6, 7, 8, 9],
    );
    for one in list.iter().take(MOST) {
        table.row(vec![
            one.local.to_string(),
            one.remote.to_string(),
            opened(one.opened).into(),
            one.state.label().into(),
            one.end.name().into(),
            format!("{:.3}", one.duration.as_secs_f64()),
            one.sent.to_string(),
            one.received.to_string(),
            one.retransmits.to_string(),
            one.srtt.map_or("-".into(), |srtt| {
                format!("{:.3}", srtt.as_secs_f64() * 1e3)
            }),
        ]);
    }
    text += &table.render(Painter::new(Color::Never));
    if list.len() > MOST {
        let _ = writeln!(text, "and {} more, which --json has", list.len() - MOST);
    }
    text + &lost(seen)
}

fn lost(seen: &Seen) -> String {
    match &seen.lost {
        Some(lost) => {
            format!("oxtcp: {lost} were lost: connections, or figures, may not be there\n")
        }
        None => String::new(),
    }
}

/// For programs.
pub fn json(seen: &Seen) -> Value {
    let connections = seen.connections.iter().map(|one| {
        json!({
            "local": one.local.to_string(),
            "remote": one.remote.to_string(),
            "opened": opened(one.opened),
            "state": one.state.name(),
            "end": one.end.name(),
            "seconds": one.duration.as_secs_f64(),
            "bytes_sent": one.sent,
            "bytes_received": one.received,
            "retransmits": one.retransmits,
            "srtt_us": one.srtt.map(|srtt| u64::try_from(srtt.as_micros()).unwrap_or(u64::MAX)),
        })
    });
    json!({
        "connections": connections.collect::<Vec<_>>(),
        "events_lost": seen.lost.is_some(),
    })
}

fn opened(opened: Opened) -> &'static str {
    match opened {
        Opened::Here => "here",
        Opened::Peer => "peer",
        Opened::Before => "before",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ladder::flow::Side;
    use crate::trace::event::Mode;
    use crate::trace::made::Story;
    use crate::trace::summary::Summaries;

    fn seen(lost: Option<&str>) -> Seen {
        let mut story = Story::v4();
        story
            .open()
            .data(1000)
            .standing(Side::Client, Mode::Open, 10);
        story.close();
        let mut all = Summaries::default();
        story
            .seen_by(Side::Client)
            .iter()
            .for_each(|event| all.event(event));
        Seen {
            connections: all.finish(),
            lost: lost.map(Into::into),
        }
    }

    #[test]
    fn text_and_json() {
        insta::assert_snapshot!(text(&seen(Some("3 events"))));
        insta::assert_snapshot!(format!("{:#}", json(&seen(None))));
    }

    #[test]
    fn text_of_many() {
        let mut seen = seen(None);
        seen.connections = vec![seen.connections[0].clone(); MOST + 3];
        assert!(text(&seen).contains("and 3 more"));
        seen.connections.clear();
        assert_eq!(text(&seen), "oxtcp: stats: no connection\n");
    }
}
