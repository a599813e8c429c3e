#pragma once

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The system calls that the kernel tells the supervisor of. One table makes the filter and finds the
 * handler, so every row costs nothing but its own calls: the kernel remembers of all other numbers
 * that the filter allows them.
 */
struct sl_notified;

/* A half of an argument: (half & mask) == value. */
#define SL_LOW(arg) (8 * (arg))
#define SL_HIGH(arg) (8 * (arg) + 4)
struct sl_call_test {
	unsigned offset; /* in the arguments, of the half */
	uint32_t mask, value;
};

enum { SL_CALL_TESTS = 3 };

struct sl_supervised {
	int nr;
	unsigned test_count;
	struct sl_call_test tests[SL_CALL_TESTS]; /* all of them */
	/* Answers, in whatever way notified.h offers. */
	void (*handle)(struct sl_notified *notified);
};

extern const struct sl_supervised sl_supervised[];
extern const size_t sl_supervised_count;

/*
 * A mapping that the supervisor makes in a program's name has this flag, which the kernel ignores, and
 * is not told of.
 */
#define SL_CALL_OWN_MMAP 0x0800 /* MAP_DENYWRITE */

/* The same for socket(2): a bit of its third argument that is none of an int's. */
#define SL_CALL_OWN_SOCKET (1ull << 32)

/*
 * A filter cannot see what a descriptor is, but which number it has: netlink sockets have those of a
 * window, where programs have few others, select(2) still takes them, and the usual limit is not
 * reached.
 */
enum { SL_CALL_WINDOW = 960, SL_CALL_WINDOW_SIZE = 64 };

/* The row that a call is notified for; NULL when there is none. */
const struct sl_supervised *sl_supervised_find(int nr, const uint64_t *args);
