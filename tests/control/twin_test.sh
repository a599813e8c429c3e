#!/usr/bin/env bash
# twin_test.sh BUILD_DIR: a port with a kernel twin between two network namespaces: ip(8) sees it, echoes
# and TCP cross both ways through it, every packet is accounted for, and nothing of it is left when the
# port or the daemon goes, however that ends.
set -uo pipefail
build=$(realpath "$1")
sluice=$build/control/cli/sluice
traffic=$(dirname "$(realpath "$0")")/twin_traffic.py
[ "$(id -u)" = 0 ] || { echo "needs root: network namespaces"; exit 77; }
work=$(mktemp -d)
near=sl-twin-a-$$ far=sl-twin-b-$$
# shellcheck source=tests/control/daemon.sh
. "$(dirname "$0")/daemon.sh"
bad=0 runner=

cleanup() {
	[ -z "${daemon:-}" ] || kill "$daemon" 2>/dev/null
	[ -z "$runner" ] || kill "$runner" 2>/dev/null
	ip netns del "$near" 2>/dev/null
	ip netns del "$far" 2>/dev/null
	rm -rf "$work"
}
trap cleanup EXIT
ip netns add "$near" && ip netns add "$far" && ip netns exec "$near" true ||
	{ echo "no network namespaces here"; exit 77; }

say() {
	echo "$*"
	bad=1
}

in_near() { ip netns exec "$near" "$@"; }
in_far() { ip netns exec "$far" "$@"; }

# The port's device is ea0, whose own network stack stays out of it.
ip -n "$near" link add ea0 type veth peer name eb0 netns "$far"
in_near sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.ea0.rp_filter=1 \
	net.ipv4.conf.ea0.arp_ignore=1 net.ipv6.conf.all.disable_ipv6=1
in_far sysctl -qw net.ipv6.conf.all.disable_ipv6=1
in_far "$traffic" plain eb0 || say "cannot turn the offloads of eb0 off"
ip -n "$near" link set ea0 up
ip -n "$far" link set eb0 up
ip -n "$far" addr add 10.5.0.2/24 dev eb0

# await SECONDS COMMAND...: until it succeeds
await() {
	local n=$(($1 * 20))
	shift
	while [ $n -gt 0 ]; do
		"$@" >/dev/null 2>&1 && return 0
		sleep 0.05
		n=$((n - 1))
	done
	return 1
}

exists() { ip -n "$near" link show dev "$1" >/dev/null 2>&1; }
is_gone() { ! exists "$1"; }
has_carrier() { ip -n "$near" -o link show dev "$1" | grep -q LOWER_UP; }

# one_way FROM_NAMESPACE TO_NAMESPACE ADDRESS: a few megabytes by TCP
one_way() {
	ip netns exec "$2" "$traffic" receive "$3" 5000 >"$work/received" 2>&1 &
	local receiver=$!
	ip netns exec "$1" "$traffic" send "$3" 5000 4000000 >"$work/sent" 2>&1
	wait "$receiver"
	cmp -s "$work/sent" "$work/received" ||
		say "TCP to $3: sent $(tail -n 1 "$work/sent"), received $(tail -n 1 "$work/received")"
}

# Without a daemon, so that the packets can be counted when all is over.
ip netns exec "$near" "$sluice" forward --no-huge -m 256 --no-shconf --no-pci -- --twin \
	--port net_af_packet0,iface=ea0 --json "$work/json" >"$work/out" 2>&1 &
runner=$!
await 20 has_carrier net_af_packet0 || say "no twin: $(cat "$work/out")"
ip -n "$near" addr add 10.5.0.1/24 dev net_af_packet0
in_far "$traffic" ping 10.5.0.1 5 || say "no echo of the twin"
in_near "$traffic" ping 10.5.0.2 5 || say "no echo through the twin"
one_way "$near" "$far" 10.5.0.2
one_way "$far" "$near" 10.5.0.1
kill "$runner"
wait "$runner" || say "sluice forward: $(cat "$work/out")"
runner=
python3 - "$work/json" <<-'END' || bad=1
	import json, sys
	j = json.load(open(sys.argv[1]))
	c = j["counters"]
	if j["packets_in"] == 0 or j["packets_in"] != j["packets_accounted"]:
	    sys.exit("%d packets in, %d accounted for" % (j["packets_in"], j["packets_accounted"]))
	if not (c["kernel"] > 100 and c["from_kernel"] > 100 and c["cut"] > 1000):
	    sys.exit("kernel %d, from_kernel %d, cut %d" % (c["kernel"], c["from_kernel"], c["cut"]))
END
await 5 is_gone net_af_packet0 || say "the twin has outlived sluice forward"

# The daemon: ports of it, in the namespace that it is in.
start() {
	export SLUICE_SOCKET=$work/sluice.sock
	ip netns exec "$near" setpriv --pdeathsig TERM -- \
		"$build/control/daemon/sluiced" --no-huge -m 256 --no-shconf --no-pci -- >>"$work/daemon.log" 2>&1 &
	daemon=$!
	await 20 "$sluice" port list || { cat "$work/daemon.log"; say "the daemon does not start"; }
}

# refuses STATUS WORD ARGUMENTS...: sluice port fails with one line that contains WORD
refuses() {
	local want=$1 word=$2 status
	shift 2
	"$sluice" port "$@" >"$work/out" 2>"$work/err"
	status=$?
	[ $status = "$want" ] || say "port $*: exit status $status"
	[ "$(wc -l <"$work/err")" = 1 ] && grep -q -- "$word" "$work/err" ||
		say "port $*: says $(cat "$work/err")"
	[ -s "$work/out" ] && say "port $*: on stdout: $(cat "$work/out")"
}

field() {
	"$sluice" port show "$1" --json | python3 -c "import json, sys; print(json.load(sys.stdin)['$2'])"
}

start
"$sluice" port add net_af_packet0,iface=ea0 --name up0 --twin require || say "port add: $?"
[ "$(field up0 ifindex)" = "$(in_near cat /sys/class/net/up0/ifindex)" ] || say "another ifindex"
[ "$(field up0 mac)" = "$(in_near cat /sys/class/net/up0/address)" ] || say "another MAC address"
ip -n "$near" addr add 10.5.0.1/24 dev up0
in_far "$traffic" ping 10.5.0.1 3 || say "no echo of the daemon's twin"

# A second one comes and goes while the first is in use.
"$sluice" port add net_null0 --name nul0 mtu 1400 mac 02:00:00:00:00:77 || say "port add net_null0"
exists nul0 || say "no twin nul0"
[ "$(field nul0 mtu) $(field nul0 mac)" = "1400 02:00:00:00:00:77" ] || say "settings of nul0"
"$sluice" port set nul0 mtu 1350 pass-to up0 || say "port set nul0"
"$sluice" port set up0 promiscuous off && [ "$(field up0 promiscuous)" = False ] || say "port set up0"
[ "$(in_near cat /sys/class/net/nul0/mtu)" = 1350 ] || say "the twin's MTU does not follow"
ip -n "$near" link set nul0 mtu 1300 address 02:00:00:00:00:78
await 5 eval '[ "$(field nul0 mtu) $(field nul0 mac)" = "1300 02:00:00:00:00:78" ]' ||
	say "the port's settings do not follow"
"$sluice" port stats nul0 --json | python3 -c 'import json, sys; j = json.load(sys.stdin)
j["counters"]["rx"] > 0 and j["device"]["rx_good_packets"] > 0 or sys.exit("nothing counted")' ||
	say "port stats"
# All or nothing.
refuses 1 "no port" set nul0 mtu 1200 pass-to nowhere
refuses 1 "there is no such queue" set nul0 mtu 1200 rss-table 7
[ "$(field nul0 mtu)" = 1300 ] || say "half of a change was made"
refuses 2 "bad value" set nul0 mtu lots
refuses 2 "unknown word" set nul0 speed 10
refuses 2 "needs a value" set nul0 mtu
refuses 2 "twice" set nul0 mtu 1 mtu 2
refuses 2 "no port" del
refuses 2 "unknown verb" frob
refuses 1 "no port nul1" show nul1
refuses 1 "no port nul1" del nul1
refuses 1 "name" add net_null1 --name nul0
refuses 1 "name" add net_null1 --name 'a b'
refuses 1 "exist\|device\|driver" add net_nosuch0
refuses 1 "MAC" add net_null1 mac zz
"$sluice" port add net_null1 --twin none || say "port add --twin none"
exists net_null1 && say "a twin that nobody wanted"
"$sluice" port del net_null1 || say "port del net_null1"
"$sluice" port del nul0 || say "port del"
exists nul0 && say "nul0 has outlived its port"
in_far "$traffic" ping 10.5.0.1 3 || say "no echo after that"

# Killed, it leaves nothing behind, and the name is free for the next.
kill -9 $daemon
wait $daemon 2>/dev/null
daemon=
await 10 is_gone up0 || say "up0 has outlived a killed daemon"
rm -f "$work/sluice.sock"
start
"$sluice" port add net_af_packet0,iface=ea0 --name up0 --twin require || say "no second life"
stop_daemon || say "the daemon ended with $?"
exists up0 && say "up0 has outlived its daemon"
exit $bad
