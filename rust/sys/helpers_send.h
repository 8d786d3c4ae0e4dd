/* SPDX-License-Identifier: GPL-2.0 */
/* C helpers for small_queue.rs, soon.rs and skb.rs: what is on its way out. */
#ifndef OXTCP_HELPERS_SEND_H
#define OXTCP_HELPERS_SEND_H

#include <linux/llist.h>
#include <linux/types.h>

struct sk_buff;
struct sock;

unsigned int oxtcp_helper_max_tcp_header(void);

u64 oxtcp_helper_skb_set_departure(struct sk_buff *skb, struct sock *sk);
void oxtcp_helper_skb_set_owner_bare(struct sk_buff *skb, struct sock *sk);
void oxtcp_helper_sk_departed(struct sock *sk, u64 prior, u32 bytes);

bool oxtcp_helper_sk_throttle(struct sock *sk, int limit);
bool oxtcp_helper_sk_unthrottle(struct sock *sk);
void oxtcp_helper_sk_unqueued(struct sock *sk);
bool oxtcp_helper_sk_drop(struct sock *sk);
bool oxtcp_helper_sk_was_dropped(struct sock *sk);

void oxtcp_helper_small_queues_init(void (*drained)(struct llist_node *node));
void oxtcp_helper_small_queues_exit(void);
void oxtcp_helper_small_queue_add(struct llist_node *node);

bool oxtcp_helper_sk_call_soon(struct sock *sk, u64 after, u64 slack,
			       void (*call)(struct sock *sk));

#endif
