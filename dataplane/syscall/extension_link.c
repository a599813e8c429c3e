#include "extension_link.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "btf.h"
#include "command.h"
#include "extend.h"
#include "extension.h"
#include "facts.h"
#include "link.h"
#include "prog.h"

/* In the kernel these are links of tracing; their info begins alike. */
struct extension_link {
	struct sl_link link;
	struct sl_prog *target; /* reference */
	uint32_t func; /* of the target */
	uint32_t target_id, target_btf_id; /* as they were when it was attached */
	uint64_t cookie;
};

/* An extension's target changes hands under this lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct extension_link *link_of(struct sl_link *link)
{
	return sl_container_of(link, struct extension_link, link);
}

static void leave(struct sl_link *link)
{
	sl_extend_end(link_of(link)->target, link_of(link)->func);
}

static void free_link(struct sl_link *link)
{
	struct extension_link *l = link_of(link);

	sl_object_unref(&l->target->obj);
	free(l);
}

static void info(struct sl_link *link, struct bpf_link_info *ret_info)
{
	const struct extension_link *l = link_of(link);

	ret_info->tracing.attach_type = 0;
	ret_info->tracing.target_obj_id = l->target_id;
	ret_info->tracing.target_btf_id = l->target_btf_id;
}

static const struct sl_link_ops ops = {
	.type = BPF_LINK_TYPE_TRACING,
	.leave = leave,
	.info = info,
	.free = free_link,
};

/* Another target than the one that the extension was verified for: is it as good? */
static int check_other(const struct sl_prog *prog, const struct sl_prog *target, uint32_t btf_id,
	uint32_t *ret_func)
{
	const struct sl_func_fact *first = &prog->facts->funcs[0];
	int err = sl_extension_check(NULL, prog, first, target, btf_id, ret_func);

	return err ? err
		   : sl_extension_check_args(
			     NULL, first->args, first->arg_count, target, *ret_func);
}

/* With the lock held. `given`: the caller names the target. */
static int attach(struct sl_prog *prog, struct extension_link *l, bool given)
{
	int err;

	if (!given && !prog->target)
		return -EINVAL;
	if (!given) {
		l->target = prog->target;
		sl_object_ref(&l->target->obj);
		l->target_btf_id = prog->target_btf_id;
	}
	err = check_other(prog, l->target, l->target_btf_id, &l->func);
	if (!err)
		err = sl_extend(l->target, l->func, prog);
	if (err)
		return err;
	l->target_id = l->target->obj.id;
	/* From now on the link keeps the target, and nothing does when it goes. */
	if (prog->target)
		sl_object_unref(&prog->target->obj);
	prog->target = NULL;
	return 0;
}

int sl_extension_link(struct sl_prog *prog, int target_fd, uint32_t btf_id, uint64_t cookie,
	struct sl_link **ret_link)
{
	struct extension_link *l;
	int err = 0;

	if (!target_fd != !btf_id)
		return -EINVAL;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	if (target_fd)
		err = sl_prog_get_by_fd(target_fd, &l->target);
	l->target_btf_id = btf_id;
	l->cookie = cookie;
	if (!err) {
		pthread_mutex_lock(&lock);
		err = attach(prog, l, target_fd != 0);
		pthread_mutex_unlock(&lock);
	}
	if (err) {
		if (l->target)
			sl_object_unref(&l->target->obj);
		free(l);
		return err;
	}
	sl_link_init(&l->link, &ops, prog);
	*ret_link = &l->link;
	return 0;
}

uint32_t sl_extension_target_btf(struct sl_prog *prog)
{
	uint32_t id;

	pthread_mutex_lock(&lock);
	id = prog->target ? prog->target->btf->obj.id : 0;
	pthread_mutex_unlock(&lock);
	return id;
}
