#include "remote_pin.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/param.h>
#include <unistd.h>

#include "bpffs.h"
#include "connection.h"
#include "remote.h"

/*
 * The attributes of both commands; newer than Debian 12's header is path_fd. The daemon is given the
 * same with the file's descriptor for a directory and nothing for a path.
 */
struct pin_attr {
	uint64_t pathname;
	uint32_t bpf_fd;
	uint32_t file_flags;
	int32_t path_fd;
	uint8_t rest[4096 - 20]; /* has to be zero, which is the daemon's to say */
};

enum { F_PATH_FD = 1 << 14, PAGE = 4096 };

void sl_remote_use_bpffs(void)
{
	char dir[PATH_MAX];

	if (sl_bpffs_root_of_socket(sl_connection_path(), dir, sizeof(dir)) == 0)
		sl_bpffs_set_root(dir);
}

static int read_path(struct sl_space *space, uint64_t address, char ret_path[PATH_MAX])
{
	size_t len = 0;

	while (len < PATH_MAX) {
		size_t part = PAGE - (address + len) % PAGE;

		part = MIN(part, PATH_MAX - len);
		if (space->ops->read(space, ret_path + len, address + len, part) != 0)
			return -EFAULT;
		if (memchr(ret_path + len, '\0', part))
			return 0;
		len += part;
	}
	return -ENAMETOOLONG;
}

static int access_of(uint32_t flags)
{
	return flags & BPF_F_RDONLY ? O_RDONLY : flags & BPF_F_WRONLY ? O_WRONLY : O_RDWR;
}

/* From here on everything is this process's: the attributes, the descriptors. */
static int64_t ask(struct sl_space *space, int cmd, const struct pin_attr *attr, uint32_t size,
	int file, int *ret_fd)
{
	struct sl_space self = { .ops = sl_space_self.ops, .actor = space->actor };
	struct pin_attr copy = *attr;
	int object = cmd == BPF_OBJ_PIN ? space->ops->take(space, (int)attr->bpf_fd) : -1;
	int64_t ret;

	copy.pathname = (uintptr_t)"";
	copy.file_flags |= F_PATH_FD;
	copy.path_fd = file;
	if (cmd == BPF_OBJ_PIN)
		copy.bpf_fd = (uint32_t)object;
	size = (uint32_t)MAX(size, offsetof(struct pin_attr, rest));
	ret = sl_remote_bpf_fd(&self, cmd, (uintptr_t)&copy, size, ret_fd);
	if (object >= 0)
		space->ops->drop(space, object);
	return ret;
}

/* The file that the path means, open. */
static int find_file(struct sl_space *space, int cwd_fd, int cmd, const struct pin_attr *attr,
	struct sl_bpffs_path *ret_look)
{
	bool from_fd = attr->file_flags & F_PATH_FD && attr->path_fd != AT_FDCWD;
	int dir_fd = cwd_fd, file;
	char path[PATH_MAX];

	file = read_path(space, attr->pathname, path);
	if (file)
		return file;
	if (from_fd)
		dir_fd = space->ops->take(space, attr->path_fd);
	file = cmd == BPF_OBJ_PIN ? sl_bpffs_place(dir_fd, path, ret_look)
				  : sl_bpffs_open(dir_fd, path, access_of(attr->file_flags));
	if (from_fd && dir_fd >= 0)
		space->ops->drop(space, dir_fd);
	return file;
}

/* What is wrong with the path comes after what is wrong with the rest, which the daemon knows. */
static int64_t run(struct sl_space *space, int cwd_fd, int cmd, const struct pin_attr *attr,
	uint32_t size, int *ret_fd)
{
	struct sl_bpffs_path look;
	int file = find_file(space, cwd_fd, cmd, attr, &look);
	int64_t ret = ask(space, cmd, attr, size, file < 0 ? -1 : file, ret_fd);

	if (file < 0)
		return ret == -EBADF ? file : ret;
	if (cmd == BPF_OBJ_PIN && ret == 0)
		ret = sl_bpffs_publish(file, &look);
	close(file);
	return ret;
}

bool sl_remote_pin(struct sl_space *space, int cwd_fd, int cmd, uint64_t attr_address,
	uint32_t size, int64_t *ret_result, int *ret_fd)
{
	struct pin_attr attr = { 0 };

	if ((cmd != BPF_OBJ_PIN && cmd != BPF_OBJ_GET) || size > sizeof(attr) ||
		space->ops->read(space, &attr, attr_address, size) != 0)
		return false;
	/* A directory that is not meant is wrong, and so is this; the daemon says how. */
	if ((!(attr.file_flags & F_PATH_FD) && attr.path_fd) ||
		(attr.file_flags & (BPF_F_RDONLY | BPF_F_WRONLY)) == (BPF_F_RDONLY | BPF_F_WRONLY))
		return false;
	sl_remote_use_bpffs();
	*ret_result = run(space, cwd_fd, cmd, &attr, size, ret_fd);
	return true;
}
