#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "consumer.h"
#include "oracle.h"
#include "test.h"

static uint8_t record[1 << 16];

TEST(perf_ring, sample_is_header_size_data_and_zero_padding)
{
	struct perf_event_attr attr = usual_attr();
	struct perf_event_header *header;
	struct rte_mbuf mbuf;
	uint8_t packet[64];
	struct sl_ctx ctx = packet_context(&mbuf, packet, sizeof(packet));
	struct consumer c;
	uint8_t zeros[8] = { 0 };

	ASSERT_TRUE(consumer_open(&c, &attr, 1, PROT_READ | PROT_WRITE));
	for (unsigned size = 0; size <= 200; size++) {
		uint8_t data[200];
		uint32_t raw;

		memset(data, size, sizeof(data));
		ASSERT_EQ(0, sl_perf_output(c.event, &ctx, data, size, 0));
		header = consumer_next(c.page, record);
		ASSERT_TRUE(header);
		EXPECT_EQ(PERF_RECORD_SAMPLE, header->type);
		EXPECT_EQ(0, header->size % 8);
		memcpy(&raw, record + 8, sizeof(raw));
		EXPECT_EQ(header->size - 12, raw);
		EXPECT_GE(raw, size);
		EXPECT_LT(raw, size + 8);
		EXPECT_MEMEQ(data, record + 12, size);
		EXPECT_MEMEQ(zeros, record + 12 + size, raw - size);
	}
	consumer_close(&c);
}

TEST(perf_ring, packet_bytes_follow_from_all_segments)
{
	struct perf_event_attr attr = usual_attr();
	uint8_t first[60], second[50], third[40], expected[4 + 150];
	struct rte_mbuf mbufs[3];
	struct sl_ctx ctx = packet_context(&mbufs[0], first, sizeof(first));
	struct consumer c;

	for (unsigned i = 0; i < 150; i++)
		expected[4 + i] = i;
	memcpy(expected, "data", 4);
	memcpy(first, expected + 4, 60);
	memcpy(second, expected + 64, 50);
	memcpy(third, expected + 114, 40);
	mbufs[0].next = &mbufs[1];
	mbufs[0].nb_segs = 3;
	mbufs[0].pkt_len = 150;
	mbufs[1] = (struct rte_mbuf){ .buf_addr = second, .data_len = 50, .next = &mbufs[2] };
	mbufs[2] = (struct rte_mbuf){ .buf_addr = third, .data_len = 40 };
	ASSERT_TRUE(consumer_open(&c, &attr, 1, PROT_READ | PROT_WRITE));
	for (unsigned len = 0; len <= 150; len++) {
		ASSERT_EQ(0, sl_perf_output(c.event, &ctx, "data", 4, len));
		ASSERT_TRUE(consumer_next(c.page, record));
		EXPECT_MEMEQ(expected, record + 12, 4 + len);
	}
	EXPECT_EQ(-EFAULT, sl_perf_output(c.event, &ctx, "data", 4, 151));
	EXPECT_TRUE(sl_perf_packet_has(&ctx, 150));
	EXPECT_FALSE(sl_perf_packet_has(&ctx, 151));
	EXPECT_FALSE(consumer_next(c.page, record) != NULL);
	consumer_close(&c);
}

TEST(perf_ring, what_an_event_refuses)
{
	static uint8_t big[1 << 17];
	struct perf_event_attr attr = usual_attr();
	struct rte_mbuf mbuf;
	struct sl_ctx ctx = packet_context(&mbuf, big, 64);
	struct sl_perf_event *event;
	struct consumer c;
	int fd = sluice_perf_event_open(&attr, -1, 0, -1, 0);

	ASSERT_EQ(0, sl_perf_event_get(fd, &event));
	EXPECT_EQ(-ENOSPC, sl_perf_output(event, &ctx, big, 8, 0));
	sl_perf_event_unref(event);
	close(fd);

	ASSERT_TRUE(consumer_open(&c, &attr, 32, PROT_READ | PROT_WRITE));
	EXPECT_EQ(-E2BIG, sl_perf_output(c.event, &ctx, big, sizeof(big), 0));
	EXPECT_EQ(-E2BIG, sl_perf_output(c.event, &ctx, big, 65525, 0));
	EXPECT_EQ(0, sl_perf_output(c.event, &ctx, big, 65512, 0));
	ctx.cpu = 1;
	EXPECT_EQ(-EOPNOTSUPP, sl_perf_output(c.event, &ctx, big, 8, 0));
	ctx.cpu = 0;
	EXPECT_EQ(0, sluice_perf_ioctl(c.fd, PERF_EVENT_IOC_DISABLE, 0));
	EXPECT_EQ(-EOPNOTSUPP, sl_perf_output(c.event, &ctx, big, 8, 0));
	EXPECT_EQ(0, sluice_perf_ioctl(c.fd, PERF_EVENT_IOC_ENABLE, 0));
	EXPECT_EQ(0, sl_perf_output(c.event, &ctx, big, 8, 0));
	consumer_close(&c);
}

TEST(perf_ring, which_descriptors_are_events)
{
	struct perf_event_attr attr = usual_attr();
	struct sl_perf_event *event;
	int fds[2], fd;

	ASSERT_EQ(0, pipe(fds));
	EXPECT_EQ(-EBADF, sl_perf_event_get(fds[0], &event));
	close(fds[0]);
	close(fds[1]);
	EXPECT_EQ(-EBADF, sl_perf_event_get(fds[0], &event));
	attr.inherit = 1;
	fd = sluice_perf_event_open(&attr, -1, 0, -1, 0);
	EXPECT_EQ(-EOPNOTSUPP, sl_perf_event_get(fd, &event));
	close(fd);
}

TEST(perf_ring, output_to_a_counter_of_the_kernel_is_invalid)
{
	struct perf_event_attr attr = usual_attr();
	struct sl_perf_event *event;
	struct rte_mbuf mbuf;
	uint8_t packet[64];
	struct sl_ctx ctx = packet_context(&mbuf, packet, sizeof(packet));
	int fd;

	attr.config = PERF_COUNT_SW_CPU_CLOCK;
	fd = syscall(__NR_perf_event_open, &attr, -1, 0, -1, 0);
	if (fd < 0)
		SKIP("the kernel's perf_event_open(2) is not permitted to this user");
	ASSERT_EQ(0, sl_perf_event_get(fd, &event));
	EXPECT_EQ(-EINVAL, sl_perf_output(event, &ctx, packet, 8, 0));
	sl_perf_event_unref(event);
	close(fd);
}

TEST(perf_ring, lost_samples_are_counted_in_front_of_the_next_that_fits)
{
	struct perf_event_attr attr = usual_attr();
	struct perf_event_header *header;
	struct rte_mbuf mbuf;
	uint64_t packet[8] = { 0 }, lost;
	struct sl_ctx ctx = packet_context(&mbuf, (uint8_t *)packet, sizeof(packet));
	struct consumer c;
	unsigned fitted = 0, refused = 0;

	ASSERT_TRUE(consumer_open(&c, &attr, 1, PROT_READ | PROT_WRITE));
	for (unsigned i = 0; i < 100; i++) {
		long ret = sl_perf_output(c.event, &ctx, packet, sizeof(packet), 0);

		EXPECT_TRUE(ret == 0 || ret == -ENOSPC);
		*(ret == 0 ? &fitted : &refused) += 1;
	}
	/* 80 bytes each; one byte of the page stays free. */
	EXPECT_EQ((c.page->data_size - 1) / 80, fitted);
	EXPECT_TRUE(consumer_next(c.page, record));
	/* 80 bytes are free, but the count needs 24 as well. */
	EXPECT_EQ(-ENOSPC, sl_perf_output(c.event, &ctx, packet, sizeof(packet), 0));
	EXPECT_TRUE(consumer_next(c.page, record));
	EXPECT_EQ(0, sl_perf_output(c.event, &ctx, packet, sizeof(packet), 0));
	for (unsigned i = 2; i < fitted; i++) {
		header = consumer_next(c.page, record);
		ASSERT_TRUE(header);
		EXPECT_EQ(PERF_RECORD_SAMPLE, header->type);
	}
	header = consumer_next(c.page, record);
	ASSERT_TRUE(header);
	EXPECT_EQ(PERF_RECORD_LOST, header->type);
	EXPECT_EQ(24, header->size);
	memcpy(&lost, record + 16, sizeof(lost));
	EXPECT_EQ(refused + 1, lost);
	EXPECT_TRUE(consumer_next(c.page, record));
	EXPECT_FALSE(consumer_next(c.page, record) != NULL);
	consumer_close(&c);
}

TEST(perf_ring, paused_ring_loses_and_counts)
{
	struct perf_event_attr attr = usual_attr();
	struct rte_mbuf mbuf;
	uint8_t packet[64] = { 0 };
	struct sl_ctx ctx = packet_context(&mbuf, packet, sizeof(packet));
	struct consumer c;

	ASSERT_TRUE(consumer_open(&c, &attr, 1, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, sluice_perf_ioctl(c.fd, PERF_EVENT_IOC_PAUSE_OUTPUT, 1));
	EXPECT_EQ(-ENOSPC, sl_perf_output(c.event, &ctx, packet, 8, 0));
	EXPECT_EQ(0, sluice_perf_ioctl(c.fd, PERF_EVENT_IOC_PAUSE_OUTPUT, 0));
	EXPECT_EQ(0, sl_perf_output(c.event, &ctx, packet, 8, 0));
	ASSERT_TRUE(consumer_next(c.page, record));
	EXPECT_EQ(PERF_RECORD_LOST, ((struct perf_event_header *)record)->type);
	ASSERT_TRUE(consumer_next(c.page, record));
	consumer_close(&c);
}

TEST(perf_ring, overwriting_ring_never_refuses)
{
	struct perf_event_attr attr = usual_attr();
	struct rte_mbuf mbuf;
	uint8_t packet[64] = { 0 };
	struct sl_ctx ctx = packet_context(&mbuf, packet, sizeof(packet));
	struct consumer c;

	ASSERT_TRUE(consumer_open(&c, &attr, 1, PROT_READ));
	for (unsigned i = 0; i < 1000; i++)
		ASSERT_EQ(0, sl_perf_output(c.event, &ctx, packet, sizeof(packet), 0));
	EXPECT_EQ(80000, c.page->data_head);
	consumer_close(&c);
}

TEST(perf_ring, hostile_page_keeps_the_writer_inside_the_ring)
{
	static const uint8_t data[600];
	static const uint64_t tails[] = { 1, 7, 4095, 4096, 4097, UINT64_MAX, UINT64_MAX / 2 };
	struct perf_event_attr attr = usual_attr();
	struct rte_mbuf mbuf;
	uint8_t packet[64] = { 0 };
	struct sl_ctx ctx = packet_context(&mbuf, packet, sizeof(packet));
	struct consumer c;

	ASSERT_TRUE(consumer_open(&c, &attr, 1, PROT_READ | PROT_WRITE));
	for (unsigned i = 0; i < 7 * 1000; i++) {
		long ret;

		memset((uint8_t *)c.page + 1024, 0xee, 64);
		c.page->data_tail = tails[i % 7];
		ret = sl_perf_output(c.event, &ctx, data, i % 600, i % 65);
		EXPECT_TRUE(ret == 0 || ret == -ENOSPC);
	}
	consumer_close(&c);
}

/* Every field that a reader may ask for, in the uapi's order. */
TEST(perf_ring, fields_stand_in_order)
{
	struct perf_event_attr attr = usual_attr();
	struct rte_mbuf mbuf;
	uint8_t packet[64] = { 0 };
	struct sl_ctx ctx = packet_context(&mbuf, packet, sizeof(packet));
	struct consumer c;
	uint64_t id, *fields = (uint64_t *)(record + 8);
	uint32_t *words = (uint32_t *)(record + 8);

	attr.sample_type |= PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_TID | PERF_SAMPLE_TIME |
			    PERF_SAMPLE_ID | PERF_SAMPLE_CPU | PERF_SAMPLE_PERIOD;
	attr.sample_period = 77;
	attr.sample_id_all = 1;
	ASSERT_TRUE(consumer_open(&c, &attr, 1, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, sluice_perf_ioctl(c.fd, PERF_EVENT_IOC_ID, (unsigned long)&id));
	EXPECT_EQ(0, sluice_perf_ioctl(c.fd, PERF_EVENT_IOC_PAUSE_OUTPUT, 1));
	EXPECT_EQ(-ENOSPC, sl_perf_output(c.event, &ctx, "12345678", 8, 0));
	EXPECT_EQ(0, sluice_perf_ioctl(c.fd, PERF_EVENT_IOC_PAUSE_OUTPUT, 0));
	EXPECT_EQ(0, sl_perf_output(c.event, &ctx, "12345678", 8, 0));
	ASSERT_TRUE(consumer_next(c.page, record));
	EXPECT_EQ(PERF_RECORD_LOST, ((struct perf_event_header *)record)->type);
	EXPECT_EQ(8 + 16 + 5 * 8, ((struct perf_event_header *)record)->size);
	EXPECT_EQ(1, fields[1]);
	EXPECT_EQ(getpid(), words[4]);
	EXPECT_EQ(id, fields[4]);
	EXPECT_EQ(0, fields[5]);
	EXPECT_EQ(id, fields[6]);
	ASSERT_TRUE(consumer_next(c.page, record));
	EXPECT_EQ(id, fields[0]);
	EXPECT_EQ(getpid(), words[2]);
	EXPECT_GT(fields[2], 0);
	EXPECT_EQ(id, fields[3]);
	EXPECT_EQ(0, fields[4]);
	EXPECT_EQ(77, fields[5]);
	EXPECT_EQ(12, words[12]);
	EXPECT_MEMEQ("12345678", record + 8 + 52, 8);
	consumer_close(&c);
}

struct race {
	struct consumer c;
	uint64_t produced, lost_returned;
	bool done;
};

static void *produce(void *arg)
{
	struct race *race = arg;
	struct rte_mbuf mbuf;
	uint64_t data[32];
	struct sl_ctx ctx = packet_context(&mbuf, (uint8_t *)data, sizeof(data));

	for (uint64_t i = 0; i < 300000; i++) {
		uint64_t words = 1 + i % 32;

		for (uint64_t w = 0; w < words; w++)
			data[w] = i;
		if (sl_perf_output(race->c.event, &ctx, data, words * 8, 0) == 0)
			race->produced++;
		else
			race->lost_returned++;
	}
	__atomic_store_n(&race->done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* A reader beside the writer: every sample whole and in order, the rest counted. */
TEST(perf_ring, concurrent_reader_accounts_for_every_sample)
{
	struct perf_event_attr attr = usual_attr();
	uint64_t samples = 0, lost = 0, next = 0;
	struct race race = { 0 };
	pthread_t thread;
	bool done;

	ASSERT_TRUE(consumer_open(&race.c, &attr, 2, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, pthread_create(&thread, NULL, produce, &race));
	do {
		struct perf_event_header *header;

		done = __atomic_load_n(&race.done, __ATOMIC_ACQUIRE);
		while ((header = consumer_next(race.c.page, record))) {
			uint64_t value, words = (header->size - 16) / 8;

			if (header->type == PERF_RECORD_LOST) {
				memcpy(&value, record + 16, sizeof(value));
				lost += value;
				next += value;
				continue;
			}
			for (uint64_t w = 0; w < words; w++) {
				memcpy(&value, record + 12 + 8 * w, sizeof(value));
				if (value != next)
					FAIL_NOW("sample %lu, expected %lu", value, next);
			}
			EXPECT_EQ(1 + next % 32, words);
			next++;
			samples++;
		}
	} while (!done);
	pthread_join(thread, NULL);
	EXPECT_EQ(race.produced, samples);
	/* What was refused after the last sample has not been told. */
	EXPECT_LE(lost, race.lost_returned);
	EXPECT_EQ(race.lost_returned - lost, 300000 - next);
	consumer_close(&race.c);
}

/*
 * The same calls through a program in the kernel: same results, same bytes. The program passes
 * flags and size from a map's value on to bpf_perf_event_output.
 */
struct kernel_side {
	int prog_fd, array_fd, event_fd;
	struct perf_event_mmap_page *page;
};

static int kernel_map(enum bpf_map_type type)
{
	union bpf_attr attr = { 0 };

	attr.map_type = type;
	attr.key_size = attr.value_size = 4;
	attr.max_entries = 2;
	return oracle_bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
}

/* bpf_perf_event_output(ctx, array, flags, the stack's first bytes, size) */
static int kernel_program(int array_fd, uint64_t flags, uint32_t size)
{
	struct bpf_insn insns[64];
	union bpf_attr attr = { 0 };
	unsigned n = 0;

	for (int i = 0; i < 16; i++) { /* 128 bytes of stack, byte i * 8 = i */
		insns[n++] = (struct bpf_insn){ .code = BPF_ST | BPF_MEM | BPF_DW,
			.dst_reg = 10,
			.off = -128 + 8 * i,
			.imm = 0x01010101 * i };
	}
	insns[n++] = (struct bpf_insn){ .code = BPF_LD | BPF_DW | BPF_IMM,
		.dst_reg = 2,
		.src_reg = BPF_PSEUDO_MAP_FD,
		.imm = array_fd };
	insns[n++] = (struct bpf_insn){ 0 };
	insns[n++] = (struct bpf_insn){
		.code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = 3, .imm = (uint32_t)flags
	};
	insns[n++] = (struct bpf_insn){ .imm = flags >> 32 };
	insns[n++] = (struct bpf_insn){
		.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 4, .src_reg = 10
	};
	insns[n++] =
		(struct bpf_insn){ .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 4, .imm = -128 };
	insns[n++] =
		(struct bpf_insn){ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 5, .imm = size };
	insns[n++] =
		(struct bpf_insn){ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_perf_event_output };
	insns[n++] = (struct bpf_insn){ .code = BPF_JMP | BPF_EXIT };
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.insns = (unsigned long)insns;
	attr.insn_cnt = n;
	attr.license = (unsigned long)"GPL";
	return oracle_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
}

static int kernel_run(int prog_fd, uint8_t *packet, uint32_t len)
{
	union bpf_attr attr = { 0 };

	attr.test.prog_fd = prog_fd;
	attr.test.data_in = (unsigned long)packet;
	attr.test.data_size_in = len;
	attr.test.repeat = 1;
	if (oracle_bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr)) != 0)
		return -errno;
	return attr.test.retval;
}

static const struct {
	uint32_t size, ctx_len;
	unsigned times;
} rows[] = {
	{ 0, 0, 1 },
	{ 1, 0, 2 },
	{ 4, 0, 1 },
	{ 5, 0, 1 },
	{ 64, 0, 3 },
	{ 64, 64, 1 },
	{ 0, 14, 1 },
	{ 13, 33, 1 },
	{ 8, 65, 1 },
	{ 128, 0, 60 },
	{ 1, 1, 3 },
};

TEST(perf_ring, records_are_the_kernels)
{
	static uint8_t theirs[1 << 16];
	struct perf_event_attr attr = usual_attr();
	struct perf_event_mmap_page *page;
	uint8_t packet[64], stack[128];
	union bpf_attr update = { 0 };
	struct rte_mbuf mbuf;
	struct sl_ctx ctx = packet_context(&mbuf, packet, sizeof(packet));
	cpu_set_t cpus;
	struct consumer c;
	int array, fd, key = 0;

	ORACLE_OR_SKIP();
	fd = syscall(__NR_perf_event_open, &attr, -1, 0, -1, 0);
	if (fd < 0)
		SKIP("the kernel's perf_event_open(2) is not permitted to this user");
	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus) != 0)
		SKIP("cannot run on CPU 0");
	ASSERT_TRUE(consumer_open(&c, &attr, 1, PROT_READ | PROT_WRITE));
	page = mmap(NULL, c.len_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_TRUE(page != MAP_FAILED);
	array = kernel_map(BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	update.map_fd = array;
	update.key = (unsigned long)&key;
	update.value = (unsigned long)&fd;
	ASSERT_EQ(0, oracle_bpf(BPF_MAP_UPDATE_ELEM, &update, sizeof(update)));
	for (unsigned i = 0; i < sizeof(packet); i++)
		packet[i] = 100 + i;
	for (unsigned i = 0; i < sizeof(stack); i++)
		stack[i] = i / 8 * (i % 8 < 4);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int prog = kernel_program(
			array, (uint64_t)rows[i].ctx_len << 32 | BPF_F_CURRENT_CPU, rows[i].size);

		TRACE_PUSH("row %zu", i);
		ASSERT_GE(prog, 0);
		for (unsigned n = 0; n < rows[i].times; n++) {
			long ret =
				sl_perf_output(c.event, &ctx, stack, rows[i].size, rows[i].ctx_len);

			EXPECT_EQ(kernel_run(prog, packet, sizeof(packet)), (int)ret);
		}
		close(prog);
		EXPECT_EQ(page->data_head, c.page->data_head);
		for (;;) {
			struct perf_event_header *a = consumer_next(c.page, record);
			struct perf_event_header *b = consumer_next(page, theirs);

			ASSERT_EQ(b != NULL, a != NULL);
			if (!a)
				break;
			ASSERT_MEMEQ(b, a, 8);
			if (a->type == PERF_RECORD_LOST)
				EXPECT_MEMEQ(theirs + 16, record + 16, 8);
			else
				EXPECT_MEMEQ(
					theirs + 8, record + 8, 4 + rows[i].size + rows[i].ctx_len);
		}
		TRACE_POP();
	}
	munmap(page, c.len_bytes);
	close(array);
	close(fd);
	consumer_close(&c);
}
