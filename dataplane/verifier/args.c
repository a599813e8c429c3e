#include "env.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "btf_record.h"
#include "helper.h"
#include "local_type.h"
#include "map.h"
#include "prog.h"

/* Helpers' arguments against the prototype row: what kind a register must be, and its memory. */

#define TYPE(name) (1u << SL_REG_##name)
#define MEMORY_TYPES                                                                        \
	(TYPE(STACK) | TYPE(PACKET) | TYPE(PACKET_META) | TYPE(MAP_KEY) | TYPE(MAP_VALUE) | \
		TYPE(MEM))
#define SOCK_TYPES (TYPE(SOCKET) | TYPE(SOCK_COMMON) | TYPE(TCP_SOCK) | TYPE(XDP_SOCK))
#define DYNPTR_TYPES (TYPE(STACK) | TYPE(DYNPTR))

/* One row per kind of argument; a kind without one is not taken yet. */
struct arg_rule {
	uint32_t types; /* register types; 0: anything initialised */
	const char *expected; /* as the kernel lists them */
	bool or_null;
	bool writes; /* the memory is written */
	bool raw; /* and need not have been */
	int (*check)(struct sl_env *env, unsigned regno, unsigned arg, struct sl_call_meta *meta);
};

static const struct arg_rule *rule_of(enum sl_arg arg);

static int check_map(struct sl_env *env, unsigned regno, unsigned arg, struct sl_call_meta *meta)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);

	/* Behind a timer: the map that it is in. */
	if (meta->map && (meta->map != reg->map || meta->map_uid != reg->map_uid)) {
		sl_say(env,
			"timer pointer in R1 map_uid=%u doesn't match map pointer in R2 "
			"map_uid=%u\n",
			meta->map_uid, reg->map_uid);
		return -EINVAL;
	}
	meta->map = sl_env_reg(env, regno)->map;
	meta->map_uid = sl_env_reg(env, regno)->map_uid;
	return 0;
}

static bool may_lack_null(const struct sl_map *map)
{
	return map->desc.type == BPF_MAP_TYPE_ARRAY || map->desc.type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

static int check_key(struct sl_env *env, unsigned regno, unsigned arg, struct sl_call_meta *meta)
{
	int err;

	if (!meta->map) {
		sl_say(env, "invalid map_ptr to access map->key\n");
		return -EACCES;
	}
	err = sl_check_helper_mem(env, regno, meta->map->desc.key_size, SL_READ, false, NULL);
	if (err || !may_lack_null(meta->map))
		return err;
	return sl_stack_const_key(
		env, sl_env_reg(env, regno), meta->map->desc.key_size, &meta->const_key);
}

static int check_value(struct sl_env *env, unsigned regno, unsigned arg, struct sl_call_meta *meta)
{
	const struct arg_rule *rule = rule_of(meta->helper->args[arg]);
	bool writes = rule->writes;

	if (!meta->map) {
		sl_say(env, "invalid map_ptr to access map->value\n");
		return -EACCES;
	}
	/* The value that is asked for, not a place for one. */
	if (meta->helper->map_op == SL_MAP_OP_PEEK && meta->map->ops->lookup_reads_value)
		writes = false;
	meta->raw = writes && rule->raw;
	return sl_check_helper_mem(
		env, regno, meta->map->desc.value_size, writes ? SL_WRITE : SL_READ, false, meta);
}

static int check_fixed(struct sl_env *env, unsigned regno, unsigned arg, struct sl_call_meta *meta)
{
	const struct arg_rule *rule = rule_of(meta->helper->args[arg]);
	uint32_t size = meta->helper->fixed_size[arg];

	if (meta->helper->args[arg] == SL_ARG_LONG_PTR)
		size = 8;
	else if (meta->helper->args[arg] == SL_ARG_INT_PTR)
		size = 4;
	meta->raw = rule->raw;
	return sl_check_helper_mem(
		env, regno, size, rule->writes ? SL_WRITE : SL_READ, false, meta);
}

/* The memory is checked when its size, the next argument, is. */
static int check_memory(struct sl_env *env, unsigned regno, unsigned arg, struct sl_call_meta *meta)
{
	const struct arg_rule *rule = rule_of(meta->helper->args[arg]);

	meta->raw = rule->raw;
	meta->or_null = rule->or_null;
	return 0;
}

static int check_size(struct sl_env *env, unsigned regno, unsigned arg, struct sl_call_meta *meta)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	bool zero_allowed = meta->helper->args[arg] == SL_ARG_SIZE_OR_ZERO;
	const struct arg_rule *memory = rule_of(meta->helper->args[arg - 1]);
	int err;

	/* Memory that is filled only in part has to be initialised. */
	if (!sl_tnum_is_const(reg->var_off))
		meta->raw = false;
	if (reg->smin < 0) {
		sl_say(env, "R%u min value is negative, either use unsigned or 'var &= const'\n",
			regno);
		return -EACCES;
	}
	if (!reg->umin && !zero_allowed) {
		sl_say(env, "R%u invalid zero-sized read: u64=[%lld,%lld]\n", regno,
			(long long)reg->umin, (long long)reg->umax);
		return -EACCES;
	}
	if (reg->umax >= SL_MAX_VAR_SIZE) {
		sl_say(env,
			"R%u unbounded memory access, use 'var &= const' or 'if (var < const)'\n",
			regno);
		return -EACCES;
	}
	err = sl_check_helper_mem(env, regno - 1, (uint32_t)reg->umax,
		memory->writes ? SL_WRITE : SL_READ, zero_allowed, meta);
	if (err)
		return err;
	meta->exact_args |= 1u << arg;
	return sl_mark_precise(env, regno);
}

static int check_const(struct sl_env *env, unsigned regno, unsigned arg, struct sl_call_meta *meta)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);

	if (!sl_tnum_is_const(reg->var_off)) {
		sl_say(env, "R%u is not a known constant'\n", regno);
		return -EACCES;
	}
	meta->alloc_size = reg->var_off.value;
	meta->exact_args |= 1u << arg;
	return sl_mark_precise(env, regno);
}

static int check_release(
	struct sl_env *env, unsigned regno, unsigned arg, struct sl_call_meta *meta)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	bool record = meta->helper->args[arg] == SL_ARG_ALLOC_MEM;
	int err;

	if (record && !(reg->flags & SL_REG_RINGBUF)) {
		sl_say(env, "R%u type=%s expected=ringbuf_mem\n", regno, sl_reg_type_name(reg));
		return -EACCES;
	}
	if ((meta->helper->flags & SL_HELPER_RELEASES) && reg->off) {
		sl_say(env,
			"R%u must have zero offset when passed to release func or trusted arg to "
			"kfunc\n",
			regno);
		return -EINVAL;
	}
	err = sl_check_plain_pointer(env, reg, regno);
	if (err || !(meta->helper->flags & SL_HELPER_RELEASES))
		return err;
	if (!reg->ref_id) {
		sl_say(env, "R%u must be referenced when passed to release function\n", regno);
		return -EINVAL;
	}
	meta->ref_id = reg->ref_id;
	return 0;
}

static int check_sock(struct sl_env *env, unsigned regno, unsigned arg, struct sl_call_meta *meta)
{
	int err = check_release(env, regno, arg, meta);

	/* What is derived from it goes with it. */
	if (!err)
		meta->ref_id = sl_env_reg(env, regno)->ref_id;
	return err;
}

static int check_dynptr(struct sl_env *env, unsigned regno, unsigned arg, struct sl_call_meta *meta)
{
	return sl_dynptr_check_arg(env, regno, meta->helper->args[arg], meta);
}

static int check_string(struct sl_env *env, unsigned regno, unsigned arg, struct sl_call_meta *meta)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	int64_t off = reg->off + (int64_t)reg->var_off.value;
	uint64_t byte;

	if (!sl_map_is_constant(reg->map)) {
		sl_say(env, "R%u does not point to a readonly map'\n", regno);
		return -EACCES;
	}
	if (!sl_tnum_is_const(reg->var_off)) {
		sl_say(env, "R%u is not a constant address'\n", regno);
		return -EACCES;
	}
	for (int64_t i = off; i >= 0 && i < reg->map->desc.value_size; i++)
		if (sl_map_read_constant(reg->map, (uint32_t)i, 1, &byte) == 0 && !byte)
			return 0;
	sl_say(env, "string is not zero-terminated\n");
	return -EINVAL;
}

static int check_func(struct sl_env *env, unsigned regno, unsigned arg, struct sl_call_meta *meta)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);

	meta->func = reg->func;
	return sl_check_plain_pointer(env, reg, regno);
}

static int check_lock(struct sl_env *env, unsigned regno, unsigned arg, struct sl_call_meta *meta)
{
	return sl_check_lock_arg(env, regno, meta->helper->id == BPF_FUNC_spin_lock);
}

static int check_kptr_field(
	struct sl_env *env, unsigned regno, unsigned arg, struct sl_call_meta *meta)
{
	return sl_kptr_check_field(env, regno, meta);
}

static int check_kptr(struct sl_env *env, unsigned regno, unsigned arg, struct sl_call_meta *meta)
{
	return sl_kptr_check_value(env, regno, meta);
}

static int check_timer(struct sl_env *env, unsigned regno, unsigned arg, struct sl_call_meta *meta)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	int err = sl_check_special_pointer(env, regno, SL_SPECIAL_TIMER);

	if (err)
		return err;
	meta->map = reg->map;
	meta->map_uid = reg->map_uid;
	return 0;
}

#define MEMORY_NAMES "fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_"

static const struct arg_rule rules[] = {
	[SL_ARG_ANYTHING] = { .expected = "" },
	[SL_ARG_SCALAR] = { .types = TYPE(SCALAR), .expected = "scalar" },
	[SL_ARG_CTX] = { .types = TYPE(CTX), .expected = "ctx" },
	[SL_ARG_MAP] = { .types = TYPE(CONST_MAP), .expected = "map_ptr", .check = check_map },
	[SL_ARG_MAP_KEY] = { .types = MEMORY_TYPES, .expected = MEMORY_NAMES, .check = check_key },
	[SL_ARG_MAP_VALUE] = { .types = MEMORY_TYPES,
		.expected = MEMORY_NAMES,
		.check = check_value },
	[SL_ARG_MAP_VALUE_UNINIT] = { .types = MEMORY_TYPES,
		.expected = MEMORY_NAMES,
		.writes = true,
		.raw = true,
		.check = check_value },
	[SL_ARG_MEM] = { .types = MEMORY_TYPES, .expected = MEMORY_NAMES, .check = check_memory },
	[SL_ARG_MEM_WRITE] = { .types = MEMORY_TYPES,
		.expected = MEMORY_NAMES,
		.writes = true,
		.check = check_memory },
	[SL_ARG_MEM_OR_NULL] = { .types = MEMORY_TYPES,
		.expected = MEMORY_NAMES,
		.or_null = true,
		.check = check_memory },
	[SL_ARG_MEM_UNINIT] = { .types = MEMORY_TYPES,
		.expected = MEMORY_NAMES,
		.writes = true,
		.raw = true,
		.check = check_memory },
	[SL_ARG_MEM_UNINIT_OR_NULL] = { .types = MEMORY_TYPES,
		.expected = MEMORY_NAMES,
		.or_null = true,
		.writes = true,
		.raw = true,
		.check = check_memory },
	[SL_ARG_MEM_FIXED] = { .types = MEMORY_TYPES,
		.expected = MEMORY_NAMES,
		.check = check_fixed },
	[SL_ARG_MEM_FIXED_UNINIT] = { .types = MEMORY_TYPES,
		.expected = MEMORY_NAMES,
		.writes = true,
		.raw = true,
		.check = check_fixed },
	[SL_ARG_LONG_PTR] = { .types = MEMORY_TYPES,
		.expected = MEMORY_NAMES,
		.writes = true,
		.raw = true,
		.check = check_fixed },
	[SL_ARG_INT_PTR] = { .types = MEMORY_TYPES,
		.expected = MEMORY_NAMES,
		.writes = true,
		.check = check_fixed },
	[SL_ARG_SIZE] = { .types = TYPE(SCALAR), .expected = "scalar", .check = check_size },
	[SL_ARG_SIZE_OR_ZERO] = { .types = TYPE(SCALAR),
		.expected = "scalar",
		.check = check_size },
	[SL_ARG_CONST] = { .types = TYPE(SCALAR), .expected = "scalar", .check = check_const },
	[SL_ARG_ALLOC_MEM] = { .types = TYPE(MEM),
		.expected = "ringbuf_mem",
		.check = check_release },
	[SL_ARG_FUNC] = { .types = TYPE(FUNC), .expected = "func", .check = check_func },
	[SL_ARG_SPIN_LOCK] = { .types = TYPE(MAP_VALUE) | TYPE(OBJECT),
		.expected = "map_value, ptr_",
		.check = check_lock },
	[SL_ARG_KPTR_FIELD] = { .types = TYPE(MAP_VALUE) | TYPE(OBJECT),
		.expected = "map_value, ptr_",
		.check = check_kptr_field },
	[SL_ARG_KPTR] = { .types = TYPE(OBJECT),
		.expected = "ptr_, trusted_ptr_, rcu_ptr_",
		.or_null = true,
		.check = check_kptr },
	[SL_ARG_TIMER] = { .types = TYPE(MAP_VALUE),
		.expected = "map_value",
		.check = check_timer },
	[SL_ARG_STACK] = { .types = TYPE(STACK), .expected = "fp" },
	[SL_ARG_STACK_OR_NULL] = { .types = TYPE(STACK), .expected = "fp", .or_null = true },
	[SL_ARG_SOCK_COMMON] = { .types = SOCK_TYPES,
		.expected = "sock_common, sock, tcp_sock, xdp_sock",
		.check = check_sock },
	[SL_ARG_SOCK_OR_BTF] = { .types = SOCK_TYPES,
		.expected = "sock_common, sock, tcp_sock, xdp_sock, ptr_, trusted_ptr_",
		.check = check_sock },
	[SL_ARG_CONST_STR] = { .types = TYPE(MAP_VALUE),
		.expected = "map_value",
		.check = check_string },
	[SL_ARG_DYNPTR] = { .types = DYNPTR_TYPES,
		.expected = "fp, dynptr_ptr",
		.check = check_dynptr },
	[SL_ARG_DYNPTR_UNINIT] = { .types = DYNPTR_TYPES,
		.expected = "fp, dynptr_ptr",
		.check = check_dynptr },
	[SL_ARG_DYNPTR_RELEASE] = { .types = DYNPTR_TYPES,
		.expected = "fp, dynptr_ptr",
		.check = check_dynptr },
};

static const struct arg_rule *rule_of(enum sl_arg arg)
{
	return (unsigned)arg < sl_array_size(rules) && rules[arg].expected ? &rules[arg] : NULL;
}

static bool is_value(enum sl_arg arg)
{
	return arg == SL_ARG_MAP_VALUE || arg == SL_ARG_MAP_VALUE_UNINIT;
}

/* A value of a map of sockets is one of the verifier's, not bytes. */
static const struct arg_rule *rule_for(const struct sl_call_meta *meta, unsigned arg)
{
	enum sl_arg kind = meta->helper->args[arg];

	if (is_value(kind) && meta->map && sl_map_holds_sockets(meta->map))
		kind = SL_ARG_SOCK_OR_BTF;
	return rule_of(kind);
}

static int check_arg(struct sl_env *env, unsigned arg, struct sl_call_meta *meta)
{
	const struct arg_rule *rule = rule_for(meta, arg);
	unsigned regno = BPF_REG_1 + arg;
	const struct sl_reg *reg = sl_env_reg(env, regno);
	int err = sl_check_read(env, regno);

	if (err)
		return err;
	if (!rule) {
		sl_say(env, "unsupported arg_type %d\n", (int)meta->helper->args[arg]);
		return -EOPNOTSUPP;
	}
	if (!rule->types)
		return 0;
	if (meta->helper->args[arg] == SL_ARG_MAP_VALUE_UNINIT && meta->map &&
		sl_map_holds_sockets(meta->map)) {
		sl_say(env, "invalid arg_type for sockmap/sockhash\n");
		return -EINVAL;
	}
	if (sl_reg_is_packet(reg) && !(meta->helper->flags & SL_HELPER_PACKET_ARGS)) {
		sl_say(env, "helper access to the packet is not allowed\n");
		return -EACCES;
	}
	if (rule->or_null && sl_reg_is_zero(reg)) {
		/* A scalar that only happens to be 0 here must not stand for others. */
		meta->exact_args |= 1u << arg;
		err = sl_mark_precise(env, regno);
		return err || !rule->check ? err : rule->check(env, regno, arg, meta);
	}
	if (!(rule->types & 1u << reg->type) || (sl_reg_maybe_null(reg) && !rule->or_null) ||
		(reg->type == SL_REG_OBJECT && reg->flags & ~SL_REG_OR_NULL)) {
		sl_say(env, "R%u type=%s expected=%s\n", regno, sl_reg_type_name(reg),
			rule->expected);
		return -EACCES;
	}
	if (rule->types & (TYPE(CTX) | TYPE(CONST_MAP))) {
		err = sl_check_plain_pointer(env, reg, regno);
		if (err)
			return err;
	}
	return rule->check ? rule->check(env, regno, arg, meta) : 0;
}

int sl_check_args(struct sl_env *env, const struct sl_helper *helper, struct sl_call_meta *meta)
{
	*meta = (struct sl_call_meta){ .helper = helper, .const_key = -1 };
	for (unsigned i = 0; i < 5 && helper->args[i] != SL_ARG_NONE; i++) {
		int err = check_arg(env, i, meta);

		if (err)
			return err;
	}
	return 0;
}
