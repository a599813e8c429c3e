#include "reproducer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1 << 24 };

static void write_hex(FILE *file, const char *name, const uint8_t *bytes, uint32_t len)
{
	fprintf(file, "%s ", name);
	for (uint32_t i = 0; i < len; i++)
		fprintf(file, "%02x", bytes[i]);
	fprintf(file, "\n");
}

static void write_setting(FILE *file, const struct fuzz_setting *setting)
{
	if (setting->btf)
		write_hex(file, "btf", setting->btf, setting->btf_size);
	for (unsigned i = 0; i < setting->map_count; i++) {
		const struct fuzz_map *map = &setting->maps[i];

		fprintf(file, "map %u %u %u %u %u %u %u %" PRIu64 " %d %u %d\n", map->type,
			map->key_size, map->value_size, map->max_entries, map->flags, map->btf_key,
			map->btf_value, map->extra, map->inner, map->prog_type, map->frozen);
		if (map->initial)
			write_hex(file, "initial", map->initial, map->value_size);
	}
}

void fuzz_reproducer_write(FILE *file, const struct fuzz_setting *setting,
	const struct fuzz_program *program, const char *comment)
{
	fprintf(file, "# %s\n", comment);
	write_setting(file, setting);
	fprintf(file, "program %u %u %u %" PRIu64 " %d %d\n", program->type, program->attach_type,
		program->flags, program->packet_seed, program->comparable, program->runnable);
	for (uint32_t i = 0; i < program->func_count; i++)
		fprintf(file, "func %u %u\n", program->funcs[i].insn_off,
			program->funcs[i].type_id);
	for (uint32_t i = 0; i < program->count; i++) {
		const struct bpf_insn *insn = &program->insns[i];

		fprintf(file, "insn %02x %u %u %d %d\n", insn->code, insn->dst_reg, insn->src_reg,
			insn->off, insn->imm);
	}
	fprintf(file, "end\n");
}

static uint8_t *read_hex(const char *text, uint32_t *ret_len)
{
	uint32_t len = (uint32_t)strspn(text, "0123456789abcdef") / 2;
	uint8_t *bytes = malloc(len + 1);

	for (uint32_t i = 0; bytes && i < len; i++) {
		char pair[3] = { text[2 * i], text[2 * i + 1], '\0' };

		bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	*ret_len = len;
	return bytes;
}

static bool read_map(const char *line, struct fuzz_setting *setting)
{
	struct fuzz_map *map = &setting->maps[setting->map_count];
	int frozen;

	if (setting->map_count == FUZZ_MAX_MAPS ||
		sscanf(line, "map %u %u %u %u %u %u %u %" SCNu64 " %d %u %d", &map->type,
			&map->key_size, &map->value_size, &map->max_entries, &map->flags,
			&map->btf_key, &map->btf_value, &map->extra, &map->inner, &map->prog_type,
			&frozen) != 11)
		return false;
	map->frozen = frozen;
	setting->map_count++;
	return true;
}

static bool read_program(const char *line, struct fuzz_program *program)
{
	unsigned type, attach;
	int comparable, runnable;

	if (sscanf(line, "program %u %u %u %" SCNu64 " %d %d", &type, &attach, &program->flags,
		    &program->packet_seed, &comparable, &runnable) != 6)
		return false;
	program->type = type;
	program->attach_type = attach;
	program->comparable = comparable;
	program->runnable = runnable;
	return true;
}

static bool read_insn(const char *line, struct fuzz_program *program)
{
	struct bpf_insn *insn = &program->insns[program->count];
	unsigned code, dst, src;
	int off, imm;

	if (program->count == FUZZ_MAX_INSNS ||
		sscanf(line, "insn %x %u %u %d %d", &code, &dst, &src, &off, &imm) != 5)
		return false;
	insn->code = (uint8_t)code;
	insn->dst_reg = (uint8_t)dst & 0xf;
	insn->src_reg = (uint8_t)src & 0xf;
	insn->off = (int16_t)off;
	insn->imm = imm;
	program->count++;
	return true;
}

static bool read_line(const char *line, struct fuzz_setting *setting, struct fuzz_program *program)
{
	struct bpf_func_info *func = &program->funcs[program->func_count];
	uint32_t len;

	if (strncmp(line, "map ", 4) == 0)
		return read_map(line, setting);
	if (strncmp(line, "insn ", 5) == 0)
		return read_insn(line, program);
	if (strncmp(line, "program ", 8) == 0)
		return read_program(line, program);
	if (strncmp(line, "btf ", 4) == 0)
		return (setting->btf = read_hex(line + 4, &setting->btf_size)) != NULL;
	if (strncmp(line, "initial ", 8) == 0 && setting->map_count) {
		struct fuzz_map *map = &setting->maps[setting->map_count - 1];

		map->initial = read_hex(line + 8, &len);
		return map->initial && len == map->value_size;
	}
	if (strncmp(line, "func ", 5) == 0 && program->func_count < FUZZ_MAX_FUNCS)
		return ++program->func_count,
		       sscanf(line, "func %u %u", &func->insn_off, &func->type_id) == 2;
	return line[0] == '#';
}

bool fuzz_reproducer_read(FILE *file, struct fuzz_setting *setting, struct fuzz_program *program)
{
	char *line = malloc(LINE_MAX_BYTES);
	bool ok = line != NULL;

	memset(setting, 0, sizeof(*setting));
	memset(program, 0, sizeof(*program));
	while (ok && fgets(line, LINE_MAX_BYTES, file)) {
		if (strcmp(line, "end\n") == 0)
			break;
		ok = read_line(line, setting, program);
	}
	free(line);
	return ok && program->count > 0;
}

void fuzz_reproducer_logs(
	FILE *file, const struct fuzz_world *world, const struct fuzz_program *program)
{
	static const char *const names[SIDES] = { [KERNEL] = "kernel", [SLUICE] = "Sluice" };
	char *log = malloc(FUZZ_LOG_BYTES);

	for (int side = 0; log && side < SIDES; side++) {
		int fd;

		if (side == KERNEL && !world->has_kernel)
			continue;
		fd = fuzz_load(world, side, program, log);
		fprintf(file, "--- %s: %d\n%s", names[side], fd < 0 ? fd : 0, log);
		if (fd >= 0)
			close(fd);
	}
	free(log);
}
