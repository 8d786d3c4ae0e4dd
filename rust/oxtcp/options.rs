// SPDX-License-Identifier: GPL-2.0

//! Socket options. Process context, with the socket lock.
//!
//! What is not here is refused with ENOPROTOOPT: nothing is accepted and ignored.

use core::num::{NonZeroU16, NonZeroU32, NonZeroU8};

use kernel::prelude::*;

use oxtcp_engine::congestion::Algorithm;
use oxtcp_engine::connection::QuickAck;
use oxtcp_engine::context::{Linger2, Traits};
use oxtcp_engine::{request, RecvMemory, SocketOptions};

use crate::ao;
use crate::connect;
use crate::connection;
use crate::info;
use crate::keys;
use crate::listener;
use crate::listening;
use crate::output;
use crate::protocol::{Owner, Role};
use crate::sys::bindings;
use crate::sys::errno::enoprotoopt;
use crate::sys::sock::Flag;
use crate::sys::user::{OptionAnswer, OptionValue, TcpInfo};

/// Seconds that a keepalive time or interval may have at most (`MAX_TCP_KEEPIDLE`).
const MAX_KEEP_SECONDS: i32 = 32767;
/// Keepalive probes, and SYNs, at most (`MAX_TCP_KEEPCNT`, `MAX_TCP_SYNCNT`).
const MAX_COUNT: i32 = 127;
/// Seconds of TCP_LINGER2 at most (`TCP_FIN_TIMEOUT_MAX`).
const MAX_LINGER2: i32 = 120;
/// Bytes of a congestion controller's name at most, without the NUL (`TCP_CA_NAME_MAX`).
const CONGESTION_NAME: usize = 15;
/// Bounds of TCP_MAXSEG (`TCP_MIN_MSS`, `MAX_TCP_WINDOW`).
const MSS_BOUNDS: core::ops::RangeInclusive<i32> = 88..=32767;

/// A new socket's buffers, by the namespace's settings.
pub(crate) fn set_default_buffers(sk: &mut Owner<'_>) {
    let sysctls = &output::namespace(sk.sock()).sysctls;
    let [_, rcvbuf, _] = sysctls.rmem();
    let [_, sndbuf, _] = sysctls.wmem();
    sk.set_rcvbuf(u32::try_from(rcvbuf).unwrap_or(0));
    sk.set_sndbuf(
        u32::try_from(sndbuf)
            .unwrap_or(0)
            .min(connection::MAX_SEND_BUFFER),
    );
}

/// SOL_SOCKET: those options that the generic code implements for any socket, or that we honour.
pub(crate) fn allows_socket_option(name: u32) -> bool {
    matches!(
        name,
        bindings::SO_DEBUG
            | bindings::SO_REUSEADDR
            | bindings::SO_REUSEPORT
            | bindings::SO_SNDBUF
            | bindings::SO_SNDBUFFORCE
            | bindings::SO_RCVBUF
            | bindings::SO_RCVBUFFORCE
            | bindings::SO_KEEPALIVE
            | bindings::SO_PRIORITY
            | bindings::SO_LINGER
            | bindings::SO_RCVTIMEO_OLD
            | bindings::SO_RCVTIMEO_NEW
            | bindings::SO_SNDTIMEO_OLD
            | bindings::SO_SNDTIMEO_NEW
            | bindings::SO_RCVLOWAT
            | bindings::SO_OOBINLINE
            | bindings::SO_DONTROUTE
            // Without effect on the kernel's TCP too: a stream has no broadcasts.
            | bindings::SO_BROADCAST
            | bindings::SO_MARK
            | bindings::SO_BINDTODEVICE
            | bindings::SO_BINDTOIFINDEX
            | bindings::SO_MAX_PACING_RATE
            | bindings::SO_TIMESTAMP_OLD
            | bindings::SO_TIMESTAMP_NEW
            | bindings::SO_TIMESTAMPNS_OLD
            | bindings::SO_TIMESTAMPNS_NEW
            | bindings::SO_TIMESTAMPING_OLD
            | bindings::SO_TIMESTAMPING_NEW
    )
}

/// SOL_IP and SOL_IPV6: those options that the INET layer's code implements for any socket whose packets it
/// sends, or that connect() and bind() honour.
pub(crate) fn allows_ip_option(level: u32, name: u32) -> bool {
    match level {
        bindings::SOL_IP => matches!(
            name,
            bindings::IP_TOS
                | bindings::IP_TTL
                | bindings::IP_FREEBIND
                | bindings::IP_MTU_DISCOVER
                | bindings::IP_BIND_ADDRESS_NO_PORT
        ),
        bindings::SOL_IPV6 => matches!(
            name,
            bindings::IPV6_V6ONLY
                | bindings::IPV6_TCLASS
                | bindings::IPV6_UNICAST_HOPS
                | bindings::IPV6_FREEBIND
                | bindings::IPV6_MTU_DISCOVER
        ),
        _ => false,
    }
}

/// A SOL_SOCKET option has been set: what depends on it follows.
pub(crate) fn socket_option_set(sk: &mut Owner<'_>, name: u32) {
    match name {
        bindings::SO_KEEPALIVE => {
            let options = sk.state().options();
            apply(sk, options);
        }
        bindings::SO_REUSEADDR => {
            let reuse = sk.sock().reuse();
            if let Some(port) = &sk.state().port {
                port.set_reuse(reuse);
            }
        }
        bindings::SO_REUSEPORT => {
            let reuseport = connect::sharing_of(sk.sock()).reuseport;
            if let Some(port) = &sk.state().port {
                port.set_reuseport(reuseport);
            }
        }
        bindings::SO_RCVLOWAT => {
            // No more than the buffer can ever hold, and a buffer that can (tcp_set_rcvlowat()).
            let memory = connection::receive_memory(sk.sock());
            let limit = if memory.fixed {
                memory.limit
            } else {
                memory.most
            };
            let most = RecvMemory { limit, ..memory }.first_window();
            let wanted =
                u32::try_from(sk.sock().rcvlowat(false, i32::MAX as usize)).unwrap_or(u32::MAX);
            let lowat = wanted.min(most).max(1);
            sk.set_rcvlowat(lowat);
            let rcvbuf = match sk.state().connection() {
                Some(connection) => connection.recv_buffer_for(lowat),
                None => RecvMemory::first_buffer(lowat),
            };
            if !memory.fixed && rcvbuf > memory.limit {
                sk.set_rcvbuf(rcvbuf);
                update_window(sk);
            }
        }
        bindings::SO_SNDBUF | bindings::SO_SNDBUFFORCE => {
            if sk.sock().sndbuf() > connection::MAX_SEND_BUFFER {
                sk.set_sndbuf(connection::MAX_SEND_BUFFER);
            }
        }
        bindings::SO_RCVBUF | bindings::SO_RCVBUFFORCE => {
            update_window(sk);
        }
        _ => {}
    }
}

/// The receive buffer has another size.
fn update_window(sk: &mut Owner<'_>) {
    let memory = connection::receive_memory(sk.sock());
    connection::with(sk, |connection, cx| {
        connection.resize_recv_buffer(cx, &memory)
    });
}

/// setsockopt() at SOL_TCP.
pub(crate) fn set(sk: &mut Owner<'_>, name: u32, value: OptionValue<'_>) -> Result {
    if name == bindings::TCP_CONGESTION {
        let mut text = [0; CONGESTION_NAME];
        let len = value.name(&mut text)?;
        let algorithm = text.get(..len).and_then(Algorithm::from_name);
        let options = SocketOptions {
            congestion_control: Some(algorithm.ok_or(ENOENT)?),
            ..sk.state().options()
        };
        apply(sk, options);
        return Ok(());
    }
    if matches!(name, bindings::TCP_MD5SIG | bindings::TCP_MD5SIG_EXT) {
        keys::set_md5(sk, name == bindings::TCP_MD5SIG_EXT, value)?;
        let options = listener::options_of(sk);
        apply(sk, options);
        return Ok(());
    }
    if is_ao(name) {
        ao::options::set(sk, name, value)?;
        let options = listener::options_of(sk);
        apply(sk, options);
        return Ok(());
    }
    let value = match name {
        bindings::TCP_NODELAY
        | bindings::TCP_CORK
        | bindings::TCP_MAXSEG
        | bindings::TCP_KEEPIDLE
        | bindings::TCP_KEEPINTVL
        | bindings::TCP_KEEPCNT
        | bindings::TCP_SYNCNT
        | bindings::TCP_LINGER2
        | bindings::TCP_USER_TIMEOUT => value.int()?,
        bindings::TCP_NOTSENT_LOWAT => {
            sk.state().notsent_lowat = value.int()? as u32;
            connection::publish_unsent(sk);
            sk.wake_writers();
            tell_listener(sk);
            return Ok(());
        }
        bindings::TCP_DEFER_ACCEPT => {
            let seconds = u32::try_from(value.int()?).unwrap_or(0);
            sk.state().defer_accept = request::retransmissions(seconds);
            tell_listener(sk);
            return Ok(());
        }
        bindings::TCP_QUICKACK => {
            let on = value.int()?;
            let quick = match on {
                0 => QuickAck::Off,
                odd if odd & 1 != 0 => QuickAck::On,
                _ => QuickAck::Once,
            };
            if sk.state().connection().is_some() {
                connection::with(sk, |connection, cx| connection.set_quick_ack(cx, quick));
            } else {
                let mut options = sk.state().options();
                options
                    .traits
                    .set(Traits::INTERACTIVE, quick == QuickAck::Off);
                apply(sk, options);
            }
            return Ok(());
        }
        bindings::TCP_INQ => {
            sk.state().tells_inq = match value.int()? {
                0 => false,
                1 => true,
                _ => return Err(EINVAL),
            };
            tell_listener(sk);
            return Ok(());
        }
        _ => return Err(enoprotoopt()),
    };
    let mut options = sk.state().options();
    let within = |most: i32| (1..=most).contains(&value).then_some(value).ok_or(EINVAL);
    match name {
        bindings::TCP_NODELAY => options.nodelay = value != 0,
        bindings::TCP_CORK => options.cork = value != 0,
        bindings::TCP_MAXSEG => {
            // 0 takes the limit away, as in Linux.
            if value != 0 && !MSS_BOUNDS.contains(&value) {
                return Err(EINVAL);
            }
            options.max_seg = NonZeroU16::new(value as u16);
        }
        bindings::TCP_KEEPIDLE => {
            options.keepidle = NonZeroU16::new(within(MAX_KEEP_SECONDS)? as u16)
        }
        bindings::TCP_KEEPINTVL => {
            options.keepintvl = NonZeroU16::new(within(MAX_KEEP_SECONDS)? as u16);
        }
        bindings::TCP_KEEPCNT => options.keepcnt = NonZeroU8::new(within(MAX_COUNT)? as u8),
        bindings::TCP_SYNCNT => options.syn_retries = NonZeroU8::new(within(MAX_COUNT)? as u8),
        bindings::TCP_LINGER2 => {
            options.linger2 = match value {
                i32::MIN..=-1 => Linger2::Skip,
                0 => Linger2::Default,
                seconds => NonZeroU8::new(seconds.min(MAX_LINGER2) as u8)
                    .map_or(Linger2::Default, Linger2::Seconds),
            };
        }
        _ => {
            let milliseconds = u32::try_from(value).map_err(|_| EINVAL)?;
            options.user_timeout = NonZeroU32::new(milliseconds);
        }
    }
    apply(sk, options);
    if name == bindings::TCP_NODELAY && value != 0 {
        connection::with(sk, |connection, _| connection.set_nodelay(true));
    }
    Ok(())
}

/// The options of TCP-AO that can be set.
fn is_ao(name: u32) -> bool {
    matches!(
        name,
        bindings::TCP_AO_ADD_KEY
            | bindings::TCP_AO_DEL_KEY
            | bindings::TCP_AO_INFO
            | bindings::TCP_AO_REPAIR
    )
}

/// getsockopt() at SOL_TCP.
pub(crate) fn get(sk: &mut Owner<'_>, name: u32, answer: OptionAnswer<'_>) -> Result {
    if name == bindings::TCP_INFO {
        let mut told = TcpInfo::new();
        info::tell(sk, told.fields());
        return answer.bytes(told.bytes());
    }
    if name == bindings::TCP_CONGESTION {
        let algorithm = info::algorithm(sk);
        let mut text = [0; CONGESTION_NAME + 1];
        for (to, &from) in text.iter_mut().zip(algorithm.name().as_bytes()) {
            *to = from;
        }
        return answer.bytes(&text);
    }
    if matches!(
        name,
        bindings::TCP_AO_INFO | bindings::TCP_AO_GET_KEYS | bindings::TCP_AO_REPAIR
    ) {
        return ao::options::get(sk, name, answer);
    }
    let config = output::namespace(sk.sock()).config();
    let state = sk.state();
    let options = state.options();
    let seconds = |of: oxtcp_engine::Duration| (of.as_micros() / 1_000_000) as i32;
    let value = match name {
        bindings::TCP_NODELAY => i32::from(options.nodelay),
        bindings::TCP_CORK => i32::from(options.cork),
        bindings::TCP_MAXSEG => match &state.role {
            Role::Connection(connection) => i32::from(connection.mss()),
            _ => options
                .max_seg
                .map_or(bindings::TCP_MSS_DEFAULT as i32, |mss| i32::from(mss.get())),
        },
        bindings::TCP_KEEPIDLE => options
            .keepidle
            .map_or(seconds(config.keepalive_time), |s| i32::from(s.get())),
        bindings::TCP_KEEPINTVL => options
            .keepintvl
            .map_or(seconds(config.keepalive_intvl), |s| i32::from(s.get())),
        bindings::TCP_KEEPCNT => options
            .keepcnt
            .map_or(i32::from(config.keepalive_probes), |n| i32::from(n.get())),
        bindings::TCP_SYNCNT => options
            .syn_retries
            .map_or(i32::from(config.syn_retries), |n| i32::from(n.get())),
        bindings::TCP_LINGER2 => match options.linger2 {
            Linger2::Skip => -1,
            Linger2::Default => seconds(config.fin_timeout),
            Linger2::Seconds(s) => i32::from(s.get()),
        },
        bindings::TCP_NOTSENT_LOWAT => state.notsent_lowat as i32,
        bindings::TCP_DEFER_ACCEPT => request::seconds(state.defer_accept) as i32,
        bindings::TCP_QUICKACK => match &state.role {
            Role::Connection(connection) => i32::from(connection.quick_ack()),
            _ => i32::from(!options.traits.has(Traits::INTERACTIVE)),
        },
        bindings::TCP_INQ => i32::from(state.tells_inq),
        bindings::TCP_USER_TIMEOUT => options.user_timeout.map_or(0, |ms| ms.get() as i32),
        _ => return Err(enoprotoopt()),
    };
    answer.int(value)
}

/// Brings the options to the connection, or to those that the listener will make.
fn apply(sk: &mut Owner<'_>, options: SocketOptions) {
    match &mut sk.state().role {
        Role::Idle(idle) => idle.options = options,
        Role::Listener(kept) => {
            *kept = options;
            tell_listener(sk);
        }
        Role::Connection(_) => {
            let keepalive = sk.sock().flag(Flag::KeepOpen);
            let options = SocketOptions {
                keepalive,
                ..options
            };
            connection::with(sk, |connection, cx| connection.set_options(cx, options));
        }
    }
}

/// What is set on a listener is its connections' from then on.
fn tell_listener(sk: &mut Owner<'_>) {
    if !matches!(sk.state().role, Role::Listener(_)) {
        return;
    }
    let options = listener::options_of(sk);
    let calls = sk.state().calls();
    if let Some(listening) = listening::of(sk.sock()) {
        listening.set_options(options, calls);
    }
}
