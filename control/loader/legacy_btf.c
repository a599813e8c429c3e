#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>

#include "legacy.h"

/*
 * The structs that libbpf reads definitions from. Each member is a pointer: for a number to an
 * array of as many ints, for a type to that type. Only the last, the template of a map of maps, is
 * an array of pointers to the template's struct. Functions return a type's id or a negative errno.
 */

enum { POINTER_BYTES = 8, MEMBERS_MAX = 8 };

struct definition {
	struct btf *btf;
	int int_type;
	unsigned count;
	struct {
		const char *name;
		int type;
	} members[MEMBERS_MAX];
	int err;
};

static void add_member(struct definition *d, const char *name, int type)
{
	if (type < 0) {
		d->err = type;
		return;
	}
	d->members[d->count].name = name;
	d->members[d->count++].type = type;
}

static void add_number(struct definition *d, const char *name, uint32_t value)
{
	int array = btf__add_array(d->btf, d->int_type, d->int_type, value);

	add_member(d, name, array < 0 ? array : btf__add_ptr(d->btf, array));
}

/*
 * BPF_ANNOTATE_KV_PAIR was how a legacy map named its types: a struct ____btf_map_NAME with a key
 * and a value. 0 where there is none, or none of this size.
 */
static uint32_t annotated(
	const struct btf *btf, const struct sl_legacy_map *map, unsigned member, uint32_t size)
{
	static const char *const names[] = { "key", "value" };
	const struct btf_type *t;
	const char *name;
	char annotation[160];
	int id;

	snprintf(annotation, sizeof(annotation), "____btf_map_%s", map->name);
	id = btf__find_by_name_kind(btf, annotation, BTF_KIND_STRUCT);
	t = id < 0 ? NULL : btf__type_by_id(btf, (uint32_t)id);
	if (!t || btf_vlen(t) != 2)
		return 0;
	name = btf__name_by_offset(btf, btf_members(t)[member].name_off);
	if (!name || strcmp(name, names[member]) != 0 ||
		btf__resolve_size(btf, btf_members(t)[member].type) != (int64_t)size)
		return 0;
	return btf_members(t)[member].type;
}

static void add_key_and_value(struct definition *d, const struct sl_legacy_map *map)
{
	uint32_t key = annotated(d->btf, map, 0, map->key_size);
	uint32_t value = annotated(d->btf, map, 1, map->value_size);

	/* The kernel takes both or none. */
	if (key && value) {
		add_member(d, "key", btf__add_ptr(d->btf, (int)key));
		add_member(d, "value", btf__add_ptr(d->btf, (int)value));
		return;
	}
	if (map->key_size)
		add_number(d, "key_size", map->key_size);
	/* What a map of maps says here, loaders never cared about. */
	if (map->value_size && !sl_legacy_is_of_maps(map))
		add_number(d, "value_size", map->value_size);
}

static int add_struct(struct definition *d)
{
	int id = d->err ?: btf__add_struct(d->btf, NULL, d->count * POINTER_BYTES);
	int err = id < 0 ? id : 0;

	for (unsigned i = 0; !err && i < d->count; i++)
		err = btf__add_field(
			d->btf, d->members[i].name, d->members[i].type, i * POINTER_BYTES * 8, 0);
	return err ?: id;
}

/* `template` is the struct of the inner map, for a map of maps. */
static int define(struct btf *btf, int int_type, const struct sl_legacy_map *map, int template)
{
	struct definition d = { .btf = btf, .int_type = int_type };

	add_number(&d, "type", map->type);
	add_key_and_value(&d, map);
	if (map->max_entries)
		add_number(&d, "max_entries", map->max_entries);
	if (map->flags)
		add_number(&d, "map_flags", map->flags);
	if (map->flags & BPF_F_NUMA_NODE)
		add_number(&d, "numa_node", map->numa_node);
	if (template) {
		int ptr = btf__add_ptr(btf, template);

		add_member(&d, "values", ptr < 0 ? ptr : btf__add_array(btf, int_type, ptr, 0));
	}
	return add_struct(&d);
}

/*
 * The compiler's own description of the legacy sections would now be one of sections that are not
 * there. It cannot go, since types are known by their number; so it becomes a union of ints, whose
 * record is as long.
 */
static bool is_retired(const char *name)
{
	return name && (strcmp(name, ".maps") == 0 || strcmp(name, "maps") == 0 ||
			       strncmp(name, "maps/", 5) == 0);
}

static void retire_sections(struct btf *btf, uint32_t known, int int_type)
{
	for (uint32_t id = 1; id < known; id++) {
		struct btf_type *t = (struct btf_type *)btf__type_by_id(btf, id);
		const char *name = btf__name_by_offset(btf, t->name_off);

		if (!btf_is_datasec(t) || !is_retired(name))
			continue;
		t->name_off = 0;
		t->info = BTF_KIND_UNION << 24 | btf_vlen(t);
		t->size = sizeof(int);
		for (unsigned i = 0; i < btf_vlen(t); i++)
			btf_members(t)[i] = (struct btf_member){ .type = (uint32_t)int_type };
	}
}

/* Variables on their way into the new section. */
struct variables {
	unsigned count;
	uint32_t size; /* so far */
	struct btf_var_secinfo *infos;
};

static uint32_t place_of(const struct sl_elf_image *image, unsigned section, const char *name)
{
	for (unsigned i = 1; i < image->symbol_count; i++) {
		Elf64_Sym s = sl_elf_symbol(image, i);

		if (s.st_shndx == section && strcmp(sl_elf_symbol_name(image, &s), name) == 0)
			return (uint32_t)s.st_value;
	}
	return 0;
}

/* Those of a section ".maps" that the object has as well: where they were. */
static int keep_present(struct variables *vars, const struct sl_elf_image *image, unsigned present,
	const struct btf *btf)
{
	int id = btf__find_by_name_kind(btf, ".maps", BTF_KIND_DATASEC);
	const struct btf_type *t = id < 0 ? NULL : btf__type_by_id(btf, (uint32_t)id);

	for (unsigned i = 0; t && i < btf_vlen(t); i++) {
		uint32_t var = btf_var_secinfos(t)[i].type;
		const struct btf_type *v = btf__type_by_id(btf, var);
		const char *name = v ? btf__name_by_offset(btf, v->name_off) : NULL;
		int64_t size = btf__resolve_size(btf, var);

		if (!name || size < 0)
			return -EINVAL;
		vars->infos[vars->count++] = (struct btf_var_secinfo){ .type = var,
			.offset = place_of(image, present, name),
			.size = (uint32_t)size };
	}
	vars->size = ((uint32_t)image->sections[present].sh_size + 7) & ~7u;
	return 0;
}

static int add_variables(
	struct variables *vars, struct sl_legacy_maps *maps, struct btf *btf, const int *structs)
{
	for (unsigned i = 0; i < maps->count; i++) {
		uint32_t size = btf__type_by_id(btf, (uint32_t)structs[i])->size;
		int var =
			btf__add_var(btf, maps->maps[i].name, BTF_VAR_GLOBAL_ALLOCATED, structs[i]);

		if (var < 0)
			return var;
		vars->infos[vars->count++] = (struct btf_var_secinfo){
			.type = (uint32_t)var, .offset = vars->size, .size = size
		};
		maps->maps[i].btf_offset = vars->size;
		vars->size += size;
	}
	return 0;
}

static int add_section(struct btf *btf, const struct variables *vars)
{
	int id = btf__add_datasec(btf, ".maps", vars->size), err = id < 0 ? id : 0;

	for (unsigned i = 0; !err && i < vars->count; i++)
		err = btf__add_datasec_var_info(
			btf, (int)vars->infos[i].type, vars->infos[i].offset, vars->infos[i].size);
	return err;
}

/* Templates first: a map of maps is never one. */
static int define_all(
	const struct sl_legacy_maps *maps, struct btf *btf, int int_type, int *ret_structs)
{
	for (int round = 0; round < 2; round++)
		for (unsigned i = 0; i < maps->count; i++) {
			const struct sl_legacy_map *map = &maps->maps[i];

			if (sl_legacy_is_of_maps(map) != (round == 1))
				continue;
			ret_structs[i] = define(
				btf, int_type, map, map->inner < 0 ? 0 : ret_structs[map->inner]);
			if (ret_structs[i] < 0)
				return ret_structs[i];
		}
	return 0;
}

int64_t sl_legacy_describe(struct sl_legacy_maps *maps, const struct sl_elf_image *image,
	unsigned present, struct btf *btf)
{
	uint32_t known = btf__type_cnt(btf);
	int *structs = calloc(maps->count, sizeof(*structs));
	struct variables vars = { .infos = calloc(
					  BTF_MAX_VLEN + SL_LEGACY_MAPS_MAX, sizeof(*vars.infos)) };
	int int_type = btf__add_int(btf, "int", sizeof(int), BTF_INT_SIGNED);
	int err = !structs || !vars.infos ? -ENOMEM : int_type < 0 ? int_type : 0;

	if (!err)
		err = define_all(maps, btf, int_type, structs);
	if (!err && present)
		err = keep_present(&vars, image, present, btf);
	if (!err)
		err = add_variables(&vars, maps, btf, structs);
	if (!err) {
		retire_sections(btf, known, int_type);
		err = add_section(btf, &vars);
	}
	free(structs);
	free(vars.infos);
	return err ?: (int64_t)vars.size;
}
