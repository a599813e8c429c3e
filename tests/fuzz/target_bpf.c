#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "defs.h"
#include "sluice/bpf.h"

/*
 * A libFuzzer target: sequences of bpf(2) commands. The input is, per command, its number, the size
 * of its attributes, and their bytes; then pointers are made to lead to buffers filled from the rest
 * of the input, descriptors to be what earlier commands returned, and sizes to fit the buffers: a
 * caller who lies about the size of its memory is not what is tested.
 */

enum { BUFFERS = 8, BUFFER_BYTES = 1 << 18, FDS = 16, FIELDS = 8, COMMANDS_MAX = 24 };

struct clamp {
	uint16_t offset;
	uint32_t mask;
};

struct command {
	int cmd;
	uint16_t fds[FIELDS], pointers[FIELDS]; /* offsets + 1 in union bpf_attr */
	struct clamp clamps[FIELDS]; /* u32s that may be no larger than a mask */
};

#define AT(field) offsetof(union bpf_attr, field)
#define FD(field) (AT(field) + 1)
#define PTR(field) (AT(field) + 1)
#define ELEMENT(cmd_)                                                                      \
	{                                                                                  \
		.cmd = (cmd_), .fds = { FD(map_fd) }, .pointers = { PTR(key), PTR(value) } \
	}
#define BATCH(cmd_)                                                                       \
	{                                                                                 \
		.cmd = (cmd_), .fds = { FD(batch.map_fd) },                               \
		.pointers = { PTR(batch.in_batch), PTR(batch.out_batch), PTR(batch.keys), \
			PTR(batch.values) },                                              \
		.clamps = {                                                               \
			{ AT(batch.count), 0x7 }                                          \
		}                                                                         \
	}

static const struct command commands[] = {
	{ .cmd = BPF_MAP_CREATE,
		.fds = { FD(inner_map_fd), FD(btf_fd) },
		.clamps = { { AT(map_type), 0x3f }, { AT(key_size), 0x1ff },
			{ AT(value_size), 0xfff }, { AT(max_entries), 0xfff } } },
	ELEMENT(BPF_MAP_LOOKUP_ELEM),
	ELEMENT(BPF_MAP_UPDATE_ELEM),
	ELEMENT(BPF_MAP_DELETE_ELEM),
	ELEMENT(BPF_MAP_GET_NEXT_KEY),
	ELEMENT(BPF_MAP_LOOKUP_AND_DELETE_ELEM),
	{ .cmd = BPF_MAP_FREEZE, .fds = { FD(map_fd) } },
	BATCH(BPF_MAP_LOOKUP_BATCH),
	BATCH(BPF_MAP_LOOKUP_AND_DELETE_BATCH),
	BATCH(BPF_MAP_UPDATE_BATCH),
	BATCH(BPF_MAP_DELETE_BATCH),
	{ .cmd = BPF_PROG_LOAD,
		.fds = { FD(prog_btf_fd), FD(attach_prog_fd) },
		.pointers = { PTR(insns), PTR(license), PTR(log_buf), PTR(func_info),
			PTR(line_info), PTR(fd_array) },
		.clamps = { { AT(insn_cnt), 0x3f }, { AT(log_size), 0x3ffff },
			{ AT(func_info_rec_size), 0x3f }, { AT(func_info_cnt), 0xff },
			{ AT(line_info_rec_size), 0x3f }, { AT(line_info_cnt), 0xff } } },
	{ .cmd = BPF_PROG_TEST_RUN,
		.fds = { FD(test.prog_fd) },
		.pointers = { PTR(test.data_in), PTR(test.data_out), PTR(test.ctx_in),
			PTR(test.ctx_out) },
		.clamps = { { AT(test.data_size_in), 0xffff }, { AT(test.data_size_out), 0xffff },
			{ AT(test.repeat), 0x3 }, { AT(test.ctx_size_in), 0xfff },
			{ AT(test.ctx_size_out), 0xfff } } },
	{ .cmd = BPF_OBJ_GET_INFO_BY_FD,
		.fds = { FD(info.bpf_fd) },
		.pointers = { PTR(info.info) },
		.clamps = { { AT(info.info_len), 0xfff } } },
	{ .cmd = BPF_BTF_LOAD,
		.pointers = { PTR(btf), PTR(btf_log_buf) },
		.clamps = { { AT(btf_size), 0xffff }, { AT(btf_log_size), 0x3ffff } } },
	{ .cmd = BPF_PROG_GET_NEXT_ID },
	{ .cmd = BPF_MAP_GET_NEXT_ID },
	{ .cmd = BPF_BTF_GET_NEXT_ID },
	{ .cmd = BPF_LINK_GET_NEXT_ID },
	{ .cmd = BPF_PROG_GET_FD_BY_ID },
	{ .cmd = BPF_MAP_GET_FD_BY_ID },
	{ .cmd = BPF_BTF_GET_FD_BY_ID },
	{ .cmd = BPF_LINK_CREATE, .fds = { FD(link_create.prog_fd) } },
	{ .cmd = BPF_LINK_DETACH, .fds = { FD(link_detach.link_fd) } },
	{ .cmd = BPF_PROG_BIND_MAP,
		.fds = { FD(prog_bind_map.prog_fd), FD(prog_bind_map.map_fd) } },
	{ .cmd = BPF_ENABLE_STATS },
	{ .cmd = BPF_OBJ_GET, .pointers = { PTR(pathname) } },
};

static uint8_t buffers[BUFFERS][BUFFER_BYTES];
static int fds[FDS];
static unsigned fd_count;

struct input {
	const uint8_t *at;
	size_t left;
};

static size_t take(struct input *input, void *to, size_t len)
{
	len = sl_min(len, input->left);
	memcpy(to, input->at, len);
	input->at += len;
	input->left -= len;
	return len;
}

static int any_fd(uint32_t number)
{
	return fd_count ? fds[number % fd_count] : -1;
}

/* A buffer begins with what the input has next, as long as its first byte says, times eight. */
static void fill(struct input *input, uint8_t *buffer)
{
	uint8_t len = 0;

	memset(buffer, 0, 4096);
	take(input, &len, 1);
	take(input, buffer, len * 8u);
}

static void bind_insns(uint8_t *buffer)
{
	struct bpf_insn *insns = (struct bpf_insn *)buffer;

	for (unsigned i = 0; i < 64; i++)
		if (insns[i].code == (BPF_LD | BPF_IMM | BPF_DW) &&
			(insns[i].src_reg == BPF_PSEUDO_MAP_FD ||
				insns[i].src_reg == BPF_PSEUDO_MAP_VALUE))
			insns[i].imm = any_fd((uint32_t)insns[i].imm);
}

static void fix(struct input *input, const struct command *command, union bpf_attr *attr)
{
	uint8_t *bytes = (uint8_t *)attr;

	for (unsigned i = 0; i < FIELDS && command->fds[i]; i++) {
		uint32_t *fd = (uint32_t *)(bytes + command->fds[i] - 1);

		if (*fd)
			*fd = (uint32_t)any_fd(*fd);
	}
	for (unsigned i = 0; i < FIELDS && command->clamps[i].mask; i++)
		*(uint32_t *)(bytes + command->clamps[i].offset) &= command->clamps[i].mask;
	for (unsigned i = 0; i < FIELDS && command->pointers[i]; i++) {
		uint64_t *pointer = (uint64_t *)(bytes + command->pointers[i] - 1);

		if (!*pointer)
			continue;
		fill(input, buffers[i]);
		*pointer = (uintptr_t)buffers[i];
	}
	if (command->cmd == BPF_PROG_LOAD && attr->insns)
		bind_insns(buffers[0]);
}

static void do_command(struct input *input)
{
	union bpf_attr attr = { 0 };
	const struct command *command;
	uint8_t head[2] = { 0, 0 };
	unsigned size;
	long ret;

	take(input, head, sizeof(head));
	command = &commands[head[0] % sl_array_size(commands)];
	size = head[1] % (sizeof(attr) + 1);
	take(input, &attr, size);
	fix(input, command, &attr);
	ret = sluice_bpf(command->cmd, &attr, size);
	if (ret <= 2 || command->cmd == BPF_PROG_TEST_RUN)
		return;
	if (fd_count < FDS)
		fds[fd_count++] = (int)ret;
	else
		close((int)ret);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };

	for (unsigned i = 0; i < COMMANDS_MAX && input.left > 2; i++)
		do_command(&input);
	while (fd_count)
		close(fds[--fd_count]);
	return 0;
}
