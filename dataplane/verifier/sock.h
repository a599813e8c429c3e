#pragma once

#include "env.h"

/* An access of `size` bytes at off: 0 or -EACCES, with the reason in the log. */
int sl_check_sock(
	struct sl_env *env, unsigned regno, int32_t off, unsigned size, enum sl_access access);
