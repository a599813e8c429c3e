#pragma once

#include <stdbool.h>
#include <stdint.h>

struct sock_filter;

/* libpcap's own interpreter and checker. Apart, because its bpf.h and Linux's do not go together. */
uint32_t oracle_pcap_run(
	const struct sock_filter *filter, unsigned count, const uint8_t *packet, uint32_t len);
bool oracle_pcap_valid(const struct sock_filter *filter, unsigned count);
