#pragma once

#include <linux/bpf.h>
#include <stdbool.h>

/*
 * The running kernel's bpf(2), as the reference that tests compare with. Goes past every wrapper
 * of syscall(). Returns -1 and sets errno, as bpf(2).
 */
long oracle_bpf(int cmd, union bpf_attr *attr, unsigned int size);

/* Is told of each call and its result, negative errno; asked.c counts them. */
extern void (*oracle_asked)(int cmd, const union bpf_attr *attr, long ret);

/* Whether this process may create maps and load network programs in the kernel. */
bool oracle_permitted(void);

/* Leaves the test as skipped when the kernel cannot be asked. */
#define ORACLE_OR_SKIP()                                                           \
	do {                                                                       \
		if (!oracle_permitted())                                           \
			SKIP("the kernel's bpf(2) is not permitted to this user"); \
	} while (0)
