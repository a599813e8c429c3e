#pragma once

#include <stdarg.h>

#include "verifier.h"

struct bpf_insn;
struct sl_prog;
struct sl_reg;

/*
 * Writes into the user's log buffer as the kernel does: at BPF_LOG_FIXED the beginning is kept,
 * else the buffer rotates and keeps the end. log->buf may be NULL: nothing is kept, true_size still
 * counts.
 */
struct sl_log {
	struct sl_log_buf *user;
	uint64_t start_pos,
		end_pos; /* positions in the endless text; buffer offset is pos % size */
	uint32_t max_len; /* longest text seen, for true_size */
};

/* -EINVAL for a buffer, size and level that do not go together, as BPF_PROG_LOAD refuses them. */
int sl_vlog_init(struct sl_log *log, struct sl_log_buf *user);
/* Nothing at level 0. At most SL_VLOG_PIECE - 1 characters per call. */
#define SL_VLOG_PIECE 1024
void sl_vlog(struct sl_log *log, const char *fmt, ...) sl_printf(2, 3);
void sl_vlog_va(struct sl_log *log, const char *fmt, va_list args);
/* Forgets what was written after `pos` (end_pos at some earlier time). */
void sl_vlog_reset(struct sl_log *log, uint64_t pos);
/* Puts rotated text in order and sets true_size. -ENOSPC when the text did not fit. */
int sl_vlog_finish(struct sl_log *log);

/* One instruction as the kernel's disassembler prints it, with newline: "(b7) r0 = 0\n". */
void sl_vlog_insn(struct sl_log *log, const struct sl_prog *prog, unsigned index);

/*
 * A register's value as the kernel prints it: "scalar(umin=1,umax=255)", "pkt(r=14)", "fp-8". `frame`
 * is the frame of the state that is printed: pointers into another one name theirs.
 */
void sl_vlog_reg(struct sl_log *log, const struct sl_reg *reg, uint32_t frame);
