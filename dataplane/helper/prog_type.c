#include "prog_type.h"

static const struct sl_prog_type prog_types[] = {
	{ .type = BPF_PROG_TYPE_SOCKET_FILTER,
		.name = "socket_filter",
		.is_skb = true,
		.ld_abs = true,
		.test_run = true },
	{ .type = BPF_PROG_TYPE_SCHED_CLS,
		.name = "sched_cls",
		.is_skb = true,
		.direct_packet_access = true,
		.packet_writable = true,
		.ld_abs = true,
		.test_run = true },
	{ .type = BPF_PROG_TYPE_SCHED_ACT,
		.name = "sched_act",
		.is_skb = true,
		.direct_packet_access = true,
		.packet_writable = true,
		.ld_abs = true,
		.test_run = true },
	{ .type = BPF_PROG_TYPE_XDP,
		.name = "xdp",
		.direct_packet_access = true,
		.packet_writable = true,
		.test_run = true },
};

const struct sl_prog_type *sl_prog_type_of(enum bpf_prog_type type)
{
	for (size_t i = 0; i < sl_array_size(prog_types); i++)
		if (prog_types[i].type == type)
			return &prog_types[i];
	return NULL;
}
