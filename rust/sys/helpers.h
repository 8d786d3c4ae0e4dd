/* SPDX-License-Identifier: GPL-2.0 */
/*
 * C helpers for rust/sys: one-line wrappers of static inlines and macros that
 * bindgen cannot see. Anything with logic of its own belongs in Rust, except
 * where a macro declares something on the caller's stack or in a section of
 * its own (wait queue entries, lock classes, per-CPU data).
 */
#ifndef OXTCP_HELPERS_H
#define OXTCP_HELPERS_H

#include <linux/rhashtable.h>
#include <linux/skbuff.h>
#include <linux/timer.h>
#include <net/flow.h>
#include <net/sock.h>

struct rtable;
struct poll_table_struct;

/* struct sock */
void oxtcp_helper_sock_lock_init(struct sock *sk);
bool oxtcp_helper_bh_lock_sock(struct sock *sk);
bool oxtcp_helper_bh_lock_sock_child(struct sock *sk);
void oxtcp_helper_bh_unlock_sock(struct sock *sk);
bool oxtcp_helper_sock_owned_by_user(struct sock *sk);
int oxtcp_helper_sk_add_backlog(struct sock *sk, struct sk_buff *skb, unsigned int limit);
void oxtcp_helper_sock_hold(struct sock *sk);
bool oxtcp_helper_sock_hold_not_zero(struct sock *sk);
void oxtcp_helper_sock_put(struct sock *sk);
struct net *oxtcp_helper_sock_net(const struct sock *sk);
void oxtcp_helper_sock_set_flag(struct sock *sk, int flag);
void oxtcp_helper_sock_reset_flag(struct sock *sk, int flag);
void oxtcp_helper_sock_orphan(struct sock *sk);
void oxtcp_helper_sk_state_change(struct sock *sk);
void oxtcp_helper_sk_data_ready(struct sock *sk);
struct hlist_node *oxtcp_helper_sk_bind_node(struct sock *sk);
struct sock *oxtcp_helper_sk_of_bind_node(struct hlist_node *node);
struct rb_root *oxtcp_helper_sk_tree(struct sock *sk);
/* Bytes of a struct inet_sock that are the protocol's, in cork.base (Sock::notes_of). */
#define OXTCP_NOTES_LEN 32
void oxtcp_helper_sk_send_sigurg(struct sock *sk);
int oxtcp_helper_signal_errno(long timeo);
bool oxtcp_helper_socket_nonblock(const struct socket *sock);
void oxtcp_helper_sk_write_space(struct sock *sk);
void oxtcp_helper_sk_error_report(struct sock *sk);
void oxtcp_helper_sk_wake_async(struct sock *sk, int how, int band);
int oxtcp_helper_sock_error(struct sock *sk);
long oxtcp_helper_sock_rcvtimeo(const struct sock *sk, bool noblock);
long oxtcp_helper_sock_sndtimeo(const struct sock *sk, bool noblock);
bool oxtcp_helper_sk_rmem_schedule(struct sock *sk, struct sk_buff *skb, int size);
bool oxtcp_helper_sk_wmem_schedule(struct sock *sk, int size);
void oxtcp_helper_sk_mem_charge(struct sock *sk, int size);
void oxtcp_helper_sk_mem_uncharge(struct sock *sk, int size);
void oxtcp_helper_sk_mem_reclaim(struct sock *sk);
bool oxtcp_helper_sk_stream_memory_free(const struct sock *sk);
struct page_frag *oxtcp_helper_sk_page_frag(struct sock *sk);
void oxtcp_helper_sk_dst_reset(struct sock *sk);
int oxtcp_helper_sk_refcnt(const struct sock *sk);
u64 oxtcp_helper_sock_ino(struct sock *sk);
u32 oxtcp_helper_sock_uid(const struct sock *sk);
u32 oxtcp_helper_uid_seen_by(u32 uid, struct seq_file *seq);
void oxtcp_helper_sk_timer_setup(struct sock *sk, void (*fn)(struct timer_list *));
struct sock *oxtcp_helper_sk_from_timer(struct timer_list *t);
void oxtcp_helper_sk_hold_net(struct sock *sk);
void oxtcp_helper_inet_init_flags(struct sock *sk);
bool oxtcp_helper_sk_reuse(const struct sock *sk);
bool oxtcp_helper_sk_reuseport(const struct sock *sk);
void oxtcp_helper_sk_sockets_allocated(struct sock *sk, bool more);
bool oxtcp_helper_sk_ipv6only(const struct sock *sk);
void oxtcp_helper_sk_set_ipv6only(struct sock *sk, bool on);
bool oxtcp_helper_bindv6only(const struct net *net);
int oxtcp_helper_sk_wait(struct sock *sk, long *timeo, bool exclusive,
			 bool (*cond)(struct sock *sk, void *arg), void *arg);
void oxtcp_helper_sock_poll_wait(struct file *file, struct socket *sock,
				 struct poll_table_struct *wait);
void oxtcp_helper_sk_nospace(struct sock *sk);
void oxtcp_helper_socket_custom_sockopt(struct socket *sock);
int oxtcp_helper_copy_from_sockptr(void *dst, sockptr_t src, size_t size);
int oxtcp_helper_copy_struct_from_sockptr(void *dst, size_t ksize, sockptr_t src, size_t usize);
int oxtcp_helper_copy_struct_from_user(void *dst, size_t ksize, const void __user *src,
				       size_t usize);
int oxtcp_helper_get_user_int(int *dst, int __user *src);
int oxtcp_helper_put_user_int(int v, int __user *dst);
int oxtcp_helper_copy_to_user(void __user *dst, const void *src, size_t n);

/* struct sk_buff */
struct sk_buff *oxtcp_helper_alloc_skb(unsigned int headroom, unsigned int size, gfp_t gfp);
void oxtcp_helper_kfree_skb(struct sk_buff *skb);
void oxtcp_helper_consume_skb(struct sk_buff *skb);
void oxtcp_helper_skb_drop(struct sk_buff *skb, u32 reason);
bool oxtcp_helper_icmp_checksum_bad(struct sk_buff *skb, unsigned int offset, bool v6);
bool oxtcp_helper_pskb_may_pull(struct sk_buff *skb, unsigned int len);
void *oxtcp_helper_skb_pull(struct sk_buff *skb, unsigned int len);
bool oxtcp_helper_skb_claim(struct sk_buff *skb, unsigned int offset);
void *oxtcp_helper_skb_push(struct sk_buff *skb, unsigned int len);
bool oxtcp_helper_tcp_checksum_bad(struct sk_buff *skb, bool v6);
u32 oxtcp_helper_rx_refusal(struct sock *sk, struct sk_buff *skb, bool v6);
void oxtcp_helper_skb_prepare_rx(struct sk_buff *skb);
u8 oxtcp_helper_skb_ds_field(const struct sk_buff *skb);
void oxtcp_helper_skb_set_owner_r(struct sk_buff *skb, struct sock *sk);
void oxtcp_helper_sk_set_ecn_capable(struct sock *sk, bool capable);
u16 oxtcp_helper_skb_gso_size(const struct sk_buff *skb);
u32 oxtcp_helper_skb_spare_head(const struct sk_buff *skb, u32 header_len);
bool oxtcp_helper_skb_join(struct sock *sk, struct sk_buff *to, struct sk_buff *from);
bool oxtcp_helper_skb_append(struct sk_buff *to, const struct sk_buff *from, int offset, int len);
void oxtcp_helper_skb_tx_csum(struct sk_buff *skb, struct sock *sk, bool v6);
void oxtcp_helper_skb_csum_v4(struct sk_buff *skb, __be32 saddr, __be32 daddr);
void oxtcp_helper_skb_csum_v6(struct sk_buff *skb, const struct in6_addr *saddr,
			      const struct in6_addr *daddr);
void oxtcp_helper_skb_set_gso(struct sk_buff *skb, u16 size, u16 segs, u32 type);
bool oxtcp_helper_skb_add_frag(struct sk_buff *skb, struct page *page, int off, int size);
void oxtcp_helper_skb_set_dst(struct sk_buff *skb, struct dst_entry *dst);
int oxtcp_helper_skb_iif(const struct sk_buff *skb, bool v6);
bool oxtcp_helper_skb_is_host(const struct sk_buff *skb, bool v6);
void oxtcp_helper_skb_reset_network_header(struct sk_buff *skb);
void oxtcp_helper_skb_reset_transport_header(struct sk_buff *skb);
void oxtcp_helper_skb_queue_tail(struct sk_buff_head *q, struct sk_buff *skb);
void oxtcp_helper_skb_queue_before(struct sk_buff_head *q, struct sk_buff *next,
				   struct sk_buff *skb);
void oxtcp_helper_skb_unlink(struct sk_buff *skb, struct sk_buff_head *q);
void oxtcp_helper_skb_tree_link(struct rb_root *tree, struct rb_node *parent, struct rb_node **link,
				struct sk_buff *skb);
void oxtcp_helper_skb_tree_erase(struct rb_root *tree, struct sk_buff *skb);
struct sk_buff *oxtcp_helper_skb_tree_first(const struct rb_root *tree);
struct sk_buff *oxtcp_helper_skb_tree_last(const struct rb_root *tree);
struct sk_buff *oxtcp_helper_skb_tree_next(const struct sk_buff *skb);

/* pages */
void oxtcp_helper_get_page(struct page *page);
void oxtcp_helper_put_page(struct page *page);
size_t oxtcp_helper_copy_to_iter(const void *bytes, size_t len, struct iov_iter *to);
size_t oxtcp_helper_copy_page_from_iter(struct page *page, size_t off, size_t len,
					struct iov_iter *from);

/* routing */
struct rtable *oxtcp_helper_route_sock_v4(struct sock *sk);
struct dst_entry *oxtcp_helper_route_sock_v6(struct sock *sk);
bool oxtcp_helper_sk_take_route(struct sock *sk, struct dst_entry *dst, bool v6, int oif, u32 mark,
				u8 tos);
struct dst_entry *oxtcp_helper_route_flow(struct net *net, const struct sock *sk, bool v6,
					  struct flowi *fl);
void oxtcp_helper_flowi4_init(struct flowi4 *fl4, int oif, u32 mark, u8 tos, __be32 daddr,
			      __be32 saddr, __be16 dport, __be16 sport);
void oxtcp_helper_flowi6_init(struct flowi6 *fl6, int oif, u32 mark, u8 tclass,
			      const struct in6_addr *daddr, const struct in6_addr *saddr,
			      __be16 dport, __be16 sport);
__be32 oxtcp_helper_ip6_first_word(const struct net *net, struct sk_buff *skb, u8 tclass, u32 hash);
void oxtcp_helper_sk_store_dst(struct sock *sk, struct dst_entry *dst, bool v6);
bool oxtcp_helper_route_is_cast(const struct dst_entry *dst);
__be32 oxtcp_helper_sock_fl4_saddr(const struct sock *sk);
__be32 oxtcp_helper_sock_fl4_daddr(const struct sock *sk);
u32 oxtcp_helper_dst_mtu(const struct dst_entry *dst);
u32 oxtcp_helper_dst_advmss(const struct dst_entry *dst);
u8 oxtcp_helper_dst_hoplimit(struct dst_entry *dst, bool v6);
void oxtcp_helper_dst_hold(struct dst_entry *dst);
void oxtcp_helper_skb_set_output(struct sk_buff *skb, __be16 protocol, u32 mark);
void oxtcp_helper_dst_release(struct dst_entry *dst);
struct dst_entry *oxtcp_helper_sk_dst_check(struct sock *sk);
void oxtcp_helper_sk_update_pmtu(struct sock *sk, u32 mtu);
bool oxtcp_helper_sk_dst_is_of(const struct sock *sk, bool v6);

/* flow table, locks of its small objects, time */
int oxtcp_helper_flow_init(struct rhashtable *ht);
struct rhash_head *oxtcp_helper_flow_lookup(struct rhashtable *ht, const void *key);
int oxtcp_helper_flow_insert(struct rhashtable *ht, struct rhash_head *obj);
int oxtcp_helper_flow_remove(struct rhashtable *ht, struct rhash_head *obj);
int oxtcp_helper_flow_replace(struct rhashtable *ht, struct rhash_head *old,
			      struct rhash_head *obj);
void *oxtcp_helper_mini_alloc(size_t size);
void oxtcp_helper_mini_lock(const void *obj);
void oxtcp_helper_mini_unlock(const void *obj);
void oxtcp_helper_timer_setup(struct timer_list *t, void (*fn)(struct timer_list *));
unsigned long oxtcp_helper_jiffies(void);
void oxtcp_helper_cond_resched(void);
long oxtcp_helper_jiffies_to_clock_t(long delta);
void oxtcp_helper_spin_lock_bh(spinlock_t *lock);
void oxtcp_helper_spin_unlock_bh(spinlock_t *lock);
bool oxtcp_helper_spin_trylock_bh(spinlock_t *lock);
bool oxtcp_helper_msg_get_inq(const struct msghdr *msg);
void oxtcp_helper_msg_set_inq(struct msghdr *msg, int bytes);

/* module parameters */
int oxtcp_helper_family(void);
int oxtcp_helper_protocol(void);

/* memory accounting of struct proto */
void oxtcp_helper_proto_memory(struct proto *prot);
int oxtcp_helper_proto_memory_init(void);
bool oxtcp_helper_sk_exceeds_memory(const struct sock *sk);
s64 oxtcp_helper_sockets_left(void);
void oxtcp_helper_log_orphans(void);
void oxtcp_helper_proto_memory_exit(void);

#endif
