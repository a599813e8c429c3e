#include "forward_watch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sluice/bpf.h>
#include <sluice/dataplane.h>

#include "packet_filter.h"
#include "forward.h"
#include "observe.h"
#include "path_text.h"
#include "pcapng.h"
#include "verb.h"

enum { RING_BYTES = 16 << 20, BATCH = 1024 };

static const struct timespec pause_time = { .tv_nsec = 2000000 };

static int add_points(struct sl_forward_watch *w, char *list)
{
	char *name;

	while ((name = strsep(&list, "+"))) {
		bool all = strcmp(name, "all") == 0;
		uint32_t points = 0;

		for (unsigned i = 0; i < SLUICE_POINT_COUNT; i++)
			if (all || strcmp(sluice_point_name((enum sluice_point)i), name) == 0)
				points |= 1u << i;
		if (!points)
			return -EINVAL;
		w->points |= points;
	}
	return 0;
}

static int set_number(uint32_t *ret, const char *text)
{
	uint64_t n;
	int err = sl_observe_number(text, UINT32_MAX, &n);

	*ret = err ? 0 : (uint32_t)n;
	return err;
}

static int set_key(struct sl_forward_watch *w, char *key, char *value)
{
	if (!value || !*value)
		return -EINVAL;
	if (strcmp(key, "port") == 0)
		w->port = value;
	else if (strcmp(key, "at") == 0 && !w->paths)
		return add_points(w, value);
	else if (strcmp(key, "snaplen") == 0 && !w->paths)
		return set_number(&w->snaplen, value);
	else if (strcmp(key, "sample") == 0 && w->paths)
		return set_number(&w->sample, value);
	else
		return -EINVAL;
	return 0;
}

int sl_forward_add_watch(struct sl_forward_watches *watches, char *value, bool paths)
{
	struct sl_forward_watch *w;
	int err = 0;

	if (watches->count == SL_FORWARD_WATCHES)
		return -E2BIG;
	w = &watches->list[watches->count++];
	w->paths = paths;
	w->file = strsep(&value, ",");
	if (!*w->file)
		return -EINVAL;
	while (!err && value) {
		char *text, *key;

		/* The rest, as filters have commas. */
		if (strncmp(value, "filter=", 7) == 0) {
			w->filter = value + 7;
			break;
		}
		text = strsep(&value, ",");
		key = strsep(&text, "=");
		err = set_key(w, key, text);
	}
	return err;
}

/* Asked for by the reading thread only. */
static const char *port_name(void *arg, uint32_t ifindex)
{
	static struct sluice_port_info info;

	(void)arg;
	if (sluice_port_next(ifindex - 1, &info) != 0 || info.ifindex != ifindex)
		return NULL;
	return info.name;
}

static void write_record(struct sl_forward_watch *w, const struct sluice_record *record,
	const struct sluice_path *path, const uint8_t *data)
{
	static const struct sl_path_text how = { .port_name = port_name };
	const struct sluice_watch_area *area = sluice_watch_area_of(w->watch);

	if (w->pcapng)
		sl_pcapng_add(w->pcapng, area, record, data);
	else if (path)
		sl_path_print(w->stream, &how, area, record, path, data);
}

/* Whether there was anything. */
static bool read_watches(struct sl_forward_watches *watches)
{
	const struct sluice_record *record;
	const struct sluice_path *path;
	const uint8_t *data;
	bool any = false;

	for (unsigned i = 0; i < watches->count; i++) {
		struct sl_forward_watch *w = &watches->list[i];

		for (unsigned n = 0;
			n < BATCH && (record = sluice_watch_next(w->watch, &path, &data)); n++) {
			write_record(w, record, path, data);
			any = true;
		}
	}
	return any;
}

static void *read_main(void *arg)
{
	struct sl_forward_watches *watches = arg;

	while (!__atomic_load_n(&watches->stop, __ATOMIC_RELAXED)) {
		if (!read_watches(watches))
			nanosleep(&pause_time, NULL);
	}
	while (read_watches(watches))
		;
	return NULL;
}

static int open_rings(struct sl_forward_watch *w, struct sluice_watch_options *options)
{
	char why[512];
	int fds[2], fd, err;

	err = sl_filter_load_both(sluice_bpf, w->filter, w->snaplen, fds, why, sizeof(why));
	if (err)
		return sl_cli_fail("forward: bad filter '%s': %s", w->filter, why);
	options->filter_fd = fds[0];
	options->raw_filter_fd = fds[1];
	err = sluice_watch_open(options, &fd);
	for (unsigned i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (!err) {
		err = sluice_watch_map(fd, &w->watch);
		close(fd);
	}
	return err ? sl_cli_fail("forward: cannot watch packets: %s", strerror(-err)) : 0;
}

static int open_watch(struct sl_forward_watch *w)
{
	struct sluice_watch_options options = {
		.paths = w->paths,
		.points = w->points,
		.snaplen = w->snaplen,
		.sample = w->sample,
		.ring_bytes = RING_BYTES,
	};
	const struct sl_pcapng_options file = {
		.filter = w->filter,
		.snaplen = w->snaplen,
		.port_name = port_name,
	};
	int status;

	if (w->port) {
		options.ifindex = sl_forward_port(w->port);
		if (!options.ifindex)
			return sl_cli_fail("forward: there is no port %s", w->port);
	}
	status = open_rings(w, &options);
	if (status)
		return status;
	w->stream = strcmp(w->file, "-") == 0 ? stdout : fopen(w->file, "we");
	if (!w->stream)
		return sl_cli_fail("forward: cannot write %s: %s", w->file, strerror(errno));
	if (w->paths)
		return 0;
	w->pcapng = sl_pcapng_new(w->stream, &file);
	return w->pcapng ? 0 : sl_cli_fail("forward: %s", strerror(ENOMEM));
}

int sl_forward_watch_start(struct sl_forward_watches *watches)
{
	int status = 0;

	for (unsigned i = 0; !status && i < watches->count; i++)
		status = open_watch(&watches->list[i]);
	if (status || !watches->count)
		return status;
	status = pthread_create(&watches->thread, NULL, read_main, watches);
	if (status)
		return sl_cli_fail("forward: %s", strerror(status));
	watches->started = true;
	return 0;
}

static int close_watch(struct sl_forward_watch *w)
{
	struct sluice_watch_counts counts;
	int err = 0;

	if (w->stream && w->watch) {
		if (w->pcapng) {
			sl_pcapng_end(w->pcapng, w->watch);
			err = sl_pcapng_error(w->pcapng);
		}
		if ((w->stream == stdout ? fflush(stdout) : fclose(w->stream)) != 0 && !err)
			err = -errno;
		sluice_watch_counts(w->watch, 0, SLUICE_POINT_COUNT, &counts);
		fprintf(w->stream == stdout ? stderr : stdout,
			"%s to %s: %" PRIu64 " packets seen, %" PRIu64 " matched, %" PRIu64
			" lost\n",
			w->paths ? "trace" : "capture", w->file, counts.seen, counts.matched,
			counts.lost);
	}
	sl_pcapng_free(w->pcapng);
	sluice_watch_unmap(w->watch);
	*w = (struct sl_forward_watch){ .file = w->file };
	return err ? sl_cli_fail("forward: cannot write %s: %s", w->file, strerror(-err)) : 0;
}

int sl_forward_watch_stop(struct sl_forward_watches *watches)
{
	int status = 0;

	if (watches->started) {
		__atomic_store_n(&watches->stop, true, __ATOMIC_RELAXED);
		pthread_join(watches->thread, NULL);
		watches->started = false;
	}
	for (unsigned i = 0; i < watches->count; i++) {
		int failed = close_watch(&watches->list[i]);

		status = status ?: failed;
	}
	watches->count = 0;
	return status;
}
