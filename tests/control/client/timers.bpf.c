#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

/* Timers in an array and in a hash; what the helpers answered goes into `answers`. */

#define MONOTONIC 1
#define TIMER_ABS 1

struct element {
	__u64 count;
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct element);
} array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 100);
	__type(key, __u32);
	__type(value, struct element);
} hash SEC(".maps");

__u64 fired, keys;
int answers[10];

static int count(void *map, __u32 *key, struct element *e)
{
	__sync_fetch_and_add(&fired, 1);
	keys += *key;
	e->count++;
	answers[9] = bpf_timer_cancel(&e->timer);
	return 0;
}

static int again(void *map, __u32 *key, struct element *e)
{
	e->count++;
	__sync_fetch_and_add(&fired, 1);
	if (e->count < 5)
		bpf_timer_start(&e->timer, 1000000, 0);
	else if (map == &hash)
		bpf_map_delete_elem(map, key);
	return 0;
}

SEC("tc")
int errors(struct __sk_buff *skb)
{
	__u32 key = 1;
	struct element *e = bpf_map_lookup_elem(&array, &key);

	if (!e)
		return 1;
	answers[0] = bpf_timer_init(&e->timer, &array, 3);
	answers[1] = bpf_timer_start(&e->timer, 0, 0);
	answers[2] = bpf_timer_init(&e->timer, &array, MONOTONIC);
	answers[3] = bpf_timer_init(&e->timer, &array, MONOTONIC);
	answers[4] = bpf_timer_start(&e->timer, 100, 0);
	answers[5] = bpf_timer_set_callback(&e->timer, count);
	answers[6] = bpf_timer_start(&e->timer, 0, 8);
	answers[7] = bpf_timer_cancel(&e->timer);
	answers[8] = bpf_timer_start(&e->timer, 0, 0);
	bpf_timer_set_callback(&e->timer, count);
	return bpf_timer_start(&e->timer, 2000000, 0);
}

SEC("tc")
int repeated(struct __sk_buff *skb)
{
	struct element zero = { 0 }, *e;
	__u32 key = 2;

	e = bpf_map_lookup_elem(&array, &key);
	if (!e)
		return 1;
	bpf_timer_init(&e->timer, &array, MONOTONIC);
	bpf_timer_set_callback(&e->timer, again);
	bpf_timer_start(&e->timer, 1000000, 0);
	key = 7;
	bpf_map_update_elem(&hash, &key, &zero, 0);
	e = bpf_map_lookup_elem(&hash, &key);
	if (!e)
		return 1;
	bpf_timer_init(&e->timer, &hash, MONOTONIC);
	bpf_timer_set_callback(&e->timer, again);
	return bpf_timer_start(&e->timer, bpf_ktime_get_ns() + 1000000, TIMER_ABS);
}

/* An element that is replaced or removed takes its timer with it. */
SEC("tc")
int taken_away(struct __sk_buff *skb)
{
	struct element value = { .count = 77 }, *e;
	__u32 key = 3;

	e = bpf_map_lookup_elem(&array, &key);
	if (!e)
		return 1;
	bpf_timer_init(&e->timer, &array, MONOTONIC);
	bpf_timer_set_callback(&e->timer, count);
	bpf_timer_start(&e->timer, 2000000, 0);
	bpf_map_update_elem(&array, &key, &value, 0);
	answers[0] = bpf_timer_start(&e->timer, 1, 0);
	bpf_map_update_elem(&hash, &key, &value, 0);
	e = bpf_map_lookup_elem(&hash, &key);
	if (!e)
		return 1;
	bpf_timer_init(&e->timer, &hash, MONOTONIC);
	bpf_timer_set_callback(&e->timer, count);
	bpf_timer_start(&e->timer, 2000000, 0);
	bpf_map_delete_elem(&hash, &key);
	answers[1] = bpf_timer_start(&e->timer, 1, 0);
	return 0;
}

char _license[] SEC("license") = "GPL";
