#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Attaches programs by libbpf, as programs of users do, and prints what it is told. */

static const struct bpf_insn insns[] = {
	{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
	{ .code = BPF_JMP | BPF_EXIT },
};

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	return 0;
}

static int load(enum bpf_prog_type type)
{
	int fd = bpf_prog_load(type, "attached", "GPL", insns, 2, NULL);

	if (fd < 0) {
		fprintf(stderr, "load: %s\n", strerror(errno));
		exit(1);
	}
	return fd;
}

static unsigned id_of(int fd)
{
	struct bpf_prog_info info = { 0 };
	unsigned len = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : info.id;
}

static void use_xdp(int ifindex)
{
	int one = load(BPF_PROG_TYPE_XDP), two = load(BPF_PROG_TYPE_XDP);
	LIBBPF_OPTS(bpf_xdp_attach_opts, wrong, .old_prog_fd = two);
	LIBBPF_OPTS(bpf_xdp_attach_opts, right, .old_prog_fd = one);
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	unsigned id = 0;

	printf("attach %d\n", bpf_xdp_attach(ifindex, one, XDP_FLAGS_UPDATE_IF_NOEXIST, NULL));
	printf("again %d\n", bpf_xdp_attach(ifindex, two, XDP_FLAGS_UPDATE_IF_NOEXIST, NULL));
	printf("wrong %d\n", bpf_xdp_attach(ifindex, two, 0, &wrong));
	printf("generic %d\n", bpf_xdp_attach(ifindex, two, XDP_FLAGS_SKB_MODE, NULL));
	printf("query %d", bpf_xdp_query_id(ifindex, 0, &id));
	printf(" %d\n", id == id_of(one));
	printf("right %d\n", bpf_xdp_attach(ifindex, two, 0, &right));
	printf("query %d", bpf_xdp_query(ifindex, 0, &query));
	printf(" %d %d %d mode %d\n", query.prog_id == id_of(two), query.drv_prog_id == id_of(two),
		query.skb_prog_id, query.attach_mode);
	printf("detach %d\n", bpf_xdp_detach(ifindex, 0, NULL));
	printf("query %d", bpf_xdp_query_id(ifindex, 0, &id));
	printf(" %u\n", id);
	printf("bad fd %d\n", bpf_xdp_attach(ifindex, 1000, 0, NULL));
	printf("no port %d\n", bpf_xdp_attach(1 << 20, one, 0, NULL));
}

static void show(const char *what, int err, const struct bpf_tc_opts *opts, int fd)
{
	printf("%s %d handle %u priority %u program %d\n", what, err, opts->handle, opts->priority,
		opts->prog_id && opts->prog_id == id_of(fd));
}

static void use_tc(int ifindex)
{
	int one = load(BPF_PROG_TYPE_SCHED_CLS), two = load(BPF_PROG_TYPE_SCHED_CLS);
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = one);
	LIBBPF_OPTS(bpf_tc_opts, named, .handle = 3, .priority = 9, .prog_fd = one);
	LIBBPF_OPTS(bpf_tc_opts, asked, .handle = 3, .priority = 9);
	int err;

	err = bpf_tc_attach(&hook, &opts);
	show("no hook", err, &opts, one);
	printf("create %d\n", bpf_tc_hook_create(&hook));
	printf("again %d\n", bpf_tc_hook_create(&hook));
	opts.prog_fd = one;
	opts.prog_id = 0;
	err = bpf_tc_attach(&hook, &opts);
	show("attach", err, &opts, one);
	err = bpf_tc_attach(&hook, &named);
	show("attach", err, &named, one);
	named.prog_id = 0;
	err = bpf_tc_attach(&hook, &named);
	show("exists", err, &named, one);
	named.prog_id = 0;
	named.prog_fd = two;
	named.flags = BPF_TC_F_REPLACE;
	err = bpf_tc_attach(&hook, &named);
	show("replace", err, &named, two);
	err = bpf_tc_query(&hook, &asked);
	show("query", err, &asked, two);
	asked.prog_id = 0;
	printf("detach %d\n", bpf_tc_detach(&hook, &asked));
	printf("detach %d\n", bpf_tc_detach(&hook, &asked));
	err = bpf_tc_query(&hook, &asked);
	show("query", err, &asked, two);
	printf("flush %d\n", bpf_tc_hook_destroy(&hook));
	hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
	printf("destroy %d\n", bpf_tc_hook_destroy(&hook));
}

int main(int argc, char **argv)
{
	int ifindex = argc == 2 ? (int)if_nametoindex(argv[1]) : 0;
	char name[IF_NAMESIZE];

	if (!ifindex) {
		fprintf(stderr, "attach INTERFACE\n");
		return 2;
	}
	libbpf_set_print(quiet);
	printf("%s\n", if_indextoname((unsigned)ifindex, name) ? name : "no name");
	use_xdp(ifindex);
	use_tc(ifindex);
	return 0;
}
