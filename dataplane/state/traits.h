#pragma once

#include <linux/bpf.h>

#include "cpu.h"
#include "map_layout.h"
#include "object.h"

/* How the contents of a type of map are kept. */
enum sl_state_how {
	SL_STATE_READ, /* by look-ups, put back by updates */
	SL_STATE_POPPED,
	SL_STATE_NOT_KEPT, /* descriptors of a process, or nothing that a command reads */
};

struct sl_state_traits {
	enum sl_state_how how;
	/* Values name objects of this type by id where an update takes a descriptor: in the 32-bit word `at`. */
	enum sl_object_type refers;
	unsigned at;
	bool has_reference; /* SL_OBJECT_MAP is 0 */
};

const struct sl_state_traits *sl_state_traits(const struct sl_map_desc *desc);

/* The size of a value as the commands give it. */
static inline uint64_t sl_state_value_bytes(const struct sl_map_desc *desc)
{
	if (desc->type == BPF_MAP_TYPE_PERCPU_HASH || desc->type == BPF_MAP_TYPE_PERCPU_ARRAY ||
		desc->type == BPF_MAP_TYPE_LRU_PERCPU_HASH)
		return (uint64_t)sl_round_up(desc->value_size, 8) * sl_cpu_count();
	return desc->value_size;
}
