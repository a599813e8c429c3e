#!/usr/bin/env bash
# forward_test.sh BUILD_DIR: `sluice forward` with real programs, and with what it must refuse.
set -uo pipefail
build_dir=$1
sluice=$build_dir/control/cli/sluice
bpf=$build_dir/programs
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
eal=(--no-huge -m 256 --no-shconf --no-pci)
bad=0

say() {
	echo "$*"
	bad=1
}

# runs NAME OPTIONS...: must succeed and account for every packet.
runs() {
	local name=$1
	shift
	timeout 60 "$sluice" forward "${eal[@]}" -- "$@" --seconds 0.5 --json "$work/json" \
		>"$work/out" 2>"$work/err" || say "$name: exit status $?: $(cat "$work/err")"
	[ -s "$work/err" ] && say "$name: $(cat "$work/err")"
	python3 - "$name" "$work/json" <<-'END' || bad=1
		import json, sys
		j = json.load(open(sys.argv[2]))
		if j["packets_in"] == 0 or j["packets_in"] != j["packets_accounted"]:
		    sys.exit("%s: %d packets in, %d accounted for" % (sys.argv[1], j["packets_in"],
		        j["packets_accounted"]))
	END
}

counter() {
	python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["counters"][sys.argv[2]])' \
		"$work/json" "$1"
}

# refuses NAME WORD ARGUMENTS...: must fail with one line on stderr that contains WORD.
refuses() {
	local name=$1 word=$2 status
	shift 2
	timeout 60 "$sluice" forward "$@" >"$work/out" 2>"$work/err"
	status=$?
	[ $status -ne 0 ] && [ $status -lt 124 ] || say "$name: exit status $status"
	[ "$(wc -l <"$work/err")" = 1 ] || say "$name: not one line: $(cat "$work/err")"
	grep -q -- "$word" "$work/err" || say "$name: says $(cat "$work/err")"
	[ -s "$work/out" ] && say "$name: on stdout: $(head -n 3 "$work/out")"
}

before=$(ls -d /var/run/dpdk/rte /dev/shm/* 2>/dev/null)

python3 programs/make_capture.py --packets 2000 "$work/in.pcap" >/dev/null ||
	say "no capture"
runs macswap --port "net_pcap0,rx_pcap=$work/in.pcap,tx_pcap=$work/out.pcap" \
	--xdp net_pcap0="$bpf/macswap.bpf.o:macswap"
[ "$(counter tx)" = 2000 ] || say "macswap: $(counter tx) of 2000 sent"
[ "$(stat -c %s "$work/in.pcap")" = "$(stat -c %s "$work/out.pcap")" ] ||
	say "macswap: what was sent is not as long as what was received"

runs loop --port net_ring0 --xdp 1="$bpf/macswap.bpf.o" --send 1=64
[ "$(counter sent)" = 64 ] || say "loop: $(counter sent) of 64 sent"

runs "no program" --port net_null0,size=64
[ "$(counter kernel)" = "$(counter rx)" ] || say "no program: not all passed"

runs "pass to" --port "net_pcap0,rx_pcap=$work/in.pcap" --port net_null0 --pass-to net_pcap0=2
[ "$(counter tx)" -ge 2000 ] || say "pass to: $(counter tx) of 2000 sent"

# Frames in a tunnel of fixed parameters: 50 bytes longer each, in Ethernet, IPv4, UDP and VXLAN.
runs tunnel --port "net_pcap0,rx_pcap=$work/in.pcap" --port "net_pcap1,tx_pcap=$work/out.pcap" \
	--tunnel v0=vxlan,underlay=net_pcap1,local=10.0.0.1,remote=10.0.0.2,id=42,nexthop=02:00:00:00:00:02 \
	--pass-to net_pcap0=v0
[ "$(counter tunnel_encap)" = "$(counter tx)" ] && [ "$(counter tx)" -gt 1500 ] ||
	say "tunnel: $(counter tx) of 2000 sent"
python3 - "$work/in.pcap" "$work/out.pcap" <<-'END' || say "tunnel: what was sent is not what came in"
	import struct, sys
	def frames(path):
	    data, at, out = open(path, "rb").read(), 24, []
	    while at < len(data):
	        n = struct.unpack_from("<I", data, at + 8)[0]
	        out.append(data[at + 16:at + 16 + n])
	        at += 16 + n
	    return out
	sent, came = frames(sys.argv[2]), iter(frames(sys.argv[1]))
	sys.exit(not all(f[50:] in came and f[23] == 17 and f[36:38] == b"\x12\xb5" for f in sent))
END

runs police --port "net_pcap0,rx_pcap=$work/in.pcap" \
	--tc "1,ingress,$bpf/police.bpf.o:classifier,action=$bpf/police.bpf.o:action"

# Objects from before BTF: what follows the jump table is reached, and drops.
legacy=$build_dir/tests/control/loader
runs legacy --port "net_pcap0,rx_pcap=$work/in.pcap" --xdp "1=$legacy/samples-plain.bpf.o" \
	--tc "1,ingress,$legacy/iproute2-plain.bpf.o:entry,da"
[ "$(counter xdp_pass)" = "$(counter xdp_tx)" ] || say "legacy: $(counter xdp_pass) of 2000 passed"
[ "$(counter ingress_shot)" = 0 ] || say "legacy: the jump table is empty"

# A tap writes what its filter keeps, and nothing else.
filter=$build_dir/tests/control/filter.bpf.o
runs tap --port "net_pcap0,rx_pcap=$work/in.pcap" --tap "1=$filter,write=$work/tap.pcap" \
	--tap "1=$filter:keep_tcp,in"
python3 - "$work/in.pcap" "$work/tap.pcap" "$work/json" <<-'END' || bad=1
	import json, struct, sys
	def packets(path):
	    data = open(path, "rb").read()
	    at = 24
	    while at < len(data):
	        n = struct.unpack_from("<I", data, at + 8)[0]
	        yield data[at + 16:at + 16 + n]
	        at += 16 + n
	def is_tcp(p):
	    if p[12:14] == b"\x81\0":
	        p = p[:12] + p[16:]
	    return p[12:14] == b"\x08\0" and p[23] == 6
	want = [p for p in packets(sys.argv[1]) if is_tcp(p)]
	got = list(packets(sys.argv[2]))
	if not want or want != got:
	    sys.exit("tap: %d packets instead of %d" % (len(got), len(want)))
	for tap in json.load(open(sys.argv[3]))["taps"]:
	    if tap["seen"] != 2000 or tap["accepted"] != len(want) or tap["lost"] != 0:
	        sys.exit("tap: counters %s" % tap)
END

# A router between captures: every packet that leaves has the next hop's address and one TTL less.
cat >"$work/network" <<-'END'
	# IPv6 from a file
	address add 2001:db8::1/64 dev net_pcap0 nodad
	-6 route add default via fe80::9 dev 1

	neigh add fe80::9 lladdr 02:00:00:00:aa:06 dev net_pcap0
END
runs route --port "net_pcap0,rx_pcap=$work/in.pcap,tx_pcap=$work/out.pcap" \
	--xdp net_pcap0="$bpf/route.bpf.o" --ip "link set net_pcap0 address 02:00:00:00:bb:01" \
	--ip "address add 192.0.2.1/24 dev net_pcap0" --ip "route add default via 192.0.2.2" \
	--ip "route add blackhole 10.128.0.0/9" --ip-batch "$work/network" \
	--ip "neigh add 192.0.2.2 lladdr 02:00:00:00:aa:04 dev net_pcap0"
[ "$(counter xdp_drop)" -gt 100 ] || say "route: $(counter xdp_drop) into the black hole"
python3 - "$work/out.pcap" "$(counter tx)" <<-'END' || say "route: see above"
	import struct, sys
	b, at, seen = open(sys.argv[1], "rb").read(), 24, {0x0800: 0, 0x86DD: 0}
	while at < len(b):
	    size = struct.unpack_from("<I", b, at + 8)[0]
	    f, at = b[at + 16 : at + 16 + size], at + 16 + size
	    kind = struct.unpack_from("!H", f, 12)[0]
	    want = "020000 00aa0" + {0x0800: "4", 0x86DD: "6"}[kind] + "02000000bb01"
	    if f[:12] != bytes.fromhex(want):
	        sys.exit("header %s" % f[:14].hex())
	    if kind == 0x0800:
	        total = sum(struct.unpack_from("!10H", f, 14))
	        if f[30] != 10 or f[31] > 127 or (total & 0xFFFF) + (total >> 16) != 0xFFFF:
	            sys.exit("IPv4 %s" % f[14:34].hex())
	    seen[kind] += 1
	if min(seen.values()) < 100 or sum(seen.values()) != int(sys.argv[2]):
	    sys.exit("%s, %s sent" % (seen, sys.argv[2]))
END

port="net_null0"
: >"$work/empty.o"
head -c 700 "$bpf/macswap.bpf.o" >"$work/short.o"
refuses "no port" "no port" "${eal[@]}" --
refuses "unknown pmd" net_nosuch0 "${eal[@]}" -- --port net_nosuch0
refuses "missing capture" "No such file" "${eal[@]}" -- --port net_pcap0,rx_pcap=/nonexistent
refuses "no capture" "file format" "${eal[@]}" -- --port "net_pcap0,rx_pcap=$bpf/macswap.bpf.o"
refuses "missing object" "No such file" "${eal[@]}" -- --port $port --xdp 1=/nonexistent.o
refuses "empty object" "the file is empty" "${eal[@]}" -- --port $port --xdp "1=$work/empty.o"
refuses "cut object" "short.o: the file is cut off" "${eal[@]}" -- --port $port --xdp "1=$work/short.o"
refuses "no such program" "no program" "${eal[@]}" -- --port $port --xdp "1=$bpf/macswap.bpf.o:x"
refuses "wrong type" "another type" "${eal[@]}" -- --port $port \
	--tc "1,ingress,$bpf/macswap.bpf.o:xdp"
refuses "no such port" "no port 7" "${eal[@]}" -- --port $port --xdp "7=$bpf/macswap.bpf.o"
refuses "tap of no port" "no port 7" "${eal[@]}" -- --port $port --tap "7=$filter"
refuses "tap's key" "bad value" "${eal[@]}" -- --port $port --tap "1=$filter,out"
refuses "tap's type" "another type" "${eal[@]}" -- --port $port --tap "1=$bpf/macswap.bpf.o:macswap"
refuses "tap's file" "No such file" "${eal[@]}" -- --port $port --tap "1=$filter,write=/nonexistent/x"
refuses "bad hook" "bad value" "${eal[@]}" -- --port $port --tc "1,sideways,$bpf/police.bpf.o"
refuses "bad key" "bad value" "${eal[@]}" -- --port $port --tc "1,ingress,$bpf/police.bpf.o,x=1"
refuses "bad tunnel" "kind 'vlxan'" "${eal[@]}" -- --port $port --tunnel v0=vlxan
refuses "bad tunnel key" "option 'colour'" "${eal[@]}" -- --port $port --tunnel v0=gre,colour=red
refuses "bad tunnel value" "value of 'local'" "${eal[@]}" -- --port $port --tunnel v0=gre,local=1.2.3
refuses "no underlay" "underlay=PORT" "${eal[@]}" -- --port $port --tunnel v0=gre,external
refuses "tunnel over nothing" "no port x" "${eal[@]}" -- --port $port \
	--tunnel v0=gre,external,underlay=x
refuses "bad tunnel options" "no remote" "${eal[@]}" -- --port $port --tunnel v0=gre,underlay=1
refuses "bad option" "--nope" "${eal[@]}" -- --nope
refuses "bad EAL option" "nope" --nope -- --port $port
refuses "bad seconds" "bad value" "${eal[@]}" -- --port $port --seconds -1
refuses "bad route" "no prefix" "${eal[@]}" -- --port $port --ip "route add 300.0.0.0/8 dev 1"
refuses "no gateway" "unreachable" "${eal[@]}" -- --port $port --ip "route add default via 10.0.0.1"
refuses "no interface" "'eth7'" "${eal[@]}" -- --port $port --ip "route add default dev eth7"
refuses "half a command" "dev is missing" "${eal[@]}" -- --port $port --ip "neigh add 10.0.0.1"
refuses "unknown word" "'frob'" "${eal[@]}" -- --port $port --ip "link set 1 mtu 1500 frob"
refuses "no batch" "No such file" "${eal[@]}" -- --port $port --ip-batch /nonexistent
printf 'route add 10.0.0.0/8 dev 1\nroute add 10.0.0.0/8 dev 1\n' >"$work/twice"
refuses "twice" "line 2: File exists" "${eal[@]}" -- --port $port --ip-batch "$work/twice"
refuses "no separator" "'--'" --port $port

[ "$before" = "$(ls -d /var/run/dpdk/rte /dev/shm/* 2>/dev/null)" ] || say "something is left behind"
exit $bad
