#pragma once

#include <stdbool.h>

#include "legacy.h"

struct bpf_map;
struct bpf_object;

/*
 * Maps that an object wants pinned: libbpf's LIBBPF_PIN_BY_NAME and iproute2's numbers. A pinned map
 * that is there already is taken, if it is like the object's; else the new one is pinned. By bpf(2)
 * alone: libbpf would ask for the file system.
 */
struct sl_pins {
	unsigned count;
	struct sl_pin_wish {
		struct bpf_map *map;
		char *path;
		bool taken;
	} *wishes;
};

enum sl_pins_mode {
	SL_PINS_NONE, /* whatever the object says */
	SL_PINS_MADE, /* where there are none yet */
	SL_PINS_FOUND, /* those that are not there are an error; of the others nothing is written to */
};

/* Before the load. 0, or a negative errno and why. */
int sl_pins_take(struct sl_pins *pins, struct bpf_object *object,
	const struct sl_legacy_maps *legacy, const struct sl_elf_image *image,
	enum sl_pins_mode mode, char why[SL_WHY_MAX]);
/* After it. */
int sl_pins_put(struct sl_pins *pins, char why[SL_WHY_MAX]);
void sl_pins_done(struct sl_pins *pins);
