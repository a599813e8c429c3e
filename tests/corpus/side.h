#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>

#include "client.h"
#include "loader.h"
#include "packets.h"

/*
 * One program of an object, loaded alone on one side and run on every packet, in a process of its
 * own: a crash or a hang is an outcome like any other.
 */

enum { SIDE_PACKET_MAX = 2048, SIDE_NAME_MAX = 128, SIDE_MAPS_MAX = 64 };

/* What a program made of one packet. */
struct side_run {
	int err; /* errno of BPF_PROG_TEST_RUN, 0 when it ran */
	uint32_t result, len;
	uint64_t digest; /* of all bytes */
	uint8_t data[SIDE_PACKET_MAX]; /* the first ones */
	union {
		struct __sk_buff skb; /* programs on socket buffers */
		struct xdp_md xdp;
	};
};

/* What a map holds after the last packet, in no particular order. */
struct side_map {
	char name[32];
	uint32_t entries;
	uint64_t digest;
};

enum side_end {
	SIDE_LOADED,
	SIDE_REFUSED,
	SIDE_CRASHED, /* by a signal: `err` is its number */
	SIDE_HUNG, /* longer than the limit */
};

struct side_outcome {
	enum side_end end;
	int err; /* errno of the load */
	char why[SL_LOADER_WHY_MAX]; /* of a refusal: the log's last words */
	double load_ms; /* the load of the object with its maps */
	uint32_t verified_insns;
	struct side_run runs[PACKETS];
	unsigned map_count;
	struct side_map maps[SIDE_MAPS_MAX];
};

struct side_program {
	const char *path;
	char name[SIDE_NAME_MAX];
	enum bpf_prog_type type;
	bool elsewhere; /* with the kernel's free pages shuffled: addresses in results change */
};

/*
 * Fills `outcome`, which has to be shared memory. 0, or a negative errno when no process could be
 * started. Maps are never pinned, whatever the object says.
 */
int side_try(enum sl_client_target target, const struct side_program *program, unsigned limit_s,
	struct side_outcome *outcome);

/*
 * The first packet on which the two differ, PACKETS + the first map if it is only in those, or -1.
 * Only of two that loaded.
 */
int side_compare(const struct side_outcome *a, const struct side_outcome *b);
