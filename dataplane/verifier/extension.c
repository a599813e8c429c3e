#include "extension.h"

#include <bpf/btf.h>
#include <errno.h>
#include <string.h>

#include "btf.h"
#include "env.h"
#include "facts.h"
#include "log.h"
#include "prog.h"
#include "sig.h"

/*
 * Extensions: programs that take the place of a global function of another one. Nothing is known of
 * such a function where it is called but its declaration, so any other that goes with that
 * declaration, and does no more to the packet, may be there.
 */

/* Two functions whose declarations are compared: the extension's first one, and the target's. */
struct pair {
	struct sl_log *log;
	const struct btf *btf[2];
	const char *name[2];
};

#define refuse(log, ...)                           \
	({                                         \
		if (log)                           \
			sl_vlog(log, __VA_ARGS__); \
		-EINVAL;                           \
	})

static const char *name_of(const struct btf *btf, const struct btf_type *type)
{
	const char *name = btf__name_by_offset(btf, type->name_off);

	return name ? name : "";
}

static bool has_size(const struct btf_type *type)
{
	return btf_is_int(type) || btf_is_composite(type) || btf_is_any_enum(type) ||
	       btf_is_datasec(type) || btf_is_float(type);
}

/* The kernel compares kind, flag and number of members at once. */
static bool same_info(const struct btf_type *a, const struct btf_type *b)
{
	return a->info == b->info;
}

/* Structs by name only: what is behind the pointer is compared in arguments_fit(). */
static int match_pointers(const struct pair *p, unsigned i, const struct btf_type *const types[2])
{
	const struct btf_type *to[2];

	for (unsigned k = 0; k < 2; k++) {
		to[k] = sl_sig_skip_modifiers(p->btf[k], types[k]->type);
		if (!btf_is_struct(to[k]))
			return refuse(p->log, "arg%d in %s() is not a pointer to context\n", i,
				p->name[k]);
	}
	if (strcmp(name_of(p->btf[0], to[0]), name_of(p->btf[1], to[1])) == 0)
		return 0;
	return refuse(p->log, "arg%d %s(struct %s *) doesn't match %s(struct %s *)\n", i,
		p->name[0], name_of(p->btf[0], to[0]), p->name[1], name_of(p->btf[1], to[1]));
}

static int match_arg(const struct pair *p, unsigned i, const struct btf_type *const protos[2])
{
	const struct btf_type *types[2];

	for (unsigned k = 0; k < 2; k++)
		types[k] = sl_sig_skip_modifiers(p->btf[k], btf_params(protos[k])[i].type);
	if (!same_info(types[0], types[1]))
		return refuse(p->log, "arg%d in %s() is %s while %s() has %s\n", i, p->name[0],
			sl_sig_kind_name(types[0]), p->name[1], sl_sig_kind_name(types[1]));
	if (has_size(types[0]) && types[0]->size != types[1]->size)
		return refuse(p->log, "arg%d in %s() has size %d while %s() has %d\n", i,
			p->name[0], types[0]->size, p->name[1], types[1]->size);
	if (btf_is_int(types[0]) || btf_is_any_enum(types[0]))
		return 0;
	if (!btf_is_ptr(types[0]))
		return refuse(p->log, "arg%d in %s() has unrecognized type\n", i, p->name[0]);
	return match_pointers(p, i, types);
}

static int match_protos(const struct pair *p, const struct btf_type *const protos[2])
{
	const struct btf_type *results[2];
	int err = 0;

	if (btf_vlen(protos[0]) != btf_vlen(protos[1]))
		return refuse(p->log, "%s() has %d args while %s() has %d args\n", p->name[0],
			btf_vlen(protos[0]), p->name[1], btf_vlen(protos[1]));
	for (unsigned k = 0; k < 2; k++)
		results[k] = sl_sig_skip_modifiers(p->btf[k], protos[k]->type);
	if (!same_info(results[0], results[1]))
		return refuse(p->log, "Return type %s of %s() doesn't match type %s of %s()\n",
			sl_sig_kind_name(results[0]), p->name[0], sl_sig_kind_name(results[1]),
			p->name[1]);
	for (unsigned i = 0; !err && i < btf_vlen(protos[0]); i++)
		err = match_arg(p, i, protos);
	return err;
}

static int match_types(struct sl_log *log, const struct sl_prog *prog, const struct sl_prog *target,
	const struct btf_type *type)
{
	const struct btf_type *funcs[2] = { NULL, type }, *protos[2];
	struct pair p = { .log = log };

	if (!prog->func_info_count)
		return refuse(log, "Program extension requires BTF\n");
	p.btf[0] = prog->btf->btf;
	p.btf[1] = target->btf->btf;
	funcs[0] = btf__type_by_id(p.btf[0], prog->func_info[0].type_id);
	for (unsigned k = 0; k < 2; k++) {
		p.name[k] = name_of(p.btf[k], funcs[k]);
		if (btf_vlen(funcs[k]) != BTF_FUNC_GLOBAL)
			return refuse(log, "%s() is not a global function\n", p.name[k]);
	}
	for (unsigned k = 0; k < 2; k++)
		protos[k] = btf__type_by_id(p.btf[k], funcs[k]->type);
	return match_protos(&p, protos);
}

/* Functions that no path reaches are gone, as they are from a program in the kernel. */
static bool is_there(const struct sl_prog *target, uint32_t func)
{
	const struct sl_facts *facts = target->facts;

	return facts->insns[facts->funcs[func].start].flags & SL_INSN_SEEN;
}

static int find_func(const struct sl_prog *target, uint32_t btf_id)
{
	for (uint32_t i = 0; i < target->func_info_count; i++) {
		if (target->func_info[i].type_id == btf_id && is_there(target, i))
			return (int)i;
	}
	return -1;
}

/* What may be attached to, and may it be by this program. */
static int check_target(struct sl_log *log, const struct sl_prog *prog,
	const struct sl_func_fact *first, const struct sl_prog *target, uint32_t func)
{
	const struct sl_func_fact *fact = &target->facts->funcs[func];

	if (target->facts->exception_func == (int)func)
		return refuse(log, "Extension programs cannot attach to exception callback\n");
	if (fact->unreliable)
		return refuse(log, "Cannot replace static functions\n");
	if (first->changes_packet && !fact->changes_packet)
		return refuse(
			log, "Extension program changes packet data, while original does not\n");
	if (first->might_sleep && !fact->might_sleep)
		return refuse(log, "Extension program may sleep, while original does not\n");
	/* One level, so that calls cannot go round in a circle. */
	if (target->type == prog->type)
		return refuse(log, "Cannot recursively attach\n");
	return 0;
}

int sl_extension_check(struct sl_log *log, const struct sl_prog *prog,
	const struct sl_func_fact *first, const struct sl_prog *target, uint32_t btf_id,
	uint32_t *ret_func)
{
	const struct btf_type *type;
	int func, err;

	if (!btf_id)
		return refuse(log, "Tracing programs must provide btf_id\n");
	if (!target)
		return refuse(log, "Cannot replace kernel functions\n");
	if (!target->btf)
		return refuse(log, "FENTRY/FEXIT program can only be attached to another program "
				   "annotated with BTF\n");
	type = btf__type_by_id(target->btf->btf, btf_id);
	if (!type)
		return refuse(log, "attach_btf_id %u is invalid\n", btf_id);
	if (prog->bound_device && prog->bound_device != target->bound_device)
		return refuse(log, "Target program bound device mismatch");
	func = find_func(target, btf_id);
	if (func < 0)
		return refuse(log, "Subprog %s doesn't exist\n", name_of(target->btf->btf, type));
	err = check_target(log, prog, first, target, (uint32_t)func);
	if (!err)
		err = match_types(log, prog, target, type);
	if (!err && (prog->rules_type != target->type ||
			    prog->rules_attach_type != target->expected_attach_type))
		err = -EINVAL;
	if (!err)
		*ret_func = (uint32_t)func;
	return err;
}

/*
 * The kernel compares the names of structs; how long they are, and who may pass NULL, each side says
 * for itself, and only the target's callers are checked for it.
 */
static bool arg_fits(const struct sl_sig_arg *arg, const struct sl_sig_arg *given)
{
	if (arg->kind != given->kind)
		return false;
	return arg->kind != SL_SIG_MEM ||
	       (arg->size_bytes <= given->size_bytes && arg->or_null >= given->or_null);
}

int sl_extension_check_args(struct sl_log *log, const struct sl_sig_arg *args, unsigned count,
	const struct sl_prog *target, uint32_t func)
{
	const struct sl_func_fact *fact = &target->facts->funcs[func];

	for (unsigned i = 0; i < count; i++) {
		if (i >= fact->arg_count || !arg_fits(&args[i], &fact->args[i]))
			return refuse(log, "arg#%u is not what callers are checked for\n", i);
	}
	return 0;
}
