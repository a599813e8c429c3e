#!/usr/bin/env bash
# stats_test.sh BUILD_DIR: packets that are known, found again in the metrics endpoint, in telemetry
# and in stats.get; and what scrapers must not be able to do.
set -uo pipefail
build=$1
here=$(dirname "$0")
work=$(mktemp -d)
failures=0
packets=1000
trap 'exec 9>&-; stop_daemon; rm -rf "$work"' EXIT

fail() {
	echo "FAILED: $*"
	failures=$((failures + 1))
}

. "$here/../daemon.sh"
"$build/control/daemon/sluiced" --metrics nonsense 2>"$work/usage"
[ $? = 2 ] && [ "$(wc -l <"$work/usage")" = 1 ] || fail "a bad address is not a usage error"
start_daemon --no-huge -m 128 --no-shconf --no-pci --file-prefix "stats$$" \
	--vdev net_ring0 --vdev net_ring1 -- --metrics 127.0.0.1:0 || exit 1
port=$(sed -n 's,.*http://127.0.0.1:\([0-9]*\)/metrics.*,\1,p' "$work/daemon.log")
[ -n "$port" ] || { cat "$work/daemon.log" && exit 1; }
"$build/control/daemon/sluiced" --no-huge -m 64 --no-shconf --no-telemetry -- --twin none \
	--socket "$work/second.sock" --metrics "$port" 2>"$work/second"
[ $? = 1 ] && grep -q "cannot serve metrics" "$work/second" || fail "a port that is taken"

mkfifo "$work/hold"
ifindex=$("$build/control/cli/sluice" port list | awk '$2 == "net_ring0" { print $1 }')
"$build/control/cli/sluice" run -- "$build/tests/control/daemon/count_events" "$ifindex" $packets \
	<"$work/hold" >"$work/id" &
exec 9>"$work/hold"
for _ in $(seq 200); do
	[ -s "$work/id" ] && break
	sleep 0.05
done
id=$(cat "$work/id")
[ -n "$id" ] || { fail "no program" && cat "$work/daemon.log"; }

get() {
	"$here/http_get.py" "$port" "$@"
}

# The endpoint.
get --accept 'application/openmetrics-text; version=1.0.0' --type application/openmetrics-text \
	>"$work/open" || fail "no OpenMetrics"
"$here/openmetrics.py" "$work/open" \
	"sluice_port_arrivals_total{port=\"net_ring0\",from=\"live\"}=$packets" \
	"sluice_port_verdicts_total{port=\"net_ring0\",hook=\"xdp\",verdict=\"drop\"}=$packets" \
	"sluice_port_drops_total{port=\"net_ring0\",reason=\"xdp_drop\"}=$packets" \
	"sluice_port_drops_total{port=\"net_ring1\",reason=\"xdp_drop\"}=0" \
	"sluice_program_runs_total{id=\"$id\",name=\"count_events\"}=$packets" \
	"sluice_hook_program_info{port=\"net_ring0\",hook=\"xdp\",position=\"0\",id=\"$id\",name=\"count_events\"}=1" \
	"sluice_ports=2" "sluice_programs=1" "sluice_maps=2" || fail "the metrics"
grep -q "^sluice_map_lost_events_total{.*name=\"unread\"} $packets$" "$work/open" ||
	fail "lost events"
grep -q '^sluice_map_entries{.*name="flows"} 3$' "$work/open" || fail "entries"
get --type text/plain >"$work/older" || fail "no answer to a client that says nothing"
"$here/openmetrics.py" --prometheus "$work/older" \
	"sluice_program_runs_total{id=\"$id\",name=\"count_events\"}=$packets" ||
	fail "the older format"
get --path / --status 404 >/dev/null || fail "another path"
get --method POST --status 405 >/dev/null || fail "another method"
get --method HEAD >"$work/head" && [ ! -s "$work/head" ] || fail "HEAD"
timeout 200 "$here/http_abuse.py" "$port" || fail "bad clients"
get >/dev/null || fail "no answer after bad clients"

"$here/observability.py" "$work/open" || fail "the page or the dashboard"

# Telemetry.
socket=$(find /run/dpdk "${XDG_RUNTIME_DIR:-/nowhere}/dpdk" /tmp/dpdk -path "*/stats$$/dpdk_telemetry.v2" 2>/dev/null)
[ -S "$socket" ] || fail "no telemetry socket"
"$here/telemetry.py" "$socket" "$id" $packets "$ifindex" || fail "telemetry"

# The command. Before anything else has run.
sluice=$build/control/cli/sluice
"$sluice" stats --json >"$work/stats.json" && "$here/stats_json.py" "$work/stats.json" "$id" $packets ||
	fail "stats --json"
"$sluice" stats >"$work/stats" || fail stats
grep -q "^net_ring0 .* 1000 .* xdp drop 100%$" "$work/stats" || fail "stats: the port"
grep -q "^net_ring0 *xdp_drop *1000$" "$work/stats" || fail "stats: drops"
grep -q "^ *$id count_events *xdp *1000 .* net_ring0 xdp$" "$work/stats" || fail "stats: the program"
"$sluice" top -b -n 2 -d 0.2 -s name -r >"$work/top" || fail top
[ "$(grep -c '^sluice top - ..:..:..$' "$work/top")" = 2 ] || fail "top -n"
[ "$(grep -c '^net_ring0 *0 *0 *0 *0$' "$work/top")" = 2 ] || fail "top: nothing happens"
[ "$(grep -n '^net_ring' "$work/top" | head -1 | cut -d: -f2 | cut -c1-9)" = net_ring1 ] ||
	fail "top: the order"
while read -r arguments; do
	# shellcheck disable=SC2086
	"$sluice" $arguments >"$work/out" 2>"$work/err" </dev/null
	[ $? = 2 ] && [ "$(wc -l <"$work/err")" = 1 ] && [ ! -s "$work/out" ] || fail "'$arguments'"
done <<-END
	stats --jsn
	stats --json more
	top -d 0
	top -d nan
	top -d 1x
	top -b -n 0
	top -b -n -1
	top -b -n 1 -s size
	top -b more
	top -x
	top --long
	top -d
	top
END
for command in stats "top -b -n 1"; do
	# shellcheck disable=SC2086
	SLUICE_SOCKET=$work/none "$sluice" $command >/dev/null 2>"$work/err"
	[ $? = 1 ] && [ "$(wc -l <"$work/err")" = 1 ] || fail "$command without a daemon"
done
"$here/top_screen.py" "$sluice" || fail "top on a terminal"

exec 9>&-
wait %2 2>/dev/null
stop_daemon || fail "the daemon's end"
[ ! -e "${socket%/*}" ] || fail "the telemetry socket or its directory is left"
[ $failures = 0 ]
