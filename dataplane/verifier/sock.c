#include "sock.h"

#include <errno.h>
#include <stddef.h>

/*
 * What programs may read of a socket. One row per field: where an access may begin, and how wide
 * it may be there. Fields of the network layer may be read in parts, as in the kernel.
 */

struct sock_field {
	uint16_t first, end; /* bytes of the uapi struct */
	uint8_t widths; /* allowed ones, or'ed */
};

#define ROW(type, field, allowed_widths) \
	{ offsetof(struct type, field),  \
		offsetof(struct type, field) + sizeof(((struct type *)0)->field), allowed_widths }
/* Only from its first byte. */
#define START(type, field, allowed_widths) \
	{ offsetof(struct type, field), offsetof(struct type, field) + 1, allowed_widths }
#define NARROW (1 | 2 | 4)

static const struct sock_field sock_fields[] = {
	ROW(bpf_sock, bound_dev_if, 4),
	START(bpf_sock, family, NARROW),
	START(bpf_sock, type, NARROW),
	START(bpf_sock, protocol, NARROW),
	ROW(bpf_sock, mark, 4),
	ROW(bpf_sock, priority, 4),
	ROW(bpf_sock, src_ip4, NARROW),
	ROW(bpf_sock, src_ip6, NARROW),
	START(bpf_sock, src_port, NARROW),
	/* Two bytes, but programs from before it shrank read four. */
	{ offsetof(struct bpf_sock, dst_port), offsetof(struct bpf_sock, dst_port) + 2, NARROW },
	ROW(bpf_sock, dst_ip4, NARROW),
	ROW(bpf_sock, dst_ip6, NARROW),
	START(bpf_sock, state, NARROW),
	START(bpf_sock, rx_queue_mapping, NARROW),
};

static const struct sock_field tcp_sock_fields[] = {
	{ 0, offsetof(struct bpf_tcp_sock, bytes_received), 4 },
	START(bpf_tcp_sock, bytes_received, 8),
	START(bpf_tcp_sock, bytes_acked, 8),
	{ offsetof(struct bpf_tcp_sock, dsack_dups),
		offsetof(struct bpf_tcp_sock, icsk_retransmits) + 4, 4 },
};

static const struct sock_field xdp_sock_fields[] = {
	ROW(bpf_xdp_sock, queue_id, 4),
};

static bool allows(const struct sock_field *fields, unsigned count, int32_t off, unsigned size)
{
	if (off < 0 || off % (int32_t)size)
		return false;
	for (unsigned i = 0; i < count; i++)
		if (off >= fields[i].first && off < fields[i].end)
			return fields[i].widths & size;
	return false;
}

static bool is_valid(const struct sl_reg *reg, int32_t off, unsigned size)
{
	switch (reg->type) {
	case SL_REG_SOCK_COMMON:
		/* What only a full socket has. */
		if (off >= (int32_t)offsetof(struct bpf_sock, type) &&
			off < (int32_t)offsetof(struct bpf_sock, src_ip4))
			return false;
		return allows(sock_fields, sl_array_size(sock_fields), off, size);
	case SL_REG_SOCKET:
		return allows(sock_fields, sl_array_size(sock_fields), off, size);
	case SL_REG_TCP_SOCK:
		return allows(tcp_sock_fields, sl_array_size(tcp_sock_fields), off, size);
	default:
		return allows(xdp_sock_fields, sl_array_size(xdp_sock_fields), off, size);
	}
}

int sl_check_sock(
	struct sl_env *env, unsigned regno, int32_t off, unsigned size, enum sl_access access)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);

	if (access == SL_WRITE) {
		sl_say(env, "R%u cannot write into %s\n", regno, sl_reg_type_name(reg));
		return -EACCES;
	}
	if (is_valid(reg, off, size))
		return 0;
	sl_say(env, "R%u invalid %s access off=%d size=%u\n", regno, sl_reg_type_name(reg), off,
		size);
	return -EACCES;
}
