#include "spin_lock.h"

#include <rte_pause.h>
#include <sched.h>

#include "cpu.h"
#include "rcu.h"

/* Longer than any worker holds a lock but for a copy of a huge value. */
enum { SPINS = 1 << 14 };

void sl_spin_wait(uint32_t *lock)
{
	uint32_t none;

	do {
		for (unsigned i = 0; __atomic_load_n(lock, __ATOMIC_RELAXED); i++) {
			rte_pause();
			/* Its holder is no worker, or it would be done: let it run. */
			if (i == SPINS) {
				sched_yield();
				i = 0;
			}
		}
		none = 0;
	} while (!__atomic_compare_exchange_n(
		lock, &none, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
}

struct copy {
	const struct sl_map_desc *desc;
	void *value, *to;
	const void *from; /* into the value, when not NULL */
};

static int copy_locked(unsigned cpu, void *arg)
{
	const struct copy *c = arg;
	uint32_t *lock;

	if (c->from) {
		sl_map_value_write_locked(c->desc, c->value, c->from);
		return 0;
	}
	lock = sl_map_value_lock(c->desc, c->value);
	sl_spin_lock(lock);
	sl_map_value_read(c->desc, c->to, c->value, c->desc->value_size);
	sl_spin_unlock(lock);
	return 0;
}

void sl_map_sys_write_locked(const struct sl_map_desc *desc, void *value, const void *from)
{
	struct copy c = { .desc = desc, .value = value, .from = from };

	sl_cpu_run_undisturbed(copy_locked, &c);
}

void sl_map_sys_read_locked(const struct sl_map_desc *desc, void *to, void *value)
{
	struct copy c = { .desc = desc, .value = value, .to = to };

	sl_cpu_run_undisturbed(copy_locked, &c);
}
