#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# `make goodput`, in the virtual machine with the module loaded. GOODPUT_ROUNDS says how often each cell is measured (3).
set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p ../out
"${OXTCP_SELFTESTS_BIN:-bin}/goodput" | tee ../out/goodput.txt
