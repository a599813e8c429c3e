#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "extend.h"

/* What comes in place of the functions of extend.bpf.c; `counts` is that object's. */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct element {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct element);
} timers SEC(".maps");

static void count(__u32 what)
{
	__u64 *value = bpf_map_lookup_elem(&counts, &what);

	if (value)
		(*value)++;
}

static int on_time(void *map, __u32 *key, struct element *e)
{
	count(COUNT_TIMER);
	return 0;
}

/* The callback may be due when this is no longer there. */
static void arm(void)
{
	__u32 key = 0;
	struct element *e = bpf_map_lookup_elem(&timers, &key);

	if (!e)
		return;
	bpf_timer_init(&e->timer, &timers, 1 /* CLOCK_MONOTONIC */);
	bpf_timer_set_callback(&e->timer, on_time);
	bpf_timer_start(&e->timer, 3000000, 0);
}

SEC("freplace/first")
int in_place_of_first(struct xdp_md *ctx)
{
	count(COUNT_EXTENSION);
	arm();
	return XDP_PASS;
}

SEC("freplace/second")
int in_place_of_second(struct xdp_md *ctx)
{
	count(COUNT_SECOND_EXTENSION);
	return XDP_DROP;
}

char _license[] SEC("license") = "GPL";
