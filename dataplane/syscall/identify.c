#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bpffs.h"
#include "caller.h"
#include "command.h"
#include "fd.h"
#include "pin.h"
#include "user.h"

/* Finding objects by id and by pin. */

static int next_id(const struct sl_call *call, enum sl_object_type type)
{
	uint32_t id;

	if (call->attr->start_id >= SL_OBJECT_ID_MAX)
		return -EINVAL;
	id = sl_object_next_id(type, call->attr->start_id);
	return id ? sl_call_put(call, next_id, id) : -ENOENT;
}

int sl_cmd_prog_next_id(const struct sl_call *call)
{
	return next_id(call, SL_OBJECT_PROG);
}

int sl_cmd_map_next_id(const struct sl_call *call)
{
	return next_id(call, SL_OBJECT_MAP);
}

int sl_cmd_btf_next_id(const struct sl_call *call)
{
	return next_id(call, SL_OBJECT_BTF);
}

int sl_cmd_link_next_id(const struct sl_call *call)
{
	return next_id(call, SL_OBJECT_LINK);
}

static int fd_by_id(enum sl_object_type type, uint32_t id, int access)
{
	struct sl_object *obj = sl_object_get_by_id(type, id);

	if (!obj)
		return -ENOENT;
	/* In the kernel that takes CAP_SYS_ADMIN. */
	if (!sl_caller_is_privileged() && obj->uid != sl_caller_uid()) {
		sl_object_unref(obj);
		return -EPERM;
	}
	return sl_fd_give(obj, access);
}

int sl_cmd_prog_fd_by_id(const struct sl_call *call)
{
	return fd_by_id(SL_OBJECT_PROG, call->attr->prog_id, O_RDWR);
}

int sl_cmd_map_fd_by_id(const struct sl_call *call)
{
	uint32_t flags = call->attr->open_flags;
	int access = sl_access_of_flags(flags);

	if (flags & ~(uint32_t)(BPF_F_RDONLY | BPF_F_WRONLY))
		return -EINVAL;
	return access < 0 ? access : fd_by_id(SL_OBJECT_MAP, call->attr->map_id, access);
}

int sl_cmd_btf_fd_by_id(const struct sl_call *call)
{
	if (call->attr->open_flags)
		return -EINVAL;
	return fd_by_id(SL_OBJECT_BTF, call->attr->btf_id, O_RDWR);
}

int sl_cmd_link_fd_by_id(const struct sl_call *call)
{
	return fd_by_id(SL_OBJECT_LINK, call->attr->link_id, O_RDWR);
}

enum { F_PATH_FD = 1 << 14 }; /* newer than Debian 12's header */

/* The directory that a path starts from, and the path. */
static int read_path(const struct sl_call *call, char ret_path[PATH_MAX], int *ret_dir_fd)
{
	bool from_fd = call->attr->file_flags & F_PATH_FD;

	*ret_dir_fd = from_fd ? (int)sl_attr_u32(call->attr, SL_ATTR_OBJ_PATH_FD) : AT_FDCWD;
	return sl_user_read_string(ret_path, call->attr->pathname, PATH_MAX);
}

/*
 * Of another process: it has found the file, by its own rights, and has it open (control/client/remote_pin.c).
 * Returns our number of the descriptor, and in ret_flags how it was opened.
 */
static int callers_file(const struct sl_call *call, int *ret_flags)
{
	char path[PATH_MAX];
	int fd, err;

	err = read_path(call, path, &fd);
	if (err)
		return err;
	if (*path || fd == AT_FDCWD)
		return -EINVAL;
	fd = sl_caller_fd(fd);
	if (fd < 0)
		return -EBADF;
	*ret_flags = fcntl(fd, F_GETFL);
	return *ret_flags >= 0 && !(*ret_flags & O_PATH) && sl_bpffs_holds(fd, NULL, 0) ? fd
											: -EBADF;
}

/* A file that is not the caller's to pin to may be one that somebody else is about to. */
static int check_new_pin(int file)
{
	struct stat st;

	if (fstat(file, &st) != 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	return st.st_uid == sl_caller_uid() || sl_caller_is_privileged() ? 0 : -EPERM;
}

static int pin_for_caller(const struct sl_call *call, struct sl_object *obj)
{
	int flags, file = callers_file(call, &flags), err;

	if (file < 0)
		return file;
	if ((flags & O_ACCMODE) != O_RDWR)
		return -EBADF;
	err = check_new_pin(file);
	return err ? err : sl_pin_add(file, obj);
}

static int pin_at(const struct sl_call *call, struct sl_object *obj)
{
	struct sl_bpffs_path look;
	char path[PATH_MAX];
	int dir_fd, file, err;

	if (sl_caller())
		return pin_for_caller(call, obj);
	err = read_path(call, path, &dir_fd);
	if (err)
		return err;
	file = sl_bpffs_place(dir_fd, path, &look);
	if (file < 0)
		return file;
	err = sl_pin_add(file, obj);
	if (!err)
		err = sl_bpffs_publish(file, &look);
	close(file);
	return err;
}

static bool flags_fit(const union bpf_attr *attr, uint32_t flags)
{
	return !(attr->file_flags & ~(F_PATH_FD | flags)) &&
	       (attr->file_flags & F_PATH_FD || !sl_attr_u32(attr, SL_ATTR_OBJ_PATH_FD));
}

int sl_cmd_obj_pin(const struct sl_call *call)
{
	struct sl_object *obj;
	int access, err;

	if (!flags_fit(call->attr, 0))
		return -EINVAL;
	if (sl_fd_get_any(call->attr->bpf_fd, &obj, &access) != 0)
		return -EINVAL;
	if (obj->type == SL_OBJECT_MAP || obj->type == SL_OBJECT_PROG ||
		obj->type == SL_OBJECT_LINK)
		err = pin_at(call, obj);
	else
		err = -EINVAL;
	sl_object_unref(obj);
	return err;
}

static int get_pin(int file, int access)
{
	struct sl_object *obj;
	struct stat st;
	int err;

	err = fstat(file, &st) == 0 ? sl_pin_get(&st, &obj) : -errno;
	if (err)
		return err;
	if (obj->type == SL_OBJECT_LINK && access != O_RDWR) {
		sl_object_unref(obj);
		return -EINVAL;
	}
	return sl_fd_give(obj, obj->type == SL_OBJECT_MAP ? access : O_RDWR);
}

static int get_for_caller(const struct sl_call *call, int access)
{
	int flags, file = callers_file(call, &flags);

	if (file < 0)
		return file;
	if ((flags & O_ACCMODE) != O_RDWR && (flags & O_ACCMODE) != access)
		return -EBADF;
	return get_pin(file, access);
}

int sl_cmd_obj_get(const struct sl_call *call)
{
	int access = sl_access_of_flags(call->attr->file_flags), dir_fd, file, ret;
	char path[PATH_MAX];

	if (call->attr->bpf_fd || !flags_fit(call->attr, BPF_F_RDONLY | BPF_F_WRONLY))
		return -EINVAL;
	if (access < 0)
		return access;
	if (sl_caller())
		return get_for_caller(call, access);
	ret = read_path(call, path, &dir_fd);
	if (ret)
		return ret;
	file = sl_bpffs_open(dir_fd, path, access);
	if (file < 0)
		return file;
	ret = get_pin(file, access);
	close(file);
	return ret;
}
