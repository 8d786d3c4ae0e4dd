# SPDX-License-Identifier: GPL-2.0
"""The host under test with its good connections, and the states that a connection to the hostile peer can be brought to."""

import random
import socket
import struct

import wire
from wire import ACK, FIN, MODULUS, SYN, Link, Peer, new_socket, state, until

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
    # It waits a moment for a FIN to go with: by a timer, so it may be no answer to what comes then.
    peer.wait_for("the FIN's acknowledgment", lambda s: s.is_pure_ack and s.ack == peer.seq)
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


def ip_header(host):
    return 20 if host.version == 4 else 40


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


def option_syn(host, options):
    peer, _, _ = listen(host)
    peer.handshake(options=options)
    sock = host.accept()
    return peer, sock


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
