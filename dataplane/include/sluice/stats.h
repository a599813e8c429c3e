#pragma once

#include <sluice/dataplane.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * What the data plane counts, as whoever shows it reads it: ports, workers, programs, hooks, maps.
 * Workers count for themselves and are never waited for, nor wait: figures of one moment may be a
 * burst apart. All functions may be called from any thread but a worker; those that go from one
 * object to the next return the one with the smallest number above the given one, and -ENOENT after
 * the last.
 *
 * The figures of each kind are listed once, X(field, type, metric, unit, help), and the structs, the
 * JSON, telemetry and OpenMetrics are made from the list. `field` is the member's name, a uint64_t;
 * type COUNTER never goes back while the object is there, GAUGE may; `metric` is the name that
 * monitoring systems see, less the kind and _total, NULL for a sum that they can make themselves; `unit` what it is in there: NS is shown in
 * seconds, BYTES, PACKETS and CYCLES as they are, NONE has none. `help` is a sentence.
 */
#define SLUICE_PORT_STATS(X)                                                                       \
	X(receive_packets, COUNTER, "receive_packets", PACKETS, "Packets received by the workers") \
	X(receive_bytes, COUNTER, "receive_bytes", BYTES, "Bytes received, as the device counts")  \
	X(receive_missed, COUNTER, "receive_missed_packets", PACKETS,                              \
		"Packets that the device dropped because no receive descriptor was free")          \
	X(receive_errors, COUNTER, "receive_error_packets", PACKETS,                               \
		"Packets that the device received with errors")                                    \
	X(receive_nombuf, COUNTER, "receive_nombuf", NONE,                                         \
		"Times that the port's pool had no packet buffer for a receive descriptor")        \
	X(transmit_packets, COUNTER, "transmit_packets", PACKETS, "Packets handed to the device")  \
	X(transmit_bytes, COUNTER, "transmit_bytes", BYTES, "Bytes sent, as the device counts")    \
	X(transmit_errors, COUNTER, "transmit_error_packets", PACKETS,                             \
		"Packets that the device failed to send")                                          \
	X(drops, COUNTER, NULL, PACKETS,                                                           \
		"Packets that ended here without being delivered, whatever the reason")            \
	X(up, GAUGE, "up", NONE, "Whether the link is up")                                         \
	X(speed, GAUGE, "speed_bytes", BYTES, "Speed of the link in bytes a second, 0: unknown")   \
	X(mtu, GAUGE, "mtu_bytes", BYTES, "Bytes that fit behind the link-layer header")           \
	X(mbufs, GAUGE, "mbufs", NONE, "Packet buffers of the port's pool")                        \
	X(mbufs_free, GAUGE, "mbufs_free", NONE, "Packet buffers of the port's pool not in use")

#define SLUICE_WORKER_STATS(X)                                                           \
	X(packets, COUNTER, "receive_packets", PACKETS, "Packets received from ports")   \
	X(bursts, COUNTER, "bursts", NONE, "Looks at a queue that found packets")        \
	X(empty_polls, COUNTER, "empty_polls", NONE, "Looks at a queue that found none") \
	X(busy_cycles, COUNTER, "busy_cycles", CYCLES,                                   \
		"Time-stamp cycles of rounds that found packets")                        \
	X(idle_cycles, COUNTER, "idle_cycles", CYCLES,                                   \
		"Time-stamp cycles of rounds that found none")                           \
	X(cpu_time_ns, COUNTER, "cpu_seconds", NS, "CPU time that the worker's thread has had")

#define SLUICE_PROG_STATS(X)                                                    \
	X(run_cnt, COUNTER, "runs", NONE, "Times that the program was run")     \
	X(run_time_ns, COUNTER, "run_seconds", NS, "Time that these runs took") \
	X(cycles, COUNTER, "run_cycles", CYCLES, "Time-stamp cycles that these runs took")

#define SLUICE_MAP_STATS(X)                                                           \
	X(entries, GAUGE, "entries", NONE, "Entries of a map whose type counts them") \
	X(max_entries, GAUGE, "max_entries", NONE, "Entries that there may be")       \
	X(memory_bytes, GAUGE, "memory_bytes", BYTES, "Memory of the map")            \
	X(lost_events, COUNTER, "lost_events", NONE,                                  \
		"Events for which there was no room, or nobody who reads them")

enum sluice_stat_type { SLUICE_STAT_COUNTER, SLUICE_STAT_GAUGE };
enum sluice_stat_unit {
	SLUICE_UNIT_NONE,
	SLUICE_UNIT_PACKETS,
	SLUICE_UNIT_BYTES,
	SLUICE_UNIT_CYCLES,
	SLUICE_UNIT_NS,
};
enum sluice_stat_kind {
	SLUICE_STAT_PORT,
	SLUICE_STAT_WORKER,
	SLUICE_STAT_PROG,
	SLUICE_STAT_MAP,
	SLUICE_STAT_KINDS,
};

struct sluice_stat_field {
	const char *name, *metric, *help;
	enum sluice_stat_type type;
	enum sluice_stat_unit unit;
	size_t offset; /* of the uint64_t in the kind's struct */
};
/* The list of a kind, ended by a row without a name. */
const struct sluice_stat_field *sluice_stat_fields(enum sluice_stat_kind kind);

/* The figure of a struct of the field's kind. */
static inline uint64_t sluice_stat_value(const void *stats, const struct sluice_stat_field *field)
{
	return *(const uint64_t *)((const char *)stats + field->offset);
}

#define SLUICE_STAT_MEMBER(field, type, metric, unit, help) uint64_t field;

struct sluice_port_stats {
	struct sluice_port_info info;
	struct sluice_counters counters;
	SLUICE_PORT_STATS(SLUICE_STAT_MEMBER)
};
int sluice_port_stats_next(uint32_t ifindex, struct sluice_port_stats *ret_stats);

/* Bursts by size: bucket i has those of more than 2^(i-1) and up to 2^i packets. */
#define SLUICE_BURST_BUCKETS 6

struct sluice_worker_stats {
	unsigned worker, cpu;
	bool running;
	uint64_t burst_sizes[SLUICE_BURST_BUCKETS];
	SLUICE_WORKER_STATS(SLUICE_STAT_MEMBER)
};
/* -ENOENT past the last. */
int sluice_worker_stats(unsigned worker, struct sluice_worker_stats *ret_stats);

/*
 * A program's runs at hooks, in entries of maps, by taps, and test runs; not those that a tail call
 * begins, which count as the caller's, as in the kernel. All are counted. Those of XDP are timed by
 * burst; of what runs packet by packet a sample is, so their time is an estimate, but exact while
 * somebody holds a descriptor of BPF_ENABLE_STATS.
 */
struct sluice_prog_stats {
	uint32_t id;
	uint32_t type; /* enum bpf_prog_type */
	const char *type_name; /* as bpftool prints it */
	char name[BPF_OBJ_NAME_LEN];
	uint8_t tag[BPF_TAG_SIZE];
	uint64_t load_time_ns; /* since boot */
	SLUICE_PROG_STATS(SLUICE_STAT_MEMBER)
};
int sluice_prog_stats_next(uint32_t id, struct sluice_prog_stats *ret_stats);

struct sluice_prog_runs {
	SLUICE_PROG_STATS(SLUICE_STAT_MEMBER)
};
/* What one worker did of it. -ENOENT when there is no such program or worker. */
int sluice_prog_runs(uint32_t id, unsigned worker, struct sluice_prog_runs *ret_runs);

/* In the order in which a packet meets them, of which there are several at a hook of TC. */
struct sluice_hook_prog {
	uint32_t ifindex;
	const char *hook; /* xdp, tcx_ingress, tc_ingress, tcx_egress, tc_egress */
	unsigned position; /* at the hook, from 0 */
	uint32_t prog_id;
};
/* Writes up to `room` of a port's programs; returns how many there are, -ENODEV without the port. */
int sluice_hook_progs(uint32_t ifindex, struct sluice_hook_prog *ret_progs, unsigned room);

struct sluice_map_stats {
	uint32_t id;
	uint32_t type; /* enum bpf_map_type */
	const char *type_name; /* as bpftool prints it */
	char name[BPF_OBJ_NAME_LEN];
	uint32_t key_size, value_size;
	bool has_entries, has_lost_events; /* otherwise 0 stands for "not counted" */
	SLUICE_MAP_STATS(SLUICE_STAT_MEMBER)
};
int sluice_map_stats_next(uint32_t id, struct sluice_map_stats *ret_stats);

#undef SLUICE_STAT_MEMBER

/* Cycles per second of the counter that cycles are read from. The first call may take 10 ms. */
uint64_t sluice_cycles_hz(void);

/* Whether a packet that ends in this counter was not delivered to anybody. */
bool sluice_counter_is_drop(enum sluice_counter counter);

/*
 * The hook (xdp, ingress, egress) and the verdict that a counter counts, as pointers to constant
 * text. False for a counter of something else.
 */
bool sluice_counter_verdict(
	enum sluice_counter counter, const char **ret_hook, const char **ret_verdict);

#ifdef __cplusplus
}
#endif
