/*
 * count_events IFINDEX PACKETS: an ordinary libbpf program. Attaches an XDP program to the port that
 * drops all, after an event of each that nobody reads; lets so many packets come in there, and says
 * the program's id. Stays until its standard input ends.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INSN(code, dst, src, off, imm) ((struct bpf_insn){ code, dst, src, off, imm })

enum { PACKET = 64, ENTRIES = 3 };

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static int load(int events)
{
	struct bpf_insn insns[] = {
		INSN(BPF_ST | BPF_MEM | BPF_DW, 10, 0, -8, 0),
		INSN(BPF_LD | BPF_IMM | BPF_DW, 2, BPF_PSEUDO_MAP_FD, 0, events),
		INSN(0, 0, 0, 0, 0),
		INSN(BPF_ALU | BPF_MOV | BPF_K, 3, 0, 0, -1), /* BPF_F_CURRENT_CPU */
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 4, 10, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, 4, 0, 0, -8),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 5, 0, 0, 8),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_perf_event_output),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_DROP),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "count_events", "GPL", insns,
		sizeof(insns) / sizeof(insns[0]), NULL);
}

static int run_live(int prog, unsigned ifindex, unsigned packets)
{
	struct xdp_md ctx = { .data_end = PACKET, .ingress_ifindex = ifindex };
	char packet[PACKET] = { 2 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = PACKET,
		.ctx_in = &ctx, .ctx_size_in = sizeof(ctx), .repeat = (int)packets,
		.flags = BPF_F_TEST_XDP_LIVE_FRAMES);

	return bpf_prog_test_run_opts(prog, &opts);
}

int main(int argc, char **argv)
{
	unsigned ifindex = argc == 3 ? (unsigned)atoi(argv[1]) : 0;
	int events = bpf_map_create(BPF_MAP_TYPE_PERF_EVENT_ARRAY, "unread", 4, 4, 256, NULL);
	int flows = bpf_map_create(BPF_MAP_TYPE_HASH, "flows", 4, 8, 16, NULL);
	struct bpf_prog_info info = { 0 };
	uint32_t info_len = sizeof(info);
	uint64_t value = 0;
	char byte;
	int prog;

	if (!ifindex)
		return 2;
	if (events < 0 || flows < 0)
		return fail("map");
	for (uint32_t key = 0; key < ENTRIES; key++) {
		if (bpf_map_update_elem(flows, &key, &value, BPF_ANY) != 0)
			return fail("update");
	}
	prog = load(events);
	if (prog < 0)
		return fail("load");
	if (bpf_link_create(prog, (int)ifindex, BPF_XDP, NULL) < 0)
		return fail("link");
	if (run_live(prog, ifindex, (unsigned)atoi(argv[2])) != 0)
		return fail("run");
	if (bpf_obj_get_info_by_fd(prog, &info, &info_len) != 0)
		return fail("info");
	printf("%u\n", info.id);
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}
