// SPDX-License-Identifier: GPL-2.0
/* See helpers_send.h. */
#include <linux/bits.h>
#include <linux/hrtimer.h>
#include <linux/math64.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <net/sock.h>
#include <net/tcp.h>

#include "helpers.h"
#include "helpers_send.h"

/*
 * Bits of sk_tsq_flags, which is ours to use as sk_prot is: the socket waits
 * for packets to leave; it is in a CPU's list, which holds a reference; nobody
 * will accept it; it will be called soon.
 */
#define OXTCP_THROTTLED	0
#define OXTCP_QUEUED	1
#define OXTCP_DROPPED	2
#define OXTCP_SOON	3

unsigned int oxtcp_helper_max_tcp_header(void)
{
	return MAX_TCP_HEADER;
}

/*
 * When the next packet may leave, on the monotonic clock: tcp_sock's
 * tcp_wstamp_ns. The two words are for datagrams that are put together of
 * several calls.
 */
static u64 *oxtcp_next_departure(struct sock *sk)
{
	BUILD_BUG_ON(offsetof(struct inet_sock, cork.base.tx_flags) % sizeof(u64));
	BUILD_BUG_ON(offsetof(struct inet_cork, tx_flags) < OXTCP_NOTES_LEN);
	BUILD_BUG_ON(offsetofend(struct inet_cork, priority) -
		     offsetof(struct inet_cork, tx_flags) != sizeof(u64));
	return (u64 *)&inet_sk(sk)->cork.base.tx_flags;
}

/*
 * Where fq spaces the packets of sk, tells it when this one is to leave, as
 * __tcp_transmit_skb() does. Returns when it was to be before.
 */
u64 oxtcp_helper_skb_set_departure(struct sk_buff *skb, struct sock *sk)
{
	u64 *next = oxtcp_next_departure(sk);
	u64 prior = *next;

	if (READ_ONCE(sk->sk_pacing_status) != SK_PACING_FQ)
		return 0;
	*next = max(prior, ktime_get_ns());
	skb_set_delivery_time(skb, *next, SKB_CLOCK_MONOTONIC);
	return prior;
}

/* As skb_set_owner_w(), for a segment without data: see tcp_send_ack() and __tcp_transmit_skb(). */
void oxtcp_helper_skb_set_owner_bare(struct sk_buff *skb, struct sock *sk)
{
	skb->ooo_okay = sk_wmem_alloc_get(sk) < SKB_TRUESIZE(1);
	skb_set_tcp_pure_ack(skb);
	skb->sk = sk;
	skb->destructor = __sock_wfree;
	skb_set_hash_from_sk(skb, sk);
	refcount_add(skb->truesize, &sk->sk_wmem_alloc);
}

/* A packet with so many bytes was handed down: the next one leaves later, see tcp_update_skb_after_send(). */
void oxtcp_helper_sk_departed(struct sock *sk, u64 prior, u32 bytes)
{
	unsigned long rate = READ_ONCE(sk->sk_pacing_rate);
	u64 *next = oxtcp_next_departure(sk);
	u64 len;

	if (READ_ONCE(sk->sk_pacing_status) != SK_PACING_FQ || rate == ~0UL || !rate)
		return;
	len = div64_ul((u64)bytes * NSEC_PER_SEC, rate);
	/* Jitter of the host is made up for. */
	*next += len - min_t(u64, len / 2, *next - prior);
}

/* Whether more than `limit` bytes are below; if so, sk will be called when some have left. */
bool oxtcp_helper_sk_throttle(struct sock *sk, int limit)
{
	if (sk_wmem_alloc_get(sk) <= limit)
		return false;
	set_bit(OXTCP_THROTTLED, &sk->sk_tsq_flags);
	/*
	 * Pairs with smp_mb() in oxtcp_helper_sk_unthrottle(): a packet that
	 * leaves now sees the bit, or we see that it has left.
	 */
	smp_mb__after_atomic();
	return sk_wmem_alloc_get(sk) > limit;
}

/* A packet has left, and sk_wmem_alloc says so: whether sk is to be put into a list for it. */
bool oxtcp_helper_sk_unthrottle(struct sock *sk)
{
	unsigned long flags;

	/* Pairs with smp_mb__after_atomic() in oxtcp_helper_sk_throttle(). */
	smp_mb();
	flags = READ_ONCE(sk->sk_tsq_flags);
	do {
		if ((flags & (BIT(OXTCP_THROTTLED) | BIT(OXTCP_QUEUED))) != BIT(OXTCP_THROTTLED))
			return false;
	} while (!try_cmpxchg(&sk->sk_tsq_flags, &flags,
			      flags ^ (BIT(OXTCP_THROTTLED) | BIT(OXTCP_QUEUED))));
	return true;
}

/* Nobody will accept sk: whether it is to be put into a list for it. */
bool oxtcp_helper_sk_drop(struct sock *sk)
{
	/* Who takes the socket out of its list clears the second and then looks at the first. */
	set_bit(OXTCP_DROPPED, &sk->sk_tsq_flags);
	smp_mb__after_atomic();
	return !test_and_set_bit(OXTCP_QUEUED, &sk->sk_tsq_flags);
}

/* Whether oxtcp_helper_sk_drop() was called; says so once. */
bool oxtcp_helper_sk_was_dropped(struct sock *sk)
{
	return test_bit(OXTCP_DROPPED, &sk->sk_tsq_flags) &&
	       test_and_clear_bit(OXTCP_DROPPED, &sk->sk_tsq_flags);
}

/* sk is out of its list; what leaves from now on puts it into one again. */
void oxtcp_helper_sk_unqueued(struct sock *sk)
{
	clear_bit(OXTCP_QUEUED, &sk->sk_tsq_flags);
	/* Before the caller looks at OXTCP_DROPPED and sk_wmem_alloc, and sets OXTCP_THROTTLED. */
	smp_mb__after_atomic();
}

/*
 * Sockets whose packets have left. The packets' destructor runs in any
 * context, with or without the socket lock, so the sockets are worked off in
 * a softirq of their own.
 */
struct oxtcp_small_queue {
	struct llist_head waiting;
	struct work_struct work;
	void (*drained)(struct llist_node *node);
};

static DEFINE_PER_CPU(struct oxtcp_small_queue, oxtcp_small_queues);

static void oxtcp_small_queue_run(struct work_struct *work)
{
	struct oxtcp_small_queue *queue = container_of(work, struct oxtcp_small_queue, work);
	struct llist_node *node, *next;

	llist_for_each_safe(node, next, llist_del_all(&queue->waiting))
		queue->drained(node);
}

void oxtcp_helper_small_queues_init(void (*drained)(struct llist_node *node))
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct oxtcp_small_queue *queue = per_cpu_ptr(&oxtcp_small_queues, cpu);

		init_llist_head(&queue->waiting);
		INIT_WORK(&queue->work, oxtcp_small_queue_run);
		queue->drained = drained;
	}
}

/* No socket is left, so the lists are empty; a run that was asked for needlessly may be to come. */
void oxtcp_helper_small_queues_exit(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		cancel_work_sync(&per_cpu_ptr(&oxtcp_small_queues, cpu)->work);
}

void oxtcp_helper_small_queue_add(struct llist_node *node)
{
	/* Whichever CPU's: the list has no lock to be held. */
	struct oxtcp_small_queue *queue = raw_cpu_ptr(&oxtcp_small_queues);

	if (llist_add(node, &queue->waiting))
		queue_work(system_bh_wq, &queue->work);
}

/*
 * A call that is to come. It has a reference of the socket, and frees itself:
 * few sockets ever have one, and then for less than a millisecond.
 */
struct oxtcp_soon {
	struct hrtimer timer;
	struct sock *sk;
	void (*call)(struct sock *sk);
};

static enum hrtimer_restart oxtcp_soon_over(struct hrtimer *timer)
{
	struct oxtcp_soon *soon = container_of(timer, struct oxtcp_soon, timer);

	/* From here on there may be another. */
	clear_bit(OXTCP_SOON, &soon->sk->sk_tsq_flags);
	/* Takes the reference. */
	soon->call(soon->sk);
	/* It runs no more, and __run_hrtimer() does not look at one that is not started again. */
	kfree(soon);
	return HRTIMER_NORESTART;
}

/*
 * Has call() called with a reference of sk after that many nanoseconds, or if
 * such a call is to come already, then. False: there is no memory.
 */
bool oxtcp_helper_sk_call_soon(struct sock *sk, u64 after, u64 slack,
			       void (*call)(struct sock *sk))
{
	struct oxtcp_soon *soon;

	if (test_and_set_bit(OXTCP_SOON, &sk->sk_tsq_flags))
		return true;
	soon = kmalloc(sizeof(*soon), GFP_ATOMIC | __GFP_NOWARN);
	if (!soon) {
		clear_bit(OXTCP_SOON, &sk->sk_tsq_flags);
		return false;
	}
	hrtimer_setup(&soon->timer, oxtcp_soon_over, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_SOFT);
	soon->call = call;
	soon->sk = sk;
	sock_hold(sk);
	hrtimer_start_range_ns(&soon->timer, ns_to_ktime(after), slack,
			       HRTIMER_MODE_REL_PINNED_SOFT);
	return true;
}
