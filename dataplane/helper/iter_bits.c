#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "iter_bits.h"
#include "kfunc_row.h"
#include "nofault.h"

/*
 * An iterator over the set bits of some words, of which it has a copy. One word is kept in the
 * iterator; more are in one of a few blocks that each CPU has, since a worker allocates nothing. A
 * program cannot end with an iterator open, so the blocks come back. Where all are in use, as by a
 * program that has a dozen large iterators open at once, the answer is the one that the kernel has
 * when its allocator is empty.
 */

enum { WORDS_MAX = 511, BLOCKS = 16 };

struct blocks {
	uint32_t used; /* a bit per block; the CPU's own */
	uint64_t words[BLOCKS][WORDS_MAX];
};

/* struct bpf_iter_bits */
struct bits {
	union {
		uint64_t word; /* of 64 bits */
		uint64_t *words;
	};
	int32_t count; /* bits; 0: nothing to iterate over */
	int32_t last;
};

static struct blocks *all; /* [sl_cpu_count()]; touched when first needed */

int sl_iter_bits_start(void)
{
	all = calloc(sl_cpu_count(), sizeof(*all));
	return all ? 0 : -ENOMEM;
}

static uint64_t *block_get(struct blocks *blocks)
{
	uint32_t free_blocks = ~blocks->used & ((1u << BLOCKS) - 1);
	unsigned block;

	if (!free_blocks)
		return NULL;
	block = (unsigned)__builtin_ctz(free_blocks);
	blocks->used |= 1u << block;
	return blocks->words[block];
}

static void block_put(struct blocks *blocks, const uint64_t *words)
{
	blocks->used &= ~(1u << ((words - blocks->words[0]) / WORDS_MAX));
}

static uint64_t refuse(int err)
{
	return (uint32_t)-err;
}

SL_HELPER_FN(iter_bits_new)
{
	struct bits *bits = (struct bits *)(uintptr_t)r1;
	const void *from = (const void *)(uintptr_t)r2;
	uint32_t count = (uint32_t)r3;
	int err;

	*bits = (struct bits){ .last = -1 };
	if (!from || !count)
		return refuse(EINVAL);
	if (count > WORDS_MAX)
		return refuse(E2BIG);
	if (count == 1) {
		if (sl_nofault_read(&bits->word, from, sizeof(uint64_t)) != 0) {
			bits->word = 0;
			return refuse(EFAULT);
		}
	} else {
		bits->words = block_get(&all[ctx->cpu]);
		if (!bits->words)
			return refuse(ENOMEM);
		err = sl_nofault_read(bits->words, from, count * sizeof(uint64_t));
		if (err) {
			block_put(&all[ctx->cpu], bits->words);
			bits->words = NULL;
			return refuse(-err);
		}
	}
	bits->count = (int32_t)count * 64;
	return 0;
}

SL_HELPER_FN(iter_bits_next)
{
	struct bits *bits = (struct bits *)(uintptr_t)r1;
	const uint64_t *words = bits->count == 64 ? &bits->word : bits->words;
	int32_t bit = bits->last + 1;

	while (bit < bits->count) {
		uint64_t rest = words[bit / 64] >> bit % 64;

		if (rest) {
			bits->last = bit + __builtin_ctzll(rest);
			return (uintptr_t)&bits->last;
		}
		bit = (bit / 64 + 1) * 64;
	}
	bits->last = bits->count;
	return 0;
}

SL_HELPER_FN(iter_bits_destroy)
{
	struct bits *bits = (struct bits *)(uintptr_t)r1;

	if (bits->count > 64)
		block_put(&all[ctx->cpu], bits->words);
	*bits = (struct bits){ .count = 0 };
	return 0;
}
