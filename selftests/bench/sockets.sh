#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# `make sockets`, in the virtual machine with the module loaded. SOCKETS="1000 10000 100000" are the numbers.
set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
mkdir -p ../../out
python3 sockets.py "$(cat /sys/module/oxtcp/parameters/family)" | tee ../../out/sockets.txt
