#include "pins.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "bpffs.h"
#include "remote_pin.h"

/* What is mounted on the place must not be mounted for everybody. */
static bool make_private(const char *place)
{
	char path[PATH_MAX];
	char *slash;

	if (strlen(place) >= sizeof(path))
		return false;
	strcpy(path, place);
	while (mount(NULL, path, NULL, MS_PRIVATE, NULL) != 0) {
		slash = strrchr(path, '/');
		if (!slash || strcmp(path, "/") == 0)
			return false;
		slash[slash == path] = '\0';
	}
	return true;
}

void sl_pins_mount(void)
{
	char place[PATH_MAX];
	bool apart = false;

	sl_remote_use_bpffs();
	for (unsigned i = 0; sl_bpffs_mounted(i, place, sizeof(place)); i++) {
		struct sl_bpffs_path look;
		struct stat st;

		if (stat(place, &st) != 0 || sl_bpffs_look(AT_FDCWD, place, &look) != 0 ||
			look.where != SL_BPFFS_INSIDE)
			continue;
		if (!apart && unshare(CLONE_NEWNS) != 0)
			return;
		apart = true;
		if (make_private(place))
			mount(look.path, place, NULL, MS_BIND, NULL);
	}
}
