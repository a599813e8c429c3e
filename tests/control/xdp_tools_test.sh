#!/usr/bin/env bash
# xdp_tools_test.sh BUILD_DIR: the programs of xdp-tools and their library's dispatcher, with traffic.
set -uo pipefail
build=$(readlink -f "$1")
control=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d)
failed=0
. "$control/far.sh"
trap far_clean_up EXIT
PATH=$PATH:/usr/sbin
for tool in xdp-loader xdp-filter xdpdump; do
	command -v $tool >/dev/null || { echo "no $tool (package xdp-tools)" && exit 77; }
done
start_far
kernels=$(ls -AR /sys/fs/bpf/xdp-filter 2>/dev/null)
cp "$build/tests/control/netlink/tools.bpf.o" "$work/programs.o"
cd "$work" || exit 1

say() {
	echo "$*"
	failed=1
}

# ok COMMAND...: succeeds; what it printed is in $work/out
ok() { run "$@" >out 2>&1 || say "${how:+$how }$*: status $?: $(cat out)"; }
refused() { run "$@" >out 2>&1 && say "${how:+$how }$*: succeeds: $(cat out)"; }
# has PATTERN...: in what the last one printed
has() {
	local pattern
	for pattern; do grep -Eq -- "$pattern" out || say "no '$pattern' in: $(cat out)"; done
}
has_not() { ! grep -Eq -- "$1" out || say "'$1' in: $(cat out)"; }
gone() { [ -z "$(run find "$1" -type f 2>/dev/null)" ] || say "pins are left: $(run find "$1" -type f)"; }

# The dispatcher, which calls programs by freplace, pinned below /sys/fs/bpf/xdp.
loader() {
	local id
	ok xdp-loader load -v up0 programs.o -s xdp
	has_not 'Falling back'
	ok xdp-loader load up0 programs.o -s xdp/drop -P 60
	ok xdp-loader status up0
	has "up0 +xdp_dispatcher +native" '=> +50 +pass' '=> +60 +drop'
	ok xdp-loader status
	has "up0 +xdp_dispatcher" 'lo +<No XDP' 'nul0 +<No XDP'
	is_silent || say "the second program does not drop"
	ok bpftool net show
	has "up0\([0-9]+\) driver"
	id=$(run xdp-loader status up0 | awk '/drop/ { print $4 }')
	ok xdp-loader unload up0 --id "$id"
	ok xdp-loader status up0
	has '=> +50 +pass'
	has_not 'drop'
	answers || say "the one that is left does not pass"
	refused xdp-loader unload up0 --id 99999999
	ok xdp-loader unload up0 -a
	ok xdp-loader status up0
	has "up0 +<No XDP program loaded"
	ok xdp-loader load -m skb up0 programs.o -s xdp
	ok xdp-loader status up0
	has "up0 +xdp_dispatcher +skb"
	ok xdp-loader unload up0 -a
	LIBXDP_SKIP_DISPATCHER=1 ok xdp-loader load up0 programs.o -s xdp
	ok xdp-loader status up0
	has "up0 +pass +native"
	LIBXDP_SKIP_DISPATCHER=1 refused xdp-loader load up0 programs.o -s xdp/drop
	ok xdp-loader unload up0 -a
	refused xdp-loader unload up0 -a
	ok xdp-loader clean
	refused xdp-loader load no-such-port programs.o -s xdp
	refused xdp-loader load up0 programs.o -s nosuch
	gone /sys/fs/bpf/xdp
}

filter() {
	ok xdp-filter load up0
	answers || say "xdp-filter load: no answers"
	ok xdp-filter ip -m src 10.5.0.2
	is_silent || say "xdp-filter ip: still answers"
	ok xdp-filter ip -m src -r 10.5.0.2
	answers || say "xdp-filter ip -r: no answers"
	ok xdp-filter port -p udp 5353
	ok xdp-filter ether -m src 02:11:22:33:44:55
	send 20 5353
	sleep 0.2
	ok xdp-filter status
	has 'up0 \(native mode\)' '5353 +dst,udp +20' '02:11:22:33:44:55 +src' 'XDP_DROP +2[0-9] pkts'
	refused xdp-filter load up0
	refused xdp-filter load nul0 -p deny -f udp
	ok xdp-filter load nul0 -f udp
	ok xdp-loader status
	has 'up0 +xdp_dispatcher' '=> +10 +xdpfilt_alw_all' 'nul0 +xdp_dispatcher' '=> +10 +xdpfilt_alw_udp'
	ok xdp-filter unload nul0
	ok xdp-filter unload up0
	refused xdp-filter unload up0
	ok xdp-filter load up0 -m skb -p deny -f ipv4
	is_silent || say "xdp-filter -p deny: answers"
	ok xdp-filter ip -m src 10.5.0.2
	answers || say "xdp-filter -p deny, ip: no answers"
	ok xdp-filter unload --all
	answers || say "xdp-filter unload: no answers"
	gone /sys/fs/bpf/xdp-filter
}

# Where a port has no program, xdpdump is a packet socket's capture, which sees a port's kernel twin.
dump() {
	ip netns exec "$near" "$sluice" run -- xdpdump -i up0 -w dump.pcap >out 2>&1 &
	for _ in $(seq 50); do
		send 20 7777 400
		[ "$(stat -c %s dump.pcap 2>/dev/null || echo 0)" -gt 4000 ] && break
		sleep 0.1
	done
	kill $!
	wait $!
	grep -q xxxxx dump.pcap || say "no packets in xdpdump's file: $(cat out)"
	# It would trace one that is there by programs of type TRACING.
	ok xdp-loader load up0 programs.o -s xdp
	refused timeout -s INT 2 xdpdump -i up0
	ok xdp-loader unload up0 -a
	refused timeout -s INT 2 xdp-bench drop up0
}

# The same without a twin, and where nothing is preloaded.
elsewhere() {
	ok xdp-loader load "$1" programs.o -s xdp
	ok xdp-loader load "$1" programs.o -s xdp/drop
	ok xdp-loader status "$1"
	has "$1 +xdp_dispatcher +native" '=> +50 +pass' '=> +50 +drop'
	ok xdp-loader unload "$1" -a
	ok xdp-loader status "$1"
	has "$1 +<No XDP program loaded"
	gone /sys/fs/bpf/xdp
}

# What libbpf from 1.3 on asks about every interface: a port's answer is Sluice's where the kernel has none.
features() {
	in_near "$control/netdev.py" lo >out 2>&1 || { echo "the kernel's netlink knows no netdev" && return; }
	ok "$control/netdev.py" lo
	ok "$control/netdev.py" up0
	ok "$control/netdev.py" nul0
	has 'features 103 $'
	refused "$control/netdev.py" 99999
	has 'error -19'
}

loader
features
elsewhere nul0
how=--seccomp
features
elsewhere up0
how=
filter
dump
[ "$(ls -AR /sys/fs/bpf/xdp-filter 2>/dev/null)" = "$kernels" ] || say "pins reached the kernel"
exit $failed
