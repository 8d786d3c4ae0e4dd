// SPDX-License-Identifier: GPL-2.0

//! What a namespace counts, and `/proc/net/oxtcp_stat`, which tells it in the layout and under the names of
//! `/proc/net/netstat`.

use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::seq_print;

use crate::namespace::Namespace;
use crate::sys::counters;
use crate::sys::proc::SeqText;

/// What is counted. The names are those of Linux (`include/uapi/linux/snmp.h`).
#[derive(Clone, Copy)]
pub(crate) enum Counter {
    /// A segment whose payload begins beyond the window, or goes beyond it while data waits for the program.
    BeyondWindow,
    /// A segment with payload while the window was closed.
    ZeroWindowDrop,
    /// A segment in order that there was no memory for.
    RcvQDrop,
}

impl Counter {
    const ALL: [(Self, &'static str); 3] = [
        (Self::BeyondWindow, "BeyondWindow"),
        (Self::ZeroWindowDrop, "TCPZeroWindowDrop"),
        (Self::RcvQDrop, "TCPRcvQDrop"),
    ];
}

/// A namespace's counters.
pub(crate) struct Counters(counters::Counters<{ Counter::ALL.len() }>);

impl Counters {
    /// Sleeps. Errors: ENOMEM.
    pub(crate) fn new() -> Result<Self> {
        counters::Counters::new().map(Self)
    }

    /// Counts one more. Any context.
    pub(crate) fn count(&self, counter: Counter) {
        self.0.inc(counter as usize);
    }
}

/// `/proc/net/oxtcp_stat`.
pub(crate) struct Stat;

impl SeqText for Stat {
    type PerNet = Namespace;

    fn show(namespace: &Namespace, seq: &SeqFile) {
        seq_print!(seq, "TcpExt:");
        for (_, name) in Counter::ALL {
            seq_print!(seq, " {name}");
        }
        seq_print!(seq, "\nTcpExt:");
        for (counter, _) in Counter::ALL {
            seq_print!(seq, " {}", namespace.counters.0.sum(counter as usize));
        }
        seq_print!(seq, "\n");
    }
}
