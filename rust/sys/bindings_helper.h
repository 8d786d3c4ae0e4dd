/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads: the kernel headers whose types and functions rust/sys
 * uses, and our own C helpers. Sorted.
 */
#include <linux/delay.h>
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/inet_diag.h>
#include <linux/inetdevice.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/net_tstamp.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <linux/netlink.h>
#include <linux/poll.h>
#include <linux/proc_fs.h>
#include <linux/random.h>
#include <linux/rhashtable.h>
#include <linux/seq_file.h>
#include <linux/siphash.h>
#include <linux/skbuff.h>
#include <linux/sock_diag.h>
#include <linux/sockptr.h>
#include <linux/swap.h>
#include <linux/sysctl.h>
#include <linux/tcp.h>
#include <linux/timer.h>
#include <linux/uio.h>
#include <linux/workqueue.h>
#include <net/dropreason-core.h>
#include <net/dst.h>
#include <net/flow.h>
#include <net/inet6_connection_sock.h>
#include <net/inet_common.h>
#include <net/inet_sock.h>
#include <net/ip.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>
#include <net/protocol.h>
#include <net/route.h>
#include <net/sock.h>
#include <net/tcp_states.h>
#include <net/transp_v6.h>

#include "helpers.h"
#include "helpers_auth.h"
#include "helpers_diag.h"
#include "helpers_early.h"
#include "helpers_net.h"
#include "helpers_send.h"
#include "helpers_stamp.h"
#include "helpers_trace.h"
