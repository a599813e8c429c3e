#include <errno.h>

#include <sluice/bpf.h>

#include "fd.h"
#include "jit.h"
#include "prog.h"

int sluice_load_report(int prog_fd, struct sluice_load_report *ret_report)
{
	struct sl_object *obj;
	const struct sl_prog *prog;
	int err = sl_fd_get(prog_fd, SL_OBJECT_PROG, &obj);

	if (err) {
		errno = -err;
		return -1;
	}
	prog = sl_prog_of(obj);
	*ret_report = (struct sluice_load_report){
		.verify_ns = prog->verify_ns,
		.emit_ns = prog->own_code->emit_ns,
		.link_ns = prog->own_code->link_ns,
		.optimize_ns = prog->own_code->optimize_ns,
		.codegen_ns = prog->own_code->codegen_ns,
		.insn_count = prog->insn_count,
		.verified_insns = prog->verified_insns,
		.peak_states = prog->peak_states,
		.peak_state_bytes = prog->peak_state_bytes,
		.code_bytes = prog->own_code->text_len_bytes,
	};
	sl_object_unref(obj);
	return 0;
}

int sluice_prog_ir(int prog_fd, char **ret_text)
{
	struct sl_object *obj;
	int err = sl_fd_get(prog_fd, SL_OBJECT_PROG, &obj);

	if (err)
		return err;
	err = sl_jit_print(sl_prog_of(obj), ret_text);
	sl_object_unref(obj);
	return err;
}
