#!/usr/bin/env bash
# map_dump_test.sh BUILD_DIR: what bpftool prints of maps with BTF, beside what it prints of the kernel's.
set -uo pipefail
build=$(readlink -f "$1")
sluice=$build/control/cli/sluice
object=$build/tests/control/dumped.bpf.o
work=$(mktemp -d)
pin=/sys/fs/bpf/sluice_dump_$$
bpftool=$(command -v bpftool || echo /usr/sbin/bpftool)
trap 'rm -rf "$work" "$pin"' EXIT

if ldd "$build/control/shim/libsluice_local.so" | grep -q 'lib[at]san'; then
	echo "a preloaded library cannot bring a sanitizer along"
	exit 77
fi
[ -x "$bpftool" ] || { echo "no bpftool" && exit 77; }

bytes() { # COUNT: random ones, as bpftool takes them
	od -An -v -tu1 -N"$1" /dev/urandom | tr -s '\n ' ' '
}
update() { # MAP KEY VALUE: all CPUs get the same
	echo "map update name $1 key $2 value $3"
	echo "map lookup name $1 key $2"
}
{
	echo "prog load $object $pin"
	for _ in 1 2 3; do
		update hash "$(bytes 12)" "$(bytes 56)"
		update percpu_hash "$(bytes 6)" "$(bytes 6)"
		update lru_hash "$(bytes 8)" "$(bytes 4)"
	done
	for i in 0 1 2; do
		update array "$i 0 0 0" "$(bytes 56)"
	done
	update percpu_array "1 0 0 0" "$(bytes 8)"
	update trie "24 0 0 0 10 1 2 0" "$(bytes 6)"
	update trie "9 0 0 0 192 128 0 0" "$(bytes 6)"
	echo "map lookup name trie key 32 0 0 0 10 1 2 77"
	for map in array percpu_array trie; do
		echo "map dump name $map"
	done
	for map in .bss .data .rodata; do
		echo "map dump name dumped$map"
	done
} >"$work/batch"

# Elements of hash tables come in any order: one at a time, deleted when it was shown.
awk '/prog load/ { print }
	/update name [a-z_]*hash / { print; print "map dump name " $4
		sub(/ value .*/, ""); sub(/update/, "delete"); print }' "$work/batch" >"$work/hashes"

# The kernel has other programs' maps too: there they go by the ids of this program's.
in_kernel() { # BATCH
	"$bpftool" prog load "$object" "$pin" || return
	local ids names=()
	ids=$("$bpftool" prog show pinned "$pin" | sed -n 's/.*map_ids //p' | tr ',' ' ' | cut -d' ' -f1-20)
	for id in $ids; do
		names+=(-e "s/ name $("$bpftool" map show id "$id" | sed -n 's/.* name \([^ ]*\) .*/\1/p') / id $id /")
	done
	sed -e 1d -e 's/$/ /' "$work/$1" | sed "${names[@]}" >"$work/by_id"
	"$bpftool" -p batch file "$work/by_id"
	local status=$?
	rm -f "$pin"
	return $status
}
outputs() { # FILE: without the commands, and what loading said
	sed -e '/"command":/,/^ *\],$/d' "$1" | sed -e '/"output": null/d' -e '/^ *},{$/d' -e '/^\[{$/d'
}

failed=0
for batch in batch hashes; do
	if ! in_kernel $batch >"$work/kernel" 2>&1; then
		cat "$work/kernel"
		echo "the kernel takes no maps from this user"
		exit 77
	fi
	if ! "$sluice" run --local -- "$bpftool" -p batch file "$work/$batch" >"$work/ours" 2>&1; then
		cat "$work/ours"
		failed=1
	fi
	if ! diff <(outputs "$work/kernel") <(outputs "$work/ours") >"$work/diff"; then
		echo "bpftool batch file $batch differs:"
		head -40 "$work/diff"
		failed=1
	fi
	grep -q '"balance":' "$work/ours" || { echo "no names of members" && failed=1; }
	[ $batch = hashes ] || cp "$work/ours" "$work/elements"
done
for word in '"formatted"' '"cpu": 0' '"prefixlen": 24' '"address":' '"low":' '"text": "text"' '"inner": \['; do
	grep -q -- "$word" "$work/elements" || { echo "no '$word'" && failed=1; }
done
exit $failed
