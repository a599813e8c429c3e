#pragma once

/*
 * Where the bpf(2) and perf_event_open(2) of the libbpf that is linked into this program go. The
 * linker's --wrap redirects its syscall(), mmap(), munmap() and ioctl() here.
 */
enum sl_client_target {
	SL_CLIENT_IN_PROCESS, /* sluice_bpf() of this process: the default */
	SL_CLIENT_DAEMON, /* that of SLUICE_SOCKET, or the usual one */
	SL_CLIENT_KERNEL, /* the running kernel, for comparisons */
};

/* For the calling thread, from now on; returns what it was. */
enum sl_client_target sl_client_use(enum sl_client_target target);
/* What it is. */
enum sl_client_target sl_client_target(void);
