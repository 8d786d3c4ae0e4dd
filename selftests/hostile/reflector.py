#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What a host sends to an address that has not shown that it is there, for each byte that came from it.

Segments with a forged source are answered to somebody else: a listener, a half-open connection and a TIME-WAIT answer few, and none
with much. `--builtin` does the same with the built-in TCP; further arguments are parts of the names of the tests to run.
"""

import sys
import time

import ktap
import wire
from syncookies import ALL_OPTIONS, PORT, Host
from wire import ACK, FIN, PSH, RST, SYN, Log, Peer, counter, setting, shell, until

# Bytes out for a byte in, of one answer: the largest is a SYN-ACK with the MSS (44 bytes) to a SYN without options (40). An ACK with
# timestamps in answer to a segment that has none would be more; nobody sends one.
MOST_OF_ONE = 1.3


class Scale:
    """Bytes that go out for bytes that come in."""

    def __init__(self, host):
        self.host = host
        self.into = self.out = self.count = 0

    def send(self, packet):
        data = bytes(packet)
        self.into += len(data)
        self.host.link.write(data)

    def take(self):
        """The answers so far."""
        answers = self.host.link.replies()
        self.out += sum(s.length for s in answers)
        self.count += len(answers)
        return answers

    @property
    def factor(self):
        return self.out / self.into


def report(version, what, scale):
    print(f"# ipv{version}: {what}: {scale.into} bytes in, {scale.count} segments, {scale.out} bytes out, factor {scale.factor:.2f}", flush=True)


def syn__is_answered_a_few_times(version):
    """Who does not answer the SYN-ACK gets it again, and not for ever."""
    host = Host(version, 0)
    setting("synack_retries", 1)
    for options in ([], ALL_OPTIONS):
        scale = Scale(host)
        peer = Peer(host.link, PORT)
        scale.send(peer.segment(SYN, options=options))
        until("the SYN-ACK comes again", lambda s=scale: s.take() and s.count >= 2 or s.count >= 2)
        until("it is forgotten", lambda p=peer: host.state(p) is None)
        scale.take()
        report(version, f"a SYN with {len(options)} options, synack_retries 1", scale)
        assert scale.count == 2, scale.count
        assert scale.factor <= 2 * MOST_OF_ONE, scale.factor


def syn__with_cookies_is_answered_once(version):
    host = Host(version, 2)
    scale = Scale(host)
    for options in ([], ALL_OPTIONS):
        scale.send(Peer(host.link, PORT).segment(SYN, options=options))
    answers = scale.take()
    report(version, "SYNs, cookies", scale)
    assert len(answers) == 2 and scale.factor <= MOST_OF_ONE, scale.factor


def syn__data_is_not_echoed(version):
    """Neither data nor FIN in a SYN makes more of an answer."""
    host = Host(version, 0)
    scale = Scale(host)
    scale.send(Peer(host.link, PORT).segment(SYN | PSH, b"x" * 1000))
    scale.send(Peer(host.link, PORT).segment(SYN, b"x" * 1000))
    scale.take()
    report(version, "SYNs with data", scale)
    assert scale.factor <= 0.2, scale.factor


# What can come for a connection that is known, (flags, payload, fields): all is of somebody who guesses.
KINDS = {
    "a wrong acknowledgment": (ACK, b"", {"ack": 4711}),
    "the SYN again": (SYN, b"", {"seq": -1}),
    "another SYN": (SYN, b"", {"seq": 5}),
    "a SYN-ACK": (SYN | ACK, b"", {"seq": 5}),
    "a RST within the window": (RST, b"", {"seq": 5}),
    "an old segment": (ACK, b"", {"seq": -1000}),
    "old data": (ACK | PSH, b"x", {"seq": -1000}),
    "data beyond the window": (ACK | PSH, b"x", {"seq": 1 << 30}),
    "FIN without ACK": (FIN, b"", {}),
}


def answers_little(host, state, kinds, enter, most=MOST_OF_ONE):
    """Sends 20 of each kind to what `enter` brings about, and weighs the answers."""
    for what, (flags, payload, fields) in kinds.items():
        # Two kinds of peers: with options, whose answers have timestamps, and without.
        for options in ([], ALL_OPTIONS):
            peer = enter(options)
            host.link.replies()
            scale = Scale(host)
            stamps = host.echo(peer) if options else {}
            for _ in range(20):
                scale.send(peer.segment(flags, payload, **fields, **stamps))
            answers = [s for s in scale.take() if peer.mine(s)]
            report(host.version, f"{state}, {what}, {len(options)} options", scale)
            assert len(answers) <= 20, f"{what}: {answers}"
            assert scale.factor <= most, f"{what}: {scale.factor}"
            # The next one's are not this one's.
            peer.send(RST)
            host.link.replies()


def half_open__answers_little(version):
    """Whatever comes for a half-open connection is answered by one small segment at most."""
    host = Host(version, 0)
    setting("synack_retries", 0)
    answers_little(host, "half-open", KINDS, lambda options: host.ask(options=options))


def established__answers_little(version):
    """The same for a connection: the address has shown that it is there, and does not want more of these than it has."""
    host = Host(version, 0)
    ends = []

    def enter(options):
        peer = host.ask(options=options)
        peer.send(ACK, **host.echo(peer))
        ends.append(host.listener.accept()[0])
        return peer

    kinds = dict(KINDS)
    kinds["an acknowledgment of long ago"] = (ACK, b"", {"ack": -(1 << 30)})
    kinds["data with a wrong acknowledgment"] = (ACK | PSH, b"x", {"ack": 4711})
    kinds["data out of order"] = (ACK | PSH, b"x", {"seq": 100})
    kinds["a FIN out of order"] = (FIN | ACK, b"", {"seq": 100})
    # Data that has a hole before it is answered with SACK, and once more with what came twice (RFC 2883): 72 bytes for 53.
    answers_little(host, "established", kinds, enter, 1.4)


def time_wait__answers_little(version):
    """The same for a TIME-WAIT."""
    host = Host(version, 0)

    def enter(options):
        peer = host.ask(options=options)
        stamps = host.echo(peer)
        peer.send(ACK, **stamps)
        sock, _ = host.listener.accept()
        sock.close()
        peer.wait_for("a FIN", lambda s: s.flags & FIN)
        peer.ack += 1
        peer.send(FIN | ACK, **stamps)
        peer.seq += 1
        until("TIME-WAIT", lambda: host.state(peer) == "TIME-WAIT")
        return peer

    kinds = {what: kind for what, kind in KINDS.items() if what != "another SYN"}
    kinds["the FIN again"] = (FIN | ACK, b"", {"seq": -1})
    kinds["an old SYN"] = (SYN, b"", {"seq": -1000})
    # The SYN of a new connection is answered as such; one with old timestamps is not.
    answers_little(host, "TIME-WAIT", kinds, enter)


def listen__answers_strays_once(version):
    """What comes to a listener and belongs to no connection is reset, once for each, without its data; a RST is not answered at all."""
    host = Host(version, 0)
    due = {
        "stray ACKs": (ACK, b""), "stray SYN-ACKs": (SYN | ACK, b""), "stray FINs": (FIN | ACK, b""), "stray data of one byte": (ACK | PSH, b"x"),
        "stray data of 1000 bytes": (ACK | PSH, b"x" * 1000),
    }
    not_due = {"stray RSTs": (RST, b""), "stray RSTs with ACK": (RST | ACK, b""), "FINs without ACK": (FIN, b""), "data without ACK": (PSH, b"x")}
    for kinds, answered in ((due, 1), (not_due, 0)):
        for what, (flags, payload) in kinds.items():
            scale = Scale(host)
            for _ in range(20):
                peer = Peer(host.link, PORT)
                peer.ack = 4711
                scale.send(peer.segment(flags, payload))
            answers = scale.take()
            report(version, what, scale)
            assert len(answers) == 20 * answered and all(s.is_reset and not s.payload for s in answers), f"{what}: {answers}"
            assert scale.factor <= 1, f"{what}: {scale.factor}"
    # The listener is none the worse for it.
    peer = host.ask()
    peer.send(ACK)
    host.listener.accept()


def rate__of_syns(version):
    """A network that sends more SYNs than it may has no answers to these; another one does not notice."""
    if wire.BUILTIN:
        raise ktap.Skip("Linux leaves that to the firewall")
    host = Host(version, 2)
    shell("ip route add default dev tun0; ip -6 route add default dev tun0")
    setting("syn_net_rate", 2)
    log = Log()
    network = "203.0.113.%d" if version == 4 else "2001:db8:77:0:%x::1"
    sent, exceeded = counter("SyncookiesSent"), counter("SynRateExceeded")
    packets = [bytes(Peer(host.link, PORT).segment(SYN, ip=host.link.ip(src=network % number))) for number in range(1, 60)]
    scale = Scale(host)

    def flood():
        for packet in packets:
            scale.send(packet)
        scale.take()
        return counter("SynRateExceeded") - exceeded >= 100

    until("the rate is exceeded", flood)
    sent, exceeded = counter("SyncookiesSent") - sent, counter("SynRateExceeded") - exceeded
    report(version, f"a network's SYNs, {exceeded} beyond its rate", scale)
    assert scale.count == sent, (scale.count, sent)
    assert sent + exceeded == scale.into // len(packets[0]), (sent, exceeded)
    # Somebody else: one of another network is let in.
    peer = host.ask()
    assert peer, "the flood has used up another network's rate"
    peer.send(ACK)
    host.listener.accept()
    lines = [line for line in log.lines() if "ossible SYN flooding from one network" in line]
    assert len(lines) == 1 and "syn_net_rate" in lines[0] and "5001" in lines[0] and "more than 2 SYNs" in lines[0], lines
    setting("syn_net_rate", 0)
    answered = counter("SyncookiesSent")
    for packet in packets:
        host.link.write(packet)
    host.link.replies()
    assert counter("SyncookiesSent") - answered == len(packets)


def rate__of_resets(version):
    if wire.BUILTIN:
        raise ktap.Skip("no such setting")
    host = Host(version, 1)
    setting("reset_net_rate", 1)
    peer = host.ask()
    exceeded = counter("AnswerRateExceeded")
    packet = bytes(peer.segment(ACK, ack=4711))
    scale, resets = Scale(host), []

    def flood():
        for _ in range(50):
            scale.send(packet)
        answers = [s for s in scale.take() if not s.flags & SYN]
        assert all(s.is_reset for s in answers), answers
        resets.extend(answers)
        return counter("AnswerRateExceeded") - exceeded >= 100

    until("the rate is exceeded", flood)
    exceeded = counter("AnswerRateExceeded") - exceeded
    report(version, f"resets, {exceeded} beyond the rate", scale)
    assert len(resets) + exceeded == scale.into // len(packet), (len(resets), exceeded)
    # The connection is none the worse for it.
    peer.send(ACK)
    host.listener.accept()
    setting("reset_net_rate", 0)
    setting("reset_limit", 0)
    other = host.ask()
    other.send(ACK, ack=4711)
    assert not other.replies()
    setting("reset_limit", 0x7fffffff)
    other.send(ACK, ack=4711)
    answers = other.replies()
    assert len(answers) == 1 and answers[0].is_reset, answers


def limit__of_challenges_is_random(version):
    """RFC 5961 section 7, CVE-2016-5696: who uses the limit up does not learn how much others have used."""
    host = Host(version, 1)
    setting("invalid_ratelimit", 0)
    # A second allows 10 to 29: so few that a slow host uses them up in less.
    limit, least, most = 20, 10, 29
    setting("challenge_ack_limit", limit)
    peer = host.ask()
    peer.send(ACK)
    # Open to the end: an orphan gives up after some minutes, which a slow host takes.
    served, _ = host.listener.accept()
    packet = bytes(peer.segment(RST, seq=5))

    def answers(count):
        for _ in range(count):
            host.link.write(packet)
        return len([s for s in host.link.replies() if peer.mine(s)])

    def once():
        nonlocal begun
        begun = time.monotonic()
        return answers(1)

    counts, begun = [], None
    for _ in range(20):
        until("the limit is used up", lambda: answers(100) and not answers(20))
        # A second begins, and with it another allowance.
        until("there are answers again", once)
        count = 1 + answers(100)
        # Where all that took less than a second it may still end meanwhile: two allowances at most; a slow host has one more for each second that
        # it took. One answer may have come late, of the second before.
        allowances = 2 + int(time.monotonic() - begun)
        assert count <= allowances * most, (count, allowances, counts)
        if count >= least:
            counts.append(count)
        if len(counts) == 5:
            break
    print(f"# ipv{version}: challenge ACKs in a second with a limit of {limit}: {counts}", flush=True)
    assert len(counts) == 5, counts
    assert len(set(counts)) > 1, counts
    served.close()


TESTS = (
    syn__is_answered_a_few_times, syn__with_cookies_is_answered_once, syn__data_is_not_echoed, half_open__answers_little,
    established__answers_little, time_wait__answers_little, listen__answers_strays_once, rate__of_syns, rate__of_resets,
    limit__of_challenges_is_random)


if __name__ == "__main__":
    wire.BUILTIN = "--builtin" in sys.argv
    sys.exit(ktap.main("reflector", ktap.both(TESTS)))
