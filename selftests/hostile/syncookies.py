#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""SYN cookies, and listeners whose queues are full.

A peer opens connections to a listener that keeps nothing of them, and tries to get in without the cookie. `--builtin` does the
same with the built-in TCP; further arguments are parts of the names of the tests to run.
"""

import os
import random
import socket
import struct
import sys

import ktap
import wire
from wire import ACK, FIN, MODULUS, PSH, RST, SYN, Link, Log, Peer, counter, new_socket, setting, state, until

PORT = 5001
TCP_INFO = 11
OPT_TIMESTAMPS, OPT_SACK, OPT_WSCALE, OPT_ECN = 1, 2, 4, 8
ALL_OPTIONS = [("MSS", 1400), ("SAckOK", b""), ("Timestamp", (1000, 0)), ("NOP", None), ("WScale", 10)]


class Host:
    """A host with a listener in a namespace of its own, and a peer that it does not know."""

    def __init__(self, version, syncookies, backlog=64):
        self.version = version
        self.link = Link(version)
        setting("syncookies", syncookies)
        self.listener = new_socket(version)
        self.listener.bind(("0.0.0.0" if version == 4 else "::", PORT))
        self.listener.listen(backlog)
        self.listener.settimeout(wire.WAIT)

    def state(self, peer):
        return state(self.version, PORT, peer.port)

    def ask(self, **fields):
        """A peer that has sent a SYN and heard the answer: what it sends next is its ACK. None without an answer."""
        peer = Peer(self.link, PORT)
        peer.send(SYN, **fields)
        answers = [s for s in peer.replies() if s.flags & (SYN | ACK) == SYN | ACK]
        if not answers:
            return None
        assert len(answers) == 1, answers
        peer.syn_ack = answers[0]
        assert peer.syn_ack.ack == (peer.seq + 1) % MODULUS, peer.syn_ack
        peer.seq = (peer.seq + 1) % MODULUS
        peer.ack = (peer.syn_ack.seq + 1) % MODULUS
        return peer

    def echo(self, peer, val=1001):
        """The timestamps of the peer's ACK."""
        stamps = peer.syn_ack.options.get("Timestamp")
        return {"options": [("NOP", None), ("NOP", None), ("Timestamp", (val, stamps[0]))]} if stamps else {}

    def refused(self, peer, what):
        """The last thing that the peer sent was answered by a reset, or not at all, and there is no connection."""
        answers = peer.replies()
        assert all(s.is_reset for s in answers), f"{what}: {answers}"
        assert self.state(peer) is None, f"{what}: {self.state(peer)}"


def cookie__nothing_is_kept(version):
    host = Host(version, 2)
    sent, received = counter("SyncookiesSent"), counter("SyncookiesRecv")
    peer = host.ask()
    assert host.state(peer) is None, host.state(peer)
    peer.send(ACK)
    sock, address = host.listener.accept()
    assert address[1] == peer.port
    assert host.state(peer) == "ESTABLISHED"
    peer.say(b"hello")
    assert sock.recv(5, socket.MSG_WAITALL) == b"hello"
    sock.sendall(b"world")
    peer.take(peer.wait_for("the answer", lambda s: s.payload == b"world"))
    assert (counter("SyncookiesSent") - sent, counter("SyncookiesRecv") - received) == (1, 1)


def cookie__data_of_the_ack_is_delivered(version):
    host = Host(version, 2)
    for fields in ({}, {"options": ALL_OPTIONS}):
        peer = host.ask(**fields)
        # The bare ACK was lost.
        peer.send(ACK | PSH, b"first", **host.echo(peer))
        peer.seq = (peer.seq + 5) % MODULUS
        sock, _ = host.listener.accept()
        assert sock.recv(5, socket.MSG_WAITALL) == b"first"
        acks = [s for s in peer.replies() if s.ack == peer.seq]
        assert acks, "the data is not acknowledged"


def cookie__fin_of_the_ack_is_heard(version):
    host = Host(version, 2)
    peer = host.ask()
    peer.send(ACK | FIN | PSH, b"all")
    sock, _ = host.listener.accept()
    assert sock.recv(10, socket.MSG_WAITALL) == b"all"
    assert sock.recv(10) == b""


def info(sock):
    """snd_mss, snd_wscale, options."""
    raw = sock.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 104)
    return struct.unpack_from("I", raw, 16)[0], raw[6] & 15, raw[5]


def rounded(version):
    """What a cookie tells of an MSS of 1400."""
    if wire.BUILTIN:
        return 1300 if version == 4 else 1220
    return 1400 if version == 4 else 1360


def cookie__options_are_preserved(version):
    host = Host(version, 2)
    setting("ecn", 1)
    for ecn in (0, 0xC0):
        for scale in (0, 3, 10, 14):
            options = ALL_OPTIONS[:-1] + [("WScale", scale)]
            peer = Peer(host.link, PORT)
            peer.send(SYN | ecn, options=options)
            peer.syn_ack = peer.wait_for("a SYN-ACK", lambda s: s.flags & SYN)
            peer.seq, peer.ack = (peer.seq + 1) % MODULUS, (peer.syn_ack.seq + 1) % MODULUS
            assert "WScale" in peer.syn_ack.options and "SAckOK" in peer.syn_ack.options
            peer.send(ACK, **host.echo(peer))
            sock, _ = host.listener.accept()
            mss, wscale, flags = info(sock)
            assert mss == rounded(version) - 12, mss
            assert wscale == scale, wscale
            wanted = OPT_TIMESTAMPS | OPT_SACK | OPT_WSCALE | (OPT_ECN if ecn else 0)
            assert flags & 15 == wanted, f"{flags:#x} for {wanted:#x}"


def cookie__without_timestamps_no_options(version):
    host = Host(version, 2)
    peer = host.ask(options=[option for option in ALL_OPTIONS if option[0] != "Timestamp"])
    assert set(peer.syn_ack.options) <= {"MSS", "NOP"}, peer.syn_ack.options
    peer.send(ACK)
    sock, _ = host.listener.accept()
    mss, wscale, flags = info(sock)
    assert (wscale, flags & 7) == (0, 0)
    assert mss == rounded(version), mss


def cookie__forged_is_refused(version):
    host = Host(version, 2)
    generator = random.Random(version)
    failed = counter("SyncookiesFailed")
    peer = host.ask()
    offsets = [1 << bit for bit in range(4, 32)] + [-(1 << bit) for bit in range(4, 31)]
    offsets += [generator.randrange(16, MODULUS) for _ in range(200)]
    for offset in offsets:
        peer.send(ACK | PSH, b"poison", ack=offset)
    host.refused(peer, "another number")
    # Of another port.
    other = Peer(host.link, PORT)
    other.seq, other.ack = peer.seq, peer.ack
    other.send(ACK)
    host.refused(other, "another port")
    # Of another address.
    elsewhere = "198.51.100.77" if version == 4 else "2001:db8:51::77"
    host.link.write(peer.segment(ACK, ip=host.link.ip(src=elsewhere)))
    host.link.replies()
    # In answer to another SYN.
    # In Linux a number that is off by one tells of another MSS.
    for offset in (1000, 1 << 31) if wire.BUILTIN else (-1, 1, 1000, 1 << 31):
        peer.send(ACK, seq=offset)
        host.refused(peer, "another SYN")
    host.listener.setblocking(False)
    try:
        raise AssertionError(f"accepted {host.listener.accept()}")
    except BlockingIOError:
        pass
    assert counter("SyncookiesFailed") - failed >= len(offsets)
    # The right one is good still.
    host.listener.setblocking(True)
    peer.send(ACK)
    host.listener.accept()


def cookie__with_other_flags_is_refused(version):
    host = Host(version, 2)
    peer = host.ask()
    for flags in (0, RST, RST | ACK, SYN | ACK, PSH, FIN):
        peer.send(flags)
    assert host.state(peer) is None, host.state(peer)
    peer.send(ACK)
    host.listener.accept()


def cookie__used_is_refused(version):
    """Who has recorded the ACK can open nothing with it when the connection is gone."""
    if wire.BUILTIN:
        raise ktap.Skip("Linux takes a cookie again for two minutes")
    host = Host(version, 2)
    peer = host.ask()
    peer.send(ACK | PSH, b"once")
    sock, _ = host.listener.accept()
    assert sock.recv(4) == b"once"
    peer.send(RST, seq=4)
    until("the connection is gone", lambda: host.state(peer) is None)
    peer.replies()
    for _ in range(3):
        peer.send(ACK | PSH, b"once")
        host.refused(peer, "a used cookie")
    # The same peer's next connection is a new one.
    again = Peer(host.link, PORT, peer.port)
    again.seq += 1000
    again.handshake()
    host.listener.accept()


def cookie__not_when_switched_off(version):
    host = Host(version, 2)
    peer = host.ask()
    setting("syncookies", 0)
    peer.send(ACK)
    host.refused(peer, "switched off")
    setting("syncookies", 1)
    peer.send(ACK)
    host.listener.accept()


def cookie__not_to_who_sends_none(version):
    """A listener that has sent no cookie looks for none."""
    host = Host(version, 1)
    failed = counter("SyncookiesFailed")
    peer = Peer(host.link, PORT)
    peer.ack = 12345
    peer.send(ACK)
    answers = peer.replies()
    assert len(answers) == 1 and answers[0].is_reset, answers
    assert counter("SyncookiesFailed") == failed


def fill(host, count):
    """Half-open connections of peers that say nothing more. A backlog of n lets in n + 1."""
    return [host.ask() for _ in range(count)]


def syn_queue__full_sends_cookies(version):
    host = Host(version, 1, backlog=4)
    log = Log()
    silent = fill(host, 5)
    assert all(host.state(peer) == "SYN-RECEIVED" for peer in silent)
    cookies = counter("TCPReqQFullDoCookies")
    for _ in range(3):
        peer = host.ask()
        assert host.state(peer) is None
        peer.send(ACK | PSH, b"in")
        sock, _ = host.listener.accept()
        assert sock.recv(2) == b"in"
    assert counter("TCPReqQFullDoCookies") - cookies == 3
    # The others are there still.
    silent[0].send(ACK)
    host.listener.accept()
    lines = [line for line in log.lines() if "ossible SYN flooding" in line]
    assert len(lines) == 1, lines
    wanted = ["5001", "ending cookies"]
    if not wire.BUILTIN:
        wanted += [f"net:[{os.stat('/proc/thread-self/ns/net').st_ino}]", "SYN queue", "5 half-open", "backlog of listen()",
                   "SYNs per second", "raise"]
    assert all(word in lines[0] for word in wanted), lines


def syn_queue__full_without_cookies_drops(version):
    host = Host(version, 0, backlog=4)
    if not wire.BUILTIN:
        setting("syn_cache", 0)
    fill(host, 5)
    dropped, drops = counter("TCPReqQFullDrop"), counter("ListenDrops")
    assert host.ask() is None
    assert (counter("TCPReqQFullDrop") - dropped, counter("ListenDrops") - drops) == (1, 1)


def cookie__beside_a_half_open_connection(version):
    """The client's SYN comes again when there is room; what answers that is lost, the cookie is not."""
    host = Host(version, 2)
    peer = host.ask()
    cookie = peer.ack
    setting("syncookies", 1)
    peer.send(SYN, seq=-1, ack=-peer.ack)
    answer = peer.wait_for("a SYN-ACK", lambda s: s.flags & SYN)
    assert (answer.seq + 1) % MODULUS != cookie, answer
    assert host.state(peer) == "SYN-RECEIVED", host.state(peer)
    peer.send(ACK | PSH, b"cookie")
    answers = peer.replies()
    if wire.BUILTIN:
        # Linux drops it, until the half-open connection is over.
        assert not answers and host.state(peer) == "SYN-RECEIVED", answers
        return
    assert answers and not any(s.is_reset for s in answers), answers
    sock, address = host.listener.accept()
    assert address[1] == peer.port
    assert sock.recv(6, socket.MSG_WAITALL) == b"cookie"
    # A number that is neither's is reset, and takes nothing from the half-open connection.
    other = host.ask()
    assert host.state(other) == "SYN-RECEIVED", host.state(other)
    other.send(ACK, ack=4711)
    answers = other.replies()
    assert len(answers) == 1 and answers[0].is_reset, answers
    other.send(ACK)
    _, address = host.listener.accept()
    assert address[1] == other.port


def accept_queue__full_drops_the_ack(version):
    host = Host(version, 2, backlog=1)
    first, second, third = host.ask(), host.ask(), host.ask()
    for peer in (first, second):
        peer.send(ACK)
        until("it waits", lambda p=peer: host.state(p) == "ESTABLISHED")
    overflows = counter("ListenOverflows")
    log = Log()
    third.send(ACK | PSH, b"late")
    assert not third.replies(), "the ACK is to be dropped"
    assert host.state(third) is None
    assert counter("ListenOverflows") - overflows == 1
    assert host.ask() is None, "no room for a SYN either"
    if not wire.BUILTIN:
        lines = [line for line in log.lines() if "accept queue is full" in line]
        assert len(lines) == 1 and "5001" in lines[0] and "does not accept()" in lines[0], lines
    host.listener.accept()
    # The peer sends it again.
    third.send(ACK | PSH, b"late")
    until("it waits", lambda: host.state(third) == "ESTABLISHED")
    host.listener.accept()
    sock, _ = host.listener.accept()
    assert sock.recv(4) == b"late"


TESTS = (
    cookie__nothing_is_kept, cookie__data_of_the_ack_is_delivered, cookie__fin_of_the_ack_is_heard,
    cookie__options_are_preserved, cookie__without_timestamps_no_options, cookie__forged_is_refused,
    cookie__with_other_flags_is_refused, cookie__used_is_refused, cookie__not_when_switched_off,
    cookie__not_to_who_sends_none, cookie__beside_a_half_open_connection, syn_queue__full_sends_cookies, syn_queue__full_without_cookies_drops,
    accept_queue__full_drops_the_ack)


if __name__ == "__main__":
    wire.BUILTIN = "--builtin" in sys.argv
    sys.exit(ktap.main("syncookies", ktap.both(TESTS)))
