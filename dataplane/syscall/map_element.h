#pragma once

#include "defs.h"

struct sl_map;

/* What the element commands and the batch commands of maps share. */

/* A map that the caller may read, write or both through this descriptor; else -EPERM. */
SL_CONTROL int sl_map_get_for(int fd, bool read, bool write, struct sl_map **ret_map);

/* Bytes of a value as user space sees it: all CPUs' for a per-CPU map. */
SL_CONTROL size_t sl_map_user_value_size(const struct sl_map *map);

/* -EINVAL when BPF_F_LOCK asks for a lock that the value does not have. */
SL_CONTROL int sl_map_flags_check(const struct sl_map *map, uint64_t flags);

/* The map's operations, as the kernel answers where the type has none. */
SL_CONTROL int sl_map_do_lookup(
	struct sl_map *map, const void *key, void *ret_value, uint64_t flags);
SL_CONTROL int sl_map_do_update(
	struct sl_map *map, const void *key, const void *value, uint64_t flags);
SL_CONTROL int sl_map_do_delete(struct sl_map *map, const void *key);
SL_CONTROL int sl_map_do_next_key(struct sl_map *map, const void *key, void *ret_next);
