#include "emit.h"

#include <string.h>

#include "context.h"
#include "field.h"
#include "instrument.h"
#include "map.h"
#include "prog.h"

/* linux/bpf.h of 6.14 names these two; the system's may be older. */
#define LOAD_ACQUIRE 0x100
#define STORE_RELEASE 0x110

static const char *const tbaa_names[SL_MEM_MIXED + 1] = {
	[SL_MEM_STACK] = "stack",
	[SL_MEM_CTX] = "context",
	[SL_MEM_PACKET] = "packet",
	[SL_MEM_MAP_VALUE] = "map value",
};

/* One root, one type node per kind below it: accesses of different kinds do not alias. */
void sl_emit_memory_init(struct sl_emitter *e)
{
	LLVMMetadataRef name = LLVMMDStringInContext2(e->context, "sluice", strlen("sluice"));
	LLVMMetadataRef root = LLVMMDNodeInContext2(e->context, &name, 1);
	LLVMMetadataRef zero = LLVMValueAsMetadata(sl_emit_const(e, 0));

	e->tbaa_kind = LLVMGetMDKindIDInContext(e->context, "tbaa", strlen("tbaa"));
	for (unsigned i = 0; i < sl_array_size(tbaa_names); i++) {
		LLVMMetadataRef parts[3], type;

		if (!tbaa_names[i])
			continue;
		parts[0] = LLVMMDStringInContext2(e->context, tbaa_names[i], strlen(tbaa_names[i]));
		parts[1] = root;
		parts[2] = zero;
		type = LLVMMDNodeInContext2(e->context, parts, 3);
		parts[0] = parts[1] = type;
		e->tbaa[i] =
			LLVMMetadataAsValue(e->context, LLVMMDNodeInContext2(e->context, parts, 3));
	}
}

void sl_emit_tag(struct sl_emitter *e, LLVMValueRef access, enum sl_mem_kind kind)
{
	if (e->tbaa[kind])
		LLVMSetMetadata(access, e->tbaa_kind, e->tbaa[kind]);
}

static LLVMValueRef offset_by(struct sl_emitter *e, LLVMValueRef ptr, int64_t off, bool inbounds)
{
	LLVMValueRef index = sl_emit_const(e, off);

	if (!off)
		return ptr;
	return inbounds ? LLVMBuildInBoundsGEP2(e->builder, e->i8, ptr, &index, 1, "")
			: LLVMBuildGEP2(e->builder, e->i8, ptr, &index, 1, "");
}

/* The address in the own frame, NULL when it is not known to be in it. */
static LLVMValueRef frame_address(
	struct sl_emitter *e, unsigned reg, const struct sl_reg_fact *fact, int64_t off)
{
	int64_t at = off + e->stack_bytes;

	if (!e->stack)
		return NULL;
	if (reg != BPF_REG_10) {
		if (fact->kind != SL_MEM_STACK || !fact->const_off || !fact->own_frame)
			return NULL;
		at += fact->off;
	}
	if (at < 0 || at > e->stack_bytes)
		return NULL;
	return offset_by(e, e->stack, at, true);
}

LLVMValueRef sl_emit_address(
	struct sl_emitter *e, unsigned reg, const struct sl_reg_fact *fact, int64_t off)
{
	LLVMValueRef address = frame_address(e, reg, fact, off);

	if (address)
		return address;
	address = LLVMBuildIntToPtr(e->builder, sl_emit_get(e, reg), e->ptr, "");
	return offset_by(e, address, off, false);
}

LLVMValueRef sl_emit_argument(struct sl_emitter *e, unsigned reg, const struct sl_reg_fact *fact)
{
	LLVMValueRef address = frame_address(e, reg, fact, 0);

	if (!address && fact->kind == SL_MEM_CTX && fact->const_off && !fact->off)
		address = e->ctx;
	if (address)
		return LLVMBuildPtrToInt(e->builder, address, e->i64, "");
	if (fact->kind == SL_MEM_SCALAR && fact->const_off)
		return sl_emit_const(e, fact->off);
	return sl_emit_get(e, reg);
}

static LLVMValueRef load(
	struct sl_emitter *e, LLVMValueRef address, unsigned bits, enum sl_mem_kind kind)
{
	LLVMValueRef value = LLVMBuildLoad2(e->builder, sl_emit_type(e, bits), address, "");

	LLVMSetAlignment(value, 1);
	sl_emit_tag(e, value, kind);
	return value;
}

static void store(
	struct sl_emitter *e, LLVMValueRef value, LLVMValueRef address, enum sl_mem_kind kind)
{
	LLVMValueRef access = LLVMBuildStore(e->builder, value, address);

	LLVMSetAlignment(access, 1);
	sl_emit_tag(e, access, kind);
}

LLVMValueRef sl_emit_ctx_address(struct sl_emitter *e, size_t offset)
{
	return offset_by(e, e->ctx, offset, true);
}

LLVMValueRef sl_emit_ctx_load(struct sl_emitter *e, size_t offset, unsigned bits)
{
	return load(e, sl_emit_ctx_address(e, offset), bits, SL_MEM_CTX);
}

void sl_emit_ctx_store(struct sl_emitter *e, size_t offset, LLVMValueRef value)
{
	store(e, value, sl_emit_ctx_address(e, offset), SL_MEM_CTX);
}

/* Bytes of the access after the beginning of its field. */
static unsigned field_delta(const struct sl_emitter *e)
{
	int64_t at = e->insn->off + (e->fact->base.const_off ? e->fact->base.off : 0);

	return at - e->fact->field->offset;
}

static LLVMValueRef resize(struct sl_emitter *e, LLVMValueRef value, unsigned bits)
{
	return LLVMBuildIntCast2(e->builder, value, sl_emit_type(e, bits), false, "");
}

static LLVMValueRef load_field(struct sl_emitter *e, unsigned bits)
{
	const struct sl_field *field = e->fact->field;
	unsigned delta = field_delta(e), bytes = bits / 8;
	LLVMValueRef value;

	/* The kernel narrows no load that holds all it keeps of a field, wherever it points. */
	if (field->store_size && bytes >= field->store_size)
		delta = 0;
	if (field->read_symbol) {
		LLVMTypeRef type = LLVMFunctionType(e->i64, &e->ptr, 1, false);

		value = LLVMBuildCall2(e->builder, type,
			sl_emit_declare(e, field->read_symbol, type, NULL), &e->ctx, 1, "");
	} else if (field->kind == SL_FIELD_SCALAR &&
		   (field->impl_size == field->size || delta + bytes <= field->impl_size)) {
		return sl_emit_ctx_load(e, field->impl_offset + delta, bits);
	} else {
		value = resize(
			e, sl_emit_ctx_load(e, field->impl_offset, field->impl_size * 8), 64);
		if (field->kind != SL_FIELD_SCALAR)
			return value;
	}
	value = LLVMBuildLShr(e->builder, value, sl_emit_const(e, delta * 8), "");
	return resize(e, value, bits);
}

static void store_field(struct sl_emitter *e, LLVMValueRef value)
{
	const struct sl_field *field = e->fact->field;
	unsigned delta = field_delta(e), bits = e->row->bits;

	if (field->write_symbol) {
		LLVMTypeRef params[] = { e->ptr, e->i64 };
		LLVMTypeRef type = LLVMFunctionType(e->void_type, params, 2, false);
		LLVMValueRef args[] = { e->ctx, resize(e, value, 64) };

		LLVMBuildCall2(e->builder, type,
			sl_emit_declare(e, field->write_symbol, type, NULL), args, 2, "");
		return;
	}
	if (field->store_size && field->store_size * 8u < bits)
		value = resize(e, value, field->store_size * 8);
	sl_emit_ctx_store(e, field->impl_offset + delta, value);
}

/*
 * What a load reads from a map that nobody can write any more, such as .rodata; NULL when it is not
 * one. The verifier has checked that [off, off + bits / 8) is inside the only value.
 */
static LLVMValueRef load_constant(struct sl_emitter *e, unsigned bits)
{
	const struct sl_reg_fact *base = &e->fact->base;
	const struct sl_map *map;
	uint64_t address, value = 0;

	if (base->kind != SL_MEM_MAP_VALUE || !base->const_off || base->map >= e->unit->map_count)
		return NULL;
	map = e->unit->maps[base->map];
	if (!(map->desc.flags & BPF_F_RDONLY_PROG) || !map->frozen || map->desc.max_entries != 1 ||
		!map->ops->direct_value || base->off + e->insn->off < 0 ||
		base->off + e->insn->off + bits / 8 > map->desc.value_size ||
		map->ops->direct_value(map, 0, &address))
		return NULL;
	memcpy(&value, (const uint8_t *)(uintptr_t)address + base->off + e->insn->off, bits / 8);
	return sl_emit_int(e, bits, value);
}

/* Of the map that the register points to; when it is always the same, what it says now. */
static LLVMValueRef load_map_field(struct sl_emitter *e, unsigned bits)
{
	const struct sl_field *field = e->fact->field;
	const struct sl_reg_fact *base = &e->fact->base;
	int64_t at = field->impl_offset + field_delta(e);
	uint64_t value = 0;

	if (field->read_map) {
		LLVMTypeRef type = LLVMFunctionType(e->i64, &e->i64, 1, false);
		LLVMValueRef map = sl_emit_get(e, e->insn->src_reg);
		LLVMValueRef whole = LLVMBuildCall2(e->builder, type,
			sl_emit_declare(e, field->read_symbol, type, (const void *)field->read_map),
			&map, 1, "");

		whole = LLVMBuildLShr(e->builder, whole, sl_emit_const(e, field_delta(e) * 8), "");
		return resize(e, whole, bits);
	}
	if (!field->impl_size)
		return sl_emit_int(e, bits, 0);
	if (!field->is_constant || base->map >= e->unit->map_count)
		return load(e, sl_emit_address(e, e->insn->src_reg, base, at), bits, SL_MEM_MAP);
	memcpy(&value, (const uint8_t *)e->unit->maps[base->map] + at, bits / 8);
	return sl_emit_int(e, bits, value);
}

static LLVMValueRef load_any(struct sl_emitter *e)
{
	const struct sl_reg_fact *base = &e->fact->base;
	LLVMValueRef constant;

	if (e->fact->field && base->kind == SL_MEM_MAP)
		return load_map_field(e, e->row->bits);
	if (e->fact->field)
		return load_field(e, e->row->bits);
	constant = load_constant(e, e->row->bits);
	if (constant)
		return constant;
	return load(e, sl_emit_address(e, e->insn->src_reg, base, e->insn->off), e->row->bits,
		base->kind);
}

void sl_emit_load(struct sl_emitter *e)
{
	sl_instrument_access(e, e->insn->src_reg);
	sl_emit_set(e, e->insn->dst_reg, load_any(e));
}

void sl_emit_load_signed(struct sl_emitter *e)
{
	LLVMValueRef value;

	sl_instrument_access(e, e->insn->src_reg);
	value = LLVMBuildSExt(e->builder, load_any(e), e->i64, "");
	sl_emit_set(e, e->insn->dst_reg, value);
}

void sl_emit_store(struct sl_emitter *e)
{
	const struct sl_reg_fact *base = &e->fact->base;
	LLVMValueRef value;

	sl_instrument_access(e, e->insn->dst_reg);
	value = sl_emit_source(e);
	if (e->fact->field)
		store_field(e, value);
	else
		store(e, value, sl_emit_address(e, e->insn->dst_reg, base, e->insn->off),
			base->kind);
}

/* Read-modify-write operations, by insn->imm without BPF_FETCH. */
static const struct {
	int32_t imm;
	LLVMAtomicRMWBinOp op;
} atomics[] = {
	{ BPF_ADD, LLVMAtomicRMWBinOpAdd },
	{ BPF_OR, LLVMAtomicRMWBinOpOr },
	{ BPF_AND, LLVMAtomicRMWBinOpAnd },
	{ BPF_XOR, LLVMAtomicRMWBinOpXor },
	{ BPF_XCHG & ~BPF_FETCH, LLVMAtomicRMWBinOpXchg },
};

static void emit_cmpxchg(struct sl_emitter *e, LLVMValueRef address)
{
	unsigned bits = e->row->bits;
	LLVMValueRef pair = LLVMBuildAtomicCmpXchg(e->builder, address,
		sl_emit_get_bits(e, BPF_REG_0, bits), sl_emit_get_bits(e, e->insn->src_reg, bits),
		LLVMAtomicOrderingSequentiallyConsistent, LLVMAtomicOrderingSequentiallyConsistent,
		false);

	sl_emit_tag(e, pair, e->fact->base.kind);
	sl_emit_set(e, BPF_REG_0, LLVMBuildExtractValue(e->builder, pair, 0, ""));
}

static void emit_load_acquire(struct sl_emitter *e)
{
	LLVMValueRef address, value;

	/* A map's own member. */
	if (e->fact->field) {
		sl_emit_set(e, e->insn->dst_reg, load_any(e));
		LLVMBuildFence(e->builder, LLVMAtomicOrderingAcquire, false, "");
		return;
	}
	address = sl_emit_address(e, e->insn->src_reg, &e->fact->base, e->insn->off);
	value = LLVMBuildLoad2(e->builder, sl_emit_type(e, e->row->bits), address, "");

	LLVMSetAlignment(value, e->row->bits / 8);
	LLVMSetOrdering(value, LLVMAtomicOrderingAcquire);
	sl_emit_tag(e, value, e->fact->base.kind);
	sl_emit_set(e, e->insn->dst_reg, value);
}

static void emit_store_release(struct sl_emitter *e, LLVMValueRef address)
{
	LLVMValueRef access = LLVMBuildStore(
		e->builder, sl_emit_get_bits(e, e->insn->src_reg, e->row->bits), address);

	LLVMSetAlignment(access, e->row->bits / 8);
	LLVMSetOrdering(access, LLVMAtomicOrderingRelease);
	sl_emit_tag(e, access, e->fact->base.kind);
}

/*
 * Operations that return the old value are full barriers, the others are relaxed: as Linux has it.
 * The verifier refuses operands that are not aligned to their size.
 */
void sl_emit_atomic(struct sl_emitter *e)
{
	bool fetch = e->insn->imm & BPF_FETCH;
	LLVMValueRef address, old;

	sl_instrument_access(e, e->insn->imm == LOAD_ACQUIRE ? e->insn->src_reg : e->insn->dst_reg);
	if (e->insn->imm == LOAD_ACQUIRE) {
		emit_load_acquire(e);
		return;
	}
	address = sl_emit_address(e, e->insn->dst_reg, &e->fact->base, e->insn->off);
	if (e->insn->imm == STORE_RELEASE) {
		emit_store_release(e, address);
		return;
	}
	if (e->insn->imm == BPF_CMPXCHG) {
		emit_cmpxchg(e, address);
		return;
	}
	for (unsigned i = 0; i < sl_array_size(atomics); i++) {
		if (atomics[i].imm != (e->insn->imm & ~BPF_FETCH))
			continue;
		old = LLVMBuildAtomicRMW(e->builder, atomics[i].op, address,
			sl_emit_get_bits(e, e->insn->src_reg, e->row->bits),
			fetch ? LLVMAtomicOrderingSequentiallyConsistent
			      : LLVMAtomicOrderingMonotonic,
			false);
		sl_emit_tag(e, old, e->fact->base.kind);
		if (fetch)
			sl_emit_set(e, e->insn->src_reg, old);
		return;
	}
	sl_emit_fail(e, "unknown atomic operation");
}

void sl_emit_load_imm64(struct sl_emitter *e)
{
	const struct bpf_insn *insn = e->insn;
	LLVMValueRef value;
	int func;

	switch (insn->src_reg) {
	case 0:
		value = sl_emit_const(e, (uint32_t)insn->imm | (uint64_t)insn[1].imm << 32);
		break;
	case BPF_PSEUDO_MAP_FD:
	case BPF_PSEUDO_MAP_IDX:
		value = sl_emit_const(e, (uintptr_t)e->unit->maps[e->fact->map]);
		break;
	case BPF_PSEUDO_FUNC:
		func = sl_emit_func_at(e, (int64_t)e->pc + 1 + insn->imm);
		if (func < 0) {
			sl_emit_fail(e, "callback is not a function");
			return;
		}
		value = LLVMBuildPtrToInt(e->builder,
			e->unit == e->units && !func ? e->main_callback : e->unit->funcs[func],
			e->i64, "");
		break;
	default:
		value = sl_emit_const(e, e->fact->imm);
	}
	sl_instrument_value(e);
	sl_emit_set(e, insn->dst_reg, value);
}
