/* SPDX-License-Identifier: GPL-2.0 */
/* C helpers for net.rs, netfilter.rs, proc.rs, counters.rs, ksocket.rs and deferred.rs. */
#ifndef OXTCP_HELPERS_NET_H
#define OXTCP_HELPERS_NET_H

#include <linux/seq_file.h>
#include <linux/types.h>
#include <linux/workqueue.h>

struct file;
struct inode;
struct net;
struct proc_dir_entry;
struct seq_file;
struct sk_buff;
struct sock;
struct socket;

struct net *oxtcp_helper_init_net(void);
void *oxtcp_helper_net_generic(const struct net *net, unsigned int id);
void oxtcp_helper_for_each_net(void (*fn)(struct net *net));
void oxtcp_helper_local_port_range(const struct net *net, u16 *low, u16 *high);
bool oxtcp_helper_local_port_reserved(const struct net *net, u16 port);
u32 oxtcp_helper_somaxconn(const struct net *net);

bool oxtcp_helper_ipv6_present(void);
unsigned int oxtcp_helper_ct_confirm(struct sk_buff *skb);

unsigned int oxtcp_helper_net_number(const struct net *net);
struct proc_dir_entry *oxtcp_helper_proc_net(const struct net *net);
void *oxtcp_helper_pde_data(const struct inode *inode);
struct seq_file *oxtcp_helper_seq_of(struct file *file);
struct net *oxtcp_helper_seq_net(struct seq_file *seq);
bool oxtcp_helper_maybe_get_net(struct net *net);
void oxtcp_helper_put_net(struct net *net);

void *oxtcp_helper_counters_alloc(unsigned int count);
void oxtcp_helper_counters_free(void *counters);
void oxtcp_helper_counter_inc(void *counters, unsigned int index);
void oxtcp_helper_counter_add(void *counters, unsigned int index, unsigned int more);
unsigned long oxtcp_helper_counter_sum(void *counters, unsigned int index);

int oxtcp_helper_ksock_set_v6only(struct sock *sk);
void oxtcp_helper_ksock_set_freebind(struct sock *sk);
void oxtcp_helper_ksock_set_reuse(struct sock *sk, bool reuse);
int oxtcp_helper_ksock_claim_listen(struct sock *sk);
int oxtcp_helper_ksock_claim_alone(struct sock *sk);
unsigned int oxtcp_helper_ksock_port(const struct sock *sk);

void oxtcp_helper_init_work(struct delayed_work *work, work_func_t func);
void oxtcp_helper_kick_work(struct delayed_work *work);
void oxtcp_helper_kick_work_within(struct delayed_work *work, unsigned long jiffies);

#endif
