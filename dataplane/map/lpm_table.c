#include <string.h>

#include "lpm_node.h"

/*
 * The table (lpm.h) repeats the top of the trie. A prefix is found either as the best of a path's
 * leaf or below that leaf's node, by its length; so a change moves one of the two and a reader in
 * between sees the trie before or after. Only one path leads to a given node: the node's own is at
 * least as long.
 *
 * A run's leaves may change in place, one by one; where they start does not. So a short prefix,
 * which covers whole groups, takes no memory, however many they are.
 */
enum { STEPS = 1 << SL_LPM_STRIDE };

static void *piece_of(const struct sl_lpm_desc *d, uint32_t leaf)
{
	return d->area + (uint64_t)(leaf & ~SL_LPM_DEEP) * SL_LPM_PIECE_BYTES;
}

static uint32_t index_of(const struct sl_lpm_desc *d, const void *piece)
{
	return piece ? ((const uint8_t *)piece - d->area) / SL_LPM_PIECE_BYTES : 0;
}

static struct sl_lpm_run *run_of(const struct sl_lpm_desc *d, const uint32_t *top)
{
	return piece_of(d, *top);
}

/* Of its own, not an entry's. */
static bool is_run(const struct sl_lpm_run *run)
{
	return run->starts != 1;
}

/* Pairs with the acquire of readers. */
static void set(uint32_t *at, uint32_t leaf)
{
	__atomic_store_n(at, leaf, __ATOMIC_RELEASE);
}

static uint32_t run_bytes(unsigned leaf_count)
{
	return sizeof(struct sl_lpm_run) + leaf_count * sizeof(uint32_t);
}

static void expand(const struct sl_lpm_run *run, uint32_t *leaves)
{
	const uint32_t *next = run->leaves;

	for (unsigned i = 0; i < STEPS; i++) {
		next += i && run->starts >> i & 1;
		leaves[i] = *next;
	}
}

/* The group has these leaves from now on. */
static void replace(struct sl_lpm *lpm, uint32_t *top, const uint32_t *leaves)
{
	const struct sl_lpm_desc *d = sl_lpm_desc_of(lpm);
	struct sl_lpm_run *old = run_of(d, top), *run = old;
	unsigned count = 0;
	uint64_t starts = 1;

	for (unsigned i = 1; i < STEPS; i++)
		starts |= (uint64_t)(leaves[i] != leaves[i - 1]) << i;
	if (starts == 1) {
		set(top, leaves[0]);
	} else {
		if (starts != old->starts)
			run = sl_lpm_arena_get(lpm->arena, run_bytes(__builtin_popcountll(starts)));
		for (unsigned i = 0; i < STEPS; i++)
			if (starts >> i & 1)
				set(&run->leaves[count++], leaves[i]);
		if (run == old)
			return;
		run->starts = starts;
		set(top, index_of(d, run));
	}
	if (is_run(old))
		sl_lpm_arena_retire(lpm->arena, old, run_bytes(__builtin_popcountll(old->starts)));
}

/* The first node on the path that the word's bits begin with that is not above the leaves. */
static struct sl_lpm_node *first_node(const struct sl_lpm *lpm, uint64_t word)
{
	unsigned depth = sl_lpm_desc_of(lpm)->table_bits + SL_LPM_STRIDE;
	struct sl_lpm_node *node = (struct sl_lpm_node *)lpm->root;
	uint8_t data[8];
	struct prefix p = { .data = data, .data_size = sizeof(data) };

	word = __builtin_bswap64(word);
	memcpy(data, &word, sizeof(data));
	while (node) {
		unsigned known = sl_min((unsigned)node->depth, depth) - node->start;
		struct place at = { CHILD, step_at(&p, node->depth) };

		if (known && (bits(&p, node->start, known) ^ node->skip >> (64 - known)))
			return NULL;
		if (node->depth >= depth)
			return node;
		node = has(node, at) ? (struct sl_lpm_node *)node->slots[slot_index(node, at)]
				     : NULL;
	}
	return NULL;
}

void sl_lpm_table_refresh(struct sl_lpm *lpm, uint64_t word)
{
	const struct sl_lpm_desc *d = sl_lpm_desc_of(lpm);
	uint32_t leaves[STEPS], *top, *leaf, wanted;
	struct sl_lpm_node *node;
	uint64_t best;

	if (!d->table_bits)
		return;
	top = &d->table[word >> (64 - d->table_bits)];
	expand(run_of(d, top), leaves);
	leaf = &leaves[word << d->table_bits >> (64 - SL_LPM_STRIDE)];
	if (*leaf & SL_LPM_DEEP)
		best = ((struct sl_lpm_node *)piece_of(d, *leaf))->best;
	else
		best = *leaf ? (uint64_t)piece_of(d, *leaf) : 0;
	node = first_node(lpm, word);
	if (node)
		publish(&node->best, (void *)best);
	wanted = node ? index_of(d, node) | SL_LPM_DEEP : index_of(d, (void *)best);
	if (wanted == *leaf)
		return;
	*leaf = wanted;
	replace(lpm, top, leaves);
}

/* Whether a prefix of len bits, in the place of `old`, goes before what is the best so far. */
static bool goes_before(const struct sl_lpm_entry *best, const void *old, uint32_t len)
{
	return best == old || (!old && best->prefixlen < len);
}

/* Changes what a leaf's best is, if it has to: its node's, or *leaf itself. */
static void change(const struct sl_lpm_desc *d, uint32_t *leaf, const struct prefix *p,
	const struct sl_lpm_entry *old, const struct sl_lpm_entry *entry)
{
	if (*leaf & SL_LPM_DEEP) {
		struct sl_lpm_node *node = piece_of(d, *leaf);

		if (goes_before((const struct sl_lpm_entry *)node->best, old, p->len))
			publish(&node->best, entry);
	} else if (goes_before(*leaf ? piece_of(d, *leaf) : NULL, old, p->len)) {
		set(leaf, index_of(d, entry));
	}
}

void sl_lpm_table_spread(struct sl_lpm *lpm, const struct prefix *p, const struct sl_lpm_entry *old,
	const struct sl_lpm_entry *entry)
{
	const struct sl_lpm_desc *d = sl_lpm_desc_of(lpm);
	unsigned depth = d->table_bits + SL_LPM_STRIDE, rest = depth - p->len;
	uint32_t leaves[STEPS], *top;
	uint64_t first, end;

	if (!d->table_bits || p->len > depth || p->len == 0)
		return;
	first = bits(p, 0, p->len) << rest;
	end = first + (1ull << rest);
	top = &d->table[first / STEPS];
	if (p->len > d->table_bits) {
		expand(run_of(d, top), leaves);
		for (uint64_t i = first; i < end; i++)
			change(d, &leaves[i % STEPS], p, old, entry);
		replace(lpm, top, leaves);
		return;
	}
	for (; top < &d->table[end / STEPS]; top++) {
		struct sl_lpm_run *run = run_of(d, top);
		unsigned count = is_run(run) ? __builtin_popcountll(run->starts) : 0;

		if (count == 0)
			change(d, top, p, old, entry);
		for (unsigned i = 0; i < count; i++)
			change(d, &run->leaves[i], p, old, entry);
	}
}
