#include "link.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "prog.h"

/*
 * One lock orders everything that links do at hooks, so that a link's idea of what is attached and
 * the hook's are the same. It is held while the target swaps; a target does not call back.
 */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const struct sl_link_target *targets[SL_LINK_ATTACH_TYPES];

void sl_link_set_target(enum bpf_attach_type type, const struct sl_link_target *target)
{
	pthread_mutex_lock(&lock);
	targets[type] = target;
	pthread_mutex_unlock(&lock);
}

void sl_link_lock_hooks(void)
{
	pthread_mutex_lock(&lock);
}

void sl_link_unlock_hooks(void)
{
	pthread_mutex_unlock(&lock);
}

/* With the lock held. */
static int swap(struct sl_link *link, struct sl_prog *prog)
{
	const struct sl_link_target *target = targets[link->attach_type];

	return target ? target->swap(link, prog) : -ENODEV;
}

static void unlink_link(struct sl_object *obj)
{
	struct sl_link *link = sl_link_of(obj);

	if (link->prog)
		link->ops->leave(link);
}

static void release(struct sl_object *obj)
{
	struct sl_link *link = sl_link_of(obj);

	if (link->prog)
		sl_object_unref(&link->prog->obj);
	link->ops->free(link);
}

static const struct sl_object_ops ops = {
	.unlink = unlink_link,
	.release = release,
};

void sl_link_init(struct sl_link *link, const struct sl_link_ops *link_ops, struct sl_prog *prog)
{
	sl_object_init(&link->obj, SL_OBJECT_LINK, &ops);
	link->ops = link_ops;
	if (prog)
		sl_object_ref(&prog->obj);
	link->prog = prog;
}

/* ---- links to hooks that have one program ---- */

static void free_link(struct sl_link *link)
{
	free(link);
}

/* What an update asks for must fit what is attached; with the lock held. */
static int check_update(
	const struct sl_link *link, const struct sl_prog *prog, const struct sl_prog *expected)
{
	if (!sl_link_ifindex(link))
		return -ENOLINK;
	if (expected && link->prog != expected)
		return -EPERM;
	if (prog->type != link->prog->type ||
		prog->expected_attach_type != link->prog->expected_attach_type)
		return -EINVAL;
	return 0;
}

static int update(struct sl_link *link, struct sl_prog *prog, struct sl_prog *expected)
{
	struct sl_prog *old = NULL;
	int err;

	pthread_mutex_lock(&lock);
	err = check_update(link, prog, expected);
	if (!err && link->prog != prog) {
		err = swap(link, prog);
		if (!err) {
			sl_object_ref(&prog->obj);
			old = link->prog;
			sl_rcu_store(link->prog, prog);
		}
	}
	pthread_mutex_unlock(&lock);
	if (old)
		sl_object_unref(&old->obj);
	return err;
}

/* The program stays the link's: info goes on naming it. */
static int detach(struct sl_link *link)
{
	pthread_mutex_lock(&lock);
	if (sl_link_ifindex(link))
		swap(link, NULL);
	sl_link_forget_hook(link);
	pthread_mutex_unlock(&lock);
	return 0;
}

static void leave(struct sl_link *link)
{
	detach(link);
}

static void info(struct sl_link *link, struct bpf_link_info *ret_info)
{
	ret_info->xdp.ifindex = sl_link_ifindex(link);
}

static const struct sl_link_ops hook_ops = {
	.type = BPF_LINK_TYPE_XDP,
	.leave = leave,
	.update = update,
	.detach = detach,
	.info = info,
	.free = free_link,
};

int sl_link_new(struct sl_prog *prog, uint32_t ifindex, enum bpf_attach_type type, uint32_t flags,
	struct sl_link **ret_link)
{
	struct sl_link *link;
	int err;

	if ((unsigned)type >= SL_LINK_ATTACH_TYPES)
		return -EINVAL;
	link = calloc(1, sizeof(*link));
	if (!link)
		return -ENOMEM;
	sl_link_init(link, &hook_ops, NULL);
	link->ifindex = ifindex;
	link->flags = flags;
	link->attach_type = type;
	pthread_mutex_lock(&lock);
	err = swap(link, prog);
	if (!err) {
		sl_object_ref(&prog->obj);
		link->prog = prog;
	}
	pthread_mutex_unlock(&lock);
	if (err) {
		free(link);
		return err;
	}
	*ret_link = link;
	return 0;
}

int sl_link_update(struct sl_link *link, struct sl_prog *prog, struct sl_prog *expected)
{
	return link->ops->update ? link->ops->update(link, prog, expected) : -EINVAL;
}

int sl_link_detach(struct sl_link *link)
{
	return link->ops->detach ? link->ops->detach(link) : -EOPNOTSUPP;
}

struct sl_prog *sl_link_get_prog(struct sl_link *link)
{
	struct sl_prog *prog;

	/* One that is replaced and gone meanwhile is looked up again. */
	sl_rcu_read_begin();
	do
		prog = sl_rcu_load(link->prog);
	while (prog && !sl_object_try_ref(&prog->obj));
	sl_rcu_read_end();
	return prog;
}
