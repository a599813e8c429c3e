#!/usr/bin/env bash
# ip, tc, bpftool and libbpf at a port, and at a veth of the same name with the kernel: the same
# commands say the same things.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/../../.."
build=$(readlink -f "$1")
work=$(mktemp -d)
here=sl-here-$$ there=sl-there-$$ port=net_null1
failed=0

clean_up() {
	stop_daemon 2>/dev/null
	ip netns del "$here" 2>/dev/null
	ip netns del "$there" 2>/dev/null
	rm -rf "$work"
}
trap clean_up EXIT

skip() {
	echo "$*"
	exit 77
}

. tests/control/daemon.sh
[ "$(id -u)" = 0 ] || skip "needs root for network namespaces"
ip netns add "$here" 2>/dev/null && ip netns add "$there" || skip "no network namespaces"
ip -n "$there" link add "$port" type veth peer name other || skip "no veth"
ip -n "$there" link set "$port" up
ip -n "$there" link set other up
cp "$build/tests/control/netlink/tools.bpf.o" "$work/"

# The daemon in a namespace, where its ports may have twins.
cat >"$work/sluiced" <<END
#!/bin/sh
exec ip netns exec $here $build/control/daemon/sluiced "\$@"
END
chmod +x "$work/sluiced"
mkdir -p "$work/build/control/daemon"
ln -s "$build/control/cli" "$work/build/control/cli"
ln -s "$build/control/shim" "$work/build/control/shim"
ln -s "$work/sluiced" "$work/build/control/daemon/sluiced"
build=$work/build start_daemon --no-huge -m 256 --no-shconf --vdev net_null0 --vdev $port -- || exit 1

sluice() {
	ip netns exec "$here" "$build/control/cli/sluice" run -- "$@"
}

kernel() {
	ip netns exec "$there" "$@"
}

# What differs by nature: ids, times, addresses, what a veth is called, libbpf's own lines.
normal() {
	sed -E -e 's/ (id|load_time|btf_id) [0-9]+/ \1 N/g' -e 's/"(id|load_time|btf_id)": ?[0-9]+/"\1":N/g' \
		-e "s/$port(@[a-z]+)?(\([0-9]+\))?/PORT/g" -e 's/tag [0-9a-f]{16}/tag T/g' \
		-e 's/"tag":"[0-9a-f]{16}"/"tag":"T"/g' -e 's/created_by_uid [0-9]+/created_by_uid U/' \
		-e '/^libbpf:/d' -e 's/^[0-9]+: vx/vx/' -e 's/ (addrgenmode|numtxqueues) .*//' -e 's/ ageing 300//' -e 's/^[0-9]+: PORT/PORT/' -e 's/"ifindex":[0-9]+/"ifindex":N/g'
}

# both COMMAND...: what it prints and returns on both sides.
both() {
	local side
	for side in kernel sluice; do
		(cd "$work" && $side "$@" 2>&1; echo "status $?") | normal >"$work/$side"
	done
	compare "$*"
}

compare() {
	if diff -u "$work/kernel" "$work/sluice" >"$work/diff"; then
		return
	fi
	echo "different: $1"
	cat "$work/diff"
	failed=1
}

# Only the lines that match: what is about the programs.
both_lines() {
	local pattern=$1 side
	shift
	for side in kernel sluice; do
		(cd "$work" && $side "$@" 2>&1) | normal | grep -E "$pattern" >"$work/$side"
	done
	compare "$*"
}

# expect TEXT COMMAND...: what the kernel here cannot be asked, for want of modules.
expect() {
	local text=$1
	shift
	(cd "$work" && sluice "$@" 2>&1) | normal >"$work/sluice"
	printf '%s' "${text:+$text
}" >"$work/kernel"
	compare "$*"
}

o=tools.bpf.o
both tc filter add dev $port ingress bpf da obj $o sec tc
both tc filter show dev $port ingress
both tc qdisc del dev $port clsact
both tc qdisc add dev $port clsact
both tc qdisc add dev $port clsact
both tc qdisc add dev $port ingress
both tc qdisc replace dev $port clsact
both tc qdisc del dev $port ingress
both_lines clsact tc -s qdisc show dev $port
both_lines clsact tc -s qdisc show
both tc filter add dev $port ingress bpf da obj $o sec tc
both tc filter add dev $port ingress bpf obj $o sec classifier classid 1:7
both tc filter add dev $port ingress prio 10 handle 5 protocol ip bpf da obj $o sec tc
both tc filter add dev $port ingress prio 10 handle 5 protocol ip bpf da obj $o sec tc
both tc filter add dev $port ingress prio 10 protocol ipv6 bpf da obj $o sec tc
both tc filter replace dev $port ingress prio 10 handle 5 protocol ip bpf obj $o sec classifier flowid 1:2
both tc filter change dev $port ingress prio 10 handle 6 protocol ip bpf da obj $o sec tc
both tc filter add dev $port ingress prio 11 protocol ip bpf da obj $o sec no_such_section
both tc filter add dev $port ingress prio 11 protocol ip bpf da obj $o sec xdp
both tc filter add dev $port ingress prio 11 protocol ip bpf da skip_sw obj $o sec tc
both tc filter add dev $port ingress prio 11 protocol ip bpf da skip_hw obj $o sec tc
both tc filter add dev $port ingress prio 11 protocol ip matchall
both tc filter add dev $port egress prio 3 protocol arp bpf da obj $o sec tc
both tc filter show dev $port ingress
both tc filter show dev $port egress
both tc -s -d filter show dev $port ingress
both tc -j filter show dev $port ingress
both tc filter get dev $port ingress prio 10 handle 5 protocol ip bpf
both tc filter get dev $port ingress prio 10 handle 9 protocol ip bpf
both_lines "^PORT clsact" bpftool net show
both tc filter del dev $port ingress prio 10 handle 6 protocol ip bpf
both tc filter del dev $port ingress prio 12
both tc filter del dev $port ingress prio 10
both tc filter show dev $port ingress
both tc filter del dev $port ingress
both tc filter show dev $port ingress
cat >"$work/batch" <<END
filter add dev $port ingress prio 1 bpf da obj $o sec tc
filter add dev $port ingress prio 2 bpf da obj $o sec tc
filter add dev $port ingress prio 2 handle 1 bpf da obj $o sec tc
filter show dev $port ingress
filter del dev $port ingress prio 1
filter show dev $port ingress
END
both tc -batch batch
both tc -force -batch batch
both tc qdisc del dev $port clsact
both tc qdisc add dev $port ingress
both tc filter add dev $port parent ffff: bpf da obj $o sec tc
both tc filter show dev $port parent ffff:
both tc filter show dev $port ingress
both tc qdisc del dev $port ingress

# Tunnels over it.
both ip link add vx0 address 02:00:00:00:00:01 type vxlan external dstport 4789 dev $port
both_lines "vxlan" ip -d link show dev vx0
both_lines "vxlan" ip -d -6 link show dev vx0
both ip link add vx0 type vxlan external dstport 4790 dev $port
both ip link set dev vx0 up
both ip link set dev vx0 mtu 1400
both ip link set dev vx0 mtu 60
both_lines "vx0" ip -o link show dev vx0 up
both tc qdisc add dev vx0 clsact
both tc filter add dev vx0 egress bpf da obj $o sec tc
both tc filter show dev vx0 egress
both ip link del vx0
both tc filter show dev vx0 egress
both ip link del vx0
if ip netns exec "$here" "$build/control/cli/sluice" run --seccomp -- true 2>/dev/null; then
	ip netns exec "$here" "$build/control/cli/sluice" run --seccomp -- \
		ip link add vx0 type vxlan external dstport 4789 dev $port || failed=1
	expect "" ip link del vx0
fi
both ip link add vx5 address 02:00:00:00:00:05 mtu 1300 type vxlan id 5 remote 10.0.0.2 local 10.0.0.1 \
	dstport 4789 srcport 1000 2000 ttl 9 tos inherit df set nolearning noudpcsum gbp dev $port
both_lines "vxlan" ip -d link show dev vx5
both_lines "02:00:00:00:00:05" ip link show dev vx5
both ip link del dev vx5
both ip link add vx6 type vxlan id 16777215 remote fd00::2 local fd00::1 dstport 4789 flowlabel 5 \
	ttl inherit tos 8 nolearning udp6zerocsumtx udp6zerocsumrx dev $port
both_lines "vxlan" ip -d link show dev vx6
both ip link del dev vx6
both ip link add vx7 type vxlan id 16777216 remote 10.0.0.2 dstport 4789 dev $port
both ip link add vx7 type vxlan id 5 remote 10.0.0.2 dstport 4789 dev nothing
both ip link add $port type vxlan external dstport 4789 dev $port

both ip link set dev $port xdp obj $o sec xdp
both ip link set dev $port xdp obj $o sec xdp/drop
both ip -force link set dev $port xdp obj $o sec xdp/drop
both ip link set dev $port xdpgeneric obj $o sec xdp
both_lines "prog/xdp|^PORT.* xdp " ip -d link show dev $port
both_lines "^PORT driver" bpftool net show
both_lines "prog" ip -j -d -p link show dev $port
both ip link set dev $port xdp off
both_lines "prog/xdp|xdp" ip -d link show dev $port
both ip link set dev $port xdpgeneric obj $o sec xdp
both_lines "prog/xdp|xdpgeneric" ip -d link show dev $port
both_lines "^PORT generic" bpftool net show
both ip link set dev $port xdpgeneric off
both ip link set dev $port xdpdrv obj $o sec xdp
both ip link set dev $port xdpdrv off
both ip link set dev nothing xdp off
both bpftool net attach xdp name nothing dev $port
both "$build/tests/control/netlink/attach" $port

# Actions: many kernels are built without act_bpf and act_gact.
sluice tc qdisc add dev $port clsact
(cd "$work" && sluice tc filter add dev $port ingress prio 1 bpf obj $o sec classifier classid 1:7 \
	action bpf obj $o sec action pipe index 4 action drop index 2) || failed=1
expect "filter protocol all pref 1 bpf chain 0 
filter protocol all pref 1 bpf chain 0 handle 0x1 flowid 1:7 $o:[classifier] not_in_hw id N name match tag T jited 
	action order 1: bpf $o:[action] id N name shot tag T jited default-action pipe
	 index 4 ref 1 bind 1
 
	action order 2: gact action drop
	 random type none pass val 0
	 index 2 ref 1 bind 1
" tc filter show dev $port ingress
expect "Error: Failed to delete TC action.
We have an error talking to the kernel
Command \"action\" is unknown, try \"tc actions help\"." tc actions del action gact index 2
expect "" tc actions replace action gact pass index 2
expect "total acts 1

	action order 0: gact action pass
	 random type none pass val 0
	 index 2 ref 1 bind 1
	not_in_hw
	used_hw_stats disabled" tc actions ls action gact
expect "" tc filter del dev $port ingress
expect "" tc actions ls action gact
expect "" tc qdisc del dev $port clsact

exit $failed
