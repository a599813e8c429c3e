#include "inject.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef PTRACE_GETSIGMASK
#define PTRACE_GETSIGMASK 0x420a
#define PTRACE_SETSIGMASK 0x420b
#endif

enum { SYSCALL_INSN_BYTES = 2, STOPS_MAX = 64 };

/* One injection at a time: a wait for one thread could take what belongs to another. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void sl_injection_lock(void)
{
	pthread_mutex_lock(&lock);
}

void sl_injection_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

/*
 * Until the thread stops: its signal, with an event above it, as the status has it. -ESRCH when it
 * died. A dead child is left for who waits for children.
 */
static int wait_stop(const struct sl_injection *in)
{
	pid_t tid = in->notified->tid;
	siginfo_t info;
	int status;

	while (waitid(P_PID, (id_t)tid, &info,
		       WEXITED | WSTOPPED | WNOWAIT | __WALL | __WNOTHREAD) != 0) {
		if (errno != EINTR)
			return -ESRCH;
	}
	if (info.si_code != CLD_TRAPPED && info.si_code != CLD_STOPPED && in->is_child)
		return -ESRCH;
	if (waitpid(tid, &status, __WALL | __WNOTHREAD) != tid || !WIFSTOPPED(status))
		return -ESRCH;
	return status >> 8;
}

static bool is_our_child(pid_t tid)
{
	char path[64], line[128];
	pid_t tgid = 0, ppid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	f = fopen(path, "re");
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		sscanf(line, "Tgid: %d", &tgid);
		sscanf(line, "PPid: %d", &ppid);
	}
	fclose(f);
	return tgid == tid && ppid == getpid();
}

static bool is_syscall_insn(struct sl_notified *n)
{
	uint8_t bytes[SYSCALL_INSN_BYTES];

	return n->space.ops->read(&n->space, bytes, n->data->instruction_pointer - sizeof(bytes),
		       sizeof(bytes)) == 0 &&
	       bytes[0] == 0x0f && bytes[1] == 0x05;
}

static bool prepare(struct sl_injection *in)
{
	const uint64_t all = ~0ull;
	pid_t tid = in->notified->tid;

	return ptrace(PTRACE_GETREGS, tid, NULL, &in->regs) == 0 &&
	       ptrace(PTRACE_GETSIGMASK, tid, sizeof(in->signal_mask), &in->signal_mask) == 0 &&
	       ptrace(PTRACE_SETSIGMASK, tid, sizeof(all), &all) == 0;
}

int sl_injection_begin(struct sl_injection *in, struct sl_notified *n, int lend, int *ret_lent)
{
	int err;

	*in = (struct sl_injection){ .notified = n, .is_child = is_our_child(n->tid) };
	if (!is_syscall_insn(n))
		return -EPERM;
	pthread_mutex_lock(&lock);
	if (ptrace(PTRACE_SEIZE, n->tid, NULL, PTRACE_O_TRACESYSGOOD) != 0) {
		err = errno == ESRCH ? -ESRCH : -EPERM;
		pthread_mutex_unlock(&lock);
		return err;
	}
	if (lend >= 0)
		*ret_lent = sl_notified_lend_fd(n, lend);
	/* It stops when it would leave the kernel, which the answer lets it do. */
	ptrace(PTRACE_INTERRUPT, n->tid, NULL, NULL);
	sl_notified_answer(n, -ENOSYS);
	in->gone = wait_stop(in) < 0 || !prepare(in);
	return 0;
}

/* Lets the thread go on to the next end of its call's beginning, or of the call. */
static bool step(struct sl_injection *in)
{
	pid_t tid = in->notified->tid;

	for (int i = 0; i < STOPS_MAX; i++) {
		int stop;

		if (ptrace(PTRACE_SYSCALL, tid, NULL, NULL) != 0)
			return false;
		stop = wait_stop(in);
		if (stop < 0)
			return false;
		if (stop == (SIGTRAP | 0x80))
			return true;
		/* Of the signals only this one cannot be held back. */
		if (stop == SIGSTOP)
			in->was_stopped = true;
	}
	return false;
}

int64_t sl_injection_call(struct sl_injection *in, int nr, const uint64_t args[6])
{
	struct user_regs_struct regs = in->regs;
	pid_t tid = in->notified->tid;

	if (in->gone)
		return -ESRCH;
	regs.rip -= SYSCALL_INSN_BYTES;
	regs.rax = (unsigned long)nr;
	regs.orig_rax = -1; /* no call that the kernel would repeat */
	regs.rdi = args[0];
	regs.rsi = args[1];
	regs.rdx = args[2];
	regs.r10 = args[3];
	regs.r8 = args[4];
	regs.r9 = args[5];
	in->gone = ptrace(PTRACE_SETREGS, tid, NULL, &regs) != 0 || !step(in) || !step(in) ||
		   ptrace(PTRACE_GETREGS, tid, NULL, &regs) != 0;
	return in->gone ? -ESRCH : (int64_t)regs.rax;
}

void sl_injection_end(struct sl_injection *in, int64_t result)
{
	pid_t tid = in->notified->tid;

	if (!in->gone) {
		in->regs.rax = (unsigned long)result;
		ptrace(PTRACE_SETREGS, tid, NULL, &in->regs);
		ptrace(PTRACE_SETSIGMASK, tid, sizeof(in->signal_mask), &in->signal_mask);
		ptrace(PTRACE_DETACH, tid, NULL, NULL);
		if (in->was_stopped)
			syscall(SYS_tkill, tid, SIGSTOP);
	}
	pthread_mutex_unlock(&lock);
}
