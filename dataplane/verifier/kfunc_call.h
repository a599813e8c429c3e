#pragma once

#include "env.h"

/* kfunc_call.c */
/* Every kernel function that the program names is one, and the program may name any. */
int sl_kfuncs_check(const struct sl_prog *prog, struct sl_log *log);
int sl_check_kfunc_call(struct sl_env *env, const struct bpf_insn *insn);
/* A call of nothing, for a function that the loader did not find: it may not be reached. */
int sl_kfuncs_check_reached(struct sl_env *env);
/* Sections that a path may not end in. */
int sl_check_sections(struct sl_env *env, const char *what);
