# SPDX-License-Identifier: GPL-2.0
"""Listeners, and connections that are being opened."""

import socket

import wire
from host import cut, established, ip_header, listen, send_fin, syn_received, syn_sent
from wire import ACK, FIN, MODULUS, PSH, RST, SYN, URG, Peer, setting


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


def listen__one_ip_header(host):
    """IP_TOS or IPV6_TCLASS of the listener, and one flow label (RFC 6437 section 3), from the SYN-ACK on, with a cookie too."""
    tos = 0x48
    if host.version == 4:
        host.listener.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
    else:
        host.listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, tos)
    for cookies in (0, 2):
        setting("syncookies", cookies)
        peer, _, _ = listen(host)
        peer.send(SYN)
        syn_ack = peer.wait_for("a SYN-ACK", lambda s: s.flags & SYN)
        peer.seq = (peer.seq + 1) % MODULUS
        peer.ack = (syn_ack.seq + 1) % MODULUS
        peer.say(b"x")
        sock = host.accept()
        assert sock.recv(10) == b"x"
        sock.send(b"y")
        data = peer.wait_for("data", lambda s: s.payload)
        assert [syn_ack.ds_field & 0xFC, data.ds_field & 0xFC] == [tos, tos], (cookies, syn_ack.ds_field, data.ds_field)
        # The built-in TCP has forgotten its random choice with a cookie.
        if host.version == 6 and not (wire.BUILTIN and cookies):
            assert syn_ack.label == data.label != 0, (cookies, syn_ack.label, data.label)
    host.check_good()


def established__one_flow_label(host):
    """Whoever has opened a connection, all packets of it have one flow label (RFC 6437 section 3), TIME-WAIT's answers too."""
    for enter in (established, syn_sent):
        peer, sock, state = enter(host)
        if state == "SYN-SENT":
            peer.send(SYN | ACK)
            peer.seq = (peer.seq + 1) % MODULUS
            peer.wait_for("an ACK", lambda s: s.is_pure_ack and s.ack == peer.seq)
            sock.setblocking(True)
        peer.say(b"question")
        assert sock.recv(100) == b"question"
        sock.send(b"answer")
        peer.take(peer.wait_for("an answer", lambda s: s.payload))
        sock.shutdown(socket.SHUT_WR)
        peer.take(peer.wait_for("a FIN", lambda s: s.flags & FIN))
        send_fin(peer)
        host.expect_state(peer, "TIME-WAIT")
        peer.replies()
        peer.send(FIN | ACK, seq=-1)
        peer.wait_for("an ACK in TIME-WAIT", lambda s: s.is_pure_ack)
        # IPv4 has none.
        assert len(peer.labels()) == 1 and 0 not in peer.labels(), (state, peer.labels())
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


OF_ONE_STATE = (listen__answers, listen__syn_with_data, listen__one_ip_header, established__one_flow_label, listen__odd_options,
                syn_sent__wrong_ack, syn_sent__refused, syn_sent__crossing_syn, syn_received__wrong_segments, syn_received__reset,
                closed__stray_segments)
