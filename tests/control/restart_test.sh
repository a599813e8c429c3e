#!/usr/bin/env bash
# restart_test.sh BUILD_DIR: what is pinned is the same after the daemon has been stopped and started.
set -uo pipefail
build=$(readlink -f "$1")
sluice=$build/control/cli/sluice
object=$build/tests/control/events.bpf.o
work=$(mktemp -d)
. "$(dirname "$0")/daemon.sh"
trap 'stop_daemon; rm -rf "$work"' EXIT
bpftool=$(command -v bpftool || echo /usr/sbin/bpftool)
failed=0

if ldd "$build/control/shim/libsluice.so" | grep -q 'lib[at]san'; then
	echo "a preloaded library cannot bring a sanitizer along"
	exit 77
fi
[ -x "$bpftool" ] || { echo "no bpftool" && exit 77; }

fail() {
	echo "$*"
	failed=1
}

start() {
	start_daemon --no-huge -m 64 --no-shconf -- --state "$work/state" || exit 1
}

run="$sluice run --"
pin=/sys/fs/bpf/t_
export SLUICE_LOG=info

# make TYPE ARGUMENTS...
make() {
	$run "$bpftool" map create $pin$1 type "$@" name "t_$1" || fail "cannot make a $1"
}

start
$run "$bpftool" prog load "$object" /sys/fs/bpf/p pinmaps /sys/fs/bpf/maps || fail "prog load"
for type in hash array percpu_hash percpu_array lru_hash lru_percpu_hash; do
	make $type key 4 value 8 entries 10
	$run "$bpftool" map update pinned $pin$type key 1 0 0 0 value 1 2 3 4 5 6 7 8 || fail "update of a $type"
done
make lpm_trie key 8 value 8 entries 10 flags 1
$run "$bpftool" map update pinned ${pin}lpm_trie key 24 0 0 0 10 1 2 0 value 1 2 3 4 5 6 7 8 || fail "lpm_trie"
for type in queue stack; do
	make $type key 0 value 4 entries 10
	for i in 1 2 3; do
		$run "$bpftool" map push pinned $pin$type value $i 0 0 0 || fail "push to a $type"
	done
done
make hash_of_maps key 4 value 4 entries 10 inner_map pinned ${pin}hash
make array_of_maps key 4 value 4 entries 10 inner_map pinned ${pin}array
make prog_array key 4 value 4 entries 4
$run "$bpftool" map update pinned ${pin}hash_of_maps key 7 0 0 0 value pinned ${pin}hash || fail "hash_of_maps"
$run "$bpftool" map update pinned ${pin}array_of_maps key 3 0 0 0 value pinned ${pin}array || fail "array_of_maps"
$run "$bpftool" map update pinned ${pin}prog_array key 2 0 0 0 value pinned /sys/fs/bpf/p || fail "prog_array"
make ringbuf key 0 value 0 entries 4096
make bloom_filter key 0 value 4 entries 4
# A program and a map that only another map holds.
$run "$bpftool" map update pinned ${pin}prog_array key 1 0 0 0 value pinned /sys/fs/bpf/p
make devmap key 4 value 4 entries 4
$run "$bpftool" map freeze pinned ${pin}lru_hash || fail "freeze"
$run mkdir -m 750 /sys/fs/bpf/dir
$run ln -s /sys/fs/bpf/maps /sys/fs/bpf/dir/link
$run chmod 640 ${pin}hash
[ "$(id -u)" != 0 ] || $run chown 12345:12346 /sys/fs/bpf/dir ${pin}hash
$run "$build/tests/control/fill_map" fill /sys/fs/bpf/dir/many 100000 || fail "fill"

show() {
	"$sluice" pin list
	$run "$bpftool" map show
	$run "$bpftool" prog show | sed 's/loaded_at [^ ]*//'
	$run "$bpftool" prog dump xlated pinned /sys/fs/bpf/p
	$run find /sys/fs/bpf -printf '%M %u %g %p %l\n' | sort
	for type in hash array percpu_hash percpu_array lru_hash lru_percpu_hash lpm_trie hash_of_maps \
		array_of_maps prog_array; do
		$run "$bpftool" map dump pinned $pin$type
	done
	$run "$build/tests/control/fill_map" check /sys/fs/bpf/dir/many 100000
}

show >"$work/before" 2>&1
grep -q '100000 entries, right' "$work/before" || fail "the map was not filled"
stop_daemon || fail "the daemon's end"
[ -s "$work/state/state" ] || fail "no state is kept"
cp "$work/state/state" "$work/good"
start
show >"$work/after" 2>&1
diff "$work/before" "$work/after" | head -20
cmp -s "$work/before" "$work/after" || fail "not the same after a restart"
[ ! -e "$work/state/state" ] || fail "a state is used twice"
for type in queue stack; do
	got=$(for _ in 1 2 3 4; do $run "$bpftool" map pop pinned $pin$type 2>&1; done | grep -o 'value: 0.' | tr -d '\n')
	[ "$got" = "$([ $type = queue ] && echo 'value: 01value: 02value: 03' || echo 'value: 03value: 02value: 01')" ] ||
		fail "a $type gives $got"
done
head -c 64 /dev/zero >"$work/packet"
$run "$bpftool" prog run pinned /sys/fs/bpf/p data_in "$work/packet" >"$work/out" 2>&1
grep -q 'Return value: 2' "$work/out" || fail "the program does not run: $(cat "$work/out")"
$run "$bpftool" map update pinned ${pin}lru_hash key 1 0 0 0 value 1 1 1 1 1 1 1 1 2>/dev/null &&
	fail "a frozen map is not frozen"

# Killed, it keeps nothing, and the next one starts with nothing.
kill -9 "$daemon"
wait "$daemon" 2>/dev/null
start
[ "$("$sluice" pin list --json | tr -d ' \n')" = "[]" ] || fail "pins after a kill"

# What is not whole is not taken, and put away.
size=$(stat -c %s "$work/good")
for bad in "head -c $((size - 8))" "head -c 0" "sed s/SLUICEST/SLUICESS/" "sed s/t_queue/t_quite/"; do
	stop_daemon || fail "the daemon's end"
	$bad "$work/good" >"$work/state/state"
	: >"$work/daemon.log"
	start
	grep -q 'state in .* is not taken: it' "$work/daemon.log" || fail "nothing said after $bad"
	[ -e "$work/state/state.bad" ] || fail "not put away after $bad"
	[ "$("$sluice" pin list --json | tr -d ' \n')" = "[]" ] || fail "pins after $bad"
done
stop_daemon || fail "the daemon's end"
cp "$work/good" "$work/state/state"
start
show >"$work/after" 2>&1
diff "$work/before" "$work/after" >/dev/null || fail "a good state is not taken after bad ones"
exit $failed
