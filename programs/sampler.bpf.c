// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * An XDP program that lets every packet pass and sends one in `sample_interval`, with its first
 * bytes, to user space through the per-CPU perf rings.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "sampler.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} samples SEC(".maps");

struct sampler_state {
	__u32 seen; /* since the last sample */
	__u32 sampled;
	__u64 lost; /* events that user space could not take */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sampler_state);
} sampler_state SEC(".maps");

const volatile __u32 sample_interval = 64;

SEC("xdp")
int sampler(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	__u64 len = data_end - data, capture = len;
	struct sampler_state *state;
	struct sample sample = {};
	__u32 zero = 0;

	state = bpf_map_lookup_elem(&sampler_state, &zero);
	if (!state)
		return XDP_PASS;
	if (++state->seen < sample_interval)
		return XDP_PASS;
	state->seen = 0;
	if (capture > SAMPLE_CAPTURE_MAX)
		capture = SAMPLE_CAPTURE_MAX;
	sample.time_ns = bpf_ktime_get_ns();
	sample.ifindex = ctx->ingress_ifindex;
	sample.rx_queue = ctx->rx_queue_index;
	sample.len_bytes = len;
	sample.captured_bytes = capture;
	sample.number = state->sampled++;
	if (bpf_perf_event_output(
		    ctx, &samples, BPF_F_CURRENT_CPU | capture << 32, &sample, sizeof(sample)) != 0)
		state->lost++;
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
