#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""sockets.py FAMILY: what listing many sockets costs, `oxtcp ss` for ours and `ss` for the built-in TCP's, in a virtual machine whose
clock counts instructions. Prints a table, in Markdown. Root; FAMILY is the module's number. SOCKETS="1000 10000" are the numbers."""
import ctypes
import os
import resource
import socket
import subprocess
import sys
import time

SOCKETS = [int(number) for number in os.environ.get("SOCKETS", "1000 10000 100000").split()]
resource.setrlimit(resource.RLIMIT_NOFILE, (300_000, 300_000))
with open("/proc/sys/net/core/somaxconn", "w") as f:
    f.write("4096")


class Crowd:
    """Connections of this process with itself, so that each has both its sockets here."""

    def __init__(self, family):
        self.family, self.ends, self.listeners = family, [], []

    def grow(self, number):
        while len(self.ends) < number:
            # An address and port of the listener have so many ports of clients.
            if len(self.ends) % 20_000 == 0:
                listener = socket.socket(self.family, socket.SOCK_STREAM, 0)
                address = f"127.0.{len(self.listeners)}.1"
                bind(listener, address)
                listener.listen(16)
                self.listeners.append((listener, listener_address(listener, address)))
            listener, address = self.listeners[-1]
            client = socket.socket(self.family, socket.SOCK_STREAM, 0)
            connect(client, address)
            self.ends += [client, accept(listener)]


# Python refuses addresses of a family that it does not know: those calls are the C library's.
libc = ctypes.CDLL(None, use_errno=True)


def name(address, port):
    return socket.AF_INET.to_bytes(2, sys.byteorder) + port.to_bytes(2, "big") + socket.inet_aton(address) + bytes(8)


def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def bind(sock, address):
    check(libc.bind(sock.fileno(), name(address, 0), 16))


def listener_address(sock, address):
    buffer, length = ctypes.create_string_buffer(16), ctypes.c_uint(16)
    check(libc.getsockname(sock.fileno(), buffer, ctypes.byref(length)))
    return name(address, int.from_bytes(buffer.raw[2:4], "big"))


def connect(sock, to):
    check(libc.connect(sock.fileno(), to, 16))


def accept(sock):
    return os.fdopen(check(libc.accept4(sock.fileno(), None, None, 0)), "rb", buffering=0, closefd=True)


def cost(command, number):
    """Instructions of listing them all; the least of three."""
    best = None
    for _ in range(3):
        with open("/tmp/listed", "wb") as out:
            before = time.monotonic_ns()
            status = subprocess.call(command, stdout=out)
            took = time.monotonic_ns() - before
        with open("/tmp/listed", "rb") as listed:
            lines = sum(1 for _ in listed)
        if status != 0 or lines < number:
            sys.exit(f"sockets.py: {command}: status {status}, {lines} lines of {number}")
        best = min(best or took, took)
    return best


def memory(command):
    """The most that it has had in memory whenever it waited for its output to be read, in KB."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    most = 0
    while os.read(child.stdout.fileno(), 65536):
        try:
            with open(f"/proc/{child.pid}/status") as status:
                lines = [line.split() for line in status]
        except ProcessLookupError:
            continue
        most = max([most] + [int(line[1]) for line in lines if line[0] == "VmHWM:"])
    if child.wait() != 0 or most == 0:
        sys.exit(f"sockets.py: {command}: status {child.returncode}, {most} KB seen")
    return most


def main():
    ours, theirs = Crowd(int(sys.argv[1])), Crowd(socket.AF_INET)
    print("| sockets | `oxtcp ss -Hn`: instructions each | `ss -Htn` of the built-in TCP: each | ratio | memory of `oxtcp`, KB | of `ss`, KB |")
    print("|---|---|---|---|---|---|")
    for number in SOCKETS:
        ours.grow(number)
        theirs.grow(number)
        mine, other = ["oxtcp", "ss", "-Hn"], ["ss", "-Htn"]
        my_cost, other_cost = cost(mine, number), cost(other, number)
        print(f"| {number} | {my_cost // number} | {other_cost // number} | {my_cost / other_cost:.2f} | {memory(mine)} | {memory(other)} |",
              flush=True)


main()
