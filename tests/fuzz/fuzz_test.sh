#!/usr/bin/env bash
# A short round of the fuzzer, bounded by count: the same programs every time. And the tool itself:
# equal seeds make equal programs, a finding can be replayed.
set -euo pipefail
build_dir=$1
fuzz=$build_dir/tests/fuzz/fuzz
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
	echo "$*" >&2
	exit 1
}

"$fuzz" --seed 5 --count 400 --run-every 8 --instrument --objects "$build_dir/programs" \
	--out "$work/findings" >"$work/out" || {
	cut -c 1-200 "$work/out" "$work/findings"/* >&2
	fail "programs differ"
}
totals() {
	sed -n 's/^seed .* run: //p' "$1"
}
grep -q 'both accept [1-9][0-9][0-9]' "$work/out" || fail "few programs are legal: $(cat "$work/out")"

"$fuzz" --seed 6 --count 60 --out "$work/findings" >"$work/first" || fail "$(cat "$work/first")"
"$fuzz" --seed 6 --count 60 --out "$work/findings" >"$work/second" || fail "$(cat "$work/second")"
[ "$(totals "$work/first")" = "$(totals "$work/second")" ] || fail "one seed, two outcomes"

# Reads R2, which nothing wrote: refused on both sides. Without that instruction: accepted.
printf '%s\n' 'program 6 0 0 1 1 1' 'insn bf 0 2 0 0' 'insn b7 0 0 0 2' 'insn 95 0 0 0 0' end \
	>"$work/refused"
"$fuzz" --replay "$work/refused" >"$work/out" || fail "the replay of a refusal differs"
grep -q 'R2 !read_ok' "$work/out" || fail "no log of a refusal: $(cat "$work/out")"
grep -v 'insn bf' "$work/refused" >"$work/accepted"
"$fuzz" --replay "$work/accepted" | grep -q '^both accept' || fail "the replay of a good program"
"$fuzz" --replay "$work/out" 2>"$work/err" && fail "a file that is no reproducer passed"
grep -q 'not a reproducer' "$work/err" || fail "no reason for a bad file"
exit 0
