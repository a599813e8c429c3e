/*
 * corpus [OPTIONS] PATH...: load every program of every object below the paths into the running
 * kernel and into Sluice, one by one, run both on the same packets, and say how they compare.
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <fts.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "side.h"

enum { KERNEL, SLUICE, AGAIN, SIDES };
enum { LIMIT_S = 120 };

/* Every pair of outcomes, in the order of the totals. */
enum verdict {
	EQUAL,
	VARIES, /* unequal, but so is the kernel to itself */
	UNEQUAL,
	BOTH_REFUSE,
	ONLY_SLUICE_REFUSES,
	ONLY_KERNEL_REFUSES,
	BROKEN, /* a side crashed or did not end */
	VERDICTS
};

static const char *const verdict_names[VERDICTS] = {
	[EQUAL] = "equal",
	[VARIES] = "varies",
	[UNEQUAL] = "UNEQUAL",
	[BOTH_REFUSE] = "both refuse",
	[ONLY_SLUICE_REFUSES] = "SLUICE REFUSES",
	[ONLY_KERNEL_REFUSES] = "KERNEL REFUSES",
	[BROKEN] = "BROKEN",
};

struct options {
	enum bpf_prog_type type; /* of programs that their section does not type */
	const char *only; /* name of a program, NULL for all */
	bool quiet; /* only what differs */
};

static struct side_outcome *sides;
static unsigned totals[VERDICTS], other_types, unreadable;
static double load_ms[SIDES];

static bool is_ours(enum bpf_prog_type type)
{
	return type == BPF_PROG_TYPE_XDP || type == BPF_PROG_TYPE_SCHED_CLS ||
	       type == BPF_PROG_TYPE_SCHED_ACT || type == BPF_PROG_TYPE_SOCKET_FILTER;
}

static enum verdict judge(const struct side_program *program, int *ret_packet)
{
	struct side_program again = *program;
	bool kernel = sides[KERNEL].end == SIDE_LOADED, sluice = sides[SLUICE].end == SIDE_LOADED;

	*ret_packet = -1;
	if (sides[KERNEL].end > SIDE_REFUSED || sides[SLUICE].end > SIDE_REFUSED)
		return BROKEN;
	if (!kernel || !sluice)
		return kernel ? ONLY_SLUICE_REFUSES : sluice ? ONLY_KERNEL_REFUSES : BOTH_REFUSE;
	*ret_packet = side_compare(&sides[KERNEL], &sides[SLUICE]);
	if (*ret_packet < 0)
		return EQUAL;
	/* Clocks and random numbers differ from run to run, and the addresses of packets. */
	again.elsewhere = true;
	if (side_try(SL_CLIENT_KERNEL, &again, LIMIT_S, &sides[AGAIN]) == 0 &&
		sides[AGAIN].end == SIDE_LOADED && side_compare(&sides[KERNEL], &sides[AGAIN]) >= 0)
		return VARIES;
	return UNEQUAL;
}

static void print_side(const char *name, const struct side_outcome *side)
{
	static const char *const ends[] = { "loaded", "refused", "crashed: signal", "hung" };

	printf("      %s: %s", name, ends[side->end]);
	if (side->end == SIDE_REFUSED)
		printf(" (%s) %s", strerror(side->err), side->why);
	else if (side->end == SIDE_CRASHED)
		printf(" %d", side->err);
	printf("\n");
}

static void print_first_difference(const struct side_run *a, const struct side_run *b)
{
	const uint8_t *ctx_a = (const uint8_t *)&a->skb, *ctx_b = (const uint8_t *)&b->skb;

	for (unsigned i = 0; i < sizeof(a->data); i++)
		if (a->data[i] != b->data[i]) {
			printf("      byte %u: kernel %02x, sluice %02x\n", i, a->data[i],
				b->data[i]);
			break;
		}
	for (unsigned i = 0; i < sizeof(a->skb); i++)
		if (ctx_a[i] != ctx_b[i]) {
			printf("      context at %u: kernel %02x, sluice %02x\n", i, ctx_a[i],
				ctx_b[i]);
			break;
		}
}

static void print_map(unsigned map)
{
	for (int i = KERNEL; i <= SLUICE; i++)
		printf("      %s: map %s: %u entries, digest %016llx\n",
			i == KERNEL ? "kernel" : "sluice", sides[i].maps[map].name,
			sides[i].maps[map].entries, (unsigned long long)sides[i].maps[map].digest);
}

static void print_runs(int packet)
{
	if (packet >= PACKETS) {
		print_map((unsigned)(packet - PACKETS));
		return;
	}
	for (int i = KERNEL; i <= SLUICE; i++) {
		const struct side_run *run = &sides[i].runs[packet];

		printf("      %s on packet %d, '%s': errno %d, result %u, %u bytes\n",
			i == KERNEL ? "kernel" : "sluice", packet, test_packets[packet].name,
			run->err, run->result, run->len);
	}
	print_first_difference(&sides[KERNEL].runs[packet], &sides[SLUICE].runs[packet]);
}

static void report(const struct side_program *program, enum verdict verdict, int packet,
	const struct options *options)
{
	if (options->quiet && (verdict == EQUAL || verdict == VARIES || verdict == BOTH_REFUSE))
		return;
	printf("%-14s %8u %8u insns %8.1f %8.1f ms  %s %s\n", verdict_names[verdict],
		sides[KERNEL].verified_insns, sides[SLUICE].verified_insns, sides[KERNEL].load_ms,
		sides[SLUICE].load_ms, program->path, program->name);
	if (verdict == UNEQUAL)
		print_runs(packet);
	if (verdict >= BOTH_REFUSE) {
		print_side("kernel", &sides[KERNEL]);
		print_side("sluice", &sides[SLUICE]);
	}
	fflush(stdout);
}

static int compare_program(const struct side_program *program, const struct options *options)
{
	enum verdict verdict;
	int packet, err = side_try(SL_CLIENT_KERNEL, program, LIMIT_S, &sides[KERNEL]);

	if (!err)
		err = side_try(SL_CLIENT_IN_PROCESS, program, LIMIT_S, &sides[SLUICE]);
	if (err)
		return err;
	verdict = judge(program, &packet);
	totals[verdict]++;
	if (sides[KERNEL].end == SIDE_LOADED && sides[SLUICE].end == SIDE_LOADED)
		for (int i = KERNEL; i <= SLUICE; i++)
			load_ms[i] += sides[i].load_ms;
	report(program, verdict, packet, options);
	return 0;
}

/*
 * For programs that their section does not type: what the caller says, or the type of all others of
 * the object, or that of tc, which takes sections of any name.
 */
static enum bpf_prog_type untyped(struct bpf_object *object, const struct options *options)
{
	enum bpf_prog_type common = options->type;
	struct bpf_program *program;

	if (common != BPF_PROG_TYPE_UNSPEC)
		return common;
	bpf_object__for_each_program(program, object)
	{
		enum bpf_prog_type type = bpf_program__type(program);

		if (type == BPF_PROG_TYPE_UNSPEC)
			continue;
		if (common != BPF_PROG_TYPE_UNSPEC && common != type)
			return BPF_PROG_TYPE_SCHED_CLS;
		common = type;
	}
	return common != BPF_PROG_TYPE_UNSPEC ? common : BPF_PROG_TYPE_SCHED_CLS;
}

static int compare_object(const char *path, const struct options *options)
{
	struct bpf_program *program;
	struct sl_loader *loader;
	char why[SL_LOADER_WHY_MAX];
	int err = sl_loader_open(path, NULL, &loader, why);

	if (err) {
		unreadable++;
		printf("%-14s %s: %s\n", "unreadable", path, why);
		return 0;
	}
	bpf_object__for_each_program(program, sl_loader_object(loader))
	{
		struct side_program one = { .path = path, .type = bpf_program__type(program) };

		snprintf(one.name, sizeof(one.name), "%s", bpf_program__name(program));
		if (options->only && strcmp(options->only, one.name) != 0)
			continue;
		if (one.type == BPF_PROG_TYPE_UNSPEC)
			one.type = untyped(sl_loader_object(loader), options);
		if (!is_ours(one.type)) {
			other_types++;
			continue;
		}
		err = compare_program(&one, options);
		if (err)
			break;
	}
	sl_loader_free(loader);
	return err;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static bool is_object(const FTSENT *entry)
{
	const char *dot = strrchr(entry->fts_name, '.');

	return entry->fts_info == FTS_F &&
	       (entry->fts_level == FTS_ROOTLEVEL || (dot && strcmp(dot, ".o") == 0));
}

static int walk(char **paths, const struct options *options)
{
	FTS *tree = fts_open(paths, FTS_LOGICAL | FTS_NOCHDIR, by_name);
	FTSENT *entry;
	int err = 0;

	if (!tree)
		return -errno;
	while (!err && (entry = fts_read(tree)) != NULL) {
		if (entry->fts_info == FTS_NS || entry->fts_info == FTS_DNR ||
			entry->fts_info == FTS_ERR) {
			fprintf(stderr, "corpus: %s: %s\n", entry->fts_path,
				strerror(entry->fts_errno));
			err = -entry->fts_errno;
		} else if (is_object(entry)) {
			err = compare_object(entry->fts_path, options);
		}
	}
	fts_close(tree);
	return err;
}

/* Returns how many programs there were. */
static unsigned print_totals(void)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < VERDICTS; i++)
		sum += totals[i];
	printf("%u programs:", sum);
	for (unsigned i = 0; i < VERDICTS; i++)
		printf(" %u %s%s", totals[i], verdict_names[i], i + 1 < VERDICTS ? "," : "");
	printf("; %u of other types, %u objects unreadable\n", other_types, unreadable);
	printf("loading those that both accept: kernel %.0f ms, Sluice %.0f ms\n", load_ms[KERNEL],
		load_ms[SLUICE]);
	return sum;
}

static enum bpf_prog_type parse_type(const char *name)
{
	static const struct {
		const char *name;
		enum bpf_prog_type type;
	} types[] = {
		{ "xdp", BPF_PROG_TYPE_XDP },
		{ "tc", BPF_PROG_TYPE_SCHED_CLS },
		{ "action", BPF_PROG_TYPE_SCHED_ACT },
		{ "socket", BPF_PROG_TYPE_SOCKET_FILTER },
	};

	for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(types[i].name, name) == 0)
			return types[i].type;
	return BPF_PROG_TYPE_UNSPEC;
}

static int usage(void)
{
	fprintf(stderr,
		"usage: corpus [--quiet] [--program NAME] [--type xdp|tc|action|socket] PATH...\n"
		"  --type   of programs whose section does not tell; without: that of the others\n"
		"           of the object, or tc\n"
		"  --quiet  print only what differs, and the totals\n");
	return 2;
}

static bool parse(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
		{ "type", required_argument, NULL, 't' },
		{ "program", required_argument, NULL, 'p' },
		{ "quiet", no_argument, NULL, 'q' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "t:p:q", longs, NULL)) != -1) {
		if (c == 't')
			options->type = parse_type(optarg);
		else if (c == 'p')
			options->only = optarg;
		else if (c == 'q')
			options->quiet = true;
		if (c == '?' || (c == 't' && options->type == BPF_PROG_TYPE_UNSPEC))
			return false;
	}
	return optind < argc;
}

int main(int argc, char **argv)
{
	struct options options = { .type = BPF_PROG_TYPE_UNSPEC };

	if (!parse(argc, argv, &options))
		return usage();
	sides = mmap(NULL, SIDES * sizeof(*sides), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sides == MAP_FAILED) {
		perror("corpus: mmap");
		return 1;
	}
	test_packets_init();
	if (walk(argv + optind, &options) != 0)
		return 1;
	if (print_totals() == 0) {
		fprintf(stderr, "corpus: no program of a type that Sluice runs\n");
		return 1;
	}
	return totals[UNEQUAL] || totals[ONLY_KERNEL_REFUSES] || totals[BROKEN] ||
	       totals[ONLY_SLUICE_REFUSES];
}
