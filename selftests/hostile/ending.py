# SPDX-License-Identifier: GPL-2.0
"""Connections that end, and TIME-WAIT."""

import random

from host import closing, last_ack, listen, send_fin, time_wait
from wire import ACK, FIN, MODULUS, PSH, RST, SYN, setting


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


def assassinate(host, protected):
    """RFC 1337: an old segment draws an ACK from TIME-WAIT, and the peer, which has forgotten the connection, resets that."""
    setting("rfc1337", int(protected))
    peer, _, _ = time_wait(host)
    peer.replies()
    # All numbers but the right one, first: nobody who guesses ends it, nor a SYN or FIN or data of the old connection.
    for seq in (-1, 1, 2, -1000, 5000, 65535, 1 << 30, 1 << 31, -(1 << 30)):
        for flags in (RST, RST | ACK):
            peer.send(flags, seq=seq)
    assert not peer.replies()
    for flags, payload in ((SYN, b""), (SYN | ACK, b""), (SYN, b"x" * 100), (FIN | ACK, b""), (FIN | ACK, b"old"), (ACK, b""), (PSH, b"old")):
        for seq in (-200, -3000, -(1 << 30)):
            peer.send(flags, payload, seq=seq)
    answers = peer.replies()
    assert all(s.is_pure_ack and s.ack == peer.seq for s in answers), answers
    assert host.state(peer) == "TIME-WAIT", host.state(peer)
    peer.send(ACK | PSH, b"old data", seq=-500)
    answers = peer.replies()
    assert len(answers) == 1 and answers[0].is_pure_ack, answers
    # The forgetful peer's reset of that (RFC 9293 3.10.7.1) hits the number that counts.
    peer.send(RST, seq=(answers[0].ack - peer.seq) % MODULUS)
    assert not peer.replies()
    assert host.state(peer) == ("TIME-WAIT" if protected else None), host.state(peer)
    # A new connection of the same ports hears nothing of the old one.
    old = peer.seq
    peer.seq = (peer.seq + 100000) % MODULUS
    peer.handshake()
    sock = host.accept()
    for back in (500, 1000, 100):
        peer.send(ACK | PSH, b"old data", seq=(old - back - peer.seq) % MODULUS)
    peer.replies()
    data = random.randbytes(3000)
    peer.say(data[:1400])
    peer.say(data[1400:2800])
    peer.say(data[2800:])
    got = b""
    while len(got) < len(data):
        got += sock.recv(3000)
    assert got == data
    sock.sendall(b"new")
    peer.take(peer.wait_for("data", lambda s: s.payload == b"new"))
    host.check_good()


def time_wait__assassination(host):
    """RFC 1337 with `rfc1337` 0, as delivered: the exact reset ends TIME-WAIT, as in Linux, no other does; the next connection is unharmed."""
    assassinate(host, False)


def time_wait__assassination_is_refused(host):
    """RFC 1337 with `rfc1337` 1: no reset ends TIME-WAIT."""
    assassinate(host, True)


def time_wait__old_stamps(host):
    """RFC 6191, RFC 1337: a SYN of the old connection is told by its timestamp, whatever its number; so is its data."""
    setting("rfc1337", 1)
    peer, _, _ = listen(host)
    now = 1000000
    peer.send(SYN, options=[("Timestamp", (now, 0))])
    syn_ack = peer.wait_for("a SYN-ACK", lambda s: s.flags & SYN)
    echo = syn_ack.options["Timestamp"][0]
    peer.seq, peer.ack = (peer.seq + 1) % MODULUS, (syn_ack.seq + 1) % MODULUS

    def stamp(value):
        return {"options": [("NOP", None), ("NOP", None), ("Timestamp", (value, echo))]}

    peer.send(ACK, **stamp(now + 1))
    sock = host.accept()
    sock.shutdown(1)
    peer.wait_for("a FIN", lambda s: s.flags & FIN)
    peer.send(ACK, ack=1, **stamp(now + 2))
    peer.ack = (peer.ack + 1) % MODULUS
    host.expect_state(peer, "FIN-WAIT-2")
    send_fin(peer, **stamp(now + 3))
    host.expect_state(peer, "TIME-WAIT")
    peer.replies()
    for seq in (-1000, 1, 70000, 1 << 30):
        peer.send(SYN, seq=seq, **stamp(now - 5000))
        peer.send(ACK | PSH, b"old", seq=seq, **stamp(now - 5000))
        answers = peer.replies()
        assert all(s.is_pure_ack for s in answers), answers
        assert host.state(peer) == "TIME-WAIT", f"{seq}: {host.state(peer)}"
    # With a newer one it opens, though its number is older.
    peer.seq = (peer.seq - 500) % MODULUS
    peer.send(SYN, **stamp(now + 2000))
    syn_ack = peer.wait_for("a SYN-ACK", lambda s: s.flags & SYN)
    assert syn_ack.ack == (peer.seq + 1) % MODULUS, syn_ack
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


OF_ONE_STATE = (time_wait__answers, time_wait__new_syn, time_wait__assassination, time_wait__assassination_is_refused,
                time_wait__old_stamps, last_ack__ends, closing__ends)
