#pragma once

#include "btf_record.h"
#include "cfg.h"
#include "facts.h"
#include "helper.h"
#include "log.h"
#include "state.h"
#include "verifier.h"

struct sl_prog;
struct sl_prog_type;
struct sl_sig;

/*
 * One verification: the program, the state being executed, and the states kept and still to do.
 * Everything here lives from sl_verify's begin to its end on one control thread.
 */

#define SL_MAX_INSNS_PROCESSED 1000000
#define SL_MAX_PENDING 8192
#define SL_MAX_VAR_OFF (1 << 29)
#define SL_MAX_VAR_SIZE (1 << 29)
#define SL_MAX_PACKET_OFF 0xffff
#define SL_MAX_USED_MAPS 64
#define SL_NO_INSN UINT32_MAX /* before the first instruction */

/* A packet pointer compared with the end and found at or beyond it: values of sl_reg.range. */
#define SL_AT_PACKET_END UINT32_MAX
#define SL_BEYOND_PACKET_END (UINT32_MAX - 1)

/* A branch that is still to be explored. */
struct sl_pending {
	struct sl_pending *next;
	struct sl_state *state;
	uint32_t insn, prev_insn;
	bool async; /* the beginning of a callback: nothing was executed before */
	uint64_t log_pos;
};

/* A state kept at a prune point. */
struct sl_kept {
	struct sl_kept *next, **link; /* link: evicted ones only, what points here */
	struct sl_state *state;
	uint32_t hits, misses;
	bool cleaned;
};

struct sl_id_pair {
	uint32_t old_id, new_id;
};

#define SL_ID_PAIRS ((MAX_BPF_REG + SL_STACK_SLOTS) * SL_MAX_FRAMES)

/* Registers and slots that backtracking is looking for, by frame. */
struct sl_backtrack {
	uint32_t frame;
	uint32_t regs[SL_MAX_FRAMES];
	uint64_t slots[SL_MAX_FRAMES];
};

/* What a call's arguments have told so far. */
struct sl_call_meta {
	struct sl_map *map;
	uint32_t map_uid;
	bool raw; /* the memory argument need not be initialised */
	bool or_null; /* it may be NULL, whatever its size: the helper looks */
	int raw_reg; /* stack memory that the helper fills: register, 0 for none */
	int32_t raw_off; /* from the frame pointer */
	uint32_t raw_size;
	int64_t const_key; /* array index known, or -1 */
	uint64_t alloc_size;
	uint32_t ref_id;
	bool releases_null; /* there is nothing to release */
	int release_reg;
	uint32_t func; /* the callback's number */
	uint32_t dynptr_id, dynptr_ref, dynptr_type; /* of the initialised dynptr argument */
	uint32_t exact_args; /* bit n: the scalar in R(n+1) is precise */
	const struct sl_helper *helper;
	/* The root of kernel functions on lists and trees, or the kptr, and its declaration's BTF. */
	const struct sl_special_field *root;
	const struct sl_btf *root_btf;
};

enum sl_access { SL_READ, SL_WRITE };

struct sl_env {
	struct sl_prog *prog;
	const struct sl_prog_type *type;
	struct sl_cfg *cfg;
	struct sl_facts *facts;
	uint32_t call_capacity;
	struct sl_local_type *objects; /* types of objects, each once */
	struct sl_sig *sigs; /* by function: what its declaration says */
	uint32_t extended_func; /* of prog->target, when prog is an extension */
	struct sl_log log;
	uint32_t log_level;

	struct sl_state *cur;
	uint32_t insn, prev_insn;
	struct sl_pending *pending;
	uint32_t pending_count;
	struct sl_kept **kept; /* lists, by instruction and call site */
	struct sl_kept *evicted; /* what paths that go on still need of those given up */
	struct sl_loop_visit **loops; /* by number of the loop: loops.c */
	uint8_t *pointer_kinds; /* by instruction: register type + 1 of the address, 0 unseen */
	int jump_entry; /* history entry of this instruction in cur, -1 none */

	uint32_t next_id, next_instance;
	uint32_t processed, jumps_processed, prev_processed, prev_jumps_processed;
	uint32_t states_per_insn, total_states, kept_count, peak_states;
	uint32_t evicted_count, backedge_count;
	uint32_t stack_bytes[SL_CFG_MAX_FUNCS + 1]; /* deepest access of each function */
	struct sl_fastcall *fastcall;
	bool uninit_read[SL_CFG_MAX_FUNCS + 1];
	bool strict_alignment;
	bool keep_all; /* a state wherever one may be kept */
	bool is_async[SL_CFG_MAX_FUNCS + 1]; /* functions that are called on their own */
	bool is_callback[SL_CFG_MAX_FUNCS + 1]; /* by a helper, from the frame that called it */
	uint32_t from_insn; /* where the log says that the path comes from */

	/* Printing: what changed since it was printed last. */
	uint32_t dirty_regs;
	uint64_t dirty_slots;
	uint64_t prev_log_pos;
	uint32_t prev_insn_chars;
	const struct bpf_line_info *prev_line;

	struct sl_backtrack back;
	struct sl_id_pair id_pairs[SL_ID_PAIRS];
	uint32_t id_pair_count, temporary_id;
	struct sl_reg fake[2];
};

#define sl_say(env, ...) sl_vlog(&(env)->log, __VA_ARGS__)

static inline struct sl_frame *sl_env_frame(const struct sl_env *env)
{
	return sl_state_frame(env->cur);
}

static inline struct sl_reg *sl_env_reg(const struct sl_env *env, unsigned regno)
{
	return &sl_env_frame(env)->regs[regno];
}

/* The frame that a stack pointer points into. */
static inline struct sl_frame *sl_env_stack_of(const struct sl_env *env, const struct sl_reg *reg)
{
	return env->cur->frames[reg->frame];
}

/* Registers of a frame that may be read from where the state stands. */
static inline uint16_t sl_state_live(
	const struct sl_env *env, const struct sl_state *state, uint32_t frame)
{
	uint32_t insn =
		frame == state->cur_frame ? state->insn : state->frames[frame + 1]->callsite;

	return env->cfg->insns[insn].live_in;
}

static inline bool sl_reg_maybe_null(const struct sl_reg *reg)
{
	return reg->flags & SL_REG_OR_NULL;
}

static inline bool sl_reg_is_zero(const struct sl_reg *reg)
{
	return sl_reg_is_const(reg) && reg->var_off.value == 0;
}

/* print.c: registers and states in the log. */
const char *sl_reg_type_name(const struct sl_reg *reg);
void sl_print_tnum(char *buf, size_t size, struct sl_tnum tnum);
void sl_print_state(struct sl_env *env, const struct sl_state *state, uint32_t frame, bool all);
void sl_print_changes(struct sl_env *env);
void sl_print_touch_all(struct sl_env *env);
/* The source line that instruction `index` begins, if BTF has it. */
void sl_print_source(struct sl_env *env, uint32_t index);

/* explore.c */
int sl_explore(struct sl_env *env);
/* A state that goes on at `insn` later; a copy of the current one, the caller may change it. */
int sl_explore_push(struct sl_env *env, uint32_t insn, struct sl_state **ret_state);
/* A callback's state, which this takes over, at the beginning of its function. */
int sl_explore_push_async(struct sl_env *env, struct sl_state *state);
int sl_explore_check_leaks(struct sl_env *env, const char *what);
/* The same where all frames end at once. */
int sl_explore_check_all_leaks(struct sl_env *env, const char *what);
/* Leaves the current function: env->insn is then where its caller goes on. */
int sl_explore_return(struct sl_env *env);
/*
 * Besides going on after this instruction, the current function may end here: with R0 = 0, or with
 * anything in it. That end is followed first; *ret_next is then where.
 */
int sl_explore_early_return(struct sl_env *env, bool zero, uint32_t *ret_next);

/* access.c: registers as operands. */
int sl_check_read(struct sl_env *env, unsigned regno);
int sl_check_write(struct sl_env *env, unsigned regno);
void sl_mark_unknown(struct sl_env *env, unsigned regno);
void sl_assign_id(struct sl_env *env, struct sl_reg *reg);

/* alu.c, branch.c */
int sl_check_alu(struct sl_env *env, const struct bpf_insn *insn);
int sl_check_branch(struct sl_env *env, const struct bpf_insn *insn, uint32_t *ret_next);

/* mem.c */
int sl_check_load_store(struct sl_env *env, const struct bpf_insn *insn);
int sl_check_mem(struct sl_env *env, unsigned regno, int32_t off, unsigned size_bytes,
	enum sl_access access, int value_regno, bool sign_extend, bool strict);
int sl_check_helper_mem(struct sl_env *env, unsigned regno, uint32_t size_bytes,
	enum sl_access access, bool zero_allowed, struct sl_call_meta *meta);
int sl_check_plain_pointer(struct sl_env *env, const struct sl_reg *reg, unsigned regno);
/* An argument: only memory may be meant from somewhere in it on. */
int sl_check_argument_offset(struct sl_env *env, unsigned regno);

/* special.c */
/*
 * [off + variable part, + size) of a map's value touches none of its special fields; else -EACCES.
 * ret_kptr, NULL for helpers: or it is this one, and as a whole.
 */
/* Register `regno` points to the field of that type of a map's value: for helpers that take it. */
int sl_check_special_pointer(struct sl_env *env, unsigned regno, enum sl_special type);
int sl_check_special_fields(struct sl_env *env, const struct sl_reg *reg, int32_t off,
	uint32_t size, const struct sl_special_field **ret_kptr);

/* A pointer that may have been NULL is not: one into a map of maps is then the inner map. */
void sl_reg_not_null(struct sl_reg *reg);

/* lock.c: bpf_spin_lock, one at a time. */
/* The map may be used by this type of program. -EINVAL. */
int sl_check_lock_map(struct sl_env *env, const struct sl_map *map);
/* Argument of bpf_spin_lock and bpf_spin_unlock: takes or releases it. */
int sl_check_lock_arg(struct sl_env *env, unsigned regno, bool taken);
/* The call may be made with what is held. */
int sl_check_call_locked(struct sl_env *env, const struct bpf_insn *insn);
int sl_check_unlocked(struct sl_env *env, const char *what);
/* The lock that is held is in this value or object. */
bool sl_lock_protects(const struct sl_env *env, const struct sl_reg *reg);
/* Values of the same map are told apart, by id, beyond the check for NULL. */
bool sl_reg_may_lock(const struct sl_reg *reg);

/* stack.c */
int sl_stack_load(struct sl_env *env, unsigned regno, int32_t off, unsigned size, int value_regno);
int sl_stack_store(struct sl_env *env, unsigned regno, int32_t off, unsigned size, int value_regno);
int sl_stack_helper(struct sl_env *env, unsigned regno, int32_t off, uint32_t size,
	enum sl_access access, bool zero_allowed, struct sl_call_meta *meta);
/* A helper writes `size` bytes at off: whatever was there is data now. */
void sl_stack_clobber(struct sl_env *env, struct sl_frame *frame, uint32_t frame_number,
	int32_t off, uint32_t size);
/* A store elsewhere may be one into these bytes. -EACCES when an object is among them. */
int sl_stack_may_change(struct sl_env *env, const struct sl_reg *stack, int32_t off, uint32_t size);
/* The value of a map key on the stack if it is one known number, else -1. */
int sl_stack_const_key(
	struct sl_env *env, const struct sl_reg *key, uint32_t key_size, int64_t *ret_value);

/* dynptr.c */
const char *sl_dynptr_type_name(enum sl_dynptr_type type);
/*
 * The memory that the register names becomes a dynptr: of nothing that another refers to, or, with
 * a reference, of what that keeps.
 */
int sl_dynptr_make(struct sl_env *env, unsigned regno, uint32_t type, uint32_t ref_id);
int sl_dynptr_check_arg(
	struct sl_env *env, unsigned regno, enum sl_arg arg, struct sl_call_meta *meta);
/* What the call does besides what its arguments say, before its result is there. */
int sl_dynptr_check_call(struct sl_env *env, const struct sl_call_meta *meta);
/* slice.c: slices that may be a buffer of the program's instead of what the dynptr has. */
/* A slice gets this buffer, `size` bytes at the register's memory, besides. */
void sl_slice_set_buffer(struct sl_reg *slice, const struct sl_reg *buffer, uint32_t size);
/* A store through the slice. -EACCES when the buffer holds what may not be written. */
int sl_slice_written(struct sl_env *env, const struct sl_reg *slice);
/* The current frame ends, and the buffers in it. */
void sl_slice_leave_frame(struct sl_env *env);
/* The dynptr's reference and all that depends on it end. */
int sl_dynptr_release(struct sl_env *env, unsigned regno);
/* Slot `index` is about to be overwritten: a dynptr there is no more. */
int sl_dynptr_overwrite(struct sl_env *env, struct sl_frame *frame, uint32_t index);

/* call.c, args.c */
/* The reference ends: pointers to what it held are numbers from now on. */
int sl_release(struct sl_env *env, uint32_t ref_id);
/* 1: the path is at its end. */
/* By the program's type, and for who loads it. */
bool sl_call_permitted(const struct sl_helper *helper, const struct sl_prog *prog);
int sl_check_call(struct sl_env *env, const struct bpf_insn *insn, uint32_t *ret_next);
int sl_check_args(struct sl_env *env, const struct sl_helper *helper, struct sl_call_meta *meta);

/* global.c */
/*
 * The arguments of a call against the function's declaration. *ret_done: the function is global
 * and verified apart, so the call is over but for its result.
 */
int sl_global_check_call(struct sl_env *env, uint32_t func, bool *ret_done);
/* The registers with which a function of its own begins. */
int sl_global_set_arguments(struct sl_env *env, uint32_t func, struct sl_frame *frame);
/* What a function of its own returns: a number, unless it is the main program. */
int sl_global_check_result(struct sl_env *env);
/* Whether the main program's declaration says what it is. */
void sl_global_check_main(struct sl_env *env);
/* Explores what the explored code calls. */
int sl_global_verify_called(struct sl_env *env);

/* exceptions.c */
/* The function for exceptions is not one to call: `insn` is a call of `func`. */
int sl_exceptions_check_call(struct sl_env *env, uint32_t insn, uint32_t func);
/* bpf_throw, with the number to throw in R1. */
int sl_exceptions_check_throw(struct sl_env *env);
/* Callbacks, and what they call, do not throw. */
int sl_exceptions_check_callbacks(struct sl_env *env);

/* verifier.c: explores a function on its own, the main program or a global one. */
int sl_explore_function(struct sl_env *env, uint32_t func);

/* maps.c */
int sl_maps_resolve(void *env, uint32_t index);
int sl_maps_check_ld_imm64(struct sl_env *env, const struct bpf_insn *insn);
bool sl_map_is_constant(const struct sl_map *map);
int sl_map_read_constant(
	const struct sl_map *map, uint32_t off, unsigned size, uint64_t *ret_value);

/* map_field.c: a map's own members through the pointer to it; `loads`: into a register. */
int sl_map_check_field(struct sl_env *env, unsigned regno, int32_t off, unsigned size,
	enum sl_access access, bool loads);

/* prune.c */
/* 1: an earlier state covers the current one. 0: go on; the state may have been kept. */
int sl_prune_visit(struct sl_env *env);
/* Drops all states; the lists stay. */
void sl_prune_clear(struct sl_env *env);
void sl_prune_free(struct sl_env *env);
/* The path that ended in `state` is done: count down its ancestors. */
int sl_prune_path_done(struct sl_env *env, struct sl_state *state);
/* Counts what is held for the statistics. */
void sl_prune_count(struct sl_env *env);
/* The kept state at `insn` that the current path passed last, `below` this depth; NULL for none. */
const struct sl_state *sl_prune_previous(const struct sl_env *env, uint32_t insn, uint32_t below);

/* equal.c */
/* WITHIN: like COVERS, but all scalars count as precise and everything as read. */
enum sl_compare { SL_COMPARE_COVERS, SL_COMPARE_WITHIN, SL_COMPARE_EXACT };
bool sl_states_equal(struct sl_env *env, const struct sl_state *old_state,
	const struct sl_state *state, enum sl_compare how);

/* The same value, ids mapped as in the comparison of states that was begun last. */
void sl_compare_begin(struct sl_env *env);
bool sl_regs_same(struct sl_env *env, const struct sl_reg *a, const struct sl_reg *b);
/* Everything but precision, ids by number. */
bool sl_regs_identical(const struct sl_reg *a, const struct sl_reg *b);

/* precision.c */
int sl_jump_push(struct sl_env *env, uint8_t flags, uint32_t frame, uint32_t slot,
	const struct sl_linked *linked, unsigned linked_count);
/* This register's value decided something: pruning must respect it in all ancestors. */
int sl_mark_precise(struct sl_env *env, unsigned regno);
int sl_mark_precise_slot(struct sl_env *env, uint32_t frame, uint32_t slot);
/* What `old_state` needed precise, `state` and the way to it need too. */
int sl_precision_propagate(struct sl_env *env, const struct sl_state *old_state,
	struct sl_state *state, bool *ret_changed);
/* All scalars on the way to `state` are precise. */
void sl_precision_give_up(struct sl_env *env, struct sl_state *state);

/* precision_log.c: the lines of a walk back; nothing below level 2 */
void sl_precision_say_state(
	struct sl_env *env, const struct sl_state *state, uint32_t from, int64_t next);
void sl_precision_say_insn(struct sl_env *env, uint32_t index);
void sl_precision_say_parent(struct sl_env *env, const struct sl_state *state, uint32_t frame);
void sl_precision_say_propagated(struct sl_env *env, uint32_t frame);
void sl_precision_say_give_up(struct sl_env *env, const struct sl_state *state);
void sl_precision_say_forced(struct sl_env *env, uint32_t frame, const char *kind, int number);

/* loops.c */
int sl_loops_new(struct sl_env *env);
void sl_loops_free(struct sl_env *env);
/* Forgets all visits. */
void sl_loops_clear(struct sl_env *env);
/* `state` has just been kept: in a loop, it may be where the path came into it. */
int sl_loops_enter(struct sl_env *env, const struct sl_state *state);
/* All paths from `state` are explored; if the loop was entered there, its marks become final. */
int sl_loops_leave(struct sl_env *env, const struct sl_state *state);
/* The current state was found to be within `old_state`, further up on its own way. */
int sl_loops_close(struct sl_env *env, const struct sl_state *old_state);
/* Marks in `state` may still be missing: paths of its loop are not at their end. */
bool sl_loops_open(const struct sl_env *env, const struct sl_state *state);
/* Forgets scalars of `state` that differ from the round before, if nothing relied on them. */
void sl_loops_widen(struct sl_env *env, const struct sl_state *before, struct sl_state *state);
/* Goes on behind the loop; one more round of it is explored later. */
int sl_check_may_goto(struct sl_env *env, const struct bpf_insn *insn, uint32_t *ret_next);

/* callback.c */
/* The helper that is called here calls a function of the program: explores that as well. */
int sl_callback_call(struct sl_env *env, const struct sl_call_meta *meta);
/* The same for a function that compares nodes for bpf_rbtree_add. */
int sl_callback_call_less(struct sl_env *env, const struct sl_call_meta *meta);
/* The current function compares nodes, with the tree's lock held by the caller of its caller. */
bool sl_callback_is_less(const struct sl_env *env);
/* The end of a callback: the helper may call it again. */
int sl_callback_return(struct sl_env *env, const struct sl_frame *callee);
/* What a callback returns that was called on its own: R0 where it ends, R1 where it throws. */
int sl_callback_check_async_result(struct sl_env *env, unsigned regno);
int sl_callback_check_address(struct sl_env *env, uint32_t func);

/* depth.c */
int sl_check_stack_depth(struct sl_env *env);

/* facts.c */
int sl_facts_new(struct sl_env *env);
void sl_facts_note_base(struct sl_env *env, unsigned regno);
int sl_facts_note_call(struct sl_env *env, const struct sl_helper *helper, unsigned arg_count,
	unsigned exact_args);
void sl_facts_finish(struct sl_env *env);
