#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "objects.h"
#include "objects.skel.h"
#include "objects_refused.skel.h"
#include "oracle.h"
#include "rcu.h"
#include "test.h"

/* The same programs on both sides; here it is also counted what is left of their objects. */

static int run(const struct bpf_program *prog, uint32_t seed, uint32_t repeat)
{
	char packet[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet),
		.repeat = (int)repeat);

	memcpy(packet + 14, &seed, sizeof(seed));
	return bpf_prog_test_run_opts(bpf_program__fd(prog), &opts) == 0 ? (int)opts.retval
									 : -errno;
}

static struct objects *load(enum sl_client_target target)
{
	sl_client_use(target);
	return objects__open_and_load();
}

/* What is in the maps goes with them, after a grace period. */
static void expect_none_left(void)
{
	for (int i = 0; i < 2000 && sl_objects_count(); i++) {
		sl_rcu_barrier();
		usleep(1000);
	}
	EXPECT_EQ(sl_objects_count(), 0);
}

static const struct bpf_program *const *programs_of(const struct objects *skel)
{
	static const struct bpf_program *programs[8];

	programs[0] = skel->progs.unused;
	programs[1] = skel->progs.list;
	programs[2] = skel->progs.tree;
	programs[3] = skel->progs.shared;
	programs[4] = skel->progs.leave;
	programs[5] = skel->progs.outlive;
	programs[6] = skel->progs.nested;
	programs[7] = skel->progs.stash;
	return programs;
}

enum { PROGRAMS = 8, RUNS = 40, SIDES = 2 };

TEST(objects, results_of_random_runs)
{
	static const enum sl_client_target targets[SIDES] = { SL_CLIENT_IN_PROCESS,
		SL_CLIENT_KERNEL };
	static int results[SIDES][PROGRAMS][RUNS];
	int sides = oracle_permitted() ? 2 : 1;

	for (int side = 0; side < sides; side++) {
		struct objects *skel = load(targets[side]);

		ASSERT_TRUE(skel != NULL);
		for (int i = 0; i < RUNS; i++)
			for (int p = 0; p < PROGRAMS; p++)
				results[side][p][i] =
					run(programs_of(skel)[p], (uint32_t)(i * 77 + p), 1);
		objects__destroy(skel);
	}
	sl_client_use(SL_CLIENT_IN_PROCESS);
	for (int p = 0; p < PROGRAMS; p++)
		for (int i = 0; i < RUNS; i++) {
			EXPECT_GE(results[0][p][i], 0);
			if (sides == 2)
				EXPECT_EQ(results[0][p][i], results[1][p][i]);
		}
	EXPECT_NE(results[0][1][0], results[0][1][1]);
	EXPECT_NE(results[0][2][0], results[0][2][1]);
	expect_none_left();
}

TEST(objects, are_dropped_with_what_holds_them)
{
	struct objects *skel = load(SL_CLIENT_IN_PROCESS);
	struct {
		uint64_t words[8];
	} value = { 0 };
	uint32_t key = 0;

	ASSERT_TRUE(skel != NULL);
	EXPECT_EQ(run(skel->progs.unused, 0, 1000), 4 + 64);
	EXPECT_EQ(run(skel->progs.list, 1, 1) < 0, false);
	EXPECT_EQ(run(skel->progs.shared, 1, 100) < 0, false);
	EXPECT_EQ(sl_objects_count(), 0);
	EXPECT_EQ(run(skel->progs.leave, 3, 1), 0);
	EXPECT_EQ(sl_objects_count(), 20);
	/* An update from outside, of one in place and of one that is replaced. */
	ASSERT_LE(bpf_map__value_size(skel->maps.array), sizeof(value));
	EXPECT_EQ(bpf_map_update_elem(bpf_map__fd(skel->maps.array), &key, &value, BPF_ANY), 0);
	EXPECT_EQ(sl_objects_count(), 10);
	key = 3;
	EXPECT_EQ(bpf_map_update_elem(bpf_map__fd(skel->maps.hash), &key, &value, BPF_ANY), 0);
	EXPECT_EQ(sl_objects_count(), 0);
	EXPECT_EQ(run(skel->progs.leave, 3, 1), 0);
	EXPECT_EQ(bpf_map_delete_elem(bpf_map__fd(skel->maps.hash), &key), 0);
	EXPECT_EQ(sl_objects_count(), 10);
	/* What came after the deletion stays until the value is reused, or the map goes. */
	EXPECT_EQ(run(skel->progs.outlive, 0, 1), 0);
	EXPECT_EQ(sl_objects_count(), 12);
	EXPECT_EQ(run(skel->progs.nested, 0, 1), 3);
	EXPECT_EQ(sl_objects_count(), 12 + 3 * 4);
	/* Two in one of this CPU's values, and two in one that is gone. */
	EXPECT_GE(run(skel->progs.stash, 0, 1), 0);
	EXPECT_EQ(sl_objects_count(), 12 + 3 * 4 + 2);
	EXPECT_EQ(run(skel->progs.stash_outlives, 0, 1), 0);
	EXPECT_EQ(sl_objects_count(), 12 + 3 * 4 + 4);
	objects__destroy(skel);
	expect_none_left();
}

/* More than the background thread has backed, and more than fit: then there are none, and no harm. */
TEST(objects, run_out)
{
	struct objects *skel = load(SL_CLIENT_IN_PROCESS);
	uint64_t before = 0;

	ASSERT_TRUE(skel != NULL);
	for (uint32_t i = 0; i < 2000 && sl_objects_count() == before + (i ? 20000 : 0); i++) {
		before = sl_objects_count();
		run(skel->progs.leave, 1, 1000);
		if (before >= 100000)
			break;
	}
	EXPECT_GE(sl_objects_count(), 100000);
	objects__destroy(skel);
	expect_none_left();
}

static struct objects *shared_skel;

static void *exchange(void *arg)
{
	long failed = 0;

	sl_client_use(SL_CLIENT_IN_PROCESS);
	for (int i = 0; i < 100; i++)
		failed += run(shared_skel->progs.exchange, 0, 100) != 0;
	return (void *)failed;
}

TEST(objects, from_two_threads)
{
	pthread_t threads[3];
	void *failed;

	shared_skel = load(SL_CLIENT_IN_PROCESS);
	ASSERT_TRUE(shared_skel != NULL);
	for (unsigned i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, exchange, NULL);
	for (unsigned i = 0; i < 3; i++) {
		pthread_join(threads[i], &failed);
		EXPECT_EQ((long)failed, 0);
	}
	EXPECT_EQ(sl_objects_count(), 0);
	objects__destroy(shared_skel);
	expect_none_left();
}

/* The last line of a log that says why. */
static void last_reason(const char *log, char *reason, size_t size)
{
	const char *line = log;

	reason[0] = 0;
	while (*line) {
		size_t len = strcspn(line, "\n");

		if (len && strncmp(line, "processed ", 10) != 0)
			snprintf(reason, size, "%.*s", (int)len, line);
		line += len + (line[len] == '\n');
	}
}

/* Loads only this program: its errno. */
static int refuse(enum sl_client_target target, const char *name, char *reason, size_t size)
{
	static char log[1 << 16];
	struct objects_refused *skel;
	struct bpf_program *prog;
	int err;

	sl_client_use(target);
	skel = objects_refused__open();
	prog = skel ? bpf_object__find_program_by_name(skel->obj, name) : NULL;
	if (!prog)
		return 0;
	log[0] = 0;
	bpf_program__set_autoload(prog, true);
	bpf_program__set_log_buf(prog, log, sizeof(log));
	bpf_program__set_log_level(prog, 1);
	err = objects_refused__load(skel);
	last_reason(log, reason, size);
	objects_refused__destroy(skel);
	sl_client_use(SL_CLIENT_IN_PROCESS);
	return err;
}

TEST(objects, refused)
{
	struct objects_refused *skel = objects_refused__open();
	libbpf_print_fn_t print = libbpf_set_print(NULL);
	char reason[256], kernels[256];
	struct bpf_program *prog;
	unsigned count = 0;

	ASSERT_TRUE(skel != NULL);
	bpf_object__for_each_program(prog, skel->obj)
	{
		const char *name = bpf_program__name(prog);
		int err = refuse(SL_CLIENT_IN_PROCESS, name, reason, sizeof(reason));

		count++;
		TRACE_PUSH("%s: %s", name, reason);
		EXPECT_LT(err, 0);
		EXPECT_NE(reason[0], 0);
		if (oracle_permitted()) {
			EXPECT_EQ(err, refuse(SL_CLIENT_KERNEL, name, kernels, sizeof(kernels)));
			EXPECT_STREQ(reason, kernels);
		}
		TRACE_POP();
	}
	libbpf_set_print(print);
	objects_refused__destroy(skel);
	EXPECT_GE(count, 40);
}
