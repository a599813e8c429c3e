#include "handlers.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "bpffs.h"
#include "remote_pin.h"

/* How programs find out whether a path is in a bpf file system: it is a directory like others. */
static void answer(struct sl_notified *n, const char *path)
{
	struct sl_bpffs_path look;
	struct statfs fs;

	sl_remote_use_bpffs();
	if (sl_bpffs_look(AT_FDCWD, path, &look) != 0 || look.where != SL_BPFFS_INSIDE ||
		statfs(look.path, &fs) != 0) {
		sl_notified_continue(n);
		return;
	}
	fs.f_type = (__typeof__(fs.f_type))BPF_FS_MAGIC;
	sl_notified_answer(n, n->space.ops->write(&n->space, n->data->args[1], &fs, sizeof(fs)));
}

void sl_handle_statfs(struct sl_notified *n)
{
	char path[PATH_MAX];

	if (sl_notified_read_string(n, n->data->args[0], path, sizeof(path)) == 0 &&
		sl_notified_locate(n, AT_FDCWD, path, sizeof(path)) == 0)
		answer(n, path);
	else
		sl_notified_continue(n);
}

void sl_handle_fstatfs(struct sl_notified *n)
{
	char path[PATH_MAX] = "";

	if (sl_notified_locate(n, (int)n->data->args[0], path, sizeof(path)) == 0)
		answer(n, path);
	else
		sl_notified_continue(n);
}
