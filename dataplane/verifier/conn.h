#pragma once

#include "env.h"
#include "kfunc_call.h"

/* Pointers to connections (conntrack/): conn.c. */

/* The name of the struct that the register points to. */
const char *sl_conn_type_name(const struct sl_reg *reg);
/* [off, off + size) of struct nf_conn: reads by its members, writes of `mark`. -EACCES, -EINVAL. */
int sl_conn_check_access(
	struct sl_env *env, unsigned regno, int32_t off, uint32_t size, enum sl_access access);
/* As an argument. */
int sl_kfunc_check_conn(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args);
/* After the arguments: the reference that ends. */
int sl_kfunc_conn_call(struct sl_env *env, const struct sl_kfunc_args *args);
/* R0, when it is a connection. */
int sl_kfunc_set_conn(struct sl_env *env, const struct sl_kfunc_args *args);
bool sl_kfunc_gives_conn(const struct sl_kfunc *kfunc);
