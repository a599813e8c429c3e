#include "pin.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fork.h"
#include "list.h"

struct pin {
	struct sl_list node;
	struct sl_object *obj;
	char path[];
};

static struct sl_list pins = SL_LIST_INIT(pins);
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&lock);
}

static void init(void)
{
	sl_fork_register(before_fork, after_fork, after_fork);
}

static struct pin *find(const char *path)
{
	struct pin *p;

	sl_list_for_each (p, &pins, node) {
		if (strcmp(p->path, path) == 0)
			return p;
	}
	return NULL;
}

int sl_pin_add(const char *path, struct sl_object *obj)
{
	struct pin *p = malloc(sizeof(*p) + strlen(path) + 1);
	int err = 0;

	if (!p)
		return -ENOMEM;
	strcpy(p->path, path);
	p->obj = obj;
	pthread_once(&once, init);
	pthread_mutex_lock(&lock);
	if (find(path)) {
		err = -EEXIST;
	} else {
		sl_object_user_ref(obj);
		sl_list_add_tail(&pins, &p->node);
	}
	pthread_mutex_unlock(&lock);
	if (err)
		free(p);
	return err;
}

int sl_pin_get(const char *path, struct sl_object **ret_obj)
{
	struct pin *p;

	pthread_mutex_lock(&lock);
	p = find(path);
	if (p)
		*ret_obj = sl_object_ref(p->obj);
	pthread_mutex_unlock(&lock);
	return p ? 0 : -ENOENT;
}

int sl_pin_del(const char *path)
{
	struct pin *p;

	pthread_mutex_lock(&lock);
	p = find(path);
	if (p)
		sl_list_del(&p->node);
	pthread_mutex_unlock(&lock);
	if (!p)
		return -ENOENT;
	sl_object_user_unref(p->obj);
	free(p);
	return 0;
}
