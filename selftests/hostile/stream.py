# SPDX-License-Identifier: GPL-2.0
"""What a peer can do to the stream of a connection: overlaps, holes, FINs, windows, urgent pointers."""

import random
import socket

import wire
from host import collect, established
from wire import ACK, FIN, MODULUS, PSH, URG, until


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


OF_ONE_STATE = (established__overlap, established__holes, established__fin_oddities, established__window_shrinks,
                established__zero_window_is_probed, established__urgent)
