#pragma once

#include "notified.h"

#include <sys/user.h>

/*
 * System calls in a thread's name. A supervisor can answer a call, or let it happen as it is: it can
 * not make mappings in another process. Where the answer is one that the thread's own call does not
 * give, the thread is stopped on its way out of the call (ptrace), makes the calls that it is told,
 * with all signals held back, and goes on as if they had been its one. The right to do so is the one
 * that taking a descriptor needs; a thread that a debugger has already is the exception: -EPERM.
 */
struct sl_injection {
	struct sl_notified *notified;
	struct user_regs_struct regs; /* as the thread is to have them again */
	uint64_t signal_mask;
	bool is_child; /* the supervisor's, and a process: somebody waits for its end */
	bool was_stopped; /* by SIGSTOP, which it gets again at the end */
	bool gone; /* it was killed meanwhile */
};

/*
 * Answers the call for now; the thread is stopped. 0, or a negative errno: nothing was done. With
 * `lend` >= 0, the thread has a copy of that descriptor of ours at *ret_lent, to be closed in its name;
 * a negative errno is there when it could not have it.
 */
int sl_injection_begin(
	struct sl_injection *injection, struct sl_notified *notified, int lend, int *ret_lent);
/* The result of a system call, or a negative errno; -ESRCH when the thread is no more. */
int64_t sl_injection_call(struct sl_injection *injection, int nr, const uint64_t args[6]);
/* The thread goes on with `result` as its call's. */
void sl_injection_end(struct sl_injection *injection, int64_t result);

/* Held while the supervisor waits for its children, which must not take a thread's stops for theirs. */
void sl_injection_lock(void);
void sl_injection_unlock(void);
