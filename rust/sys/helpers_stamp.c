// SPDX-License-Identifier: GPL-2.0
/* See helpers_stamp.h. */
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <linux/skbuff.h>
#include <net/inet_common.h>
#include <net/sock.h>
#include <net/tcp.h>

#include "helpers_stamp.h"

/*
 * Which timestamps a call to send asks for: SO_TIMESTAMPING's flags, or those
 * of a control message. What else control messages may ask of a socket, TCP
 * refuses or ignores.
 */
int oxtcp_helper_tx_stamps(struct sock *sk, struct msghdr *msg, u32 *tsflags)
{
	struct sockcm_cookie cookie = { .tsflags = READ_ONCE(sk->sk_tsflags) };
	int err = 0;

	if (msg->msg_controllen)
		err = sock_cmsg_send(sk, msg, &cookie);
	/* For datagrams, and for memory of devices. */
	if (!err && (cookie.tsflags & SOCKCM_FLAG_TS_OPT_ID || cookie.dmabuf_id))
		err = -EINVAL;
	*tsflags = cookie.tsflags;
	return err;
}

u8 oxtcp_helper_tx_flags(u32 tsflags)
{
	u8 flags = 0;

	__sock_tx_timestamp(tsflags, &flags);
	return flags;
}

/* What __sock_tx_timestamp() gives; the other bits mean something else. */
#define OXTCP_TX_FLAGS (SKBTX_HW_TSTAMP_NOBPF | SKBTX_SW_TSTAMP | SKBTX_SCHED_TSTAMP | \
			SKBTX_COMPLETION_TSTAMP)

/* The packet has the byte that a call's timestamps are of; key is its sequence number. */
void oxtcp_helper_skb_stamp(struct sk_buff *skb, u8 tx_flags, u32 key)
{
	skb_shinfo(skb)->tx_flags |= tx_flags & OXTCP_TX_FLAGS;
	skb_shinfo(skb)->tskey = key;
}

/*
 * The byte is acknowledged, see tcp_ack_tstamp(). The packet, which has the
 * payload and is on its way nowhere, is given up.
 */
void oxtcp_helper_skb_acked(struct sk_buff *skb, struct sock *sk, u32 key)
{
	TCP_SKB_CB(skb)->txstamp_ack = TSTAMP_ACK_SK;
	skb_shinfo(skb)->tskey = key;
	__skb_tstamp_tx(skb, NULL, NULL, sk, SCM_TSTAMP_ACK);
	consume_skb(skb);
}

void oxtcp_helper_sk_set_tskey(struct sock *sk, u32 key)
{
	atomic_set(&sk->sk_tskey, key);
}

/*
 * recvmsg(MSG_ERRQUEUE), with the socket's lock. The key of a timestamp is the
 * sequence number, as GSO needs it; __skb_complete_tx_timestamp() makes a
 * stream's offset of it for the kernel's own TCP alone. Only io_uring's
 * SOCKET_URING_OP_TX_TIMESTAMP takes from the queue without the lock: it gets
 * sequence numbers, and may take away what is looked at here.
 */
int oxtcp_helper_recv_error(struct sock *sk, struct msghdr *msg, int len)
{
	struct sk_buff_head *queue = &sk->sk_error_queue;
	struct sk_buff *skb;
	unsigned long flags;

	spin_lock_irqsave(&queue->lock, flags);
	skb = skb_peek(queue);
	if (skb) {
		struct sock_extended_err *ee = &SKB_EXT_ERR(skb)->ee;

		/* Without OPT_ID it is 0. */
		if (ee->ee_origin == SO_EE_ORIGIN_TIMESTAMPING &&
		    ee->ee_data == skb_shinfo(skb)->tskey)
			ee->ee_data -= atomic_read(&sk->sk_tskey);
	}
	spin_unlock_irqrestore(&queue->lock, flags);
	return skb ? inet_recv_error(sk, msg, len) : -EAGAIN;
}

/* tcp_update_recv_tstamps(), for a packet that has any. */
void oxtcp_helper_skb_rx_stamps(struct sk_buff *skb, struct scm_timestamping_internal *stamps)
{
	if (skb->tstamp || skb_hwtstamps(skb)->hwtstamp)
		tcp_update_recv_tstamps(skb, stamps);
}

/* tcp_recv_timestamp(), which is not exported. */
void oxtcp_helper_put_rx_stamps(struct msghdr *msg, const struct sock *sk,
				struct scm_timestamping_internal *stamps)
{
	u32 tsflags = READ_ONCE(sk->sk_tsflags);
	bool new = sock_flag(sk, SOCK_TSTAMP_NEW);

	if (stamps->ts[0]) {
		struct timespec64 ts = ktime_to_timespec64(stamps->ts[0]);

		if (sock_flag(sk, SOCK_RCVTSTAMP) && sock_flag(sk, SOCK_RCVTSTAMPNS)) {
			struct __kernel_timespec kts = { ts.tv_sec, ts.tv_nsec };
			struct __kernel_old_timespec old = { ts.tv_sec, ts.tv_nsec };

			if (new)
				put_cmsg(msg, SOL_SOCKET, SO_TIMESTAMPNS_NEW, sizeof(kts), &kts);
			else
				put_cmsg(msg, SOL_SOCKET, SO_TIMESTAMPNS_OLD, sizeof(old), &old);
		} else if (sock_flag(sk, SOCK_RCVTSTAMP)) {
			struct __kernel_sock_timeval stv = { ts.tv_sec, ts.tv_nsec / 1000 };
			struct __kernel_old_timeval old = { ts.tv_sec, ts.tv_nsec / 1000 };

			if (new)
				put_cmsg(msg, SOL_SOCKET, SO_TIMESTAMP_NEW, sizeof(stv), &stv);
			else
				put_cmsg(msg, SOL_SOCKET, SO_TIMESTAMP_OLD, sizeof(old), &old);
		}
		if (!(tsflags & SOF_TIMESTAMPING_SOFTWARE &&
		      (tsflags & SOF_TIMESTAMPING_RX_SOFTWARE ||
		       !(tsflags & SOF_TIMESTAMPING_OPT_RX_FILTER))))
			stamps->ts[0] = 0;
	}
	if (stamps->ts[2] &&
	    !(tsflags & SOF_TIMESTAMPING_RAW_HARDWARE &&
	      (tsflags & SOF_TIMESTAMPING_RX_HARDWARE ||
	       !(tsflags & SOF_TIMESTAMPING_OPT_RX_FILTER))))
		stamps->ts[2] = 0;
	if (!(stamps->ts[0] | stamps->ts[2]))
		return;
	stamps->ts[1] = 0;
	if (new)
		put_cmsg_scm_timestamping64(msg, stamps);
	else
		put_cmsg_scm_timestamping(msg, stamps);
}
