# SPDX-License-Identifier: GPL-2.0
"""Segments that no TCP may take, and random ones, to every state."""

import random
import struct

from host import cut, ip_header, listen, reset, resum, syn_sent
from wire import ACK, FIN, MODULUS, PSH, RST, SYN


def base(peer, host, enter):
    """A segment that this state would take: what spoils it is what keeps it out."""
    if enter.enter is listen:
        return peer.segment(SYN)
    if enter.enter is syn_sent:
        return peer.segment(SYN | ACK)
    return peer.segment(ACK | PSH, b"poison")


def spoiled(peer, host, enter):
    """Segments that no TCP may take: (what is wrong, the packet)."""
    header = ip_header(host)
    whole = bytearray(bytes(base(peer, host, enter)))

    def change(at, value):
        packet = bytearray(whole)
        packet[header + at:header + at + len(value)] = value
        return bytes(packet)

    checksum = struct.unpack_from("!H", whole, header + 16)[0]
    for wrong in {checksum ^ 1, checksum ^ 0x8000, checksum ^ 0xFFFF, (checksum + 1) & 0xFFFF, checksum ^ 0x0100}:
        yield f"checksum {wrong:#06x} for {checksum:#06x}", change(16, struct.pack("!H", wrong))
    # A bit flipped anywhere under the checksum.
    for at in range(0, len(whole) - header, 3):
        yield f"bit flipped at {at}", change(at, bytes([whole[header + at] ^ (1 << at % 8)]))
    for offset in (0, 1, 2, 3, 4, 15):
        yield f"data offset {offset}", resum(host, change(12, bytes([offset << 4])))
    for length in (0, 1, 4, 8, 13, 16, 19):
        yield f"cut to {length} bytes", cut(host, whole, length)


def malformed__ignored(host, enter):
    """Checksums, lengths and offsets that are wrong: as if nothing had come."""
    peer, sock, name = enter(host)
    for what, packet in spoiled(peer, host, enter):
        host.link.write(packet)
        answers = peer.answers()
        assert not answers, f"{what}: answered by {answers}"
    assert host.state(peer) == name, f"{name} has become {host.state(peer)}"
    if name in ("ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2"):
        sock.setblocking(False)
        try:
            raise AssertionError(f"poison was taken: {sock.recv(100)}")
        except BlockingIOError:
            pass
    host.check_good()
    return f"{host.link.sent} packets"


def strangers__ignored(host, enter):
    """Right segments from or to addresses that no connection can have."""
    peer, _, name = enter(host)
    if host.version == 4:
        addresses = [{"src": "127.0.0.1"}, {"src": "255.255.255.255"}, {"src": "224.0.0.1"}, {"src": "0.0.0.0"},
                     {"dst": "255.255.255.255"}, {"dst": "224.0.0.1"},
                     {"dst": "198.51.100.255"}, {"dst": "127.0.0.1"}, {"src": "198.51.100.1"}]
    else:
        addresses = [{"src": "::1"}, {"src": "ff02::1"}, {"src": "::"}, {"dst": "::1"},
                     {"dst": "ff05::2"}]
    for fields in addresses:
        for flags in (SYN, ACK, RST, FIN | ACK, SYN | ACK):
            host.link.write(peer.segment(flags, ip=host.link.ip(**fields)))
        answers = host.link.replies()
        answers = [s for s in answers if s.is_reset or s.is_pure_ack]
        assert not answers, f"{fields}: answered by {answers}"
    assert host.state(peer) == name
    host.check_good()


def random_options(generator):
    """Option bytes: random ones, or known kinds with lengths that are wrong."""
    kind = generator.randrange(6)
    size = generator.randrange(0, 11) * 4
    if kind == 0:
        return generator.randbytes(size)
    if kind == 1:
        return bytes([generator.choice((2, 3, 4, 5, 8, 30, 34, 69)), generator.choice((0, 1, 2, 3, 39, 255))]) * 2
    if kind == 2:
        return b"\1" * size
    if kind == 3:
        return (b"\5" + bytes([generator.choice((10, 18, 26, 34))]) + generator.randbytes(38))[:40]
    if kind == 4:
        return bytes((8, 10)) + generator.randbytes(8) + b"\1\1"
    return b""


def noise__survived(host, enter):
    """Random flags, numbers, windows, options and payloads with right checksums: nothing else breaks."""
    generator = random.Random(f"{enter.__name__} {host.version}")
    count = 0
    for _ in range(4):
        peer, sock, _ = enter(host)
        for _ in range(60):
            segment = peer.segment(
                generator.randrange(256) & (0xFF if generator.randrange(4) else ~RST & ~SYN),
                generator.randbytes(generator.choice((0, 0, 1, 5, 100, 1400))),
                seq=generator.choice((0, 0, 1, -1, 1000, -1000, 70000, 1 << 31, generator.randrange(MODULUS))),
                ack=generator.choice((0, 0, 1, -1, -5000, 5000, 1 << 31, generator.randrange(MODULUS))),
                window=generator.choice((0, 1, 500, 65535)),
                urgptr=generator.choice((0, 0, 1, 65535)))
            options = random_options(generator)
            options += b"\0" * (-len(options) % 4)
            header = ip_header(host)
            raw = bytes(segment)
            tcp = bytearray(raw[header:])
            tcp = tcp[:12] + bytes([(5 + len(options) // 4) << 4]) + tcp[13:20] + options + tcp[20:]
            packet = bytearray(raw[:header]) + tcp
            host.link.write(cut(host, packet, len(tcp)))
            count += 1
        host.link.replies()
        if sock:
            reset(sock)
        host.check_good()
    return f"{count} segments"


IN_EVERY_STATE = (malformed__ignored, strangers__ignored, noise__survived)
