#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

#include "command.h"

/*
 * Runs are always counted, and their time is known from samples (port/run_stats.h): the descriptor
 * asks for the exact time of each.
 */
enum { SAMPLE_ONE_IN = 128 };

uint32_t sl_run_sample = UINT32_MAX / SAMPLE_ONE_IN;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned holders; /* under the lock */

static void hold(int change)
{
	pthread_mutex_lock(&lock);
	holders += (unsigned)change;
	__atomic_store_n(&sl_run_sample, holders ? UINT32_MAX : UINT32_MAX / SAMPLE_ONE_IN,
		__ATOMIC_RELAXED);
	pthread_mutex_unlock(&lock);
}

static void release(struct sl_object *obj)
{
	free(obj);
}

static void unlink_stats(struct sl_object *obj)
{
	hold(-1);
}

static const struct sl_object_ops ops = { .unlink = unlink_stats, .release = release };

int sl_cmd_enable_stats(const struct sl_call *call)
{
	struct sl_object *obj;

	if (call->attr->enable_stats.type != BPF_STATS_RUN_TIME)
		return -EINVAL;
	obj = malloc(sizeof(*obj));
	if (!obj)
		return -ENOMEM;
	sl_object_init(obj, SL_OBJECT_STATS, &ops);
	hold(1);
	return sl_fd_give(obj, O_RDWR);
}
