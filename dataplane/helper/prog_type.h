#pragma once

#include <linux/bpf.h>

#include "field.h"

/* One row per program type that can be loaded. */
struct sl_prog_type {
	enum bpf_prog_type type;
	const char *name; /* "xdp", "sched_cls", ...: as bpftool prints it */
	bool is_skb; /* context is __sk_buff, else xdp_md */
	bool direct_packet_access; /* data/data_end */
	bool packet_writable;
	bool ld_abs; /* LD_ABS and LD_IND allowed */
	bool test_run;
};

/* NULL when the type cannot be loaded. */
SL_ANY const struct sl_prog_type *sl_prog_type_of(enum bpf_prog_type type);
