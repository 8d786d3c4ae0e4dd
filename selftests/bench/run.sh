#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# `make bench`, in the virtual machine: instructions of oxtcp beside the built-in TCP, then the objects' sizes.
# BENCH_ROUNDS says how many rounds (5). The table and the figures as JSON go to out/ in the job's folder.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin=${OXTCP_SELFTESTS_BIN:-bin}
module=${OXTCP_MODULE:-../oxtcp.ko}
out=../out
mkdir -p "$out"
[ -e /sys/module/oxtcp ] || insmod "$module"
"$bin/bench" --rounds "${BENCH_ROUNDS:-5}" --json "$out/bench.json" | tee "$out/bench.txt"
echo
"$bin/sizes" | sed -n 's/^#   /bytes per /p' | tee "$out/sizes.txt"
rmmod oxtcp
