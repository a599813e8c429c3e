#include <bpf/btf.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "both.h"
#include "cpu.h"
#include "defs.h"
#include "fd.h"
#include "map_program.h"
#include "oracle.h"
#include "rcu.h"
#include "test.h"

/*
 * Two threads do random operations on one map, in the kernel and here, now by a command and now by a
 * program, each on a CPU of its own where there are two. What must hold of both:
 *
 * - at a thread's own keys each result is that of a map of the kernel's which only it uses;
 * - at the keys that they share a value is one that somebody wrote there, in one piece, of those that
 *   only BPF_NOEXIST inserts there are as many as were inserted and not deleted, and one that is only
 *   ever replaced is never missing;
 * - walks end, and miss none of the keys that are left alone;
 * - an errno that Sluice gives, the kernel gives to the same operation.
 *
 * A map type is a row of the table.
 */
enum trait {
	PERCPU = 1 << 0,
	INDEXED = 1 << 1, /* walks see all keys, there or not */
	INNER = 1 << 2, /* values are maps: descriptors in, ids out */
	DEVICE = 1 << 3, /* values are interfaces */
	LOCKED = 1 << 4, /* values have a spin lock, and BPF_F_LOCK is in all flags */
	ROOMY = 1 << 5, /* evicts early: far more room than keys */
	PREFIX = 1 << 6, /* keys are prefixes */
	BY_HAND = 1 << 7, /* programs do not change it */
};

static const struct row {
	const char *name;
	uint32_t type, key_size, value_size, flags;
	unsigned traits;
} rows[] = {
	{ "array", BPF_MAP_TYPE_ARRAY, 4, 8, 0, INDEXED },
	{ "array, locked", BPF_MAP_TYPE_ARRAY, 4, 32, 0, INDEXED | LOCKED },
	{ "percpu_array", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 16, 0, INDEXED | PERCPU },
	{ "hash", BPF_MAP_TYPE_HASH, 4, 8, 0, 0 },
	{ "hash, not preallocated", BPF_MAP_TYPE_HASH, 16, 40, BPF_F_NO_PREALLOC, 0 },
	{ "hash, locked", BPF_MAP_TYPE_HASH, 4, 32, 0, LOCKED },
	{ "percpu_hash", BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 0, PERCPU },
	{ "lru_hash", BPF_MAP_TYPE_LRU_HASH, 8, 8, 0, ROOMY },
	{ "lru_hash, per CPU", BPF_MAP_TYPE_LRU_HASH, 4, 24, BPF_F_NO_COMMON_LRU, ROOMY },
	{ "lru_percpu_hash", BPF_MAP_TYPE_LRU_PERCPU_HASH, 4, 8, 0, PERCPU | ROOMY },
	{ "lpm_trie", BPF_MAP_TYPE_LPM_TRIE, 8, 8, BPF_F_NO_PREALLOC, PREFIX },
	{ "array_of_maps", BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, 0, INDEXED | INNER | BY_HAND },
	{ "hash_of_maps", BPF_MAP_TYPE_HASH_OF_MAPS, 4, 4, 0, INNER | BY_HAND },
	{ "devmap_hash", BPF_MAP_TYPE_DEVMAP_HASH, 4, 4, 0, DEVICE | BY_HAND },
};

/* Whose a key is, and what is done to it. */
enum group {
	OWN_0,
	OWN_1,
	COUNTED, /* inserted by BPF_NOEXIST only */
	LOOSE, /* anything */
	KEPT, /* replaced, never deleted */
	STILL, /* there from the start and left alone */
	GROUPS,
};

static const uint32_t first_key[GROUPS + 1] = { 0, 24, 48, 56, 64, 68, 76 };

enum { KEYS = 76, ROOM = 2000, THREADS = 2, MAIN = THREADS, WRITERS = 3, INNERS = 4 };
enum { STEPS_MIN = 40, WAIT_MS = 200, KEY_MAX = 16, LOOPBACK = 1 };
enum { VALUE_MAX = 40 * SL_MAX_CPUS, BATCH = 128, BATCH_VALUES = BATCH * 16 * SL_MAX_CPUS };

static const struct command {
	int cmd;
	uint64_t flags;
} commands[] = {
	{ BPF_MAP_UPDATE_ELEM, BPF_ANY },
	{ BPF_MAP_UPDATE_ELEM, BPF_NOEXIST },
	{ BPF_MAP_UPDATE_ELEM, BPF_EXIST },
	{ BPF_MAP_DELETE_ELEM, 0 },
	{ BPF_MAP_LOOKUP_ELEM, 0 },
	{ BPF_MAP_LOOKUP_AND_DELETE_ELEM, 0 },
	{ BPF_MAP_UPDATE_ELEM, 3 },
	{ BPF_MAP_LOOKUP_ELEM, 8 },
	{ BPF_MAP_GET_NEXT_KEY, 0 },
	{ BPF_MAP_LOOKUP_BATCH, 0 },
};

enum { ANY, NOEXIST, EXIST, DELETE, LOOKUP, TAKE, BAD_UPDATE, BAD_LOOKUP, WALK, BATCHES, COMMANDS };
enum { ANSWERS = 6 };

/* The errnos that an operation was ever answered with: first the commands, then the programs. */
struct answers {
	int errs[2 * COMMANDS][ANSWERS];
	unsigned count[2 * COMMANDS];
};

struct run {
	const struct row *row;
	enum side side;
	int map;
	struct map_program program;
	uint8_t keys[KEYS][KEY_MAX];
	uint32_t value_len;
	int inner[SIDES][WRITERS * INNERS];
	uint32_t inner_id[SIDES][WRITERS * INNERS];
	uint32_t written[WRITERS]; /* how many values each had made, before it wrote the last */
	bool stop;
};

struct worker {
	struct run *run;
	unsigned number, seed;
	int reference; /* the kernel's map with this thread's own keys */
	struct map_program reference_program;
	long inserted, deleted; /* of COUNTED */
	unsigned steps;
	struct answers answers, reference_answers;
};

static void note(struct answers *a, unsigned command, int err)
{
	for (unsigned i = 0; i < a->count[command]; i++)
		if (a->errs[command][i] == err)
			return;
	if (err && a->count[command] < ANSWERS)
		a->errs[command][a->count[command]++] = err;
}

static void merge(struct answers *to, const struct answers *from)
{
	for (unsigned c = 0; c < 2 * COMMANDS; c++)
		for (unsigned i = 0; i < from->count[c]; i++)
			note(to, c, from->errs[c][i]);
}

/* A thread's own prefixes lie in one another; the others' are addresses. */
static void make_key(const struct row *row, uint32_t n, uint8_t *key)
{
	uint32_t len = n < first_key[COUNTED] ? 8 + n % first_key[OWN_1] : 32;

	memset(key, 0x5a, KEY_MAX);
	memcpy(key, &n, sizeof(n));
	if (!(row->traits & PREFIX))
		return;
	memcpy(key, &len, sizeof(len));
	key[4] = n < first_key[COUNTED] ? 10 + n / first_key[OWN_1] : 20;
	memset(key + 5, n < first_key[COUNTED] ? 0 : (int)n, 3);
}

static int key_number(const struct run *run, const uint8_t *key)
{
	for (int n = 0; n < KEYS; n++)
		if (memcmp(run->keys[n], key, run->row->key_size) == 0)
			return n;
	return -1;
}

static int command(enum side side, int map, const struct command *c, const struct row *row,
	const void *key, void *value)
{
	bool elem = c->cmd != BPF_MAP_DELETE_ELEM;
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)map;
	attr.key = PTR(key);
	attr.value = elem ? PTR(value) : 0;
	attr.flags = c->flags | (elem && (row->traits & LOCKED) ? BPF_F_LOCK : 0);
	return (int)call(side, c->cmd, &attr, sizeof(attr));
}

/* The writer's n-th value for the key, the same in all words. */
static void make_value(const struct run *run, enum side side, uint32_t key, unsigned writer,
	uint32_t n, void *value)
{
	uint64_t word = (uint64_t)key << 40 | (uint64_t)writer << 32 | n;
	uint32_t number = writer * INNERS + n % INNERS;

	if (run->row->traits & DEVICE)
		memcpy(value, &(uint32_t){ LOOPBACK }, 4);
	else if (run->row->traits & INNER)
		memcpy(value, &run->inner[side][number], 4);
	else
		for (uint32_t at = 0; at < run->value_len; at += 8)
			memcpy((uint8_t *)value + at, &word, 8);
	if (run->row->traits & LOCKED)
		memset(value, 0, 8);
}

/* An inner map's id becomes its number, so that values of both sides compare. -1: is none. */
static void number_inner(const struct run *run, enum side side, void *value)
{
	uint32_t id, number = UINT32_MAX;

	memcpy(&id, value, 4);
	for (uint32_t i = 0; i < WRITERS * INNERS; i++)
		if (run->inner_id[side][i] == id)
			number = i;
	memcpy(value, &number, 4);
}

/*
 * The kernel reuses elements at once: who reads one meanwhile sees the value of another key. Here a
 * grace period is in between.
 */
static bool word_ok(const struct run *run, uint64_t word, uint32_t key)
{
	unsigned writer = word >> 32 & 0xff;

	if (writer >= WRITERS ||
		(uint32_t)word > __atomic_load_n(&run->written[writer], __ATOMIC_ACQUIRE))
		return false;
	return run->side == KERNEL ? word >> 40 < KEYS : word >> 40 == key;
}

/* A value that was found: written by somebody, for this key. */
static void check_value(const struct run *run, uint32_t key, void *value)
{
	uint64_t word, first = 0;
	uint32_t number;

	memcpy(&number, value, 4);
	if (run->row->traits & (DEVICE | INNER)) {
		if (run->row->traits & INNER) {
			number_inner(run, run->side, value);
			memcpy(&number, value, 4);
		}
		EXPECT_LT(number, (uint32_t)(WRITERS * INNERS));
		return;
	}
	for (uint32_t at = run->row->traits & LOCKED ? 8 : 0; at < run->value_len; at += 8) {
		memcpy(&word, (uint8_t *)value + at, 8);
		/* What nobody wrote yet: in an array, or for a CPU whose program never came by. */
		if (word != 0 || !(run->row->traits & (INDEXED | PERCPU)))
			EXPECT_TRUE(word_ok(run, word, key));
		if (at == 8 && (run->row->traits & LOCKED))
			first = word;
		if (run->row->traits & LOCKED)
			EXPECT_EQ(word, first);
	}
}

static bool writes(unsigned c)
{
	return commands[c].cmd == BPF_MAP_UPDATE_ELEM;
}

static bool reads(unsigned c)
{
	return c == LOOKUP || c == TAKE;
}

static bool programs_can(const struct row *row, unsigned c)
{
	if (c == TAKE || c == BAD_LOOKUP || (row->traits & BY_HAND))
		return false;
	return c != LOOKUP || !(row->traits & LOCKED);
}

/* A command, or the same by a program. */
static int operate(const struct run *run, unsigned c, bool by_program, int map,
	const struct map_program *program, uint32_t key, void *value)
{
	static const enum map_op ops[COMMANDS] = { [ANY] = MAP_OP_UPDATE,
		[NOEXIST] = MAP_OP_UPDATE,
		[EXIST] = MAP_OP_UPDATE,
		[BAD_UPDATE] = MAP_OP_UPDATE,
		[DELETE] = MAP_OP_DELETE,
		[LOOKUP] = MAP_OP_LOOKUP };
	uint64_t flags = commands[c].flags;
	int err;

	if (!by_program)
		return command(program->side, map, &commands[c], run->row, run->keys[key], value);
	if (writes(c) && (run->row->traits & LOCKED))
		flags |= BPF_F_LOCK;
	/* No program waits here for whoever changes the trie and has lost its CPU. */
	do {
		err = map_program_run(program, ops[c], flags, run->keys[key], value);
	} while (err == -EBUSY && program->side == SLUICE && (run->row->traits & PREFIX));
	return err;
}

/* On the map that is shared. */
static int act(struct worker *me, unsigned c, bool by_program, uint32_t key, uint8_t *value)
{
	struct run *run = me->run;
	uint32_t n = run->written[me->number];
	int err;

	memset(value, 0, VALUE_MAX);
	if (writes(c)) {
		make_value(run, run->side, key, me->number, ++n, value);
		__atomic_store_n(&run->written[me->number], n, __ATOMIC_RELEASE);
	}
	err = operate(run, c, by_program, run->map, &run->program, key, value);
	note(&me->answers, c + by_program * COMMANDS, err);
	return err;
}

/* The same on the thread's own map in the kernel gives the same. */
static void act_alone(struct worker *me, unsigned c, bool by_program, uint32_t key)
{
	uint8_t ours[VALUE_MAX], alone[VALUE_MAX];
	struct run *run = me->run;
	int err = act(me, c, by_program, key, ours), expected;

	memset(alone, 0, sizeof(alone));
	if (writes(c))
		make_value(run, KERNEL, key, me->number, run->written[me->number], alone);
	expected = operate(run, c, by_program, me->reference, &me->reference_program, key, alone);
	note(&me->reference_answers, c + by_program * COMMANDS, expected);
	EXPECT_EQ(err, expected);
	if (err || !reads(c))
		return;
	if (run->row->traits & INNER) {
		number_inner(run, run->side, ours);
		number_inner(run, KERNEL, alone);
	}
	EXPECT_MEMEQ(ours, alone, run->value_len);
}

static void act_together(
	struct worker *me, enum group group, unsigned c, bool by_program, uint32_t key)
{
	uint8_t value[VALUE_MAX];
	int err;

	if (group == COUNTED && (c == ANY || c == EXIST))
		c = NOEXIST;
	if (group == KEPT && (c == DELETE || c == TAKE || c == NOEXIST))
		c = ANY;
	err = act(me, c, by_program && programs_can(me->run->row, c), key, value);
	if (group == COUNTED && !err) {
		me->inserted += c == NOEXIST;
		me->deleted += c == DELETE || c == TAKE;
	}
	if (group == KEPT && (c == ANY || c == LOOKUP))
		EXPECT_EQ(err, 0);
	if (!err && reads(c))
		check_value(me->run, key, value);
}

/* How often a walk came by each key: it begins anew where the key that it was at is gone. */
struct walk {
	unsigned seen[KEYS], steps;
};

static int walk(enum side side, int map, const struct run *run, struct walk *w)
{
	uint8_t key[KEY_MAX], next[KEY_MAX];

	memset(w, 0, sizeof(*w));
	for (w->steps = 0; w->steps < 1000 * KEYS; w->steps++) {
		union bpf_attr attr;
		int err, n;

		memset(&attr, 0, sizeof(attr));
		attr.map_fd = (uint32_t)map;
		attr.key = w->steps ? PTR(key) : 0;
		attr.next_key = PTR(next);
		err = (int)call(side, BPF_MAP_GET_NEXT_KEY, &attr, sizeof(attr));
		if (err)
			return err;
		memcpy(key, next, run->row->key_size);
		n = key_number(run, key);
		if (n < 0)
			return -1;
		w->seen[n]++;
	}
	return -ELOOP;
}

static int batches(const struct run *run, struct walk *w)
{
	static __thread uint8_t keys[BATCH * KEY_MAX], values[BATCH_VALUES];
	uint64_t position[2] = { 0 };
	union bpf_attr attr;
	int err = 0;

	memset(w, 0, sizeof(*w));
	for (w->steps = 0; !err && w->steps < KEYS; w->steps++) {
		memset(&attr, 0, sizeof(attr));
		attr.batch.map_fd = (uint32_t)run->map;
		attr.batch.in_batch = w->steps ? PTR(position) : 0;
		attr.batch.out_batch = PTR(position);
		attr.batch.keys = PTR(keys);
		attr.batch.values = PTR(values);
		attr.batch.count = BATCH;
		err = (int)call(run->side, BPF_MAP_LOOKUP_BATCH, &attr, sizeof(attr));
		if (err && err != -ENOENT)
			return err;
		for (uint32_t i = 0; i < attr.batch.count; i++) {
			int n = key_number(run, keys + i * run->row->key_size);

			if (n < 0)
				return -1;
			w->seen[n]++;
		}
	}
	return err;
}

static void walk_meanwhile(struct worker *me, unsigned c)
{
	struct walk w;
	int err = c == WALK ? walk(me->run->side, me->run->map, me->run, &w) : batches(me->run, &w);

	note(&me->answers, c, err);
	for (uint32_t n = first_key[STILL]; err == -ENOENT && n < KEYS; n++)
		EXPECT_GE(w.seen[n], 1u);
}

static void step(struct worker *me)
{
	static const enum group mostly[] = { OWN_0, OWN_0, OWN_0, OWN_0, COUNTED, COUNTED, LOOSE,
		KEPT };
	enum group group = mostly[rand_r(&me->seed) % sl_array_size(mostly)];
	unsigned c = rand_r(&me->seed) % 32;
	bool by_program = rand_r(&me->seed) % 2;
	uint32_t key;

	group = group == OWN_0 && me->number ? OWN_1 : group;
	key = first_key[group] + rand_r(&me->seed) % (first_key[group + 1] - first_key[group]);
	if (c >= 30)
		walk_meanwhile(me, c == 30 ? WALK : BATCHES);
	else if (group <= OWN_1)
		act_alone(me, c % WALK, by_program && programs_can(me->run->row, c % WALK), key);
	else
		act_together(me, group, c % WALK, by_program, key);
}

static void *work(void *arg)
{
	struct worker *me = arg;
	cpu_set_t cpu;

	/* So that a program sees the same CPU's values here and in the kernel. */
	CPU_ZERO(&cpu);
	CPU_SET(me->number % sl_cpu_count(), &cpu);
	sched_setaffinity(0, sizeof(cpu), &cpu);
	while (!__atomic_load_n(&me->run->stop, __ATOMIC_RELAXED) && !sl_test_has_failed()) {
		step(me);
		__atomic_store_n(&me->steps, me->steps + 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* { struct bpf_spin_lock lock; int pad; long words[3]; } */
static int locked_btf(enum side side, uint32_t *ret_value_id)
{
	struct btf *btf = btf__new_empty();
	int i32 = btf__add_int(btf, "int", 4, 0), i64 = btf__add_int(btf, "long", 8, 0);
	int words = btf__add_array(btf, i32, i64, 3),
	    lock = btf__add_struct(btf, "bpf_spin_lock", 4);
	union bpf_attr attr;
	uint32_t size;
	int fd;

	btf__add_field(btf, "val", i32, 0, 0);
	*ret_value_id = (uint32_t)btf__add_struct(btf, "value", 32);
	btf__add_field(btf, "lock", lock, 0, 0);
	btf__add_field(btf, "pad", i32, 32, 0);
	btf__add_field(btf, "words", words, 64, 0);
	memset(&attr, 0, sizeof(attr));
	attr.btf = PTR(btf__raw_data(btf, &size));
	attr.btf_size = size;
	fd = (int)call(side, BPF_BTF_LOAD, &attr, sizeof(attr));
	btf__free(btf);
	return fd;
}

static int create(const struct run *run, enum side side)
{
	int fd, btf = -1;
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = run->row->type;
	attr.key_size = run->row->key_size;
	attr.value_size = run->row->value_size;
	attr.max_entries = run->row->traits & ROOMY ? ROOM : KEYS;
	attr.map_flags = run->row->flags;
	if (run->row->traits & INNER)
		attr.inner_map_fd = (uint32_t)run->inner[side][0];
	if (run->row->traits & LOCKED) {
		btf = locked_btf(side, &attr.btf_value_type_id);
		attr.btf_fd = (uint32_t)btf;
		attr.btf_key_type_id = 1;
	}
	fd = (int)call(side, BPF_MAP_CREATE, &attr, sizeof(attr));
	EXPECT_GE(fd, 0);
	if (btf >= 0)
		close(btf);
	return fd;
}

static struct map_program program_new(const struct run *run, enum side side, int map)
{
	unsigned ops = 1 << MAP_OP_UPDATE | 1 << MAP_OP_DELETE;

	if (run->row->traits & BY_HAND)
		return (struct map_program){ .side = side, .fd = -1 };
	if (!(run->row->traits & LOCKED))
		ops |= 1 << MAP_OP_LOOKUP;
	return map_program_new(side, map, run->row->key_size, run->row->value_size, ops);
}

static void create_inner(struct run *run, enum side side)
{
	for (uint32_t i = 0; i < WRITERS * INNERS; i++) {
		struct bpf_map_info info = { 0 };
		union bpf_attr attr;

		run->inner[side][i] = map_new(side, BPF_MAP_TYPE_ARRAY, 4, 4, 1, 0);
		memset(&attr, 0, sizeof(attr));
		attr.info.bpf_fd = (uint32_t)run->inner[side][i];
		attr.info.info_len = sizeof(info);
		attr.info.info = PTR(&info);
		EXPECT_EQ(call(side, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)), 0);
		run->inner_id[side][i] = info.id;
	}
}

/* In one go where the kernel waits for a grace period after each command that changed something. */
static void fill(const struct run *run)
{
	uint8_t keys[KEYS * KEY_MAX], values[KEYS * 4], value[VALUE_MAX];
	union bpf_attr attr;
	uint32_t count = 0;

	for (uint32_t n = first_key[KEPT]; n < KEYS; n++, count++) {
		make_value(run, run->side, n, MAIN, 0, value);
		memcpy(keys + count * run->row->key_size, run->keys[n], run->row->key_size);
		memcpy(values + (size_t)count * 4, value, 4);
		if (!(run->row->traits & INNER))
			EXPECT_EQ(command(run->side, run->map, &commands[ANY], run->row,
					  run->keys[n], value),
				0);
	}
	memset(&attr, 0, sizeof(attr));
	attr.batch.map_fd = (uint32_t)run->map;
	attr.batch.keys = PTR(keys);
	attr.batch.values = PTR(values);
	attr.batch.count = count;
	if (run->row->traits & INNER)
		EXPECT_EQ(call(run->side, BPF_MAP_UPDATE_BATCH, &attr, sizeof(attr)), 0);
}

/* How each operation fails that does, on a key that is there and on one that is not. */
static void fail_first(struct worker *me)
{
	static const unsigned there[] = { NOEXIST, BAD_UPDATE, BAD_LOOKUP };
	static const unsigned missing[] = { EXIST, DELETE, LOOKUP, TAKE, BAD_UPDATE, BAD_LOOKUP };
	const struct row *row = me->run->row;
	uint8_t value[VALUE_MAX];

	for (unsigned by_program = 0; by_program < 2; by_program++) {
		for (unsigned i = 0; i < sl_array_size(there); i++)
			act(me, there[i], by_program && programs_can(row, there[i]),
				first_key[KEPT], value);
		for (unsigned i = 0; i < sl_array_size(missing); i++)
			if (missing[i] != EXIST || !(row->traits & (DEVICE | INDEXED)))
				act(me, missing[i], by_program && programs_can(row, missing[i]),
					first_key[LOOSE], value);
	}
}

static void run_start(
	struct run *run, const struct row *row, enum side side, struct worker *workers)
{
	memset(run, 0, sizeof(*run));
	run->row = row;
	run->side = side;
	run->value_len = row->traits & PERCPU ? sl_round_up(row->value_size, 8u) * sl_cpu_count()
					      : row->value_size;
	for (int s = 0; s < SIDES && (row->traits & INNER); s++)
		create_inner(run, s);
	run->map = create(run, side);
	run->program = program_new(run, side, run->map);
	for (uint32_t n = 0; n < KEYS; n++)
		make_key(row, n, run->keys[n]);
	fill(run);
	for (unsigned i = 0; i < THREADS; i++) {
		int map = create(run, KERNEL);

		workers[i] = (struct worker){ run, i, i + 1, map, program_new(run, KERNEL, map) };
	}
}

/* Nobody changes anything any more: contents are exact. */
static void check_end(struct run *run, struct worker *workers)
{
	long counted = 0, inserted = 0;
	struct walk all, alone;

	EXPECT_EQ(walk(run->side, run->map, run, &all), -ENOENT);
	for (unsigned i = 0; i < THREADS; i++) {
		EXPECT_EQ(walk(KERNEL, workers[i].reference, run, &alone), -ENOENT);
		for (uint32_t n = first_key[i]; n < first_key[i + 1]; n++) {
			EXPECT_EQ(all.seen[n], alone.seen[n]);
			act_alone(&workers[i], LOOKUP, false, n);
		}
		inserted += workers[i].inserted - workers[i].deleted;
	}
	for (uint32_t n = first_key[COUNTED]; n < first_key[LOOSE]; n++)
		counted += all.seen[n];
	if (!(run->row->traits & INDEXED))
		EXPECT_EQ(counted, inserted);
	for (uint32_t n = 0; n < KEYS; n++) {
		EXPECT_LE(all.seen[n], 1u);
		if (n >= first_key[KEPT] || (run->row->traits & INDEXED))
			EXPECT_EQ(all.seen[n], 1u);
	}
}

static void run_end(struct run *run, struct worker *workers)
{
	for (unsigned i = 0; i < THREADS; i++) {
		close(workers[i].reference_program.fd);
		close(workers[i].reference);
	}
	close(run->program.fd);
	close(run->map);
	for (int s = 0; s < SIDES && (run->row->traits & INNER); s++)
		for (uint32_t i = 0; i < WRITERS * INNERS; i++)
			close(run->inner[s][i]);
}

/* Commands cost more here: they read and write the caller's memory through the kernel. */
static const unsigned run_ms[SIDES] = { [KERNEL] = 12, [SLUICE] = 50 };

static bool had_time(struct worker *workers)
{
	for (unsigned i = 0; i < THREADS; i++)
		if (__atomic_load_n(&workers[i].steps, __ATOMIC_RELAXED) < STEPS_MIN)
			return false;
	return true;
}

static void run_row(const struct row *row, enum side side, struct answers answers[SIDES])
{
	struct worker workers[THREADS];
	pthread_t threads[THREADS];
	struct run run;

	run_start(&run, row, side, workers);
	fail_first(&workers[0]);
	for (unsigned i = 0; i < THREADS; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	for (unsigned ms = 0; ms < run_ms[side] || (ms < WAIT_MS && !had_time(workers)); ms++)
		usleep(1000);
	__atomic_store_n(&run.stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		merge(&answers[side], &workers[i].answers);
		merge(&answers[KERNEL], &workers[i].reference_answers);
	}
	check_end(&run, workers);
	run_end(&run, workers);
}

static void compare_answers(struct answers answers[SIDES])
{
	struct answers *theirs = &answers[KERNEL], *ours = &answers[SLUICE];

	for (unsigned c = 0; c < 2 * COMMANDS; c++) {
		for (unsigned i = 0; i < ours->count[c]; i++) {
			unsigned known = theirs->count[c];

			TRACE_PUSH("%s, command %d, flags %llu: %d, which the kernel never gave",
				c < COMMANDS ? "command" : "program", commands[c % COMMANDS].cmd,
				(unsigned long long)commands[c % COMMANDS].flags, ours->errs[c][i]);
			note(theirs, c, ours->errs[c][i]);
			EXPECT_EQ(theirs->count[c], known);
			TRACE_POP();
		}
	}
}

TEST(map_threads, two_threads_see_what_the_kernel_lets_them_see)
{
	ORACLE_OR_SKIP();
	for (size_t i = 0; i < sl_array_size(rows); i++) {
		struct answers answers[SIDES] = { 0 };

		for (int s = 0; s < SIDES; s++) {
			TRACE_PUSH("%s, side %d", rows[i].name, s);
			run_row(&rows[i], s, answers);
			TRACE_POP();
		}
		TRACE_PUSH("%s", rows[i].name);
		compare_answers(answers);
		TRACE_POP();
	}
	/* The last program, its map, and what that holds go one after the other, before the process. */
	for (unsigned i = 0; i < 4; i++) {
		sl_fd_reap();
		sl_rcu_barrier();
	}
}
