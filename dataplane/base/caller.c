#include "caller.h"

#include <unistd.h>

static __thread struct sl_caller *current;

struct sl_caller *sl_caller_set(struct sl_caller *caller)
{
	struct sl_caller *old = current;

	current = caller;
	return old;
}

struct sl_caller *sl_caller(void)
{
	return current;
}

int sl_caller_fd(int fd)
{
	return current ? current->ops->fd(current, fd) : fd;
}

bool sl_caller_is_gone(void)
{
	return current && current->ops->gone(current);
}

uid_t sl_caller_uid(void)
{
	return current ? current->uid : getuid();
}

gid_t sl_caller_gid(void)
{
	return current ? current->gid : getgid();
}

pid_t sl_caller_pid(void)
{
	return current ? current->pid : getpid();
}

bool sl_caller_is_privileged(void)
{
	return !current || current->privileged;
}
