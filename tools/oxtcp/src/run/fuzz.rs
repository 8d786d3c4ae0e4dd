// SPDX-License-Identifier: GPL-2.0
//! What the fuzz targets of `tools/fuzz` feed to what `oxtcp run` reads of the system.

use super::bpf::btf::Btf;
use super::{cgroup, held};

/// A kernel's BTF.
pub fn btf(bytes: &[u8]) {
    let Some(btf) = Btf::new(bytes) else {
        return;
    };
    for name in ["socket", "update_socket_protocol"] {
        assert_ne!(btf.function(name), Some(0), "number 0 is void");
    }
    for (name, member) in [
        ("outer", "inner"),
        ("outer", "socket"),
        ("task_struct", "cgroups"),
    ] {
        let _ = btf.member(name, member);
    }
}

/// A process's `mountinfo` and `cgroup`, with a byte 0 between them, and a table of sockets.
pub fn proc(text: &str) {
    let (mounts, own) = text.split_once('\0').unwrap_or((text, "0::/x"));
    if let (Some(root), Some(folder)) = (cgroup::root(mounts), cgroup::folder(mounts, own)) {
        assert!(folder.starts_with(root));
    }
    assert!(held::listed(text.as_bytes()).all(|inode| inode != 0));
}
