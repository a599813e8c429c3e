#include "ctx_rows.h"

#include "context.h"

/* struct xdp_md: every access is 32 bits wide, nothing is writable. */
#define XDP_ROW(field, field_kind, impl)                                                     \
	.name = #field, .offset = offsetof(struct xdp_md, field), .size = sizeof(uint32_t),  \
	.kind = field_kind, .readable_by = SL_PROG_BIT(BPF_PROG_TYPE_XDP), .read_widths = 4, \
	.impl_offset = offsetof(struct sl_ctx, impl),                                        \
	.impl_size = sizeof(((struct sl_ctx *)0)->impl)

const struct sl_field sl_xdp_fields[] = {
	{ XDP_ROW(data, SL_FIELD_PACKET, data) },
	{ XDP_ROW(data_end, SL_FIELD_PACKET_END, data_end) },
	{ XDP_ROW(data_meta, SL_FIELD_PACKET_META, data_meta) },
	{ XDP_ROW(ingress_ifindex, SL_FIELD_SCALAR, ingress_ifindex) },
	{ XDP_ROW(rx_queue_index, SL_FIELD_SCALAR, rx_queue_index) },
	{ XDP_ROW(egress_ifindex, SL_FIELD_SCALAR, egress_ifindex), .only_attach = BPF_XDP_DEVMAP },
};

const unsigned sl_xdp_field_count = sl_array_size(sl_xdp_fields);
