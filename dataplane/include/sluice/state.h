#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * What is pinned, kept for the process that comes after this one: maps with their contents and ids,
 * programs, what else these need, and the tree of the bpf file systems. docs/restart.md says what is
 * not kept. Control threads; nobody else may use this process's objects meanwhile, workers included.
 */
struct sluice_state_report {
	uint32_t maps, progs, pins;
	uint64_t entries;
	uint32_t left_out; /* pinned objects that are not kept, or maps whose contents are not */
	uint64_t bytes;
};

/*
 * Writes it to a file in `dir`, which is made, in the place of an older one as a whole. `ret_report` may
 * be NULL. QUEUE and STACK maps are empty afterwards. 0, or a negative errno with nothing written.
 */
int sluice_state_save(const char *dir, struct sluice_state_report *ret_report);
/*
 * Makes everything again from the file, and removes that: it is used once. Before anything else has
 * been created, and after sluice_bpffs_start(). -ENOENT when there is none; another errno after a line in
 * the log, with nothing made, and the file renamed to state.bad.
 */
int sluice_state_load(const char *dir, struct sluice_state_report *ret_report);

#ifdef __cplusplus
}
#endif
