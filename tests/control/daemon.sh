# shellcheck shell=bash
# Sourced by tests: a daemon of the test's own. Expects $build and $work, a directory of the test's.

# start_daemon [EAL OPTIONS... -- OPTIONS...]: $daemon is its pid, $SLUICE_SOCKET its socket. Its ports
# have no twins, whose names and packets would be the machine's.
start_daemon() {
	start_daemon_in "" "$@"
}

# The same in a network namespace.
start_daemon_in() {
	local enter=${1:+ip netns exec $1}
	shift
	export SLUICE_SOCKET=$work/sluice.sock
	[ $# -gt 0 ] || set -- --no-huge -m 64 --no-shconf --
	# It goes with the test, however that ends.
	setpriv --pdeathsig TERM -- $enter "$build/control/daemon/sluiced" "$@" --twin none \
		>>"$work/daemon.log" 2>&1 &
	daemon=$!
	for _ in $(seq 600); do
		[ -S "$SLUICE_SOCKET" ] && "$build/control/cli/sluice" port list >"$work/null" 2>&1 && return 0
		kill -0 "$daemon" 2>/dev/null || break
		sleep 0.05
	done
	echo "the daemon does not start:"
	cat "$work/daemon.log"
	return 1
}

# stop_daemon: ends it as an administrator does; its exit status.
stop_daemon() {
	[ -n "${daemon:-}" ] || return 0
	kill "$daemon" 2>/dev/null
	wait "$daemon"
	local status=$?
	daemon=
	[ ! -e "$SLUICE_SOCKET" ] || { echo "the daemon left its socket" && return 1; }
	return $status
}
