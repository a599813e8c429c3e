// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* An XDP program that sends each packet back where it came from. */
#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_helpers.h>

/*
 * In 16-bit words, to which Ethernet headers are aligned everywhere: the compiler would copy a
 * struct ethhdr, which is packed, byte by byte.
 */
SEC("xdp")
int macswap(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	__u16 *dst = data, *src = dst + ETH_ALEN / 2;
	__u16 a, b, c;

	if (data + sizeof(struct ethhdr) > data_end)
		return XDP_ABORTED;
	a = dst[0], b = dst[1], c = dst[2];
	dst[0] = src[0], dst[1] = src[1], dst[2] = src[2];
	src[0] = a, src[1] = b, src[2] = c;
	return XDP_TX;
}

char _license[] SEC("license") = "Dual BSD/GPL";
