#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A hostile peer: segments that are malformed, out of place or lies, to every state.

What holds for each: no crash, no answer where none is due, the state as it was, and a good connection
beside it unharmed. `--builtin` sends the same to the built-in TCP; further arguments are parts of the
names of the tests to run.
"""

import random
import socket
import struct
import sys

import ktap
import wire
from wire import ACK, FIN, MODULUS, PSH, RST, SYN, URG, Link, Peer, new_socket, state, until

PORT = 5001


def reset(sock):
    """Closes a socket without a FIN."""
    if sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


class Host:
    """The host: a listener, and a good connection over loopback that must stay so."""

    def __init__(self, version):
        self.link = Link(version)
        self.version = version
        loopback, anywhere = ("127.0.0.1", "0.0.0.0") if version == 4 else ("::1", "::")
        self.listener = new_socket(version)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((anywhere, PORT))
        self.listener.listen(64)
        self.listener.settimeout(wire.WAIT)
        self.good = new_socket(version)
        self.good.connect((loopback, PORT))
        self.kept = []
        self.good_end = self.accept()
        # And one to the hostile host itself, whose manners are good on this port.
        self.friend = Peer(self.link, PORT)
        self.friend.handshake()
        self.friend_end = self.accept()

    def end(self):
        """Resets all connections: none is to outlive the test, retransmitting to nobody."""
        for sock in (*self.kept, self.good, self.listener):
            reset(sock)

    def accept(self):
        """The next connection's socket. It stays open though a test forgets it."""
        sock, _ = self.listener.accept()
        self.kept.append(sock)
        return sock

    def check_good(self):
        """The good connections carry data both ways."""
        for sender, receiver in ((self.good, self.good_end), (self.good_end, self.good)):
            data = random.randbytes(3000)
            sender.sendall(data)
            assert receiver.recv(len(data), socket.MSG_WAITALL) == data, "the good connection's data"
        self.friend.say(b"hello")
        assert self.friend_end.recv(5, socket.MSG_WAITALL) == b"hello"
        self.friend_end.sendall(b"world")
        answer = self.friend.wait_for("the friend's answer", lambda s: s.payload == b"world")
        self.friend.take(answer)

    def state(self, peer):
        return state(self.version, peer.host_port, peer.port)

    def expect_state(self, peer, wanted):
        until(f"{wanted} (it is {self.state(peer)})", lambda: self.state(peer) == wanted)


# Each state: a function that brings a new connection there and returns its peer, the host's socket (or None)
# and the state's name in the host's table.

def listen(host):
    return Peer(host.link, PORT), None, None


def syn_sent(host):
    sock = new_socket(host.version)
    host.kept.append(sock)
    sock.setblocking(False)
    port = host.link.new_port()
    assert sock.connect_ex((host.link.peer, port)) == 115  # EINPROGRESS
    peer = Peer(host.link, sock.getsockname()[1], port)
    syn = peer.wait_for("a SYN", lambda s: s.flags & SYN)
    peer.ack = (syn.seq + 1) % MODULUS
    return peer, sock, "SYN-SENT"


def syn_received(host):
    peer = Peer(host.link, PORT)
    peer.send(SYN)
    syn_ack = peer.wait_for("a SYN-ACK", lambda s: s.flags & SYN)
    peer.seq = (peer.seq + 1) % MODULUS
    peer.ack = (syn_ack.seq + 1) % MODULUS
    return peer, None, "SYN-RECEIVED"


def established(host):
    peer = Peer(host.link, PORT)
    peer.handshake()
    sock = host.accept()
    return peer, sock, "ESTABLISHED"


def fin_wait_1(host):
    peer, sock, _ = established(host)
    sock.shutdown(socket.SHUT_WR)
    peer.wait_for("a FIN", lambda s: s.flags & FIN)
    return peer, sock, "FIN-WAIT-1"


def fin_wait_2(host):
    peer, sock, _ = established(host)
    sock.shutdown(socket.SHUT_WR)
    peer.take(peer.wait_for("a FIN", lambda s: s.flags & FIN))
    host.expect_state(peer, "FIN-WAIT-2")
    return peer, sock, "FIN-WAIT-2"


def send_fin(peer, **fields):
    peer.send(FIN | ACK, **fields)
    peer.seq = (peer.seq + 1) % MODULUS


def close_wait(host):
    peer, sock, _ = established(host)
    send_fin(peer)
    host.expect_state(peer, "CLOSE-WAIT")
    return peer, sock, "CLOSE-WAIT"


def closing(host):
    peer, sock, _ = fin_wait_1(host)
    send_fin(peer)
    host.expect_state(peer, "CLOSING")
    return peer, sock, "CLOSING"


def last_ack(host):
    peer, sock, _ = close_wait(host)
    sock.shutdown(socket.SHUT_WR)
    peer.wait_for("a FIN", lambda s: s.flags & FIN)
    return peer, sock, "LAST-ACK"


def time_wait(host):
    peer, sock, _ = fin_wait_2(host)
    send_fin(peer)
    host.expect_state(peer, "TIME-WAIT")
    return peer, sock, "TIME-WAIT"


def quiet(enter):
    """The same, with all that the host has said on the way there heard."""
    def enter_and_listen(host):
        entered = enter(host)
        entered[0].replies()
        return entered
    enter_and_listen.__name__ = enter.__name__
    enter_and_listen.enter = enter
    return enter_and_listen


STATES = (listen, syn_sent, syn_received, established, fin_wait_1, fin_wait_2, close_wait, closing, last_ack,
          time_wait)
SYNCHRONIZED = STATES[3:]


def base(peer, host, enter):
    """A segment that this state would take: what spoils it is what keeps it out."""
    if enter.enter is listen:
        return peer.segment(SYN)
    if enter.enter is syn_sent:
        return peer.segment(SYN | ACK)
    return peer.segment(ACK | PSH, b"poison")


def ip_header(host):
    return 20 if host.version == 4 else 40


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


def resum(host, packet):
    """The packet with its TCP checksum made right."""
    header = ip_header(host)
    tcp = bytearray(packet[header:])
    if len(tcp) < 18:
        return bytes(packet)
    tcp[16:18] = b"\0\0"
    addresses = packet[12:20] if host.version == 4 else packet[8:40]
    data = bytes(addresses) + struct.pack("!II", len(tcp), 6) + bytes(tcp) + b"\0" * (len(tcp) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    tcp[16:18] = struct.pack("!H", ~total & 0xFFFF)
    return bytes(packet[:header]) + bytes(tcp)


def cut(host, packet, length):
    """The packet with only so many bytes of TCP, its IP header right about that."""
    header = ip_header(host)
    packet = bytearray(packet[:header + length])
    if host.version == 6:
        packet[4:6] = struct.pack("!H", length)
        return resum(host, packet)
    packet[2:4] = struct.pack("!H", len(packet))
    packet[10:12] = b"\0\0"
    total = sum(struct.unpack("!10H", packet[:20]))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    packet[10:12] = struct.pack("!H", ~total & 0xFFFF)
    return resum(host, packet)


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


def reset__blind(host, enter):
    """RFC 5961 3.2: a reset that does not hit the next number exactly ends nothing; one in the window
    draws a challenge, one outside it nothing."""
    peer, _, name = enter(host)
    # Not -1: behind a FIN, Linux takes a reset at the FIN's own number, for some systems send that.
    for seq in (-2, -5000, 1 << 20, 1 << 31):
        peer.send(RST, seq=seq)
        answers = peer.answers()
        assert not answers, f"RST at {seq}: answered by {answers}"
    assert host.state(peer) == name, f"{name} has become {host.state(peer)}"
    if name not in ("TIME-WAIT", "LAST-ACK", "CLOSING", "CLOSE-WAIT"):
        peer.send(RST, seq=100)
        answers = peer.answers()
        assert len(answers) == 1 and answers[0].is_pure_ack, f"RST in the window: answered by {answers}"
        assert answers[0].ack == peer.seq
    assert host.state(peer) == name, f"{name} has become {host.state(peer)}"
    host.check_good()


def reset__exact(host, enter):
    """A reset at the next number ends the connection, in every state, without an answer."""
    peer, sock, name = enter(host)
    peer.send(RST)
    assert not peer.answers()
    host.expect_state(peer, None)
    if name in ("ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2"):
        try:
            raise AssertionError(f"recv returned {sock.recv(10)}")
        except ConnectionResetError:
            pass
    host.check_good()


def syn__blind(host, enter):
    """RFC 5961 4.2: a SYN, in the window or not, is challenged and changes nothing."""
    peer, _, name = enter(host)
    if name == "TIME-WAIT":
        raise ktap.Skip("a SYN in the window opens anew")
    peer.send(SYN, seq=100)
    answers = peer.answers()
    assert len(answers) == 1 and answers[0].is_pure_ack, f"SYN in the window: answered by {answers}"
    assert answers[0].ack == peer.seq
    for seq in (0, -5000, 1 << 20):
        peer.send(SYN | ACK, seq=seq)
    assert all(s.is_pure_ack for s in peer.answers())
    assert host.state(peer) == name, f"{name} has become {host.state(peer)}"
    host.check_good()


def ack__of_unsent(host, enter):
    """An ACK of what was never sent: discarded (RFC 9293 3.10.7.4), the data with it."""
    peer, sock, name = enter(host)
    # 1 would acknowledge the FIN, where there is one.
    for ack in (2, 5000, 1 << 30):
        peer.send(ACK | PSH, b"poison", ack=ack)
    assert not [s for s in peer.answers() if s.is_reset]
    assert host.state(peer) == name
    if name == "ESTABLISHED":
        peer.say(b"good")
        assert sock.recv(100) == b"good"
    host.check_good()


def data__outside_window(host, enter):
    """Data before or beyond the window is answered by an ACK of what comes next, and not taken."""
    peer, sock, name = enter(host)
    for seq in (-6, 1 << 24, 1 << 31):
        peer.send(ACK | PSH, b"poison", seq=seq)
        answers = peer.answers()
        assert len(answers) <= 1 and all(s.ack == peer.seq and s.is_pure_ack for s in answers), answers
    assert host.state(peer) == name
    if name == "ESTABLISHED":
        peer.say(b"good")
        assert sock.recv(100) == b"good"
    host.check_good()


def flags__all_outside_window(host, enter):
    """Every combination of flags, far outside the window: at most an ACK, never a change."""
    peer, _, name = enter(host)
    for flags in range(64):
        if name == "TIME-WAIT" and flags & (SYN | RST | ACK) == SYN:
            continue  # opens anew
        peer.send(flags, b"poison" if flags % 3 else b"", seq=1 << 30)
        assert all(s.is_pure_ack for s in peer.answers()), f"flags {flags:#x}"
    assert host.state(peer) == name, f"{name} has become {host.state(peer)}"
    host.check_good()


def no_flags__ignored(host, enter):
    """A segment without ACK, SYN or RST is dropped in every state."""
    peer, _, name = enter(host)
    for flags in (0, PSH, FIN, URG, FIN | PSH | URG):
        peer.send(flags, b"poison")
        answers = peer.answers()
        # In TIME-WAIT Linux answers whatever is no reset.
        assert not answers or name == "TIME-WAIT" and answers[0].is_pure_ack, f"flags {flags:#x}: {answers}"
    assert host.state(peer) == name, f"{name} has become {host.state(peer)}"
    host.check_good()


# Tests of one state each.

def listen__answers(host):
    """RFC 9293 3.10.7.2: an ACK is reset at its own number; a reset and what has no ACK is dropped."""
    for flags, due in ((ACK, True), (ACK | PSH, True), (FIN | ACK, True), (SYN | ACK, True), (RST, False),
                       (RST | ACK, False), (0, False), (FIN, False), (PSH, False), (SYN | RST, False),
                       (SYN | FIN, False), (SYN | RST | ACK, False), (FIN | PSH | URG, False)):
        peer, _, _ = listen(host)
        peer.ack = 0x1234567
        peer.send(flags)
        answers = peer.replies()
        if due:
            assert len(answers) == 1 and answers[0].flags == RST, f"flags {flags:#x}: {answers}"
            assert answers[0].seq == peer.ack, answers
        else:
            assert not answers, f"flags {flags:#x}: answered by {answers}"
        assert host.state(peer) is None
    host.check_good()


def listen__syn_with_data(host):
    """Data on a SYN is not acknowledged (no Fast Open); it counts when it comes again."""
    peer, _, _ = listen(host)
    peer.send(SYN, b"early data")
    syn_ack = peer.wait_for("a SYN-ACK", lambda s: s.flags & SYN)
    assert syn_ack.ack == (peer.seq + 1) % MODULUS, syn_ack
    peer.seq = (peer.seq + 1) % MODULUS
    peer.ack = (syn_ack.seq + 1) % MODULUS
    peer.say(b"early data", ACK)
    sock = host.accept()
    assert sock.recv(100) == b"early data"
    host.check_good()


def listen__odd_options(host):
    """Malformed options on a SYN end the options, not the connection (RFC 9293 MUST-6, MUST-7)."""
    for options in (b"\2\0\0\0", b"\2\1\0\0", b"\2\3\5\0", b"\2\5\5\264\0\0\0\0", b"\3\2\1\1", b"\3\4\7\0",
                    b"\4\3\0\0", b"\x08\2\0\0", b"\x08\x0b" + b"\0" * 10, b"\5\3\0\0", b"\xfd\x28\0\0", b"\1\1\1\2",
                    b"\xff\xff\xff\xff", b"\0\2\4\5", b"\2\4\5\264" * 10, b"\x22\2\1\1", b"\x22\3\1\1", b"\x22\x12" + b"x" * 16 + b"\1\1",
                    b"\x1e\x0c" + b"\0" * 10, b"\x13\x12" + b"\0" * 16 + b"\1\1"):
        peer, _, _ = listen(host)
        raw = bytes(peer.segment(SYN))
        header = ip_header(host)
        tcp = bytearray(raw[header:])
        tcp = tcp[:12] + bytes([(5 + len(options) // 4) << 4]) + tcp[13:20] + options
        host.link.write(cut(host, raw[:header] + bytes(tcp), len(tcp)))
        syn_ack = peer.replies()
        if options[0] == 0x13 and not syn_ack:
            # An MD5 signature that nobody asked for may be a reason to drop.
            continue
        assert len(syn_ack) == 1 and syn_ack[0].flags == SYN | ACK, f"{options.hex()}: {syn_ack}"
        peer.seq = (peer.seq + 1) % MODULUS
        peer.ack = (syn_ack[0].seq + 1) % MODULUS
        peer.say(b"x")
        sock = host.accept()
        assert sock.recv(10) == b"x"
    host.check_good()


def syn_sent__wrong_ack(host):
    """A SYN-ACK or ACK of another number is reset at that number; the attempt goes on."""
    peer, sock, _ = syn_sent(host)
    for flags, ack in ((SYN | ACK, 1), (SYN | ACK, -1), (SYN | ACK, 1 << 31), (ACK, 1), (ACK, -2)):
        peer.send(flags, ack=ack)
        answers = [s for s in peer.replies() if s.is_reset]
        assert len(answers) == 1 and answers[0].seq == (peer.ack + ack) % MODULUS, f"ack {ack}: {answers}"
        assert host.state(peer) == "SYN-SENT"
    for flags, ack in ((RST | ACK, 1), (RST | ACK, -1), (RST, 0), (SYN | RST, 0), (FIN, 0), (0, 0), (FIN | ACK, 0), (ACK, 0)):
        peer.send(flags, ack=ack)
        answers = peer.answers()
        assert not answers, f"flags {flags:#x} ack {ack}: answered by {answers}"
        assert host.state(peer) == "SYN-SENT", f"flags {flags:#x} ack {ack}"
    peer.send(SYN | ACK)
    peer.seq = (peer.seq + 1) % MODULUS
    peer.wait_for("an ACK", lambda s: s.is_pure_ack and s.ack == peer.seq)
    sock.setblocking(True)
    peer.say(b"hello")
    assert sock.recv(10) == b"hello"
    host.check_good()


def syn_sent__refused(host):
    """A reset with the right ACK refuses."""
    peer, sock, _ = syn_sent(host)
    peer.send(RST | ACK)
    assert not peer.answers()
    host.expect_state(peer, None)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 111
    host.check_good()


def syn_sent__crossing_syn(host):
    """RFC 9293 3.5, figure 8: both sides open at once."""
    peer, sock, _ = syn_sent(host)
    peer.send(SYN)
    syn_ack = peer.wait_for("a SYN-ACK", lambda s: s.flags & (SYN | ACK) == SYN | ACK)
    assert (syn_ack.seq + 1) % MODULUS == peer.ack, syn_ack
    peer.seq = (peer.seq + 1) % MODULUS
    assert syn_ack.ack == peer.seq
    peer.send(ACK)
    host.expect_state(peer, "ESTABLISHED")
    sock.setblocking(True)
    peer.say(b"crossed")
    assert sock.recv(10) == b"crossed"
    host.check_good()


def syn_received__wrong_segments(host):
    """Wrong ACKs are reset, old resets and data without the handshake's end change nothing; then it ends well."""
    peer, _, _ = syn_received(host)
    for ack in (1, -1, 1 << 31):
        peer.send(ACK, ack=ack)
        answers = [s for s in peer.answers() if s.is_reset]
        assert len(answers) == 1 and answers[0].seq == (peer.ack + ack) % MODULUS, f"ack {ack}: {answers}"
    peer.send(RST, seq=-1000)
    peer.send(RST, seq=1 << 24)
    assert not [s for s in peer.answers() if s.is_reset]
    assert host.state(peer) == "SYN-RECEIVED"
    peer.send(SYN, seq=-1)
    again = [s for s in peer.replies() if s.flags & SYN]
    assert all((s.seq + 1) % MODULUS == peer.ack for s in again), again
    peer.say(b"complete", ACK)
    sock = host.accept()
    assert sock.recv(100) == b"complete"
    host.check_good()


def syn_received__reset(host):
    """A reset at the right number ends the half-open connection: its ACK is then a stranger's."""
    peer, _, _ = syn_received(host)
    peer.send(RST)
    assert not peer.answers()
    host.expect_state(peer, None)
    peer.send(ACK)
    answers = peer.answers()
    assert len(answers) == 1 and answers[0].is_reset, answers
    host.check_good()


def established__overlap(host):
    """Retransmissions with other bytes do not change what was taken."""
    peer, sock, _ = established(host)
    peer.say(b"AAAA")
    peer.send(ACK | PSH, b"XXBB", seq=-2)
    peer.seq = (peer.seq + 2) % MODULUS
    assert sock.recv(6, socket.MSG_WAITALL) == b"AAAABB"
    peer.send(ACK | PSH, b"ZZZZ", seq=-4)
    # Out of order, twice with different bytes, then the gap with other bytes still.
    peer.send(ACK | PSH, b"EEEE", seq=4)
    peer.send(ACK | PSH, b"ffff", seq=4)
    peer.send(ACK | PSH, b"GGGGGG", seq=6)
    peer.send(ACK | PSH, b"ABCDefgh")
    got = sock.recv(12, socket.MSG_WAITALL)
    assert len(got) == 12 and got[:4] == b"ABCD" and got[8:12] == b"GGGG", got
    assert got[4:8] in (b"EEEE", b"efgh", b"ffff", b"EEGG", b"EEEG"), got
    peer.seq = (peer.seq + 12) % MODULUS
    peer.say(b"end")
    assert sock.recv(3, socket.MSG_WAITALL) == b"end"
    host.check_good()


def established__holes(host):
    """Hundreds of single bytes out of order, every other one: bounded memory, and all there in the end."""
    peer, sock, _ = established(host)
    data = bytes(range(1, 201))
    for at in range(1, 200, 2):
        peer.send(ACK, data[at:at + 1], seq=at)
    peer.replies()
    for at in range(0, 200, 2):
        peer.send(ACK, data[at:at + 1], seq=at)
    acked = [s.ack for s in peer.replies()]
    assert (peer.seq + 1) % MODULUS in acked or acked[-1] != peer.seq
    # What memory had no room for comes again.
    peer.say(data)
    assert sock.recv(200, socket.MSG_WAITALL) == data
    host.check_good()


def established__fin_oddities(host):
    """FINs that are early, late or doubled: the stream ends once, where it ends."""
    peer, sock, _ = established(host)
    peer.send(FIN | ACK, b"", seq=4)
    sock.setblocking(False)
    try:
        raise AssertionError(f"recv returned {sock.recv(10)} before the gap was filled")
    except BlockingIOError:
        pass
    peer.send(FIN | ACK, seq=-1)
    peer.send(FIN | ACK, b"poison", seq=1 << 24)
    assert host.state(peer) == "ESTABLISHED"
    sock.setblocking(True)
    peer.say(b"last")
    assert sock.recv(10, socket.MSG_WAITALL) == b"last"
    peer.send(FIN | ACK)
    host.expect_state(peer, "CLOSE-WAIT")
    peer.seq = (peer.seq + 1) % MODULUS
    for _ in range(3):
        peer.send(FIN | ACK, seq=-1)
    peer.send(ACK | PSH, b"beyond the end")
    assert sock.recv(10) == b""
    assert host.state(peer) == "CLOSE-WAIT"
    host.check_good()


def established__syn_fin(host):
    """SYN and FIN in one segment is a SYN: challenged, and no end."""
    peer, _, _ = established(host)
    peer.send(SYN | FIN | ACK, seq=10)
    peer.send(SYN | FIN)
    assert all(s.is_pure_ack for s in peer.answers())
    assert host.state(peer) == "ESTABLISHED"
    host.check_good()


def established__old_ack(host):
    """An ACK far below what is acknowledged draws at most a challenge (RFC 5961 5.2)."""
    peer, sock, _ = established(host)
    sock.sendall(b"x" * 100)
    peer.take(peer.wait_for("data", lambda s: s.payload))
    for ack in (-50, -100, -1000000, 1 << 31):
        peer.send(ACK | PSH, b"", ack=ack)
    assert len([s for s in peer.answers() if s.is_reset]) == 0
    sock.sendall(b"y" * 100)
    peer.take(peer.wait_for("data", lambda s: s.payload == b"y" * 100))
    host.check_good()


def collect(peer, total):
    """Takes so many bytes of the host's stream, in segments; returns the bytes and the number of segments."""
    data, segments = {}, 0
    def step():
        nonlocal segments
        for segment in peer.replies():
            if segment.payload:
                segments += 1
                data[(segment.seq - peer.ack) % MODULUS] = segment.payload
        whole = b""
        while len(whole) in data:
            whole += data[len(whole)]
        peer.send(ACK, ack=len(whole))
        return whole if len(whole) >= total else None
    whole = until(f"{total} bytes", step)
    peer.ack = (peer.ack + len(whole)) % MODULUS
    return whole, segments


def established__window_shrinks(host):
    """A window taken back after data was sent into it: no harm, and all arrives when it opens."""
    peer, sock, _ = established(host)
    data = random.randbytes(8000)
    sock.sendall(data)
    peer.wait_for("data", lambda s: s.payload)
    peer.window = 10
    peer.send(ACK)
    peer.window = 0
    peer.send(ACK)
    peer.send(ACK, seq=-1)
    peer.replies()
    peer.window = 40000
    got, _ = collect(peer, len(data))
    assert got == data
    host.check_good()


def established__zero_window_is_probed(host):
    """A closed window is asked about, again and again, with no more than a byte."""
    peer, sock, _ = established(host)
    peer.window = 0
    peer.send(ACK)
    sock.sendall(b"patience")
    probes = []
    def probed():
        for probe in peer.replies():
            probes.append(probe)
            peer.send(ACK)
        return len(probes) >= 2
    until("two probes", probed)
    assert all(len(s.payload) <= 1 for s in probes), probes
    peer.window = 1000
    got, _ = collect(peer, 8)
    assert got == b"patience"
    host.check_good()


def option_syn(host, options):
    peer, _, _ = listen(host)
    peer.handshake(options=options)
    sock = host.accept()
    return peer, sock


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


def established__urgent(host):
    """Urgent pointers anywhere: the stream goes on."""
    peer, sock, _ = established(host)
    for pointer in (0, 1, 3, 65535):
        peer.send(ACK | URG | PSH, b"abcd", urgptr=pointer)
        peer.seq = (peer.seq + 4) % MODULUS
    peer.say(b"THE END")
    sock.settimeout(wire.WAIT)
    got = b""
    while not got.endswith(b"THE END"):
        part = sock.recv(100)
        assert part, f"the stream ended after {got}"
        got += part
    assert 16 + 7 - 4 <= len(got) <= 16 + 7, got
    host.check_good()


def established__all_flags_in_window(host):
    """Every combination of flags without FIN, in the window but not next: the connection lives."""
    peer, sock, _ = established(host)
    for flags in (f for f in range(64) if not f & FIN):
        peer.send(flags, b"", seq=500)
    assert not [s for s in peer.answers() if s.is_reset]
    assert host.state(peer) == "ESTABLISHED"
    peer.say(b"alive")
    assert sock.recv(10) == b"alive"
    host.check_good()


def established__flood_of_challenges_is_bounded(host):
    """A thousand blind SYNs do not draw a thousand ACKs."""
    peer, _, _ = established(host)
    for _ in range(300):
        peer.send(SYN, seq=1000)
    assert len(peer.answers()) <= 100
    assert host.state(peer) == "ESTABLISHED"
    host.check_good()


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


def closed__stray_segments(host):
    """RFC 9293 3.10.7.1: what belongs to nobody is reset once, unless it is a reset itself."""
    for flags in (SYN, ACK, SYN | ACK, FIN | ACK, ACK | PSH):
        peer = Peer(host.link, 5999)
        peer.ack = 77
        peer.send(flags, b"stray" if flags & PSH else b"")
        answers = peer.replies()
        assert len(answers) == 1 and answers[0].is_reset, f"flags {flags:#x}: {answers}"
    for flags in (RST, RST | ACK):
        peer = Peer(host.link, 5999)
        peer.send(flags)
        assert not peer.replies()
    host.check_good()


IN_EVERY_STATE = (malformed__ignored, strangers__ignored, noise__survived)
IN_SYNCHRONIZED_STATES = (reset__blind, reset__exact, syn__blind, ack__of_unsent, data__outside_window,
                          flags__all_outside_window, no_flags__ignored)
OF_ONE_STATE = (
    listen__answers, listen__syn_with_data, listen__odd_options, syn_sent__wrong_ack, syn_sent__refused,
    syn_sent__crossing_syn, syn_received__wrong_segments, syn_received__reset, established__overlap,
    established__holes, established__fin_oddities, established__syn_fin, established__old_ack,
    established__window_shrinks, established__zero_window_is_probed, established__tiny_mss, established__huge_mss,
    established__window_scale_255, established__old_timestamp, established__sack_lies, established__urgent,
    established__all_flags_in_window, established__flood_of_challenges_is_bounded, time_wait__answers,
    time_wait__new_syn, last_ack__ends, closing__ends, closed__stray_segments)


def on_host(version, test, *arguments):
    """A test as a function of nothing: on a host of its own."""
    def run():
        host = Host(version)
        try:
            return test(host, *arguments)
        finally:
            host.end()
    return run


def tests():
    for version in (4, 6):
        for test in IN_EVERY_STATE + IN_SYNCHRONIZED_STATES:
            for enter in STATES if test in IN_EVERY_STATE else SYNCHRONIZED:
                yield f"ipv{version}.{enter.__name__}.{test.__name__}", on_host(version, test, quiet(enter))
        for test in OF_ONE_STATE:
            yield f"ipv{version}.{test.__name__}", on_host(version, test)


if __name__ == "__main__":
    wire.BUILTIN = "--builtin" in sys.argv
    sys.exit(ktap.main("hostile", tests()))
