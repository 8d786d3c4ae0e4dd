// SPDX-License-Identifier: GPL-2.0
/* See helpers_diag.h. */
#include <linux/netlink.h>
#include <linux/sched/signal.h>
#include <linux/sock_diag.h>
#include <net/net_namespace.h>
#include <net/netlink.h>
#include <net/sock.h>

#include "helpers_diag.h"

struct net *oxtcp_helper_skb_net(const struct sk_buff *skb)
{
	return sock_net(skb->sk);
}

bool oxtcp_helper_nlmsg_is_dump(const struct nlmsghdr *nlh)
{
	return nlh->nlmsg_flags & NLM_F_DUMP;
}

/* The length was checked by netlink_rcv_skb(). */
const void *oxtcp_helper_nlmsg_payload(const struct nlmsghdr *nlh, size_t *len)
{
	*len = nlmsg_len(nlh);
	return nlmsg_data(nlh);
}

int oxtcp_helper_diag_dump_start(struct sk_buff *skb, const struct nlmsghdr *nlh,
				 int (*start)(struct netlink_callback *cb),
				 int (*dump)(struct sk_buff *skb, struct netlink_callback *cb),
				 int (*done)(struct netlink_callback *cb), struct module *module)
{
	struct netlink_dump_control control = {
		.start = start,
		.dump = dump,
		.done = done,
		.module = module,
	};

	return netlink_dump_start(sock_net(skb->sk)->diag_nlsk, skb, nlh, &control);
}

void **oxtcp_helper_diag_dump_state(struct netlink_callback *cb)
{
	NL_ASSERT_CTX_FITS(void *);
	return (void **)cb->ctx;
}

static bool oxtcp_diag_add(struct sk_buff *skb, u32 portid, const struct nlmsghdr *to, int flags,
			   const void *payload, size_t len)
{
	struct nlmsghdr *nlh = nlmsg_put(skb, portid, to->nlmsg_seq, to->nlmsg_type, len, flags);

	if (!nlh)
		return false;
	memcpy(nlmsg_data(nlh), payload, len);
	nlmsg_end(skb, nlh);
	return true;
}

/* Another message of a dump; false if there is no room for it. */
bool oxtcp_helper_diag_dump_add(struct sk_buff *skb, const struct netlink_callback *cb,
				const void *payload, size_t len)
{
	return oxtcp_diag_add(skb, NETLINK_CB(cb->skb).portid, cb->nlh, NLM_F_MULTI, payload, len);
}

/* The one message that answers a request. */
int oxtcp_helper_diag_reply(struct sk_buff *in_skb, const struct nlmsghdr *nlh,
			    const void *payload, size_t len)
{
	struct sk_buff *skb = nlmsg_new(len, GFP_KERNEL);
	u32 portid = NETLINK_CB(in_skb).portid;

	if (!skb)
		return -ENOMEM;
	if (!oxtcp_diag_add(skb, portid, nlh, 0, payload, len)) {
		nlmsg_free(skb);
		return -EMSGSIZE;
	}
	return nlmsg_unicast(sock_net(in_skb->sk)->diag_nlsk, skb, portid);
}

/* As sk_get_meminfo(), which is not exported. */
void oxtcp_helper_sk_meminfo(const struct sock *sk, u32 *words)
{
	words[SK_MEMINFO_RMEM_ALLOC] = sk_rmem_alloc_get(sk);
	words[SK_MEMINFO_RCVBUF] = READ_ONCE(sk->sk_rcvbuf);
	words[SK_MEMINFO_WMEM_ALLOC] = sk_wmem_alloc_get(sk);
	words[SK_MEMINFO_SNDBUF] = READ_ONCE(sk->sk_sndbuf);
	words[SK_MEMINFO_FWD_ALLOC] = READ_ONCE(sk->sk_forward_alloc);
	words[SK_MEMINFO_WMEM_QUEUED] = READ_ONCE(sk->sk_wmem_queued);
	words[SK_MEMINFO_OPTMEM] = atomic_read(&sk->sk_omem_alloc);
	words[SK_MEMINFO_BACKLOG] = READ_ONCE(sk->sk_backlog.len);
	words[SK_MEMINFO_DROPS] = sk_drops_read(sk);
}

u32 oxtcp_helper_uid_seen_by_sender(u32 uid, const struct sk_buff *skb)
{
	return from_kuid_munged(sk_user_ns(NETLINK_CB(skb).sk), KUIDT_INIT(uid));
}

bool oxtcp_helper_fatal_signal(void)
{
	return fatal_signal_pending(current);
}

bool oxtcp_helper_sender_is_net_admin(const struct sk_buff *skb)
{
	return netlink_net_capable(skb, CAP_NET_ADMIN);
}
