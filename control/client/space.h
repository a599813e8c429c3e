#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * The process that makes a call to the daemon: its memory and its descriptors. Usually this one; a
 * supervisor has others.
 */
struct sl_space;
struct sl_wire_actor;

struct sl_space_ops {
	/* 0 or -EFAULT. Addresses are the process's. */
	int (*read)(struct sl_space *space, void *dst, uint64_t address, size_t len_bytes);
	int (*write)(struct sl_space *space, uint64_t address, const void *src, size_t len_bytes);
	/* A descriptor of ours for the process's `fd`, to be sent; -EBADF. */
	int (*take)(struct sl_space *space, int fd);
	/* Ends the use of what `take` returned. */
	void (*drop)(struct sl_space *space, int taken);
};

struct sl_space {
	const struct sl_space_ops *ops;
	/* NULL: the peer that the daemon sees. */
	const struct sl_wire_actor *actor;
};

/* This process. */
extern struct sl_space sl_space_self;
