// SPDX-License-Identifier: GPL-2.0
//! The settings that bound a listener's queues, as the module numbers them (`rust/sys/trace.h`).

/// What would have to be larger for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The argument of listen(2).
    Backlog,
    /// The kernel has cut that to `net.core.somaxconn`.
    CoreSomaxconn,
    /// And the module to `net.oxtcp.somaxconn`.
    Somaxconn,
    /// Both are as large.
    BothSomaxconn,
    MaxSynBacklog,
    SynHostShare,
    SynNetShare,
    SynNetRate,
    /// Of a later version of the module.
    Other(u8),
}

impl Limit {
    /// The one of this number.
    pub fn from_number(number: u8) -> Self {
        match number {
            0 => Limit::Backlog,
            1 => Limit::CoreSomaxconn,
            2 => Limit::Somaxconn,
            3 => Limit::BothSomaxconn,
            4 => Limit::MaxSynBacklog,
            5 => Limit::SynHostShare,
            6 => Limit::SynNetShare,
            7 => Limit::SynNetRate,
            other => Limit::Other(other),
        }
    }

    /// What bounds a backlog that was granted, as far as these settings tell: they may have had other values then.
    pub fn of_granted(backlog: u64, core: u64, ours: u64) -> Self {
        match (backlog >= core, backlog >= ours) {
            (true, true) => Limit::BothSomaxconn,
            (true, false) => Limit::CoreSomaxconn,
            (false, true) => Limit::Somaxconn,
            (false, false) => Limit::Backlog,
        }
    }

    /// What it is called, as `trace.h` has it.
    pub fn name(self) -> &'static str {
        match self {
            Limit::Backlog => "listen-backlog",
            Limit::CoreSomaxconn => "net.core.somaxconn",
            Limit::Somaxconn => "net.oxtcp.somaxconn",
            Limit::BothSomaxconn => "net.core.somaxconn and net.oxtcp.somaxconn",
            Limit::MaxSynBacklog => "net.oxtcp.max_syn_backlog",
            Limit::SynHostShare => "net.oxtcp.syn_host_share",
            Limit::SynNetShare => "net.oxtcp.syn_net_share",
            Limit::SynNetRate => "net.oxtcp.syn_net_rate",
            Limit::Other(_) => "a setting that this version does not know",
        }
    }

    /// The same in a sentence.
    pub fn words(self) -> &'static str {
        match self {
            Limit::Backlog => "the backlog of the program's listen()",
            other => other.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_granted_is_what_it_has_come_to() {
        for (backlog, core, ours, limit) in [
            (128, 4096, 4096, Limit::Backlog),
            (4096, 4096, 4096, Limit::BothSomaxconn),
            (4096, 4096, 65_536, Limit::CoreSomaxconn),
            (512, 4096, 512, Limit::Somaxconn),
        ] {
            assert_eq!(
                Limit::of_granted(backlog, core, ours),
                limit,
                "{backlog} {core} {ours}"
            );
        }
    }
}
