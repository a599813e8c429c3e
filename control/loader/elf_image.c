#include "elf_image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 256 << 20, ALIGNMENT = 8 };

#ifndef EM_BPF
#define EM_BPF 247
#endif

static int refuse(char *why, const char *words)
{
	snprintf(why, SL_WHY_MAX, "%s", words);
	return -ENOEXEC;
}

static bool within(const struct sl_elf_image *image, uint64_t offset, uint64_t len)
{
	return offset <= image->len && len <= image->len - offset;
}

static int check_header(struct sl_elf_image *image, char *why)
{
	const Elf64_Ehdr *h = &image->header;

	if (image->len == 0)
		return refuse(why, "the file is empty");
	if (image->len < SELFMAG || memcmp(image->bytes, ELFMAG, SELFMAG) != 0)
		return refuse(why, "not an ELF file");
	if (image->len < EI_NIDENT)
		return refuse(why, "the file is cut off");
	if (image->bytes[EI_CLASS] != ELFCLASS64)
		return refuse(why, "a 32-bit ELF file, eBPF objects are 64-bit");
	if (image->bytes[EI_DATA] != ELFDATA2LSB)
		return refuse(why, "big-endian (clang -target bpfeb), this machine is not");
	if (image->len < sizeof(*h))
		return refuse(why, "the file is cut off");
	memcpy(&image->header, image->bytes, sizeof(*h));
	if (h->e_machine != EM_BPF && h->e_machine != EM_NONE)
		return refuse(why, "an ELF file for another machine than eBPF");
	if (h->e_type != ET_REL)
		return refuse(why, "not an object file as `clang -c` writes it");
	if (h->e_shnum == 0 || h->e_shentsize != sizeof(Elf64_Shdr))
		return refuse(why, "no section headers");
	if (!within(image, h->e_shoff, (uint64_t)h->e_shnum * sizeof(Elf64_Shdr)))
		return refuse(why, "the file is cut off");
	return 0;
}

/* A section of strings, if any, has to end with a NUL. */
static bool strings_end(const struct sl_elf_image *image, unsigned section)
{
	const Elf64_Shdr *s = &image->sections[section];

	return s->sh_type == SHT_STRTAB && s->sh_size &&
	       image->bytes[s->sh_offset + s->sh_size - 1] == '\0';
}

static int check_sections(struct sl_elf_image *image, char *why)
{
	const Elf64_Ehdr *h = &image->header;

	image->sections = calloc(h->e_shnum, sizeof(*image->sections));
	if (!image->sections)
		return -ENOMEM;
	image->section_count = h->e_shnum;
	memcpy(image->sections, image->bytes + h->e_shoff, h->e_shnum * sizeof(Elf64_Shdr));
	/* The first one stands for none, which the file may not know. */
	for (unsigned i = 0; i < image->section_count; i++) {
		const Elf64_Shdr *s = &image->sections[i];

		if (s->sh_type != SHT_NULL && s->sh_type != SHT_NOBITS &&
			!within(image, s->sh_offset, s->sh_size))
			return refuse(why, "the file is cut off");
		if (s->sh_type == SHT_SYMTAB && !image->symtab)
			image->symtab = i;
	}
	if (h->e_shstrndx >= image->section_count || !strings_end(image, h->e_shstrndx))
		return refuse(why, "no names of sections");
	return 0;
}

static int check_symbols(struct sl_elf_image *image, char *why)
{
	const Elf64_Shdr *s = &image->sections[image->symtab];

	if (!image->symtab)
		return refuse(why, "no symbols: a stripped object");
	if (s->sh_entsize != sizeof(Elf64_Sym) || s->sh_size % sizeof(Elf64_Sym) ||
		s->sh_link >= image->section_count || !strings_end(image, s->sh_link))
		return refuse(why, "the table of symbols is damaged");
	image->symbol_count = (unsigned)(s->sh_size / sizeof(Elf64_Sym));
	return 0;
}

static int check(struct sl_elf_image *image, char *why)
{
	int err = check_header(image, why);

	if (!err)
		err = check_sections(image, why);
	if (!err)
		err = check_symbols(image, why);
	if (err == -ENOMEM)
		snprintf(why, SL_WHY_MAX, "%s", strerror(ENOMEM));
	return err;
}

int sl_elf_image_from(
	const void *bytes, size_t len, struct sl_elf_image *ret_image, char why[SL_WHY_MAX])
{
	struct sl_elf_image image = { .bytes = malloc(len + 1), .len = len, .room = len + 1 };
	int err;

	why[0] = '\0';
	if (!image.bytes) {
		snprintf(why, SL_WHY_MAX, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	memcpy(image.bytes, bytes, len);
	image.bytes[len] = '\0';
	err = check(&image, why);
	if (err)
		sl_elf_image_done(&image);
	else
		*ret_image = image;
	return err;
}

static int read_all(int fd, struct sl_elf_image *image)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (st.st_size > FILE_MAX)
		return -EFBIG;
	image->room = (size_t)st.st_size + 1;
	image->bytes = malloc(image->room);
	if (!image->bytes)
		return -ENOMEM;
	while (image->len < (size_t)st.st_size) {
		ssize_t n = read(fd, image->bytes + image->len, (size_t)st.st_size - image->len);

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		image->len += (size_t)n;
	}
	image->bytes[image->len] = '\0';
	return 0;
}

int sl_elf_image_read(const char *path, struct sl_elf_image *ret_image, char why[SL_WHY_MAX])
{
	struct sl_elf_image image = { 0 };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err = fd < 0 ? -errno : read_all(fd, &image);

	if (fd >= 0)
		close(fd);
	if (err)
		snprintf(why, SL_WHY_MAX, "%s", strerror(-err));
	else
		err = check(&image, why);
	if (err)
		sl_elf_image_done(&image);
	else
		*ret_image = image;
	return err;
}

void sl_elf_image_done(struct sl_elf_image *image)
{
	free(image->bytes);
	free(image->sections);
	*image = (struct sl_elf_image){ 0 };
}

static const char *string_at(const struct sl_elf_image *image, unsigned strings, uint32_t offset)
{
	const Elf64_Shdr *s = &image->sections[strings];

	return offset < s->sh_size ? (const char *)image->bytes + s->sh_offset + offset : "";
}

const char *sl_elf_section_name(const struct sl_elf_image *image, unsigned section)
{
	return string_at(image, image->header.e_shstrndx, image->sections[section].sh_name);
}

const char *sl_elf_symbol_name(const struct sl_elf_image *image, const Elf64_Sym *symbol)
{
	return string_at(image, image->sections[image->symtab].sh_link, symbol->st_name);
}

uint8_t *sl_elf_section_bytes(const struct sl_elf_image *image, unsigned section)
{
	const Elf64_Shdr *s = &image->sections[section];

	return s->sh_type == SHT_NULL || s->sh_type == SHT_NOBITS ? NULL
								  : image->bytes + s->sh_offset;
}

unsigned sl_elf_find_section(const struct sl_elf_image *image, const char *name, uint32_t type)
{
	for (unsigned i = 1; i < image->section_count; i++)
		if (image->sections[i].sh_type == type &&
			strcmp(sl_elf_section_name(image, i), name) == 0)
			return i;
	return 0;
}

Elf64_Sym sl_elf_symbol(const struct sl_elf_image *image, unsigned index)
{
	const uint8_t *table = image->bytes + image->sections[image->symtab].sh_offset;
	Elf64_Sym symbol;

	memcpy(&symbol, table + index * sizeof(symbol), sizeof(symbol));
	return symbol;
}

void sl_elf_put_symbol(struct sl_elf_image *image, unsigned index, const Elf64_Sym *symbol)
{
	uint8_t *table = image->bytes + image->sections[image->symtab].sh_offset;

	memcpy(table + index * sizeof(*symbol), symbol, sizeof(*symbol));
}

/* At the end of the image; it may move. */
static int append(struct sl_elf_image *image, const void *bytes, size_t len, uint64_t *ret_offset)
{
	size_t at = (image->len + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
	uint8_t *moved = image->bytes;

	if (at + len >= image->room) {
		moved = realloc(image->bytes, (at + len) * 2);
		if (!moved)
			return -ENOMEM;
		image->bytes = moved;
		image->room = (at + len) * 2;
	}
	memset(moved + image->len, 0, at - image->len);
	memcpy(moved + at, bytes, len);
	image->len = at + len;
	moved[image->len] = '\0';
	*ret_offset = at;
	return 0;
}

int sl_elf_replace(struct sl_elf_image *image, unsigned section, const void *bytes, size_t len)
{
	uint64_t offset;
	int err = append(image, bytes, len, &offset);

	if (!err) {
		image->sections[section].sh_offset = offset;
		image->sections[section].sh_size = len;
	}
	return err;
}

int sl_elf_rename_section(struct sl_elf_image *image, unsigned section, const char *name)
{
	unsigned strings = image->header.e_shstrndx;
	size_t old = image->sections[strings].sh_size, len = strlen(name) + 1;
	char *all = malloc(old + len);
	int err;

	if (!all)
		return -ENOMEM;
	memcpy(all, image->bytes + image->sections[strings].sh_offset, old);
	memcpy(all + old, name, len);
	err = sl_elf_replace(image, strings, all, old + len);
	if (!err)
		image->sections[section].sh_name = (uint32_t)old;
	free(all);
	return err;
}

int sl_elf_add_section(struct sl_elf_image *image, const Elf64_Shdr *like, const char *name,
	const void *bytes, size_t len, unsigned *ret_section)
{
	unsigned i = image->section_count;
	Elf64_Shdr *more;
	int err;

	if (i + 1 >= SHN_LORESERVE)
		return -E2BIG;
	more = realloc(image->sections, (i + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	image->sections = more;
	more[i] = *like;
	image->section_count++;
	err = sl_elf_replace(image, i, bytes, len);
	if (!err)
		err = sl_elf_rename_section(image, i, name);
	if (!err)
		*ret_section = i;
	return err;
}

int sl_elf_image_seal(struct sl_elf_image *image)
{
	size_t len = image->section_count * sizeof(*image->sections);
	uint64_t offset;
	int err = append(image, image->sections, len, &offset);

	if (err)
		return err;
	image->header.e_shoff = offset;
	image->header.e_shnum = (uint16_t)image->section_count;
	memcpy(image->bytes, &image->header, sizeof(image->header));
	return 0;
}
