#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>

#include "elf_image.h"

/*
 * Maps as objects defined them before BTF: structs of numbers in a section "maps" (or "maps/NAME"),
 * one per symbol. There are two families, the bpf_map_def of libbpf and samples/bpf,
 *
 *     type key_size value_size max_entries [map_flags [inner_map_idx [numa_node]]]
 *
 * and the bpf_elf_map of iproute2,
 *
 *     type size_key size_value max_elem [flags [id pinning [inner_id inner_idx]]]
 *
 * of which each loader takes what its own struct begins with. libbpf 1.0 dropped both. Here they
 * become a section ".maps" and the BTF that describes it, so that the rest of loading stays
 * libbpf's; what BTF cannot say (ids, slots) is kept beside the object, for the loader to do.
 */

enum { SL_LEGACY_MAPS_MAX = 1024 };

enum sl_legacy_pinning { SL_PIN_NONE, SL_PIN_OBJECT_NS, SL_PIN_GLOBAL_NS }; /* iproute2's */

struct sl_legacy_map {
	char name[128];
	unsigned symbol, section; /* in the image */
	uint64_t offset; /* there */
	uint32_t type, key_size, value_size, max_entries, flags, numa_node;
	uint32_t id, pinning, inner_id; /* iproute2; 0 where it has none */
	int32_t inner_idx; /* iproute2: the slot of outer maps, -1 for none */
	int inner; /* index of the template of a map of maps, -1 for none */
	uint64_t btf_offset; /* in the new section */
};

struct sl_legacy_maps {
	unsigned count;
	struct sl_legacy_map *maps; /* in the order of the object */
};

struct btf;

/* Whether there are sections for them at all. */
bool sl_legacy_any(const struct sl_elf_image *image);
/* Finds and decodes them; none is fine. 0, or a negative errno and why. */
int sl_legacy_find(const struct sl_elf_image *image, const struct btf *btf,
	struct sl_legacy_maps *ret_maps, char why[SL_WHY_MAX]);
void sl_legacy_done(struct sl_legacy_maps *maps);

static inline bool sl_legacy_is_of_maps(const struct sl_legacy_map *map)
{
	return map->type == BPF_MAP_TYPE_ARRAY_OF_MAPS || map->type == BPF_MAP_TYPE_HASH_OF_MAPS;
}

/*
 * Describes them in `btf`, behind those that the image's section `present` holds (0 for none), each
 * at its btf_offset, which is set. Returns the size of ".maps" with all of them.
 */
int64_t sl_legacy_describe(struct sl_legacy_maps *maps, const struct sl_elf_image *image,
	unsigned present, struct btf *btf);

/* Rewrites the image: ".maps" and ".BTF" in place of the legacy sections. 0, or why not. */
int sl_legacy_rewrite(
	struct sl_elf_image *image, struct sl_legacy_maps *ret_maps, char why[SL_WHY_MAX]);
