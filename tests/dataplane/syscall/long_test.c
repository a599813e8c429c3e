#include "../../../benchmarks/verifier_programs.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "both.h"
#include "oracle.h"
#include "test.h"

/* Programs for which the compiler takes its quick ways: they compute what the kernel computes. */

static const struct {
	const char *program;
	unsigned size;
} rows[] = {
	{ "straight 17k", 17000 }, /* one long block */
	{ "straight 60k", 60000 }, /* too long for the optimiser */
	{ "branchy 17k", 17000 },
	{ "branchy 48k", 48000 },
	{ "spilling 12k", 12000 },
	{ "functions 6k", 250 },
	{ "encapsulate 600x", 400 }, /* many loops */
	{ "loop 500k", 62500 },
};

static const struct verifier_program *find(const char *name)
{
	for (unsigned i = 0; i < verifier_program_count; i++)
		if (strcmp(verifier_programs[i].name, name) == 0)
			return &verifier_programs[i];
	return NULL;
}

struct result {
	long err;
	uint32_t retval, len;
	uint8_t data[512];
};

static void run(enum side side, const struct verifier_program *program,
	const struct bpf_insn *insns, unsigned count, struct result *result)
{
	uint8_t packet[256];
	union bpf_attr attr;
	int fd = prog_new(side, program->type, insns, count);

	ASSERT_GE(fd, 0);
	for (unsigned i = 0; i < sizeof(packet); i++)
		packet[i] = (uint8_t)(i * 37 + 11);
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)fd;
	attr.test.data_in = PTR(packet);
	attr.test.data_size_in = sizeof(packet);
	attr.test.data_out = PTR(result->data);
	attr.test.data_size_out = sizeof(result->data);
	result->err = call(side, BPF_PROG_TEST_RUN, &attr, sizeof(attr));
	result->retval = attr.test.retval;
	result->len = attr.test.data_size_out;
	close(fd);
}

TEST(long_programs, compute_what_the_kernel_computes)
{
	struct bpf_insn *insns = calloc(VERIFIER_PROGRAM_INSNS, sizeof(*insns));

	ORACLE_OR_SKIP();
	ASSERT_NE(insns, NULL);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct verifier_program *program = find(rows[i].program);
		struct result results[SIDES] = {};
		unsigned count;

		TRACE_PUSH("%s", rows[i].program);
		ASSERT_NE(program, NULL);
		count = program->build(insns, rows[i].size);
		for (enum side s = 0; s < SIDES; s++)
			run(s, program, insns, count, &results[s]);
		EXPECT_EQ(results[SLUICE].err, 0);
		EXPECT_EQ(results[SLUICE].err, results[KERNEL].err);
		EXPECT_EQ(results[SLUICE].retval, results[KERNEL].retval);
		EXPECT_EQ(results[SLUICE].len, results[KERNEL].len);
		EXPECT_EQ(memcmp(results[SLUICE].data, results[KERNEL].data,
				  sizeof(results[SLUICE].data)),
			0);
		TRACE_POP();
	}
	free(insns);
}

/* A block without a branch took time that grew with the square of its length: 30 s for this one. */
TEST(long_programs, compile_in_time_that_grows_with_their_length)
{
	struct bpf_insn *insns = calloc(VERIFIER_PROGRAM_INSNS, sizeof(*insns));
	const struct verifier_program *program = find("straight 60k");
	struct timespec start, end;
	int fd;

	ASSERT_NE(insns, NULL);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
	fd = prog_new(SLUICE, program->type, insns, program->build(insns, program->size));
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
	EXPECT_GE(fd, 0);
	EXPECT_LT(end.tv_sec - start.tv_sec, 10);
	close(fd);
	free(insns);
}
