#include "seeds.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "world.h"

/*
 * libbpf opens and relocates the object; what it then asks of bpf(2) is noted here (--wrap=syscall).
 * Maps and BTF are made for real, since libbpf goes by their descriptors; a program gets a
 * descriptor of nothing, so that the object loads whatever either side thinks of it.
 */

enum { SEEDS_MAX = 4096, FD_MAX = 4096 };

static struct fuzz_seed *seeds[SEEDS_MAX];
static unsigned seed_count;

static struct fuzz_setting *capture; /* of the object being loaded, NULL for none */
static enum fuzz_side captured_side;
static const char *capture_path;
static int map_of_fd[FD_MAX];
static bool overflown;

static int map_number(int fd)
{
	return fd >= 0 && fd < FD_MAX ? map_of_fd[fd] - 1 : -1;
}

static void note_map(const union bpf_attr *attr, int fd)
{
	if (fd < 0)
		return;
	/* libbpf asks what the kernel can do with maps of its own, before or between. */
	if (capture->map_count == FUZZ_MAX_MAPS || fd >= FD_MAX) {
		overflown = true;
		return;
	}
	capture->maps[capture->map_count] = (struct fuzz_map){ .type = attr->map_type,
		.key_size = attr->key_size,
		.value_size = attr->value_size,
		.max_entries = attr->max_entries,
		.flags = attr->map_flags,
		.extra = attr->map_extra,
		.inner = attr->inner_map_fd ? map_number((int)attr->inner_map_fd) : -1,
		.btf_key = attr->btf_key_type_id,
		.btf_value = attr->btf_value_type_id };
	map_of_fd[fd] = (int)++capture->map_count;
}

static void note_btf(const union bpf_attr *attr)
{
	if (attr->btf_size < capture->btf_size)
		return;
	free(capture->btf);
	capture->btf = malloc(attr->btf_size);
	capture->btf_size = capture->btf ? attr->btf_size : 0;
	if (capture->btf)
		memcpy(capture->btf, (const void *)(uintptr_t)attr->btf, attr->btf_size);
}

static void note_value(const union bpf_attr *attr)
{
	int number = map_number((int)attr->map_fd);
	struct fuzz_map *map = number >= 0 ? &capture->maps[number] : NULL;

	if (!map || map->type != BPF_MAP_TYPE_ARRAY || map->max_entries != 1 || map->initial)
		return;
	map->initial = malloc(map->value_size);
	if (map->initial)
		memcpy(map->initial, (const void *)(uintptr_t)attr->value, map->value_size);
}

static bool is_ours(uint32_t type)
{
	return type == BPF_PROG_TYPE_XDP || type == BPF_PROG_TYPE_SCHED_CLS ||
	       type == BPF_PROG_TYPE_SCHED_ACT || type == BPF_PROG_TYPE_SOCKET_FILTER;
}

/* False for what libbpf loads to find out what the kernel can do. */
static bool is_real(const union bpf_attr *attr)
{
	return attr->insn_cnt > 1 && attr->prog_name[0] &&
	       strncmp(attr->prog_name, "libbpf_", 7) != 0;
}

static bool copy_program(const union bpf_attr *attr, struct fuzz_program *program)
{
	if (attr->insn_cnt > FUZZ_MAX_INSNS || attr->func_info_cnt > FUZZ_MAX_FUNCS ||
		(attr->func_info_cnt && attr->func_info_rec_size != sizeof(program->funcs[0])))
		return false;
	program->type = attr->prog_type;
	program->attach_type = attr->expected_attach_type;
	program->flags = attr->prog_flags;
	program->count = attr->insn_cnt;
	program->comparable = program->runnable = true;
	memcpy(program->insns, (const void *)(uintptr_t)attr->insns,
		program->count * sizeof(program->insns[0]));
	program->func_count = attr->prog_btf_fd ? attr->func_info_cnt : 0;
	memcpy(program->funcs, (const void *)(uintptr_t)attr->func_info,
		program->func_count * sizeof(program->funcs[0]));
	for (uint32_t i = 0; i < program->count; i++) {
		if (!fuzz_names_map(&program->insns[i]))
			continue;
		program->insns[i].imm = map_number(program->insns[i].imm);
		if (program->insns[i].imm < 0)
			return false;
	}
	return true;
}

static void note_program(const union bpf_attr *attr)
{
	struct fuzz_seed *seed;

	if (!is_ours(attr->prog_type) || attr->attach_btf_id || seed_count == SEEDS_MAX)
		return;
	seed = calloc(1, sizeof(*seed));
	if (!seed)
		return;
	seed->setting = capture;
	snprintf(seed->name, sizeof(seed->name), "%.40s %s", capture_path, attr->prog_name);
	if (copy_program(attr, &seed->program))
		seeds[seed_count++] = seed;
	else
		free(seed);
}

static long noted_bpf(int cmd, union bpf_attr *attr, unsigned size)
{
	union bpf_attr copy = { 0 };
	long ret;

	memcpy(&copy, attr, size < sizeof(copy) ? size : sizeof(copy));
	if (cmd == BPF_PROG_LOAD && is_real(&copy)) {
		note_program(&copy);
		return open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
	ret = fuzz_bpf(captured_side, cmd, attr, size);
	if (cmd == BPF_MAP_CREATE)
		note_map(&copy, (int)ret);
	else if (cmd == BPF_BTF_LOAD && ret >= 0)
		note_btf(&copy);
	else if (cmd == BPF_MAP_UPDATE_ELEM && ret == 0)
		note_value(&copy);
	else if (cmd == BPF_MAP_FREEZE && ret == 0 && map_number((int)copy.map_fd) >= 0)
		capture->maps[map_number((int)copy.map_fd)].frozen = true;
	return ret;
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

long __wrap_syscall(long number, ...)
{
	long args[6], ret;
	va_list list;

	va_start(list, number);
	for (unsigned i = 0; i < 6; i++)
		args[i] = va_arg(list, long);
	va_end(list);
	if (number != SYS_bpf || !capture)
		return __real_syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
	ret = noted_bpf((int)args[0], (union bpf_attr *)args[1], (unsigned)args[2]);
	if (ret >= 0)
		return ret;
	errno = (int)-ret;
	return -1;
}

static int silent(enum libbpf_print_level level, const char *format, va_list args)
{
	return 0;
}

/* Its programs are loaded whatever their sections say, unless libbpf cannot even relocate them. */
static void collect_object(const char *path)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	unsigned before = seed_count;
	struct bpf_map *map;

	if (!object)
		return;
	capture = calloc(1, sizeof(*capture));
	if (capture) {
		memset(map_of_fd, 0, sizeof(map_of_fd));
		overflown = false;
		capture_path = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
		bpf_object__for_each_map(map, object) bpf_map__set_pin_path(map, NULL);
		bpf_object__load(object);
		while (overflown && seed_count > before)
			free(seeds[--seed_count]);
	}
	capture = NULL;
	bpf_object__close(object);
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

unsigned fuzz_seeds_collect(const char *path, bool has_kernel)
{
	char *paths[] = { (char *)path, NULL };
	FTS *tree = fts_open(paths, FTS_LOGICAL | FTS_NOCHDIR, by_name);
	FTSENT *entry;

	captured_side = has_kernel ? KERNEL : SLUICE;
	libbpf_set_print(silent);
	while (tree && (entry = fts_read(tree)) != NULL) {
		const char *dot = strrchr(entry->fts_name, '.');

		if (entry->fts_info == FTS_F && dot && strcmp(dot, ".o") == 0)
			collect_object(entry->fts_path);
	}
	if (tree)
		fts_close(tree);
	return seed_count;
}

const struct fuzz_seed *fuzz_seed_at(unsigned index)
{
	return seeds[index];
}
