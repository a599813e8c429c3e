#include "fork.h"
#include "sluice/bpf.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include "command.h"
#include "fd.h"
#include "jit.h"
#include "map.h"
#include "perf.h"
#include "prog.h"
#include "user.h"
#include "verifier.h"

struct command {
	int (*run)(const struct sl_call *call);
	size_t end; /* of the last attribute */
};

static const struct command commands[] = {
#define SL_COMMAND(number, fn, last) [number] = { fn, last },
#include "commands.def"
#undef SL_COMMAND
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* What the lower layers are told about the upper ones, all of it. */
static void start(void)
{
	sl_prog_set_free_hooks(sl_facts_free, sl_jit_free, sl_map_unref);
	sl_event_init();
}

int sl_call_write(const struct sl_call *call, size_t offset, const void *value, size_t len)
{
	if (call->size < offset + len)
		return 0;
	return sl_user_write(call->uattr + offset, value, len);
}

int sl_prog_get_by_fd(int fd, struct sl_prog **ret_prog)
{
	struct sl_object *obj;
	int err = sl_fd_get(fd, SL_OBJECT_PROG, &obj);

	if (!err)
		*ret_prog = sl_prog_of(obj);
	return err;
}

int sl_map_get_by_fd(int fd, struct sl_map **ret_map)
{
	struct sl_object *obj;
	int err = sl_fd_get(fd, SL_OBJECT_MAP, &obj);

	if (!err)
		*ret_map = sl_map_of(obj);
	return err;
}

int sl_fd_give(struct sl_object *obj, int access)
{
	const struct sl_map *map = obj->type == SL_OBJECT_MAP ? sl_map_of(obj) : NULL;
	int memfd = map && map->ops->mmap_fd ? map->ops->mmap_fd(map) : -1;
	int fd = sl_fd_new(obj, memfd, access);

	sl_object_unref(obj);
	return fd;
}

int sl_access_of_flags(uint32_t flags)
{
	switch (flags & (BPF_F_RDONLY | BPF_F_WRONLY)) {
	case 0:
		return O_RDWR;
	case BPF_F_RDONLY:
		return O_RDONLY;
	case BPF_F_WRONLY:
		return O_WRONLY;
	default:
		return -EINVAL;
	}
}

int sl_name_check(const char name[BPF_OBJ_NAME_LEN])
{
	for (unsigned i = 0; i < BPF_OBJ_NAME_LEN; i++) {
		if (!name[i])
			return 0;
		if (!isalnum((unsigned char)name[i]) && name[i] != '_' && name[i] != '.')
			return -EINVAL;
	}
	return -EINVAL;
}

static int dispatch(int cmd, union bpf_attr *uattr, unsigned int size)
{
	union {
		union bpf_attr attr;
		uint8_t bytes[SL_ATTR_SIZE];
	} copy;
	struct sl_call call = { &copy.attr, sl_user_address(uattr), size };
	const struct command *command;
	int err;

	err = sl_user_read_struct(&copy, sizeof(copy), call.uattr, size);
	if (err)
		return err;
	if (cmd < 0 || (unsigned)cmd >= sl_array_size(commands) || !commands[cmd].run)
		return -EINVAL;
	command = &commands[cmd];
	for (size_t i = command->end; i < sizeof(copy); i++) {
		if (copy.bytes[i])
			return -EINVAL;
	}
	return command->run(&call);
}

long sluice_bpf(int cmd, union bpf_attr *attr, unsigned int size)
{
	int result;

	pthread_once(&once, start);
	sl_fork_enter(SL_INSIDE_CALLER);
	sl_fd_reap();
	result = dispatch(cmd, attr, size);
	sl_fork_leave();
	if (result >= 0)
		return result;
	errno = -result;
	return -1;
}
