#include "env.h"

#include <errno.h>
#include <string.h>

#include "caller.h"
#include "cpu.h"
#include "helper.h"
#include "kfunc_call.h"
#include "local_type.h"
#include "map.h"
#include "prog.h"

/* Calls: helpers by their rows, functions of the program by following them, tail calls. */

/* Map types that only some helpers take. */
static const struct {
	enum bpf_map_type type;
	uint16_t helpers[8];
} map_helpers[] = {
	{ BPF_MAP_TYPE_PROG_ARRAY, { BPF_FUNC_tail_call } },
	{ BPF_MAP_TYPE_PERF_EVENT_ARRAY,
		{ BPF_FUNC_perf_event_read, BPF_FUNC_perf_event_output, BPF_FUNC_skb_output,
			BPF_FUNC_perf_event_read_value, BPF_FUNC_xdp_output } },
	{ BPF_MAP_TYPE_RINGBUF,
		{ BPF_FUNC_ringbuf_output, BPF_FUNC_ringbuf_reserve, BPF_FUNC_ringbuf_query,
			BPF_FUNC_ringbuf_reserve_dynptr, BPF_FUNC_ringbuf_submit_dynptr,
			BPF_FUNC_ringbuf_discard_dynptr } },
	{ BPF_MAP_TYPE_USER_RINGBUF, { BPF_FUNC_user_ringbuf_drain } },
	{ BPF_MAP_TYPE_CGROUP_ARRAY,
		{ BPF_FUNC_skb_under_cgroup, BPF_FUNC_current_task_under_cgroup } },
	{ BPF_MAP_TYPE_SOCKMAP,
		{ BPF_FUNC_map_lookup_elem, BPF_FUNC_map_update_elem, BPF_FUNC_map_delete_elem } },
	{ BPF_MAP_TYPE_SOCKHASH,
		{ BPF_FUNC_map_lookup_elem, BPF_FUNC_map_update_elem, BPF_FUNC_map_delete_elem } },
	{ BPF_MAP_TYPE_STACK_TRACE, { BPF_FUNC_get_stackid } },
	{ BPF_MAP_TYPE_DEVMAP, { BPF_FUNC_redirect_map, BPF_FUNC_map_lookup_elem } },
	{ BPF_MAP_TYPE_DEVMAP_HASH, { BPF_FUNC_redirect_map, BPF_FUNC_map_lookup_elem } },
	{ BPF_MAP_TYPE_CPUMAP, { BPF_FUNC_redirect_map } },
	{ BPF_MAP_TYPE_XSKMAP, { BPF_FUNC_redirect_map, BPF_FUNC_map_lookup_elem } },
	{ BPF_MAP_TYPE_ARRAY_OF_MAPS, { BPF_FUNC_map_lookup_elem } },
	{ BPF_MAP_TYPE_HASH_OF_MAPS, { BPF_FUNC_map_lookup_elem } },
	{ BPF_MAP_TYPE_QUEUE,
		{ BPF_FUNC_map_peek_elem, BPF_FUNC_map_pop_elem, BPF_FUNC_map_push_elem } },
	{ BPF_MAP_TYPE_STACK,
		{ BPF_FUNC_map_peek_elem, BPF_FUNC_map_pop_elem, BPF_FUNC_map_push_elem } },
	{ BPF_MAP_TYPE_BLOOM_FILTER, { BPF_FUNC_map_peek_elem, BPF_FUNC_map_push_elem } },
};

static bool map_takes(uint32_t type, uint32_t helper_id)
{
	for (unsigned i = 0; i < sl_array_size(map_helpers); i++) {
		if (map_helpers[i].type != type)
			continue;
		for (unsigned k = 0; k < sl_array_size(map_helpers[i].helpers); k++)
			if (map_helpers[i].helpers[k] == helper_id)
				return true;
		return false;
	}
	return true;
}

static bool changes_map(uint32_t helper_id)
{
	return helper_id == BPF_FUNC_map_update_elem || helper_id == BPF_FUNC_map_delete_elem ||
	       helper_id == BPF_FUNC_map_push_elem || helper_id == BPF_FUNC_map_pop_elem;
}

static int check_map_type(
	struct sl_env *env, const struct sl_map *map, const struct sl_helper *helper)
{
	if (!map)
		return 0;
	if ((map->desc.flags & BPF_F_RDONLY_PROG) && changes_map(helper->id)) {
		sl_say(env, "write into map forbidden\n");
		return -EACCES;
	}
	if (map_takes(map->desc.type, helper->id) &&
		(!helper->map_types || helper->map_types >> map->desc.type & 1))
		return 0;
	sl_say(env, "cannot pass map_type %u into func %s#%u\n", map->desc.type, helper->name,
		helper->id);
	return -EINVAL;
}

bool sl_call_permitted(const struct sl_helper *helper, const struct sl_prog *prog)
{
	/* The kernel's CAP_PERFMON: what is read there may be another user's. */
	return sl_helper_allowed(helper, prog->rules_type) &&
	       (!(helper->flags & SL_HELPER_READS_ANYTHING) || sl_caller_is_privileged());
}

static int find_helper(
	struct sl_env *env, const struct bpf_insn *insn, const struct sl_helper **ret_helper)
{
	const struct sl_helper *helper =
		insn->imm >= 0 ? sl_helper_by_id((uint32_t)insn->imm) : NULL;

	if (insn->imm < 0 || insn->imm >= SL_HELPER_MAX_ID) {
		sl_say(env, "invalid func unknown#%d\n", insn->imm);
		return -EINVAL;
	}
	if (!helper || !sl_call_permitted(helper, env->prog)) {
		sl_say(env, "program of this type cannot use helper %s#%d\n",
			helper           ? helper->name
			: insn->imm == 0 ? "bpf_unspec"
					 : "unknown",
			insn->imm);
		return -EINVAL;
	}
	if ((helper->flags & SL_HELPER_GPL) && !env->prog->gpl_compatible) {
		sl_say(env,
			"cannot call GPL-restricted function from non-GPL compatible program\n");
		return -EINVAL;
	}
	if (helper->unavailable) {
		sl_say(env, "helper %s#%d is not available: %s\n", helper->name, insn->imm,
			helper->unavailable);
		return -EINVAL;
	}
	*ret_helper = helper;
	return 0;
}

static void clear_caller_saved(struct sl_env *env, struct sl_frame *frame)
{
	memset(&frame->regs[BPF_REG_0], 0, 6 * sizeof(struct sl_reg));
	env->dirty_regs |= 0x3f;
}

int sl_release(struct sl_env *env, uint32_t ref_id)
{
	if (!sl_state_del_ref(env->cur, ref_id))
		return -EINVAL;
	sl_state_for_each_reg(env->cur, reg, {
		if (reg->ref_id == ref_id)
			sl_reg_set_unknown(reg);
	});
	return 0;
}

/* Which of the arrays that differ in length it will be is not known. */
static bool may_be_shorter(const struct sl_map *map)
{
	return map->is_template &&
	       (map->desc.type != BPF_MAP_TYPE_ARRAY || (map->desc.flags & BPF_F_INNER_MAP));
}

/* What is found in a map of sockets may go, unless the program holds it. */
static bool acquires(const struct sl_helper *helper, const struct sl_call_meta *meta)
{
	return (helper->flags & SL_HELPER_ACQUIRES) ||
	       (helper->map_op == SL_MAP_OP_LOOKUP && sl_map_holds_sockets(meta->map));
}

static int set_result(
	struct sl_env *env, const struct sl_helper *helper, const struct sl_call_meta *meta)
{
	struct sl_reg *r0 = sl_env_reg(env, BPF_REG_0);
	bool or_null = true;

	switch (helper->ret) {
	case SL_RET_VOID:
		return 0;
	case SL_RET_INTEGER:
		sl_reg_set_unknown(r0);
		if (helper->id == BPF_FUNC_get_smp_processor_id) {
			r0->umax = r0->u32_max = sl_cpu_count() - 1;
			r0->smax = r0->s32_max = (int32_t)sl_cpu_count() - 1;
			r0->smin = r0->s32_min = 0;
			sl_reg_sync(r0);
		}
		return 0;
	case SL_RET_MAP_VALUE:
	case SL_RET_MAP_VALUE_OR_NULL:
		if (!meta->map)
			return -EINVAL;
		sl_reg_set_pointer(r0, SL_REG_MAP_VALUE);
		r0->map = (struct sl_map *)meta->map;
		r0->map_uid = meta->map_uid;
		or_null = helper->ret == SL_RET_MAP_VALUE_OR_NULL;
		if (helper->id == BPF_FUNC_map_lookup_elem && meta->const_key >= 0 &&
			meta->const_key < meta->map->desc.max_entries && !may_be_shorter(meta->map))
			or_null = false;
		break;
	case SL_RET_ALLOC_MEM_OR_NULL:
		sl_reg_set_pointer(r0, SL_REG_MEM);
		r0->mem_size = (uint32_t)meta->alloc_size;
		r0->flags |= SL_REG_RINGBUF;
		break;
	case SL_RET_KPTR_OR_NULL:
		sl_reg_set_pointer(r0, SL_REG_OBJECT);
		r0->object = sl_local_type_get(env, meta->root_btf, meta->root->type_id);
		if (!r0->object)
			return -ENOMEM;
		break;
	case SL_RET_DYNPTR_MEM_OR_NULL:
		sl_reg_set_pointer(r0, SL_REG_MEM);
		r0->mem_size = (uint32_t)meta->alloc_size;
		r0->dynptr_id = meta->dynptr_id;
		r0->ref_id = meta->dynptr_ref;
		break;
	case SL_RET_SOCKET_OR_NULL:
		sl_reg_set_pointer(r0, SL_REG_SOCKET);
		break;
	case SL_RET_SOCK_COMMON_OR_NULL:
		sl_reg_set_pointer(r0, SL_REG_SOCK_COMMON);
		break;
	case SL_RET_TCP_SOCK_OR_NULL:
		sl_reg_set_pointer(r0, SL_REG_TCP_SOCK);
		break;
	default:
		sl_say(env, "unknown return type %d of func %s#%u\n", (int)helper->ret,
			helper->name, helper->id);
		return -EINVAL;
	}
	if (!or_null && sl_reg_may_lock(r0))
		r0->id = ++env->next_id;
	if (or_null) {
		r0->flags |= SL_REG_OR_NULL;
		r0->id = ++env->next_id;
	}
	if (helper->flags & SL_HELPER_CASTS)
		r0->ref_id = meta->ref_id;
	if (acquires(helper, meta)) {
		r0->id = r0->ref_id = ++env->next_id;
		return sl_state_add_ref(env->cur, r0->ref_id, env->insn);
	}
	return 0;
}

/* A jump into another program ends this one; what it leaves behind is anyone's guess. */
static int check_tail_call(struct sl_env *env, struct sl_call_meta *meta)
{
	const struct sl_reg *index = sl_env_reg(env, BPF_REG_3);
	int err;

	if (meta->map->desc.type != BPF_MAP_TYPE_PROG_ARRAY) {
		sl_say(env, "expected prog array map for tail call");
		return -EINVAL;
	}
	err = sl_explore_check_leaks(env, "tail_call");
	if (!err && sl_reg_is_const(index)) {
		err = sl_mark_precise(env, BPF_REG_3);
		meta->exact_args |= 1u << 2;
	}
	return err;
}

static int release_argument(struct sl_env *env, const struct sl_call_meta *meta)
{
	int err = meta->releases_null ? 0
		  : meta->release_reg ? sl_dynptr_release(env, (unsigned)meta->release_reg)
		  : meta->ref_id      ? sl_release(env, meta->ref_id)
				      : -EINVAL;

	if (err)
		sl_say(env, "func %s#%u reference has not been acquired before\n",
			meta->helper->name, meta->helper->id);
	return err;
}

static int check_helper_call(struct sl_env *env, const struct bpf_insn *insn, uint32_t *ret_next)
{
	const struct sl_helper *helper = NULL;
	struct sl_call_meta meta;
	unsigned arg_count = 0;
	bool tail_call;
	int err = find_helper(env, insn, &helper);

	if (!err)
		err = sl_check_args(env, helper, &meta);
	if (!err)
		err = sl_dynptr_check_call(env, &meta);
	if (err)
		return err;
	tail_call = helper->id == BPF_FUNC_tail_call;
	if (tail_call) {
		err = check_tail_call(env, &meta);
		if (err)
			return err;
	}
	while (arg_count < 5 && helper->args[arg_count] != SL_ARG_NONE)
		arg_count++;
	err = sl_facts_note_call(env, helper, arg_count, meta.exact_args);
	if (err)
		return err;
	if (meta.raw_reg) {
		const struct sl_reg *reg = sl_env_reg(env, (unsigned)meta.raw_reg);

		sl_stack_clobber(
			env, sl_env_stack_of(env, reg), reg->frame, meta.raw_off, meta.raw_size);
	}
	if (helper->flags & SL_HELPER_RELEASES) {
		err = release_argument(env, &meta);
		if (err)
			return err;
	}
	err = sl_callback_call(env, &meta);
	if (err)
		return err;
	clear_caller_saved(env, sl_env_frame(env));
	err = set_result(env, helper, &meta);
	if (!err)
		err = check_map_type(env, meta.map, helper);
	if (!err && (helper->flags & SL_HELPER_CHANGES_PACKET))
		sl_state_forget_packet(env->cur);
	if (!err && tail_call)
		err = sl_explore_early_return(env, false, ret_next);
	return err;
}

static int check_local_call(struct sl_env *env, const struct bpf_insn *insn, uint32_t *ret_next)
{
	uint32_t target = env->insn + insn->imm + 1;
	int func = sl_cfg_func_at(env->cfg, target), err;
	struct sl_frame *caller = sl_env_frame(env), *callee;
	bool done = false;

	if (func < 0) {
		sl_say(env, "func at insn %u not found\n", target);
		return -EFAULT;
	}
	err = sl_facts_note_call(env, NULL, 5, 0);
	if (!err)
		err = sl_global_check_call(env, (uint32_t)func, &done);
	if (err)
		return err;
	if (done) {
		clear_caller_saved(env, caller);
		sl_mark_unknown(env, BPF_REG_0);
		return 0;
	}
	if (env->cur->cur_frame + 1 >= SL_MAX_FRAMES) {
		sl_say(env, "the call stack of %u frames is too deep\n", env->cur->cur_frame + 2);
		return -E2BIG;
	}
	callee = sl_state_enter(env->cur, (uint32_t)func, env->insn, ++env->next_instance);
	if (!callee)
		return -ENOMEM;
	memcpy(&callee->regs[BPF_REG_1], &caller->regs[BPF_REG_1], 5 * sizeof(struct sl_reg));
	clear_caller_saved(env, caller);
	sl_print_touch_all(env);
	if (env->log_level) {
		sl_say(env, "caller:\n");
		sl_print_state(env, env->cur, env->cur->cur_frame - 1, true);
		sl_say(env, "callee:\n");
		sl_print_state(env, env->cur, env->cur->cur_frame, true);
	}
	*ret_next = target;
	return 0;
}

int sl_check_call(struct sl_env *env, const struct bpf_insn *insn, uint32_t *ret_next)
{
	int err = sl_check_call_locked(env, insn);

	if (err)
		return err;
	if (sl_insn_is_local_call(insn))
		return check_local_call(env, insn, ret_next);
	if (sl_insn_is_helper_call(insn))
		return check_helper_call(env, insn, ret_next);
	return sl_check_kfunc_call(env, insn);
}
