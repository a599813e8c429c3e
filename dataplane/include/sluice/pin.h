#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The bpf file systems of this process, which it shares with its clients: a directory in which each
 * is a directory, with pins as empty files. Any thread but a worker.
 */

/*
 * Takes `dir` for it, which is made, and emptied of what another process has left there, before the
 * first pin. `group` may make directories and pins in them as well as the process's own user;
 * (gid_t)-1: nobody else may. -EBUSY when another process has it, -EPERM when it is another user's.
 */
int sluice_bpffs_start(const char *dir, gid_t group);
/* Removes it, with all pins. */
void sluice_bpffs_stop(void);

struct sluice_pin {
	const char *path;
	const char *kind; /* "map", "prog", "link" */
	const char *name; /* of the map or program, and may be empty */
	uint32_t id;
	uid_t uid; /* whose the pin is */
	gid_t gid;
	mode_t mode; /* without the file's type */
};

/* Calls fn for each pin, until it returns false. What it is given is there for the call only. */
void sluice_pin_walk(bool (*fn)(const struct sluice_pin *pin, void *arg), void *arg);

#ifdef __cplusplus
}
#endif
