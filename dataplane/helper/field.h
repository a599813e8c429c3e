#pragma once

#include <linux/bpf.h>

#include "defs.h"

/*
 * One row per field of xdp_md and __sk_buff: who may access it and how, and what the access
 * becomes. Adding a field is adding a row (ctx_xdp.c, ctx_skb.c).
 */
enum sl_field_kind {
	SL_FIELD_SCALAR,
	SL_FIELD_PACKET, /* a packet pointer: kept as a 64-bit pointer */
	SL_FIELD_PACKET_END,
	SL_FIELD_PACKET_META,
	SL_FIELD_SOCKET, /* struct bpf_sock *, may be NULL */
	SL_FIELD_FLOW_KEYS,
};

#define SL_PROG_BIT(type) (1u << (type))

struct sl_field {
	const char *name;
	uint16_t offset, size; /* in the uapi struct, bytes */
	enum sl_field_kind kind;
	uint32_t readable_by; /* SL_PROG_BITs */
	uint32_t writable_by;
	bool narrow; /* reads of 1, 2, 4 bytes inside it are allowed */
	/* Lowering: a plain load/store of impl_size bytes at impl_offset in struct sl_ctx ... */
	uint16_t impl_offset, impl_size;
	/* ... unless these name bitcode functions: uint64_t f(struct sl_ctx *), void f(ctx, uint64_t) */
	const char *read_symbol, *write_symbol;
};

/* The rows of a program type's context, in order of offset; *ret_count of them. NULL: no context. */
SL_ANY const struct sl_field *sl_fields_of(enum bpf_prog_type type, unsigned *ret_count);

/* The row that covers byte `offset`, NULL in a hole or past the end. */
SL_ANY const struct sl_field *sl_field_at(enum bpf_prog_type type, unsigned offset);

/* Size of the uapi struct in bytes. */
SL_ANY unsigned sl_ctx_size(enum bpf_prog_type type);
