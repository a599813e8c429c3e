#pragma once

#include <linux/bpf.h>

struct sl_prog;
struct sl_user_log;

/*
 * BPF_PROG_LOAD's func_info and line_info: reads them and prog_btf_fd into prog and refuses what
 * does not describe its instructions. Before the verifier, which uses them.
 */
int sl_prog_load_btf(struct sl_prog *prog, const union bpf_attr *attr, struct sl_user_log *log);
