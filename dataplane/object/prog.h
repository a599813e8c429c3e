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
 * counters.
 */
struct sl_prog {
	struct sl_object obj;
	struct sl_code *code; /* the JIT's */

	enum bpf_prog_type type;
	enum bpf_attach_type expected_attach_type;
	uint32_t flags; /* BPF_F_* of BPF_PROG_LOAD */
	bool gpl_compatible;
	char name[BPF_OBJ_NAME_LEN];
	char license[128];
	uint8_t tag[BPF_TAG_SIZE]; /* first bytes of SHA-1 over the instructions, map fds zeroed */
	uint32_t ifindex; /* offload device: always 0 */
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

	/* Counted by test runs and by workers, each its own slot: single writer, racy readers. */
	struct sl_prog_stats *stats; /* [sl_cpu_count()] */
};

struct sl_prog_stats {
	uint64_t run_count;
	uint64_t run_time_ns;
} sl_cache_aligned;

/*
 * A program with copies of `insns`; everything else zero and the caller's to fill in. Released
 * with all that it points to by sl_object_unref(&prog->obj).
 */
SL_CONTROL int sl_prog_new(
	const struct bpf_insn *insns, uint32_t insn_count, struct sl_prog **ret_prog);

/* Hooks by which the layers above free what they hung on a program; called once, at start-up. */
SL_CONTROL void sl_prog_set_free_hooks(void (*free_facts)(struct sl_facts *facts),
	void (*free_code)(struct sl_code *code), void (*unref_map)(struct sl_map *map));

static inline struct sl_prog *sl_prog_of(struct sl_object *obj)
{
	return sl_container_of(obj, struct sl_prog, obj);
}
