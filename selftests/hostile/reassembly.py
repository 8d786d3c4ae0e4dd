# SPDX-License-Identifier: GPL-2.0
"""Thousands of tiny segments out of order (the "segment smack", CVE-2018-5390)."""

import random
import socket

import wire
from host import listen
from sack import RCVBUF, meminfo
from wire import ACK, MODULUS, PSH, setting, until

# Octets of the stream: less than a first window.
SIZE = 24000
# One packet more than the buffer has room for may be taken.
SLACK = 1 << 17


def smack(host, pieces):
    """Sends pieces of a stream, (from, to) beyond its first byte; then all of it, and looks at what comes out."""
    peer, _, _ = listen(host)
    peer.handshake(options=[("MSS", 1400), ("SAckOK", b"")])
    sock = host.accept()
    data = random.randbytes(SIZE)
    most, count = 0, 0
    for left, right in pieces:
        peer.send_raw(ACK, data[left:right], seq=left)
        count += 1
        if count % 100 == 0:
            most = max(most, meminfo(sock)[0])
            assert not [s for s in peer.answers() if s.is_reset]
    most = max(most, meminfo(sock)[0])
    buffer = meminfo(sock)[RCVBUF]
    # It may grow while there is a hole, as Linux's does.
    assert most <= buffer + SLACK and buffer <= setting("rmem"), f"{most} bytes in memory, the buffer is {buffer}"
    sock.setblocking(False)
    try:
        raise AssertionError(f"{sock.recv(10)} before the hole was filled")
    except BlockingIOError:
        pass
    sock.setblocking(True)
    sock.settimeout(wire.WAIT)
    # The hole is filled; what there was no room for comes again.
    peer.send_raw(ACK | PSH, data[:1])
    acked = 0
    got = b""
    def step():
        nonlocal acked, got
        acked = max([acked] + [offset for s in peer.replies() if (offset := (s.ack - peer.seq) % MODULUS) <= SIZE])
        if acked > len(got):
            got += sock.recv(acked - len(got), socket.MSG_WAITALL)
        for at in range(acked, min(acked + 8000, SIZE), 1000):
            peer.send_raw(ACK | PSH, data[at:min(at + 1000, SIZE)], seq=at)
        return acked == SIZE
    until("all of the stream", step)
    assert got == data, f"{len(got)} bytes, wrong from {next((i for i, (a, b) in enumerate(zip(got, data)) if a != b), len(got))} on"
    peer.seq = (peer.seq + SIZE) % MODULUS
    sock.sendall(b"and back")
    peer.take(peer.wait_for("data", lambda s: s.payload == b"and back"))
    host.check_good()
    return f"{count} segments, {most} bytes in memory of {buffer}"


def segment_smack__descending(host):
    """CVE-2018-5390: single bytes from the end to the beginning, each other one."""
    return smack(host, [(at, at + 1) for at in range(SIZE - 1, 1, -8)])


def segment_smack__interleaved(host):
    """CVE-2018-5390: each other byte, then in a second and a third pass those between, and all once more."""
    return smack(host, [(at, at + 1) for first in (2, 10, 6, 2) for at in range(first, SIZE - 1, 16)])


def segment_smack__overlapping(host):
    """CVE-2018-5390: pieces that each begin within the last one, and some that hold others."""
    generator = random.Random(5390)
    pieces = [(at, at + 12) for at in range(SIZE - 13, 1, -9)]
    for _ in range(1000):
        left = generator.randrange(2, SIZE - 100)
        pieces.append((left, left + generator.randrange(1, 100)))
    return smack(host, pieces)


def segment_smack__random(host):
    """CVE-2018-5390: in no order at all."""
    pieces = [(at, at + 3) for at in range(2, SIZE - 4, 8)]
    random.Random(5391).shuffle(pieces)
    return smack(host, pieces)


def segment_smack__before_a_run(host):
    """CVE-2018-5390: a long run beyond the hole in tiny segments, and then, again and again, one before it."""
    run = [(at, at + 4) for at in range(SIZE // 2, SIZE, 4)]
    return smack(host, run + [(at, at + 1) for at in range(SIZE // 2 - 2, 2, -6)])


OF_ONE_STATE = (
    segment_smack__descending, segment_smack__interleaved, segment_smack__overlapping, segment_smack__random, segment_smack__before_a_run)
