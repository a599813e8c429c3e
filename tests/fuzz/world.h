#pragma once

#include "program.h"

/* Both sides with the same maps: where programs are loaded and run. */

enum fuzz_side { KERNEL, SLUICE, SIDES };

enum {
	FUZZ_LOG_BYTES = 1 << 24,
	FUZZ_PACKET_BYTES = 512,
	FUZZ_PACKETS = 5,
	FUZZ_OUT_BYTES = FUZZ_PACKET_BYTES + 512,
};

struct fuzz_world {
	const struct fuzz_setting *setting;
	int maps[SIDES][FUZZ_MAX_MAPS]; /* -1 where a side does not have it */
	int btf[SIDES];
	bool has_kernel;
};

/* As bpf(2), but a failure is the negative errno. */
long fuzz_bpf(enum fuzz_side side, int cmd, union bpf_attr *attr, unsigned size);

/* Whether both sides could make the map; a world without the kernel has only Sluice. */
bool fuzz_world_has(const struct fuzz_world *world, unsigned map);
void fuzz_world_open(struct fuzz_world *world, const struct fuzz_setting *setting, bool has_kernel);
void fuzz_world_close(struct fuzz_world *world);
/* Maps as they were at first. */
void fuzz_world_reset(const struct fuzz_world *world);
/* The first map whose contents differ, -1 for none. */
int fuzz_world_compare(const struct fuzz_world *world);

/* Of one side's contents. */
uint64_t fuzz_world_hash(const struct fuzz_world *world, enum fuzz_side side);

/* A program's descriptor or a negative errno; `log` (FUZZ_LOG_BYTES) gets level 1, or NULL. */
int fuzz_load(const struct fuzz_world *world, enum fuzz_side side,
	const struct fuzz_program *program, char *log);
/* Sluice's verdict without the compilation; 0 or a negative errno. */
int fuzz_verify(const struct fuzz_world *world, const struct fuzz_program *program);
/* Whether an accepted program reads stack that it has not written: no two runs need be equal. */
bool fuzz_reads_anything(const struct fuzz_world *world, const struct fuzz_program *program);

struct fuzz_run {
	long err;
	uint32_t result, size;
	uint8_t data[FUZZ_OUT_BYTES];
};

/* The program on packet number `index` of its packets. */
void fuzz_run(enum fuzz_side side, int fd, const struct fuzz_program *program, unsigned index,
	struct fuzz_run *ret_run);
