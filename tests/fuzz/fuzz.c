/*
 * fuzz [OPTIONS]: random and mutated programs on the running kernel and on Sluice. Each program
 * depends on the seed and its number alone. They are worked off by a child, so that a crash is a
 * finding: the next child goes on after it.
 */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "defs.h"
#include "generate.h"
#include "oracle.h"
#include "reproducer.h"
#include "seeds.h"

enum { SIGNATURES_MAX = 256, KEPT_PER_SIGNATURE = 2, OUTPUT_DIR_MAX = 128, OBJECTS_MAX = 8 };

struct options {
	uint64_t seed;
	unsigned seconds, count; /* whichever is reached first; 0 for no limit */
	unsigned first; /* number of the first program */
	unsigned run_every;
	uint32_t type; /* 0 for any */
	const char *objects[OBJECTS_MAX], *replay, *out;
	unsigned object_count;
	bool instrument, strict, whole;
};

/* Between parent and child. */
struct progress {
	unsigned next; /* number of the program to do */
	unsigned totals[FUZZ_OUTCOMES], ran;
	struct {
		char text[FUZZ_TEXT_BYTES];
		unsigned count;
	} signatures[SIGNATURES_MAX];
	unsigned signature_count;
	/* The program being worked on, for what is left of a crash. */
	struct fuzz_program program;
	const struct fuzz_setting *setting;
};

static struct options options = { .seed = 1, .run_every = 1, .out = "fuzz-findings" };
static struct progress *progress;
static unsigned seed_count;

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* How many of that signature there are, with this one. */
static unsigned count_signature(const char *text)
{
	unsigned i;

	for (i = 0; i < progress->signature_count; i++)
		if (strcmp(progress->signatures[i].text, text) == 0)
			return ++progress->signatures[i].count;
	if (i == SIGNATURES_MAX)
		return KEPT_PER_SIGNATURE + 1;
	snprintf(progress->signatures[i].text, FUZZ_TEXT_BYTES, "%s", text);
	progress->signature_count++;
	return progress->signatures[i].count = 1;
}

static FILE *open_finding(unsigned number, char *path, size_t size)
{
	FILE *file;

	mkdir(options.out, 0777);
	snprintf(path, size, "%s/%llu-%u.txt", options.out, (unsigned long long)options.seed,
		number);
	file = fopen(path, "w");
	if (!file)
		fprintf(stderr, "fuzz: %s: %s\n", path, strerror(errno));
	return file;
}

static void keep_finding(const struct fuzz_world *world, struct fuzz_program *program,
	const struct fuzz_verdict *verdict, unsigned number)
{
	char path[OUTPUT_DIR_MAX + 64];
	FILE *file;

	if (count_signature(verdict->signature) > KEPT_PER_SIGNATURE)
		return;
	if (!options.whole)
		fuzz_minimise(world, program, verdict);
	file = open_finding(number, path, sizeof(path));
	if (!file)
		return;
	fuzz_reproducer_write(file, world->setting, program, verdict->signature);
	if (verdict->detail[0])
		fprintf(file, "# before it was made shorter: %s\n", verdict->detail);
	fuzz_reproducer_logs(file, world, program);
	fclose(file);
	printf("program %u: %s; %s\n  %s\n", number, verdict->signature, verdict->detail, path);
	fflush(stdout);
}

static void try_program(
	const struct fuzz_world *world, struct fuzz_program *program, unsigned number)
{
	bool run = number % options.run_every == 0;
	struct fuzz_verdict verdict;

	fuzz_check(world, program, run, &verdict);
	progress->totals[verdict.outcome]++;
	progress->ran += run && verdict.outcome == BOTH_ACCEPT && program->runnable;
	if (verdict.outcome == KERNEL_BUG)
		count_signature(verdict.signature);
	if (verdict.outcome > UNAVAILABLE)
		keep_finding(world, program, &verdict, number);
}

/* The world of a seed's setting: the one made last is kept. */
static const struct fuzz_world *world_of(const struct fuzz_setting *setting)
{
	static struct fuzz_world world;

	if (world.setting != setting) {
		if (world.setting)
			fuzz_world_close(&world);
		fuzz_world_open(&world, setting, oracle_permitted());
	}
	return &world;
}

/* Half of the programs are changed seeds where there are seeds. */
static void do_program(const struct fuzz_world *standard, unsigned number)
{
	struct sl_random random = { options.seed * 0x9e3779b97f4a7c15 + number };
	const struct fuzz_seed *seed;

	random_u64(&random);
	if (!seed_count || random_below(&random, 2)) {
		progress->setting = standard->setting;
		fuzz_generate(&random, standard, options.type, &progress->program);
		if (random_below(&random, 4) == 0) {
			fuzz_mutate(&random, &progress->program);
			progress->program.comparable = false;
		}
		try_program(standard, &progress->program, number);
		return;
	}
	/* Neighbours use the same maps. */
	seed = fuzz_seed_at((number / 16 * 7 + random_below(&random, 2)) % seed_count);
	progress->setting = seed->setting;
	progress->program = seed->program;
	progress->program.packet_seed = random_u64(&random);
	if (random_below(&random, 20))
		fuzz_mutate(&random, &progress->program);
	try_program(world_of(seed->setting), &progress->program, number);
}

static bool is_over(double start)
{
	return (options.count && progress->next >= options.first + options.count) ||
	       (options.seconds && now_s() - start >= options.seconds);
}

/* In the child. */
static void work(double start)
{
	struct fuzz_world standard;
	cpu_set_t cpus;

	/* Both sides use the same CPU's values of a map. */
	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	fuzz_world_open(&standard, fuzz_standard_setting(), oracle_permitted());
	while (!is_over(start)) {
		alarm(FUZZ_LIMIT_S);
		do_program(&standard, progress->next);
		progress->next++;
	}
	fuzz_world_close(&standard);
}

static void note_crash(int signal)
{
	char path[OUTPUT_DIR_MAX + 64], text[64];
	FILE *file;

	snprintf(text, sizeof(text), "crash: signal %d", signal);
	progress->totals[CRASH]++;
	if (count_signature(text) <= KEPT_PER_SIGNATURE * 4) {
		file = open_finding(progress->next, path, sizeof(path));
		if (file) {
			fuzz_reproducer_write(file, progress->setting, &progress->program, text);
			fclose(file);
		}
		printf("program %u: %s\n  %s\n", progress->next, text, path);
	}
	progress->next++;
}

static int run_children(double start)
{
	while (!is_over(start)) {
		int status;
		pid_t child;

		fflush(NULL);
		child = fork();
		if (child < 0)
			return -errno;
		if (child == 0) {
			work(start);
			fflush(NULL);
			_exit(0);
		}
		if (waitpid(child, &status, 0) != child)
			return -errno;
		if (WIFSIGNALED(status))
			note_crash(WTERMSIG(status));
		else if (WEXITSTATUS(status))
			note_crash(-WEXITSTATUS(status));
	}
	return 0;
}

/* Whether the round was good. */
static bool print_totals(double start)
{
	const unsigned *t = progress->totals;
	unsigned sum = 0;
	bool bad;

	for (unsigned i = 0; i < progress->signature_count; i++)
		printf("%6u  %s\n", progress->signatures[i].count, progress->signatures[i].text);
	for (unsigned i = 0; i < FUZZ_OUTCOMES; i++)
		sum += t[i];
	printf("seed %llu, %u programs in %.0f s, %u run:", (unsigned long long)options.seed, sum,
		now_s() - start, progress->ran);
	for (unsigned i = 0; i < FUZZ_OUTCOMES; i++)
		printf(" %s %u%s", fuzz_outcome_names[i], t[i], i + 1 < FUZZ_OUTCOMES ? "," : "\n");
	bad = t[ONLY_SLUICE_ACCEPTS] || t[UNEQUAL] || t[VIOLATION] || t[CRASH] ||
	      t[ONLY_KERNEL_ACCEPTS] * 100 > sum;
	if (options.strict)
		bad |= t[ONLY_KERNEL_ACCEPTS] || t[OTHER_ERRNO];
	return !bad && sum > 0;
}

static int replay(void)
{
	static struct fuzz_setting setting;
	static struct fuzz_world world;
	FILE *file = fopen(options.replay, "r");
	struct fuzz_verdict verdict;
	bool ok = file && fuzz_reproducer_read(file, &setting, &progress->program);

	if (file)
		fclose(file);
	if (!ok) {
		fprintf(stderr, "fuzz: %s: not a reproducer\n", options.replay);
		return 2;
	}
	fuzz_world_open(&world, &setting, oracle_permitted());
	fuzz_reproducer_logs(stdout, &world, &progress->program);
	fuzz_check(&world, &progress->program, true, &verdict);
	printf("%s %s %s\n", fuzz_outcome_names[verdict.outcome], verdict.signature,
		verdict.detail);
	fuzz_world_close(&world);
	return verdict.outcome > UNAVAILABLE;
}

static int usage(void)
{
	fprintf(stderr, "usage: fuzz [--seed N] [--seconds N] [--count N] [--objects DIR] "
			"[--type xdp|tc|socket]\n"
			"            [--run-every N] [--instrument] [--strict] [--out DIR]\n"
			"       fuzz --replay FILE [--instrument]\n");
	return 2;
}

static uint32_t parse_type(const char *name)
{
	static const struct {
		const char *name;
		enum bpf_prog_type type;
	} types[] = {
		{ "xdp", BPF_PROG_TYPE_XDP },
		{ "tc", BPF_PROG_TYPE_SCHED_CLS },
		{ "socket", BPF_PROG_TYPE_SOCKET_FILTER },
	};

	for (unsigned i = 0; i < sl_array_size(types); i++)
		if (strcmp(types[i].name, name) == 0)
			return types[i].type;
	return 0;
}

static bool parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "seconds", required_argument, NULL, 't' },
		{ "count", required_argument, NULL, 'n' },
		{ "objects", required_argument, NULL, 'o' },
		{ "first", required_argument, NULL, 'f' },
		{ "type", required_argument, NULL, 'y' },
		{ "run-every", required_argument, NULL, 'e' },
		{ "replay", required_argument, NULL, 'r' },
		{ "out", required_argument, NULL, 'd' },
		{ "instrument", no_argument, NULL, 'i' },
		{ "whole", no_argument, NULL, 'w' },
		{ "strict", no_argument, NULL, 'x' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			options.seed = strtoull(optarg, NULL, 0);
			break;
		case 't':
			options.seconds = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'n':
			options.count = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'f':
			options.first = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'o':
			if (options.object_count == OBJECTS_MAX)
				return false;
			options.objects[options.object_count++] = optarg;
			break;
		case 'y':
			options.type = parse_type(optarg);
			if (!options.type)
				return false;
			break;
		case 'e':
			options.run_every = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'r':
			options.replay = optarg;
			break;
		case 'd':
			options.out = optarg;
			break;
		case 'i':
			options.instrument = true;
			break;
		case 'w':
			options.whole = true;
			break;
		case 'x':
			options.strict = true;
			break;
		default:
			return false;
		}
	}
	return optind == argc && options.run_every;
}

/* In a child, so that no thread of Sluice's is left in this process, which forks. */
static void print_left_out(void)
{
	struct fuzz_world world;
	unsigned index = 0;
	const char *name;

	fflush(NULL);
	if (fork() == 0) {
		fuzz_world_open(&world, fuzz_standard_setting(), oracle_permitted());
		while (fuzz_production_left_out(&world, &index, &name))
			printf("left out: %s\n", name);
		fuzz_world_close(&world);
		fflush(NULL);
		_exit(0);
	}
	wait(NULL);
}

int main(int argc, char **argv)
{
	struct rlimit files = { 65536, 65536 };
	double start = now_s();

	if (!parse(argc, argv))
		return usage();
	progress = mmap(
		NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (progress == MAP_FAILED || !fuzz_standard_setting()) {
		perror("fuzz");
		return 1;
	}
	setrlimit(RLIMIT_NOFILE, &files);
	if (!oracle_permitted()) {
		printf("the kernel's bpf(2) is not permitted: only Sluice, instrumented\n");
		options.instrument = true;
	}
	if (options.instrument)
		setenv("SLUICE_JIT_CHECK", "1", 1);
	if (options.replay)
		return replay();
	if (!options.seconds && !options.count)
		options.seconds = 60;
	for (unsigned i = 0; i < options.object_count; i++)
		seed_count = fuzz_seeds_collect(options.objects[i], oracle_permitted());
	printf("%u programs to mutate\n", seed_count);
	print_left_out();
	progress->next = options.first;
	if (run_children(start) != 0) {
		perror("fuzz");
		return 1;
	}
	return print_totals(start) ? 0 : 1;
}
