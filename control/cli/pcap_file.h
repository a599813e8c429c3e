#pragma once

#include <stdint.h>

/* A capture file of Ethernet frames. Apart, because libpcap's and Linux's bpf.h do not go together. */
struct sl_pcap_file;

/* NULL when it cannot be written, with one line that says why. */
struct sl_pcap_file *sl_pcap_file_new(const char *path, char *why, unsigned size);
void sl_pcap_file_add(struct sl_pcap_file *file, uint64_t time_ns, const uint8_t *data,
	uint32_t captured, uint32_t len);
/* 0, or a negative errno when not everything could be written. NULL is fine. */
int sl_pcap_file_free(struct sl_pcap_file *file);
