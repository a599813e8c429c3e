#include <errno.h>

#include <bpf/btf.h>

#include "btf.h"
#include "cfg.h"
#include "log.h"
#include "prog.h"

/*
 * A packet load out of range and a tail call end the function they are in, and their callers get a
 * number: functions that have one must say that they return one.
 */

static bool returns_number(const struct btf *btf, uint32_t func_type_id)
{
	const struct btf_type *func = btf__type_by_id(btf, func_type_id);
	const struct btf_type *proto = func ? btf__type_by_id(btf, func->type) : NULL;
	const struct btf_type *type = proto ? btf__type_by_id(btf, proto->type) : NULL;

	while (type && (btf_is_mod(type) || btf_is_typedef(type)))
		type = btf__type_by_id(btf, type->type);
	if (!type)
		return false;
	if (btf_is_any_enum(type))
		return true;
	return btf_is_int(type) && type->size <= sizeof(uint64_t) &&
	       (type->size & (type->size - 1)) == 0 && !btf_int_offset(type) &&
	       btf_int_bits(type) == type->size * 8;
}

int sl_cfg_check_returns(const struct sl_cfg *cfg, struct sl_log *log)
{
	const struct sl_prog *prog = cfg->prog;

	for (uint32_t f = 1; f < cfg->func_count; f++) {
		const struct sl_cfg_func *func = &cfg->funcs[f];
		const char *what = func->has_ld_abs ? "LD_ABS" : "tail_call";

		if (!func->has_ld_abs && !func->has_tail_call)
			continue;
		if (f >= prog->func_info_count) {
			sl_vlog(log, "%s is not allowed in subprogs without BTF\n", what);
			return -EINVAL;
		}
		if (returns_number(prog->btf->btf, prog->func_info[f].type_id))
			continue;
		sl_vlog(log, "%s is only allowed in functions that return 'int'.\n", what);
		return -EINVAL;
	}
	return 0;
}
