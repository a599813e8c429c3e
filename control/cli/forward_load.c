#include "forward.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/libbpf.h>

#include "verb.h"

enum { LOG_BYTES = 1 << 20 };

static int silence(enum libbpf_print_level level, const char *format, va_list args)
{
	if (!getenv("SLUICE_LOG") || level == LIBBPF_DEBUG)
		return 0;
	return vfprintf(stderr, format, args);
}

static int open_object(struct sl_forward_spec *spec, const char *path, unsigned *ret_index)
{
	struct bpf_object *obj;
	unsigned i;

	for (i = 0; i < spec->object_count; i++) {
		if (strcmp(spec->objects[i].path, path) == 0) {
			*ret_index = i;
			return 0;
		}
	}
	if (i == SL_FORWARD_MAX)
		return sl_cli_fail("forward: too many object files");
	spec->objects[i].log = malloc(LOG_BYTES);
	if (!spec->objects[i].log)
		return sl_cli_fail("forward: %s", strerror(ENOMEM));
	spec->objects[i].log[0] = '\0';
	LIBBPF_OPTS(bpf_object_open_opts, opts, .kernel_log_buf = spec->objects[i].log,
		.kernel_log_size = LOG_BYTES, .kernel_log_level = 1);
	obj = bpf_object__open_file(path, &opts);
	if (!obj) {
		int err = errno;

		free(spec->objects[i].log);
		return sl_cli_fail("forward: cannot open %s: %s", path,
			err == ENOENT || err == EACCES ? strerror(err) : "not a BPF object");
	}
	spec->objects[i].path = path;
	spec->objects[i].obj = obj;
	spec->object_count = i + 1;
	*ret_index = i;
	return 0;
}

/* By section or function, or the first of the right type (or of no particular one). */
static struct bpf_program *find_program(
	struct bpf_object *obj, const char *name, enum bpf_prog_type type)
{
	struct bpf_program *p, *untyped = NULL;

	bpf_object__for_each_program(p, obj)
	{
		if (name && (strcmp(bpf_program__section_name(p), name) == 0 ||
				    strcmp(bpf_program__name(p), name) == 0))
			return p;
		if (!name && bpf_program__type(p) == type)
			return p;
		if (!untyped && bpf_program__type(p) == BPF_PROG_TYPE_UNSPEC)
			untyped = p;
	}
	return name ? NULL : untyped;
}

static int open_prog(
	struct sl_forward_spec *spec, struct sl_forward_prog *prog, enum bpf_prog_type type)
{
	int status = open_object(spec, prog->path, &prog->object);

	if (status)
		return status;
	prog->prog = find_program(spec->objects[prog->object].obj, prog->name, type);
	if (!prog->prog)
		return sl_cli_fail("forward: %s has no program %s", prog->path,
			prog->name ? prog->name : "for this hook");
	/* Any section name will do: the hook says what the program is. */
	if (bpf_program__type(prog->prog) == BPF_PROG_TYPE_UNSPEC)
		bpf_program__set_type(prog->prog, type);
	if (bpf_program__type(prog->prog) != type)
		return sl_cli_fail("forward: program %s of %s is of another type",
			bpf_program__name(prog->prog), prog->path);
	return 0;
}

/* The line in which the verifier says why; it ends with a summary that does not. */
static const char *last_reason(char *log)
{
	char *reason = NULL, *save = NULL;

	for (char *line = strtok_r(log, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (strncmp(line, "processed ", 10) != 0 && strncmp(line, "verification ", 13) != 0)
			reason = line;
	}
	return reason;
}

static int load_object(struct sl_forward_spec *spec, unsigned i)
{
	struct bpf_program *p;
	const char *reason;
	int err;

	bpf_object__for_each_program(p, spec->objects[i].obj)
	{
		if (bpf_program__type(p) == BPF_PROG_TYPE_UNSPEC)
			bpf_program__set_autoload(p, false);
	}
	err = bpf_object__load(spec->objects[i].obj);
	if (!err)
		return 0;
	reason = last_reason(spec->objects[i].log);
	return sl_cli_fail("forward: cannot load %s: %s%s%s", spec->objects[i].path, strerror(-err),
		reason ? ": " : "", reason ? reason : "");
}

int sl_forward_load(struct sl_forward_spec *spec)
{
	int status = 0;

	libbpf_set_print(silence);
	for (unsigned i = 0; !status && i < spec->xdp_count; i++)
		status = open_prog(spec, &spec->xdp[i].prog, BPF_PROG_TYPE_XDP);
	for (unsigned i = 0; !status && i < spec->tc_count; i++) {
		struct sl_forward_filter *f = &spec->tc[i];

		status = open_prog(spec, &f->classifier, BPF_PROG_TYPE_SCHED_CLS);
		for (unsigned a = 0; !status && a < f->filter.action_count; a++) {
			if (f->actions[a].path)
				status = open_prog(spec, &f->actions[a], BPF_PROG_TYPE_SCHED_ACT);
		}
	}
	for (unsigned i = 0; !status && i < spec->object_count; i++)
		status = load_object(spec, i);
	return status;
}

void sl_forward_unload(struct sl_forward_spec *spec)
{
	for (unsigned i = 0; i < spec->object_count; i++) {
		bpf_object__close(spec->objects[i].obj);
		free(spec->objects[i].log);
	}
	spec->object_count = 0;
}

static uint32_t port_or_complain(const char *name)
{
	uint32_t ifindex = sl_forward_port(name);

	if (!ifindex)
		sl_cli_fail("forward: there is no port %s", name);
	return ifindex;
}

static int attach_filter(struct sl_forward_filter *f)
{
	uint32_t ifindex = port_or_complain(f->port);
	char name[SLUICE_TC_NAME_LEN];
	const char *file = strrchr(f->classifier.path, '/');

	if (!ifindex)
		return 1;
	/* As tc names its filters: file:[section]. */
	snprintf(name, sizeof(name), "%s:[%s]", file ? file + 1 : f->classifier.path,
		bpf_program__section_name(f->classifier.prog));
	f->filter.name = name;
	f->filter.prog_fd = bpf_program__fd(f->classifier.prog);
	f->filter.actions = f->verdicts;
	for (unsigned a = 0; a < f->filter.action_count; a++) {
		if (f->actions[a].path)
			f->verdicts[a].prog_fd = bpf_program__fd(f->actions[a].prog);
	}
	return sluice_tc_add(ifindex, f->hook, &f->filter, 0) != 0;
}

int sl_forward_attach(struct sl_forward_spec *spec)
{
	for (unsigned i = 0; i < spec->xdp_count; i++) {
		uint32_t ifindex = port_or_complain(spec->xdp[i].port);
		int fd = bpf_program__fd(spec->xdp[i].prog.prog);

		if (!ifindex || sluice_xdp_attach(ifindex, fd, -1, 0) != 0)
			return 1;
	}
	for (unsigned i = 0; i < spec->tc_count; i++) {
		if (attach_filter(&spec->tc[i]) != 0)
			return 1;
	}
	return 0;
}
