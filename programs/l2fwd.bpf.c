// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * A learning Ethernet forwarder as an XDP program: it remembers behind which port each source
 * address is, and redirects to the port of the destination. What it does not know passes, for a
 * slower path to flood.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "headers.h"
#include "l2fwd.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, L2FWD_STATIONS);
	__type(key, struct l2fwd_key);
	__type(value, struct l2fwd_station);
} stations SEC(".maps");

/* Learning again after this long; what moves sooner is learned at once. */
#define REFRESH_NS 1000000000ull

static __always_inline void learn(const struct l2fwd_key *source, __u32 ifindex)
{
	struct l2fwd_station *known = bpf_map_lookup_elem(&stations, source);
	struct l2fwd_station fresh = { .ifindex = ifindex };
	__u64 now = bpf_ktime_get_ns();

	if (known && known->ifindex == ifindex) {
		if (now - known->seen_ns > REFRESH_NS)
			known->seen_ns = now;
		return;
	}
	fresh.seen_ns = now;
	bpf_map_update_elem(&stations, source, &fresh, BPF_ANY);
}

SEC("xdp")
int l2fwd(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct l2fwd_key source = {}, destination = {};
	struct l2fwd_station *station;
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > data_end)
		return XDP_ABORTED;
	if (eth->h_proto == bpf_htons(ETH_P_8021Q)) {
		struct vlan_header *vlan = (void *)(eth + 1);

		if ((void *)(vlan + 1) > data_end)
			return XDP_ABORTED;
		source.vlan = destination.vlan = bpf_ntohs(vlan->tci) & 0xfff;
	}
	__builtin_memcpy(source.mac, eth->h_source, ETH_ALEN);
	__builtin_memcpy(destination.mac, eth->h_dest, ETH_ALEN);
	if (source.mac[0] & 1)
		return XDP_DROP; /* a group address is never a source */
	learn(&source, ctx->ingress_ifindex);
	if (destination.mac[0] & 1)
		return XDP_PASS;
	station = bpf_map_lookup_elem(&stations, &destination);
	if (!station)
		return XDP_PASS;
	if (station->ifindex == ctx->ingress_ifindex)
		return XDP_DROP; /* it has heard the frame already */
	return bpf_redirect(station->ifindex, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
