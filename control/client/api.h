#pragma once

#include <linux/bpf.h>
#include <stddef.h>
#include <sys/types.h>

struct perf_event_attr;

/*
 * Who answers what serve.h catches: the data plane in this process (sl_api_in_process) or the daemon's
 * (sl_api_daemon, remote.h). The functions are those of sluice/bpf.h and do what it says there.
 */
struct sl_api {
	long (*bpf)(int cmd, union bpf_attr *attr, unsigned int size);
	int (*perf_event_open)(const struct perf_event_attr *attr, pid_t pid, int cpu, int group_fd,
		unsigned long flags);
	void *(*perf_mmap)(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
	int (*perf_munmap)(void *addr, size_t len);
	int (*perf_ioctl)(int fd, unsigned long request, unsigned long arg);
	void *(*ringbuf_mmap)(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
	int (*ringbuf_event_fd)(int fd);
	void (*ringbuf_before_wait)(void);

	/* AF_XDP sockets, as serve_xsk.h says; NULL where there are none. */
	void *(*xsk_mmap)(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
	void (*xsk_watch)(int fd);
	void (*xsk_before_wait)(void);

	/* What /proc/self/fdinfo shows of a descriptor of ours, to be freed; NULL for another. */
	char *(*fdinfo)(int fd);

	/* Says whose bpf file systems paths lead to, before the first is looked at; NULL: nobody's yet. */
	void (*use_bpffs)(void);
};

/* Whose turn it is on this thread: given by who links serve.c. */
const struct sl_api *sl_serve_api(void);

extern const struct sl_api sl_api_in_process;
