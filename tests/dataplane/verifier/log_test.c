#include "log.h"

#include "kernel.h"
#include "random.h"
#include "test.h"

/*
 * The buffer's rules, against the kernel's: a program whose log is known (this file's own log
 * of it would do), cut at every size, in both modes.
 */

#define MAX_LOG 8192

static const struct bpf_insn insns[] = { MOV_K(0, 0), MOV_K(2, 1), ALU_X(BPF_ADD, 0, 2),
	ALU_K(BPF_LSH, 0, 3), MOV_K(0, 0), EXIT };

static int kernel_load(uint32_t level, char *buf, uint32_t size, uint32_t *ret_true_size)
{
	struct {
		union bpf_attr attr;
		char tail[64];
	} load;
	/* log_true_size follows fd_array, attach_btf fields, core_relos: newer than the header. */
	const uint32_t true_size_offset = 140, attr_size = 144;
	long fd;

	memset(&load, 0, sizeof(load));
	load.attr.prog_type = BPF_PROG_TYPE_XDP;
	load.attr.insns = (uint64_t)insns;
	load.attr.insn_cnt = sl_array_size(insns);
	load.attr.license = (uint64_t)"GPL";
	load.attr.log_level = level;
	load.attr.log_buf = (uint64_t)buf;
	load.attr.log_size = size;
	fd = oracle_bpf(BPF_PROG_LOAD, &load.attr, attr_size);
	memcpy(ret_true_size, (char *)&load + true_size_offset, 4);
	if (fd < 0)
		return -errno;
	close((int)fd);
	return 0;
}

/* Our log, fed with the kernel's text line by line. */
static int write_lines(
	const char *text, uint32_t level, char *buf, uint32_t size, uint32_t *ret_true_size)
{
	struct sl_log_buf user = { buf, size, level, 0 };
	struct sl_log log;
	int err = sl_vlog_init(&log, &user);

	for (const char *end; !err && *text; text = end) {
		end = strchrnul(text, '\n');
		end += *end == '\n';
		sl_vlog(&log, "%.*s", (int)(end - text), text);
	}
	if (!err)
		err = sl_vlog_finish(&log);
	*ret_true_size = user.true_size;
	return err;
}

TEST(log, every_size_of_buffer_as_in_the_kernel)
{
	static char full[MAX_LOG], theirs[MAX_LOG], ours[MAX_LOG];
	uint32_t true_size, our_true_size;

	ORACLE_OR_SKIP();
	ASSERT_EQ(kernel_load(2, full, sizeof(full), &true_size), 0);
	ASSERT_EQ(true_size, strlen(full) + 1);
	for (uint32_t level = 2; level <= 10; level += 8) {
		for (uint32_t size = 1; size <= true_size + 2; size++) {
			int theirs_err, err;

			memset(theirs, 'x', sizeof(theirs));
			memset(ours, 'x', sizeof(ours));
			theirs_err = kernel_load(level, theirs, size, &true_size);
			err = write_lines(full, level, ours, size, &our_true_size);
			TRACE_PUSH("level %u, %u bytes", level, size);
			EXPECT_EQ(err, theirs_err);
			EXPECT_EQ(our_true_size, true_size);
			/* Only what lies before the NUL is specified, and what lies past the end. */
			ASSERT_STREQ(ours, theirs);
			EXPECT_EQ(ours[size], 'x');
			TRACE_POP();
		}
	}
}

TEST(log, attributes_that_do_not_go_together)
{
	static char buf[64];
	static const struct {
		bool has_buf;
		uint32_t size, level;
		int err;
	} rows[] = {
		{ false, 0, 0, 0 },
		{ false, 0, 1, 0 },
		{ false, 0, 4, 0 },
		{ true, 0, 1, -EINVAL },
		{ false, 64, 1, -EINVAL },
		{ true, 64, 0, -EINVAL },
		{ true, 64, 16, -EINVAL },
		{ true, 64, 17, -EINVAL },
		{ true, (UINT32_MAX >> 2) + 1, 1, -EINVAL },
	};

	for (size_t i = 0; i < sl_array_size(rows); i++) {
		struct sl_log_buf user = { rows[i].has_buf ? buf : NULL, rows[i].size,
			rows[i].level, 0 };
		struct sl_log log;
		uint32_t true_size;

		TRACE_PUSH("row %zu", i);
		EXPECT_EQ(sl_vlog_init(&log, &user), rows[i].err);
		if (oracle_permitted())
			EXPECT_EQ(kernel_load(rows[i].level, user.buf, rows[i].size, &true_size),
				rows[i].err);
		TRACE_POP();
	}
}

TEST(log, without_a_buffer_the_size_is_counted)
{
	uint32_t true_size, kernel_true_size;
	static char full[MAX_LOG];

	ORACLE_OR_SKIP();
	ASSERT_EQ(kernel_load(2, full, sizeof(full), &kernel_true_size), 0);
	EXPECT_EQ(kernel_load(2, NULL, 0, &kernel_true_size), 0);
	EXPECT_EQ(write_lines(full, 2, NULL, 0, &true_size), 0);
	EXPECT_EQ(true_size, kernel_true_size);
}

TEST(log, reset_forgets)
{
	char text[32];
	struct sl_log_buf user = { text, sizeof(text), 1, 0 };
	struct sl_log log;
	uint64_t pos;

	ASSERT_EQ(sl_vlog_init(&log, &user), 0);
	sl_vlog(&log, "kept ");
	pos = log.end_pos;
	sl_vlog(&log, "forgotten");
	sl_vlog_reset(&log, pos);
	EXPECT_STREQ(text, "kept ");
	sl_vlog(&log, "again");
	EXPECT_EQ(sl_vlog_finish(&log), 0);
	EXPECT_STREQ(text, "kept again");
}

static const char *printed(const struct sl_reg *reg)
{
	static char text[512];
	struct sl_log_buf user = { text, sizeof(text), 1, 0 };
	struct sl_log log;

	text[0] = '\0';
	sl_vlog_init(&log, &user);
	sl_vlog_reg(&log, reg, 0);
	return text;
}

TEST(log, registers)
{
	struct sl_reg reg;

	sl_reg_set_unknown(&reg);
	EXPECT_STREQ(printed(&reg), "scalar()");
	reg.id = 3;
	sl_reg_coerce_zext(&reg, 1);
	EXPECT_STREQ(printed(&reg), "scalar(id=3,smin=smin32=0,smax=umax=smax32=umax32=255,"
				    "var_off=(0x0; 0xff))");
	sl_reg_set_const(&reg, 70000);
	EXPECT_STREQ(printed(&reg), "0x11170");
	sl_reg_set_const(&reg, (uint64_t)-5);
	reg.precise = true;
	EXPECT_STREQ(printed(&reg), "P-5");
	sl_reg_set_pointer(&reg, SL_REG_STACK);
	reg.off = -8;
	EXPECT_STREQ(printed(&reg), "fp-8");
	reg.frame = 1;
	EXPECT_STREQ(printed(&reg), "fp[1]-8");
	sl_reg_set_pointer(&reg, SL_REG_PACKET);
	reg.off = 14;
	reg.range = 34;
	EXPECT_STREQ(printed(&reg), "pkt(off=14,r=34)");
	sl_reg_set_pointer(&reg, SL_REG_PACKET_END);
	EXPECT_STREQ(printed(&reg), "pkt_end()");
	sl_reg_set_pointer(&reg, SL_REG_MEM);
	reg.flags = SL_REG_OR_NULL | SL_REG_RDONLY;
	reg.mem_size = 24;
	reg.id = 2;
	EXPECT_STREQ(printed(&reg), "rdonly_mem_or_null(id=2,sz=24)");
}
