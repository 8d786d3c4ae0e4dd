/* SPDX-License-Identifier: GPL-2.0 */
/* C helpers for diag.rs: sock_diag's netlink messages. */
#ifndef OXTCP_HELPERS_DIAG_H
#define OXTCP_HELPERS_DIAG_H

#include <linux/types.h>

struct module;
struct net;
struct netlink_callback;
struct nlmsghdr;
struct sk_buff;
struct sock;

struct net *oxtcp_helper_skb_net(const struct sk_buff *skb);
bool oxtcp_helper_nlmsg_is_dump(const struct nlmsghdr *nlh);
const void *oxtcp_helper_nlmsg_payload(const struct nlmsghdr *nlh, size_t *len);
int oxtcp_helper_diag_dump_start(struct sk_buff *skb, const struct nlmsghdr *nlh,
				 int (*start)(struct netlink_callback *cb),
				 int (*dump)(struct sk_buff *skb, struct netlink_callback *cb),
				 int (*done)(struct netlink_callback *cb), struct module *module);
void **oxtcp_helper_diag_dump_state(struct netlink_callback *cb);
bool oxtcp_helper_diag_dump_add(struct sk_buff *skb, const struct netlink_callback *cb,
				const void *payload, size_t len);
int oxtcp_helper_diag_reply(struct sk_buff *in_skb, const struct nlmsghdr *nlh,
			    const void *payload, size_t len);
void oxtcp_helper_sk_meminfo(const struct sock *sk, u32 *words);
u32 oxtcp_helper_uid_seen_by_sender(u32 uid, const struct sk_buff *skb);
bool oxtcp_helper_fatal_signal(void);
bool oxtcp_helper_sender_is_net_admin(const struct sk_buff *skb);

#endif
