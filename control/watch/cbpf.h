#pragma once

#include <stdbool.h>

struct bpf_insn;
struct sock_filter;

/*
 * Classic BPF, as libpcap compiles its filters to, made into a program of type
 * BPF_PROG_TYPE_SOCKET_FILTER that returns the same for every packet: what lies beyond the packet or
 * divides by zero ends it with 0. The caller frees *ret_insns. -EINVAL: not a valid classic program,
 * or one with the kernel's extensions (which libpcap makes for live captures only); -E2BIG.
 */
int sl_cbpf_convert(const struct sock_filter *filter, unsigned count, struct bpf_insn **ret_insns,
	unsigned *ret_count);
