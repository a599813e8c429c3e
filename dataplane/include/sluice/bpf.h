#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct perf_event_attr;

/*
 * bpf(2) in user space: same commands, attributes, results and errno as the kernel's system call
 * (linux/bpf.h). Returns -1 and sets errno on failure. Descriptors it returns are real ones,
 * close-on-exec, and hold their object until the last close. Any thread but a worker.
 */
long sluice_bpf(int cmd, union bpf_attr *attr, unsigned int size);

/*
 * perf_event_open(2) for events of type PERF_TYPE_SOFTWARE, config PERF_COUNT_SW_BPF_OUTPUT, one
 * CPU each: the descriptor can be put into a PERF_EVENT_ARRAY, polled, and mapped with
 * sluice_perf_mmap. Returns -1 and sets errno; ENOENT for every other kind of event.
 */
int sluice_perf_event_open(
	const struct perf_event_attr *attr, pid_t pid, int cpu, int group_fd, unsigned long flags);

/*
 * mmap(2) and ioctl(2) on such a descriptor, as for a perf event of the kernel: a length of
 * 1 + 2^n pages; PERF_EVENT_IOC_ENABLE, _DISABLE and _SET_OUTPUT's errors. -1/MAP_FAILED with
 * errno ENODEV/ENOTTY when fd is not an event of ours, so that a caller can go on to the kernel.
 */
void *sluice_perf_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
int sluice_perf_ioctl(int fd, unsigned long request, unsigned long arg);

/*
 * mmap(2) on the descriptor of a RINGBUF map, as for the kernel's: the consumer's page, the
 * producers' page, and the data twice in a row. MAP_FAILED with errno ENODEV or EBADF when fd is no
 * such map of ours. munmap(2) takes it away.
 */
void *sluice_ringbuf_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);

/* What a mapping of a RINGBUF or USER_RINGBUF is made of, for a consumer in another process. */
struct sluice_ringbuf_layout {
	uint64_t data_len_bytes;
	bool writable; /* by this descriptor */
	bool user; /* a USER_RINGBUF */
};
/* 0, or -1 with errno ENODEV or EBADF when fd is no such map of ours. */
int sluice_ringbuf_layout(int fd, struct sluice_ringbuf_layout *ret_layout);

/*
 * The descriptor that epoll gets instead of such a map's, which is a file and cannot be waited for.
 * It stays the map's. -1 with errno ENODEV or EBADF when fd is something else. Before a thread waits
 * for it, sluice_ringbuf_before_wait() makes it say whether there is anything to read.
 */
int sluice_ringbuf_event_fd(int fd);
void sluice_ringbuf_before_wait(void);

/*
 * For a consumer in another process: makes the ring that mmap(2) with these arguments asks for, and
 * returns a new descriptor of what is to be mapped from its beginning. The ring stays until as many
 * sluice_perf_unmapped() have come, or the event's last descriptor is closed. -1 with errno as mmap.
 */
int sluice_perf_ring(int fd, size_t len, int prot, int flags, off_t offset);
int sluice_perf_unmapped(int fd);

/* munmap(2) of anything; an event whose ring nobody has mapped any more has no ring. */
int sluice_perf_munmap(void *addr, size_t len);

/*
 * The lines that /proc/PID/fdinfo has for a descriptor of a map, program, BTF or link, after those that
 * it has for any; to be freed. NULL with errno EBADF, EINVAL for a descriptor of another kind, ENOMEM.
 */
char *sluice_fdinfo(int fd);

/* What loading a program cost, by phase, and what came of it. */
struct sluice_load_report {
	uint64_t verify_ns;
	uint64_t emit_ns, link_ns, optimize_ns, codegen_ns; /* the JIT's phases, in this order */
	uint32_t insn_count, verified_insns; /* as loaded; as the verifier walked them */
	uint32_t code_bytes;
	uint32_t peak_states; /* that the verifier kept at a time, and their memory */
	uint64_t peak_state_bytes;
};

/* For a program's descriptor. -1 with errno EBADF or EINVAL. */
int sluice_load_report(int prog_fd, struct sluice_load_report *ret_report);

/*
 * LLVM's intermediate representation of a program after optimisation, as text to be freed. 0 or a
 * negative errno: -EBADF, -EINVAL when it is no program's descriptor, -ENOMEM.
 */
int sluice_prog_ir(int prog_fd, char **ret_text);

#ifdef __cplusplus
}
#endif
