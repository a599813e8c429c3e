#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "oracle.h"

/*
 * Counts what the kernel was asked: commands by map type, programs and their runs by helper. At the
 * end of the process one line each, which tests/run adds up:
 *
 *	asked map TYPE COMMAND TIMES REFUSED
 *	asked helper ID PROGRAMS REFUSED RUNS
 */

/* All may be counted by several threads at once. */
enum {
	FDS = 4096,
	HELPERS = 256,
	MAP_TYPES = 64,
	COMMANDS = 64,
	INSNS_MAX = 1 << 20,
	WORDS = HELPERS / 64
};

static uint64_t map_times[MAP_TYPES][COMMANDS], map_refused[MAP_TYPES][COMMANDS];
static uint64_t helper_loads[HELPERS], helper_refused[HELPERS], helper_runs[HELPERS];

/* What a descriptor was when it was made; another may have its number by now, and says so then. */
static uint8_t map_type_of[FDS]; /* 0: no map */
static uint64_t helpers_of[FDS][WORDS];

static pid_t first_process;

static void add(uint64_t *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static void print(void)
{
	if (getpid() != first_process)
		return;
	for (unsigned type = 0; type < MAP_TYPES; type++)
		for (unsigned cmd = 0; cmd < COMMANDS; cmd++)
			if (map_times[type][cmd])
				printf("asked map %u %u %lu %lu\n", type, cmd, map_times[type][cmd],
					map_refused[type][cmd]);
	for (unsigned id = 0; id < HELPERS; id++)
		if (helper_loads[id])
			printf("asked helper %u %lu %lu %lu\n", id, helper_loads[id],
				helper_refused[id], helper_runs[id]);
}

static bool has(const uint64_t *set, unsigned id)
{
	return set[id / 64] >> id % 64 & 1;
}

/* Tests pass bad addresses too. */
static bool read_insns(uint64_t from, struct bpf_insn *insns, size_t count)
{
	struct iovec local = { insns, count * sizeof(*insns) };
	struct iovec remote = { (void *)(uintptr_t)from, local.iov_len };

	return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)local.iov_len;
}

static void find_helpers(const union bpf_attr *attr, uint64_t *set)
{
	struct bpf_insn insns[256];

	for (uint64_t at = 0; at < attr->insn_cnt && at < INSNS_MAX; at += 256) {
		size_t count = attr->insn_cnt - at < 256 ? attr->insn_cnt - at : 256;

		if (!read_insns(attr->insns + at * sizeof(*insns), insns, count))
			return;
		for (size_t i = 0; i < count; i++) {
			uint32_t id = insns[i].imm;

			if (insns[i].code == (BPF_JMP | BPF_CALL) && insns[i].src_reg == 0 &&
				id < HELPERS)
				set[id / 64] |= 1ull << id % 64;
		}
	}
}

static void asked_load(const union bpf_attr *attr, long fd)
{
	uint64_t set[WORDS] = { 0 };

	find_helpers(attr, set);
	for (unsigned id = 0; id < HELPERS; id++) {
		if (!has(set, id))
			continue;
		add(&helper_loads[id], 1);
		add(&helper_refused[id], fd < 0);
	}
	if (fd >= 0 && fd < FDS) {
		map_type_of[fd] = 0;
		memcpy(helpers_of[fd], set, sizeof(set));
	}
}

static void asked_map(unsigned type, int cmd, long ret)
{
	if (type >= MAP_TYPES || cmd >= COMMANDS)
		return;
	add(&map_times[type][cmd], 1);
	add(&map_refused[type][cmd], ret < 0);
}

static void asked(int cmd, const union bpf_attr *attr, long ret)
{
	if (ret == -EFAULT)
		return;
	switch (cmd) {
	case BPF_MAP_CREATE:
		asked_map(attr->map_type, cmd, ret);
		if (ret >= 0 && ret < FDS)
			map_type_of[ret] = attr->map_type;
		break;
	case BPF_PROG_LOAD:
		asked_load(attr, ret);
		break;
	case BPF_PROG_TEST_RUN:
		if (ret == 0 && attr->test.prog_fd < FDS)
			for (unsigned id = 0; id < HELPERS; id++)
				if (has(helpers_of[attr->test.prog_fd], id))
					add(&helper_runs[id], 1);
		break;
	case BPF_MAP_LOOKUP_ELEM:
	case BPF_MAP_UPDATE_ELEM:
	case BPF_MAP_DELETE_ELEM:
	case BPF_MAP_GET_NEXT_KEY:
	case BPF_MAP_LOOKUP_AND_DELETE_ELEM:
	case BPF_MAP_FREEZE:
		if (attr->map_fd < FDS && map_type_of[attr->map_fd])
			asked_map(map_type_of[attr->map_fd], cmd, ret);
		break;
	case BPF_MAP_LOOKUP_BATCH:
	case BPF_MAP_UPDATE_BATCH:
	case BPF_MAP_DELETE_BATCH:
	case BPF_MAP_LOOKUP_AND_DELETE_BATCH:
		if (attr->batch.map_fd < FDS && map_type_of[attr->batch.map_fd])
			asked_map(map_type_of[attr->batch.map_fd], cmd, ret);
		break;
	}
}

__attribute__((constructor)) static void start(void)
{
	first_process = getpid();
	oracle_asked = asked;
	atexit(print);
}
