# SPDX-License-Identifier: GPL-2.0
"""Options that are odd, or lies."""

import random
import socket

import ktap
from host import collect, listen, option_syn
from wire import ACK, MODULUS, PSH, RST, SYN, until


def established__tiny_mss(host):
    """An MSS of 0, 1 or 8 does not make segments of a byte."""
    for mss in (0, 1, 8, 40):
        peer, sock = option_syn(host, [("MSS", mss)])
        data = random.randbytes(500)
        sock.sendall(data)
        got, segments = collect(peer, 500)
        assert got == data
        assert segments <= 60, f"MSS {mss}: {segments} segments for 500 bytes"
    host.check_good()


def established__huge_mss(host):
    peer, sock = option_syn(host, [("MSS", 65535)])
    data = random.randbytes(5000)
    sock.sendall(data)
    got, _ = collect(peer, 5000)
    assert got == data
    host.check_good()


def established__window_scale_255(host):
    """RFC 7323 2.3: a shift above 14 is 14."""
    peer, _, _ = listen(host)
    peer.window = 0
    peer.handshake(options=[("WScale", 255)])
    sock = host.accept()
    sock.setblocking(False)
    peer.window = 1
    peer.send(ACK)
    sent = sock.send(random.randbytes(40000))
    def arrived():
        collected.extend(peer.replies())
        return sum(len(s.payload) for s in collected) > 0
    collected = []
    until("data", arrived)
    beyond = max(((s.seq + len(s.payload) - peer.ack) % MODULUS) for s in collected if s.payload)
    assert 0 < beyond <= 1 << 14, f"{beyond} bytes of {sent} into a window of 1 << 14"
    host.check_good()


def established__old_timestamp(host):
    """RFC 7323 5.3, PAWS: an older timestamp is answered and dropped."""
    peer, _, _ = listen(host)
    now = 1000000
    def stamp(value):
        return {"options": [("NOP", None), ("NOP", None), ("Timestamp", (value, peer_echo))]}
    peer_echo = 0
    peer.send(SYN, options=[("Timestamp", (now, 0))])
    syn_ack = peer.wait_for("a SYN-ACK", lambda s: s.flags & SYN)
    if "Timestamp" not in syn_ack.options:
        raise ktap.Skip("no timestamps")
    peer_echo = syn_ack.options["Timestamp"][0]
    peer.seq = (peer.seq + 1) % MODULUS
    peer.ack = (syn_ack.seq + 1) % MODULUS
    peer.send(ACK, **stamp(now + 1))
    sock = host.accept()
    peer.send(ACK | PSH, b"good", **stamp(now + 2))
    peer.seq = (peer.seq + 4) % MODULUS
    peer.replies()
    peer.send(ACK | PSH, b"poison", **stamp(now - 100000))
    answers = peer.answers()
    assert len(answers) == 1 and answers[0].ack == peer.seq, answers
    peer.send(RST, seq=-3, **stamp(now - 100000))
    peer.send(ACK | PSH, b"more", **stamp(now + 3))
    assert sock.recv(8, socket.MSG_WAITALL) == b"goodmore"
    host.check_good()


def established__sack_lies(host):
    """SACK blocks of what was never sent, backwards, or overlapping: no harm."""
    peer, sock = option_syn(host, [("MSS", 1000), ("SAckOK", b"")])
    data = random.randbytes(8000)
    sock.sendall(data)
    peer.wait_for("data", lambda s: s.payload)
    base_seq = peer.ack
    for left, right in ((0, 0), (1000, 500), (1 << 30, (1 << 30) + 10), (-1000, -500), (-100, 100), (0, 1 << 31),
                        (5000, 900000), (1000, 2000), (1500, 1700), (2000, 1000)):
        block = ((base_seq + left) % MODULUS, (base_seq + right) % MODULUS)
        peer.send(ACK, options=[("NOP", None), ("NOP", None), ("SAck", block)])
        peer.send(ACK, options=[("NOP", None), ("NOP", None), ("SAck", block * 3)])
    got, _ = collect(peer, len(data))
    assert got == data
    host.check_good()


OF_ONE_STATE = (established__tiny_mss, established__huge_mss, established__window_scale_255, established__old_timestamp,
                established__sack_lies)
