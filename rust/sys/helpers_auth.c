// SPDX-License-Identifier: GPL-2.0
/* See helpers_auth.h. */
#include <crypto/aes-cbc-macs.h>
#include <crypto/md5.h>
#include <crypto/sha1.h>
#include <crypto/sha2.h>
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

/* Whether the kernel has the algorithm. */
bool oxtcp_helper_ao_usable(unsigned int algorithm)
{
	switch (algorithm) {
	case OXTCP_AO_HMAC_SHA1:
		return IS_REACHABLE(CONFIG_CRYPTO_LIB_SHA1);
	case OXTCP_AO_HMAC_SHA256:
		return IS_REACHABLE(CONFIG_CRYPTO_LIB_SHA256);
	case OXTCP_AO_AES_CMAC:
		return IS_REACHABLE(CONFIG_CRYPTO_LIB_AES_CBC_MACS);
	default:
		return false;
	}
}

struct oxtcp_ao_ctx {
	unsigned int algorithm;
	union {
#if IS_REACHABLE(CONFIG_CRYPTO_LIB_SHA1)
		struct hmac_sha1_ctx sha1;
#endif
#if IS_REACHABLE(CONFIG_CRYPTO_LIB_SHA256)
		struct hmac_sha256_ctx sha256;
#endif
#if IS_REACHABLE(CONFIG_CRYPTO_LIB_AES_CBC_MACS)
		struct {
			struct aes_cmac_key key;
			struct aes_cmac_ctx ctx;
		} cmac;
#endif
	};
};

static void oxtcp_ao_init(struct oxtcp_ao_ctx *ctx, unsigned int algorithm, const u8 *key,
			  size_t len)
{
	ctx->algorithm = algorithm;
	switch (algorithm) {
#if IS_REACHABLE(CONFIG_CRYPTO_LIB_SHA1)
	case OXTCP_AO_HMAC_SHA1:
		hmac_sha1_init_usingrawkey(&ctx->sha1, key, len);
		break;
#endif
#if IS_REACHABLE(CONFIG_CRYPTO_LIB_SHA256)
	case OXTCP_AO_HMAC_SHA256:
		hmac_sha256_init_usingrawkey(&ctx->sha256, key, len);
		break;
#endif
#if IS_REACHABLE(CONFIG_CRYPTO_LIB_AES_CBC_MACS)
	case OXTCP_AO_AES_CMAC:
		/* Keys have 16 bytes: it cannot fail. */
		aes_cmac_preparekey(&ctx->cmac.key, key, AES_KEYSIZE_128);
		aes_cmac_init(&ctx->cmac.ctx, &ctx->cmac.key);
		break;
#endif
	}
}

static void oxtcp_ao_update(struct oxtcp_ao_ctx *ctx, const void *data, size_t len)
{
	switch (ctx->algorithm) {
#if IS_REACHABLE(CONFIG_CRYPTO_LIB_SHA1)
	case OXTCP_AO_HMAC_SHA1:
		hmac_sha1_update(&ctx->sha1, data, len);
		break;
#endif
#if IS_REACHABLE(CONFIG_CRYPTO_LIB_SHA256)
	case OXTCP_AO_HMAC_SHA256:
		hmac_sha256_update(&ctx->sha256, data, len);
		break;
#endif
#if IS_REACHABLE(CONFIG_CRYPTO_LIB_AES_CBC_MACS)
	case OXTCP_AO_AES_CMAC:
		aes_cmac_update(&ctx->cmac.ctx, data, len);
		break;
#endif
	}
}

static void oxtcp_ao_final(struct oxtcp_ao_ctx *ctx, u8 *sum)
{
	switch (ctx->algorithm) {
#if IS_REACHABLE(CONFIG_CRYPTO_LIB_SHA1)
	case OXTCP_AO_HMAC_SHA1:
		hmac_sha1_final(&ctx->sha1, sum);
		break;
#endif
#if IS_REACHABLE(CONFIG_CRYPTO_LIB_SHA256)
	case OXTCP_AO_HMAC_SHA256:
		hmac_sha256_final(&ctx->sha256, sum);
		break;
#endif
#if IS_REACHABLE(CONFIG_CRYPTO_LIB_AES_CBC_MACS)
	case OXTCP_AO_AES_CMAC:
		aes_cmac_final(&ctx->cmac.ctx, sum);
		memzero_explicit(&ctx->cmac.key, sizeof(ctx->cmac.key));
		break;
#endif
	}
}

/*
 * The MAC of @text, and of what the packet @skb (if there is one) has from
 * @skip bytes behind its data pointer on, with a key of @key_len bytes: 16 for
 * AES_CMAC. @sum has room for 32 bytes; what an algorithm does not fill stays.
 * Any context.
 */
void oxtcp_helper_ao_sum(unsigned int algorithm, const u8 *key, size_t key_len, const void *text,
			 size_t text_len, struct sk_buff *skb, unsigned int skip, u8 *sum)
{
	struct skb_seq_state state;
	unsigned int done = 0, len;
	struct oxtcp_ao_ctx ctx;
	const u8 *data;

	oxtcp_ao_init(&ctx, algorithm, key, key_len);
	oxtcp_ao_update(&ctx, text, text_len);
	if (skb && skip < skb->len) {
		skb_prepare_seq_read(skb, skip, skb->len, &state);
		/* It ends by itself, and lets go of what it has mapped. */
		while ((len = skb_seq_read(done, &data, &state)) != 0) {
			oxtcp_ao_update(&ctx, data, len);
			done += len;
		}
	}
	oxtcp_ao_final(&ctx, sum);
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
 * in a hook on its way in; if not full, also one that is half open or in
 * TIME-WAIT. Addresses have 16 bytes, IPv4's in the last four. Under RCU.
 */
bool oxtcp_helper_builtin_has_flow(struct net *net, struct sk_buff *skb, bool v6,
				   const u8 *remote, __be16 rport, const u8 *local, u16 lport,
				   bool full)
{
	struct sock *sk;
	bool has;

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
	has = !full || sk_fullsock(sk);
	sock_gen_put(sk);
	return has;
}
