#include <sluice/stats.h>

#include <errno.h>
#include <string.h>

#include <rte_ethdev.h>
#include <rte_mempool.h>

#include "clock.h"
#include "map.h"
#include "mprog.h"
#include "port.h"
#include "prog.h"
#include "prog_type.h"
#include "tc.h"
#include "worker.h"

/* Reading what workers and the layers below count. Nothing here is on the packet path. */

#define ROW(of, field, of_type, metric_name, of_unit, text)            \
	{                                                              \
		.name = #field,                                        \
		.metric = metric_name,                                 \
		.help = text,                                          \
		.type = SLUICE_STAT_##of_type,                         \
		.unit = SLUICE_UNIT_##of_unit,                         \
		.offset = offsetof(struct sluice_##of##_stats, field), \
	},
#define PORT_ROW(...) ROW(port, __VA_ARGS__)
#define WORKER_ROW(...) ROW(worker, __VA_ARGS__)
#define PROG_ROW(...) ROW(prog, __VA_ARGS__)
#define MAP_ROW(...) ROW(map, __VA_ARGS__)

static const struct sluice_stat_field port_fields[] = { SLUICE_PORT_STATS(PORT_ROW){ 0 } };
static const struct sluice_stat_field worker_fields[] = { SLUICE_WORKER_STATS(WORKER_ROW){ 0 } };
static const struct sluice_stat_field prog_fields[] = { SLUICE_PROG_STATS(PROG_ROW){ 0 } };
static const struct sluice_stat_field map_fields[] = { SLUICE_MAP_STATS(MAP_ROW){ 0 } };

const struct sluice_stat_field *sluice_stat_fields(enum sluice_stat_kind kind)
{
	static const struct sluice_stat_field *const fields[SLUICE_STAT_KINDS] = {
		[SLUICE_STAT_PORT] = port_fields,
		[SLUICE_STAT_WORKER] = worker_fields,
		[SLUICE_STAT_PROG] = prog_fields,
		[SLUICE_STAT_MAP] = map_fields,
	};

	return fields[kind];
}

uint64_t sluice_cycles_hz(void)
{
	return sl_clock_cycles_hz();
}

/* With the lock held. What a driver does not know stays 0. */
static void read_device(const struct sl_port *port, struct sluice_port_stats *stats)
{
	struct rte_eth_stats device;
	struct rte_eth_link link;

	if (rte_eth_stats_get(port->id, &device) == 0) {
		stats->receive_bytes = device.ibytes;
		stats->receive_missed = device.imissed;
		stats->receive_errors = device.ierrors;
		stats->receive_nombuf = device.rx_nombuf;
		stats->transmit_bytes = device.obytes;
		stats->transmit_errors = device.oerrors;
	}
	if (rte_eth_link_get_nowait(port->id, &link) == 0) {
		stats->up = link.link_status == RTE_ETH_LINK_UP;
		if (link.link_speed != RTE_ETH_SPEED_NUM_UNKNOWN)
			stats->speed = (uint64_t)link.link_speed * 1000000 / 8;
	}
	if (port->pool) {
		stats->mbufs = port->pool->size;
		stats->mbufs_free = rte_mempool_avail_count(port->pool);
	}
}

static int read_port(uint32_t ifindex, struct sluice_port_stats *stats)
{
	const struct sl_port *port;

	sl_port_lock();
	port = sl_port_peek(ifindex);
	if (port) {
		stats->mtu = port->mtu;
		stats->up = 1; /* a tunnel */
		if (!port->tunnel)
			read_device(port, stats);
	}
	sl_port_unlock();
	return port ? sluice_counters_read(ifindex, -1, &stats->counters) : -ENODEV;
}

int sluice_port_stats_next(uint32_t ifindex, struct sluice_port_stats *ret_stats)
{
	struct sluice_port_stats stats = { 0 };
	int err;

	/* One that goes in between is passed over. */
	do {
		err = sluice_port_next(ifindex, &stats.info);
		if (err)
			return err;
		ifindex = stats.info.ifindex;
	} while (read_port(ifindex, &stats) != 0);
	stats.receive_packets = stats.counters.value[SLUICE_RX];
	stats.transmit_packets = stats.counters.value[SLUICE_TX];
	for (unsigned i = 0; i < SLUICE_COUNTER_COUNT; i++) {
		if (sluice_counter_is_drop(i))
			stats.drops += stats.counters.value[i];
	}
	*ret_stats = stats;
	return 0;
}

static uint64_t load(const uint64_t *figure)
{
	return __atomic_load_n(figure, __ATOMIC_RELAXED);
}

int sluice_worker_stats(unsigned worker, struct sluice_worker_stats *ret_stats)
{
	struct sluice_worker_stats stats = { .worker = worker };
	const struct sl_worker *w = sl_worker_at(worker);

	if (!w)
		return -ENOENT;
	sluice_worker_times(worker, &stats.cpu, &stats.cpu_time_ns);
	sl_port_lock();
	stats.running = sl_worker_running();
	sl_port_unlock();
	stats.packets = load(&w->stats.burst_packets);
	stats.empty_polls = load(&w->stats.empty_polls);
	stats.busy_cycles = load(&w->stats.busy_cycles);
	stats.idle_cycles = load(&w->stats.idle_cycles);
	for (unsigned i = 0; i < SLUICE_BURST_BUCKETS; i++) {
		stats.burst_sizes[i] = load(&w->stats.bursts[i]);
		stats.bursts += stats.burst_sizes[i];
	}
	*ret_stats = stats;
	return 0;
}

/* A reference to the object with the smallest id above `id`. */
static struct sl_object *next_object(enum sl_object_type type, uint32_t id)
{
	struct sl_object *obj = NULL;

	/* One that goes in between is passed over. */
	while (!obj && (id = sl_object_next_id(type, id)) != 0)
		obj = sl_object_get_by_id(type, id);
	return obj;
}

static const char *prog_type_name(enum bpf_prog_type type)
{
	const struct sl_prog_type *row = sl_prog_type_of(type);

	if (type == BPF_PROG_TYPE_EXT)
		return "ext";
	return row ? row->name : "unknown";
}

int sluice_prog_stats_next(uint32_t id, struct sluice_prog_stats *ret_stats)
{
	struct sl_object *obj = next_object(SL_OBJECT_PROG, id);
	const struct sl_prog *prog;
	struct sl_prog_stats sum;

	if (!obj)
		return -ENOENT;
	prog = sl_prog_of(obj);
	sl_prog_stats_sum(prog, &sum);
	*ret_stats = (struct sluice_prog_stats){
		.id = obj->id,
		.type = prog->type,
		.type_name = prog_type_name(prog->type),
		.load_time_ns = prog->load_time_ns,
		.run_cnt = sum.run_count,
		.run_time_ns = sl_clock_cycles_ns(sum.cycles),
		.cycles = sum.cycles,
	};
	memcpy(ret_stats->name, prog->name, sizeof(ret_stats->name));
	memcpy(ret_stats->tag, prog->tag, sizeof(ret_stats->tag));
	sl_object_unref(obj);
	return 0;
}

int sluice_prog_runs(uint32_t id, unsigned worker, struct sluice_prog_runs *ret_runs)
{
	const struct sl_worker *w = sl_worker_at(worker);
	struct sl_object *obj = w ? sl_object_get_by_id(SL_OBJECT_PROG, id) : NULL;
	const struct sl_prog_stats *stats;
	uint64_t cycles;

	if (!obj)
		return -ENOENT;
	stats = &sl_prog_of(obj)->stats[w->cpu];
	cycles = load(&stats->cycles);
	*ret_runs = (struct sluice_prog_runs){
		.run_cnt = load(&stats->run_count),
		.run_time_ns = sl_clock_cycles_ns(cycles),
		.cycles = cycles,
	};
	sl_object_unref(obj);
	return 0;
}

/* What sluice_hook_progs collects. */
struct collection {
	struct sluice_hook_prog *progs;
	unsigned room, count;
	uint32_t ifindex;
};

static void collect(struct collection *c, const char *hook, unsigned position, uint32_t prog_id)
{
	if (c->count < c->room)
		c->progs[c->count] = (struct sluice_hook_prog){
			.ifindex = c->ifindex,
			.hook = hook,
			.position = position,
			.prog_id = prog_id,
		};
	c->count++;
}

static void collect_filters(struct collection *c, const char *hook, const struct sl_tc_list *list)
{
	unsigned position = 0;

	for (uint32_t i = 0; list && i < list->count; i++) {
		const struct sl_tc_filter *filter = list->filters[i];

		collect(c, hook, position++, filter->prog->obj.id);
		for (uint32_t a = 0; a < filter->action_count; a++) {
			const struct sl_prog *prog = filter->actions[a]->step->prog;

			if (prog)
				collect(c, hook, position++, prog->obj.id);
		}
	}
}

/* With the lock held. */
static void collect_port(struct collection *c, const struct sl_port *port)
{
	static const char *const tcx[] = { "tcx_ingress", "tcx_egress" };
	static const char *const tc[] = { "tc_ingress", "tc_egress" };

	if (port->xdp)
		collect(c, "xdp", 0, port->xdp->obj.id);
	for (unsigned hook = SLUICE_TC_INGRESS; hook <= SLUICE_TC_EGRESS; hook++) {
		const struct sl_mprog *progs = port->tcx[hook];

		for (uint32_t i = 0; progs && i < progs->count; i++)
			collect(c, tcx[hook], i, progs->entries[i].prog->obj.id);
		collect_filters(c, tc[hook], port->tc[hook]);
	}
}

int sluice_hook_progs(uint32_t ifindex, struct sluice_hook_prog *ret_progs, unsigned room)
{
	struct collection c = { .progs = ret_progs, .room = room, .ifindex = ifindex };
	const struct sl_port *port;

	sl_port_lock();
	port = sl_port_peek(ifindex);
	if (port)
		collect_port(&c, port);
	sl_port_unlock();
	return port ? (int)c.count : -ENODEV;
}

int sluice_map_stats_next(uint32_t id, struct sluice_map_stats *ret_stats)
{
	struct sl_object *obj = next_object(SL_OBJECT_MAP, id);
	const struct sl_map *map;

	if (!obj)
		return -ENOENT;
	map = sl_map_of(obj);
	*ret_stats = (struct sluice_map_stats){
		.id = obj->id,
		.type = map->desc.type,
		.type_name = map->ops->name,
		.key_size = map->desc.key_size,
		.value_size = map->desc.value_size,
		.max_entries = map->desc.max_entries,
		.memory_bytes = map->ops->memory_bytes ? map->ops->memory_bytes(map) : 0,
		.has_entries = map->ops->entry_count,
		.entries = map->ops->entry_count ? map->ops->entry_count(map) : 0,
		.has_lost_events = map->ops->lost_events,
		.lost_events = map->ops->lost_events ? map->ops->lost_events(map) : 0,
	};
	memcpy(ret_stats->name, map->name, sizeof(ret_stats->name));
	sl_object_unref(obj);
	return 0;
}
