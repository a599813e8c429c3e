#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * The system calls that Sluice answers in the place of the kernel, for whatever catches a
 * program's calls: the linker's --wrap (wrap.c) or the preload library (control/shim). Each
 * returns whether the call is Sluice's, and then in ret_result what the caller gets. errno changes
 * only when that is a failure: programs look at it after calls that succeeded. What our own code
 * calls meanwhile is never Sluice's.
 */

/* How deep this thread is in our own code. */
extern __thread unsigned sl_serve_inside;

/* bpf(2), and perf_event_open(2) for events that programs output to. */
bool sl_serve_syscall(long nr, const long args[6], long *ret_result);

/* On the descriptors of such events. */
bool sl_serve_mmap(
	void *addr, size_t len, int prot, int flags, int fd, off_t offset, void **ret_result);
bool sl_serve_munmap(void *addr, size_t len, int *ret_result);
bool sl_serve_ioctl(int fd, unsigned long request, unsigned long arg, int *ret_result);

/* What epoll is to wait for in the place of fd: fd itself, but for a RINGBUF. */
int sl_serve_epoll_fd(int fd);
/* Before a thread waits for events. */
void sl_serve_before_wait(void);
