// SPDX-License-Identifier: GPL-2.0
/*
 * What net.rs, netfilter.rs, proc.rs, counters.rs, ksocket.rs and deferred.rs need and cannot call from Rust: static
 * inlines, macros, bit fields and structures whose layout depends on the configuration.
 */
#include <linux/fs.h>
#include <linux/ipv6.h>
#include <linux/netfilter.h>
#include <linux/percpu.h>
#include <linux/proc_fs.h>
#include <linux/rtnetlink.h>
#include <net/inet_connection_sock.h>
#include <net/inet_hashtables.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>
#include <net/sock.h>
#include <net/tcp_states.h>
#if IS_ENABLED(CONFIG_NF_CONNTRACK)
#include <net/netfilter/nf_conntrack.h>
#endif

#include "helpers_net.h"

/* net.rs */

struct net *oxtcp_helper_init_net(void)
{
	return &init_net;
}

void *oxtcp_helper_net_generic(const struct net *net, unsigned int id)
{
	return net_generic(net, id);
}

/*
 * Calls fn for every namespace that is set up and not being taken down; neither can happen meanwhile. Sleeps.
 */
void oxtcp_helper_for_each_net(void (*fn)(struct net *net))
{
	struct net *net;

	down_read(&net_rwsem);
	for_each_net(net)
		fn(net);
	up_read(&net_rwsem);
}

void oxtcp_helper_local_port_range(const struct net *net, u16 *low, u16 *high)
{
	int from, to;

	inet_get_local_port_range(net, &from, &to);
	*low = from;
	*high = to;
}

bool oxtcp_helper_local_port_reserved(const struct net *net, u16 port)
{
	return inet_is_local_reserved_port(net, port);
}

u32 oxtcp_helper_somaxconn(const struct net *net)
{
	return READ_ONCE(net->core.sysctl_somaxconn);
}

/* netfilter.rs */

/* ipv6.disable=1 leaves the functions there, and of a namespace nothing that they ask. */
bool oxtcp_helper_ipv6_present(void)
{
	return IS_ENABLED(CONFIG_IPV6) && ipv6_mod_enabled();
}

/*
 * nf_conntrack_confirm() without the hard dependency on nf_conntrack. The events that it would deliver
 * stay cached in the entry; the next packet of the flow that passes nf_confirm() (our answer, in
 * POST_ROUTING) delivers them.
 */
unsigned int oxtcp_helper_ct_confirm(struct sk_buff *skb)
{
	unsigned int verdict = NF_ACCEPT;
#if IS_ENABLED(CONFIG_NF_CONNTRACK)
	enum ip_conntrack_info ctinfo;
	const struct nf_ct_hook *hook;
	struct nf_conn *ct;

	ct = nf_ct_get(skb, &ctinfo);
	if (!ct || nf_ct_is_template(ct) || nf_ct_is_confirmed(ct))
		return NF_ACCEPT;

	rcu_read_lock();
	hook = rcu_dereference(nf_ct_hook);
	if (hook)
		verdict = hook->confirm(skb);
	rcu_read_unlock();
#endif
	return verdict & NF_VERDICT_MASK;
}

/* net.rs */

unsigned int oxtcp_helper_net_number(const struct net *net)
{
	return net->ns.inum;
}

/* proc.rs */

struct proc_dir_entry *oxtcp_helper_proc_net(const struct net *net)
{
	return net->proc_net;
}

void *oxtcp_helper_pde_data(const struct inode *inode)
{
	return pde_data(inode);
}

struct seq_file *oxtcp_helper_seq_of(struct file *file)
{
	return file->private_data;
}

struct net *oxtcp_helper_seq_net(struct seq_file *seq)
{
	return seq_file_single_net(seq);
}

bool oxtcp_helper_maybe_get_net(struct net *net)
{
	return maybe_get_net(net);
}

void oxtcp_helper_put_net(struct net *net)
{
	put_net(net);
}

/* counters.rs. A word each, as in the kernel's own MIBs: one CPU counts without a lock. */

void *oxtcp_helper_counters_alloc(unsigned int count)
{
	/* By a number: the compiler knows per-CPU memory for another address space. */
	return (void *)(__force unsigned long)__alloc_percpu(count * sizeof(unsigned long),
							     sizeof(unsigned long));
}

void oxtcp_helper_counters_free(void *counters)
{
	free_percpu((__force void __percpu *)(unsigned long)counters);
}

void oxtcp_helper_counter_inc(void *counters, unsigned int index)
{
	unsigned long __percpu *at = (__force unsigned long __percpu *)(unsigned long)counters;

	this_cpu_inc(at[index]);
}

void oxtcp_helper_counter_add(void *counters, unsigned int index, unsigned int more)
{
	unsigned long __percpu *at = (__force unsigned long __percpu *)(unsigned long)counters;

	this_cpu_add(at[index], more);
}

unsigned long oxtcp_helper_counter_sum(void *counters, unsigned int index)
{
	unsigned long __percpu *at = (__force unsigned long __percpu *)(unsigned long)counters;
	unsigned long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(*per_cpu_ptr(at + index, cpu));
	return sum;
}

/* ksocket.rs */

void oxtcp_helper_ksock_set_freebind(struct sock *sk)
{
	inet_set_bit(FREEBIND, sk);
}

int oxtcp_helper_ksock_set_v6only(struct sock *sk)
{
#if IS_ENABLED(CONFIG_IPV6)
	return ip6_sock_set_v6only(sk);
#else
	return -EAFNOSUPPORT;
#endif
}

void oxtcp_helper_ksock_set_reuse(struct sock *sk, bool reuse)
{
	lock_sock(sk);
	sk->sk_reuse = reuse ? SK_CAN_REUSE : SK_NO_REUSE;
	release_sock(sk);
}

/*
 * What inet_csk_listen_start() does about the port, and nothing else of it: the socket is never put
 * into the listening hash. get_port() on a bound socket in state LISTEN checks for conflicts as listen(2)
 * has it (another listener refuses us, somebody bound with SO_REUSEADDR does not) and clears the bind
 * bucket's fastreuse, so that from here on nobody gets past the conflict check by the fast path. sk_reuse
 * goes before the state goes back, for the check looks at both: nobody can bind in between.
 */
int oxtcp_helper_ksock_claim_listen(struct sock *sk)
{
	int err = -EINVAL;

	lock_sock(sk);
	if (sk->sk_state == TCP_CLOSE && inet_sk(sk)->inet_num) {
		WRITE_ONCE(sk->sk_state, TCP_LISTEN);
		err = sk->sk_prot->get_port(sk, inet_sk(sk)->inet_num);
		if (!err)
			sk->sk_reuse = SK_NO_REUSE;
		WRITE_ONCE(sk->sk_state, TCP_CLOSE);
	}
	release_sock(sk);
	return err;
}

unsigned int oxtcp_helper_ksock_port(const struct sock *sk)
{
	return inet_sk(sk)->inet_num;
}

/*
 * Makes a bound socket the only one on its port, as far as addresses overlap: without SO_REUSEADDR, and
 * get_port() checks the bound socket once more against all others. sk_reuse is not given back on failure: the
 * caller knows what it was.
 */
int oxtcp_helper_ksock_claim_alone(struct sock *sk)
{
	int err = -EINVAL;

	lock_sock(sk);
	if (inet_sk(sk)->inet_num) {
		sk->sk_reuse = SK_NO_REUSE;
		err = sk->sk_prot->get_port(sk, inet_sk(sk)->inet_num);
	}
	release_sock(sk);
	return err;
}

/* deferred.rs */

void oxtcp_helper_init_work(struct delayed_work *work, work_func_t func)
{
	INIT_DELAYED_WORK(work, func);
}

void oxtcp_helper_kick_work(struct delayed_work *work)
{
	mod_delayed_work(system_dfl_wq, work, 0);
}

void oxtcp_helper_kick_work_within(struct delayed_work *work, unsigned long jiffies)
{
	queue_delayed_work(system_dfl_wq, work, jiffies);
}
