#!/usr/bin/env bash
# testpmd.sh BUILD_DIR: one core, 64-byte frames, macswap: the eBPF program on Sluice's loop beside
# testpmd's own mode, on the same virtual devices, one after the other, several rounds. Prints the
# medians in Mpps and the ratio of each pair. Needs two CPUs and hugepages; borrows them if root.
set -euo pipefail
build_dir=$1
rounds=9
seconds=3
hugepages=/proc/sys/vm/nr_hugepages

command -v dpdk-testpmd >/dev/null || { echo "testpmd: dpdk-testpmd is not installed" >&2; exit 1; }
[ "$(nproc)" -ge 2 ] || { echo "testpmd: needs two CPUs" >&2; exit 1; }
before=$(cat $hugepages)
if [ "$before" -lt 512 ]; then
	[ -w $hugepages ] || { echo "testpmd: needs 512 hugepages ($hugepages)" >&2; exit 1; }
	trap 'echo "$before" >$hugepages' EXIT
	echo 512 >$hugepages
fi

# Mean of testpmd's per-second rates, the first two left out, in Mpps.
testpmd() {
	# It runs until it is interrupted, which timeout reports as a failure.
	{ timeout -s INT $((seconds + 4)) dpdk-testpmd -l 0,1 --in-memory --no-pci --vdev "$1" \
		--log-level='*:error' -- --forward-mode=macswap --nb-cores=1 --burst=32 \
		--stats-period 1 "$2" 2>/dev/null </dev/null || true; } |
		awk '/Rx-pps:/ { if (++n > 2) { sum += $2; count++ } }
			END { printf "%.2f\n", count ? sum / count / 1e6 : 0 }'
}

median() {
	sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)], v[1], v[NR] }'
}

compare() {
	local label=$1 device=$2 start=$3 packets=$4 ours theirs pairs=""
	for _ in $(seq $rounds); do
		ours=$("$build_dir/benchmarks/macswap" "$device" $seconds "$packets")
		theirs=$(testpmd "$device" "$start")
		pairs+="$ours $theirs"$'\n'
	done
	read -r a _ _ < <(printf %s "$pairs" | awk '{ print $1 }' | median)
	read -r b _ _ < <(printf %s "$pairs" | awk '{ print $2 }' | median)
	read -r r lo hi < <(printf %s "$pairs" | awk '{ printf "%.3f\n", $1 / $2 }' | median)
	printf '%-24s sluice %8.2f  testpmd %8.2f  ratio %.3f (%.3f..%.3f)\n' \
		"$label" "$a" "$b" "$r" "$lo" "$hi"
}

echo "macswap, 1 core, 64 B, Mpps, medians of $rounds interleaved rounds of $seconds s"
compare "net_null copy=1" net_null0,size=64,copy=1 --auto-start 0
compare "net_ring, 32 in flight" net_ring0 --tx-first 32
