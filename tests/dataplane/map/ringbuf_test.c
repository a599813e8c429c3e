#include "ringbuf.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <sluice/bpf.h>

#include "oracle.h"
#include "test.h"

/*
 * The same programs write to a ring of the kernel's and to one of ours: what the helpers return and
 * all the memory that a consumer can see has to be equal after each of them.
 */

#define INSN(c, d, s, o, i) \
	((struct bpf_insn){ .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) })
#define MOVE(d, s) INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define SET(d, i) INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define ADD(d, i) INSN(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, i)
#define PUT(d, o, i) INSN(BPF_ST | BPF_MEM | BPF_DW, d, 0, o, i)
#define LOAD(d, s, o) INSN(BPF_LDX | BPF_MEM | BPF_DW, d, s, o, 0)
#define UNLESS(r, o) INSN(BPF_JMP | BPF_JNE | BPF_K, r, 0, o, 0)
#define CALL(id) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, id)
#define EXIT() INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define RING(d) INSN(BPF_LD | BPF_IMM | BPF_DW, d, BPF_PSEUDO_MAP_FD, 0, 0), INSN(0, 0, 0, 0, 0)
#define RETURN(n) SET(0, n), EXIT()

#define OUTPUT(size, flags)                                                                        \
	PUT(10, -16, 0x1234567), PUT(10, -8, -5), RING(1), MOVE(2, 10), ADD(2, -16), SET(3, size), \
		SET(4, flags), CALL(BPF_FUNC_ringbuf_output), EXIT()
#define RESERVE(size, flags)                                                                \
	RING(1), SET(2, size), SET(3, flags), CALL(BPF_FUNC_ringbuf_reserve), UNLESS(0, 2), \
		RETURN(7)
#define END(how, flags) MOVE(1, 0), SET(2, flags), CALL(BPF_FUNC_ringbuf_##how), RETURN(0)
#define QUERY(what) RING(1), SET(2, what), CALL(BPF_FUNC_ringbuf_query), EXIT()
#define DYNPTR(size, flags)                                             \
	RING(1), SET(2, size), SET(3, flags), MOVE(4, 10), ADD(4, -16), \
		CALL(BPF_FUNC_ringbuf_reserve_dynptr), MOVE(6, 0)
#define WRITE(at, len, flags)                                                                     \
	PUT(10, -24, 0x77665544), MOVE(1, 10), ADD(1, -16), SET(2, at), MOVE(3, 10), ADD(3, -24), \
		SET(4, len), SET(5, flags), CALL(BPF_FUNC_dynptr_write), MOVE(7, 0)
#define READ(at, len, flags)                                                              \
	PUT(10, -24, 0), MOVE(1, 10), ADD(1, -24), SET(2, len), MOVE(3, 10), ADD(3, -16), \
		SET(4, at), SET(5, flags), CALL(BPF_FUNC_dynptr_read), MOVE(7, 0)
#define END_DYNPTR(how, flags) \
	MOVE(1, 10), ADD(1, -16), SET(2, flags), CALL(BPF_FUNC_ringbuf_##how##_dynptr)

enum { RING_BYTES = 4096 };

static const struct step {
	const char *name;
	bool consume; /* all that is there, before */
	struct bpf_insn insns[48];
} steps[] = {
	{ "output", false, { OUTPUT(16, 0) } },
	{ "output of an odd size", false, { OUTPUT(5, 0) } },
	{ "output of nothing", false, { OUTPUT(0, 0) } },
	{ "output, no wakeup", false, { OUTPUT(8, BPF_RB_NO_WAKEUP) } },
	{ "output, wakeup", false, { OUTPUT(8, BPF_RB_FORCE_WAKEUP) } },
	{ "output, unknown flags", false, { OUTPUT(8, 4) } },
	{ "reserve and submit", false, { RESERVE(24, 0), PUT(0, 8, 99), END(submit, 0) } },
	{ "reserve and discard", false, { RESERVE(24, 0), PUT(0, 8, 99), END(discard, 0) } },
	{ "reserve, unknown flags", false, { RESERVE(24, 1), END(discard, 0) } },
	{ "reserve too much", false, { RESERVE(RING_BYTES, 0), END(discard, 0) } },
	{ "reserve far too much", false, { RESERVE(0x40000000, 0), END(discard, 0) } },
	{ "available", false, { QUERY(BPF_RB_AVAIL_DATA) } },
	{ "size", false, { QUERY(BPF_RB_RING_SIZE) } },
	{ "consumer", false, { QUERY(BPF_RB_CONS_POS) } },
	{ "producer", false, { QUERY(BPF_RB_PROD_POS) } },
	{ "unknown query", false, { QUERY(77) } },
	{ "large", false, { RESERVE(2000, 0), PUT(0, 1992, 1), END(submit, 0) } },
	{ "large again", false, { RESERVE(2000, 0), PUT(0, 1992, 2), END(submit, 0) } },
	{ "full for output", false, { RESERVE(1700, 0), PUT(0, 0, 3), END(submit, 0) } },
	{ "full", false, { OUTPUT(16, 0) } },
	{ "over the end", true, { RESERVE(2000, 0), PUT(0, 1992, 4), END(submit, 0) } },
	{ "consumer after that", false, { QUERY(BPF_RB_CONS_POS) } },
	{ "and again", true, { RESERVE(3000, 0), PUT(0, 2992, 5), END(discard, 0) } },
	{ "as much as there can be", true, { RESERVE(RING_BYTES - 8, 0), END(discard, 0) } },
	{ "all but one word", true, { RESERVE(RING_BYTES - 16, 0), END(discard, 0) } },
	{ "dynptr", true,
		{ DYNPTR(32, 0), WRITE(8, 8, 0), END_DYNPTR(submit, 0), MOVE(0, 7), EXIT() } },
	{ "dynptr discarded", false,
		{ DYNPTR(32, 0), WRITE(24, 8, 0), END_DYNPTR(discard, 0), MOVE(0, 7), EXIT() } },
	{ "dynptr, past its end", false,
		{ DYNPTR(32, 0), WRITE(25, 8, 0), END_DYNPTR(submit, 0), MOVE(0, 7), EXIT() } },
	{ "dynptr, far past its end", false,
		{ DYNPTR(32, 0), WRITE(-4, 8, 0), END_DYNPTR(submit, 0), MOVE(0, 7), EXIT() } },
	{ "dynptr, flags of write", false,
		{ DYNPTR(32, 0), WRITE(0, 8, 1), END_DYNPTR(submit, 0), MOVE(0, 7), EXIT() } },
	{ "dynptr, flags of reserve", false,
		{ DYNPTR(32, 1), END_DYNPTR(submit, 0), MOVE(0, 6), EXIT() } },
	{ "dynptr of nothing, written", false,
		{ DYNPTR(32, 1), WRITE(0, 8, 0), END_DYNPTR(submit, 0), MOVE(0, 7), EXIT() } },
	{ "dynptr too large for the ring", false,
		{ DYNPTR(RING_BYTES, 0), END_DYNPTR(submit, 0), MOVE(0, 6), EXIT() } },
	{ "dynptr too large", false,
		{ DYNPTR(1 << 24, 0), END_DYNPTR(submit, 0), MOVE(0, 6), EXIT() } },
	{ "dynptr of no bytes", false,
		{ DYNPTR(0, 0), WRITE(0, 0, 0), END_DYNPTR(submit, 0), MOVE(0, 7), EXIT() } },
	{ "dynptr, written and read", false,
		{ DYNPTR(16, 0), WRITE(8, 8, 0), READ(8, 8, 0), END_DYNPTR(submit, 0),
			LOAD(0, 10, -24), EXIT() } },
	{ "dynptr, read past its end", false,
		{ DYNPTR(16, 0), READ(9, 8, 0), END_DYNPTR(submit, 0), MOVE(0, 7), EXIT() } },
	{ "dynptr, flags of read", false,
		{ DYNPTR(16, 0), READ(0, 8, 2), END_DYNPTR(submit, 0), MOVE(0, 7), EXIT() } },
	{ "dynptr of nothing, read", false,
		{ DYNPTR(16, 1), READ(0, 8, 0), END_DYNPTR(submit, 0), MOVE(0, 7), EXIT() } },
	{ "dynptr, its bytes as they are", false,
		{ DYNPTR(16, 0), MOVE(1, 10), ADD(1, -16), SET(2, 8), SET(3, 8),
			CALL(BPF_FUNC_dynptr_data), SET(6, 1), UNLESS(0, 1),
			INSN(BPF_JMP | BPF_JA, 0, 0, 2, 0), PUT(0, 0, 4711), SET(6, 2),
			END_DYNPTR(submit, BPF_RB_NO_WAKEUP), MOVE(0, 6), EXIT() } },
	{ "dynptr, more bytes than it has", false,
		{ DYNPTR(16, 0), MOVE(1, 10), ADD(1, -16), SET(2, 9), SET(3, 8),
			CALL(BPF_FUNC_dynptr_data), SET(6, 1), UNLESS(0, 1),
			INSN(BPF_JMP | BPF_JA, 0, 0, 1, 0), SET(6, 2), END_DYNPTR(discard, 0),
			MOVE(0, 6), EXIT() } },
};

struct side {
	long (*bpf)(int cmd, union bpf_attr *attr, unsigned int size);
	int map;
	uint64_t *consumer;
	const uint8_t *shared; /* the producers' page, and the data twice */
};

static void *side_mmap(const struct side *s, size_t len, int prot, off_t offset)
{
	if (s->bpf == sluice_bpf)
		return sluice_ringbuf_mmap(NULL, len, prot, MAP_SHARED, s->map, offset);
	return mmap(NULL, len, prot, MAP_SHARED, s->map, offset);
}

static int new_ring(const struct side *s, uint32_t bytes)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_RINGBUF;
	attr.max_entries = bytes;
	return (int)s->bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
}

static bool side_open(struct side *s, uint32_t bytes)
{
	s->map = new_ring(s, bytes);
	if (s->map < 0)
		return false;
	s->consumer = side_mmap(s, 4096, PROT_READ | PROT_WRITE, 0);
	s->shared = side_mmap(s, 4096 + 2 * bytes, PROT_READ, 4096);
	return s->consumer != MAP_FAILED && s->shared != MAP_FAILED;
}

static void side_close(struct side *s, uint32_t bytes)
{
	munmap(s->consumer, 4096);
	munmap((void *)s->shared, 4096 + 2 * bytes);
	close(s->map);
}

/* The program's result; -1 when it did not run. */
static int64_t run(const struct side *s, const struct bpf_insn *program, unsigned max)
{
	static char log[1 << 16];
	struct bpf_insn insns[64];
	uint8_t packet[64] = { 0 };
	union bpf_attr attr;
	long fd;

	memcpy(insns, program, max * sizeof(*insns));
	while (max && !insns[max - 1].code)
		max--;
	for (unsigned i = 0; i < max; i++)
		if (insns[i].code == (BPF_LD | BPF_IMM | BPF_DW))
			insns[i].imm = s->map;
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.insns = (uintptr_t)insns;
	attr.insn_cnt = max;
	attr.license = (uintptr_t)"GPL";
	attr.log_buf = (uintptr_t)log;
	attr.log_size = sizeof(log);
	attr.log_level = 1;
	log[0] = 0;
	fd = s->bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	TRACE_PUSH("%s", log);
	EXPECT_GE(fd, 0);
	TRACE_POP();
	if (fd < 0)
		return -1;
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)fd;
	attr.test.data_in = (uintptr_t)packet;
	attr.test.data_size_in = sizeof(packet);
	EXPECT_EQ(s->bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr)), 0);
	close((int)fd);
	return attr.test.retval;
}

static void consume_all(const struct side *s)
{
	__atomic_store_n(s->consumer, *(const uint64_t *)s->shared, __ATOMIC_RELEASE);
}

TEST(ringbuf, same_results_and_same_bytes)
{
	struct side ours = { .bpf = sluice_bpf }, kernel = { .bpf = oracle_bpf };

	ORACLE_OR_SKIP();
	ASSERT_TRUE(side_open(&ours, RING_BYTES));
	ASSERT_TRUE(side_open(&kernel, RING_BYTES));
	for (unsigned i = 0; i < sl_array_size(steps); i++) {
		const struct step *step = &steps[i];

		TRACE_PUSH("%s", step->name);
		if (step->consume) {
			consume_all(&ours);
			consume_all(&kernel);
		}
		EXPECT_EQ(run(&ours, step->insns, sl_array_size(step->insns)),
			run(&kernel, step->insns, sl_array_size(step->insns)));
		EXPECT_EQ(memcmp(ours.shared, kernel.shared, 4096 + 2 * RING_BYTES), 0);
		TRACE_POP();
	}
	side_close(&ours, RING_BYTES);
	side_close(&kernel, RING_BYTES);
}

/* len, protection, offset in pages: what may be mapped, and what is answered else. */
static const struct {
	unsigned pages;
	int prot;
	unsigned offset;
} mappings[] = {
	{ 1, PROT_READ | PROT_WRITE, 0 },
	{ 1, PROT_READ, 0 },
	{ 2, PROT_READ | PROT_WRITE, 0 },
	{ 1, PROT_READ | PROT_WRITE, 1 },
	{ 1, PROT_READ | PROT_WRITE, 2 },
	{ 1, PROT_READ, 1 },
	{ 5, PROT_READ, 1 },
	{ 6, PROT_READ, 0 },
	{ 7, PROT_READ, 0 },
	{ 6, PROT_READ, 1 },
	{ 1, PROT_READ, 5 },
	{ 1, PROT_READ, 6 },
	{ 3, PROT_READ, 3 },
	{ 1, PROT_READ, 1000 },
};

TEST(ringbuf, mappings)
{
	struct side ours = { .bpf = sluice_bpf }, kernel = { .bpf = oracle_bpf };

	ORACLE_OR_SKIP();
	ASSERT_TRUE(side_open(&ours, 8192));
	ASSERT_TRUE(side_open(&kernel, 8192));
	for (unsigned i = 0; i < sl_array_size(mappings); i++) {
		size_t len = mappings[i].pages * 4096;
		off_t offset = mappings[i].offset * 4096;
		void *a, *b;
		int errno_a, errno_b;

		errno = 0;
		a = side_mmap(&ours, len, mappings[i].prot, offset);
		errno_a = errno;
		errno = 0;
		b = side_mmap(&kernel, len, mappings[i].prot, offset);
		errno_b = errno;
		TRACE_PUSH("mapping %u", i);
		EXPECT_EQ(a == MAP_FAILED, b == MAP_FAILED);
		if (b == MAP_FAILED)
			EXPECT_EQ(errno_a, errno_b);
		TRACE_POP();
		if (a != MAP_FAILED)
			munmap(a, len);
		if (b != MAP_FAILED)
			munmap(b, len);
	}
	side_close(&ours, 8192);
	side_close(&kernel, 8192);
}

/* Waits for the ring as libbpf does. */
static int wait_for(int epoll, int timeout_ms)
{
	struct epoll_event event;

	sluice_ringbuf_before_wait();
	return epoll_wait(epoll, &event, 1, timeout_ms);
}

TEST(ringbuf, wakes_who_waits)
{
	static const struct bpf_insn quiet[] = { OUTPUT(8, BPF_RB_NO_WAKEUP) },
				     normal[] = { OUTPUT(8, 0) },
				     loud[] = { OUTPUT(8, BPF_RB_FORCE_WAKEUP) };
	struct side ours = { .bpf = sluice_bpf };
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(EPOLL_CLOEXEC), bell;

	ASSERT_TRUE(side_open(&ours, 4096));
	bell = sluice_ringbuf_event_fd(ours.map);
	ASSERT_TRUE(epoll_ctl(epoll, EPOLL_CTL_ADD, bell, &event) == 0);
	EXPECT_EQ(wait_for(epoll, 0), 0);
	run(&ours, normal, sl_array_size(normal));
	/* The background thread rings, without anybody's looking. */
	EXPECT_EQ(epoll_wait(epoll, &event, 1, 2000), 1);
	consume_all(&ours);
	EXPECT_EQ(wait_for(epoll, 0), 0);
	run(&ours, quiet, sl_array_size(quiet));
	EXPECT_EQ(epoll_wait(epoll, &event, 1, 100), 0);
	/* Behind: it reads on by itself. */
	run(&ours, normal, sl_array_size(normal));
	EXPECT_EQ(epoll_wait(epoll, &event, 1, 100), 0);
	run(&ours, loud, sl_array_size(loud));
	EXPECT_EQ(epoll_wait(epoll, &event, 1, 2000), 1);
	/* Who only now begins to wait finds what is there. */
	EXPECT_EQ(wait_for(epoll, 0), 1);
	consume_all(&ours);
	EXPECT_EQ(wait_for(epoll, 0), 0);
	EXPECT_EQ(sluice_ringbuf_event_fd(epoll), -1);
	EXPECT_EQ(errno, ENODEV);
	side_close(&ours, 4096);
	close(epoll);
}

/* Many producers, a consumer: all that was reserved arrives, in each producer's order. */
enum { PRODUCERS = 3, RECORDS = 20000, MANY_BYTES = 1 << 16 };

struct record {
	uint32_t producer, number;
	uint64_t check;
};

struct producer {
	struct sl_ringbuf *ring;
	uint32_t number, discarded, refused;
};

static void *produce(void *arg)
{
	struct producer *p = arg;

	for (uint32_t i = 0; i < RECORDS; i++) {
		struct record *r = sl_ringbuf_reserve(p->ring, sizeof(*r));

		if (!r) {
			p->refused++;
			sched_yield();
			i--;
			continue;
		}
		*r = (struct record){ p->number, i, i * 0x9e3779b97f4a7c15 + p->number };
		sl_ringbuf_commit(r, 0, i % 16 == 3);
		p->discarded += i % 16 == 3;
	}
	return NULL;
}

static void take(const struct sl_ringbuf_header *header, uint32_t len, uint32_t *next)
{
	const struct record *r = (const struct record *)(header + 1);

	EXPECT_EQ(len, sizeof(*r));
	EXPECT_LT(r->producer, (uint32_t)PRODUCERS);
	if (r->producer >= PRODUCERS)
		return;
	if (next[r->producer] % 16 == 3)
		next[r->producer]++;
	EXPECT_EQ(r->number, next[r->producer]);
	EXPECT_EQ(r->check, r->number * 0x9e3779b97f4a7c15 + r->producer);
	next[r->producer] = r->number + 1;
}

TEST(ringbuf, many_producers)
{
	struct side ours = { .bpf = sluice_bpf };
	struct producer producers[PRODUCERS];
	pthread_t threads[PRODUCERS];
	uint32_t next[PRODUCERS] = { 0 }, taken = 0;
	union bpf_attr attr;
	struct sl_map *map;
	uint64_t at = 0;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_RINGBUF;
	attr.max_entries = MANY_BYTES;
	ASSERT_TRUE(sl_map_new(&attr, &map) == 0);
	(void)ours;
	for (uint32_t i = 0; i < PRODUCERS; i++) {
		producers[i] = (struct producer){ .ring = sl_ringbuf_of(map), .number = i };
		pthread_create(&threads[i], NULL, produce, &producers[i]);
	}
	while (taken < PRODUCERS * RECORDS) {
		struct sl_ringbuf *ring = sl_ringbuf_of(map);
		uint64_t end = __atomic_load_n(&ring->producer->position, __ATOMIC_ACQUIRE);

		while (at < end) {
			struct sl_ringbuf_header *header =
				(struct sl_ringbuf_header *)(ring->data + (at & ring->mask));
			uint32_t len = __atomic_load_n(&header->len, __ATOMIC_ACQUIRE);

			if (len & BPF_RINGBUF_BUSY_BIT)
				break;
			if (!(len & BPF_RINGBUF_DISCARD_BIT))
				take(header, len, next);
			taken++;
			at += sl_round_up((len & ~BPF_RINGBUF_DISCARD_BIT) + 8ull, 8u);
			__atomic_store_n(&ring->consumer->position, at, __ATOMIC_RELEASE);
		}
		sched_yield();
	}
	for (unsigned i = 0; i < PRODUCERS; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(sl_ringbuf_query(sl_ringbuf_of(map), BPF_RB_AVAIL_DATA), 0u);
	sl_map_unref(map);
}

/* A consumer that writes whatever it likes, everywhere it can, gets no producer out of the ring. */
TEST(ringbuf, consumer_is_not_trusted)
{
	static const uint64_t positions[] = { 0, 1, 8, 4095, 4096, 1ull << 31, 1ull << 63,
		UINT64_MAX };
	union bpf_attr attr;
	struct sl_map *map;
	struct sl_ringbuf *ring;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_RINGBUF;
	attr.max_entries = 4096;
	ASSERT_TRUE(sl_map_new(&attr, &map) == 0);
	ring = sl_ringbuf_of(map);
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t size = (uint64_t)rand() % 600;
		uint8_t *record;

		ring->consumer->position = rand() % 2 ? ring->head : positions[rand() % 8];
		ring->producer->position = (uint64_t)rand() << 20;
		memset(ring->data, rand() % 3 ? 0 : rand(), 4096);
		record = sl_ringbuf_reserve(ring, size);
		if (!record)
			continue;
		EXPECT_GE(record, ring->data + 8);
		EXPECT_LE(record + size, ring->data + 2 * 4096);
		memset(record - 8, rand(), size + 8);
		sl_ringbuf_commit(record, 0, rand() % 2);
	}
	sl_map_unref(map);
}
