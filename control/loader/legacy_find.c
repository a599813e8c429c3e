#include "legacy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>

/* What the two families have in common, and the rest of each. In 32-bit words. */
enum {
	WORD_TYPE,
	WORD_KEY_SIZE,
	WORD_VALUE_SIZE,
	WORD_MAX_ENTRIES,
	WORD_FLAGS,
	WORDS_MIN = WORD_FLAGS,

	WORD_ID = 5,
	WORD_PINNING,
	WORD_INNER_ID,
	WORD_INNER_IDX,
	WORDS_IPROUTE2,

	WORD_INNER_MAP_IDX = 5,
	WORD_NUMA_NODE,
};

enum { TYPES_DEEP = 32 };

static int refuse(char *why, const char *map, const char *words)
{
	snprintf(why, SL_WHY_MAX, "map %s: %s", map, words);
	return -EINVAL;
}

static bool is_legacy_section(const struct sl_elf_image *image, unsigned section)
{
	const char *name = sl_elf_section_name(image, section);

	return image->sections[section].sh_type == SHT_PROGBITS &&
	       !(image->sections[section].sh_flags & SHF_EXECINSTR) &&
	       (strcmp(name, "maps") == 0 || strncmp(name, "maps/", 5) == 0);
}

bool sl_legacy_any(const struct sl_elf_image *image)
{
	for (unsigned i = 1; i < image->section_count; i++)
		if (is_legacy_section(image, i))
			return true;
	return false;
}

static bool defines_map(const struct sl_elf_image *image, const Elf64_Sym *symbol)
{
	unsigned char type = ELF64_ST_TYPE(symbol->st_info);

	/* Old compilers give objects no type. */
	return symbol->st_shndx && symbol->st_shndx < image->section_count &&
	       (type == STT_OBJECT || type == STT_NOTYPE) && *sl_elf_symbol_name(image, symbol) &&
	       is_legacy_section(image, symbol->st_shndx);
}

static int by_place(const void *va, const void *vb)
{
	const struct sl_legacy_map *a = va, *b = vb;

	if (a->section != b->section)
		return a->section < b->section ? -1 : 1;
	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static int collect(const struct sl_elf_image *image, struct sl_legacy_maps *maps, char *why)
{
	unsigned capacity = 0;

	for (unsigned i = 1; i < image->symbol_count; i++) {
		Elf64_Sym symbol = sl_elf_symbol(image, i);

		capacity += defines_map(image, &symbol);
	}
	if (capacity > SL_LEGACY_MAPS_MAX) {
		snprintf(why, SL_WHY_MAX, "%u maps are too many", capacity);
		return -E2BIG;
	}
	if (!capacity)
		return 0;
	maps->maps = calloc(capacity, sizeof(*maps->maps));
	if (!maps->maps)
		return -ENOMEM;
	for (unsigned i = 1; i < image->symbol_count; i++) {
		Elf64_Sym symbol = sl_elf_symbol(image, i);
		struct sl_legacy_map *map = &maps->maps[maps->count];

		if (!defines_map(image, &symbol))
			continue;
		*map = (struct sl_legacy_map){ .symbol = i,
			.section = symbol.st_shndx,
			.offset = symbol.st_value,
			.inner_idx = -1,
			.inner = -1 };
		snprintf(map->name, sizeof(map->name), "%s", sl_elf_symbol_name(image, &symbol));
		maps->count++;
	}
	qsort(maps->maps, maps->count, sizeof(*maps->maps), by_place);
	return 0;
}

/* A definition ends where its symbol says, or where the next one begins. */
static uint64_t length_of(
	const struct sl_elf_image *image, const struct sl_legacy_maps *maps, unsigned i)
{
	const struct sl_legacy_map *map = &maps->maps[i], *next = map + 1;
	Elf64_Sym symbol = sl_elf_symbol(image, map->symbol);
	uint64_t end = image->sections[map->section].sh_size;

	if (i + 1 < maps->count && next->section == map->section && next->offset < end)
		end = next->offset;
	if (map->offset > end)
		return 0;
	if (symbol.st_size && symbol.st_size < end - map->offset)
		end = map->offset + symbol.st_size;
	return end - map->offset;
}

static bool points_on(const struct btf_type *t)
{
	return btf_is_var(t) || btf_is_mod(t) || btf_is_typedef(t);
}

/* The struct that the variable of this name is of, NULL where the object does not say. */
static const struct btf_type *struct_of(const struct btf *btf, const char *name)
{
	int id = btf ? btf__find_by_name_kind(btf, name, BTF_KIND_VAR) : -ENOENT;
	const struct btf_type *t = id < 0 ? NULL : btf__type_by_id(btf, (uint32_t)id);

	for (int i = 0; i < TYPES_DEEP && t && !btf_is_struct(t); i++)
		t = points_on(t) ? btf__type_by_id(btf, t->type) : NULL;
	return t && btf_is_struct(t) ? t : NULL;
}

static bool has_member(const struct btf *btf, const struct btf_type *t, const char *name)
{
	for (unsigned i = 0; i < btf_vlen(t); i++) {
		const char *member = btf__name_by_offset(btf, btf_members(t)[i].name_off);

		if (member && strcmp(member, name) == 0)
			return true;
	}
	return false;
}

/*
 * Whether the words after the flags are an id and a pinning. Where the object does not name them,
 * its size tells, but for seven words: samples/bpf means something by them only in a map of maps or
 * with a node of memory, and zeros mean nothing to either.
 */
static bool is_iproute2(const struct btf *btf, const struct sl_legacy_map *map, unsigned words)
{
	const struct btf_type *t = struct_of(btf, map->name);

	if (t)
		return has_member(btf, t, "size_key") || has_member(btf, t, "max_elem") ||
		       has_member(btf, t, "inner_id");
	if (words == WORD_NUMA_NODE + 1)
		return !sl_legacy_is_of_maps(map) && !(map->flags & BPF_F_NUMA_NODE);
	return words == WORDS_IPROUTE2;
}

static int decode(const struct sl_elf_image *image, const struct btf *btf,
	struct sl_legacy_map *map, uint64_t len, char *why)
{
	uint32_t words[WORDS_IPROUTE2] = { 0 };
	unsigned count = (unsigned)(len / sizeof(*words));

	if (len < WORDS_MIN * sizeof(*words) || map->offset % sizeof(*words))
		return refuse(why, map->name, "its definition is cut off");
	memcpy(words, sl_elf_section_bytes(image, map->section) + map->offset,
		len < sizeof(words) ? len : sizeof(words));
	map->type = words[WORD_TYPE];
	map->key_size = words[WORD_KEY_SIZE];
	map->value_size = words[WORD_VALUE_SIZE];
	map->max_entries = words[WORD_MAX_ENTRIES];
	map->flags = count > WORD_FLAGS ? words[WORD_FLAGS] : 0;
	if (is_iproute2(btf, map, count)) {
		map->id = words[WORD_ID];
		map->pinning = words[WORD_PINNING];
		map->inner_id = words[WORD_INNER_ID];
		map->inner_idx = (int32_t)words[WORD_INNER_IDX];
	} else {
		if (map->flags & BPF_F_NUMA_NODE)
			map->numa_node = words[WORD_NUMA_NODE];
		if (sl_legacy_is_of_maps(map) && count > WORD_INNER_MAP_IDX)
			map->inner = (int)words[WORD_INNER_MAP_IDX];
	}
	return 0;
}

/*
 * Who is the template of a map of maps: samples/bpf counts, iproute2 has ids. With neither it is up
 * to the program that loads the object.
 */
static int find_inner(struct sl_legacy_maps *maps, struct sl_legacy_map *map, char *why)
{
	if (!sl_legacy_is_of_maps(map) || (map->inner < 0 && !map->inner_id))
		return 0;
	for (unsigned i = 0; map->inner_id && map->inner < 0 && i < maps->count; i++)
		if (maps->maps[i].id == map->inner_id && !sl_legacy_is_of_maps(&maps->maps[i]))
			map->inner = (int)i;
	if (map->inner < 0 || (unsigned)map->inner >= maps->count ||
		sl_legacy_is_of_maps(&maps->maps[map->inner]))
		return refuse(why, map->name, "there is no map for its template");
	return 0;
}

int sl_legacy_find(const struct sl_elf_image *image, const struct btf *btf,
	struct sl_legacy_maps *ret_maps, char why[SL_WHY_MAX])
{
	struct sl_legacy_maps maps = { 0 };
	int err = collect(image, &maps, why);

	for (unsigned i = 0; !err && i < maps.count; i++)
		err = decode(image, btf, &maps.maps[i], length_of(image, &maps, i), why);
	for (unsigned i = 0; !err && i < maps.count; i++)
		err = find_inner(&maps, &maps.maps[i], why);
	if (err)
		sl_legacy_done(&maps);
	else
		*ret_maps = maps;
	return err;
}

void sl_legacy_done(struct sl_legacy_maps *maps)
{
	free(maps->maps);
	*maps = (struct sl_legacy_maps){ 0 };
}
