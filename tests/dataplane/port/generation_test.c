#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/if_link.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "defs.h"
#include "swaps_bed.h"
#include "test.h"

/*
 * Generations: refused as a whole or published as a whole, rolled back, and never half seen by a
 * packet while workers run at full load.
 */

/* Newer than the header. */
#define TCX_EGRESS ((enum bpf_attach_type)47)

enum { RUN_MS = 600, PACKETS = 128 };

static bool start(void)
{
	static char *args[] = { "--no-huge", "-m", "128", "--no-shconf", "--no-pci" };
	static int state;

	if (!state)
		state = sluice_eal_start(2, sl_array_size(args), args) == 0 ? 1 : -1;
	return state > 0;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t sum(enum sluice_counter_kind kind)
{
	struct sluice_counters c;

	return sluice_counters_read(0, -1, &c) == 0 ? sluice_counters_sum(&c, kind) : UINT64_MAX;
}

/* ---- under load ---- */

struct control {
	struct swaps_bed *bed;
	int (*change)(struct swaps_bed *bed, unsigned n);
	unsigned made, second; /* changes; those that another thread had made already */
	int err; /* the first that was not expected */
	pthread_t thread;
};

static bool done;

static void *control_main(void *arg)
{
	struct control *c = arg;

	for (unsigned n = 0; !__atomic_load_n(&done, __ATOMIC_RELAXED); n++) {
		int err = c->change(c->bed, n);

		c->made += err == 0;
		c->second += err == -ESTALE;
		if (err && err != -ESTALE && !c->err)
			c->err = err;
	}
	return NULL;
}

static int swap(struct swaps_bed *bed, unsigned n)
{
	struct sluice_generation_info info;

	return swaps_to(bed, n & 1, &info);
}

static int back(struct swaps_bed *bed, unsigned n)
{
	struct sluice_generation_info info;

	(void)bed;
	(void)n;
	return sluice_generation_rollback(UINT64_MAX, 0, &info, NULL, 0);
}

static int aside(struct swaps_bed *bed, unsigned n)
{
	return swaps_aside(bed, !(n & 1));
}

/* What each row runs beside the workers; the first changes the programs that packets meet. */
static const struct load {
	const char *name;
	int (*changes[3])(struct swaps_bed *bed, unsigned n);
} loads[] = {
	{ "one thread", { swap } },
	{ "two threads, and single slots", { swap, swap, aside } },
	{ "and rollbacks", { swap, back, aside } },
};

static void check_packets(struct swaps_bed *bed)
{
	struct swaps_state s;

	ASSERT_TRUE(swaps_read(bed, &s));
	EXPECT_EQ(PACKETS, s.packets);
	EXPECT_GT(s.seen, 1000ull);
	EXPECT_EQ(s.seen, s.left);
	EXPECT_EQ(0ull, s.mixed);
	EXPECT_EQ(0ull, s.missed);
	EXPECT_EQ(0ull, s.disorder);
	EXPECT_EQ(sum(SLUICE_KIND_IN), sum(SLUICE_KIND_OUT));
}

static void run_load(const struct load *load)
{
	struct control controls[3] = { 0 };
	struct swaps_bed bed;
	struct swaps_state s;
	unsigned count = 0, made = 0;

	ASSERT_TRUE(swaps_open(&bed, PACKETS));
	/* There is something to roll back. */
	ASSERT_EQ(0, swap(&bed, 1));
	ASSERT_EQ(0, sluice_workers_start());
	__atomic_store_n(&done, false, __ATOMIC_RELAXED);
	for (; count < 3 && load->changes[count]; count++) {
		controls[count].bed = &bed;
		controls[count].change = load->changes[count];
		pthread_create(&controls[count].thread, NULL, control_main, &controls[count]);
	}
	usleep(RUN_MS * 1000);
	__atomic_store_n(&done, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < count; i++) {
		pthread_join(controls[i].thread, NULL);
		EXPECT_EQ(0, controls[i].err);
		made += controls[i].made;
	}
	EXPECT_GT(made, 5u);
	sluice_workers_stop();
	check_packets(&bed);
	ASSERT_TRUE(swaps_read(&bed, &s));
	EXPECT_EQ(load->changes[2] != NULL, s.aside > 0);
	swaps_close(&bed);
}

TEST(generation, no_packet_is_lost_or_overtaken_or_meets_two)
{
	ASSERT_TRUE(start());
	for (unsigned i = 0; i < sl_array_size(loads); i++) {
		TRACE_PUSH("%s", loads[i].name);
		run_load(&loads[i]);
		TRACE_POP();
	}
}

/* ---- the hooks by themselves, as other tools replace them ---- */

/* The same programs a second time, with the same maps. */
static struct swaps *twin_of(struct swaps_bed *bed)
{
	struct swaps *twin = swaps__open();

	if (!twin || bpf_map__reuse_fd(twin->maps.first, bpf_map__fd(bed->skel->maps.first)) ||
		bpf_map__reuse_fd(twin->maps.second, bpf_map__fd(bed->skel->maps.second)) ||
		bpf_map__reuse_fd(twin->maps.third, bpf_map__fd(bed->skel->maps.third)) ||
		bpf_map__reuse_fd(twin->maps.states, bpf_map__fd(bed->skel->maps.states)) ||
		swaps__load(twin)) {
		swaps__destroy(twin);
		return NULL;
	}
	return twin;
}

/* Replaces what is at the three hooks by what is in `to`, expecting what is in `from`. */
static int replace_alone(struct swaps_bed *bed, struct swaps *from, struct swaps *to)
{
	struct sluice_tc_filter filter = bed->filter;
	LIBBPF_OPTS(bpf_prog_attach_opts, opts, .flags = BPF_F_REPLACE,
		.replace_prog_fd = bpf_program__fd(from->progs.egress0));
	int err = sluice_xdp_attach(bed->ifindex, bpf_program__fd(to->progs.front0),
		bpf_program__fd(from->progs.front0), XDP_FLAGS_REPLACE);

	filter.prog_fd = bpf_program__fd(to->progs.filter0);
	if (!err)
		err = sluice_tc_add(bed->ifindex, SLUICE_TC_INGRESS, &filter, SLUICE_TC_REPLACE);
	if (!err && bpf_prog_attach_opts(bpf_program__fd(to->progs.egress0), (int)bed->ifindex,
			    TCX_EGRESS, &opts))
		err = -errno;
	return err;
}

TEST(generation, replacement_by_netlink_loses_nothing)
{
	struct swaps_bed bed;
	struct swaps *twin;
	unsigned n = 0;

	ASSERT_TRUE(start() && swaps_open(&bed, PACKETS));
	twin = twin_of(&bed);
	ASSERT_TRUE(twin != NULL);
	ASSERT_EQ(0, sluice_workers_start());
	for (uint64_t end = now_ms() + RUN_MS / 2; now_ms() < end; n++)
		ASSERT_EQ(0, replace_alone(&bed, n % 2 ? twin : bed.skel, n % 2 ? bed.skel : twin));
	/* What is expected there has to be there. */
	EXPECT_EQ(-EEXIST, replace_alone(&bed, n % 2 ? bed.skel : twin, twin));
	sluice_workers_stop();
	EXPECT_GT(n, 1u);
	check_packets(&bed);
	swaps__destroy(twin);
	swaps_close(&bed);
}

/* The two links of a bed whose XDP and tcx programs they hold. */
static bool link_hooks(struct swaps_bed *bed, int links[2])
{
	if (sluice_xdp_attach(bed->ifindex, -1, -1, 0) ||
		bpf_prog_detach2(
			bpf_program__fd(bed->skel->progs.egress0), (int)bed->ifindex, TCX_EGRESS))
		return false;
	links[0] = bpf_link_create(
		bpf_program__fd(bed->skel->progs.front0), (int)bed->ifindex, BPF_XDP, NULL);
	links[1] = bpf_link_create(
		bpf_program__fd(bed->skel->progs.egress0), (int)bed->ifindex, TCX_EGRESS, NULL);
	return links[0] >= 0 && links[1] >= 0;
}

static int update_link(int link, const struct bpf_program *from, const struct bpf_program *to)
{
	LIBBPF_OPTS(bpf_link_update_opts, opts, .flags = BPF_F_REPLACE,
		.old_prog_fd = (uint32_t)bpf_program__fd(from));

	return bpf_link_update(link, bpf_program__fd(to), &opts) ? -errno : 0;
}

TEST(generation, link_update_loses_nothing)
{
	struct swaps_bed bed;
	struct swaps *twin;
	unsigned n = 0;
	int links[2];

	ASSERT_TRUE(start() && swaps_open(&bed, PACKETS) && link_hooks(&bed, links));
	twin = twin_of(&bed);
	ASSERT_TRUE(twin != NULL);
	ASSERT_EQ(0, sluice_workers_start());
	for (uint64_t end = now_ms() + RUN_MS / 2; now_ms() < end; n++) {
		struct swaps *from = n % 2 ? twin : bed.skel, *to = n % 2 ? bed.skel : twin;

		ASSERT_EQ(0, update_link(links[0], from->progs.front0, to->progs.front0));
		ASSERT_EQ(0, update_link(links[1], from->progs.egress0, to->progs.egress0));
		EXPECT_EQ(-EPERM, update_link(links[0], from->progs.front0, to->progs.front0));
	}
	sluice_workers_stop();
	EXPECT_GT(n, 1u);
	check_packets(&bed);
	close(links[0]);
	close(links[1]);
	swaps__destroy(twin);
	swaps_close(&bed);
}

static uint32_t link_prog(int link)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);

	return bpf_obj_get_info_by_fd(link, &info, &len) == 0 ? info.prog_id : 0;
}

static uint32_t prog_id(int fd)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &len) == 0 ? info.id : 0;
}

static uint32_t slot_of(const struct bpf_map *map, uint32_t index)
{
	uint32_t id;

	return bpf_map_lookup_elem(bpf_map__fd(map), &index, &id) == 0 ? id : 0;
}

/* Everything that a generation could have changed. */
struct picture {
	uint32_t slots[3][SWAPS_SLOTS], xdp, filter, tcx, tcx_count;
	uint64_t number;
};

static struct picture picture_of(struct swaps_bed *bed)
{
	const struct bpf_map *const maps[] = { bed->skel->maps.first, bed->skel->maps.second,
		bed->skel->maps.third };
	LIBBPF_OPTS(bpf_prog_query_opts, query);
	struct picture p;
	struct sluice_port_info port;
	struct sluice_tc_info filter;
	uint32_t ids[4] = { 0 };

	memset(&p, 0, sizeof(p));
	for (unsigned m = 0; m < 3; m++) {
		for (uint32_t i = 0; i < SWAPS_SLOTS; i++)
			p.slots[m][i] = slot_of(maps[m], i);
	}
	if (sluice_port_next(bed->ifindex - 1, &port) == 0)
		p.xdp = port.xdp_prog_id;
	if (sluice_tc_get(bed->ifindex, SLUICE_TC_INGRESS, 0, &filter) == 0)
		p.filter = filter.prog_id;
	query.prog_ids = ids;
	query.prog_cnt = 4;
	if (bpf_prog_query_opts((int)bed->ifindex, TCX_EGRESS, &query) == 0) {
		p.tcx = ids[0];
		p.tcx_count = query.prog_cnt;
	}
	p.number = sluice_generation_number();
	return p;
}

/* A link whose program a generation replaces goes on with the new one. */
TEST(generation, links_follow)
{
	struct sluice_generation_info info;
	struct swaps_bed bed;
	int links[2];

	ASSERT_TRUE(start() && swaps_open(&bed, PACKETS) && link_hooks(&bed, links));
	ASSERT_EQ(0, swaps_to(&bed, 1, &info));
	EXPECT_EQ(prog_id(bpf_program__fd(bed.skel->progs.front1)), link_prog(links[0]));
	EXPECT_EQ(prog_id(bpf_program__fd(bed.skel->progs.egress1)), link_prog(links[1]));
	EXPECT_EQ(0, update_link(links[0], bed.skel->progs.front1, bed.skel->progs.front0));
	EXPECT_EQ(0, update_link(links[1], bed.skel->progs.egress1, bed.skel->progs.egress0));
	EXPECT_EQ(-ESTALE, sluice_generation_rollback(UINT64_MAX, 0, &info, NULL, 0));
	close(links[0]);
	close(links[1]);
	/* By any command is seen that they have been closed. */
	EXPECT_EQ(0u, picture_of(&bed).tcx_count);
	EXPECT_EQ(-ENOENT, swaps_to(&bed, 1, &info));
	swaps_close(&bed);
}

/* ---- what is refused ---- */

/* What one row stages beside changes that are in order. */
struct wrong {
	const char *name, *reason;
	int err;
	bool at_staging;
	int (*stage)(struct swaps_bed *bed, struct sluice_generation *g);
};

#define FD(bed, name) bpf_program__fd((bed)->skel->progs.name)
#define MAP(bed, name) bpf_map__fd((bed)->skel->maps.name)

static int bad_map(struct swaps_bed *bed, struct sluice_generation *g)
{
	return sluice_generation_slot(g, FD(bed, first0), 0, FD(bed, first0));
}

static int closed_map(struct swaps_bed *bed, struct sluice_generation *g)
{
	return sluice_generation_slot(g, 9999, 0, FD(bed, first0));
}

static int other_map(struct swaps_bed *bed, struct sluice_generation *g)
{
	return sluice_generation_slot(g, MAP(bed, states), 0, FD(bed, first0));
}

static int past_end(struct swaps_bed *bed, struct sluice_generation *g)
{
	return sluice_generation_slot(g, MAP(bed, first), SWAPS_SLOTS, FD(bed, first0));
}

static int bad_prog(struct swaps_bed *bed, struct sluice_generation *g)
{
	return sluice_generation_slot(g, MAP(bed, first), 2, MAP(bed, first));
}

static int other_type(struct swaps_bed *bed, struct sluice_generation *g)
{
	return sluice_generation_slot(g, MAP(bed, first), 2, FD(bed, third0));
}

static int twice(struct swaps_bed *bed, struct sluice_generation *g)
{
	return sluice_generation_slot(g, MAP(bed, first), SWAPS_STAGE, FD(bed, first0));
}

static int no_port(struct swaps_bed *bed, struct sluice_generation *g)
{
	return sluice_generation_xdp(g, 9999, FD(bed, front1), -1);
}

static int xdp_type(struct swaps_bed *bed, struct sluice_generation *g)
{
	return sluice_generation_xdp(g, bed->ifindex, FD(bed, filter1), -1);
}

static int xdp_other(struct swaps_bed *bed, struct sluice_generation *g)
{
	return sluice_generation_xdp(g, bed->ifindex, FD(bed, front1), FD(bed, front1));
}

static int xdp_twice(struct swaps_bed *bed, struct sluice_generation *g)
{
	int err = sluice_generation_xdp(g, bed->ifindex, FD(bed, front1), -1);

	return err ? err : sluice_generation_xdp(g, bed->ifindex, FD(bed, aside), -1);
}

static int detach(struct swaps_bed *bed, struct sluice_generation *g)
{
	return sluice_generation_xdp(g, bed->ifindex, -1, -1);
}

static int no_filter(struct swaps_bed *bed, struct sluice_generation *g)
{
	return sluice_generation_filter(
		g, bed->ifindex, SLUICE_TC_INGRESS, 7, 1, FD(bed, filter1), -1);
}

static int filter_type(struct swaps_bed *bed, struct sluice_generation *g)
{
	return sluice_generation_filter(
		g, bed->ifindex, SLUICE_TC_INGRESS, 1, 1, FD(bed, front1), -1);
}

static int tcx_other(struct swaps_bed *bed, struct sluice_generation *g)
{
	return sluice_generation_tcx(
		g, bed->ifindex, SLUICE_TC_EGRESS, FD(bed, egress1), FD(bed, third1));
}

static int tcx_any(struct swaps_bed *bed, struct sluice_generation *g)
{
	return sluice_generation_tcx(g, bed->ifindex, SLUICE_TC_EGRESS, FD(bed, egress1), -1);
}

static int tcx_hook(struct swaps_bed *bed, struct sluice_generation *g)
{
	return sluice_generation_tcx(
		g, bed->ifindex, (enum sluice_tc_hook)7, FD(bed, egress1), FD(bed, egress0));
}

static int frozen(struct swaps_bed *bed, struct sluice_generation *g)
{
	static int map; /* stays open until the end */

	map = bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "cold", 4, 4, 1, NULL);
	if (map < 0 || sluice_generation_slot(g, map, 0, FD(bed, first0)) || bpf_map_freeze(map))
		return -EIO;
	return 0;
}

static int let_go(struct swaps_bed *bed, struct sluice_generation *g)
{
	int map = bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "gone", 4, 4, 1, NULL);
	int err = sluice_generation_slot(g, map, 0, FD(bed, first0));

	close(map);
	map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "any", 4, 4, 1, NULL); /* the close is seen */
	close(map);
	return err;
}

static int read_only(struct swaps_bed *bed, struct sluice_generation *g)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_RDONLY);
	int map = bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "shown", 4, 4, 1, &opts);
	int err = sluice_generation_slot(g, map, 0, FD(bed, first0));

	close(map);
	return err;
}

static const struct wrong wrongs[] = {
	{ "a program as a map", "is no map", -EINVAL, true, bad_map },
	{ "a closed descriptor", "is no map", -EBADF, true, closed_map },
	{ "another type of map", "is no PROG_ARRAY", -EINVAL, true, other_map },
	{ "past the end", "past the end of map", -E2BIG, true, past_end },
	{ "a map as a program", "is no program", -EINVAL, true, bad_prog },
	{ "another type of program", "is of type sched_cls, those of the table are of type xdp",
		-EINVAL, false, other_type },
	{ "a slot twice", "is given twice", -EEXIST, false, twice },
	{ "no such port", "there is no port 9999", -ENODEV, false, no_port },
	{ "a classifier as XDP", "of type sched_cls cannot be there", -EINVAL, false, xdp_type },
	{ "another program there", "another one than expected", -ESTALE, false, xdp_other },
	{ "a hook twice", "its place is given twice", -EEXIST, false, xdp_twice },
	{ "a program taken out", "can only be replaced", -EBADF, true, detach },
	{ "no such filter", "no program to replace", -ENOENT, false, no_filter },
	{ "XDP as a filter", "of type xdp cannot be there", -EINVAL, false, filter_type },
	{ "another tcx program", "another one than expected", -ESTALE, false, tcx_other },
	{ "tcx without a place", "can only be replaced", -EBADF, true, tcx_any },
	{ "no such hook", "is no TC hook", -EINVAL, true, tcx_hook },
	{ "a frozen map", "is frozen", -EPERM, false, frozen },
	{ "a map that has gone", "has been let go of", -ESTALE, false, let_go },
	{ "a map to read only", "must not be changed", -EPERM, true, read_only },
};

/* In order by itself: a slot of each table, and a hook. */
static int stage_good(struct swaps_bed *bed, struct sluice_generation *g)
{
	int err = sluice_generation_slot(g, MAP(bed, first), SWAPS_STAGE, FD(bed, first1));

	if (!err)
		err = sluice_generation_slot(g, MAP(bed, third), 3, FD(bed, third1));
	if (!err)
		err = sluice_generation_slot(g, MAP(bed, second), SWAPS_STAGE, -1);
	return err ? err
		   : sluice_generation_filter(g, bed->ifindex, SLUICE_TC_INGRESS, 1, 1,
			     FD(bed, filter1), FD(bed, filter0));
}

static void check_wrong(struct swaps_bed *bed, const struct wrong *wrong)
{
	struct picture before = picture_of(bed), after;
	struct sluice_generation_info info;
	struct sluice_generation *g;

	ASSERT_EQ(0, sluice_generation_new(&g));
	ASSERT_EQ(0, stage_good(bed, g));
	EXPECT_EQ(wrong->at_staging ? wrong->err : 0, wrong->stage(bed, g));
	if (!wrong->at_staging) {
		EXPECT_EQ(
			wrong->err, sluice_generation_commit(g, SLUICE_GENERATION_DRY_RUN, &info));
		EXPECT_EQ(wrong->err, sluice_generation_commit(g, 0, &info));
	}
	EXPECT_CONTAINS(sluice_generation_reason(g), wrong->reason);
	after = picture_of(bed);
	EXPECT_MEMEQ(&before, &after, sizeof(before));
	sluice_generation_free(g);
}

TEST(generation, what_is_refused_changes_nothing)
{
	struct sluice_generation_info info;
	struct picture before, after;
	struct sluice_generation *g;
	struct swaps_bed bed;

	ASSERT_TRUE(start() && swaps_open(&bed, PACKETS));
	for (unsigned i = 0; i < sl_array_size(wrongs); i++) {
		TRACE_PUSH("%s", wrongs[i].name);
		check_wrong(&bed, &wrongs[i]);
		TRACE_POP();
	}
	ASSERT_EQ(0, sluice_generation_new(&g));
	EXPECT_EQ(-ENODATA, sluice_generation_commit(g, 0, &info));
	before = picture_of(&bed);
	EXPECT_EQ(0, stage_good(&bed, g));
	EXPECT_EQ(0, sluice_generation_commit(g, SLUICE_GENERATION_DRY_RUN, &info));
	after = picture_of(&bed);
	EXPECT_MEMEQ(&before, &after, sizeof(before));
	EXPECT_EQ(before.number + 1, info.number);
	EXPECT_EQ(3u, info.slots);
	EXPECT_EQ(3u, info.maps);
	EXPECT_EQ(1u, info.hooks);
	/* A dry run keeps what is staged, a commit does not. */
	EXPECT_EQ(0, sluice_generation_commit(g, 0, &info));
	EXPECT_EQ(-ENODATA, sluice_generation_commit(g, 0, &info));
	after = picture_of(&bed);
	EXPECT_EQ(prog_id(FD(&bed, filter1)), after.filter);
	EXPECT_EQ(prog_id(FD(&bed, first1)), after.slots[0][SWAPS_STAGE]);
	EXPECT_EQ(0u, after.slots[1][SWAPS_STAGE]);
	EXPECT_EQ(prog_id(FD(&bed, third1)), after.slots[2][3]);
	sluice_generation_free(g);
	swaps_close(&bed);
}

/* ---- beside a test run that takes a CPU for long ---- */

struct long_run {
	int prog;
	uint32_t repeat;
	bool started, ended;
	int err;
};

static uint32_t test_run(int prog, uint32_t repeat, int *ret_err)
{
	uint8_t packet[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet),
		.repeat = (int)repeat);

	*ret_err = bpf_prog_test_run_opts(prog, &opts);
	return opts.duration;
}

static void *long_run_main(void *arg)
{
	struct long_run *r = arg;

	__atomic_store_n(&r->started, true, __ATOMIC_RELEASE);
	test_run(r->prog, r->repeat, &r->err);
	__atomic_store_n(&r->ended, true, __ATOMIC_RELEASE);
	return NULL;
}

TEST(generation, a_long_test_run_holds_up_nobody)
{
	enum { LONG_NS = 700000000 };
	struct sluice_generation_info info;
	struct long_run run = { .err = -1 };
	struct swaps_bed bed;
	pthread_t thread;
	unsigned n = 0;
	int err;

	ASSERT_TRUE(start() && swaps_open(&bed, PACKETS));
	run.prog = FD(&bed, egress0);
	run.repeat = LONG_NS / sl_max(test_run(run.prog, 100000, &err), 1u);
	ASSERT_EQ(0, err);
	ASSERT_EQ(0, pthread_create(&thread, NULL, long_run_main, &run));
	while (!__atomic_load_n(&run.started, __ATOMIC_ACQUIRE))
		usleep(100);
	usleep(50000);
	for (; n < 10 && !__atomic_load_n(&run.ended, __ATOMIC_ACQUIRE); n++)
		ASSERT_EQ(0, swaps_to(&bed, !(n & 1), &info));
	/* They did not wait until it was over. */
	EXPECT_GT(n, 2u);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, run.err);
	swaps_close(&bed);
}

/* ---- rollback ---- */

static void expect_same(const struct picture *before, struct swaps_bed *bed)
{
	struct picture now = picture_of(bed);

	now.number = before->number;
	EXPECT_MEMEQ(before, &now, sizeof(now));
}

TEST(generation, rollback_restores_slots_and_hooks)
{
	struct sluice_generation_info info, kept;
	struct picture first, second;
	struct swaps_bed bed;
	uint64_t number;

	ASSERT_TRUE(start() && swaps_open(&bed, PACKETS));
	first = picture_of(&bed);
	ASSERT_EQ(0, swaps_to(&bed, 1, &info));
	number = info.number;
	second = picture_of(&bed);
	EXPECT_NE(first.tcx, second.tcx);
	EXPECT_EQ(1u, second.tcx_count);
	/* A dry run changes nothing; a rollback is a generation, and can be rolled back. */
	EXPECT_EQ(0,
		sluice_generation_rollback(UINT64_MAX, SLUICE_GENERATION_DRY_RUN, &info, NULL, 0));
	expect_same(&second, &bed);
	EXPECT_EQ(0, sluice_generation_rollback(UINT64_MAX, 0, &info, NULL, 0));
	expect_same(&first, &bed);
	EXPECT_TRUE(info.rollback);
	EXPECT_EQ(number - 1, info.back_to);
	EXPECT_EQ(number + 1, info.number);
	EXPECT_EQ(0, sluice_generation_rollback(number, 0, &info, NULL, 0));
	expect_same(&second, &bed);
	/* Over several at once. */
	ASSERT_EQ(0, swaps_to(&bed, 0, &info));
	ASSERT_EQ(0, swaps_to(&bed, 1, &info));
	ASSERT_EQ(0, swaps_to(&bed, 0, &info));
	EXPECT_EQ(0, sluice_generation_rollback(info.number - 1, 0, &info, NULL, 0));
	expect_same(&second, &bed);
	EXPECT_EQ(0, sluice_generation_rollback(0, 0, &info, NULL, 0));
	expect_same(&first, &bed);
	/* All of them are listed, in order. */
	EXPECT_EQ(0, sluice_generation_next(0, &kept));
	for (number = kept.number; sluice_generation_next(kept.number, &kept) == 0; number++)
		EXPECT_EQ(number + 1, kept.number);
	EXPECT_EQ(number, sluice_generation_number());
	swaps_close(&bed);
}

TEST(generation, rollback_is_refused_when_something_has_changed_since)
{
	struct sluice_generation_info info;
	struct sluice_tc_filter filter;
	char reason[SLUICE_GENERATION_REASON] = "";
	uint32_t stage = SWAPS_STAGE;
	struct picture now;
	struct swaps_bed bed;
	int fds[2];

	ASSERT_TRUE(start() && swaps_open(&bed, PACKETS));
	fds[0] = FD(&bed, first0);
	fds[1] = FD(&bed, first1);
	ASSERT_EQ(0, swaps_to(&bed, 1, &info));
	/* Another slot does not matter. */
	ASSERT_EQ(0, swaps_aside(&bed, true));
	EXPECT_EQ(0,
		sluice_generation_rollback(UINT64_MAX, SLUICE_GENERATION_DRY_RUN, &info, NULL, 0));
	ASSERT_EQ(0, bpf_map_update_elem(MAP(&bed, first), &stage, &fds[0], BPF_ANY));
	now = picture_of(&bed);
	EXPECT_EQ(
		-ESTALE, sluice_generation_rollback(UINT64_MAX, 0, &info, reason, sizeof(reason)));
	EXPECT_CONTAINS(reason, "has been changed since");
	expect_same(&now, &bed);
	/* The same value again is no change; a filter is one. */
	ASSERT_EQ(0, bpf_map_update_elem(MAP(&bed, first), &stage, &fds[1], BPF_ANY));
	EXPECT_EQ(0,
		sluice_generation_rollback(UINT64_MAX, SLUICE_GENERATION_DRY_RUN, &info, NULL, 0));
	filter = bed.filter;
	ASSERT_EQ(0, sluice_tc_add(bed.ifindex, SLUICE_TC_INGRESS, &filter, SLUICE_TC_REPLACE));
	EXPECT_EQ(
		-ESTALE, sluice_generation_rollback(UINT64_MAX, 0, &info, reason, sizeof(reason)));
	EXPECT_CONTAINS(reason, "TC filter 1");
	swaps_close(&bed);
}

TEST(generation, rollback_is_refused_over_a_change_in_between)
{
	char reason[SLUICE_GENERATION_REASON] = "";
	struct sluice_generation_info info;
	uint32_t stage = SWAPS_STAGE;
	struct swaps_bed bed;
	uint64_t number;
	int fd;

	ASSERT_TRUE(start() && swaps_open(&bed, PACKETS));
	number = sluice_generation_number();
	fd = FD(&bed, aside);
	ASSERT_EQ(0, swaps_to(&bed, 1, &info));
	ASSERT_EQ(0, bpf_map_update_elem(MAP(&bed, first), &stage, &fd, BPF_ANY));
	ASSERT_EQ(0, swaps_to(&bed, 0, &info));
	EXPECT_EQ(-ESTALE, sluice_generation_rollback(number, 0, &info, reason, sizeof(reason)));
	EXPECT_CONTAINS(reason, "was changed between generations");
	EXPECT_EQ(0, sluice_generation_rollback(number + 1, 0, &info, NULL, 0));
	swaps_close(&bed);
}

TEST(generation, as_many_are_kept_as_is_said)
{
	char reason[SLUICE_GENERATION_REASON] = "";
	struct sluice_generation_info info;
	struct swaps_bed bed;
	uint64_t number;

	ASSERT_TRUE(start() && swaps_open(&bed, PACKETS));
	EXPECT_EQ(-ENOENT, sluice_generation_rollback(UINT64_MAX, 0, &info, NULL, 0));
	number = sluice_generation_number();
	for (unsigned n = 1; n <= SLUICE_GENERATIONS_KEPT + 2; n++)
		ASSERT_EQ(0, swaps_to(&bed, n % 2, &info));
	EXPECT_EQ(
		-ENOENT, sluice_generation_rollback(number + 1, 0, &info, reason, sizeof(reason)));
	EXPECT_CONTAINS(reason, "not kept any more");
	EXPECT_EQ(
		-ENOENT, sluice_generation_rollback(info.number, 0, &info, reason, sizeof(reason)));
	EXPECT_CONTAINS(reason, "is not before the last one");
	EXPECT_EQ(0,
		sluice_generation_rollback(number + 2, SLUICE_GENERATION_DRY_RUN, &info, NULL, 0));
	ASSERT_EQ(0, sluice_generation_next(0, &info));
	EXPECT_EQ(number + 3, info.number);
	swaps_close(&bed);
}

TEST(generation, what_is_not_kept_cannot_be_undone)
{
	struct sluice_generation_info info;
	struct sluice_generation *g;
	struct swaps_bed bed;

	ASSERT_TRUE(start() && swaps_open(&bed, PACKETS));
	ASSERT_EQ(0, swaps_to(&bed, 1, &info));
	ASSERT_EQ(0, sluice_generation_new(&g));
	ASSERT_EQ(0, sluice_generation_slot(g, MAP(&bed, first), 2, FD(&bed, first0)));
	ASSERT_EQ(0, sluice_generation_commit(g, SLUICE_GENERATION_UNKEPT, &info));
	EXPECT_EQ(info.number, sluice_generation_number());
	EXPECT_EQ(prog_id(FD(&bed, first0)), slot_of(bed.skel->maps.first, 2));
	/* The one before it can, and what is not kept stays. */
	EXPECT_EQ(0, sluice_generation_rollback(UINT64_MAX, 0, &info, NULL, 0));
	EXPECT_EQ(prog_id(FD(&bed, first0)), slot_of(bed.skel->maps.first, 2));
	EXPECT_EQ(prog_id(FD(&bed, first0)), slot_of(bed.skel->maps.first, SWAPS_STAGE));
	sluice_generation_free(g);
	swaps_close(&bed);
}

static bool prog_exists(uint32_t id)
{
	int fd = bpf_prog_get_fd_by_id(id);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* Programs stay for a rollback, until the table itself has gone. */
TEST(generation, what_is_kept_goes_with_the_table)
{
	struct sluice_generation_info info;
	struct sluice_generation *g;
	struct swaps *skel;
	uint32_t id;
	int map;

	ASSERT_TRUE(start());
	skel = swaps__open_and_load();
	ASSERT_TRUE(skel != NULL);
	map = bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "own", 4, 4, 2, NULL);
	id = prog_id(bpf_program__fd(skel->progs.first0));
	ASSERT_EQ(0, sluice_generation_new(&g));
	ASSERT_EQ(0, sluice_generation_slot(g, map, 0, bpf_program__fd(skel->progs.first0)));
	ASSERT_EQ(0, sluice_generation_commit(g, 0, &info));
	ASSERT_EQ(0, sluice_generation_slot(g, map, 0, -1));
	ASSERT_EQ(0, sluice_generation_commit(g, 0, &info));
	sluice_generation_free(g);
	swaps__destroy(skel);
	EXPECT_TRUE(prog_exists(id));
	close(map);
	EXPECT_TRUE(!prog_exists(id));
	EXPECT_EQ(-ENOENT, sluice_generation_next(0, &info));
}
