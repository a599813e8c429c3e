#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "command.h"

/* Run statistics cost time, so they are on only while somebody holds the descriptor. */
static unsigned holders;

static void release(struct sl_object *obj)
{
	free(obj);
}

static void unlink_stats(struct sl_object *obj)
{
	__atomic_sub_fetch(&holders, 1, __ATOMIC_RELAXED);
}

static const struct sl_object_ops ops = { .unlink = unlink_stats, .release = release };

bool sl_stats_enabled(void)
{
	return __atomic_load_n(&holders, __ATOMIC_RELAXED) > 0;
}

int sl_cmd_enable_stats(const struct sl_call *call)
{
	struct sl_object *obj;

	if (call->attr->enable_stats.type != BPF_STATS_RUN_TIME)
		return -EINVAL;
	obj = malloc(sizeof(*obj));
	if (!obj)
		return -ENOMEM;
	sl_object_init(obj, SL_OBJECT_STATS, &ops);
	__atomic_add_fetch(&holders, 1, __ATOMIC_RELAXED);
	return sl_fd_give(obj, O_RDWR);
}
