#include "map_program.h"

#include <errno.h>
#include <linux/btf.h>
#include <string.h>
#include <unistd.h>

#include "defs.h"
#include "test.h"

/* The packet: operation, flags, key, value, each in multiples of 8 bytes. */
enum { FLAGS_AT = 8, KEY_AT = 16, NO_PACKET = 1000, INSNS_MAX = 512 };

struct code {
	struct bpf_insn insns[INSNS_MAX];
	unsigned count;
	const struct map_program *p;
	int map;
	unsigned callback_use; /* the instruction that names it */
};

static void emit(struct code *c, uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm)
{
	c->insns[c->count++] = (struct bpf_insn){ code, dst, src, off, imm };
}

static void move(struct code *c, uint8_t dst, uint8_t src)
{
	emit(c, BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0);
}

static void set(struct code *c, uint8_t dst, int32_t value)
{
	emit(c, BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, value);
}

static void call_helper(struct code *c, int id)
{
	emit(c, BPF_JMP | BPF_CALL, 0, 0, 0, id);
}

static void leave(struct code *c)
{
	emit(c, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static uint32_t value_at(const struct map_program *p)
{
	return KEY_AT + sl_round_up(p->key_size, 8u);
}

static uint32_t packet_len(const struct map_program *p)
{
	return value_at(p) +
	       sl_round_up(sl_max(p->value_size, (uint32_t)sizeof(struct map_walked)), 8u);
}

/* Below the frame pointer key and value lie as in the packet. */
static int32_t on_stack(const struct map_program *p, uint32_t at)
{
	return (int32_t)at - (int32_t)packet_len(p);
}

static void set_to_stack(struct code *c, uint8_t dst, uint32_t at)
{
	move(c, dst, 10);
	emit(c, BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, on_stack(c->p, at));
}

/* r6: packet, r7: operation, r8: flags. */
static void emit_start(struct code *c)
{
	uint32_t len = packet_len(c->p);

	emit(c, BPF_LDX | BPF_MEM | BPF_W, 6, 1, 0, 0);
	emit(c, BPF_LDX | BPF_MEM | BPF_W, 2, 1, 4, 0);
	move(c, 3, 6);
	emit(c, BPF_ALU64 | BPF_ADD | BPF_K, 3, 0, 0, (int32_t)len);
	emit(c, BPF_JMP | BPF_JLE | BPF_X, 3, 2, 2, 0);
	set(c, 0, NO_PACKET);
	leave(c);
	for (uint32_t at = KEY_AT; at < len; at += 8) {
		emit(c, BPF_LDX | BPF_MEM | BPF_DW, 3, 6, (int16_t)at, 0);
		emit(c, BPF_STX | BPF_MEM | BPF_DW, 10, 3, (int16_t)on_stack(c->p, at), 0);
	}
	emit(c, BPF_LDX | BPF_MEM | BPF_W, 7, 6, 0, 0);
	emit(c, BPF_LDX | BPF_MEM | BPF_DW, 8, 6, FLAGS_AT, 0);
}

/* From r`src` on, `len` bytes into the packet's value: words in one piece. */
static void emit_copy(struct code *c, uint8_t src, int32_t off, uint32_t len)
{
	static const struct {
		uint32_t len;
		uint8_t size;
	} sizes[] = { { 8, BPF_DW }, { 4, BPF_W }, { 2, BPF_H }, { 1, BPF_B } };
	uint32_t at = 0;

	for (unsigned i = 0; i < sl_array_size(sizes); i++) {
		for (; at + sizes[i].len <= len; at += sizes[i].len) {
			emit(c, BPF_LDX | BPF_MEM | sizes[i].size, 1, src, (int16_t)(off + (int)at),
				0);
			emit(c, BPF_STX | BPF_MEM | sizes[i].size, 6, 1,
				(int16_t)(value_at(c->p) + at), 0);
		}
	}
}

/* What is at r0 goes into the packet, 0 out. */
static void emit_found(struct code *c)
{
	emit(c, BPF_JMP | BPF_JNE | BPF_K, 0, 0, 2, 0);
	set(c, 0, -ENOENT);
	leave(c);
	emit_copy(c, 0, 0, c->p->value_size);
	set(c, 0, 0);
}

static void emit_for_each(struct code *c)
{
	for (unsigned i = 0; i < 3; i++)
		emit(c, BPF_ST | BPF_MEM | BPF_DW, 10, 0,
			(int16_t)(on_stack(c->p, value_at(c->p)) + 8 * (int)i), 0);
	emit(c, BPF_LDX | BPF_MEM | BPF_DW, 3, 6, (int16_t)value_at(c->p), 0);
	emit(c, BPF_STX | BPF_MEM | BPF_DW, 10, 3,
		(int16_t)(on_stack(c->p, value_at(c->p)) + (int)offsetof(struct map_walked, limit)),
		0);
	c->callback_use = c->count;
	emit(c, BPF_LD | BPF_IMM | BPF_DW, 2, BPF_PSEUDO_FUNC, 0, 0);
	emit(c, 0, 0, 0, 0, 0);
	set_to_stack(c, 3, value_at(c->p));
	move(c, 4, 8);
	call_helper(c, BPF_FUNC_for_each_map_elem);
	emit_copy(c, 10, on_stack(c->p, value_at(c->p)), sizeof(struct map_walked));
}

/* (map, key, value, struct map_walked *) */
static void emit_callback(struct code *c)
{
	static const int16_t fields[] = { offsetof(struct map_walked, keys),
		offsetof(struct map_walked, values) };

	c->insns[c->callback_use].imm = (int32_t)(c->count - c->callback_use - 1);
	for (uint8_t i = 0; i < 2; i++) {
		emit(c, BPF_LDX | BPF_MEM | BPF_W, 5, 2 + i, 0, 0);
		emit(c, BPF_LDX | BPF_MEM | BPF_DW, 0, 4, fields[i], 0);
		emit(c, BPF_ALU64 | BPF_ADD | BPF_X, 0, 5, 0, 0);
		emit(c, BPF_STX | BPF_MEM | BPF_DW, 4, 0, fields[i], 0);
	}
	emit(c, BPF_LDX | BPF_MEM | BPF_DW, 5, 4, offsetof(struct map_walked, count), 0);
	emit(c, BPF_ALU64 | BPF_ADD | BPF_K, 5, 0, 0, 1);
	emit(c, BPF_STX | BPF_MEM | BPF_DW, 4, 5, offsetof(struct map_walked, count), 0);
	emit(c, BPF_LDX | BPF_MEM | BPF_DW, 4, 4, offsetof(struct map_walked, limit), 0);
	set(c, 0, 0);
	emit(c, BPF_JMP | BPF_JNE | BPF_X, 5, 4, 1, 0);
	set(c, 0, 1);
	leave(c);
}

static void emit_op(struct code *c, enum map_op op)
{
	static const int ids[MAP_OPS] = {
		[MAP_OP_LOOKUP] = BPF_FUNC_map_lookup_elem,
		[MAP_OP_UPDATE] = BPF_FUNC_map_update_elem,
		[MAP_OP_DELETE] = BPF_FUNC_map_delete_elem,
		[MAP_OP_PUSH] = BPF_FUNC_map_push_elem,
		[MAP_OP_POP] = BPF_FUNC_map_pop_elem,
		[MAP_OP_PEEK] = BPF_FUNC_map_peek_elem,
		[MAP_OP_LOOKUP_PERCPU] = BPF_FUNC_map_lookup_percpu_elem,
	};
	bool keyless = op == MAP_OP_PUSH || op == MAP_OP_POP || op == MAP_OP_PEEK;
	uint32_t value = value_at(c->p);

	emit(c, BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, c->map);
	emit(c, 0, 0, 0, 0, 0);
	if (op == MAP_OP_FOR_EACH) {
		emit_for_each(c);
		leave(c);
		return;
	}
	set_to_stack(c, 2, keyless ? value : KEY_AT);
	if (op == MAP_OP_UPDATE)
		set_to_stack(c, 3, value);
	else
		move(c, 3, 8);
	move(c, 4, 8);
	call_helper(c, ids[op]);
	if (op == MAP_OP_LOOKUP || op == MAP_OP_LOOKUP_PERCPU)
		emit_found(c);
	else if (op == MAP_OP_POP || op == MAP_OP_PEEK)
		emit_copy(c, 10, on_stack(c->p, value), c->p->value_size);
	leave(c);
}

/* int (*)(), a function of that type that is global, and one that is static: a callback has to be. */
static int functions_btf(enum side side)
{
	static const struct {
		struct btf_header hdr;
		uint32_t types[4 + 3 + 3 + 3];
		char strings[16];
	} blob = {
		.hdr = { BTF_MAGIC, BTF_VERSION, 0, sizeof(struct btf_header), 0, 13 * 4, 13 * 4,
			15 },
		.types = { 1, BTF_KIND_INT << 24, 4, BTF_INT_SIGNED << 24 | 32, 0,
			BTF_KIND_FUNC_PROTO << 24, 1, 5, BTF_KIND_FUNC << 24 | BTF_FUNC_GLOBAL, 2,
			10, BTF_KIND_FUNC << 24 | BTF_FUNC_STATIC, 2 },
		.strings = "\0int\0main\0each",
	};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.btf = PTR(&blob);
	attr.btf_size = sizeof(blob.hdr) + sizeof(blob.types) + 15;
	return (int)call(side, BPF_BTF_LOAD, &attr, sizeof(attr));
}

static int load(enum side side, const struct code *c, unsigned callback)
{
	const struct bpf_func_info funcs[] = { { 0, 3 }, { callback, 4 } };
	int btf = callback ? functions_btf(side) : -1, fd;
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.insns = PTR(c->insns);
	attr.insn_cnt = c->count;
	attr.license = PTR("GPL");
	if (callback) {
		attr.prog_btf_fd = (uint32_t)btf;
		attr.func_info = PTR(funcs);
		attr.func_info_cnt = 2;
		attr.func_info_rec_size = sizeof(funcs[0]);
	}
	fd = (int)call(side, BPF_PROG_LOAD, &attr, sizeof(attr));
	if (btf >= 0)
		close(btf);
	return fd;
}

struct map_program map_program_new(
	enum side side, int map, uint32_t key_size, uint32_t value_size, unsigned ops)
{
	struct map_program p = { side, -1, key_size, value_size };
	struct code c = { .p = &p, .map = map };
	unsigned callback = 0;

	emit_start(&c);
	for (enum map_op op = 0; op < MAP_OPS; op++) {
		unsigned jump = c.count;

		if (!(ops & 1u << op))
			continue;
		emit(&c, BPF_JMP | BPF_JNE | BPF_K, 7, 0, 0, (int32_t)op);
		emit_op(&c, op);
		c.insns[jump].off = (int16_t)(c.count - jump - 1);
	}
	set(&c, 0, NO_PACKET);
	leave(&c);
	if (ops & 1u << MAP_OP_FOR_EACH) {
		callback = c.count;
		emit_callback(&c);
	}
	p.fd = load(side, &c, callback);
	EXPECT_GE(p.fd, 0);
	return p;
}

int map_program_run(
	const struct map_program *p, enum map_op op, uint64_t flags, const void *key, void *value)
{
	uint8_t packet[KEY_AT + MAP_PROGRAM_KEY_MAX + MAP_PROGRAM_VALUE_MAX] = { (uint8_t)op };
	uint32_t len = packet_len(p), at = value_at(p);
	union bpf_attr attr;

	memcpy(packet + FLAGS_AT, &flags, sizeof(flags));
	if (key)
		memcpy(packet + KEY_AT, key, p->key_size);
	memcpy(packet + at, value, len - at);
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)p->fd;
	attr.test.data_in = attr.test.data_out = PTR(packet);
	attr.test.data_size_in = attr.test.data_size_out = len;
	attr.test.repeat = 1;
	EXPECT_EQ(call(p->side, BPF_PROG_TEST_RUN, &attr, sizeof(attr)), 0);
	memcpy(value, packet + at, len - at);
	return (int)attr.test.retval;
}
