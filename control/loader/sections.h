#pragma once

#include "elf_image.h"

struct bpf_object;

/* Makes the entry functions of an image ones that libbpf takes for such. Whether any was not. */
void sl_sections_fix_entries(struct sl_elf_image *image);

/* Types the programs that libbpf has left without one, by the names of newer and older ones. */
void sl_sections_type(struct bpf_object *object);
