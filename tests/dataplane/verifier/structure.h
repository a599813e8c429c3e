#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cfg.h"
#include "kernel.h"
#include "log.h"
#include "prog.h"
#include "test.h"

/* The structural passes beside what the kernel writes of the same program at log level 2. */

#define STRUCTURE_LOG_BYTES (1u << 20)

static inline int resolve_nothing(void *arg, uint32_t index)
{
	(void)arg;
	(void)index;
	return 0;
}

static inline int structure_of(enum bpf_prog_type type, const struct bpf_insn *insns,
	uint32_t count, char *text, struct sl_cfg **ret_cfg)
{
	struct sl_prog prog = {
		.type = type, .rules_type = type, .insns = (struct bpf_insn *)insns
	};
	struct sl_log_buf buf = { .buf = text, .size = STRUCTURE_LOG_BYTES, .level = 2 };
	struct sl_cfg *cfg = NULL;
	struct sl_log log;
	int err;

	prog.insn_count = count;
	text[0] = '\0';
	sl_vlog_init(&log, &buf);
	err = sl_cfg_new(&prog, &cfg);
	if (!err)
		err = sl_cfg_find_funcs(cfg, &log);
	if (!err)
		err = sl_cfg_check_returns(cfg, &log);
	if (!err)
		err = sl_cfg_check_insns(cfg, &log, resolve_nothing, NULL);
	if (!err)
		err = sl_cfg_walk(cfg, &log);
	if (!err)
		err = sl_cfg_analyse(cfg, &log);
	sl_vlog_finish(&log);
	if (!err && ret_cfg)
		*ret_cfg = cfg;
	else
		sl_cfg_free(cfg);
	return err;
}

/* Cuts the kernel's log where exploration begins; true when it came that far. */
static inline bool cut_before_exploration(char *log)
{
	static const char *const starts[] = { "\n0: R1=ctx() R10=fp0\n", "\nSCC enter",
		"\nprocessed " };
	bool explored = false;

	for (unsigned i = 0; i < 3; i++) {
		char *end = strstr(log, starts[i]);

		if (!end)
			continue;
		end[1] = '\0';
		explored |= i < 2;
	}
	if (!strncmp(log, "processed ", 10))
		log[0] = '\0';
	return explored;
}

/* Compares messages, liveness, loops and disassembly. False when they differ (reported). */
static inline bool same_structure(
	enum bpf_prog_type type, const struct bpf_insn *insns, uint32_t count)
{
	static char kernel[STRUCTURE_LOG_BYTES], ours[STRUCTURE_LOG_BYTES];
	int kernel_err = kernel_verify(type, insns, count, 2, kernel, sizeof(kernel));
	bool explored = cut_before_exploration(kernel);
	int err = structure_of(type, insns, count, ours, NULL);

	if (!strcmp(kernel, ours) && (explored ? err == 0 : err == kernel_err))
		return true;
	sl_test_fail(__FILE__, __LINE__, "errno %d, kernel %d%s\n%s\n-- kernel:\n%s", err,
		kernel_err, explored ? " later" : "", ours, kernel);
	return false;
}
