#pragma once

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "facts.h"
#include "fd.h"
#include "kernel.h"
#include "map.h"
#include "prog.h"
#include "test.h"
#include "verifier.h"

/* One program through our verifier and through the kernel's, with the same maps on both sides. */

#define BOTH_LOG_BYTES (1u << 22)
#define BOTH_MAPS 9

enum both_map {
	M_ARRAY, /* key 4, value 48, 4 entries */
	M_HASH, /* key 8, value 16 */
	M_PROGS,
	M_PERCPU,
	M_PERF,
	M_CONST, /* one frozen read-only value of 16 bytes: 0, 1, 2, ... */
	M_DATA, /* one value of 64 bytes */
	M_RDONLY, /* read-only for programs, not frozen */
	M_RING, /* 4096 bytes */
};

struct both_maps {
	int ours[BOTH_MAPS], kernel[BOTH_MAPS];
};

static inline union bpf_attr both_map_attr(enum both_map which)
{
	static const struct {
		enum bpf_map_type type;
		uint32_t key, value, entries, flags;
	} rows[BOTH_MAPS] = {
		[M_ARRAY] = { BPF_MAP_TYPE_ARRAY, 4, 48, 4, 0 },
		[M_HASH] = { BPF_MAP_TYPE_HASH, 8, 16, 16, 0 },
		[M_PROGS] = { BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 8, 0 },
		[M_PERCPU] = { BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 4, 0 },
		[M_PERF] = { BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 4, 0 },
		[M_CONST] = { BPF_MAP_TYPE_ARRAY, 4, 16, 1, BPF_F_RDONLY_PROG },
		[M_DATA] = { BPF_MAP_TYPE_ARRAY, 4, 64, 1, 0 },
		[M_RDONLY] = { BPF_MAP_TYPE_ARRAY, 4, 16, 1, BPF_F_RDONLY_PROG },
		[M_RING] = { BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0 },
	};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = rows[which].type;
	attr.key_size = rows[which].key;
	attr.value_size = rows[which].value;
	attr.max_entries = rows[which].entries;
	attr.map_flags = rows[which].flags;
	return attr;
}

static inline int both_kernel_map(enum both_map which)
{
	union bpf_attr attr = both_map_attr(which);
	uint32_t key = 0;
	uint8_t value[16];
	int fd = (int)oracle_bpf(BPF_MAP_CREATE, &attr, sizeof(attr));

	if (which != M_CONST || fd < 0)
		return fd;
	for (unsigned i = 0; i < sizeof(value); i++)
		value[i] = (uint8_t)i;
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)fd;
	attr.key = (uint64_t)&key;
	attr.value = (uint64_t)value;
	oracle_bpf(BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr));
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)fd;
	oracle_bpf(BPF_MAP_FREEZE, &attr, sizeof(attr));
	return fd;
}

static inline int both_our_map(enum both_map which)
{
	union bpf_attr attr = both_map_attr(which);
	struct sl_map *map;
	uint32_t key = 0;
	uint8_t value[16];
	int fd;

	if (sl_map_new(&attr, &map))
		return -1;
	if (which == M_CONST) {
		for (unsigned i = 0; i < sizeof(value); i++)
			value[i] = (uint8_t)i;
		map->ops->sys_update(map, &key, value, 0);
		map->frozen = true;
	}
	fd = sl_fd_new(&map->obj, -1, 0);
	sl_map_unref(map);
	return fd;
}

static inline void both_maps_new(struct both_maps *maps)
{
	sl_prog_set_free_hooks(sl_facts_free, NULL, sl_map_unref);
	for (unsigned i = 0; i < BOTH_MAPS; i++) {
		maps->ours[i] = both_our_map(i);
		maps->kernel[i] = oracle_permitted() ? both_kernel_map(i) : -1;
		EXPECT_GE(maps->ours[i], 0);
	}
}

static inline void both_maps_free(struct both_maps *maps)
{
	for (unsigned i = 0; i < BOTH_MAPS; i++) {
		close(maps->ours[i]);
		if (maps->kernel[i] >= 0)
			close(maps->kernel[i]);
	}
}

/* Wide loads of maps carry an enum both_map; here they get descriptors. */
static inline void both_patch(struct bpf_insn *insns, uint32_t count, const int *fds)
{
	for (uint32_t i = 0; i < count; i++) {
		if (insns[i].code != (BPF_LD | BPF_IMM | BPF_DW))
			continue;
		if (insns[i].src_reg == BPF_PSEUDO_MAP_FD ||
			insns[i].src_reg == BPF_PSEUDO_MAP_VALUE)
			insns[i].imm = fds[insns[i].imm];
		i++;
	}
}

static inline int both_ours(enum bpf_prog_type type, const struct bpf_insn *insns, uint32_t count,
	uint32_t level, bool gpl, char *text, uint32_t size, struct sl_prog **ret_prog)
{
	struct sl_log_buf log = { .buf = text, .size = size, .level = level };
	struct sl_prog *prog;
	int err = sl_prog_new(insns, count, &prog);

	text[0] = '\0';
	if (err)
		return err;
	prog->type = prog->rules_type = type;
	prog->gpl_compatible = gpl;
	err = sl_verify(prog, &log);
	if (!err && ret_prog)
		*ret_prog = prog;
	else
		sl_object_unref(&prog->obj);
	return err;
}

static inline int both_kernel(enum bpf_prog_type type, const struct bpf_insn *insns, uint32_t count,
	uint32_t level, bool gpl, char *text, uint32_t size)
{
	union bpf_attr attr;
	long fd;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = type;
	attr.insns = (uint64_t)insns;
	attr.insn_cnt = count;
	attr.license = (uint64_t)(gpl ? "GPL" : "Proprietary");
	attr.log_level = level;
	attr.log_buf = (uint64_t)text;
	attr.log_size = size;
	text[0] = '\0';
	fd = oracle_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	if (fd < 0)
		return -errno;
	close((int)fd);
	return 0;
}
