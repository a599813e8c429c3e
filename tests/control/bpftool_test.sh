#!/usr/bin/env bash
# bpftool_test.sh BUILD_DIR: what bpftool says of a daemon's objects, beside what it says of the kernel's.
set -uo pipefail
build=$(readlink -f "$1")
sluice=$build/control/cli/sluice
work=$(mktemp -d)
kernel_pins=/sys/fs/bpf/sluice_bpftool_$$
. "$(dirname "$0")/daemon.sh"
trap 'stop_daemon; rm -rf "$work" $kernel_pins' EXIT
bpftool=$(command -v bpftool || echo /usr/sbin/bpftool)
object=$build/tests/control/dumped.bpf.o
failed=0

if ldd "$build/control/shim/libsluice_local.so" | grep -q 'lib[at]san'; then
	echo "a preloaded library cannot bring a sanitizer along"
	exit 77
fi
[ -x "$bpftool" ] || { echo "no bpftool" && exit 77; }
head -c 64 /dev/zero >"$work/packet"

# One a line: PIN is where things are pinned, BTF the id of the program's BTF, TAG its tag.
commands="prog show pinned PIN/prog
prog show name use
prog show tag TAG
prog run pinned PIN/prog data_in $work/packet repeat 10
prog load $object PIN/as_tc type tc
prog load $object PIN/as_nothing type frob
prog pin pinned PIN/prog PIN/again
prog pin pinned PIN/prog PIN/again
prog show pinned PIN/again
prog show pinned PIN/none
prog show pinned PIN/hash
prog show id 99999999
prog attach pinned PIN/prog msg_verdict pinned PIN/hash
map show pinned PIN/hash
map show pinned PIN/array
map show pinned PIN/trie
map show pinned PIN/percpu_array
map show pinned PIN/dumped_rodata
map show id 99999999
map dump pinned PIN/array
map dump pinned PIN/dumped_rodata
map getnext pinned PIN/array
map getnext pinned PIN/array key 2 0 0 0
map update pinned PIN/array key 1 0 0 0 value 1
map update pinned PIN/array key 9 0 0 0 value hex $(printf '00 %.0s' {1..56})
map update pinned PIN/dumped_rodata key 0 0 0 0 value hex $(printf '00 %.0s' {1..26})
map delete pinned PIN/array key 0 0 0 0
map lookup pinned PIN/lru_hash key 0 0 0 0 0 0 0 0
map create PIN/queue type queue value 4 entries 2 name queue
map push pinned PIN/queue value 1 0 0 0
map push pinned PIN/queue value 2 0 0 0
map push pinned PIN/queue value 3 0 0 0
map peek pinned PIN/queue
map pop pinned PIN/queue
map freeze pinned PIN/queue
map push pinned PIN/queue value 3 0 0 0
map show pinned PIN/queue
map pin pinned PIN/queue PIN/queue2
map show name queue
map create PIN/bad type hash key 0 value 4 entries 1 name bad
map create PIN/bad type frob key 4 value 4 entries 1 name bad
map create PIN/outer type hash_of_maps key 4 value 4 entries 2 name outer inner_map pinned PIN/queue
map create PIN/outer type hash_of_maps key 4 value 4 entries 2 name outer inner_map pinned PIN/array
map update pinned PIN/outer key 1 0 0 0 value pinned PIN/array
map update pinned PIN/outer key 1 0 0 0 value pinned PIN/hash
map show pinned PIN/outer
btf show id BTF
btf dump id BTF
btf dump id BTF format c
btf dump map pinned PIN/hash
btf show id 99999999
link show
struct_ops show
batch file $work/batch"

# The program dies with its loader when it is not pinned: the rest of a batch sees it gone.
cat >"$work/batch" <<-EOT
	map create PIN/batch type array key 4 value 4 entries 2 name batch
	map update pinned PIN/batch key 0 0 0 0 value 5 0 0 0
	map dump pinned PIN/batch
EOT

ask() { # PINS TOOL...: all commands, in text and in JSON
	local pins=$1 batch=$work/batch shown command
	shift
	"$@" mkdir -p $pins
	"$@" "$bpftool" prog load "$object" $pins/prog pinmaps $pins >"$work/out" 2>&1 || return
	shown=$("$@" "$bpftool" -j prog show pinned $pins/prog)
	sed -i "s#[^ ]*/batch type#$pins/batch type#; s#pinned [^ ]*/batch#pinned $pins/batch#" "$batch"
	while read -r command; do
		echo "\$ $command"
		command=${command//PIN/$pins}
		command=${command//BTF/$(sed 's/.*"btf_id":\([0-9]*\).*/\1/' <<<"$shown")}
		command=${command//TAG/$(sed 's/.*"tag":"\([0-9a-f]*\).*/\1/' <<<"$shown")}
		"$@" "$bpftool" -j $command 2>&1
		printf '\n=> %s\n' $?
	done <<<"$commands"
}

# What differs by nature: ids, times, sizes of code and of memory; and what the kernel inlines.
neutral() { # PINS FILE
	sed -E -e "s#$1#PIN#g" \
		-e 's/"(id|btf_id|loaded_at|uid|run_time_ns|run_cnt|bytes_memlock|bytes_jited|bytes_xlated|size)":[0-9]+,?//g' \
		-e 's/"duration":[0-9]+//; s/"pids":\[[^]]*\],?//g; s/"(map_ids|prog_ids)":\[[^]]*\],?//g' \
		-e 's/^([0-9]+: |id [0-9]+)/N /; s/map\[id:[0-9]+\]/map[id]/g' "$2"
}

if ! ask $kernel_pins env >"$work/kernel"; then
	cat "$work/out"
	echo "the kernel takes no programs from this user"
	exit 77
fi
start_daemon || exit 1
ask /sys/fs/bpf/daemon "$sluice" run -- >"$work/ours" || { cat "$work/out" && failed=1; }
if ! diff <(neutral $kernel_pins "$work/kernel") <(neutral /sys/fs/bpf/daemon "$work/ours") >"$work/diff"; then
	echo "bpftool with the kernel, and with the daemon:"
	cut -c1-500 "$work/diff"
	failed=1
fi
[ "$(grep -c '^=> 0' "$work/ours")" -gt 30 ] || { echo "too little succeeded" && failed=1; }

# What it finds when it tries everything: Sluice has the features of its own, not the kernel's.
"$sluice" run -- "$bpftool" -j feature probe kernel >"$work/features" 2>"$work/out" || { cat "$work/out" && failed=1; }
for feature in have_xdp_prog_type have_sched_cls_prog_type have_prog_array_map_type have_lpm_trie_map_type \
	have_v2_isa_extension; do
	grep -q "\"$feature\":true" "$work/features" || { echo "no $feature" && failed=1; }
done
"$sluice" run -- "$bpftool" net show >"$work/out" 2>&1 || { cat "$work/out" && failed=1; }

# A program put into a pinned jump table by tc's exec proxy.
tc=$(command -v tc || echo /usr/sbin/tc)
globals=/sys/fs/bpf/tc/globals
"$sluice" run -- mkdir -p $globals
"$sluice" run -- "$bpftool" map create $globals/jumps type prog_array key 4 value 4 entries 4 name jumps
"$sluice" run -- "$tc" exec bpf graft m:globals/jumps key 1 obj "$build/programs/classify.bpf.o" sec tc \
	>"$work/out" 2>&1 || { cat "$work/out" && failed=1; }
[ "$("$sluice" map next jumps 0)" = 1 ] && "$sluice" map get jumps 1 >"$work/out" 2>&1 || { cat "$work/out" && failed=1; }
exit $failed
