# SPDX-License-Identifier: GPL-2.0
"""A host under test on one side of a tun device, and on the other a peer that sends what it likes.

The host's sockets are oxtcp's, or with BUILTIN the built-in TCP's. Segments are made and read with scapy.
What the host sends in answer is complete once it has answered a ping that was sent after: packets
written to the device are worked off in their order.
"""

import ctypes
import fcntl
import os
import select
import socket
import struct
import subprocess
import time

from scapy.config import conf
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.packet import Raw

import ktap

conf.verb = 0

BUILTIN = False
# How long to wait for what must come; only a fault takes so long.
WAIT = float(os.environ.get("OXTCP_WAIT", "30"))

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
MODULUS = 1 << 32

_libc = ctypes.CDLL(None, use_errno=True)


def family():
    """The number of oxtcp's family."""
    if "OXTCP_FAMILY" in os.environ:
        return int(os.environ["OXTCP_FAMILY"])
    try:
        with open("/sys/module/oxtcp/parameters/family", encoding="ascii") as file:
            return int(file.read())
    except OSError:
        return 19


def new_socket(version):
    """A stream socket of the TCP under test; Python is told that it is an ordinary one."""
    domain = socket.AF_INET if version == 4 else socket.AF_INET6
    if BUILTIN:
        return socket.socket(domain, socket.SOCK_STREAM)
    fd = _libc.socket(family(), socket.SOCK_STREAM | socket.SOCK_CLOEXEC, 0 if version == 4 else 1)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "socket of oxtcp")
    return socket.socket(domain, socket.SOCK_STREAM, 0, fileno=fd)


def shell(line):
    subprocess.run(line, shell=True, check=True, stdout=subprocess.DEVNULL)


def until(what, condition):
    """Waits until the condition yields something true, and returns that."""
    end = time.monotonic() + WAIT
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.002)


class Segment:
    """A TCP segment that the host has sent."""

    def __init__(self, packet):
        tcp = packet[TCP]
        self.sport, self.dport = tcp.sport, tcp.dport
        self.seq, self.ack, self.window = tcp.seq, tcp.ack, tcp.window
        self.flags = int(tcp.flags) & 0x3F
        self.options = dict(option[:2] if len(option) > 1 else (option[0], None) for option in tcp.options)
        # Padding below the IP packet's end is none here: tun has no frames.
        self.payload = bytes(tcp.payload)
        # Of the whole packet, in bytes.
        self.length = len(packet)

    def __repr__(self):
        names = [name for bit, name in zip((1, 2, 4, 8, 16, 32), "FSRPAU") if self.flags & bit]
        return f"<{''.join(names)} seq={self.seq} ack={self.ack} len={len(self.payload)} {self.sport}->{self.dport}>"

    @property
    def is_reset(self):
        return bool(self.flags & RST)

    @property
    def is_pure_ack(self):
        return self.flags & (SYN | FIN | RST | ACK) == ACK and not self.payload


class Link:
    """The tun device, in a network namespace of its own, and the peer behind it."""

    TUNSETIFF = 0x400454CA
    IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
    ADDRESSES = {4: ("198.51.100.1", "198.51.100.2"), 6: ("2001:db8:51::1", "2001:db8:51::2")}

    def __init__(self, version):
        self.version = version
        self.host, self.peer = self.ADDRESSES[version]
        # One processor: what is sent in turn is worked off in turn.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        if _libc.unshare(0x40000000) != 0:  # CLONE_NEWNET
            raise ktap.Skip("cannot make a network namespace")
        try:
            self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        except OSError as error:
            raise ktap.Skip(f"/dev/net/tun: {error}") from error
        fcntl.ioctl(self.fd, self.TUNSETIFF, struct.pack("16sH22x", b"tun0", self.IFF_TUN | self.IFF_NO_PI))
        shell("ip link set lo up; ip addr add 198.51.100.1/24 dev tun0;"
              "ip -6 addr add 2001:db8:51::1/64 dev tun0 nodad; ip link set tun0 up")
        self.next_ping = 1
        self.next_port = 20000
        self.sent = 0
        self.waiting = []
        # Addresses and routes are ready a moment after the device is.
        self.replies()

    def new_port(self):
        self.next_port += 1
        return self.next_port

    def ip(self, **fields):
        """The IP header of a packet from the peer."""
        fields.setdefault("src", self.peer)
        fields.setdefault("dst", self.host)
        return IP(**fields) if self.version == 4 else IPv6(**fields)

    def write(self, packet):
        """Sends a packet, or bytes that are to be one."""
        self.sent += 1
        try:
            os.write(self.fd, bytes(packet))
        except OSError:
            # What is no IP packet at all the device itself refuses.
            pass

    def _read(self):
        """The next packet from the host, or None."""
        try:
            data = os.read(self.fd, 70000)
        except BlockingIOError:
            return None
        return IP(data) if data[0] >> 4 == 4 else IPv6(data)

    def replies(self):
        """All TCP segments that the host has sent so far, in answer to what it was sent too."""
        number, self.next_ping = self.next_ping, self.next_ping + 1
        ping = ICMP(type=8, id=7, seq=number) if self.version == 4 else ICMPv6EchoRequest(id=7, seq=number)
        ping = bytes(self.ip() / ping)
        os.write(self.fd, ping)
        end = time.monotonic() + WAIT
        while True:
            packet = self._read()
            if packet is None:
                assert time.monotonic() < end, "the host does not answer a ping"
                if not select.select([self.fd], [], [], 0.2)[0]:
                    os.write(self.fd, ping)
                continue
            if TCP in packet:
                self.waiting.append(Segment(packet))
            elif ICMP in packet and packet[ICMP].type == 0 and packet[ICMP].seq == number:
                break
            elif ICMPv6EchoReply in packet and packet[ICMPv6EchoReply].seq == number:
                break
        found, self.waiting = self.waiting, []
        return found

    def wait_for(self, what, wanted):
        """Waits for a segment of the host that is wanted; returns it. Others are dropped."""
        return until(what, lambda: next((s for s in self.replies() if wanted(s)), None))


class Peer:
    """The peer's end of a connection: what it has sent and what it expects."""

    def __init__(self, link, host_port, port=None):
        self.link = link
        self.port = port or link.new_port()
        self.host_port = host_port
        # Near the end of the numbers: everything wraps soon.
        self.seq = MODULUS - 3000
        self.ack = 0
        self.window = 60000

    def segment(self, flags, payload=b"", **fields):
        """A segment, right in all but what is said otherwise; `seq` and `ack` are offsets to the right ones."""
        seq = (self.seq + fields.pop("seq", 0)) % MODULUS
        ack = fields.pop("ack", 0)
        ack = (self.ack + ack) % MODULUS if flags & ACK else ack % MODULUS
        fields.setdefault("window", self.window)
        ip = fields.pop("ip", None) or self.link.ip()
        tcp = TCP(sport=self.port, dport=self.host_port, seq=seq, ack=ack, flags=flags, **fields)
        return ip / tcp / Raw(payload) if payload else ip / tcp

    def send(self, flags, payload=b"", **fields):
        self.link.write(self.segment(flags, payload, **fields))

    def mine(self, segment):
        return segment.sport == self.host_port and segment.dport == self.port

    def replies(self):
        """The host's segments to this peer so far."""
        return [s for s in self.link.replies() if self.mine(s)]

    def answers(self):
        """Of these, resets and plain ACKs; what a timer sends again is no answer."""
        return [s for s in self.replies() if s.is_reset or s.is_pure_ack]

    def wait_for(self, what, wanted):
        return self.link.wait_for(what, lambda s: self.mine(s) and wanted(s))

    def handshake(self, **fields):
        """Opens a connection to a listener: the host is then in ESTABLISHED."""
        self.send(SYN, **fields)
        syn_ack = self.wait_for("a SYN-ACK", lambda s: s.flags & (SYN | ACK) == SYN | ACK)
        assert syn_ack.ack == (self.seq + 1) % MODULUS, syn_ack
        self.seq = (self.seq + 1) % MODULUS
        self.ack = (syn_ack.seq + 1) % MODULUS
        self.send(ACK)
        return syn_ack

    def say(self, payload, flags=ACK | PSH):
        """Sends data in order."""
        self.send(flags, payload)
        self.seq = (self.seq + len(payload)) % MODULUS

    def take(self, segment):
        """Acknowledges a segment of the host in order."""
        assert segment.seq == self.ack, f"{segment} is not what comes next ({self.ack})"
        length = len(segment.payload) + bool(segment.flags & FIN) + bool(segment.flags & SYN)
        self.ack = (self.ack + length) % MODULUS
        self.send(ACK)


STATES = {1: "ESTABLISHED", 2: "SYN-SENT", 3: "SYN-RECEIVED", 4: "FIN-WAIT-1", 5: "FIN-WAIT-2", 6: "TIME-WAIT",
          7: "CLOSE", 8: "CLOSE-WAIT", 9: "LAST-ACK", 10: "LISTEN", 11: "CLOSING", 12: "SYN-RECEIVED"}


def state(version, host_port, port):
    """The state of the connection between these ports in the host's table; None when it is not there."""
    name = ("tcp" if BUILTIN else "oxtcp") + ("6" if version == 6 else "")
    with open(f"/proc/thread-self/net/{name}", encoding="ascii") as file:
        for line in file.readlines()[1:]:
            words = line.split()
            if int(words[1].split(":")[1], 16) == host_port and int(words[2].split(":")[1], 16) == port:
                return STATES[int(words[3], 16)]
    return None
