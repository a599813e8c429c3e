#include <errno.h>
#include <string.h>

#include "kfunc_row.h"
#include "nofault.h"

/*
 * Strings at addresses that the verifier knows nothing of. Where it says so in the kernel, a
 * string is the process's here (nofault.h). They are read in aligned pieces, of which each is
 * readable as a whole or not at all, and only as far as the answer needs.
 */

#define STRING_MAX 65536 /* the kernel's XATTR_SIZE_MAX */
#define PIECE 64

struct text {
	uintptr_t start;
	uintptr_t piece; /* address of the bytes; 0: none yet */
	uint8_t bytes[PIECE];
};

static void text_init(struct text *text, uint64_t start)
{
	text->start = start;
	text->piece = 0;
}

/* The byte at `index`, or -EFAULT (-ERANGE for the first one of what is nobody's memory). */
static inline int text_at(struct text *text, uint32_t index)
{
	uintptr_t at = text->start + index, piece = at & ~(uintptr_t)(PIECE - 1);

	if (piece != text->piece) {
		text->piece = 0;
		if (sl_nofault_copy(text->bytes, (const void *)piece, PIECE) != 0)
			return index ? -EFAULT : sl_nofault_read(text->bytes, (const void *)at, 1);
		text->piece = piece;
	}
	return text->bytes[at - piece];
}

/* What the kernel finds out before it reads: -ERANGE for what cannot be its memory. */
static int check(struct text *text, uint64_t start)
{
	text_init(text, start);
	return sl_nofault_in_range((const void *)(uintptr_t)start) ? 0 : -ERANGE;
}

static int check_both(struct text *a, uint64_t a_start, struct text *b, uint64_t b_start)
{
	int err = check(a, a_start);

	return err ? err : check(b, b_start);
}

static inline uint64_t result(int value)
{
	return (uint32_t)value;
}

static int lower(int c)
{
	/* The kernel's tolower knows Latin-1. */
	if ((c >= 'A' && c <= 'Z') || (c >= 0xc0 && c <= 0xde && c != 0xd7))
		return c + 'a' - 'A';
	return c;
}

static int compare(uint64_t a_start, uint64_t b_start, bool ignore_case)
{
	struct text a, b;
	int err = check_both(&a, a_start, &b, b_start);

	for (uint32_t i = 0; !err && i < STRING_MAX; i++) {
		int c1 = text_at(&a, i), c2 = c1 < 0 ? c1 : text_at(&b, i);

		if (c1 < 0 || c2 < 0)
			return c1 < 0 ? c1 : c2;
		if (ignore_case) {
			c1 = lower(c1);
			c2 = lower(c2);
		}
		if (c1 != c2)
			return c1 < c2 ? -1 : 1;
		if (c1 == 0)
			return 0;
	}
	return err ? err : -E2BIG;
}

SL_HELPER_FN(strcmp)
{
	return result(compare(r1, r2, false));
}

SL_HELPER_FN(strcasecmp)
{
	return result(compare(r1, r2, true));
}

/* `missing` where the string ends before; the terminator can be looked for as well. */
static int find(uint64_t start, uint64_t count, uint8_t wanted, bool or_end)
{
	uint32_t limit = count < STRING_MAX ? (uint32_t)count : STRING_MAX;
	struct text text;
	int err = check(&text, start), c;

	for (uint32_t i = 0; !err && i < limit; i++) {
		c = text_at(&text, i);
		if (c < 0)
			return c;
		if (c == wanted || (or_end && c == 0))
			return (int)i;
		if (c == 0)
			return -ENOENT;
	}
	if (err)
		return err;
	return limit == STRING_MAX ? -E2BIG : -ENOENT;
}

SL_HELPER_FN(strchr)
{
	return result(find(r1, STRING_MAX, (uint8_t)r2, false));
}

SL_HELPER_FN(strnchr)
{
	return result(find(r1, r2, (uint8_t)r3, false));
}

SL_HELPER_FN(strchrnul)
{
	return result(find(r1, STRING_MAX, (uint8_t)r2, true));
}

/* The character is an int here: one that is wider than a byte is not found. */
SL_HELPER_FN(strrchr)
{
	int wanted = (int)(uint32_t)r2, last = -ENOENT, c;
	struct text text;
	int err = check(&text, r1);

	for (uint32_t i = 0; !err && i < STRING_MAX; i++) {
		c = text_at(&text, i);
		if (c < 0)
			return result(c);
		if (c == wanted)
			last = (int)i;
		if (c == 0)
			return result(last);
	}
	return result(err ? err : -E2BIG);
}

static int length(uint64_t start, uint64_t count)
{
	uint32_t limit = count < STRING_MAX ? (uint32_t)count : STRING_MAX;
	struct text text;
	int err = check(&text, start), c;

	for (uint32_t i = 0; !err && i < limit; i++) {
		c = text_at(&text, i);
		if (c <= 0)
			return c < 0 ? c : (int)i;
	}
	if (err)
		return err;
	return limit == STRING_MAX ? -E2BIG : (int)limit;
}

SL_HELPER_FN(strlen)
{
	return result(length(r1, STRING_MAX));
}

SL_HELPER_FN(strnlen)
{
	return result(length(r1, r2));
}

/* A string as a set of its characters, read no further than it was needed. */
struct set {
	struct text text;
	uint64_t members[4];
	uint32_t count;
	bool ended;
};

/* 1 or 0, or a negative errno. */
static int set_has(struct set *set, int wanted)
{
	while (!(set->members[wanted / 64] >> wanted % 64 & 1)) {
		int c;

		if (set->ended)
			return 0;
		if (set->count == STRING_MAX)
			return -E2BIG;
		c = text_at(&set->text, set->count);
		if (c < 0)
			return c;
		set->count++;
		if (c == 0)
			set->ended = true;
		else
			set->members[c / 64] |= 1ULL << c % 64;
	}
	return 1;
}

/* How far the string has only characters of the set, or only others. */
static int span(uint64_t start, uint64_t set_start, bool inside)
{
	struct set set = { .count = 0 };
	struct text text;
	int err = check_both(&text, start, &set.text, set_start);

	for (uint32_t i = 0; !err && i < STRING_MAX; i++) {
		int c = text_at(&text, i), has;

		if (c <= 0)
			return c < 0 ? c : (int)i;
		has = set_has(&set, c);
		if (has < 0)
			return has;
		if (has != inside)
			return (int)i;
	}
	return err ? err : -E2BIG;
}

SL_HELPER_FN(strspn)
{
	return result(span(r1, r2, true));
}

SL_HELPER_FN(strcspn)
{
	return result(span(r1, r2, false));
}

/*
 * Whether `part` is at `index`: 1 or 0, or an error; -ENOENT where it cannot be anywhere behind. A
 * part that ends where `len` does is read one byte further, to see that it ends.
 */
static int is_at(struct text *text, struct text *part, uint32_t index, uint64_t len)
{
	uint32_t j;
	int c1, c2;

	for (j = 0; index + j <= len && j < STRING_MAX; j++) {
		c2 = text_at(part, j);
		if (c2 <= 0)
			return c2 < 0 ? c2 : 1;
		if (index + j == len)
			break;
		c1 = text_at(text, index + j);
		if (c1 <= 0)
			return c1 < 0 ? c1 : -ENOENT;
		if (c1 != c2)
			break;
	}
	if (j == STRING_MAX)
		return -E2BIG;
	return index + j == len ? -ENOENT : 0;
}

static int find_part(uint64_t start, uint64_t part_start, uint64_t len)
{
	struct text text, part;
	int ret = check_both(&text, start, &part, part_start);

	for (uint32_t i = 0; ret == 0 && i < STRING_MAX; i++) {
		ret = is_at(&text, &part, i, len);
		if (ret > 0)
			return (int)i;
	}
	return ret ? ret : -E2BIG;
}

SL_HELPER_FN(strstr)
{
	return result(find_part(r1, r2, STRING_MAX));
}

SL_HELPER_FN(strnstr)
{
	return result(find_part(r1, r2, r3));
}

#define STRING_ROW(kfunc, ...)                                                         \
	const struct sl_kfunc sl_kfunc_##kfunc = {                                     \
		.call = { SL_KFUNC_ROW(kfunc, ANY), .flags = SL_HELPER_READS_ANYTHING, \
			.args = { __VA_ARGS__ } },                                     \
	}

STRING_ROW(strcmp, SL_ARG_ANYTHING, SL_ARG_ANYTHING);
STRING_ROW(strcasecmp, SL_ARG_ANYTHING, SL_ARG_ANYTHING);
STRING_ROW(strchr, SL_ARG_ANYTHING, SL_ARG_SCALAR);
STRING_ROW(strnchr, SL_ARG_ANYTHING, SL_ARG_SCALAR, SL_ARG_SCALAR);
STRING_ROW(strchrnul, SL_ARG_ANYTHING, SL_ARG_SCALAR);
STRING_ROW(strrchr, SL_ARG_ANYTHING, SL_ARG_SCALAR);
STRING_ROW(strlen, SL_ARG_ANYTHING);
STRING_ROW(strnlen, SL_ARG_ANYTHING, SL_ARG_SCALAR);
STRING_ROW(strspn, SL_ARG_ANYTHING, SL_ARG_ANYTHING);
STRING_ROW(strcspn, SL_ARG_ANYTHING, SL_ARG_ANYTHING);
STRING_ROW(strstr, SL_ARG_ANYTHING, SL_ARG_ANYTHING);
STRING_ROW(strnstr, SL_ARG_ANYTHING, SL_ARG_ANYTHING, SL_ARG_SCALAR);
