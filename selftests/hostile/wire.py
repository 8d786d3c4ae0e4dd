# SPDX-License-Identifier: GPL-2.0
"""A host under test on one side of a tun device, and on the other a peer that sends what it likes.

The host's sockets are oxtcp's, or with BUILTIN the built-in TCP's. Segments are made and read with scapy.
What the host sends in answer is complete once it has answered a ping that was sent after: packets
written to the device are worked off in their order.
"""

import collections
import ctypes
import fcntl
import os
import select
import socket
import struct
import subprocess
import time

from scapy.config import conf
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
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


def setting(name, value=None):
    """A setting of the TCP under test, by its name in Linux; sets it, or tells it (of several numbers the last)."""
    path = f"/proc/sys/net/ipv4/tcp_{name}" if BUILTIN else f"/proc/sys/net/oxtcp/{name}"
    with open(path, "r+" if value is not None else "r", encoding="ascii") as file:
        if value is None:
            return int(file.read().split()[-1])
        file.write(str(value))
        return value


def counter(name):
    """A counter of the TCP under test (TcpExt)."""
    path = "/proc/thread-self/net/" + ("netstat" if BUILTIN else "oxtcp_stat")
    with open(path, encoding="ascii") as file:
        lines = [line.split() for line in file if line.startswith("TcpExt:")]
    return int(dict(zip(*lines))[name])


class Log:
    """The kernel's log from now on."""

    def __init__(self):
        self.fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self.fd, 0, os.SEEK_END)

    def lines(self):
        found = []
        while True:
            try:
                found.append(os.read(self.fd, 8192).decode(errors="replace").split(";", 1)[-1].splitlines()[0])
            except BlockingIOError:
                return found
            except BrokenPipeError:
                continue


def checksum(data):
    """The Internet checksum, as two bytes."""
    if len(data) % 2:
        data += b"\0"
    # The sum of 16-bit words with the carries added in: modulo 65535, but for the two kinds of zero, and no packet is all zeros.
    return (0xFFFF - (int.from_bytes(data, "big") % 0xFFFF)).to_bytes(2, "big")


class Segment:
    """A TCP segment that the host has sent."""

    def __init__(self, packet, at):
        """`packet` has its TCP header at `at`. Read by hand, as there are thousands."""
        self.sport, self.dport, self.seq, self.ack, offset, flags, self.window = struct.unpack_from("!HHIIBBH", packet, at)
        self.flags = flags & 0x3F
        # Padding below the IP packet's end is none here: tun has no frames.
        self.payload = packet[at + (offset >> 4) * 4:]
        # DS field (traffic class) and flow label; IPv4 has no label.
        first = int.from_bytes(packet[:4], "big")
        self.ds_field, self.label = (first >> 20 & 0xFF, first & 0xFFFFF) if first >> 28 == 6 else (first >> 16 & 0xFF, None)
        # Of the whole packet, in bytes.
        self.length = len(packet)
        self._tcp = packet[at:]

    @property
    def options(self):
        return dict(option[:2] if len(option) > 1 else (option[0], None) for option in TCP(self._tcp).options)

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
        # The peer's and the host's, as a packet from the peer has them.
        self.addresses = b"".join(
            socket.inet_pton(socket.AF_INET if version == 4 else socket.AF_INET6, address) for address in (self.peer, self.host))
        # One processor: what is sent in turn is worked off in turn.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        if _libc.unshare(0x40000000) != 0:  # CLONE_NEWNET
            raise ktap.Skip("cannot make a network namespace")
        try:
            self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        except OSError as error:
            raise ktap.Skip(f"/dev/net/tun: {error}") from error
        fcntl.ioctl(self.fd, self.TUNSETIFF, struct.pack("16sH22x", b"tun0", self.IFF_TUN | self.IFF_NO_PI))
        lines = "link set lo up\naddr add 198.51.100.1/24 dev tun0\naddr add 2001:db8:51::1/64 dev tun0 nodad\nlink set tun0 up\n"
        # Without a shell, and at once: a process takes a while to begin on a debug kernel.
        subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True, stdout=subprocess.DEVNULL)
        self.next_ping = 1
        self.next_port = 20000
        self.sent = 0
        self.waiting = []
        # The flow labels of the host's segments, by its port and the peer's.
        self.labels = collections.defaultdict(set)
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

    def packet(self, protocol, payload):
        """A plain packet from the peer to the host."""
        if self.version == 6:
            return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + self.addresses + payload
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0) + self.addresses
        return ip[:10] + checksum(ip) + ip[12:] + payload

    def ping(self, number):
        """An echo request with that number."""
        kind, protocol = (8, 1) if self.version == 4 else (128, 58)
        echo = struct.pack("!BBHHH", kind, 0, 0, 7, number)
        pseudo = b"" if self.version == 4 else self.addresses + struct.pack("!II", len(echo), protocol)
        return self.packet(protocol, echo[:2] + checksum(pseudo + echo) + echo[4:])

    def write(self, packet):
        """Sends a packet, or bytes that are to be one."""
        self.sent += 1
        try:
            os.write(self.fd, packet if isinstance(packet, bytes) else bytes(packet))
        except OSError:
            # What is no IP packet at all the device itself refuses.
            pass

    def _read(self):
        """The next packet from the host, or None."""
        try:
            data = os.read(self.fd, 70000)
        except BlockingIOError:
            return None
        return data

    def replies(self):
        """All TCP segments that the host has sent so far, in answer to what it was sent too."""
        number, self.next_ping = self.next_ping, self.next_ping + 1
        ping = self.ping(number)
        os.write(self.fd, ping)
        end = time.monotonic() + WAIT
        while True:
            packet = self._read()
            if packet is None:
                assert time.monotonic() < end, "the host does not answer a ping"
                if not select.select([self.fd], [], [], 0.2)[0]:
                    os.write(self.fd, ping)
                continue
            protocol, at = (packet[9], (packet[0] & 15) * 4) if packet[0] >> 4 == 4 else (packet[6], 40)
            if protocol == 6:
                segment = Segment(packet, at)
                self.labels[segment.sport, segment.dport].add(segment.label)
                self.waiting.append(segment)
            elif (protocol, packet[at]) in ((1, 0), (58, 129)) and packet[at + 6:at + 8] == number.to_bytes(2, "big"):
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
        """By scapy, where there is more to the segment than flags, numbers and data."""
        make = self.raw if fields.keys() <= {"seq", "ack"} else self.segment
        self.link.write(make(flags, payload, **fields))

    def raw(self, flags, payload=b"", seq=0, ack=0, options=b""):
        """As `segment`, with the options as bytes, as a packet's bytes: made by hand, for what is sent by thousands."""
        options += b"\0" * (-len(options) % 4)
        ack = (self.ack + ack) % MODULUS if flags & ACK else ack % MODULUS
        tcp = struct.pack("!HHIIBBHHH", self.port, self.host_port, (self.seq + seq) % MODULUS, ack,
                          (5 + len(options) // 4) << 4, flags, self.window, 0, 0) + options + payload
        pseudo = self.link.addresses + struct.pack("!II", len(tcp), 6)
        return self.link.packet(6, tcp[:16] + checksum(pseudo + tcp) + tcp[18:])

    def send_raw(self, flags, payload=b"", **fields):
        self.link.write(self.raw(flags, payload, **fields))

    def mine(self, segment):
        return segment.sport == self.host_port and segment.dport == self.port

    def replies(self):
        """The host's segments to this peer so far."""
        return [s for s in self.link.replies() if self.mine(s)]

    def labels(self):
        """The flow labels of all of the host's segments to this peer that were read so far."""
        return self.link.labels[self.host_port, self.port]

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
