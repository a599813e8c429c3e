#pragma once

#include <stddef.h>
#include <stdint.h>

struct sock_filter;

/*
 * A filter in the words of pcap-filter(7), for frames or (raw) for packets that begin with their
 * network header. The caller frees *ret_insns. -EINVAL with libpcap's reason in `why`.
 */
int sl_filter_compile(const char *text, int raw, uint32_t snaplen, struct sock_filter **ret_insns,
	unsigned *ret_count, char *why, size_t why_size);

/*
 * The same, converted and loaded by `bpf` (as sluice_bpf). Returns the program's descriptor, or a
 * negative errno with a reason.
 */
union bpf_attr;
typedef long (*sl_filter_bpf_fn)(int cmd, union bpf_attr *attr, unsigned size);
int sl_filter_load(sl_filter_bpf_fn bpf, const char *text, int raw, uint32_t snaplen, char *why,
	size_t why_size);

/*
 * Both programs of one filter (text NULL or empty: none, -1). A filter that makes no sense for
 * packets without a link-layer header ("ether host ...") matches none of them: -1.
 */
int sl_filter_load_both(sl_filter_bpf_fn bpf, const char *text, uint32_t snaplen, int ret_fds[2],
	char *why, size_t why_size);
