#pragma once

#include <linux/bpf.h>

#include "prog_layout.h"

/*
 * Programs whose code is a C function, so that hooks and workers are tested without a verifier and
 * a JIT.
 */

/* Programs are freed here from now on; after a call of sluice_bpf, which sets the hooks too. */
void stand_in_hooks(void);

/* A descriptor of a new program, negative errno on failure. */
int stand_in_fd(enum bpf_prog_type type, sl_prog_fn fn);

/* How many of them exist: closed ones stay while a hook refers to them. */
unsigned stand_in_live(void);

/* Waits until `live` of them exist, or about a second has passed; returns how many do. */
unsigned stand_in_wait(unsigned live);
