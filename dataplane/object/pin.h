#pragma once

#include <sys/stat.h>

#include "object.h"

/*
 * Pins: files that stand for an object (bpffs/bpffs.h). Such a file holds a reference until its inode
 * is gone: with its last name, and the last descriptor that is open on it. They are kept beside the
 * descriptors (fd.c), whose end is seen in the same way.
 */

/*
 * Makes the open file a pin, whoever gives it a name. -EEXIST when it is one; -EACCES when this
 * process may not read it, which is how it watches; -ENFILE when there are no more watches.
 */
SL_CONTROL int sl_pin_add(int file, struct sl_object *obj);
/* -ENOENT when the file is no pin; else *ret_obj with a reference. */
SL_CONTROL int sl_pin_get(const struct stat *st, struct sl_object **ret_obj);
