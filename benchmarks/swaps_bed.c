#include "swaps_bed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

/* Newer than the header. */
#define TCX_EGRESS ((enum bpf_attach_type)47)

enum { FRAME_BYTES = 60 };

static int fd(const struct bpf_program *prog)
{
	return bpf_program__fd(prog);
}

static const struct bpf_program *of(
	const struct bpf_program *zero, const struct bpf_program *one, unsigned generation)
{
	return generation ? one : zero;
}

#define PROG(bed, name, n) fd(of((bed)->skel->progs.name##0, (bed)->skel->progs.name##1, n))

static bool attach(struct swaps_bed *bed)
{
	bed->filter = (struct sluice_tc_filter){
		.priority = 1,
		.handle = 1,
		.direct_action = true,
		.prog_fd = PROG(bed, filter, 0),
	};
	return sluice_xdp_attach(bed->ifindex, PROG(bed, front, 0), -1, 0) == 0 &&
	       sluice_tc_add(bed->ifindex, SLUICE_TC_INGRESS, &bed->filter, 0) == 0 &&
	       bpf_prog_attach(PROG(bed, egress, 0), (int)bed->ifindex, TCX_EGRESS, 0) == 0;
}

static bool fill_tables(struct swaps_bed *bed)
{
	const struct bpf_map *const maps[] = { bed->skel->maps.first, bed->skel->maps.second,
		bed->skel->maps.third };
	int fds[] = { PROG(bed, first, 0), PROG(bed, second, 0), PROG(bed, third, 0) };
	uint32_t key = SWAPS_STAGE;

	for (unsigned i = 0; i < 3; i++) {
		if (bpf_map_update_elem(bpf_map__fd(maps[i]), &key, &fds[i], BPF_ANY) != 0)
			return false;
	}
	return true;
}

bool swaps_open(struct swaps_bed *bed, unsigned packets)
{
	static unsigned number;
	const struct sluice_port_options options = { .mbufs = 1024 };
	uint8_t frame[FRAME_BYTES] = { 0 };
	char name[32];

	snprintf(name, sizeof(name), "net_ring%u", number++);
	bed->ifindex = 0;
	bed->skel = swaps__open_and_load();
	if (bed->skel && fill_tables(bed) && sluice_port_add(name, &options, &bed->ifindex) == 0 &&
		attach(bed) && sluice_port_send(bed->ifindex, frame, sizeof(frame), packets) == 0)
		return true;
	swaps_close(bed);
	return false;
}

void swaps_close(struct swaps_bed *bed)
{
	if (bed->ifindex)
		sluice_port_remove(bed->ifindex);
	if (bed->skel)
		swaps__destroy(bed->skel);
	sluice_generation_forget();
}

static int stage(const struct swaps_bed *bed, struct sluice_generation *staged, unsigned generation)
{
	const struct {
		const struct bpf_map *table;
		int prog;
	} slots[] = {
		{ bed->skel->maps.first, PROG(bed, first, generation) },
		{ bed->skel->maps.second, PROG(bed, second, generation) },
		{ bed->skel->maps.third, PROG(bed, third, generation) },
	};
	int err = 0;

	for (unsigned i = 0; i < 3 && !err; i++)
		err = sluice_generation_slot(
			staged, bpf_map__fd(slots[i].table), SWAPS_STAGE, slots[i].prog);
	if (!err)
		err = sluice_generation_xdp(staged, bed->ifindex, PROG(bed, front, generation), -1);
	if (!err)
		err = sluice_generation_filter(staged, bed->ifindex, SLUICE_TC_INGRESS,
			bed->filter.priority, bed->filter.handle, PROG(bed, filter, generation),
			-1);
	if (!err)
		err = sluice_generation_tcx(staged, bed->ifindex, SLUICE_TC_EGRESS,
			PROG(bed, egress, generation), PROG(bed, egress, !generation));
	return err;
}

int swaps_to(
	const struct swaps_bed *bed, unsigned generation, struct sluice_generation_info *ret_info)
{
	struct sluice_generation *staged;
	int err = sluice_generation_new(&staged);

	if (err)
		return err;
	err = stage(bed, staged, generation);
	if (!err)
		err = sluice_generation_commit(staged, 0, ret_info);
	sluice_generation_free(staged);
	return err;
}

int swaps_aside(const struct swaps_bed *bed, bool there)
{
	int table = bpf_map__fd(bed->skel->maps.first), prog = fd(bed->skel->progs.aside);
	uint32_t key = SWAPS_ASIDE;
	int err = there ? bpf_map_update_elem(table, &key, &prog, BPF_ANY)
			: bpf_map_delete_elem(table, &key);

	return err ? -errno : 0;
}

bool swaps_read(const struct swaps_bed *bed, struct swaps_state *ret_sum)
{
	int cpus = libbpf_num_possible_cpus();
	struct swaps_state *values = calloc((size_t)cpus, sizeof(*values));
	uint32_t key = 0;
	bool ok = values &&
		  bpf_map_lookup_elem(bpf_map__fd(bed->skel->maps.states), &key, values) == 0;

	memset(ret_sum, 0, sizeof(*ret_sum));
	for (int cpu = 0; ok && cpu < cpus; cpu++) {
		ret_sum->seen += values[cpu].seen;
		ret_sum->left += values[cpu].left;
		ret_sum->mixed += values[cpu].mixed;
		ret_sum->missed += values[cpu].missed;
		ret_sum->disorder += values[cpu].disorder;
		ret_sum->aside += values[cpu].aside;
		ret_sum->packets += values[cpu].packets;
	}
	free(values);
	return ok;
}
