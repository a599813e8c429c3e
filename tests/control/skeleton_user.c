#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "skeleton.h"
#include "skeleton.skel.h"

/*
 * An ordinary control plane: libbpf, a skeleton, and nothing that knows of Sluice. Its verbs attach in
 * all ways that there are, and then it ends as such programs do: without cleaning up.
 */

enum { UDP_PORT = 7777, PATIENCE_S = 20 };
/* Newer than some headers. */
enum { TCX_INGRESS = 46 };

static struct skeleton_bpf *skeleton;
static unsigned perf_received, ring_received, wrong;

static __attribute__((noreturn)) void fail(const char *what, int err)
{
	fprintf(stderr, "%s: %s\n", what, strerror(err < 0 ? -err : errno));
	exit(1);
}

static void check(const struct record *r, unsigned number)
{
	if (r->magic != MAGIC || r->number != number || r->len != 64)
		wrong++;
}

static void on_event(void *arg, int cpu, void *data, __u32 size)
{
	const unsigned char *packet = (unsigned char *)data + sizeof(struct record);

	(void)arg;
	(void)cpu;
	check(data, perf_received++);
	if (size < sizeof(struct record) + PACKET_BYTES || packet[12] != 8 || packet[13] ||
		packet[36] != UDP_PORT >> 8 || packet[37] != (UDP_PORT & 255))
		wrong++;
}

static void on_loss(void *arg, int cpu, __u64 n)
{
	(void)arg;
	(void)cpu;
	wrong += (unsigned)n;
}

static int on_record(void *arg, void *data, size_t size)
{
	(void)arg;
	if (size != sizeof(struct record))
		wrong++;
	check(data, ring_received++);
	return 0;
}

static void load(void)
{
	int err;

	skeleton = skeleton_bpf__open();
	if (!skeleton)
		fail("open", 0);
	skeleton->rodata->port = UDP_PORT;
	err = skeleton_bpf__load(skeleton);
	if (err)
		fail("load", err);
}

static void say(const char *word)
{
	puts(word);
	fflush(stdout);
}

/* Reads both kinds of events while packets come, then has the program drop them. */
static int events(int ifindex, unsigned n)
{
	struct perf_buffer *perf;
	struct ring_buffer *ring;
	struct bpf_link *link;
	time_t end = time(NULL) + PATIENCE_S;

	load();
	perf = perf_buffer__new(
		bpf_map__fd(skeleton->maps.events), 64, on_event, on_loss, NULL, NULL);
	ring = ring_buffer__new(bpf_map__fd(skeleton->maps.records), on_record, NULL, NULL);
	if (!perf || !ring)
		fail("buffers", 0);
	link = bpf_program__attach_xdp(skeleton->progs.observe, ifindex);
	if (!link)
		fail("attach_xdp", 0);
	say("ready");
	while ((perf_received < n || ring_received < n) && time(NULL) < end) {
		perf_buffer__poll(perf, 20);
		ring_buffer__poll(ring, 20);
	}
	*(volatile __u32 *)&skeleton->data->passing = 0;
	say("dropping");
	while (*(volatile __u64 *)&skeleton->bss->dropped < n && time(NULL) < end)
		usleep(1000);
	printf("perf %u ring %u seen %llu dropped %llu lost %llu wrong %u\n", perf_received,
		ring_received, skeleton->bss->seen, skeleton->bss->dropped, skeleton->bss->lost,
		wrong);
	return 0;
}

/* Until n packets have passed the program at the other hook. */
static void await(unsigned n)
{
	time_t end = time(NULL) + PATIENCE_S;

	say("ready");
	while (*(volatile __u64 *)&skeleton->bss->forwarded < n && time(NULL) < end)
		usleep(1000);
	printf("forwarded %llu\n", skeleton->bss->forwarded);
}

static int tcx(int ifindex, unsigned n)
{
	union bpf_attr attr = { 0 };
	int fd;

	load();
	attr.link_create.prog_fd = (__u32)bpf_program__fd(skeleton->progs.forward);
	attr.link_create.target_ifindex = (__u32)ifindex;
	attr.link_create.attach_type = (enum bpf_attach_type)TCX_INGRESS;
	fd = (int)syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
	if (fd < 0)
		fail("tcx", 0);
	await(n);
	return 0;
}

static int tc(int ifindex, unsigned n)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = 7);
	int err;

	load();
	opts.prog_fd = bpf_program__fd(skeleton->progs.forward);
	err = bpf_tc_hook_create(&hook);
	if (!err)
		err = bpf_tc_attach(&hook, &opts);
	if (err)
		fail("tc", err);
	await(n);
	return 0;
}

static int stay(int ifindex, const char *path)
{
	int err;

	load();
	err = bpf_map__pin(skeleton->maps.totals, path);
	if (!err)
		err = bpf_xdp_attach(ifindex, bpf_program__fd(skeleton->progs.observe), 0, NULL);
	if (err)
		fail("stay", err);
	return 0;
}

static int off(int ifindex)
{
	int err = bpf_xdp_detach(ifindex, 0, NULL);

	if (err)
		fail("detach", err);
	return 0;
}

static int pin(int ifindex, const char *path)
{
	struct bpf_link *link;
	int err;

	load();
	link = bpf_program__attach_xdp(skeleton->progs.observe, ifindex);
	if (!link)
		fail("attach_xdp", 0);
	err = bpf_link__pin(link, path);
	if (err)
		fail("pin", err);
	return 0;
}

/* The pinned link gets another program, in the place of the one that runs. */
static int update(const char *path)
{
	struct bpf_link *link = bpf_link__open(path);
	int err;

	if (!link)
		fail("open link", 0);
	load();
	err = bpf_link__update_program(link, skeleton->progs.observe);
	if (err)
		fail("update", err);
	return 0;
}

/* Another program, with the map of the one that is attached. */
static int total(const char *path)
{
	int fd = bpf_obj_get(path), cpus = libbpf_num_possible_cpus();
	__u64 *values = calloc((size_t)cpus, sizeof(*values)), sum = 0;
	__u32 key = 0;

	if (fd < 0 || bpf_map_lookup_elem(fd, &key, values))
		fail("total", 0);
	for (int i = 0; i < cpus; i++)
		sum += values[i];
	printf("total %llu\n", sum);
	free(values);
	return 0;
}

static int query(int ifindex)
{
	__u32 id = 0;
	int err = bpf_xdp_query_id(ifindex, 0, &id);

	if (err)
		fail("query", err);
	say(id ? "a program" : "no program");
	return 0;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "", *last = argc > 3 ? argv[3] : "";
	int ifindex = argc > 2 ? (int)if_nametoindex(argv[2]) : 0;

	if (argc == 4 && strcmp(verb, "events") == 0)
		return events(ifindex, (unsigned)atoi(last));
	if (argc == 4 && strcmp(verb, "tc") == 0)
		return tc(ifindex, (unsigned)atoi(last));
	if (argc == 4 && strcmp(verb, "tcx") == 0)
		return tcx(ifindex, (unsigned)atoi(last));
	if (argc == 4 && strcmp(verb, "stay") == 0)
		return stay(ifindex, last);
	if (argc == 4 && strcmp(verb, "pin") == 0)
		return pin(ifindex, last);
	if (argc == 3 && strcmp(verb, "off") == 0)
		return off(ifindex);
	if (argc == 3 && strcmp(verb, "query") == 0)
		return query(ifindex);
	if (argc == 3 && strcmp(verb, "update") == 0)
		return update(argv[2]);
	if (argc == 3 && strcmp(verb, "total") == 0)
		return total(argv[2]);
	fprintf(stderr, "skeleton_user VERB PORT|PATH [N|PATH]\n");
	return 2;
}
