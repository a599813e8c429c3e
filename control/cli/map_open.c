#include "map_open.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "daemon.h"
#include "verb.h"

static const char *const words[] = {
	[SL_MAP_BY_NAME] = "name",
	[SL_MAP_BY_ID] = "id",
	[SL_MAP_BY_PIN] = "pinned",
	[SL_MAP_BY_FD] = "fd",
};

enum { WORDS = sizeof(words) / sizeof(words[0]) };

/* The kind that the text begins with, or is; *ret_rest is behind the colon, NULL without one. */
static bool starts_with_word(const char *text, enum sl_map_by *ret_by, const char **ret_rest)
{
	size_t len = strcspn(text, ":");

	for (unsigned i = 0; i < WORDS; i++) {
		if (strlen(words[i]) != len || memcmp(words[i], text, len) != 0)
			continue;
		*ret_by = i;
		*ret_rest = text[len] ? text + len + 1 : NULL;
		return true;
	}
	return false;
}

int sl_map_ref_take(const char *command, int *argc, char ***argv, struct sl_map_ref *ret_ref)
{
	const char *text, *rest;
	unsigned long number = 0;
	char *end;

	if (*argc == 0)
		return sl_cli_usage("%s: no map given", command);
	text = *(*argv)++;
	--*argc;
	ret_ref->by = SL_MAP_BY_NAME;
	if (!starts_with_word(text, &ret_ref->by, &rest)) {
		rest = text;
	} else if (!rest) {
		if (*argc == 0)
			return sl_cli_usage("%s: nothing after '%s'", command, text);
		rest = *(*argv)++;
		--*argc;
	}
	ret_ref->text = rest;
	if (!*rest)
		return sl_cli_usage("%s: the map's %s is empty", command, words[ret_ref->by]);
	if (ret_ref->by != SL_MAP_BY_ID && ret_ref->by != SL_MAP_BY_FD)
		return 0;
	number = strtoul(rest, &end, 10);
	if (*end || *rest < '0' || *rest > '9' || number > INT32_MAX)
		return sl_cli_usage("%s: '%s' is no %s of a map", command, rest,
			ret_ref->by == SL_MAP_BY_ID ? "id" : "descriptor");
	ret_ref->number = (uint32_t)number;
	return 0;
}

static int open_by_name(const char *name, char *ret_reason, size_t reason_size)
{
	uint32_t id = 0, found_id = 0;
	int found = -1;

	while (bpf_map_get_next_id(id, &id) == 0) {
		struct bpf_map_info info = { 0 };
		uint32_t len = sizeof(info);
		int fd = bpf_map_get_fd_by_id(id);

		if (fd < 0)
			continue;
		/* The kernel keeps only so much of a name. */
		if (bpf_obj_get_info_by_fd(fd, &info, &len) != 0 ||
			strncmp(info.name, name, sizeof(info.name) - 1) != 0) {
			close(fd);
			continue;
		}
		if (found >= 0) {
			snprintf(ret_reason, reason_size,
				"maps %u and %u are both named '%s' (use id)", found_id, id, name);
			close(fd);
			close(found);
			return -EEXIST;
		}
		found = fd;
		found_id = id;
	}
	if (found < 0) {
		snprintf(ret_reason, reason_size, "no map is named '%s'", name);
		return -ENOENT;
	}
	return found;
}

/* The kernel's are of an inode without a type, Sluice's files in memory. */
enum sl_client_target sl_map_owner(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && !S_ISREG(st.st_mode) ? SL_CLIENT_KERNEL : SL_CLIENT_DAEMON;
}

/* bpf(2) tells of a program in the same words as of a map. */
static bool is_map(int fd)
{
	char path[64], target[64] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return readlink(path, target, sizeof(target) - 1) > 0 && strstr(target, "bpf-map");
}

/* Says in words that there is none, before bpf(2) says it with an errno. */
static int reach_daemon(char *ret_reason, size_t reason_size)
{
	char why[SL_DAEMON_REASON];
	int err;

	if (sl_client_target() != SL_CLIENT_DAEMON)
		return 0;
	err = sl_daemon_call("daemon.info", NULL, NULL, NULL, NULL, why);
	if (err)
		snprintf(ret_reason, reason_size, "%s", why);
	return err;
}

static int open_by_fd(uint32_t number, char *ret_reason, size_t reason_size)
{
	int fd = fcntl((int)number, F_DUPFD_CLOEXEC, 3);

	if (fd < 0) {
		snprintf(ret_reason, reason_size, "fd %u: not open", number);
		return -EBADF;
	}
	sl_client_use(sl_map_owner(fd));
	if (reach_daemon(ret_reason, reason_size) == 0)
		return fd;
	close(fd);
	return -ECONNREFUSED;
}

int sl_map_ref_open(const struct sl_map_ref *ref, char *ret_reason, size_t reason_size)
{
	int fd;

	if (ref->by != SL_MAP_BY_FD) {
		fd = reach_daemon(ret_reason, reason_size);
		if (fd)
			return fd;
	}
	switch (ref->by) {
	case SL_MAP_BY_NAME:
		return open_by_name(ref->text, ret_reason, reason_size);
	case SL_MAP_BY_FD:
		return open_by_fd(ref->number, ret_reason, reason_size);
	case SL_MAP_BY_ID:
		fd = bpf_map_get_fd_by_id(ref->number);
		if (fd < 0)
			snprintf(ret_reason, reason_size, "map id %u: %s", ref->number,
				strerror(-fd));
		return fd;
	default:
		fd = bpf_obj_get(ref->text);
		if (fd < 0)
			snprintf(ret_reason, reason_size, "%s: %s", ref->text, strerror(-fd));
		return fd;
	}
}

static bool is_percpu(uint32_t type)
{
	return type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_ARRAY ||
	       type == BPF_MAP_TYPE_LRU_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE;
}

static enum sl_value_kind what_it_holds(uint32_t type)
{
	switch (type) {
	case BPF_MAP_TYPE_PROG_ARRAY:
		return SL_VALUE_PROG;
	case BPF_MAP_TYPE_ARRAY_OF_MAPS:
	case BPF_MAP_TYPE_HASH_OF_MAPS:
		return SL_VALUE_MAP;
	case BPF_MAP_TYPE_PERF_EVENT_ARRAY:
	case BPF_MAP_TYPE_CGROUP_ARRAY:
	case BPF_MAP_TYPE_XSKMAP:
	case BPF_MAP_TYPE_SOCKMAP:
	case BPF_MAP_TYPE_SOCKHASH:
	case BPF_MAP_TYPE_REUSEPORT_SOCKARRAY:
		return SL_VALUE_FD;
	default:
		return SL_VALUE_PLAIN;
	}
}

static void set_types(struct sl_map_handle *map)
{
	const struct bpf_map_info *info = &map->info;

	map->key.size = info->key_size;
	map->key.is_prefix = info->type == BPF_MAP_TYPE_LPM_TRIE;
	map->value.size = info->value_size;
	/* BTF that may not be read is none. */
	if (info->btf_id)
		map->btf = btf__load_from_kernel_by_id(info->btf_id);
	if (!map->btf)
		return;
	if (btf__resolve_size(map->btf, info->btf_key_type_id) == info->key_size) {
		map->key.btf = map->btf;
		map->key.btf_id = info->btf_key_type_id;
	}
	if (btf__resolve_size(map->btf, info->btf_value_type_id) == info->value_size &&
		map->holds == SL_VALUE_PLAIN) {
		map->value.btf = map->btf;
		map->value.btf_id = info->btf_value_type_id;
	}
}

int sl_map_handle_open(const struct sl_map_ref *ref, struct sl_map_handle *ret_map,
	char *ret_reason, size_t reason_size)
{
	struct sl_map_handle map = { 0 };
	uint32_t len = sizeof(map.info);
	int cpus, err;

	map.fd = sl_map_ref_open(ref, ret_reason, reason_size);
	if (map.fd < 0)
		return map.fd;
	err = is_map(map.fd) ? bpf_obj_get_info_by_fd(map.fd, &map.info, &len) : -EINVAL;
	if (err) {
		snprintf(ret_reason, reason_size, "%s %s: %s", words[ref->by], ref->text,
			err == -EINVAL ? "not a map" : strerror(-err));
		close(map.fd);
		return err;
	}
	map.holds = what_it_holds(map.info.type);
	map.stride = map.value_bytes = map.info.value_size;
	if (is_percpu(map.info.type)) {
		cpus = libbpf_num_possible_cpus();
		map.cpus = cpus > 0 ? (unsigned)cpus : 1;
		map.stride = (map.info.value_size + 7) / 8 * 8;
		map.value_bytes = map.stride * map.cpus;
	}
	set_types(&map);
	*ret_map = map;
	return 0;
}

void sl_map_handle_close(struct sl_map_handle *map)
{
	btf__free(map->btf);
	close(map->fd);
}
