#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sluice/bpf.h>

#include "helper.h"
#include "oracle.h"
#include "packet.h"
#include "test.h"
#include "test_packet.h"

/*
 * Random sequences of helper calls on random packets, run by the kernel as a program, and here by
 * calling the helpers, and as the same program compiled: the results, what they wrote to memory, the packet and the context must be
 * the same.
 */

#define MAX_CALLS 4
#define MAX_ARGS 4
#define OUT_BYTES 16
#define MAX_PACKET 256
#define MIN_IP_FRAME 54

enum arg_kind { ARG_NONE, ARG_VALUE, ARG_MEMORY, ARG_OUT };

struct arg {
	enum arg_kind kind;
	uint64_t value; /* or the bytes in memory */
	uint64_t high; /* bytes 8 to 15 */
};

/* A call of a helper: r1 is the context where it takes one, the others as given. */
struct call {
	uint32_t id;
	bool ctx;
	struct arg args[5];
};

struct script {
	bool is_skb;
	unsigned call_count;
	struct call calls[MAX_CALLS];
	uint8_t packet[MAX_PACKET];
	unsigned len;
};

struct outcome {
	uint32_t ret;
	unsigned len; /* with metadata, which a test run puts in front */
	unsigned meta_len; /* ours: bytes that nobody wrote */
	uint8_t packet[20000];
};

static uint64_t random_state = 1;

static uint64_t random64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static unsigned below(unsigned n)
{
	return (unsigned)(random64() >> 32) % n;
}

/* What both sides fold every observation into. */
#define MIX_FACTOR 0x01000193

static uint64_t mix(uint64_t hash, uint64_t value)
{
	return (hash ^ value) * MIX_FACTOR;
}

/*
 * The script as a program.
 */
#define STACK_SLOT(arg) (short)(-OUT_BYTES * ((arg) + 1))

struct assembler {
	struct bpf_insn insns[1024];
	unsigned count;
};

static void emit(struct assembler *as, uint8_t code, uint8_t dst, uint8_t src, short off, int imm)
{
	as->insns[as->count++] = (struct bpf_insn){
		.code = code, .dst_reg = dst, .src_reg = src, .off = off, .imm = imm
	};
}

static void emit_imm64(struct assembler *as, uint8_t dst, uint64_t value)
{
	emit(as, BPF_LD | BPF_DW | BPF_IMM, dst, 0, 0, (int)(uint32_t)value);
	emit(as, 0, 0, 0, 0, (int)(uint32_t)(value >> 32));
}

/* r9 = mix(r9, reg) */
static void emit_mix(struct assembler *as, uint8_t reg)
{
	emit(as, BPF_ALU64 | BPF_XOR | BPF_X, 9, reg, 0, 0);
	emit(as, BPF_ALU64 | BPF_MUL | BPF_K, 9, 0, 0, MIX_FACTOR);
}

static void emit_arg(struct assembler *as, uint8_t reg, const struct arg *arg)
{
	short slot = STACK_SLOT(reg - 1);

	if (arg->kind == ARG_VALUE) {
		emit_imm64(as, reg, arg->value);
		return;
	}
	emit_imm64(as, 0, arg->value);
	emit(as, BPF_STX | BPF_MEM | BPF_DW, 10, 0, slot, 0);
	emit_imm64(as, 0, arg->high);
	emit(as, BPF_STX | BPF_MEM | BPF_DW, 10, 0, slot + 8, 0);
	emit(as, BPF_ALU64 | BPF_MOV | BPF_X, reg, 10, 0, 0);
	emit(as, BPF_ALU64 | BPF_ADD | BPF_K, reg, 0, 0, slot);
}

static void emit_call(struct assembler *as, const struct call *call)
{
	for (unsigned i = 0; i < 5; i++)
		if (call->args[i].kind != ARG_NONE)
			emit_arg(as, (uint8_t)(i + 1), &call->args[i]);
	if (call->ctx)
		emit(as, BPF_ALU64 | BPF_MOV | BPF_X, 1, 6, 0, 0);
	emit(as, BPF_JMP | BPF_CALL, 0, 0, 0, (int)call->id);
	emit_mix(as, 0);
	for (unsigned i = 0; i < 5; i++) {
		if (call->args[i].kind != ARG_OUT)
			continue;
		for (short at = 0; at < OUT_BYTES; at += 8) {
			emit(as, BPF_LDX | BPF_MEM | BPF_DW, 1, 10, STACK_SLOT(i) + at, 0);
			emit_mix(as, 1);
		}
	}
}

/* Fields that helpers change and that are not in the kernel's context out. */
static const short observed_fields[] = {
	offsetof(struct __sk_buff, len),
	offsetof(struct __sk_buff, pkt_type),
	offsetof(struct __sk_buff, protocol),
	offsetof(struct __sk_buff, vlan_present),
	offsetof(struct __sk_buff, vlan_tci),
	offsetof(struct __sk_buff, vlan_proto),
	offsetof(struct __sk_buff, tstamp),
};

static void emit_fields(struct assembler *as)
{
	for (size_t i = 0; i < sl_array_size(observed_fields); i++) {
		bool wide = observed_fields[i] == offsetof(struct __sk_buff, tstamp);

		emit(as, BPF_LDX | BPF_MEM | (wide ? BPF_DW : BPF_W), 1, 6, observed_fields[i], 0);
		emit_mix(as, 1);
	}
}

static void assemble(struct assembler *as, const struct script *script)
{
	as->count = 0;
	emit(as, BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0);
	emit(as, BPF_ALU64 | BPF_MOV | BPF_K, 9, 0, 0, 0);
	for (unsigned i = 0; i < script->call_count; i++)
		emit_call(as, &script->calls[i]);
	if (script->is_skb)
		emit_fields(as);
	emit(as, BPF_ALU64 | BPF_MOV | BPF_X, 0, 9, 0, 0);
	emit(as, BPF_ALU64 | BPF_RSH | BPF_K, 9, 0, 0, 32);
	emit(as, BPF_ALU64 | BPF_XOR | BPF_X, 0, 9, 0, 0);
	emit(as, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* bpf(2): the kernel's or ours. */
typedef long (*bpf_fn)(int cmd, union bpf_attr *attr, unsigned size);

static int load(bpf_fn bpf, const struct script *script, const struct assembler *as)
{
	static char log[1 << 20];
	union bpf_attr attr;
	int fd;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = script->is_skb ? BPF_PROG_TYPE_SCHED_CLS : BPF_PROG_TYPE_XDP;
	attr.insns = (unsigned long)as->insns;
	attr.insn_cnt = as->count;
	attr.license = (unsigned long)"GPL";
	fd = (int)bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	if (fd >= 0)
		return fd;
	attr.log_buf = (unsigned long)log;
	attr.log_size = sizeof(log);
	attr.log_level = 1;
	bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	sl_test_fail(__FILE__, __LINE__, "%s refuses:\n%s",
		bpf == oracle_bpf ? "the kernel" : "sluice", log);
	return -1;
}

/* False when there is nothing to compare: a test run refuses truncated IP headers. */
static bool run_program(bpf_fn bpf, const struct script *script, struct outcome *ret_outcome)
{
	static struct assembler as;
	union bpf_attr attr;
	long ret;
	int fd;

	assemble(&as, script);
	fd = load(bpf, script, &as);
	if (fd < 0)
		return false;
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (unsigned)fd;
	attr.test.data_in = (unsigned long)script->packet;
	attr.test.data_size_in = script->len;
	attr.test.data_out = (unsigned long)ret_outcome->packet;
	attr.test.data_size_out = sizeof(ret_outcome->packet);
	attr.test.repeat = 1;
	ret = bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr));
	if (ret != 0 && !(errno == EINVAL && script->is_skb && script->len < MIN_IP_FRAME))
		sl_test_fail(__FILE__, __LINE__, "test run: %s", strerror(errno));
	close(fd);
	ret_outcome->ret = attr.test.retval;
	ret_outcome->len = attr.test.data_size_out;
	return ret == 0;
}

/*
 * The script as calls.
 */
static uint64_t call_helper(struct sl_ctx *ctx, const struct call *call, uint64_t hash)
{
	uint64_t memory[5][OUT_BYTES / 8], args[5] = { 0 };

	for (unsigned i = 0; i < 5; i++) {
		memory[i][0] = call->args[i].value;
		memory[i][1] = call->args[i].high;
		args[i] =
			call->args[i].kind == ARG_VALUE ? call->args[i].value : (uint64_t)memory[i];
	}
	hash = mix(hash,
		sl_helper_by_id(call->id)->fn(ctx, args[0], args[1], args[2], args[3], args[4]));
	for (unsigned i = 0; i < 5; i++) {
		if (call->args[i].kind != ARG_OUT)
			continue;
		hash = mix(hash, memory[i][0]);
		hash = mix(hash, memory[i][1]);
	}
	return hash;
}

static void call_directly(const struct script *script, struct outcome *ret_outcome)
{
	static struct test_packet packet;
	struct sl_ctx *ctx = &packet.ctx;
	uint64_t hash = 0;

	test_packet_init(&packet, script->is_skb, script->packet, script->len);
	/* The kernel's test runs: 256 bytes in front, of which 40 are its own; a page in all. */
	if (!script->is_skb) {
		ctx->head = ctx->data - (256 - 40);
		ctx->tail = ctx->data + (4096 - 256 - 320);
	}
	for (unsigned i = 0; i < script->call_count; i++)
		hash = call_helper(ctx, &script->calls[i], hash);
	if (script->is_skb) {
		const uint64_t fields[] = { ctx->len, ctx->pkt_type, ctx->protocol,
			ctx->vlan_present, ctx->vlan_tci, ctx->vlan_proto, ctx->tstamp };

		for (size_t i = 0; i < sl_array_size(fields); i++)
			hash = mix(hash, fields[i]);
	}
	ret_outcome->ret = (uint32_t)(hash ^ hash >> 32);
	ret_outcome->len = (unsigned)(ctx->data_end - ctx->data_meta);
	ret_outcome->meta_len = (unsigned)(ctx->data - ctx->data_meta);
	memcpy(ret_outcome->packet, ctx->data_meta, ret_outcome->len);
}

/*
 * The scripts.
 */
static struct arg value(uint64_t v)
{
	return (struct arg){ .kind = ARG_VALUE, .value = v };
}

static struct arg memory(void)
{
	return (struct arg){ .kind = ARG_MEMORY, .value = random64(), .high = random64() };
}

static struct arg out(void)
{
	return (struct arg){ .kind = ARG_OUT, .value = random64(), .high = random64() };
}

/* Mostly inside the packet, else about its ends or anywhere. */
static uint64_t some_offset(const struct script *script)
{
	switch (below(8)) {
	case 0:
		return script->len + below(8) - 4;
	case 1:
		return random64() >> below(64);
	case 2:
		return 0x10000 - below(4);
	default:
		return below(script->len + 4);
	}
}

/* One bit of those, or some, or none. */
static uint64_t some_flags(uint64_t known)
{
	switch (below(6)) {
	case 0:
		return 0;
	case 1:
		return 1ull << below(64);
	default:
		return random64() & random64() & known;
	}
}

static void make_load_bytes(const struct script *script, struct call *call)
{
	call->args[1] = value(some_offset(script));
	call->args[2] = out();
	call->args[3] = value(1 + below(OUT_BYTES));
}

static void make_load_relative(const struct script *script, struct call *call)
{
	make_load_bytes(script, call);
	call->args[4] = value(below(4) ? below(2) : below(5));
}

static void make_store_bytes(const struct script *script, struct call *call)
{
	call->args[1] = value(some_offset(script));
	call->args[2] = memory();
	call->args[3] = value(1 + below(OUT_BYTES));
	if (script->is_skb)
		call->args[4] = value(some_flags(3));
}

static uint64_t some_field(void)
{
	static const uint64_t edges[] = { 0, 0xffff, 0xffffffff, 0xffff0000, 1 };

	return below(3) ? random64() >> 32 : edges[below(sl_array_size(edges))];
}

static void make_l3_csum(const struct script *script, struct call *call)
{
	static const uint64_t sizes[] = { 0, 2, 4, 2, 4, 0, 3, 0x10 };

	call->args[1] = value(some_offset(script));
	call->args[4] = value(sizes[below(sl_array_size(sizes))]);
	call->args[2] = value(call->args[4].value == 0 && below(4) ? 0 : some_field());
	call->args[3] = value(some_field());
}

static void make_l4_csum(const struct script *script, struct call *call)
{
	make_l3_csum(script, call);
	call->args[4].value = (call->args[4].value & 0xf) | some_flags(0xf0);
}

static void make_csum_diff(const struct script *script, struct call *call)
{
	static const unsigned sizes[] = { 0, 4, 8, 12, 16, 4, 8, 7 };
	unsigned from = sizes[below(sl_array_size(sizes))];
	unsigned to = sizes[below(sl_array_size(sizes))];

	call->ctx = false;
	call->args[0] = from ? memory() : value(0);
	call->args[1] = value(from);
	call->args[2] = to ? memory() : value(0);
	call->args[3] = value(to);
	call->args[4] = value(some_field());
	if (below(4) == 0)
		call->args[0].value = call->args[0].high = from ? ~0ull : 0;
	if (below(4) == 0)
		call->args[2].value = call->args[2].high = 0;
}

static void make_number(const struct script *script, struct call *call)
{
	call->args[1] = value(some_offset(script));
}

static void make_small_number(const struct script *script, struct call *call)
{
	call->args[1] = value(below(4) ? below(6) : random64());
}

static void make_signed(const struct script *script, struct call *call)
{
	static const int reaches[] = { 4, 32, 256, 5000 };
	int reach = reaches[below(sl_array_size(reaches))];

	call->args[1] = value((uint64_t)(int64_t)((int)below(2 * (unsigned)reach + 1) - reach));
	if (below(8) == 0)
		call->args[1].value = random64();
	if (call->id == BPF_FUNC_xdp_adjust_meta && below(4))
		call->args[1].value &= ~3ull;
}

static void make_change_proto(const struct script *script, struct call *call)
{
	static const uint64_t protos[] = { 0x0008, 0xdd86, 0x0081, 0x10008 };

	call->args[1] = value(protos[below(sl_array_size(protos))]);
	call->args[2] = value(below(8) == 0);
}

static void make_adjust_room(const struct script *script, struct call *call)
{
	make_signed(script, call);
	if (below(2))
		call->args[1].value = (uint64_t)(int64_t)((int)below(80) - 40);
	call->args[2] = value(below(8) ? below(2) : below(5));
	call->args[3] = value(below(2) ? 0 : some_flags(0x1ff | 0xffull << 56));
	if (below(4) == 0)
		call->args[3].value &= ~(0xffull << 56);
}

static void make_change_len(const struct script *script, struct call *call)
{
	/* What both sides' buffers have room for. */
	call->args[1] = value(below(8) ? below(call->id == BPF_FUNC_skb_change_head ? 100 : 1000)
				       : 20000 + (random64() >> below(50)));
	call->args[2] = value(below(16) == 0);
}

static void make_vlan_push(const struct script *script, struct call *call)
{
	static const uint64_t protos[] = { 0x0081, 0xa888, 0x0008, 0x1a888 };

	call->args[1] = value(protos[below(sl_array_size(protos))]);
	call->args[2] = value(random64());
}

static void make_plain(const struct script *script, struct call *call)
{
}

/* Text that is a number, nearly. */
static void make_strtol(const struct script *script, struct call *call)
{
	static const char alphabet[] = "0123456789abcdefxX- \n\xa0-+0x7f8";
	static const uint64_t bases[] = { 0, 8, 10, 16, 10, 2, 32, 1ull << 40 };
	char text[OUT_BYTES];

	for (unsigned i = 0; i < OUT_BYTES; i++)
		text[i] = alphabet[below(below(3) ? 10 : sizeof(alphabet))];
	call->ctx = false;
	call->args[0] = memory();
	memcpy(&call->args[0].value, text, 8);
	memcpy(&call->args[0].high, text + 8, 8);
	call->args[1] = value(1 + below(OUT_BYTES));
	call->args[2] = value(bases[below(sl_array_size(bases))]);
	call->args[3] = out();
}

static void make_tstamp(const struct script *script, struct call *call)
{
	call->args[1] = value(below(3) ? random64() : 0);
	call->args[2] = value(below(4));
}

struct maker {
	uint32_t id;
	void (*make)(const struct script *script, struct call *call);
};

static const struct maker skb_makers[] = {
	{ BPF_FUNC_skb_load_bytes, make_load_bytes },
	{ BPF_FUNC_skb_load_bytes_relative, make_load_relative },
	{ BPF_FUNC_skb_store_bytes, make_store_bytes },
	{ BPF_FUNC_l3_csum_replace, make_l3_csum },
	{ BPF_FUNC_l4_csum_replace, make_l4_csum },
	{ BPF_FUNC_csum_diff, make_csum_diff },
	{ BPF_FUNC_csum_level, make_small_number },
	{ BPF_FUNC_csum_update, make_small_number },
	{ BPF_FUNC_skb_pull_data, make_number },
	{ BPF_FUNC_skb_change_type, make_small_number },
	{ BPF_FUNC_skb_change_proto, make_change_proto },
	{ BPF_FUNC_skb_adjust_room, make_adjust_room },
	{ BPF_FUNC_skb_change_tail, make_change_len },
	{ BPF_FUNC_skb_change_head, make_change_len },
	{ BPF_FUNC_skb_vlan_push, make_vlan_push },
	{ BPF_FUNC_skb_vlan_pop, make_plain },
	{ BPF_FUNC_set_hash_invalid, make_plain },
	{ BPF_FUNC_skb_set_tstamp, make_tstamp },
	{ BPF_FUNC_skb_ecn_set_ce, make_plain },
	{ BPF_FUNC_get_cgroup_classid, make_plain },
	{ BPF_FUNC_get_route_realm, make_plain },
	{ BPF_FUNC_strtol, make_strtol },
	{ BPF_FUNC_strtoul, make_strtol },
};

static const struct maker xdp_makers[] = {
	{ BPF_FUNC_xdp_load_bytes, make_load_bytes },
	{ BPF_FUNC_xdp_store_bytes, make_store_bytes },
	{ BPF_FUNC_csum_diff, make_csum_diff },
	{ BPF_FUNC_xdp_adjust_head, make_signed },
	{ BPF_FUNC_xdp_adjust_tail, make_signed },
	{ BPF_FUNC_xdp_adjust_meta, make_signed },
	{ BPF_FUNC_xdp_get_buff_len, make_plain },
};

/* IPv4, IPv6, tagged once or twice, or anything; the rest of the packet random. */
static void make_packet(struct script *script)
{
	static const uint8_t types[][8] = { { 0x08, 0, 0x45 }, { 0x86, 0xdd, 0x60 },
		{ 0x81, 0, 0, 5, 0x08, 0, 0x45 }, { 0x88, 0xa8, 0, 5, 0x81, 0, 0, 6 },
		{ 0, 30, 0xff, 0xff } };
	unsigned kind = below(sl_array_size(types) + 1);

	script->len = below(4) ? 60 + below(MAX_PACKET - 60) : 14 + below(60);
	for (unsigned i = 0; i < script->len; i++)
		script->packet[i] = (uint8_t)random64();
	if (kind < sl_array_size(types))
		memcpy(script->packet + 12, types[kind], sl_min(8u, script->len - 12));
}

/*
 * A kernel buffer that had to grow in front forgets that there is no transport header, and then lets
 * a packet be cut shorter than its headers: no call that tells after one that grows.
 */
static bool follows(uint32_t id, const struct script *script, unsigned index)
{
	if (id != BPF_FUNC_skb_change_tail)
		return true;
	for (unsigned i = 0; i < index; i++)
		if (script->calls[i].id == BPF_FUNC_skb_change_head ||
			script->calls[i].id == BPF_FUNC_skb_adjust_room)
			return false;
	return true;
}

static void make_script(struct script *script, bool is_skb)
{
	const struct maker *makers = is_skb ? skb_makers : xdp_makers;
	unsigned count = is_skb ? sl_array_size(skb_makers) : sl_array_size(xdp_makers);

	memset(script, 0, sizeof(*script));
	script->is_skb = is_skb;
	make_packet(script);
	script->call_count = 1 + below(MAX_CALLS);
	for (unsigned i = 0; i < script->call_count; i++) {
		const struct maker *maker = &makers[below(count)];
		struct call *call = &script->calls[i];

		if (!sl_helper_by_id(maker->id)->fn || !follows(maker->id, script, i)) {
			i--;
			continue;
		}
		call->id = maker->id;
		call->ctx = true;
		maker->make(script, call);
	}
}

static void describe(const struct script *script, char *text, size_t size)
{
	size_t at = 0;

	for (unsigned i = 0; i < script->call_count; i++) {
		const struct call *call = &script->calls[i];

		at += (size_t)snprintf(
			text + at, size - at, "%s(", sl_helper_by_id(call->id)->name);
		for (unsigned a = 0; a < 5; a++)
			if (call->args[a].kind != ARG_NONE)
				at += (size_t)snprintf(text + at, size - at, "%s%#llx,",
					call->args[a].kind == ARG_VALUE ? "" : "&",
					(unsigned long long)call->args[a].value);
		at += (size_t)snprintf(text + at, size - at, ") ");
	}
	snprintf(text + at, size - at, "on %u bytes, type %02x%02x", script->len,
		script->packet[12], script->packet[13]);
}

enum side { CALLED, COMPILED };

static bool compare(const struct script *script, enum side side)
{
	static struct outcome theirs, ours;
	char text[2048];

	if (!run_program(oracle_bpf, script, &theirs))
		return true;
	/* What a compiled program leaves does not say how much metadata nobody wrote. */
	call_directly(script, &ours);
	if (side == COMPILED && !run_program(sluice_bpf, script, &ours))
		return false;
	if (ours.ret == theirs.ret && ours.len == theirs.len &&
		memcmp(ours.packet + ours.meta_len, theirs.packet + ours.meta_len,
			ours.len - ours.meta_len) == 0)
		return true;
	describe(script, text, sizeof(text));
	TRACE_PUSH("%s", text);
	EXPECT_EQ(ours.ret, theirs.ret);
	EXPECT_EQ(ours.len, theirs.len);
	EXPECT_MEMEQ(ours.packet, theirs.packet, sl_min(ours.len, theirs.len));
	TRACE_POP();
	return false;
}

static void compare_many(bool is_skb, enum side side, unsigned runs)
{
	struct script script;
	unsigned failures = 0;

	for (unsigned i = 0; i < runs && failures < 10; i++) {
		make_script(&script, is_skb);
		if (compare(&script, side))
			continue;
		/* The shortest beginning that still differs says most. */
		for (unsigned count = 1; count < script.call_count; count++) {
			struct script shorter = script;

			shorter.call_count = count;
			if (!compare(&shorter, side))
				break;
		}
		failures++;
	}
}

TEST(helper_differential, skb_calls_do_what_the_kernels_do)
{
	ORACLE_OR_SKIP();
	compare_many(true, CALLED, 10000);
}

TEST(helper_differential, xdp_calls_do_what_the_kernels_do)
{
	ORACLE_OR_SKIP();
	compare_many(false, CALLED, 5000);
}

TEST(helper_differential, compiled_skb_programs_do_what_the_kernels_do)
{
	ORACLE_OR_SKIP();
	compare_many(true, COMPILED, 60);
}

TEST(helper_differential, compiled_xdp_programs_do_what_the_kernels_do)
{
	ORACLE_OR_SKIP();
	compare_many(false, COMPILED, 60);
}
