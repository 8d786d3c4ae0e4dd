// SPDX-License-Identifier: GPL-2.0
//! The TCP header and its options as they stand on the wire (RFC 9293 section 3.1, RFC 7323, RFC 2018,
//! RFC 2385, RFC 5925, RFC 5926).
//!
//! Reading is total: every byte string gives either a header or a named error, and no option, however
//! malformed, can do more than be left out.

mod authentication;
mod ecn;
mod flags;
mod header;
mod options;
mod signature;

pub use authentication::{kdf_input, mac_input, Ends, Input, KDF_INPUT_MOST, MAC_INPUT_MOST};
pub use ecn::Ecn;
pub use flags::Flags;
pub(crate) use header::stamped;
pub use header::{Header, ParseError, MAX_HEADER_LEN, MIN_HEADER_LEN, STAMPED_LEN};
pub(crate) use options::sack_room;
pub use options::{Mss, Options, SackBlocks, Timestamps, WindowScale, MAX_OPTIONS_LEN};
pub use signature::{BadSignature, Signature, Signed};
