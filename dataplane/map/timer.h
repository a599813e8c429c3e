#pragma once

#include "map.h"

struct sl_prog;
struct sl_timer;

/*
 * bpf_timer: struct bpf_timer in a value holds the address of the element's struct sl_timer, which
 * the map has one of per element. timer.c says who does what. The four operations answer as the
 * kernel's helpers of the same names; `timer` is the struct bpf_timer.
 */
SL_WORKER long sl_timer_init(struct sl_map *map, void *timer, uint64_t flags);
/* The timer holds a reference to prog, whose function `callback` is, until it is cancelled. */
SL_WORKER long sl_timer_set_callback(void *timer, sl_callback_fn callback, struct sl_prog *prog);
SL_WORKER long sl_timer_start(void *timer, unsigned cpu, uint64_t ns, uint64_t flags);
/* `running`: the timer whose callback the caller is. Does not wait for a callback elsewhere. */
SL_WORKER long sl_timer_cancel(void *timer, const struct sl_timer *running);

/* The value of an element that is removed or replaced: whatever its timer was about to do is off. */
SL_ANY void sl_timer_drop(const struct sl_map_desc *desc, void *value);

/* For a map whose record has a timer, before it is published. -ENOMEM, -EAGAIN. */
SL_CONTROL int sl_timers_new(struct sl_map *map);
/* No descriptor and no pin is left: cancels all timers, and programs may arm none. */
SL_CONTROL void sl_timers_stop(struct sl_map *map);
/* After a grace period. Waits for callbacks. */
SL_CONTROL void sl_timers_free(struct sl_map *map);
