#!/usr/bin/env bash
# The comparison tool itself: equal programs, refusals on each side, what it cannot read.
set -euo pipefail
build_dir=$1
corpus=$build_dir/tests/corpus/corpus
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
	echo "$*" >&2
	exit 1
}

"$corpus" --program macswap "$build_dir/programs/macswap.bpf.o" >"$work/out" || {
	grep -q 'kernel: refused (Operation not permitted)' "$work/out" && {
		echo "the kernel's bpf(2) is not permitted to this user"
		exit 77
	}
	cat "$work/out"
	fail "macswap differs"
}
grep -q '^equal  .*macswap.bpf.o macswap$' "$work/out" || fail "no line for macswap"
grep -q '^1 programs: 1 equal, ' "$work/out" || fail "no totals"

"$corpus" --quiet "$build_dir/programs" >"$work/out" || fail "$(cat "$work/out")"
[ "$(wc -l <"$work/out")" = 2 ] || fail "--quiet printed equal programs"

"$corpus" "$build_dir/tests/corpus/varies.bpf.o" >"$work/out" || fail "$(cat "$work/out")"
grep -q '^varies ' "$work/out" || fail "what is in the maps is not compared: $(cat "$work/out")"

mkdir "$work/empty"
"$corpus" "$work/empty" >"$work/out" 2>"$work/err" && fail "an empty directory passed"
grep -q 'no program' "$work/err" || fail "an empty directory is not said to be one"
"$corpus" "$work/missing" >"$work/out" 2>"$work/err" && fail "a missing path passed"
grep -q "$work/missing: No such file" "$work/err" || fail "a missing path is not named"
echo damaged >"$work/damaged.o"
"$corpus" "$work/damaged.o" >"$work/out" 2>&1 && fail "a damaged object passed"
grep -q "^unreadable  *$work/damaged.o" "$work/out" || fail "a damaged object is not named"
"$corpus" 2>"$work/err" && fail "no path passed"
"$corpus" --type nonsense "$work" 2>"$work/err" && fail "a type that is none passed"
exit 0
