#pragma once

#include "defs.h"

struct sl_prog;

/* Fills in prog->tag: by it tools recognise a program, whatever descriptors its maps had. */
SL_CONTROL int sl_prog_set_tag(struct sl_prog *prog);
