#pragma once

#include "value_copy.h"

/*
 * struct bpf_spin_lock: a word in a map's value, 0 when it is free. Programs hold one over a few
 * instructions, between which the verifier lets nothing happen that takes time; BPF_F_LOCK holds it
 * over a copy of the value.
 *
 * A worker may wait for a lock, so whoever holds one must not be preempted, or the worker waits for
 * a time slice. Workers have their CPUs for themselves. A control thread has not: as long as there
 * are workers it takes no lock, but asks a worker to make the copy between two bursts, and test runs
 * of programs that take locks go the same way. Where there are no workers control threads take the
 * locks themselves and give up their time slice when they find one taken. What is left is a thread
 * that is in the middle of such a copy when the first worker starts: that one may wait for it once.
 */

/* The lock is taken: waits until it is not, and takes it. */
SL_ANY void sl_spin_wait(uint32_t *lock);

static inline void sl_spin_lock(uint32_t *lock)
{
	uint32_t none = 0;

	/* Acquire: pairs with the release of sl_spin_unlock. */
	if (sl_unlikely(!__atomic_compare_exchange_n(
		    lock, &none, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)))
		sl_spin_wait(lock);
}

static inline void sl_spin_unlock(uint32_t *lock)
{
	__atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

static inline bool sl_map_has_lock(const struct sl_map_desc *desc)
{
	return sl_btf_record_has(desc->record, SL_SPECIAL_SPIN_LOCK);
}

/* Of a value of a map that has locks. */
static inline uint32_t *sl_map_value_lock(const struct sl_map_desc *desc, void *value)
{
	const struct sl_special_field *field =
		sl_btf_record_find(desc->record, SL_SPECIAL_SPIN_LOCK);

	return (uint32_t *)((uint8_t *)value + field->offset);
}

/* sl_map_value_write with the value's lock held; from programs. */
static inline void sl_map_value_write_locked(
	const struct sl_map_desc *desc, void *value, const void *from)
{
	uint32_t *lock = sl_map_value_lock(desc, value);

	sl_spin_lock(lock);
	sl_map_value_write(desc, value, from, desc->value_size);
	sl_spin_unlock(lock);
}

/* The same from control threads, in a read section; and the copy out for user space. */
SL_CONTROL void sl_map_sys_write_locked(
	const struct sl_map_desc *desc, void *value, const void *from);
SL_CONTROL void sl_map_sys_read_locked(const struct sl_map_desc *desc, void *to, void *value);
