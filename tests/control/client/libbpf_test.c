#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "defs.h"
#include "globals.skel.h"
#include "oracle.h"
#include "test.h"

/* libbpf, unmodified, on top of sluice_bpf(): what it loads, probes and maps. */

static char text[16384];
static size_t text_len;

static int keep(enum libbpf_print_level level, const char *fmt, va_list args)
{
	if (level != LIBBPF_DEBUG && text_len < sizeof(text))
		text_len += vsnprintf(text + text_len, sizeof(text) - text_len, fmt, args);
	return 0;
}

static int run(int fd, int repeat)
{
	static char packet[64];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet),
		.repeat = repeat);

	return bpf_prog_test_run_opts(fd, &opts) == 0 ? (int)opts.retval : -errno;
}

static struct globals *load(void)
{
	struct globals *skel;

	text_len = 0;
	text[0] = '\0';
	libbpf_set_print(keep);
	skel = globals__open();
	if (!skel)
		return NULL;
	skel->rodata->step = 5;
	/* What libbpf found out about Sluice, it believes of the kernel too. */
	bpf_program__set_autoload(skel->progs.probe, false);
	if (globals__load(skel) == 0)
		return skel;
	sl_test_fail(__FILE__, __LINE__, "%s", text);
	globals__destroy(skel);
	return NULL;
}

TEST(libbpf, skeleton_with_global_data)
{
	struct globals *skel = load();
	uint32_t key = 1;
	uint64_t value = 0;

	ASSERT_TRUE(skel != NULL);
	EXPECT_STREQ("", text);
	EXPECT_EQ(XDP_DROP, run(bpf_program__fd(skel->progs.count), 7));
	EXPECT_EQ(7, skel->bss->runs);
	EXPECT_EQ(100 + 7 * 2 * 5, skel->data->total);
	/* What the consumer writes, the program finds. */
	skel->data->total = 1000;
	EXPECT_EQ(XDP_DROP, run(bpf_program__fd(skel->progs.count), 1));
	EXPECT_EQ(1010, skel->data->total);
	EXPECT_EQ(0, bpf_map_lookup_elem(bpf_map__fd(skel->maps.seen), &key, &value));
	EXPECT_EQ(8, value);
	globals__destroy(skel);
}

TEST(libbpf, probe_reads_whatever_libbpf_makes_of_them)
{
	struct globals *skel = globals__open();

	ASSERT_TRUE(skel != NULL);
	ASSERT_EQ(0, globals__load(skel));
	EXPECT_EQ(XDP_TX, run(bpf_program__fd(skel->progs.probe), 1));
	globals__destroy(skel);
}

TEST(libbpf, tail_calls)
{
	struct globals *skel = load();
	uint32_t index = 2;
	int fd;

	ASSERT_TRUE(skel != NULL);
	EXPECT_EQ(XDP_ABORTED, run(bpf_program__fd(skel->progs.jump), 1));
	fd = bpf_program__fd(skel->progs.target);
	EXPECT_EQ(0, bpf_map_update_elem(bpf_map__fd(skel->maps.jumps), &index, &fd, BPF_ANY));
	EXPECT_EQ(XDP_TX, run(bpf_program__fd(skel->progs.jump), 1));
	EXPECT_EQ(XDP_TX, run(bpf_program__fd(skel->progs.jump_ready), 1));
	fd = bpf_program__fd(skel->progs.mark);
	EXPECT_EQ(
		-EINVAL, bpf_map_update_elem(bpf_map__fd(skel->maps.jumps), &index, &fd, BPF_ANY));
	globals__destroy(skel);
}

TEST(libbpf, info_names_what_was_loaded)
{
	struct globals *skel = load();
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info), ids[8] = { 0 };
	struct bpf_map_info map = { 0 };
	struct bpf_func_info funcs[8];

	ASSERT_TRUE(skel != NULL);
	info.map_ids = (uintptr_t)ids;
	info.nr_map_ids = 8;
	info.func_info = (uintptr_t)funcs;
	info.nr_func_info = 8;
	info.func_info_rec_size = sizeof(funcs[0]);
	ASSERT_EQ(0, bpf_obj_get_info_by_fd(bpf_program__fd(skel->progs.count), &info, &len));
	EXPECT_STREQ("count", info.name);
	EXPECT_EQ(BPF_PROG_TYPE_XDP, info.type);
	EXPECT_GE(info.nr_map_ids, 4);
	EXPECT_EQ(3, info.nr_func_info);
	EXPECT_GT(info.nr_line_info, 3);
	EXPECT_GT(info.btf_id, 0);
	EXPECT_GT(info.jited_prog_len, 0);
	len = sizeof(map);
	ASSERT_EQ(0, bpf_obj_get_info_by_fd(bpf_map__fd(skel->maps.seen), &map, &len));
	EXPECT_STREQ("seen", map.name);
	EXPECT_GT(map.btf_value_type_id, 0);
	globals__destroy(skel);
}

TEST(libbpf, objects_of_the_tree)
{
	static const char *const names[] = { "classify", "l2fwd", "macswap", "police", "sampler" };
	struct bpf_object *obj;
	char path[512];

	libbpf_set_print(keep);
	for (unsigned i = 0; i < sl_array_size(names); i++) {
		TRACE_PUSH("%s", names[i]);
		text_len = 0;
		text[0] = '\0';
		snprintf(path, sizeof(path), "%s/%s.bpf.o", PROGRAMS_DIR, names[i]);
		obj = bpf_object__open_file(path, NULL);
		ASSERT_TRUE(obj != NULL);
		EXPECT_EQ(0, bpf_object__load(obj));
		EXPECT_STREQ("", text);
		bpf_object__close(obj);
		TRACE_POP();
	}
}

TEST(libbpf, probes_find_what_there_is)
{
	static const enum bpf_prog_type progs[] = { BPF_PROG_TYPE_XDP, BPF_PROG_TYPE_SCHED_CLS,
		BPF_PROG_TYPE_SCHED_ACT, BPF_PROG_TYPE_SOCKET_FILTER };
	static const enum bpf_map_type maps[] = { BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY,
		BPF_MAP_TYPE_PERCPU_HASH, BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_PROG_ARRAY,
		BPF_MAP_TYPE_PERF_EVENT_ARRAY, BPF_MAP_TYPE_LRU_HASH,
		BPF_MAP_TYPE_LRU_PERCPU_HASH };

	libbpf_set_print(keep);
	for (unsigned i = 0; i < sl_array_size(progs); i++)
		EXPECT_EQ(1, libbpf_probe_bpf_prog_type(progs[i], NULL));
	for (unsigned i = 0; i < sl_array_size(maps); i++)
		EXPECT_EQ(1, libbpf_probe_bpf_map_type(maps[i], NULL));
	EXPECT_EQ(0, libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_CGROUP_DEVICE, NULL));
	/* This libbpf understands only how older kernels refuse a helper: compare. */
	if (!oracle_permitted())
		return;
	for (unsigned id = 1; id < 30; id++) {
		int here = libbpf_probe_bpf_helper(BPF_PROG_TYPE_XDP, id, NULL), there;

		sl_client_use(SL_CLIENT_KERNEL);
		there = libbpf_probe_bpf_helper(BPF_PROG_TYPE_XDP, id, NULL);
		sl_client_use(SL_CLIENT_IN_PROCESS);
		TRACE_PUSH("helper %u", id);
		EXPECT_EQ(there, here);
		TRACE_POP();
	}
}

TEST(libbpf, pins)
{
	struct globals *skel = load();
	uint32_t key = 1;
	uint64_t value = 3;
	int fd;

	ASSERT_TRUE(skel != NULL);
	ASSERT_EQ(0, bpf_obj_pin(bpf_map__fd(skel->maps.seen), "/sys/fs/bpf/seen"));
	EXPECT_EQ(-EEXIST, bpf_obj_pin(bpf_map__fd(skel->maps.seen), "/sys/fs/bpf/seen"));
	globals__destroy(skel);
	fd = bpf_obj_get("/sys/fs/bpf/seen");
	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, bpf_map_update_elem(fd, &key, &value, BPF_ANY));
	close(fd);
	fd = bpf_obj_get("/sys/fs/bpf/seen");
	EXPECT_EQ(0, bpf_map_lookup_elem(fd, &key, &value));
	close(fd);
}

/* The same skeleton in the kernel, to know that the test is right. */
TEST(libbpf, kernel_does_the_same)
{
	struct globals *skel;

	ORACLE_OR_SKIP();
	sl_client_use(SL_CLIENT_KERNEL);
	skel = load();
	if (skel) {
		EXPECT_STREQ("", text);
		EXPECT_EQ(XDP_DROP, run(bpf_program__fd(skel->progs.count), 7));
		EXPECT_EQ(7, skel->bss->runs);
		EXPECT_EQ(XDP_TX, run(bpf_program__fd(skel->progs.jump_ready), 1));
		globals__destroy(skel);
	}
	sl_client_use(SL_CLIENT_IN_PROCESS);
}
