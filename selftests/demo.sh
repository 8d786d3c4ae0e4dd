#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The demonstration (`make demo`): unchanged programs exchange data through oxtcp, with the built-in TCP as
# peer and with each other, over IPv4 and IPv6; every claim with what shows it. Runs as root, in the
# virtual machine or on a real one, from a folder with oxtcp.ko (or with the module installed).
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
. "$here/demo/lib.sh"
trap clean_up EXIT
begin=${EPOCHREALTIME/./}

[ "$(id -u)" = 0 ] || fail "not root: a module is to be loaded and namespaces are to be made"
[ ! -e /sys/module/oxtcp ] || fail "the module is loaded already: rmmod oxtcp first"
for tool in oxtcp python3 curl ip tc tcpdump nsenter pgrep awk cmp sha256sum; do
	command -v "$tool" > /dev/null || fail "$tool is not installed"
done

mkdir "$work/www"
head -c 16M /dev/urandom > "$work/www/random"
head -c 20000 /dev/urandom > "$work/www/small"
expected=$(sha256 "$work/www/random")
mark="oxtcp-demo: starts ($$)"
echo "<4>$mark" > /dev/kmsg

step "The module, on a stock kernel: $(uname -r)"
if [ -e oxtcp.ko ]; then
	insmod ./oxtcp.ko || fail "insmod oxtcp.ko"
else
	modprobe oxtcp || fail "modprobe oxtcp: there is no oxtcp.ko here, and none installed"
fi
loaded=yes
for list in /proc/net/oxtcp /proc/net/oxtcp6; do
	[ -r $list ] || fail "$list is not there"
done
ok "loaded: socket family $(cat /sys/module/oxtcp/parameters/family), its sockets in /proc/net/oxtcp and /proc/net/oxtcp6"

step "On one machine: 16 MB of random bytes, from python3's http.server to curl"
start_server "" oxtcp 127.0.0.1 8004
start_server "" oxtcp ::1 8006
start_server "" built-in 127.0.0.1 8014
start_server "" built-in ::1 8016
server_is_up "" oxtcp 127.0.0.1 8004
server_is_up "" oxtcp ::1 8006
server_is_up "" built-in 127.0.0.1 8014
server_is_up "" built-in ::1 8016
start_transfer "oxtcp run python3, curl; IPv4" "" oxtcp 127.0.0.1 8004 "" built-in
start_transfer "oxtcp run python3, curl; IPv6" "" oxtcp '[::1]' 8006 "" built-in
start_transfer "python3, oxtcp run curl; IPv4" "" built-in 127.0.0.1 8014 "" oxtcp
start_transfer "python3, oxtcp run curl; IPv6" "" built-in '[::1]' 8016 "" oxtcp
start_transfer "oxtcp run python3, oxtcp run curl; IPv4" "" oxtcp 127.0.0.1 8004 "" oxtcp
start_transfer "oxtcp run python3, oxtcp run curl; IPv6" "" oxtcp '[::1]' 8006 "" oxtcp
finish_transfers
stop servers

step "Between two network namespaces: 20 ms of delay, 1 % of the packets lost in each direction (netem)"
east=oxtcp-east west=oxtcp-west
namespaces=($east $west)
for namespace in $east $west; do
	ip netns add $namespace && ip -n $namespace link set lo up || fail "ip netns add $namespace"
done
ip link add wire netns $east type veth peer name wire netns $west || fail "ip link add type veth"
host=1
for namespace in $east $west; do
	ip -n $namespace address add 192.0.2.$host/24 dev wire &&
		ip -n $namespace address add 2001:db8::$host/64 dev wire nodad &&
		ip -n $namespace link set wire up || fail "the addresses of $namespace"
	host=$((host + 1))
done
tc -n $east qdisc add dev wire root netem delay 20ms loss 1% &&
	tc -n $west qdisc add dev wire root netem loss 1% || fail "tc qdisc add netem"
start_server $east oxtcp 192.0.2.1 8004
start_server $east oxtcp 2001:db8::1 8006
start_server $east built-in 192.0.2.1 8014
server_is_up $east oxtcp 192.0.2.1 8004
server_is_up $east oxtcp 2001:db8::1 8006
server_is_up $east built-in 192.0.2.1 8014
start_transfer "oxtcp run python3, curl; IPv4" $east oxtcp 192.0.2.1 8004 $west built-in
start_transfer "oxtcp run python3, curl; IPv6" $east oxtcp '[2001:db8::1]' 8006 $west built-in
start_transfer "python3, oxtcp run curl; IPv4" $east built-in 192.0.2.1 8014 $west oxtcp
start_transfer "oxtcp run python3, oxtcp run curl; IPv4" $east oxtcp 192.0.2.1 8004 $west oxtcp
start_transfer "oxtcp run python3, oxtcp run curl; IPv6" $east oxtcp '[2001:db8::1]' 8006 $west oxtcp
finish_transfers
detail "$(tc -n $east -s qdisc show dev wire | grep -o 'dropped [0-9]*') by $east's netem"

step "A connection on the wire, from its first segment to its last (both sides oxtcp, 20 ms, no loss)"
tc -n $east qdisc replace dev wire root netem delay 20ms && tc -n $west qdisc del dev wire root || fail "tc qdisc"
inside $west tcpdump -i wire -U --immediate-mode -w "$work/wire.pcap" tcp port 8004 2> "$work/tcpdump.log" &
captures=($!)
wait_for grep -q 'listening on' "$work/tcpdump.log" || fail "tcpdump does not start" "$work/tcpdump.log"
inside $west oxtcp run curl --silent --show-error --fail --max-time 20 --output "$work/small" http://192.0.2.1:8004/small \
	2> "$work/curl.log" || fail "curl ended with code $?" "$work/curl.log"
cmp -s "$work/small" "$work/www/small" || fail "what arrived is not what was sent"
ladder() {
	oxtcp ladder --client curl --server python3 "$work/wire.pcap" > "$work/ladder" 2>&1 && grep -q "$@" "$work/ladder"
}
wait_for ladder '  CLOSED .*TIME-WAIT$' || fail "the connection does not come to its end" "$work/ladder"
stop captures
client=$(sed -n '1s/.*192.0.2.2:\([0-9]*\) .*/\1/p' "$work/ladder")
sed 's/^/  /' "$work/ladder"
echo
ladder 'SYN-SENT .*SYN-RECEIVED$' && ladder 'ESTABLISHED .*ESTABLISHED$' || fail "no handshake in the drawing" "$work/ladder"
ok "drawn by oxtcp ladder from tcpdump's capture: handshake, data and close"
is_there $east oxtcp 8004 "$client" TIME-WAIT ||
	fail "the server's side is drawn in TIME-WAIT, but the kernel has: $(sockets $east '*' 8004 "$client" '*')"
ok "the kernel agrees with the last line:"
show_socket server "$found"

step "And away again"
stop servers
for namespace in $east $west; do
	ip netns del $namespace || fail "ip netns del $namespace"
done
namespaces=()
loaded=''
wait_for unload || fail "rmmod oxtcp" "$work/rmmod.log"
[ ! -e /proc/net/oxtcp ] && [ ! -e /sys/module/oxtcp ] || fail "rmmod left something behind in /proc or /sys"
oxtcp run true > "$work/run.log" 2>&1 && fail "oxtcp run goes on without the module"
ok "rmmod oxtcp; oxtcp run now says: $(head -n 1 "$work/run.log")"
# What the kernel says of every module that is not its own is not ours to mend.
dmesg --level emerg,alert,crit,err,warn | sed "1,/$mark/d" |
	grep -v -e 'oxtcp: loading out-of-tree module taints kernel' -e 'oxtcp: module verification failed' > "$work/warnings"
[ ! -s "$work/warnings" ] || fail "the kernel's log has warnings" "$work/warnings"
ok "warnings in the kernel's log: none"

printf '\n%s%d checks passed%s in %s\n' "$green" $checks "$plain" "$(seconds_since "$begin")"
