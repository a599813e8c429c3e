/*
 * verifier [OBJECT...]: verification beside the kernel's. Each program is loaded into both, one
 * after the other, several rounds; both say at log level 4 how long they verified, how many
 * instructions they processed and how many states they kept. The programs are generated ones of
 * the sizes that deployments have and hostile ones, then all of the objects named.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sluice/bpf.h>

#include "client.h"
#include "stats.h"
#include "verifier_programs.h"

enum { ROUNDS = 5, SLUICE = 0, KERNEL = 1, SIDES = 2, LOG_STATS = 4, LOG_BYTES = 1 << 16 };
#define ENOUGH_MS 2000.0 /* programs whose load takes longer are measured once */

struct sample {
	int err;
	double verify_us, load_ms;
	unsigned processed, peak_states;
	unsigned state_kib; /* Sluice */
};

/* What is measured: a generated program, or one of an object. */
struct subject {
	const char *name;
	enum bpf_prog_type type;
	const struct bpf_insn *insns;
	unsigned count;
	const char *path; /* NULL: insns */
};

static const enum sl_client_target targets[SIDES] = { SL_CLIENT_IN_PROCESS, SL_CLIENT_KERNEL };
static char log_text[LOG_BYTES];
static struct bpf_insn insns[VERIFIER_PROGRAM_INSNS];
static double sum_us[SIDES], sum_insns[SIDES];
static unsigned unequal;

static int silent(enum libbpf_print_level level, const char *format, va_list args)
{
	return 0;
}

static void parse_log(struct sample *sample)
{
	const char *text;

	text = strstr(log_text, "verification time ");
	if (text)
		sscanf(text, "verification time %lf usec", &sample->verify_us);
	text = strstr(log_text, "peak memory of states ");
	if (text)
		sscanf(text, "peak memory of states %u KiB", &sample->state_kib);
	text = strstr(log_text, "processed ");
	if (text)
		sscanf(text,
			"processed %u insns (limit %*d) max_states_per_insn %*d total_states %*d "
			"peak_states %u",
			&sample->processed, &sample->peak_states);
}

static int load_insns(const struct subject *subject, bool with_log)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts);
	int fd;

	if (with_log) {
		opts.log_level = LOG_STATS;
		opts.log_buf = log_text;
		opts.log_size = sizeof(log_text);
	}
	fd = bpf_prog_load(subject->type, "bench", "GPL", subject->insns, subject->count, &opts);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int load_object(const struct subject *subject, bool with_log)
{
	struct bpf_object *object = bpf_object__open_file(subject->path, NULL);
	struct bpf_program *program;
	int err;

	if (!object)
		return -errno;
	bpf_object__for_each_program(program, object)
	{
		bool is_it = strcmp(bpf_program__name(program), subject->name) == 0;

		bpf_program__set_autoload(program, is_it);
		if (!is_it)
			continue;
		bpf_program__set_type(program, subject->type);
		bpf_program__set_log_level(program, with_log ? LOG_STATS : 0);
		bpf_program__set_log_buf(program, log_text, sizeof(log_text));
	}
	err = bpf_object__load(object);
	bpf_object__close(object);
	return err;
}

static struct sample measure(const struct subject *subject, int side)
{
	int (*load)(const struct subject *, bool) = subject->path ? load_object : load_insns;
	struct sample sample = {};
	double start;

	sl_client_use(targets[side]);
	memset(log_text, 0, sizeof(log_text));
	sample.err = load(subject, true);
	parse_log(&sample);
	start = wall_ns();
	load(subject, false);
	sample.load_ms = (wall_ns() - start) / 1e6;
	return sample;
}

static double ns_per_insn(double us, unsigned processed)
{
	return processed ? us * 1000 / processed : 0;
}

static void report(const struct subject *subject, const struct sample *last,
	const struct summary *verify_us, const struct summary *load_ms)
{
	const struct sample *ours = &last[SLUICE], *theirs = &last[KERNEL];
	bool equal = ours->processed == theirs->processed && ours->err == theirs->err;

	printf("%-28s %7u | %7u %8u | %9.2f %9.2f | %6.0f %6.0f | %6u %6u | %7.1f | %8.1f %8.1f%s",
		subject->name, subject->count, ours->processed, theirs->processed,
		verify_us[SLUICE].median / 1e3, verify_us[KERNEL].median / 1e3,
		ns_per_insn(verify_us[SLUICE].median, ours->processed),
		ns_per_insn(verify_us[KERNEL].median, theirs->processed), ours->peak_states,
		theirs->peak_states, ours->state_kib / 1024.0, load_ms[SLUICE].median,
		load_ms[KERNEL].median, equal ? "" : " UNEQUAL");
	if (ours->err || theirs->err)
		printf(" (%s; %s)", ours->err ? strerror(-ours->err) : "accepted",
			theirs->err ? strerror(-theirs->err) : "accepted");
	printf("\n");
	fflush(stdout);
	unequal += !equal;
	for (int s = 0; s < SIDES; s++) {
		sum_us[s] += verify_us[s].median;
		sum_insns[s] += last[s].processed;
	}
}

static void compare(const struct subject *subject)
{
	double verify_us[SIDES][ROUNDS], load_ms[SIDES][ROUNDS];
	struct summary s_verify[SIDES], s_load[SIDES];
	struct sample last[SIDES];
	unsigned rounds = 0;

	while (rounds < ROUNDS) {
		for (unsigned i = 0; i < SIDES; i++) {
			unsigned s = (i + rounds) % SIDES;

			last[s] = measure(subject, (int)s);
			verify_us[s][rounds] = last[s].verify_us;
			load_ms[s][rounds] = last[s].load_ms;
		}
		rounds++;
		if (last[SLUICE].load_ms > ENOUGH_MS || last[KERNEL].load_ms > ENOUGH_MS)
			break;
	}
	for (unsigned s = 0; s < SIDES; s++) {
		s_verify[s] = summarize(verify_us[s], rounds);
		s_load[s] = summarize(load_ms[s], rounds);
	}
	report(subject, last, s_verify, s_load);
}

static bool is_ours(enum bpf_prog_type type)
{
	return type == BPF_PROG_TYPE_XDP || type == BPF_PROG_TYPE_SCHED_CLS ||
	       type == BPF_PROG_TYPE_SCHED_ACT || type == BPF_PROG_TYPE_SOCKET_FILTER;
}

static int compare_object(const char *path)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	struct bpf_program *program;

	if (!object) {
		fprintf(stderr, "verifier: %s: %s\n", path, strerror(errno));
		return 1;
	}
	bpf_object__for_each_program(program, object)
	{
		struct subject subject = {
			.name = bpf_program__name(program),
			.type = bpf_program__type(program),
			.count = (unsigned)bpf_program__insn_cnt(program),
			.path = path,
		};

		if (is_ours(subject.type))
			compare(&subject);
	}
	bpf_object__close(object);
	return 0;
}

int main(int argc, char **argv)
{
	int status = 0;

	libbpf_set_print(silent);
	printf("medians of %d interleaved rounds, Sluice then the kernel; of states the peak\n",
		ROUNDS);
	printf("%-28s %7s | %16s | %19s | %13s | %13s | %7s | %17s\n", "", "insns", "processed",
		"verify, ms", "ns per insn", "states", "MiB", "load, ms");
	for (unsigned i = 0; argc == 1 && i < verifier_program_count; i++) {
		const struct verifier_program *program = &verifier_programs[i];
		struct subject subject = { .name = program->name,
			.type = program->type,
			.insns = insns,
			.count = program->build(insns, program->size) };

		compare(&subject);
	}
	for (int i = 1; i < argc; i++)
		status |= compare_object(argv[i]);
	printf("together: %.0f ns per instruction, the kernel %.0f; %u programs unequal\n",
		ns_per_insn(sum_us[SLUICE], 1) / sum_insns[SLUICE],
		ns_per_insn(sum_us[KERNEL], 1) / sum_insns[KERNEL], unequal);
	return status;
}
