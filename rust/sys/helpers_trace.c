// SPDX-License-Identifier: GPL-2.0
/* Makes the tracepoints of trace.h, and the functions by which Rust fires them. */
#include <linux/cgroup.h>
#include <linux/skbuff.h>
#include <linux/unaligned.h>
#include <net/sock.h>

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include "trace.h"

u64 oxtcp_helper_cgroup(const struct sock *sk)
{
#ifdef CONFIG_SOCK_CGROUP_DATA
	/* Set by sk_alloc() or sk_clone(), and held until the socket is freed. */
	return cgroup_id(sk->sk_cgrp_data.cgroup);
#else
	return 0;
#endif
}
