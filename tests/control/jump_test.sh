#!/usr/bin/env bash
# jump_test.sh BUILD_DIR: `sluice jump` against a daemon whose port, tables and programs somebody else has
# set up. Files that are wrong, in known ways and at random, change nothing.
set -uo pipefail
build=$(readlink -f "$1")
sluice=$build/control/cli/sluice
object=$build/benchmarks/swaps.bpf.o
here=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d)
pins=/sys/fs/bpf/jump_test
. "$here/daemon.sh"
trap 'stop_daemon; rm -rf "$work"' EXIT
failed=0

if ldd "$build/control/shim/libsluice_local.so" | grep -q 'lib[at]san'; then
	echo "a preloaded library cannot bring a sanitizer along"
	exit 77
fi

# expect WHAT STATUS PATTERN...: the last command, run by `run`.
run() {
	"$@" >"$work/out" 2>"$work/err"
	status=$?
}
expect() {
	local what=$1 wanted=$2 pattern
	shift 2
	if [ $status != "$wanted" ] || { [ "$wanted" != 0 ] && [ "$(wc -l <"$work/err")" != 1 ]; }; then
		echo "$what: exit status $status, expected $wanted:"
		failed=1
		cat "$work/out" "$work/err"
	fi
	for pattern in "$@"; do
		grep -qE -- "$pattern" "$work/out" "$work/err" && continue
		echo "$what: no '$pattern' in:"
		failed=1
		cat "$work/out" "$work/err"
	done
}
apply() {
	cat >"$work/file.json"
	run "$sluice" jump apply "$work/file.json" "$@"
}
# All that generations change.
picture() {
	for map in first second third; do
		"$sluice" jump show pinned $pins/$map
	done
	"$sluice" jump list
}

SLUICE_SOCKET=$work/none run "$sluice" jump list
expect "no daemon" 1 "cannot reach sluiced at $work/none"
run "$sluice" jump
expect "no command" 2 'say apply, show, rollback or list'
run "$sluice" jump frobnicate
expect "unknown command" 2 "unknown command 'frobnicate'"
run "$sluice" jump apply
expect "no file" 2 'say one FILE'
run "$sluice" jump apply a b
expect "two files" 2 'say one FILE'
run "$sluice" jump apply --frob a
expect "unknown option" 2 "unknown option '--frob'"
run "$sluice" jump rollback two
expect "no number" 2 "'two' is no number"
run "$sluice" jump show first
expect "which map" 2 'say id N, pinned PATH or name NAME'
run "$sluice" jump show id x
expect "no id" 2 "'x' is no id"
run "$sluice" jump --help
expect "help" 0 'sluice jump apply FILE' '"slots"' 'Exit status'

start_daemon --no-huge -m 64 --no-shconf --vdev net_null0,size=64 -- || exit 1
ifindex=$("$sluice" port list | awk 'NR == 2 { print $1 }')
"$sluice" run -- "$build/tests/control/jump_setup" "$object" "$ifindex" $pins || exit 1

run "$sluice" jump show pinned $pins/first
expect "show" 0 "map [0-9]+ 'first': 1 of 4 slots are set" ' 0  program [0-9]+  xdp  first0'
id=$(grep -oE 'map [0-9]+' "$work/out" | grep -oE '[0-9]+')
run "$sluice" jump show id "$id" --json
expect "show by id" 0 '"index": *0' '"name": *"first0"' '"max_entries": *4'
run "$sluice" jump show name second
expect "show by name" 0 'second0'
run "$sluice" jump show name nothing
expect "show nothing" 1 "no map is named 'nothing'"
run "$sluice" jump show pinned $pins/first0
expect "show a program" 1 'that is no map'
run "$sluice" jump show name states
expect "show another map" 1 "'states' is no PROG_ARRAY"
run "$sluice" jump rollback
expect "nothing to roll back" 1 'there is no generation to roll back'
run "$sluice" jump list
expect "an empty list" 0 'none is kept; the last was 0'

# All that there is: pins, ids, names, a new load of the object, hooks with links.
cat >"$work/good.json" <<EOF
{
  "maps": { "first": { "pinned": "$pins/first" }, "third": { "name": "third" } },
  "programs": {
    "first": { "object": "$object", "function": "first1" },
    "front": { "object": "$object", "function": "front1" },
    "egress": { "pinned": "$pins/egress1" },
    "old egress": { "pinned": "$pins/egress0" }
  },
  "objects": { "$object": { "maps": {
    "first": "first", "second": { "pinned": "$pins/second" }, "third": "third",
    "states": { "name": "states" } } } },
  "slots": [
    { "map": "first", "index": 0, "program": "first" },
    { "map": { "id": $id }, "index": 3, "program": { "pinned": "$pins/aside" } },
    { "map": { "pinned": "$pins/second" }, "index": 0, "program": { "pinned": "$pins/second1" } },
    { "map": "third", "index": 0, "program": null }
  ],
  "hooks": [
    { "hook": "xdp", "port": "net_null0", "program": "front" },
    { "hook": "tcx/egress", "port": $ifindex, "program": "egress", "old": "old egress" }
  ]
}
EOF
picture >"$work/before"
run "$sluice" jump apply "$work/good.json" --dry-run
expect "a dry run" 0 'generation 1: 4 slots of 3 maps, 2 hooks; would be published'
cmp <(picture) "$work/before" || failed=1
run "$sluice" jump apply - --json <"$work/good.json"
expect "apply" 0 '"generation": *1' '"slots": *4' '"hooks": *2' '"adopt_ns": *[0-9]+'
run "$sluice" jump show pinned $pins/first
expect "after apply" 0 ' 0  program [0-9]+  xdp  first1' ' 3  program [0-9]+  xdp  aside'
run "$sluice" jump show pinned $pins/third
expect "after apply" 0 "'third': 0 of 4 slots are set"
run "$sluice" jump rollback --dry-run
expect "a dry rollback" 0 'generation 2: 4 slots of 3 maps, 2 hooks, back to generation 0; would'
run "$sluice" jump rollback
expect "rollback" 0 'back to generation 0; published .* adopted by all workers'
cmp <(picture | grep -v ^generation) <(grep -v ^none "$work/before") || failed=1
run "$sluice" jump rollback 1
expect "rollback of the rollback" 0 'generation 3: .* back to generation 1'
run "$sluice" jump list
expect "list" 0 'generation 1: 4 slots' 'generation 2: .* back to generation 0' 'generation 3:'
run "$sluice" jump rollback 3
expect "rollback to the last" 1 'generation 3 is not before the last one, 3'
run "$sluice" jump rollback 99
expect "rollback to the future" 1 'generation 99 is not before the last one, 3'

# What is wrong in known ways: one line that says where, and nothing has changed.
picture >"$work/before"
wrong() {
	local pattern=$1
	apply
	expect "$pattern" 1 "$pattern"
}
run "$sluice" jump apply "$work/nothing"
expect "no such file" 1 'nothing: No such file'
wrong 'line 1: unexpected' <<<'[}'
wrong 'line 3: ' <<<$'{"slots":\n[]}\nx'
wrong 'not an object' <<<'[]'
wrong 'there are no slots and no hooks' <<<'{}'
wrong "there is no 'slot' here" <<<'{"slots": [], "slot": []}'
wrong 'slots: not an array' <<<'{"slots": {}}'
wrong 'there is nothing to change' <<<'{"slots": []}'
slots() {
	echo "{\"maps\": {\"m\": {\"pinned\": \"$pins/first\"}}, \"slots\": [$1]}"
}
good="{\"map\": \"m\", \"index\": 1, \"program\": {\"pinned\": \"$pins/first0\"}}"
wrong "slots\[1\]: there is no 'x' in \"maps\"" < <(slots "$good, {\"map\": \"x\", \"index\": 0, \"program\": null}")
wrong "slots\[1\]: 'program' is missing \(null" < <(slots "$good, {\"map\": \"m\", \"index\": 2}")
wrong "slots\[1\]: 'index' is not a number" < <(slots "$good, {\"map\": \"m\", \"index\": -1, \"program\": null}")
wrong 'slot 4 is past the end of map [0-9]+ .first., which has 4' < <(slots "$good, {\"map\": \"m\", \"index\": 4, \"program\": null}")
wrong 'slot 1 of map [0-9]+ .first. is given twice' < <(slots "$good, $good")
wrong 'is of type sched_cls, those of the table are of type xdp' < <(slots "$good, {\"map\": \"m\", \"index\": 2, \"program\": {\"pinned\": \"$pins/third0\"}}")
wrong "jump_test/first: that is no program|that is no program" < <(slots "$good, {\"map\": \"m\", \"index\": 2, \"program\": {\"pinned\": \"$pins/first\"}}")
wrong 'program 99999: No such file' < <(slots "$good, {\"map\": \"m\", \"index\": 2, \"program\": {\"id\": 99999}}")
wrong 'one of pinned, id and name' < <(slots "$good, {\"map\": \"m\", \"index\": 2, \"program\": {\"id\": 1, \"name\": \"x\"}}")
hooks() {
	echo "{\"maps\": {\"m\": {\"pinned\": \"$pins/first\"}}, \"slots\": [$good], \"hooks\": [$1]}"
}
wrong "there is no port 'net9'" < <(hooks "{\"hook\": \"xdp\", \"port\": \"net9\", \"program\": {\"pinned\": \"$pins/front0\"}}")
wrong "there is no hook 'tcx'" < <(hooks "{\"hook\": \"tcx\", \"port\": $ifindex, \"program\": {\"pinned\": \"$pins/front0\"}}")
wrong 'there is no program to replace' < <(hooks "{\"hook\": \"tc/ingress\", \"port\": $ifindex, \"priority\": 1, \"program\": {\"pinned\": \"$pins/filter0\"}}")
wrong "XDP of port $ifindex: the program there is another one" < <(hooks "{\"hook\": \"xdp\", \"port\": $ifindex, \"program\": {\"pinned\": \"$pins/front0\"}, \"old\": {\"pinned\": \"$pins/front0\"}}")
wrong "'program' is missing" < <(hooks "{\"hook\": \"xdp\", \"port\": $ifindex}")
programs() {
	echo "{\"programs\": {\"p\": $1}, \"slots\": [{\"map\": {\"pinned\": \"$pins/first\"}, \"index\": 0, \"program\": \"p\"}]}"
}
wrong 'cannot open nothing.o' < <(programs '{"object": "nothing.o", "section": "xdp"}')
wrong 'has no function nothing' < <(programs "{\"object\": \"$object\", \"function\": \"nothing\"}")
wrong 'several programs are in section xdp' < <(programs "{\"object\": \"$object\", \"section\": \"xdp\"}")
wrong 'by section or by function' < <(programs "{\"object\": \"$object\"}")
# A load that would set slots of a table that is there: tables.bpf.o has initial values for `first`.
wrong 'cannot load .*tables.bpf.o' <<EOF
{ "programs": { "p": { "object": "$build/tests/control/tables.bpf.o", "function": "leaf" } },
  "objects": { "$build/tests/control/tables.bpf.o": { "maps": { "first": { "pinned": "$pins/first" } } } },
  "slots": [{ "map": { "pinned": "$pins/first" }, "index": 0, "program": "p" }] }
EOF

cmp <(picture) "$work/before" || failed=1

# Not to be rolled back over what somebody else has done.
"$sluice" run -- bpftool map delete pinned $pins/first key 3 0 0 0 || failed=1
run "$sluice" jump rollback
expect "rollback over a change" 1 'slot 3 of map [0-9]+ .first. has been changed since'

"$here/jump_random.py" "$sluice" "$work/good.json" $pins || failed=1
stop_daemon
status=$?
expect "the daemon's end" 0
exit $failed
