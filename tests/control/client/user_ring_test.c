#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client.h"
#include "oracle.h"
#include "test.h"
#include "user_ring.skel.h"

/*
 * libbpf's producer and the same program on a ring of the kernel's and on one of ours: what drains,
 * what is refused, where the positions stand. And producers that do not keep to the protocol.
 */

enum { RING_BYTES = 4096, PAGE = 4096, STEPS = 3000, SIDES = 2, OPEN_MAX = 4 };

static const enum sl_client_target targets[SIDES] = { SL_CLIENT_KERNEL, SL_CLIENT_IN_PROCESS };

struct side {
	struct user_ring *skel;
	struct user_ring_buffer *ring;
	const uint64_t *consumer;
	uint64_t *producer;
	uint8_t *data;
	void *open[OPEN_MAX]; /* reserved, not submitted */
};

static void side_done(struct side *s)
{
	if (s->consumer)
		munmap((void *)s->consumer, PAGE);
	if (s->producer)
		munmap(s->producer, PAGE + 2 * RING_BYTES);
	user_ring_buffer__free(s->ring);
	user_ring__destroy(s->skel);
}

static bool side_init(struct side *s, int i)
{
	void *consumer, *producer;
	int fd;

	memset(s, 0, sizeof(*s));
	sl_client_use(targets[i]);
	s->skel = user_ring__open_and_load();
	if (!s->skel)
		return false;
	fd = bpf_map__fd(s->skel->maps.ring);
	s->ring = user_ring_buffer__new(fd, NULL);
	consumer = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	producer = mmap(NULL, PAGE + 2 * RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PAGE);
	if (consumer != MAP_FAILED)
		s->consumer = consumer;
	if (producer != MAP_FAILED) {
		s->producer = producer;
		s->data = (uint8_t *)producer + PAGE;
	}
	return s->ring && s->consumer && s->producer;
}

/* How many the program has seen, or a negative errno. */
static int run(const struct side *s, uint64_t flags)
{
	static char packet[64];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));

	s->skel->bss->flags = flags;
	return bpf_prog_test_run_opts(bpf_program__fd(s->skel->progs.drain), &opts) == 0
		       ? (int)opts.retval
		       : -errno;
}

enum kind { SUBMIT, DISCARD, LEAVE_OPEN, CLOSE, DRAIN, FORGE, KINDS };

struct step {
	enum kind kind;
	uint32_t size, slot;
	uint8_t first;
	uint64_t flags, position;
	uint32_t header;
};

static struct step random_step(bool forge)
{
	static const uint64_t flags[] = { 0, 0, BPF_RB_NO_WAKEUP, BPF_RB_FORCE_WAKEUP, 3, 4,
		1 << 20 };
	static const uint8_t firsts[] = { 0, 1, 2, 0xfd, 0xfe, 0xff };
	static const uint32_t headers[] = { 0, 8, 5, 100, RING_BYTES - 8, RING_BYTES, 1 << 24,
		BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT | 16,
		BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT | 8, 0x3fffffff, 0x3ffffff8 };
	struct step step = {
		.kind = (enum kind)(rand() % (forge ? KINDS : FORGE)),
		.size = (uint32_t)rand() % (rand() % 8 ? 64 : RING_BYTES + 16),
		.slot = (uint32_t)rand() % OPEN_MAX,
		.first = firsts[rand() % (int)sizeof(firsts)],
		.flags = flags[rand() % (int)(sizeof(flags) / sizeof(flags[0]))],
		.position = (uint64_t)(rand() % 64) * (rand() % 4 ? 8 : 3),
		.header = headers[rand() % (int)(sizeof(headers) / sizeof(headers[0]))],
	};

	if (rand() % 16 == 0)
		step.position = (uint64_t)rand() << 32;
	if (rand() % 8 == 0)
		step.position = -step.position;
	return step;
}

static int reserve(struct side *s, const struct step *step, void **ret_sample)
{
	uint8_t *sample = user_ring_buffer__reserve(s->ring, step->size);

	*ret_sample = sample;
	if (!sample)
		return -errno;
	memset(sample, 0x11, step->size);
	if (step->size)
		sample[0] = step->first;
	return 0;
}

static int take(struct side *s, const struct step *step)
{
	void *sample;
	int err = 0;

	switch (step->kind) {
	case SUBMIT:
	case DISCARD:
		err = reserve(s, step, &sample);
		if (!err && step->kind == SUBMIT)
			user_ring_buffer__submit(s->ring, sample);
		else if (!err)
			user_ring_buffer__discard(s->ring, sample);
		return err;
	case LEAVE_OPEN:
		return s->open[step->slot] ? 1 : reserve(s, step, &s->open[step->slot]);
	case CLOSE:
		if (s->open[step->slot])
			user_ring_buffer__submit(s->ring, s->open[step->slot]);
		s->open[step->slot] = NULL;
		return 0;
	case DRAIN:
		return run(s, step->flags);
	default:
		memcpy(s->data + (*s->consumer & (RING_BYTES - 1)), &step->header, 4);
		__atomic_store_n(s->producer, *s->consumer + step->position, __ATOMIC_RELEASE);
		return run(s, step->flags);
	}
}

static void compare(struct side *sides, const int *results)
{
	const struct user_ring__bss *kernel = sides[0].skel->bss, *own = sides[1].skel->bss;

	EXPECT_EQ(results[1], results[0]);
	EXPECT_EQ(own->result, kernel->result);
	EXPECT_EQ(own->nested, kernel->nested);
	EXPECT_EQ(own->samples, kernel->samples);
	EXPECT_EQ(own->bytes, kernel->bytes);
	EXPECT_EQ(own->hash, kernel->hash);
	EXPECT_EQ(*sides[1].consumer, *sides[0].consumer);
	EXPECT_EQ(*sides[1].producer, *sides[0].producer);
}

static void walk(bool forge, unsigned seed)
{
	struct side sides[SIDES] = { { 0 } };

	srand(seed);
	for (int i = 0; i < SIDES; i++)
		EXPECT_TRUE(side_init(&sides[i], i));
	for (unsigned n = 0; n < STEPS && !sl_test_has_failed(); n++) {
		struct step step = random_step(forge);
		int results[SIDES];

		TRACE_PUSH("seed %u, step %u, kind %d, size %u, header %#x", seed, n, step.kind,
			step.size, step.header);
		for (int i = 0; i < SIDES; i++) {
			sl_client_use(targets[i]);
			results[i] = take(&sides[i], &step);
		}
		compare(sides, results);
		TRACE_POP();
	}
	/* The protocol is kept to, but for forgers: something must have come through. */
	EXPECT_GT(sides[1].skel->bss->samples, 50);
	for (int i = 0; i < SIDES; i++)
		side_done(&sides[i]);
	sl_client_use(SL_CLIENT_IN_PROCESS);
}

TEST(user_ring, drains_as_the_kernel_does)
{
	ORACLE_OR_SKIP();
	for (unsigned seed = 1; seed <= 3; seed++)
		walk(false, seed);
}

TEST(user_ring, forged_samples_are_refused_as_by_the_kernel)
{
	ORACLE_OR_SKIP();
	for (unsigned seed = 11; seed <= 13; seed++)
		walk(true, seed);
}

TEST(user_ring, is_mapped_as_the_kernels)
{
	static const struct {
		size_t len, offset;
		int prot, flags;
	} rows[] = {
		{ PAGE, 0, PROT_READ, MAP_SHARED },
		{ PAGE, 0, PROT_READ | PROT_WRITE, MAP_SHARED },
		{ PAGE, 0, PROT_WRITE, MAP_SHARED },
		{ PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED },
		{ PAGE, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED },
		{ PAGE, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED },
		{ PAGE, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED },
		{ 2 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED },
		{ 3 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED },
		{ 4 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED },
		{ 4 * PAGE, 0, PROT_READ, MAP_SHARED },
		{ 4 * PAGE, 0, PROT_READ | PROT_WRITE, MAP_SHARED },
		{ 5 * PAGE, 0, PROT_READ, MAP_SHARED },
		{ PAGE, 0, PROT_READ, MAP_PRIVATE },
		{ 0, 0, PROT_READ, MAP_SHARED },
	};
	struct side sides[SIDES] = { { 0 } };

	ORACLE_OR_SKIP();
	for (int i = 0; i < SIDES; i++)
		EXPECT_TRUE(side_init(&sides[i], i));
	for (unsigned n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
		int errs[SIDES];

		TRACE_PUSH("row %u", n);
		for (int i = 0; i < SIDES; i++) {
			void *p = mmap(NULL, rows[n].len, rows[n].prot, rows[n].flags,
				bpf_map__fd(sides[i].skel->maps.ring), (off_t)rows[n].offset);

			errs[i] = p == MAP_FAILED ? errno : 0;
			if (!errs[i])
				munmap(p, rows[n].len);
		}
		EXPECT_EQ(errs[1], errs[0]);
		TRACE_POP();
	}
	for (int i = 0; i < SIDES; i++)
		side_done(&sides[i]);
	sl_client_use(SL_CLIENT_IN_PROCESS);
}

static void *drain_later(void *arg)
{
	usleep(20000);
	EXPECT_GT(run(arg, 0), 0);
	return NULL;
}

/* Who waits for room is woken by the drain, and not before. */
TEST(user_ring, waits_for_room)
{
	struct side s;
	pthread_t thread;
	void *sample;

	ASSERT_TRUE(side_init(&s, 1));
	sample = user_ring_buffer__reserve(s.ring, RING_BYTES - BPF_RINGBUF_HDR_SZ);
	ASSERT_TRUE(sample != NULL);
	user_ring_buffer__submit(s.ring, sample);
	EXPECT_TRUE(user_ring_buffer__reserve(s.ring, 8) == NULL);
	EXPECT_EQ(errno, ENOSPC);
	EXPECT_TRUE(user_ring_buffer__reserve_blocking(s.ring, 8, 30) == NULL);
	EXPECT_EQ(errno, ENOSPC);
	pthread_create(&thread, NULL, drain_later, &s);
	sample = user_ring_buffer__reserve_blocking(s.ring, 8, 5000);
	EXPECT_TRUE(sample != NULL);
	pthread_join(thread, NULL);
	if (sample)
		user_ring_buffer__submit(s.ring, sample);
	side_done(&s);
}
