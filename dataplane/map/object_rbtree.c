#include <errno.h>

#include "object_graph.h"
#include "objects.h"

/*
 * Red-black trees of nodes in objects. Programs see their shape (bpf_rbtree_root, _left, _right), so
 * they are balanced in the way of the textbook, which is also the kernel's. The tree's lock is held.
 */

static struct sl_rb_node *parent(const struct sl_rb_node *n)
{
	return (struct sl_rb_node *)(n->up & ~(uintptr_t)1);
}

static bool is_red(const struct sl_rb_node *n)
{
	return n && (n->up & 1);
}

static void set_parent(struct sl_rb_node *n, struct sl_rb_node *p)
{
	n->up = (uintptr_t)p | (n->up & 1);
}

static void set_red(struct sl_rb_node *n, bool red)
{
	n->up = (n->up & ~(uintptr_t)1) | red;
}

/* `with`, which may be NULL, takes the place of `old` below p, which is NULL at the top. */
static void replace(
	struct sl_rb_root *r, struct sl_rb_node *p, struct sl_rb_node *old, struct sl_rb_node *with)
{
	if (!p)
		r->top = with;
	else
		p->child[p->child[1] == old] = with;
	if (with)
		set_parent(with, p);
}

/* x goes down to the side, its other child up in its place. */
static void rotate(struct sl_rb_root *r, struct sl_rb_node *x, unsigned side)
{
	struct sl_rb_node *y = x->child[!side], *middle = y->child[side];

	x->child[!side] = middle;
	if (middle)
		set_parent(middle, x);
	replace(r, parent(x), x, y);
	y->child[side] = x;
	set_parent(x, y);
}

static void balance_added(struct sl_rb_root *r, struct sl_rb_node *n)
{
	struct sl_rb_node *p;

	while ((p = parent(n)) && is_red(p)) {
		struct sl_rb_node *g = parent(p);
		unsigned side = g->child[1] == p;
		struct sl_rb_node *uncle = g->child[!side];

		if (is_red(uncle)) {
			set_red(p, false);
			set_red(uncle, false);
			set_red(g, true);
			n = g;
			continue;
		}
		if (p->child[!side] == n) {
			rotate(r, p, side);
			n = p;
			p = parent(n);
		}
		set_red(p, false);
		set_red(g, true);
		rotate(r, g, !side);
	}
	set_red(r->top, false);
}

/* The paths through x, which may be NULL, below p have one black node too few. */
static void balance_removed(struct sl_rb_root *r, struct sl_rb_node *x, struct sl_rb_node *p)
{
	while (x != r->top && !is_red(x)) {
		unsigned side = p->child[0] != x;
		struct sl_rb_node *w = p->child[!side];

		if (is_red(w)) {
			set_red(w, false);
			set_red(p, true);
			rotate(r, p, side);
			w = p->child[!side];
		}
		if (!is_red(w->child[0]) && !is_red(w->child[1])) {
			set_red(w, true);
			x = p;
			p = parent(x);
			continue;
		}
		if (!is_red(w->child[!side])) {
			set_red(w->child[side], false);
			set_red(w, true);
			rotate(r, w, !side);
			w = p->child[!side];
		}
		set_red(w, is_red(p));
		set_red(p, false);
		set_red(w->child[!side], false);
		rotate(r, p, side);
		x = r->top;
	}
	if (x)
		set_red(x, false);
}

static struct sl_rb_node *next_of(struct sl_rb_node *n)
{
	struct sl_rb_node *p;

	if (n->child[1]) {
		for (n = n->child[1]; n->child[0]; n = n->child[0])
			;
		return n;
	}
	while ((p = parent(n)) && p->child[1] == n)
		n = p;
	return p;
}

static void unlink_node(struct sl_rb_root *r, struct sl_rb_node *n)
{
	struct sl_rb_node *out = n, *x, *p;
	bool black;

	if (r->first == n)
		r->first = next_of(n);
	/* With two children its successor leaves its place, and then takes the node's. */
	if (n->child[0] && n->child[1])
		for (out = n->child[1]; out->child[0]; out = out->child[0])
			;
	x = out->child[!out->child[0]];
	p = parent(out);
	black = !is_red(out);
	replace(r, p, out, x);
	if (out != n) {
		if (p == n)
			p = out;
		out->child[0] = n->child[0];
		out->child[1] = n->child[1];
		replace(r, parent(n), n, out);
		out->up = n->up;
		for (unsigned i = 0; i < 2; i++)
			if (out->child[i])
				set_parent(out->child[i], out);
	}
	if (black)
		balance_removed(r, x, p);
}

int sl_rbtree_add(struct sl_ctx *ctx, void *root, void *node, sl_less_fn less, unsigned cpu)
{
	struct sl_rb_root *r = root;
	struct sl_rb_node *n = node, *p = NULL, **link = &r->top;
	bool first = true;

	if (!sl_node_claim(&n->owner)) {
		sl_object_drop(sl_object_of(node), cpu);
		return -EINVAL;
	}
	while (*link) {
		bool right = !less(ctx, (uintptr_t)n, (uintptr_t)*link, 0, 0, 0);

		p = *link;
		link = &p->child[right];
		first &= !right;
	}
	n->up = (uintptr_t)p | 1;
	n->child[0] = n->child[1] = NULL;
	*link = n;
	if (first)
		r->first = n;
	balance_added(r, n);
	sl_node_set_owner(&n->owner, root);
	return 0;
}

void *sl_rbtree_remove(void *root, void *node)
{
	struct sl_rb_node *n = node;

	if (sl_node_owner(&n->owner) != root)
		return NULL;
	unlink_node(root, n);
	sl_node_set_owner(&n->owner, NULL);
	return n;
}

void *sl_rbtree_first(void *root)
{
	return ((struct sl_rb_root *)root)->first;
}

void *sl_rbtree_root(void *root)
{
	return ((struct sl_rb_root *)root)->top;
}

void *sl_rbtree_child(void *root, void *node, bool right)
{
	struct sl_rb_node *n = node;

	return sl_node_owner(&n->owner) == root ? n->child[right] : NULL;
}

void *sl_rbtree_take_all(void *root)
{
	struct sl_rb_root *r = root;
	struct sl_rb_node *n = r->top, *chain = NULL;

	/* Left children are turned up until there is none: then the node is first of what is left. */
	while (n) {
		struct sl_rb_node *left = n->child[0];

		if (left) {
			n->child[0] = left->child[1];
			left->child[1] = n;
			n = left;
			continue;
		}
		left = n;
		n = n->child[1];
		sl_node_set_owner(&left->owner, SL_NODE_BUSY);
		left->up = (uintptr_t)chain;
		chain = left;
	}
	r->top = r->first = NULL;
	return chain;
}
