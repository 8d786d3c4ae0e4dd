#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# in-guest.sh MUTANTS [SCRIPT...]: what `make conformance` does in the virtual machine. First the runner itself is
# tested, on the kernel's own TCP, then the module; of the changes of each script, MUTANTS are tried.
cd "$(dirname "$0")" || exit 1
mutants=$1
shift
modprobe tun
mkdir -p out
code=0
run=(./conformance --scripts packetdrill --catalogue scripts.tsv --backend socket "--mutate=$mutants")
"${run[@]}" --builtin --quiet --results out/builtin.tsv "$@" || code=1
"${run[@]}" --results out/module.tsv "$@" || code=1
# What scripts leave behind keeps the module in use until it gives up. Idle time is skipped here.
sleep 200
exit $code
