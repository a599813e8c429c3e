#pragma once

#include <linux/bpf.h>

#include "map.h"

/*
 * A map in the running kernel and the same map here. Each operation is done on both; that their
 * results agree is checked inside, and the kernel's (0 or negative errno) is returned.
 */
struct pair {
	int kernel; /* descriptor, -1 when creation failed */
	struct sl_map *map;
	uint32_t key_size;
	uint32_t value_len; /* bytes of a value in user space: all CPUs' of a per-CPU map */
};

/* The kernel's result; nothing is left behind when it is not 0. */
int pair_new(struct pair *p, const union bpf_attr *attr);
void pair_free(struct pair *p);

int pair_lookup(struct pair *p, const void *key, uint64_t flags);
int pair_update(struct pair *p, const void *key, const void *value, uint64_t flags);
int pair_delete(struct pair *p, const void *key);
int pair_lookup_and_delete(struct pair *p, const void *key, uint64_t flags);
/* Walks both maps from start to end: the same keys with the same values, in any order. */
void pair_compare_contents(struct pair *p);

/* bpf(2)'s view of one map of ours, as the syscall layer has it: 0 or negative errno. */
int own_lookup(struct sl_map *map, const void *key, void *value, uint64_t flags);
int own_update(struct sl_map *map, const void *key, const void *value, uint64_t flags);
int own_delete(struct sl_map *map, const void *key);
int own_next_key(struct sl_map *map, const void *key, void *next);
