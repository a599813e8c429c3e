#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sluice/bpf.h>
#include <sluice/state.h>

#include "bpffs.h"
#include "btf.h"
#include "cpu.h"
#include "fd.h"
#include "format.h"
#include "logging.h"
#include "map.h"
#include "pin.h"
#include "prog.h"
#include "traits.h"

/*
 * Starts from the pins, finds what these objects need, and writes it down by the commands that any
 * program has: so all types of maps are kept by the same code.
 */

struct set {
	struct sl_object **objects; /* a reference each */
	size_t count, room;
	size_t done; /* whose needs have been added */
	uint8_t *seen; /* a bit per id */
	size_t seen_bytes;
};

struct save {
	struct sl_state_file file;
	struct set sets[SL_OBJECT_TYPES];
	struct sluice_state_report report;
	const char *root;
	int err;
};

/* Grows zeroed memory to hold element `at`. */
static bool reserve(void *memory, size_t *room, size_t at, size_t element_bytes)
{
	void **p = memory, *more;
	size_t wanted = *room ? *room : 64;

	while (wanted <= at)
		wanted *= 2;
	if (wanted == *room)
		return true;
	more = realloc(*p, wanted * element_bytes);
	if (!more)
		return false;
	memset((char *)more + *room * element_bytes, 0, (wanted - *room) * element_bytes);
	*p = more;
	*room = wanted;
	return true;
}

static void add(struct save *s, struct sl_object *obj)
{
	struct set *set = &s->sets[obj->type];
	uint8_t bit = (uint8_t)(1 << obj->id % 8);

	if (!reserve(&set->seen, &set->seen_bytes, obj->id / 8, 1) ||
		!reserve(&set->objects, &set->room, set->count, sizeof(*set->objects))) {
		s->err = -ENOMEM;
		return;
	}
	if (set->seen[obj->id / 8] & bit)
		return;
	set->seen[obj->id / 8] |= bit;
	set->objects[set->count++] = sl_object_ref(obj);
}

/* The program whose function it replaces, and the port, are not there when it is loaded. */
static bool can_be_kept(const struct sl_object *obj)
{
	const struct sl_prog *prog = sl_prog_of((struct sl_object *)obj);

	return obj->type == SL_OBJECT_MAP ||
	       (obj->type == SL_OBJECT_PROG && prog->type != BPF_PROG_TYPE_EXT &&
		       !prog->bound_device);
}

/* A descriptor for the commands; the caller's. */
static int open_map(const struct sl_map *map)
{
	union bpf_attr attr = { .map_id = map->obj.id };

	return (int)sluice_bpf(BPF_MAP_GET_FD_BY_ID, &attr, sizeof(attr));
}

static bool next_key(int fd, const void *key, void *ret_next)
{
	union bpf_attr attr = {
		.map_fd = (uint32_t)fd, .key = (uintptr_t)key, .next_key = (uintptr_t)ret_next
	};

	return sluice_bpf(BPF_MAP_GET_NEXT_KEY, &attr, sizeof(attr)) == 0;
}

static bool look_up(int fd, const void *key, void *ret_value)
{
	union bpf_attr attr = {
		.map_fd = (uint32_t)fd, .key = (uintptr_t)key, .value = (uintptr_t)ret_value
	};

	return sluice_bpf(BPF_MAP_LOOKUP_ELEM, &attr, sizeof(attr)) == 0;
}

/* What the map's entries refer to. */
static void add_entries(struct save *s, struct sl_map *map, const struct sl_state_traits *traits)
{
	uint32_t value[2] = { 0 };
	void *key = calloc(1, map->desc.key_size);
	int fd = open_map(map);
	bool more = key && fd >= 0 && next_key(fd, NULL, key);

	while (more && !s->err) {
		struct sl_object *obj = NULL;

		if (look_up(fd, key, value) && value[traits->at])
			obj = sl_object_get_by_id(traits->refers, value[traits->at]);
		if (obj && can_be_kept(obj))
			add(s, obj);
		sl_object_unref(obj);
		more = next_key(fd, key, key);
	}
	if (fd >= 0)
		close(fd);
	free(key);
}

static void add_needs_of_map(struct save *s, struct sl_map *map)
{
	const struct sl_state_traits *traits = sl_state_traits(&map->desc);

	if (map->btf)
		add(s, &map->btf->obj);
	if (traits->has_reference)
		add_entries(s, map, traits);
}

static void add_needs_of_prog(struct save *s, struct sl_prog *prog)
{
	if (prog->btf)
		add(s, &prog->btf->obj);
	sl_prog_lock_maps();
	for (uint32_t i = 0; i < prog->used_map_count; i++)
		add(s, &prog->used_maps[i]->obj);
	sl_prog_unlock_maps();
}

/* One needs the other: until neither adds any. */
static void add_needs(struct save *s)
{
	struct set *maps = &s->sets[SL_OBJECT_MAP], *progs = &s->sets[SL_OBJECT_PROG];

	while (!s->err && (maps->done < maps->count || progs->done < progs->count)) {
		if (maps->done < maps->count)
			add_needs_of_map(s, sl_map_of(maps->objects[maps->done++]));
		else
			add_needs_of_prog(s, sl_prog_of(progs->objects[progs->done++]));
	}
}

static bool add_pin(const char *path, const char *real, const struct stat *st, void *arg)
{
	struct save *s = arg;
	struct sl_object *obj;

	(void)path;
	(void)real;
	if (!S_ISREG(st->st_mode) || sl_pin_get(st, &obj) != 0)
		return true;
	if (can_be_kept(obj))
		add(s, obj);
	else
		s->report.left_out++;
	sl_object_unref(obj);
	return !s->err;
}

static int by_id(const void *a, const void *b)
{
	const struct sl_object *const *x = a, *const *y = b;

	return (*x)->id < (*y)->id ? -1 : 1;
}

static void put_btf(struct save *s, const struct sl_btf *btf)
{
	struct sl_state_btf head = { .id = btf->obj.id, .uid = btf->obj.uid };

	sl_state_begin(&s->file, SL_STATE_BTF, sizeof(head) + btf->size);
	sl_state_put(&s->file, &head, sizeof(head));
	sl_state_put(&s->file, btf->data, btf->size);
	sl_state_pad(&s->file);
}

static void put_definition(struct save *s, const struct sl_map *map, enum sl_state_kind kind)
{
	struct sl_state_map head = {
		.id = map->obj.id,
		.uid = map->obj.uid,
		.type = map->desc.type,
		.key_size = map->desc.key_size,
		.value_size = map->desc.value_size,
		.max_entries = map->desc.max_entries,
		.flags = map->desc.flags,
		.btf_id = map->btf ? map->btf->obj.id : 0,
		.key_type_id = map->btf_key_type_id,
		.value_type_id = map->btf_value_type_id,
		.extra = map->map_extra,
	};

	memcpy(head.name, map->name, sizeof(head.name));
	sl_state_begin(&s->file, kind, sizeof(head));
	sl_state_put(&s->file, &head, sizeof(head));
	sl_state_pad(&s->file);
}

struct batch {
	uint32_t room, count;
	uint8_t *keys, *values;
};

static bool batch_new(
	struct batch *b, const struct sl_map *map, uint64_t value_bytes, uint32_t room)
{
	b->room = room;
	b->keys = malloc((size_t)room * (map->desc.key_size + 8));
	b->values = malloc(room * value_bytes + 8);
	return b->keys && b->values;
}

static void batch_done(struct batch *b)
{
	free(b->keys);
	free(b->values);
}

static void put_entries(
	struct save *s, const struct sl_map *map, const struct batch *b, uint64_t value_bytes)
{
	struct sl_state_entries head = { .map_id = map->obj.id,
		.key_size_bytes = map->desc.key_size,
		.value_size_bytes = value_bytes,
		.count = b->count };
	uint64_t keys_len = (uint64_t)b->count * map->desc.key_size;

	if (!b->count)
		return;
	sl_state_begin(
		&s->file, SL_STATE_ENTRIES, sizeof(head) + keys_len + b->count * value_bytes);
	sl_state_put(&s->file, &head, sizeof(head));
	sl_state_put(&s->file, b->keys, keys_len);
	sl_state_put(&s->file, b->values, b->count * value_bytes);
	sl_state_pad(&s->file);
	s->report.entries += b->count;
}

/* As many at once as a command gives. */
static int put_batches(struct save *s, struct sl_map *map, int fd, uint64_t value_bytes)
{
	uint64_t position[2][SL_MAX_CPUS] = { { 0 } };
	uint32_t room = (uint32_t)(1 << 20) / (uint32_t)(map->desc.key_size + value_bytes) + 16;
	void *at = map->desc.key_size > sizeof(position[0]) ? calloc(1, map->desc.key_size)
							    : position[0];
	bool first = true;
	int err = at ? 0 : -ENOMEM;
	struct batch b;

	while (!err) {
		union bpf_attr attr = { .batch = { .in_batch = first ? 0 : (uintptr_t)at,
						.out_batch = (uintptr_t)at,
						.map_fd = (uint32_t)fd,
						.count = room } };

		if (!batch_new(&b, map, value_bytes, room)) {
			batch_done(&b);
			err = -ENOMEM;
			break;
		}
		attr.batch.keys = (uintptr_t)b.keys;
		attr.batch.values = (uintptr_t)b.values;
		if (sluice_bpf(BPF_MAP_LOOKUP_BATCH, &attr, sizeof(attr)) != 0)
			err = -errno;
		if (err == -ENOSPC) { /* not even one bucket */
			err = room < 1 << 24 ? 0 : err;
			room *= 4;
		} else if (!err || err == -ENOENT) {
			b.count = attr.batch.count;
			put_entries(s, map, &b, value_bytes);
			first = false;
		}
		batch_done(&b);
	}
	if (at != position[0])
		free(at);
	return err == -ENOENT ? 0 : err;
}

static int put_one_by_one(struct save *s, struct sl_map *map, int fd, uint64_t value_bytes)
{
	void *key = calloc(1, map->desc.key_size + 8);
	struct batch b = { 0 };
	bool more;

	if (!key || !batch_new(&b, map, value_bytes, 1024)) {
		batch_done(&b);
		free(key);
		return -ENOMEM;
	}
	for (more = next_key(fd, NULL, key); more; more = next_key(fd, key, key)) {
		memcpy(b.keys + (size_t)b.count * map->desc.key_size, key, map->desc.key_size);
		b.count += look_up(fd, key, b.values + b.count * value_bytes);
		if (b.count < b.room)
			continue;
		put_entries(s, map, &b, value_bytes);
		b.count = 0;
	}
	put_entries(s, map, &b, value_bytes);
	batch_done(&b);
	free(key);
	return 0;
}

/* They have no keys, and show only the next one: what is taken out first goes in first, or last. */
static int put_queue(struct save *s, struct sl_map *map, int fd, uint64_t value_bytes)
{
	bool stack = map->desc.type == BPF_MAP_TYPE_STACK;
	struct batch b = { 0 };
	uint8_t *value;

	if (!batch_new(&b, map, value_bytes, map->desc.max_entries)) {
		batch_done(&b);
		return -ENOMEM;
	}
	value = b.values;
	while (b.count < b.room) {
		union bpf_attr attr = { .map_fd = (uint32_t)fd };

		if (stack)
			value = b.values + (b.room - 1 - b.count) * value_bytes;
		else
			value = b.values + b.count * value_bytes;
		attr.value = (uintptr_t)value;
		if (sluice_bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM, &attr, sizeof(attr)) != 0)
			break;
		b.count++;
	}
	if (stack)
		memmove(b.values, b.values + (b.room - b.count) * value_bytes,
			b.count * value_bytes);
	put_entries(s, map, &b, value_bytes);
	batch_done(&b);
	return 0;
}

static void put_contents(struct save *s, struct sl_map *map)
{
	const struct sl_state_traits *traits = sl_state_traits(&map->desc);
	uint64_t value_bytes = sl_state_value_bytes(&map->desc);
	int fd, err;

	if (traits->how == SL_STATE_NOT_KEPT) {
		s->report.left_out++;
		return;
	}
	fd = open_map(map);
	if (fd < 0)
		err = -errno;
	else if (traits->how == SL_STATE_POPPED)
		err = put_queue(s, map, fd, value_bytes);
	else if (map->ops->batch & SL_MAP_BATCH_LOOKUP && !traits->has_reference)
		err = put_batches(s, map, fd, value_bytes);
	else
		err = put_one_by_one(s, map, fd, value_bytes);
	if (fd >= 0)
		close(fd);
	if (err == -ENOMEM || err == -ENOSPC)
		s->err = err;
	else if (err) /* user space may not read it */
		s->report.left_out++;
}

static void put_map(struct save *s, struct sl_map *map)
{
	struct sl_state_freeze freeze = { .map_id = map->obj.id };

	if (map->inner)
		put_definition(s, map->inner, SL_STATE_TEMPLATE);
	put_definition(s, map, SL_STATE_MAP);
	if (!sl_state_traits(&map->desc)->has_reference)
		put_contents(s, map);
	if (!map->frozen)
		return;
	sl_state_begin(&s->file, SL_STATE_FREEZE, sizeof(freeze));
	sl_state_put(&s->file, &freeze, sizeof(freeze));
}

static void put_prog(struct save *s, const struct sl_prog *prog)
{
	struct sl_state_prog head = {
		.id = prog->obj.id,
		.uid = prog->obj.uid,
		.type = prog->type,
		.expected_attach_type = prog->expected_attach_type,
		.flags = prog->flags,
		.btf_id = prog->btf ? prog->btf->obj.id : 0,
		.insn_count = prog->insn_count,
		.func_info_count = prog->func_info_count,
		.line_info_count = prog->line_info_count,
	};
	uint64_t insns_len = prog->insn_count * sizeof(struct bpf_insn);
	uint64_t funcs_len = prog->func_info_count * sizeof(*prog->func_info);
	uint64_t lines_len = prog->line_info_count * sizeof(*prog->line_info);
	struct bpf_prog_info info = { .xlated_prog_len = (uint32_t)insns_len };
	union bpf_attr attr = { .prog_id = prog->obj.id };
	struct bpf_insn *insns = malloc(insns_len);
	int fd = (int)sluice_bpf(BPF_PROG_GET_FD_BY_ID, &attr, sizeof(attr));

	info.xlated_prog_insns = (uintptr_t)insns;
	memset(&attr, 0, sizeof(attr));
	attr.info.bpf_fd = (uint32_t)fd;
	attr.info.info_len = sizeof(info);
	attr.info.info = (uintptr_t)&info;
	if (!insns || fd < 0 || sluice_bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)) != 0) {
		s->err = -ENOMEM;
	} else {
		memcpy(head.name, prog->name, sizeof(head.name));
		memcpy(head.license, prog->license, sizeof(head.license));
		sl_state_begin(
			&s->file, SL_STATE_PROG, sizeof(head) + insns_len + funcs_len + lines_len);
		sl_state_put(&s->file, &head, sizeof(head));
		sl_state_put(&s->file, insns, insns_len);
		sl_state_put(&s->file, prog->func_info, funcs_len);
		sl_state_put(&s->file, prog->line_info, lines_len);
		sl_state_pad(&s->file);
	}
	if (fd >= 0)
		close(fd);
	free(insns);
}

static int find_id(const void *key, const void *element)
{
	uint32_t id = *(const uint32_t *)key, other = (*(struct sl_object *const *)element)->id;

	return id < other ? -1 : id > other;
}

static bool holds(const struct save *s, const struct sl_object *obj)
{
	const struct set *set = &s->sets[obj->type];

	return set->count &&
	       bsearch(&obj->id, set->objects, set->count, sizeof(*set->objects), find_id) != NULL;
}

static bool put_node(const char *path, const char *real, const struct stat *st, void *arg)
{
	struct save *s = arg;
	struct sl_state_node node = { .mode = st->st_mode, .uid = st->st_uid, .gid = st->st_gid };
	const char *below = real + strlen(s->root) + 1;
	char target[PATH_MAX] = "", public[PATH_MAX];
	struct sl_object *obj = NULL;
	ssize_t len;

	(void)path;
	if (S_ISREG(st->st_mode)) {
		if (sl_pin_get(st, &obj) != 0)
			return true;
		node.object_type = obj->type;
		node.object_id = obj->id;
		if (!holds(s, obj)) {
			sl_object_unref(obj);
			return true;
		}
		sl_object_unref(obj);
		s->report.pins++;
	} else if (S_ISLNK(st->st_mode)) {
		len = readlink(real, target, sizeof(target) - 1);
		if (len < 0)
			return true;
		target[len] = 0;
		/* The root may be elsewhere by then. */
		if (sl_bpffs_public(target, public, sizeof(public)))
			strcpy(target, public);
	} else if (!S_ISDIR(st->st_mode)) {
		return true;
	}
	node.path_size = (uint32_t)strlen(below) + 1;
	node.target_size = (uint32_t)strlen(target) + 1;
	sl_state_begin(&s->file, SL_STATE_NODE, sizeof(node) + node.path_size + node.target_size);
	sl_state_put(&s->file, &node, sizeof(node));
	sl_state_put(&s->file, below, node.path_size);
	sl_state_put(&s->file, target, node.target_size);
	sl_state_pad(&s->file);
	return true;
}

static void put_all(struct save *s)
{
	const struct set *btfs = &s->sets[SL_OBJECT_BTF], *maps = &s->sets[SL_OBJECT_MAP],
			 *progs = &s->sets[SL_OBJECT_PROG];

	for (size_t i = 0; i < btfs->count; i++)
		put_btf(s, sl_btf_of(btfs->objects[i]));
	for (size_t i = 0; i < maps->count && !s->err; i++)
		put_map(s, sl_map_of(maps->objects[i]));
	for (size_t i = 0; i < progs->count && !s->err; i++)
		put_prog(s, sl_prog_of(progs->objects[i]));
	/* These hold maps and programs, which are all there by then. */
	for (size_t i = 0; i < maps->count && !s->err; i++)
		if (sl_state_traits(&sl_map_of(maps->objects[i])->desc)->has_reference)
			put_contents(s, sl_map_of(maps->objects[i]));
	if (!s->err)
		sl_bpffs_walk(put_node, s);
	s->report.maps = (uint32_t)maps->count;
	s->report.progs = (uint32_t)progs->count;
}

int sluice_state_save(const char *dir, struct sluice_state_report *ret_report)
{
	struct save s = { .root = sl_bpffs_root() };
	int err;

	if (!s.root)
		return -errno;
	if (mkdir(dir, 0700) != 0 && errno != EEXIST)
		return -errno;
	sl_fd_reap();
	err = sl_state_create(&s.file, dir);
	if (err)
		return err;
	sl_bpffs_walk(add_pin, &s);
	add_needs(&s);
	for (int i = 0; i < SL_OBJECT_TYPES; i++)
		if (s.sets[i].count)
			qsort(s.sets[i].objects, s.sets[i].count, sizeof(*s.sets[i].objects),
				by_id);
	if (!s.err)
		put_all(&s);
	s.report.bytes = s.file.len_bytes;
	err = sl_state_finish(&s.file, dir, s.err);
	for (int i = 0; i < SL_OBJECT_TYPES; i++) {
		while (s.sets[i].count)
			sl_object_unref(s.sets[i].objects[--s.sets[i].count]);
		free(s.sets[i].objects);
		free(s.sets[i].seen);
	}
	if (!err && ret_report)
		*ret_report = s.report;
	return err;
}
