#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <linux/bpf.h>

#include "client.h"
#include "value.h"

/*
 * Which map a command means: "id N", "pinned PATH", "name NAME" or "fd N", in two words or in one
 * with a colon between; or a name alone.
 */
enum sl_map_by { SL_MAP_BY_NAME, SL_MAP_BY_ID, SL_MAP_BY_PIN, SL_MAP_BY_FD };

struct sl_map_ref {
	enum sl_map_by by;
	uint32_t number;
	const char *text; /* borrowed from the arguments */
};

/*
 * Takes one or two words off the arguments. 0, or SL_EXIT_USAGE with the reason printed, in which
 * `command` is named.
 */
int sl_map_ref_take(const char *command, int *argc, char ***argv, struct sl_map_ref *ret_ref);

/*
 * A new descriptor, close-on-exec, which the caller closes; or negative errno with the reason in
 * words. One that is given as a descriptor is duplicated, and decides where the thread's bpf(2) goes
 * from now on: the kernel's maps and Sluice's are told apart by themselves.
 */
int sl_map_ref_open(const struct sl_map_ref *ref, char *ret_reason, size_t reason_size);

/* Where bpf(2) on this descriptor must go: the kernel's maps and Sluice's look different. */
enum sl_client_target sl_map_owner(int fd);

/* An open map, with how its keys and values are written. */
struct sl_map_handle {
	int fd;
	struct bpf_map_info info;
	struct btf *btf;
	struct sl_value_type key, value;
	unsigned cpus; /* possible ones for a per-CPU map, else 0 */
	uint32_t stride; /* from one CPU's value to the next */
	uint32_t value_bytes; /* of all CPUs */
	enum sl_value_kind { SL_VALUE_PLAIN, SL_VALUE_PROG, SL_VALUE_MAP, SL_VALUE_FD } holds;
};

/* 0, or negative errno with the reason in words. */
int sl_map_handle_open(const struct sl_map_ref *ref, struct sl_map_handle *ret_map,
	char *ret_reason, size_t reason_size);
void sl_map_handle_close(struct sl_map_handle *map);
