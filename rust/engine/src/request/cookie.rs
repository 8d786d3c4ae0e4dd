// SPDX-License-Identifier: GPL-2.0

//! Requests that are not kept: what a SYN cookie ([`crate::cookie`]) leaves of one, and what the ACK makes of that.

use super::{first_window, Agreed, Request, RequestOpen, SENT_AGAIN};
use crate::context::Context;
use crate::cookie::StampBits;
use crate::reply::ReplyLimit;
use crate::segment::Segment;
use crate::transmit::Transmit;
use crate::wire::{Mss, Signature, Timestamps, WindowScale};

impl Request {
    /// The MSS that a SYN names, or the default of RFC 9293 section 3.7.1 (Linux takes 536 for IPv6 too).
    pub(crate) fn offered_mss(syn: &Segment) -> Mss {
        Mss::new(syn.header.options.mss.unwrap_or(Mss::DEFAULT_V4.get()))
    }

    /// The SYN-ACK in answer to `syn`, for who keeps nothing: with the [`cookie`](crate::cookie::issue) as `open.iss`, and the options in the
    /// timestamp. Without timestamps there is no place for window scale, SACK and ECN, so they are not agreed to.
    pub fn cookie_syn_ack(cx: &Context<'_>, syn: &Segment, open: &RequestOpen) -> Transmit {
        let mut syn = *syn;
        if syn.header.options.timestamps.is_none() || !cx.config.timestamps {
            syn.header.options.window_scale = None;
            syn.header.options.sack_permitted = false;
            syn.header.flags = crate::connection::ecn::without_setup(syn.header.flags);
        }
        // In spite of a signature the timestamps stay, which the rest is written into, as in Linux: a SYN-ACK has room for both.
        let open = &RequestOpen {
            signature: Signature::NONE,
            ..*open
        };
        let request = Request::new(cx, &syn, open);
        let mut syn_ack = request.syn_ack(cx);
        if let Some(stamps) = &mut syn_ack.header.options.timestamps {
            let bits = StampBits {
                snd_scale: request.agreed.snd_scale(),
                sack: request.sack_permitted(),
                ecn: request.ecn_agreed(),
            };
            let clock = bits.write(cx.now.timestamp_ms(0));
            stamps.val = clock.wrapping_add(open.ts_offset);
        }
        syn_ack
    }

    /// The request that was not kept, from the `ack` whose cookie was good: the peer's first segment after its SYN, with ACK and without
    /// SYN and RST. `mss` is the cookie's, `open` is as for the SYN but for `iss`. The verdict on `ack` is
    /// [`Complete`](super::RequestVerdict::Complete).
    ///
    /// `None` when the options that were agreed to are switched off since.
    pub fn from_cookie(
        cx: &Context<'_>,
        ack: &Segment,
        mss: Mss,
        open: &RequestOpen,
    ) -> Option<Request> {
        let mut agreed = 0;
        let mut scales = None;
        let mut ts_recent = 0;
        if let Some(Timestamps { val, ecr }) = ack.header.options.timestamps {
            let bits = StampBits::read(ecr.wrapping_sub(open.ts_offset));
            let scaled = bits.snd_scale.is_some();
            if !cx.config.timestamps
                || (bits.sack && !cx.config.sack)
                || (scaled && !cx.config.window_scaling)
            {
                return None;
            }
            agreed |= Agreed::TIMESTAMPS;
            if bits.sack {
                agreed |= Agreed::SACK;
            }
            if bits.ecn && cx.config.ecn != 0 {
                agreed |= Agreed::ECN;
            }
            scales = bits
                .snd_scale
                .map(|peer| (peer, WindowScale::for_limit(open.recv_limit)));
            ts_recent = val;
        }
        let segment = match agreed & Agreed::TIMESTAMPS {
            0 => open.advertised_mss,
            _ => open.advertised_mss.saturating_sub(Timestamps::PADDED_LEN),
        };
        Some(Request {
            iss: ack.header.ack.sub(1),
            irs: ack.seq().sub(1),
            ts_recent,
            ts_offset: open.ts_offset,
            peer_mss: mss.get(),
            advertised_mss: open.advertised_mss,
            window: first_window(open.recv_space, segment),
            replied: ReplyLimit::new(),
            // When the SYN-ACK was sent nobody knows.
            sent: SENT_AGAIN,
            agreed: Agreed::new(agreed, scales),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Config;
    use crate::request::RequestVerdict;
    use crate::seq::SeqNum;
    use crate::time::{Duration, Instant};
    use crate::wire::{Ecn, Flags, Header, Options};

    const OPEN: RequestOpen = RequestOpen {
        iss: SeqNum::new(77),
        ts_offset: 0xffff_0000,
        advertised_mss: 1460,
        recv_space: 60_000,
        recv_limit: 6 << 20,
        signature: crate::wire::Signature::NONE,
    };

    fn cx(config: &Config, millis: u64) -> Context<'_> {
        Context::new(
            Instant::from_secs(1000) + Duration::from_millis(millis),
            config,
        )
    }

    fn syn(ecn: bool) -> Segment {
        let asks = Flags::ECE.union(Flags::CWR);
        Segment {
            header: Header {
                seq: SeqNum::new(u32::MAX),
                flags: match ecn {
                    true => Flags::SYN.union(asks),
                    false => Flags::SYN,
                },
                options: Options {
                    mss: Some(1400),
                    window_scale: Some(WindowScale::new(10)),
                    sack_permitted: true,
                    timestamps: Some(Timestamps { val: 700, ecr: 0 }),
                    ..Options::default()
                },
                ..Header::default()
            },
            payload_len: 0,
            ecn: Ecn::NotEct,
        }
    }

    /// The ACK of a peer that was told this.
    fn ack_of(syn_ack: &Transmit, val: u32) -> Segment {
        let stamps = syn_ack.header.options.timestamps;
        Segment {
            header: Header {
                seq: syn_ack.header.ack,
                ack: syn_ack.header.seq.add(1),
                flags: Flags::ACK,
                window: 500,
                options: Options {
                    timestamps: stamps.map(|stamps| Timestamps {
                        val,
                        ecr: stamps.val,
                    }),
                    ..Options::default()
                },
                ..Header::default()
            },
            payload_len: 10,
            ecn: Ecn::NotEct,
        }
    }

    fn rebuilt(cx: &Context<'_>, ack: &Segment) -> Option<Request> {
        Request::from_cookie(cx, ack, Mss::new(1400), &OPEN)
    }

    /// What is made of the ACK is what would have been kept, but for the round trip.
    #[test]
    fn from_cookie__is_the_request_that_was_not_kept() {
        let config = Config::default();
        for ecn in [false, true] {
            let syn = syn(ecn);
            let kept = Request::new(&cx(&config, 0), &syn, &OPEN);
            let syn_ack = Request::cookie_syn_ack(&cx(&config, 0), &syn, &OPEN);
            let plain = kept.syn_ack(&cx(&config, 0));
            assert_eq!(syn_ack.header.flags, plain.header.flags);
            assert_eq!(syn_ack.header.window, plain.header.window);
            let ack = ack_of(&syn_ack, 701);
            let mut made = rebuilt(&cx(&config, 50), &ack).unwrap();
            assert_eq!((made.iss(), made.irs()), (kept.iss(), kept.irs()));
            assert_eq!(made.window_scales(), kept.window_scales());
            assert_eq!(made.rcv_wnd(), kept.rcv_wnd());
            assert!(made.sack_permitted());
            assert_eq!(made.ecn_agreed(), ecn);
            assert_eq!(made.ts_recent(), Some(701));
            assert_eq!(made.rtt(&cx(&config, 50)), None);
            assert_eq!(made.resent(), 0);
            let verdict = made.on_segment(&cx(&config, 50), &ack);
            assert!(matches!(verdict, RequestVerdict::Complete));
        }
    }

    #[test]
    fn cookie_syn_ack__without_timestamps_agrees_to_nothing() {
        let off = Config {
            timestamps: false,
            ..Config::default()
        };
        let mut bare = syn(true);
        bare.header.options.timestamps = None;
        for (config, syn) in [(&off, syn(true)), (&Config::default(), bare)] {
            let syn_ack = Request::cookie_syn_ack(&cx(config, 0), &syn, &OPEN);
            let mss_only = Options {
                mss: Some(1460),
                ..Options::default()
            };
            assert_eq!(syn_ack.header.options, mss_only);
            assert_eq!(syn_ack.header.flags, Flags::SYN_ACK);
            let made = rebuilt(&cx(config, 9), &ack_of(&syn_ack, 0)).unwrap();
            assert_eq!((made.window_scales(), made.ts_recent()), (None, None));
            assert!(!made.sack_permitted() && !made.ecn_agreed());
        }
    }

    /// RFC 7323 section 5.4: the timestamps that follow are not older than the SYN-ACK's.
    #[test]
    fn cookie_syn_ack__timestamp_is_of_the_past() {
        let config = Config::default();
        for millis in 0..200 {
            let cx = cx(&config, millis);
            let syn_ack = Request::cookie_syn_ack(&cx, &syn(false), &OPEN);
            let val = syn_ack.header.options.timestamps.unwrap().val;
            let behind = cx.now.timestamp_ms(OPEN.ts_offset).wrapping_sub(val);
            assert!(behind < 64, "{millis}: {behind}");
        }
    }

    #[test]
    fn from_cookie__not_what_is_switched_off_since() {
        let on = Config::default();
        let syn_ack = Request::cookie_syn_ack(&cx(&on, 0), &syn(true), &OPEN);
        let ack = ack_of(&syn_ack, 1);
        let off = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            rebuilt(&cx(&config, 0), &ack)
        };
        assert_eq!(off(|config| config.timestamps = false), None);
        assert_eq!(off(|config| config.sack = false), None);
        assert_eq!(off(|config| config.window_scaling = false), None);
        let without_ecn = off(|config| config.ecn = 0).unwrap();
        assert!(!without_ecn.ecn_agreed());
    }

    /// Any ACK whatever: no panic, and nothing that a connection could not be made of.
    #[test]
    fn from_cookie__whatever_the_ack_says() {
        let config = Config::default();
        for ecr in (0..64).chain([u32::MAX, 1 << 31]) {
            let mut ack = ack_of(
                &Request::cookie_syn_ack(&cx(&config, 0), &syn(true), &OPEN),
                0,
            );
            ack.header.options.timestamps = Some(Timestamps { val: u32::MAX, ecr });
            ack.payload_len = 64_000;
            let made = rebuilt(&cx(&config, 0), &ack).unwrap();
            assert!(made
                .window_scales()
                .is_none_or(|(peer, _)| peer <= WindowScale::MAX));
        }
    }
}
