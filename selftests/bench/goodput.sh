#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# goodput.sh [PART]: `make goodput`, in the virtual machine with the module loaded. src/bin/goodput.rs says what the parts are, and what
# else can be asked for.
set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p ../out
"${OXTCP_SELFTESTS_BIN:-bin}/goodput" "$@" | tee ../out/goodput.txt
