# SPDX-License-Identifier: GPL-2.0
"""KTAP for the tests in Python: each test in a process of its own, as src/ktap.rs does it."""

import os
import signal
import sys
import time
import traceback

PASS, FAIL, SKIP = 0, 1, 4
# A test may take this many seconds before it counts as hung.
DEADLINE = int(os.environ.get("OXTCP_DEADLINE", "90"))


class Skip(Exception):
    """Ends a test as skipped."""


def run(program, tests, title):
    """Runs (name, function) pairs and prints KTAP. Returns the exit code."""
    print("KTAP version 1")
    print(f"# {program}: {title}")
    print(f"1..{len(tests)}", flush=True)
    totals = {PASS: 0, FAIL: 0, SKIP: 0}
    for number, (name, test) in enumerate(tests, 1):
        code, text = run_in_child(test)
        totals[code] += 1
        text = text.strip()
        if code == SKIP:
            print(f"ok {number} {name} # SKIP {text.replace(chr(10), ' ')}")
        else:
            for line in text.splitlines():
                print(f"#   {line}")
            print(f"{'ok' if code == PASS else 'not ok'} {number} {name}")
        sys.stdout.flush()
    print(f"# Totals: pass:{totals[PASS]} fail:{totals[FAIL]} xfail:0 xpass:0 skip:{totals[SKIP]} error:0")
    if totals[FAIL]:
        return FAIL
    return PASS if totals[PASS] else SKIP


def run_in_child(test):
    """Runs one test in a child process. Returns its exit code and what it said."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.setpgid(0, 0)
        code, text = PASS, ""
        try:
            text = test() or ""
        except Skip as why:
            code, text = SKIP, str(why)
        except BaseException as error:  # pylint: disable=broad-except
            where = traceback.extract_tb(error.__traceback__)
            text = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(where) if "ktap" not in frame.filename)
            code, text = FAIL, f"{type(error).__name__}: {error}\nat {text}"
        os.write(writer, text.encode()[:60000])
        os._exit(code)
    os.close(writer)
    end = time.monotonic() + DEADLINE
    text = b""
    os.set_blocking(reader, False)
    while True:
        try:
            text += os.read(reader, 65536)
        except BlockingIOError:
            pass
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            try:
                text += os.read(reader, 65536)
            except BlockingIOError:
                pass
            os.close(reader)
            if os.WIFEXITED(status) and os.WEXITSTATUS(status) in (PASS, FAIL, SKIP):
                return os.WEXITSTATUS(status), text.decode(errors="replace")
            return FAIL, text.decode(errors="replace") + f"\nended with status {status:#x}"
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(reader)
            return FAIL, text.decode(errors="replace") + "\nhung: stopped at the deadline"
        time.sleep(0.005)


def both(tests):
    """Each test for both IP versions, as main() takes them."""
    for version in (4, 6):
        for test in tests:
            yield f"ipv{version}.{test.__name__}", lambda v=version, t=test: t(v)


def main(program, tests):
    """Runs the tests, pairs of a name and a function, that the command line names by parts; `--list` lists them. Returns the exit code."""
    parts = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    chosen = [(name, test) for name, test in tests if not parts or any(part in name for part in parts)]
    if "--list" in sys.argv:
        print("\n".join(name for name, _ in chosen))
        return 0
    return run(program, chosen, "built-in TCP only" if "--builtin" in sys.argv else "oxtcp")
