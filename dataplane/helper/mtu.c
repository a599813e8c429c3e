#include "mtu.h"

#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cpu.h"
#include "packet.h"
#include "row.h"
#include "segments.h"

enum { UDP_HEADER = 8 };

bool (*sl_port_link_size)(uint32_t ifindex, struct sl_link_size *ret_size);

/* A test packet's interfaces are the kernel's. */
static bool kernel_link_size(uint32_t ifindex, struct sl_link_size *ret_size)
{
	struct ifreq req = { 0 };
	bool found, framed;
	int fd;

	if (!if_indextoname(ifindex, req.ifr_name))
		return false;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	found = ioctl(fd, SIOCGIFHWADDR, &req) == 0;
	framed = req.ifr_hwaddr.sa_family == ARPHRD_ETHER ||
		 req.ifr_hwaddr.sa_family == ARPHRD_LOOPBACK;
	found = found && ioctl(fd, SIOCGIFMTU, &req) == 0;
	close(fd);
	if (!found)
		return false;
	*ret_size = (struct sl_link_size){ .mtu = (uint32_t)req.ifr_mtu,
		.header = framed ? SL_ETH_HEADER : 0 };
	return true;
}

static bool link_size(const struct sl_ctx *ctx, uint32_t ifindex, struct sl_link_size *ret_size)
{
	if (!ifindex)
		ifindex = ctx->is_skb ? ctx->ifindex : ctx->ingress_ifindex;
	if (sl_port_link_size && sl_port_link_size(ifindex, ret_size))
		return true;
	/* Some test runs are done by workers, which make no system call. */
	return !sl_cpu_is_owned(ctx->cpu) && kernel_link_size(ifindex, ret_size);
}

/* From the network header on. */
static uint32_t piece_len(const struct sl_ctx *ctx)
{
	uint32_t start = (uint32_t)(ctx->csum_start - (ctx->data - ctx->head)), l4 = UDP_HEADER;
	uint8_t words = 0;

	if (ctx->gso_type == SL_GSO_TCP && sl_segments_read(ctx, start + 12, &words, 1))
		l4 = (uint32_t)(words >> 4) * 4;
	return (uint32_t)(ctx->csum_start - ctx->network_offset) + l4 + ctx->gso_size;
}

/* R3 points to the length behind the link-layer header to check, 0 for the packet's own. */
SL_HELPER_FN(check_mtu)
{
	uint64_t allowed = ctx->is_skb ? (uint64_t)BPF_MTU_CHK_SEGS : 0;
	uint64_t ret = BPF_MTU_CHK_RET_SUCCESS;
	struct sl_link_size link;
	uint32_t len;
	int64_t total;

	memcpy(&len, (const void *)r3, sizeof(len));
	if (r5 & ~allowed)
		return sl_helper_ret(-EINVAL);
	if ((r5 & BPF_MTU_CHK_SEGS) && ((int32_t)r4 || len))
		return sl_helper_ret(-EINVAL);
	if (!link_size(ctx, (uint32_t)r2, &link))
		return sl_helper_ret(-ENODEV);
	if (len)
		total = (int32_t)(len + link.header);
	else
		total = ctx->is_skb ? (int64_t)ctx->len : ctx->data_end - ctx->data;
	total = (int32_t)(total + (int32_t)r4);
	if (total > (int64_t)link.mtu + link.header) {
		/* A packet that is to be cut on its way out fits; its pieces only if asked for. */
		if (ctx->is_skb && ctx->gso_size && (r5 & BPF_MTU_CHK_SEGS)) {
			if (ctx->gso_type == SL_GSO_NONE)
				return sl_helper_ret(-EINVAL);
			if (piece_len(ctx) > link.mtu)
				ret = BPF_MTU_CHK_RET_SEGS_TOOBIG;
		}
		if (!ctx->is_skb || !ctx->gso_size)
			ret = BPF_MTU_CHK_RET_FRAG_NEEDED;
	}
	memcpy((void *)r3, &link.mtu, sizeof(link.mtu));
	return ret;
}

const struct sl_helper sl_helper_check_mtu = {
	SL_ROW(check_mtu, TC_XDP),
	.flags = SL_HELPER_GPL,
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING, SL_ARG_INT_PTR, SL_ARG_ANYTHING, SL_ARG_ANYTHING },
};
