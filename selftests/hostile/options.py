# SPDX-License-Identifier: GPL-2.0
"""Options that are odd, or lies."""

import random
import socket
import struct

import ktap
import wire
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



def bombs(peer, now, echo):
    """Options that are odd: what no header should have."""
    stamps = struct.pack("!BBII", 8, 10, now, echo)
    block = struct.pack("!II", (peer.ack + 10) % MODULUS, (peer.ack + 20) % MODULUS)
    yield b"\1" * 40
    yield b"\0" * 40
    yield b"\0" + b"\xff" * 39
    # Each kind that is known, and some that are not, with lengths of 0, 1, too few, too many, and beyond the header.
    for kind in (2, 3, 4, 5, 6, 7, 8, 14, 15, 27, 28, 30, 34, 69, 99, 172, 174, 253, 254, 255):
        for length in (0, 1, 2, 3, 5, 9, 11, 39, 40, 41, 128, 255):
            yield bytes([kind, length]) + b"\x5a" * 10
            yield b"\1" * 38 + bytes([kind, length])
        yield b"\1" * 39 + bytes([kind])
        # All the room with options of two bytes.
        yield bytes([kind, 2]) * 20
    # The same again and again.
    yield stamps * 4
    yield b"\2\4\0\1" * 10
    yield b"\3\3\16" * 13
    yield b"\4\2" * 20
    yield b"\5\12" + block + b"\5\12" + block + b"\5\12" + block + b"\5\12" + block
    # SACK of no block, of parts of one, of more than there is room for; four beside timestamps.
    for length in (2, 3, 9, 11, 17, 33, 34, 35, 42, 250):
        yield (bytes([5, length]) + block * 5)[:40]
        yield (b"\1\1" + stamps + bytes([5, length]) + block * 5)[:40]
    # Timestamps within a SACK, and a SACK within them.
    yield b"\5\22" + stamps + b"\1" * 6
    yield b"\x08\12\5\12" + block


def taken(sock, data):
    """Whether this, and no more, is there to be read."""
    try:
        got = sock.recv(100, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    assert got == data, got
    return True


def established__option_bombs(host):
    """RFC 9293 MUST-6, MUST-7: whatever stands where options may, the segment's data counts, and the connection goes on."""
    for agreed in ([], [("SAckOK", b""), ("Timestamp", (1000, 0))]):
        peer, _, _ = listen(host)
        syn_ack = peer.handshake(options=agreed)
        echo = syn_ack.options.get("Timestamp", (0, 0))[0]
        sock = host.accept()
        # What the peer has not acknowledged, for blocks to be about.
        theirs = random.randbytes(4000)
        sock.sendall(theirs)
        peer.wait_for("data", lambda s: s.payload)
        missed = 0
        for number, bomb in enumerate(bombs(peer, 1001, echo)):
            data = struct.pack("!H", number)
            peer.send_raw(ACK | PSH, data, options=bomb)
            peer.replies()
            assert host.state(peer) == "ESTABLISHED", bomb.hex()
            if not taken(sock, data):
                # A timestamp that is none of the peer's may be a reason to drop.
                missed += 1
                # Linux drops what is malformed, where it looks for signatures (`tcp_parse_auth_options`).
                assert wire.BUILTIN or agreed, f"{bomb.hex()} is not taken"
                peer.send_raw(ACK | PSH, data, options=b"\1\1" + struct.pack("!BBII", 8, 10, 1001, echo) if agreed else b"")
                peer.replies()
                assert taken(sock, data), f"after {bomb.hex()}: nothing is taken any more"
            peer.seq = (peer.seq + 2) % MODULUS
        got, _ = collect(peer, len(theirs))
        assert got == theirs
    host.check_good()
    return f"{number + 1} bombs, {missed} of them not taken with timestamps"


def established__sack_bombs(host):
    """Blocks that are inverted, empty, overlapping, around all or none of what is on its way, with and without timestamps: what was not
    reported by its right number comes again, and all arrives."""
    for agreed in ([("MSS", 500), ("SAckOK", b"")], [("MSS", 500), ("SAckOK", b""), ("Timestamp", (1000, 0))]):
        peer, _, _ = listen(host)
        syn_ack = peer.handshake(options=agreed)
        echo = syn_ack.options.get("Timestamp", (0, 0))[0]
        sock = host.accept()
        data = random.randbytes(6000)
        sock.sendall(data)
        peer.wait_for("data", lambda s: s.payload)
        edges = (0, 1, 499, 500, 501, 1000, 3000, 6000, 6001, 70000, 1 << 31, (1 << 31) - 1, MODULUS - 1, MODULUS - 500, MODULUS - 70000)
        pairs = [struct.pack("!II", (peer.ack + left) % MODULUS, (peer.ack + right) % MODULUS) for left in edges for right in edges]
        generator = random.Random(2018)
        generator.shuffle(pairs)
        stamps = b"\1\1" + struct.pack("!BBII", 8, 10, 1001, echo) if len(agreed) == 3 else b""
        most = 3 if stamps else 4
        for at in range(0, len(pairs), most):
            blocks = b"".join(pairs[at:at + most])
            peer.send_raw(ACK, options=stamps + b"\1\1\5" + bytes([2 + len(blocks)]) + blocks)
        assert not [s for s in peer.replies() if s.is_reset]
        got, _ = collect(peer, len(data))
        assert got == data
    host.check_good()
    return f"{len(pairs)} blocks"


OF_ONE_STATE = (established__tiny_mss, established__huge_mss, established__window_scale_255, established__old_timestamp,
                established__sack_lies, established__option_bombs, established__sack_bombs)
