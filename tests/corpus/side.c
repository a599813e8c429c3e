#include "side.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LOG_BYTES = 16 << 20 };

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e3 + ts.tv_nsec / 1e6;
}

/* The log's last line that says something: before the statistics. */
static void last_words(char *log, char *why)
{
	char *line = NULL, *saved;

	for (char *l = strtok_r(log, "\n", &saved); l; l = strtok_r(NULL, "\n", &saved))
		if (strncmp(l, "processed ", 10) != 0 && strncmp(l, "verification time", 17) != 0 &&
			strncmp(l, "stack depth", 11) != 0 && strncmp(l, "mark_precise", 12) != 0)
			line = l;
	snprintf(why, SIDE_WHY_MAX, "%s", line ? line : "");
}

/* What libbpf said first: for loads that end before the verifier. */
static char first_warning[SIDE_WHY_MAX];

static int keep_first(enum libbpf_print_level level, const char *format, va_list args)
{
	if (level == LIBBPF_WARN && !first_warning[0]) {
		vsnprintf(first_warning, sizeof(first_warning), format, args);
		first_warning[strcspn(first_warning, "\n")] = '\0';
	}
	return 0;
}

static struct bpf_program *only(struct bpf_object *object, const struct side_program *wanted)
{
	struct bpf_program *program, *found = NULL;
	struct bpf_map *map;

	bpf_object__for_each_program(program, object)
	{
		bool is = strcmp(bpf_program__name(program), wanted->name) == 0;

		bpf_program__set_autoload(program, is);
		if (is)
			found = program;
	}
	bpf_object__for_each_map(map, object) bpf_map__set_pin_path(map, NULL);
	if (found && bpf_program__type(found) != wanted->type)
		bpf_program__set_type(found, wanted->type);
	return found;
}

static void run(const struct bpf_program *program, const struct test_packet *packet,
	struct side_run *ret_run)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet->data, .data_size_in = packet->len,
		.data_out = ret_run->data, .data_size_out = sizeof(ret_run->data), .repeat = 1);

	if (bpf_program__type(program) != BPF_PROG_TYPE_XDP) {
		opts.ctx_out = &ret_run->skb;
		opts.ctx_size_out = sizeof(ret_run->skb);
	}
	if (bpf_prog_test_run_opts(bpf_program__fd(program), &opts) != 0) {
		ret_run->err = errno;
		return;
	}
	ret_run->result = opts.retval;
	ret_run->len = opts.data_size_out;
	ret_run->skb.tstamp = 0; /* the clock at the time of the run */
}

static void note_insns(const struct bpf_program *program, struct side_outcome *outcome)
{
	struct bpf_prog_info info = { 0 };
	uint32_t size = sizeof(info);

	if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size) == 0)
		outcome->verified_insns = info.verified_insns;
}

/* In the child. */
static void load_and_run(const struct side_program *wanted, struct side_outcome *outcome)
{
	char *log = calloc(1, LOG_BYTES);
	LIBBPF_OPTS(
		bpf_object_open_opts, opts, .kernel_log_buf = log, .kernel_log_size = LOG_BYTES);
	struct bpf_object *object = log ? bpf_object__open_file(wanted->path, &opts) : NULL;
	struct bpf_program *program = object ? only(object, wanted) : NULL;
	double start = now_ms();
	int err;

	libbpf_set_print(keep_first);
	err = program ? bpf_object__load(object) : -errno;

	outcome->load_ms = now_ms() - start;
	if (err) {
		outcome->end = SIDE_REFUSED;
		outcome->err = -err;
		last_words(log, outcome->why);
		if (!outcome->why[0])
			memcpy(outcome->why, first_warning, sizeof(outcome->why));
		return;
	}
	outcome->end = SIDE_LOADED;
	note_insns(program, outcome);
	for (unsigned i = 0; i < PACKETS; i++)
		run(program, &test_packets[i], &outcome->runs[i]);
}

int side_try(enum sl_client_target target, const struct side_program *program, unsigned limit_s,
	struct side_outcome *outcome)
{
	pid_t child;
	int status;

	memset(outcome, 0, sizeof(*outcome));
	fflush(NULL);
	child = fork();
	if (child < 0)
		return -errno;
	if (child == 0) {
		alarm(limit_s);
		sl_client_use(target);
		load_and_run(program, outcome);
		_exit(0);
	}
	if (waitpid(child, &status, 0) != child)
		return -errno;
	if (WIFSIGNALED(status)) {
		outcome->end = WTERMSIG(status) == SIGALRM ? SIDE_HUNG : SIDE_CRASHED;
		outcome->err = WTERMSIG(status);
	}
	return 0;
}

int side_compare(const struct side_outcome *a, const struct side_outcome *b)
{
	for (int i = 0; i < PACKETS; i++)
		if (memcmp(&a->runs[i], &b->runs[i], sizeof(a->runs[i])) != 0)
			return i;
	return -1;
}
