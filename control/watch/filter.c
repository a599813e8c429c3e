#include "packet_filter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/bpf.h>
#include <linux/filter.h>

#include "cbpf.h"

static int load(sl_filter_bpf_fn bpf, const struct bpf_insn *insns, unsigned count)
{
	union bpf_attr attr = { 0 };
	long fd;

	attr.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	attr.insns = (uintptr_t)insns;
	attr.insn_cnt = count;
	attr.license = (uintptr_t)"BSD";
	strcpy(attr.prog_name, "watch_filter");
	fd = bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	return fd >= 0 ? (int)fd : -errno;
}

int sl_filter_load(sl_filter_bpf_fn bpf, const char *text, int raw, uint32_t snaplen, char *why,
	size_t why_size)
{
	struct sock_filter *classic;
	struct bpf_insn *insns = NULL;
	unsigned classic_count, count;
	int fd = sl_filter_compile(text, raw, snaplen, &classic, &classic_count, why, why_size);

	if (fd)
		return fd;
	fd = sl_cbpf_convert(classic, classic_count, &insns, &count);
	free(classic);
	if (!fd)
		fd = load(bpf, insns, count);
	if (fd < 0)
		snprintf(why, why_size, "cannot load the filter: %s", strerror(-fd));
	free(insns);
	return fd;
}

int sl_filter_load_both(sl_filter_bpf_fn bpf, const char *text, uint32_t snaplen, int ret_fds[2],
	char *why, size_t why_size)
{
	char ignored[256];
	int fds[2];

	ret_fds[0] = ret_fds[1] = -1;
	if (!text || !*text)
		return 0;
	fds[0] = sl_filter_load(bpf, text, 0, snaplen, why, why_size);
	if (fds[0] < 0)
		return fds[0];
	fds[1] = sl_filter_load(bpf, text, 1, snaplen, ignored, sizeof(ignored));
	ret_fds[0] = fds[0];
	ret_fds[1] = fds[1] < 0 ? -1 : fds[1];
	return 0;
}
