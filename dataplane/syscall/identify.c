#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

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

/* Where a bpf file system is usually mounted: pins may be there even where none is. */
#define BPFFS "/sys/fs/bpf"
#define BPF_FS_MAGIC_NUMBER 0xcafe4a11

/* The last "/" of an absolute path and what is before it; dots and doubled slashes resolved. */
static int make_absolute(const char *path, char ret_path[PATH_MAX])
{
	char full[2 * PATH_MAX], *part, *rest = full, *save;
	size_t len = 0;

	if (!path[0])
		return -ENOENT;
	full[0] = '\0';
	if (path[0] != '/' && !getcwd(full, PATH_MAX))
		return -errno;
	strcat(full, "/");
	strcat(full, path);
	ret_path[0] = '\0';
	for (; (part = strtok_r(rest, "/", &save)); rest = NULL) {
		if (strcmp(part, ".") == 0)
			continue;
		if (strcmp(part, "..") == 0) {
			while (len > 0 && ret_path[--len] != '/')
				;
			ret_path[len] = '\0';
			continue;
		}
		if (len + 1 + strlen(part) >= PATH_MAX)
			return -ENAMETOOLONG;
		len += sprintf(ret_path + len, "/%s", part);
	}
	return 0;
}

/* Whether pins can be in the directory of `path`; an errno why not. */
static int check_directory(const char *path)
{
	char dir[PATH_MAX];
	struct statfs fs;
	char *slash;

	if (strncmp(path, BPFFS "/", strlen(BPFFS "/")) == 0)
		return 0;
	strcpy(dir, path);
	slash = strrchr(dir, '/');
	if (!slash)
		return -EPERM;
	slash[slash == dir ? 1 : 0] = '\0';
	if (statfs(dir, &fs) != 0)
		return -errno;
	return fs.f_type == BPF_FS_MAGIC_NUMBER ? 0 : -EPERM;
}

static int read_path(const struct sl_call *call, char ret_path[PATH_MAX])
{
	char path[PATH_MAX];
	int err;

	/* A directory to start from: absolute paths do not look at it. */
	err = sl_user_read_string(path, call->attr->pathname, sizeof(path));
	return err ? err : make_absolute(path, ret_path);
}

enum { F_PATH_FD = 1 << 14 }; /* newer than Debian 12's header */

int sl_cmd_obj_pin(const struct sl_call *call)
{
	const union bpf_attr *attr = call->attr;
	char path[PATH_MAX];
	struct sl_object *obj;
	struct stat st;
	int access, err = 0;

	if ((attr->file_flags & ~F_PATH_FD) ||
		(!(attr->file_flags & F_PATH_FD) && sl_attr_u32(attr, SL_ATTR_OBJ_PATH_FD)))
		return -EINVAL;
	if (sl_fd_get_any(attr->bpf_fd, &obj, &access) != 0)
		return -EINVAL;
	if (obj->type != SL_OBJECT_MAP && obj->type != SL_OBJECT_PROG &&
		obj->type != SL_OBJECT_LINK)
		err = -EINVAL;
	if (!err)
		err = read_path(call, path);
	if (!err && lstat(path, &st) == 0)
		err = -EEXIST;
	if (!err)
		err = check_directory(path);
	/* Dots are kept for what the kernel itself puts there. */
	if (!err && strchr(strrchr(path, '/'), '.'))
		err = -EPERM;
	if (!err)
		err = sl_pin_add(path, obj);
	sl_object_unref(obj);
	return err;
}

int sl_cmd_obj_get(const struct sl_call *call)
{
	const union bpf_attr *attr = call->attr;
	int access = sl_access_of_flags(attr->file_flags);
	char path[PATH_MAX];
	struct sl_object *obj;
	struct stat st;
	int err;

	if (attr->bpf_fd ||
		(attr->file_flags & ~(uint32_t)(F_PATH_FD | BPF_F_RDONLY | BPF_F_WRONLY)) ||
		(!(attr->file_flags & F_PATH_FD) && sl_attr_u32(attr, SL_ATTR_OBJ_PATH_FD)))
		return -EINVAL;
	if (access < 0)
		return access;
	err = read_path(call, path);
	if (err)
		return err;
	err = sl_pin_get(path, &obj);
	if (err)
		return lstat(path, &st) == 0 ? -EACCES : -errno;
	if (obj->type != SL_OBJECT_MAP && access != O_RDWR) {
		sl_object_unref(obj);
		return -EINVAL;
	}
	return sl_fd_give(obj, access);
}
