# SPDX-License-Identifier: GPL-2.0
# Sourced by the scripts beside it: where things are, and how what is made is kept.

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
CACHE=${OXTCP_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/oxtcp}
TREE=$CACHE/tree
SUITE=trixie

say() { printf 'oxtcp: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

in_tree() { [ -e /.oxtcp-tree ]; }

# A short hash of all arguments.
hash_of() { printf '%s\n' "$@" | sha256sum | cut -c1-16; }

# The words of a list file, without comments.
words_of() { sed 's/#.*//' "$1" | xargs; }

# fresh NAME KEY: whether $CACHE/NAME is complete and was made from KEY.
fresh() { [ "$(cat "$CACHE/stamps/${1//\//_}" 2>/dev/null)" = "$2" ] && [ -e "$CACHE/$1" ]; }

# cached NAME KEY COMMAND...: makes $CACHE/NAME by COMMAND, which gets the path as its last argument,
# unless it is fresh. The stamp goes first and comes back last: what was interrupted is made again.
cached() {
	local name=$1 key=$2 start=$SECONDS
	shift 2
	fresh "$name" "$key" && return
	say "making $name ..."
	mkdir -p "$CACHE/stamps"
	rm -rf "$CACHE/stamps/${name//\//_}" "${CACHE:?}/$name"
	mkdir -p "$(dirname "$CACHE/$name")"
	"$@" "$CACHE/$name"
	printf '%s\n' "$key" > "$CACHE/stamps/.new.$$"
	mv "$CACHE/stamps/.new.$$" "$CACHE/stamps/${name//\//_}"
	say "made $name in $((SECONDS - start)) s"
}

# lock_cache [FILE]: only one set-up at a time works on a cache. Lets go of what was locked before.
lock_cache() {
	mkdir -p "$CACHE"
	exec 9> "$CACHE/${1:-lock}"
	flock -n 9 || { say "waiting for another set-up to end"; flock 9; }
}

# The release of the chosen stock kernel, and where its parts are.
load_kernel() {
	[ -r "$CACHE/chosen" ] || die "no kernel chosen yet: run scripts/setup kernel"
	# shellcheck disable=SC1091
	. "$CACHE/chosen"
	KDIR_STOCK=$CACHE/kernel/$RELEASE
}
