#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>

#include "space.h"

/*
 * Pins of the daemon's objects. The bpf file systems are directories that all processes have, so
 * what may be pinned and opened where is between this process and the kernel (bpffs/bpffs.h); the
 * daemon is only shown the open file.
 */

/* From now on, the bpf file systems of this process are those of the daemon. */
void sl_remote_use_bpffs(void);

/*
 * BPF_OBJ_PIN and BPF_OBJ_GET of the process that `space` is, which is in the directory cwd_fd (AT_FDCWD:
 * this thread's), with this thread's rights. *ret_fd stays as it is, or is the result, open in this
 * process. False: the daemon is to be asked as for any other command.
 */
bool sl_remote_pin(struct sl_space *space, int cwd_fd, int cmd, uint64_t attr, uint32_t size_bytes,
	int64_t *ret_result, int *ret_fd);
