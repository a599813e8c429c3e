#include "lpm_trie.h"

#include <errno.h>
#include <string.h>

#include "lpm_node.h"

#include "value_copy.h"

/*
 * A trie of six bits a step whose nodes are never changed but for the addresses in their slots: who
 * adds or removes a slot makes a new node and puts its address into the parent's slot, which is one
 * store. Readers see the trie before or after, without a lock, and the old node goes after a
 * grace period. A prefix that is not empty is in the node whose depth is the last multiple of six
 * below its length. Paths are as short as can be: a node has a prefix or two children, unless it
 * continues a gap longer than SL_LPM_SKIP_MAX.
 *
 * Every change is told to the table of the trie's top: lpm_table.c.
 */

static uint32_t node_bytes(uint32_t slot_count)
{
	return sizeof(struct sl_lpm_node) + slot_count * sizeof(uint64_t);
}

static void retire_node(struct sl_lpm *lpm, struct sl_lpm_node *node)
{
	sl_lpm_arena_retire(lpm->arena, node, node_bytes(node->slot_count));
}

static uint32_t entry_bytes(const struct sl_lpm_desc *d)
{
	return d->value_offset + d->map.value_stride;
}

static void retire_entry(struct sl_lpm *lpm, uint64_t entry)
{
	sl_lpm_arena_retire(lpm->arena, (void *)entry, entry_bytes(sl_lpm_desc_of(lpm)));
}

static struct sl_lpm_node *node_new(struct sl_lpm *lpm, uint32_t slot_count)
{
	struct sl_lpm_node *node = sl_lpm_arena_get(lpm->arena, node_bytes(slot_count));

	memset(node, 0, sizeof(*node));
	node->slot_count = slot_count;
	return node;
}

static void flip(struct sl_lpm_node *node, struct place at)
{
	*(at.kind == CHILD        ? &node->external
		: at.kind == FULL ? &node->full
				  : &node->internal) ^= 1ull << at.bit;
}

/* A copy with one slot more. */
static struct sl_lpm_node *with(
	struct sl_lpm *lpm, const struct sl_lpm_node *old, struct place at, const void *what)
{
	struct sl_lpm_node *node = node_new(lpm, old->slot_count + 1);
	unsigned index = slot_index(old, at);

	memcpy(node, old, sizeof(*node));
	node->slot_count = old->slot_count + 1;
	memcpy(node->slots, old->slots, index * sizeof(uint64_t));
	node->slots[index] = (uint64_t)what;
	memcpy(node->slots + index + 1, old->slots + index,
		(old->slot_count - index) * sizeof(uint64_t));
	flip(node, at);
	return node;
}

/* A copy with one slot less. */
static struct sl_lpm_node *without(
	struct sl_lpm *lpm, const struct sl_lpm_node *old, struct place at)
{
	struct sl_lpm_node *node = node_new(lpm, old->slot_count - 1);
	unsigned index = slot_index(old, at);

	memcpy(node, old, sizeof(*node));
	node->slot_count = old->slot_count - 1;
	memcpy(node->slots, old->slots, index * sizeof(uint64_t));
	memcpy(node->slots + index, old->slots + index + 1,
		(old->slot_count - index - 1) * sizeof(uint64_t));
	flip(node, at);
	return node;
}

/* A copy that starts elsewhere on its path. */
static struct sl_lpm_node *restarted(
	struct sl_lpm *lpm, const struct sl_lpm_node *old, unsigned start, uint64_t skip)
{
	struct sl_lpm_node *node = node_new(lpm, old->slot_count);

	memcpy(node, old, node_bytes(old->slot_count));
	node->start = start;
	node->skip = skip;
	return node;
}

static struct sl_lpm_node *single(struct sl_lpm *lpm, const struct prefix *p, unsigned start,
	unsigned depth, struct place at, const void *what)
{
	struct sl_lpm_node *node = node_new(lpm, 1);

	node->start = start;
	node->depth = depth;
	node->skip = skip_bits(p, start, depth);
	node->slots[0] = (uint64_t)what;
	flip(node, at);
	return node;
}

/* The path from bit `start` to the prefix's entry: one node, or a chain of them where it is long. */
static struct sl_lpm_node *path_new(struct sl_lpm *lpm, const struct prefix *p, unsigned start,
	const struct sl_lpm_entry *entry)
{
	unsigned depth = depth_of(p->len), from = depth;
	struct sl_lpm_node *node;

	from = depth - start > SL_LPM_SKIP_MAX ? depth - SL_LPM_SKIP_MAX : start;
	node = single(lpm, p, from, depth, place_at(p, depth), entry);
	while (from > start) {
		depth = from - SL_LPM_STRIDE;
		from = depth - start > SL_LPM_SKIP_MAX ? depth - SL_LPM_SKIP_MAX : start;
		node = single(
			lpm, p, from, depth, (struct place){ CHILD, step_at(p, depth) }, node);
	}
	return node;
}

/* The node that has the prefix, if it has; *ret_slot is where. */
static uint64_t *find(const struct sl_lpm *lpm, const struct prefix *p)
{
	const struct sl_lpm_node *node = (const struct sl_lpm_node *)load(&lpm->root);
	unsigned depth = depth_of(p->len);

	while (node && node->depth <= depth && on_path(node, p)) {
		struct place at = { CHILD, step_at(p, node->depth) };

		if (node->depth == depth) {
			at = place_at(p, depth);
			return has(node, at) ? (uint64_t *)&node->slots[slot_index(node, at)]
					     : NULL;
		}
		if (!has(node, at))
			break;
		node = (const struct sl_lpm_node *)load(&node->slots[slot_index(node, at)]);
	}
	return NULL;
}

struct sl_lpm_entry *sl_lpm_exact(const struct sl_lpm *lpm, const void *key)
{
	struct prefix p = prefix_of(lpm, key);
	uint64_t *slot;

	if (p.len > sl_lpm_desc_of(lpm)->max_prefixlen)
		return NULL;
	if (p.len == 0)
		return (struct sl_lpm_entry *)load(&lpm->shortest);
	slot = find(lpm, &p);
	return slot ? (struct sl_lpm_entry *)load(slot) : NULL;
}

/* The longest prefix in the node that is not longer than `most` bits in all. */
static uint64_t longest_in(const struct sl_lpm_node *node, const struct prefix *p, unsigned most)
{
	struct prefix shorter = *p;

	for (unsigned len = sl_min(most - node->depth, (unsigned)SL_LPM_STRIDE); len > 0; len--) {
		struct place at;

		shorter.len = node->depth + len;
		at = place_at(&shorter, node->depth);
		if (has(node, at))
			return load(&node->slots[slot_index(node, at)]);
	}
	return 0;
}

/* The longest prefix of p's bits that is not longer than `most`; 0 for none but the empty one. */
static uint64_t longest_match(const struct sl_lpm *lpm, const struct prefix *p, unsigned most)
{
	const struct sl_lpm_node *node = (const struct sl_lpm_node *)load(&lpm->root);
	uint64_t best = 0;

	while (node && node->depth < most && on_path(node, p)) {
		struct place at = { CHILD, step_at(p, node->depth) };
		uint64_t entry = longest_in(node, p, most);

		if (entry)
			best = entry;
		if (!has(node, at))
			break;
		node = (const struct sl_lpm_node *)load(&node->slots[slot_index(node, at)]);
	}
	return best;
}

void *sl_lpm_lookup_short(const struct sl_map_desc *desc, const void *key)
{
	const struct sl_lpm_desc *d = (const struct sl_lpm_desc *)desc;
	const struct sl_lpm *lpm = sl_lpm_of(desc->map);
	struct prefix p = prefix_of(lpm, key);
	uint64_t entry;

	if (p.len > d->max_prefixlen)
		return NULL;
	entry = longest_match(lpm, &p, p.len);
	if (!entry)
		entry = load(&lpm->shortest);
	return entry ? (uint8_t *)entry + d->value_offset : NULL;
}

static uint64_t first_bits(const struct prefix *p)
{
	return bits(p, 0, SL_LPM_LEAF_BITS_MAX) << (64 - SL_LPM_LEAF_BITS_MAX);
}

/* The first bits of all keys below a node that the prefix's path leads up to the start of. */
static uint64_t first_bits_of(const struct prefix *p, const struct sl_lpm_node *node)
{
	unsigned start = node->start;

	if (start >= SL_LPM_LEAF_BITS_MAX)
		return first_bits(p);
	return (start ? bits(p, 0, start) << (64 - start) : 0) | node->skip >> start;
}

static struct sl_lpm_entry *entry_new(struct sl_lpm *lpm, const struct prefix *p, const void *value)
{
	const struct sl_lpm_desc *d = sl_lpm_desc_of(lpm);
	struct sl_lpm_entry *entry = sl_lpm_arena_get(lpm->arena, entry_bytes(d));
	uint8_t *at = (uint8_t *)entry + d->value_offset;

	entry->starts = 1;
	entry->self = ((uint8_t *)entry - d->area) / SL_LPM_PIECE_BYTES;
	entry->prefixlen = p->len;
	memcpy(entry->data, p->data, p->data_size);
	memset(at + d->map.value_stride - 8, 0, 8);
	memcpy(at, value, d->map.value_size);
	return entry;
}

/*
 * The node at *link leaves the prefix's path, or goes on below the prefix's node: a new node takes
 * its place, with what there was as one child.
 */
static void split(struct sl_lpm *lpm, uint64_t *link, const struct prefix *p,
	const struct sl_lpm_entry *entry)
{
	struct sl_lpm_node *old = (struct sl_lpm_node *)*link, *alone, *below;
	unsigned depth = (old->start + common_bits(old, p)) / SL_LPM_STRIDE * SL_LPM_STRIDE;
	unsigned before, step;
	uint64_t other = first_bits_of(p, old);
	struct place at;

	depth = sl_min(depth, depth_of(p->len));
	before = depth - old->start;
	step = (unsigned)(old->skip << before >> (64 - SL_LPM_STRIDE));
	below = restarted(lpm, old, depth + SL_LPM_STRIDE, old->skip << before << SL_LPM_STRIDE);
	if (depth == depth_of(p->len)) {
		at = place_at(p, depth);
	} else {
		at = (struct place){ CHILD, step_at(p, depth) };
		entry = (const void *)path_new(lpm, p, depth + SL_LPM_STRIDE, entry);
	}
	alone = single(lpm, p, old->start, depth, (struct place){ CHILD, step }, below);
	publish(link, with(lpm, alone, at, entry));
	sl_lpm_arena_put(lpm->arena, alone, node_bytes(alone->slot_count));
	sl_lpm_table_refresh(lpm, other);
	retire_node(lpm, old);
}

/* Adds a prefix that is not there. */
static void insert(struct sl_lpm *lpm, const struct prefix *p, const struct sl_lpm_entry *entry)
{
	unsigned depth = depth_of(p->len), start = 0;
	struct sl_lpm_node *node, *replaced = NULL;
	uint64_t *link = &lpm->root;

	for (;;) {
		struct place at;

		node = (struct sl_lpm_node *)*link;
		if (!node) {
			publish(link, path_new(lpm, p, start, entry));
			break;
		}
		if (node->depth > depth || !on_path(node, p)) {
			split(lpm, link, p, entry);
			break;
		}
		at = node->depth == depth ? place_at(p, depth)
					  : (struct place){ CHILD, step_at(p, node->depth) };
		start = node->depth + SL_LPM_STRIDE;
		if (node->depth < depth && has(node, at)) {
			link = &node->slots[slot_index(node, at)];
			continue;
		}
		publish(link, with(lpm, node, at,
				      node->depth == depth ? (const void *)entry
							   : path_new(lpm, p, start, entry)));
		replaced = node;
		break;
	}
	sl_lpm_table_refresh(lpm, first_bits(p));
	/* Until now the table may have led to it. */
	if (replaced)
		retire_node(lpm, replaced);
	sl_lpm_table_spread(lpm, p, NULL, entry);
}

/* How many pieces an insertion may take: a chain of nodes, both parts of a split, runs, the entry. */
static unsigned pieces_needed(uint32_t len)
{
	return 9 + len / (SL_LPM_SKIP_MAX + SL_LPM_STRIDE);
}

int sl_lpm_put(struct sl_lpm *lpm, const void *key, const void *value, uint64_t flags)
{
	struct prefix p = prefix_of(lpm, key);
	uint64_t *slot = p.len ? find(lpm, &p) : &lpm->shortest;
	uint64_t old = slot ? *slot : 0;
	struct sl_lpm_entry *entry;

	if (old && flags == BPF_NOEXIST)
		return -EEXIST;
	if (!old && flags == BPF_EXIST)
		return -ENOENT;
	if (!old && lpm->entry_count == lpm->map.desc.max_entries)
		return -ENOSPC;
	if (!sl_lpm_arena_ready(lpm->arena, pieces_needed(p.len)))
		return -ENOMEM;
	entry = entry_new(lpm, &p, value);
	if (!old)
		__atomic_store_n(&lpm->entry_count, lpm->entry_count + 1, __ATOMIC_RELAXED);
	if (slot) {
		publish(slot, entry);
		if (old) {
			sl_lpm_table_spread(lpm, &p, (const struct sl_lpm_entry *)old, entry);
			retire_entry(lpm, old);
		}
		return 0;
	}
	insert(lpm, &p, entry);
	return 0;
}

/*
 * What takes the place of a node that has lost a slot, and has one left that is a child: the child
 * itself, where its path can take in the node's, else the node. *ret_other is the first bits of
 * what is below.
 */
static struct sl_lpm_node *merged(
	struct sl_lpm *lpm, struct sl_lpm_node *node, const struct prefix *p, uint64_t *ret_other)
{
	const struct sl_lpm_node *child = (const struct sl_lpm_node *)node->slots[0];
	uint64_t step = (uint64_t)__builtin_ctzll(node->external) << (64 - SL_LPM_STRIDE);
	unsigned before = node->depth - node->start;
	struct sl_lpm_node *both;

	if (child->depth - node->start > SL_LPM_SKIP_MAX)
		return node;
	both = restarted(lpm, child, node->start,
		node->skip | step >> before | child->skip >> before >> SL_LPM_STRIDE);
	*ret_other = first_bits_of(p, both);
	sl_lpm_arena_put(lpm->arena, node, node_bytes(node->slot_count));
	return both;
}

/* Removes what is at `at` from the node at `link`, which has more than that. */
static void remove_slot(struct sl_lpm *lpm, uint64_t *link, struct place at, const struct prefix *p)
{
	struct sl_lpm_node *old = (struct sl_lpm_node *)*link, *node = without(lpm, old, at);
	struct sl_lpm_node *child = NULL, *kept = node;
	uint64_t other = first_bits(p);

	if (node->slot_count == 1 && node->external) {
		child = (struct sl_lpm_node *)node->slots[0];
		kept = merged(lpm, node, p, &other);
	}
	publish(link, kept);
	sl_lpm_table_refresh(lpm, other);
	if (kept != node)
		retire_node(lpm, child);
	retire_node(lpm, old);
}

/*
 * Removes what is at `at` from the node at *links[count - 1], and the nodes above that this leaves
 * empty.
 */
static void remove_at(struct sl_lpm *lpm, uint64_t **links, unsigned count, struct place at,
	const struct prefix *p)
{
	struct sl_lpm_node *empty = NULL;
	unsigned top = count;

	while (top > 0 && ((struct sl_lpm_node *)*links[top - 1])->slot_count == 1)
		top--;
	if (top < count) {
		empty = (struct sl_lpm_node *)*links[top];
		if (top == 0)
			publish(links[0], NULL);
		else
			at = (struct place){ CHILD,
				step_at(p, ((struct sl_lpm_node *)*links[top - 1])->depth) };
	}
	if (top > 0)
		remove_slot(lpm, links[top - 1], at, p);
	sl_lpm_table_refresh(lpm, first_bits(p));
	/* Nothing leads to these any more; each link is in the one before. */
	for (unsigned i = top; i < count; i++) {
		struct sl_lpm_node *node = i == top ? empty : (struct sl_lpm_node *)*links[i];

		retire_node(lpm, node);
	}
}

enum { LINKS_MAX = 256 * 8 / SL_LPM_STRIDE + 2 };

/* Notes the way to the prefix's node; the number of links, 0 when the prefix is not there. */
static unsigned trace(struct sl_lpm *lpm, const struct prefix *p, uint64_t **links)
{
	unsigned depth = depth_of(p->len), count = 0;
	uint64_t *link = &lpm->root;

	for (;;) {
		struct sl_lpm_node *node = (struct sl_lpm_node *)*link;
		struct place at;

		if (!node || node->depth > depth || !on_path(node, p))
			return 0;
		links[count++] = link;
		at = node->depth == depth ? place_at(p, depth)
					  : (struct place){ CHILD, step_at(p, node->depth) };
		if (!has(node, at))
			return 0;
		if (node->depth == depth)
			return count;
		link = &node->slots[slot_index(node, at)];
	}
}

int sl_lpm_take(struct sl_lpm *lpm, const void *key)
{
	struct prefix p = prefix_of(lpm, key);
	uint64_t *links[LINKS_MAX], entry;
	struct place at = { 0 };
	unsigned count = 0;

	if (p.len == 0) {
		entry = lpm->shortest;
	} else {
		count = trace(lpm, &p, links);
		entry = 0;
		if (count) {
			struct sl_lpm_node *node = (struct sl_lpm_node *)*links[count - 1];

			at = place_at(&p, node->depth);
			entry = node->slots[slot_index(node, at)];
		}
	}
	if (!entry)
		return -ENOENT;
	if (!sl_lpm_arena_ready(lpm->arena, count + pieces_needed(0)))
		return -ENOMEM;
	__atomic_store_n(&lpm->entry_count, lpm->entry_count - 1, __ATOMIC_RELAXED);
	if (p.len == 0) {
		publish(&lpm->shortest, NULL);
	} else {
		remove_at(lpm, links, count, at, &p);
		sl_lpm_table_spread(lpm, &p, (const struct sl_lpm_entry *)entry,
			(const struct sl_lpm_entry *)longest_match(lpm, &p, p.len));
	}
	retire_entry(lpm, entry);
	return 0;
}

/*
 * Postorder within a node: for each six bits i the child, then the full prefix, then the shorter
 * ones that end with i. Goes on behind prefix `after`, whose path leads through the node, or begins
 * at the front when it is NULL.
 */
static struct sl_lpm_entry *next_in(const struct sl_lpm_node *node, const struct prefix *after)
{
	unsigned i = 0, len = SL_LPM_STRIDE + 1;

	if (after && after->len > node->depth) {
		unsigned ends = after->len - node->depth;

		i = step_at(after, node->depth);
		/* Its own child has been gone through, or is right now. */
		if (ends <= SL_LPM_STRIDE) {
			i |= (1u << (SL_LPM_STRIDE - ends)) - 1;
			len = ends - 1;
		}
	}
	for (; i < 64; i++, len = SL_LPM_STRIDE + 1, after = NULL) {
		struct place child = { CHILD, i };

		if (len > SL_LPM_STRIDE && has(node, child)) {
			const struct sl_lpm_node *below = (const struct sl_lpm_node *)load(
				&node->slots[slot_index(node, child)]);
			struct sl_lpm_entry *found = NULL;
			bool inside =
				!after || (after->len > below->depth && on_path(below, after));

			if (inside)
				found = next_in(below, after);
			if (found)
				return found;
		}
		for (len = sl_min(len, (unsigned)SL_LPM_STRIDE); len > 0; len--) {
			unsigned rest = SL_LPM_STRIDE - len;
			struct place at = { INTERNAL, (1u << len) - 2 + (i >> rest) };

			if (len == SL_LPM_STRIDE)
				at = (struct place){ FULL, i };
			else if ((i & ((1u << rest) - 1)) != (1u << rest) - 1)
				break;
			if (has(node, at))
				return (struct sl_lpm_entry *)load(
					&node->slots[slot_index(node, at)]);
		}
	}
	return NULL;
}

struct sl_lpm_entry *sl_lpm_next(const struct sl_lpm *lpm, const void *key)
{
	const struct sl_lpm_node *root = (const struct sl_lpm_node *)load(&lpm->root);
	struct sl_lpm_entry *shortest = (struct sl_lpm_entry *)load(&lpm->shortest), *next = NULL;
	struct prefix p;

	/* A prefix that is not there says nothing about where it was: start again. */
	if (key && !sl_lpm_exact(lpm, key))
		key = NULL;
	if (!key) {
		next = root ? next_in(root, NULL) : NULL;
		return next ? next : shortest;
	}
	p = prefix_of(lpm, key);
	if (p.len == 0)
		return NULL;
	next = root ? next_in(root, &p) : NULL;
	return next ? next : shortest;
}
