#include "bpffs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

/* Where paths lead. What is done there is compared with the kernel's by tests/control/bpffs_test.sh. */

static const struct {
	const char *path;
	const char *inside; /* what it is below the root of its file system; NULL: outside */
} paths[] = {
	{ "/sys/fs/bpf", "" },
	{ "/sys/fs/bpf/", "/" },
	{ "/sys/fs/bpf/a", "/a" },
	{ "//sys/./fs//bpf/a/../b/", "/a/../b/" },
	{ "/sys/fs/bpf/..", NULL },
	{ "/sys/fs/bpf/a/../..", NULL },
	{ "/sys/fs/bpf/a/../../bpf/x", "/x" },
	{ "/sys/fs/bpf/../bpf/x", "/x" },
	{ "/../../sys/fs/bpf/x", "/x" },
	{ "/sys/fs/bpfx", NULL },
	{ "/sys/fs", NULL },
	{ "/", NULL },
	{ "", NULL },
	{ "sys/fs/bpf/x", "/x" }, /* the test runs in / */
	{ "./sys/fs/bpf/x", "/x" },
	{ "tmp/x", NULL },
	{ NULL, NULL },
};

TEST(bpffs, leads_paths_there_and_back)
{
	char before[PATH_MAX], public[PATH_MAX];
	struct sl_bpffs_path look;

	ASSERT_TRUE(getcwd(before, sizeof(before)));
	ASSERT_EQ(0, chdir("/"));
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		TRACE_PUSH("path '%s'", paths[i].path ? paths[i].path : "NULL");
		EXPECT_EQ(0, sl_bpffs_look(AT_FDCWD, paths[i].path, &look));
		EXPECT_EQ(paths[i].inside ? SL_BPFFS_INSIDE : SL_BPFFS_OUTSIDE, look.where);
		if (look.where == SL_BPFFS_INSIDE && paths[i].inside) {
			EXPECT_STREQ(paths[i].inside, look.path + look.mount_len);
			EXPECT_TRUE(sl_bpffs_public(look.path, public, sizeof(public)));
			EXPECT_MEMEQ("/sys/fs/bpf", public, 11);
			EXPECT_STREQ(paths[i].inside, public + 11);
		} else {
			EXPECT_TRUE(look.path == paths[i].path);
		}
		TRACE_POP();
	}
	EXPECT_EQ(0, chdir(before));
}

TEST(bpffs, relative_to_what_is_inside)
{
	struct sl_bpffs_path look;
	char path[PATH_MAX];
	int fd;

	ASSERT_EQ(0, sl_bpffs_look(AT_FDCWD, "/sys/fs/bpf/d", &look));
	ASSERT_EQ(0, mkdir(look.path, 0700));
	fd = open(look.path, O_RDONLY | O_DIRECTORY);
	ASSERT_GE(fd, 0);
	EXPECT_TRUE(sl_bpffs_holds(fd, path, sizeof(path)));
	EXPECT_STREQ("/sys/fs/bpf/d", path);
	EXPECT_EQ(0, sl_bpffs_look(fd, "x", &look));
	EXPECT_EQ(SL_BPFFS_INSIDE, look.where);
	EXPECT_STREQ("/d/x", look.path + look.mount_len);
	EXPECT_EQ(0, sl_bpffs_look(fd, "../../x", &look));
	EXPECT_EQ(SL_BPFFS_LEFT, look.where);
	EXPECT_STREQ("/sys/fs/bpf/d/../../x", look.path);
	EXPECT_EQ(-EPERM, sl_bpffs_look(fd, "x.y", &look));
	EXPECT_EQ(-ENOENT, sl_bpffs_look(fd, "x/y.z", &look));
	close(fd);
	EXPECT_EQ(0, sl_bpffs_look(AT_FDCWD, "/sys/fs/bpf/d", &look));
	EXPECT_EQ(0, rmdir(look.path));
	EXPECT_FALSE(sl_bpffs_holds(STDERR_FILENO, NULL, 0));
	EXPECT_FALSE(sl_bpffs_holds(-1, NULL, 0));
}

TEST(bpffs, too_long_a_path)
{
	char path[PATH_MAX];
	struct sl_bpffs_path look;

	for (size_t i = 0; i < sizeof(path) - 1; i += 2)
		memcpy(path + i, "a/", 2);
	memcpy(path, "/sys/fs/bpf/", 12);
	path[sizeof(path) - 1] = 0;
	EXPECT_EQ(-ENAMETOOLONG, sl_bpffs_look(AT_FDCWD, path, &look));
}

TEST(bpffs, mounted_where_it_is_wanted)
{
	char dir[] = "/tmp/sluice-mount-te-st\\.XXXXXX", path[PATH_MAX];
	struct sl_bpffs_path look;
	bool found = false;

	ASSERT_TRUE(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/x", dir);
	EXPECT_EQ(0, sl_bpffs_look(AT_FDCWD, path, &look));
	EXPECT_EQ(SL_BPFFS_OUTSIDE, look.where);
	EXPECT_EQ(-ENOENT, sl_bpffs_mount(path, 0700));
	EXPECT_EQ(0, sl_bpffs_mount(dir, 01777));
	EXPECT_EQ(-EBUSY, sl_bpffs_mount(dir, 01777));
	EXPECT_EQ(0, sl_bpffs_look(AT_FDCWD, path, &look));
	EXPECT_EQ(SL_BPFFS_INSIDE, look.where);
	EXPECT_EQ(0, mkdir(look.path, 0700));
	EXPECT_TRUE(sl_bpffs_public(look.path, path, sizeof(path)));
	EXPECT_EQ(0, strncmp(path, dir, strlen(dir)));
	for (unsigned i = 0; sl_bpffs_mounted(i, path, sizeof(path)); i++)
		found |= strcmp(path, dir) == 0;
	EXPECT_TRUE(found);
	EXPECT_EQ(0, sl_bpffs_unmount(dir));
	EXPECT_EQ(-EINVAL, sl_bpffs_unmount(dir));
	EXPECT_EQ(-1, access(look.path, F_OK));
	EXPECT_EQ(0, rmdir(dir));
}

TEST(bpffs, a_private_one_goes_with_its_last_process)
{
	struct sl_bpffs_path look;
	char root[PATH_MAX];
	int fds[2], status;
	pid_t child;

	/* In a process that has none yet: its child outlives it. */
	ASSERT_EQ(0, pipe(fds));
	child = fork();
	if (child == 0) {
		sl_bpffs_look(AT_FDCWD, "/sys/fs/bpf/x", &look);
		if (fork() == 0) {
			usleep(50000);
			sl_bpffs_look(AT_FDCWD, "/sys/fs/bpf/x", &look);
			if (mkdir(look.path, 0700) == 0)
				dprintf(fds[1], "%.*s", (int)look.mount_len, look.path);
			exit(0);
		}
		exit(0);
	}
	close(fds[1]);
	waitpid(child, &status, 0);
	memset(root, 0, sizeof(root));
	EXPECT_GT(read(fds[0], root, sizeof(root) - 1), 0);
	/* Its end. */
	EXPECT_EQ(0, read(fds[0], root + PATH_MAX - 1, 1));
	close(fds[0]);
	EXPECT_CONTAINS(root, "/-sys-fs-bpf");
	EXPECT_EQ(0, sl_bpffs_look(AT_FDCWD, "/sys/fs/bpf", &look));
	if (strcmp(look.path, root) != 0)
		EXPECT_EQ(-1, access(root, F_OK));
}

TEST(bpffs, the_daemons_is_beside_its_socket)
{
	char dir[PATH_MAX];

	EXPECT_EQ(0, sl_bpffs_root_of_socket("/run/sluice/sluice.sock", dir, sizeof(dir)));
	EXPECT_STREQ("/run/sluice/sluice.bpf", dir);
	EXPECT_EQ(0, sl_bpffs_root_of_socket("/tmp/s", dir, sizeof(dir)));
	EXPECT_STREQ("/tmp/s.bpf", dir);
	EXPECT_EQ(-ENAMETOOLONG, sl_bpffs_root_of_socket("/tmp/s", dir, 10));
	EXPECT_EQ(-EBUSY, sl_bpffs_set_root("/tmp"));
}
