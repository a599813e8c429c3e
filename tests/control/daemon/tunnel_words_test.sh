#!/usr/bin/env bash
# tunnel_words_test.sh BUILD_DIR: sluice tunnel and sluice ip: what they add is listed as it was said,
# and what they refuse, or may not do, is said in one line and changes nothing.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/../../.." || exit 1
build=$(readlink -f "$1")
sluice=$build/control/cli/sluice
work=$(mktemp -d)
failed=0

. tests/control/daemon.sh
trap 'stop_daemon 2>/dev/null; rm -rf "$work"' EXIT
start_daemon --no-huge -m 128 --no-shconf --no-pci --vdev net_null0 --vdev net_null1 -- || exit 1

# says STATUS TEXT COMMAND...: its exit status, and what it prints on either stream.
says() {
	local wanted=$1 text=$2 got status
	shift 2
	got=$("$@" 2>&1)
	status=$?
	[ "$status" = "$wanted" ] && [ "$got" = "$text" ] && return
	printf '%s\n' "$*: status $status, wanted $wanted" "  said:   $got" "  wanted: $text"
	failed=1
}

fails() {
	local text=$1
	shift
	says 1 "sluice: $text" "$sluice" "$@"
}

misuses() {
	local text=$1
	shift
	says 2 "sluice: $text (try 'sluice help')" "$sluice" "$@"
}

# does COMMAND...: without a word.
does() {
	says 0 "" "$sluice" "$@"
}

# Each option comes back as it went in; what was not said is what was chosen.
mac=address=02:00:00:00:00:05
added="a=vxlan,underlay=net_null0,external,local=10.0.0.1,local=fd00::1,nexthop=02:00:00:00:00:01,$mac"
added="$added,dstport=4790,srcport=1000-2000,mtu=1400,gbp,csum,udp6zerocsumtx,udp6zerocsumrx"
does tunnel add "$added"
says 0 "$added" "$sluice" tunnel list
does tunnel del a
says 0 "" "$sluice" tunnel list
for added in \
	"a=vxlan,underlay=net_null0,remote=10.0.0.2,$mac,id=7,dstport=4789,mtu=1450,ttl=9,tos=inherit,df=set" \
	"a=geneve,underlay=net_null0,remote=fd00::2,$mac,id=16777215,dstport=6081,mtu=1430,flowlabel=5,df=inherit" \
	"a=gre,underlay=net_null0,local=10.0.0.1,remote=10.0.0.2,key=0,mtu=1472,ttl=inherit,tos=4,csum,seq" \
	"a=gretap,underlay=net_null0,remote=10.0.0.2,$mac,mtu=1462" \
	"a=ip6gretap,underlay=net_null0,external,$mac,mtu=1442" \
	"a=ip6gre,underlay=net_null0,remote=fd00::2,mtu=1456" \
	"a=ipip,underlay=net_null0,remote=10.0.0.2,mtu=1480" \
	"a=sit,underlay=net_null0,remote=10.0.0.2,mtu=1480" \
	"a=ip6tnl,underlay=net_null0,remote=fd00::2,mtu=1460"; do
	does tunnel add "$added"
	says 0 "$added" "$sluice" tunnel list
	does tunnel del a
done

does tunnel add a=vxlan,external,underlay=net_null0,$mac
"$sluice" tunnel show a | sed 's|^ifindex .*|ifindex N|' >"$work/shown"
diff - "$work/shown" <<'END' || failed=1
ifindex N
name             a
kind             vxlan
underlay         net_null0
external         yes
address          02:00:00:00:00:05
dstport          4789
mtu              1450
END
"$sluice" tunnel list --json | python3 -c '
import json, sys
[tunnel] = json.load(sys.stdin)
assert tunnel["name"] == "a" and tunnel["kind"] == "vxlan" and tunnel["underlay"] == "net_null0", tunnel
assert tunnel["options"] == {"external": True, "address": "02:00:00:00:00:05", "dstport": 4789, "mtu": 1450}, tunnel
' || failed=1
"$sluice" port list | grep -q ' a  *vxlan ' || { echo "port list has no tunnel"; failed=1; }

# Refused, with nothing changed.
misuses "tunnel: add, del, list or show?" tunnel
misuses "tunnel: unknown verb 'make'" tunnel make
misuses "tunnel: no NAME=KIND,... given" tunnel add
misuses "tunnel: unexpected argument 'dev'" tunnel add b=vxlan,external,underlay=net_null0 dev
misuses "'b' is not NAME=KIND,..." tunnel add b
misuses "'' is not NAME=KIND,..." tunnel add =vxlan
misuses "tunnel b: there is no kind 'vlan'" tunnel add b=vlan,underlay=net_null0
misuses "tunnel b: there is no kind ''" tunnel add b=
misuses "tunnel b: no underlay=PORT" tunnel add b=vxlan,external
misuses "tunnel b: there is no option 'dev'" tunnel add b=vxlan,external,dev=net_null0
misuses "tunnel b: bad value of 'id'" tunnel add b=vxlan,underlay=net_null0,id=-1
misuses "tunnel b: bad value of 'external'" tunnel add b=vxlan,underlay=net_null0,external=1
misuses "tunnel b: bad value of 'remote'" tunnel add b=vxlan,underlay=net_null0,remote=10.0.0
misuses "tunnel b: bad value of 'nexthop'" tunnel add b=vxlan,underlay=net_null0,nexthop=02:00
misuses "tunnel b: bad value of 'local'" tunnel add \
	"b=vxlan,external,underlay=net_null0$(printf ',local=10.0.0.%d' 1 2 3 4 5 6 7 8 9)"
misuses "tunnel: no name given" tunnel del
misuses "tunnel: unknown option '--jsn'" tunnel list --jsn
fails "tunnel b: there is no port net_null7" tunnel add b=vxlan,external,underlay=net_null7
fails "cannot add tunnel b: the underlay is a tunnel" tunnel add b=vxlan,external,underlay=a
fails "cannot add tunnel a: another port has the name" tunnel add a=vxlan,external,underlay=net_null1
fails "cannot add tunnel b: another tunnel takes the same packets" tunnel add b=vxlan,external,underlay=net_null0
fails "cannot add tunnel b: no remote address, and not external" tunnel add b=vxlan,underlay=net_null0
fails "cannot add tunnel b: an id of more than 24 bits" tunnel add \
	b=vxlan,underlay=net_null0,remote=10.0.0.2,id=16777216
fails "cannot add tunnel b: this kind cannot be external" tunnel add b=sit,external,underlay=net_null0
fails "too many words for a tunnel" tunnel add "b=vxlan,external,underlay=net_null0$(printf ',gbp%.0s' $(seq 300))"
fails "there is no tunnel b" tunnel del b
fails "there is no tunnel b" tunnel show b
fails "port net_null0 is no tunnel" tunnel del net_null0
fails "port net_null0 is no tunnel" tunnel show net_null0
says 0 "a=vxlan,underlay=net_null0,external,$mac,dstport=4789,mtu=1450" "$sluice" tunnel list

# A tunnel goes with the port below it.
does tunnel add b=geneve,external,underlay=net_null1,$mac
does port del net_null1
says 0 "a=vxlan,underlay=net_null0,external,$mac,dstport=4789,mtu=1450" "$sluice" tunnel list

does ip address add 192.0.2.2/24 dev net_null0
does ip neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev net_null0
does ip -- route add default via 192.0.2.1
does ip -6 route add unreachable default
does ip rule add from 192.0.2.0/24 table 7
printf '%s\n' '# two more' '' 'route add 10.0.0.0/8 via 192.0.2.1' 'route add 10.1.0.0/16 via 192.0.2.1' >"$work/batch"
does ip --batch "$work/batch"
does ip route del 10.1.0.0/16
fails "ip: File exists" ip route add 10.0.0.0/8 via 192.0.2.1
fails "ip: No such process" ip route del 10.1.0.0/16
fails "ip: Network is unreachable" ip route add 11.0.0.0/8 via 203.0.113.1
fails "ip: there is no interface 'net_null7'" ip neigh add 192.0.2.3 lladdr 02:00:00:00:00:01 dev net_null7
fails "ip: $work/batch, line 3: File exists" ip --batch "$work/batch"
fails "ip: cannot open $work/none: No such file or directory" ip --batch "$work/none"
misuses "ip: route, neigh, address, rule or link?" ip
misuses "ip: --batch takes one file" ip --batch
misuses "ip: 'rte' is not understood" ip rte add 10.0.0.0/8
misuses "ip: '10.0.0.0/33' is no prefix" ip route add 10.0.0.0/33 dev net_null0
misuses "ip: 'to' is not understood" ip route add 12.0.0.0/8 dev net_null0 to
misuses "ip: dev is missing" ip neigh add 192.0.2.3 lladdr 02:00:00:00:00:01

# Changes are for privileged users.
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	chmod 755 "$work"
	nobody() {
		setpriv --reuid 12345 --regid "$(stat -c %g "$SLUICE_SOCKET")" --clear-groups "$sluice" "$@"
	}
	says 1 "sluice: not permitted" nobody tunnel add b=geneve,external,underlay=net_null0
	says 1 "sluice: not permitted" nobody tunnel del a
	says 1 "sluice: ip: not permitted" nobody ip route add 12.0.0.0/8 dev net_null0
	says 0 "a=vxlan,underlay=net_null0,external,$mac,dstport=4789,mtu=1450" nobody tunnel list
fi
stop_daemon || failed=1
exit $failed
