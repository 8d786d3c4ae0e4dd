# SPDX-License-Identifier: GPL-2.0
"""Segments of somebody who does not hear the connection, and guesses its numbers (RFC 5961)."""

import ktap
from host import established
from wire import ACK, FIN, PSH, RST, SYN, URG


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


IN_SYNCHRONIZED_STATES = (reset__blind, reset__exact, syn__blind, ack__of_unsent, data__outside_window,
                          flags__all_outside_window, no_flags__ignored)
OF_ONE_STATE = (established__syn_fin, established__old_ack, established__all_flags_in_window,
                established__flood_of_challenges_is_bounded)
