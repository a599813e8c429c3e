#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "row.h"
#include "fork.h"
#include "start.h"

/*
 * Who runs. In the kernel it is whatever task a packet interrupted; here it is always the process
 * that has the workers, so its identity is read once, and again in a forked child.
 */

#define COMM_LEN 16 /* TASK_COMM_LEN */

static struct {
	uint64_t pid_tgid, uid_gid;
	char comm[COMM_LEN];
} self;

static void read_self(void)
{
	FILE *f = fopen("/proc/self/comm", "re");

	self.pid_tgid = (uint64_t)getpid() << 32 | (uint32_t)getpid();
	self.uid_gid = (uint64_t)getgid() << 32 | getuid();
	memset(self.comm, 0, sizeof(self.comm));
	if (!f)
		return;
	if (fgets(self.comm, sizeof(self.comm), f))
		self.comm[strcspn(self.comm, "\n")] = 0;
	fclose(f);
}

static void forked(void)
{
	self.pid_tgid = (uint64_t)getpid() << 32 | (uint32_t)getpid();
}

void sl_task_start(void)
{
	read_self();
	sl_fork_register(NULL, NULL, forked);
}

SL_HELPER_FN(get_current_pid_tgid)
{
	return self.pid_tgid;
}

const struct sl_helper sl_helper_get_current_pid_tgid = { SL_ROW(get_current_pid_tgid, ANY) };

SL_HELPER_FN(get_current_uid_gid)
{
	return self.uid_gid;
}

const struct sl_helper sl_helper_get_current_uid_gid = { SL_ROW(get_current_uid_gid, ANY) };

SL_HELPER_FN(get_current_comm)
{
	uint32_t size = (uint32_t)r2, len = sl_min(size - 1, (uint32_t)strlen(self.comm));
	char *to = (char *)r1;

	memcpy(to, self.comm, len);
	memset(to + len, 0, size - len);
	return 0;
}

const struct sl_helper sl_helper_get_current_comm = {
	SL_ROW(get_current_comm, ANY),
	.args = { SL_ARG_MEM_UNINIT, SL_ARG_SIZE },
};
