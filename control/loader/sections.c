#include "sections.h"

#include <stdbool.h>
#include <string.h>

#include <bpf/libbpf.h>

static bool is_entry_section(const struct sl_elf_image *image, unsigned section)
{
	return section && section < image->section_count &&
	       image->sections[section].sh_type == SHT_PROGBITS &&
	       (image->sections[section].sh_flags & SHF_EXECINSTR) &&
	       strcmp(sl_elf_section_name(image, section), ".text") != 0;
}

/* Where the code of a symbol without a size ends: at the next one, or with the section. */
static uint64_t end_of(const struct sl_elf_image *image, const Elf64_Sym *of)
{
	uint64_t end = image->sections[of->st_shndx].sh_size;

	for (unsigned i = 1; i < image->symbol_count; i++) {
		Elf64_Sym s = sl_elf_symbol(image, i);

		if (s.st_shndx == of->st_shndx && ELF64_ST_BIND(s.st_info) != STB_LOCAL &&
			s.st_value > of->st_value && s.st_value < end)
			end = s.st_value;
	}
	return end;
}

void sl_sections_fix_entries(struct sl_elf_image *image)
{
	for (unsigned i = 1; i < image->symbol_count; i++) {
		Elf64_Sym s = sl_elf_symbol(image, i);
		unsigned char type = ELF64_ST_TYPE(s.st_info), bind = ELF64_ST_BIND(s.st_info);

		if (!is_entry_section(image, s.st_shndx) ||
			s.st_value >= image->sections[s.st_shndx].sh_size)
			continue;
		if (type == STT_NOTYPE && bind == STB_GLOBAL && !s.st_size)
			s.st_size = end_of(image, &s) - s.st_value;
		else if (type != STT_FUNC || bind != STB_LOCAL)
			continue;
		s.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC);
		sl_elf_put_symbol(image, i, &s);
	}
}

/* By how a name begins: what libbpf 0.x took, and names that came after 1.1. The first fits. */
static const struct row {
	const char *prefix;
	enum bpf_prog_type type;
	enum bpf_attach_type attach;
} rows[] = {
	{ "xdp_devmap", BPF_PROG_TYPE_XDP, BPF_XDP_DEVMAP },
	{ "xdp_cpumap", BPF_PROG_TYPE_XDP, BPF_XDP_CPUMAP },
	{ "xdp", BPF_PROG_TYPE_XDP, 0 },
	{ "tc", BPF_PROG_TYPE_SCHED_CLS, 0 },
	{ "classifier", BPF_PROG_TYPE_SCHED_CLS, 0 },
	{ "netkit/", BPF_PROG_TYPE_SCHED_CLS, 0 },
	{ "action", BPF_PROG_TYPE_SCHED_ACT, 0 },
	{ "socket", BPF_PROG_TYPE_SOCKET_FILTER, 0 },
};

void sl_sections_type(struct bpf_object *object)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, object)
	{
		const char *name = bpf_program__section_name(program);

		if (bpf_program__type(program) != BPF_PROG_TYPE_UNSPEC)
			continue;
		for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			if (strncmp(name, rows[i].prefix, strlen(rows[i].prefix)) != 0)
				continue;
			bpf_program__set_type(program, rows[i].type);
			if (rows[i].attach)
				bpf_program__set_expected_attach_type(program, rows[i].attach);
			break;
		}
	}
}
