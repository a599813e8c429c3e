#include "btf.h"

#include <errno.h>
#include <linux/btf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oracle.h"
#include "rcu.h"
#include "test.h"

/* Blobs as data: the type section as words; the strings are the same for all. */
static const char strings[] = "\0a\0b\0int\0.data\0f\0tag\0 x y";
enum { S_A = 1, S_B = 3, S_INT = 5, S_DATA = 9, S_F = 15, S_TAG = 17, S_TEXT = 21 };

#define INFO(kind, kflag, vlen) ((uint32_t)(kflag) << 31 | (kind) << 24 | (vlen))
#define INT32 S_INT, INFO(BTF_KIND_INT, 0, 0), 4, 32
#define WORDS(...) { __VA_ARGS__ }, sizeof((uint32_t[]){ __VA_ARGS__ }) / sizeof(uint32_t)

static const struct {
	const char *name;
	uint32_t words[32];
	unsigned count;
} rows[] = {
	{ "int", WORDS(INT32) },
	{ "int of 33 bits in 4 bytes", WORDS(S_INT, INFO(BTF_KIND_INT, 0, 0), 4, 33) },
	{ "int with two encodings", WORDS(S_INT, INFO(BTF_KIND_INT, 0, 0), 4, 3 << 24 | 32) },
	{ "int with vlen", WORDS(S_INT, INFO(BTF_KIND_INT, 0, 1), 4, 32) },
	{ "int with a bad name", WORDS(S_TEXT, INFO(BTF_KIND_INT, 0, 0), 4, 32) },
	{ "int without name", WORDS(0, INFO(BTF_KIND_INT, 0, 0), 4, 32) },
	{ "name past the end", WORDS(999, INFO(BTF_KIND_INT, 0, 0), 4, 32) },
	{ "kind 0", WORDS(0, 0, 0) },
	{ "kind 20", WORDS(0, INFO(20, 0, 0), 0) },
	{ "info with unknown bits", WORDS(S_INT, INFO(BTF_KIND_INT, 0, 0) | 1 << 16, 4, 32) },
	{ "cut short", WORDS(S_INT, INFO(BTF_KIND_INT, 0, 0), 4) },
	{ "ptr to void", WORDS(0, INFO(BTF_KIND_PTR, 0, 0), 0) },
	{ "ptr with name", WORDS(S_A, INFO(BTF_KIND_PTR, 0, 0), 0) },
	{ "ptr past the end", WORDS(0, INFO(BTF_KIND_PTR, 0, 0), 9) },
	{ "ptr to itself", WORDS(0, INFO(BTF_KIND_PTR, 0, 0), 1) },
	{ "ptr to a tag", WORDS(INT32, S_A, INFO(BTF_KIND_TYPEDEF, 0, 0), 1, S_TAG,
				  INFO(BTF_KIND_DECL_TAG, 0, 0), 2, (uint32_t)-1, 0,
				  INFO(BTF_KIND_PTR, 0, 0), 3) },
	{ "ptr to a var",
		WORDS(INT32, S_A, INFO(BTF_KIND_VAR, 0, 0), 1, 0, 0, INFO(BTF_KIND_PTR, 0, 0), 2) },
	{ "const of a func",
		WORDS(INT32, 0, INFO(BTF_KIND_FUNC_PROTO, 0, 0), 1, S_F, INFO(BTF_KIND_FUNC, 0, 0),
			2, 0, INFO(BTF_KIND_CONST, 0, 0), 3) },
	{ "ptr to a proto", WORDS(INT32, 0, INFO(BTF_KIND_FUNC_PROTO, 0, 0), 1, 0,
				    INFO(BTF_KIND_PTR, 0, 0), 2) },
	{ "const of itself", WORDS(0, INFO(BTF_KIND_CONST, 0, 0), 1) },
	{ "const void", WORDS(0, INFO(BTF_KIND_CONST, 0, 0), 0) },
	{ "typedef", WORDS(INT32, S_A, INFO(BTF_KIND_TYPEDEF, 0, 0), 1) },
	{ "typedef with dots", WORDS(INT32, S_DATA, INFO(BTF_KIND_TYPEDEF, 0, 0), 1) },
	{ "typedef without name", WORDS(INT32, 0, INFO(BTF_KIND_TYPEDEF, 0, 0), 1) },
	{ "two typedefs of one another",
		WORDS(S_A, INFO(BTF_KIND_TYPEDEF, 0, 0), 2, S_B, INFO(BTF_KIND_TYPEDEF, 0, 0), 1) },
	{ "array", WORDS(INT32, 0, INFO(BTF_KIND_ARRAY, 0, 0), 0, 1, 1, 4) },
	{ "array with size", WORDS(INT32, 0, INFO(BTF_KIND_ARRAY, 0, 0), 4, 1, 1, 4) },
	{ "array of void", WORDS(INT32, 0, INFO(BTF_KIND_ARRAY, 0, 0), 0, 0, 1, 4) },
	{ "array of itself", WORDS(INT32, 0, INFO(BTF_KIND_ARRAY, 0, 0), 0, 2, 1, 4) },
	{ "array indexed by ptr", WORDS(INT32, 0, INFO(BTF_KIND_PTR, 0, 0), 0, 0,
					  INFO(BTF_KIND_ARRAY, 0, 0), 0, 1, 2, 4) },
	{ "struct", WORDS(INT32, S_A, INFO(BTF_KIND_STRUCT, 0, 1), 4, S_B, 1, 0) },
	{ "struct, member past it", WORDS(INT32, S_A, INFO(BTF_KIND_STRUCT, 0, 1), 4, S_B, 1, 64) },
	{ "struct, member larger", WORDS(INT32, S_A, INFO(BTF_KIND_STRUCT, 0, 1), 2, S_B, 1, 0) },
	{ "struct, members out of order",
		WORDS(INT32, S_A, INFO(BTF_KIND_STRUCT, 0, 2), 8, S_B, 1, 32, S_F, 1, 0) },
	{ "struct in itself", WORDS(S_A, INFO(BTF_KIND_STRUCT, 0, 1), 8, S_B, 1, 0) },
	{ "struct with a void member", WORDS(S_A, INFO(BTF_KIND_STRUCT, 0, 1), 8, S_B, 0, 0) },
	{ "bitfield", WORDS(INT32, S_A, INFO(BTF_KIND_STRUCT, 1, 1), 4, S_B, 1, 3 << 24) },
	{ "bitfield too wide",
		WORDS(INT32, S_A, INFO(BTF_KIND_STRUCT, 1, 1), 4, S_B, 1, 40 << 24) },
	{ "bitfield of 32 bits of an enum64",
		WORDS(S_A, INFO(BTF_KIND_ENUM64, 0, 1), 8, S_B, 7, 1, S_F,
			INFO(BTF_KIND_STRUCT, 1, 1), 8, S_B, 1, 32 << 24) },
	{ "bitfield of 40 bits of an enum64",
		WORDS(S_A, INFO(BTF_KIND_ENUM64, 0, 1), 8, S_B, 7, 1, S_F,
			INFO(BTF_KIND_STRUCT, 1, 1), 8, S_B, 1, 40 << 24) },
	{ "bitfield past it",
		WORDS(INT32, S_A, INFO(BTF_KIND_STRUCT, 1, 1), 4, S_B, 1, 8 << 24 | 28) },
	{ "union", WORDS(INT32, S_A, INFO(BTF_KIND_UNION, 0, 2), 4, S_B, 1, 0, S_F, 1, 0) },
	{ "union with an offset", WORDS(INT32, S_A, INFO(BTF_KIND_UNION, 0, 1), 8, S_B, 1, 32) },
	{ "enum", WORDS(S_A, INFO(BTF_KIND_ENUM, 0, 1), 4, S_B, 7) },
	{ "enum of 3 bytes", WORDS(S_A, INFO(BTF_KIND_ENUM, 0, 1), 3, S_B, 7) },
	{ "enum, value without name", WORDS(S_A, INFO(BTF_KIND_ENUM, 0, 1), 4, 0, 7) },
	{ "enum64", WORDS(S_A, INFO(BTF_KIND_ENUM64, 0, 1), 8, S_B, 7, 1) },
	{ "fwd", WORDS(S_A, INFO(BTF_KIND_FWD, 1, 0), 0) },
	{ "fwd with type", WORDS(S_A, INFO(BTF_KIND_FWD, 0, 0), 1) },
	{ "func", WORDS(INT32, 0, INFO(BTF_KIND_FUNC_PROTO, 0, 1), 1, S_A, 1, S_F,
			  INFO(BTF_KIND_FUNC, 0, 0), 2) },
	{ "global func", WORDS(INT32, 0, INFO(BTF_KIND_FUNC_PROTO, 0, 1), 1, S_A, 1, S_F,
				 INFO(BTF_KIND_FUNC, 0, 1), 2) },
	{ "extern func", WORDS(INT32, 0, INFO(BTF_KIND_FUNC_PROTO, 0, 1), 1, S_A, 1, S_F,
				 INFO(BTF_KIND_FUNC, 0, 2), 2) },
	{ "func of an int", WORDS(INT32, S_F, INFO(BTF_KIND_FUNC, 0, 0), 1) },
	{ "func, parameter without name", WORDS(INT32, 0, INFO(BTF_KIND_FUNC_PROTO, 0, 1), 1, 0, 1,
						  S_F, INFO(BTF_KIND_FUNC, 0, 0), 2) },
	{ "proto, parameter without name",
		WORDS(INT32, 0, INFO(BTF_KIND_FUNC_PROTO, 0, 1), 1, 0, 1) },
	{ "proto with ...", WORDS(INT32, 0, INFO(BTF_KIND_FUNC_PROTO, 0, 2), 1, 0, 1, 0, 0) },
	{ "proto, named void parameter",
		WORDS(INT32, 0, INFO(BTF_KIND_FUNC_PROTO, 0, 1), 1, S_A, 0) },
	{ "var", WORDS(INT32, S_A, INFO(BTF_KIND_VAR, 0, 0), 1, 0) },
	{ "var, extern", WORDS(INT32, S_A, INFO(BTF_KIND_VAR, 0, 0), 1, 2) },
	{ "var of void", WORDS(INT32, S_A, INFO(BTF_KIND_VAR, 0, 0), 0, 0) },
	{ "datasec", WORDS(INT32, S_A, INFO(BTF_KIND_VAR, 0, 0), 1, 1, S_DATA,
			     INFO(BTF_KIND_DATASEC, 0, 1), 4, 2, 0, 4) },
	{ "datasec of an int", WORDS(INT32, S_DATA, INFO(BTF_KIND_DATASEC, 0, 1), 4, 1, 0, 4) },
	{ "datasec without size", WORDS(INT32, S_A, INFO(BTF_KIND_VAR, 0, 0), 1, 1, S_DATA,
					  INFO(BTF_KIND_DATASEC, 0, 1), 0, 2, 0, 4) },
	{ "datasec, var past it", WORDS(INT32, S_A, INFO(BTF_KIND_VAR, 0, 0), 1, 1, S_DATA,
					  INFO(BTF_KIND_DATASEC, 0, 1), 4, 2, 4, 4) },
	{ "datasec, var smaller than its type",
		WORDS(INT32, S_A, INFO(BTF_KIND_VAR, 0, 0), 1, 1, S_DATA,
			INFO(BTF_KIND_DATASEC, 0, 1), 4, 2, 0, 2) },
	{ "datasec without vars", WORDS(S_DATA, INFO(BTF_KIND_DATASEC, 0, 0), 4) },
	{ "float", WORDS(S_A, INFO(BTF_KIND_FLOAT, 0, 0), 8) },
	{ "float of 5 bytes", WORDS(S_A, INFO(BTF_KIND_FLOAT, 0, 0), 5) },
	{ "decl tag", WORDS(INT32, S_A, INFO(BTF_KIND_STRUCT, 0, 1), 4, S_B, 1, 0, S_TAG,
			      INFO(BTF_KIND_DECL_TAG, 0, 0), 2, 0) },
	{ "decl tag of no member", WORDS(INT32, S_A, INFO(BTF_KIND_STRUCT, 0, 1), 4, S_B, 1, 0,
					   S_TAG, INFO(BTF_KIND_DECL_TAG, 0, 0), 2, 1) },
	{ "decl tag of an int", WORDS(INT32, S_TAG, INFO(BTF_KIND_DECL_TAG, 0, 0), 1, -1U) },
	{ "decl tag -2", WORDS(INT32, S_A, INFO(BTF_KIND_VAR, 0, 0), 1, 0, S_TAG,
				 INFO(BTF_KIND_DECL_TAG, 0, 0), 2, -2U) },
	{ "type tag", WORDS(INT32, S_TAG, INFO(BTF_KIND_TYPE_TAG, 0, 0), 1, 0,
			      INFO(BTF_KIND_PTR, 0, 0), 2) },
	{ "type tag behind const", WORDS(INT32, S_TAG, INFO(BTF_KIND_TYPE_TAG, 0, 0), 1, 0,
					   INFO(BTF_KIND_CONST, 0, 0), 2) },
	{ "type tag before const", WORDS(INT32, S_TAG, INFO(BTF_KIND_TYPE_TAG, 0, 0), 3, 0,
					   INFO(BTF_KIND_CONST, 0, 0), 1) },
	{ "type tag without name", WORDS(INT32, 0, INFO(BTF_KIND_TYPE_TAG, 0, 0), 1) },
};

struct blob {
	struct btf_header hdr;
	uint8_t data[256];
};

static uint32_t build(struct blob *blob, const uint32_t *words, unsigned count)
{
	memset(blob, 0, sizeof(*blob));
	blob->hdr = (struct btf_header){
		.magic = BTF_MAGIC,
		.version = BTF_VERSION,
		.hdr_len = sizeof(blob->hdr),
		.type_len = count * 4,
		.str_off = count * 4,
		.str_len = sizeof(strings),
	};
	memcpy(blob->data, words, count * 4);
	memcpy(blob->data + count * 4, strings, sizeof(strings));
	return sizeof(blob->hdr) + count * 4 + sizeof(strings);
}

static int ask_kernel(const struct blob *blob, uint32_t size)
{
	union bpf_attr attr;
	long fd;

	memset(&attr, 0, sizeof(attr));
	attr.btf = (uintptr_t)blob;
	attr.btf_size = size;
	fd = oracle_bpf(BPF_BTF_LOAD, &attr, sizeof(attr));
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int ask_sluice(const struct blob *blob, uint32_t size)
{
	char reason[SL_BTF_REASON_LEN];
	struct sl_btf *btf;
	int err = sl_btf_new(blob, size, reason, &btf);

	if (err)
		return err;
	sl_object_unref(&btf->obj);
	return 0;
}

TEST(btf, types_are_judged_as_by_the_kernel)
{
	struct blob blob;
	uint32_t size;

	ORACLE_OR_SKIP();
	for (unsigned i = 0; i < sl_array_size(rows); i++) {
		TRACE_PUSH("%s", rows[i].name);
		size = build(&blob, rows[i].words, rows[i].count);
		EXPECT_EQ(ask_kernel(&blob, size), ask_sluice(&blob, size));
		TRACE_POP();
	}
	sl_rcu_barrier();
}

TEST(btf, headers_are_judged_as_by_the_kernel)
{
	static const struct {
		const char *name;
		unsigned offset, size;
		uint32_t value;
		int grow;
	} changes[] = {
		{ "magic", 0, 2, 0x1234, 0 },
		{ "version", 2, 1, 2, 0 },
		{ "flags", 3, 1, 1, 0 },
		{ "short header", 4, 4, 20, 0 },
		{ "long header", 4, 4, 28, 0 },
		{ "header past the end", 4, 4, 4096, 0 },
		{ "types not first", 8, 4, 4, 0 },
		{ "unaligned types", 8, 4, 2, 0 },
		{ "no types", 12, 4, 0, 0 },
		{ "types too long", 12, 4, 4096, 0 },
		{ "types overlap strings", 12, 4, 20, 0 },
		{ "strings off", 16, 4, 20, 0 },
		{ "strings at 0", 16, 4, 0, 0 },
		{ "strings too long", 20, 4, 4096, 0 },
		{ "strings too short", 20, 4, 2, 0 },
		{ "strings empty", 20, 4, 0, 0 },
		{ "bytes at the end", 3, 1, 0, 4 },
		{ "last byte cut", 3, 1, 0, -1 },
		{ "nothing but a header", 3, 1, 0, -100 },
	};
	static const uint32_t words[] = { INT32 };
	struct blob blob;
	uint32_t size;

	ORACLE_OR_SKIP();
	for (unsigned i = 0; i < sl_array_size(changes); i++) {
		TRACE_PUSH("%s", changes[i].name);
		size = build(&blob, words, 4);
		memcpy((char *)&blob + changes[i].offset, &changes[i].value, changes[i].size);
		size += changes[i].grow;
		if (changes[i].grow == -100)
			size = sizeof(blob.hdr);
		EXPECT_EQ(ask_kernel(&blob, size), ask_sluice(&blob, size));
		TRACE_POP();
	}
	for (size = 0; size < sizeof(blob.hdr); size++) {
		build(&blob, words, 4);
		EXPECT_EQ(ask_kernel(&blob, size), ask_sluice(&blob, size));
	}
}

/* Random damage must never be believed where the kernel does not believe it, nor crash. */
TEST(btf, damaged_blobs_are_not_believed)
{
	unsigned seed = 1, refused_more = 0;
	struct blob blob;
	uint32_t size;

	ORACLE_OR_SKIP();
	for (unsigned i = 0; i < 20000; i++) {
		unsigned row = rand_r(&seed) % sl_array_size(rows);
		int kernel, here;

		size = build(&blob, rows[row].words, rows[row].count);
		for (unsigned n = rand_r(&seed) % 3 + 1; n > 0; n--)
			((uint8_t *)&blob)[rand_r(&seed) % size] ^= 1 << rand_r(&seed) % 8;
		kernel = ask_kernel(&blob, size);
		here = ask_sluice(&blob, size);
		/* Of several faults either may be found first. */
		if (kernel != 0 && here == 0)
			sl_test_fail(__FILE__, __LINE__, "%s damaged: kernel %d", rows[row].name,
				kernel);
		refused_more += kernel == 0 && here != 0;
	}
	/* Names that are odd even for the kernel. */
	EXPECT_LE(refused_more, 4);
	sl_rcu_barrier();
}
