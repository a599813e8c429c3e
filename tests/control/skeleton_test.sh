#!/usr/bin/env bash
# skeleton_test.sh BUILD_DIR: a control plane of libbpf and a skeleton, with traffic, at an interface of
# the kernel and at a port: it says the same, and the same of it is left when it ends.
set -uo pipefail
build=$(readlink -f "$1")
control=$(dirname "$(readlink -f "$0")")
user=$build/tests/control/skeleton_user
work=$(mktemp -d)
failed=0
. "$control/far.sh"
pins=/sys/fs/bpf/sluice_skeleton_$$
trap 'rm -rf $pins; far_clean_up' EXIT
start_far
# What the kernel drives: ka0, with eb1 at its other end.
ip -n "$near" link add ka0 type veth peer name eb1 netns "$far"
ip -n "$near" link set ka0 up
ip -n "$far" link set eb1 up

say() {
	echo "$side: $*"
	failed=1
}

# What serves the programs: their port, the interface that its packets come from, and how they are run.
use_side() {
	side=$1
	case $side in
	kernel) port=ka0 from=eb1 runner="nsenter --net=/run/netns/$near" ;;
	daemon) port=up0 from=eb0 runner="ip netns exec $near $sluice run --" ;;
	seccomp) port=up0 from=eb0 runner="ip netns exec $near $sluice run --seccomp --" ;;
	esac
}

packets() { in_far "$control/frames.py" send $from "$1"; }
# is EXPECTED COMMAND...: what it prints
is() {
	local expected=$1 got
	shift
	got=$($runner "$@" 2>&1 | grep -v "^libbpf:")
	[ "$got" = "$expected" ] || say "$*: says '$got', not '$expected'"
}

# The kernel detaches a link a little after its last descriptor is closed.
becomes() { # EXPECTED COMMAND...
	local expected=$1
	shift
	for _ in $(seq 50); do
		[ "$($runner "$@")" = "$expected" ] && return || sleep 0.1
	done
	is "$expected" "$@"
}

# started VERB: in the background, until it says that it is ready
started() {
	$runner "$user" "$1" $port 500 >"$work/out" 2>&1 &
	user_pid=$!
	until_out ready
}

until_out() {
	local _
	for _ in $(seq 400); do
		grep -q "$1" "$work/out" && return
		kill -0 $user_pid 2>/dev/null || break
		sleep 0.02
	done
	say "no '$1': $(cat "$work/out")"
}

ended() { # EXPECTED
	wait $user_pid
	[ "$(tail -n 1 "$work/out")" = "$1" ] || say "'$(cat "$work/out")', not '$1'"
}

scenario() {
	use_side "$1"
	started events
	packets 500
	until_out dropping
	packets 500
	ended 'perf 500 ring 500 seen 1000 dropped 500 lost 0 wrong 0'
	becomes 'no program' "$user" query $port

	$runner mkdir -p $pins
	is '' "$user" stay $port $pins/totals
	is 'a program' "$user" query $port
	packets 30
	becomes 'total 30' "$user" total $pins/totals
	is '' "$user" off $port
	is 'no program' "$user" query $port
	packets 5
	sleep 0.1
	is 'total 30' "$user" total $pins/totals
	is '' rm $pins/totals

	is '' "$user" pin $port $pins/link
	is 'a program' "$user" query $port
	is 'detach: Device or resource busy' "$user" off $port
	is '' "$user" update $pins/link
	is 'a program' "$user" query $port
	is '' rm $pins/link
	becomes 'no program' "$user" query $port
	is '' rmdir $pins

	started tc
	packets 500
	ended 'forwarded 500'
	[ "$($runner tc filter show dev $port ingress | grep -c forward)" = 1 ] || say "the filter is gone"
	is '' tc qdisc del dev $port clsact
	started tcx
	packets 500
	ended 'forwarded 500'
}

if nsenter --net=/run/netns/"$near" "$user" query ka0 >/dev/null 2>&1 && [ -w /sys/fs/bpf ]; then
	scenario kernel
fi
scenario daemon
scenario seccomp
exit $failed
