// SPDX-License-Identifier: GPL-2.0

//! What bounds a listener's queues, and by which setting.

use crate::listening::Listening;
use crate::namespace::Namespace;
use crate::sys::net::Net;

/// What listen(2) was asked for, and what came of it.
#[derive(Clone, Copy)]
pub(crate) struct Backlog {
    /// The argument, as the kernel lets it through: no more than `net.core.somaxconn`.
    pub(crate) asked: u32,
    /// `net.core.somaxconn` and `net.oxtcp.somaxconn` of that moment.
    pub(crate) core: u32,
    pub(crate) ours: u32,
}

impl Backlog {
    /// Of a listen(2) that is under way in the namespace.
    pub(crate) fn new(asked: i32, net: &Net, namespace: &Namespace) -> Self {
        Self {
            // As the kernel's TCP does, a negative backlog counts as the largest there is.
            asked: u32::try_from(asked).unwrap_or(u32::MAX),
            core: net.somaxconn(),
            ours: u32::try_from(namespace.sysctls.somaxconn()).unwrap_or(0),
        }
    }

    /// The most that may wait; as in Linux one more is let in.
    pub(crate) fn granted(&self) -> u32 {
        self.asked.min(self.ours)
    }

    /// What would have to be larger for more. The kernel cuts what the program asks for to `net.core.somaxconn` before we see it: so
    /// who seems to have asked for just as much has asked for more, as a rule.
    pub(crate) fn setting(&self) -> Setting {
        match (self.asked > self.ours, self.asked >= self.core) {
            (true, _) => Setting::Somaxconn,
            (false, true) if self.core == self.ours => Setting::BothSomaxconn,
            (false, true) => Setting::CoreSomaxconn,
            (false, false) => Setting::Backlog,
        }
    }
}

/// A setting that bounds something, as numbered in `trace.h`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Setting {
    /// The argument of listen(2).
    Backlog = 0,
    CoreSomaxconn = 1,
    Somaxconn = 2,
    /// Both are as large.
    BothSomaxconn = 3,
    MaxSynBacklog = 4,
    SynHostShare = 5,
    SynNetShare = 6,
    SynNetRate = 7,
}

impl Setting {
    /// What it has: for what listen(2) reads, of that moment.
    pub(crate) fn value(self, namespace: &Namespace, listening: &Listening) -> u32 {
        let sysctls = &namespace.sysctls;
        let value = match self {
            Setting::Backlog | Setting::CoreSomaxconn => return listening.backlog().asked,
            Setting::Somaxconn | Setting::BothSomaxconn => return listening.backlog().ours,
            Setting::MaxSynBacklog => sysctls.max_syn_backlog(),
            Setting::SynHostShare => sysctls.syn_host_share(),
            Setting::SynNetShare => sysctls.syn_net_share(),
            Setting::SynNetRate => sysctls.syn_net_rate(),
        };
        u32::try_from(value).unwrap_or(0)
    }
}

/// A setting with its value, as the kernel's log has it behind "raise".
pub(crate) struct Named(pub(crate) Setting, pub(crate) u32);

impl kernel::fmt::Display for Named {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Named(setting, value) = self;
        match setting {
            Setting::Backlog => write!(f, "the backlog of listen() ({value}), which bounds it"),
            Setting::CoreSomaxconn => write!(f, "net.core.somaxconn ({value}), which bounds it from listen() on"),
            Setting::Somaxconn => write!(f, "net.oxtcp.somaxconn ({value}), which bounds it from listen() on"),
            Setting::BothSomaxconn => write!(
                f,
                "net.core.somaxconn and net.oxtcp.somaxconn ({value}), which bound it from listen() on"
            ),
            Setting::MaxSynBacklog => write!(f, "net.oxtcp.max_syn_backlog ({value}), which bounds it"),
            Setting::SynHostShare => write!(f, "net.oxtcp.syn_host_share ({value} percent), which bounds it"),
            Setting::SynNetShare => write!(f, "net.oxtcp.syn_net_share ({value} percent), which bounds it"),
            Setting::SynNetRate => write!(f, "net.oxtcp.syn_net_rate ({value}), which bounds it"),
        }
    }
}
