#include "forward.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/libbpf.h>

#include "loader.h"
#include "verb.h"

static int open_object(struct sl_forward_spec *spec, const char *path, unsigned *ret_index)
{
	char why[SL_LOADER_WHY_MAX];
	unsigned i;

	for (i = 0; i < spec->object_count; i++) {
		if (strcmp(spec->objects[i].path, path) == 0) {
			*ret_index = i;
			return 0;
		}
	}
	if (i == SL_FORWARD_MAX)
		return sl_cli_fail("forward: too many object files");
	if (sl_loader_open(path, NULL, &spec->objects[i].loader, why) != 0)
		return sl_cli_fail("forward: cannot open %s: %s", path, why);
	spec->objects[i].path = path;
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
	struct sl_loader *loader;

	if (status)
		return status;
	loader = spec->objects[prog->object].loader;
	prog->prog = find_program(sl_loader_object(loader), prog->name, type);
	if (!prog->prog)
		return sl_cli_fail("forward: %s has no program %s", prog->path,
			prog->name ? prog->name : "for this hook");
	/* Any section name will do: the hook says what the program is. */
	if (bpf_program__type(prog->prog) == BPF_PROG_TYPE_UNSPEC)
		bpf_program__set_type(prog->prog, type);
	if (bpf_program__type(prog->prog) != type)
		return sl_cli_fail("forward: program %s of %s is of another type",
			bpf_program__name(prog->prog), prog->path);
	sl_loader_type_tail_calls(loader, type);
	return 0;
}

static int load_object(struct sl_forward_spec *spec, unsigned i)
{
	char why[SL_LOADER_WHY_MAX];
	int err = sl_loader_load(spec->objects[i].loader, why);

	return err ? sl_cli_fail("forward: cannot load %s: %s%s%s", spec->objects[i].path,
			     strerror(-err), why[0] ? ": " : "", why)
		   : 0;
}

int sl_forward_load(struct sl_forward_spec *spec)
{
	int status = 0;

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
	for (unsigned i = 0; !status && i < spec->tap_count; i++)
		status = open_prog(spec, &spec->taps[i].prog, BPF_PROG_TYPE_SOCKET_FILTER);
	for (unsigned i = 0; !status && i < spec->object_count; i++)
		status = load_object(spec, i);
	return status;
}

void sl_forward_unload(struct sl_forward_spec *spec)
{
	for (unsigned i = 0; i < spec->object_count; i++)
		sl_loader_free(spec->objects[i].loader);
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
