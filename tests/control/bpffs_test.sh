#!/usr/bin/env bash
# bpffs_test.sh BUILD_DIR: bpf file systems under `sluice run`, beside the kernel's: random operations,
# and unmodified tools.
set -uo pipefail
build=$(readlink -f "$1")
sluice=$build/control/cli/sluice
object=$build/tests/control/events.bpf.o
work=$(mktemp -d)
. "$(dirname "$0")/daemon.sh"
trap 'stop_daemon; umount "$work/kernel" 2>/dev/null; rm -rf "$work"' EXIT
bpftool=$(command -v bpftool || echo /usr/sbin/bpftool)
failed=0

if ldd "$build/control/shim/libsluice_local.so" | grep -q 'lib[at]san'; then
	echo "a preloaded library cannot bring a sanitizer along"
	exit 77
fi

fail() {
	echo "$*"
	failed=1
}

# expect WHAT PATTERN COMMAND...: the command succeeds and prints the pattern.
expect() {
	local what=$1 pattern=$2
	shift 2
	"$@" >"$work/out" 2>&1 || fail "$what: exit status $?: $(cat "$work/out")"
	[ -z "$pattern" ] || grep -q -- "$pattern" "$work/out" ||
		fail "$what: no '$pattern' in: $(cat "$work/out")"
}

# refuse WHAT PATTERN COMMAND...
refuse() {
	local what=$1 pattern=$2
	shift 2
	"$@" >"$work/out" 2>&1 && fail "$what: succeeded"
	grep -q -- "$pattern" "$work/out" || fail "$what: no '$pattern' in: $(cat "$work/out")"
}

# compare SEED COUNT: the same operations on the kernel's file system and on ours.
mkdir "$work/kernel" "$work/ours"
chmod 755 "$work"
compare() {
	unshare -m bash -c "mount -t bpf -o mode=755 bpf $work/kernel && mkdir $work/kernel/top &&
		$build/tests/control/bpffs_ops $work/kernel/top $1 $2" >"$work/kernel.out" 2>&1 ||
		{ echo "the kernel's: $(tail -1 "$work/kernel.out")" && return 77; }
	"$sluice" run $3 -- "$build/tests/control/bpffs_ops" "$work/ours/top" "$1" "$2" \
		>"$work/ours.out" 2>&1
	diff "$work/kernel.out" "$work/ours.out" >"$work/diff" && return 0
	fail "seed $1 $3:"
	head -5 "$work/diff"
}

export SLUICE_BPFFS=$work/ours
skip=
if [ "$(id -u)" = 0 ] && unshare -m mount -t bpf bpf "$work/kernel" 2>/dev/null; then
	for seed in 1 2 3; do
		compare $seed 1000 --local
	done
	# A comparison of failures says little.
	[ "$(grep -c ': ok' "$work/kernel.out")" -gt 100 ] || fail "hardly anything succeeds: $(grep -c ": ok" "$work/kernel.out")"
else
	skip="no bpf file system to compare with"
fi

start_daemon || exit 1
# The operations are another user's now and then.
chmod 666 "$SLUICE_SOCKET"
run="$sluice run --"
if [ -z "$skip" ]; then
	compare 4 1000 ""
	expect "rm -r" '' $run rm -rf "$work/ours/top"
fi
if [ -x "$bpftool" ]; then
	expect "map create" '' $run "$bpftool" map create /sys/fs/bpf/m type hash key 4 value 8 \
		entries 10 name mine
	expect "a pin outlives who made it" 'hash  name mine' $run "$bpftool" map show pinned /sys/fs/bpf/m
	expect "map show -f" 'pinned /sys/fs/bpf/m' $run "$bpftool" -f map show
	expect "prog load" '' $run "$bpftool" prog load "$object" /sys/fs/bpf/p pinmaps /sys/fs/bpf/maps
	expect "prog show -f" '"pinned":\["/sys/fs/bpf/p"\]' $run "$bpftool" -fj prog show
	expect "map show -f" 'pinned /sys/fs/bpf/maps/counts' $run "$bpftool" -f map show
	# Where there is no bpf file system, bpftool mounts one.
	mkdir "$work/new"
	expect "map pin elsewhere" '' $run "$bpftool" map pin name mine "$work/new/m"
	expect "a mounted one" "^bpf $work/new bpf" $run cat /proc/mounts
	expect "a pin there" 'mine' $run "$bpftool" map show pinned "$work/new/m"
	grep -q "$work/new" /proc/mounts && fail "mounted in the kernel"
	expect "umount" '' $run umount "$work/new"
	[ -z "$(ls -A "$work/new")" ] || fail "something was left in the real directory"
	expect "sluice pin list" '^map .* counts .*0600 /sys/fs/bpf/maps/counts$' "$sluice" pin list
	expect "sluice pin list PATH" '"path":"\\/sys\\/fs\\/bpf\\/p"' "$sluice" pin list --json /sys/fs/bpf/p
	[ "$(grep -c '"path"' "$work/out")" = 1 ] || fail "pin list of one path"
	expect "find" '^/sys/fs/bpf/maps/events$' $run find /sys/fs/bpf -type f
	expect "ls" '^-rw-------.* 0 .* counts$' $run ls -l /sys/fs/bpf/maps
	expect "mv" '' $run mv /sys/fs/bpf/m /sys/fs/bpf/maps/moved
	expect "a moved pin" 'mine' $run "$bpftool" map show pinned /sys/fs/bpf/maps/moved
	expect "a relative path" 'mine' $run sh -c "cd /sys/fs/bpf/maps && $bpftool map show pinned moved"
	refuse "reading a pin" 'Input/output error' $run cat /sys/fs/bpf/maps/moved
	refuse "a file" 'Permission denied' $run sh -c ': >/sys/fs/bpf/file'
	refuse "pin rm of a directory" 'maps: not a pin' "$sluice" pin rm /sys/fs/bpf/maps
	expect "pin rm" '' "$sluice" pin rm /sys/fs/bpf/maps/moved
	expect "rm -r" "removed '/sys/fs/bpf/maps/counts'" $run rm -rv /sys/fs/bpf/maps
	expect "the program's maps stay" 'name counts' $run "$bpftool" map show
	grep -q 'name mine' "$work/out" && fail "a map outlives its pin"
	expect "rm" '' $run rm /sys/fs/bpf/p
	for _ in $(seq 40); do
		maps=$($run "$bpftool" map show)
		[ -n "$maps" ] || break
		sleep 0.05
	done
	[ -z "$maps" ] || fail "maps outlive their program"
	[ "$("$sluice" pin list --json | tr -d '\n ')" = "[]" ] || fail "pins that are none"

	# Another user: as the modes say.
	if [ "$(id -u)" = 0 ]; then
		as="setpriv --reuid 12345 --regid $(stat -c %g "$SLUICE_SOCKET") --clear-groups"
		# Who may not be let in to where this was built.
		mkdir -p "$work/theirs/cli" "$work/theirs/shim"
		cp "$sluice" "$work/theirs/cli/"
		cp "$build/control/shim/libsluice.so" "$work/theirs/shim/"
		theirs=$work/theirs/cli/sluice
		chmod o+rx "$work"
		chmod o+rw "$SLUICE_SOCKET"
		expect "map create" '' $run "$bpftool" map create /sys/fs/bpf/m type hash key 4 value 8 \
			entries 10 name mine
		refuse "another's file system" 'Permission denied' $as "$theirs" run -- "$bpftool" map show pinned /sys/fs/bpf/m
		expect "chmod" '' $run chmod 755 /sys/fs/bpf
		refuse "another's pin" 'Permission denied' $as "$theirs" run -- "$bpftool" map show pinned /sys/fs/bpf/m
		refuse "unlink" 'Permission denied' $as "$theirs" run -- rm -f /sys/fs/bpf/m
		refuse "pin into another's" 'Permission denied' $as "$theirs" run -- \
			"$bpftool" map create /sys/fs/bpf/n type hash key 4 value 8 entries 10 name n
		[ "$($as "$theirs" pin list --json | tr -d '\n ')" = "[]" ] || fail "sees another's pins"
		expect "mkdir" '' $run mkdir -m 1777 /sys/fs/bpf/all
		expect "pin into everybody's" '' $as "$theirs" run -- \
			"$bpftool" map create /sys/fs/bpf/all/n type hash key 4 value 8 entries 10 name n
		expect "one's own" '/sys/fs/bpf/all/n' $as "$theirs" pin list
		expect "chown" '' $run chown 12345 /sys/fs/bpf/m
		expect "given away" 'mine' $as "$theirs" run -- "$bpftool" map show pinned /sys/fs/bpf/m
		refuse "unlink in another's directory" 'Permission denied' $as "$theirs" run -- rm -f /sys/fs/bpf/m
	fi
fi
root=$(dirname "$SLUICE_SOCKET")/sluice.bpf
[ -d "$root" ] || fail "no $root"
stop_daemon || fail "the daemon's end"
[ ! -e "$root" ] || fail "$root stays"
[ $failed = 0 ] && [ -n "$skip" ] && echo "$skip" && exit 77
exit $failed
