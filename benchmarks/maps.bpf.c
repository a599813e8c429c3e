// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * MAPS_REPEAT operations on one map in one call, on the next keys of `keys`. The control side says
 * what the map is before it loads the object, of which it then takes only that map and its programs.
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

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAPS_INNER);
	__type(key, __u32);
	__type(value, __u64);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__array(values, struct inner);
} outer SEC(".maps");

/* Without keys: QUEUE, STACK, BLOOM_FILTER. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1);
	__uint(value_size, 8);
} values SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 4);
} targets SEC(".maps");

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

/*
 * What the others do besides: its time is subtracted from theirs. It leaves the loop for a key that
 * there is not: a compiler that sees that nobody needs the keys leaves them out, or takes them by the
 * vector, which no real operation lets it do.
 */
PROGRAM(nothing, {
	if (key.words[0] == MAPS_NO_KEY)
		return -1;
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

PROGRAM(lookup_inner, {
	void *inner = bpf_map_lookup_elem(&outer, &key);
	__u32 index = i & (MAPS_INNER - 1);
	__u64 *value = inner ? bpf_map_lookup_elem(inner, &index) : 0;

	if (value)
		sum += *value;
})

PROGRAM(push, { sum += bpf_map_push_elem(&values, &key, BPF_ANY); })

PROGRAM(peek, { sum += bpf_map_peek_elem(&values, &key); })

PROGRAM(push_pop, {
	sum += bpf_map_push_elem(&values, &key, BPF_ANY);
	sum += bpf_map_pop_elem(&values, &key);
})

PROGRAM(submit, {
	__u64 *record = bpf_ringbuf_reserve(&ring, 16, 0);

	if (record) {
		record[0] = key.words[0];
		record[1] = key.words[1];
		bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	}
	sum += !record;
})

PROGRAM(redirect, { sum += bpf_redirect_map(&targets, key.words[0], 0); })

char _license[] SEC("license") = "Dual BSD/GPL";
