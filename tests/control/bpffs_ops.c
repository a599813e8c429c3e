#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <linux/bpf.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/*
 * bpffs_ops DIR SEED COUNT: does COUNT random things in the bpf file system at DIR, and prints what
 * came of each. The same seed does the same, so two file systems can be compared.
 */

#ifndef BPF_F_PATH_FD
#define BPF_F_PATH_FD (1U << 14)
#endif

enum { MAPS = 2, UID = 12345 };

static const char *top;
static uint64_t state;
static int objects[MAPS + 1]; /* the last is a program */
static char longest[NAME_MAX + 1], too_long[NAME_MAX + 2];

static unsigned draw(unsigned limit)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(state >> 33) % limit;
}

static const char *name(void)
{
	static const char *const names[] = { "a", "b", "c", "d", "a", "b", "c", "d", "x.y", ".",
		"..", ".h", "e-f", longest, too_long, "a//b", "./a", "a/.", "a/..", "b/../a", "a/",
		"b/" };

	return names[draw(sizeof(names) / sizeof(names[0]))];
}

/* A path below the top, never above it: what is there differs. */
static const char *path_below(char buf[PATH_MAX], const char *start)
{
	unsigned depth = 1 + draw(3), down = 0;

	snprintf(buf, PATH_MAX, "%s", start);
	for (unsigned i = 0; i < depth; i++) {
		const char *n = name();

		if (strstr(n, "..") && !down)
			n = "a";
		down = strstr(n, "..") || strcmp(n, ".") == 0 ? 0 : 1;
		if (*buf)
			strcat(buf, "/");
		strcat(buf, n);
	}
	return buf;
}

/* For the second of two. */
static const char *plain_path(char buf[PATH_MAX])
{
	static const char *const names[] = { "a", "b", "c", "d", "a/b", "b/a", "c/d/e", "d/a",
		"x.y" };

	snprintf(buf, PATH_MAX, "%s/%s", top, names[draw(9)]);
	return buf;
}

static const char *path(char buf[PATH_MAX])
{
	return path_below(buf, top);
}

/* Prints a result, with the top, which differs, left out. */
static void result(const char *what, const char *path, int ret)
{
	const char *shown = strncmp(path, top, strlen(top)) == 0 ? path + strlen(top) : path;

	printf("%s %.60s: %s\n", what, shown, ret < 0 ? strerrorname_np(errno) : "ok");
}

static long bpf(int cmd, union bpf_attr *attr)
{
	return syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

static int make_map(void)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1
	};

	return bpf(BPF_MAP_CREATE, &attr);
}

static int make_prog(void)
{
	static const struct bpf_insn insns[] = { { .code = 0xb7, .imm = 1 }, { .code = 0x95 } };
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
		.insns = (uintptr_t)insns,
		.insn_cnt = 2,
		.license = (uintptr_t)"GPL" };

	return bpf(BPF_PROG_LOAD, &attr);
}

static void pin(void)
{
	char buf[PATH_MAX];
	union bpf_attr attr = { .bpf_fd = (uint32_t)objects[draw(MAPS + 1)] };
	int dir = -1, ret;

	if (draw(3) == 0) {
		dir = open(top, O_PATH | O_DIRECTORY);
		attr.file_flags = BPF_F_PATH_FD;
		memcpy((char *)&attr + 16, &dir, sizeof(dir));
		path_below(buf, "");
	} else {
		path(buf);
	}
	attr.pathname = (uintptr_t)buf;
	ret = bpf(BPF_OBJ_PIN, &attr);
	result("pin", buf, ret);
	if (dir >= 0)
		close(dir);
}

static void get(void)
{
	static const unsigned flags[] = { 0, 0, BPF_F_RDONLY, BPF_F_WRONLY };
	char buf[PATH_MAX];
	union bpf_attr attr = { .pathname = (uintptr_t)path(buf), .file_flags = flags[draw(4)] };
	int fd = bpf(BPF_OBJ_GET, &attr);

	printf("%x ", attr.file_flags);
	result("get", buf, fd);
	if (fd >= 0)
		close(fd);
}

static void do_mkdir(void)
{
	static const mode_t modes[] = { 0755, 0700, 0777, 01777, 0555, 02775, 0 };
	char buf[PATH_MAX];
	mode_t mode = modes[draw(7)];

	path(buf);
	result("mkdir", buf, mkdir(buf, mode));
}

static void do_unlink(void)
{
	char buf[PATH_MAX];

	path(buf);
	switch (draw(4)) {
	case 0:
		result("rmdir", buf, rmdir(buf));
		break;
	case 1:
		result("unlink", buf, unlink(buf));
		break;
	case 2:
		result("remove", buf, remove(buf));
		break;
	default:
		result("unlinkat", buf, unlinkat(AT_FDCWD, buf, draw(2) ? AT_REMOVEDIR : 0));
	}
}

static void do_rename(void)
{
	char from[PATH_MAX], to[PATH_MAX];
	unsigned flags = draw(4);

	plain_path(to);
	/* When both are wrong, which one is named is nobody's business. */
	if (strchr(strrchr(to, '/'), '.'))
		snprintf(from, sizeof(from), "%s/%c", top, 'a' + draw(4));
	else
		path(from);
	if (strstr(from + strlen(top), ".y") || strstr(from, ".h"))
		snprintf(to, sizeof(to), "%s/a", top);
	printf("%.40s flags %x ", to + strlen(top), flags);
	result("rename", from,
		flags ? renameat2(AT_FDCWD, from, AT_FDCWD, to, flags) : rename(from, to));
}

static void do_link(void)
{
	char from[PATH_MAX], to[PATH_MAX];

	path(from);
	plain_path(to);
	printf("%.40s ", to + strlen(top));
	result("link", from, link(from, to));
}

static void do_symlink(void)
{
	char target[PATH_MAX], at[PATH_MAX];

	/* Where links lead, names may have dots. */
	do
		path_below(target, draw(2) ? top : "");
	while (strstr(target, "x.y") || strstr(target, ".h"));
	path(at);
	printf("%.40s ", strncmp(target, top, strlen(top)) ? target : target + strlen(top));
	result("symlink", at, symlink(target, at));
}

static void do_readlink(void)
{
	char at[PATH_MAX], target[PATH_MAX] = "";
	ssize_t len;

	path(at);
	if (draw(2)) {
		len = readlink(at, target, sizeof(target) - 1);
		/* The length tells that of the top. */
		result("readlink", at, len < 0 ? -1 : 0);
	} else {
		len = realpath(at, target) ? 0 : -1;
		result("realpath", at, (int)len);
	}
	if (len < 0)
		return;
	if (strncmp(target, top, strlen(top)) == 0)
		printf("  top %s\n", target + strlen(top));
	else if (*target && *target != '/')
		printf("  %s\n", target);
}

static void print_stat(const struct stat *st)
{
	printf("  mode %o uid %u gid %u nlink %u size %ld blocks %ld\n", st->st_mode, st->st_uid,
		st->st_gid, (unsigned)st->st_nlink, (long)st->st_size, (long)st->st_blocks);
}

static void do_stat(void)
{
	char buf[PATH_MAX];
	struct statfs fs;
	struct stat st;
	struct statx stx;
	int ret;

	path(buf);
	switch (draw(5)) {
	case 0:
		ret = stat(buf, &st);
		break;
	case 1:
		ret = lstat(buf, &st);
		break;
	case 2:
		ret = fstatat(AT_FDCWD, buf, &st, draw(2) ? AT_SYMLINK_NOFOLLOW : 0);
		break;
	case 3:
		ret = statx(AT_FDCWD, buf, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &stx);
		result("statx", buf, ret);
		if (ret == 0)
			printf("  mode %o size %llu\n", stx.stx_mode, stx.stx_size);
		return;
	default:
		ret = statfs(buf, &fs);
		result("statfs", buf, ret);
		if (ret == 0)
			printf("  type %lx bsize %ld namelen %ld blocks %ld\n", (long)fs.f_type,
				(long)fs.f_bsize, (long)fs.f_namelen, (long)fs.f_blocks);
		return;
	}
	result("stat", buf, ret);
	if (ret == 0)
		print_stat(&st);
}

static void do_access(void)
{
	char buf[PATH_MAX];

	path(buf);
	if (draw(2))
		result("access", buf, access(buf, (int)draw(8)));
	else
		result("faccessat", buf, faccessat(AT_FDCWD, buf, (int)draw(8), AT_EACCESS));
}

static void do_chmod(void)
{
	char buf[PATH_MAX];
	mode_t mode = draw(4) ? draw(01000) : 0755;

	path(buf);
	if (draw(2))
		result("chmod", buf, chmod(buf, mode));
	else
		result("chown", buf,
			draw(2) ? chown(buf, draw(2) * UID, UID)
				: lchown(buf, (uid_t)-1, draw(2) * UID));
}

static void do_open(void)
{
	static const int flags[] = { O_RDONLY, O_WRONLY, O_RDWR, O_RDONLY | O_CREAT,
		O_WRONLY | O_CREAT, O_RDWR | O_CREAT | O_EXCL, O_WRONLY | O_TRUNC,
		O_RDONLY | O_DIRECTORY, O_PATH, O_RDONLY | O_NOFOLLOW, O_RDWR | O_TMPFILE };
	char buf[PATH_MAX];
	unsigned which = draw(11);
	struct statfs fs;
	struct stat st;
	int fd;

	path(buf);
	if ((flags[which] & O_CREAT) && lstat(buf, &st) == 0 && S_ISLNK(st.st_mode))
		which = 0;
	fd = open(buf, flags[which], 0644);
	printf("%u ", which);
	result("open", buf, fd);
	if (fd >= 0 && fstatfs(fd, &fs) == 0)
		printf("  type %lx\n", (long)fs.f_type);
	if (fd >= 0)
		close(fd);
}

static void do_mknod(void)
{
	static const mode_t kinds[] = { S_IFREG, S_IFIFO, S_IFSOCK };
	char buf[PATH_MAX];

	path(buf);
	result("mknod", buf, mknod(buf, kinds[draw(3)] | 0644, 0));
}

/* Relative to a directory's descriptor, or as the working directory. */
static void do_relative(void)
{
	char dir[PATH_MAX], below[PATH_MAX], cwd[PATH_MAX];
	int fd = open(path(dir), O_RDONLY | O_DIRECTORY);
	struct stat st;

	result("directory", dir, fd);
	if (fd < 0)
		return;
	path_below(below, "");
	switch (draw(4)) {
	case 0:
		result("mkdirat", below, mkdirat(fd, below, 0755));
		break;
	case 1:
		result("fstatat", below, fstatat(fd, below, &st, AT_SYMLINK_NOFOLLOW));
		break;
	case 2:
		result("unlinkat", below, unlinkat(fd, below, draw(2) ? AT_REMOVEDIR : 0));
		break;
	default:
		if (fchdir(fd) == 0) {
			if (getcwd(cwd, sizeof(cwd)))
				printf("cwd %s\n", cwd + strlen(top));
			result("mkdir", below, mkdir(below, 0711));
			result("lstat", below, lstat(below, &st));
			result("up", "..", chdir(".."));
			if (getcwd(cwd, sizeof(cwd)) && strlen(cwd) >= strlen(top))
				printf("cwd %s\n", cwd + strlen(top));
		} else {
			result("fchdir", dir, -1);
		}
		if (chdir("/") != 0)
			exit(1);
	}
	close(fd);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void do_list(void)
{
	struct dirent **list;
	char buf[PATH_MAX];
	int count = scandir(path(buf), &list, NULL, by_name);

	result("list", buf, count);
	for (int i = 0; i < count; i++) {
		printf("  %.40s %u\n", list[i]->d_name, list[i]->d_type);
		free(list[i]);
	}
	if (count >= 0)
		free(list);
}

static void do_user(void)
{
	static uid_t user;

	if (setresuid(0, 0, 0) != 0)
		exit(1);
	user = user || draw(3) ? 0 : UID;
	if (setresgid(user, user, 0) != 0 || setresuid(user, user, 0) != 0)
		exit(1);
	umask(draw(2) ? 022 : 0);
	printf("user %u\n", user);
}

static char *lines[4096];
static size_t line_count;

static int show(const char *at, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	if (line_count < sizeof(lines) / sizeof(lines[0]) &&
		asprintf(&lines[line_count], "%s kind %d level %d base %s\n", at + strlen(top),
			kind, ftw->level, ftw->level ? at + ftw->base : "top") > 0)
		line_count++;
	return 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A directory's order is the file system's. */
static void show_all(void)
{
	nftw(top, show, 10, FTW_PHYS);
	qsort(lines, line_count, sizeof(lines[0]), by_text);
	for (size_t i = 0; i < line_count; i++)
		fputs(lines[i], stdout);
}

static void (*const operations[])(void) = { pin, pin, get, get, do_mkdir, do_mkdir, do_mkdir,
	do_unlink, do_rename, do_link, do_symlink, do_readlink, do_stat, do_stat, do_access,
	do_chmod, do_open, do_mknod, do_relative, do_list, do_user };

int main(int argc, char **argv)
{
	unsigned long count = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };

	if (!count)
		return 2;
	top = argv[1];
	state = strtoul(argv[2], NULL, 10);
	setrlimit(RLIMIT_MEMLOCK, &limit);
	memset(longest, 'l', NAME_MAX);
	memset(too_long, 't', NAME_MAX + 1);
	for (int i = 0; i < MAPS; i++)
		objects[i] = make_map();
	objects[MAPS] = make_prog();
	for (int i = 0; i <= MAPS; i++)
		if (objects[i] < 0)
			return (perror("bpf"), 1);
	if ((mkdir(top, 0700) != 0 && errno != EEXIST) || chmod(top, 0755) != 0 ||
		chmod(dirname(strdup(top)), 0755) != 0)
		return (perror(top), 1);
	for (unsigned long i = 0; i < count; i++) {
		printf("%lu ", i);
		operations[draw(sizeof(operations) / sizeof(operations[0]))]();
	}
	if (setresuid(0, 0, 0) != 0)
		return 1;
	show_all();
	fflush(stdout);
	return 0;
}
