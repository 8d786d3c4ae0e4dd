#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""profile.py FOLDER WORK LINES: what `scripts/profile` has counted in FOLDER, as a table of functions."""

import bisect
import collections
import re
import subprocess
import sys

USER_END = 1 << 47


class Symbols:
    """/proc/kallsyms: the function that an address is in."""

    def __init__(self, path):
        with open(path) as file:
            lines = [line.split() for line in file]
        self.all = sorted((int(fields[0], 16), fields[2], len(fields) > 3 and fields[3] == "[oxtcp]") for fields in lines)
        self.addresses = [address for address, _, _ in self.all]

    def of(self, address):
        """Its name, whether it is the module's, and whether it begins at the address."""
        if address < USER_END:
            return "(programs)", False, False
        start, name, ours = self.all[max(bisect.bisect_right(self.addresses, address) - 1, 0)]
        return name, ours, start == address


def load(folder, run):
    """Instructions and calls by function, and the units of work that they are for."""
    symbols = Symbols(f"{folder}/{run}/kallsyms")
    instructions, calls = collections.Counter(), collections.Counter()
    with open(f"{folder}/{run}.counts") as file:
        for line in file:
            address, length, times = line.split()
            name, ours, begins = symbols.of(int(address, 16))
            instructions[name, ours] += int(length) * int(times)
            if begins:
                calls[name, ours] += int(times)
    with open(f"{folder}/{run}/units") as file:
        return instructions, calls, int(file.read())


def per_units(folder, stack, scale):
    """Instructions and calls by function for `scale` units: of the longer run without what is in the shorter one."""
    few, few_calls, few_units = load(folder, f"{stack}.1")
    many, many_calls, many_units = load(folder, f"{stack}.3")
    units = (many_units - few_units) / scale
    return ({key: (many[key] - few[key]) / units for key in many},
            {key: (many_calls[key] - few_calls[key]) / units for key in many})


def readable(names):
    """The names as they are in the sources, without the hashes of crates."""
    answer = subprocess.run(["c++filt"], input="\n".join(names), stdout=subprocess.PIPE, text=True, check=True)
    return re.sub(r"\[[0-9a-f]{8,16}\]", "", answer.stdout).splitlines()


def main():
    folder, work, lines = sys.argv[1], sys.argv[2], int(sys.argv[3])
    unit, scale = ("1000 bytes", 1000) if work.startswith("byte") else (work, 1)
    ours, our_calls = per_units(folder, "oxtcp", scale)
    theirs, their_calls = per_units(folder, "built-in", scale)
    module = (sum(count for (_, is_ours), count in ours.items() if is_ours),
              sum(count for (_, is_ours), count in theirs.items() if is_ours))
    print(f"instructions per {unit}: oxtcp {sum(ours.values()):.0f}, built-in {sum(theirs.values()):.0f}; "
          f"in the module {module[0]:.0f} and {module[1]:.0f}")
    print(f"{'oxtcp':>8} {'built-in':>8} {'more':>8}  {'calls':>6} {'calls':>6}  function")
    every = set(ours) | set(theirs)
    more = {key: ours.get(key, 0) - theirs.get(key, 0) for key in every}
    shown = sorted(every, key=lambda key: -abs(more[key]))[:lines]
    for key, name in zip(shown, readable(name for name, _ in shown)):
        print(f"{ours.get(key, 0):8.0f} {theirs.get(key, 0):8.0f} {more[key]:8.0f}  "
              f"{our_calls.get(key, 0):6.1f} {their_calls.get(key, 0):6.1f}  {name}")


main()
