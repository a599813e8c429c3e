#pragma once

#include "reg.h"

/*
 * A state: what is known at one point of one path. The call frames with their registers and
 * stacks, the references that are held, and the way from the last kept state to here.
 *
 * States are copied at every branch that goes both ways and at every kept prune point, so a frame's
 * stack is only as long as its deepest access, and a popped state is taken over, not copied.
 */

#define SL_MAX_FRAMES 8
#define SL_STACK_BYTES 512
#define SL_STACK_SLOTS (SL_STACK_BYTES / 8)
#define SL_MAIN_CALLSITE UINT32_MAX
#define SL_MAX_LINKED 6

enum sl_slot_type {
	SL_SLOT_INVALID, /* nothing was stored here */
	SL_SLOT_SPILL, /* part of the register in `reg` */
	SL_SLOT_MISC, /* some data */
	SL_SLOT_ZERO,
	SL_SLOT_DYNPTR, /* half a dynptr; `reg` says which */
	/* Objects: all eight bytes, and not the program's to look into. */
	SL_SLOT_ITER,
	SL_SLOT_IRQ_FLAG,
};

/* An open-coded iterator. */
struct sl_iter_state {
	const char *kind; /* "num" */
	bool drained;
	uint32_t depth; /* rounds on this path */
};

/*
 * Eight bytes of stack. type[0] is the byte with the highest address, type[7] the one a full
 * spill's pointer names: it is SL_SLOT_SPILL exactly when `reg` is meaningful.
 */
struct sl_slot {
	struct sl_reg reg; /* of an object: its reference */
	struct sl_iter_state iter; /* SL_SLOT_ITER */
	uint8_t type[8];
	bool read; /* kept states: read later on some path, so it takes part in comparisons */
	bool written; /* overwritten as a whole since the parent state */
};

struct sl_return_range {
	int32_t min, max;
};

struct sl_frame {
	struct sl_reg regs[MAX_BPF_REG];
	uint32_t callsite; /* the call instruction, SL_MAIN_CALLSITE for the outermost */
	uint32_t func; /* number of the function */
	uint32_t instance; /* unique per entry: tells whether two states share this very call */
	bool in_callback; /* of a helper, which may call it again when it returns */
	uint32_t callback_depth; /* callbacks in a row that the helper called by this frame made */
	bool in_async; /* a callback that is called some time later, in a run of its own */
	uint32_t async_entry; /* how many set the next one from within */
	struct sl_return_range returns; /* of a callback: what R0 may be at its end */
	uint32_t slot_count, slot_capacity;
	struct sl_slot *slots; /* slots[0] is fp-8 */
};

enum sl_jump_flags {
	SL_JUMP_STACK = 1 << 0, /* spilled to, or filled from, slot `slot` of `frame` */
	SL_JUMP_DST_STACK = 1 << 1, /* comparison whose operand is a stack pointer */
	SL_JUMP_SRC_STACK = 1 << 2,
};

/* A scalar that shares its id with others: a register or a spill. */
struct sl_linked {
	uint8_t frame;
	uint8_t index; /* register or slot */
	bool is_reg;
};

/*
 * Step of a path that cannot be told from instruction numbers, or that moved a scalar in a way that
 * backtracking has to know.
 */
struct sl_jump {
	uint32_t index, prev;
	uint8_t flags, frame, slot;
	uint8_t linked_count;
	struct sl_linked linked[SL_MAX_LINKED];
};

struct sl_kept;

struct sl_ref {
	uint32_t id, insn;
	bool irq; /* a section, not something to give back */
};

struct sl_state {
	struct sl_frame *frames[SL_MAX_FRAMES];
	struct sl_state *parent; /* the kept state that this path passed last */
	uint32_t cur_frame;
	uint32_t branches; /* paths from here that are not explored to their end */
	uint32_t insn; /* about to be executed */
	uint32_t first_insn; /* where the history begins */
	uint32_t last_insn; /* executed before `insn` */
	uint32_t jump_count, jump_capacity;
	struct sl_jump *jumps;
	uint32_t ref_count, ref_capacity;
	struct sl_ref *refs;
	const void *lock_owner; /* the map in a value of which, or the BTF of the object in which, a
				 * spin lock is held; NULL: none */
	uint32_t lock_id; /* which value or object */
	uint32_t depth; /* kept states above it: tells an ancestor from another path's */
	uint32_t callback_rounds, may_gotos; /* taken on this path */
	struct sl_kept *evicted; /* out of its list, kept for its descendants; NULL when not */
	/* Sections that the path is in. */
	bool rcu_lock;
	uint32_t preempt_locks;
	uint32_t irq_id; /* reference of the innermost without interrupts, 0 for none */
};

static inline struct sl_frame *sl_state_frame(const struct sl_state *state)
{
	return state->frames[state->cur_frame];
}

struct sl_state *sl_state_new(void);
void sl_state_free(struct sl_state *state);
/* A copy without history when !with_jumps. NULL when memory is out. */
struct sl_state *sl_state_copy(const struct sl_state *state, bool with_jumps);
/* Appends a frame; NULL when memory is out. All registers are uninitialised but for R10. */
struct sl_frame *sl_state_enter(
	struct sl_state *state, uint32_t func, uint32_t callsite, uint32_t instance);
void sl_state_leave(struct sl_state *state);
/* Makes the frame hold at least `bytes` of stack. -ENOMEM. */
int sl_frame_grow(struct sl_frame *frame, uint32_t bytes);

int sl_state_add_ref(struct sl_state *state, uint32_t id, uint32_t insn);
/* The packet may have moved: pointers to it are numbers from now on. */
void sl_state_forget_packet(struct sl_state *state);
bool sl_state_del_ref(struct sl_state *state, uint32_t id);
/*
 * A slot is read: the kept states that led here since it was last overwritten need its contents, so
 * comparisons with them must look at it. Returns whether one did not know.
 */
bool sl_state_mark_read(struct sl_state *state, uint32_t frame, uint32_t slot);

static inline bool sl_slot_is_spill(const struct sl_slot *slot)
{
	return slot->type[7] == SL_SLOT_SPILL;
}

static inline bool sl_slot_is_scalar_spill(const struct sl_slot *slot)
{
	return sl_slot_is_spill(slot) && slot->reg.type == SL_REG_SCALAR;
}

/* Calls for every register of a state, spilled ones too. */
#define sl_state_for_each_reg(state, regp, body)                                    \
	do {                                                                        \
		for (uint32_t sl_f = 0; sl_f <= (state)->cur_frame; sl_f++) {       \
			struct sl_frame *sl_fr = (state)->frames[sl_f];             \
			struct sl_reg *regp;                                        \
			for (unsigned sl_i = 0; sl_i < MAX_BPF_REG; sl_i++) {       \
				regp = &sl_fr->regs[sl_i];                          \
				body                                                \
			}                                                           \
			for (unsigned sl_i = 0; sl_i < sl_fr->slot_count; sl_i++) { \
				if (!sl_slot_is_spill(&sl_fr->slots[sl_i]))         \
					continue;                                   \
				regp = &sl_fr->slots[sl_i].reg;                     \
				body                                                \
			}                                                           \
		}                                                                   \
	} while (0)
