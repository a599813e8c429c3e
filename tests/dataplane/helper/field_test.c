#include "field.h"

#include <errno.h>

#include "oracle.h"
#include "probe.h"
#include "test.h"

#ifndef BPF_MEMSX
#define BPF_MEMSX 0x80
#endif

/* What a program does with its context, as one instruction that the kernel judges. */
enum access_kind { READ, READ_SIGNED, WRITE_REG, WRITE_IMM, ACCESS_KINDS };

static const char *const access_names[] = { "read", "signed read", "write", "write of a constant" };

static const uint8_t width_bits[] = { [1] = BPF_B, [2] = BPF_H, [4] = BPF_W, [8] = BPF_DW };

static bool kernel_allows(enum bpf_prog_type type, enum bpf_attach_type attach,
	enum access_kind kind, unsigned offset, unsigned width)
{
	struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K },
		{ .off = (short)offset },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	struct bpf_insn *access = &insns[1];

	if (kind == READ || kind == READ_SIGNED) {
		access->code = BPF_LDX | width_bits[width] | (kind == READ ? BPF_MEM : BPF_MEMSX);
		access->src_reg = 1;
	} else {
		access->code = (kind == WRITE_REG ? BPF_STX : BPF_ST) | width_bits[width] | BPF_MEM;
		access->dst_reg = 1;
	}
	return probe_load(type, attach, insns, 4, "GPL", NULL) == 0;
}

static void compare_type(const struct probe_type *type, enum bpf_attach_type attach)
{
	unsigned size = sl_ctx_size(type->type);
	const struct sl_field *row;

	for (unsigned offset = 0; offset < size + 8; offset++) {
		for (unsigned width = 1; width <= 8; width *= 2) {
			for (enum access_kind kind = READ; kind < ACCESS_KINDS; kind++) {
				bool write = kind >= WRITE_REG;
				bool ours, theirs;

				/* No such instruction. */
				if (kind == READ_SIGNED && width == 8)
					continue;
				ours = sl_field_access(type->type, attach, offset, width, write,
					       kind == READ_SIGNED, &row) == 0;
				theirs = kernel_allows(type->type, attach, kind, offset, width);
				if (ours != theirs)
					sl_test_fail(__FILE__, __LINE__,
						"%s, attach type %d: %s of %u bytes at %u: ours %d, "
						"kernel %d",
						type->name, attach, access_names[kind], width,
						offset, ours, theirs);
			}
		}
	}
}

TEST(field, access_rules_are_the_kernels)
{
	ORACLE_OR_SKIP();
	for (size_t i = 0; i < probe_type_count; i++)
		compare_type(&probe_types[i], 0);
	compare_type(&probe_types[probe_type_count - 1], BPF_XDP_DEVMAP);
	compare_type(&probe_types[probe_type_count - 1], BPF_XDP_CPUMAP);
}

static unsigned widest(unsigned widths)
{
	return widths & 4 ? 4 : widths & 8 ? 8 : 1;
}

/* A load of data or data_end is a pointer for the kernel, and its log says which. */
TEST(field, pointers_are_the_kernels)
{
	struct bpf_insn insns[] = {
		{ .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 0, .src_reg = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	const struct sl_field *rows;
	unsigned count;

	ORACLE_OR_SKIP();
	for (size_t t = 0; t < probe_type_count; t++) {
		rows = sl_fields_of(probe_types[t].type, &count);
		for (unsigned i = 0; i < count; i++) {
			const char *log;

			if (!(rows[i].readable_by & SL_PROG_BIT(probe_types[t].type)) ||
				rows[i].only_attach)
				continue;
			TRACE_PUSH("%s of %s", rows[i].name, probe_types[t].name);
			insns[0].off = (short)rows[i].offset;
			insns[0].code = BPF_LDX | BPF_MEM | width_bits[widest(rows[i].read_widths)];
			probe_load(probe_types[t].type, 0, insns, 2, "GPL", &log);
			switch (rows[i].kind) {
			case SL_FIELD_PACKET:
				EXPECT_CONTAINS(log, "R0=pkt(");
				break;
			case SL_FIELD_PACKET_END:
				EXPECT_CONTAINS(log, "R0=pkt_end(");
				break;
			case SL_FIELD_PACKET_META:
				EXPECT_CONTAINS(log, "R0=pkt_meta(");
				break;
			case SL_FIELD_SOCKET:
				EXPECT_CONTAINS(log, "R0=sock_common_or_null(");
				break;
			default:
				EXPECT_CONTAINS(log, "R0=scalar(");
				break;
			}
			TRACE_POP();
		}
	}
}

TEST(field, rows_are_in_order_and_do_not_overlap)
{
	for (size_t t = 0; t < probe_type_count; t++) {
		unsigned count, end = 0;
		const struct sl_field *rows = sl_fields_of(probe_types[t].type, &count);

		for (unsigned i = 0; i < count; i++) {
			EXPECT_GE(rows[i].offset, end);
			end = rows[i].offset + rows[i].size;
			EXPECT_TRUE(sl_field_at(probe_types[t].type, end - 1) == &rows[i]);
		}
		EXPECT_LE(end, sl_ctx_size(probe_types[t].type));
	}
	EXPECT_TRUE(sl_fields_of(BPF_PROG_TYPE_KPROBE, &(unsigned){ 0 }) == NULL);
}
