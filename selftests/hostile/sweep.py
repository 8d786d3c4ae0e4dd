# SPDX-License-Identifier: GPL-2.0
"""Blind injection over the whole window (RFC 5961): somebody who knows the addresses and ports tries all numbers."""

import random
import socket

import wire
from host import established, fin_wait_2, syn_received
from wire import ACK, FIN, MODULUS, PSH, RST, SYN, setting

# Into so many steps the window is cut, and the other numbers.
STEPS = 300
# Milliseconds: one challenge per connection is then all that a test can see.
AN_HOUR = 3600000


def window_of(peer):
    """How far the host's window reaches, in bytes: none is scaled here."""
    peer.send(ACK, seq=-1)
    return peer.wait_for("an ACK", lambda s: s.is_pure_ack).window


def inside(window):
    """Numbers within the window, but for the next one: its borders, and steps over all of it."""
    borders = {1, 2, 3, window - 2, window - 1}
    return sorted(borders | set(range(1 + window // STEPS, window, window // STEPS)))


def outside(window):
    """Numbers outside the window: its borders, and steps over all others."""
    borders = {-2, -1, window + 1, window + 2, 1 << 31, (1 << 31) - 1, (1 << 31) + 1}
    return sorted(borders | set(range(window + 1, MODULUS - 1, MODULUS // STEPS)))


def take_all(peer, sock, size):
    """Whether a stream of that size comes through unchanged, both ways."""
    data = random.randbytes(size)
    for at in range(0, size, 1000):
        peer.send(ACK | PSH, data[at:at + 1000], seq=at)
    peer.seq = (peer.seq + size) % MODULUS
    sock.settimeout(wire.WAIT)
    got = sock.recv(size, socket.MSG_WAITALL)
    assert got == data, f"{len(got)} bytes, wrong from {next((i for i, (a, b) in enumerate(zip(got, data)) if a != b), len(got))} on"
    sock.sendall(b"and back")
    peer.take(peer.wait_for("data", lambda s: s.payload == b"and back"))


def established__blind_rst_over_the_window(host):
    """RFC 5961 3.2: of all resets only the one at RCV.NXT ends a connection. Those in the window are challenged, once in invalid_ratelimit."""
    setting("invalid_ratelimit", AN_HOUR)
    peer, sock, _ = established(host)
    window = window_of(peer)
    answers, count = [], 0
    for flags in (RST, RST | ACK):
        for seq in inside(window) + outside(window):
            peer.send_raw(flags, seq=seq)
            count += 1
            if count % 100 == 0:
                answers += peer.answers()
    answers += peer.answers()
    assert len(answers) <= 1 and all(s.is_pure_ack and s.ack == peer.seq for s in answers), answers
    assert host.state(peer) == "ESTABLISHED"
    take_all(peer, sock, 20000)
    host.check_good()
    return f"{count} resets, {len(answers)} challenges"


def established__blind_syn_over_the_window(host):
    """RFC 5961 4.2: no SYN, at whatever number, ends a connection or is more than challenged."""
    setting("invalid_ratelimit", AN_HOUR)
    peer, sock, _ = established(host)
    window = window_of(peer)
    answers, count = [], 0
    for flags in (SYN, SYN | ACK):
        for seq in [0] + inside(window) + outside(window):
            peer.send_raw(flags, seq=seq)
            count += 1
            if count % 100 == 0:
                answers += peer.answers()
    answers += peer.answers()
    assert len(answers) <= 1 and all(s.is_pure_ack and s.ack == peer.seq for s in answers), answers
    assert host.state(peer) == "ESTABLISHED"
    take_all(peer, sock, 20000)
    host.check_good()
    return f"{count} SYNs, {len(answers)} challenges"


def wrong_acks(said):
    """Acknowledgments that are none, of a connection on which `said` bytes are acknowledged and none are on their way."""
    borders = {1, 2, -said - 1, -said - 2, 1 << 31, (1 << 31) - 1, (1 << 31) + 1, 1 << 30, -(1 << 30)}
    return sorted(borders | set(range(1 + MODULUS // STEPS, MODULUS - said - 1, MODULUS // STEPS)))


def established__blind_data_over_the_window(host):
    """RFC 5961 5: data within the window whose acknowledgment is only guessed is not taken, next or not, with a FIN or without.

    The RFC lets through acknowledgments of a window before SND.UNA; those of bytes that were never sent are refused as in Linux: on a
    connection that has not said much, it would be all of the window.
    """
    setting("invalid_ratelimit", AN_HOUR)
    for said in (0, 500):
        peer, sock, _ = established(host)
        if said:
            sock.sendall(b"x" * said)
            peer.take(peer.wait_for("data", lambda s, n=said: len(s.payload) == n))
        window = window_of(peer)
        answers, count = [], 0
        acks = wrong_acks(said)
        numbers = inside(window)
        # Each acknowledgment with the next number, and with some number of the window; each number of the window is tried.
        pairs = [(0, ack) for ack in acks] + [(seq, acks[i * 7 % len(acks)]) for i, seq in enumerate(numbers)]
        pairs += [(numbers[i * 7 % len(numbers)], ack) for i, ack in enumerate(acks)]
        for seq, ack in pairs:
            for flags in (ACK | PSH, FIN | ACK):
                peer.send_raw(flags, b"poison", seq=seq, ack=ack)
                count += 1
            if count % 100 == 0:
                answers += peer.answers()
        answers += peer.answers()
        assert len(answers) <= 1, f"{len(answers)} answers: {answers[:5]}"
        assert all(s.is_pure_ack and s.ack == peer.seq for s in answers), answers
        assert host.state(peer) == "ESTABLISHED"
        # All of the window: what was taken of the above would stand in it.
        take_all(peer, sock, window // 1000 * 1000)
    host.check_good()
    return f"{count} segments, {len(answers)} challenges"


def established__blind_ack_over_the_numbers(host):
    """RFC 5961 5.2: an acknowledgment alone that is a guess moves nothing: what is on its way stays so, and is sent on."""
    setting("invalid_ratelimit", AN_HOUR)
    peer, sock, _ = established(host)
    data = random.randbytes(900)
    sock.sendall(data[:400])
    first = peer.wait_for("data", lambda s: len(s.payload) == 400)
    sock.sendall(data[400:])
    for ack in (901, 902, -1, -2, 1 << 31, *range(1000, MODULUS - 1000, MODULUS // STEPS)):
        peer.send_raw(ACK, ack=ack)
    assert not [s for s in peer.replies() if s.is_reset]
    assert host.state(peer) == "ESTABLISHED"
    peer.take(first)
    peer.take(peer.wait_for("the rest", lambda s: s.payload == data[400:]))
    take_all(peer, sock, 20000)
    host.check_good()


def fin_wait_2__blind_over_the_window(host):
    """The same in FIN-WAIT-2, where a half is closed: the peer's half goes on."""
    setting("invalid_ratelimit", AN_HOUR)
    peer, sock, _ = fin_wait_2(host)
    window = window_of(peer)
    answers = []
    for seq in inside(window) + outside(window):
        for flags in (RST, SYN):
            peer.send_raw(flags, seq=seq)
        answers += peer.answers()
    assert len(answers) <= 1 and all(s.is_pure_ack and s.ack == peer.seq for s in answers), answers
    assert host.state(peer) == "FIN-WAIT-2"
    peer.say(b"the rest")
    assert sock.recv(20) == b"the rest"
    host.check_good()


def syn_received__blind_rst_over_the_window(host):
    """The same for a half-open connection: it opens after all."""
    setting("invalid_ratelimit", AN_HOUR)
    peer, _, _ = syn_received(host)
    peer.replies()
    window = 64000
    answers = []
    for seq in inside(window) + outside(window):
        peer.send_raw(RST, seq=seq)
        answers += peer.answers()
    assert len(answers) <= 1, answers
    assert host.state(peer) == "SYN-RECEIVED", host.state(peer)
    peer.say(b"complete", ACK)
    sock = host.accept()
    assert sock.recv(100) == b"complete"
    take_all(peer, sock, 20000)
    host.check_good()


OF_ONE_STATE = (
    established__blind_rst_over_the_window, established__blind_syn_over_the_window, established__blind_data_over_the_window,
    established__blind_ack_over_the_numbers, fin_wait_2__blind_over_the_window, syn_received__blind_rst_over_the_window)
