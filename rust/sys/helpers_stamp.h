/* SPDX-License-Identifier: GPL-2.0 */
/* C helpers for stamp.rs: timestamps of packets, and the error queue that tells of them. */
#ifndef OXTCP_HELPERS_STAMP_H
#define OXTCP_HELPERS_STAMP_H

#include <linux/socket.h>
#include <linux/types.h>

struct sk_buff;
struct sock;

int oxtcp_helper_tx_stamps(struct sock *sk, struct msghdr *msg, u32 *tsflags);
u8 oxtcp_helper_tx_flags(u32 tsflags);
void oxtcp_helper_skb_stamp(struct sk_buff *skb, u8 tx_flags, u32 key);
void oxtcp_helper_skb_acked(struct sk_buff *skb, struct sock *sk, u32 key);
void oxtcp_helper_sk_set_tskey(struct sock *sk, u32 key);

int oxtcp_helper_recv_error(struct sock *sk, struct msghdr *msg, int len);

void oxtcp_helper_skb_rx_stamps(struct sk_buff *skb, struct scm_timestamping_internal *stamps);
void oxtcp_helper_put_rx_stamps(struct msghdr *msg, const struct sock *sk,
				struct scm_timestamping_internal *stamps);

#endif
