// SPDX-License-Identifier: GPL-2.0

//! oxtcp: a TCP for Linux, beside the one that is built in.

use kernel::prelude::*;

#[path = "../sys/mod.rs"]
mod sys;

module! {
    type: Oxtcp,
    name: "oxtcp",
    authors: ["The oxtcp authors"],
    description: "A TCP in Rust, beside the one that is built in",
    license: "GPL",
}

struct Oxtcp;

impl kernel::Module for Oxtcp {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // SAFETY: The helper takes the address of a static variable and reads nothing.
        let net = unsafe { sys::bindings::oxtcp_helper_init_net() };
        let seq = oxtcp_engine::SeqNum::new(u32::MAX).add(2);
        pr_info!(
            "loaded: init_net {}, inet_sock {} bytes, {}\n",
            !net.is_null(),
            core::mem::size_of::<sys::bindings::inet_sock>(),
            seq.get()
        );
        Ok(Oxtcp)
    }
}

impl Drop for Oxtcp {
    fn drop(&mut self) {
        pr_info!("unloaded\n");
    }
}
