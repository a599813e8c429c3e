#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/dataplane.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Generations: many slots of several jump tables (PROG_ARRAY), and programs at the hooks of ports,
 * replaced as one. Everything is checked first; then it is published, and each worker adopts all of
 * it between two bursts: whatever a packet meets on one worker is of the old generation or of the
 * new one, never of both. A packet that goes from one worker to another (CPUMAP) meets on each of
 * them what that worker has adopted; between publication and the last adoption these may differ.
 *
 * Any control thread may call. Commits and rollbacks follow one another, and a change of a single
 * slot, of a link or of a filter comes before or after a generation as a whole, never in between.
 * Functions return 0 or a negative errno; what has been refused has changed nothing, and the reason
 * is given in words. A staged generation belongs to one thread at a time.
 */

#define SLUICE_GENERATION_SLOTS 65536 /* at most, in one generation */
#define SLUICE_GENERATION_HOOKS 64
#define SLUICE_GENERATIONS_KEPT 16 /* that can be rolled back; their programs stay loaded */
#define SLUICE_GENERATION_REASON 256

struct sluice_generation; /* changes that are staged, with references to all that they name */

/* -ENOMEM. */
int sluice_generation_new(struct sluice_generation **ret_generation);
void sluice_generation_free(struct sluice_generation *generation); /* NULL is fine */

/*
 * Stages a slot of a jump table; prog_fd -1 empties it. -EBADF and -EINVAL for descriptors of
 * something else, -EPERM for a map that the descriptor must not change, -E2BIG past the table's end,
 * -ENOSPC for more than SLUICE_GENERATION_SLOTS.
 */
int sluice_generation_slot(
	struct sluice_generation *generation, int map_fd, uint32_t index, int prog_fd);

/*
 * Stages the replacement of a program at a hook; what is not there cannot be replaced. With old_fd
 * (-1: any) that one has to be there at the commit. -ENOSPC for more than SLUICE_GENERATION_HOOKS.
 */
int sluice_generation_xdp(
	struct sluice_generation *generation, uint32_t ifindex, int prog_fd, int old_fd);
/* A program among a hook's tcx programs, which old_fd names. */
int sluice_generation_tcx(struct sluice_generation *generation, uint32_t ifindex,
	enum sluice_tc_hook hook, int prog_fd, int old_fd);
/* The program of a TC filter, which keeps its name, its class and its actions. */
int sluice_generation_filter(struct sluice_generation *generation, uint32_t ifindex,
	enum sluice_tc_hook hook, uint32_t priority, uint32_t handle, int prog_fd, int old_fd);

/* What was wrong with the last call that failed, in words. */
const char *sluice_generation_reason(const struct sluice_generation *generation);

struct sluice_generation_info {
	uint64_t number; /* from 1 on; of a dry run, the one that it would have got */
	uint64_t back_to; /* the generation that a rollback has led back to */
	bool rollback;
	uint32_t slots, maps, hooks; /* how many it has changed */
	uint64_t published_ns; /* CLOCK_REALTIME */
	uint64_t prepare_ns; /* from the call to publication: waiting for others, and checks */
	uint64_t adopt_ns; /* from publication until the last worker had adopted it */
};

enum sluice_generation_flags {
	SLUICE_GENERATION_DRY_RUN = 1 << 0, /* checks only, as things are now */
	SLUICE_GENERATION_UNKEPT = 1 << 1, /* cannot be rolled back, and leaves nothing loaded */
};

/*
 * Checks and publishes what is staged; returns when all workers have adopted it, and empties the
 * staged generation. Refused, with what is staged
 * kept: -EINVAL for programs that must not be where they are to go, -EPERM for a frozen map,
 * -EBUSY for a program with an extension, -EEXIST for a slot or a hook that is staged twice, -ENODEV,
 * -ENOENT and -ESTALE for hooks that are not as expected, -ENODATA when nothing is staged, -ENOMEM.
 */
int sluice_generation_commit(struct sluice_generation *generation, unsigned flags,
	struct sluice_generation_info *ret_info);

/*
 * Undoes all kept generations after `to` (0: all that are kept; UINT64_MAX: the last one) in one
 * step, which is a generation of its own. -ENOENT when
 * there is nothing to undo or it is not kept any more; -ESTALE when anything that it would undo has
 * been changed by somebody else since; -EPERM for a frozen map. `reason` may be NULL.
 */
int sluice_generation_rollback(uint64_t to, unsigned flags, struct sluice_generation_info *ret_info,
	char *reason, size_t reason_size);

/* The kept generation with the smallest number above `number`; -ENOENT after the last. */
int sluice_generation_next(uint64_t number, struct sluice_generation_info *ret_info);
/* Of the last one; 0 before the first. */
uint64_t sluice_generation_number(void);
/* Lets go of what is kept for rollbacks. */
void sluice_generation_forget(void);

#ifdef __cplusplus
}
#endif
