#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# differential.sh FIRST COUNT: what `make differential` does in the virtual machine.
cd "$(dirname "$0")" || exit 1
modprobe tun
mkdir -p out
code=0
./differential --on builtin --first "$1" --count "$2" --record out/builtin.txt || code=1
./differential --on module --first "$1" --count "$2" --record out/module.txt || code=1
# What conversations leave behind keeps the module in use until it gives up. Idle time is skipped here.
sleep 200
exit $code
