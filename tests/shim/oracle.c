#include "oracle.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

void (*oracle_asked)(int cmd, const union bpf_attr *attr, long ret);

static long raw_syscall3(long nr, long a, long b, long c)
{
#if defined(__x86_64__)
	long ret;

	__asm__ volatile("syscall"
		: "=a"(ret)
		: "a"(nr), "D"(a), "S"(b), "d"(c)
		: "rcx", "r11", "memory");
	return ret;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	return x0;
#else
#error "no raw system call for this machine"
#endif
}

long oracle_bpf(int cmd, union bpf_attr *attr, unsigned int size)
{
	long ret = raw_syscall3(__NR_bpf, cmd, (long)attr, size);

	if (oracle_asked)
		oracle_asked(cmd, attr, ret);
	if (ret >= 0)
		return ret;
	errno = -ret;
	return -1;
}

bool oracle_permitted(void)
{
	static int permitted = -1;
	struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 2 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr;
	int fd;

	if (permitted >= 0)
		return permitted;
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.insns = (unsigned long)insns;
	attr.insn_cnt = 2;
	attr.license = (unsigned long)"GPL";
	fd = oracle_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	permitted = fd >= 0;
	if (permitted)
		close(fd);
	return permitted;
}
