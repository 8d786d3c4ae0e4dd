#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""profile.py FOLDER WORK LINES: what `scripts/profile` has counted in FOLDER, as a table of functions.
profile.py FOLDER --function NAME MODULE: of the module's functions with NAME in their names the instructions that ran, each with how often it did
for each unit of the work, and what it calls."""

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


class Listing:
    """A function of the module as it is in the file: the places of its instructions, and how each reads."""

    def __init__(self, module, symbol):
        self.size = 0
        self.places, self.texts = [], []
        answer = subprocess.run(["objdump", "-dr", "--no-show-raw-insn", f"--disassemble={symbol}", module],
                                stdout=subprocess.PIPE, text=True, check=True)
        start = None
        for line in answer.stdout.splitlines():
            begins = re.match(r"([0-9a-f]+) <", line)
            reads = re.match(r"\s+([0-9a-f]+):\t(.*)", line)
            if begins:
                start = int(begins[1], 16)
            elif reads and reads[2].startswith("R_"):
                # What the linker puts in, which belongs to the line before.
                target = reads[2].split()[-1]
                self.texts[-1] += "  " + re.sub(r"[-+]0x[0-9a-f]+$", "", target)
            elif reads and start is not None:
                self.places.append(int(reads[1], 16) - start)
                self.texts.append(re.sub(r" <.*", "", reads[2].strip()))
        if self.places:
            self.size = self.places[-1] + 1

    def times(self, counts, at):
        """How often each instruction ran, of pieces of code that are counted from their start; the function is at address `at`."""
        times = [0] * len(self.places)
        for (address, length), count in counts.items():
            place = bisect.bisect_left(self.places, address - at)
            if at <= address < at + self.size and self.places[place] == address - at:
                for index in range(place, min(place + length, len(times))):
                    times[index] += count
        return times


def pieces(folder, run):
    """Pieces of code with how often they ran, where the module's functions are, and the units of work that it is for."""
    counts, addresses = collections.Counter(), {}
    with open(f"{folder}/{run}.counts") as file:
        for line in file:
            address, length, times = line.split()
            counts[int(address, 16), int(length)] += int(times)
    with open(f"{folder}/{run}/kallsyms") as file:
        for fields in map(str.split, file):
            if fields[-1] == "[oxtcp]":
                addresses[fields[2]] = int(fields[0], 16)
    with open(f"{folder}/{run}/units") as file:
        return counts, addresses, int(file.read())


def show_functions(folder, part, module):
    """Prints the module's functions that have `part` in their names."""
    few, few_addresses, few_units = pieces(folder, "oxtcp.1")
    many, many_addresses, many_units = pieces(folder, "oxtcp.3")
    units = many_units - few_units
    symbols = sorted(set(few_addresses) & set(many_addresses))
    named = [(symbol, name) for symbol, name in zip(symbols, readable(symbols)) if part in name]
    if not named:
        sys.exit(f"profile: no function of the module has {part} in its name")
    for symbol, name in named:
        listing = Listing(module, symbol)
        before = listing.times(few, few_addresses[symbol])
        after = listing.times(many, many_addresses[symbol])
        times = [(last - first) / units for first, last in zip(before, after)]
        if not any(times):
            continue
        print(f"{name}: {sum(times):.0f} instructions, {times[0]:.1f} calls")
        for place, text, count in zip(listing.places, listing.texts, times):
            if abs(count) >= 0.005:
                print(f"{count:8.2f} {place:6x}  {text}")


def main():
    if sys.argv[2] == "--function":
        show_functions(sys.argv[1], sys.argv[3], sys.argv[4])
        return
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
