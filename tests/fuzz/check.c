#include "check.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "defs.h"
#include "instrument.h"

const char *const fuzz_outcome_names[FUZZ_OUTCOMES] = {
	[BOTH_ACCEPT] = "both accept",
	[BOTH_REFUSE] = "both refuse",
	[VARIES] = "varies",
	[KERNEL_BUG] = "kernel bugs",
	[UNAVAILABLE] = "unavailable",
	[OTHER_ERRNO] = "other errno",
	[ONLY_KERNEL_ACCEPTS] = "only kernel accepts",
	[ONLY_SLUICE_ACCEPTS] = "only Sluice accepts",
	[UNEQUAL] = "unequal results",
	[VIOLATION] = "violations",
	[CRASH] = "crashes",
};

static char *log_buffer(void)
{
	static char *log;

	if (!log)
		log = malloc(FUZZ_LOG_BYTES);
	return log;
}

/* The log's last line before the statistics, numbers made N. */
static void last_words(char *log, char *ret, size_t size)
{
	char *line = NULL, *saved, *from;
	size_t len = 0;

	for (char *l = strtok_r(log, "\n", &saved); l; l = strtok_r(NULL, "\n", &saved))
		if (strncmp(l, "processed ", 10) != 0 && strncmp(l, "mark_precise", 12) != 0)
			line = l;
	for (from = line; from && *from && len + 2 < size;) {
		if (isdigit((unsigned char)*from)) {
			ret[len++] = 'N';
			while (isalnum((unsigned char)*from))
				from++;
		} else {
			ret[len++] = *from++;
		}
	}
	ret[len] = '\0';
}

static void sign(const struct fuzz_world *world, const struct fuzz_program *program,
	struct fuzz_verdict *verdict)
{
	char words[SIDES][100] = { "", "" };

	for (int side = 0; side < SIDES; side++) {
		int fd;

		if (!verdict->err[side] || !log_buffer())
			continue;
		fd = fuzz_load(world, side, program, log_buffer());
		if (fd >= 0)
			close(fd);
		last_words(log_buffer(), words[side], sizeof(words[side]));
	}
	snprintf(verdict->signature, sizeof(verdict->signature),
		"%s: kernel %d%s%s%s, Sluice %d%s%s%s", fuzz_outcome_names[verdict->outcome],
		verdict->err[KERNEL], words[KERNEL][0] ? " '" : "", words[KERNEL],
		words[KERNEL][0] ? "'" : "", verdict->err[SLUICE], words[SLUICE][0] ? " '" : "",
		words[SLUICE], words[SLUICE][0] ? "'" : "");
}

/* Both on the program's packets. False, and why, at the first difference. */
static bool run_both(const struct fuzz_world *world, const struct fuzz_program *program,
	const int fds[SIDES], struct fuzz_verdict *verdict)
{
	static struct fuzz_run runs[SIDES];
	int map;

	fuzz_world_reset(world);
	for (unsigned i = 0; i < FUZZ_PACKETS; i++) {
		for (int side = 0; side < SIDES; side++)
			if (fds[side] >= 0)
				fuzz_run(side, fds[side], program, i, &runs[side]);
		if (sl_instrument_take(verdict->detail, sizeof(verdict->detail))) {
			verdict->outcome = VIOLATION;
			return false;
		}
		if (fds[KERNEL] < 0 || !program->comparable)
			continue;
		map = fuzz_world_compare(world);
		if (memcmp(&runs[KERNEL], &runs[SLUICE], sizeof(runs[0])) == 0 && map < 0)
			continue;
		verdict->outcome = UNEQUAL;
		snprintf(verdict->detail, sizeof(verdict->detail),
			"packet %u: kernel %ld, result %#x, %u bytes; Sluice %ld, %#x, %u bytes; "
			"%s; map %d",
			i, runs[KERNEL].err, runs[KERNEL].result, runs[KERNEL].size,
			runs[SLUICE].err, runs[SLUICE].result, runs[SLUICE].size,
			memcmp(runs[KERNEL].data, runs[SLUICE].data, sizeof(runs[0].data))
				? "packets differ"
				: "same packet",
			map);
		return false;
	}
	return true;
}

/* One side's results alone, in maps of its own. */
struct again {
	const struct fuzz_world *like;
	const struct fuzz_program *program;
	enum fuzz_side side;
	struct fuzz_run runs[FUZZ_PACKETS];
	uint64_t hash; /* of the maps afterwards */
};

static void *run_again(void *arg)
{
	struct again *again = arg;
	struct fuzz_world world;
	int fd;

	fuzz_world_open(&world, again->like->setting, again->like->has_kernel);
	fuzz_world_reset(&world);
	fd = fuzz_load(&world, again->side, again->program, NULL);
	for (unsigned i = 0; fd >= 0 && i < FUZZ_PACKETS; i++)
		fuzz_run(again->side, fd, again->program, i, &again->runs[i]);
	if (fd >= 0)
		close(fd);
	again->hash = fuzz_world_hash(&world, again->side);
	fuzz_world_close(&world);
	return NULL;
}

/* Addresses, clocks and random numbers differ from run to run: on another stack, in other maps. */
static bool varies(
	const struct fuzz_world *world, enum fuzz_side side, const struct fuzz_program *program)
{
	static struct again first, other;
	pthread_t thread;

	first = (struct again){ .like = world, .program = program, .side = side };
	other = first;
	run_again(&first);
	if (pthread_create(&thread, NULL, run_again, &other) != 0)
		return false;
	pthread_join(thread, NULL);
	return first.hash != other.hash || memcmp(first.runs, other.runs, sizeof(first.runs)) != 0;
}

static void judge_runs(const struct fuzz_world *world, const struct fuzz_program *program,
	const int fds[SIDES], struct fuzz_verdict *verdict)
{
	if (!program->runnable || run_both(world, program, fds, verdict))
		return;
	if (verdict->outcome == UNEQUAL &&
		(fuzz_reads_anything(world, program) || varies(world, KERNEL, program) ||
			varies(world, SLUICE, program)))
		verdict->outcome = VARIES;
}

static enum fuzz_outcome judge_loads(const int err[SIDES])
{
	if (err[KERNEL] == err[SLUICE])
		return err[KERNEL] ? BOTH_REFUSE : BOTH_ACCEPT;
	if (err[KERNEL] == -EFAULT)
		return KERNEL_BUG;
	if (err[KERNEL] && err[SLUICE])
		return OTHER_ERRNO;
	return err[KERNEL] ? ONLY_SLUICE_ACCEPTS : ONLY_KERNEL_ACCEPTS;
}

/* Whether it names a map of a type that only the kernel has. */
static bool lacks_map(const struct fuzz_world *world, const struct fuzz_program *program)
{
	for (uint32_t i = 0; i < program->count; i++) {
		const struct bpf_insn *insn = &program->insns[i];

		if (fuzz_names_map(insn) && insn->imm >= 0 && insn->imm < FUZZ_MAX_MAPS &&
			world->maps[SLUICE][insn->imm] < 0 && world->maps[KERNEL][insn->imm] >= 0)
			return true;
	}
	return false;
}

void fuzz_check(const struct fuzz_world *world, const struct fuzz_program *program, bool run,
	struct fuzz_verdict *ret_verdict)
{
	struct fuzz_verdict verdict = { .outcome = BOTH_ACCEPT };
	int fds[SIDES] = { -1, -1 };

	if (world->has_kernel)
		fds[KERNEL] = fuzz_load(world, KERNEL, program, NULL);
	if (run)
		fds[SLUICE] = fuzz_load(world, SLUICE, program, NULL);
	verdict.err[SLUICE] = run ? sl_min(fds[SLUICE], 0) : fuzz_verify(world, program);
	verdict.err[KERNEL] = world->has_kernel ? sl_min(fds[KERNEL], 0) : verdict.err[SLUICE];
	verdict.outcome = judge_loads(verdict.err);
	if (verdict.outcome == BOTH_ACCEPT && fds[SLUICE] >= 0)
		judge_runs(world, program, fds, &verdict);
	for (int side = 0; side < SIDES; side++)
		if (fds[side] >= 0)
			close(fds[side]);
	if (verdict.outcome >= KERNEL_BUG)
		sign(world, program, &verdict);
	if ((verdict.outcome == OTHER_ERRNO || verdict.outcome == ONLY_KERNEL_ACCEPTS) &&
		(strstr(verdict.signature, "is not available: ") || lacks_map(world, program)))
		verdict.outcome = UNAVAILABLE;
	*ret_verdict = verdict;
}
