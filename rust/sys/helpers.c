// SPDX-License-Identifier: GPL-2.0
/* See helpers.h. */
#include <linux/bottom_half.h>
#include <linux/hash.h>
#include <linux/jhash.h>
#include <linux/jiffies.h>
#include <linux/moduleparam.h>
#include <linux/poll.h>
#include <linux/sockptr.h>
#include <linux/unaligned.h>
#include <net/inet_ecn.h>
#include <net/inet_sock.h>
#include <net/ipv6.h>
#include <net/proto_memory.h>
#include <net/tcp.h>

#include "helpers.h"

/*
 * Lock classes of our own: a socket of ours locks a kernel socket of the
 * built-in TCP (port reservation), and a listener's child is locked while
 * its listener is.
 */
static struct lock_class_key oxtcp_slock_key;
static struct lock_class_key oxtcp_sk_lock_key;

void oxtcp_helper_sock_lock_init(struct sock *sk)
{
	sock_lock_init_class_and_name(sk, "slock-AF_OXTCP", &oxtcp_slock_key,
				      "sk_lock-AF_OXTCP", &oxtcp_sk_lock_key);
	/*
	 * With lockdep the socket would hold the module now, for the keys. The
	 * module waits for its sockets before it goes.
	 */
	sk_owner_put(sk);
	sk_owner_clear(sk);
}

/* As the next two: whether a process owns the socket, which does not change until it is unlocked. */
bool oxtcp_helper_bh_lock_sock(struct sock *sk)
{
	local_bh_disable();
	bh_lock_sock_nested(sk);
	return sock_owned_by_user(sk);
}

/* A child that no one else knows yet, or that only its listener holds. */
bool oxtcp_helper_bh_lock_sock_child(struct sock *sk)
{
	local_bh_disable();
	spin_lock_nested(&sk->sk_lock.slock, 2);
	return sock_owned_by_user(sk);
}

void oxtcp_helper_bh_unlock_sock(struct sock *sk)
{
	bh_unlock_sock(sk);
	local_bh_enable();
}

bool oxtcp_helper_sock_owned_by_user(struct sock *sk)
{
	return sock_owned_by_user(sk);
}

int oxtcp_helper_sk_add_backlog(struct sock *sk, struct sk_buff *skb, unsigned int limit)
{
	return sk_add_backlog(sk, skb, limit);
}

void oxtcp_helper_sock_hold(struct sock *sk)
{
	sock_hold(sk);
}

bool oxtcp_helper_sock_hold_not_zero(struct sock *sk)
{
	return refcount_inc_not_zero(&sk->sk_refcnt);
}

void oxtcp_helper_sock_put(struct sock *sk)
{
	sock_put(sk);
}

struct net *oxtcp_helper_sock_net(const struct sock *sk)
{
	return sock_net(sk);
}

void oxtcp_helper_sock_set_flag(struct sock *sk, int flag)
{
	sock_set_flag(sk, flag);
}

void oxtcp_helper_sock_reset_flag(struct sock *sk, int flag)
{
	sock_reset_flag(sk, flag);
}

void oxtcp_helper_sock_orphan(struct sock *sk)
{
	sock_orphan(sk);
}

void oxtcp_helper_sk_state_change(struct sock *sk)
{
	sk->sk_state_change(sk);
}

void oxtcp_helper_sk_data_ready(struct sock *sk)
{
	READ_ONCE(sk->sk_data_ready)(sk);
}

struct hlist_node *oxtcp_helper_sk_bind_node(struct sock *sk)
{
	return &sk->sk_bind_node;
}

struct sock *oxtcp_helper_sk_of_bind_node(struct hlist_node *node)
{
	return container_of(node, struct sock, sk_bind_node);
}

/* Nobody but a protocol looks at it. */
struct rb_root *oxtcp_helper_sk_tree(struct sock *sk)
{
	return &sk->tcp_rtx_queue;
}

/* The program's struct socket goes under the lock alone. */
void oxtcp_helper_sk_send_sigurg(struct sock *sk)
{
	sk_send_sigurg(sk);
}

/*
 * Wakes writers if there is room, as sk_stream_write_space() does, which is
 * not exported. Also for those who have no lock: RCU keeps the struct socket,
 * which lies in an inode.
 */
void oxtcp_helper_sk_write_space(struct sock *sk)
{
	struct socket *sock;
	struct socket_wq *wq;

	rcu_read_lock();
	sock = READ_ONCE(sk->sk_socket);
	if (!sock || !test_bit(SOCK_NOSPACE, &sock->flags) || !__sk_stream_is_writeable(sk, 1) ||
	    !test_and_clear_bit(SOCK_NOSPACE, &sock->flags)) {
		rcu_read_unlock();
		return;
	}
	wq = rcu_dereference(sk->sk_wq);
	if (skwq_has_sleeper(wq))
		wake_up_interruptible_poll(&wq->wait, EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND);
	if (wq && wq->fasync_list && !(sk->sk_shutdown & SEND_SHUTDOWN))
		sock_wake_async(wq, SOCK_WAKE_SPACE, POLL_OUT);
	rcu_read_unlock();
}

void oxtcp_helper_sk_error_report(struct sock *sk)
{
	sk_error_report(sk);
}

void oxtcp_helper_sk_wake_async(struct sock *sk, int how, int band)
{
	sk_wake_async(sk, how, band);
}

int oxtcp_helper_sock_error(struct sock *sk)
{
	return sock_error(sk);
}

long oxtcp_helper_sock_rcvtimeo(const struct sock *sk, bool noblock)
{
	return sock_rcvtimeo(sk, noblock);
}

long oxtcp_helper_sock_sndtimeo(const struct sock *sk, bool noblock)
{
	return sock_sndtimeo(sk, noblock);
}

bool oxtcp_helper_sk_rmem_schedule(struct sock *sk, struct sk_buff *skb, int size)
{
	return sk_rmem_schedule(sk, skb, size);
}

bool oxtcp_helper_sk_wmem_schedule(struct sock *sk, int size)
{
	return sk_wmem_schedule(sk, size);
}

void oxtcp_helper_sk_mem_charge(struct sock *sk, int size)
{
	sk_mem_charge(sk, size);
}

void oxtcp_helper_sk_mem_uncharge(struct sock *sk, int size)
{
	sk_mem_uncharge(sk, size);
}

void oxtcp_helper_sk_mem_reclaim(struct sock *sk)
{
	sk_mem_reclaim(sk);
}

bool oxtcp_helper_sk_stream_memory_free(const struct sock *sk)
{
	return sk_stream_memory_free(sk);
}

struct page_frag *oxtcp_helper_sk_page_frag(struct sock *sk)
{
	return sk_page_frag(sk);
}

void oxtcp_helper_sk_dst_reset(struct sock *sk)
{
	sk_dst_reset(sk);
}

int oxtcp_helper_sk_refcnt(const struct sock *sk)
{
	return refcount_read(&sk->sk_refcnt);
}

u64 oxtcp_helper_sock_ino(struct sock *sk)
{
	return sock_i_ino(sk);
}

u32 oxtcp_helper_sock_uid(const struct sock *sk)
{
	return __kuid_val(sk_uid(sk));
}

u32 oxtcp_helper_uid_seen_by(u32 uid, struct seq_file *seq)
{
	return from_kuid_munged(seq_user_ns(seq), KUIDT_INIT(uid));
}

void oxtcp_helper_sk_timer_setup(struct sock *sk, void (*fn)(struct timer_list *))
{
	timer_setup(&sk->sk_timer, fn, 0);
}

struct sock *oxtcp_helper_sk_from_timer(struct timer_list *t)
{
	return timer_container_of((struct sock *)NULL, t, sk_timer);
}

/*
 * A kernel socket holds no namespace by itself; ours are to. (A program's
 * does.)
 */
void oxtcp_helper_sk_hold_net(struct sock *sk)
{
	if (!sk->sk_net_refcnt)
		sk_net_refcnt_upgrade(sk);
}

void oxtcp_helper_inet_init_flags(struct sock *sk)
{
	inet_set_bit(MC_LOOP, sk);
	if (sk->sk_family == AF_INET6) {
		inet6_set_bit(MC6_LOOP, sk);
		inet6_set_bit(MC6_ALL, sk);
	} else {
		inet_set_bit(MC_ALL, sk);
	}
}

bool oxtcp_helper_sk_reuse(const struct sock *sk)
{
	return sk->sk_reuse;
}

bool oxtcp_helper_sk_reuseport(const struct sock *sk)
{
	return sk->sk_reuseport;
}

void oxtcp_helper_sk_sockets_allocated(struct sock *sk, bool more)
{
	if (more)
		sk_sockets_allocated_inc(sk);
	else
		sk_sockets_allocated_dec(sk);
}

bool oxtcp_helper_sk_ipv6only(const struct sock *sk)
{
	return sk->sk_ipv6only;
}

void oxtcp_helper_sk_set_ipv6only(struct sock *sk, bool on)
{
	sk->sk_ipv6only = on;
}

bool oxtcp_helper_bindv6only(const struct net *net)
{
	return READ_ONCE(net->ipv6.sysctl.bindv6only);
}

/*
 * Sleeps until cond() holds, the time is up or a signal comes; the socket
 * lock is held at every call of cond() and at return. The wait queue entry
 * has to live on this stack, hence C.
 */
int oxtcp_helper_sk_wait(struct sock *sk, long *timeo, bool exclusive,
			 bool (*cond)(struct sock *sk, void *arg), void *arg)
{
	DEFINE_WAIT_FUNC(wait, woken_wake_function);
	int err = 0;

	if (cond(sk, arg))
		return 0;
	if (exclusive)
		add_wait_queue_exclusive(sk_sleep(sk), &wait);
	else
		add_wait_queue(sk_sleep(sk), &wait);
	while (!cond(sk, arg)) {
		if (!*timeo) {
			err = -EAGAIN;
			break;
		}
		if (signal_pending(current)) {
			err = sock_intr_errno(*timeo);
			break;
		}
		release_sock(sk);
		*timeo = wait_woken(&wait, TASK_INTERRUPTIBLE, *timeo);
		lock_sock(sk);
	}
	remove_wait_queue(sk_sleep(sk), &wait);
	return err;
}

/* What a call that may wait for timeo jiffies returns because of a signal; 0 without one. */
int oxtcp_helper_signal_errno(long timeo)
{
	if (!signal_pending(current))
		return 0;
	return timeo ? sock_intr_errno(timeo) : -EAGAIN;
}

bool oxtcp_helper_socket_nonblock(const struct socket *sock)
{
	return sock->file->f_flags & O_NONBLOCK;
}

void oxtcp_helper_sock_poll_wait(struct file *file, struct socket *sock,
				 struct poll_table_struct *wait)
{
	sock_poll_wait(file, sock, wait);
}

/* The bits that make the write side wake a poller, as tcp_poll() sets them. */
void oxtcp_helper_sk_nospace(struct sock *sk)
{
	sk_set_bit(SOCKWQ_ASYNC_NOSPACE, sk);
	set_bit(SOCK_NOSPACE, &sk->sk_socket->flags);
	smp_mb__after_atomic();
}

void oxtcp_helper_socket_custom_sockopt(struct socket *sock)
{
	set_bit(SOCK_CUSTOM_SOCKOPT, &sock->flags);
}

int oxtcp_helper_copy_from_sockptr(void *dst, sockptr_t src, size_t size)
{
	return copy_from_sockptr(dst, src, size);
}

/* -EFAULT; -E2BIG if what @src has beyond @ksize bytes is not zero. */
int oxtcp_helper_copy_struct_from_sockptr(void *dst, size_t ksize, sockptr_t src, size_t usize)
{
	return copy_struct_from_sockptr(dst, ksize, src, usize);
}

int oxtcp_helper_copy_struct_from_user(void *dst, size_t ksize, const void __user *src,
				       size_t usize)
{
	return copy_struct_from_user(dst, ksize, src, usize);
}

int oxtcp_helper_get_user_int(int *dst, int __user *src)
{
	return get_user(*dst, src);
}

int oxtcp_helper_put_user_int(int v, int __user *dst)
{
	return put_user(v, dst);
}

int oxtcp_helper_copy_to_user(void __user *dst, const void *src, size_t n)
{
	return copy_to_user(dst, src, n) ? -EFAULT : 0;
}

void oxtcp_helper_sk_set_ecn_capable(struct sock *sk, bool capable)
{
	if (capable)
		INET_ECN_xmit(sk);
	else
		INET_ECN_dontxmit(sk);
}

/*
 * Key layout of rust/sys/table/key.rs: the node, then 36 bytes: the local address,
 * the remote address, the ports. In words:
 */
#define OXTCP_FLOW_KEY_LEN 36
#define OXTCP_FLOW_LOCAL_LOW 3
#define OXTCP_FLOW_REMOTE 4
#define OXTCP_FLOW_PORTS 8

/*
 * As inet_ehashfn() and inet6_ehashfn(). Of IPv4-mapped addresses three words
 * tell all: what has such a remote end has such a local one. A listener's remote
 * end is none. A key in the table does not change.
 */
static __always_inline u32 oxtcp_flow_hash_inline(const void *key, u32 len, u32 seed)
{
	const u32 *word = key, *remote = word + OXTCP_FLOW_REMOTE;
	u32 a, b, c;

	if (!(remote[0] | remote[1] | (remote[2] ^ (__force u32)htonl(0xffff))))
		return jhash_3words(word[OXTCP_FLOW_LOCAL_LOW], remote[3],
				    word[OXTCP_FLOW_PORTS], seed);

	/* jhash2(word, 9, seed), whose length the compiler does not make use of. */
	BUILD_BUG_ON(OXTCP_FLOW_KEY_LEN != 9 * sizeof(u32));
	a = b = c = JHASH_INITVAL + OXTCP_FLOW_KEY_LEN + seed;
	a += word[0];
	b += word[1];
	c += word[2];
	__jhash_mix(a, b, c);
	a += word[3];
	b += word[4];
	c += word[5];
	__jhash_mix(a, b, c);
	a += word[6];
	b += word[7];
	c += word[8];
	__jhash_final(a, b, c);
	return c;
}

static u32 oxtcp_flow_hash(const void *key, u32 len, u32 seed)
{
	return oxtcp_flow_hash_inline(key, len, seed);
}

/* By long words: memcmp() is a call, and one after the other: a loop takes as much again. */
static __always_inline u64 oxtcp_flow_differs_at(const void *one, const void *other, size_t at)
{
	return READ_ONCE(*(const u64 *)(other + at)) ^ get_unaligned((const u64 *)(one + at));
}

static int oxtcp_flow_differs(struct rhashtable_compare_arg *arg, const void *obj)
{
	const void *one = arg->key, *other = obj + sizeof(struct rhash_head);

	/* First what nearly always does. */
	if (READ_ONCE(*(const u32 *)(other + 32)) != *(const u32 *)(one + 32))
		return 1;
	return (oxtcp_flow_differs_at(one, other, 0) | oxtcp_flow_differs_at(one, other, 8) |
		oxtcp_flow_differs_at(one, other, 16) | oxtcp_flow_differs_at(one, other, 24)) != 0;
}

/* 32 KB at least: up to 3072 flows nothing is hashed anew, which a kernel thread does for each. */
#define OXTCP_FLOW_PARAMS(hash) {			\
	.head_offset = 0,				\
	.key_offset = sizeof(struct rhash_head),	\
	.key_len = OXTCP_FLOW_KEY_LEN,			\
	.hashfn = hash,					\
	.obj_cmpfn = oxtcp_flow_differs,		\
	.min_size = 4096,				\
	.automatic_shrinking = true,			\
}

static const struct rhashtable_params oxtcp_flow_params = OXTCP_FLOW_PARAMS(oxtcp_flow_hash);
/* The same with the hash in its place, for what each packet asks. */
static const struct rhashtable_params oxtcp_flow_lookup_params =
	OXTCP_FLOW_PARAMS(oxtcp_flow_hash_inline);

int oxtcp_helper_flow_init(struct rhashtable *ht)
{
	return rhashtable_init(ht, &oxtcp_flow_params);
}

struct rhash_head *oxtcp_helper_flow_lookup(struct rhashtable *ht, const void *key)
{
	return rhashtable_lookup(ht, key, oxtcp_flow_lookup_params);
}

int oxtcp_helper_flow_insert(struct rhashtable *ht, struct rhash_head *obj)
{
	return rhashtable_lookup_insert_fast(ht, obj, oxtcp_flow_params);
}

int oxtcp_helper_flow_remove(struct rhashtable *ht, struct rhash_head *obj)
{
	return rhashtable_remove_fast(ht, obj, oxtcp_flow_params);
}

int oxtcp_helper_flow_replace(struct rhashtable *ht, struct rhash_head *old,
			      struct rhash_head *obj)
{
	return rhashtable_replace_fast(ht, old, obj, oxtcp_flow_params);
}

/*
 * Of 128 bytes, which lockdep alone makes more, it is known here which of the allocator's caches has them. Any context; to be freed with
 * kfree().
 */
void *oxtcp_helper_mini_alloc(size_t size)
{
	return size <= 128 ? kmalloc(128, GFP_ATOMIC) : kmalloc(size, GFP_ATOMIC);
}

/*
 * Half-open and TIME-WAIT objects have no room for a lock of their own in
 * their 128 bytes; they share these by address.
 */
#define OXTCP_MINI_LOCK_BITS 6
static spinlock_t oxtcp_mini_locks[1 << OXTCP_MINI_LOCK_BITS] = {
	[0 ... (1 << OXTCP_MINI_LOCK_BITS) - 1] = __SPIN_LOCK_UNLOCKED(oxtcp_mini_locks),
};

void oxtcp_helper_mini_lock(const void *obj)
{
	spin_lock_bh(&oxtcp_mini_locks[hash_ptr(obj, OXTCP_MINI_LOCK_BITS)]);
}

void oxtcp_helper_mini_unlock(const void *obj)
{
	spin_unlock_bh(&oxtcp_mini_locks[hash_ptr(obj, OXTCP_MINI_LOCK_BITS)]);
}

void oxtcp_helper_timer_setup(struct timer_list *t, void (*fn)(struct timer_list *))
{
	timer_setup(t, fn, 0);
}

long oxtcp_helper_jiffies_to_clock_t(long delta)
{
	return jiffies_delta_to_clock_t(delta);
}

unsigned long oxtcp_helper_jiffies(void)
{
	return jiffies;
}

void oxtcp_helper_cond_resched(void)
{
	cond_resched();
}

void oxtcp_helper_spin_lock_bh(spinlock_t *lock)
{
	spin_lock_bh(lock);
}

void oxtcp_helper_spin_unlock_bh(spinlock_t *lock)
{
	spin_unlock_bh(lock);
}

bool oxtcp_helper_spin_trylock_bh(spinlock_t *lock)
{
	return spin_trylock_bh(lock);
}

bool oxtcp_helper_msg_get_inq(const struct msghdr *msg)
{
	return msg->msg_get_inq;
}

void oxtcp_helper_msg_set_inq(struct msghdr *msg, int bytes)
{
	msg->msg_inq = bytes;
}

/*
 * The kernel crate's module parameters have no file in sysfs; programs read
 * the family's number there (`oxtcp run`).
 */
static int oxtcp_family = 19;
module_param_named(family, oxtcp_family, int, 0444);
MODULE_PARM_DESC(family, "Number of the socket family AF_OXTCP (default 19, once Econet's)");

int oxtcp_helper_family(void)
{
	return oxtcp_family;
}

static int oxtcp_protocol = 253;
module_param_named(protocol, oxtcp_protocol, int, 0444);
MODULE_PARM_DESC(protocol, "Protocol number of socket(AF_INET or AF_INET6, SOCK_STREAM, number); the wire's is 6 (default 253, 0 for none)");

int oxtcp_helper_protocol(void)
{
	return oxtcp_protocol;
}

/*
 * Memory accounting: as much as the built-in TCP takes by default
 * (tcp_init_mem()), counted apart from it.
 */
static atomic_long_t oxtcp_memory_allocated ____cacheline_aligned_in_smp;
static DEFINE_PER_CPU(int, oxtcp_memory_per_cpu_fw_alloc);
static struct percpu_counter oxtcp_sockets_allocated;
static unsigned long oxtcp_memory_pressure;
static long oxtcp_sysctl_mem[3];
/* What a socket may have even under pressure: SK_MEM_QUANTUM, as tcp_rmem[0]. */
static int oxtcp_min_buffer = 4096;

static void oxtcp_enter_memory_pressure(struct sock *sk)
{
	WRITE_ONCE(oxtcp_memory_pressure, 1);
}

static void oxtcp_leave_memory_pressure(struct sock *sk)
{
	WRITE_ONCE(oxtcp_memory_pressure, 0);
}

void oxtcp_helper_proto_memory(struct proto *prot)
{
	prot->memory_allocated = &oxtcp_memory_allocated;
	prot->per_cpu_fw_alloc = &oxtcp_memory_per_cpu_fw_alloc;
	prot->sockets_allocated = &oxtcp_sockets_allocated;
	prot->memory_pressure = &oxtcp_memory_pressure;
	prot->enter_memory_pressure = oxtcp_enter_memory_pressure;
	prot->leave_memory_pressure = oxtcp_leave_memory_pressure;
	prot->sysctl_mem = oxtcp_sysctl_mem;
	prot->sysctl_wmem = &oxtcp_min_buffer;
	prot->sysctl_rmem = &oxtcp_min_buffer;
	prot->max_header = MAX_TCP_HEADER;
}

int oxtcp_helper_proto_memory_init(void)
{
	unsigned long limit = max(nr_free_buffer_pages() / 16, 128UL);

	oxtcp_sysctl_mem[0] = limit / 4 * 3;
	oxtcp_sysctl_mem[1] = limit;
	oxtcp_sysctl_mem[2] = oxtcp_sysctl_mem[0] * 2;
	return percpu_counter_init(&oxtcp_sockets_allocated, 0, GFP_KERNEL);
}

/* What tcp_out_of_memory() asks of an orphan. */
bool oxtcp_helper_sk_exceeds_memory(const struct sock *sk)
{
	return sk->sk_wmem_queued > SOCK_MIN_SNDBUF &&
	       sk_memory_allocated(sk) > sk_prot_mem_limits(sk, 2);
}

/* Exact once no socket is made any more. */
s64 oxtcp_helper_sockets_left(void)
{
	return percpu_counter_sum(&oxtcp_sockets_allocated);
}

void oxtcp_helper_log_orphans(void)
{
	net_info_ratelimited("oxtcp: more orphaned sockets than net.oxtcp.max_orphans\n");
}

void oxtcp_helper_proto_memory_exit(void)
{
	percpu_counter_destroy(&oxtcp_sockets_allocated);
}

/* /sys/module/oxtcp/version: no field of Rust's module!. */
MODULE_VERSION(OXTCP_VERSION);
