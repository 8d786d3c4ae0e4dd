# SPDX-License-Identifier: GPL-2.0
"""What the receiver of data can do to its sender with SACK and a tiny MSS (the "SACK panic", CVE-2019-11477 to 11479)."""

import random
import socket
import struct

from host import listen
from wire import ACK, MODULUS, Log, until

SO_MEMINFO = 55
# Words of it.
RCVBUF, SNDBUF, QUEUED = 1, 3, 5
TOTAL = 150_000
# What the books of a queue may have beyond its buffer: the last write, and heads of packets.
SLACK = 1 << 17


def meminfo(sock):
    return struct.unpack("9I", sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))


class Taker:
    """A peer that takes a stream and acknowledges it in odd ways."""

    def __init__(self, host, mss, options=()):
        self.peer, _, _ = listen(host)
        self.peer.window = 65535
        self.peer.handshake(options=[("MSS", mss), ("SAckOK", b""), *options])
        self.sock = host.accept()
        self.data = random.randbytes(TOTAL)
        self.have = bytearray(TOTAL)
        self.received = bytearray(TOTAL)
        # All before is acknowledged; the end of what has come; what has been queued by the host's program; the most that its socket held.
        self.una = self.high = self.written = self.most = 0
        self.count = self.largest = 0
        self.sock.setblocking(False)

    def write(self):
        while self.written < TOTAL:
            try:
                self.written += self.sock.send(self.data[self.written:])
            except BlockingIOError:
                break

    def hear(self):
        """Takes what has come, and looks at each byte."""
        for segment in self.peer.replies():
            assert not segment.is_reset, segment
            size = len(segment.payload)
            at = (segment.seq - self.peer.ack) % MODULUS
            if not size or at > TOTAL:
                continue
            self.count += 1
            self.largest = max(self.largest, size)
            assert self.data[at:at + size] == segment.payload, f"other bytes at {at}"
            self.have[at:at + size] = b"\1" * size
            self.high = max(self.high, at + size)
        self.most = max(self.most, meminfo(self.sock)[QUEUED])

    @property
    def whole(self):
        """The end of what has come without a gap."""
        end = self.have.find(b"\0", self.una)
        return TOTAL if end < 0 else end

    def ack(self, una, blocks=()):
        self.una = una
        option = b""
        if blocks:
            option = b"\1\1\5" + bytes([2 + 8 * len(blocks)])
            option += b"".join(struct.pack("!II", *((self.peer.ack + edge) % MODULUS for edge in block)) for block in blocks)
        self.peer.send_raw(ACK, ack=una, options=option)

    def pieces(self, generator, count, longest):
        """Pieces of what has come beyond the gap at `una`, cut at places that are no borders of segments."""
        found = []
        for _ in range(count):
            left = generator.randrange(self.una + 1, self.high)
            right = min(self.high, left + generator.randrange(1, longest))
            if self.have.find(b"\0", left, right) < 0 and left < right:
                found.append((left, right))
        return found

    def finish(self):
        """Acknowledges all, in order, and lets the connection end well."""
        def step():
            self.write()
            self.hear()
            self.ack(self.whole)
            return self.una == TOTAL
        until("all of the stream", step)
        self.peer.ack = (self.peer.ack + TOTAL) % MODULUS
        self.sock.setblocking(True)
        self.peer.say(b"thanks")
        assert self.sock.recv(6, socket.MSG_WAITALL) == b"thanks"

    def bounded(self):
        """What the socket held was never more than its buffer."""
        most = meminfo(self.sock)[SNDBUF] + SLACK
        assert self.most <= most, f"{self.most} bytes are queued, the buffer is {most}"


def no_warning(log):
    bad = [line for line in log.lines() if any(word in line for word in ("BUG", "WARNING", "Oops", "panic", "general protection"))]
    assert not bad, bad


def sack_panic__bursts_are_split_at_odd_places(host):
    """CVE-2019-11477: bursts of as many tiny segments as there can be, of which the peer reports pieces that begin and end anywhere.

    In Linux before 5.2 the pieces of a burst were counted in 16 bits, and pieces that were put together again overflowed it."""
    generator = random.Random(11477)
    log = Log()
    said = []
    for mss in (48, 8, 0, 88):
        taker = Taker(host, mss, [("Timestamp", (1, 0))] if mss == 88 else ())
        # The window of congestion grows first.
        while taker.high < TOTAL // 3:
            taker.write()
            taker.hear()
            taker.ack(taker.whole)
        for turn in range(60):
            taker.write()
            taker.hear()
            if taker.high - taker.una > 2:
                for _ in range(3):
                    taker.ack(taker.una, taker.pieces(generator, 4, 700))
            if turn % 4 == 3:
                # Some of it, to the middle of a segment.
                taker.ack(min(taker.whole, taker.una + generator.randrange(1, 3000)))
        taker.hear()
        taker.bounded()
        taker.finish()
        said.append(f"MSS {mss}: {taker.count} segments, {taker.largest} bytes at most, {taker.most} queued")
        assert taker.largest >= 36 or mss == 88, said[-1]
    no_warning(log)
    host.check_good()
    return "\n".join(said)


def sack_slowness__every_other_byte(host):
    """CVE-2019-11478: reports of single bytes, none beside another, make of the queue as many pieces as can be."""
    log = Log()
    taker = Taker(host, 48)
    while taker.high < TOTAL // 3:
        taker.write()
        taker.hear()
        taker.ack(taker.whole)
    def flight():
        taker.write()
        taker.hear()
        return taker.high - taker.una > 1000
    until("a flight", flight)
    blocks = [(at, at + 1) for at in range(taker.una + 1, min(taker.high, taker.una + 4000) - 1, 2)]
    for at in range(0, len(blocks), 4):
        taker.ack(taker.una, blocks[at:at + 4])
        if at % 200 == 0:
            taker.hear()
    # And once more from the end, when the first have been sent again.
    for at in range(len(blocks), 0, -4):
        taker.ack(taker.una, blocks[max(at - 4, 0):at])
        if at % 200 == 0:
            taker.hear()
    taker.hear()
    taker.bounded()
    taker.finish()
    no_warning(log)
    host.check_good()
    return f"{len(blocks)} pieces, {taker.count} segments, {taker.most} queued"


def sack_reneging__tiny_mss(host):
    """What was reported is asked for again, after all, by one who has thrown it away (RFC 2018 8)."""
    taker = Taker(host, 48)
    def flight():
        taker.write()
        taker.hear()
        return taker.high - taker.una > 300
    until("a flight", flight)
    for _ in range(3):
        taker.ack(taker.una, [(taker.una + 48, taker.high)])
    taker.hear()
    # It has never come.
    taker.have = bytearray(TOTAL)
    taker.finish()
    taker.bounded()
    host.check_good()


OF_ONE_STATE = (sack_panic__bursts_are_split_at_odd_places, sack_slowness__every_other_byte, sack_reneging__tiny_mss)
