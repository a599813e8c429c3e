#pragma once

#include "defs.h"

/* The memory of iterators over many bits. Once, before a program runs. -ENOMEM. */
SL_CONTROL int sl_iter_bits_start(void);
