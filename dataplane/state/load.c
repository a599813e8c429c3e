#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sluice/bpf.h>
#include <sluice/state.h>

#include "bpffs.h"
#include "fd.h"
#include "format.h"
#include "logging.h"
#include "map.h"
#include "object.h"
#include "pin.h"
#include "traits.h"

/*
 * Everything is made again by the commands of bpf(2), under the ids that it had: so whoever has noted
 * one finds the same. What is made is held until the pins hold it.
 */
struct load {
	struct sl_object **objects; /* a reference each, as a descriptor has */
	size_t count, room;
	int template_fd; /* -1: none */
	const char *root;
	struct sluice_state_report report;
	const char *what; /* the record at which it fails */
	uint32_t id;
};

/* Holds what has just been made, gives it its owner, and lets the descriptor go. */
static int keep(struct load *l, int fd, uint32_t id, uint32_t uid)
{
	struct sl_object *obj;
	int access, err;

	if (fd < 0)
		return -errno;
	if (l->count == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		struct sl_object **more = realloc(l->objects, room * sizeof(*more));

		if (!more) {
			close(fd);
			return -ENOMEM;
		}
		l->objects = more;
		l->room = room;
	}
	err = sl_fd_get_any(fd, &obj, &access);
	if (!err) {
		l->objects[l->count++] = sl_object_user_ref(obj);
		obj->uid = uid;
		err = obj->id == id ? 0 : -EEXIST;
		sl_object_unref(obj);
	}
	close(fd);
	return err;
}

static int open_by_id(int cmd, uint32_t id)
{
	union bpf_attr attr = { .map_id = id };

	return (int)sluice_bpf(cmd, &attr, sizeof(attr));
}

static int load_btf(struct load *l, const void *record, uint64_t len)
{
	const struct sl_state_btf *head = record;
	union bpf_attr attr = { 0 };

	if (len < sizeof(*head))
		return -EINVAL;
	l->id = head->id;
	attr.btf = (uintptr_t)(head + 1);
	attr.btf_size = (uint32_t)(len - sizeof(*head));
	sl_object_start_ids(SL_OBJECT_BTF, head->id);
	return keep(l, (int)sluice_bpf(BPF_BTF_LOAD, &attr, sizeof(attr)), head->id, head->uid);
}

/* As they were given: where memory is, is open again, and some the map has set itself. */
static uint32_t flags_of(const struct sl_state_map *head)
{
	uint32_t flags = head->flags & ~(uint32_t)BPF_F_NUMA_NODE;

	if (head->type == BPF_MAP_TYPE_DEVMAP || head->type == BPF_MAP_TYPE_DEVMAP_HASH)
		flags &= ~(uint32_t)BPF_F_RDONLY_PROG;
	return flags;
}

static int create_map(struct load *l, const struct sl_state_map *head)
{
	union bpf_attr attr = {
		.map_type = head->type,
		.key_size = head->key_size,
		.value_size = head->value_size,
		.max_entries = head->max_entries,
		.map_flags = flags_of(head),
		.map_extra = head->extra,
		.btf_key_type_id = head->key_type_id,
		.btf_value_type_id = head->value_type_id,
	};
	int btf_fd = head->btf_id ? open_by_id(BPF_BTF_GET_FD_BY_ID, head->btf_id) : -1, fd;

	memcpy(attr.map_name, head->name, sizeof(attr.map_name));
	attr.btf_fd = btf_fd >= 0 ? (uint32_t)btf_fd : 0;
	if (l->template_fd >= 0)
		attr.inner_map_fd = (uint32_t)l->template_fd;
	fd = (int)sluice_bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
	if (btf_fd >= 0)
		close(btf_fd);
	return fd;
}

/* Under an id that nothing has, and let go with the map that it is for. */
static int load_template(struct load *l, const void *record, uint64_t len)
{
	if (len < sizeof(struct sl_state_map) || l->template_fd >= 0)
		return -EINVAL;
	sl_object_start_ids(SL_OBJECT_MAP, SL_OBJECT_ID_MAX);
	l->template_fd = create_map(l, record);
	return l->template_fd < 0 ? -errno : 0;
}

static int load_map(struct load *l, const void *record, uint64_t len)
{
	const struct sl_state_map *head = record;
	int fd;

	if (len < sizeof(*head))
		return -EINVAL;
	l->id = head->id;
	sl_object_start_ids(SL_OBJECT_MAP, head->id);
	fd = create_map(l, head);
	if (l->template_fd >= 0)
		close(l->template_fd);
	l->template_fd = -1;
	l->report.maps++;
	return keep(l, fd, head->id, head->uid);
}

/* The value with a descriptor for the id in it; *ret_fd is to be closed. False: that is not kept. */
static bool refer(const struct sl_state_traits *traits, uint64_t value_bytes, const void *value,
	uint32_t ret_value[2], int *ret_fd)
{
	int cmd = traits->refers == SL_OBJECT_MAP ? BPF_MAP_GET_FD_BY_ID : BPF_PROG_GET_FD_BY_ID;

	*ret_fd = -1;
	memcpy(ret_value, value, value_bytes);
	if (ret_value[traits->at] == 0)
		return true;
	*ret_fd = open_by_id(cmd, ret_value[traits->at]);
	ret_value[traits->at] = (uint32_t)*ret_fd;
	return *ret_fd >= 0;
}

static int put_entry(struct load *l, int fd, const struct sl_state_traits *traits,
	const struct sl_state_entries *head, const uint8_t *key, const uint8_t *value)
{
	union bpf_attr attr = { .map_fd = (uint32_t)fd };
	uint32_t referring[2];
	int object = -1, err = 0;

	attr.key = head->key_size_bytes ? (uintptr_t)key : 0;
	attr.value = (uintptr_t)value;
	if (traits->has_reference) {
		if (!refer(traits, head->value_size_bytes, value, referring, &object)) {
			l->report.left_out++;
			return 0;
		}
		attr.value = (uintptr_t)referring;
	}
	if (sluice_bpf(BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr)) != 0)
		err = -errno;
	if (object >= 0)
		close(object);
	/* A program that cannot be loaded by now leaves a gap; everything else is a mistake. */
	if (err && traits->has_reference) {
		l->report.left_out++;
		err = 0;
	}
	return err;
}

static int put_batch(
	int fd, const struct sl_state_entries *head, const uint8_t *keys, const uint8_t *values)
{
	union bpf_attr attr = { .batch = { .map_fd = (uint32_t)fd,
					.keys = (uintptr_t)keys,
					.values = (uintptr_t)values,
					.count = (uint32_t)head->count } };

	return sluice_bpf(BPF_MAP_UPDATE_BATCH, &attr, sizeof(attr)) == 0 ? 0 : -errno;
}

static int load_entries(struct load *l, const void *record, uint64_t len)
{
	const struct sl_state_entries *head = record;
	const uint8_t *keys = (const uint8_t *)(head + 1), *values;
	const struct sl_state_traits *traits;
	struct sl_object *obj;
	bool in_batches;
	int fd, err = 0;

	if (len < sizeof(*head))
		return -EINVAL;
	l->id = head->map_id;
	obj = sl_object_get_by_id(SL_OBJECT_MAP, head->map_id);
	if (!obj)
		return -EINVAL;
	traits = sl_state_traits(&sl_map_of(obj)->desc);
	in_batches = sl_map_of(obj)->ops->batch & SL_MAP_BATCH_UPDATE && !traits->has_reference;
	if (head->key_size_bytes != sl_map_of(obj)->desc.key_size ||
		head->value_size_bytes != sl_state_value_bytes(&sl_map_of(obj)->desc) ||
		len - sizeof(*head) !=
			head->count * (head->key_size_bytes + head->value_size_bytes))
		err = -EINVAL;
	sl_object_unref(obj);
	fd = err ? -1 : open_by_id(BPF_MAP_GET_FD_BY_ID, head->map_id);
	if (err || fd < 0)
		return err ? err : -errno;
	values = keys + head->count * head->key_size_bytes;
	if (in_batches)
		err = put_batch(fd, head, keys, values);
	for (uint64_t i = 0; i < head->count && !err && !in_batches; i++)
		err = put_entry(l, fd, traits, head, keys + i * head->key_size_bytes,
			values + i * head->value_size_bytes);
	close(fd);
	/* User space may not write it. */
	if (err == -EPERM) {
		l->report.left_out++;
		return 0;
	}
	l->report.entries += head->count;
	return err;
}

static int load_freeze(struct load *l, const void *record, uint64_t len)
{
	const struct sl_state_freeze *freeze = record;
	union bpf_attr attr = { 0 };
	int fd, err;

	if (len < sizeof(*freeze))
		return -EINVAL;
	l->id = freeze->map_id;
	fd = open_by_id(BPF_MAP_GET_FD_BY_ID, freeze->map_id);
	if (fd < 0)
		return -errno;
	attr.map_fd = (uint32_t)fd;
	err = sluice_bpf(BPF_MAP_FREEZE, &attr, sizeof(attr)) == 0 ? 0 : -errno;
	close(fd);
	return err;
}

/* Ids of maps become descriptors, which are to be closed: as many as ret_fds has. */
static int open_maps(struct bpf_insn *insns, uint32_t count, int **ret_fds, uint32_t *ret_fd_count)
{
	int *fds = calloc(count, sizeof(*fds));

	*ret_fds = fds;
	*ret_fd_count = 0;
	if (!fds)
		return -ENOMEM;
	for (uint32_t i = 0; i + 1 < count; i++) {
		int fd;

		if (insns[i].code != (BPF_LD | BPF_IMM | BPF_DW))
			continue;
		i++;
		if (insns[i - 1].src_reg != BPF_PSEUDO_MAP_FD &&
			insns[i - 1].src_reg != BPF_PSEUDO_MAP_VALUE)
			continue;
		fd = open_by_id(BPF_MAP_GET_FD_BY_ID, (uint32_t)insns[i - 1].imm);
		if (fd < 0)
			return -errno;
		fds[(*ret_fd_count)++] = fd;
		insns[i - 1].imm = fd;
	}
	return 0;
}

static int load_prog(struct load *l, const void *record, uint64_t len)
{
	const struct sl_state_prog *head = record;
	uint64_t insns_len, funcs_len, lines_len;
	union bpf_attr attr = { 0 };
	struct bpf_insn *insns;
	uint32_t fd_count = 0;
	int *fds = NULL, btf_fd = -1, err;

	if (len < sizeof(*head))
		return -EINVAL;
	l->id = head->id;
	insns_len = head->insn_count * sizeof(struct bpf_insn);
	funcs_len = head->func_info_count * sizeof(struct bpf_func_info);
	lines_len = head->line_info_count * sizeof(struct bpf_line_info);
	if (len != sizeof(*head) + insns_len + funcs_len + lines_len)
		return -EINVAL;
	insns = malloc(insns_len + 1);
	if (!insns)
		return -ENOMEM;
	memcpy(insns, head + 1, insns_len);
	err = open_maps(insns, head->insn_count, &fds, &fd_count);
	if (!err && head->btf_id) {
		btf_fd = open_by_id(BPF_BTF_GET_FD_BY_ID, head->btf_id);
		err = btf_fd < 0 ? -errno : 0;
	}
	if (!err) {
		attr.prog_type = head->type;
		attr.expected_attach_type = head->expected_attach_type;
		attr.prog_flags = head->flags;
		attr.insns = (uintptr_t)insns;
		attr.insn_cnt = head->insn_count;
		attr.license = (uintptr_t)head->license;
		memcpy(attr.prog_name, head->name, sizeof(attr.prog_name));
		if (btf_fd >= 0) {
			attr.prog_btf_fd = (uint32_t)btf_fd;
			attr.func_info = (uintptr_t)(head + 1) + insns_len;
			attr.func_info_cnt = head->func_info_count;
			attr.func_info_rec_size = sizeof(struct bpf_func_info);
			attr.line_info = attr.func_info + funcs_len;
			attr.line_info_cnt = head->line_info_count;
			attr.line_info_rec_size = sizeof(struct bpf_line_info);
		}
		sl_object_start_ids(SL_OBJECT_PROG, head->id);
		err = keep(l, (int)sluice_bpf(BPF_PROG_LOAD, &attr, sizeof(attr)), head->id,
			head->uid);
		l->report.progs += !err;
	}
	while (fd_count)
		close(fds[--fd_count]);
	if (btf_fd >= 0)
		close(btf_fd);
	free(fds);
	free(insns);
	/* What it was written for may not be here any more, and its maps are worth having without it. */
	if (err && err != -ENOMEM && err != -EEXIST) {
		sl_log(SL_LOG_WARN, "program %u '%.16s' is not loaded again: %s", head->id,
			head->name, strerror(-err));
		l->report.left_out++;
		err = 0;
	}
	return err;
}

static int make_pin(struct load *l, const struct sl_state_node *node, char *path)
{
	struct sl_object *obj = sl_object_get_by_id(node->object_type, node->object_id);
	struct sl_bpffs_path at = { .dir_fd = AT_FDCWD, .path = path };
	char *slash = strrchr(path, '/');
	int file, err;

	if (!obj) {
		l->report.left_out++;
		return 0;
	}
	*slash = 0;
	file = open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	*slash = '/';
	err = file < 0 ? -errno : sl_pin_add(file, obj);
	if (!err &&
		(fchown(file, node->uid, node->gid) != 0 || fchmod(file, node->mode & 07777) != 0))
		err = -errno;
	if (!err)
		err = sl_bpffs_publish(file, &at);
	if (file >= 0)
		close(file);
	sl_object_unref(obj);
	l->report.pins += !err;
	return err;
}

static int make_link(const struct sl_state_node *node, const char *path, const char *target)
{
	struct sl_bpffs_path to;

	if (*target == '/') {
		sl_bpffs_look(AT_FDCWD, target, &to);
		target = to.path;
	}
	if (symlink(target, path) != 0 ||
		fchownat(AT_FDCWD, path, node->uid, node->gid, AT_SYMLINK_NOFOLLOW) != 0)
		return -errno;
	return 0;
}

/* Directories get their modes once everything is in them. */
static int load_node(struct load *l, const void *record, uint64_t len)
{
	const struct sl_state_node *node = record;
	const char *below = (const char *)(node + 1), *target;
	char path[PATH_MAX];

	if (len < sizeof(*node) || len != sizeof(*node) + node->path_size + node->target_size ||
		!node->path_size || !node->target_size)
		return -EINVAL;
	target = below + node->path_size;
	if (below[node->path_size - 1] || target[node->target_size - 1] || strstr(below, "..") ||
		snprintf(path, sizeof(path), "%s/%s", l->root, below) >= (int)sizeof(path))
		return -EINVAL;
	if (S_ISDIR(node->mode))
		return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : -errno;
	if (S_ISLNK(node->mode))
		return make_link(node, path, target);
	return make_pin(l, node, path);
}

static int finish_node(struct load *l, const void *record, uint64_t len)
{
	const struct sl_state_node *node = record;
	char path[PATH_MAX];

	(void)len;
	if (!S_ISDIR(node->mode))
		return 0;
	snprintf(path, sizeof(path), "%s/%s", l->root, (const char *)(node + 1));
	return chown(path, node->uid, node->gid) == 0 && chmod(path, node->mode & 07777) == 0
		       ? 0
		       : -errno;
}

static const struct {
	const char *name;
	int (*load)(struct load *l, const void *record, uint64_t len);
	int (*finish)(struct load *l, const void *record, uint64_t len);
} kinds[] = {
	[SL_STATE_BTF] = { "BTF", load_btf, NULL },
	[SL_STATE_TEMPLATE] = { "inner map", load_template, NULL },
	[SL_STATE_MAP] = { "map", load_map, NULL },
	[SL_STATE_ENTRIES] = { "contents of map", load_entries, NULL },
	[SL_STATE_FREEZE] = { "freezing map", load_freeze, NULL },
	[SL_STATE_PROG] = { "program", load_prog, NULL },
	[SL_STATE_NODE] = { "pin", load_node, finish_node },
};

static int load_records(struct load *l, const struct sl_state_file *file, bool finish)
{
	int err = 0;

	for (uint64_t at = 0; at < file->len_bytes && !err;) {
		const struct sl_state_record *record = (const void *)(file->bytes + at);
		uint64_t left = file->len_bytes - at - sizeof(*record);

		l->what = "record";
		l->id = 0;
		if (file->len_bytes - at < sizeof(*record) || record->len_bytes > left ||
			record->kind >= sl_array_size(kinds) || !kinds[record->kind].load)
			return -EINVAL;
		l->what = kinds[record->kind].name;
		if (!finish)
			err = kinds[record->kind].load(l, record + 1, record->len_bytes);
		else if (kinds[record->kind].finish)
			err = kinds[record->kind].finish(l, record + 1, record->len_bytes);
		at += sizeof(*record) + sl_round_up(record->len_bytes, 8);
	}
	return err;
}

static void let_go(struct load *l)
{
	if (l->template_fd >= 0)
		close(l->template_fd);
	while (l->count)
		sl_object_user_unref(l->objects[--l->count]);
	free(l->objects);
	sl_fd_reap();
}

/* Nobody may get in between. */
static int load_file(struct load *l, const struct sl_state_file *file)
{
	int err = chmod(l->root, 0700) == 0 ? load_records(l, file, false) : -errno;

	if (!err)
		err = load_records(l, file, true);
	if (err)
		sl_bpffs_empty(l->root);
	chmod(l->root, 0755);
	let_go(l);
	return err;
}

/* It is used once: what changes from now on is not in it. */
static void put_away(const char *dir, bool good)
{
	char path[PATH_MAX], bad[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/state", dir) >= (int)sizeof(path) ||
		snprintf(bad, sizeof(bad), "%s/state.bad", dir) >= (int)sizeof(bad))
		return;
	if (good)
		unlink(path);
	else
		rename(path, bad);
}

int sluice_state_load(const char *dir, struct sluice_state_report *ret_report)
{
	struct load l = { .template_fd = -1, .root = sl_bpffs_root() };
	struct sl_state_file file;
	const char *why;
	int err = l.root ? sl_state_open(&file, dir, &why) : -ENOENT;

	if (err == -ENOENT)
		return err;
	if (err) {
		sl_log(SL_LOG_ERROR, "the state in %s is not taken: %s", dir,
			err == -EINVAL ? why : strerror(-err));
		put_away(dir, false);
		return err;
	}
	l.report.bytes = file.len_bytes;
	err = load_file(&l, &file);
	if (err)
		sl_log(SL_LOG_ERROR, "the state in %s is not taken: %s %u: %s", dir, l.what, l.id,
			strerror(-err));
	sl_state_close(&file);
	put_away(dir, !err);
	if (!err && ret_report)
		*ret_report = l.report;
	return err;
}
