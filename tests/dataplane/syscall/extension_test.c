#include <bpf/btf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "both.h"
#include "defs.h"
#include "oracle.h"
#include "test.h"

/*
 * Extensions: what may take the place of which function, how it is attached, and what runs then. The
 * target is one program with a function of each kind, whose results add up to a sum that tells which
 * of them ran. Where the kernel lets this user load extensions it is asked as well.
 */

#define INSN(code_, dst, src, off_, imm_)    \
	((struct bpf_insn){ .code = (code_), \
		.dst_reg = (dst),            \
		.src_reg = (src),            \
		.off = (off_),               \
		.imm = (imm_) })
#define MOV(dst, imm) INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm)
#define MOV_X(dst, src) INSN(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define ADD(dst, imm) INSN(BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, imm)
#define ADD_X(dst, src) INSN(BPF_ALU64 | BPF_ADD | BPF_X, dst, src, 0, 0)
#define LDX(size, dst, src, off) INSN(BPF_LDX | BPF_MEM | (size), dst, src, off, 0)
#define ST(size, dst, off, imm) INSN(BPF_ST | BPF_MEM | (size), dst, 0, off, imm)
#define JEQ(dst, imm, off) INSN(BPF_JMP | BPF_JEQ | BPF_K, dst, 0, off, imm)
#define CALL(off) INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, off)
#define HELPER(id) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, id)
#define LD_PROGS(dst) \
	INSN(BPF_LD | BPF_IMM | BPF_DW, dst, BPF_PSEUDO_MAP_FD, 0, 0), INSN(0, 0, 0, 0, 0)
/* bpf_throw(n); its number is filled in. */
#define THROW(n) MOV(1, n), INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, 0)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define RETURN(n) MOV(0, n), EXIT

#define XDP BPF_PROG_TYPE_XDP
#define CLS BPF_PROG_TYPE_SCHED_CLS
#define EXT BPF_PROG_TYPE_EXT

enum { LOG_BYTES = 1 << 14, FUNCS = 7, INSNS = 40 };

enum type {
	NONE,
	INT,
	LONG,
	ENUM,
	CTX,
	PAIR_PTR, /* struct of two ints */
	LONG_PAIR_PTR, /* of the same name, with four */
	OTHER_PTR, /* of another name */
	INT_PTR,
	TYPES
};

struct function {
	const char *name;
	uint32_t start;
	enum btf_func_linkage linkage;
	enum type args[3];
	enum type result; /* NONE: INT */
	const char *tag; /* of the first argument */
};

struct program {
	enum bpf_prog_type type;
	struct function funcs[FUNCS];
	struct bpf_insn insns[INSNS];
	uint32_t attach_type;
	bool without_types;
};

enum { MAIN, NUMBER, CONTEXT, MEMORY, MOVES, STILL, DEAD };

/* The sum of the results of its functions: 3 + 10 + 100 + 1000 + 4. */
static const struct program target = {
	.type = XDP,
	.funcs = {
		[MAIN] = { "main", 0, BTF_FUNC_GLOBAL, { CTX } },
		[NUMBER] = { "number", 24, BTF_FUNC_GLOBAL, { INT } },
		[CONTEXT] = { "context", 26, BTF_FUNC_GLOBAL, { CTX } },
		[MEMORY] = { "memory", 28, BTF_FUNC_GLOBAL, { PAIR_PTR } },
		[MOVES] = { "moves", 30, BTF_FUNC_GLOBAL, { CTX } },
		[STILL] = { "still", 34, BTF_FUNC_STATIC, { INT } },
		[DEAD] = { "dead", 36, BTF_FUNC_GLOBAL, { INT } },
	},
	.insns = {
		MOV_X(6, 1), MOV(1, 3), CALL(24 - 3), MOV_X(7, 0), /* 4 */
		MOV_X(1, 6), CALL(26 - 6), ADD_X(7, 0), /* 7 */
		ST(BPF_DW, 10, -8, 5), MOV_X(1, 10), ADD(1, -8), CALL(28 - 11), ADD_X(7, 0), /* 12 */
		MOV_X(1, 6), CALL(30 - 14), ADD_X(7, 0), /* 15 */
		MOV(1, 4), CALL(34 - 17), ADD_X(7, 0), /* 18 */
		MOV(1, 0), JEQ(1, 0, 2), MOV(1, 1), CALL(36 - 22), /* 22 */
		MOV_X(0, 7), EXIT, /* 24 */
		MOV_X(0, 1), EXIT, /* 26: number */
		RETURN(10), /* 28: context */
		RETURN(100), /* 30: memory */
		MOV(2, 0), HELPER(BPF_FUNC_xdp_adjust_head), RETURN(1000), /* 34: moves */
		MOV_X(0, 1), EXIT, /* 36: still */
		RETURN(7), /* dead */
	},
};
#define SUM 1117

static void add_types(struct btf *btf, int ids[TYPES])
{
	int pair[2];

	ids[INT] = btf__add_int(btf, "int", 4, BTF_INT_SIGNED);
	ids[LONG] = btf__add_int(btf, "long", 8, BTF_INT_SIGNED);
	ids[ENUM] = btf__add_enum(btf, "e", 4);
	btf__add_enum_value(btf, "one", 1);
	ids[INT_PTR] = btf__add_ptr(btf, ids[INT]);
	for (unsigned i = 0; i < 2; i++) {
		pair[i] = btf__add_struct(btf, "pair", i ? 16 : 8);
		for (unsigned k = 0; k < (i ? 4u : 2u); k++) {
			const char name[] = { (char)('a' + k), '\0' };

			btf__add_field(btf, name, ids[INT], k * 32, 0);
		}
	}
	ids[PAIR_PTR] = btf__add_ptr(btf, pair[0]);
	ids[LONG_PAIR_PTR] = btf__add_ptr(btf, btf__add_const(btf, pair[1]));
	ids[OTHER_PTR] = btf__add_struct(btf, "other", 8);
	btf__add_field(btf, "a", ids[LONG], 0, 0);
	ids[OTHER_PTR] = btf__add_ptr(btf, ids[OTHER_PTR]);
}

static int add_function(struct btf *btf, const int ids[TYPES], const struct function *f)
{
	int proto = btf__add_func_proto(btf, ids[f->result ? f->result : INT]), func;

	for (unsigned i = 0; i < sl_array_size(f->args) && f->args[i]; i++)
		btf__add_func_param(btf, "arg", ids[f->args[i]]);
	func = btf__add_func(btf, f->name, f->linkage, proto);
	if (f->tag)
		btf__add_decl_tag(btf, f->tag, func, 0);
	return func;
}

/* A loaded program: its descriptor (or negative errno) and its functions' types. */
struct loaded {
	int fd;
	struct bpf_func_info infos[FUNCS];
	uint32_t count;
};

static int load_types(
	enum side side, enum bpf_prog_type type, const struct program *p, struct loaded *l)
{
	struct btf *btf = btf__new_empty();
	union bpf_attr attr;
	int ids[TYPES], fd;
	uint32_t size;

	add_types(btf, ids);
	ids[CTX] = btf__add_ptr(btf, btf__add_struct(btf, type == XDP ? "xdp_md" : "__sk_buff", 0));
	for (l->count = 0; l->count < FUNCS && p->funcs[l->count].name; l->count++)
		l->infos[l->count] = (struct bpf_func_info){ p->funcs[l->count].start,
			(uint32_t)add_function(btf, ids, &p->funcs[l->count]) };
	memset(&attr, 0, sizeof(attr));
	attr.btf = PTR(btf__raw_data(btf, &size));
	attr.btf_size = size;
	fd = (int)call(side, BPF_BTF_LOAD, &attr, sizeof(attr));
	btf__free(btf);
	return fd;
}

static int32_t number_of_throw(void)
{
	static int number;
	struct btf *btf = number ? NULL : btf__parse("/sys/kernel/btf/vmlinux", NULL);

	if (btf)
		number = btf__find_by_name_kind(btf, "bpf_throw", BTF_KIND_FUNC);
	btf__free(btf);
	return number;
}

/* The context is that of `rules`; `to` and `btf_id` are what an extension is for. */
static struct loaded load(enum side side, const struct program *p, enum bpf_prog_type rules, int to,
	uint32_t btf_id, int progs, char *text)
{
	static char nowhere[LOG_BYTES];
	struct bpf_insn insns[INSNS];
	struct loaded l;
	union bpf_attr attr;
	int types = load_types(side, rules, p, &l);

	EXPECT_GE(types, 0);
	memset(&attr, 0, sizeof(attr));
	memcpy(insns, p->insns, sizeof(insns));
	for (unsigned i = 0; i < INSNS; i++) {
		if (insns[i].code)
			attr.insn_cnt = i + 1;
		if (insns[i].src_reg == BPF_PSEUDO_MAP_FD &&
			insns[i].code == (BPF_LD | BPF_IMM | BPF_DW))
			insns[i].imm = progs;
		if (insns[i].src_reg == BPF_PSEUDO_KFUNC_CALL &&
			insns[i].code == (BPF_JMP | BPF_CALL))
			insns[i].imm = number_of_throw();
	}
	attr.prog_type = p->type;
	attr.insns = PTR(insns);
	attr.license = PTR("GPL");
	attr.expected_attach_type = p->attach_type;
	if (!p->without_types) {
		attr.prog_btf_fd = (uint32_t)types;
		attr.func_info = PTR(l.infos);
		attr.func_info_cnt = l.count;
		attr.func_info_rec_size = sizeof(l.infos[0]);
	}
	attr.attach_prog_fd = (uint32_t)to;
	attr.attach_btf_id = btf_id;
	attr.log_level = 2;
	attr.log_buf = PTR(text ? text : nowhere);
	attr.log_size = LOG_BYTES;
	if (text)
		text[0] = '\0';
	l.fd = (int)call(side, BPF_PROG_LOAD, &attr, sizeof(attr));
	close(types);
	return l;
}

static struct loaded load_target(enum side side)
{
	struct loaded l = load(side, &target, XDP, 0, 0, 0, NULL);

	EXPECT_GE(l.fd, 0);
	return l;
}

/* An extension with this code for a function of the target. */
static struct program extension(enum type arg, const struct bpf_insn *insns, unsigned count)
{
	struct program p = { .type = EXT, .funcs = { { "ext", 0, BTF_FUNC_GLOBAL, { arg } } } };

	memcpy(p.insns, insns, count * sizeof(*insns));
	return p;
}

static int load_extension(
	enum side side, const struct loaded *to, unsigned func, enum type arg, int32_t result)
{
	struct program p = extension(arg, (struct bpf_insn[]){ RETURN(result) }, 2);
	int fd = load(side, &p, XDP, to->fd, to->infos[func].type_id, 0, NULL).fd;

	EXPECT_GE(fd, 0);
	return fd;
}

static int64_t run(enum side side, int fd)
{
	static uint8_t packet[64] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	union bpf_attr attr;
	long err;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)fd;
	attr.test.data_in = PTR(packet);
	attr.test.data_size_in = sizeof(packet);
	attr.test.repeat = 1;
	err = call(side, BPF_PROG_TEST_RUN, &attr, sizeof(attr));
	return err ? err : (int64_t)attr.test.retval;
}

static int link_to(enum side side, int ext, int to, uint32_t btf_id)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.link_create.prog_fd = (uint32_t)ext;
	attr.link_create.target_fd = (uint32_t)to;
	attr.link_create.target_btf_id = btf_id;
	return (int)call(side, BPF_LINK_CREATE, &attr, sizeof(attr));
}

static int open_tracepoint(enum side side, int prog, const char *name)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.raw_tracepoint.prog_fd = (uint32_t)prog;
	attr.raw_tracepoint.name = PTR(name);
	return (int)call(side, BPF_RAW_TRACEPOINT_OPEN, &attr, sizeof(attr));
}

/* Some systems keep extensions from users who may do everything else. */
static enum side last_side(void)
{
	static const struct program none = {
		.type = EXT, .insns = { RETURN(0) }, .without_types = true
	};
	static int refused = -1;

	if (refused < 0)
		refused =
			!oracle_permitted() || load(KERNEL, &none, XDP, 0, 0, 0, NULL).fd == -EPERM;
	return refused ? SLUICE : KERNEL;
}

static const enum side order[] = { SLUICE, KERNEL };

static unsigned sides(void)
{
	return last_side() == KERNEL ? 2 : 1;
}

struct row {
	const char *name;
	const char *reason; /* NULL: accepted */
	unsigned func; /* of the target */
	struct program ext;
	int64_t sum; /* with the extension in place */
	bool ours; /* refused by us only: the reason is in docs/differences.md */
};

#define ONE(...)                                               \
	{                                                      \
		{                                              \
			"ext", 0, BTF_FUNC_GLOBAL, __VA_ARGS__ \
		}                                              \
	}

static const struct row rows[] = {
	{ "a number", NULL, NUMBER, { EXT, ONE({ INT }), { MOV_X(0, 1), ADD(0, 40), EXIT } },
		SUM + 40 },
	{ "the context", NULL, CONTEXT,
		{ EXT, ONE({ CTX }),
			{ LDX(BPF_W, 0, 1, 4), LDX(BPF_W, 2, 1, 0),
				INSN(BPF_ALU64 | BPF_SUB | BPF_X, 0, 2, 0, 0), EXIT } },
		SUM - 10 + 64 },
	{ "memory", NULL, MEMORY,
		{ EXT, ONE({ PAIR_PTR }), { JEQ(1, 0, 2), LDX(BPF_W, 0, 1, 0), EXIT, RETURN(0) } },
		SUM - 100 + 5 },
	{ "what moves the packet", NULL, MOVES,
		{ EXT, ONE({ CTX }), { MOV(2, -4), HELPER(BPF_FUNC_xdp_adjust_head), EXIT } },
		SUM - 1000 },
	{ "what might and does not", NULL, MOVES, { EXT, ONE({ CTX }), { RETURN(1) } },
		SUM - 1000 + 1 },
	{ "the main function", NULL, MAIN, { EXT, ONE({ CTX }), { RETURN(42) } }, 42 },
	{ "functions of its own", NULL, NUMBER,
		{ EXT,
			{ { "ext", 0, BTF_FUNC_GLOBAL, { INT } },
				{ "own", 3, BTF_FUNC_GLOBAL, { INT } } },
			{ ADD(1, 1), CALL(1), EXIT, MOV_X(0, 1), ADD(0, 1), EXIT } },
		SUM + 2 },
	{ "tail calls", NULL, MOVES,
		{ EXT, ONE({ CTX }),
			{ LD_PROGS(2), MOV(3, 0), HELPER(BPF_FUNC_tail_call), RETURN(5) } },
		SUM - 1000 + 77 },
	{ "tail calls of a main function", NULL, MAIN,
		{ EXT, ONE({ CTX }),
			{ LD_PROGS(2), MOV(3, 0), HELPER(BPF_FUNC_tail_call), RETURN(5) } },
		77 },
	{ "an exception ends the extension only", NULL, NUMBER,
		{ EXT, ONE({ INT }), { THROW(9), RETURN(1) } }, SUM - 3 + 9 },
	{ "an exception of a function of its own", NULL, NUMBER,
		{ EXT,
			{ { "ext", 0, BTF_FUNC_GLOBAL, { INT } },
				{ "own", 3, BTF_FUNC_GLOBAL, { INT } } },
			{ CALL(2), RETURN(1), THROW(8), RETURN(2) } },
		SUM - 3 + 8 },
	{ "tail calls where the packet is left alone",
		"Extension program changes packet data, "
		"while original does not",
		CONTEXT,
		{ EXT, ONE({ CTX }),
			{ LD_PROGS(2), MOV(3, 0), HELPER(BPF_FUNC_tail_call), RETURN(5) } } },
	{ "moving the packet where it is left alone",
		"Extension program changes packet data, "
		"while original does not",
		CONTEXT,
		{ EXT, ONE({ CTX }), { MOV(2, -4), HELPER(BPF_FUNC_xdp_adjust_head), EXIT } } },
	{ "a static function", "still() is not a global function", STILL,
		{ EXT, ONE({ INT }), { RETURN(0) } } },
	{ "a static extension", "ext() is not a global function", NUMBER,
		{ EXT, { { "ext", 0, BTF_FUNC_STATIC, { INT } } }, { RETURN(0) } } },
	{ "a function that nothing reaches", "Subprog dead doesn't exist", DEAD,
		{ EXT, ONE({ INT }), { RETURN(0) } } },
	{ "more arguments", "ext() has 2 args while number() has 1 args", NUMBER,
		{ EXT, ONE({ INT, INT }), { RETURN(0) } } },
	{ "another argument", "arg0 in ext() is PTR while number() has INT", NUMBER,
		{ EXT, ONE({ CTX }), { RETURN(0) } } },
	{ "a longer number", "arg0 in ext() has size 8 while number() has 4", NUMBER,
		{ EXT, ONE({ LONG }), { RETURN(0) } } },
	{ "another result", "Return type ENUM of ext() doesn't match type INT of number()", NUMBER,
		{ EXT, ONE({ INT }, ENUM), { RETURN(0) } } },
	{ "a longer result", NULL, NUMBER, { EXT, ONE({ INT }, LONG), { RETURN(1) } }, SUM - 2 },
	{ "another struct", "arg0 ext(struct other *) doesn't match memory(struct pair *)", MEMORY,
		{ EXT, ONE({ OTHER_PTR }), { RETURN(0) } } },
	{ "no struct", "arg0 in ext() is not a pointer to context", MEMORY,
		{ EXT, ONE({ INT_PTR }), { RETURN(0) } } },
	{ "a longer struct of that name", "arg#0 is not what callers are checked for", MEMORY,
		{ EXT, ONE({ LONG_PAIR_PTR }), { JEQ(1, 0, 1), LDX(BPF_W, 0, 1, 12), RETURN(0) } },
		.ours = true },
	{ "memory that cannot be NULL", "arg#0 is not what callers are checked for", MEMORY,
		{ EXT, ONE({ PAIR_PTR }, .tag = "arg:nonnull"), { LDX(BPF_W, 0, 1, 0), EXIT } },
		.ours = true },
	{ "memory that may be NULL", "R1 invalid mem access 'mem_or_null'", MEMORY,
		{ EXT, ONE({ PAIR_PTR }), { LDX(BPF_W, 0, 1, 0), EXIT } } },
	{ "past the memory", "invalid access to memory, mem_size=8 off=8 size=4", MEMORY,
		{ EXT, ONE({ PAIR_PTR }),
			{ JEQ(1, 0, 2), LDX(BPF_W, 0, 1, 8), EXIT, RETURN(0) } } },
	{ "the argument's value", "R1 invalid mem access 'scalar'", NUMBER,
		{ EXT, ONE({ INT }), { LDX(BPF_W, 0, 1, 0), EXIT } } },
	{ "a helper of another type", "program of this type cannot use helper", NUMBER,
		{ EXT, ONE({ INT }), { HELPER(BPF_FUNC_get_hash_recalc), EXIT } } },
	{ "without types", "Program extension requires BTF", NUMBER,
		{ EXT, ONE({ INT }), { RETURN(0) }, .without_types = true } },
	{ "an attach type", "", NUMBER,
		{ EXT, ONE({ INT }), { RETURN(0) }, .attach_type = BPF_XDP } },
	{ "another program type", "", NUMBER, { XDP, ONE({ CTX }), { RETURN(0) } } },
};

/* Loads, attaches, runs, detaches; what differs from the row is reported. */
static void check_row(enum side side, const struct row *row, const struct loaded *to, int progs)
{
	static char text[LOG_BYTES];
	struct loaded ext =
		load(side, &row->ext, XDP, to->fd, to->infos[row->func].type_id, progs, text);
	bool accepted = !row->reason || (row->ours && side == KERNEL);
	int link;

	TRACE_PUSH("%s: %s:\n%s", side == KERNEL ? "kernel" : "ours", row->name, text);
	EXPECT_EQ(ext.fd >= 0, accepted);
	if (!accepted) {
		EXPECT_EQ(ext.fd, row->reason[0] && strstr(row->reason, "R1 inval") ? -EACCES
				  : strstr(row->reason, "invalid access")           ? -EACCES
										    : -EINVAL);
		EXPECT_CONTAINS(text, row->reason);
	} else if (!row->reason) {
		EXPECT_CONTAINS(text, "Validating ext() func#0...");
		EXPECT_EQ(run(side, ext.fd), -524);
		EXPECT_EQ(run(side, to->fd), SUM);
		link = link_to(side, ext.fd, 0, 0);
		EXPECT_GE(link, 0);
		EXPECT_EQ(run(side, to->fd), row->sum);
		close(link);
		EXPECT_EQ(run(side, to->fd), SUM);
	}
	TRACE_POP();
	close(ext.fd);
}

TEST(syscall_extension, verdicts_and_results)
{
	for (unsigned s = 0; s < sides(); s++) {
		enum side side = order[s];
		int progs = map_new(side, BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1, 0);
		int tail = prog_returning(side, XDP, 77), index = 0;
		struct loaded to = load_target(side);
		union bpf_attr attr;

		memset(&attr, 0, sizeof(attr));
		attr.map_fd = (uint32_t)progs;
		attr.key = PTR(&index);
		attr.value = PTR(&tail);
		EXPECT_EQ(call(side, BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr)), 0);
		for (unsigned i = 0; i < sl_array_size(rows); i++)
			check_row(side, &rows[i], &to, progs);
		close(progs);
		close(tail);
		close(to.fd);
	}
}

/* What is wrong with the target, not with the extension. */
TEST(syscall_extension, targets)
{
	struct program ext = extension(INT, (struct bpf_insn[]){ RETURN(1) }, 2);
	struct program untyped = target;
	static char text[LOG_BYTES];

	untyped.without_types = true;
	for (unsigned s = 0; s < sides(); s++) {
		enum side side = order[s];
		struct loaded to = load_target(side);
		uint32_t id = to.infos[NUMBER].type_id;
		int plain = load(side, &untyped, XDP, 0, 0, 0, NULL).fd;
		struct loaded first = load(side, &ext, XDP, to.fd, id, 0, NULL);
		int types = btf_new(side);

		EXPECT_GE(first.fd, 0);
		EXPECT_EQ(load(side, &ext, XDP, to.fd, 0, 0, text).fd, -EINVAL);
		EXPECT_CONTAINS(text, "Tracing programs must provide btf_id");
		EXPECT_EQ(load(side, &ext, XDP, 0, 0, 0, text).fd, -EINVAL);
		EXPECT_CONTAINS(text, "Tracing programs must provide btf_id");
		EXPECT_EQ(load(side, &ext, XDP, 0, 1, 0, text).fd, -EINVAL);
		EXPECT_CONTAINS(text, "Cannot replace kernel functions");
		EXPECT_EQ(load(side, &ext, XDP, to.fd, 9999, 0, text).fd, -EINVAL);
		EXPECT_CONTAINS(text, "attach_btf_id 9999 is invalid");
		EXPECT_EQ(load(side, &ext, XDP, to.fd, 1, 0, text).fd, -EINVAL);
		EXPECT_CONTAINS(text, "Subprog int doesn't exist");
		EXPECT_EQ(load(side, &ext, XDP, plain, id, 0, text).fd, -EINVAL);
		EXPECT_CONTAINS(text, "can only be attached to another program annotated with BTF");
		EXPECT_EQ(load(side, &ext, XDP, first.fd, first.infos[0].type_id, 0, text).fd,
			-EINVAL);
		EXPECT_CONTAINS(text, "Cannot recursively attach");
		EXPECT_EQ(load(side, &ext, XDP, types, id, 0, text).fd, -524);
		EXPECT_EQ(load(side, &ext, XDP, 9999, id, 0, text).fd, -EINVAL);
		EXPECT_EQ(load(side, &ext, XDP, to.fd, 0x100000, 0, text).fd, -EINVAL);
		close(types);
		close(first.fd);
		close(plain);
		close(to.fd);
	}
}

static long info_of(enum side side, int fd, void *info, uint32_t size)
{
	union bpf_attr attr;

	memset(info, 0, size);
	memset(&attr, 0, sizeof(attr));
	attr.info.bpf_fd = (uint32_t)fd;
	attr.info.info_len = size;
	attr.info.info = PTR(info);
	return call(side, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr));
}

TEST(syscall_extension, links)
{
	for (unsigned s = 0; s < sides(); s++) {
		enum side side = order[s];
		struct loaded to = load_target(side), other = load_target(side);
		uint32_t id = to.infos[NUMBER].type_id;
		int a = load_extension(side, &to, NUMBER, INT, 13);
		int b = load_extension(side, &to, NUMBER, INT, 23), link, second;
		struct bpf_prog_info prog, target_info;
		struct bpf_link_info info;
		union bpf_attr attr;

		EXPECT_EQ(info_of(side, a, &prog, sizeof(prog)), 0);
		EXPECT_EQ(info_of(side, to.fd, &target_info, sizeof(target_info)), 0);
		EXPECT_EQ(prog.type, (uint32_t)EXT);
		EXPECT_EQ(prog.attach_btf_id, id);
		EXPECT_EQ(prog.attach_btf_obj_id, target_info.btf_id);

		EXPECT_EQ(link_to(side, a, to.fd, 0), -EINVAL);
		EXPECT_EQ(link_to(side, a, 0, id), -EINVAL);
		EXPECT_EQ(link_to(side, a, 9999, id), -EBADF);
		EXPECT_EQ(link_to(side, to.fd, 0, 0), -EINVAL);
		EXPECT_EQ(open_tracepoint(side, a, "name"), -EINVAL);
		EXPECT_EQ(open_tracepoint(side, to.fd, NULL), -EINVAL);
		EXPECT_EQ(open_tracepoint(side, 9999, NULL), -EBADF);
		link = open_tracepoint(side, a, NULL);
		EXPECT_GE(link, 0);
		EXPECT_EQ(run(side, to.fd), SUM + 10);
		EXPECT_EQ(info_of(side, link, &info, sizeof(info)), 0);
		EXPECT_EQ(info.type, (uint32_t)BPF_LINK_TYPE_TRACING);
		EXPECT_EQ(info.prog_id, prog.id);
		EXPECT_EQ(info.tracing.attach_type, 0u);
		EXPECT_EQ(info.tracing.target_obj_id, target_info.id);
		EXPECT_EQ(info.tracing.target_btf_id, id);

		/* The place is taken, and the target known at the load has been used. */
		EXPECT_EQ(link_to(side, a, to.fd, id), -EBUSY);
		EXPECT_EQ(link_to(side, b, 0, 0), -EBUSY);
		EXPECT_EQ(open_tracepoint(side, a, NULL), -EINVAL);
		EXPECT_EQ(info_of(side, a, &prog, sizeof(prog)), 0);
		EXPECT_EQ(prog.attach_btf_obj_id, 0u);

		/* A second target of the same kind; a function of another declaration. */
		second = link_to(side, a, other.fd, other.infos[NUMBER].type_id);
		EXPECT_GE(second, 0);
		EXPECT_EQ(run(side, other.fd), SUM + 10);
		EXPECT_EQ(link_to(side, a, other.fd, other.infos[CONTEXT].type_id), -EINVAL);
		close(second);
		EXPECT_EQ(run(side, other.fd), SUM);

		memset(&attr, 0, sizeof(attr));
		attr.link_update.link_fd = (uint32_t)link;
		attr.link_update.new_prog_fd = (uint32_t)b;
		EXPECT_EQ(call(side, BPF_LINK_UPDATE, &attr, sizeof(attr)), -EINVAL);
		memset(&attr, 0, sizeof(attr));
		attr.link_detach.link_fd = (uint32_t)link;
		EXPECT_EQ(call(side, BPF_LINK_DETACH, &attr, sizeof(attr)), -EOPNOTSUPP);

		close(a);
		EXPECT_EQ(run(side, to.fd), SUM + 10);
		close(link);
		EXPECT_EQ(run(side, to.fd), SUM);
		link = link_to(side, b, 0, 0);
		EXPECT_GE(link, 0);
		EXPECT_EQ(run(side, to.fd), SUM + 20);
		close(b);
		close(link);
		close(other.fd);
		close(to.fd);
	}
}

static int by_id(enum side side, uint32_t id)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_id = id;
	return (int)call(side, BPF_PROG_GET_FD_BY_ID, &attr, sizeof(attr));
}

/* The link keeps both programs; an extension keeps its target until it is attached. */
TEST(syscall_extension, lifetimes)
{
	for (unsigned s = 0; s < sides(); s++) {
		enum side side = order[s];
		struct loaded to = load_target(side);
		int ext = load_extension(side, &to, CONTEXT, CTX, 20), link, fd = -1;
		struct bpf_prog_info info;

		EXPECT_EQ(info_of(side, to.fd, &info, sizeof(info)), 0);
		close(to.fd);
		fd = by_id(side, info.id);
		EXPECT_GE(fd, 0);
		close(fd);
		link = link_to(side, ext, 0, 0);
		EXPECT_GE(link, 0);
		close(ext);
		fd = by_id(side, info.id);
		EXPECT_EQ(run(side, fd), SUM + 10);
		close(fd);
		close(link);
		/* The kernel drops what a descriptor held a little later. */
		for (unsigned i = 0; i < 1000 && (fd = by_id(side, info.id)) >= 0; i++) {
			close(fd);
			usleep(1000);
		}
		EXPECT_EQ(fd, -ENOENT);
	}
}

static long put(enum side side, int progs, int index, int prog)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)progs;
	attr.key = PTR(&index);
	attr.value = prog < 0 ? 0 : PTR(&prog);
	return call(
		side, prog < 0 ? BPF_MAP_DELETE_ELEM : BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr));
}

/* What is in a jump table is not extended, and what is extended does not come into one. */
TEST(syscall_extension, jump_tables)
{
	for (unsigned s = 0; s < sides(); s++) {
		enum side side = order[s];
		int progs = map_new(side, BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 2, 0), link;
		struct loaded to = load_target(side);
		int ext = load_extension(side, &to, NUMBER, INT, 13);
		uint32_t id = to.infos[NUMBER].type_id;

		EXPECT_EQ(put(side, progs, 0, ext), -EINVAL);
		EXPECT_EQ(put(side, progs, 0, to.fd), 0);
		EXPECT_EQ(put(side, progs, 1, to.fd), 0);
		EXPECT_EQ(link_to(side, ext, to.fd, id), -EBUSY);
		EXPECT_EQ(put(side, progs, 0, -1), 0);
		EXPECT_EQ(link_to(side, ext, to.fd, id), -EBUSY);
		EXPECT_EQ(put(side, progs, 1, -1), 0);
		link = link_to(side, ext, to.fd, id);
		EXPECT_GE(link, 0);
		EXPECT_EQ(put(side, progs, 0, to.fd), -EBUSY);
		close(link);
		EXPECT_EQ(put(side, progs, 0, to.fd), 0);
		close(progs);
		close(ext);
		close(to.fd);
	}
}

/* Any functions of some targets, attached and let go in any order. */
TEST(syscall_extension, any_order)
{
	enum { TARGETS = 3, PLACES = 3, STEPS = 60 };
	static const struct {
		unsigned func;
		enum type arg;
		int32_t result;
	} places[PLACES] = { { NUMBER, INT, 3 }, { CONTEXT, CTX, 10 }, { MEMORY, PAIR_PTR, 100 } };

	for (unsigned s = 0; s < sides(); s++) {
		enum side side = order[s];
		int links[TARGETS][PLACES], exts[PLACES][2];
		int64_t sums[TARGETS] = { SUM, SUM, SUM };
		struct loaded to[TARGETS];
		int32_t gains[TARGETS][PLACES];
		unsigned random = 1;

		memset(links, -1, sizeof(links));
		for (unsigned t = 0; t < TARGETS; t++)
			to[t] = load_target(side);
		for (unsigned p = 0; p < PLACES; p++) {
			for (int k = 0; k < 2; k++)
				exts[p][k] = load_extension(side, &to[0], places[p].func,
					places[p].arg, places[p].result + 1 + k);
		}
		for (unsigned step = 0; step < STEPS; step++) {
			unsigned t, p, k;

			random = random * 1103515245 + 12345;
			t = random >> 16 & 0xff, t %= TARGETS;
			p = random >> 24 & 0xf, p %= PLACES;
			k = random >> 28 & 1;
			if (links[t][p] >= 0) {
				EXPECT_EQ(link_to(side, exts[p][k], to[t].fd,
						  to[t].infos[places[p].func].type_id),
					-EBUSY);
				close(links[t][p]);
				links[t][p] = -1;
				sums[t] -= gains[t][p];
			} else {
				links[t][p] = link_to(side, exts[p][k], to[t].fd,
					to[t].infos[places[p].func].type_id);
				EXPECT_GE(links[t][p], 0);
				gains[t][p] = 1 + (int32_t)k;
				sums[t] += gains[t][p];
			}
			for (t = 0; t < TARGETS; t++)
				EXPECT_EQ(run(side, to[t].fd), sums[t]);
		}
		for (unsigned t = 0; t < TARGETS; t++) {
			for (unsigned p = 0; p < PLACES; p++)
				close(links[t][p]);
			close(to[t].fd);
		}
		for (unsigned p = 0; p < PLACES; p++) {
			close(exts[p][0]);
			close(exts[p][1]);
		}
	}
}
