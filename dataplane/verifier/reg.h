#pragma once

#include <linux/bpf.h>

#include "tnum.h"

struct sl_map;
struct sl_local_type;

/* What a register, or a spilled slot, may hold. The names printed in the log are the kernel's. */
enum sl_reg_type {
	SL_REG_NOT_INIT,
	SL_REG_SCALAR,
	SL_REG_CTX,
	SL_REG_CONST_MAP, /* the map itself */
	SL_REG_MAP_VALUE,
	SL_REG_MAP_KEY, /* in a for_each callback */
	SL_REG_STACK,
	SL_REG_PACKET_META,
	SL_REG_PACKET,
	SL_REG_PACKET_END,
	SL_REG_MEM, /* memory of mem_size bytes: helpers' results, global arguments */
	SL_REG_SOCKET, /* struct bpf_sock of a full socket */
	SL_REG_SOCK_COMMON, /* of any, a request too */
	SL_REG_TCP_SOCK,
	SL_REG_XDP_SOCK,
	SL_REG_CONN, /* a connection, always with a reference: conn.c */
	SL_REG_FUNC, /* address of a subprogram */
	SL_REG_OBJECT, /* an object that a program allocated */
	SL_REG_DYNPTR, /* a dynptr: of slots, the two that hold one; of registers, a constant one */
	SL_REG_TYPES
};

/* Which struct an SL_REG_CONN points to. */
enum sl_conn_kind { SL_CONN_INSERTED, SL_CONN_INIT };

enum sl_reg_flags {
	SL_REG_OR_NULL = 1 << 0,
	SL_REG_RDONLY = 1 << 1,
	SL_REG_RINGBUF =
		1 << 2, /* SL_REG_MEM: a record of a RINGBUF, to be submitted or discarded */
	SL_REG_PACKET_SLICE = 1 << 3, /* SL_REG_MEM: bytes of the packet, gone when that moves */
	/* SL_REG_OBJECT: */
	SL_REG_NON_OWNING = 1 << 5, /* in a list or tree, valid until the lock is given back */
	SL_REG_RCU = 1 << 6, /* somebody else's, who may drop it: valid in this RCU section */
	SL_REG_FIRST_SLOT = 1 << 4, /* SL_REG_DYNPTR on the stack: the slot that pointers name */
};

/*
 * The abstract value of a register, as the kernel's bpf_reg_state: a scalar, or a pointer whose
 * variable offset from `off` is described by the same numbers. All bounds always hold together.
 */
struct sl_reg {
	uint8_t type; /* enum sl_reg_type */
	bool precise; /* scalar: pruning may not widen it */
	uint16_t flags; /* enum sl_reg_flags */
	int32_t off; /* constant part of a pointer's offset; scalars linked by id: delta */
	union {
		uint32_t range; /* packet pointers: bytes proven readable after `off` base */
		uint32_t mem_size; /* SL_REG_MEM */
		uint32_t func; /* SL_REG_FUNC: subprogram number */
		uint32_t frame; /* SL_REG_STACK: call frame */
		uint32_t conn; /* SL_REG_CONN: enum sl_conn_kind */
		uint32_t dynptr; /* SL_REG_DYNPTR: enum sl_dynptr_type */
	};
	struct sl_map *map; /* SL_REG_CONST_MAP, _MAP_VALUE, _MAP_KEY */
	const struct sl_local_type *object; /* SL_REG_OBJECT: one per type, of env */
	uint32_t map_uid; /* inner maps from different look-ups */

	struct sl_tnum var_off;
	int64_t smin, smax;
	uint64_t umin, umax;
	int32_t s32_min, s32_max;
	uint32_t u32_min, u32_max;

	uint32_t id; /* same non-zero id: same unknown value (linked scalars, or-null pointers,
				 * packet pointers with the same variable part) */
	uint32_t ref_id; /* reference to release; 0 for none */
	uint32_t dynptr_id; /* SL_REG_MEM: id of the dynptr that it is a slice of */
	uint32_t
		buffer; /* SL_REG_MEM: stack that it may be instead, as slice.c writes it; 0: none */
};

/* Flags of an id: this scalar is the linked one plus `off`, as a sum of 64 or of 32 bits. */
#define SL_ID_ADD_CONST64 (1u << 31)
#define SL_ID_ADD_CONST32 (1u << 30)
#define SL_ID_ADD_CONST (SL_ID_ADD_CONST64 | SL_ID_ADD_CONST32)

/* What the scalar holds from now on has nothing to do with any other register. */
static inline void sl_reg_unlink(struct sl_reg *reg)
{
	reg->id = 0;
	reg->off = 0;
}

/* Setting. */
void sl_reg_set_unknown(struct sl_reg *reg); /* a scalar of which nothing is known */
void sl_reg_set_const(struct sl_reg *reg, uint64_t value);
void sl_reg_set_const32(struct sl_reg *reg, uint32_t value); /* low half; bounds of the whole */
void sl_reg_set_pointer(struct sl_reg *reg, enum sl_reg_type type); /* offset 0 */
void sl_reg_unbound(struct sl_reg *reg); /* all bounds to their widest, var_off kept */
/* Brings tnum, 64-bit and 32-bit bounds in agreement; the kernel's reg_bounds_sync. */
void sl_reg_sync(struct sl_reg *reg);
/* 32-bit result: the upper half becomes zero (zext) in all bounds. */
void sl_reg_zext32(struct sl_reg *reg);
/* Keeps the low size bytes; zero- or sign-extended. */
void sl_reg_coerce_zext(struct sl_reg *reg, unsigned size_bytes);
void sl_reg_coerce_sext(struct sl_reg *reg, unsigned size_bytes, bool to_32);

static inline bool sl_reg_is_const(const struct sl_reg *reg)
{
	return reg->type == SL_REG_SCALAR && sl_tnum_is_const(reg->var_off);
}

static inline bool sl_reg_is_pointer(const struct sl_reg *reg)
{
	return reg->type > SL_REG_SCALAR;
}

static inline bool sl_reg_is_sock(const struct sl_reg *reg)
{
	return reg->type >= SL_REG_SOCKET && reg->type <= SL_REG_XDP_SOCK;
}

static inline bool sl_reg_is_packet(const struct sl_reg *reg)
{
	return reg->type == SL_REG_PACKET || reg->type == SL_REG_PACKET_META;
}

/*
 * The bounds do not contradict themselves. A state in which they do is dead: no run reaches it.
 */
bool sl_reg_is_sane(const struct sl_reg *reg);
/* Gives up bounds that contradict themselves, as the kernel does in such a state. */
void sl_reg_settle(struct sl_reg *reg);

/*
 * dst = dst OP src for scalars, `code` a BPF_ALU or BPF_ALU64 opcode with the operation's bits,
 * `off` the instruction's (1 for sdiv/smod). Whatever cannot be tracked becomes unknown. MOV and
 * END included; src.id links are the caller's business.
 */
void sl_reg_alu(struct sl_reg *dst, const struct sl_reg *src, const struct bpf_insn *insn);

/* ptr + scalar, for pointers that allow it: bounds of the variable offset; no checks. */
void sl_reg_pointer_add(struct sl_reg *dst, const struct sl_reg *ptr, const struct sl_reg *scalar);
void sl_reg_pointer_sub(struct sl_reg *dst, const struct sl_reg *ptr, const struct sl_reg *scalar);

/* 1: always taken, 0: never, -1: both possible. `op` BPF_JEQ ...; is32 for BPF_JMP32. */
int sl_reg_branch(const struct sl_reg *dst, const struct sl_reg *src, uint8_t op, bool is32);

/*
 * Refines both operands in both outcomes of a comparison: the taken pair and the other. The four
 * registers start as copies of the operands. src is a fake constant register for BPF_K.
 */
void sl_reg_refine(struct sl_reg *taken_dst, struct sl_reg *taken_src, struct sl_reg *not_dst,
	struct sl_reg *not_src, uint8_t op, bool is32);

/* Every value of `b` is one of `a` (bounds and tnum only). */
bool sl_reg_range_within(const struct sl_reg *a, const struct sl_reg *b);
