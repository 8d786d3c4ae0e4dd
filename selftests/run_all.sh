#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Runs the selftests, in a virtual machine or on a real one, and ends with `N passed, N failed`.
#
#   run_all.sh [--builtin | --doors] [--again] [PROGRAM | PROGRAM/PART-OF-A-TEST-NAME ...]
#
# --builtin runs them on the built-in TCP alone, which checks the tests. --doors makes our sockets by AF_INET and AF_INET6, with
# our protocol number there, instead of by our family. Without PROGRAM all are run.
# --again runs a test that failed once more, alone. One that passes then is not counted as failed, but named as unsteady: it or the
# code under it depends on when things happen, and is to be mended. More than $most_unsteady of them are failures, and what the kernel reports is
# never run again.
# Needs root. When the module is not loaded it is loaded (OXTCP_MODULE names the file; else ../oxtcp.ko,
# ../build/module/oxtcp.ko, or what modprobe finds), and unloaded in the end.
# OXTCP_SELFTESTS_BIN names the folder of the programs; else bin/ beside this script, or cargo's target.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1

# Cheap ones first; what unloads the module last.
all=(socket_api doors info bind ports connect data messages timestamps urgent auth ao window congestion close poll listen reuseport procfs counters diag netns queues netfilter offload ecn hostile syncookies fast_cookies strays early_demux prediction reflector floods faults tool run terminal scenarios trace sizes without_ipv6 stress module)

most_unsteady=5

options=()
programs=()
again=
for argument; do
	case $argument in
	--again) again=1 ;;
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

# reasons OUTPUT: the tests that failed, each with the lines that say why.
reasons() {
	awk '
		/^# the kernel is newly tainted/ { said = said "        " substr($0, 3) "\n"; lines++; next }
		/^#   / { if (lines < 8) said = said "        " substr($0, 5) "\n"; lines++; next }
		/^not ok / { sub(/^not ok [0-9]+ /, ""); printf "    failed: %s\n%s", $0, said }
		{ said = ""; lines = 0 }' "$1" | head -n 200
}

# passes_alone PROGRAM OUTPUT: whether each test that failed there passes now. The kernel's own test does not.
passes_alone() {
	local program=$1 name names
	mapfile -t names < <(sed -n 's/^not ok [0-9]* //p' "$2")
	((unsteady + ${#names[@]} <= most_unsteady)) || return
	for name in "${names[@]}"; do
		[ "$name" != kernel__no_warning ] || return
	done
	for name in "${names[@]}"; do
		echo "$program: # once more: $name"
		# shellcheck disable=SC2046 # the command is of words
		$(command_of "$program") "${options[@]}" "$name" 2>&1 | sed -u "s/^/$program: # /"
		[ "${PIPESTATUS[0]}" -eq 0 ] || return
	done
	unsteady=$((unsteady + ${#names[@]}))
}

passed=0 failed=0 skipped=0 unsteady=0 report=()
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
	why=$(reasons "$output")
	if [ -n "$again" ] && [ "$status" -eq 1 ] && [ $((ok + bad + skip)) -eq "$plan" ] && passes_alone "$program" "$output"; then
		ok=$((ok + bad)) bad=0
		why=${why//    failed: /    unsteady: }
	fi
	report+=("$(printf '%-12s %4d passed %4d failed %4d skipped %5d s' "$program" "$ok" "$bad" "$skip" $((SECONDS - start)))")
	[ -z "$why" ] || report+=("$why")
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
[ "$unsteady" -eq 0 ] || echo "$unsteady unsteady: failed, and passed when run alone"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
