#pragma once

#include <elf.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A relocatable eBPF object in memory, checked so far that what lies in its sections can be read,
 * and open to small changes. Whatever a file holds, opening it ends with an image or with words
 * that say why it is none; everything behind it may trust the bounds.
 */

enum { SL_WHY_MAX = 256 };

struct sl_elf_image {
	uint8_t *bytes; /* a NUL follows them: no name runs on, however sections overlap */
	size_t len, room;
	Elf64_Ehdr header;
	Elf64_Shdr *sections; /* written back by sl_elf_image_seal */
	unsigned section_count;
	unsigned symtab; /* its section */
	unsigned symbol_count;
};

/* 0, or a negative errno and why. What it holds is the caller's to free with sl_elf_image_done. */
int sl_elf_image_read(const char *path, struct sl_elf_image *ret_image, char why[SL_WHY_MAX]);
/* The same from memory, which is copied. */
int sl_elf_image_from(
	const void *bytes, size_t len, struct sl_elf_image *ret_image, char why[SL_WHY_MAX]);
void sl_elf_image_done(struct sl_elf_image *image);

/* Never NULL; borrowed until the next change of the image. */
const char *sl_elf_section_name(const struct sl_elf_image *image, unsigned section);
const char *sl_elf_symbol_name(const struct sl_elf_image *image, const Elf64_Sym *symbol);
/* The section's bytes; NULL where it has none in the file. */
uint8_t *sl_elf_section_bytes(const struct sl_elf_image *image, unsigned section);
/* The first of that name and type, 0 for none. */
unsigned sl_elf_find_section(const struct sl_elf_image *image, const char *name, uint32_t type);

Elf64_Sym sl_elf_symbol(const struct sl_elf_image *image, unsigned index);
void sl_elf_put_symbol(struct sl_elf_image *image, unsigned index, const Elf64_Sym *symbol);

/* Gives a section other contents, or adds one. 0 or negative errno; the index is written back. */
int sl_elf_replace(struct sl_elf_image *image, unsigned section, const void *bytes, size_t len);
int sl_elf_add_section(struct sl_elf_image *image, const Elf64_Shdr *like, const char *name,
	const void *bytes, size_t len, unsigned *ret_section);
int sl_elf_rename_section(struct sl_elf_image *image, unsigned section, const char *name);
/* Writes the headers back, after all changes. */
int sl_elf_image_seal(struct sl_elf_image *image);
