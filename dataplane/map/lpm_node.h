#pragma once

#include <string.h>

#include "lpm_trie.h"

/* What the trie (lpm_trie.c) and its table (lpm_table.c) both do with nodes and prefixes. */

enum kind { CHILD, FULL, INTERNAL };

/* Where something is, or would be, in a node. */
struct place {
	enum kind kind;
	unsigned bit;
};

/* A prefix as the functions below see it. */
struct prefix {
	const uint8_t *data;
	uint32_t data_size;
	uint32_t len; /* bits */
};

static inline struct prefix prefix_of(const struct sl_lpm *lpm, const void *key)
{
	struct prefix p = { .data = (const uint8_t *)key + 4,
		.data_size = sl_lpm_desc_of(lpm)->data_size };

	memcpy(&p.len, key, sizeof(p.len));
	return p;
}

/* `count` bits from bit `at` on, at the bottom; zeroes behind the key's last. */
static inline uint64_t bits(const struct prefix *p, unsigned at, unsigned count)
{
	uint64_t value = 0;

	for (unsigned byte = at / 8; byte <= (at + count) / 8; byte++) {
		int up = 64 - 8 - 8 * (int)(byte - at / 8) + (int)(at % 8);
		uint64_t b = byte < p->data_size ? p->data[byte] : 0;

		value |= up >= 0 ? b << up : b >> -up;
	}
	return count ? value >> (64 - count) : 0;
}

static inline unsigned step_at(const struct prefix *p, unsigned at)
{
	return (unsigned)bits(p, at, SL_LPM_STRIDE);
}

static inline uint64_t skip_bits(const struct prefix *p, unsigned start, unsigned depth)
{
	return depth > start ? bits(p, start, depth - start) << (64 - (depth - start)) : 0;
}

/* Depth of the node that a prefix of this length is in; it is not 0. */
static inline unsigned depth_of(uint32_t len)
{
	return (len - 1) / SL_LPM_STRIDE * SL_LPM_STRIDE;
}

static inline struct place place_at(const struct prefix *p, unsigned depth)
{
	unsigned len = p->len - depth, step = step_at(p, depth);

	if (len == SL_LPM_STRIDE)
		return (struct place){ FULL, step };
	return (struct place){ INTERNAL, (1u << len) - 2 + (step >> (SL_LPM_STRIDE - len)) };
}

static inline uint64_t map_of(const struct sl_lpm_node *node, enum kind kind)
{
	return kind == CHILD ? node->external : kind == FULL ? node->full : node->internal;
}

static inline bool has(const struct sl_lpm_node *node, struct place at)
{
	return map_of(node, at.kind) >> at.bit & 1;
}

static inline unsigned slot_index(const struct sl_lpm_node *node, struct place at)
{
	unsigned index = __builtin_popcountll(map_of(node, at.kind) & ((1ull << at.bit) - 1));

	if (at.kind != CHILD)
		index += __builtin_popcountll(node->external);
	if (at.kind == INTERNAL)
		index += __builtin_popcountll(node->full);
	return index;
}

static inline uint64_t load(const uint64_t *slot)
{
	return __atomic_load_n(slot, __ATOMIC_ACQUIRE);
}

/* Pairs with the acquire of readers. */
static inline void publish(uint64_t *slot, const void *what)
{
	__atomic_store_n(slot, (uint64_t)what, __ATOMIC_RELEASE);
}

/* How many of the bits from node->start on the prefix's path has in common with the node's. */
static inline unsigned common_bits(const struct sl_lpm_node *node, const struct prefix *p)
{
	unsigned len = node->depth - node->start;
	uint64_t wrong = (skip_bits(p, node->start, node->depth) ^ node->skip);

	return wrong ? sl_min((unsigned)__builtin_clzll(wrong), len) : len;
}

static inline bool on_path(const struct sl_lpm_node *node, const struct prefix *p)
{
	return common_bits(node, p) == (unsigned)node->depth - node->start;
}
