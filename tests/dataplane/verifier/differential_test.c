#include <stdio.h>
#include <stdlib.h>

#include "generate.h"
#include "kernel.h"
#include "object.h"
#include "prog.h"
#include "sluice/bpf.h"
#include "test.h"
#include "verifier.h"

/*
 * The whole verifier beside the kernel's: random programs that are mostly legal are accepted by
 * both or refused by both with the same errno, and some of those that are accepted run on the same
 * packets, with the same result, packet and maps.
 *
 *	SLUICE_TEST_SEED=N	another sequence of programs
 *	SLUICE_TEST_ROUNDS=N	how many (the default takes some seconds)
 *	SLUICE_TEST_RUN_EVERY=N	run each Nth legal one
 *	SLUICE_TEST_FAILURES=N	stop after so many differences
 *	SLUICE_TEST_SAVE=DIR	leave the full logs of the last difference there
 */

#define LOG_BYTES (1u << 22)
#define PACKET_BYTES 512
#define PACKETS 6

struct side {
	const char *name;
	long (*bpf)(int cmd, union bpf_attr *attr, unsigned int size);
	int maps[PROGRAM_MAPS];
};

static struct side kernel = { "kernel", oracle_bpf }, sluice = { "sluice", sluice_bpf };
static char kernel_log[LOG_BYTES], sluice_log[LOG_BYTES];

static int create_map(const struct side *side, enum bpf_map_type type)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = type;
	attr.key_size = PROGRAM_KEY_BYTES;
	attr.value_size = PROGRAM_VALUE_BYTES;
	attr.max_entries = PROGRAM_MAP_ENTRIES;
	return (int)side->bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
}

static bool create_maps(struct side *side)
{
	side->maps[PROGRAM_ARRAY] = create_map(side, BPF_MAP_TYPE_ARRAY);
	side->maps[PROGRAM_HASH] = create_map(side, BPF_MAP_TYPE_HASH);
	return side->maps[0] >= 0 && side->maps[1] >= 0;
}

static long element(const struct side *side, int cmd, int map, uint32_t key, void *value)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)side->maps[map];
	attr.key = (uint64_t)&key;
	attr.value = (uint64_t)value;
	return side->bpf(cmd, &attr, sizeof(attr));
}

static void fill_maps(const struct side *side)
{
	uint8_t value[PROGRAM_VALUE_BYTES];

	for (uint32_t key = 0; key < 6; key++) {
		for (int i = 0; i < PROGRAM_VALUE_BYTES; i++)
			value[i] = (uint8_t)(key * 41 + (uint32_t)i * 7);
		element(side, BPF_MAP_UPDATE_ELEM, PROGRAM_ARRAY, key, value);
		element(side, BPF_MAP_DELETE_ELEM, PROGRAM_HASH, key, NULL);
	}
	element(side, BPF_MAP_UPDATE_ELEM, PROGRAM_HASH, 1, value);
	element(side, BPF_MAP_UPDATE_ELEM, PROGRAM_HASH, 3, value);
}

static bool same_maps(void)
{
	for (int map = 0; map < PROGRAM_MAPS; map++) {
		for (uint32_t key = 0; key < 6; key++) {
			uint8_t theirs[PROGRAM_VALUE_BYTES] = { 0 };
			uint8_t ours[PROGRAM_VALUE_BYTES] = { 0 };
			long there = element(&kernel, BPF_MAP_LOOKUP_ELEM, map, key, theirs);

			if (element(&sluice, BPF_MAP_LOOKUP_ELEM, map, key, ours) != there ||
				memcmp(theirs, ours, sizeof(ours)))
				return false;
		}
	}
	return true;
}

static int load(const struct side *side, const struct program *program)
{
	static struct bpf_insn insns[PROGRAM_MAX_INSNS];
	union bpf_attr attr;

	program_use_maps(program, side->maps, insns);
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = program->type;
	attr.insns = (uint64_t)insns;
	attr.insn_cnt = program->count;
	attr.license = (uint64_t)"GPL";
	return (int)side->bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
}

static int verify_there(const struct program *program, uint32_t level)
{
	static struct bpf_insn insns[PROGRAM_MAX_INSNS];

	program_use_maps(program, kernel.maps, insns);
	return kernel_verify(
		program->type, insns, program->count, level, kernel_log, sizeof(kernel_log));
}

/* Without the compilation that a load brings. */
static int verify_here(const struct program *program, uint32_t level)
{
	static struct bpf_insn insns[PROGRAM_MAX_INSNS];
	struct sl_log_buf log = { sluice_log, sizeof(sluice_log), level, 0 };
	struct sl_prog *prog;
	int err;

	program_use_maps(program, sluice.maps, insns);
	err = sl_prog_new(insns, program->count, &prog);
	if (err)
		return err;
	prog->type = program->type;
	prog->gpl_compatible = true;
	sluice_log[0] = '\0';
	err = sl_verify(prog, &log);
	sl_object_unref(&prog->obj);
	return err;
}

/* The lines before the summary: what the verifier came to. */
static const char *end_of(char *log)
{
	size_t len = strlen(log);
	int lines = 0;

	while (len > 0 && lines < 4)
		lines += log[--len] == '\n';
	return log + len;
}

static void save(const char *name, const char *text)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s.log", getenv("SLUICE_TEST_SAVE"), name);
	file = fopen(path, "w");
	if (!file)
		return;
	fputs(text, file);
	fclose(file);
}

/* Both sides' full logs, for whoever looks at a difference. */
static void save_logs(const struct program *program)
{
	if (!getenv("SLUICE_TEST_SAVE"))
		return;
	verify_there(program, 2);
	verify_here(program, 2);
	save("kernel", kernel_log);
	save("sluice", sluice_log);
}

struct result {
	long ret;
	uint32_t retval, size;
	uint8_t packet[PACKET_BYTES + 64];
};

static void run(
	const struct side *side, int fd, const uint8_t *packet, uint32_t size, struct result *ret)
{
	union bpf_attr attr;

	memset(ret, 0, sizeof(*ret));
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)fd;
	attr.test.data_in = (uint64_t)packet;
	attr.test.data_size_in = size;
	attr.test.data_out = (uint64_t)ret->packet;
	attr.test.data_size_out = sizeof(ret->packet);
	ret->ret = side->bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr));
	ret->retval = attr.test.retval;
	ret->size = attr.test.data_size_out;
}

static bool same_runs(const struct program *program, struct sl_random *random)
{
	int there = load(&kernel, program), here = load(&sluice, program);
	bool same = there >= 0 && here >= 0;

	if (!same)
		sl_test_fail(
			__FILE__, __LINE__, "verified, but not loaded: %d, kernel %d", here, there);
	fill_maps(&kernel);
	fill_maps(&sluice);
	for (int i = 0; same && i < PACKETS; i++) {
		uint8_t packet[PACKET_BYTES];
		uint32_t size = 14 + random_below(random, i % 2 ? 100 : PACKET_BYTES - 14);
		struct result theirs, ours;

		for (uint32_t b = 0; b < size; b++)
			packet[b] = (uint8_t)(random_u64(random) >> random_below(random, 8));
		run(&kernel, there, packet, size, &theirs);
		run(&sluice, here, packet, size, &ours);
		same = !memcmp(&theirs, &ours, sizeof(ours)) && same_maps();
		if (!same)
			sl_test_fail(__FILE__, __LINE__,
				"packet %d of %u bytes: returned %ld, %#x, %u bytes; "
				"kernel %ld, %#x, %u bytes; maps %s",
				i, size, ours.ret, ours.retval, ours.size, theirs.ret,
				theirs.retval, theirs.size, same_maps() ? "equal" : "differ");
	}
	close(there);
	close(here);
	return same;
}

static unsigned setting(const char *name, unsigned otherwise)
{
	const char *text = getenv(name);

	return text ? (unsigned)strtoul(text, NULL, 0) : otherwise;
}

TEST(differential, random_programs)
{
	unsigned rounds = setting("SLUICE_TEST_ROUNDS", 2000);
	unsigned run_every = setting("SLUICE_TEST_RUN_EVERY", 25);
	struct sl_random random = { setting("SLUICE_TEST_SEED", 5) };
	unsigned legal = 0, ran = 0, equal_logs = 0, stop = setting("SLUICE_TEST_FAILURES", 1);
	static struct program program;

	ORACLE_OR_SKIP();
	ASSERT_TRUE(create_maps(&kernel) && create_maps(&sluice));
	for (unsigned i = 0; i < rounds && stop; i++) {
		int there, here;

		program_generate(&random, &program);
		there = verify_there(&program, 1);
		here = verify_here(&program, 1);
		equal_logs += !strcmp(end_of(kernel_log), end_of(sluice_log));
		TRACE_PUSH("program %u", i);
		if (here != there) {
			sl_test_fail(__FILE__, __LINE__, "%d%s\n-- kernel: %d%s", here,
				end_of(sluice_log), there, end_of(kernel_log));
			stop--;
			save_logs(&program);
		} else if (there == 0 && program.comparable && ++legal % run_every == 0) {
			ran++;
			if (!same_runs(&program, &random)) {
				stop--;
				save_logs(&program);
			}
		}
		TRACE_POP();
	}
	printf("%u legal, %u of them run, %u logs end alike\n", legal, ran, equal_logs);
	EXPECT_GT(legal, rounds / 5);
}
