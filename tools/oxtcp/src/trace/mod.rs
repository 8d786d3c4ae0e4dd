// SPDX-License-Identifier: GPL-2.0
//! `oxtcp trace`: what happens to connections, from the module's tracepoints.

pub mod event;
