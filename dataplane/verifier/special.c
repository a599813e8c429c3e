#include "env.h"

#include <errno.h>

#include "btf_record.h"
#include "map.h"

/* Map values with fields that are not the program's: who may touch them. */

/* The kernel lets programs load and clear such a pointer as a whole; here it points to nothing. */
static void refuse_pointer(struct sl_env *env, const struct sl_special_field *field,
	const struct sl_reg *reg, int32_t off, uint32_t size, bool by_helper)
{
	const char *name = field->type == SL_SPECIAL_UPTR ? "uptr" : "kptr";

	if (by_helper)
		sl_say(env, "%s cannot be accessed indirectly by helper\n", name);
	else if (!sl_tnum_is_const(reg->var_off))
		sl_say(env, "%s access cannot have variable offset\n", name);
	else if (field->offset != off + reg->var_off.value)
		sl_say(env, "%s access misaligned expected=%u off=%llu\n", name, field->offset,
			(unsigned long long)(off + reg->var_off.value));
	else if (size != sizeof(uint64_t))
		sl_say(env, "%s access size must be BPF_DW\n", name);
	else
		sl_say(env, "%s is not available: the data plane has no kernel objects\n", name);
}

/* A whole pointer to an object of the program's, which it may look at. */
static bool is_kptr(
	const struct sl_special_field *field, const struct sl_reg *reg, int32_t off, uint32_t size)
{
	return field->type == SL_SPECIAL_KPTR_REF && !field->is_kernel &&
	       sl_tnum_is_const(reg->var_off) &&
	       field->offset == (int64_t)off + (int64_t)reg->var_off.value &&
	       size == sizeof(uint64_t);
}

int sl_check_special_fields(struct sl_env *env, const struct sl_reg *reg, int32_t off,
	uint32_t size, const struct sl_special_field **ret_kptr)
{
	const struct sl_btf_record *record = reg->map->desc.record;

	for (uint32_t i = 0; record && i < record->count; i++) {
		const struct sl_special_field *field = &record->fields[i];

		/* Between the lowest and the highest place that the access may reach. */
		if (reg->smin + off >= (int64_t)field->offset + field->size ||
			field->offset >= reg->umax + (uint64_t)(int64_t)off + size)
			continue;
		if (ret_kptr && is_kptr(field, reg, off, size)) {
			*ret_kptr = field;
			return 0;
		}
		if (field->type & (SL_SPECIAL_KPTR | SL_SPECIAL_UPTR)) {
			refuse_pointer(env, field, reg, off, size, !ret_kptr);
			return -EACCES;
		}
		sl_say(env, "%s cannot be accessed directly by load/store\n",
			sl_special_name(field->type));
		return -EACCES;
	}
	return 0;
}

void sl_reg_not_null(struct sl_reg *reg)
{
	const struct sl_map *inner = reg->type == SL_REG_MAP_VALUE ? reg->map->inner : NULL;
	uint32_t timers = SL_SPECIAL_TIMER | SL_SPECIAL_WORKQUEUE | SL_SPECIAL_TASK_WORK;

	reg->flags &= ~SL_REG_OR_NULL;
	if (reg->type == SL_REG_MAP_VALUE && reg->map->desc.type == BPF_MAP_TYPE_XSKMAP)
		reg->type = SL_REG_XDP_SOCK;
	if (reg->type == SL_REG_MAP_VALUE && sl_map_holds_sockets(reg->map))
		reg->type = SL_REG_SOCKET;
	if (!inner)
		return;
	reg->type = SL_REG_CONST_MAP;
	reg->map = reg->map->inner;
	/* Which of the inner maps it is matters to what is started on their values. */
	if (sl_btf_record_has(inner->desc.record, timers))
		reg->map_uid = reg->id;
}

int sl_check_special_pointer(struct sl_env *env, unsigned regno, enum sl_special type)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	const struct sl_map *map = reg->map;
	const char *name = sl_special_name(type);
	int64_t off = reg->off + (int64_t)reg->var_off.value;
	const struct sl_special_field *field;

	if (!sl_tnum_is_const(reg->var_off)) {
		sl_say(env,
			"R%u doesn't have constant offset. %s has to be at the constant offset\n",
			regno, name);
		return -EINVAL;
	}
	if (!map->btf) {
		sl_say(env, "map '%s' has to have BTF in order to use %s\n", map->name, name);
		return -EINVAL;
	}
	if (!sl_btf_record_has(map->desc.record, type)) {
		sl_say(env, "map '%s' has no valid %s\n", map->name, name);
		return -EINVAL;
	}
	field = sl_btf_record_find(map->desc.record, type);
	if (off == field->offset)
		return 0;
	sl_say(env, "off %lld doesn't point to 'struct %s' that is at %u\n", (long long)off, name,
		field->offset);
	return -EINVAL;
}
