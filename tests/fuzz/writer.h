#pragma once

#include "kernel.h"
#include "program.h"
#include "random.h"

/*
 * What productions write with: the program so far, and a guess of what each register holds, so that
 * the next production has something to work with.
 */

enum kind { NONE, SCALAR, PACKET, PACKET_END, VALUE, STACK, CONTEXT, TAKEN };

enum {
	REGS = 10,
	TO_EXIT = INT16_MAX, /* jump offset: to the function's common exit, set at its end */
	GENERATED_MAX = 900, /* instructions */
	STACK_SLOTS = 14,
	MAX_CALLS = 6,
};

/* A function that is to be written after the main program. */
enum function {
	FUNCTION_STATIC,
	FUNCTION_GLOBAL,
	FUNCTION_LOOP,
	FUNCTION_EACH,
	FUNCTION_TIMER,
	FUNCTIONS
};

struct fuzz_world;

struct writer {
	struct sl_random *random;
	struct fuzz_program *program;
	const struct fuzz_world *world;
	enum kind kinds[REGS];
	unsigned safe[REGS]; /* PACKET: bytes proven */
	struct {
		uint32_t at; /* the call or the address taken */
		enum function function;
		bool moves; /* may change the packet */
	} calls[MAX_CALLS];
	unsigned call_count;
	unsigned nested; /* inside a branch, a loop or a function */
	bool still; /* nothing here may change the packet */
	bool in_function; /* not the main program */
};

/*
 * One construct. It is left out where the sides lack a map or a helper that it needs, and for other
 * program types.
 */
struct production {
	const char *name;
	void (*write)(struct writer *w);
	unsigned weight;
	uint32_t types; /* bit n: program type n; 0 for all */
	unsigned maps; /* bit n: needs map n of the standard setting */
	unsigned helper; /* needs this one, 0 for none */
	bool (*possible)(const struct fuzz_world *world); /* NULL: what is above is all */
};

extern const struct production core_productions[], map_productions[], call_productions[],
	object_productions[];
extern const unsigned core_production_count, map_production_count, call_production_count,
	object_production_count;

/* The maps of the standard setting, setting.c. */
enum standard_map {
	MAP_ARRAY,
	MAP_HASH,
	MAP_PERCPU,
	MAP_DATA, /* one value, addressed directly */
	MAP_RODATA, /* the same, frozen */
	MAP_SLOTS_XDP,
	MAP_SLOTS_TC,
	MAP_SLOTS_SOCKET,
	MAP_RINGBUF,
	MAP_INNER,
	MAP_OUTER, /* of MAP_INNER */
	MAP_LOCKED, /* values begin with a bpf_spin_lock */
	MAP_QUEUE,
	MAP_STACK,
	MAP_TRIE,
	MAP_TIMED, /* values begin with a bpf_timer */
	STANDARD_MAPS
};

enum { KEY_BYTES = 4, VALUE_BYTES = 40, MAP_ENTRIES = 4 };

/* Types in the standard setting's BTF of the functions. */
uint32_t standard_function_type(enum function function);
uint32_t standard_main_type(void);

enum standard_kfunc { KFUNC_ITER_NUM_NEW, KFUNC_ITER_NUM_NEXT, KFUNC_ITER_NUM_DESTROY, KFUNCS };

/* The running kernel's number for it, 0 for none. */
int32_t standard_kfunc(enum standard_kfunc kfunc);

#define TYPE_BIT(type) (1u << (type))
#define SKB_TYPES                                                                \
	(TYPE_BIT(BPF_PROG_TYPE_SCHED_CLS) | TYPE_BIT(BPF_PROG_TYPE_SCHED_ACT) | \
		TYPE_BIT(BPF_PROG_TYPE_SOCKET_FILTER))
#define TC_TYPES (TYPE_BIT(BPF_PROG_TYPE_SCHED_CLS) | TYPE_BIT(BPF_PROG_TYPE_SCHED_ACT))
#define DIRECT_TYPES (TC_TYPES | TYPE_BIT(BPF_PROG_TYPE_XDP))

bool chance(struct writer *w, unsigned one_in);
unsigned below(struct writer *w, unsigned limit);
/* Returns where it stands. */
uint32_t emit(struct writer *w, struct bpf_insn insn);
void emit_map(struct writer *w, int reg, enum standard_map map);
/* A register that holds `kind`, sometimes any; -1 when none does. */
int find(struct writer *w, enum kind kind);
int free_reg(struct writer *w);
/* One with a number in it. */
int scalar(struct writer *w);
/* A number that is at most `max`, by one of the ways in which programs make sure of it. */
int bounded(struct writer *w, unsigned max);
/* What a call leaves of R0 to R5. */
void clobber(struct writer *w);
/* What a helper that moves the packet leaves of its pointers. */
void forget_packet(struct writer *w);
/* A load or store of any width at [from, to) of what `base` points to. */
void write_access(struct writer *w, int base, int from, int to);
/* A look-up: R0 is a value or NULL. */
void look_up(struct writer *w, enum standard_map map);
/* The address of a function to be written after the main program. */
void take_address(struct writer *w, int reg, enum function function);
/* Any production. */
void snippet(struct writer *w);
void write_alu(struct writer *w);
void write_stack(struct writer *w);
