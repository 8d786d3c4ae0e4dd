/* SPDX-License-Identifier: GPL-2.0 */
/* C helpers for rust/sys/early.rs: packets that nobody has routed yet, and what becomes of their memory. See helpers.h. */
#ifndef OXTCP_HELPERS_EARLY_H
#define OXTCP_HELPERS_EARLY_H

#include <linux/netfilter.h>
#include <linux/skbuff.h>

struct dst_entry;
struct net;
struct net_device;
struct sock;

bool oxtcp_helper_early_stands_alone(const struct net *net, bool v6, unsigned int early);
bool oxtcp_helper_early_is_plain(const struct net *net, const struct sk_buff *skb);
bool oxtcp_helper_early_is_demuxed(const struct net *net);
bool oxtcp_helper_early_set_route(struct sk_buff *skb, const struct sock *sk, bool v6,
				  nf_hookfn *ours);
void oxtcp_helper_early_keep_route(struct sock *sk, const struct sk_buff *skb);
void oxtcp_helper_early_forget_route(struct sock *sk);
int oxtcp_helper_early_device(const struct sk_buff *skb);
bool oxtcp_helper_early_is_local_v4(struct net *net, __be32 addr);
bool oxtcp_helper_early_is_local_v6(struct net *net, const struct sk_buff *skb, const u8 *addr);
bool oxtcp_helper_early_is_anyones(const struct net *net, bool v6);
bool oxtcp_helper_early_checksum_bad(struct sk_buff *skb, unsigned int offset, bool v6);
bool oxtcp_helper_early_leads_back(const struct dst_entry *dst, const struct sk_buff *skb,
				   bool v6);
struct dst_entry *oxtcp_helper_early_route_v4(struct net *net, const struct sk_buff *skb,
					      __be32 remote, __be32 local, int oif, u32 mark, u8 tos);
bool oxtcp_helper_skb_recycle(struct sk_buff *skb, const struct net_device *dev, unsigned int room);
const struct net_device *oxtcp_helper_dst_device(const struct dst_entry *dst);
void oxtcp_helper_skb_set_dst_noref(struct sk_buff *skb, struct dst_entry *dst);

#endif
