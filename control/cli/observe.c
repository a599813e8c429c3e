#include "observe.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "api.h"
#include "daemon.h"
#include "packet_filter.h"
#include "remote.h"
#include "verb.h"

enum { PAUSE_NS = 5000000, ALIVE_EVERY = 400 /* pauses */ };

static volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
	(void)signal;
	interrupted = 1;
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

char *sl_observe_filter(int argc, char **argv)
{
	size_t len = 1;
	char *text;

	for (int i = 0; i < argc; i++)
		len += strlen(argv[i]) + 1;
	text = calloc(1, len);
	for (int i = 0; text && i < argc; i++) {
		strcat(text, argv[i]);
		if (i + 1 < argc)
			strcat(text, " ");
	}
	return text;
}

int sl_observe_number(const char *text, uint64_t max, uint64_t *ret)
{
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(text, &end, 0);
	if (errno || end == text || *end || *text == '-' || n == 0 || n > max)
		return -EINVAL;
	*ret = n;
	return 0;
}

static int load_filter(const char *verb, const char *filter, uint32_t snaplen, int fds[2])
{
	char why[512];
	int err = sl_filter_load_both(sl_api_daemon.bpf, filter, snaplen, fds, why, sizeof(why));

	if (err == -EINVAL)
		return sl_cli_usage("%s: bad filter '%s': %s", verb, filter, why);
	return err ? sl_cli_fail("%s: %s", verb, why) : 0;
}

static int open_watch(struct sl_observe *o, struct json_object *params)
{
	struct sl_daemon_fds fds = { .count = 0 };
	char reason[SL_DAEMON_REASON];
	int err = sl_daemon_call("watch.open", params, NULL, NULL, &fds, reason);

	if (err)
		return sl_cli_fail("%s: %s", o->verb, reason);
	if (fds.count != 1)
		return sl_cli_fail("%s: the daemon's answer makes no sense", o->verb);
	/* The mapping is what keeps the watch. */
	err = sluice_watch_map(fds.fds[0], &o->watch);
	close(fds.fds[0]);
	return err ? sl_cli_fail("%s: cannot map the rings: %s", o->verb, strerror(-err)) : 0;
}

static void read_ports(struct sl_observe *o)
{
	struct json_object *result, *ports;
	char reason[SL_DAEMON_REASON];

	if (sl_daemon_call("watch.ports", NULL, NULL, &result, NULL, reason) != 0)
		return;
	if (json_object_object_get_ex(result, "ports", &ports)) {
		json_object_put(o->ports);
		o->ports = json_object_get(ports);
	}
	json_object_put(result);
}

int sl_observe_open(struct sl_observe *o, const char *verb, struct json_object *params,
	const char *filter, uint32_t snaplen)
{
	char reason[SL_DAEMON_REASON];
	int fds[2] = { -1, -1 }, status = 0;

	*o = (struct sl_observe){ .verb = verb };
	if (sl_daemon_call("daemon.info", NULL, NULL, NULL, NULL, reason) != 0)
		status = sl_cli_fail("%s: %s", verb, reason);
	if (!status)
		status = load_filter(verb, filter, snaplen, fds);
	if (status) {
		json_object_put(params);
		return status;
	}
	json_object_object_add(params, "filter_fd", json_object_new_int(fds[0]));
	json_object_object_add(params, "raw_filter_fd", json_object_new_int(fds[1]));
	status = open_watch(o, params);
	for (unsigned i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (status)
		return status;
	read_ports(o);
	catch_signals();
	return 0;
}

void sl_observe_close(struct sl_observe *o)
{
	sluice_watch_unmap(o->watch);
	json_object_put(o->ports);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static bool daemon_is_there(void)
{
	char reason[SL_DAEMON_REASON];

	return sl_daemon_call("daemon.info", NULL, NULL, NULL, NULL, reason) == 0;
}

const struct sluice_record *sl_observe_next(
	struct sl_observe *o, const struct sluice_path **ret_path, const uint8_t **ret_data)
{
	static const struct timespec pause_time = { .tv_nsec = PAUSE_NS };
	const struct sluice_record *record;

	for (unsigned pauses = 1;; pauses++) {
		if (interrupted && !o->ends_ns)
			o->ends_ns = now_ns();
		record = sluice_watch_next(o->watch, ret_path, ret_data);
		if (record)
			return o->ends_ns && record->time_ns > o->ends_ns ? NULL : record;
		if (o->ends_ns)
			return NULL;
		fflush(stdout);
		nanosleep(&pause_time, NULL);
		/* What it has left is read before it ends. */
		if (pauses % ALIVE_EVERY == 0 && !daemon_is_there()) {
			fprintf(stderr, "sluice: %s: the daemon has gone\n", o->verb);
			o->ends_ns = now_ns();
		}
	}
}

const char *sl_observe_port_name(void *observe, uint32_t ifindex)
{
	struct sl_observe *o = observe;
	struct json_object *name;
	char key[16];

	snprintf(key, sizeof(key), "%" PRIu32, ifindex);
	if (o->ports && json_object_object_get_ex(o->ports, key, &name))
		return json_object_get_string(name);
	/* It may have come since. */
	if (o->unknown == ifindex)
		return NULL;
	o->unknown = ifindex;
	read_ports(o);
	return o->ports && json_object_object_get_ex(o->ports, key, &name)
		       ? json_object_get_string(name)
		       : NULL;
}
