#include "fixture.h"

#include <string.h>
#include <unistd.h>

#include "field.h"
#include "jit.h"
#include "oracle.h"
#include "test.h"

const struct sl_field jit_fixture_data = {
	.name = "data",
	.size = 4,
	.kind = SL_FIELD_PACKET,
	.impl_offset = offsetof(struct sl_ctx, data),
	.impl_size = 8,
};

const struct sl_field jit_fixture_data_end = {
	.name = "data_end",
	.offset = 4,
	.size = 4,
	.kind = SL_FIELD_PACKET_END,
	.impl_offset = offsetof(struct sl_ctx, data_end),
	.impl_size = 8,
};

void jit_fixture_init(struct jit_fixture *fx, const struct bpf_insn *insns, unsigned count)
{
	memset(fx, 0, sizeof(*fx));
	fx->prog.type = fx->prog.rules_type = BPF_PROG_TYPE_XDP;
	fx->prog.insns = (struct bpf_insn *)insns;
	fx->prog.insn_count = count;
	strcpy(fx->prog.name, "test");
	fx->prog.facts = &fx->facts;
	fx->facts.insns = fx->insn_facts;
	fx->facts.funcs = fx->funcs;
	fx->facts.func_count = 1;
	fx->facts.calls = fx->calls;
	for (unsigned i = 0; i < count; i++)
		fx->insn_facts[i] = (struct sl_insn_fact){
			.flags = SL_INSN_SEEN | SL_INSN_TAKEN | SL_INSN_NOT_TAKEN,
			.call = SL_NO_CALL,
		};
	fx->funcs[0] = (struct sl_func_fact){ .end = count, .stack_bytes = 512 };
	fx->ctx.run = &fx->run;
}

void jit_fixture_add_func(struct jit_fixture *fx, unsigned start)
{
	unsigned func = fx->facts.func_count++;

	fx->funcs[func] = fx->funcs[func - 1];
	fx->funcs[func - 1].end = start;
	fx->funcs[func].start = start;
}

void jit_fixture_packet(struct jit_fixture *fx, uint8_t *data, unsigned len_bytes)
{
	fx->ctx.data = fx->ctx.data_meta = fx->ctx.head = data;
	fx->ctx.data_end = fx->ctx.tail = data + len_bytes;
}

uint64_t jit_fixture_run(struct jit_fixture *fx)
{
	uint64_t result = UINT64_MAX;
	int err = sl_jit_compile(&fx->prog);

	EXPECT_EQ(err, 0);
	if (err)
		return result;
	result = fx->prog.code->run(&fx->ctx, SL_TAIL_CALLS);
	sl_jit_free(fx->prog.code);
	fx->prog.code = NULL;
	return result;
}

bool jit_kernel_run(const struct bpf_insn *insns, unsigned count, uint8_t *data, unsigned len_bytes,
	uint32_t *ret_result)
{
	static char log[65536];
	union bpf_attr attr;
	int fd, err;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.insns = (uintptr_t)insns;
	attr.insn_cnt = count;
	attr.license = (uintptr_t)"GPL";
	attr.log_buf = (uintptr_t)log;
	attr.log_size = sizeof(log);
	attr.log_level = 1;
	fd = oracle_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	EXPECT_GE(fd, 0);
	if (fd < 0) {
		sl_test_fail(__FILE__, __LINE__, "%.4000s", log);
		return false;
	}
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = fd;
	attr.test.data_in = attr.test.data_out = (uintptr_t)data;
	attr.test.data_size_in = attr.test.data_size_out = len_bytes;
	err = oracle_bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr));
	close(fd);
	EXPECT_EQ(err, 0);
	*ret_result = attr.test.retval;
	return err == 0;
}
