#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "legacy.h"

static int refuse(char *why, int err, const char *words)
{
	snprintf(why, SL_WHY_MAX, "%s", words);
	return err;
}

static int open_btf(const struct sl_elf_image *image, struct btf **ret_btf, char *why)
{
	unsigned section = sl_elf_find_section(image, ".BTF", SHT_PROGBITS);
	struct btf *btf;

	btf = section ? btf__new(sl_elf_section_bytes(image, section),
				(uint32_t)image->sections[section].sh_size)
		      : btf__new_empty();
	if (!btf)
		return refuse(why, -ENOEXEC, "its BTF is damaged");
	*ret_btf = btf;
	return 0;
}

static int put_btf(struct sl_elf_image *image, const struct btf *btf)
{
	static const Elf64_Shdr like = { .sh_type = SHT_PROGBITS, .sh_addralign = 8 };
	unsigned section = sl_elf_find_section(image, ".BTF", SHT_PROGBITS);
	uint32_t len;
	const void *raw = btf__raw_data(btf, &len);

	if (!raw)
		return -ENOMEM;
	if (section)
		return sl_elf_replace(image, section, raw, len);
	return sl_elf_add_section(image, &like, ".BTF", raw, len, &section);
}

/* The symbol of a legacy map at this place, 0 for none. */
static unsigned symbol_at(const struct sl_legacy_maps *maps, unsigned section, uint64_t offset)
{
	for (unsigned i = 0; i < maps->count; i++)
		if (maps->maps[i].section == section && maps->maps[i].offset == offset)
			return maps->maps[i].symbol;
	return 0;
}

/*
 * A static map is referred to by its section, with the offset in the instruction: libbpf wants the
 * map's own symbol there.
 */
static void name_static(struct sl_elf_image *image, const struct sl_legacy_maps *maps,
	const Elf64_Shdr *relocations, uint64_t at)
{
	const Elf64_Shdr *code = &image->sections[relocations->sh_info];
	uint8_t *insns = sl_elf_section_bytes(image, relocations->sh_info);
	uint8_t *record = image->bytes + relocations->sh_offset + at;
	unsigned symbol_index, named;
	Elf64_Sym symbol;
	Elf64_Rel rel;
	uint32_t imm;

	memcpy(&rel, record, sizeof(rel));
	symbol_index = ELF64_R_SYM(rel.r_info);
	if (symbol_index >= image->symbol_count || !insns || rel.r_offset > code->sh_size ||
		code->sh_size - rel.r_offset < sizeof(struct bpf_insn))
		return;
	symbol = sl_elf_symbol(image, symbol_index);
	if (ELF64_ST_TYPE(symbol.st_info) != STT_SECTION)
		return;
	memcpy(&imm, insns + rel.r_offset + offsetof(struct bpf_insn, imm), sizeof(imm));
	named = symbol_at(maps, symbol.st_shndx, imm);
	if (!named)
		return;
	rel.r_info = ELF64_R_INFO((uint64_t)named, ELF64_R_TYPE(rel.r_info));
	memcpy(record, &rel, sizeof(rel));
	imm = 0;
	memcpy(insns + rel.r_offset + offsetof(struct bpf_insn, imm), &imm, sizeof(imm));
}

static void name_statics(struct sl_elf_image *image, const struct sl_legacy_maps *maps)
{
	for (unsigned i = 1; i < image->section_count; i++) {
		const Elf64_Shdr *s = &image->sections[i];

		if (s->sh_type != SHT_REL || s->sh_info >= image->section_count ||
			!(image->sections[s->sh_info].sh_flags & SHF_EXECINSTR))
			continue;
		for (uint64_t at = 0; at + sizeof(Elf64_Rel) <= s->sh_size; at += sizeof(Elf64_Rel))
			name_static(image, maps, s, at);
	}
}

/* Makes room for the maps: in a section of their own, or in the one that is there. */
static int make_room(struct sl_elf_image *image, size_t len, unsigned *section)
{
	static const Elf64_Shdr like = {
		.sh_type = SHT_PROGBITS,
		.sh_flags = SHF_ALLOC | SHF_WRITE,
		.sh_addralign = 8,
	};
	void *bytes = calloc(1, len);
	int err = -ENOMEM;

	if (bytes && *section) {
		memcpy(bytes, sl_elf_section_bytes(image, *section),
			image->sections[*section].sh_size);
		err = sl_elf_replace(image, *section, bytes, len);
	} else if (bytes) {
		err = sl_elf_add_section(image, &like, ".maps", bytes, len, section);
	}
	free(bytes);
	return err;
}

static int move_maps(
	struct sl_elf_image *image, const struct sl_legacy_maps *maps, unsigned section)
{
	int err = 0;

	for (unsigned i = 0; !err && i < maps->count; i++) {
		const struct sl_legacy_map *map = &maps->maps[i];
		Elf64_Sym symbol = sl_elf_symbol(image, map->symbol);

		symbol.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT);
		symbol.st_shndx = (uint16_t)section;
		symbol.st_value = map->btf_offset;
		sl_elf_put_symbol(image, map->symbol, &symbol);
		/* libbpf refuses the name, and passes over data that it does not know. */
		if (i == 0 || map->section != map[-1].section)
			err = sl_elf_rename_section(image, map->section, ".legacy_maps");
	}
	return err;
}

static int rewrite(struct sl_elf_image *image, struct sl_legacy_maps *maps, struct btf *btf)
{
	unsigned section = sl_elf_find_section(image, ".maps", SHT_PROGBITS);
	int64_t len = sl_legacy_describe(maps, image, section, btf);
	int err = len < 0 ? (int)len : 0;

	if (!err) {
		name_statics(image, maps);
		err = make_room(image, (size_t)len, &section);
	}
	if (!err)
		err = move_maps(image, maps, section);
	return err ?: put_btf(image, btf);
}

int sl_legacy_rewrite(
	struct sl_elf_image *image, struct sl_legacy_maps *ret_maps, char why[SL_WHY_MAX])
{
	struct sl_legacy_maps maps = { 0 };
	struct btf *btf = NULL;
	int err = sl_legacy_any(image) ? open_btf(image, &btf, why) : 0;

	if (!err && btf)
		err = sl_legacy_find(image, btf, &maps, why);
	if (!err && maps.count)
		err = rewrite(image, &maps, btf);
	btf__free(btf);
	if (err && !why[0])
		snprintf(why, SL_WHY_MAX, "its maps: %s", strerror(-err));
	if (err)
		sl_legacy_done(&maps);
	else
		*ret_maps = maps;
	return err;
}
