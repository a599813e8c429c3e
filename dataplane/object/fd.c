#include "fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "background.h"
#include "bpffs.h"
#include "caller.h"
#include "fork.h"
#include "list.h"
#include "pin.h"

/*
 * How the end of a descriptor is seen. There are three kinds of inode:
 *
 * Its own. The memfd exists for one descriptor and nobody else holds it, so its inode dies with the
 * last description of it: dups, inherited copies, messages in flight, mappings and descriptions
 * opened through /proc included. IN_DELETE_SELF tells exactly this, and it comes once.
 *
 * Shared. The memfd holds the values of a mappable map; the map keeps it, and all descriptors of
 * the map are descriptions of that one inode. Then IN_CLOSE tells that some description went, and
 * as equal events merge in the queue it cannot be counted. What can be asked is whether any is
 * left: a write lease on a description of our own (`probe`) is granted when there is no other one.
 * All descriptors of such a map together hold one reference. The event comes a moment before the
 * kernel has forgotten the description, so an inode that still looks used is a suspect for a while,
 * and asked again.
 *
 * A pin's: a file that has a name, and is not opened by us. It is watched as one of the first kind.
 *
 * Everything is under one lock, which is never held while a reference is dropped or the background
 * thread is spoken to. A forked child gets an inotify queue of its own, so that it does not eat the
 * parent's events, and looks through its descriptors at its first use.
 */
struct entry {
	struct sl_list by_inode, by_watch, suspect;
	struct sl_object *obj;
	struct entry *next_dead;
	dev_t device;
	ino_t inode;
	int watch;
	int probe; /* -1: the inode is this descriptor's own */
	int access;
	unsigned rechecks; /* left, of a suspect */
	bool pin; /* a file that stands for one, not a descriptor */
	bool seen; /* in a walk over all entries */
};

enum {
	BUCKETS = 4096,
	RECHECKS = 64, /* rounds of the background thread, so some hundred milliseconds */
};

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

static struct sl_list by_inode[BUCKETS], by_watch[BUCKETS];
static struct sl_list suspects = SL_LIST_INIT(suspects);
static int inotify_fd = -1;
static bool registered; /* inotify_fd with the background thread */
static bool forked; /* the watches are still the parent's */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static unsigned dropping; /* threads that drop references just now; under the lock */
static pthread_cond_t dropped = PTHREAD_COND_INITIALIZER;

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void in_parent(void)
{
	pthread_mutex_unlock(&lock);
}

/* The new queue takes the old one's number, under which the background thread knows it. */
static void in_child(void)
{
	int fd;

	if (inotify_fd >= 0) {
		fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
		if (fd < 0 || dup3(fd, inotify_fd, O_CLOEXEC) < 0)
			close(inotify_fd);
		if (fd >= 0)
			close(fd);
		forked = true;
	}
	dropping = 0;
	pthread_cond_init(&dropped, NULL);
	pthread_mutex_unlock(&lock);
}

static void init(void)
{
	for (unsigned i = 0; i < BUCKETS; i++) {
		sl_list_init(&by_inode[i]);
		sl_list_init(&by_watch[i]);
	}
	sl_fork_register(before_fork, in_parent, in_child);
}

static struct entry *find_inode(const struct stat *st)
{
	struct entry *e;

	sl_list_for_each (e, &by_inode[st->st_ino % BUCKETS], by_inode) {
		if (e->inode == st->st_ino && e->device == st->st_dev)
			return e;
	}
	return NULL;
}

static struct entry *find_watch(int watch)
{
	struct entry *e;

	sl_list_for_each (e, &by_watch[(unsigned)watch % BUCKETS], by_watch) {
		if (e->watch == watch)
			return e;
	}
	return NULL;
}

static int watch_path(struct entry *e, const char *path)
{
	int watch;

	watch = inotify_add_watch(inotify_fd, path, e->probe >= 0 ? IN_CLOSE : IN_DELETE_SELF);
	if (watch < 0)
		return errno == ENOSPC ? -ENFILE : -errno;
	e->watch = watch;
	sl_list_add_tail(&by_watch[(unsigned)watch % BUCKETS], &e->by_watch);
	return 0;
}

static int watch_fd(struct entry *e, int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return watch_path(e, path);
}

/* Takes the entry out of the tables; the caller drops its reference once the lock is free. */
static void bury(struct entry *e, struct entry **dead)
{
	sl_list_del(&e->by_inode);
	sl_list_del(&e->by_watch);
	sl_list_del(&e->suspect);
	if (e->probe >= 0) {
		inotify_rm_watch(inotify_fd, e->watch);
		close(e->probe);
	}
	e->next_dead = *dead;
	*dead = e;
}

static void drop(struct entry *dead)
{
	while (dead) {
		struct entry *e = dead;

		dead = e->next_dead;
		sl_object_user_unref(e->obj);
		free(e);
	}
}

/* Whether no description of a shared inode is left but the probe. */
static bool unused(const struct entry *e)
{
	if (fcntl(e->probe, F_SETLEASE, F_WRLCK) != 0)
		return false;
	fcntl(e->probe, F_SETLEASE, F_UNLCK);
	return true;
}

/* Buries what no walk has seen, and unused shared inodes. */
static void sweep(struct entry **dead)
{
	struct entry *e, *tmp;

	for (unsigned i = 0; i < BUCKETS; i++) {
		sl_list_for_each_safe (e, tmp, &by_inode[i], by_inode) {
			if (e->probe >= 0 ? unused(e) : !e->seen)
				bury(e, dead);
			e->seen = false;
		}
	}
}

static bool adopt_pin(const char *path, const char *real, const struct stat *st, void *arg)
{
	struct entry *e = find_inode(st);

	(void)path;
	(void)arg;
	if (e && e->pin && !e->seen)
		e->seen = watch_path(e, real) == 0;
	return true;
}

/*
 * In a child: watches what it inherited. A descriptor that exists only in a message in flight is
 * not found, and means nothing to the child when it arrives.
 */
static void adopt(struct entry **dead)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *d;
	bool pins = false;
	struct entry *e;
	struct stat st;

	for (unsigned i = 0; i < BUCKETS; i++)
		sl_list_init(&by_watch[i]);
	for (unsigned i = 0; i < BUCKETS; i++) {
		sl_list_for_each (e, &by_inode[i], by_inode) {
			sl_list_init(&e->by_watch);
			e->watch = -1;
			pins |= e->pin;
		}
	}
	while (dir && (d = readdir(dir))) {
		if (d->d_name[0] == '.' || fstat(atoi(d->d_name), &st) != 0)
			continue;
		e = find_inode(&st);
		if (e && !e->seen)
			e->seen = watch_fd(e, atoi(d->d_name)) == 0;
	}
	if (dir)
		closedir(dir);
	if (pins)
		sl_bpffs_walk(adopt_pin, NULL);
	sweep(dead);
	forked = false;
}

/* Events were lost: /proc tells which watches still exist. */
static void resync(struct entry **dead)
{
	char path[40], line[256];
	struct entry *e;
	FILE *f;
	int watch;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", inotify_fd);
	f = fopen(path, "re");
	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "inotify wd:%x", (unsigned *)&watch) != 1)
			continue;
		e = find_watch(watch);
		if (e)
			e->seen = true;
	}
	fclose(f);
	sweep(dead);
}

static void handle(const struct inotify_event *ev, struct entry **dead)
{
	struct entry *e;

	if (ev->mask & IN_Q_OVERFLOW) {
		resync(dead);
		return;
	}
	e = find_watch(ev->wd);
	if (!e)
		return;
	if (e->probe < 0) {
		bury(e, dead);
		return;
	}
	sl_list_del(&e->suspect);
	sl_list_add_tail(&suspects, &e->suspect);
	e->rechecks = RECHECKS;
}

static void check_suspects(bool last_chance, struct entry **dead)
{
	struct entry *e, *tmp;

	sl_list_for_each_safe (e, tmp, &suspects, suspect) {
		if (unused(e))
			bury(e, dead);
		else if (last_chance && --e->rechecks == 0)
			sl_list_del(&e->suspect);
	}
}

static void read_events(struct entry **dead)
{
	char buf[4096] sl_aligned(__alignof__(struct inotify_event));
	ssize_t len;

	if (forked)
		adopt(dead);
	while ((len = read(inotify_fd, buf, sizeof(buf))) > 0) {
		for (char *p = buf; p < buf + len;) {
			const struct inotify_event *ev = (const struct inotify_event *)p;

			handle(ev, dead);
			p += sizeof(*ev) + ev->len;
		}
	}
}

/* With the lock held, which is let go meanwhile. */
static void drop_all(struct entry *dead)
{
	if (!dead)
		return;
	dropping++;
	pthread_mutex_unlock(&lock);
	drop(dead);
	pthread_mutex_lock(&lock);
	dropping--;
	pthread_cond_broadcast(&dropped);
}

/*
 * close() in the kernel returns when the object is gone. So whoever asks something after a close
 * waits for the background thread, should that have seen it first; never the other way round.
 */
static void reap(bool by_poll, bool wait)
{
	struct entry *dead = NULL;

	pthread_mutex_lock(&lock);
	if (inotify_fd >= 0) {
		read_events(&dead);
		check_suspects(by_poll, &dead);
	}
	drop_all(dead);
	while (wait && dropping > 0)
		pthread_cond_wait(&dropped, &lock);
	pthread_mutex_unlock(&lock);
}

void sl_fd_reap(void)
{
	reap(false, true);
}

static void on_readable(void *arg)
{
	(void)arg;
	reap(false, false);
}

static bool poll_suspects(void *arg)
{
	bool any;

	(void)arg;
	pthread_mutex_lock(&lock);
	any = !sl_list_empty(&suspects);
	pthread_mutex_unlock(&lock);
	if (any)
		reap(true, false);
	return false;
}

/* With the lock held. */
static int start(void)
{
	if (inotify_fd >= 0)
		return 0;
	inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	return inotify_fd >= 0 ? 0 : -errno;
}

/* Without the lock, which the background thread takes under its own. */
static int register_queue(void)
{
	int err;

	if (__atomic_exchange_n(&registered, true, __ATOMIC_RELAXED))
		return 0;
	err = sl_background_add_fd(inotify_fd, on_readable, NULL);
	if (!err)
		err = sl_background_add_poll(poll_suspects, NULL);
	return err;
}

static int reopen(int fd, int flags)
{
	char path[32];
	int copy;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	copy = open(path, flags | O_CLOEXEC);
	return copy >= 0 ? copy : -errno;
}

static struct entry *entry_new(struct sl_object *obj, const struct stat *st, int access)
{
	struct entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->obj = obj;
	e->device = st->st_dev;
	e->inode = st->st_ino;
	e->access = access;
	e->probe = -1;
	e->watch = -1;
	sl_list_init(&e->by_inode);
	sl_list_init(&e->by_watch);
	sl_list_init(&e->suspect);
	return e;
}

static void entry_publish(struct entry *e)
{
	sl_object_user_ref(e->obj);
	sl_list_add_tail(&by_inode[e->inode % BUCKETS], &e->by_inode);
}

/* A memfd of its own; with the lock held. */
static int new_own(struct sl_object *obj, int access)
{
	static const char *const names[] = {
#define SL_OBJECT(name, memfd_name) [SL_OBJECT_##name] = memfd_name,
#include "types.def"
#undef SL_OBJECT
	};
	struct entry *e;
	struct stat st;
	int fd, err;

	fd = memfd_create(names[obj->type], MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
		fd = memfd_create(names[obj->type], MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
	if (fstat(fd, &st) != 0) {
		err = -errno;
		goto fail;
	}
	err = -ENOMEM;
	e = entry_new(obj, &st, access);
	if (!e)
		goto fail;
	err = watch_fd(e, fd);
	if (err) {
		free(e);
		goto fail;
	}
	entry_publish(e);
	return fd;
fail:
	close(fd);
	return err;
}

/* The first descriptor of a shared inode: its entry. With the lock held. */
static int share(struct sl_object *obj, int memfd, const struct stat *st)
{
	struct entry *e = entry_new(obj, st, O_RDWR);
	int err;

	if (!e)
		return -ENOMEM;
	e->probe = reopen(memfd, O_RDWR);
	if (e->probe < 0) {
		err = e->probe;
		goto fail;
	}
	/* Who opens the inode in the moment of a test gets a signal sent: one that is ignored. */
	fcntl(e->probe, F_SETSIG, SIGURG);
	err = watch_fd(e, memfd);
	if (err)
		goto fail;
	entry_publish(e);
	return 0;
fail:
	if (e->probe >= 0)
		close(e->probe);
	free(e);
	return err;
}

static int new_shared(struct sl_object *obj, int memfd, int access, struct entry **dead)
{
	struct entry *e;
	struct stat st;
	int fd, err;

	if (fstat(memfd, &st) != 0)
		return -errno;
	if (!find_inode(&st)) {
		err = share(obj, memfd, &st);
		if (err)
			return err;
	}
	fd = reopen(memfd, access);
	if (fd < 0) {
		e = find_inode(&st);
		if (unused(e))
			bury(e, dead);
	}
	return fd;
}

/* Takes the lock, also on failure. */
static int enter(struct entry **dead)
{
	int err;

	pthread_once(&once, init);
	pthread_mutex_lock(&lock);
	err = start();
	if (!err && forked)
		adopt(dead);
	return err;
}

int sl_fd_new(struct sl_object *obj, int memfd, int access)
{
	struct entry *dead = NULL;
	int fd = -1, err;

	err = enter(&dead);
	if (!err) {
		fd = memfd >= 0 ? new_shared(obj, memfd, access, &dead) : new_own(obj, access);
		err = sl_min(fd, 0);
	}
	pthread_mutex_unlock(&lock);
	drop(dead);
	if (err)
		return err;
	err = register_queue();
	if (err) {
		close(fd);
		sl_fd_reap();
		return err;
	}
	return fd;
}

/* With the lock held. */
static int new_pin(int file, struct sl_object *obj)
{
	struct entry *e;
	struct stat st;
	int err;

	if (fstat(file, &st) != 0)
		return -errno;
	if (find_inode(&st))
		return -EEXIST;
	e = entry_new(obj, &st, O_RDWR);
	if (!e)
		return -ENOMEM;
	e->pin = true;
	err = watch_fd(e, file);
	if (err)
		free(e);
	else
		entry_publish(e);
	return err;
}

int sl_pin_add(int file, struct sl_object *obj)
{
	struct entry *dead = NULL;
	int err;

	err = enter(&dead);
	if (!err)
		err = new_pin(file, obj);
	pthread_mutex_unlock(&lock);
	drop(dead);
	return err ? err : register_queue();
}

int sl_pin_get(const struct stat *st, struct sl_object **ret_obj)
{
	struct entry *e;

	pthread_mutex_lock(&lock);
	e = inotify_fd >= 0 ? find_inode(st) : NULL;
	if (e && !e->pin)
		e = NULL;
	if (e)
		*ret_obj = sl_object_ref(e->obj);
	pthread_mutex_unlock(&lock);
	return e ? 0 : -ENOENT;
}

int sl_fd_get_any(int fd, struct sl_object **ret_obj, int *ret_access)
{
	struct entry *e;
	struct stat st;
	int flags = 0;

	fd = sl_caller_fd(fd);
	if (fd < 0 || fstat(fd, &st) != 0)
		return -EBADF;
	pthread_mutex_lock(&lock);
	e = inotify_fd >= 0 ? find_inode(&st) : NULL;
	if (e && e->pin)
		e = NULL;
	if (e && e->probe >= 0)
		flags = fcntl(fd, F_GETFL);
	if (e) {
		*ret_obj = sl_object_ref(e->obj);
		*ret_access = e->probe >= 0 ? flags & O_ACCMODE : e->access;
	}
	pthread_mutex_unlock(&lock);
	return e ? 0 : -EINVAL;
}

int sl_fd_get(int fd, enum sl_object_type type, struct sl_object **ret_obj)
{
	struct sl_object *obj;
	int access, err;

	err = sl_fd_get_any(fd, &obj, &access);
	if (err)
		return err;
	if (obj->type != type) {
		sl_object_unref(obj);
		return -EINVAL;
	}
	*ret_obj = obj;
	return 0;
}
