#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Boots a kernel in QEMU and runs one command in it.

    vm run [OPTIONS] -- COMMAND...    runs COMMAND as root, in /job; its output and exit code are ours
    vm shell [OPTIONS]                an interactive shell in /job, with the module loaded

What is in the folder --job is /job in the guest (default: build/job/KERNEL); what the command leaves
in /job/out comes back to --out. The kernel's log goes to --log and is scanned for reports of bugs:
any makes the run fail (exit code 99). Other codes of our own: 124 time-out, 125 the guest died,
96 files did not fit, 97 and 98 the module did not load or unload.
"""

import argparse
import fcntl
import glob
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(HERE)
CACHE = os.environ["OXTCP_CACHE"]
OUT_MB = 256
FSTAB = b"".join(f"{what} {where} {what} {how},X-mount.mkdir 0 0\n".encode() for what, where, how in (
    ("devpts", "/dev/pts", "ptmxmode=666"), ("tmpfs", "/dev/shm", "mode=1777"), ("tmpfs", "/run", "mode=755"),
    ("tmpfs", "/tmp", "mode=1777"), ("debugfs", "/sys/kernel/debug", "rw"), ("tracefs", "/sys/kernel/tracing", "rw"),
    ("bpf", "/sys/fs/bpf", "rw"), ("cgroup2", "/sys/fs/cgroup", "rw")))


def chosen():
    with open(f"{CACHE}/chosen") as f:
        return dict(line.strip().split("=", 1) for line in f if "=" in line)


class Kernel:
    """Where a bootable kernel's parts are."""

    def __init__(self, name):
        self.name = name
        if name == "stock":
            base = f"{CACHE}/kernel/{chosen()['RELEASE']}"
        else:
            base = f"{CACHE}/{name}"
        self.image = f"{base}/vmlinuz"
        self.initrd = f"{base}/initrd"
        self.modules = f"{base}/modules.ext4"
        for path in (self.image, self.initrd):
            if not os.path.exists(path):
                sys.exit(f"vm: {path} is missing: run scripts/setup {'debug' if name == 'debug' else 'vm'}")


def cpio_entry(name, mode, data=b"", ino=[1]):
    """One entry of a cpio archive in the `newc` form."""
    ino[0] += 1
    raw = name.encode() + b"\0"
    head = "070701" + "".join(
        f"{v:08X}" for v in (ino[0], mode, 0, 0, 1, 1_700_000_000, len(data), 0, 0, 0, 0, len(raw), 0))
    out = head.encode() + raw
    out += b"\0" * (-len(out) % 4)
    return out + data + b"\0" * (-len(data) % 4)


def cpio_tree(job, extra):
    """A cpio archive of the folder `job` as /job, and of `extra` {path: (mode, bytes)}."""
    parts = [cpio_entry("job", 0o40755)]
    if job:
        for folder, folders, files in os.walk(job):
            folders.sort()
            for n in sorted(folders + files):
                path = os.path.join(folder, n)
                name = "job/" + os.path.relpath(path, job)
                if os.path.islink(path):
                    parts.append(cpio_entry(name, 0o120777, os.readlink(path).encode()))
                elif os.path.isdir(path):
                    parts.append(cpio_entry(name, 0o40755))
                elif os.path.isfile(path):
                    with open(path, "rb") as f:
                        parts.append(cpio_entry(name, 0o100000 | (os.stat(path).st_mode & 0o777), f.read()))
    parts.append(cpio_entry("job/.vm", 0o40755))
    parts.append(cpio_entry("job/.vm/dev", 0o40755))
    for name, to in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        parts.append(cpio_entry(f"job/.vm/dev/{name}", 0o120777, f"/proc/self/{to}".encode()))
    for name, (mode, data) in extra.items():
        parts.append(cpio_entry(name, 0o100000 | mode, data))
    parts.append(cpio_entry("TRAILER!!!", 0))
    return b"".join(parts)


def qemu_command(kernel, run, mode, smp, mem, interactive, append, accel):
    cmdline = ["console=ttyS0,115200", "panic=-1", "oops=panic", "loglevel=7", "printk.time=1",
               "rdinit=/init", "nokaslr", "mitigations=off", "random.trust_cpu=on", "net.ifnames=0"]
    cmd = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
           # The old machine, without hot plugging: a fifth of the ACPI code for the debug kernel to run.
           "-machine", "pc,smm=off,vmport=off",
           "-global", "PIIX4_PM.acpi-pci-hotplug-with-bridge-support=off", "-global", "PIIX4_PM.acpi-root-pci-hotplug=off",
           "-m", str(mem), "-kernel", kernel.image, "-initrd", f"{run}/initrd"]
    if mode == "icount":
        # Virtual time: one instruction is one nanosecond, idle time is skipped. A `rep movs` would
        # count per byte, so memcpy is made to take the other way.
        cmd += ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-smp", "1",
                "-cpu", "max,-erms,-fsrm", "-seed", "1", "-rtc", "base=2026-01-01,clock=vm"]
        cmdline += ["cryptomgr.notests"]
    elif accel == "kvm":
        cmd += ["-accel", "kvm", "-cpu", "host", "-smp", str(smp)]
    else:
        cmd += ["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(smp)]
        cmdline += ["cryptomgr.notests"]
    if kernel.name == "debug":
        # KASAN takes the switch to five-level paging for a wild access when an interrupt falls into
        # it; and every report counts, not only the first. Slab caches without debug flags keep stale
        # pointers in their sheaves, which hide what leaked from kmemleak.
        cmdline += ["no5lvl", "kasan_multi_shot", "printk.devkmsg=on", "slab_debug=F"]
    if mode == "fast":
        # A loaded machine holds the guest's processors up: no stall that is not the guest's own.
        cmdline += ["tsc=reliable", "rcupdate.rcu_cpu_stall_timeout=120", "sysctl.kernel.watchdog_thresh=60"]
    cmd += ["-chardev", f"file,id=log,path={run}/kernel.log", "-serial", "chardev:log"]
    if interactive:
        cmd += ["-chardev", "stdio,id=tty,signal=off", "-serial", "chardev:tty"]
    else:
        cmd += ["-serial", "null",
                "-device", "virtio-serial-pci",
                "-chardev", "stdio,id=out,signal=off", "-device", "virtserialport,chardev=out,name=oxtcp.out",
                "-chardev", f"file,id=ctl,path={run}/ctl", "-device", "virtserialport,chardev=ctl,name=oxtcp.ctl"]
    disks = [("root", f"{CACHE}/guest.ext4", True), ("out", f"{run}/out.raw", False)]
    if os.path.exists(kernel.modules):
        disks.append(("modules", kernel.modules, True))
    for name, path, ro in disks:
        cmd += ["-drive", f"if=none,id={name},format=raw,file={path},cache=unsafe,readonly={'on' if ro else 'off'},file.locking=off",
                "-device", f"virtio-blk-pci,drive={name},serial={name}"]
    return cmd + ["-append", " ".join(cmdline + append)]


def kvm_works():
    """Whether KVM boots a kernel here; asked once per boot of this machine."""
    want = os.environ.get("OXTCP_KVM")
    if want is not None:
        return want not in ("", "0", "no")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    with open("/proc/sys/kernel/random/boot_id") as f:
        boot = f.read().strip()
    memo = f"{CACHE}/kvm"
    try:
        with open(memo) as f:
            known, answer = f.read().split()
        if known == boot:
            return answer == "yes"
    except (OSError, ValueError):
        pass
    kernel = Kernel("stock")
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="probe.") as run:
        cmd = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "pc",
               "-accel", "kvm", "-cpu", "host", "-smp", "2", "-m", "512", "-kernel", kernel.image, "-initrd", kernel.initrd,
               "-serial", "null", "-chardev", f"file,id=p,path={run}/probe", "-serial", "chardev:p",
               "-append", "rdinit=/init oxtcp.probe panic=-1 quiet"]
        try:
            subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=15)
            with open(f"{run}/probe", "rb") as f:
                ok = b"probe" in f.read()
        except (OSError, subprocess.TimeoutExpired):
            ok = False
    with open(memo, "w") as f:
        f.write(f"{boot} {'yes' if ok else 'no'}\n")
    return ok


def take_slot():
    """Waits until fewer virtual machines run than there are processors; the lock is held until we end.
    More at once are slower than one after the other, and run into their time-outs. Who came first is first:
    only the first of the queue looks for a slot, and the kernel wakes who waits for a lock in their order."""
    os.makedirs(f"{CACHE}/slots", exist_ok=True)
    slots = [open(f"{CACHE}/slots/{n}", "w") for n in range(max(2, os.cpu_count() or 2))]
    with open(f"{CACHE}/slots/queue", "w") as queue:
        said = False
        try:
            fcntl.flock(queue, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("vm: waiting for other virtual machines to end", file=sys.stderr)
            said = True
            fcntl.flock(queue, fcntl.LOCK_EX)
        while True:
            for slot in slots:
                try:
                    fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return slot
                except BlockingIOError:
                    pass
            if not said:
                print("vm: waiting for other virtual machines to end", file=sys.stderr)
                said = True
            time.sleep(0.5)


def make_folder():
    """A folder of this run, and the lock on it that is held until we end. What runs that were killed have left goes."""
    for left in glob.glob(f"{CACHE}/run.*"):
        try:
            # One that is being made has no lock yet.
            if time.time() - os.stat(left).st_mtime < 60:
                continue
            folder = os.open(left, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(folder)
    run = tempfile.mkdtemp(dir=CACHE, prefix="run.")
    lock = os.open(run, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return run, lock


def main():
    parser = argparse.ArgumentParser(prog="vm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "shell"))
    parser.add_argument("--kernel", default="stock", help="stock (default) or debug")
    parser.add_argument("--mode", choices=("fast", "icount"), default="fast",
                        help="fast: as quick as can be; icount: virtual time that counts instructions, one CPU")
    parser.add_argument("--smp", type=int, default=2, help="processors (default 2)")
    parser.add_argument("--mem", type=int, help="memory in MB (default 2048)")
    parser.add_argument("--timeout", type=float, default=600, help="seconds (default 600)")
    parser.add_argument("--job", help="folder that becomes /job (default build/job/KERNEL; 'none': an empty one)")
    parser.add_argument("--out", help="folder that gets what is in /job/out (default: nothing is kept)")
    parser.add_argument("--log", help="file for the kernel's log (default build/log/KERNEL-PID.log)")
    parser.add_argument("--module", action="store_true", help="load ./oxtcp.ko first and unload it after")
    parser.add_argument("--parameters", default="", help="the module's parameters, for --module")
    parser.add_argument("--env", action="append", default=[], help="NAME=VALUE for the command")
    parser.add_argument("--append", action="append", default=[], help="kernel parameter")
    parser.add_argument("--plugin", help="a plugin of QEMU's, with its arguments")
    parser.add_argument("--no-scan", action="store_true", help="do not judge the kernel's log")
    parser.add_argument("--kmemleak", action=argparse.BooleanOptionalAction, default=None,
                        help="look for leaks after the command (default: on the debug kernel with --module)")
    argv = sys.argv[1:]
    command = []
    if "--" in argv:
        at = argv.index("--")
        argv, command = argv[:at], argv[at + 1:]
    args = parser.parse_args(argv)
    interactive = args.what == "shell"
    if not interactive and not command:
        parser.error("no command; put it after --")

    kernel = Kernel(args.kernel)
    mem = args.mem or 2048
    job = args.job or f"{REPO}/build/job/{args.kernel}"
    if job == "none":
        job = None
    elif not os.path.isdir(job):
        sys.exit(f"vm: no folder {job}: run `make job` first, or give --job")
    log = os.path.abspath(args.log or f"{REPO}/build/log/{args.kernel}-{os.getpid()}.log")
    os.makedirs(os.path.dirname(log), exist_ok=True)

    env = dict(v.split("=", 1) for v in args.env)
    env["VM_KERNEL"] = args.kernel
    env["VM_MODE"] = args.mode
    if args.module or interactive:
        env["VM_MODULE"] = "1"
        env["VM_MODULE_PARAMETERS"] = args.parameters
    kmemleak = args.kmemleak if args.kmemleak is not None else (args.kernel == "debug" and args.module)
    if kmemleak:
        env["VM_KMEMLEAK"] = "1"
    if interactive:
        size = shutil.get_terminal_size()
        env.update(VM_SHELL="1", VM_TERM=os.environ.get("TERM", "linux"), VM_ROWS=str(size.lines), VM_COLS=str(size.columns))
    extra = {
        "job/.vm/command": (0o644, (command[0] if len(command) == 1 else shlex.join(command)).encode()),
        "job/.vm/env": (0o644, "".join(f"{k}={shlex.quote(v)}\n" for k, v in env.items()).encode()),
        "job/.vm/fstab": (0o644, FSTAB),
        "job/.vm/bashrc": (0o644, b"PS1='oxtcp:\\w# '\n"),
        "job/.vm/start": (0o755, open(f"{HERE}/guest/start", "rb").read()),
    }

    slot = None if interactive else take_slot()  # noqa: F841 (held until the process ends)
    accel = "kvm" if args.mode == "fast" and kvm_works() else "tcg"
    run, lock = make_folder()  # noqa: F841 (held until the process ends)
    code = 125
    try:
        with open(f"{run}/initrd", "wb") as f:
            with open(kernel.initrd, "rb") as base:
                shutil.copyfileobj(base, f)
            f.write(b"\0" * (-f.tell() % 512))
            f.write(cpio_tree(job, extra))
        with open(f"{run}/out.raw", "wb") as f:
            f.truncate(OUT_MB << 20)
        open(f"{run}/kernel.log", "wb").close()
        cmd = qemu_command(kernel, run, args.mode, args.smp, mem, interactive, args.append, accel)
        if args.plugin:
            cmd += ["-plugin", args.plugin]
        start = time.monotonic()
        sys.stdout.flush()
        qemu = subprocess.Popen(cmd, stdin=None if interactive else subprocess.PIPE)
        for s in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(s, lambda *_: qemu.kill())
        timed_out = False
        try:
            qemu.wait(None if interactive else args.timeout)
        except subprocess.TimeoutExpired:
            timed_out = True
            qemu.kill()
            qemu.wait()
        except KeyboardInterrupt:
            qemu.kill()
            qemu.wait()
            code = 130
        took = time.monotonic() - start
        shutil.copyfile(f"{run}/kernel.log", log)
        if interactive:
            return 0
        if code == 130:
            return code
        try:
            with open(f"{run}/ctl") as f:
                code = int(f.read().strip() or 125)
        except (OSError, ValueError):
            code = 125
        if timed_out:
            code = 124
            print(f"vm: killed after {took:.0f} s; the kernel's log: {log}", file=sys.stderr)
        elif code == 125:
            print(f"vm: the guest died after {took:.0f} s; the kernel's log: {log}; its end:", file=sys.stderr)
            with open(log, errors="replace") as f:
                sys.stderr.write("".join(f.readlines()[-30:]))
        if args.out:
            os.makedirs(args.out, exist_ok=True)
            with open(f"{run}/out.raw", "rb") as f:
                if f.read(1) != b"\0":
                    f.seek(0)
                    with tarfile.open(fileobj=f) as tar:
                        tar.extractall(args.out, filter="data")
        if not args.no_scan:
            scan = subprocess.run([sys.executable, f"{HERE}/scan-log", log], stdout=subprocess.PIPE, text=True)
            if scan.returncode != 0:
                sys.stdout.flush()
                print(f"vm: the kernel reported a bug ({log}):\n{scan.stdout}", file=sys.stderr, end="")
                if code in (0, 125):
                    code = 99
        return code
    finally:
        shutil.rmtree(run, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
