#pragma once

#include <linux/bpf.h>

#include "defs.h"

struct sl_map;

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
	/* Allowed widths, or'ed: 1 | 2 | 4 | 8. An access is aligned to its width and may be narrow. */
	uint8_t read_widths, write_widths;
	enum bpf_attach_type only_attach; /* needs this expected_attach_type; 0: any */
	/*
	 * Lowering. A read is a plain load of impl_size bytes at impl_offset in struct sl_ctx, or of
	 * the accessed part of them; a write stores the low store_size bytes there (0: as wide as the
	 * access), zero bytes above it staying zero. A read of store_size bytes or more at any
	 * offset in the field begins at its first: the kernel narrows only what it keeps in more ...
	 */
	uint16_t impl_offset, impl_size, store_size;
	/* ... unless these name bitcode functions: uint64_t f(struct sl_ctx *), void f(ctx, uint64_t) */
	const char *read_symbol, *write_symbol;
	/* A member of a map: the same for the map's life, and zero without impl_size; or a call of
	 * read_map, under the name of read_symbol. */
	bool is_constant;
	uint64_t (*read_map)(const struct sl_map *map);
};

/* The rows of a program type's context, in order of offset; *ret_count of them. NULL: no context. */
SL_ANY const struct sl_field *sl_fields_of(enum bpf_prog_type type, unsigned *ret_count);

/* The row that covers byte `offset`, NULL in a hole or past the end. */
SL_ANY const struct sl_field *sl_field_at(enum bpf_prog_type type, unsigned offset);

/*
 * Whether a program may access `size` bytes at `offset` of its context: 0 and the row, or -EACCES.
 * sign_extend for the sign-extending loads, which packet pointers refuse.
 */
SL_ANY int sl_field_access(enum bpf_prog_type type, enum bpf_attach_type attach, unsigned offset,
	unsigned size, bool write, bool sign_extend, const struct sl_field **ret_field);

/* Size of the uapi struct in bytes. */
SL_ANY unsigned sl_ctx_size(enum bpf_prog_type type);
