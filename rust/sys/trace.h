/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The tracepoints: /sys/kernel/tracing/events/oxtcp. Documentation/tracing.md says what each tells.
 *
 * They copy what trace.rs hands over and nothing else.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM oxtcp

#if !defined(OXTCP_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define OXTCP_TRACE_H

#include <linux/tracepoint.h>
#include <net/dropreason-core.h>

#include "helpers_trace.h"

/* Those that the module drops packets for. */
#ifndef OXTCP_TRACE_REASONS
#define OXTCP_TRACE_REASONS(FN)						\
	FN(NO_SOCKET)		FN(SOCKET_FILTER)	\
	FN(SOCKET_RCVBUFF)	FN(PKT_TOO_SMALL)	FN(TCP_CSUM)		\
	FN(NETFILTER_DROP)	FN(XFRM_POLICY)		FN(PROTO_MEM)		\
	FN(TCP_AUTH_HDR)	FN(TCP_MD5NOTFOUND)	FN(TCP_MD5UNEXPECTED)	\
	FN(TCP_MD5FAILURE)	FN(TCP_AONOTFOUND)	FN(TCP_AOUNEXPECTED)	\
	FN(TCP_AOKEYNOTFOUND)	FN(TCP_AOFAILURE)	FN(SOCKET_BACKLOG)	\
	FN(TCP_FLAGS)		FN(TCP_ABORT_ON_DATA)	FN(TCP_ZEROWINDOW)	\
	FN(TCP_OLD_DATA)	FN(TCP_OVERWINDOW)	FN(TCP_RFC7323_PAWS)	\
	FN(TCP_LISTEN_OVERFLOW)	FN(TCP_OLD_SEQUENCE)	FN(TCP_INVALID_SEQUENCE) \
	FN(TCP_INVALID_ACK_SEQUENCE) FN(TCP_RESET)	FN(TCP_INVALID_SYN)	\
	FN(TCP_CLOSE)		FN(TCP_OFO_QUEUE_PRUNE)	FN(IP_OUTNOROUTES)	\
	FN(QDISC_DROP)		FN(NOMEM)
#define OXTCP_TRACE_STATES						\
	{ 1, "ESTABLISHED" }, { 2, "SYN-SENT" }, { 3, "SYN-RECV" },	\
	{ 4, "FIN-WAIT-1" }, { 5, "FIN-WAIT-2" }, { 6, "TIME-WAIT" },	\
	{ 7, "CLOSED" }, { 8, "CLOSE-WAIT" }, { 9, "LAST-ACK" },	\
	{ 10, "LISTEN" }, { 11, "CLOSING" }
#define OXTCP_TRACE_CAUSES						\
	{ 0, "received" }, { 1, "syn" }, { 2, "syn-retransmit" },	\
	{ 3, "syn-ack" }, { 4, "syn-ack-retransmit" }, { 5, "syn-cookie" }, \
	{ 6, "data" }, { 7, "fast-retransmit" },			\
	{ 8, "timeout-retransmit" }, { 9, "loss-probe" },		\
	{ 10, "loss-probe-data" }, { 11, "ack" }, { 12, "window-update" }, \
	{ 13, "challenge-ack" }, { 14, "window-probe" },		\
	{ 15, "keepalive" }, { 16, "fin" }, { 17, "reset" }
#define OXTCP_TRACE_TIMERS						\
	{ 0, "retransmit" }, { 1, "persist" }, { 2, "delayed-ack" },	\
	{ 3, "keepalive" }, { 4, "fin-wait-2" }, { 5, "time-wait" },	\
	{ 6, "loss-probe" }, { 7, "reorder" }, { 8, "pace" },		\
	{ 9, "syn-ack" }, { 10, "compressed-ack" }
#define OXTCP_TRACE_MODES						\
	{ 0, "open" }, { 1, "disorder" }, { 2, "cwr" },			\
	{ 3, "recovery" }, { 4, "loss" }
#define OXTCP_TRACE_DECISIONS						\
	{ 0, "half-open" }, { 1, "cookie" }, { 2, "evicted" },		\
	{ 3, "dropped" }, { 4, "reset" }, { 5, "deferred" },		\
	{ 6, "accepted" }, { 7, "cookie-accepted" },			\
	{ 8, "cookie-refused" }, { 9, "expired" }
#define OXTCP_TRACE_BOUNDS						\
	{ 0, "none" }, { 1, "syn-queue" }, { 2, "share" },		\
	{ 3, "accept-queue" }, { 4, "rate" }, { 5, "always" },		\
	{ 6, "route" }, { 7, "memory" }
#define OXTCP_TRACE_SETTINGS						\
	{ 0, "listen-backlog" }, { 1, "net.core.somaxconn" },		\
	{ 2, "net.oxtcp.somaxconn" },					\
	{ 3, "net.core.somaxconn and net.oxtcp.somaxconn" },		\
	{ 4, "net.oxtcp.max_syn_backlog" },				\
	{ 5, "net.oxtcp.syn_host_share" },				\
	{ 6, "net.oxtcp.syn_net_share" },				\
	{ 7, "net.oxtcp.syn_net_rate" }
#define OXTCP_TRACE_QUEUES						\
	{ 0, "syn" }, { 1, "host-share" }, { 2, "net-share" },		\
	{ 3, "accept" }, { 4, "net-rate" }
#define OXTCP_TRACE_REMEDIES						\
	{ 0, "cookie" }, { 1, "evict" }, { 2, "drop" }, { 3, "reset" }
#define OXTCP_TRACE_ADVICE						\
	{ 0, "if these are real clients, raise it" },		\
	{ 1, "if these are real clients, raise it" },		\
	{ 2, "if these are real clients, raise it" },		\
	{ 3, "accept() faster; for bursts, raise it" },		\
	{ 4, "if these are real clients, raise it" }
#define OXTCP_TRACE_FLAGS						\
	{ 0x01, "FIN" }, { 0x02, "SYN" }, { 0x04, "RST" },		\
	{ 0x08, "PSH" }, { 0x10, "ACK" }, { 0x20, "URG" },		\
	{ 0x40, "ECE" }, { 0x80, "CWR" }
#endif

/* Readers get the numbers of this kernel with the names. */
#undef FN
#define FN(reason) TRACE_DEFINE_ENUM(SKB_DROP_REASON_##reason);
OXTCP_TRACE_REASONS(FN)
#undef FN

/* Where the kernel keeps no cgroup with a socket there is no field: who looks for a cgroup's events is told, and does not find none. */
#undef OXTCP_CGROUP_FIELD
#undef OXTCP_CGROUP_ASSIGN
#undef OXTCP_CGROUP_FORMAT
#undef OXTCP_CGROUP_ARGS
#ifdef CONFIG_SOCK_CGROUP_DATA
#define OXTCP_CGROUP_FIELD	__field(u64, cgroup)
#define OXTCP_CGROUP_ASSIGN	__entry->cgroup = ends->cgroup;
#define OXTCP_CGROUP_FORMAT	"cgroup=%llu "
#define OXTCP_CGROUP_ARGS	__entry->cgroup,
#else
#define OXTCP_CGROUP_FIELD
#define OXTCP_CGROUP_ASSIGN
#define OXTCP_CGROUP_FORMAT	""
#define OXTCP_CGROUP_ARGS
#endif

#undef OXTCP_ENDS_FIELDS
#define OXTCP_ENDS_FIELDS						\
		__field(u64, cookie)					\
		OXTCP_CGROUP_FIELD					\
		__field(u32, netns)					\
		__field(u16, lport)					\
		__field(u16, rport)					\
		__array(u8, local, 16)					\
		__array(u8, remote, 16)
#undef OXTCP_ENDS_ASSIGN
#define OXTCP_ENDS_ASSIGN						\
		__entry->cookie = ends->cookie;				\
		OXTCP_CGROUP_ASSIGN					\
		__entry->netns = ends->netns;				\
		__entry->lport = ends->lport;				\
		__entry->rport = ends->rport;				\
		memcpy(__entry->local, ends->local, 16);		\
		memcpy(__entry->remote, ends->remote, 16)
#undef OXTCP_ENDS_FORMAT
#define OXTCP_ENDS_FORMAT "netns=%u " OXTCP_CGROUP_FORMAT "cookie=%llu local=%pI6c.%u remote=%pI6c.%u "
#undef OXTCP_ENDS_ARGS
#define OXTCP_ENDS_ARGS							\
		__entry->netns, OXTCP_CGROUP_ARGS __entry->cookie,	\
		__entry->local, __entry->lport, __entry->remote, __entry->rport

TRACE_EVENT(oxtcp_state,
	TP_PROTO(const struct oxtcp_trace_ends *ends, u8 from, u8 to),
	TP_ARGS(ends, from, to),
	TP_STRUCT__entry(
		OXTCP_ENDS_FIELDS
		__field(u8, from)
		__field(u8, to)
	),
	TP_fast_assign(
		OXTCP_ENDS_ASSIGN;
		__entry->from = from;
		__entry->to = to;
	),
	TP_printk(OXTCP_ENDS_FORMAT "from=%s to=%s", OXTCP_ENDS_ARGS,
		  __print_symbolic(__entry->from, OXTCP_TRACE_STATES),
		  __print_symbolic(__entry->to, OXTCP_TRACE_STATES))
);

DECLARE_EVENT_CLASS(oxtcp_segment,
	TP_PROTO(const struct oxtcp_trace_ends *ends, const struct oxtcp_trace_segment *segment),
	TP_ARGS(ends, segment),
	TP_STRUCT__entry(
		OXTCP_ENDS_FIELDS
		__field(u32, payload)
		__field(u32, seq)
		__field(u32, ack)
		__field(u16, window)
		__field(u16, segment_size)
		__field(u8, flags)
		__field(u8, cause)
		__field(u8, ecn)
		__dynamic_array(u8, header, segment->header_len)
	),
	TP_fast_assign(
		OXTCP_ENDS_ASSIGN;
		__entry->payload = segment->payload;
		__entry->seq = get_unaligned_be32(segment->header + 4);
		__entry->ack = get_unaligned_be32(segment->header + 8);
		__entry->window = get_unaligned_be16(segment->header + 14);
		__entry->segment_size = segment->segment_size;
		__entry->flags = segment->header[13];
		__entry->cause = segment->cause;
		__entry->ecn = segment->ecn;
		memcpy(__get_dynamic_array(header), segment->header, segment->header_len);
	),
	TP_printk(OXTCP_ENDS_FORMAT "flags=%s seq=%u ack=%u window=%u payload=%u segment_size=%u cause=%s ecn=%u header=%s",
		  OXTCP_ENDS_ARGS,
		  __print_flags(__entry->flags, "|", OXTCP_TRACE_FLAGS),
		  __entry->seq, __entry->ack, __entry->window, __entry->payload,
		  __entry->segment_size,
		  __print_symbolic(__entry->cause, OXTCP_TRACE_CAUSES), __entry->ecn,
		  __print_hex_str(__get_dynamic_array(header), __get_dynamic_array_len(header)))
);

DEFINE_EVENT(oxtcp_segment, oxtcp_segment_in,
	TP_PROTO(const struct oxtcp_trace_ends *ends, const struct oxtcp_trace_segment *segment),
	TP_ARGS(ends, segment)
);

DEFINE_EVENT(oxtcp_segment, oxtcp_segment_out,
	TP_PROTO(const struct oxtcp_trace_ends *ends, const struct oxtcp_trace_segment *segment),
	TP_ARGS(ends, segment)
);

TRACE_EVENT(oxtcp_timer,
	TP_PROTO(const struct oxtcp_trace_ends *ends, u8 timer),
	TP_ARGS(ends, timer),
	TP_STRUCT__entry(
		OXTCP_ENDS_FIELDS
		__field(u8, timer)
	),
	TP_fast_assign(
		OXTCP_ENDS_ASSIGN;
		__entry->timer = timer;
	),
	TP_printk(OXTCP_ENDS_FORMAT "timer=%s", OXTCP_ENDS_ARGS,
		  __print_symbolic(__entry->timer, OXTCP_TRACE_TIMERS))
);

TRACE_EVENT(oxtcp_congestion,
	TP_PROTO(const struct oxtcp_trace_ends *ends, const struct oxtcp_trace_standing *standing),
	TP_ARGS(ends, standing),
	TP_STRUCT__entry(
		OXTCP_ENDS_FIELDS
		__field(u64, pacing_rate)
		__field(u64, bytes_acked)
		__field(u64, bytes_received)
		__field(u32, cwnd)
		__field(u32, ssthresh)
		__field(u32, srtt)
		__field(u32, rttvar)
		__field(u32, rto)
		__field(u32, mss)
		__field(u32, unacked)
		__field(u32, in_network)
		__field(u32, not_sent)
		__field(u32, snd_wnd)
		__field(u32, rcv_wnd)
		__field(u32, snd_una)
		__field(u32, snd_nxt)
		__field(u32, rcv_nxt)
		__field(u32, retransmits)
		__field(u8, mode)
	),
	TP_fast_assign(
		OXTCP_ENDS_ASSIGN;
		__entry->pacing_rate = standing->pacing_rate;
		__entry->bytes_acked = standing->bytes_acked;
		__entry->bytes_received = standing->bytes_received;
		__entry->cwnd = standing->cwnd;
		__entry->ssthresh = standing->ssthresh;
		__entry->srtt = standing->srtt;
		__entry->rttvar = standing->rttvar;
		__entry->rto = standing->rto;
		__entry->mss = standing->mss;
		__entry->unacked = standing->unacked;
		__entry->in_network = standing->in_network;
		__entry->not_sent = standing->not_sent;
		__entry->snd_wnd = standing->snd_wnd;
		__entry->rcv_wnd = standing->rcv_wnd;
		__entry->snd_una = standing->snd_una;
		__entry->snd_nxt = standing->snd_nxt;
		__entry->rcv_nxt = standing->rcv_nxt;
		__entry->retransmits = standing->retransmits;
		__entry->mode = standing->mode;
	),
	TP_printk(OXTCP_ENDS_FORMAT "mode=%s cwnd=%u ssthresh=%u srtt=%u rttvar=%u rto=%u mss=%u unacked=%u in_network=%u not_sent=%u snd_wnd=%u rcv_wnd=%u snd_una=%u snd_nxt=%u rcv_nxt=%u retransmits=%u bytes_acked=%llu bytes_received=%llu pacing_rate=%llu",
		  OXTCP_ENDS_ARGS, __print_symbolic(__entry->mode, OXTCP_TRACE_MODES),
		  __entry->cwnd, __entry->ssthresh, __entry->srtt, __entry->rttvar, __entry->rto,
		  __entry->mss, __entry->unacked, __entry->in_network, __entry->not_sent,
		  __entry->snd_wnd, __entry->rcv_wnd, __entry->snd_una, __entry->snd_nxt,
		  __entry->rcv_nxt, __entry->retransmits,
		  __entry->bytes_acked, __entry->bytes_received, __entry->pacing_rate)
);

TRACE_EVENT(oxtcp_drop,
	TP_PROTO(const struct oxtcp_trace_ends *ends, const struct oxtcp_trace_segment *segment,
		 u32 reason),
	TP_ARGS(ends, segment, reason),
	TP_STRUCT__entry(
		OXTCP_ENDS_FIELDS
		__field(u32, reason)
		__field(u32, payload)
		__field(u8, out)
		__dynamic_array(u8, header, segment->header_len)
	),
	TP_fast_assign(
		OXTCP_ENDS_ASSIGN;
		__entry->reason = reason;
		__entry->payload = segment->payload;
		__entry->out = segment->cause != 0;
		memcpy(__get_dynamic_array(header), segment->header, segment->header_len);
	),
#define FN(reason) { SKB_DROP_REASON_##reason, #reason },
	TP_printk(OXTCP_ENDS_FORMAT "reason=%s out=%u payload=%u header=%s", OXTCP_ENDS_ARGS,
		  __print_symbolic(__entry->reason, OXTCP_TRACE_REASONS(FN) { 0, "" }),
		  __entry->out, __entry->payload,
		  __print_hex_str(__get_dynamic_array(header), __get_dynamic_array_len(header)))
);

TRACE_EVENT(oxtcp_listener,
	TP_PROTO(const struct oxtcp_trace_ends *ends, const struct oxtcp_trace_listener *listener),
	TP_ARGS(ends, listener),
	TP_STRUCT__entry(
		OXTCP_ENDS_FIELDS
		__field(u32, half_open)
		__field(u32, most_half_open)
		__field(u32, waiting)
		__field(u32, asked)
		__field(u32, granted)
		__field(u8, decision)
		__field(u8, bound)
		__field(u8, syncookies)
		__field(u8, setting)
	),
	TP_fast_assign(
		OXTCP_ENDS_ASSIGN;
		__entry->half_open = listener->half_open;
		__entry->most_half_open = listener->most_half_open;
		__entry->waiting = listener->waiting;
		__entry->asked = listener->asked;
		__entry->granted = listener->granted;
		__entry->decision = listener->decision;
		__entry->bound = listener->bound;
		__entry->syncookies = listener->syncookies;
		__entry->setting = listener->setting;
	),
	TP_printk(OXTCP_ENDS_FORMAT "decision=%s bound=%s half_open=%u most_half_open=%u waiting=%u asked=%u granted=%u syncookies=%u setting=%s",
		  OXTCP_ENDS_ARGS,
		  __print_symbolic(__entry->decision, OXTCP_TRACE_DECISIONS),
		  __print_symbolic(__entry->bound, OXTCP_TRACE_BOUNDS),
		  __entry->half_open, __entry->most_half_open, __entry->waiting,
		  __entry->asked, __entry->granted, __entry->syncookies,
		  __print_symbolic(__entry->setting, OXTCP_TRACE_SETTINGS))
);

TRACE_EVENT(oxtcp_overflow,
	TP_PROTO(const struct oxtcp_trace_ends *ends, const struct oxtcp_trace_overflow *overflow),
	TP_ARGS(ends, overflow),
	TP_STRUCT__entry(
		OXTCP_ENDS_FIELDS
		__field(u32, length)
		__field(u32, most)
		__field(u32, value)
		__field(u32, rate)
		__field(u8, queue)
		__field(u8, setting)
		__field(u8, remedy)
	),
	TP_fast_assign(
		OXTCP_ENDS_ASSIGN;
		__entry->length = overflow->length;
		__entry->most = overflow->most;
		__entry->value = overflow->value;
		__entry->rate = overflow->rate;
		__entry->queue = overflow->queue;
		__entry->setting = overflow->setting;
		__entry->remedy = overflow->remedy;
	),
	TP_printk(OXTCP_ENDS_FORMAT "queue=%s length=%u most=%u rate=%u remedy=%s setting=%s value=%u advice=%s",
		  OXTCP_ENDS_ARGS,
		  __print_symbolic(__entry->queue, OXTCP_TRACE_QUEUES),
		  __entry->length, __entry->most, __entry->rate,
		  __print_symbolic(__entry->remedy, OXTCP_TRACE_REMEDIES),
		  __print_symbolic(__entry->setting, OXTCP_TRACE_SETTINGS), __entry->value,
		  __print_symbolic(__entry->queue, OXTCP_TRACE_ADVICE))
);

#endif

/* Out of the kernel's tree: beside this file, which Kbuild names to the compiler. */
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
