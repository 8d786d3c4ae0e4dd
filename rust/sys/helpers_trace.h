/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What trace.rs hands to the tracepoints of trace.h: values, and no pointers that a reader of a trace
 * could see. Numbers are in the host's order, IPv4 addresses are mapped ones. The numbers of enums are
 * those of trace.rs, whose names trace.h has for people.
 */
#ifndef OXTCP_HELPERS_TRACE_H
#define OXTCP_HELPERS_TRACE_H

#include <linux/types.h>

/* Whose an event is. */
struct oxtcp_trace_ends {
	/* As sock_diag tells it; 0: no socket. */
	u64 cookie;
	/* The number of the socket's cgroup (the inode of its folder); 0: no socket, or the kernel does not know. */
	u64 cgroup;
	/* The inode of the network namespace. */
	u32 netns;
	u16 lport;
	u16 rport;
	u8 local[16];
	u8 remote[16];
};

/* A segment, or a burst of them. */
struct oxtcp_trace_segment {
	/* The TCP header with its options. */
	const u8 *header;
	u32 payload;
	/* Of each of a burst's segments; 0: a single one. */
	u16 segment_size;
	u8 header_len;
	u8 cause;
	u8 ecn;
};

/* Where a connection stands: bytes, microseconds, sequence numbers. */
struct oxtcp_trace_standing {
	/* Bytes a second; all ones: no bound. */
	u64 pacing_rate;
	/* Of data: what the peer has acknowledged, and what has come in order, ever. */
	u64 bytes_acked;
	u64 bytes_received;
	u32 cwnd;
	/* All ones: none yet. */
	u32 ssthresh;
	/* 0: not measured yet. */
	u32 srtt;
	u32 rttvar;
	u32 rto;
	u32 mss;
	u32 unacked;
	u32 in_network;
	u32 not_sent;
	u32 snd_wnd;
	u32 rcv_wnd;
	u32 snd_una;
	u32 snd_nxt;
	u32 rcv_nxt;
	u32 retransmits;
	u8 mode;
};

/* What a listener has decided, and how full it was. */
struct oxtcp_trace_listener {
	u32 half_open;
	u32 most_half_open;
	u32 waiting;
	u32 asked;
	u32 granted;
	u8 decision;
	u8 bound;
	u8 syncookies;
	/* What bounds the queue: the accept queue if that is the bound, else the SYN queue. */
	u8 setting;
};

/* A queue of a listener is full. */
struct oxtcp_trace_overflow {
	/* How many are in it, and the most that may be. */
	u32 length;
	u32 most;
	/* What the setting has. */
	u32 value;
	/* SYNs to the listener in a second. */
	u32 rate;
	u8 queue;
	u8 setting;
	u8 remedy;
};

struct sock;

/* What oxtcp_trace_ends has of a socket. */
u64 oxtcp_helper_cgroup(const struct sock *sk);

#endif
