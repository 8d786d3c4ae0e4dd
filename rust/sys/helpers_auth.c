// SPDX-License-Identifier: GPL-2.0
/* See helpers_auth.h. */
#include <crypto/md5.h>
#include <linux/fips.h>
#include <linux/ipv6.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <net/inet6_hashtables.h>
#include <net/inet_hashtables.h>
#include <net/ip.h>
#include <net/l3mdev.h>
#include <net/net_namespace.h>
#include <net/sock.h>

#include "helpers_auth.h"

/* 0, -ENOPROTOOPT (as the kernel's TCP without TCP_MD5SIG) or -EOPNOTSUPP (as with it in FIPS mode). */
int oxtcp_helper_md5_usable(void)
{
#if IS_REACHABLE(CONFIG_CRYPTO_LIB_MD5)
	return fips_enabled ? -EOPNOTSUPP : 0;
#else
	return -ENOPROTOOPT;
#endif
}

/*
 * The sum over @head, the packet from @skip bytes behind its data pointer on,
 * and the key: RFC 2385 section 2.0. Any context.
 */
void oxtcp_helper_md5_segment(struct sk_buff *skb, const void *head, size_t head_len,
			      unsigned int skip, const void *key, size_t key_len, u8 *digest)
{
#if IS_REACHABLE(CONFIG_CRYPTO_LIB_MD5)
	struct skb_seq_state state;
	unsigned int done = 0, len;
	const u8 *data;
	struct md5_ctx ctx;

	md5_init(&ctx);
	md5_update(&ctx, head, head_len);
	if (skip < skb->len) {
		skb_prepare_seq_read(skb, skip, skb->len, &state);
		/* It ends by itself, and lets go of what it has mapped. */
		while ((len = skb_seq_read(done, &data, &state)) != 0) {
			md5_update(&ctx, data, len);
			done += len;
		}
	}
	md5_update(&ctx, key, key_len);
	md5_final(&ctx, digest);
#else
	memset(digest, 0, 16);
#endif
}

/* As sock_kmalloc() charges a socket for options. */
bool oxtcp_helper_sk_charge_option(struct sock *sk, int size)
{
	int most = READ_ONCE(sock_net(sk)->core.sysctl_optmem_max);

	if ((unsigned int)size > most || atomic_read(&sk->sk_omem_alloc) + size >= most)
		return false;
	atomic_add(size, &sk->sk_omem_alloc);
	return true;
}

void oxtcp_helper_sk_uncharge_option(struct sock *sk, int size)
{
	atomic_sub(size, &sk->sk_omem_alloc);
}

/* As tcp_md5sig_info_add(): a burst has one signature, and its segments need one each. */
void oxtcp_helper_sk_gso_disable(struct sock *sk)
{
	sk_gso_disable(sk);
	sk->sk_gso_max_segs = 1;
}

bool oxtcp_helper_sk_has_gso(const struct sock *sk)
{
	return !sk->sk_gso_disabled;
}

/* The VRF that a packet in LOCAL_IN came in by; 0 for none. */
int oxtcp_helper_skb_l3index(const struct sk_buff *skb, bool v6)
{
	if (v6)
		return inet6_sdif(skb) ? inet6_iif(skb) : 0;
	return inet_sdif(skb) ? inet_iif(skb) : 0;
}

int oxtcp_helper_l3_master(struct net *net, int ifindex)
{
	return l3mdev_master_ifindex_by_index(net, ifindex);
}

bool oxtcp_helper_is_l3_master(struct net *net, int ifindex)
{
	struct net_device *dev;
	bool is;

	rcu_read_lock();
	dev = dev_get_by_index_rcu(net, ifindex);
	is = dev && netif_is_l3_master(dev);
	rcu_read_unlock();
	return is;
}

/*
 * Whether the kernel's own TCP has a connection between the ends of a packet
 * in LOCAL_IN, or one that is half open or in TIME-WAIT. Addresses have 16
 * bytes, IPv4's in the last four. Softirqs are off.
 */
bool oxtcp_helper_builtin_has_flow(struct net *net, struct sk_buff *skb, bool v6,
				   const u8 *remote, __be16 rport, const u8 *local, u16 lport)
{
	struct sock *sk;

	if (v6) {
		struct in6_addr saddr, daddr;

		memcpy(&saddr, remote, sizeof(saddr));
		memcpy(&daddr, local, sizeof(daddr));
		sk = __inet6_lookup_established(net, &saddr, rport, &daddr, lport,
						inet6_iif(skb), inet6_sdif(skb));
	} else {
		__be32 saddr, daddr;

		memcpy(&saddr, remote + 12, sizeof(saddr));
		memcpy(&daddr, local + 12, sizeof(daddr));
		sk = __inet_lookup_established(net, saddr, rport, daddr, lport,
					       inet_iif(skb), inet_sdif(skb));
	}
	if (!sk)
		return false;
	sock_gen_put(sk);
	return true;
}

void oxtcp_helper_skb_drop(struct sk_buff *skb, int reason)
{
	kfree_skb_reason(skb, reason);
}
