#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <string.h>
#include <unistd.h>
#include <sluice/dataplane.h>

#include "client.h"
#include "cpu.h"
#include "defs.h"
#include "extend.h"
#include "extend.skel.h"
#include "extension.skel.h"
#include "test.h"

/*
 * Functions of a program are replaced while a worker runs it over bursts as fast as it can: every
 * packet meets the function or what is in its place, and the worker goes over to it by itself.
 */

struct bed {
	struct extend *target;
	struct extension *extension;
	uint32_t ifindex;
};

static uint64_t counted(const struct bed *bed, uint32_t what)
{
	int cpus = libbpf_num_possible_cpus();
	uint64_t values[SL_MAX_CPUS], sum = 0;

	if (bpf_map_lookup_elem(bpf_map__fd(bed->target->maps.counts), &what, values) != 0)
		return UINT64_MAX;
	for (int cpu = 0; cpu < cpus; cpu++)
		sum += values[cpu];
	return sum;
}

static bool set_up(struct bed *bed)
{
	static char *args[] = { "--no-huge", "-m", "128", "--no-shconf", "--no-pci" };
	int fd;

	if (sluice_eal_start(1, sl_array_size(args), args) != 0 ||
		sluice_port_add("net_null0,size=64", NULL, &bed->ifindex) != 0)
		return false;
	bed->target = extend__open_and_load();
	bed->extension = extension__open();
	if (!bed->target || !bed->extension)
		return false;
	fd = bpf_program__fd(bed->target->progs.target);
	if (bpf_map__reuse_fd(bed->extension->maps.counts, bpf_map__fd(bed->target->maps.counts)) !=
			0 ||
		bpf_program__set_attach_target(
			bed->extension->progs.in_place_of_first, fd, "first") != 0 ||
		bpf_program__set_attach_target(
			bed->extension->progs.in_place_of_second, fd, "second") != 0 ||
		extension__load(bed->extension) != 0)
		return false;
	bed->target->links.target =
		bpf_program__attach_xdp(bed->target->progs.target, (int)bed->ifindex);
	return bed->target->links.target != NULL;
}

/* Waits up to a second until more is counted than there was. */
static bool grows_from(const struct bed *bed, uint32_t what, uint64_t before)
{
	for (unsigned i = 0; i < 1000; i++) {
		if (counted(bed, what) > before)
			return true;
		usleep(1000);
	}
	return false;
}

static bool grows(const struct bed *bed, uint32_t what)
{
	return grows_from(bed, what, counted(bed, what));
}

static struct bpf_link *attach(const struct bed *bed, struct bpf_program *prog, const char *func)
{
	return bpf_program__attach_freplace(prog, bpf_program__fd(bed->target->progs.target), func);
}

TEST(extend, functions_of_a_program_that_runs)
{
	struct sluice_counters counters;
	struct bed bed = { 0 };

	ASSERT_TRUE(set_up(&bed));
	ASSERT_EQ(0, sluice_workers_start());
	for (unsigned i = 0; i < 6; i++) {
		struct bpf_link *one, *two;
		uint64_t timers;

		EXPECT_TRUE(grows(&bed, COUNT_FIRST));
		one = attach(&bed, bed.extension->progs.in_place_of_first, "first");
		ASSERT_TRUE(one != NULL);
		EXPECT_TRUE(grows(&bed, COUNT_EXTENSION));
		EXPECT_TRUE(grows(&bed, COUNT_SECOND));
		two = attach(&bed, bed.extension->progs.in_place_of_second, "second");
		ASSERT_TRUE(two != NULL);
		EXPECT_TRUE(grows(&bed, COUNT_SECOND_EXTENSION));
		timers = counted(&bed, COUNT_TIMER);
		bpf_link__destroy(i % 2 ? one : two);
		EXPECT_TRUE(grows(&bed, i % 2 ? COUNT_FIRST : COUNT_SECOND));
		bpf_link__destroy(i % 2 ? two : one);
		EXPECT_TRUE(grows_from(&bed, COUNT_TIMER, timers));
	}
	sluice_workers_stop();
	ASSERT_EQ(0, sluice_counters_read(bed.ifindex, -1, &counters));
	EXPECT_EQ(counters.value[SLUICE_RX], counted(&bed, COUNT_SEEN));
	EXPECT_EQ(counted(&bed, COUNT_SEEN),
		counted(&bed, COUNT_FIRST) + counted(&bed, COUNT_EXTENSION));
	EXPECT_EQ(counted(&bed, COUNT_SEEN),
		counted(&bed, COUNT_SECOND) + counted(&bed, COUNT_SECOND_EXTENSION));
	EXPECT_EQ(counters.value[SLUICE_XDP_DROP], counted(&bed, COUNT_SECOND_EXTENSION));
	extension__destroy(bed.extension);
	extend__destroy(bed.target);
	sluice_eal_stop();
}
