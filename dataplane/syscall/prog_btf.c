#include "prog_btf.h"

#include <bpf/btf.h>
#include <errno.h>
#include <stdlib.h>

#include "btf.h"
#include "exceptions.h"
#include "fd.h"
#include "prog.h"
#include "user.h"
#include "user_log.h"

enum { RECORD_SIZE_MAX = 252 };

/*
 * An array of records of `record_size` bytes, of which we know the first `known`: copied packed,
 * with the same zero-tail rule as everywhere.
 */
static int read_records(
	uint64_t address, uint32_t count, uint32_t record_size, uint32_t known, void **ret_records)
{
	char *records = malloc((size_t)count * known);
	int err = records ? 0 : -ENOMEM;

	for (uint32_t i = 0; !err && i < count; i++)
		err = sl_user_read_struct(records + (size_t)i * known, known,
			address + (uint64_t)i * record_size, record_size);
	if (err) {
		free(records);
		return err;
	}
	*ret_records = records;
	return 0;
}

static bool record_size_valid(uint32_t size, uint32_t known)
{
	return size >= known && size <= RECORD_SIZE_MAX && size % sizeof(uint32_t) == 0;
}

static int check_func_types(const struct sl_prog *prog, const struct bpf_func_info *infos,
	uint32_t count, struct sl_user_log *log)
{
	const struct btf_type *type;

	for (uint32_t i = 0; i < count; i++) {
		if (i == 0 && infos[i].insn_off) {
			sl_user_log_line(log,
				"nonzero insn_off %u for the first func info record\n",
				infos[i].insn_off);
			return -EINVAL;
		}
		if (i > 0 && infos[i].insn_off <= infos[i - 1].insn_off) {
			sl_user_log_line(log,
				"same or smaller insn offset (%u) than previous func info record "
				"(%u)\n",
				infos[i].insn_off, infos[i - 1].insn_off);
			return -EINVAL;
		}
		type = btf__type_by_id(prog->btf->btf, infos[i].type_id);
		if (!type || !btf_is_func(type)) {
			sl_user_log_line(
				log, "invalid type id %d in func info\n", infos[i].type_id);
			return -EINVAL;
		}
	}
	return 0;
}

/* Marks the instructions that functions begin at; returns how many there are. */
static uint32_t mark_functions(const struct sl_prog *prog, uint8_t *starts)
{
	uint32_t count = 1;

	starts[0] = 1;
	for (uint32_t i = 0; i < prog->insn_count; i++) {
		const struct bpf_insn *insn = &prog->insns[i];
		bool call = insn->code == (BPF_JMP | BPF_CALL) && insn->src_reg == BPF_PSEUDO_CALL;
		bool func = insn->code == (BPF_LD | BPF_IMM | BPF_DW) &&
			    insn->src_reg == BPF_PSEUDO_FUNC;
		int64_t target = (int64_t)i + insn->imm + 1;

		if (!(call || func) || target < 0 || target >= prog->insn_count || starts[target])
			continue;
		starts[target] = 1;
		count++;
	}
	return count;
}

/* One more, if nothing calls it but what throws. */
static int find_exception_callback(
	struct sl_prog *prog, uint8_t *starts, uint32_t *functions, struct sl_user_log *log)
{
	char reason[SL_EXCEPTION_REASON_LEN];
	int err = sl_exceptions_find(prog, reason, &prog->exception_insn);

	if (err) {
		sl_user_log_line(log, "%s\n", reason);
		return err;
	}
	if (prog->exception_insn >= prog->insn_count) {
		sl_user_log_line(log, "call to invalid destination\n");
		return -EINVAL;
	}
	*functions += !starts[prog->exception_insn];
	starts[prog->exception_insn] = 1;
	return 0;
}

static int refuse_count(struct sl_user_log *log)
{
	sl_user_log_line(log, "number of funcs in func_info doesn't match number of subprogs\n");
	return -EINVAL;
}

static int load_func_info(struct sl_prog *prog, const union bpf_attr *attr, uint8_t *starts,
	uint32_t functions, struct sl_user_log *log)
{
	uint32_t count = attr->func_info_cnt;
	void *records;
	int err;

	if (!count)
		return 0;
	if (!record_size_valid(attr->func_info_rec_size, sizeof(struct bpf_func_info))) {
		sl_user_log_line(log, "invalid func info rec size %u\n", attr->func_info_rec_size);
		return -EINVAL;
	}
	if (count > functions + 1)
		return refuse_count(log);
	err = read_records(attr->func_info, count, attr->func_info_rec_size,
		sizeof(struct bpf_func_info), &records);
	if (err)
		return err;
	prog->func_info = records;
	prog->func_info_count = count;
	err = check_func_types(prog, prog->func_info, count, log);
	if (!err)
		err = find_exception_callback(prog, starts, &functions, log);
	if (!err && count != functions)
		err = refuse_count(log);
	for (uint32_t i = 0; !err && i < count; i++) {
		uint32_t at = prog->func_info[i].insn_off;

		if (at >= prog->insn_count || !starts[at]) {
			sl_user_log_line(log,
				"func_info BTF section doesn't match subprog layout in "
				"BPF program\n");
			err = -EINVAL;
		}
	}
	return err;
}

static int check_line(const struct sl_prog *prog, uint32_t i, struct sl_user_log *log)
{
	const struct bpf_line_info *line = &prog->line_info[i];

	if ((i > 0 && line->insn_off <= line[-1].insn_off && line[-1].insn_off) ||
		line->insn_off >= prog->insn_count) {
		sl_user_log_line(log,
			"Invalid line_info[%u].insn_off:%u (prev_offset:%u prog->len:%u)\n", i,
			line->insn_off, i > 0 ? line[-1].insn_off : 0, prog->insn_count);
		return -EINVAL;
	}
	if (!prog->insns[line->insn_off].code) {
		sl_user_log_line(log, "Invalid insn code at line_info[%u].insn_off\n", i);
		return -EINVAL;
	}
	if (!btf__str_by_offset(prog->btf->btf, line->line_off) ||
		!btf__str_by_offset(prog->btf->btf, line->file_name_off)) {
		sl_user_log_line(log, "Invalid line_info[%u].line_off or .file_name_off\n", i);
		return -EINVAL;
	}
	return 0;
}

static int load_line_info(struct sl_prog *prog, const union bpf_attr *attr, const uint8_t *starts,
	struct sl_user_log *log)
{
	uint32_t count = attr->line_info_cnt, function = 0;
	void *records;
	int err;

	if (!count)
		return 0;
	if (count > INT32_MAX / sizeof(struct bpf_line_info))
		return -EINVAL;
	if (!record_size_valid(attr->line_info_rec_size, sizeof(struct bpf_line_info)))
		return -EINVAL;
	/* At most one per instruction, so anything above is refused before it costs memory. */
	if (count > prog->insn_count + 1)
		return -EINVAL;
	err = read_records(attr->line_info, count, attr->line_info_rec_size,
		sizeof(struct bpf_line_info), &records);
	if (err)
		return err;
	prog->line_info = records;
	prog->line_info_count = count;
	for (uint32_t i = 0; i < count; i++) {
		err = check_line(prog, i, log);
		if (err)
			return err;
	}
	/* Each function begins with a line. */
	for (uint32_t at = 0, i = 0; at < prog->insn_count; at++) {
		if (!starts[at])
			continue;
		while (i < count && prog->line_info[i].insn_off < at)
			i++;
		if (i == count || prog->line_info[i].insn_off != at) {
			sl_user_log_line(log, "missing bpf_line_info for func#%u\n", function);
			return -EINVAL;
		}
		function++;
	}
	return 0;
}

int sl_prog_load_btf(struct sl_prog *prog, const union bpf_attr *attr, struct sl_user_log *log)
{
	struct sl_object *obj;
	uint32_t functions;
	uint8_t *starts;
	int err;

	if (!attr->func_info_cnt && !attr->line_info_cnt)
		return 0;
	err = sl_fd_get(attr->prog_btf_fd, SL_OBJECT_BTF, &obj);
	if (err)
		return err;
	prog->btf = sl_btf_of(obj);
	starts = calloc(prog->insn_count, 1);
	if (!starts)
		return -ENOMEM;
	functions = mark_functions(prog, starts);
	err = load_func_info(prog, attr, starts, functions, log);
	if (!err)
		err = load_line_info(prog, attr, starts, log);
	free(starts);
	return err;
}
