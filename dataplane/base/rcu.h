#pragma once

#include "defs.h"

/*
 * Read-copy-update on DPDK's quiescent-state variable (rte_rcu_qsbr), which needs no EAL.
 *
 * A worker is online for its whole life and reports a quiescent state once per burst. A control
 * thread is offline except between sl_rcu_read_begin and sl_rcu_read_end. What a reader found
 * stays valid until its next quiescent state. Removal has three steps: unlink, grace period,
 * destroy; sl_rcu_call does the last two off the caller's path.
 */

/* Threads that can be inside a read section or be workers at one time. */
#define SL_RCU_MAX_THREADS 1024

#define sl_rcu_load(p) __atomic_load_n(&(p), __ATOMIC_ACQUIRE) /* pairs with sl_rcu_store */
#define sl_rcu_store(p, v) \
	__atomic_store_n(&(p), (v), __ATOMIC_RELEASE) /* pairs with sl_rcu_load */

struct sl_rcu_head {
	struct sl_rcu_head *next;
	void (*fn)(struct sl_rcu_head *head);
};

/* Makes the calling thread a permanent reader. -EMFILE when SL_RCU_MAX_THREADS are. */
SL_WORKER int sl_rcu_online(void);
SL_WORKER void sl_rcu_offline(void);

/* The caller holds no pointer into RCU data now. Once per burst; also in long control loops. */
SL_ANY void sl_rcu_quiescent(void);

/* A read section; nests; no effect on a worker, which is always in one. */
SL_ANY void sl_rcu_read_begin(void);
SL_ANY void sl_rcu_read_end(void);

/*
 * Waits until every reader has passed a quiescent state. Not inside a read section.
 */
SL_CONTROL void sl_rcu_synchronize(void);

/* Runs fn(head) on the background thread after a grace period. */
SL_CONTROL void sl_rcu_call(struct sl_rcu_head *head, void (*fn)(struct sl_rcu_head *head));

/* Waits until every callback queued so far has run. Not inside a read section, nor in a callback. */
SL_CONTROL void sl_rcu_barrier(void);

/*
 * The two halves of a grace period for code that must not wait: a token taken after an unlink, and
 * whether all readers have been quiescent since. Tokens are cheap but shared: take one per batch.
 */
SL_ANY uint64_t sl_rcu_token(void);
SL_ANY bool sl_rcu_passed(uint64_t token);
