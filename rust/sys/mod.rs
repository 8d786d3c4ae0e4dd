// SPDX-License-Identifier: GPL-2.0

//! The kernel's C interfaces: bindgen's output and safe types over it.
//!
//! Nothing in here knows a rule of TCP; every `unsafe` of the module stands
//! in here. What each type promises is in its `# Invariants`.

pub(crate) mod auth;
pub(crate) mod counters;
pub(crate) mod deferred;
pub(crate) mod diag;
pub(crate) mod drop_reason;
pub(crate) mod early;
pub(crate) mod errno;
pub(crate) mod ksocket;
pub(crate) mod lock;
pub(crate) mod log;
pub(crate) mod net;
pub(crate) mod netfilter;
pub(crate) mod once;
mod packet_tree;
pub(crate) mod page;
pub(crate) mod proc;
pub(crate) mod proto;
pub(crate) mod random;
pub(crate) mod rcu_cell;
pub(crate) mod route;
pub(crate) mod skb;
mod small_queue;
pub(crate) mod snapshot;
pub(crate) mod sock;
mod soon;
pub(crate) mod stamp;
pub(crate) mod sysctl;
pub(crate) mod table;
pub(crate) mod time;
pub(crate) mod trace;
pub(crate) mod user;

/// What bindgen makes of `bindings_helper.h`.
#[allow(
    clippy::all,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::undocumented_unsafe_blocks,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::cast_lossless,
    clippy::as_underscore,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]
pub(crate) mod bindings {
    use kernel::ffi;

    type __kernel_size_t = usize;
    type __kernel_ssize_t = isize;
    type __kernel_ptrdiff_t = isize;

    include!(env!("OXTCP_BINDINGS"));
}
