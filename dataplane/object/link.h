#pragma once

#include <linux/bpf.h>

#include "object.h"

struct sl_link;
struct sl_prog;

/*
 * What a link attaches to. The port layer provides the one for XDP by
 * sl_link_set_target; without one LINK_CREATE answers -ENODEV, as for an unknown ifindex.
 */
struct sl_link_target {
	/*
	 * Puts `new_prog` at the link's hook in place of link->prog, NULL meaning none in both. -EBUSY
	 * when the hook is not free for the first one; -ENOLINK when it is not this link's any more,
	 * say because another port has got the number. The hook holds a reference to `new_prog` of
	 * its own, and compares the link without using it. Called with the link lock held: must not
	 * call sl_link_*.
	 */
	int (*swap)(struct sl_link *link, struct sl_prog *new_prog);
};

/* What links of one kind do. Called by control threads. */
struct sl_link_ops {
	uint32_t type; /* BPF_LINK_TYPE_* */
	/* The last reference has gone: leaves the hook, if that is there. */
	void (*leave)(struct sl_link *link);
	int (*update)(struct sl_link *link, struct sl_prog *prog, struct sl_prog *expected);
	int (*detach)(struct sl_link *link); /* NULL as the one above: not for this kind */
	/* The part of the union that is this kind's; NULL when there is nothing to say. */
	void (*info)(struct sl_link *link, struct bpf_link_info *info);
	void (*free)(struct sl_link *link); /* a grace period after `leave` */
};

/* A bpf_link: holds its program and its place at the hook until the last reference goes. */
struct sl_link {
	struct sl_object obj;
	const struct sl_link_ops *ops;
	struct sl_prog *prog; /* reference; read through sl_rcu_load */
	uint32_t ifindex; /* 0 once the hook has been left or is gone; atomically */
	uint32_t flags;
	enum bpf_attach_type attach_type;
};

/* Attach types that a target can be set for. */
#define SL_LINK_ATTACH_TYPES 64

SL_CONTROL void sl_link_set_target(enum bpf_attach_type type, const struct sl_link_target *target);

/* Fills in the head of a kind's own struct, which holds a reference to prog from then on. */
SL_CONTROL void sl_link_init(
	struct sl_link *link, const struct sl_link_ops *ops, struct sl_prog *prog);

/* A link to a hook that a target was set for. */
SL_CONTROL int sl_link_new(struct sl_prog *prog, uint32_t ifindex, enum bpf_attach_type type,
	uint32_t flags, struct sl_link **ret_link);
/*
 * Replaces the program; `expected` NULL for any, else -EPERM when another one is attached. -EINVAL
 * for a kind that has no update.
 */
SL_CONTROL int sl_link_update(struct sl_link *link, struct sl_prog *prog, struct sl_prog *expected);
/* Nothing happens when the hook has gone. -EOPNOTSUPP for a kind that lets go only with its end. */
SL_CONTROL int sl_link_detach(struct sl_link *link);

static inline uint32_t sl_link_ifindex(const struct sl_link *link)
{
	return __atomic_load_n(&link->ifindex, __ATOMIC_RELAXED);
}

/* Whoever owns the hook says so, when it goes, and the link, when it leaves. */
static inline void sl_link_forget_hook(struct sl_link *link)
{
	__atomic_store_n(&link->ifindex, 0, __ATOMIC_RELAXED);
}

/*
 * Between the two no link changes its place at a hook that has one program, nor its program: for
 * whoever replaces both itself. Taken before the hooks' own lock.
 */
SL_CONTROL void sl_link_lock_hooks(void);
SL_CONTROL void sl_link_unlock_hooks(void);

/* The link's program with a reference. */
SL_CONTROL struct sl_prog *sl_link_get_prog(struct sl_link *link);

static inline struct sl_link *sl_link_of(struct sl_object *obj)
{
	return sl_container_of(obj, struct sl_link, obj);
}
