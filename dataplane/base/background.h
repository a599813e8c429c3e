#pragma once

#include "defs.h"

/*
 * The one housekeeping thread of a process: it drains the descriptors' inotify queue, rings the
 * event consumers' bells and frees memory after grace periods, so that no worker has to. It starts
 * at the first registration; a forked child starts its own at its first use.
 */

/*
 * Additions and kicks may be made under any lock, removals under none that a callback takes: they
 * wait for the callback.
 */

/* Calls fn(arg) whenever fd is readable. fd stays the caller's. */
SL_CONTROL int sl_background_add_fd(int fd, void (*fn)(void *arg), void *arg);
SL_CONTROL void sl_background_del_fd(int fd);

/*
 * Calls fn(arg) again and again: after it returned true (there was work) soon, else at a slower
 * pace that grows to some milliseconds. fn must not block.
 */
SL_CONTROL int sl_background_add_poll(bool (*fn)(void *arg), void *arg);
/* On return fn does not run and will not be called. Not from fn itself. */
SL_CONTROL void sl_background_del_poll(bool (*fn)(void *arg), void *arg);

/* Makes the thread look at once instead of at the end of its pause. */
SL_CONTROL void sl_background_kick(void);
