#!/usr/bin/env bash
# run_test.sh BUILD_DIR: unmodified tools under `sluice run`, with a Sluice of their own (--local) and
# with a daemon's.
set -uo pipefail
build=$(readlink -f "$1")
sluice=$build/control/cli/sluice
object=$build/tests/control/events.bpf.o
work=$(mktemp -d)
. "$(dirname "$0")/daemon.sh"
trap 'stop_daemon; rm -rf "$work"' EXIT
bpftool=$(command -v bpftool || echo /usr/sbin/bpftool)
failed=0

# A sanitizer's library must come first in a process, or not at all.
if ldd "$build/control/shim/libsluice_local.so" | grep -q 'lib[at]san'; then
	echo "a preloaded library cannot bring a sanitizer along"
	exit 77
fi

# check WHAT STATUS EXPECTED_STATUS [PATTERN...]: of the output in $work/out
check() {
	local what=$1 status=$2 expected=$3 pattern
	shift 3
	if [ "$status" != "$expected" ]; then
		echo "$what: exit status $status, expected $expected"
		failed=1
	fi
	for pattern in "$@"; do
		grep -q -- "$pattern" "$work/out" && continue
		echo "$what: no '$pattern' in:"
		failed=1
	done
	[ $failed = 0 ] || cat "$work/out"
}

"$sluice" >"$work/out" 2>&1
check "no verb" $? 2 'no verb'
"$sluice" frobnicate >"$work/out" 2>&1
check "unknown verb" $? 2 "unknown verb 'frobnicate'"
SLUICE_SOCKET=$work/none "$sluice" run -- true >"$work/out" 2>&1
check "run without a daemon" $? 1 "cannot reach sluiced at $work/none: No such file"
"$sluice" run --local -- >"$work/out" 2>&1
check "run without a command" $? 2 'no command'
"$sluice" run --local -- "$work/nothing" >"$work/out" 2>&1
check "a command that does not exist" $? 127 'No such file'
"$sluice" run --local -- "$build/tests/control/static_program" >"$work/out" 2>&1
check "a static command" $? 126 'statically linked'
"$sluice" run --local -- sh -c 'exit 42' >"$work/out" 2>&1
check "the command's own status" $? 42
"$sluice" run --local -- cat /dev/null >"$work/out" 2>&1
check "a program without bpf(2)" $? 0

# tools OPTION: programs that know nothing of Sluice.
tools() {
	"$sluice" run $1 -- "$build/tests/control/perf_reader" "$object" >"$work/out" 2>&1
	check "perf_reader $1" $? 0 'received 1000 lost 0 wrong 0'

	"$sluice" run $1 -- "$build/tests/control/ring_reader" \
		"$build/tests/control/records.bpf.o" >"$work/out" 2>&1
	check "ring_reader $1" $? 0 'received 2000 wrong 0'

	"$sluice" run $1 -- "$build/tests/control/ring_writer" \
		"$build/tests/control/client/user_ring.bpf.o" >"$work/out" 2>&1
	check "ring_writer $1" $? 0 'sent 8500 drained 8500'

	head -c 64 /dev/zero >"$work/packet"
	cat >"$work/batch" <<EOF
prog load $object /sys/fs/bpf/sluice_test
prog show
prog show pinned /sys/fs/bpf/sluice_test
map show
map update name counts key 2 0 0 0 value 7 0 0 0 0 0 0 0
prog run pinned /sys/fs/bpf/sluice_test data_in $work/packet repeat 10
map dump name counts
prog dump xlated pinned /sys/fs/bpf/sluice_test
EOF
	"$sluice" run $1 -- "$bpftool" batch file "$work/batch" >"$work/out" 2>&1
	check "bpftool batch $1" $? 0 'xdp  name count' 'array  name counts' 'Return value: 2' \
		'"value": 10' '"value": 7' 'call bpf_perf_event_output'
	[ ! -e /sys/fs/bpf/sluice_test ] || { echo "a pin reached the kernel" && failed=1; }
}

[ -x "$bpftool" ] || { [ $failed = 0 ] && echo "no bpftool" && exit 77; }
tools --local
start_daemon || exit 1
tools ""
stop_daemon
check "the daemon's end" $? 0
exit $failed
