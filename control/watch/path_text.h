#pragma once

#include <stdio.h>
#include <sluice/observe.h>

#include "pcapng.h"

/* A packet's path as one line, for people and (json) for programs. */
struct sl_path_text {
	sl_port_name_fn port_name;
	void *arg;
	bool json;
};
void sl_path_print(FILE *to, const struct sl_path_text *how, const struct sluice_watch_area *area,
	const struct sluice_record *record, const struct sluice_path *path, const uint8_t *data);

/* What a packet's headers say, in few words: "IP 10.0.0.1.53 > 10.0.0.2.1024: UDP". */
void sl_packet_summary(
	const uint8_t *data, uint32_t captured, uint32_t len, bool raw, char *text, size_t size);

/* XDP_PASS and the like; the number where it has no name. */
const char *sl_verdict_name(enum sluice_hook hook, int verdict, char buffer[16]);
