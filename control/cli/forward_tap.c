#include "forward.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bpf/libbpf.h>

#include "pcap_file.h"
#include "verb.h"

/*
 * Taps of `sluice forward`: one thread takes what they keep and writes it to files, so that a slow
 * disk costs packets of the capture, which are counted, and none of the traffic.
 */

enum { RING_BYTES = 8 << 20, BATCH = 1024 };

static const struct timespec pause_time = { .tv_nsec = 5000000 };

static void write_packet(const struct sluice_tap_packet *packet, void *arg)
{
	sl_pcap_file_add(arg, packet->time_ns, packet->data, packet->captured, packet->len);
}

/* Whether there was anything. */
static bool read_taps(struct sl_forward_spec *spec)
{
	bool any = false;

	for (unsigned i = 0; i < spec->tap_count; i++) {
		struct sl_forward_tap *tap = &spec->taps[i];

		if (tap->pcap && sluice_tap_read(tap->id, BATCH, write_packet, tap->pcap) > 0)
			any = true;
	}
	return any;
}

static void *write_main(void *arg)
{
	struct sl_forward_spec *spec = arg;

	while (!__atomic_load_n(&spec->tap_stop, __ATOMIC_RELAXED)) {
		if (!read_taps(spec))
			nanosleep(&pause_time, NULL);
	}
	while (read_taps(spec))
		;
	return NULL;
}

static int attach(struct sl_forward_tap *tap)
{
	const struct sluice_tap_options options = {
		.ring_bytes = tap->file ? RING_BYTES : 0,
		.ignore_outgoing = tap->ignore_outgoing,
	};
	uint32_t ifindex = sl_forward_port(tap->port);
	char why[256];

	if (!ifindex)
		return sl_cli_fail("forward: there is no port %s", tap->port);
	if (tap->file) {
		tap->pcap = sl_pcap_file_new(tap->file, why, sizeof(why));
		if (!tap->pcap)
			return sl_cli_fail("forward: cannot write %s", why);
	}
	return sluice_tap_add(ifindex, bpf_program__fd(tap->prog.prog), &options, &tap->id) != 0;
}

int sl_forward_tap_start(struct sl_forward_spec *spec)
{
	int status = 0;

	for (unsigned i = 0; !status && i < spec->tap_count; i++)
		status = attach(&spec->taps[i]);
	if (!status && spec->tap_count) {
		status = pthread_create(&spec->tap_thread, NULL, write_main, spec);
		if (status)
			return sl_cli_fail("forward: %s", strerror(status));
		spec->tap_started = true;
	}
	return status;
}

int sl_forward_tap_stop(struct sl_forward_spec *spec)
{
	int status = 0;

	if (spec->tap_started) {
		__atomic_store_n(&spec->tap_stop, true, __ATOMIC_RELAXED);
		pthread_join(spec->tap_thread, NULL);
		spec->tap_started = false;
	}
	for (unsigned i = 0; i < spec->tap_count; i++) {
		struct sl_forward_tap *tap = &spec->taps[i];

		int err = sl_pcap_file_free(tap->pcap);

		if (err)
			status = sl_cli_fail(
				"forward: cannot write %s: %s", tap->file, strerror(-err));
		tap->pcap = NULL;
	}
	return status;
}

void sl_forward_tap_print(const struct sl_forward_spec *spec)
{
	for (unsigned i = 0; i < spec->tap_count; i++) {
		struct sluice_tap_counters c;

		if (sluice_tap_counters(spec->taps[i].id, &c) == 0)
			printf("tap of %s: %" PRIu64 " packets seen, %" PRIu64 " kept (%" PRIu64
			       " bytes), %" PRIu64 " lost\n",
				spec->taps[i].port, c.seen, c.accepted - c.lost, c.bytes, c.lost);
	}
}

void sl_forward_tap_write_json(FILE *f, const struct sl_forward_spec *spec)
{
	const char *separator = "";

	fputs(",\n  \"taps\": [", f);
	for (unsigned i = 0; i < spec->tap_count; i++) {
		struct sluice_tap_counters c = { 0 };

		sluice_tap_counters(spec->taps[i].id, &c);
		fprintf(f,
			"%s\n    {\"port\": \"%s\", \"seen\": %" PRIu64 ", \"accepted\": %" PRIu64
			", \"bytes\": %" PRIu64 ", \"lost\": %" PRIu64 "}",
			separator, spec->taps[i].port, c.seen, c.accepted, c.bytes, c.lost);
		separator = ",";
	}
	fputs(spec->tap_count ? "\n  ]" : "]", f);
}
