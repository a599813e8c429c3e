#include <errno.h>
#include <rte_byteorder.h>
#include <string.h>

#include "row.h"

/* bpf_skb_{get,set}_tunnel_{key,opt}: a packet's outer header as metadata. */

/* Newer than the build machine's header. */
#define NO_TUNNEL_KEY (1ull << 4)

#define LABEL_MASK 0xfffff

#define KEY_UP_TO(field) offsetof(struct bpf_tunnel_key, field)

/* Sizes that struct bpf_tunnel_key once had; the size of today is not among them. */
static bool was_key_size(uint64_t size)
{
	return size == KEY_UP_TO(local_ipv6[0]) || size == KEY_UP_TO(tunnel_label) ||
	       size == KEY_UP_TO(tunnel_ext) || size == KEY_UP_TO(remote_ipv6[1]);
}

static void write_ipv4(uint8_t *to, uint32_t host_order)
{
	host_order = rte_cpu_to_be_32(host_order);
	memcpy(to, &host_order, sizeof(host_order));
}

static uint32_t read_ipv4(const uint8_t *from)
{
	uint32_t be;

	memcpy(&be, from, sizeof(be));
	return rte_be_to_cpu_32(be);
}

static uint16_t flags_of(uint64_t flags)
{
	return SL_TUNNEL_NOCACHE | (flags & BPF_F_DONT_FRAGMENT ? SL_TUNNEL_DONT_FRAGMENT : 0) |
	       (flags & BPF_F_ZERO_CSUM_TX ? 0 : SL_TUNNEL_CSUM) |
	       (flags & BPF_F_SEQ_NUMBER ? SL_TUNNEL_SEQ : 0) |
	       (flags & NO_TUNNEL_KEY ? 0 : SL_TUNNEL_KEY);
}

SL_HELPER_FN(skb_set_tunnel_key)
{
	struct sl_tunnel *tunnel = &ctx->run->tunnel;
	struct bpf_tunnel_key key = { 0 };
	bool ipv6 = r4 & BPF_F_TUNINFO_IPV6;

	if (r4 & ~(uint64_t)(BPF_F_TUNINFO_IPV6 | BPF_F_ZERO_CSUM_TX | BPF_F_DONT_FRAGMENT |
			     BPF_F_SEQ_NUMBER | NO_TUNNEL_KEY))
		return sl_helper_ret(-EINVAL);
	if (r3 != sizeof(key) && !was_key_size(r3))
		return sl_helper_ret(-EINVAL);
	memcpy(&key, (const void *)r2, r3);
	if ((!ipv6 && key.tunnel_label) || key.tunnel_ext)
		return sl_helper_ret(-EINVAL);
	*tunnel = (struct sl_tunnel){
		.id = key.tunnel_id,
		.flags = flags_of(r4),
		.tos = key.tunnel_tos,
		.ttl = key.tunnel_ttl,
		.ipv6 = ipv6,
		.transmit = true,
	};
	if (ipv6) {
		memcpy(tunnel->dst, key.remote_ipv6, sizeof(tunnel->dst));
		memcpy(tunnel->src, key.local_ipv6, sizeof(tunnel->src));
		tunnel->label = key.tunnel_label & LABEL_MASK;
	} else {
		write_ipv4(tunnel->dst, key.remote_ipv4);
		write_ipv4(tunnel->src, key.local_ipv4);
	}
	ctx->tunnel = tunnel;
	return 0;
}

const struct sl_helper sl_helper_skb_set_tunnel_key = {
	SL_ROW(skb_set_tunnel_key, TC),
	.args = { SL_ARG_CTX, SL_ARG_MEM, SL_ARG_SIZE, SL_ARG_ANYTHING },
};

/* Why the key cannot be given, 0 when it can. */
static int check_get(const struct sl_tunnel *tunnel, uint64_t size, uint64_t flags)
{
	if (!tunnel || (flags & ~(uint64_t)(BPF_F_TUNINFO_IPV6 | BPF_F_TUNINFO_FLAGS)))
		return -EINVAL;
	if (tunnel->ipv6 != !!(flags & BPF_F_TUNINFO_IPV6))
		return -EPROTO;
	if (size == sizeof(struct bpf_tunnel_key))
		return 0;
	if (!was_key_size(size) || (size == KEY_UP_TO(remote_ipv6[1]) && tunnel->ipv6))
		return -EINVAL;
	return 0;
}

SL_HELPER_FN(skb_get_tunnel_key)
{
	const struct sl_tunnel *tunnel = ctx->tunnel;
	int err = check_get(tunnel, r3, r4);
	struct bpf_tunnel_key key = { 0 };

	if (err) {
		memset((void *)r2, 0, r3);
		return sl_helper_ret(err);
	}
	key.tunnel_id = tunnel->id;
	key.tunnel_tos = tunnel->tos;
	key.tunnel_ttl = tunnel->ttl;
	if (r4 & BPF_F_TUNINFO_FLAGS)
		key.tunnel_flags = rte_cpu_to_be_16(tunnel->flags);
	/* On the way out the far end is the destination; the program reads it as the kernel lets it. */
	if (tunnel->ipv6) {
		memcpy(key.remote_ipv6, tunnel->src, sizeof(key.remote_ipv6));
		memcpy(key.local_ipv6, tunnel->dst, sizeof(key.local_ipv6));
		key.tunnel_label = tunnel->label;
	} else {
		key.remote_ipv4 = read_ipv4(tunnel->src);
		key.local_ipv4 = read_ipv4(tunnel->dst);
	}
	memcpy((void *)r2, &key, r3);
	return 0;
}

const struct sl_helper sl_helper_skb_get_tunnel_key = {
	SL_ROW(skb_get_tunnel_key, TC),
	.args = { SL_ARG_CTX, SL_ARG_MEM_UNINIT, SL_ARG_SIZE, SL_ARG_ANYTHING },
};

SL_HELPER_FN(skb_set_tunnel_opt)
{
	struct sl_tunnel *tunnel = ctx->tunnel;

	/* Only what this program has set is there to be changed. */
	if (!tunnel || !tunnel->transmit || r3 % sizeof(uint32_t))
		return sl_helper_ret(-EINVAL);
	if (r3 > SL_TUNNEL_OPTIONS_MAX)
		return sl_helper_ret(-ENOMEM);
	memcpy(tunnel->options, (const void *)r2, r3);
	tunnel->options_len = (uint8_t)r3;
	tunnel->flags |= SL_TUNNEL_OPTIONS;
	return 0;
}

const struct sl_helper sl_helper_skb_set_tunnel_opt = {
	SL_ROW(skb_set_tunnel_opt, TC),
	.args = { SL_ARG_CTX, SL_ARG_MEM, SL_ARG_SIZE },
};

SL_HELPER_FN(skb_get_tunnel_opt)
{
	const struct sl_tunnel *tunnel = ctx->tunnel;
	uint8_t *to = (uint8_t *)r2;
	int err = 0;

	if (!tunnel || !(tunnel->flags & SL_TUNNEL_OPTIONS))
		err = -ENOENT;
	else if (r3 < tunnel->options_len)
		err = -ENOMEM;
	memset(to, 0, r3);
	if (err)
		return sl_helper_ret(err);
	memcpy(to, tunnel->options, tunnel->options_len);
	return tunnel->options_len;
}

const struct sl_helper sl_helper_skb_get_tunnel_opt = {
	SL_ROW(skb_get_tunnel_opt, TC),
	.args = { SL_ARG_CTX, SL_ARG_MEM_UNINIT, SL_ARG_SIZE },
};
