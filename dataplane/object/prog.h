#pragma once

#include <linux/bpf.h>

#include "object.h"
#include "prog_layout.h"

struct sl_btf;
struct sl_map;
struct sl_facts;

/*
 * A loaded program. Built by the syscall layer in this order: sl_prog_new, the verifier (fills
 * used_maps and facts), the JIT (fills code), sl_object_publish. Immutable afterwards but for the
 * counters, and for the code, which is replaced when a function of the program is (jit/extend.h).
 */
struct sl_prog {
	struct sl_object obj;
	/* What runs: read through sl_rcu_load on every CPU; own_code, or that of `linked`. */
	struct sl_code *code;
	/* Counted by test runs and by workers, each its own slot: single writer, racy readers. */
	struct sl_prog_stats *stats; /* [sl_cpu_count()] */

	enum bpf_prog_type type;
	enum bpf_attach_type expected_attach_type;
	/* Whose rules it follows: the same, but for an extension its target's. */
	enum bpf_prog_type rules_type;
	enum bpf_attach_type rules_attach_type;
	uint32_t flags; /* BPF_F_* of BPF_PROG_LOAD */
	bool gpl_compatible;
	char name[BPF_OBJ_NAME_LEN];
	char license[128];
	uint8_t tag[BPF_TAG_SIZE]; /* first bytes of SHA-1 over the instructions, map fds zeroed */
	uint32_t ifindex; /* offload device: always 0 */
	/* BPF_F_XDP_DEV_BOUND_ONLY: the one device that it may be attached to; 0 for any. */
	uint64_t bound_device; /* a port's serial number */
	uint32_t rx_hints; /* enum sl_rx_hint that the device gives */
	uint32_t uid;
	uint64_t load_time_ns; /* CLOCK_BOOTTIME */

	struct bpf_insn *insns; /* as loaded; the verifier does not change them */
	uint32_t insn_count;

	/* BTF of the program, NULL without; func_info and line_info as loaded, records packed. */
	struct sl_btf *btf;
	struct bpf_func_info *func_info;
	struct bpf_line_info *line_info;
	uint32_t func_info_count, line_info_count;
	uint32_t exception_insn; /* where the function begins that exceptions go to; 0: none */

	/* Written by the verifier. */
	struct sl_map **used_maps; /* a reference each */
	uint32_t used_map_count;
	struct sl_facts *facts; /* verifier/facts.h */
	bool takes_locks; /* perhaps, or what it jumps to: see map/spin_lock.h */
	uint32_t verified_insns, peak_states;
	uint64_t peak_state_bytes; /* of the verifier's states */
	uint64_t verify_ns; /* how long that took; written by the loader */

	/* fds of BPF_PROG_LOAD's fd_array, only during the load. */
	const int *fd_array;

	struct sl_code *own_code; /* the JIT's, of the program as it was loaded */

	/* An extension (BPF_PROG_TYPE_EXT): whose function it was loaded for, and its BTF id. */
	struct sl_prog *
		target; /* reference; NULL once it was attached anywhere; under syscall/extension.c's lock */
	uint32_t target_btf_id;
	/*
	 * As a target, by function: what is attached, borrowed; NULL without. Under jit/extend.c's
	 * lock, as the next one.
	 */
	struct sl_prog **extensions;
	/*
	 * The program with its extensions, not published: its code, and references to all that this
	 * needs. Whatever outlives a run, as a timer's callback does, holds it instead of the program.
	 */
	struct sl_prog *linked;
	struct sl_prog **linked_extensions; /* of such a one; a reference each */
	uint32_t linked_extension_count;
	int64_t uses; /* see sl_prog_use; atomically */
};

struct sl_prog_stats {
	uint64_t run_count;
	uint64_t cycles; /* of the time-stamp counter: what the first timed_count runs took */
	uint64_t timed_count; /* the writer's own */
} sl_cache_aligned;

/*
 * A program with copies of `insns`; everything else zero and the caller's to fill in. Released
 * with all that it points to by sl_object_unref(&prog->obj).
 */
SL_CONTROL int sl_prog_new(
	const struct bpf_insn *insns, uint32_t insn_count, struct sl_prog **ret_prog);

/* Around used_maps of a program that is published: BPF_PROG_BIND_MAP lets it grow. */
SL_CONTROL void sl_prog_lock_maps(void);
SL_CONTROL void sl_prog_unlock_maps(void);

/* Hooks by which the layers above free what they hung on a program; called once, at start-up. */
SL_CONTROL void sl_prog_set_free_hooks(void (*free_facts)(struct sl_facts *facts),
	void (*free_code)(struct sl_code *code), void (*unref_map)(struct sl_map *map));

/*
 * A program whose entry is copied, into a jump table, cannot be extended meanwhile, and the other
 * way round: -EBUSY. Any number of uses of one kind is fine. The kernel has the same rule, against
 * loops that no tail call limit would end.
 */
enum sl_prog_use { SL_PROG_IN_TABLE = 1, SL_PROG_EXTENDED = -1 };
SL_CONTROL int sl_prog_use(struct sl_prog *prog, enum sl_prog_use use);
SL_CONTROL void sl_prog_unuse(struct sl_prog *prog, enum sl_prog_use use);

/* Over all CPUs. */
SL_ANY void sl_prog_stats_sum(const struct sl_prog *prog, struct sl_prog_stats *ret_sum);

static inline struct sl_prog *sl_prog_of(struct sl_object *obj)
{
	return sl_container_of(obj, struct sl_prog, obj);
}
