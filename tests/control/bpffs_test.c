#include "bpffs.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "pin.h"
#include "test.h"

static const struct {
	const char *path;
	const char *resolved; /* NULL: not in the bpf file system */
} paths[] = {
	{ "/sys/fs/bpf", "/sys/fs/bpf" },
	{ "/sys/fs/bpf/", "/sys/fs/bpf" },
	{ "/sys/fs/bpf/a", "/sys/fs/bpf/a" },
	{ "//sys/./fs//bpf/a/../b/", "/sys/fs/bpf/b" },
	{ "/sys/fs/bpf/..", NULL },
	{ "/sys/fs/bpf/../bpf/x", "/sys/fs/bpf/x" },
	{ "/../../sys/fs/bpf/x", "/sys/fs/bpf/x" },
	{ "/sys/fs/bpfx", NULL },
	{ "/sys/fs", NULL },
	{ "/", NULL },
	{ "", NULL },
	{ "sys/fs/bpf/x", "/sys/fs/bpf/x" }, /* the test runs in / */
	{ "./sys/fs/bpf/x", "/sys/fs/bpf/x" },
	{ "tmp/x", NULL },
	{ NULL, NULL },
};

TEST(bpffs, resolves_what_lies_in_it)
{
	char before[PATH_MAX], resolved[PATH_MAX];

	ASSERT_TRUE(getcwd(before, sizeof(before)));
	ASSERT_EQ(0, chdir("/"));
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		bool found = sl_bpffs_resolve(paths[i].path, resolved, sizeof(resolved));

		TRACE_PUSH("path '%s'", paths[i].path ? paths[i].path : "NULL");
		EXPECT_EQ(paths[i].resolved != NULL, found);
		if (found && paths[i].resolved)
			EXPECT_STREQ(paths[i].resolved, resolved);
		TRACE_POP();
	}
	EXPECT_EQ(0, chdir(before));
}

TEST(bpffs, too_long_a_path_lies_outside)
{
	char path[2 * PATH_MAX], resolved[PATH_MAX];

	memset(path, 'a', sizeof(path));
	memcpy(path, "/sys/fs/bpf/", 12);
	path[sizeof(path) - 1] = 0;
	EXPECT_FALSE(sl_bpffs_resolve(path, resolved, sizeof(resolved)));
}

static void nothing(struct sl_object *obj)
{
	(void)obj;
}

TEST(bpffs, directories_and_pins)
{
	static const struct sl_object_ops ops = { .unlink = nothing, .release = nothing };
	static struct sl_object obj;

	EXPECT_EQ(SL_BPFFS_DIRECTORY, sl_bpffs_look_up("/sys/fs/bpf"));
	EXPECT_EQ(-EEXIST, sl_bpffs_mkdir("/sys/fs/bpf"));
	EXPECT_EQ(-ENOENT, sl_bpffs_mkdir("/sys/fs/bpf/a/b"));
	EXPECT_EQ(0, sl_bpffs_mkdir("/sys/fs/bpf/a"));
	EXPECT_EQ(-EEXIST, sl_bpffs_mkdir("/sys/fs/bpf/a"));
	EXPECT_EQ(0, sl_bpffs_mkdir("/sys/fs/bpf/a/b"));
	EXPECT_EQ(-EISDIR, sl_bpffs_unlink("/sys/fs/bpf/a/b"));
	EXPECT_EQ(-ENOTEMPTY, sl_bpffs_rmdir("/sys/fs/bpf/a"));

	sl_object_init(&obj, SL_OBJECT_MAP, &ops);
	EXPECT_EQ(0, sl_pin_add("/sys/fs/bpf/a/b/pin", &obj));
	EXPECT_EQ(SL_BPFFS_PIN, sl_bpffs_look_up("/sys/fs/bpf/a/b/pin"));
	EXPECT_EQ(-EEXIST, sl_bpffs_mkdir("/sys/fs/bpf/a/b/pin"));
	EXPECT_EQ(-ENOTDIR, sl_bpffs_rmdir("/sys/fs/bpf/a/b/pin"));
	EXPECT_EQ(0, sl_bpffs_unlink("/sys/fs/bpf/a/b/pin"));
	EXPECT_EQ(-ENOENT, sl_bpffs_unlink("/sys/fs/bpf/a/b/pin"));
	sl_object_unref(&obj);
	sl_rcu_barrier();

	EXPECT_EQ(0, sl_bpffs_rmdir("/sys/fs/bpf/a/b"));
	EXPECT_EQ(0, sl_bpffs_rmdir("/sys/fs/bpf/a"));
	EXPECT_EQ(-ENOENT, sl_bpffs_rmdir("/sys/fs/bpf/a"));
	EXPECT_EQ(-EBUSY, sl_bpffs_rmdir("/sys/fs/bpf"));
}

TEST(bpffs, symbolic_links)
{
	char path[PATH_MAX], target[PATH_MAX];

	EXPECT_EQ(0, sl_bpffs_mkdir("/sys/fs/bpf/tc"));
	EXPECT_EQ(0, sl_bpffs_mkdir("/sys/fs/bpf/tc/globals"));
	EXPECT_EQ(0, sl_bpffs_symlink("/sys/fs/bpf/tc/", "/sys/fs/bpf/xdp"));
	EXPECT_EQ(-EEXIST, sl_bpffs_symlink("tc", "/sys/fs/bpf/xdp"));
	EXPECT_EQ(0, sl_bpffs_symlink("xdp", "/sys/fs/bpf/ip"));
	EXPECT_EQ(SL_BPFFS_LINK, sl_bpffs_look_up("/sys/fs/bpf/ip"));
	EXPECT_TRUE(sl_bpffs_resolve("/sys/fs/bpf/ip/globals", path, sizeof(path)));
	EXPECT_STREQ("/sys/fs/bpf/tc/globals", path);
	EXPECT_TRUE(sl_bpffs_resolve("/sys/fs/bpf/ip", path, sizeof(path)));
	EXPECT_STREQ("/sys/fs/bpf/ip", path);
	sl_bpffs_follow(path, sizeof(path));
	EXPECT_STREQ("/sys/fs/bpf/tc", path);
	EXPECT_EQ(3, sl_bpffs_readlink("/sys/fs/bpf/ip", target, sizeof(target)));
	EXPECT_MEMEQ("xdp", target, 3);
	EXPECT_EQ(1, sl_bpffs_readlink("/sys/fs/bpf/ip", target, 1));
	EXPECT_EQ(-EINVAL, sl_bpffs_readlink("/sys/fs/bpf/tc", target, sizeof(target)));
	EXPECT_EQ(-ENOENT, sl_bpffs_readlink("/sys/fs/bpf/no", target, sizeof(target)));
	EXPECT_EQ(-ENOTDIR, sl_bpffs_rmdir("/sys/fs/bpf/xdp"));
	EXPECT_EQ(0, sl_bpffs_unlink("/sys/fs/bpf/xdp"));
	/* One in a circle leads nowhere, but ends. */
	EXPECT_EQ(0, sl_bpffs_symlink("ip", "/sys/fs/bpf/xdp"));
	EXPECT_TRUE(sl_bpffs_resolve("/sys/fs/bpf/ip/x", path, sizeof(path)));
	EXPECT_EQ(SL_BPFFS_NONE, sl_bpffs_look_up(path));
	EXPECT_EQ(0, sl_bpffs_unlink("/sys/fs/bpf/xdp"));
	EXPECT_EQ(0, sl_bpffs_unlink("/sys/fs/bpf/ip"));
	/* What leads out is not in it. */
	EXPECT_EQ(0, sl_bpffs_symlink("/tmp", "/sys/fs/bpf/out"));
	EXPECT_FALSE(sl_bpffs_resolve("/sys/fs/bpf/out/x", path, sizeof(path)));
	EXPECT_EQ(0, sl_bpffs_unlink("/sys/fs/bpf/out"));
	EXPECT_EQ(0, sl_bpffs_rmdir("/sys/fs/bpf/tc/globals"));
	EXPECT_EQ(0, sl_bpffs_rmdir("/sys/fs/bpf/tc"));
}
