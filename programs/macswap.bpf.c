// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* An XDP program that sends each packet back where it came from. */
#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_helpers.h>

/*
 * Both addresses as one word of 8 bytes and one of 4, loaded and stored once: the compiler would
 * copy a struct ethhdr, which is packed, byte by byte. Little endian, as the shifts say.
 */
SEC("xdp")
int macswap(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	__u64 *first = data, head, tail;
	__u32 *second = data + sizeof(*first);

	if (data + sizeof(struct ethhdr) > data_end)
		return XDP_ABORTED;
	head = *first;
	tail = *second;
	*first = head >> 48 | tail << 16 | head << 48;
	*second = head >> 16;
	return XDP_TX;
}

char _license[] SEC("license") = "Dual BSD/GPL";
