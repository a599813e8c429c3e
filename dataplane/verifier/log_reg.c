#include "conn.h"
#include "log.h"
#include "map.h"
#include "local_type.h"
#include "reg.h"

/* How a register reads in the log. Tools and people parse it, so it is the kernel's to the letter. */

static const char *const type_names[SL_REG_TYPES] = {
	[SL_REG_NOT_INIT] = "?",
	[SL_REG_SCALAR] = "scalar",
	[SL_REG_CTX] = "ctx",
	[SL_REG_CONST_MAP] = "map_ptr",
	[SL_REG_MAP_VALUE] = "map_value",
	[SL_REG_MAP_KEY] = "map_key",
	[SL_REG_STACK] = "fp",
	[SL_REG_PACKET_META] = "pkt_meta",
	[SL_REG_PACKET] = "pkt",
	[SL_REG_PACKET_END] = "pkt_end",
	[SL_REG_MEM] = "mem",
	[SL_REG_SOCKET] = "sock",
	[SL_REG_SOCK_COMMON] = "sock_common",
	[SL_REG_TCP_SOCK] = "tcp_sock",
	[SL_REG_XDP_SOCK] = "xdp_sock",
	[SL_REG_CONN] = "ptr",
	[SL_REG_FUNC] = "func",
	[SL_REG_OBJECT] = "ptr",
	[SL_REG_DYNPTR] = "dynptr_ptr",
};

/* Small numbers read best as decimals, masks and addresses do not. */
static bool reads_as_decimal(int64_t value)
{
	return value >= INT16_MIN && value <= INT16_MAX;
}

static void put_signed(struct sl_log *log, int64_t value)
{
	if (reads_as_decimal(value))
		sl_vlog(log, "%lld", (long long)value);
	else
		sl_vlog(log, "0x%llx", (unsigned long long)value);
}

static void put_unsigned(struct sl_log *log, uint64_t value)
{
	if (value <= UINT16_MAX)
		sl_vlog(log, "%llu", (unsigned long long)value);
	else
		sl_vlog(log, "0x%llx", (unsigned long long)value);
}

/* Hexadecimal numbers of the low half are printed without its sign extension. */
static uint64_t half_for_print(int32_t value)
{
	return reads_as_decimal(value) ? (uint64_t)(int64_t)value : (uint32_t)value;
}

struct bound {
	const char *name;
	uint64_t value;
	bool omit;
};

static bool is_negative(const struct bound *bound)
{
	return bound->name[0] == 's' && (int64_t)bound->value < 0;
}

/* Bounds with the same number share it: "smin=umin=umin32=1". */
static void put_ranges(struct sl_log *log, const struct sl_reg *reg, const char **separator)
{
	struct bound bounds[] = {
		{ "smin", (uint64_t)reg->smin, reg->smin == INT64_MIN },
		{ "smax", (uint64_t)reg->smax, reg->smax == INT64_MAX },
		{ "umin", reg->umin, reg->umin == 0 },
		{ "umax", reg->umax, reg->umax == UINT64_MAX },
		{ "smin32", half_for_print(reg->s32_min), reg->s32_min == INT32_MIN },
		{ "smax32", half_for_print(reg->s32_max), reg->s32_max == INT32_MAX },
		{ "umin32", reg->u32_min, reg->u32_min == 0 },
		{ "umax32", reg->u32_max, reg->u32_max == UINT32_MAX },
	};

	for (size_t i = 0; i < sl_array_size(bounds); i++) {
		if (bounds[i].omit)
			continue;
		sl_vlog(log, "%s%s=", *separator, bounds[i].name);
		*separator = ",";
		for (size_t j = i + 2; j < sl_array_size(bounds); j += 2) {
			if (bounds[j].omit || bounds[j].value != bounds[i].value ||
				is_negative(&bounds[j]) != is_negative(&bounds[i]))
				continue;
			bounds[j].omit = true;
			sl_vlog(log, "%s=", bounds[j].name);
		}
		if (bounds[i].name[0] == 's')
			put_signed(log, (int64_t)bounds[i].value);
		else
			put_unsigned(log, bounds[i].value);
	}
}

static void put_values(struct sl_log *log, const struct sl_reg *reg, const char *separator)
{
	if (sl_tnum_is_const(reg->var_off)) {
		if (reg->var_off.value) {
			sl_vlog(log, "%simm=", separator);
			put_signed(log, (int64_t)reg->var_off.value);
		}
		return;
	}
	put_ranges(log, reg, &separator);
	if (!sl_tnum_is_unknown(reg->var_off))
		sl_vlog(log, "%svar_off=(0x%llx; 0x%llx)", separator,
			(unsigned long long)reg->var_off.value,
			(unsigned long long)reg->var_off.mask);
}

static void put_attributes(struct sl_log *log, const struct sl_reg *reg)
{
	const char *separator = "";

	if (reg->id) {
		sl_vlog(log, "id=%u", reg->id & ~SL_ID_ADD_CONST);
		separator = ",";
	}
	if (reg->id & SL_ID_ADD_CONST)
		sl_vlog(log, "%+d", reg->off);
	if (reg->ref_id) {
		sl_vlog(log, "%sref_obj_id=%u", separator, reg->ref_id);
		separator = ",";
	}
	if (reg->flags & SL_REG_NON_OWNING) {
		sl_vlog(log, "%snon_own_ref", separator);
		separator = ",";
	}
	if (reg->map) {
		if (reg->map->name[0]) {
			sl_vlog(log, "%smap=%s", separator, reg->map->name);
			separator = ",";
		}
		sl_vlog(log, "%sks=%u,vs=%u", separator, reg->map->desc.key_size,
			reg->map->desc.value_size);
		separator = ",";
	}
	if (reg->type != SL_REG_SCALAR && reg->off) {
		sl_vlog(log, "%soff=", separator);
		put_signed(log, reg->off);
		separator = ",";
	}
	if (sl_reg_is_packet(reg)) {
		sl_vlog(log, "%sr=", separator);
		put_unsigned(log, (uint64_t)(int64_t)(int32_t)reg->range);
		separator = ",";
	}
	if (reg->type == SL_REG_MEM) {
		sl_vlog(log, "%ssz=", separator);
		put_unsigned(log, reg->mem_size);
		separator = ",";
	}
	put_values(log, reg, separator);
}

void sl_vlog_reg(struct sl_log *log, const struct sl_reg *reg, uint32_t frame)
{
	bool constant = sl_tnum_is_const(reg->var_off);

	if (reg->type == SL_REG_SCALAR && reg->precise)
		sl_vlog(log, "P");
	if (reg->type == SL_REG_SCALAR && constant) {
		put_signed(log, (int64_t)reg->var_off.value);
		return;
	}
	sl_vlog(log, "%s%s%s%s%s", reg->flags & SL_REG_RDONLY ? "rdonly_" : "",
		reg->flags & SL_REG_RINGBUF ? "ringbuf_" : "",
		reg->flags & SL_REG_RCU ? "rcu_" : "", type_names[reg->type],
		reg->flags & SL_REG_OR_NULL ? "_or_null" : "");
	if (reg->type == SL_REG_OBJECT)
		sl_vlog(log, "_%s", reg->object->name);
	if (reg->type == SL_REG_CONN)
		sl_vlog(log, "_%s", sl_conn_type_name(reg));
	if (reg->type == SL_REG_STACK) {
		if (reg->frame != frame)
			sl_vlog(log, "[%u]", reg->frame);
		if (constant) {
			put_signed(log, (int64_t)reg->var_off.value + reg->off);
			return;
		}
	}
	sl_vlog(log, "(");
	put_attributes(log, reg);
	sl_vlog(log, ")");
}
