#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# scenario.sh [--check] NAME: makes something go wrong on this machine, for `make shell SCENARIO=NAME`: a riddle for who knows the README and
# `oxtcp --help`. It goes on in the background, until the machine is switched off. Root, with the module loaded. With --check it only says
# whether there is one of this name.
#
#   flood   SYNs with forged senders come to one of three servers
#   leak    one of three servers does not close what its clients have closed
#   loss    one of three transfers goes over a path that loses
set -eu -o pipefail

check=
[ "${1:-}" != --check ] || { check=1; shift; }
name=${1:-}
case $name in
flood) question="Some clients say that they do not get in. Which port is it, who sends, and what helps?" ;;
leak) question="Connections stay that nobody uses. Which program is it, and how many does it keep?" ;;
loss) question="One of the customers says that it is slow. Which connection is it, and what happens to it?" ;;
*)
	echo "scenario.sh: no scenario \`$name\`; there are flood, leak and loss" >&2
	exit 2
	;;
esac
[ -z "$check" ] || exit 0

folder=$(mktemp -d /tmp/oxtcp-scenario.XXXXXX)

# A server over oxtcp at PORT: MANNER serve closes when the client does, leak never does, send sends what the path takes.
cat > "$folder/server.py" << 'EOF'
import socket, sys, threading
manner, port = sys.argv[1], int(sys.argv[2])
listener = socket.create_server(("", port), backlog=64)
kept = []
def serve(connection):
    with connection:
        while connection.recv(65536):
            pass
def send(connection):
    data = bytes(65536)
    try:
        with connection:
            while True:
                connection.sendall(data)
    except OSError:
        pass
while True:
    connection, _ = listener.accept()
    if manner == "leak":
        kept.append(connection)
    else:
        threading.Thread(target=send if manner == "send" else serve, args=(connection,), daemon=True).start()
EOF

# SYNs for ADDRESS and PORT from all over the world.
cat > "$folder/flood.py" << 'EOF'
import random, socket, struct, sys, time
to, port = socket.inet_aton(sys.argv[1]), int(sys.argv[2])
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
def total(data):
    words = sum(struct.unpack(f"!{len(data) // 2}H", data))
    words = (words >> 16) + (words & 0xffff)
    return ~(words + (words >> 16)) & 0xffff
while True:
    source = bytes([random.choice((11, 45, 77, 101, 133, 190)), *random.randbytes(2), random.randrange(1, 255)])
    syn = struct.pack("!HHIIBBHHH", random.randrange(1024, 65536), port, random.getrandbits(32), 0, 0x50, 2, 65535, 0, 0)
    check = total(source + to + struct.pack("!BBH", 0, 6, len(syn)) + syn)
    syn = syn[:16] + struct.pack("!H", check) + syn[18:]
    packet = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(syn), random.getrandbits(16), 0, 64, 6, 0, source, to) + syn
    raw.sendto(packet, (sys.argv[1], 0))
    time.sleep(0.002)
EOF

# Clients of ADDRESS: MANNER brief connects again and again, keep reads for ever, once leaves N connections behind.
cat > "$folder/client.py" << 'EOF'
import socket, sys, time
manner, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
def connect():
    return socket.create_connection((address, port), timeout=60)
if manner == "keep":
    connection = connect()
    while connection.recv(65536):
        pass
count = int(sys.argv[4]) if manner == "once" else 0
while manner == "brief" or count > 0:
    try:
        with connect() as connection:
            connection.sendall(b"hello")
    except OSError:
        pass
    count -= 1
    time.sleep(0.05 if manner == "once" else 0.3)
EOF

in_background() {
	setsid "$@" < /dev/null > /dev/null 2>&1 &
}

# A name for each program, as `oxtcp ss -p` shows it.
server() {
	ln -sf "$(command -v python3)" "$folder/$1"
	in_background oxtcp run "$folder/$1" "$folder/server.py" "$2" "$3"
}

listens() {
	local limit=$((SECONDS + 60))
	until [ -n "$(oxtcp ss -H -l -n "sport = :$1")" ]; do
		[ $SECONDS -lt $limit ] || { echo "scenario.sh: nobody listens at port $1" >&2; exit 1; }
		sleep 0.1
	done
}

# Another host: namespace NAME at ADDRESS, this one is at GATEWAY.
neighbour() {
	ip netns add "$1"
	ip link add "to-$1" type veth peer name eth0 netns "$1"
	ip addr add "$3/24" dev "to-$1"
	ip link set "to-$1" up
	ip -n "$1" addr add "$2/24" dev eth0
	ip -n "$1" link set eth0 up
	ip -n "$1" link set lo up
	ip -n "$1" route add default via "$3"
	# So that the first connection does not wait for the neighbour.
	ip netns exec "$1" ping -c 1 -W 5 "$3" > /dev/null || true
}

client() {
	local host=$1
	shift
	in_background ip netns exec "$host" python3 "$folder/client.py" "$@"
}

servers() {
	server shop "$1" 8001
	server mail "$2" 8002
	server chat "$3" 8003
	listens 8001
	listens 8002
	listens 8003
	neighbour lan 192.0.2.2 192.0.2.1
}

flood() {
	# As on a host where somebody has switched the defences off.
	oxtcp set syncookies=0 syn_cache=0 > /dev/null
	servers serve serve serve
	client lan brief 192.0.2.1 8001
	client lan brief 192.0.2.1 8002
	client lan brief 192.0.2.1 8003
	neighbour world 198.51.100.2 198.51.100.1
	ip route add default via 198.51.100.2
	in_background ip netns exec world python3 "$folder/flood.py" 198.51.100.1 8002
}

leak() {
	servers serve serve leak
	client lan brief 192.0.2.1 8001
	client lan brief 192.0.2.1 8002
	client lan once 192.0.2.1 8003 40
}

loss() {
	servers send send send
	neighbour abroad 198.51.100.2 198.51.100.1
	tc qdisc add dev to-abroad root netem delay 20ms loss 3%
	client lan keep 192.0.2.1 8001
	client abroad keep 198.51.100.1 8002
	client lan keep 192.0.2.1 8003
}

"$name"
cat << EOF
Three servers run here over oxtcp, at ports 8001 to 8003. Their clients are on
another host.
$(fold -s -w 80 <<< "$question")
Begin with: oxtcp doctor, oxtcp ss -ap, oxtcp top. \`oxtcp --help\` has the rest.
EOF
