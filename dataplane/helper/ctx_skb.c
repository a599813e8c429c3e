#include "ctx_rows.h"

#include "context.h"

/*
 * struct __sk_buff. Reads may be narrow, writes are as wide as the field, but for cb[], which is
 * free memory, and the 64-bit fields, which are only accessed whole. The kernel keeps some fields in
 * 16 bits, which is what a write of them leaves.
 */
#define CLS_ACT (SL_PROG_BIT(BPF_PROG_TYPE_SCHED_CLS) | SL_PROG_BIT(BPF_PROG_TYPE_SCHED_ACT))
#define SKB_ALL (CLS_ACT | SL_PROG_BIT(BPF_PROG_TYPE_SOCKET_FILTER))
/* A bit-field in older headers or not there. */
#define SK_BUFF_TSTAMP_TYPE 180
#define NARROW (1 | 2 | 4)

#define SKB_ROW_SIZED(field, field_size, readers, widths)                                  \
	.name = #field, .offset = offsetof(struct __sk_buff, field), .size = (field_size), \
	.readable_by = (readers), .read_widths = (widths),                                 \
	.impl_offset = offsetof(struct sl_ctx, field),                                     \
	.impl_size = sizeof(((struct sl_ctx *)0)->field)
#define SKB_ROW(field, readers) SKB_ROW_SIZED(field, sizeof(uint32_t), readers, NARROW)
#define PTR_ROW(field, field_kind) \
	SKB_ROW_SIZED(field, sizeof(uint32_t), CLS_ACT, 4), .kind = field_kind
#define WRITABLE(writers) .writable_by = (writers), .write_widths = 4

const struct sl_field sl_skb_fields[] = {
	{ SKB_ROW(len, SKB_ALL) },
	{ SKB_ROW(pkt_type, SKB_ALL), .store_size = 1 },
	{ SKB_ROW(mark, SKB_ALL), WRITABLE(CLS_ACT) },
	{ SKB_ROW(queue_mapping, SKB_ALL), .store_size = 2, WRITABLE(CLS_ACT),
		.write_symbol = "sl_ctx_set_queue_mapping" },
	{ SKB_ROW(protocol, SKB_ALL), .store_size = 2 },
	{ SKB_ROW(vlan_present, SKB_ALL), .store_size = 1 },
	{ SKB_ROW(vlan_tci, SKB_ALL), .store_size = 2 },
	{ SKB_ROW(vlan_proto, SKB_ALL), .store_size = 2 },
	{ SKB_ROW(priority, SKB_ALL), WRITABLE(CLS_ACT) },
	{ SKB_ROW(ingress_ifindex, SKB_ALL) },
	{ SKB_ROW(ifindex, SKB_ALL) },
	{ SKB_ROW(tc_index, SKB_ALL), WRITABLE(CLS_ACT), .store_size = 2 },
	{ SKB_ROW_SIZED(cb, 5 * sizeof(uint32_t), SKB_ALL, NARROW | 8), .writable_by = SKB_ALL,
		.write_widths = NARROW | 8 },
	{ SKB_ROW(hash, SKB_ALL), .read_symbol = "sl_ctx_get_hash" },
	{ SKB_ROW(tc_classid, CLS_ACT), WRITABLE(CLS_ACT), .store_size = 2 },
	{ PTR_ROW(data, SL_FIELD_PACKET) },
	{ PTR_ROW(data_end, SL_FIELD_PACKET_END) },
	{ SKB_ROW(napi_id, SKB_ALL) },
	{ PTR_ROW(data_meta, SL_FIELD_PACKET_META) },
	{ SKB_ROW_SIZED(tstamp, sizeof(uint64_t), CLS_ACT, 8), .writable_by = CLS_ACT,
		.write_widths = 8 },
	{ SKB_ROW(wire_len, CLS_ACT) },
	{ SKB_ROW(gso_segs, SKB_ALL), .store_size = 2 },
	{ .name = "sk",
		.offset = offsetof(struct __sk_buff, sk),
		.size = sizeof(uint64_t),
		.kind = SL_FIELD_SOCKET,
		.readable_by = SKB_ALL,
		.read_widths = 8,
		.impl_offset = offsetof(struct sl_ctx, socket),
		.impl_size = sizeof(void *) },
	{ SKB_ROW(gso_size, SKB_ALL), .store_size = 2 },
	{ .name = "tstamp_type",
		.offset = SK_BUFF_TSTAMP_TYPE,
		.size = sizeof(uint8_t),
		.readable_by = CLS_ACT,
		.read_widths = 1,
		.impl_offset = offsetof(struct sl_ctx, tstamp_type),
		.impl_size = sizeof(uint8_t) },
	{ SKB_ROW_SIZED(hwtstamp, sizeof(uint64_t), CLS_ACT, 8) },
};

const unsigned sl_skb_field_count = sl_array_size(sl_skb_fields);
