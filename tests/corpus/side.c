#include "side.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "loader.h"

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e3 + ts.tv_nsec / 1e6;
}

static struct bpf_program *only(struct bpf_object *object, const struct side_program *wanted)
{
	struct bpf_program *program, *found = NULL;

	bpf_object__for_each_program(program, object)
	{
		bool is = strcmp(bpf_program__name(program), wanted->name) == 0;

		bpf_program__set_autoload(program, is);
		if (is)
			found = program;
	}
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
	static const struct sl_loader_options options = { .unpinned = true };
	struct bpf_program *program = NULL;
	struct sl_loader *loader;
	double start = now_ms();
	int err = sl_loader_open(wanted->path, &options, &loader, outcome->why);

	if (!err) {
		program = only(sl_loader_object(loader), wanted);
		err = program ? sl_loader_load(loader, outcome->why) : -ENOENT;
	}
	outcome->load_ms = now_ms() - start;
	if (err) {
		outcome->end = SIDE_REFUSED;
		outcome->err = -err;
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
