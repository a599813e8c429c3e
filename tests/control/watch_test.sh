#!/usr/bin/env bash
# watch_test.sh BUILD_DIR: captures and traces of packets of which each says what becomes of it.
set -uo pipefail
build=$(readlink -f "$1")
here=$(readlink -f "$(dirname "$0")")
sluice=$build/control/cli/sluice
object=$build/tests/control/watched.bpf.o
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0

say() {
	echo "$*"
	bad=1
}

check() {
	python3 "$here/watch_files.py" "$@" || say "$1: not as it should be"
}

count=500
check make "$work/in.pcap" $count
timeout 60 "$sluice" forward --no-huge -m 256 --no-shconf --no-pci -- \
	--port "net_pcap0,rx_pcap=$work/in.pcap,tx_pcap=$work/out.pcap" \
	--xdp "net_pcap0=$object:watched_xdp" --tc "net_pcap0,ingress,$object:watched_tc,da" \
	--capture "$work/rx.pcapng,at=rx" --capture "$work/points.pcapng,at=all" \
	--capture "$work/filter.pcapng,snaplen=32,filter=ether[15] != 0" \
	--trace "$work/trace,port=net_pcap0" --workers 1 --seconds 0.7 >"$work/out" 2>"$work/err" ||
	say "forward: exit status $?: $(cat "$work/err")"
[ ! -s "$work/err" ] || say "$(cat "$work/err")"
grep -q "capture to $work/rx.pcapng: $count packets seen, $count matched, 0 lost" "$work/out" ||
	say "no summary: $(cat "$work/out")"
check rx "$work/rx.pcapng" $count
check points "$work/points.pcapng" $count
check filter "$work/filter.pcapng" $count
check trace "$work/trace" $count

# refuses NAME WORD ARGUMENTS...
refuses() {
	local name=$1 word=$2
	shift 2
	timeout 60 "$sluice" forward --no-huge -m 64 --no-shconf --no-pci -- --port net_ring0 "$@" --seconds 0.1 \
		>"$work/out" 2>"$work/err" && say "$name: not refused"
	grep -q -- "$word" "$work/err" || say "$name: says $(cat "$work/err")"
}
refuses "a point that is none" "bad value" --capture "$work/x,at=nowhere"
refuses "a filter that is none" "syntax error" --capture "$work/x,filter=port and"
refuses "a port that is none" "no port nowhere" --trace "$work/x,port=nowhere"
refuses "a file that cannot be" "cannot write" --capture "/nowhere/x"
exit $bad
