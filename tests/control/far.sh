# shellcheck shell=bash
# Sourced by tests: a daemon in a network namespace, whose port up0 has a cable to another one. Expects
# $build, $work and $control, the directory of this file.
#
#   $far: eb0, 10.5.0.2 <-- cable --> ea0, which up0 (10.5.0.1, with its kernel twin) drives; nul0 has no
#   twin and no cable, and receives packets of zeros.

near=sl-near-$$ far=sl-far-$$
sluice=$build/control/cli/sluice

in_near() { ip netns exec "$near" "$@"; }
in_far() { ip netns exec "$far" "$@"; }
# run COMMAND...: it knows nothing of Sluice; $how may be --seccomp
run() { in_near "$sluice" run ${how:+"$how"} -- "$@"; }

far_clean_up() {
	[ -z "${daemon:-}" ] || kill "$daemon" 2>/dev/null
	wait ${daemon:-} 2>/dev/null
	ip netns del "$near" 2>/dev/null
	ip netns del "$far" 2>/dev/null
	rm -rf "$work"
}

# start_far: or the whole test is skipped
start_far() {
	export SLUICE_SOCKET=$work/sluice.sock
	if ldd "$build/control/shim/libsluice_local.so" | grep -q 'lib[at]san'; then
		echo "a preloaded library cannot bring a sanitizer along"
		exit 77
	fi
	[ "$(id -u)" = 0 ] || { echo "needs root: network namespaces" && exit 77; }
	ip netns add "$near" 2>/dev/null && ip netns add "$far" && in_near true ||
		{ echo "no network namespaces here" && exit 77; }
	ip -n "$near" link add ea0 type veth peer name eb0 netns "$far" || { echo "no veth" && exit 77; }
	in_near sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.ea0.rp_filter=1 \
		net.ipv4.conf.ea0.arp_ignore=1 \
		net.ipv6.conf.all.disable_ipv6=1
	in_far sysctl -qw net.ipv6.conf.all.disable_ipv6=1
	in_far "$control/twin_traffic.py" plain eb0
	ip -n "$near" link set ea0 up
	ip -n "$far" link set eb0 up
	ip -n "$far" addr add 10.5.0.2/24 dev eb0
	# Not by in_near: a function in the background is a shell of its own, and $! that shell.
	ip netns exec "$near" setpriv --pdeathsig TERM -- \
		"$build/control/daemon/sluiced" --no-huge -m 256 --no-shconf --no-pci -- \
		>"$work/daemon.log" 2>&1 &
	daemon=$!
	for _ in $(seq 200); do
		"$sluice" port list >/dev/null 2>&1 && break
		sleep 0.05
	done
	"$sluice" port add net_af_packet0,iface=ea0 --name up0 --twin require &&
		"$sluice" port add net_null0 --name nul0 --twin none ||
		{ cat "$work/daemon.log" && exit 1; }
	ip -n "$near" addr add 10.5.0.1/24 dev up0
	in_far "$control/twin_traffic.py" ping 10.5.0.1 1 || exit 1
}

# send COUNT [UDP PORT [MARK]]: frames from the far end to up0
send() { in_far "$control/frames.py" send eb0 "$@"; }
# Whether up0's kernel twin answers the far end, and that it does not.
answers() { [ "$(in_far "$control/frames.py" echoes 10.5.0.1)" = 3 ]; }
is_silent() { [ "$(in_far "$control/frames.py" echoes 10.5.0.1)" = 0 ]; }
