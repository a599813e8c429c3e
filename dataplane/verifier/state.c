#include "state.h"

#include <errno.h>
#include <string.h>

#include "memory.h"

struct sl_state *sl_state_new(void)
{
	struct sl_state *state = sl_memory_alloc(sizeof(*state));

	if (state)
		memset(state, 0, sizeof(*state));
	return state;
}

static void frame_free(struct sl_frame *frame)
{
	if (!frame)
		return;
	sl_memory_free(frame->slots);
	sl_memory_free(frame);
}

void sl_state_free(struct sl_state *state)
{
	if (!state)
		return;
	for (unsigned i = 0; i < SL_MAX_FRAMES; i++)
		frame_free(state->frames[i]);
	sl_memory_free(state->jumps);
	sl_memory_free(state->refs);
	sl_memory_free(state);
}

static struct sl_frame *frame_copy(const struct sl_frame *frame)
{
	struct sl_frame *copy = sl_memory_alloc(sizeof(*copy));

	if (!copy)
		return NULL;
	*copy = *frame;
	copy->slots = NULL;
	copy->slot_capacity = frame->slot_count;
	if (!frame->slot_count)
		return copy;
	copy->slots = sl_memory_alloc(frame->slot_count * sizeof(*copy->slots));
	if (!copy->slots) {
		sl_memory_free(copy);
		return NULL;
	}
	memcpy(copy->slots, frame->slots, frame->slot_count * sizeof(*copy->slots));
	return copy;
}

static void *copy_array(const void *array, uint32_t count, size_t size, uint32_t *ret_capacity)
{
	void *copy = sl_memory_alloc((count ? count : 1) * size);

	*ret_capacity = count ? count : 1;
	if (copy && count)
		memcpy(copy, array, count * size);
	return copy;
}

struct sl_state *sl_state_copy(const struct sl_state *state, bool with_jumps)
{
	struct sl_state *copy = sl_memory_alloc(sizeof(*copy));

	if (!copy)
		return NULL;
	*copy = *state;
	memset(copy->frames, 0, sizeof(copy->frames));
	copy->jumps = NULL;
	copy->refs = NULL;
	copy->jump_capacity = copy->ref_capacity = 0;
	for (uint32_t i = 0; i <= state->cur_frame; i++) {
		copy->frames[i] = frame_copy(state->frames[i]);
		if (!copy->frames[i])
			goto fail;
	}
	if (!with_jumps)
		copy->jump_count = 0;
	if (copy->jump_count) {
		copy->jumps = copy_array(state->jumps, state->jump_count, sizeof(*state->jumps),
			&copy->jump_capacity);
		if (!copy->jumps)
			goto fail;
	}
	if (copy->ref_count) {
		copy->refs = copy_array(
			state->refs, state->ref_count, sizeof(*state->refs), &copy->ref_capacity);
		if (!copy->refs)
			goto fail;
	}
	return copy;
fail:
	sl_state_free(copy);
	return NULL;
}

struct sl_frame *sl_state_enter(
	struct sl_state *state, uint32_t func, uint32_t callsite, uint32_t instance)
{
	uint32_t number = state->frames[0] ? state->cur_frame + 1 : 0;
	struct sl_frame *frame = sl_memory_alloc(sizeof(*frame));

	if (!frame)
		return NULL;
	memset(frame, 0, sizeof(*frame));
	sl_reg_set_pointer(&frame->regs[BPF_REG_10], SL_REG_STACK);
	frame->regs[BPF_REG_10].frame = number;
	frame->callsite = callsite;
	frame->func = func;
	frame->instance = instance;
	state->frames[number] = frame;
	state->cur_frame = number;
	return frame;
}

void sl_state_leave(struct sl_state *state)
{
	frame_free(state->frames[state->cur_frame]);
	state->frames[state->cur_frame--] = NULL;
}

int sl_frame_grow(struct sl_frame *frame, uint32_t bytes)
{
	uint32_t count = (bytes + 7) / 8;

	if (count <= frame->slot_count)
		return 0;
	if (count > frame->slot_capacity) {
		struct sl_slot *slots = sl_memory_realloc(frame->slots, count * sizeof(*slots));

		if (!slots)
			return -ENOMEM;
		frame->slots = slots;
		frame->slot_capacity = count;
	}
	memset(&frame->slots[frame->slot_count], 0,
		(count - frame->slot_count) * sizeof(*frame->slots));
	frame->slot_count = count;
	return 0;
}

int sl_state_add_ref(struct sl_state *state, uint32_t id, uint32_t insn)
{
	if (state->ref_count == state->ref_capacity) {
		uint32_t capacity = state->ref_capacity ? state->ref_capacity * 2 : 4;
		struct sl_ref *refs = sl_memory_realloc(state->refs, capacity * sizeof(*refs));

		if (!refs)
			return -ENOMEM;
		state->refs = refs;
		state->ref_capacity = capacity;
	}
	state->refs[state->ref_count++] = (struct sl_ref){ .id = id, .insn = insn };
	return 0;
}

void sl_state_forget_packet(struct sl_state *state)
{
	sl_state_for_each_reg(state, reg, {
		if (sl_reg_is_packet(reg) || reg->type == SL_REG_PACKET_END ||
			(reg->flags & SL_REG_PACKET_SLICE))
			sl_reg_set_unknown(reg);
	});
}

bool sl_state_mark_read(struct sl_state *state, uint32_t frame_number, uint32_t slot)
{
	uint32_t instance = state->frames[frame_number]->instance;
	bool changed = false;

	for (;;) {
		const struct sl_frame *frame = state->frames[frame_number];
		struct sl_state *parent = state->parent;
		struct sl_frame *above;

		if (frame->slots[slot].written || !parent || frame_number > parent->cur_frame)
			return changed;
		above = parent->frames[frame_number];
		if (above->instance != instance || slot >= above->slot_count ||
			above->slots[slot].read)
			return changed;
		above->slots[slot].read = changed = true;
		state = parent;
	}
}

bool sl_state_del_ref(struct sl_state *state, uint32_t id)
{
	for (uint32_t i = 0; i < state->ref_count; i++) {
		if (state->refs[i].id != id)
			continue;
		/* Sections end in the order that refs[] has. */
		memmove(&state->refs[i], &state->refs[i + 1],
			(--state->ref_count - i) * sizeof(*state->refs));
		return true;
	}
	return false;
}
