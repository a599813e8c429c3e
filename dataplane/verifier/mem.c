#include "env.h"

#include <errno.h>
#include <inttypes.h>

#include "conn.h"
#include "field.h"
#include "map.h"
#include "local_type.h"
#include "prog.h"
#include "prog_type.h"
#include "sock.h"

/* Loads, stores and helpers' reads and writes, by the kind of memory that a pointer points to. */

static unsigned size_of(uint8_t code)
{
	switch (BPF_SIZE(code)) {
	case BPF_B:
		return 1;
	case BPF_H:
		return 2;
	case BPF_W:
		return 4;
	default:
		return 8;
	}
}

/* [off, off + size) lies in a region of `limit` bytes. */
static int check_range(struct sl_env *env, unsigned regno, int64_t off, uint32_t size,
	uint32_t limit, bool zero_allowed)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);

	if (off >= 0 && (size || zero_allowed) && (uint64_t)off + size <= limit)
		return 0;
	switch (reg->type) {
	case SL_REG_MAP_KEY:
		sl_say(env, "invalid access to map key, key_size=%u off=%d size=%u\n", limit,
			(int)off, size);
		break;
	case SL_REG_MAP_VALUE:
		sl_say(env, "invalid access to map value, value_size=%u off=%d size=%u\n", limit,
			(int)off, size);
		break;
	case SL_REG_PACKET:
	case SL_REG_PACKET_META:
		sl_say(env, "invalid access to packet, off=%d size=%u, R%u(id=%u,off=%d,r=%u)\n",
			(int)off, size, regno, reg->id, (int)off, limit);
		break;
	default:
		sl_say(env, "invalid access to memory, mem_size=%u off=%d size=%u\n", limit,
			(int)off, size);
	}
	return -EACCES;
}

/* Same with a variable offset: both its ends have to fit. */
static int check_region(struct sl_env *env, unsigned regno, int32_t off, uint32_t size,
	uint32_t limit, bool zero_allowed)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	int err;

	if (reg->smin < 0 &&
		(reg->smin == INT64_MIN || off + reg->smin != (int32_t)(off + reg->smin) ||
			reg->smin + off < 0)) {
		sl_say(env,
			"R%u min value is negative, either use unsigned index or do a if (index >=0) "
			"check.\n",
			regno);
		return -EACCES;
	}
	err = check_range(env, regno, reg->smin + off, size, limit, zero_allowed);
	if (err) {
		sl_say(env, "R%u min value is outside of the allowed memory range\n", regno);
		return err;
	}
	if (reg->umax >= SL_MAX_VAR_OFF) {
		sl_say(env,
			"R%u unbounded memory access, make sure to bounds check any such access\n",
			regno);
		return -EACCES;
	}
	err = check_range(env, regno, (int64_t)reg->umax + off, size, limit, zero_allowed);
	if (err)
		sl_say(env, "R%u max value is outside of the allowed memory range\n", regno);
	return err;
}

static int check_packet(
	struct sl_env *env, unsigned regno, int32_t off, uint32_t size, bool zero_allowed)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	int err;

	if (reg->smin < 0) {
		sl_say(env,
			"R%u min value is negative, either use unsigned index or do a if (index >=0) "
			"check.\n",
			regno);
		return -EACCES;
	}
	err = (int32_t)reg->range < 0
		      ? -EINVAL
		      : check_range(env, regno, off, size, reg->range, zero_allowed);
	if (err)
		sl_say(env, "R%u offset is outside of the packet\n", regno);
	return err;
}

static int check_map_value(struct sl_env *env, unsigned regno, int32_t off, uint32_t size,
	enum sl_access access, bool zero_allowed, const struct sl_special_field **ret_kptr)
{
	const struct sl_map_desc *desc = &sl_env_reg(env, regno)->map->desc;
	int err;

	if ((access == SL_WRITE && (desc->flags & BPF_F_RDONLY_PROG)) ||
		(access == SL_READ && (desc->flags & BPF_F_WRONLY_PROG))) {
		sl_say(env, "%s map forbidden, value_size=%u off=%d size=%u\n",
			access == SL_WRITE ? "write into" : "read from", desc->value_size, off,
			size);
		return -EACCES;
	}
	err = check_region(env, regno, off, size, desc->value_size, zero_allowed);
	return err ? err
		   : sl_check_special_fields(env, sl_env_reg(env, regno), off, size, ret_kptr);
}

/* The context, the map itself: usable only at offset 0. */
int sl_check_plain_pointer(struct sl_env *env, const struct sl_reg *reg, unsigned regno)
{
	const char *name = sl_reg_type_name(reg);
	char tnum[64];

	/* Nothing is known of what was never written, or is gone with a call. */
	if (reg->type == SL_REG_NOT_INIT) {
		sl_say(env, "variable %s access var_off=(0x0; 0xffffffffffffffff) disallowed\n",
			name);
		return -EACCES;
	}
	if (reg->off < 0) {
		sl_say(env, "negative offset %s ptr R%u off=%d disallowed\n", name, regno,
			reg->off);
		return -EACCES;
	}
	if (reg->off) {
		sl_say(env, "dereference of modified %s ptr R%u off=%d disallowed\n", name, regno,
			reg->off);
		return -EACCES;
	}
	if (!sl_tnum_is_const(reg->var_off) || reg->var_off.value) {
		sl_print_tnum(tnum, sizeof(tnum), reg->var_off);
		sl_say(env, "variable %s access var_off=%s disallowed\n", name, tnum);
		return -EACCES;
	}
	return 0;
}

static bool may_have_offset(const struct sl_reg *reg)
{
	if (sl_reg_maybe_null(reg))
		return false;
	switch (reg->type) {
	case SL_REG_SCALAR:
	case SL_REG_STACK:
	case SL_REG_PACKET:
	case SL_REG_PACKET_META:
	case SL_REG_MAP_KEY:
	case SL_REG_MAP_VALUE:
	case SL_REG_MEM:
		return true;
	default:
		return false;
	}
}

int sl_check_argument_offset(struct sl_env *env, unsigned regno)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);

	if (reg->type == SL_REG_OBJECT && !(reg->flags & SL_REG_OR_NULL))
		return sl_object_check_offset(env, regno);
	return may_have_offset(reg) ? 0 : sl_check_plain_pointer(env, reg, regno);
}

static void load_field(struct sl_env *env, const struct sl_field *field, unsigned regno)
{
	static const uint8_t reg_types[] = {
		[SL_FIELD_PACKET] = SL_REG_PACKET,
		[SL_FIELD_PACKET_END] = SL_REG_PACKET_END,
		[SL_FIELD_PACKET_META] = SL_REG_PACKET_META,
		[SL_FIELD_SOCKET] = SL_REG_SOCK_COMMON,
	};
	struct sl_reg *reg = sl_env_reg(env, regno);

	if (field->kind < sl_array_size(reg_types) && reg_types[field->kind])
		sl_reg_set_pointer(reg, reg_types[field->kind]);
	else
		sl_reg_set_unknown(reg);
	if (field->kind == SL_FIELD_SOCKET) {
		reg->flags |= SL_REG_OR_NULL;
		reg->id = ++env->next_id;
	}
}

static int check_ctx(struct sl_env *env, unsigned regno, int32_t off, unsigned size,
	enum sl_access access, int value_regno, bool sign_extend)
{
	struct sl_insn_fact *fact = &env->facts->insns[env->insn];
	const struct sl_field *field = NULL;
	int err = sl_check_plain_pointer(env, sl_env_reg(env, regno), regno);

	if (err)
		return err;
	err = off < 0 ? -EACCES
		      : sl_field_access(env->prog->rules_type, env->prog->rules_attach_type, off,
				size, access == SL_WRITE, sign_extend, &field);
	/* Only flow dissectors have flow keys. */
	if (!err && field->kind == SL_FIELD_FLOW_KEYS)
		err = -EACCES;
	if (err) {
		sl_say(env, "invalid bpf_context access off=%d size=%u\n", off, size);
		return -EACCES;
	}
	fact->field = field;
	if (access == SL_WRITE)
		env->facts->writes_ctx = true;
	else if (value_regno >= 0)
		load_field(env, field, value_regno);
	return 0;
}

static int misaligned(struct sl_env *env, const struct sl_reg *reg, int32_t off, unsigned size,
	const char *what, bool packet)
{
	char tnum[64];

	sl_print_tnum(tnum, sizeof(tnum), reg->var_off);
	if (packet)
		sl_say(env, "misaligned packet access off %d+%s+%d+%d size %u\n", 2, tnum, reg->off,
			off, size);
	else
		sl_say(env, "misaligned %saccess off %s+%d+%d size %u\n", what, tnum, reg->off, off,
			size);
	return -EACCES;
}

static int check_alignment(
	struct sl_env *env, const struct sl_reg *reg, int32_t off, unsigned size, bool strict)
{
	static const char *const names[SL_REG_TYPES] = {
		[SL_REG_MAP_KEY] = "key ",
		[SL_REG_MAP_VALUE] = "value ",
		[SL_REG_CTX] = "context ",
		[SL_REG_STACK] = "stack ",
		[SL_REG_SOCKET] = "sock ",
		[SL_REG_SOCK_COMMON] = "sock_common ",
		[SL_REG_TCP_SOCK] = "tcp_sock ",
		[SL_REG_XDP_SOCK] = "xdp_sock ",
	};
	bool packet = sl_reg_is_packet(reg);
	const char *name = "";
	int64_t fixed = (int64_t)reg->off + off + (packet ? 2 : 0);

	/* Spills are tracked by slot: stack accesses are aligned on every machine. */
	strict |= env->strict_alignment || reg->type == SL_REG_STACK;
	if (!strict || size == 1 ||
		sl_tnum_is_aligned(sl_tnum_add(reg->var_off, sl_tnum_const(fixed)), size))
		return 0;
	if (names[reg->type] && !sl_reg_maybe_null(reg))
		name = names[reg->type];
	return misaligned(env, reg, off, size, name, packet);
}

static void load_map_value(struct sl_env *env, const struct sl_reg *pointer, int32_t off,
	unsigned size, int value_regno)
{
	struct sl_reg *value = sl_env_reg(env, value_regno);
	const struct sl_map *map = pointer->map;
	uint64_t number;

	if (sl_tnum_is_const(pointer->var_off) && sl_map_is_constant(map) &&
		sl_map_read_constant(map, off + (int32_t)pointer->var_off.value, size, &number) ==
			0)
		sl_reg_set_const(value, number);
	else
		sl_reg_set_unknown(value);
}

static int check_kind(struct sl_env *env, unsigned regno, int32_t off, unsigned size,
	enum sl_access access, int value_regno, bool sign_extend)
{
	struct sl_reg pointer = *sl_env_reg(env, regno);
	bool loads = access == SL_READ && value_regno >= 0;
	const struct sl_special_field *kptr = NULL;
	int err;

	if (sl_reg_maybe_null(&pointer))
		goto invalid;
	switch (pointer.type) {
	case SL_REG_STACK:
		return access == SL_READ ? sl_stack_load(env, regno, off, size, value_regno)
					 : sl_stack_store(env, regno, off, size, value_regno);
	case SL_REG_CTX:
		return check_ctx(env, regno, off, size, access, value_regno, sign_extend);
	case SL_REG_MAP_VALUE:
		err = check_map_value(env, regno, off, size, access, false, &kptr);
		if (!err && kptr)
			return sl_kptr_check_access(env, &pointer, kptr, value_regno);
		if (!err && loads)
			load_map_value(env, &pointer, off, size, value_regno);
		return err;
	case SL_REG_MAP_KEY:
		if (access == SL_WRITE) {
			sl_say(env, "write to change key R%u not allowed\n", regno);
			return -EACCES;
		}
		err = check_region(env, regno, off, size, pointer.map->desc.key_size, false);
		break;
	case SL_REG_MEM:
		if (access == SL_WRITE && (pointer.flags & SL_REG_RDONLY)) {
			sl_say(env, "R%u cannot write into %s\n", regno,
				sl_reg_type_name(&pointer));
			return -EACCES;
		}
		err = check_region(env, regno, off, size, pointer.mem_size, false);
		if (!err && access == SL_WRITE)
			err = sl_slice_written(env, &pointer);
		break;
	case SL_REG_PACKET:
	case SL_REG_PACKET_META:
		if (access == SL_WRITE && !env->type->packet_writable) {
			sl_say(env, "cannot write into packet\n");
			return -EACCES;
		}
		err = check_packet(env, regno, off, size, false);
		break;
	case SL_REG_CONST_MAP:
		err = sl_map_check_field(env, regno, off, size, access, loads);
		break;
	case SL_REG_OBJECT:
		err = sl_object_check_access(env, regno, off, size);
		break;
	case SL_REG_CONN:
		err = sl_conn_check_access(env, regno, off, size, access);
		break;
	case SL_REG_SOCKET:
	case SL_REG_SOCK_COMMON:
	case SL_REG_TCP_SOCK:
	case SL_REG_XDP_SOCK:
		err = sl_check_sock(env, regno, off, size, access);
		break;
	default:
		goto invalid;
	}
	if (!err && loads)
		sl_mark_unknown(env, value_regno);
	return err;
invalid:
	sl_say(env, "R%u invalid mem access '%s'\n", regno, sl_reg_type_name(&pointer));
	return -EACCES;
}

int sl_check_mem(struct sl_env *env, unsigned regno, int32_t off, unsigned size,
	enum sl_access access, int value_regno, bool sign_extend, bool strict)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	struct sl_reg *value;
	int err = check_alignment(env, reg, off, size, strict);

	if (!err)
		err = check_kind(
			env, regno, off + reg->off, size, access, value_regno, sign_extend);
	if (err || access == SL_WRITE || value_regno < 0 || size == 8)
		return err;
	value = sl_env_reg(env, value_regno);
	if (value->type != SL_REG_SCALAR)
		return 0;
	if (sign_extend)
		sl_reg_coerce_sext(value, size, false);
	else
		sl_reg_coerce_zext(value, size);
	return 0;
}

/* Memory that a helper reads or writes on the program's behalf. */
int sl_check_helper_mem(struct sl_env *env, unsigned regno, uint32_t size, enum sl_access access,
	bool zero_allowed, struct sl_call_meta *meta)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	int err;

	if (!sl_reg_maybe_null(reg) || (meta && meta->or_null)) {
		switch (reg->type) {
		case SL_REG_PACKET:
		case SL_REG_PACKET_META:
			return check_packet(env, regno, reg->off, size, zero_allowed);
		case SL_REG_MAP_VALUE:
			return check_map_value(
				env, regno, reg->off, size, access, zero_allowed, NULL);
		case SL_REG_MAP_KEY:
		case SL_REG_MEM:
			if (access == SL_WRITE &&
				(reg->type == SL_REG_MAP_KEY || (reg->flags & SL_REG_RDONLY))) {
				sl_say(env, "R%u cannot write into %s\n", regno,
					sl_reg_type_name(reg));
				return -EACCES;
			}
			err = check_region(env, regno, reg->off, size,
				reg->type == SL_REG_MEM ? reg->mem_size : reg->map->desc.key_size,
				zero_allowed);
			return err || access == SL_READ ? err : sl_slice_written(env, reg);
		case SL_REG_OBJECT:
			return sl_object_check_access(env, regno, reg->off, size);
		case SL_REG_STACK:
			return sl_stack_helper(
				env, regno, reg->off, size, access, zero_allowed, meta);
		}
	}
	if (zero_allowed && !size && sl_reg_is_zero(reg))
		return sl_mark_precise(env, regno);
	sl_say(env, "R%u type=%s expected=fp\n", regno, sl_reg_type_name(reg));
	return -EACCES;
}

static bool has_own_accesses(uint8_t type)
{
	return type == SL_REG_CTX || type == SL_REG_CONST_MAP || type == SL_REG_CONN ||
	       (type >= SL_REG_SOCKET && type <= SL_REG_XDP_SOCK);
}

/* One address register of an instruction may not point to the context here and elsewhere there. */
static int check_one_kind(struct sl_env *env, uint8_t type)
{
	uint8_t *seen = &env->pointer_kinds[env->insn];

	if (*seen && *seen != type && (has_own_accesses(*seen) || has_own_accesses(type))) {
		sl_say(env, "same insn cannot be used with different pointers\n");
		return -EINVAL;
	}
	*seen = type;
	return 0;
}

/* No atomic operations on what another instruction than this one may stand for. */
static int refuse_atomic(
	struct sl_env *env, const struct sl_reg *pointer, const char *what, unsigned regno)
{
	if (pointer->type != SL_REG_CTX && !sl_reg_is_packet(pointer) && !sl_reg_is_sock(pointer))
		return 0;
	sl_say(env, "BPF_ATOMIC %s R%u %s is not allowed\n", what, regno,
		sl_reg_type_name(pointer));
	return -EACCES;
}

static int check_fetch(struct sl_env *env, const struct bpf_insn *insn, int load_reg, unsigned size)
{
	/*
	 * The old value may not replace the address: what is written would be looked up where a
	 * spilled pointer leads.
	 */
	if (load_reg == insn->dst_reg)
		sl_mark_unknown(env, load_reg);
	return sl_check_mem(env, insn->dst_reg, insn->off, size, SL_READ, load_reg, false, true);
}

static int check_atomic(struct sl_env *env, const struct bpf_insn *insn)
{
	unsigned size = size_of(insn->code);
	struct sl_reg pointer;
	int load_reg = -1, err;

	if (insn->imm == SL_BPF_LOAD_ACQ) {
		pointer = *sl_env_reg(env, insn->src_reg);
		err = sl_check_mem(
			env, insn->src_reg, insn->off, size, SL_READ, insn->dst_reg, false, true);
		return err ? err : refuse_atomic(env, &pointer, "loads from", insn->src_reg);
	}
	pointer = *sl_env_reg(env, insn->dst_reg);
	if (insn->imm == SL_BPF_STORE_REL) {
		err = sl_check_mem(
			env, insn->dst_reg, insn->off, size, SL_WRITE, insn->src_reg, false, true);
		return err ? err : refuse_atomic(env, &pointer, "stores into", insn->dst_reg);
	}
	err = refuse_atomic(env, &pointer, "stores into", insn->dst_reg);
	if (!err && (insn->imm & BPF_FETCH)) {
		load_reg = insn->imm == BPF_CMPXCHG ? BPF_REG_0 : insn->src_reg;
		err = sl_check_write(env, load_reg);
	}
	if (!err)
		err = sl_check_mem(env, insn->dst_reg, insn->off, size, SL_READ, -1, false, true);
	if (!err && load_reg >= 0)
		err = check_fetch(env, insn, load_reg, size);
	if (err)
		return err;
	return sl_check_mem(env, insn->dst_reg, insn->off, size, SL_WRITE, -1, false, true);
}

static int check_operands(struct sl_env *env, const struct bpf_insn *insn, bool is_load)
{
	bool is_atomic = BPF_CLASS(insn->code) == BPF_STX && BPF_MODE(insn->code) == BPF_ATOMIC;
	int err = 0;

	if (BPF_CLASS(insn->code) != BPF_ST && !(is_atomic && is_load))
		err = sl_check_read(env, insn->src_reg);
	if (!err && is_atomic && is_load)
		err = sl_check_read(env, insn->src_reg);
	if (!err)
		err = is_load ? sl_check_write(env, insn->dst_reg)
			      : sl_check_read(env, insn->dst_reg);
	if (!err && is_atomic && insn->imm == BPF_CMPXCHG)
		err = sl_check_read(env, BPF_REG_0);
	return err;
}

static int check_access(struct sl_env *env, const struct bpf_insn *insn, bool is_atomic,
	bool is_load, unsigned base)
{
	if (is_atomic)
		return check_atomic(env, insn);
	if (is_load)
		return sl_check_mem(env, base, insn->off, size_of(insn->code), SL_READ,
			insn->dst_reg, BPF_MODE(insn->code) == SL_BPF_MEMSX, false);
	return sl_check_mem(env, base, insn->off, size_of(insn->code), SL_WRITE,
		BPF_CLASS(insn->code) == BPF_STX ? insn->src_reg : -1, false, false);
}

int sl_check_load_store(struct sl_env *env, const struct bpf_insn *insn)
{
	uint8_t class = BPF_CLASS(insn->code), type;
	bool is_atomic = class == BPF_STX && BPF_MODE(insn->code) == BPF_ATOMIC;
	bool is_load = class == BPF_LDX || (is_atomic && insn->imm == SL_BPF_LOAD_ACQ);
	unsigned base = is_load ? insn->src_reg : insn->dst_reg;
	int err = check_operands(env, insn, is_load);

	if (err)
		return err;
	/* The access may overwrite its own address. */
	type = sl_env_reg(env, base)->type;
	sl_facts_note_base(env, base);
	err = check_access(env, insn, is_atomic, is_load, base);
	return err ? err : check_one_kind(env, type);
}
