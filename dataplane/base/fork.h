#pragma once

#include "defs.h"

/*
 * A process may fork while other threads are inside of Sluice. Those do not exist in the child, and
 * what they were in the middle of stays as it was: a lock that is never given back, a list that is
 * half linked. So a fork waits until no thread is inside, and nobody enters while it goes on.
 *
 * Workers are not waited for, and wait for nobody. Of a process that has workers a child can rely on
 * no map that they use.
 */
enum sl_inside {
	SL_INSIDE_CALLER, /* a thread of the application, in one of our functions */
	SL_INSIDE_SERVICE, /* a thread of our own, for whose work callers may be waiting */
	SL_INSIDE_KINDS
};

/* May be nested, and called by any thread but workers. Whoever holds a lock that a fork hook takes,
 * or that an SL_INSIDE_CALLER may wait for, must not enter: it may be kept waiting here. */
SL_CONTROL void sl_fork_enter(enum sl_inside kind);
SL_CONTROL void sl_fork_leave(void);

/*
 * As pthread_atfork(), whose place it takes: `before` is called when nobody is inside, later
 * registrations first; the others in the order of registration. NULL is fine.
 */
SL_CONTROL void sl_fork_register(
	void (*before)(void), void (*in_parent)(void), void (*in_child)(void));
