#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# `make floods`, in the virtual machine with the module loaded. FLOOD_CLIENTS says how many clients connect (100), FLOOD_TABLES which tables
# there are: --tables, all, or --lengths, the second.
set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p ../out
OXTCP_FLOOD_CLIENTS=${FLOOD_CLIENTS:-100} "${OXTCP_SELFTESTS_BIN:-bin}/floods" "${FLOOD_TABLES:---tables}" | tee ../out/floods.txt
