#pragma once

#include <stdint.h>
#include <stdio.h>
#include <sluice/observe.h>

/*
 * Capture files as xdpdump writes them, which tcpdump, tshark and Wireshark read: one interface per
 * port, point and program, named PORT@POINT; packets with their verdict (epb_verdict), queue,
 * direction, and how many were lost before them; at the end what each interface has seen.
 */
struct sl_pcapng;

/* What ports are called; NULL: not known (any more). */
typedef const char *(*sl_port_name_fn)(void *arg, uint32_t ifindex);

struct sl_pcapng_options {
	const char *filter; /* its text, for the file; NULL or empty: none */
	uint32_t snaplen; /* 0: all */
	sl_port_name_fn port_name;
	void *arg;
};

/* `stream` stays the caller's. NULL without memory. */
struct sl_pcapng *sl_pcapng_new(FILE *stream, const struct sl_pcapng_options *options);
void sl_pcapng_add(struct sl_pcapng *file, const struct sluice_watch_area *area,
	const struct sluice_record *record, const uint8_t *data);
/* Statistics of all interfaces, once, at the end. */
void sl_pcapng_end(struct sl_pcapng *file, const struct sluice_watch *watch);
/* 0, or the negative errno of the first write that failed. */
int sl_pcapng_error(const struct sl_pcapng *file);
uint64_t sl_pcapng_written(const struct sl_pcapng *file);
/* NULL is fine. */
void sl_pcapng_free(struct sl_pcapng *file);
