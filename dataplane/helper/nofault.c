#include "nofault.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

/* Pages are at least this large, so that a copy which stays in one faults as a whole. */
#define MIN_PAGE 4096

extern const char sl_nofault_insn[], sl_nofault_fixup[];

#if defined(__x86_64__)
/* The copy is one instruction; that it is interrupted half way does not matter. */
__asm__(".pushsection .text\n"
	".globl sl_nofault_copy\n"
	".hidden sl_nofault_insn, sl_nofault_fixup\n"
	".globl sl_nofault_insn, sl_nofault_fixup\n"
	".type sl_nofault_copy, @function\n"
	"sl_nofault_copy:\n"
	"	movq %rdx, %rcx\n"
	"sl_nofault_insn:\n"
	"	rep movsb\n"
	"	xorl %eax, %eax\n"
	"	ret\n"
	"sl_nofault_fixup:\n"
	"	movl $-14, %eax\n" /* -EFAULT */
	"	ret\n"
	".size sl_nofault_copy, . - sl_nofault_copy\n"
	".popsection\n");
#define CONTEXT_PC(context) (*(uintptr_t *)&(context)->uc_mcontext.gregs[REG_RIP])
#elif defined(__aarch64__)
__asm__(".pushsection .text\n"
	".globl sl_nofault_copy\n"
	".hidden sl_nofault_insn, sl_nofault_fixup\n"
	".globl sl_nofault_insn, sl_nofault_fixup\n"
	".type sl_nofault_copy, %function\n"
	"sl_nofault_copy:\n"
	"	cbz x2, 2f\n"
	"sl_nofault_insn:\n"
	"	ldrb w3, [x1], #1\n"
	"	strb w3, [x0], #1\n"
	"	subs x2, x2, #1\n"
	"	b.ne sl_nofault_insn\n"
	"2:	mov w0, #0\n"
	"	ret\n"
	"sl_nofault_fixup:\n"
	"	mov w0, #-14\n" /* -EFAULT */
	"	ret\n"
	".size sl_nofault_copy, . - sl_nofault_copy\n"
	".popsection\n");
#define CONTEXT_PC(context) (*(uintptr_t *)&(context)->uc_mcontext.pc)
#else
#error "no way to survive a fault on this machine"
#endif

static const int signals[] = { SIGSEGV, SIGBUS };
static struct sigaction previous[sl_array_size(signals)];

static void pass_on(const struct sigaction *action, int number, siginfo_t *info, void *context)
{
	if (action->sa_flags & SA_SIGINFO)
		action->sa_sigaction(number, info, context);
	else if (action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN)
		action->sa_handler(number);
	else
		/* The instruction runs again, into the default action. */
		signal(number, SIG_DFL);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	ucontext_t *user = context;

	if (CONTEXT_PC(user) == (uintptr_t)sl_nofault_insn) {
		CONTEXT_PC(user) = (uintptr_t)sl_nofault_fixup;
		return;
	}
	for (size_t i = 0; i < sl_array_size(signals); i++)
		if (signals[i] == number)
			pass_on(&previous[i], number, info, context);
}

void sl_nofault_start(void)
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_sigaction = on_fault;
	action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
	for (size_t i = 0; i < sl_array_size(signals); i++)
		sigaction(signals[i], &action, &previous[i]);
}

/* Of an address that cannot be read: the kernel can tell that it is not its own. */
static int error_of(const void *address)
{
	return (uintptr_t)address >> SL_NOFAULT_BITS ? -EFAULT : -ERANGE;
}

int sl_nofault_read(void *to, const void *from, size_t len)
{
	char byte;

	if (!sl_nofault_in_range(from))
		return -ERANGE;
	if (sl_nofault_copy(to, from, len) == 0)
		return 0;
	return sl_nofault_copy(&byte, from, 1) == 0 ? -EFAULT : error_of(from);
}

int sl_nofault_string(char *to, const void *from, uint32_t size)
{
	const char *at = from;
	uint32_t done = 0, part, len;

	if (!sl_nofault_in_range(from))
		return -ERANGE;
	while (done < size - 1) {
		part = MIN_PAGE - ((uintptr_t)at & (MIN_PAGE - 1));
		part = sl_min(part, size - 1 - done);
		if (sl_nofault_copy(to + done, at, part) != 0) {
			to[0] = 0;
			return done ? -EFAULT : error_of(from);
		}
		len = (uint32_t)strnlen(to + done, part);
		done += len;
		at += len;
		if (len < part)
			break;
	}
	to[done] = 0;
	return (int)done + 1;
}
