#include "object.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bpffs.h"
#include "fd.h"
#include "link.h"
#include "pin.h"
#include "prog.h"
#include "test.h"

static unsigned unlinked, released, user_released;

static void note_unlink(struct sl_object *obj)
{
	__atomic_add_fetch(&unlinked, 1, __ATOMIC_RELAXED);
}

static void note_release(struct sl_object *obj)
{
	__atomic_add_fetch(&released, 1, __ATOMIC_RELAXED);
	free(obj);
}

static void note_user_release(struct sl_object *obj)
{
	__atomic_add_fetch(&user_released, 1, __ATOMIC_RELAXED);
}

static const struct sl_object_ops ops = {
	.user_release = note_user_release,
	.unlink = note_unlink,
	.release = note_release,
};

static struct sl_object *object_new(enum sl_object_type type)
{
	struct sl_object *obj = malloc(sizeof(*obj));

	sl_object_init(obj, type, &ops);
	return obj;
}

TEST(object, ids_ascend_and_are_found_until_the_last_reference)
{
	struct sl_object *a = object_new(SL_OBJECT_BTF), *b = object_new(SL_OBJECT_BTF);
	uint32_t id_a, id_b;

	ASSERT_EQ(0, sl_object_publish(a));
	ASSERT_EQ(0, sl_object_publish(b));
	id_a = a->id;
	id_b = b->id;
	EXPECT_LT(id_a, id_b);
	EXPECT_EQ(id_a, sl_object_next_id(SL_OBJECT_BTF, 0));
	EXPECT_EQ(id_b, sl_object_next_id(SL_OBJECT_BTF, id_a));
	EXPECT_EQ(0, sl_object_next_id(SL_OBJECT_BTF, id_b));
	EXPECT_EQ(0, sl_object_next_id(SL_OBJECT_BTF, UINT32_MAX));
	EXPECT_TRUE(sl_object_get_by_id(SL_OBJECT_MAP, id_a) == NULL);

	EXPECT_TRUE(sl_object_get_by_id(SL_OBJECT_BTF, id_a) == a);
	sl_object_unref(a);
	EXPECT_TRUE(sl_object_get_by_id(SL_OBJECT_BTF, id_a) == a);
	sl_object_unref(a);
	unlinked = 0;
	sl_object_unref(a);
	EXPECT_EQ(1, unlinked);
	EXPECT_TRUE(sl_object_get_by_id(SL_OBJECT_BTF, id_a) == NULL);
	EXPECT_EQ(id_b, sl_object_next_id(SL_OBJECT_BTF, 0));
	sl_object_unref(b);
	sl_rcu_barrier();
}

TEST(object, released_once_after_grace_period)
{
	struct sl_object *obj = object_new(SL_OBJECT_PROG);

	released = 0;
	sl_rcu_read_begin();
	sl_object_unref(obj);
	EXPECT_EQ(0, __atomic_load_n(&released, __ATOMIC_RELAXED));
	sl_rcu_read_end();
	sl_rcu_barrier();
	EXPECT_EQ(1, __atomic_load_n(&released, __ATOMIC_RELAXED));
}

TEST(object, user_release_at_last_user_reference)
{
	struct sl_object *obj = object_new(SL_OBJECT_MAP);

	user_released = 0;
	sl_object_user_ref(obj);
	sl_object_user_ref(obj);
	sl_object_user_unref(obj);
	EXPECT_EQ(0, user_released);
	sl_object_user_unref(obj);
	EXPECT_EQ(1, user_released);
	EXPECT_EQ(1, obj->refs);
	sl_object_unref(obj);
	sl_rcu_barrier();
}

static bool stop;

static void *look_up(void *arg)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		uint32_t id = 0;

		while ((id = sl_object_next_id(SL_OBJECT_LINK, id)))
			sl_object_unref(sl_object_get_by_id(SL_OBJECT_LINK, id));
	}
	return NULL;
}

TEST(object, look_up_while_others_drop)
{
	pthread_t threads[2];

	released = 0;
	stop = false;
	for (unsigned i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, look_up, NULL);
	for (unsigned i = 0; i < 20000; i++) {
		struct sl_object *obj = object_new(SL_OBJECT_LINK);

		ASSERT_EQ(0, sl_object_publish(obj));
		sl_object_unref(obj);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	sl_rcu_barrier();
	EXPECT_EQ(20000, __atomic_load_n(&released, __ATOMIC_RELAXED));
}

static int rename_pin(const char *from, const char *real_to)
{
	struct sl_bpffs_path look;
	int err = sl_bpffs_look(AT_FDCWD, from, &look);

	return err ? err : rename(look.path, real_to);
}

TEST(pin, holds_object_as_long_as_the_file_is_there)
{
	struct sl_object *obj = object_new(SL_OBJECT_MAP), *found;
	struct sl_bpffs_path look;
	struct stat st;
	int file, access;

	released = 0;
	file = sl_bpffs_place(AT_FDCWD, "/sys/fs/bpf/a", &look);
	ASSERT_GE(file, 0);
	EXPECT_EQ(0, fstat(file, &st));
	EXPECT_EQ(-ENOENT, sl_pin_get(&st, &found));
	ASSERT_EQ(0, sl_pin_add(file, obj));
	EXPECT_EQ(-EEXIST, sl_pin_add(file, obj));
	EXPECT_EQ(0, sl_bpffs_publish(file, &look));
	/* It is no descriptor of the object. */
	EXPECT_EQ(-EINVAL, sl_fd_get_any(file, &found, &access));
	close(file);
	EXPECT_EQ(-EEXIST, sl_bpffs_place(AT_FDCWD, "/sys/fs/bpf/a", &look));
	sl_object_unref(obj);
	sl_fd_reap();
	sl_rcu_barrier();
	EXPECT_EQ(0, released);
	ASSERT_EQ(0, sl_pin_get(&st, &found));
	EXPECT_TRUE(found == obj);
	sl_object_unref(found);
	/* It may have two names. */
	EXPECT_EQ(0, sl_bpffs_look(AT_FDCWD, "/sys/fs/bpf/b", &look));
	EXPECT_EQ(SL_BPFFS_INSIDE, look.where);
	EXPECT_EQ(0, rename_pin("/sys/fs/bpf/a", look.path));
	sl_fd_reap();
	EXPECT_EQ(0, sl_pin_get(&st, &found));
	sl_object_unref(found);
	EXPECT_EQ(0, unlink(look.path));
	sl_fd_reap();
	EXPECT_EQ(-ENOENT, sl_pin_get(&st, &found));
	sl_rcu_barrier();
	EXPECT_EQ(1, released);
}

TEST(pin, that_got_no_name_is_none)
{
	struct sl_object *obj = object_new(SL_OBJECT_MAP);
	struct sl_bpffs_path look;
	int file;

	released = 0;
	file = sl_bpffs_place(AT_FDCWD, "/sys/fs/bpf/a", &look);
	ASSERT_GE(file, 0);
	ASSERT_EQ(0, sl_pin_add(file, obj));
	sl_object_unref(obj);
	close(file);
	sl_fd_reap();
	sl_rcu_barrier();
	EXPECT_EQ(1, released);
}

static struct sl_prog *at_hook;

static int hook_swap(struct sl_link *link, struct sl_prog *new_prog)
{
	if (link->ifindex != 7)
		return -ENODEV;
	if (at_hook != link->prog)
		return -EBUSY;
	at_hook = new_prog;
	return 0;
}

static struct sl_prog *prog_new(void)
{
	static const struct bpf_insn insns[2];
	struct sl_prog *prog = NULL;

	sl_prog_new(insns, 2, &prog);
	prog->type = BPF_PROG_TYPE_XDP;
	return prog;
}

TEST(link, attaches_until_last_reference)
{
	static const struct sl_link_target target = { hook_swap };
	struct sl_prog *a = prog_new(), *b = prog_new();
	struct sl_link *link, *other;

	EXPECT_EQ(-ENODEV, sl_link_new(a, 7, BPF_XDP, 0, &link));
	sl_link_set_target(BPF_XDP, &target);
	EXPECT_EQ(-ENODEV, sl_link_new(a, 8, BPF_XDP, 0, &link));
	ASSERT_EQ(0, sl_link_new(a, 7, BPF_XDP, 0, &link));
	EXPECT_EQ(-EBUSY, sl_link_new(b, 7, BPF_XDP, 0, &other));
	EXPECT_TRUE(at_hook == a);
	EXPECT_EQ(-EPERM, sl_link_update(link, b, b));
	EXPECT_EQ(0, sl_link_update(link, b, a));
	EXPECT_TRUE(at_hook == b);
	a->type = BPF_PROG_TYPE_SCHED_CLS;
	EXPECT_EQ(-EINVAL, sl_link_update(link, a, NULL));
	sl_object_unref(&link->obj);
	EXPECT_TRUE(at_hook == NULL);

	ASSERT_EQ(0, sl_link_new(b, 7, BPF_XDP, 0, &link));
	sl_link_detach(link);
	EXPECT_TRUE(at_hook == NULL);
	EXPECT_EQ(-ENOLINK, sl_link_update(link, b, NULL));
	EXPECT_EQ(0u, sl_link_ifindex(link));
	EXPECT_TRUE(sl_link_get_prog(link) == b);
	sl_object_unref(&b->obj);
	sl_object_unref(&link->obj);
	sl_object_unref(&a->obj);
	sl_object_unref(&b->obj);
	sl_link_set_target(BPF_XDP, NULL);
	sl_rcu_barrier();
}
