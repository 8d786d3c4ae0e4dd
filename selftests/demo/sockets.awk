# SPDX-License-Identifier: GPL-2.0
# Reads /proc/net/{tcp,tcp6,oxtcp,oxtcp6} and prints a line for every socket that has the variables `tcp`
# (oxtcp or built-in), `local` and `remote` (ports) and `wanted` (state), each of which may be `*`:
#	which TCP, local address, remote address, state

BEGIN {
	split("ESTABLISHED SYN-SENT SYN-RECEIVED FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT CLOSED CLOSE-WAIT LAST-ACK LISTEN CLOSING SYN-RECEIVED", names, " ")
}

FNR == 1 {
	which = FILENAME ~ /oxtcp/ ? "oxtcp" : "built-in"
	next
}

matches(tcp, which) && matches(local, port($2)) && matches(remote, port($3)) && matches(wanted, names[hex($4)]) {
	print which, endpoint($2), endpoint($3), names[hex($4)]
}

function matches(pattern, text) {
	return pattern == "*" || pattern == text ""
}

function port(text,   part) {
	split(text, part, ":")
	return hex(part[2])
}

function endpoint(text,   part) {
	split(text, part, ":")
	if (length(part[1]) == 8)
		return ipv4(part[1]) ":" hex(part[2])
	return "[" ipv6(part[1]) "]:" hex(part[2])
}

# Addresses stand there as 32-bit words in the byte order of the machine, here little-endian.
function ipv4(word) {
	return hex(byte(word, 4)) "." hex(byte(word, 3)) "." hex(byte(word, 2)) "." hex(byte(word, 1))
}

function ipv6(words,   i, word, text) {
	if (substr(words, 1, 24) == "0000000000000000FFFF0000")
		return "::ffff:" ipv4(substr(words, 25))
	for (i = 0; i < 4; i++) {
		word = substr(words, 8 * i + 1, 8)
		text = text sprintf(":%x:%x", hex(byte(word, 4) byte(word, 3)), hex(byte(word, 2) byte(word, 1)))
	}
	text = substr(text, 2)
	sub(/(^|:)0(:0)+(:|$)/, "::", text)
	return text
}

function byte(word, i) {
	return substr(word, 2 * i - 1, 2)
}

function hex(text,   i, value) {
	for (i = 1; i <= length(text); i++)
		value = 16 * value + index("0123456789ABCDEF", toupper(substr(text, i, 1))) - 1
	return value + 0
}
