// SPDX-License-Identifier: GPL-2.0
/* See helpers.h: struct sk_buff, pages, routing. */
#include <linux/filter.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <linux/tcp.h>
#include <net/dsfield.h>
#include <net/dst.h>
#include <net/inet_sock.h>
#include <net/ip.h>
#include <net/ip6_checksum.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/route.h>
#include <net/tcp.h>
#include <net/xfrm.h>

#include "helpers.h"
#include "helpers_early.h"

struct sk_buff *oxtcp_helper_alloc_skb(unsigned int headroom, unsigned int size, gfp_t gfp)
{
	struct sk_buff *skb = alloc_skb(headroom + size, gfp);

	if (skb)
		skb_reserve(skb, headroom);
	return skb;
}

void oxtcp_helper_kfree_skb(struct sk_buff *skb)
{
	kfree_skb(skb);
}

void oxtcp_helper_skb_drop(struct sk_buff *skb, u32 reason)
{
	kfree_skb_reason(skb, reason);
}

/*
 * Frees a packet that came in, as the built-in TCP does behind the scenes (skb_attempt_defer_free()): to the processor's cache, which
 * the next one is taken from without being cleared anew, or to that of the processor that allocated it. napi_consume_skb() wants
 * softirqs off, and not 0 to do so. Any context with interrupts on.
 */
void oxtcp_helper_consume_skb(struct sk_buff *skb)
{
	if (in_softirq()) {
		napi_consume_skb(skb, 1);
		return;
	}
	local_bh_disable();
	napi_consume_skb(skb, 1);
	local_bh_enable();
}

bool oxtcp_helper_icmp_checksum_bad(struct sk_buff *skb, unsigned int offset, bool v6)
{
	if (v6)
		return nf_ip6_checksum(skb, NF_INET_LOCAL_IN, offset, IPPROTO_ICMPV6);
	/* No pseudo header: protocol 0, as conntrack's icmp_error() has it. */
	return nf_ip_checksum(skb, NF_INET_LOCAL_IN, offset, 0);
}

bool oxtcp_helper_pskb_may_pull(struct sk_buff *skb, unsigned int len)
{
	return pskb_may_pull(skb, len);
}

/*
 * What IP does to a packet that it hands to a protocol: its data begins with the transport header, offset bytes on, and its pages are
 * nobody's who sends without copying (MSG_ZEROCOPY) and may be told that they are free again. False if there is no such header, or no
 * memory.
 */
bool oxtcp_helper_skb_claim(struct sk_buff *skb, unsigned int offset)
{
	if (!pskb_may_pull(skb, offset) || skb_orphan_frags_rx(skb, GFP_ATOMIC))
		return false;
	__skb_pull(skb, offset);
	skb_reset_transport_header(skb);
	return true;
}

void *oxtcp_helper_skb_pull(struct sk_buff *skb, unsigned int len)
{
	return __skb_pull(skb, len);
}

void *oxtcp_helper_skb_push(struct sk_buff *skb, unsigned int len)
{
	return skb_push(skb, len);
}

/* skb->data is at the transport header; completes the sum in any case. */
bool oxtcp_helper_tcp_checksum_bad(struct sk_buff *skb, bool v6)
{
	if (v6) {
		/* An IPv4 header sums up to 0; an IPv6 one has to be taken out. */
		skb_postpull_rcsum(skb, skb_network_header(skb), -skb_network_offset(skb));
		if (skb_checksum_init(skb, IPPROTO_TCP, ip6_compute_pseudo))
			return true;
	} else {
		if (skb_checksum_init(skb, IPPROTO_TCP, inet_compute_pseudo))
			return true;
	}
	return skb_checksum_complete(skb);
}

/*
 * What tcp_v4_rcv() asks before a socket (or, for sk NULL, an object that has
 * none) gets a packet: IPsec's inbound policies, and the socket's filter, the
 * LSM's and the cgroup's. skb->data is at the TCP header, which is linear. Returns why it does not
 * get it (enum skb_drop_reason), or 0.
 */
u32 oxtcp_helper_rx_refusal(struct sock *sk, struct sk_buff *skb, bool v6)
{
	if (!xfrm_policy_check(sk, XFRM_POLICY_IN, skb, v6 ? AF_INET6 : AF_INET))
		return SKB_DROP_REASON_XFRM_POLICY;
	if (!sk)
		return SKB_NOT_DROPPED_YET;
	nf_reset_ct(skb);
	return sk_filter_trim_cap(sk, skb, __tcp_hdrlen((struct tcphdr *)skb->data));
}

/* What tcp_cleanup_skb() and tcp_v4_rcv() shed before an skb is kept. The control block is the caller's to write. */
void oxtcp_helper_skb_prepare_rx(struct sk_buff *skb)
{
	skb_orphan(skb);
	skb_dst_drop(skb);
	nf_reset_ct(skb);
	secpath_reset(skb);
	/* On loopback it may be the time for it to be sent; IP would do this a step later. */
	skb_clear_delivery_time(skb);
	skb->dev = NULL;
}

/* Of the network header in front of the data, which the packet has since it came in. */
u8 oxtcp_helper_skb_ds_field(const struct sk_buff *skb)
{
	if (skb->protocol == htons(ETH_P_IPV6))
		return ipv6_get_dsfield(ipv6_hdr(skb));
	return ipv4_get_dsfield(ip_hdr(skb));
}

void oxtcp_helper_skb_set_owner_r(struct sk_buff *skb, struct sock *sk)
{
	skb_set_owner_r(skb, sk);
}

u16 oxtcp_helper_skb_gso_size(const struct sk_buff *skb)
{
	return skb_shinfo(skb)->gso_size;
}

/* As truesize_adjust(). */
u32 oxtcp_helper_skb_spare_head(const struct sk_buff *skb, u32 header_len)
{
	return skb_headlen(skb) == header_len ? SKB_TRUESIZE(skb_end_offset(skb)) : 0;
}

/* What holds the bytes of both tells when the last of them came. */
static void take_stamps(struct sk_buff *to, const struct sk_buff *from)
{
	ktime_t hwtstamp = skb_shinfo(from)->hwtstamps.hwtstamp;

	if (from->tstamp || hwtstamp) {
		to->tstamp = from->tstamp;
		skb_hwtstamps(to)->hwtstamp = hwtstamp;
	}
}

/* As tcp_try_coalesce(), for two packets that are charged to sk. Frees from where it is joined. */
bool oxtcp_helper_skb_join(struct sock *sk, struct sk_buff *to, struct sk_buff *from)
{
	bool stolen;
	int delta;

	if (skb_cmp_decrypted(to, from) || !skb_try_coalesce(to, from, &stolen, &delta))
		return false;
	atomic_add(delta, &sk->sk_rmem_alloc);
	sk_mem_charge(sk, delta);
	take_stamps(to, from);
	/* Gives its own charge back. */
	kfree_skb_partial(from, stolen);
	return true;
}

bool oxtcp_helper_skb_append(struct sk_buff *to, const struct sk_buff *from, int offset, int len)
{
	if (len < 0 || len > skb_tailroom(to) ||
	    skb_copy_bits(from, offset, skb_tail_pointer(to), len))
		return false;
	skb_put(to, len);
	take_stamps(to, from);
	return true;
}

void oxtcp_helper_skb_tx_csum(struct sk_buff *skb, struct sock *sk, bool v6)
{
	skb->ip_summed = CHECKSUM_PARTIAL;
	if (v6)
		__tcp_v6_send_check(skb, &inet6_sk(sk)->saddr, &sk->sk_v6_daddr);
	else
		__tcp_v4_send_check(skb, inet_sk(sk)->inet_saddr, inet_sk(sk)->inet_daddr);
}

void oxtcp_helper_skb_csum_v4(struct sk_buff *skb, __be32 saddr, __be32 daddr)
{
	skb->ip_summed = CHECKSUM_PARTIAL;
	__tcp_v4_send_check(skb, saddr, daddr);
}

void oxtcp_helper_skb_csum_v6(struct sk_buff *skb, const struct in6_addr *saddr,
			      const struct in6_addr *daddr)
{
	skb->ip_summed = CHECKSUM_PARTIAL;
	__tcp_v6_send_check(skb, saddr, daddr);
}

void oxtcp_helper_skb_set_gso(struct sk_buff *skb, u16 size, u16 segs, u32 type)
{
	skb_shinfo(skb)->gso_size = size;
	skb_shinfo(skb)->gso_segs = segs;
	skb_shinfo(skb)->gso_type = type;
}

/* Takes a reference on the page, if there is room behind the last fragment and the bytes are not next to its own. */
bool oxtcp_helper_skb_add_frag(struct sk_buff *skb, struct page *page, int off, int size)
{
	int i = skb_shinfo(skb)->nr_frags;

	if (skb_can_coalesce(skb, i, page, off)) {
		skb_frag_size_add(&skb_shinfo(skb)->frags[i - 1], size);
		skb_len_add(skb, size);
		return true;
	}
	if (i >= MAX_SKB_FRAGS)
		return false;
	get_page(page);
	skb_fill_page_desc(skb, i, page, off, size);
	skb_len_add(skb, size);
	return true;
}

void oxtcp_helper_skb_set_dst(struct sk_buff *skb, struct dst_entry *dst)
{
	skb_dst_set(skb, dst);
}

int oxtcp_helper_skb_iif(const struct sk_buff *skb, bool v6)
{
	return v6 ? inet6_iif(skb) : inet_iif(skb);
}

bool oxtcp_helper_skb_is_host(const struct sk_buff *skb, bool v6)
{
	const struct dst_entry *dst = skb_dst(skb);

	if (skb->pkt_type != PACKET_HOST || !dst || dst->ops->family != (v6 ? AF_INET6 : AF_INET))
		return false;
	if (v6)
		return ipv6_unicast_destination(skb);
	return skb_rtable(skb)->rt_type == RTN_LOCAL;
}

void oxtcp_helper_skb_reset_network_header(struct sk_buff *skb)
{
	skb_reset_network_header(skb);
}

void oxtcp_helper_skb_reset_transport_header(struct sk_buff *skb)
{
	skb_reset_transport_header(skb);
}

void oxtcp_helper_skb_queue_tail(struct sk_buff_head *q, struct sk_buff *skb)
{
	__skb_queue_tail(q, skb);
}

/* next may be the head. */
void oxtcp_helper_skb_queue_before(struct sk_buff_head *q, struct sk_buff *next,
				   struct sk_buff *skb)
{
	__skb_queue_before(q, next, skb);
}

/* The node is where a list's links and the device are, as in the kernel's TCP. */
void oxtcp_helper_skb_tree_link(struct rb_root *tree, struct rb_node *parent, struct rb_node **link,
				struct sk_buff *skb)
{
	rb_link_node(&skb->rbnode, parent, link);
	rb_insert_color(&skb->rbnode, tree);
}

void oxtcp_helper_skb_tree_erase(struct rb_root *tree, struct sk_buff *skb)
{
	rb_erase(&skb->rbnode, tree);
	skb->next = NULL;
	skb->prev = NULL;
	skb->dev = NULL;
}

struct sk_buff *oxtcp_helper_skb_tree_first(const struct rb_root *tree)
{
	return skb_rb_first(tree);
}

struct sk_buff *oxtcp_helper_skb_tree_last(const struct rb_root *tree)
{
	return skb_rb_last(tree);
}

struct sk_buff *oxtcp_helper_skb_tree_next(const struct sk_buff *skb)
{
	return skb_rb_next(skb);
}

void oxtcp_helper_skb_unlink(struct sk_buff *skb, struct sk_buff_head *q)
{
	__skb_unlink(skb, q);
}

void oxtcp_helper_get_page(struct page *page)
{
	get_page(page);
}

void oxtcp_helper_put_page(struct page *page)
{
	put_page(page);
}

size_t oxtcp_helper_copy_to_iter(const void *bytes, size_t len, struct iov_iter *to)
{
	return copy_to_iter(bytes, len, to);
}

size_t oxtcp_helper_copy_page_from_iter(struct page *page, size_t off, size_t len,
					struct iov_iter *from)
{
	return copy_page_from_iter(page, off, len, from);
}

/* Routes by the socket's addresses and ports; the flow is left in cork.fl. */
struct rtable *oxtcp_helper_route_sock_v4(struct sock *sk)
{
	struct flowi4 *fl4 = &inet_sk(sk)->cork.fl.u.ip4;

	inet_sk_init_flowi4(inet_sk(sk), fl4);
	return ip_route_output_flow(sock_net(sk), fl4, sk);
}

static void oxtcp_init_flow6(struct sock *sk, struct flowi6 *fl6)
{
	const struct ipv6_pinfo *np = inet6_sk(sk);

	memset(fl6, 0, sizeof(*fl6));
	fl6->flowi6_proto = IPPROTO_TCP;
	fl6->daddr = sk->sk_v6_daddr;
	fl6->saddr = np->saddr;
	fl6->flowlabel = ip6_make_flowinfo(np->tclass, np->flow_label);
	fl6->flowi6_oif = sk->sk_bound_dev_if;
	fl6->flowi6_mark = READ_ONCE(sk->sk_mark);
	fl6->fl6_dport = inet_sk(sk)->inet_dport;
	fl6->fl6_sport = inet_sk(sk)->inet_sport;
	fl6->flowi6_uid = sk_uid(sk);
	security_sk_classify_flow(sk, flowi6_to_flowi_common(fl6));
}

struct dst_entry *oxtcp_helper_route_sock_v6(struct sock *sk)
{
	struct flowi6 *fl6 = &inet_sk(sk)->cork.fl.u.ip6;
	struct ipv6_pinfo *np = inet6_sk(sk);
	struct in6_addr *final_p;
	struct dst_entry *dst;

	oxtcp_init_flow6(sk, fl6);
	rcu_read_lock();
	final_p = fl6_update_dst(fl6, rcu_dereference(np->opt), &np->final);
	rcu_read_unlock();
	dst = ip6_dst_lookup_flow(sock_net(sk), sk, fl6, final_p);
	/* inet6_csk_xmit() wants the final destination back in cork.fl. */
	if (!IS_ERR(dst))
		fl6->daddr = sk->sk_v6_daddr;
	return dst;
}

/*
 * Gives sk the route dst, which was looked up between its ends, but for no socket, by oif, mark and tos: if a look-up for the socket would
 * come to the same. On success a reference is taken, and the flow has what transmission reads of it. Under RCU, with the socket locked.
 */
bool oxtcp_helper_sk_take_route(struct sock *sk, struct dst_entry *dst, bool v6, int oif, u32 mark,
				u8 tos)
{
	struct inet_sock *inet = inet_sk(sk);

	if (READ_ONCE(sk->sk_bound_dev_if) != oif || READ_ONCE(sk->sk_mark) != mark ||
	    /* To hosts on the link alone. */
	    sock_flag(sk, SOCK_LOCALROUTE) ||
	    !oxtcp_helper_early_is_anyones(sock_net(sk), v6) || dst_xfrm(dst))
		return false;
#ifdef CONFIG_XFRM
	if (rcu_access_pointer(sk->sk_policy[XFRM_POLICY_OUT]))
		return false;
#endif
	if (v6) {
		const struct ipv6_pinfo *np = inet6_sk(sk);

		/* A routing header leads elsewhere first; a label may have one of several ways. */
		if (np->tclass != tos || np->flow_label || rcu_access_pointer(np->opt) ||
		    !dst_hold_safe(dst))
			return false;
		oxtcp_init_flow6(sk, &inet->cork.fl.u.ip6);
	} else {
		if (READ_ONCE(inet->tos) != tos || rcu_access_pointer(inet->inet_opt) ||
		    oxtcp_helper_route_is_cast(dst) || !dst_hold_safe(dst))
			return false;
		inet_sk_init_flowi4(inet, &inet->cork.fl.u.ip4);
	}
	oxtcp_helper_sk_store_dst(sk, dst, v6);
	return true;
}

struct dst_entry *oxtcp_helper_route_flow(struct net *net, const struct sock *sk, bool v6,
					  struct flowi *fl)
{
	struct dst_entry *dst;
	struct rtable *rt;

	if (v6 && fl->u.ip6.flowi6_oif) {
		/* As for a socket that is bound to the device: by no other one, though a better route is there. */
		dst = ip6_route_output_flags(net, sk, &fl->u.ip6, RT6_LOOKUP_F_IFACE);
		if (dst->error) {
			int err = dst->error;

			dst_release(dst);
			return ERR_PTR(err);
		}
		return xfrm_lookup_route(net, dst, fl, sk, 0);
	}
	if (v6)
		return ip6_dst_lookup_flow(net, sk, &fl->u.ip6, NULL);
	rt = ip_route_output_flow(net, &fl->u.ip4, sk);
	return IS_ERR(rt) ? ERR_CAST(rt) : &rt->dst;
}

void oxtcp_helper_flowi4_init(struct flowi4 *fl4, int oif, u32 mark, u8 tos, __be32 daddr,
			      __be32 saddr, __be16 dport, __be16 sport)
{
	flowi4_init_output(fl4, oif, mark, tos, RT_SCOPE_UNIVERSE, IPPROTO_TCP,
			   FLOWI_FLAG_ANYSRC, daddr, saddr, dport, sport, GLOBAL_ROOT_UID);
}

void oxtcp_helper_flowi6_init(struct flowi6 *fl6, int oif, u32 mark, u8 tclass,
			      const struct in6_addr *daddr, const struct in6_addr *saddr,
			      __be16 dport, __be16 sport)
{
	memset(fl6, 0, sizeof(*fl6));
	fl6->flowi6_proto = IPPROTO_TCP;
	fl6->daddr = *daddr;
	fl6->saddr = *saddr;
	fl6->flowlabel = ip6_make_flowinfo(tclass, 0);
	fl6->flowi6_oif = oif;
	fl6->flowi6_mark = mark;
	fl6->fl6_dport = dport;
	fl6->fl6_sport = sport;
	fl6->flowi6_uid = GLOBAL_ROOT_UID;
}

/*
 * Version, traffic class and flow label of the IPv6 header, as ip6_xmit() makes them for a socket that has asked for no label and has
 * that hash, which is not 0: so that a connection's packets have one label from the SYN-ACK on (RFC 6437 section 3).
 */
__be32 oxtcp_helper_ip6_first_word(const struct net *net, struct sk_buff *skb, u8 tclass, u32 hash)
{
	__be32 label;

	skb_set_hash(skb, hash, PKT_HASH_TYPE_L4);
	/* Of a packet that has its hash, the flow is not looked at. */
	label = ip6_make_flowlabel(net, skb, 0, ip6_default_np_autolabel(net), NULL);
	return htonl(0x60000000) | ip6_make_flowinfo(tclass, label);
}

/*
 * What sk_setup_caps() does for the kernel's own TCP alone: packets are large
 * also where the device does not cut them, as the layer above it does.
 */
static void oxtcp_setup_gso(struct sock *sk, const struct dst_entry *dst, bool v6)
{
	const struct net_device *dev = dst_dev_rcu(dst);
	u32 size;

	if (sk_can_gso(sk) || dst->header_len || sk->sk_gso_disabled)
		return;
	size = v6 ? READ_ONCE(dev->gso_max_size) : READ_ONCE(dev->gso_ipv4_max_size);
	sk->sk_route_caps |= NETIF_F_GSO | NETIF_F_GSO_SOFTWARE | NETIF_F_SG | NETIF_F_HW_CSUM;
	sk->sk_gso_max_size = min_t(u32, size, GSO_LEGACY_MAX_SIZE) - (MAX_TCP_HEADER + 1);
	sk->sk_gso_max_segs = max_t(u32, READ_ONCE(dev->gso_max_segs), 1);
}

/* Hands the reference on dst over to the socket. */
void oxtcp_helper_sk_store_dst(struct sock *sk, struct dst_entry *dst, bool v6)
{
	rcu_read_lock();
	if (v6)
		ip6_dst_store(sk, dst, false, false);
	else
		sk_setup_caps(sk, dst);
	oxtcp_setup_gso(sk, dst, v6);
	rcu_read_unlock();
}

bool oxtcp_helper_route_is_cast(const struct dst_entry *dst)
{
	return dst_rtable(dst)->rt_flags & (RTCF_MULTICAST | RTCF_BROADCAST);
}

__be32 oxtcp_helper_sock_fl4_saddr(const struct sock *sk)
{
	return inet_sk(sk)->cork.fl.u.ip4.saddr;
}

__be32 oxtcp_helper_sock_fl4_daddr(const struct sock *sk)
{
	return inet_sk(sk)->cork.fl.u.ip4.daddr;
}

u32 oxtcp_helper_dst_mtu(const struct dst_entry *dst)
{
	return dst_mtu(dst);
}

u32 oxtcp_helper_dst_advmss(const struct dst_entry *dst)
{
	return dst_metric_advmss(dst);
}

u8 oxtcp_helper_dst_hoplimit(struct dst_entry *dst, bool v6)
{
	return v6 ? ip6_dst_hoplimit(dst) : ip4_dst_hoplimit(dst);
}

void oxtcp_helper_dst_hold(struct dst_entry *dst)
{
	dst_hold(dst);
}

void oxtcp_helper_skb_set_output(struct sk_buff *skb, __be16 protocol, u32 mark)
{
	skb->protocol = protocol;
	skb->mark = mark;
	skb->ignore_df = 1;
}

void oxtcp_helper_dst_release(struct dst_entry *dst)
{
	dst_release(dst);
}

/* The socket's cached route, if it is still good; no reference is taken. */
struct dst_entry *oxtcp_helper_sk_dst_check(struct sock *sk)
{
	u32 cookie = 0;

	if (sk->sk_family == AF_INET6 && !ipv6_addr_v4mapped(&sk->sk_v6_daddr))
		cookie = inet6_sk(sk)->dst_cookie;
	return __sk_dst_check(sk, cookie);
}

/* As inet_csk_update_pmtu(), which would route with an inet_connection_sock. */
void oxtcp_helper_sk_update_pmtu(struct sock *sk, u32 mtu)
{
	struct dst_entry *dst = oxtcp_helper_sk_dst_check(sk);

	if (dst)
		dst->ops->update_pmtu(dst, sk, NULL, mtu, true);
}

/* Whether the socket's cached route, if it has one, is of the family. */
bool oxtcp_helper_sk_dst_is_of(const struct sock *sk, bool v6)
{
	const struct dst_entry *dst = __sk_dst_get(sk);

	return !dst || dst->ops->family == (v6 ? AF_INET6 : AF_INET);
}
