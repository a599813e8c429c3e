#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "defs.h"
#include "map_program.h"
#include "oracle.h"
#include "test.h"

/*
 * Two threads on one map without keys, in the kernel and here, now by a command and now by a program.
 * What goes into a QUEUE or STACK comes out once, whole, and in its order where one thread can tell;
 * what went into a BLOOM_FILTER stays; errnos are those that the kernel gives.
 */
enum { THREADS = 2, ENTRIES = 24, STEPS_MIN = 40, WAIT_MS = 300, TOKENS_MAX = 1 << 17, WORDS = 3 };

enum op { PUSH, POP, PEEK };

static const struct row {
	const char *name;
	uint32_t type, max_entries;
	bool keeps; /* nothing leaves it */
} rows[] = {
	{ "queue", BPF_MAP_TYPE_QUEUE, ENTRIES, false },
	{ "stack", BPF_MAP_TYPE_STACK, ENTRIES, false },
	{ "bloom_filter", BPF_MAP_TYPE_BLOOM_FILTER, 1 << 20, true },
};

/* A value: who pushed it, and how many before; three times, since no part may be another's. */
struct token {
	uint32_t words[WORDS];
};

struct run {
	const struct row *row;
	enum side side;
	int map;
	struct map_program program;
	uint32_t pushed[THREADS]; /* tried or done, before it is */
	uint8_t taken[THREADS][TOKENS_MAX];
	bool stop;
};

struct worker {
	struct run *run;
	unsigned number, seed, steps;
	uint32_t latest[THREADS]; /* token of each thread that this one took last, plus 1 */
	uint32_t refused[TOKENS_MAX / 32]; /* a bit per token that found no room */
};

static struct token token_of(unsigned thread, uint32_t n)
{
	uint32_t word = thread << 24 | n;

	return (struct token){ { word, word, word } };
}

static int operate(struct worker *me, enum op op, uint64_t flags, struct token *token)
{
	static const int cmds[] = { BPF_MAP_UPDATE_ELEM, BPF_MAP_LOOKUP_AND_DELETE_ELEM,
		BPF_MAP_LOOKUP_ELEM };
	static const enum map_op ops[] = { MAP_OP_PUSH, MAP_OP_POP, MAP_OP_PEEK };
	bool by_program = rand_r(&me->seed) % 2;
	uint8_t value[MAP_PROGRAM_VALUE_MAX] = { 0 };
	union bpf_attr attr;
	int err;

	memcpy(value, token, sizeof(*token));
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)me->run->map;
	attr.value = PTR(value);
	attr.flags = flags;
	if (by_program)
		err = map_program_run(&me->run->program, ops[op], flags, NULL, value);
	else
		err = (int)call(me->run->side, cmds[op], &attr, sizeof(attr));
	memcpy(token, value, sizeof(*token));
	return err;
}

/* Somebody's, in one piece, and pushed before it was seen. */
static bool is_token(
	const struct run *run, const struct token *t, unsigned *ret_by, uint32_t *ret_n)
{
	*ret_by = t->words[0] >> 24;
	*ret_n = t->words[0] & 0xffffff;
	return t->words[1] == t->words[0] && t->words[2] == t->words[0] && *ret_by < THREADS &&
	       *ret_n < __atomic_load_n(&run->pushed[*ret_by], __ATOMIC_ACQUIRE);
}

static void take(struct worker *me, const struct token *token)
{
	unsigned by;
	uint32_t n;

	if (!is_token(me->run, token, &by, &n)) {
		EXPECT_TRUE(!"a value that nobody pushed");
		return;
	}
	EXPECT_EQ(__atomic_fetch_add(&me->run->taken[by][n], 1, __ATOMIC_RELAXED), 0);
	if (me->run->row->type == BPF_MAP_TYPE_QUEUE)
		EXPECT_GE(n, me->latest[by]);
	me->latest[by] = n + 1;
}

static void push(struct worker *me)
{
	struct run *run = me->run;
	uint32_t n = run->pushed[me->number];
	struct token token = token_of(me->number, n);
	int err;

	if (n == TOKENS_MAX)
		return;
	__atomic_store_n(&run->pushed[me->number], n + 1, __ATOMIC_RELEASE);
	err = operate(me, PUSH, 0, &token);
	if (err) {
		EXPECT_EQ(err, -E2BIG);
		EXPECT_FALSE(run->row->keeps);
		me->refused[n / 32] |= 1u << n % 32;
	}
}

/* Whatever was pushed by whomever is there; what never was is not, but for chance. */
static void peek_kept(struct worker *me)
{
	unsigned by = rand_r(&me->seed) % THREADS;
	uint32_t pushed = __atomic_load_n(&me->run->pushed[by], __ATOMIC_ACQUIRE);
	struct token token;

	/* The last one may be on its way. */
	if (pushed < 2)
		return;
	token = token_of(by, rand_r(&me->seed) % (pushed - 1));
	EXPECT_EQ(operate(me, PEEK, 0, &token), 0);
	token = token_of(by + THREADS, pushed);
	EXPECT_EQ(operate(me, PEEK, 0, &token), -ENOENT);
}

static void step(struct worker *me)
{
	unsigned what = rand_r(&me->seed) % 8, by;
	struct token token = { { 0 } };
	uint32_t n;
	int err;

	if (what == 0) {
		EXPECT_EQ(operate(me, PUSH, BPF_NOEXIST, &token), -EINVAL);
	} else if (what < 4) {
		push(me);
	} else if (me->run->row->keeps) {
		peek_kept(me);
	} else {
		err = operate(me, what < 7 ? POP : PEEK, 0, &token);
		if (err)
			EXPECT_EQ(err, -ENOENT);
		else if (what < 7)
			take(me, &token);
		else
			EXPECT_TRUE(is_token(me->run, &token, &by, &n));
	}
}

static void *work(void *arg)
{
	struct worker *me = arg;

	while (!__atomic_load_n(&me->run->stop, __ATOMIC_RELAXED) && !sl_test_has_failed()) {
		step(me);
		__atomic_store_n(&me->steps, me->steps + 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* What is left comes out in order, and then each token came out once, unless there was no room. */
static void check_end(struct worker *workers)
{
	struct run *run = workers[0].run;
	bool stack = run->row->type == BPF_MAP_TYPE_STACK;
	struct worker last = { .run = run };
	struct token token = { { 0 } };
	unsigned by;
	uint32_t n;

	while (!run->row->keeps && operate(&last, POP, 0, &token) == 0 && !sl_test_has_failed()) {
		EXPECT_TRUE(is_token(run, &token, &by, &n));
		if (stack && last.latest[by % THREADS])
			EXPECT_LT(n + 1, last.latest[by % THREADS]);
		take(&last, &token);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		for (n = 0; n < run->pushed[i]; n++) {
			bool refused = workers[i].refused[n / 32] >> n % 32 & 1;

			if (run->row->keeps)
				token = token_of(i, n),
				EXPECT_EQ(operate(&last, PEEK, 0, &token), 0);
			else
				EXPECT_EQ(run->taken[i][n], !refused);
		}
	}
}

/* Commands cost more here: they read and write the caller's memory through the kernel. */
static const unsigned run_ms[SIDES] = { [KERNEL] = 30, [SLUICE] = 100 };

static void run_row(const struct row *row, enum side side)
{
	const unsigned ops = 1 << MAP_OP_PUSH | 1 << MAP_OP_PEEK;
	struct worker *workers = calloc(THREADS, sizeof(*workers));
	struct run *run = calloc(1, sizeof(*run));
	pthread_t threads[THREADS];

	run->row = row;
	run->side = side;
	run->map = map_new(side, row->type, 0, sizeof(struct token), row->max_entries, 0);
	run->program = map_program_new(
		side, run->map, 0, sizeof(struct token), ops | (row->keeps ? 0 : 1 << MAP_OP_POP));
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .run = run, .number = i, .seed = i + 1 };
		EXPECT_EQ(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	}
	for (unsigned ms = 0, steps = 0; ms < run_ms[side] || (ms < WAIT_MS && steps < STEPS_MIN);
		ms++) {
		usleep(1000);
		steps = sl_min(__atomic_load_n(&workers[0].steps, __ATOMIC_RELAXED),
			__atomic_load_n(&workers[1].steps, __ATOMIC_RELAXED));
	}
	__atomic_store_n(&run->stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	check_end(workers);
	close(run->program.fd);
	close(run->map);
	free(workers);
	free(run);
}

TEST(push_threads, what_two_threads_push_is_there_as_in_the_kernel)
{
	ORACLE_OR_SKIP();
	for (size_t i = 0; i < sl_array_size(rows); i++) {
		for (int s = 0; s < SIDES; s++) {
			TRACE_PUSH("%s, side %d", rows[i].name, s);
			run_row(&rows[i], s);
			TRACE_POP();
		}
	}
}
