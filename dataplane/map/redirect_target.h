#pragma once

#include "map.h"
#include "prog_owner.h"
#include "rcu.h"

struct sl_cpu_queue;
struct sl_prog;

/*
 * What DEVMAP, DEVMAP_HASH and CPUMAP map to. An entry is never changed: an update replaces it, and
 * the old one goes after a grace period, since a worker acts on XDP_REDIRECT later in the burst than
 * bpf_redirect_map found the entry.
 */
struct sl_redirect_target {
	/* As programs and user space see it: struct bpf_devmap_val or bpf_cpumap_val. */
	uint32_t value; /* ifindex, or length of the CPU's queue */
	uint32_t prog_id; /* 0: none */

	uint32_t key;
	struct sl_prog *prog; /* reference, NULL for none: runs on what is redirected here */
	struct sl_cpu_queue *queue; /* of a CPUMAP; closed with the entry */
	struct sl_redirect_target *next; /* in its bucket */
	struct sl_rcu_head rcu;
};

/*
 * An entry for `value`, of which the map's value_size says how much there is. The program has to be
 * an XDP program for `attach_type` that goes with the others of the map. -EBADF, -EINVAL for another program, -ENOMEM.
 */
SL_CONTROL int sl_redirect_target_new(struct sl_map *map, const void *value,
	enum bpf_attach_type attach_type, struct sl_redirect_target **ret_target);
/* After a grace period. NULL is fine. */
SL_CONTROL void sl_redirect_target_retire(struct sl_redirect_target *target);

/* Attributes: a 4-byte key, and a value with or without a program. */
SL_ANY bool sl_redirect_sizes_ok(const union bpf_attr *attr);

/* What the three types begin with. */
struct sl_redirect_map {
	struct sl_map map;
	struct sl_prog_owner owner; /* under a lock of all such maps */
};

/*
 * Whether `prog`, which uses the map or is to be in an entry, goes with the others that are and do,
 * or -EINVAL. Of users of a DEVMAP_HASH the kernel asks nothing.
 */
SL_CONTROL int sl_redirect_admit(struct sl_map *map, const struct sl_prog *prog);

/* An array of targets: the whole of a CPUMAP and of a DEVMAP. */
struct sl_redirect_array {
	struct sl_redirect_map head;
	struct sl_redirect_target **slots; /* written with exchange, read through sl_rcu_load */
};

SL_CONTROL int sl_redirect_array_new(
	const union bpf_attr *attr, const struct sl_map_ops *ops, struct sl_map **ret_map);
SL_CONTROL void sl_redirect_array_free(struct sl_map *map);
SL_ANY uint64_t sl_redirect_array_memory(const struct sl_map *map);
/* target NULL: nothing is there any more. */
SL_CONTROL void sl_redirect_array_set(
	struct sl_map *map, uint32_t index, struct sl_redirect_target *target);
SL_CONTROL int sl_redirect_array_delete(struct sl_map *map, const void *key);
SL_ANY void *sl_redirect_array_lookup(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key);

/* BPF_MAP_LOOKUP_ELEM of all of them, by the ops' lookup. */
SL_CONTROL int sl_redirect_sys_lookup(
	struct sl_map *map, const void *key, void *ret_value, uint64_t flags);

/*
 * For the ports, in a read section: the entries of a DEVMAP or DEVMAP_HASH one after the other, from
 * *position 0 on. NULL where there is none (any more). Between two calls others may change the map.
 */
SL_ANY const struct sl_redirect_target *sl_redirect_next(
	const struct sl_map *map, uint64_t *position);

/*
 * Whether an interface is one of the ports; set once by the port layer. Others may be the kernel's:
 * packets for them are dropped and counted, as for a port that has been removed.
 */
extern bool (*sl_redirect_port_exists)(uint32_t ifindex);
