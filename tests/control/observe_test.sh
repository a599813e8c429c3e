#!/usr/bin/env bash
# observe_test.sh BUILD_DIR: `sluice capture`, `trace`, `log` and `prog dump` with a daemon.
set -uo pipefail
build=$(readlink -f "$1")
sluice=$build/control/cli/sluice
object=$build/tests/control/watched.bpf.o
here=$(readlink -f "$(dirname "$0")")
work=$(mktemp -d)
. "$here/daemon.sh"
trap 'stop_daemon; rm -rf "$work"' EXIT
bpftool=$(command -v bpftool || echo /usr/sbin/bpftool)
failed=0

if ldd "$build/control/shim/libsluice_local.so" | grep -q 'lib[at]san'; then
	echo "a preloaded library cannot bring a sanitizer along"
	exit 77
fi

say() {
	echo "$*"
	failed=1
}

# shows WHAT STATUS PATTERN COMMAND...: exit status, and a pattern in what it prints
shows() {
	local what=$1 expected=$2 pattern=$3 status
	shift 3
	timeout 30 "$@" >"$work/out" 2>&1
	status=$?
	[ $status = "$expected" ] || say "$what: exit status $status: $(head -n 3 "$work/out")"
	[ -z "$pattern" ] || grep -q -- "$pattern" "$work/out" || say "$what: no '$pattern': $(head -n 5 "$work/out")"
}

# What needs no daemon.
for verb in capture trace log prog; do
	shows "$verb --help" 0 "Exit status: 0" "$sluice" $verb --help
done
shows "capture without a file" 2 "no file" "$sluice" capture
shows "a bad option" 2 "bad option '--frobnicate'" "$sluice" capture --frobnicate
shows "a bad number" 2 "bad value 'many'" "$sluice" capture -w x -c many
shows "a bad point" 2 "no point 'nowhere'" "$sluice" capture -w x --at rx,nowhere
shows "a bad sample" 2 "bad value '1/0'" "$sluice" trace -n 1/0
shows "log with too much" 2 "unexpected argument" "$sluice" log now
shows "prog without words" 2 "no command" "$sluice" prog
shows "prog with a bad word" 2 "unknown command 'frob'" "$sluice" prog frob
shows "prog with too little" 2 "not 'dump" "$sluice" prog dump ir
SLUICE_SOCKET=$work/none
export SLUICE_SOCKET
for verb in "capture -w $work/x" trace log "prog dump ir id 1"; do
	# shellcheck disable=SC2086 # words
	shows "$verb without a daemon" 1 "No such file\|Connection refused" "$sluice" $verb
done

# Frames of 64 zero bytes, as fast as they can be had.
start_daemon --no-huge -m 256 --no-shconf --no-pci --vdev net_null0 -- || exit 1

shows "a bad filter" 2 "syntax error" "$sluice" capture -w "$work/x" port and
shows "a port that is none" 1 "no port nowhere" "$sluice" trace -i nowhere
shows "a file that cannot be" 1 "cannot write /nowhere/x" "$sluice" capture -w /nowhere/x

shows "capture" 0 "^100 packets captured" "$sluice" capture -w "$work/a.pcapng" -c 100 -s 20 \
	-i net_null0 'len = 64 and ether[0] = 0'
shows "what was captured" 0 "net_null0@rx 100 20" python3 -c '
import sys
sys.path.insert(0, sys.argv[1])
from watch_files import Capture, libpcap_count
c = Capture(sys.argv[2])
assert libpcap_count(sys.argv[2]) == len(c.packets)
assert all(p[2] == 64 and p[1] == bytes(20) for p in c.packets)
print(c.interfaces[0][0], len(c.packets), c.interfaces[0][2])' "$here" "$work/a.pcapng"
shows "a filter that nothing matches" 0 "^0 packets captured" \
	timeout --preserve-status -s INT 1 "$sluice" capture -w "$work/b.pcapng" udp port 53
shows "to a pipe" 0 "^50$" bash -c "'$sluice' capture -w - -c 50 2>/dev/null >'$work/pipe' &&
	python3 -c 'import sys; sys.path.insert(0, sys.argv[1]); import watch_files
print(watch_files.libpcap_count(sys.argv[2]))' '$here' '$work/pipe'"

shows "trace" 0 "net_null0 q0 len 64 .*ethertype 0x0000 | .*kernel" "$sluice" trace -c 20 -n 1/5000
[ "$(grep -c ' net_null0 q0 ' "$work/out")" = 20 ] || say "not 20 lines"
shows "trace as JSON" 0 '"len":64' "$sluice" trace -c 3 --json ether src 00:00:00:00:00:00
python3 -c 'import json, sys
for line in open(sys.argv[1]):
    if line[0] == "{":
        assert json.loads(line)["path"][-1]["step"] == "count"' "$work/out" || say "not JSON"

# A reader that stalls and one that is killed cost nobody anything.
"$sluice" capture -w "$work/c.pcapng" --at all --ring 65536 2>"$work/stalled" &
stalled=$!
"$sluice" trace -n 1/100 >/dev/null 2>&1 &
killed=$!
sleep 0.3
kill -STOP $stalled
kill -KILL $killed
wait $killed 2>/dev/null
sleep 0.3
shows "capture beside a stalled reader" 0 "^200 packets captured" \
	"$sluice" capture -w "$work/d.pcapng" -c 200
kill -CONT $stalled
kill -INT $stalled
wait $stalled || say "the stalled reader: exit status $?"
grep -q "^[1-9][0-9]* packets lost" "$work/stalled" || say "nothing lost: $(cat "$work/stalled")"

# As many as there may be, and after their end again.
pids=()
for _ in $(seq 16); do
	"$sluice" trace -n 1/1000000 --ring 65536 >/dev/null 2>&1 &
	pids+=($!)
done
for _ in $(seq 100); do
	timeout 10 "$sluice" capture -w "$work/x" -c 1 >"$work/out" 2>&1 || break
	sleep 0.05
done
shows "one too many" 1 "16 captures and traces already" "$sluice" capture -w "$work/x" -c 1
kill "${pids[@]}"
wait "${pids[@]}" 2>/dev/null
for _ in $(seq 100); do
	timeout 10 "$sluice" capture -w "$work/x" -c 1 >"$work/out" 2>&1 && break
	sleep 0.05
done
shows "one in their place" 0 "^10 packets captured" "$sluice" capture -w "$work/x" -c 10

# Others than root and the daemon's user.
if [ "$(id -u)" = 0 ] && id nobody >/dev/null 2>&1; then
	chmod 755 "$work"
	chmod 666 "$SLUICE_SOCKET"
	for verb in "capture -w /dev/null" trace log; do
		# shellcheck disable=SC2086 # words
		shows "$verb of nobody" 1 "not permitted" setpriv --reuid nobody --clear-groups \
			--regid nogroup "$sluice" $verb
	done
fi

if [ -x "$bpftool" ]; then
	timeout 20 "$sluice" log >"$work/log" 2>&1 &
	log=$!
	sleep 0.3
	head -c 64 /dev/zero >"$work/packet"
	shows "prog loadall" 0 "" "$sluice" run -- "$bpftool" prog loadall "$object" \
		/sys/fs/bpf/observed
	shows "prog run" 0 "Return value: 2" "$sluice" run -- "$bpftool" prog run \
		pinned /sys/fs/bpf/observed/prints data_in "$work/packet" repeat 3
	sleep 0.5
	kill $log
	wait $log 2>/dev/null
	[ "$(grep -c 'bpf_trace_printk: 64 bytes of 7$' "$work/log")" = 3 ] ||
		say "log: $(cat "$work/log")"
	shows "what was printed before" 0 \
		'^ *sluiced-[0-9]* *\[[0-9]*\] \.\.\.\.\. *[0-9]*\.[0-9]*: bpf_trace_printk: 64 bytes of 7$' \
		"$sluice" log --no-follow
	shows "prog dump ir" 0 "^define .*@sl_run_" \
		"$sluice" prog dump ir pinned /sys/fs/bpf/observed/watched_xdp
	id=$("$sluice" run -- "$bpftool" -j prog show pinned /sys/fs/bpf/observed/watched_tc |
		sed 's/.*"id":\([0-9]*\).*/\1/')
	shows "prog dump id N ir" 0 "^define .*@sl_run_" "$sluice" prog dump id "$id" ir
	shows "prog dump xlated" 0 "exit" "$sluice" prog dump xlated id "$id"
	shows "prog dump of a name" 0 "^define" "$sluice" prog dump ir name jump_last
	shows "a program that is none" 1 "no program id 4711" "$sluice" prog dump ir id 4711
fi
stop_daemon || say "the daemon's exit status $?"
exit $failed
