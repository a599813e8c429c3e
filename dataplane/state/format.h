#pragma once

#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>

/*
 * The file that a state is in: a header, then records, each padded to 8 bytes, in an order in which what
 * is needed comes first: BTF, maps with their contents, programs, what maps hold of objects, and the
 * nodes of the bpf file systems, a directory before what is in it. In host byte order: it is for the
 * next process on this machine. The header is that of a whole file, or there is no file of this name.
 */
#define SL_STATE_MAGIC "SLUICEST"

enum { SL_STATE_VERSION = 1 };

struct sl_state_header {
	char magic[8];
	uint32_t version;
	uint32_t cpu_count; /* whose values per-CPU maps have */
	uint64_t len_bytes; /* of what follows */
	uint32_t crc; /* of that, CRC-32C */
	uint32_t zero;
};

enum sl_state_kind {
	SL_STATE_BTF = 1,
	SL_STATE_TEMPLATE, /* a map that is what the next one, of maps, holds: without id */
	SL_STATE_MAP,
	SL_STATE_ENTRIES,
	SL_STATE_FREEZE,
	SL_STATE_PROG,
	SL_STATE_NODE,
};

struct sl_state_record {
	uint32_t kind;
	uint32_t zero;
	uint64_t len_bytes; /* without the padding */
};

struct sl_state_btf { /* and the blob */
	uint32_t id, uid;
};

struct sl_state_map {
	uint32_t id, uid, type, key_size, value_size, max_entries, flags;
	uint32_t btf_id, key_type_id, value_type_id;
	uint64_t extra;
	char name[BPF_OBJ_NAME_LEN];
};

struct sl_state_entries { /* and the keys, and the values: without key_size_bytes, to be pushed */
	uint32_t map_id, key_size_bytes;
	uint64_t value_size_bytes, count;
};

struct sl_state_freeze {
	uint32_t map_id, zero;
};

struct sl_state_prog { /* and the instructions with ids of maps in them, func_info, line_info */
	uint32_t id, uid, type, expected_attach_type, flags, btf_id;
	uint32_t insn_count, func_info_count, line_info_count, zero;
	char name[BPF_OBJ_NAME_LEN];
	char license[128];
};

struct sl_state_node { /* and the path below the root, and a link's target, both with their ends */
	uint32_t mode, uid, gid;
	uint32_t object_type, object_id; /* of a pin */
	uint32_t path_size, target_size, zero;
};

/* A file that is being written, or one that has been read. */
struct sl_state_file {
	FILE *out;
	uint64_t len_bytes;
	uint32_t crc;
	const uint8_t *bytes; /* of the records */
	size_t mapped_bytes;
	void *mapping;
};

/* 0 or a negative errno. */
int sl_state_create(struct sl_state_file *file, const char *dir);
void sl_state_begin(struct sl_state_file *file, enum sl_state_kind kind, uint64_t len_bytes);
/* A part of the record's contents; the last may be followed by padding. */
void sl_state_put(struct sl_state_file *file, const void *bytes, uint64_t len_bytes);
void sl_state_pad(struct sl_state_file *file);
/* Takes the file its place, or with an error removes what there is of it. */
int sl_state_finish(struct sl_state_file *file, const char *dir, int err);

/* -ENOENT: there is none; with *ret_why in words, -EINVAL: it is no whole state of this version. */
int sl_state_open(struct sl_state_file *file, const char *dir, const char **ret_why);
void sl_state_close(struct sl_state_file *file);
