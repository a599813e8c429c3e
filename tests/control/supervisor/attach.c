#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * An ordinary libbpf program: attaches the XDP and the TC program of its object to an interface by
 * rtnetlink, looks whether they are there, and takes them away again.
 */
#define CHECK(condition)                                                                          \
	do {                                                                                      \
		if (!(condition)) {                                                               \
			fprintf(stderr, "line %d: %s (errno %d)\n", __LINE__, #condition, errno); \
			exit(1);                                                                  \
		}                                                                                 \
	} while (0)

static unsigned id_of(int fd)
{
	struct bpf_prog_info info = { 0 };
	unsigned len = sizeof(info);

	CHECK(bpf_obj_get_info_by_fd(fd, &info, &len) == 0);
	return info.id;
}

static void attach_xdp(int ifindex, int fd)
{
	LIBBPF_OPTS(bpf_xdp_attach_opts, replace, .old_prog_fd = fd);
	unsigned id = 0;

	CHECK(bpf_xdp_attach(ifindex, fd, XDP_FLAGS_UPDATE_IF_NOEXIST, NULL) == 0);
	CHECK(bpf_xdp_attach(ifindex, fd, XDP_FLAGS_UPDATE_IF_NOEXIST, NULL) == -EBUSY);
	CHECK(bpf_xdp_query_id(ifindex, 0, &id) == 0 && id == id_of(fd));
	CHECK(bpf_xdp_attach(ifindex, fd, 0, &replace) == 0);
	CHECK(bpf_xdp_detach(ifindex, 0, NULL) == 0);
	CHECK(bpf_xdp_query_id(ifindex, 0, &id) == 0 && id == 0);
	CHECK(bpf_xdp_attach(ifindex, fd, 0, &replace) == -EEXIST);
	CHECK(bpf_xdp_attach(ifindex, 0, 0, NULL) == -EINVAL);
	CHECK(bpf_xdp_attach(0x7ffffff, fd, 0, NULL) == -ENODEV);
}

static void attach_tc(int ifindex, int fd)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 3, .priority = 7, .prog_fd = fd);
	LIBBPF_OPTS(bpf_tc_opts, again, .handle = 3, .priority = 7);

	CHECK(bpf_tc_hook_create(&hook) == 0);
	CHECK(bpf_tc_hook_create(&hook) == -EEXIST);
	CHECK(bpf_tc_attach(&hook, &opts) == 0 && opts.prog_id == id_of(fd));
	CHECK(bpf_tc_query(&hook, &again) == 0 && again.prog_id == id_of(fd));
	again.prog_id = again.prog_fd = again.flags = 0;
	CHECK(bpf_tc_detach(&hook, &again) == 0);
	CHECK(bpf_tc_query(&hook, &again) == -EINVAL);
	hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
	CHECK(bpf_tc_hook_destroy(&hook) == 0);
}

/* The list of all interfaces has it too, and lo. */
static void find_in_list(const char *name)
{
	struct if_nameindex *all = if_nameindex();
	unsigned found = 0;

	CHECK(all);
	for (struct if_nameindex *i = all; i->if_index; i++)
		found += strcmp(i->if_name, name) == 0 || strcmp(i->if_name, "lo") == 0;
	CHECK(found == 2);
	if_freenameindex(all);
}

int main(int argc, char **argv)
{
	struct bpf_object *object;
	struct bpf_program *program;
	int ifindex;

	if (argc != 3)
		return 2;
	ifindex = (int)if_nametoindex(argv[1]);
	CHECK(ifindex > 0);
	find_in_list(argv[1]);
	libbpf_set_print(NULL);
	object = bpf_object__open_file(argv[2], NULL);
	CHECK(object && bpf_object__load(object) == 0);
	bpf_object__for_each_program(program, object)
	{
		if (bpf_program__type(program) == BPF_PROG_TYPE_XDP)
			attach_xdp(ifindex, bpf_program__fd(program));
		if (bpf_program__type(program) == BPF_PROG_TYPE_SCHED_CLS)
			attach_tc(ifindex, bpf_program__fd(program));
	}
	bpf_object__close(object);
	puts("attached and detached");
	return 0;
}
