#!/usr/bin/env bash
# map_test.sh BUILD_DIR: scripts that read and write maps by `sluice map`, and get them by `sluice exec`
# and `sluice agent`: the same commands with the kernel's maps and with a daemon's, and compared.
set -uo pipefail
build=$(readlink -f "$1")
here=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d)
all_pins=/sys/fs/bpf/sluice_map_$$
. "$here/daemon.sh"
agent=
cleanup() {
	[ -z "$agent" ] || kill "$agent" 2>/dev/null
	stop_daemon
	rm -rf "$work" $all_pins--kernel
}
trap cleanup EXIT
bpftool=$(command -v bpftool || echo /usr/sbin/bpftool)
tc=$(command -v tc || echo /usr/sbin/tc)
objects=$build/tests/control
failed=0

if ldd "$build/control/shim/libsluice_local.so" | grep -q 'lib[at]san'; then
	echo "a preloaded library cannot bring a sanitizer along"
	exit 77
fi
[ -x "$bpftool" ] || { echo "no bpftool" && exit 77; }
start_daemon || exit 1

# What the two sides differ in: whose maps, and how a tool gets at them.
sluice() { "$build/control/cli/sluice" "$@"; }
side= pins=
take_side() {
	side=$1
	pins=$all_pins$side
}
map() { sluice map $side "$@"; }
tool() {
	if [ -n "$side" ]; then
		"$@"
	else
		sluice run -- "$@"
	fi
}

# say COMMAND...: its output, both kinds, and exit status
say() {
	echo "\$ $*"
	"$@" 2>&1
	echo "=> $?"
}

# Every verb, every kind of map, every kind of mistake.
elements() {
	local a=$pins/array h=$pins/hash t=$pins/trie p=$pins/percpu_array ph=$pins/percpu_hash
	local hosts=$pins/hosts queue=$pins/queue jumps=$pins/jumps outer=$pins/outer

	say map set pinned $h 'from.bytes=hex:0a000001,from.port=80,state=BUSY' \
		'{"packets":5,"balance":-3,"low":2,"high":7,"active":true,"name":"abc","part":{"number":9}}'
	say map get pinned $h '{"from":{"bytes":[10,0,0,1],"port":80},"state":7}'
	say map dump pinned:$h --json
	say map set pinned $h 'state=IDLE' 'packets=1' --flags exist
	say map set pinned $h 'state=IDLE' 'packets=1' --flags noexist
	say map set pinned $h 'state=IDLE' 'packets=1' --flags noexist
	say map del pinned $h 'state=IDLE'
	say map del pinned $h 'state=IDLE'
	say map get pinned $h 'state=IDLE'
	say map get pinned $h 'state=GONE,port=1'
	say map set pinned $a 1 'balance=-1'
	say map get pinned $a 1
	say map get pinned $a 3
	say map next pinned $a
	say map next pinned $a 1
	say map next pinned $a 2
	say map set pinned $t 10.0.0.0/8 'bytes=hex:01020304,port=7'
	say map set pinned $t 10.1.0.0/16 'port=8' --value hex4,u16
	say map set pinned $t 10.1.0.0/16 'hex:00000000,8' --value hex4,u16
	say map get pinned $t 10.1.2.3
	say map get pinned $t 10.1.2.3 --value hex4,u16
	say map get pinned $t 11.1.2.3
	say map set pinned $t 10.1.2.3/33 port=1
	say map dump pinned $t --key cidr
	say map set pinned $p 1 prefixlen=3
	say map set pinned $p 1 prefixlen=5 @1
	say map get pinned $p 1
	say map get pinned $p 1 @1
	say map get pinned $p 1 @1 --json
	say map get pinned $p 1 --sum
	say map get pinned $p 1 --json
	say map dump pinned $p @1
	printf '1 @1\n1\n' | say map get pinned $p -
	say map get pinned $p 1 @4096
	say map get pinned $a 1 @1
	say map set pinned $ph bytes=hex:01020304 port=7 @0
	say map get pinned $ph bytes=hex:01020304 --sum
	say map set pinned $hosts 10.0.0.1 1
	say map set pinned $hosts ip:10.0.0.2 0xffffffffffffffff
	say map set pinned $hosts hex:0a000003 3
	say map get pinned $hosts 10.0.0.2
	say map get pinned $hosts 10.0.0.2 --value s64
	say map get pinned $hosts be32:167772163
	say map get pinned $hosts 10.0.0.9
	say map set pinned $hosts 10.0.0.1 x
	say map set pinned $hosts 10.0.0 1
	say map set pinned $hosts 10.0.0.1 1 --key ip6
	say map set pinned $hosts 10.0.0.1
	say map set pinned $hosts
	say map set pinned $hosts 1 2 3 4
	printf '# hosts\n\n10.0.0.4 4\n10.0.0.5 five\n' | say map set pinned $hosts -
	say map get pinned $hosts 10.0.0.4
	printf '10.0.0.4 4\n10.0.0.5 5 # five\n' | say map set pinned $hosts -
	printf '10.0.0.5\n10.0.0.77\n10.0.0.4\n' | say map get pinned $hosts - --key ip
	printf '10.0.0.5\n10.0.0.4\n' | say map del pinned $hosts -
	seq 100 120 | sed 's/.*/10.0.1.& &/' | say map set pinned $hosts -
	map dump pinned $hosts --key ip | sort | say wc -l
	say map set pinned $queue 7
	say map set pinned $queue 8
	say map get pinned $queue
	say map del pinned $queue
	say map del pinned $queue
	say map del pinned $queue
	say map dump pinned $queue
	say map set pinned $jumps 1 pinned $pins/prog
	say map set pinned $jumps 2 pinned:$pins/prog
	say map set pinned $jumps 2 pinned:$pins/none
	say map set pinned $jumps 9 pinned:$pins/prog
	say map set pinned $jumps 2 none
	say map dump pinned $jumps | sed 's/ [0-9]*$/ ID/'
	printf '0 pinned:%s\n3 pinned:%s\n' $pins/prog $pins/prog | say map set pinned $jumps -
	say map del pinned $jumps 1
	say map next pinned $jumps 1
	say map set pinned $outer 0 pinned $pins/hosts
	say map set pinned $outer 1 pinned $pins/queue
	say map dump pinned $outer | sed 's/ [0-9]*$/ ID/'
	say map get pinned $pins/prog 1
	say map get pinned $pins/none 1
	say map get name no_such_map 1
	say map get id 4294967295 1
	say map get id x 1
	say map get fd:77 1
	say map get
	say map
	say map frob pinned $a
	say map dump pinned $a --frob
	say map set pinned $a 1 packets=1 --flags maybe
	say map get pinned $a 1 --value
	say map dump pinned $a 1
	say map dump pinned $a --flags any
}

# Maps without BTF, and of kinds that an object file has not.
create() {
	tool mkdir -p $pins
	tool "$bpftool" prog load "$objects/dumped.bpf.o" $pins/prog pinmaps $pins || return 1
	tool "$bpftool" map create $pins/hosts type hash key 4 value 8 entries 16 name hosts || return 1
	tool "$bpftool" map create $pins/queue type queue value 4 entries 4 name queue || return 1
	tool "$bpftool" map create $pins/jumps type prog_array key 4 value 4 entries 4 name jumps || return 1
	tool "$bpftool" map create $pins/outer type hash_of_maps key 4 value 4 entries 2 name outer \
		inner_map pinned $pins/hosts
}

# The kernel refuses what this user may not do at all.
take_side --kernel
if ! create >"$work/out" 2>&1; then
	cat "$work/out"
	echo "the kernel takes no maps from this user"
	exit 77
fi
take_side ''
create || failed=1

for which in --kernel ''; do
	take_side "$which"
	elements >"$work/elements$side"
done
# What is not the kernel's words: ids.
if ! diff <(sed 's/--kernel//g' "$work/elements--kernel") "$work/elements" >"$work/diff"; then
	echo "sluice map: the kernel's answers and ours"
	cat "$work/diff"
	failed=1
fi
# Whether the script asked at all, and got what it should.
expect() { # COMMAND OUTPUT...
	local command=$1
	shift
	grep -A$# -F -x -- "\$ map $command " "$work/elements" | tail -n +2 | diff - <(printf '%s\n' "$@") && return
	echo "that was: map $command"
	failed=1
}
sed -i 's/^\$ map.*/& /' "$work/elements"
expect "get pinned $pins/hash state=IDLE" 'sluice: map get: no such element' '=> 1'
expect "get pinned $pins/trie 10.1.2.3" '{"bytes":[0,0,0,0],"port":8}' '=> 0'
expect "get pinned $pins/percpu_array 1 --sum" "{\"prefixlen\":$(($(getconf _NPROCESSORS_CONF) * 3 + 2)),\"address\":[0,0,0,0]}" '=> 0'
expect "get pinned $pins/hosts 10.0.0.2 --value s64" '-1' '=> 0'
expect "get pinned $pins/hosts 10.0.0.4" 'sluice: map get: no such element' '=> 1'
expect "set pinned $pins/hosts 10.0.0.1 x" \
	"sluice: map set: value: 'x' is no number of 8 bytes (try 'sluice help')" '=> 2'
expect "get id x 1" "sluice: map get: 'x' is no id of a map (try 'sluice help')" '=> 2'
for line in 'line 4: value' 'nothing was done' 'of 21 elements are done' '=> 2'; do
	grep -q -- "$line" "$work/elements" || { echo "no '$line'" && failed=1; }
done
[ "$(grep -c '^=>' "$work/elements")" -gt 80 ] || { echo "the script did not run: $(grep -c "^=>" "$work/elements")" && failed=1; }

# What bpftool shows of random elements, and we in its form, is the same; what we print, we read.
random() { # COUNT: bytes, as bpftool takes them
	od -An -v -tx1 -N"$1" /dev/urandom | tr -s '\n ' ' '
}
compare() {
	local i map
	# Zero where the types have padding, which is in no member.
	for i in 1 2 0; do
		echo "map update pinned $pins/hash key hex $(random 6) 00 00 $(random 4)" \
			"value hex $(random 22) 00 00 $(random 12) 00 00 00 00 $(random 16)"
		echo "map update pinned $pins/lru_hash key hex $(random 8) value hex $(random 4)"
		echo "map update pinned $pins/array key $i 0 0 0" \
			"value hex $(random 22) 00 00 $(random 12) 00 00 00 00 $(random 16)"
		echo "map update pinned $pins/percpu_hash key hex $(random 6) value hex $(random 6)"
	done >"$work/updates"
	tool "$bpftool" batch file "$work/updates" >/dev/null || failed=1
	for map in hash lru_hash array percpu_hash trie; do
		tool "$bpftool" -j map dump pinned $pins/$map >"$work/theirs"
		map dump pinned $pins/$map --json --raw >"$work/ours"
		python3 "$here/same_elements.py" "$work/theirs" "$work/ours" || {
			echo "bpftool map dump $map $side"
			failed=1
		}
		map dump pinned $pins/$map >"$work/lines"
		map set pinned $pins/$map - <"$work/lines" || failed=1
		tool "$bpftool" -j map dump pinned $pins/$map >"$work/again"
		python3 "$here/same_elements.py" --raw "$work/theirs" "$work/again" || {
			echo "set what dump printed: $map $side"
			failed=1
		}
	done
}

end_agent() {
	kill "$agent"
	wait "$agent"
	echo "agent $?: $(sed "s/^.*: //" "$work/agent" | tr '\n' ',')"
	agent=
}
appears() { # SOCKET
	for _ in $(seq 200); do
		[ ! -S "$1" ] || return 0
		sleep 0.02
	done
}

# Applications that hold maps: the environment, and the descriptors themselves.
holders() {
	local sock=$work/maps.sock script='echo $BPF_NUM_MAPS; sluice map get fd:$BPF_MAP0 10.0.0.1'
	local names="--map pinned $pins/hosts --map 5=pinned $pins/array"

	export PATH=$build/control/cli:$PATH
	map dump pinned $pins/hosts | cut -d' ' -f1 | map del pinned $pins/hosts - || return 1
	map set pinned $pins/hosts 10.0.0.1 41 || return 1
	say sluice exec $side $names -- sh -c "$script; sluice map set fd:\$BPF_MAP0 10.0.0.1 42"
	say sluice exec $side $names -- sh -c "$script; echo \$BPF_MAP0 \$BPF_MAP5 \$BPF_MAP1"
	echo "$script" | say sluice exec $side $names
	say sluice exec $side --map pinned $pins/hosts -- sluice exec $side --map 3=pinned $pins/array -- \
		sh -c 'echo $BPF_NUM_MAPS ${BPF_MAP0:-none} $BPF_MAP3'
	say sluice exec $side --map pinned $pins/hosts -- "$bpftool" map dump name no_such_map
	say sluice exec $side --map pinned $pins/prog -- true
	say sluice exec $side --map pinned $pins/none -- true
	say sluice exec $side --map
	say sluice exec $side
	say sluice exec $side --map 1=hosts --map 1=hosts -- true
	say sluice exec $side --map pinned $pins/hosts -- "$work/none"
	say sluice exec $side --agent "$work/no/sock" -- true
	say sluice exec $side --agent "$sock" --wait 1 -- true
	say sluice agent
	say sluice agent "$sock" "$sock"
	say sluice agent "$sock" $side --map pinned $pins/none

	"$build/control/cli/sluice" agent "$sock" $side $names 2>"$work/agent" &
	agent=$!
	# One after the other, then some at once: each gets the maps, and the map outlives them.
	for _ in 1 2 3; do
		say timeout 10 "$tc" exec bpf import "$sock" run sh -c "$script; sluice map set fd:\$BPF_MAP0 10.0.0.1 43"
	done
	for i in 1 2 3 4; do
		sluice exec --agent "$sock" -- sh -c "echo $i $i | sluice map set fd:\$BPF_MAP0 - --key u32" &
	done
	wait $(jobs -p | grep -vx "$agent\|${daemon:-0}")
	map dump pinned $pins/hosts --key u32 | grep '^[1-4] ' | sort
	# Its name taken by somebody who is gone, with the maps and without, as a killed importer leaves it.
	for wait in 0 0.3; do
		python3 -c "import socket, sys, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
time.sleep($wait)" "$sock"
		say sluice exec --agent "$sock" -- sh -c "$script"
	done
	end_agent
	ls "$sock" 2>&1

	# A loader that exports, as iproute2's own loader does, to an agent and straight to an application.
	"$build/control/cli/sluice" agent "$sock" $side 2>"$work/agent" &
	agent=$!
	appears "$sock"
	say sluice exec $side $names -- python3 "$here/export_maps.py" "$sock" 7
	say timeout 10 "$tc" exec bpf import "$sock" run sh -c 'echo $BPF_NUM_MAPS; sluice map get fd:$BPF_MAP7 10.0.0.1'
	end_agent
	"$build/control/cli/sluice" agent "$sock" --receive "$work/receive.sock" $side 2>"$work/agent" &
	agent=$!
	appears "$work/receive.sock"
	say sluice exec $side $names -- python3 "$here/export_maps.py" "$work/receive.sock" --bad 7
	say sluice exec $side $names -- python3 "$here/export_maps.py" "$work/receive.sock" 7
	say sluice exec $side $names -- python3 "$here/export_maps.py" "$work/receive.sock" 8
	say sluice exec --agent "$sock" -- sh -c 'echo $BPF_NUM_MAPS; sluice map get fd:$BPF_MAP8 10.0.0.1'
	end_agent
	grep -c 'no list of maps' "$work/agent"
	ls "$work/receive.sock" 2>&1
	(sleep 0.3 && exec "$build/control/cli/sluice" exec $side $names -- python3 "$here/export_maps.py" "$sock" 9) &
	say sluice exec --agent "$sock" -- sh -c 'echo $BPF_NUM_MAPS; sluice map get fd:$BPF_MAP9 10.0.0.1'
	wait $!
}

for which in --kernel ''; do
	take_side "$which"
	compare
	holders >"$work/holders$side" 2>&1
done
if ! diff <(sed 's/ --kernel//g; s/--kernel//g; s/  */ /g' "$work/holders--kernel") <(sed 's/  */ /g; s/^sluice: run:/sluice: exec:/' "$work/holders") >"$work/diff"; then
	echo "sluice exec and agent: the kernel's maps and ours"
	cat "$work/diff"
	failed=1
fi
for line in '^3 4$' '^4 4$' 'agent 0: 2 maps to hand out,removed the socket.*,removed' '^43$' 'nobody sent maps in 1 seconds'; do
	grep -q -- "$line" "$work/holders" || { echo "no '$line' in:" && cat "$work/holders" && failed=1; }
done

# A daemon that is not there.
SLUICE_SOCKET=$work/none sluice map dump name hosts >"$work/out" 2>&1
[ $? = 1 ] && grep -q "cannot reach sluiced at $work/none" "$work/out" || { cat "$work/out" && failed=1; }
exit $failed
