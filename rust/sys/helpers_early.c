// SPDX-License-Identifier: GPL-2.0
/* See helpers_early.h. */
#include <linux/if_vlan.h>
#include <linux/inetdevice.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <linux/netdevice.h>
#include <net/addrconf.h>
#include <net/dst.h>
#include <net/ip.h>
#include <net/ip6_fib.h>
#include <net/ip_fib.h>
#include <net/ipv6.h>
#include <net/l3mdev.h>
#include <net/nexthop.h>
#include <net/route.h>
#include <net/sock.h>
#include <net/xfrm.h>

#include "helpers_early.h"

static unsigned int oxtcp_hooks(const struct net *net, bool v6, unsigned int hook)
{
	const struct nf_hook_entries *entries;

#if IS_ENABLED(CONFIG_IPV6)
	if (v6)
		entries = rcu_dereference(net->nf.hooks_ipv6[hook]);
	else
#endif
		entries = rcu_dereference(net->nf.hooks_ipv4[hook]);
	return entries ? entries->num_hook_entries : 0;
}

static bool oxtcp_has_policies(const struct net *net)
{
#ifdef CONFIG_XFRM
	return net->xfrm.policy_count[XFRM_POLICY_IN] ||
	       net->xfrm.policy_default[XFRM_POLICY_IN] == XFRM_USERPOLICY_BLOCK;
#else
	return false;
#endif
}

static bool oxtcp_has_rules(const struct net *net, bool v6)
{
#ifdef CONFIG_IPV6_MULTIPLE_TABLES
	if (v6)
		return net->ipv6.fib6_has_custom_rules;
#endif
#ifdef CONFIG_IP_MULTIPLE_TABLES
	if (!v6)
		return net->ipv4.fib_has_custom_rules;
#endif
	return false;
}

/* Whether routes count what they are used for (realms, in /proc/net/rt_acct). */
static bool oxtcp_has_realms(const struct net *net, bool v6)
{
#ifdef CONFIG_IP_ROUTE_CLASSID
	return !v6 && fib_num_tclassid_users((struct net *)net);
#else
	return false;
#endif
}

/*
 * Whether in this namespace nobody has a say in which packets come in, and where to, but the main routing table and we: no hook of a
 * firewall, of conntrack or IPVS, no policy of IPsec, no rule of routing, no realm. early is how many hooks before routing are ours.
 * Under RCU.
 */
bool oxtcp_helper_early_stands_alone(const struct net *net, bool v6, unsigned int early)
{
	return oxtcp_hooks(net, v6, NF_INET_PRE_ROUTING) == early &&
	       oxtcp_hooks(net, v6, NF_INET_LOCAL_IN) == 1 && !oxtcp_has_policies(net) &&
	       !oxtcp_has_rules(net, v6) && !oxtcp_has_realms(net, v6);
}

/*
 * Whether the packet is one as they come from a network: to this host's link address, whole and linear, without anything that was attached
 * to it on its way. Others may have its bytes, too: a tap, or the sender on this host.
 */
bool oxtcp_helper_early_is_plain(const struct net *net, const struct sk_buff *skb)
{
	const struct net_device *dev = skb->dev;

	return skb->pkt_type == PACKET_HOST && !skb_shared(skb) && !skb_is_nonlinear(skb) &&
	       !skb_is_gso(skb) && !skb->sk && !skb_dst(skb) &&
	       !skb_has_extensions((struct sk_buff *)skb) && !skb_get_nfct(skb) &&
	       !skb->mark && !(dev->flags & IFF_LOOPBACK) && !netif_is_l3_slave(dev) &&
	       !netif_is_l3_master(dev) && net_eq(dev_net(dev), net);
}

/*
 * Whether a packet with that route would be seen by nobody, and changed by nobody, before our hook at LOCAL_IN: no other hook stands
 * before that, IPsec has no say, and there is no more to the route than that it ends here. ours is our hook. Under RCU.
 */
static __always_inline bool oxtcp_is_first_in(const struct net *net, const struct dst_entry *dst,
					      bool v6, nf_hookfn *ours)
{
	const struct nf_hook_entries *entries;

#if IS_ENABLED(CONFIG_IPV6)
	if (v6)
		entries = rcu_dereference(net->nf.hooks_ipv6[NF_INET_LOCAL_IN]);
	else
#endif
		entries = rcu_dereference(net->nf.hooks_ipv4[NF_INET_LOCAL_IN]);
	if (!entries || entries->hooks[0].hook != ours || oxtcp_has_policies(net) ||
	    dst->lwtstate || dst->error)
		return false;
#ifdef CONFIG_IP_ROUTE_CLASSID
	if (dst->tclassid)
		return false;
#endif
	return true;
}

/* Linux's own settings of whether packets of TCP are looked up before they are routed. */
bool oxtcp_helper_early_is_demuxed(const struct net *net)
{
	return READ_ONCE(net->ipv4.sysctl_ip_early_demux) &&
	       READ_ONCE(net->ipv4.sysctl_tcp_early_demux);
}

/*
 * Gives a packet for sk the route that the one before it came in by, as tcp_v4_early_demux() does. Whatever mangles packets before routing
 * has been called. True: it has it, and would be as it is when it came to our hook at LOCAL_IN, ours. Under RCU.
 */
bool oxtcp_helper_early_set_route(struct sk_buff *skb, const struct sock *sk, bool v6,
				  nf_hookfn *ours)
{
	const struct net_device *dev = skb->dev;
	struct net *net = sock_net(sk);
	struct dst_entry *dst;

	if (skb->protocol != (v6 ? htons(ETH_P_IPV6) : htons(ETH_P_IP)) ||
	    skb->pkt_type != PACKET_HOST || skb->sk || skb_dst(skb) ||
	    skb_has_extensions(skb) ||
	    /* Their packets come by here again, as the master's. */
	    netif_is_l3_slave(dev) || netif_is_l3_master(dev) || !net_eq(dev_net(dev), net) ||
	    !oxtcp_helper_early_is_demuxed(net))
		return false;
	dst = rcu_dereference(sk->sk_rx_dst);
	if (!dst || READ_ONCE(sk->sk_rx_dst_ifindex) != skb->skb_iif ||
	    dst->ops->family != (v6 ? AF_INET6 : AF_INET))
		return false;
	dst = dst_check(dst, v6 ? READ_ONCE(sk->sk_rx_dst_cookie) : 0);
	if (!dst)
		return false;
	skb_dst_set_noref(skb, dst);
	return oxtcp_is_first_in(net, dst, v6, ours);
}

/*
 * Keeps the route that a packet for sk came in by, for those that come after it, as inet_sk_rx_dst_set() and inet6_sk_rx_dst_set(). With
 * the socket locked by its spin lock, which nobody owns, under RCU. Who reads it meanwhile gets the one route or the other, or none: each
 * leads to this host, and routing has let the flow in by the interface that is noted, or soon is.
 */
void oxtcp_helper_early_keep_route(struct sock *sk, const struct sk_buff *skb)
{
	struct dst_entry *dst = skb_dst(skb);
	struct dst_entry *old = rcu_dereference_protected(sk->sk_rx_dst,
							  lockdep_is_held(&sk->sk_lock.slock));

	if (likely(dst == old && sk->sk_rx_dst_ifindex == skb->skb_iif))
		return;
	/*
	 * What is sent on this host has its route. A socket that is no connection, or none any more, hears nothing from the network, and a
	 * listener is copied.
	 */
	if (!dst || skb->dev->flags & IFF_LOOPBACK || sk->sk_state == TCP_CLOSE ||
	    sk->sk_state == TCP_LISTEN || !net_eq(dev_net(skb->dev), sock_net(sk)) ||
	    !dst_hold_safe(dst))
		return;
	rcu_assign_pointer(sk->sk_rx_dst, NULL);
	WRITE_ONCE(sk->sk_rx_dst_ifindex, skb->skb_iif);
	if (dst->ops->family == AF_INET6)
		WRITE_ONCE(sk->sk_rx_dst_cookie, rt6_get_cookie(dst_rt6_info(dst)));
	rcu_assign_pointer(sk->sk_rx_dst, dst);
	dst_release(old);
}

/* With the socket locked. */
void oxtcp_helper_early_forget_route(struct sock *sk)
{
	dst_release(unrcu_pointer(xchg(&sk->sk_rx_dst, NULL)));
}

int oxtcp_helper_early_device(const struct sk_buff *skb)
{
	return READ_ONCE(skb->dev->ifindex);
}

/*
 * Whether it is an address of an interface of this host's that is up: one that is down keeps its addresses, but routing does not know
 * them. Under RCU.
 */
bool oxtcp_helper_early_is_local_v4(struct net *net, __be32 addr)
{
	const struct net_device *dev = __ip_dev_find(net, addr, false);

	return !ipv4_is_loopback(addr) && dev && (READ_ONCE(dev->flags) & IFF_UP);
}

/* The octets of an address, wherever they stand. skb is for it, and has a device. */
bool oxtcp_helper_early_is_local_v6(struct net *net, const struct sk_buff *skb,
				    const u8 *addr)
{
#if IS_ENABLED(CONFIG_IPV6)
	const struct net_device *dev;
	struct in6_addr aligned;

	memcpy(&aligned, addr, sizeof(aligned));
	/* As nearly always, the address of the device that the packet came by. */
	if ((READ_ONCE(skb->dev->flags) & IFF_UP) &&
	    ipv6_chk_addr(net, &aligned, skb->dev, 1))
		return true;
	dev = ipv6_dev_find(net, &aligned, NULL);
	return dev && (READ_ONCE(dev->flags) & IFF_UP) && ipv6_chk_addr(net, &aligned, NULL, 0);
#else
	return false;
#endif
}

bool oxtcp_helper_early_checksum_bad(struct sk_buff *skb, unsigned int offset, bool v6)
{
	if (v6)
		return nf_ip6_checksum(skb, NF_INET_PRE_ROUTING, offset, IPPROTO_TCP);
	return nf_ip_checksum(skb, NF_INET_PRE_ROUTING, offset, IPPROTO_TCP);
}

/*
 * Whether packets by that route leave by the device that skb came in by, for another host, and nothing is put around them. So whatever
 * rp_filter is, skb is none that it would drop. Under RCU.
 */
bool oxtcp_helper_early_leads_back(const struct dst_entry *dst, const struct sk_buff *skb, bool v6)
{
	if (dst->error || dst_xfrm(dst) || dst->lwtstate || dst_dev_rcu(dst) != skb->dev)
		return false;
	if (v6)
		return !(dst_rt6_info(dst)->rt6i_flags & (RTF_LOCAL | RTF_ANYCAST | RTF_REJECT));
	return dst_rtable(dst)->rt_type == RTN_UNICAST;
}

static bool oxtcp_has_policies_out(const struct net *net)
{
#ifdef CONFIG_XFRM
	return net->xfrm.policy_count[XFRM_POLICY_OUT] ||
	       net->xfrm.policy_default[XFRM_POLICY_OUT] == XFRM_USERPOLICY_BLOCK;
#else
	return false;
#endif
}

/* Whether routes of this namespace do not depend on whose packet it is: no rules, and no policy of IPsec for what goes out. */
bool oxtcp_helper_early_is_anyones(const struct net *net, bool v6)
{
	return !oxtcp_has_rules(net, v6) && !oxtcp_has_policies_out(net);
}

/*
 * The route of packets to the remote address by the device that skb came in by, if there is no more to it than the main table's one way
 * there and the route that this CPU has for it already: what ip_route_output_flow() would come to, without a look at what is not there.
 * NULL: ask it. No reference is taken. Under RCU, where oxtcp_helper_early_stands_alone().
 */
struct dst_entry *oxtcp_helper_early_route_v4(struct net *net, const struct sk_buff *skb,
					      __be32 remote, __be32 local, int oif, u32 mark, u8 tos)
{
#ifdef CONFIG_IP_MULTIPLE_TABLES
	struct fib_table *table = rcu_dereference(net->ipv4.fib_main);
	struct fib_result res = {};
	struct fib_nh_common *nhc;
	struct flowi4 fl4;
	struct rtable *rt;

	if (!table || oxtcp_has_policies_out(net))
		return NULL;
	flowi4_init_output(&fl4, oif, mark, tos, RT_SCOPE_UNIVERSE, IPPROTO_TCP,
			   FLOWI_FLAG_ANYSRC, remote, local, 0, 0, GLOBAL_ROOT_UID);
	if (fib_table_lookup(table, &fl4, &res, FIB_LOOKUP_NOREF) || res.type != RTN_UNICAST)
		return NULL;
	nhc = res.nhc;
	if (!nhc || nhc->nhc_dev != skb->dev || nhc->nhc_lwtstate || !nhc->nhc_pcpu_rth_output ||
	    fib_info_num_path(res.fi) != 1 ||
	    (!res.prefixlen && res.table->tb_num_default > 1) ||
	    /* What ICMP has said of hosts behind it. */
	    rcu_access_pointer(nhc->nhc_exceptions))
		return NULL;
	rt = rcu_dereference(*raw_cpu_ptr(nhc->nhc_pcpu_rth_output));
	/* As rt_cache_valid(). */
	if (!rt || rt->dst.obsolete != DST_OBSOLETE_FORCE_CHK ||
	    rt->rt_genid != rt_genid_ipv4(net) || rt->rt_type != RTN_UNICAST)
		return NULL;
	return &rt->dst;
#else
	return NULL;
#endif
}

const struct net_device *oxtcp_helper_dst_device(const struct dst_entry *dst)
{
	return dst_dev_rcu(dst);
}

/* Of a route that RCU keeps until the packet has left IP. */
void oxtcp_helper_skb_set_dst_noref(struct sk_buff *skb, struct dst_entry *dst)
{
	skb_dst_set_noref(skb, dst);
}

/*
 * Makes a packet that came in an empty one to be sent by that device, as alloc_skb() and skb_reserve() would: with room bytes between
 * where its network header is and its end. False, and nothing has changed, if others use its memory, or that is too small. The
 * packet is as one that is forwarded after that, without what tells of how it came.
 */
bool oxtcp_helper_skb_recycle(struct sk_buff *skb, const struct net_device *dev, unsigned int room)
{
	unsigned int start = skb->network_header + room;

	if (skb_cloned(skb) || skb_shared(skb) || skb_is_nonlinear(skb) || skb_is_gso(skb) ||
	    skb->network_header < LL_RESERVED_SPACE(dev) ||
	    start > skb_end_offset(skb))
		return false;
	skb_orphan(skb);
	skb_scrub_packet(skb, true);
	skb_clear_hash(skb);
	skb_set_queue_mapping(skb, 0);
	__vlan_hwaccel_clear_tag(skb);
	skb_metadata_clear(skb);
	skb->priority = 0;
#if defined(CONFIG_NET_RX_BUSY_POLL) || defined(CONFIG_XPS)
	skb->napi_id = 0;
#endif
#ifdef CONFIG_NETWORK_SECMARK
	skb->secmark = 0;
#endif
	skb->encapsulation = 0;
	skb->csum_level = 0;
#if IS_ENABLED(CONFIG_IP_SCTP)
	skb->csum_not_inet = 0;
#endif
	skb->csum_complete_sw = 0;
	skb->csum_valid = 0;
	skb->ip_summed = CHECKSUM_NONE;
	skb_shinfo(skb)->tx_flags = 0;
	skb_shinfo(skb)->tskey = 0;
	memset(skb_hwtstamps(skb), 0, sizeof(*skb_hwtstamps(skb)));
	memset(skb->cb, 0, sizeof(skb->cb));
	skb->dev = NULL;
	skb_unset_mac_header(skb);
	skb->data = skb->head + start;
	skb_reset_tail_pointer(skb);
	skb->len = 0;
	return true;
}
