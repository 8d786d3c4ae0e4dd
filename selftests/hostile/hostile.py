#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A hostile peer: segments that are malformed, out of place or lies, to every state.

What holds for each: no crash, no answer where none is due, the state as it was, and a good connection
beside it unharmed. `--builtin` sends the same to the built-in TCP; further arguments are parts of the
names of the tests to run.
"""

import sys

import blind
import ending
import icmp
import ktap
import malformed
import opening
import options
import reassembly
import sack
import stream
import sweep
import wire
from host import STATES, SYNCHRONIZED, Host, quiet

OF_ONE_STATE = (opening, stream, blind, sweep, options, sack, reassembly, icmp, ending)


def on_host(version, test, *arguments):
    """A test as a function of nothing: on a host of its own."""
    def run():
        host = Host(version)
        try:
            return test(host, *arguments)
        finally:
            host.end()
    return run


def tests():
    for version in (4, 6):
        for several, states in ((malformed.IN_EVERY_STATE, STATES), (blind.IN_SYNCHRONIZED_STATES, SYNCHRONIZED)):
            for test in several:
                for enter in states:
                    yield f"ipv{version}.{enter.__name__}.{test.__name__}", on_host(version, test, quiet(enter))
        for module in OF_ONE_STATE:
            for test in module.OF_ONE_STATE:
                yield f"ipv{version}.{test.__name__}", on_host(version, test)


if __name__ == "__main__":
    wire.BUILTIN = "--builtin" in sys.argv
    sys.exit(ktap.main("hostile", tests()))
