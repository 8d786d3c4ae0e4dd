#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Runs the selftests, in a virtual machine or on a real one, and ends with `N passed, N failed`.
#
#   run_all.sh [--builtin | --doors] [PROGRAM | PROGRAM/PART-OF-A-TEST-NAME ...]
#
# --builtin runs them on the built-in TCP alone, which checks the tests. --doors makes our sockets by AF_INET and AF_INET6, with
# our protocol number there, instead of by our family. Without PROGRAM all are run.
# Needs root. When the module is not loaded it is loaded (OXTCP_MODULE names the file; else ../oxtcp.ko,
# ../build/module/oxtcp.ko, or what modprobe finds), and unloaded in the end.
# OXTCP_SELFTESTS_BIN names the folder of the programs; else bin/ beside this script, or cargo's target.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1

# Cheap ones first; what unloads the module last.
all=(socket_api doors info bind ports connect data messages timestamps urgent auth ao window congestion close poll listen reuseport procfs counters diag netns queues netfilter offload ecn hostile syncookies fast_cookies strays early_demux prediction reflector floods faults tool run terminal scenarios trace sizes stress module)

options=()
programs=()
for argument; do
	case $argument in
	--*) options+=("$argument") ;;
	*) programs+=("$argument") ;;
	esac
done
((${#programs[@]})) || programs=("${all[@]}")
builtin=
[[ " ${options[*]} " == *" --builtin "* ]] && builtin=1

first_existing() {
	local path
	for path; do
		[ -e "$path" ] && realpath "$path" && return
	done
}

bin=${OXTCP_SELFTESTS_BIN:-$(first_existing bin "${CARGO_TARGET_DIR:-target}/release" ../build/cargo/selftests/release)}
if [ ! -x "$bin/socket_api" ]; then
	echo "run_all.sh: no programs in '$bin': build them with \`cargo build --release --bins\`" >&2
	exit 1
fi

OXTCP_MODULE=${OXTCP_MODULE:-$(first_existing ../oxtcp.ko ../build/module/oxtcp.ko)}
export OXTCP_MODULE
loaded=
if [ -z "$builtin" ] && [ ! -e /sys/module/oxtcp ]; then
	if [ -n "$OXTCP_MODULE" ]; then
		insmod "$OXTCP_MODULE"
	else
		modprobe oxtcp
	fi || { echo "run_all.sh: the module cannot be loaded" >&2; exit 1; }
	loaded=1
fi
# Parts of the kernel that a namespace cannot load by itself, where they are modules.
for module in tun veth sch_netem sch_tbf sch_fq_codel nf_conntrack nf_conntrack_netlink tcp_diag; do
	modprobe -q "$module" 2> /dev/null
done
# A connection on loopback costs two descriptors.
ulimit -n "$(ulimit -Hn)" 2> /dev/null

# A debug kernel is many times slower: more patience, smaller transfers.
if [ -e /proc/lockdep ]; then
	export OXTCP_WAIT=${OXTCP_WAIT:-120} OXTCP_DEADLINE=${OXTCP_DEADLINE:-400}
	export OXTCP_BULK_MIB=${OXTCP_BULK_MIB:-1} OXTCP_SHRINK=${OXTCP_SHRINK:-8}
fi

command_of() {
	case $1 in
	hostile | syncookies | reflector) echo "python3 hostile/$1.py" ;;
	*) echo "$bin/$1" ;;
	esac
}

passed=0 failed=0 skipped=0 report=()
for program in "${programs[@]}"; do
	start=$SECONDS
	output=$(mktemp)
	part=()
	[[ $program == */* ]] && part=("${program#*/}")
	program=${program%%/*}
	# shellcheck disable=SC2046 # the command is of words
	$(command_of "$program") "${options[@]}" "${part[@]}" 2>&1 | tee "$output" | sed -u "s/^/$program: /"
	status=${PIPESTATUS[0]}
	skip=$(grep -c '^ok .*# SKIP' "$output")
	ok=$(($(grep -c '^ok ' "$output") - skip))
	bad=$(grep -c '^not ok ' "$output")
	plan=$(sed -n 's/^1\.\.//p' "$output" | head -n 1)
	if [ $((ok + bad + skip)) -ne "${plan:--1}" ]; then
		echo "$program: ended early (exit code $status): $((ok + bad + skip)) of ${plan:-?} tests"
		bad=$((bad + 1))
	elif [ "$status" -ne 0 ] && [ "$status" -ne 4 ] && [ "$bad" -eq 0 ]; then
		echo "$program: exit code $status"
		bad=1
	fi
	report+=("$(printf '%-12s %4d passed %4d failed %4d skipped %5d s' "$program" "$ok" "$bad" "$skip" $((SECONDS - start)))")
	while IFS= read -r line; do
		report+=("    $line")
	done < <(grep '^not ok ' "$output" | head -n 40)
	passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
	rm -f "$output"
done

if [ -n "$loaded" ] && ! rmmod oxtcp; then
	report+=("rmmod failed")
	failed=$((failed + 1))
fi
echo
printf '%s\n' "${report[@]}"
[ "$skipped" -eq 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
