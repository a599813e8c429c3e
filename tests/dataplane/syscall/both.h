#pragma once

#include <linux/bpf.h>
#include <stdint.h>

/* One question to the kernel and to Sluice: each has descriptors of its own. */
typedef long (*bpf_fn)(int cmd, union bpf_attr *attr, unsigned int size);

enum side { KERNEL, SLUICE, SIDES };

extern const bpf_fn ask[SIDES];

/* The result, errno negated where it fails. */
long call(enum side side, int cmd, union bpf_attr *attr, unsigned int size);

/* Descriptors of the side, negative errno on failure; the caller closes them. */
int map_new(
	enum side side, uint32_t type, uint32_t key, uint32_t value, uint32_t max, uint32_t flags);
int prog_new(enum side side, uint32_t type, const struct bpf_insn *insns, uint32_t count);
/* A program that returns `value`. */
int prog_returning(enum side side, uint32_t type, int32_t value);
int btf_new(enum side side);

#define PTR(p) ((uint64_t)(uintptr_t)(p))
