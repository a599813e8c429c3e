#include "filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "calls.h"

/*
 * The program: what the other two ABIs of the machine could ask of BPF does not exist, so that nobody
 * gets at the kernel's by mistake; then the rows of the table, one after the other.
 *
 * A notified thread waits for its answer as if asleep on a disk: only what kills it wakes it
 * (WAIT_KILLABLE_RECV). Otherwise each signal would abort a call half done and the kernel repeat it;
 * Go's scheduler sends them all the time.
 */
enum {
	NR_BPF_I386 = 357,
	NR_PERF_I386 = 336,
	X32_BIT = 0x40000000,
	INSNS_PER_ROW = 2 + 3 * SL_CALL_TESTS,
	INSNS_FIXED = 16,
};

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

struct program {
	struct sock_filter *insns;
	unsigned short len;
};

static void add(struct program *p, uint16_t code, uint32_t k, uint8_t jt, uint8_t jf)
{
	p->insns[p->len++] = (struct sock_filter)BPF_JUMP(code, k, jt, jf);
}

static void load(struct program *p, uint32_t offset)
{
	add(p, BPF_LD | BPF_W | BPF_ABS, offset, 0, 0);
}

static void end(struct program *p, uint32_t action)
{
	add(p, BPF_RET | BPF_K, action, 0, 0);
}

static void add_other_abis(struct program *p)
{
	const uint32_t none = SECCOMP_RET_ERRNO | ENOSYS;

	load(p, offsetof(struct seccomp_data, arch));
	add(p, BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 5, 0);
	load(p, offsetof(struct seccomp_data, nr));
	add(p, BPF_JMP | BPF_JEQ | BPF_K, NR_BPF_I386, 1, 0);
	add(p, BPF_JMP | BPF_JEQ | BPF_K, NR_PERF_I386, 0, 1);
	end(p, none);
	end(p, SECCOMP_RET_ALLOW);
	load(p, offsetof(struct seccomp_data, nr));
	add(p, BPF_JMP | BPF_JEQ | BPF_K, X32_BIT | SYS_bpf, 1, 0);
	add(p, BPF_JMP | BPF_JEQ | BPF_K, X32_BIT | SYS_perf_event_open, 0, 1);
	end(p, none);
}

/* The number is in the accumulator at the beginning, and again at the end. */
static void add_row(struct program *p, const struct sl_supervised *row)
{
	uint8_t rest = (uint8_t)(3 * row->test_count + 1 + (row->test_count ? 1 : 0));

	add(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)row->nr, 0, rest);
	for (unsigned i = 0; i < row->test_count; i++) {
		const struct sl_call_test *test = &row->tests[i];
		uint8_t left = (uint8_t)(3 * (row->test_count - 1 - i) + 1);

		load(p, (uint32_t)offsetof(struct seccomp_data, args) + test->offset);
		add(p, BPF_ALU | BPF_AND | BPF_K, test->mask, 0, 0);
		add(p, BPF_JMP | BPF_JEQ | BPF_K, test->value, 0, left);
	}
	end(p, SECCOMP_RET_USER_NOTIF);
	if (row->test_count)
		load(p, offsetof(struct seccomp_data, nr));
}

int sl_filter_install(void)
{
	const unsigned long flags =
		SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
	struct program p = { .len = 0 };
	struct sock_fprog prog;
	long fd;

	p.insns = calloc(INSNS_FIXED + sl_supervised_count * INSNS_PER_ROW, sizeof(*p.insns));
	if (!p.insns)
		return -ENOMEM;
	add_other_abis(&p);
	for (size_t i = 0; i < sl_supervised_count; i++)
		add_row(&p, &sl_supervised[i]);
	end(&p, SECCOMP_RET_ALLOW);
	prog = (struct sock_fprog){ p.len, p.insns };
	fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
	if (fd < 0 && errno == EACCES && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
		fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
	free(p.insns);
	return fd < 0 ? -errno : (int)fd;
}
