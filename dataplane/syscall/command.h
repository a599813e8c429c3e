#pragma once

#include <linux/bpf.h>

#include "object.h"

struct sl_map;
struct sl_prog;

/*
 * What the files of syscall/ share: each holds the commands of one kind of object. A command gets
 * its attributes in our memory, with every byte past the last that the caller gave zeroed, and
 * answers a descriptor, 0, or a negative errno. It writes results to the caller's own attributes.
 */
struct sl_call {
	const union bpf_attr *attr; /* SL_ATTR_SIZE bytes */
	uint64_t uattr; /* address of the caller's */
	uint32_t size; /* and their size */
};

/* union bpf_attr of Linux 6.18, of which Debian 12's header knows the first part. */
#define SL_ATTR_SIZE 168

/* The kernel's ENOTSUPP, which bpf(2) lets through to user space. */
#define SL_ENOTSUPP 524

/* Fields of union bpf_attr that are newer than Debian 12's header. */
enum sl_attr_offset {
	SL_ATTR_OBJ_PATH_FD = 16,
	SL_ATTR_RELATIVE_FD = 20,
	SL_ATTR_MAP_TOKEN_FD = 76,
	SL_ATTR_PROG_LOG_TRUE_SIZE = 140,
	SL_ATTR_PROG_FD_ARRAY_CNT = 148,
	SL_ATTR_PROG_SIGNATURE_SIZE = 160,
	SL_ATTR_BTF_LOG_TRUE_SIZE = 28,
	SL_ATTR_BTF_FLAGS = 32,
};

static inline uint32_t sl_attr_u32(const union bpf_attr *attr, enum sl_attr_offset offset)
{
	uint32_t value;

	__builtin_memcpy(&value, (const char *)attr + offset, sizeof(value));
	return value;
}

/* Writes one field of the caller's attributes back, unless they end before it. */
SL_CONTROL int sl_call_write(
	const struct sl_call *call, size_t offset, const void *value, size_t len);
#define sl_call_put(call, field, value)                                                            \
	({                                                                                         \
		__typeof__((call)->attr->field) sl_value = (value);                                \
		sl_call_write(call, offsetof(union bpf_attr, field), &sl_value, sizeof(sl_value)); \
	})

/* Programs and maps behind descriptors, with a reference for the caller. */
SL_CONTROL int sl_prog_get_by_fd(int fd, struct sl_prog **ret_prog);
SL_CONTROL int sl_map_get_by_fd(int fd, struct sl_map **ret_map);

/*
 * A descriptor for the caller. Consumes the reference to obj, also on failure: an object that got
 * no descriptor goes as it came.
 */
SL_CONTROL int sl_fd_give(struct sl_object *obj, int access);

/* O_RDONLY, O_WRONLY or O_RDWR for BPF_F_RDONLY and BPF_F_WRONLY; -EINVAL for both. */
SL_CONTROL int sl_access_of_flags(uint32_t flags);

/* An object's name as bpf(2) takes it: at most 15 letters, digits, '_', '.' and a NUL. */
SL_CONTROL int sl_name_check(const char name[BPF_OBJ_NAME_LEN]);

/* Makes the program hold the map until its end, with a reference of its own. */
SL_CONTROL int sl_prog_bind_map(struct sl_prog *prog, struct sl_map *map);

/* The ids of the maps that a program holds, to be freed. -ENOMEM. */
SL_CONTROL int sl_prog_map_ids(struct sl_prog *prog, uint32_t **ret_ids, uint32_t *ret_count);

/* The commands. */
#define SL_COMMAND(number, fn, last) SL_CONTROL int fn(const struct sl_call *call);
#include "commands.def"
#undef SL_COMMAND

/*
 * Of runs that are timed by samples, those whose number times the golden ratio (2^32 for 1) is below
 * this are: some of them, or all while somebody holds a descriptor of BPF_ENABLE_STATS.
 */
extern uint32_t sl_run_sample;
