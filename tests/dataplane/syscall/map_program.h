#pragma once

#include "both.h"

/* A program that does one operation on a map, which its packet says, and gives the value back. */
enum map_op {
	MAP_OP_LOOKUP,
	MAP_OP_UPDATE,
	MAP_OP_DELETE,
	MAP_OP_PUSH,
	MAP_OP_POP,
	MAP_OP_PEEK,
	MAP_OP_LOOKUP_PERCPU, /* flags: the CPU */
	MAP_OP_FOR_EACH, /* value: how many calls until the callback ends the walk; see struct walked */
	MAP_OPS,
};

enum { MAP_PROGRAM_KEY_MAX = 64, MAP_PROGRAM_VALUE_MAX = 128 };

struct map_program {
	enum side side;
	int fd; /* the caller closes it; negative errno */
	uint32_t key_size, value_size;
};

/* What a walk leaves in place of the value: its callbacks, and their keys' and values' first words. */
struct map_walked {
	uint64_t count, keys, values, limit;
};

/* `ops`: bits, 1 << MAP_OP_...; a program may not even contain calls that its map's type lacks. */
struct map_program map_program_new(
	enum side side, int map, uint32_t key_size, uint32_t value_size, unsigned ops);

/*
 * The helper's result; of a lookup 0 or -ENOENT. `value` is what is written, pushed or looked for,
 * and then what was found (MAP_PROGRAM_VALUE_MAX bytes).
 */
int map_program_run(
	const struct map_program *p, enum map_op op, uint64_t flags, const void *key, void *value);
