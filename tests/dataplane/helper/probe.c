#include "probe.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "oracle.h"

const struct probe_type probe_types[] = {
	{ BPF_PROG_TYPE_SOCKET_FILTER, "socket_filter" },
	{ BPF_PROG_TYPE_SCHED_CLS, "sched_cls" },
	{ BPF_PROG_TYPE_SCHED_ACT, "sched_act" },
	{ BPF_PROG_TYPE_XDP, "xdp" },
};
const size_t probe_type_count = sizeof(probe_types) / sizeof(probe_types[0]);

int probe_load(enum bpf_prog_type type, enum bpf_attach_type attach, const struct bpf_insn *insns,
	unsigned count, const char *license, const char **ret_log)
{
	static char log[65536];
	union bpf_attr attr;
	int fd;

	memset(&attr, 0, sizeof(attr));
	log[0] = 0;
	attr.prog_type = type;
	attr.expected_attach_type = attach;
	attr.insns = (unsigned long)insns;
	attr.insn_cnt = count;
	attr.license = (unsigned long)license;
	if (ret_log) {
		attr.log_buf = (unsigned long)log;
		attr.log_size = sizeof(log);
		attr.log_level = 2;
		*ret_log = log;
	}
	fd = oracle_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}
