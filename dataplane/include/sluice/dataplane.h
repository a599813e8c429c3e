#pragma once

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/tc.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The packet path, in this process: DPDK's EAL, ports, workers, and the programs at their hooks.
 * Programs, maps and links come from sluice_bpf (bpf.h); a port's number below is the ifindex that
 * its BPF_LINK_CREATE takes.
 *
 * All functions may be called from any thread but a worker. They return 0 or a negative errno
 * after one line in the log that says what was wrong.
 */

/*
 * Starts the EAL, once per process, with the arguments that DPDK's own tools take before `--`
 * (without a program name). What they leave open is chosen here: lcores for `workers` workers (0:
 * one per CPU, the first CPU left to the rest of the program where there is more than one); memory
 * that leaves nothing behind (--in-memory, or without hugepages --no-huge); no telemetry socket
 * unless it was asked for before; and no PCI scan when there are no arguments at all. Every lcore but the main one is a worker.
 */
int sluice_eal_start(unsigned workers, int argc, char *const argv[]);
/* Before it: the socket of DPDK's telemetry is opened, with the commands of /sluice/. */
void sluice_eal_want_telemetry(void);
/* Stops the workers, removes the ports, releases the EAL. It cannot be started again. */
void sluice_eal_stop(void);

enum sluice_rx_hint {
	SLUICE_RX_TIMESTAMP = 1 << 0, /* in the device's units: nanoseconds with most */
	SLUICE_RX_HASH = 1 << 1, /* without: only where there are several queues */
	SLUICE_RX_VLAN = 1 << 2, /* the tag is taken out of the packet */
};

/*
 * A port's kernel twin: an interface of the same name in the network namespace of who adds the port,
 * whose number is the port's. What the hooks let pass arrives there, and what the kernel sends out of
 * it goes through the port's TC egress filters and out. It goes with the port, and with the process.
 */
enum sluice_kernel_twin {
	SLUICE_TWIN_NONE, /* the port has a number of its own, what passes is counted */
	SLUICE_TWIN_TRY, /* NONE where the process may not, with a line in the log */
	SLUICE_TWIN_REQUIRE,
};

/* Ports. Zero means the default everywhere. */
struct sluice_port_options {
	uint32_t mbufs; /* packets that the port's pool holds */
	uint16_t rx_queues; /* at most one per worker, which is the default */
	uint16_t rx_descriptors, tx_descriptors; /* per queue */
	/*
	 * What the device is to note of packets that it receives, if it can: or'ed sluice_rx_hint. For
	 * programs that are bound to it; it may cost the driver its fastest receive function.
	 */
	uint32_t rx_hints;
	/*
	 * Whether the device is to complete checksums and cut packets, where it can and packets ask for
	 * it (those of guests do); otherwise the worker does. It may cost the driver its fastest
	 * transmit function.
	 */
	bool tx_offloads;
	enum sluice_kernel_twin kernel_twin;
	/* Without a twin the port has a number that no interface of the kernel has just now. */
	bool beside_kernel;
	/*
	 * What port and twin are called; NULL: as the device, or where no interface can be ("dpdk0").
	 * -EINVAL for what a name cannot be, -EEXIST.
	 */
	const char *name;
};

/*
 * Adds a port: devargs as after DPDK's --vdev or -a ("net_pcap0,rx_pcap=a.pcap", "0000:01:00.0"),
 * or the name of one that the EAL has found already. `options` may be NULL. Traffic starts at once
 * when workers run. -ENODEV when there is no such device.
 */
int sluice_port_add(
	const char *devargs, const struct sluice_port_options *options, uint32_t *ret_ifindex);
/* Adds all ethdev ports that the EAL found by itself. Returns how many. */
int sluice_port_add_all(const struct sluice_port_options *options);
int sluice_port_remove(uint32_t ifindex);
/* What the hooks let pass goes out of port `to` instead of to the kernel; 0: to the kernel. */
int sluice_port_pass_to(uint32_t ifindex, uint32_t to);

struct sluice_port_info {
	uint32_t ifindex;
	char name[64];
	char driver[32];
	uint8_t mac[6];
	uint16_t rx_queues, tx_queues;
	uint32_t xdp_prog_id; /* 0: none */
	bool xdp_generic; /* it was attached with XDP_FLAGS_SKB_MODE */
	uint16_t mtu;
	uint32_t pass_to;
	char device[64]; /* the EAL's name; empty: a tunnel */
	bool has_twin; /* ifindex is the kernel's */
	bool is_tunnel;
};
/* The port with the smallest number above `ifindex`; -ENOENT after the last. */
int sluice_port_next(uint32_t ifindex, struct sluice_port_info *ret_info);

/*
 * Sends `count` copies of a frame out of a port, spread over its TX queues: what a loop-back
 * (net_ring) then carries round and round. -EBUSY while workers run, -EMSGSIZE for more than 1514
 * bytes, -ENOBUFS when the port takes no more.
 */
int sluice_port_send(uint32_t ifindex, const void *frame, size_t len_bytes, unsigned count);

/* Workers: packets flow between these two calls. */
int sluice_workers_start(void);
void sluice_workers_stop(void);
unsigned sluice_workers_count(void);
/* The CPU that a worker is pinned to, and the CPU time that its thread has had. */
int sluice_worker_times(unsigned worker, unsigned *ret_cpu, uint64_t *ret_cpu_ns);

/*
 * Attaches an XDP program, replaces it, or (prog_fd -1) detaches it, with the meaning and the errors
 * of RTM_SETLINK's IFLA_XDP_FD: flags are XDP_FLAGS_UPDATE_IF_NOEXIST and XDP_FLAGS_REPLACE, the
 * latter with expected_fd. -EBUSY when a bpf_link holds the hook.
 */
int sluice_xdp_attach(uint32_t ifindex, int prog_fd, int expected_fd, uint32_t flags);
/*
 * The same without a line in the log: *ret_reason is what the kernel says in words (its extended
 * acknowledgement), NULL where it says nothing; static text.
 */
int sluice_xdp_change(
	uint32_t ifindex, int prog_fd, int expected_fd, uint32_t flags, const char **ret_reason);

/*
 * Taps: socket filters (BPF_PROG_TYPE_SOCKET_FILTER) on a port, which are shown the packets that a
 * packet socket of the kernel would be: received ones that XDP has passed, before the TC ingress
 * filters see them, and sent ones after those of egress, with pkt_type PACKET_OUTGOING. The program
 * returns how many bytes to keep, 0 for none. These are copied to a ring per worker; what finds it
 * full is lost and counted, for no worker waits.
 */
#define SLUICE_TAPS 64

struct sluice_tap_options {
	uint32_t
		ring_bytes; /* per worker, rounded up to a power of two; 0: packets are only counted */
	bool ignore_outgoing;
};

/* The tap holds a reference to the program. -EINVAL when it is of another type. */
int sluice_tap_add(
	uint32_t ifindex, int prog_fd, const struct sluice_tap_options *options, uint32_t *ret_tap);
/* -EBUSY while another thread reads. A tap outlives its port. */
int sluice_tap_del(uint32_t tap);

struct sluice_tap_counters {
	uint64_t seen; /* shown to the program */
	uint64_t accepted, bytes; /* to be kept, and how much of them */
	uint64_t lost; /* of these, for want of room in the ring */
};
int sluice_tap_counters(uint32_t tap, struct sluice_tap_counters *ret_counters);

struct sluice_tap_packet {
	uint64_t time_ns; /* since 1970 */
	const uint8_t *data; /* as on the wire, VLAN tag and all; valid during the call */
	uint32_t captured, len; /* what is here, and what the packet had */
	uint32_t mark;
	bool outgoing;
};
typedef void (*sluice_tap_fn)(const struct sluice_tap_packet *packet, void *arg);
/* Hands up to `max` packets to fn, oldest first; returns how many. One reader at a time: -EBUSY. */
int sluice_tap_read(uint32_t tap, unsigned max, sluice_tap_fn fn, void *arg);

/*
 * Counters. IN counts packets that came to be, OUT where a packet ended, STEP what happened on its
 * way. Over all ports the INs equal the OUTs once the workers have stopped; while they run, the
 * difference is what they hold.
 */
#define SLUICE_COUNTERS(X)                                \
	X(RX, "rx", IN)                                   \
	X(CLONE, "clone", IN)                             \
	X(SENT, "sent", IN)                               \
	X(XSK_SENT, "xsk_sent", IN)                       \
	X(LIVE, "live", IN)                               \
	X(CUT, "cut", IN)                                 \
	X(FROM_KERNEL, "from_kernel", IN)                 \
	X(XDP_PASS, "xdp_pass", STEP)                     \
	X(XDP_TX, "xdp_tx", STEP)                         \
	X(XDP_REDIRECT, "xdp_redirect", STEP)             \
	X(INGRESS_UNSPEC, "ingress_unspec", STEP)         \
	X(INGRESS_OK, "ingress_ok", STEP)                 \
	X(INGRESS_RECLASSIFY, "ingress_reclassify", STEP) \
	X(INGRESS_PIPE, "ingress_pipe", STEP)             \
	X(INGRESS_REPEAT, "ingress_repeat", STEP)         \
	X(INGRESS_REDIRECT, "ingress_redirect", STEP)     \
	X(EGRESS_UNSPEC, "egress_unspec", STEP)           \
	X(EGRESS_OK, "egress_ok", STEP)                   \
	X(EGRESS_RECLASSIFY, "egress_reclassify", STEP)   \
	X(EGRESS_PIPE, "egress_pipe", STEP)               \
	X(EGRESS_REPEAT, "egress_repeat", STEP)           \
	X(EGRESS_REDIRECT, "egress_redirect", STEP)       \
	X(HANDED_OVER, "handed_over", STEP)               \
	X(CPUMAP, "cpumap", STEP)                         \
	X(TUNNEL_DECAP, "tunnel_decap", STEP)             \
	X(TUNNEL_ENCAP, "tunnel_encap", STEP)             \
	X(TX, "tx", OUT)                                  \
	X(KERNEL, "kernel", OUT)                          \
	X(KERNEL_FULL, "kernel_full", OUT)                \
	X(KERNEL_DOWN, "kernel_down", OUT)                \
	X(KERNEL_REFUSED, "kernel_refused", OUT)          \
	X(FROM_KERNEL_LOST, "from_kernel_lost", OUT)      \
	X(XDP_DROP, "xdp_drop", OUT)                      \
	X(XDP_ABORTED, "xdp_aborted", OUT)                \
	X(XDP_INVALID, "xdp_invalid", OUT)                \
	X(XDP_FRAGS, "xdp_frags", OUT)                    \
	X(INGRESS_SHOT, "ingress_shot", OUT)              \
	X(INGRESS_STOLEN, "ingress_stolen", OUT)          \
	X(INGRESS_QUEUED, "ingress_queued", OUT)          \
	X(INGRESS_TRAP, "ingress_trap", OUT)              \
	X(EGRESS_SHOT, "egress_shot", OUT)                \
	X(EGRESS_STOLEN, "egress_stolen", OUT)            \
	X(EGRESS_QUEUED, "egress_queued", OUT)            \
	X(EGRESS_TRAP, "egress_trap", OUT)                \
	X(NO_PORT, "redirect_no_port", OUT)               \
	X(NO_MAP, "redirect_no_map", OUT)                 \
	X(REDIRECT_DROP, "redirect_drop", OUT)            \
	X(NO_ROUTE, "redirect_no_route", OUT)             \
	X(NO_NEIGHBOUR, "redirect_no_neighbour", OUT)     \
	X(CPUMAP_FULL, "cpumap_full", OUT)                \
	X(XSK, "xsk", OUT)                                \
	X(XSK_DROP, "xsk_drop", OUT)                      \
	X(LOOP, "redirect_loop", OUT)                     \
	X(NO_ROOM, "no_room", OUT)                        \
	X(NO_LINK_HEADER, "no_link_header", OUT)          \
	X(BAD_OFFLOAD, "bad_offload", OUT)                \
	X(NOT_CUT, "not_cut", OUT)                        \
	X(TUNNEL_NO_KEY, "tunnel_no_key", OUT)            \
	X(TUNNEL_NO_ROUTE, "tunnel_no_route", OUT)        \
	X(TUNNEL_PROTOCOL, "tunnel_protocol", OUT)        \
	X(TUNNEL_TOO_BIG, "tunnel_too_big", OUT)          \
	X(TUNNEL_UNKNOWN, "tunnel_unknown", OUT)          \
	X(TUNNEL_TRUNCATED, "tunnel_truncated", OUT)      \
	X(TUNNEL_FRAGMENT, "tunnel_fragment", OUT)        \
	X(TUNNEL_BAD_HEADER, "tunnel_bad_header", OUT)    \
	X(TUNNEL_BAD_OPTIONS, "tunnel_bad_options", OUT)  \
	X(TUNNEL_BAD_CSUM, "tunnel_bad_csum", OUT)        \
	X(TUNNEL_ORDER, "tunnel_order", OUT)              \
	X(TUNNEL_ECN, "tunnel_ecn", OUT)                  \
	X(TUNNEL_LOOP, "tunnel_loop", OUT)                \
	X(TX_FULL, "tx_full", OUT)                        \
	X(HANDOVER_FULL, "handover_full", OUT)            \
	X(STOPPED, "stopped", OUT)

enum sluice_counter {
#define X(id, name, kind) SLUICE_##id,
	SLUICE_COUNTERS(X)
#undef X
		SLUICE_COUNTER_COUNT
};

enum sluice_counter_kind { SLUICE_KIND_IN, SLUICE_KIND_STEP, SLUICE_KIND_OUT };

struct sluice_counters {
	uint64_t value[SLUICE_COUNTER_COUNT];
};

const char *sluice_counter_name(enum sluice_counter counter);
enum sluice_counter_kind sluice_counter_kind(enum sluice_counter counter);

/* Sums over ports (ifindex 0: all, removed ones too) and workers (-1: all). -ENODEV, -EINVAL. */
int sluice_counters_read(uint32_t ifindex, int worker, struct sluice_counters *ret_counters);
uint64_t sluice_counters_sum(const struct sluice_counters *counters, enum sluice_counter_kind kind);

#ifdef __cplusplus
}
#endif
