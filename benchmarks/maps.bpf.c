// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * MAPS_REPEAT operations on `table` in one call, on the next keys of `keys`. The control side says
 * what `table` is before it loads the object.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "maps.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 8);
} table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAPS_KEYS / MAPS_REPEAT);
	__type(key, __u32);
	__type(value, struct maps_keys);
} keys SEC(".maps");

__u32 next_keys; /* index into `keys` */
__u64 found; /* so that a lookup's result matters */

static __always_inline struct maps_keys *take_keys(void)
{
	__u32 index = next_keys++ & (MAPS_KEYS / MAPS_REPEAT - 1);

	return bpf_map_lookup_elem(&keys, &index);
}

#define PROGRAM(name, body)                                                                   \
	SEC("xdp")                                                                            \
	int name(struct xdp_md *ctx)                                                          \
	{                                                                                     \
		struct maps_keys *some = take_keys();                                         \
		__u64 sum = 0;                                                                \
                                                                                              \
		if (!some)                                                                    \
			return -1;                                                            \
		_Pragma("clang loop unroll(disable)") for (__u32 i = 0; i < MAPS_REPEAT; i++) \
		{                                                                             \
			struct maps_key key = some->key[i];                                   \
                                                                                              \
			body;                                                                 \
		}                                                                             \
		found += sum;                                                                 \
		return 0;                                                                     \
	}

/* What the others do besides: its time is subtracted from theirs. */
PROGRAM(nothing, {
	asm volatile("" : : "r"(&key) : "memory");
	sum += i;
})

PROGRAM(lookup, {
	__u64 *value = bpf_map_lookup_elem(&table, &key);

	if (value)
		sum += *value;
})

PROGRAM(update, {
	__u64 value = i;

	sum += bpf_map_update_elem(&table, &key, &value, BPF_ANY);
})

PROGRAM(churn, {
	__u64 value = i;

	sum += bpf_map_delete_elem(&table, &key);
	sum += bpf_map_update_elem(&table, &key, &value, BPF_ANY);
})

char _license[] SEC("license") = "Dual BSD/GPL";
