#include "both.h"

#include <errno.h>
#include <linux/btf.h>
#include <string.h>

#include "oracle.h"
#include "sluice/bpf.h"

const bpf_fn ask[SIDES] = { [KERNEL] = oracle_bpf, [SLUICE] = sluice_bpf };

long call(enum side side, int cmd, union bpf_attr *attr, unsigned int size)
{
	long ret = ask[side](cmd, attr, size);

	return ret < 0 ? -errno : ret;
}

int map_new(
	enum side side, uint32_t type, uint32_t key, uint32_t value, uint32_t max, uint32_t flags)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = type;
	attr.key_size = key;
	attr.value_size = value;
	attr.max_entries = max;
	attr.map_flags = flags;
	return call(side, BPF_MAP_CREATE, &attr, sizeof(attr));
}

int prog_new(enum side side, uint32_t type, const struct bpf_insn *insns, uint32_t count)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = type;
	attr.insns = PTR(insns);
	attr.insn_cnt = count;
	attr.license = PTR("GPL");
	strcpy(attr.prog_name, "probe");
	return call(side, BPF_PROG_LOAD, &attr, sizeof(attr));
}

int prog_returning(enum side side, uint32_t type, int32_t value)
{
	struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = value },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return prog_new(side, type, insns, 2);
}

int btf_new(enum side side)
{
	static const struct {
		struct btf_header hdr;
		uint32_t types[4];
		char strings[5];
	} blob = {
		.hdr = { BTF_MAGIC, BTF_VERSION, 0, sizeof(struct btf_header), 0, 16, 16, 5 },
		.types = { 1, BTF_KIND_INT << 24, 4, 32 },
		.strings = "\0int",
	};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.btf = PTR(&blob);
	attr.btf_size = sizeof(blob.hdr) + 16 + 5;
	return call(side, BPF_BTF_LOAD, &attr, sizeof(attr));
}
