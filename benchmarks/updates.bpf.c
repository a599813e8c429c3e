// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * One look-up per packet, of a key at random. The control side says what `table` is before it
 * loads the object. A key's first word is the prefix length where the table is an LPM_TRIE.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "updates.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, UPDATES_ENTRIES);
	__uint(key_size, 8);
	__uint(value_size, 8);
} table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} found SEC(".maps");

SEC("xdp")
int look_up(struct xdp_md *ctx)
{
	__u32 key[2] = { 32, bpf_get_prandom_u32() % UPDATES_ENTRIES }, zero = 0;
	__u64 *sum = bpf_map_lookup_elem(&found, &zero), *value;

	/* As updates.c numbers its keys: any 24 bits for the routes. */
	key[1] = (key[1] * 0x9e3779b1u) & 0xffffff;
	value = bpf_map_lookup_elem(&table, key);
	if (sum && value)
		*sum += *value;
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
