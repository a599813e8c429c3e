#include "lpm_trie.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "area.h"
#include "rcu.h"

/*
 * Pieces are multiples of SL_LPM_PIECE_BYTES. Each size has a list of free ones, linked through their
 * first word. Retired pieces may still be read, so they wait outside, in the order in which they
 * were retired, each with its RCU token; the oldest are looked at first.
 */
enum { SIZES = 64, RETIRED_MAX = 1 << 16, SLACK_BYTES = 64 << 20 };

#define AREA_MAX (1ull << 44)

/* The largest node has 63 children, as many full prefixes, and 62 others. */
static_assert(sizeof(struct sl_lpm_node) + (64 + 64 + 62) * 8 <= SL_LPM_PIECE_BYTES * SIZES,
	"a node fits the largest piece");

struct retired {
	void *piece;
	uint64_t token;
	uint32_t size; /* index */
};

struct sl_lpm_arena {
	uint8_t *area;
	size_t len_bytes, used_bytes; /* cut off so far */
	uint32_t entry_bytes;
	void *free[SIZES + 1];
	void *free_large; /* entries that are larger: all of one size */
	uint32_t head, tail; /* of retired[], as counts */
	struct retired *retired;
};

static uint32_t size_index(uint32_t bytes)
{
	uint32_t index = (bytes + SL_LPM_PIECE_BYTES - 1) / SL_LPM_PIECE_BYTES;

	return sl_min(index, (uint32_t)SIZES + 1);
}

static void **list_of(struct sl_lpm_arena *arena, uint32_t index)
{
	return index <= SIZES ? &arena->free[index] : &arena->free_large;
}

/*
 * Address space for the worst case: every size's share of the nodes at once, a chain of nodes for
 * each long prefix that shares nothing, and the entries.
 */
static size_t worst_bytes(uint32_t max_entries, uint32_t max_prefixlen, uint32_t entry_bytes)
{
	uint64_t chain = 3 + max_prefixlen / (SL_LPM_SKIP_MAX + SL_LPM_STRIDE);
	uint64_t each = sl_round_up(entry_bytes, (uint32_t)SL_LPM_PIECE_BYTES) +
			chain * 2 * SL_LPM_PIECE_BYTES + SIZES * 3 * 8;

	/* No machine has more memory: such a map is full when the memory is. */
	return sl_min(SLACK_BYTES + max_entries * each, AREA_MAX);
}

struct sl_lpm_arena *sl_lpm_arena_new(
	uint32_t max_entries, uint32_t max_prefixlen, uint32_t entry_bytes)
{
	struct sl_lpm_arena *arena = calloc(1, sizeof(*arena));

	if (!arena)
		return NULL;
	arena->entry_bytes = entry_bytes;
	arena->len_bytes = worst_bytes(max_entries, max_prefixlen, entry_bytes);
	arena->area = sl_area_new(arena->len_bytes, 0);
	arena->retired = sl_area_new(RETIRED_MAX * sizeof(struct retired), 0);
	if (!arena->area || !arena->retired) {
		sl_lpm_arena_free(arena);
		return NULL;
	}
	/* Most tries are small: they shall not cost a huge page. */
	madvise(arena->area, SL_AREA_HUGE_BYTES, MADV_NOHUGEPAGE);
	((struct sl_lpm_run *)arena->area)->starts = 1;
	arena->used_bytes = SL_LPM_PIECE_BYTES;
	return arena;
}

void sl_lpm_arena_free(struct sl_lpm_arena *arena)
{
	if (!arena)
		return;
	sl_area_free(arena->area, arena->len_bytes);
	sl_area_free(arena->retired, RETIRED_MAX * sizeof(struct retired));
	free(arena);
}

void *sl_lpm_arena_area(const struct sl_lpm_arena *arena, size_t *ret_len_bytes)
{
	*ret_len_bytes = arena->len_bytes;
	return arena->area;
}

static void put_free(struct sl_lpm_arena *arena, void *piece, uint32_t index)
{
	void **list = list_of(arena, index);

	*(void **)piece = *list;
	*list = piece;
}

/* Frees up to `most` of the oldest whose grace period is over. */
static void reclaim(struct sl_lpm_arena *arena, unsigned most)
{
	for (; most > 0 && arena->head != arena->tail; most--) {
		struct retired *r = &arena->retired[arena->head % RETIRED_MAX];

		if (!sl_rcu_passed(r->token))
			return;
		put_free(arena, r->piece, r->size);
		arena->head++;
	}
}

bool sl_lpm_arena_ready(struct sl_lpm_arena *arena, unsigned pieces)
{
	size_t bytes = arena->entry_bytes + SL_LPM_PIECE_BYTES +
		       (size_t)pieces * SL_LPM_PIECE_BYTES * SIZES;

	/* More than a change retires, so that the queue gets shorter. */
	reclaim(arena, 2 * pieces);
	return arena->tail - arena->head + pieces <= RETIRED_MAX &&
	       arena->used_bytes + bytes <= arena->len_bytes;
}

void *sl_lpm_arena_get(struct sl_lpm_arena *arena, uint32_t bytes)
{
	uint32_t index = size_index(bytes);
	void **list = list_of(arena, index), *piece = *list;

	if (piece) {
		*list = *(void **)piece;
		return piece;
	}
	piece = arena->area + arena->used_bytes;
	arena->used_bytes += sl_round_up(bytes, (uint32_t)SL_LPM_PIECE_BYTES);
	return piece;
}

void sl_lpm_arena_retire(struct sl_lpm_arena *arena, void *piece, uint32_t bytes)
{
	arena->retired[arena->tail++ % RETIRED_MAX] = (struct retired){
		.piece = piece, .token = sl_rcu_token(), .size = size_index(bytes)
	};
}

void sl_lpm_arena_put(struct sl_lpm_arena *arena, void *piece, uint32_t bytes)
{
	put_free(arena, piece, size_index(bytes));
}

uint64_t sl_lpm_arena_used_bytes(const struct sl_lpm_arena *arena)
{
	return arena->used_bytes;
}
