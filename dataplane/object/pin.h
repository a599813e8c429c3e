#pragma once

#include "object.h"

/*
 * BPF_OBJ_PIN and BPF_OBJ_GET: a name space of absolute paths inside this process. Paths that the
 * kernel would refuse (not below a bpf file system) are refused by the caller, not here.
 */

/* -EEXIST when the path is taken. The pin holds a reference. */
SL_CONTROL int sl_pin_add(const char *path, struct sl_object *obj);
/* -ENOENT when there is none; else *ret_obj with a reference. */
SL_CONTROL int sl_pin_get(const char *path, struct sl_object **ret_obj);
SL_CONTROL int sl_pin_del(const char *path);
