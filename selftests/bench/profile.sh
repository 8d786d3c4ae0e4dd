#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What scripts/profile runs in the virtual machine: one kind of work, PROFILE_ROUNDS times, by one TCP (PROFILE_STACK). The
# addresses of the kernel's functions go to out/ in the job's folder.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p ../out
insmod "${OXTCP_MODULE:-../oxtcp.ko}"
sysctl -q -w kernel.kptr_restrict=0
grep -w '[tTwW]' /proc/kallsyms > ../out/kallsyms
"${OXTCP_SELFTESTS_BIN:-bin}/bench" --rounds "$PROFILE_ROUNDS" --only "$PROFILE_STACK" "$PROFILE_WORK" > ../out/units
rmmod oxtcp
