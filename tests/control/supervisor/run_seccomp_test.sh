#!/usr/bin/env bash
# run_seccomp_test.sh BUILD_DIR: programs that nothing can be preloaded into, under
# `sluice run --seccomp`. What they expect is what the kernel does: it is asked first.
set -uo pipefail
build=$(readlink -f "$1")
here=$(readlink -f "$(dirname "$0")")
sluice=$build/control/cli/sluice
programs=$build/tests/control/supervisor
objects=$build/tests/control
work=$(mktemp -d)
. "$here/../daemon.sh"
trap 'stop_daemon; rm -rf "$work"' EXIT
bpftool=$(command -v bpftool || echo /usr/sbin/bpftool)
failed=0

# run STATUS [PATTERN] -- COMMAND...: under supervision
run() {
	local expected=$1 pattern= status
	shift
	[ "$1" = -- ] || { pattern=$1 && shift; }
	shift
	timeout -k 1 30 "$sluice" run --seccomp -- "$@" >"$work/out" 2>&1
	status=$?
	if [ $status = "$expected" ]; then
		[ -z "$pattern" ] || grep -q -- "$pattern" "$work/out" && return
	fi
	echo "$*: exit status $status, expected $expected '$pattern':"
	cat "$work/out"
	failed=1
}

# modes NAME...: of the program that checks itself; the kernel must agree, where it may be asked.
modes() {
	local mode status
	for mode; do
		if [ "$(id -u)" = 0 ] && ! timeout 30 "$programs/supervised" "$mode" >"$work/out" 2>&1; then
			echo "$mode: the kernel does otherwise:"
			cat "$work/out"
			failed=1
		fi
		run 0 -- "$programs/supervised" "$mode"
	done
}

launch() {
	start_daemon --no-huge -m 64 --no-shconf --no-pci --vdev net_null0 --
}

launch || exit 1
if ! "$sluice" run --seccomp -- true 2>"$work/out"; then
	grep -q 'cannot supervise' "$work/out" || { cat "$work/out" && exit 1; }
	cat "$work/out"
	exit 77
fi

# The command's end is the command's.
run 42 hello -- sh -c 'echo hello; exit 42'
run 127 'No such file' -- "$work/nothing"
run 126 'denied' -- /dev/null
run 137 -- sh -c 'kill -KILL $$'
run 143 -- sh -c 'kill -TERM $$'
run 2 -- "$programs/supervised" nonsense
"$sluice" run --seccomp -- sh -c 'trap "exit 7" TERM; echo ready; while :; do sleep 0.05; done' \
	>"$work/ready" &
front=$!
until [ -s "$work/ready" ]; do sleep 0.02; done
kill -TERM $front
wait $front
[ $? = 7 ] || { echo "a signal is not passed on" && failed=1; }
# Who is killed takes the command along.
"$sluice" run --seccomp -- sh -c 'echo $$ >"$0"; exec sleep 60' "$work/pid" &
front=$!
until [ -s "$work/pid" ]; do sleep 0.02; done
kill -KILL $front
wait $front 2>/dev/null
for _ in $(seq 100); do [ -d "/proc/$(cat "$work/pid")" ] || break && sleep 0.02; done
[ ! -d "/proc/$(cat "$work/pid")" ] || { echo "the command outlives its front" && failed=1; }
"$sluice" run --seccomp --local -- true 2>"$work/out"
[ $? = 2 ] || { echo "--seccomp and --local" && failed=1; }
run 1 'supervised already' -- "$sluice" run --seccomp -- true

modes threads errors children maps epoll map_threads limit killed signals
run 0 -- "$programs/supervised" busy
run 0 -- "$programs/supervised" other_abi
run 9 -- "$programs/supervised" lost
# A namespace of its own has no bpf(2) of the kernel's.
run 0 -- "$programs/supervised" namespaces
run 0 -- "$programs/supervised" orphan "$work/served"
for _ in $(seq 100); do [ -e "$work/served" ] && break || sleep 0.02; done
[ -e "$work/served" ] || { echo "what the command leaves behind is not served" && failed=1; }

run 0 'received 1000 lost 0 wrong 0' -- "$programs/perf_reader_static" "$objects/events.bpf.o"
run 0 'received 2000 wrong 0' -- "$programs/ring_reader_static" "$objects/records.bpf.o"
run 0 'sent 8500 drained 8500' -- "$programs/ring_writer_static" \
	"$objects/client/user_ring.bpf.o"
[ "$(id -u)" != 0 ] || modes dropped
# rtnetlink, and the names of interfaces; the same program at an interface of the kernel first.
if [ "$(id -u)" = 0 ]; then
	unshare -n sh -c 'ip link add net_null0 type veth && exec "$@"' sh \
		"$programs/attach_static" net_null0 "$programs/attached.bpf.o" >"$work/out" 2>&1 ||
		{ echo "attach_static: the kernel does otherwise:" && cat "$work/out" && failed=1; }
	run 0 'attached and detached' -- "$programs/attach_static" net_null0 \
		"$programs/attached.bpf.o"
	! unshare -rn true 2>/dev/null ||
		run 0 'attached and detached' -- unshare -rn "$programs/attach_static" net_null0 \
			"$programs/attached.bpf.o"
fi
for show in "ip link show dev net_null0" "ip addr" "ip route" "tc qdisc show"; do
	"$sluice" run -- $show >"$work/preloaded" 2>&1
	"$sluice" run --seccomp -- $show >"$work/out" 2>&1
	diff "$work/preloaded" "$work/out" || { echo "$show differs" && failed=1; }
done
# As in a container.
if unshare -Urpfm --mount-proc true 2>/dev/null; then
	run 0 'received 1000 lost 0 wrong 0' -- unshare -Urpfm --mount-proc \
		"$programs/perf_reader_static" "$objects/events.bpf.o"
fi
# Without privileges nothing but no_new_privs is missing.
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	chmod 755 "$work" && chmod 666 "$SLUICE_SOCKET"
	setpriv --reuid 65534 --clear-groups "$sluice" run --seccomp -- sh -c \
		'grep NoNewPrivs /proc/self/status' >"$work/out" 2>&1
	grep -q 'NoNewPrivs:.1' "$work/out" || { echo "no_new_privs:" && cat "$work/out" && failed=1; }
fi

if command -v go >/dev/null && [ -d /usr/share/gocode/src/github.com/cilium/ebpf ]; then
	(cd "$here/go_reader" && GO111MODULE=off GOPATH=/usr/share/gocode CGO_ENABLED=0 \
		GOCACHE="$build/go-cache" go build -o "$work/go_reader" .) || failed=1
	pins=
	[ "$(id -u)" != 0 ] || pins="/sys/fs/bpf/sluice_go/pins net_null0"
	run 0 'events 500 records 500 map counts' -- "$work/go_reader" \
		"$objects/events.bpf.o" "$objects/records.bpf.o" $pins
else
	echo "no Go with its eBPF library: golang-go golang-github-cilium-ebpf-dev"
fi

# Paths of pins: what one process makes, another sees, and nobody else.
# In a chroot there can be no file system of the command's own.
if [ "$(id -u)" = 0 ] && [ -x "$bpftool" ] && unshare -m true 2>/dev/null; then
	run 0 '^dir m1$' -- sh -c 'cd /sys/fs/bpf && mkdir dir && cd dir &&
		'"$bpftool"' map create ./m1 type array key 4 value 4 entries 2 name pinned && cd .. &&
		echo dir $(ls dir)'
	run 0 'name pinned' -- "$bpftool" map show pinned /sys/fs/bpf/dir/m1
	run 0 bpf_fs -- stat -f -c %T /sys/fs/bpf/dir
	run 255 'No such file' -- sh -c \
		'rm /sys/fs/bpf/dir/m1 && rmdir /sys/fs/bpf/dir && '"$bpftool"' map show pinned /sys/fs/bpf/dir/m1'
	grep -q "sluice" /proc/mounts && { echo "a mount of the command's is everybody's" && failed=1; }
fi

# The same tool in both ways.
if [ -x "$bpftool" ]; then
	head -c 64 /dev/zero >"$work/packet"
	for how in "" --seccomp; do
		cat >"$work/batch" <<-EOF
			prog load $objects/events.bpf.o /sys/fs/bpf/sluice_test$how
			prog show pinned /sys/fs/bpf/sluice_test$how
			map update name counts key 2 0 0 0 value 7 0 0 0 0 0 0 0
			prog run pinned /sys/fs/bpf/sluice_test$how data_in $work/packet repeat 10
			map dump name counts
			prog dump xlated pinned /sys/fs/bpf/sluice_test$how
		EOF
		"$sluice" run $how -- "$bpftool" batch file "$work/batch" >"$work/out$how" 2>&1 ||
			{ echo "bpftool $how:" && cat "$work/out$how" && failed=1; }
		# What numbers and times are in it, and what comes by /proc/self/fdinfo, differs.
		sed -i -e 's/memlock [0-9]*B *//' -e 's/[0-9]\{4\}-[^ ]*//' -e 's/[0-9]\+//g' "$work/out$how"
		stop_daemon
		launch || exit 1
	done
	diff "$work/out" "$work/out--seccomp" || { echo "bpftool's output differs" && failed=1; }
fi
exit $failed
