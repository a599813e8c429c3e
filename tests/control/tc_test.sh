#!/usr/bin/env bash
# tc_test.sh BUILD_DIR: classifiers and actions that tc puts at a port, with traffic; where the kernel can
# do the same at a veth, it is asked as well, and both must say the same.
set -uo pipefail
build=$(readlink -f "$1")
control=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d)
failed=0
. "$control/far.sh"
globals=/sys/fs/bpf/tc/globals
trap 'rm -f $globals/sluice_counts; far_clean_up' EXIT
PATH=$PATH:/usr/sbin
command -v bpftool >/dev/null || { echo "no bpftool" && exit 77; }
start_far
# What the kernel drives: ka0, with eb1 at its other end.
ip -n "$near" link add ka0 type veth peer name eb1 netns "$far"
ip -n "$near" link set ka0 up
ip -n "$near" addr add 10.6.0.1/24 dev ka0
ip -n "$far" link set eb1 up
ip -n "$far" addr add 10.6.0.2/24 dev eb1
cp "$build/tests/control/classifiers.bpf.o" "$work/o.o"
cd "$work" || exit 1

# use_side NAME: what serves the tools: their port and its address, and how they are run.
use_side() {
	side=$1
	case $side in
	kernel) port=ka0 from=eb1 address=10.6.0.1 runner="nsenter --net=/run/netns/$near" ;;
	daemon) port=up0 from=eb0 address=10.5.0.1 runner="ip netns exec $near $sluice run --" ;;
	seccomp) port=up0 from=eb0 address=10.5.0.1 runner="ip netns exec $near $sluice run --seccomp --" ;;
	esac
}

# try COMMAND...: what it says and returns, without what differs by nature
try() {
	$runner "$@" 2>&1 | sed -E -e 's/ (id|tag) [0-9a-f]+/ \1 N/g' -e "s/$port/PORT/g"
	[ "${PIPESTATUS[0]}" = 0 ] || echo "fails: $*" | sed "s/$port/PORT/g"
}

filter() { # VERB ARGUMENTS...
	local verb=$1
	shift
	try tc filter "$verb" dev $port ingress "$@"
}

# The packets that the kernel's network stack has been given, and how often each program has run.
passed() { ip netns exec "$near" awk '/^Udp: [0-9]/ { print $3 }' /proc/net/snmp; }
runs() { echo $($runner bpftool map dump pinned $globals/sluice_counts | sed -n 's/.*"value": //p'); }

# traffic WHAT PASSED RUNS...: ten packets, how many of them are to pass, and how often each program is to
# have run by then.
traffic() {
	local what=$1 wanted="$2 pass, runs ${*:3}" first got
	first=$(passed)
	in_far "$control/frames.py" send $from 10 7777 64 $address
	for _ in $(seq 40); do
		got="$(($(passed) - first)) pass, runs $(runs | sed 's/\( 0\)*$//')"
		[ "$got" != "$wanted" ] || return
		sleep 0.05
	done
	say "$what: '$got', not '$wanted'"
}

say() {
	echo "$side: $*" >&2
	failed=1
}

# gone NAME...: no such programs, before long: a filter is freed when nobody looks at it any more
gone() {
	local name
	for name; do
		for _ in $(seq 40); do
			$runner bpftool prog show >list
			grep -q " name $name " list || continue 2
			sleep 0.05
		done
		say "there is still: $(grep " name $name " list)"
	done
}

set_to() { try bpftool map update pinned $globals/sluice_counts key "$1" 0 0 0 value "$2" 0 0 0 0 0 0 0; }

direct() {
	try tc qdisc add dev $port clsact
	filter add prio 5 bpf da obj o.o sec any_name
	traffic "da ok" 10 10
	filter add prio 3 bpf da obj o.o sec tc/next
	traffic "unspec" 10 20 0 10
	filter add prio 4 handle 7 bpf da obj o.o sec tc/drop
	traffic "shot" 0 20 10 20
	filter show
	filter replace prio 4 handle 7 bpf da obj o.o sec tc/setting
	gone drops
	traffic "replaced" 10 20 10 30 10
	# Another application tells the program what to do, and sets a count.
	set_to 15 2
	traffic "told to drop" 0 20 10 40 20 0 0 0 0 0 0 0 0 0 0 0 2
	set_to 15 0
	set_to 0 100
	traffic "told to pass" 10 100 10 50 30
	filter del prio 4 handle 7 bpf
	filter del prio 3
	filter del prio 5
	gone setting passes next
	traffic "no filter" 10 100 10 50 30
	filter add prio 1 protocol ip bpf da obj o.o sec any_name
	traffic "the pinned map is found" 10 110 10 50 30
	filter add prio 2 protocol arp bpf da obj o.o sec tc/drop
	traffic "another protocol" 10 120 10 50 30
	filter add prio 1 protocol ip bpf da obj o.o sec nothing
	filter del
	try tc qdisc del dev $port clsact
	filter show
	gone passes drops
	try ip link set dev $port xdp obj o.o sec xdp/drop
	traffic "xdp drop" 0 120 10 50 30
	try ip link set dev $port xdp off
	traffic "xdp off" 10 120 10 50 30
	try rm $globals/sluice_counts
}

classes() {
	try tc qdisc add dev $port clsact
	filter add prio 1 bpf obj o.o sec classifier/none
	filter add prio 2 bpf obj o.o sec classifier/configured classid 1:7
	filter add prio 3 bpf da obj o.o sec tc/drop
	traffic "match" 10 0 0 0 0 10 10
	filter show
	filter replace prio 2 handle 1 bpf obj o.o sec classifier/own classid 1:7
	traffic "a class of its own" 10 0 0 0 0 20 10 10
	filter replace prio 2 handle 1 bpf obj o.o sec classifier/none
	traffic "no match" 0 0 10 0 0 40 10 10
	try tc qdisc del dev $port clsact
	try rm $globals/sluice_counts
}

# What not every kernel has: act_bpf and act_gact.
actions() {
	local a="action bpf obj o.o sec action"
	try tc qdisc add dev $port clsact
	filter add prio 1 bpf obj o.o sec classifier/own $a/pipe $a/drop
	traffic "pipe" 0 0 0 0 0 0 0 10 10 0 0 10
	filter del prio 1
	# From the first filter on, once; the mark tells that the packet has been there.
	filter add prio 1 bpf da obj o.o sec tc/next
	filter add prio 2 bpf obj o.o sec classifier/own $a/again
	traffic "reclassify" 10 0 0 20 0 0 0 30 10 20 0 10
	# Without an end: 16 times, then the packet is dropped.
	filter replace prio 2 handle 1 bpf obj o.o sec classifier/own $a/forever
	traffic "reclassify for ever" 0 0 0 190 0 0 0 200 10 20 170 10
	filter add prio 3 bpf obj o.o sec classifier/configured classid 1:3 action gact drop
	filter del prio 2
	traffic "gact" 0 0 0 200 0 0 10 200 10 20 170 10
	try tc qdisc del dev $port clsact
	gone pipes again forever own next
	try rm $globals/sluice_counts
}

# scenario SIDE PART...: what the tools say, into a file
scenario() {
	local part
	use_side "$1"
	shift
	for part; do
		$part >$part.$side
	done
}

side=kernel
if [ -d /sys/fs/bpf ] && nsenter --net=/run/netns/"$near" tc qdisc add dev ka0 clsact 2>/dev/null; then
	nsenter --net=/run/netns/"$near" tc qdisc del dev ka0 clsact
	rm -f $globals/sluice_counts
	scenario kernel direct classes
fi
scenario daemon direct classes actions
scenario seccomp classes
for part in direct classes actions; do
	[ ! -e $part.kernel ] || diff -u $part.kernel $part.daemon >>out || failed=1
	[ ! -e $part.seccomp ] || diff -u $part.daemon $part.seccomp >>out || failed=1
done
cat out
exit $failed
