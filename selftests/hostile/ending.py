# SPDX-License-Identifier: GPL-2.0
"""Connections that end, and TIME-WAIT."""

from host import closing, last_ack, time_wait
from wire import ACK, FIN, MODULUS, SYN


def time_wait__answers(host):
    """Old segments draw the last ACK again; the state stays."""
    peer, _, _ = time_wait(host)
    peer.replies()
    peer.send(FIN | ACK, seq=-1)
    answers = peer.answers()
    assert len(answers) == 1 and answers[0].ack == peer.seq, answers
    peer.send(SYN, seq=-2000)
    assert not [s for s in peer.answers() if s.is_reset]
    assert host.state(peer) == "TIME-WAIT"
    host.check_good()


def time_wait__new_syn(host):
    """RFC 9293 3.10.7.4: a SYN beyond the old numbers opens anew."""
    peer, _, _ = time_wait(host)
    peer.seq = (peer.seq + 100000) % MODULUS
    peer.handshake()
    sock = host.accept()
    peer.say(b"again")
    assert sock.recv(10) == b"again"
    host.check_good()


def last_ack__ends(host):
    """The ACK of the FIN, and no other, ends LAST-ACK."""
    peer, _, _ = last_ack(host)
    peer.send(ACK, ack=-1)
    peer.send(ACK, ack=0)
    peer.replies()
    assert host.state(peer) == "LAST-ACK"
    peer.send(ACK, ack=1)
    assert not peer.answers()
    host.expect_state(peer, None)
    host.check_good()


def closing__ends(host):
    peer, _, _ = closing(host)
    peer.send(ACK, ack=0)
    assert host.state(peer) == "CLOSING"
    peer.send(ACK, ack=1)
    host.expect_state(peer, "TIME-WAIT")
    host.check_good()


OF_ONE_STATE = (time_wait__answers, time_wait__new_syn, last_ack__ends, closing__ends)
