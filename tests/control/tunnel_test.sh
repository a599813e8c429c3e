#!/usr/bin/env bash
# tunnel_test.sh BUILD_DIR: VXLAN beside the kernel's device in external mode, with random keys over
# IPv4 and IPv6: equal outer packets for the same key, equal keys for the same outer packets, changed
# ones too; and Sluice's packets into the kernel's device over a live link. Once with `sluice forward`,
# once with the daemon, its tunnels and filters added while it runs.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
build_dir=$(realpath "$1")
object=$build_dir/tests/control/tunnel.bpf.o
[ "$(id -u)" = 0 ] || { echo "needs root: network namespaces and the kernel's devices"; exit 77; }
work=$(mktemp -d)
near=sl-tun-a-$$ far=sl-tun-b-$$
. tests/control/daemon.sh
trap 'stop_daemon 2>/dev/null; ip netns del $near 2>/dev/null; ip netns del $far 2>/dev/null; rm -rf "$work"' EXIT
# Entering one takes more than making one: its own view of /sys, which a chroot cannot have.
ip netns add "$near" && ip netns add "$far" && ip netns exec "$near" true ||
	{ echo "no network namespaces here"; exit 77; }

# address NAMESPACE DEVICE LAST MAC FAR_LAST FAR_MAC
address() {
	ip -n "$1" link set "$2" address "$4" up mtu 1500
	ip -n "$1" addr add "10.9.0.$3/24" dev "$2"
	ip -n "$1" addr add "fd09::$3/64" dev "$2" nodad
	ip -n "$1" neigh replace "10.9.0.$5" lladdr "$6" dev "$2" nud permanent
	ip -n "$1" neigh replace "fd09::$5" lladdr "$6" dev "$2" nud permanent
}

# tunnel NAMESPACE: a collect-metadata device with the programs at both of its hooks
tunnel() {
	ip -n "$1" link add vx0 type vxlan external dstport 4789 gbp udp6zerocsumrx || return 1
	ip -n "$1" link set vx0 up mtu 1400
	ip netns exec "$1" tc qdisc add dev vx0 clsact
	ip netns exec "$1" tc filter add dev vx0 egress bpf da obj "$object" sec classifier/set
	ip netns exec "$1" tc filter add dev vx0 ingress bpf da obj "$object" sec classifier/get_out
}

for ns in "$near" "$far"; do
	ip netns exec "$ns" sysctl -qw net.ipv6.conf.default.router_solicitations=0 \
		net.ipv6.conf.default.mldv2_unsolicited_report_interval=0
done
ip -n "$near" link add e0 type veth peer name e0 netns "$far"
ip -n "$near" link set lo up
ip -n "$far" link set lo up
address "$near" e0 1 02:00:00:00:09:01 9 02:00:00:00:09:09
address "$far" e0 9 02:00:00:00:09:09 1 02:00:00:00:09:01
ip -n "$far" link add o0 index 77 type veth peer name o1
ip -n "$far" link set o0 up
ip -n "$far" link set o1 up
tunnel "$near" && tunnel "$far" || { echo "the kernel has no VXLAN here"; exit 77; }
packets() {
	python3 tests/control/tunnel_packets.py "$near" "$far" "$work" "$build_dir/control/cli/sluice" "$object"
}
packets || exit 1

# The daemon, with links to ports of its own: x1 and z1 are where their packets come from and go to.
for link in x z; do
	ip -n "$near" link add ${link}0 type veth peer name ${link}1
	ip -n "$near" link set ${link}0 up
	ip -n "$near" link set ${link}1 up
done
# As a port of net_pcap has it, so that both are sent the same packets.
ip -n "$near" link set x0 address 02:70:63:61:70:00
# Room for all packets, however busy the machine is.
room=framecnt=8192
build=$build_dir start_daemon_in "$near" --no-huge -m 256 --no-shconf --no-pci --vdev net_af_packet0,iface=e0,$room \
	--vdev net_af_packet1,iface=x0,$room --vdev net_af_packet2,iface=z0,$room -- || exit 1
packets || { cat "$work/daemon.log"; exit 1; }
stop_daemon
