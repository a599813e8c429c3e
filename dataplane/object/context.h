#pragma once

#include "defs.h"
#include "tunnel.h"

struct rte_mbuf;
struct sl_map;
struct sl_path;
struct sl_prog;
struct sl_timer;

/*
 * The context that compiled programs run on. `struct xdp_md` and `struct __sk_buff` are views of
 * it: the verifier checks an access against the rows in field.h, the JIT turns it into the load or
 * store that the row names. Compiled code holds offsets into this struct, so every field is part
 * of the contract between the helpers, the JIT and the ports.
 *
 * A context lives on the stack of whoever runs programs: a worker for a burst, or a test run.
 */

/* What a program asked for besides its return value; reset before each run. One per CPU. */
struct sl_run {
	uint32_t cpu;
	uint32_t redirect_ifindex; /* 0: none asked for */
	uint64_t redirect_flags;
	struct sl_map *redirect_map; /* NULL unless bpf_redirect_map */
	void *redirect_entry; /* of the map, until the next quiescent state; NULL for all of them */
	uint32_t tail_failed; /* tail calls that fell through, counted for statistics */
	uint64_t random; /* state of bpf_get_prandom_u32 */
	uint8_t redirect_nexthop[20]; /* struct bpf_redir_neigh of bpf_redirect_neigh */
	struct sl_timer *timer; /* whose callback runs; NULL in a program */
	void *worker; /* the port layer's; NULL in a test run */
	struct sl_tunnel tunnel; /* what a context's `tunnel` points to */
	struct sl_path *path; /* the port layer's, of a packet that is traced; NULL else */
};

struct sl_ctx {
	/*
	 * Line 0: the packet. Programs see [data, data_end); data_meta <= data; nothing may move
	 * below `head` or past `tail`. Helpers that move them change only these fields (the
	 * mbuf's own lengths are stale meanwhile); sl_packet_end (packet.h) copies them back.
	 */
	uint8_t *data;
	uint8_t *data_end;
	uint8_t *data_meta;
	uint8_t *head;
	uint8_t *tail;
	struct rte_mbuf *mbuf; /* never NULL; without a pool in a test run */
	struct sl_run *run;
	uint32_t cpu; /* same as run->cpu: constant for a burst */
	uint32_t ingress_ifindex;

	/*
	 * Line 1: the rest of xdp_md, and __sk_buff (uapi names and widths, host byte order but for the
	 * two protocols). Where the kernel keeps 16 bits the upper half is always zero.
	 */
	uint32_t rx_queue_index;
	uint32_t egress_ifindex;
	uint32_t len; /* all segments */
	uint32_t mark;
	uint32_t priority;
	uint32_t queue_mapping; /* 16 bits */
	uint32_t protocol; /* 16 bits, big endian, as in the uapi */
	uint32_t vlan_present, vlan_tci, vlan_proto; /* 16 bits; vlan_proto big endian */
	uint32_t pkt_type;
	uint32_t ifindex;
	uint32_t tc_index; /* 16 bits */
	uint32_t tc_classid; /* 16 bits */
	uint32_t hash; /* 0 when it is not valid; see hash_state */
	uint32_t napi_id;

	/* Line 2. */
	uint32_t cb[5];
	uint32_t wire_len, gso_segs, gso_size;
	uint64_t tstamp; /* ns */
	uint64_t hwtstamp;
	uint8_t tstamp_type;
	uint8_t hash_state; /* enum sl_hash_state */
	uint8_t is_skb; /* TC or socket filter: len follows data_end */
	uint8_t at_ingress;
	uint16_t mac_offset; /* of the link-layer header from head, for SKF_LL_OFF */
	uint16_t network_offset; /* of the network header from head, for SKF_NET_OFF */
	uint8_t port_addr[6]; /* link-layer address of the port, for pkt_type */
	uint8_t ip_summed; /* enum sl_csum */
	uint8_t csum_level; /* of SL_CSUM_UNNECESSARY */
	uint8_t encapsulation; /* bpf_skb_adjust_room added an outer header */
	uint8_t gso_type; /* enum sl_gso, of a port's packet with a gso_size */
	uint8_t csum_offset; /* of the field, from csum_start */
	uint16_t csum_start; /* from head; with SL_CSUM_PARTIAL or a gso_type */
	uint16_t inner_network_offset; /* from head; with encapsulation */

	/* Line 3. */
	uint64_t tail_calls; /* reserved for the JIT */
	struct sl_tunnel *tunnel; /* &run->tunnel; NULL without */
	void *socket; /* what __sk_buff's sk points to: a struct bpf_sock, or NULL */
} sl_cache_aligned;

/* Whose hash sl_ctx.hash is. A port that gets none from its NIC leaves it LAZY. */
enum sl_hash_state {
	SL_HASH_NONE, /* invalid; bpf_get_hash_recalc computes it */
	SL_HASH_LAZY, /* invalid; the first reader computes it */
	SL_HASH_L3, /* valid, of addresses only; bpf_get_hash_recalc computes it anew */
	SL_HASH_L4, /* valid, of the whole flow */
	SL_HASH_SET, /* valid, by bpf_set_hash or computed here */
};

/* What is known of the packet's L4 checksum: the kernel's CHECKSUM_*. */
enum sl_csum { SL_CSUM_NONE, SL_CSUM_UNNECESSARY, SL_CSUM_COMPLETE, SL_CSUM_PARTIAL };

/* What a packet is to be cut into; NONE also where a test run gave the packet its gso_size. */
enum sl_gso { SL_GSO_NONE, SL_GSO_TCP, SL_GSO_UDP };

/*
 * A burst for sl_burst_fn: contexts are set up from mbufs one after the other on the callee's stack
 * by the template in jit/ (packet.h), so that in the common case they never leave registers. A
 * program that changes its packet's bounds has them written back to the mbuf, by the same template.
 */
struct sl_burst {
	struct rte_mbuf **pkts;
	uint32_t *verdicts; /* out, one per packet */
	uint32_t count;
	uint32_t prefetch; /* how many packets ahead to prefetch; 0 for none */
	struct sl_ctx *ctx; /* constants of the burst filled in: run, cpu, ifindex, queue */
	struct sl_redirect *redirects; /* out, one per packet, valid where the verdict redirects */
	uint8_t *
		meta_lens; /* zeroes; out: bytes of metadata before the data, where there are any */
};

struct sl_redirect {
	uint32_t ifindex;
	uint64_t flags;
	struct sl_map *map;
	void *entry;
};
