#pragma once

#include "btf.h"
#include "env.h"
#include "kfunc_call.h"

/* Objects of the types of the program's own BTF: object.c, and kfunc_object.c for calls. */

/* One per type that the program makes or finds, so that pointers to these compare. */
struct sl_local_type {
	struct sl_local_type *next;
	const struct sl_btf *btf;
	uint32_t type_id, size;
	const char *name;
	const struct sl_btf_record *record; /* NULL without special fields */
};

/* NULL when memory is out. */
const struct sl_local_type *sl_local_type_get(
	struct sl_env *env, const struct sl_btf *btf, uint32_t type_id);
void sl_local_types_free(struct sl_env *env);

/* A pointer to the node of an object that is in that root. -ENOMEM. */
int sl_object_set_node(struct sl_env *env, struct sl_reg *reg, const struct sl_btf *btf,
	const struct sl_special_field *root);
/* What it points to is in a list or tree from now on. */
void sl_object_set_non_owning(struct sl_reg *reg);

int sl_object_check_access(struct sl_env *env, unsigned regno, int32_t off, uint32_t size);
/* As an argument an object may be meant from a known place in it on. */
int sl_object_check_offset(struct sl_env *env, unsigned regno);

/* kptr.c: pointers to objects, in values of maps and in objects. */
int sl_kptr_check_field(struct sl_env *env, unsigned regno, struct sl_call_meta *meta);
int sl_kptr_check_value(struct sl_env *env, unsigned regno, struct sl_call_meta *meta);
/* A load or store of this field of the value that `pointer` leads to, as a whole. */
int sl_kptr_check_access(struct sl_env *env, const struct sl_reg *pointer,
	const struct sl_special_field *field, int value_regno);

/* kfunc_object.c: rules for arguments, and what the call then does. */
int sl_kfunc_check_type_id(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args);
int sl_kfunc_check_object(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args);
int sl_kfunc_check_refcounted(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args);
int sl_kfunc_check_root(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args);
int sl_kfunc_check_node(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args);
int sl_kfunc_check_less(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args);
/* After the arguments: callbacks, and references that end. */
int sl_kfunc_object_call(struct sl_env *env, const struct sl_kfunc_args *args);
/* R0, when it is an object. */
int sl_kfunc_set_object(struct sl_env *env, const struct sl_kfunc_args *args);
