# SPDX-License-Identifier: GPL-2.0
# What selftests/demo.sh is made of: its output, waiting, looking at sockets, servers and transfers.

work=$(mktemp -d /tmp/oxtcp-demo.XXXXXX)
servers=()
transfers=()
captures=()
namespaces=()
loaded=''
checks=0
# Seconds to wait for anything: emulated machines on busy hosts are slow.
patience=60

if [ -t 1 ]; then
	bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
	bold='' green='' red='' plain=''
fi

step() {
	printf '\n%s%s%s\n' "$bold" "$*" "$plain"
}

ok() {
	checks=$((checks + 1))
	printf '  %sok%s    %s\n' "$green" "$plain" "$*"
}

detail() {
	printf '        %s\n' "$@"
}

# fail REASON [FILE]: ends the demonstration; shows the end of FILE (a program's output) and of the kernel's log.
fail() {
	printf '  %sFAILED%s  %s\n' "$red" "$plain" "$1"
	[ -n "${2:-}" ] && [ -s "$2" ] && { detail "${2##*/}:"; tail -n 15 "$2" | sed 's/^/        | /'; }
	detail "kernel log:"
	dmesg | tail -n 15 | sed 's/^/        | /'
	exit 1
}

clean_up() {
	stop servers
	stop transfers
	stop captures
	for namespace in "${namespaces[@]}"; do
		ip netns del "$namespace" 2> /dev/null
	done
	[ -z "$loaded" ] || wait_for unload
	rm -rf "$work"
}

# A namespace is taken down in the background, and its sockets hold the module until then.
unload() {
	rmmod oxtcp 2> "$work/rmmod.log"
}

# wait_for COMMAND...: until COMMAND succeeds, or patience ends.
wait_for() {
	local limit=$((SECONDS + patience))
	until "$@"; do
		[ $SECONDS -lt $limit ] || return 1
		sleep 0.1
	done
}

seconds_since() {
	local now=${EPOCHREALTIME/./}
	printf '%d.%d s' $(((now - $1) / 1000000)) $(((now - $1) / 100000 % 10))
}

# inside NAMESPACE COMMAND...: an empty name is the initial one.
inside() {
	if [ -n "$1" ]; then
		nsenter --net="/run/netns/$1" "${@:2}"
	else
		shift
		"$@"
	fi
}

# sockets NAMESPACE TCP LOCAL-PORT REMOTE-PORT STATE: those sockets there, `*` being any.
sockets() {
	inside "$1" awk -v tcp="$2" -v local="$3" -v remote="$4" -v wanted="$5" -f "$here/demo/sockets.awk" \
		/proc/net/tcp /proc/net/tcp6 /proc/net/oxtcp /proc/net/oxtcp6
}

# is_there ...: whether there are such sockets; leaves them in $found.
is_there() {
	found=$(sockets "$@")
	[ -n "$found" ]
}

# start_server NAMESPACE TCP ADDRESS PORT: python3's http.server, under `oxtcp run` where TCP is oxtcp.
start_server() {
	local namespace=$1 tcp=$2 address=$3 port=$4 log="$work/server-$4.log" wrap=()
	[ "$tcp" = oxtcp ] && wrap=(oxtcp run)
	(cd "$work/www" && inside "$namespace" "${wrap[@]}" python3 -m http.server "$port" --bind "$address") > "$log" 2>&1 &
	servers+=($!)
}

server_is_up() {
	local namespace=$1 tcp=$2 address=$3 port=$4
	wait_for is_there "$namespace" '*' "$port" 0 LISTEN ||
		fail "python3 does not listen on $address port $port" "$work/server-$port.log"
	[ "${found%% *}" = "$tcp" ] || fail "$address port $port should be $tcp's, but it is: $found"
}

# stop NAME: ends the background jobs of this list, and what they have started.
stop() {
	local -n jobs=$1
	local pid
	[ ${#jobs[@]} -gt 0 ] || return 0
	for pid in "${jobs[@]}"; do
		end_tree "$pid"
	done
	wait "${jobs[@]}" 2> /dev/null
	jobs=()
}

end_tree() {
	end_children "$1"
	kill "$1" 2> /dev/null
}

end_children() {
	local child
	for child in $(pgrep -P "$1"); do
		end_tree "$child"
	done
}

# start_transfer ...: a transfer in the background; finish_transfers shows their outcomes in order.
start_transfer() {
	(trap 'end_children $BASHPID' EXIT && transfer "$@") > "$work/transfer-${#transfers[@]}" 2>&1 &
	transfers+=($!)
}

finish_transfers() {
	local index code
	for index in "${!transfers[@]}"; do
		wait "${transfers[index]}"
		code=$?
		cat "$work/transfer-$index"
		[ $code = 0 ] || exit 1
		checks=$((checks + 1))
	done
	transfers=()
}

# transfer LABEL NAMESPACE TCP ADDRESS PORT CLIENT-NAMESPACE CLIENT-TCP: fetches the file with curl. While it is
# under way (curl writes into a pipe that nobody empties yet), the sockets of both sides are looked up.
transfer() {
	local label=$1 namespace=$2 tcp=$3 address=$4 port=$5 client_namespace=$6 client_tcp=$7
	local log="$work/curl-$BASHPID.log" pipe="$work/pipe-$BASHPID" file="$work/fetched-$BASHPID" begin=${EPOCHREALTIME/./}
	local wrap=() curl server_socket client_socket client_address
	[ "$client_tcp" = oxtcp ] && wrap=(oxtcp run)

	mkfifo "$pipe"
	exec {hold}<> "$pipe"
	inside "$client_namespace" "${wrap[@]}" \
		curl --silent --show-error --fail --max-time 90 --output "$pipe" "http://$address:$port/random" 2> "$log" &
	curl=$!
	wait_for is_there "$client_namespace" "$client_tcp" '*' "$port" ESTABLISHED ||
		fail "$label: curl has no connection through the $client_tcp TCP" "$log"
	client_socket=$found
	read -r _ client_address _ <<< "$client_socket"
	wait_for is_there "$namespace" "$tcp" "$port" "${client_address##*:}" ESTABLISHED ||
		fail "$label: the server has no connection through the $tcp TCP" "$log"
	server_socket=$found
	cat "$pipe" > "$file" {hold}>&- &
	local cat=$!
	exec {hold}>&-

	wait $curl || fail "$label: curl ended with code $?" "$log"
	wait $cat
	[ "$(sha256 "$file")" = "$expected" ] || fail "$label: what arrived is not what was sent" "$log"
	ok "$label: $(stat -c %s "$file") bytes, sha256 equal, $(seconds_since "$begin")"
	show_socket "server" "$server_socket"
	show_socket "curl" "$client_socket"
	rm -f "$file" "$pipe"
}

# show_socket NAME 'TCP LOCAL REMOTE STATE'
show_socket() {
	local tcp local remote state list=/proc/net/
	read -r tcp local remote state <<< "$2"
	[ "$tcp" = oxtcp ] && list+=ox
	list+=tcp
	[[ $local == \[* ]] && list+=6
	detail "$(printf '%-7s %-11s %s -> %s in %s' "$1" "$state" "$local" "$remote" "$list")"
}

sha256() {
	sha256sum "$1" | cut -d' ' -f1
}
