# SPDX-License-Identifier: GPL-2.0
"""Forged ICMP errors (RFC 5927): who does not hear a connection says that it cannot be, or that its path is narrow."""

import random
import socket
import struct

import wire
from host import PORT, collect, established, listen, syn_received, syn_sent, time_wait
from scapy.layers.inet6 import ICMPv6Unknown
from scapy.packet import Raw
from wire import ACK, MODULUS, SYN, Peer, checksum

TCP_INFO = 11
# What Linux lowers the MTU of a path to at most (`net.ipv4.route.min_pmtu`, the least MTU of IPv6).
LEAST_MTU = {4: 552, 6: 1280}
FLIGHT = 3000


def errors(version, mtus=(0, 68, 552, 600, 1280)):
    """(what it is, type, code, the second word)"""
    if version == 4:
        yield from ((f"unreachable, code {code}", 3, code, 0) for code in (*range(4), *range(5, 17), 255))
        yield from ((f"fragmentation needed, MTU {mtu}", 3, 4, mtu) for mtu in mtus)
        yield "source quench", 4, 0, 0
        yield from ((f"redirect, code {code}", 5, code, 0xC6336403) for code in range(4))
        yield from ((f"time exceeded, code {code}", 11, code, 0) for code in range(2))
        yield from ((f"parameter problem, code {code}", 12, code, 20 << 24) for code in range(3))
    else:
        yield from ((f"unreachable, code {code}", 1, code, 0) for code in (*range(8), 255))
        yield from ((f"packet too big, MTU {mtu}", 2, 0, mtu) for mtu in (*mtus, 1279))
        yield from ((f"time exceeded, code {code}", 3, code, 0) for code in range(2))
        yield from ((f"parameter problem, code {code}", 4, code, 40) for code in range(4))
        yield "redirect", 137, 0, 0


def quoted(peer, seq=0, sport=None, dport=None, src=None, dst=None, protocol=6, first=None):
    """The beginning of a segment of the host's, as an error quotes it; `seq` is the offset to what the peer has acknowledged."""
    link = peer.link
    family = socket.AF_INET if link.version == 4 else socket.AF_INET6
    addresses = socket.inet_pton(family, src or link.host) + socket.inet_pton(family, dst or link.peer)
    tcp = struct.pack("!HHIIBBHHH", sport or peer.host_port, dport or peer.port, (peer.ack + seq) % MODULUS, peer.seq, 5 << 4, ACK, 1000, 0, 0)
    if link.version == 6:
        return struct.pack("!IHBB", 6 << 28, 1000, protocol, 64) + addresses + tcp
    ip = struct.pack("!BBHHHBBH", first or 0x45, 0, 1040, 1, 1 << 14, 64, protocol, 0) + addresses
    return ip[:10] + checksum(ip) + ip[12:] + tcp


def packet_of(peer, error, quote):
    _, kind, code, word = error
    if peer.link.version == 4:
        # By hand: scapy has no second word for some types.
        message = struct.pack("!BBHI", kind, code, 0, word) + quote
        return bytes(peer.link.ip(proto=1) / Raw(message[:2] + checksum(message) + message[4:]))
    return bytes(peer.link.ip() / ICMPv6Unknown(type=kind, code=code, msgbody=struct.pack("!I", word) + quote))


def send(peer, error, quote):
    peer.link.write(packet_of(peer, error, quote))


def info(sock):
    """The MSS and the path's MTU."""
    raw = sock.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 104)
    return struct.unpack_from("I", raw, 16)[0], struct.unpack_from("I", raw, 60)[0]


def in_flight(host):
    """A connection with so many bytes on their way, and these."""
    peer, _, _ = listen(host)
    peer.handshake(options=[("MSS", 1400)])
    sock = host.accept()
    data = random.randbytes(FLIGHT)
    sock.sendall(data)
    peer.wait_for("data", lambda s: (s.seq + len(s.payload) - peer.ack) % MODULUS == FLIGHT)
    return peer, sock, data


def lives(host, peer, sock, data):
    """The connection is there, nobody was told of an error, and its data goes both ways."""
    assert host.state(peer) == "ESTABLISHED", host.state(peer)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    if data:
        got, _ = collect(peer, len(data))
        assert got == data
    peer.say(b"still here")
    assert sock.recv(10, socket.MSG_WAITALL) == b"still here"
    host.check_good()


def established__icmp_of_other_numbers(host):
    """RFC 5927 4.1: an error that quotes a number that is not on its way is ignored, whatever it says."""
    peer, sock, data = in_flight(host)
    before = info(sock)
    count = 0
    for error in errors(host.version):
        for seq in (-1, -2, -FLIGHT, FLIGHT + 1, FLIGHT + 2, 70000, 1 << 30, 1 << 31, -(1 << 30)):
            send(peer, error, quoted(peer, seq))
            count += 1
        answers = peer.answers()
        assert not answers, f"{error[0]}: answered by {answers}"
        assert host.state(peer) == "ESTABLISHED", error[0]
        assert info(sock) == before, f"{error[0]}: {info(sock)}, it was {before}"
    lives(host, peer, sock, data)
    return f"{count} errors"


def established__icmp_of_right_numbers(host):
    """RFC 5927 5.2, RFC 5461: somebody has guessed a number that is on its way. No error ends the connection, and no MTU is below the least."""
    for error in errors(host.version):
        peer, sock, data = in_flight(host)
        for seq in (0, 1, FLIGHT - 1):
            send(peer, error, quoted(peer, seq))
        assert not [s for s in peer.replies() if s.is_reset], error[0]
        mss, mtu = info(sock)
        least = LEAST_MTU[host.version]
        header = 40 if host.version == 4 else 60
        assert mtu >= least and mss >= least - header, f"{error[0]}: MTU {mtu}, MSS {mss}"
        # No error makes it larger.
        send(peer, errors_of_mtu(host.version, 9000), quoted(peer))
        assert info(sock) <= (mss, mtu), f"{error[0]}: {info(sock)}, it was {mss, mtu}"
        got, _ = collect(peer, len(data))
        assert got == data
        assert host.state(peer) == "ESTABLISHED" and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0, error[0]
        peer.say(b"on")
        assert sock.recv(2, socket.MSG_WAITALL) == b"on"
    host.check_good()


def errors_of_mtu(version, mtu):
    return ("", 3, 4, mtu) if version == 4 else ("", 2, 0, mtu)


def established__icmp_right_mtu_is_taken(host):
    """The same that was ignored with wrong numbers is believed with right ones: else these tests would show nothing."""
    peer, sock, data = in_flight(host)
    # IPv6 has no less.
    mtu = 1000 if host.version == 4 else 1300
    send(peer, errors_of_mtu(host.version, mtu), quoted(peer))
    answers = host.link.replies()
    assert info(sock) == (mtu - (40 if host.version == 4 else 60), mtu), info(sock)
    # What was too large comes again at once, smaller (RFC 1191 6.5).
    assert any(s.payload for s in answers) and all(s.length <= mtu for s in answers), answers
    lives(host, peer, sock, data)


def established__icmp_that_is_malformed(host):
    """Errors that quote too little, another flow, another protocol, or whose checksum is wrong: as if nothing had come."""
    peer, sock, data = in_flight(host)
    before = info(sock)
    tells = errors_of_mtu(host.version, 600 if host.version == 4 else 1280)
    refuses = ("", 3, 3, 0) if host.version == 4 else ("", 1, 4, 0)
    other = "198.51.100.9" if host.version == 4 else "2001:db8:51::9"
    whole = quoted(peer)
    header = 20 if host.version == 4 else 40
    quotes = [whole[:length] for length in range(header + 8)]
    quotes += [quoted(peer, sport=peer.host_port + 1), quoted(peer, dport=peer.port + 7), quoted(peer, sport=peer.port, dport=peer.host_port),
               quoted(peer, src=other), quoted(peer, dst=other), quoted(peer, src=peer.link.peer, dst=peer.link.host)]
    # Not of ICMP and UDP: the kernel believes what quotes these, whoever sent them, and the path's MTU is that of all that goes there.
    quotes += [quoted(peer, protocol=protocol) for protocol in (0, 44, 132, 255)]
    if host.version == 4:
        # Lengths of the quoted header that are none, or reach beyond the packet.
        quotes += [quoted(peer, first=first) for first in (0x40, 0x41, 0x44, 0x46, 0x4F)]
    for quote in quotes:
        for error in (tells, refuses):
            send(peer, error, quote)
        peer.link.replies()
        assert info(sock) == before, f"{quote.hex()}: {info(sock)}, it was {before}"
    # A wrong checksum, and a packet cut within the ICMP header.
    packet = packet_of(peer, tells, whole)
    for at in range(2):
        packet_wrong = bytearray(packet)
        packet_wrong[header + 2 + at] ^= 0x55
        peer.link.write(bytes(packet_wrong))
    for length in range(header, header + 8):
        peer.link.write(packet[:length])
    peer.link.replies()
    assert info(sock) == before, f"{info(sock)}, it was {before}"
    lives(host, peer, sock, data)
    return f"{len(quotes) * 2} quotes"


def idle__icmp(host):
    """A connection with nothing on its way: an error about it can only be forged, or late.

    Linux takes one that quotes SND.NXT, and tells of it as a soft error."""
    peer, sock, _ = established(host)
    for error in errors(host.version):
        for seq in (-1000, -1, 0, 1, 1000):
            send(peer, error, quoted(peer, seq))
        assert not peer.answers(), error[0]
    assert info(sock)[1] >= LEAST_MTU[host.version]
    if wire.BUILTIN:
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    lives(host, peer, sock, b"")


def syn_sent__icmp_of_other_numbers(host):
    """An attempt to connect is not ended by who does not know its number, and opens after all."""
    peer, sock, _ = syn_sent(host)
    for error in errors(host.version):
        # The SYN's own number is one before what its acknowledgment has.
        for seq in (-2, -1000, 1, 1000, 1 << 31):
            send(peer, error, quoted(peer, seq))
        peer.link.replies()
        assert host.state(peer) == "SYN-SENT", error[0]
    peer.send(SYN | ACK)
    peer.seq = (peer.seq + 1) % MODULUS
    peer.wait_for("an ACK", lambda s: s.is_pure_ack and s.ack == peer.seq)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    sock.setblocking(True)
    peer.say(b"hello")
    assert sock.recv(10) == b"hello"
    host.check_good()


def syn_sent__icmp_of_the_right_number(host):
    """RFC 1122 4.2.3.9, RFC 5461 4.1: an error about the SYN itself ends the attempt, as in Linux, and connect() tells why.

    What is no error about reachability does not: too big, source quench, redirect; nor that the time of IPv4's reassembly is over."""
    if host.version == 4:
        wanted = {(3, 0): 101, (3, 1): 113, (3, 2): 92, (3, 3): 111, (3, 5): 95, (3, 6): 101, (3, 7): 112, (3, 8): 64, (3, 9): 101, (3, 10): 113,
                  (3, 11): 101, (3, 12): 113, (3, 13): 113, (3, 14): 113, (3, 15): 113, (11, 0): 113, (12, 0): 71}
        harmless = [error for error in errors(4) if error[1] in (4, 5) or error[1:3] in ((3, 4), (11, 1))]
    else:
        wanted = {(1, 0): 101, (1, 1): 13, (1, 2): 113, (1, 3): 113, (1, 4): 111, (1, 5): 13, (1, 6): 13, (3, 0): 113, (3, 1): 113, (4, 0): 71,
                  (4, 1): 71, (4, 2): 71}
        harmless = [error for error in errors(6) if error[1] in (2, 137)]
    wrong = []
    for (kind, code), errno in wanted.items():
        peer, sock, _ = syn_sent(host)
        send(peer, ("", kind, code, 0), quoted(peer, -1))
        peer.link.replies()
        got = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if got != errno:
            wrong.append(f"type {kind} code {code}: {got} for {errno}")
    assert not wrong, wrong
    for error in harmless:
        peer, sock, _ = syn_sent(host)
        send(peer, error, quoted(peer, -1))
        peer.link.replies()
        assert host.state(peer) == "SYN-SENT", error[0]
    host.check_good()


def syn_received__icmp(host):
    """A half-open connection opens whatever errors come that quote other numbers.

    With the SYN-ACK's number Linux drops it for some (`tcp_req_err`); ours stays: the SYN-ACK comes again, and the peer's ACK opens it."""
    peer, _, _ = syn_received(host)
    for error in errors(host.version):
        for seq in (-2, -1000, 0, 1000, 1 << 31, *((-1,) if not wire.BUILTIN else ())):
            send(peer, error, quoted(peer, seq))
        assert not [s for s in peer.replies() if s.is_reset], error[0]
        assert host.state(peer) == "SYN-RECEIVED", error[0]
    peer.say(b"complete", ACK)
    sock = host.accept()
    assert sock.recv(100) == b"complete"
    host.check_good()


def time_wait__icmp(host):
    """A TIME-WAIT stays, whatever number an error quotes, and a new SYN opens anew after that."""
    peer, _, _ = time_wait(host)
    for error in errors(host.version):
        for seq in (-2, -1, 0, 1, 1 << 31):
            send(peer, error, quoted(peer, seq))
        assert not [s for s in peer.replies() if s.is_reset], error[0]
        assert host.state(peer) == "TIME-WAIT", error[0]
    peer.seq = (peer.seq + 100000) % MODULUS
    peer.handshake()
    sock = host.accept()
    peer.say(b"again")
    assert sock.recv(10) == b"again"
    host.check_good()


def listen__icmp(host):
    """Errors about a flow of the listener's that is none."""
    peer = Peer(host.link, PORT)
    for error in errors(host.version):
        send(peer, error, quoted(peer, 5))
        assert not peer.replies(), error[0]
    peer.handshake()
    sock = host.accept()
    peer.say(b"in")
    assert sock.recv(10) == b"in"
    host.check_good()


OF_ONE_STATE = (
    established__icmp_of_other_numbers, established__icmp_of_right_numbers, established__icmp_right_mtu_is_taken,
    established__icmp_that_is_malformed, idle__icmp, syn_sent__icmp_of_other_numbers, syn_sent__icmp_of_the_right_number,
    syn_received__icmp, time_wait__icmp, listen__icmp)
