#pragma once

#include "env.h"
#include "kfunc.h"

/* The arguments of a call, as far as they are looked at. */
struct sl_kfunc_args {
	const struct sl_kfunc *kfunc;
	uint32_t frame, slot; /* of the iterator */
	uint32_t ref_id; /* of what the arguments belong to */
	struct sl_call_meta meta; /* the dynptr that is one */
	struct sl_reg buffer; /* of a slice; a number without one */
	uint32_t size; /* of a slice */
	const struct sl_local_type *object; /* that is made or shared */
	uint32_t release_id; /* reference that the call ends */
	bool owning; /* what is shared is the caller's, so it is there */
	uint32_t conn_ref; /* reference of the connection that is an argument */
};

/* kfunc_call.c */
/* Every kernel function that the program names is one, and the program may name any. */
int sl_kfuncs_check(const struct sl_prog *prog, struct sl_log *log);
/* 1: it does not return, the path is at its end. */
int sl_check_kfunc_call(struct sl_env *env, const struct bpf_insn *insn);
/* A call of nothing, for a function that the loader did not find: it may not be reached. */
int sl_kfuncs_check_reached(struct sl_env *env);
/* Sections that a path may not end in. */
int sl_check_sections(struct sl_env *env, const char *what);

/* kfunc_dynptr.c: dynptrs, and slices of them. */
int sl_kfunc_check_dynptr(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args);
int sl_kfunc_check_buffer(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args);
/* The size of the memory that the argument before is: as much of it may be read and written. */
int sl_kfunc_check_pair_size(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args);
int sl_kfunc_check_slice_size(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args);
/* R0 of a function that gives a slice. -EINVAL when the program may not have it. */
int sl_kfunc_set_slice(struct sl_env *env, const struct sl_kfunc_args *args);
