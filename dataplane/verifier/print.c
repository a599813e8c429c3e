#include "env.h"

#include <stdio.h>
#include <string.h>

#include <bpf/btf.h>

#include "btf.h"
#include "prog.h"
#include "stack_object.h"

/* States and source lines in the log, in the kernel's words. */

/* Where the comment after an instruction begins: this column, or further right by steps. */
#define COLUMN 40u
#define COLUMN_STEP 8u

const char *sl_reg_type_name(const struct sl_reg *reg)
{
	static const char *const names[SL_REG_TYPES][2] = {
		[SL_REG_NOT_INIT] = { "?", "?" },
		[SL_REG_SCALAR] = { "scalar", "scalar" },
		[SL_REG_CTX] = { "ctx", "ctx_or_null" },
		[SL_REG_CONST_MAP] = { "map_ptr", "map_ptr_or_null" },
		[SL_REG_MAP_VALUE] = { "map_value", "map_value_or_null" },
		[SL_REG_MAP_KEY] = { "map_key", "map_key_or_null" },
		[SL_REG_STACK] = { "fp", "fp_or_null" },
		[SL_REG_PACKET_META] = { "pkt_meta", "pkt_meta_or_null" },
		[SL_REG_PACKET] = { "pkt", "pkt_or_null" },
		[SL_REG_PACKET_END] = { "pkt_end", "pkt_end_or_null" },
		[SL_REG_MEM] = { "mem", "mem_or_null" },
		[SL_REG_SOCKET] = { "sock", "sock_or_null" },
		[SL_REG_SOCK_COMMON] = { "sock_common", "sock_common_or_null" },
		[SL_REG_TCP_SOCK] = { "tcp_sock", "tcp_sock_or_null" },
		[SL_REG_XDP_SOCK] = { "xdp_sock", "xdp_sock_or_null" },
		[SL_REG_CONN] = { "ptr_", "ptr_or_null_" },
		[SL_REG_FUNC] = { "func", "func_or_null" },
		[SL_REG_OBJECT] = { "ptr_", "ptr_or_null_" },
		[SL_REG_DYNPTR] = { "dynptr_ptr", "dynptr_ptr_or_null" },
	};

	if (reg->type == SL_REG_MEM && (reg->flags & SL_REG_RDONLY))
		return sl_reg_maybe_null(reg) ? "rdonly_mem_or_null" : "rdonly_mem";
	if (reg->flags & SL_REG_RINGBUF)
		return sl_reg_maybe_null(reg) ? "ringbuf_mem_or_null" : "ringbuf_mem";
	if (reg->type == SL_REG_OBJECT && (reg->flags & SL_REG_RCU))
		return sl_reg_maybe_null(reg) ? "rcu_ptr_or_null_" : "rcu_ptr_";
	return names[reg->type][sl_reg_maybe_null(reg)];
}

void sl_print_tnum(char *buf, size_t size, struct sl_tnum tnum)
{
	if (sl_tnum_is_const(tnum))
		snprintf(buf, size, tnum.value <= UINT16_MAX ? "%llu" : "0x%llx",
			(unsigned long long)tnum.value);
	else
		snprintf(buf, size, "(0x%llx; 0x%llx)", (unsigned long long)tnum.value,
			(unsigned long long)tnum.mask);
}

void sl_print_touch_all(struct sl_env *env)
{
	env->dirty_regs = UINT32_MAX;
	env->dirty_slots = UINT64_MAX;
}

/* Both slots hold the same; it reads as the one that pointers name. */
static void print_dynptr(struct sl_env *env, const struct sl_reg *reg, unsigned index)
{
	if (!(reg->flags & SL_REG_FIRST_SLOT))
		return;
	sl_say(env, " fp%d=dynptr_%s(", -(int)(index + 1) * 8, sl_dynptr_type_name(reg->dynptr));
	if (reg->id)
		sl_say(env, "id=%u", reg->id);
	if (reg->ref_id)
		sl_say(env, "%sref_id=%u", reg->id ? "," : "", reg->ref_id);
	if (reg->dynptr_id)
		sl_say(env, "%sdynptr_id=%u", reg->id || reg->ref_id ? "," : "", reg->dynptr_id);
	sl_say(env, ")");
}

static void print_slot(
	struct sl_env *env, const struct sl_slot *slot, unsigned index, uint32_t number)
{
	static const char letters[] = { '?', 'r', 'm', '0', 'd', 'i', 'f' };
	char types[9] = { 0 };
	bool is_spill = sl_slot_is_spill(slot), any = false;

	if (sl_stack_object_print(env, slot, index))
		return;
	if (slot->type[0] == SL_SLOT_DYNPTR) {
		print_dynptr(env, &slot->reg, index);
		return;
	}
	for (unsigned i = 0; i < 8; i++) {
		any |= slot->type[i] != SL_SLOT_INVALID;
		types[i] = letters[slot->type[i]];
		if (is_spill && slot->type[i] == SL_SLOT_SPILL) {
			types[i] = '\0';
			break;
		}
	}
	if (!any && !is_spill)
		return;
	sl_say(env, " fp%d=%s", -(int)(index + 1) * 8, types);
	if (is_spill)
		sl_vlog_reg(&env->log, &slot->reg, number);
}

void sl_print_state(struct sl_env *env, const struct sl_state *state, uint32_t number, bool all)
{
	const struct sl_frame *frame = state->frames[number];

	if (number)
		sl_say(env, " frame%u:", number);
	for (unsigned i = 0; i < MAX_BPF_REG; i++) {
		if (frame->regs[i].type == SL_REG_NOT_INIT ||
			(!all && !(env->dirty_regs & (1u << i))))
			continue;
		sl_say(env, " R%u=", i);
		sl_vlog_reg(&env->log, &frame->regs[i], number);
	}
	for (unsigned i = 0; i < frame->slot_count; i++)
		if (all || (env->dirty_slots & (1ULL << i)))
			print_slot(env, &frame->slots[i], i, number);
	for (uint32_t i = 0; i < state->ref_count; i++)
		sl_say(env, "%s%u", i ? "," : " refs=", state->refs[i].id);
	/* A lock is the last of them, since nothing is acquired while it is held. */
	if (state->lock_owner && state->lock_id)
		sl_say(env, "%s%u", state->ref_count ? "," : " refs=", state->lock_id);
	if (frame->in_callback)
		sl_say(env, " cb");
	if (frame->in_async)
		sl_say(env, " async_cb");
	sl_say(env, "\n");
	if (!all) {
		env->dirty_regs = 0;
		env->dirty_slots = 0;
	}
}

/* What the last instruction changed, after it on its line. */
void sl_print_changes(struct sl_env *env)
{
	uint32_t column;

	if (!env->log_level)
		return;
	if (env->prev_log_pos && env->prev_log_pos == env->log.end_pos) {
		sl_vlog_reset(&env->log, env->prev_log_pos - 1);
		column = sl_max(env->prev_insn_chars + COLUMN_STEP / 2, COLUMN);
		column = sl_round_up(column, COLUMN_STEP);
		sl_say(env, "%*c;", (int)(column - env->prev_insn_chars - 1), ' ');
	} else {
		sl_say(env, "%u:", env->insn);
	}
	sl_print_state(env, env->cur, env->cur->cur_frame, false);
}

/* Several records may name one line of the source: where statements share it. */
static bool same_line(const struct bpf_line_info *a, const struct bpf_line_info *b)
{
	return b && a->file_name_off == b->file_name_off && a->line_off == b->line_off &&
	       BPF_LINE_INFO_LINE_NUM(a->line_col) == BPF_LINE_INFO_LINE_NUM(b->line_col);
}

void sl_print_source(struct sl_env *env, uint32_t index)
{
	const struct sl_prog *prog = env->prog;
	const struct bpf_line_info *info = NULL;
	const char *line, *file, *slash;

	if (!env->log_level || !prog->btf || !prog->line_info_count)
		return;
	for (uint32_t low = 0, high = prog->line_info_count; low < high;) {
		uint32_t middle = (low + high) / 2;

		if (prog->line_info[middle].insn_off <= index) {
			info = &prog->line_info[middle];
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	if (!info || same_line(info, env->prev_line))
		return;
	env->prev_line = info;
	line = btf__str_by_offset(prog->btf->btf, info->line_off);
	file = btf__str_by_offset(prog->btf->btf, info->file_name_off);
	line = line ? line + strspn(line, " \t") : "";
	slash = file ? strrchr(file, '/') : NULL;
	sl_say(env, "; %s @ %s:%u\n", line,
		slash  ? slash + 1
		: file ? file
		       : "",
		BPF_LINE_INFO_LINE_NUM(info->line_col));
}
