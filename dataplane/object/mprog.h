#pragma once

#include "defs.h"
#include "rcu.h"

struct sl_link;
struct sl_prog;

/*
 * Several programs at one hook, in an order that whoever attaches one chooses: the kernel's mprog,
 * which tcx is built on. A list is immutable once published: a change publishes a copy. Only a program
 * is replaced where it is, by a generation, which makes a new revision of the list too.
 */

#define SL_MPROG_MAX 63 /* as in the kernel, whose 64th place ends the list */

/* Flags of Linux 6.6 that Debian 12's header does not know. BPF_F_REPLACE is 4. */
enum sl_mprog_flags {
	SL_MPROG_BEFORE = 1 << 3,
	SL_MPROG_AFTER = 1 << 4,
	SL_MPROG_ID = 1 << 5, /* what it is relative to is named by id, not by descriptor */
	SL_MPROG_LINK = 1 << 13, /* and is a link */
};

/* enum bpf_attach_type of Linux 6.6. */
enum { SL_TCX_INGRESS = 46, SL_TCX_EGRESS = 47 };

struct sl_mprog_entry {
	/* A reference, but of a link's the link has it. Read through sl_rcu_load. */
	struct sl_prog *prog;
	struct sl_link *link; /* borrowed; NULL for a program that was attached itself */
};

struct sl_mprog {
	uint32_t count; /* at least 1 */
	uint64_t revision; /* of the hook: 1 when it is empty, more with each change */
	struct sl_rcu_head rcu;
	struct sl_mprog_entry entries[]; /* in the order in which they run */
};

/* What is asked for. */
struct sl_mprog_change {
	struct sl_prog *prog; /* NULL, to detach: whatever is at the place */
	struct sl_link *link; /* whose prog is; NULL without */
	struct sl_prog *old; /* with BPF_F_REPLACE: in whose place */
	uint32_t flags;
	uint32_t relative; /* descriptor or id, 0 for none */
	uint64_t revision; /* that the hook must have; 0 for any */

	/* What `relative` names; filled in by the calls below. */
	struct sl_prog *near_prog;
	struct sl_link *near_link;
	struct sl_object *held; /* reference to either */
};

/*
 * Both change the list in *slot, NULL when empty, with the hook locked. Errors are the kernel's:
 * -ESTALE for the revision, -EEXIST for a program that is there, -ENOENT, -ERANGE where flags
 * contradict each other or the list is full, -EBUSY for a link's place, -EINVAL. Attaching takes a
 * reference to a program without a link.
 */
SL_CONTROL int sl_mprog_attach(struct sl_mprog **slot, struct sl_mprog_change *change);
SL_CONTROL int sl_mprog_detach(struct sl_mprog **slot, struct sl_mprog_change *change);
/* After the hook was unlocked: the end of a link locks it. */
SL_CONTROL void sl_mprog_change_done(struct sl_mprog_change *change);
/* The hook goes: links in the list are told (ifindex 0). */
SL_CONTROL void sl_mprog_clear(struct sl_mprog **slot);

/* Where lists are: the port layer says it. */
struct sl_mprog_hooks {
	/* Finds a port's list and locks it; -ENODEV without the port, and nothing is locked. */
	int (*lock)(uint32_t ifindex, uint32_t attach_type, struct sl_mprog ***ret_slot);
	void (*unlock)(void);
};
SL_CONTROL void sl_mprog_set_hooks(const struct sl_mprog_hooks *hooks);
SL_CONTROL int sl_mprog_lock(uint32_t ifindex, uint32_t attach_type, struct sl_mprog ***ret_slot);
SL_CONTROL void sl_mprog_unlock(void);
