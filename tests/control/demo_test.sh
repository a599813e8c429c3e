#!/usr/bin/env bash
# demo_test.sh BUILD_DIR: the demo accounts for every packet, and refuses bad input in one line.
set -uo pipefail
cd "$(dirname "$0")/../.."
sluice=$1/control/cli/sluice
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

programs/make_capture.py "$work/in.pcap" --packets 1000 --flows 100
"$sluice" demo --capture "$work/in.pcap" --output "$work/out" --seconds 2 --json "$work/out.json" \
	>"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
python3 - "$work/out.json" <<'PYTHON' || failed=1
import json
import sys

result = json.load(open(sys.argv[1]))
assert result["packets_in"] > 0, result
assert result["packets_in"] == result["packets_accounted"] == sum(result["verdicts"].values()), result
assert result["packets_classified"] == result["packets_in"], result
assert result["jump_updates"] >= 40, result
assert result["events"] > 0, result
PYTHON
[ -s "$work/out/result.txt" ] && [ -s "$work/out/sent.pcap" ] || { echo "no result page or pcap"; failed=1; }

# refuse STATUS ARGUMENTS...: one line on stderr, this exit status
refuse() {
	local expected=$1 status
	shift
	"$sluice" demo "$@" >"$work/log" 2>"$work/err"
	status=$?
	[ $status = "$expected" ] && [ "$(wc -l <"$work/err")" = 1 ] && return
	echo "demo $*: status $status, expected $expected, and one line:"
	cat "$work/err"
	failed=1
}
refuse 1 --capture "$work/nothing.pcap" --output "$work/x"
refuse 1 --capture /etc/passwd --output "$work/x"
refuse 1 --capture "$work/in.pcap" --output "$work/no/such/directory"
refuse 2 --capture "$work/in.pcap" --seconds 0
refuse 2
exit $failed
