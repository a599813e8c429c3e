#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * C tests on googletest:
 *
 *	TEST(array_map, update_past_end_returns_e2big)
 *	{
 *		ASSERT_EQ(-E2BIG, sl_...);
 *	}
 *
 * EXPECT_* note a failure and go on, ASSERT_* leave the test. Both may be used in functions that
 * return void and that a test calls.
 */
#ifdef __cplusplus
extern "C" {
#endif

void sl_test_register(
	const char *suite, const char *name, const char *file, int line, void (*fn)(void));

bool sl_test_int(const char *file, int line, const char *op, const char *a_text, const char *b_text,
	int64_t a, int64_t b, bool holds);
bool sl_test_str(const char *file, int line, const char *a_text, const char *b_text, const char *a,
	const char *b);
bool sl_test_contains(const char *file, int line, const char *haystack, const char *needle);
bool sl_test_mem(const char *file, int line, const char *a_text, const char *b_text, const void *a,
	const void *b, size_t len_bytes);
bool sl_test_true(const char *file, int line, const char *text, bool holds);

/* Adds a line to every failure reported until the matching pop: which row of a table it was. */
void sl_test_trace_push(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void sl_test_trace_pop(void);

void sl_test_fail(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void sl_test_skip(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
bool sl_test_has_failed(void);

#ifdef __cplusplus
}
#endif

#define TEST(suite, name)                                                            \
	static void suite##_##name(void);                                            \
	__attribute__((constructor)) static void register_##suite##_##name(void)     \
	{                                                                            \
		sl_test_register(#suite, #name, __FILE__, __LINE__, suite##_##name); \
	}                                                                            \
	static void suite##_##name(void)

#define SL_TEST_INT(op, a, b)                                                              \
	({                                                                                 \
		__typeof__(a) sl_a = (a);                                                  \
		__typeof__(b) sl_b = (b);                                                  \
		sl_test_int(__FILE__, __LINE__, #op, #a, #b, (int64_t)sl_a, (int64_t)sl_b, \
			(int64_t)sl_a op(int64_t) sl_b);                                   \
	})

#define EXPECT_EQ(a, b) ((void)SL_TEST_INT(==, a, b))
#define EXPECT_NE(a, b) ((void)SL_TEST_INT(!=, a, b))
#define EXPECT_LT(a, b) ((void)SL_TEST_INT(<, a, b))
#define EXPECT_LE(a, b) ((void)SL_TEST_INT(<=, a, b))
#define EXPECT_GT(a, b) ((void)SL_TEST_INT(>, a, b))
#define EXPECT_GE(a, b) ((void)SL_TEST_INT(>=, a, b))
#define EXPECT_TRUE(x) ((void)sl_test_true(__FILE__, __LINE__, #x, (x)))
#define EXPECT_FALSE(x) ((void)sl_test_true(__FILE__, __LINE__, "!(" #x ")", !(x)))
#define EXPECT_STREQ(a, b) ((void)sl_test_str(__FILE__, __LINE__, #a, #b, a, b))
#define EXPECT_CONTAINS(text, part) ((void)sl_test_contains(__FILE__, __LINE__, text, part))
#define EXPECT_MEMEQ(a, b, len) ((void)sl_test_mem(__FILE__, __LINE__, #a, #b, a, b, len))

#define SL_ASSERT(check)        \
	do {                    \
		if (!(check))   \
			return; \
	} while (0)

#define ASSERT_EQ(a, b) SL_ASSERT(SL_TEST_INT(==, a, b))
#define ASSERT_NE(a, b) SL_ASSERT(SL_TEST_INT(!=, a, b))
#define ASSERT_LT(a, b) SL_ASSERT(SL_TEST_INT(<, a, b))
#define ASSERT_LE(a, b) SL_ASSERT(SL_TEST_INT(<=, a, b))
#define ASSERT_GT(a, b) SL_ASSERT(SL_TEST_INT(>, a, b))
#define ASSERT_GE(a, b) SL_ASSERT(SL_TEST_INT(>=, a, b))
#define ASSERT_TRUE(x) SL_ASSERT(sl_test_true(__FILE__, __LINE__, #x, (x)))
#define ASSERT_FALSE(x) SL_ASSERT(sl_test_true(__FILE__, __LINE__, "!(" #x ")", !(x)))
#define ASSERT_STREQ(a, b) SL_ASSERT(sl_test_str(__FILE__, __LINE__, #a, #b, a, b))
#define ASSERT_MEMEQ(a, b, len) SL_ASSERT(sl_test_mem(__FILE__, __LINE__, #a, #b, a, b, len))

#define FAIL_NOW(...)                                          \
	do {                                                   \
		sl_test_fail(__FILE__, __LINE__, __VA_ARGS__); \
		return;                                        \
	} while (0)

/* Ends the test as skipped; the reason is mandatory. */
#define SKIP(...)                                              \
	do {                                                   \
		sl_test_skip(__FILE__, __LINE__, __VA_ARGS__); \
		return;                                        \
	} while (0)

#define TRACE_PUSH(...) sl_test_trace_push(__FILE__, __LINE__, __VA_ARGS__)
#define TRACE_POP() sl_test_trace_pop()
