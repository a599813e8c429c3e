#include <errno.h>

#include "env.h"

/*
 * A slice of a packet's dynptr that does not lie in one piece is a copy in the buffer that the
 * program brings. When that is on the stack, and the slice may be written, two ways lead to the same
 * bytes: what is stored through the slice may change what the slots are known to hold, so that is
 * forgotten. And the slice ends with the buffer's frame.
 *
 * A register says which stack it may be in one number, 0 for none: from the lowest bit the bytes
 * below the frame pointer where it begins, its length, and the frame plus one.
 */
#define FIELD_BITS 10
#define FIELD_MASK ((1u << FIELD_BITS) - 1)

static uint32_t frame_of(const struct sl_reg *slice)
{
	return (slice->buffer >> (2 * FIELD_BITS)) - 1;
}

void sl_slice_set_buffer(struct sl_reg *slice, const struct sl_reg *buffer, uint32_t size)
{
	int64_t begin, end;

	if (buffer->type == SL_REG_MEM)
		slice->buffer = buffer->buffer;
	if (buffer->type != SL_REG_STACK)
		return;
	begin = buffer->off + buffer->smin;
	end = buffer->off + buffer->smax + size;
	slice->buffer = (uint32_t)-begin | (uint32_t)(end - begin) << FIELD_BITS |
			(buffer->frame + 1) << (2 * FIELD_BITS);
}

int sl_slice_written(struct sl_env *env, const struct sl_reg *slice)
{
	struct sl_reg pointer;
	int32_t begin, len;

	if (!slice->buffer)
		return 0;
	begin = -(int32_t)(slice->buffer & FIELD_MASK);
	len = (int32_t)(slice->buffer >> FIELD_BITS & FIELD_MASK);
	sl_reg_set_pointer(&pointer, SL_REG_STACK);
	pointer.frame = frame_of(slice);
	return sl_stack_may_change(env, &pointer, begin, (uint32_t)len);
}

void sl_slice_leave_frame(struct sl_env *env)
{
	uint32_t frame = env->cur->cur_frame;

	sl_state_for_each_reg(env->cur, reg, {
		if (reg->buffer && frame_of(reg) == frame)
			sl_reg_set_unknown(reg);
	});
}
