/* SPDX-License-Identifier: GPL-2.0 */
/* C helpers for auth.rs: what signatures of segments need. */
#ifndef OXTCP_HELPERS_AUTH_H
#define OXTCP_HELPERS_AUTH_H

#include <linux/in6.h>
#include <linux/types.h>

struct net;
struct sk_buff;
struct sock;

int oxtcp_helper_md5_usable(void);
void oxtcp_helper_md5_segment(struct sk_buff *skb, const void *head, size_t head_len,
			      unsigned int skip, const void *key, size_t key_len, u8 *digest);

/* As enum tcp_ao_algo_id. */
#define OXTCP_AO_HMAC_SHA1 1
#define OXTCP_AO_HMAC_SHA256 2
#define OXTCP_AO_AES_CMAC 3

bool oxtcp_helper_ao_usable(unsigned int algorithm);
void oxtcp_helper_ao_sum(unsigned int algorithm, const u8 *key, size_t key_len, const void *text,
			 size_t text_len, struct sk_buff *skb, unsigned int skip, u8 *sum);

bool oxtcp_helper_sk_charge_option(struct sock *sk, int size);
void oxtcp_helper_sk_uncharge_option(struct sock *sk, int size);
void oxtcp_helper_sk_gso_disable(struct sock *sk);
bool oxtcp_helper_sk_has_gso(const struct sock *sk);

int oxtcp_helper_skb_l3index(const struct sk_buff *skb, bool v6);
int oxtcp_helper_l3_master(struct net *net, int ifindex);
bool oxtcp_helper_is_l3_master(struct net *net, int ifindex);
bool oxtcp_helper_builtin_has_flow(struct net *net, struct sk_buff *skb, bool v6,
				   const u8 *remote, __be16 rport, const u8 *local, u16 lport,
				   bool full);

#endif
