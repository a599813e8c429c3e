#include "sig.h"

#include <bpf/btf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "btf.h"
#include "env.h"
#include "prog.h"
#include "prog_type.h"

/* Declarations in BTF, read as the arguments of a function. */

#define MAX_SIZE_DEPTH 32 /* arrays and modifiers around a type */

enum tag {
	TAG_CTX = 1 << 0,
	TAG_NONNULL = 1 << 1,
	TAG_TRUSTED = 1 << 2,
	TAG_NULLABLE = 1 << 3,
	TAG_ARENA = 1 << 4,
	TAG_UNTRUSTED = 1 << 5,
};

/* Declaration tags of an argument, after "arg:". */
static const struct {
	const char *name;
	enum tag tag;
} tags[] = {
	{ "ctx", TAG_CTX },
	{ "nonnull", TAG_NONNULL },
	{ "trusted", TAG_TRUSTED },
	{ "nullable", TAG_NULLABLE },
	{ "arena", TAG_ARENA },
	{ "untrusted", TAG_UNTRUSTED },
};

/* One argument while it is read. */
struct reader {
	struct sl_env *env;
	const struct btf *btf;
	const char *func_name;
	bool global;
	unsigned index;
	uint32_t tags; /* enum tag, or'ed */
	struct sl_sig_arg *arg;
};

const char *sl_sig_kind_name(const struct btf_type *type)
{
	static const char *const names[] = {
		[BTF_KIND_UNKN] = "UNKNOWN",
		[BTF_KIND_INT] = "INT",
		[BTF_KIND_PTR] = "PTR",
		[BTF_KIND_ARRAY] = "ARRAY",
		[BTF_KIND_STRUCT] = "STRUCT",
		[BTF_KIND_UNION] = "UNION",
		[BTF_KIND_ENUM] = "ENUM",
		[BTF_KIND_FWD] = "FWD",
		[BTF_KIND_TYPEDEF] = "TYPEDEF",
		[BTF_KIND_VOLATILE] = "VOLATILE",
		[BTF_KIND_CONST] = "CONST",
		[BTF_KIND_RESTRICT] = "RESTRICT",
		[BTF_KIND_FUNC] = "FUNC",
		[BTF_KIND_FUNC_PROTO] = "FUNC_PROTO",
		[BTF_KIND_VAR] = "VAR",
		[BTF_KIND_DATASEC] = "DATASEC",
		[BTF_KIND_FLOAT] = "FLOAT",
		[BTF_KIND_DECL_TAG] = "DECL_TAG",
		[BTF_KIND_TYPE_TAG] = "TYPE_TAG",
		[BTF_KIND_ENUM64] = "ENUM64",
	};

	return names[btf_kind(type)];
}

const struct btf_type *sl_sig_skip_modifiers(const struct btf *btf, uint32_t id)
{
	const struct btf_type *type = btf__type_by_id(btf, id);

	while (btf_is_mod(type) || btf_is_typedef(type))
		type = btf__type_by_id(btf, type->type);
	return type;
}

static const char *name_of(const struct btf *btf, const struct btf_type *type)
{
	const char *name = btf__name_by_offset(btf, type->name_off);

	return name ? name : "";
}

/* -EINVAL for a type without a size. Lengths and sizes of a loaded BTF fit in 32 bits. */
static int size_of_type(const struct btf *btf, const struct btf_type *type, uint32_t *ret_bytes)
{
	uint64_t count = 1;

	for (unsigned depth = 0; depth < MAX_SIZE_DEPTH; depth++) {
		switch (btf_kind(type)) {
		case BTF_KIND_INT:
		case BTF_KIND_STRUCT:
		case BTF_KIND_UNION:
		case BTF_KIND_ENUM:
		case BTF_KIND_ENUM64:
		case BTF_KIND_FLOAT:
			count *= type->size;
			break;
		case BTF_KIND_PTR:
			count *= sizeof(void *);
			break;
		case BTF_KIND_ARRAY:
			count *= btf_array(type)->nelems;
			if (count > UINT32_MAX)
				return -EINVAL;
			type = sl_sig_skip_modifiers(btf, btf_array(type)->type);
			continue;
		default:
			return -EINVAL;
		}
		if (count > UINT32_MAX)
			return -EINVAL;
		*ret_bytes = (uint32_t)count;
		return 0;
	}
	return -EINVAL;
}

static int read_tag(struct reader *r, const char *name)
{
	if (!r->global) {
		sl_say(r->env, "arg#%u type tag is not supported in static functions\n", r->index);
		return -EOPNOTSUPP;
	}
	for (unsigned i = 0; i < sl_array_size(tags); i++) {
		if (strcmp(tags[i].name, name) == 0) {
			r->tags |= tags[i].tag;
			return 0;
		}
	}
	sl_say(r->env, "arg#%u has unsupported set of tags\n", r->index);
	return -EOPNOTSUPP;
}

static int read_tags(struct reader *r, uint32_t func_id)
{
	uint32_t count = btf__type_cnt(r->btf);
	int err = 0;

	for (uint32_t id = 1; !err && id < count; id++) {
		const struct btf_type *type = btf__type_by_id(r->btf, id);
		const char *name;

		if (!btf_is_decl_tag(type) || type->type != func_id ||
			btf_decl_tag(type)->component_idx != (int)r->index)
			continue;
		name = name_of(r->btf, type);
		if (strncmp(name, "arg:", 4) == 0)
			err = read_tag(r, name + 4);
	}
	return err;
}

static int refuse_tags(struct reader *r)
{
	sl_say(r->env, "arg#%u has invalid combination of tags\n", r->index);
	return -EINVAL;
}

static const char *ctx_name(const struct sl_env *env)
{
	return env->type->is_skb ? "__sk_buff" : "xdp_md";
}

/* A pointer to what the program type calls its context, or to what the kernel makes it from. */
static bool is_ctx(const struct reader *r, const struct btf_type *pointer)
{
	const struct btf_type *type = sl_sig_skip_modifiers(r->btf, pointer->type);
	const char *name;

	if (!btf_is_composite(type))
		return false;
	name = name_of(r->btf, type);
	return strcmp(name, ctx_name(r->env)) == 0 ||
	       strcmp(name, r->env->type->is_skb ? "sk_buff" : "xdp_buff") == 0;
}

/* A pointer that is said to be one to the context: void, or by the name of the context. */
static int check_ctx_tag(struct reader *r, const struct btf_type *pointer)
{
	const struct btf_type *type = sl_sig_skip_modifiers(r->btf, pointer->type);
	const char *name = name_of(r->btf, type);

	if (btf_is_void(type))
		return 0;
	if (!name[0]) {
		sl_say(r->env, "arg#%u type doesn't have a name\n", r->index);
		return -EINVAL;
	}
	if (btf_is_struct(type) && strcmp(name, ctx_name(r->env)) == 0)
		return 0;
	sl_say(r->env, "arg#%u should be `struct %s *`\n", r->index, ctx_name(r->env));
	return -EINVAL;
}

/* Pointers to the kernel's own types, and to its memory, which no program here is given. */
static int refuse_kernel_type(struct reader *r, const struct btf_type *pointer)
{
	const struct btf_type *type = sl_sig_skip_modifiers(r->btf, pointer->type);

	sl_say(r->env, "arg#%u reference type('%s %s') has no matches\n", r->index,
		sl_sig_kind_name(type), name_of(r->btf, type));
	return -ENOENT;
}

static int read_memory(struct reader *r, const struct btf_type *pointer)
{
	const struct btf_type *type = sl_sig_skip_modifiers(r->btf, pointer->type);
	int err;

	if (!r->global)
		return -EINVAL;
	if (r->tags & TAG_NULLABLE)
		return refuse_tags(r);
	err = size_of_type(r->btf, type, &r->arg->size_bytes);
	if (err) {
		sl_say(r->env, "arg#%u reference type('%s %s') size cannot be determined: %d\n",
			r->index, sl_sig_kind_name(type), name_of(r->btf, type), err);
		return err;
	}
	r->arg->kind = SL_SIG_MEM;
	r->arg->or_null = !(r->tags & TAG_NONNULL);
	return 0;
}

static bool is_dynptr(const struct reader *r, const struct btf_type *pointer)
{
	const struct btf_type *type = sl_sig_skip_modifiers(r->btf, pointer->type);

	return (btf_is_struct(type) || (btf_is_fwd(type) && !btf_kflag(type))) &&
	       strcmp(name_of(r->btf, type), "bpf_dynptr") == 0;
}

static int read_pointer(struct reader *r, const struct btf_type *pointer)
{
	if ((r->tags & TAG_CTX) || is_ctx(r, pointer)) {
		if (r->tags & ~TAG_CTX)
			return refuse_tags(r);
		r->arg->kind = SL_SIG_CTX;
		return r->tags & TAG_CTX ? check_ctx_tag(r, pointer) : 0;
	}
	if (is_dynptr(r, pointer)) {
		r->arg->kind = SL_SIG_DYNPTR;
		return r->tags ? refuse_tags(r) : 0;
	}
	if (r->tags & TAG_TRUSTED)
		return r->tags & (TAG_NONNULL | TAG_UNTRUSTED) ? refuse_tags(r)
							       : refuse_kernel_type(r, pointer);
	if (r->tags & TAG_UNTRUSTED) {
		if (r->tags == TAG_UNTRUSTED)
			return refuse_kernel_type(r, pointer);
		sl_say(r->env, "arg#%u untrusted cannot be combined with any other tags\n",
			r->index);
		return -EINVAL;
	}
	if (r->tags & TAG_ARENA) {
		if (r->tags == TAG_ARENA)
			sl_say(r->env, "arg#%u is in an arena, of which there are none\n",
				r->index);
		else
			sl_say(r->env, "arg#%u arena cannot be combined with any other tags\n",
				r->index);
		return -EINVAL;
	}
	return read_memory(r, pointer);
}

static int read_arg(struct reader *r, uint32_t func_id, uint32_t type_id)
{
	const struct btf_type *type;
	int err = read_tags(r, func_id);

	if (err)
		return err;
	type = sl_sig_skip_modifiers(r->btf, type_id);
	if (btf_is_ptr(type))
		return read_pointer(r, type);
	if (r->tags) {
		sl_say(r->env, "arg#%u has pointer tag, but is not a pointer type\n", r->index);
		return -EINVAL;
	}
	if (btf_is_int(type) || btf_is_any_enum(type)) {
		r->arg->kind = SL_SIG_SCALAR;
		return 0;
	}
	if (r->global)
		sl_say(r->env, "Arg#%u type %s in %s() is not supported yet.\n", r->index,
			sl_sig_kind_name(type), r->func_name);
	return -EINVAL;
}

static int check_shape(struct sl_env *env, uint32_t func, const struct btf_type *proto)
{
	bool global = env->sigs[func].global;
	const struct btf_type *result;

	if (btf_vlen(proto) > SL_MAX_ARGS) {
		if (global)
			sl_say(env, "Global function %s() with %d > %d args. Buggy compiler.\n",
				sl_sig_name(env, func), btf_vlen(proto), SL_MAX_ARGS);
		return -EINVAL;
	}
	result = sl_sig_skip_modifiers(env->prog->btf->btf, proto->type);
	if (btf_is_int(result) || btf_is_any_enum(result))
		return 0;
	if (global)
		sl_say(env,
			"Global function %s() doesn't return scalar. Only those are supported.\n",
			sl_sig_name(env, func));
	return -EINVAL;
}

int sl_sig_resolve(struct sl_env *env, uint32_t func)
{
	struct sl_sig *sig = &env->sigs[func];
	const struct btf_type *proto;
	const struct btf *btf;
	uint32_t func_id;
	int err;

	if (sig->known)
		return 0;
	btf = env->prog->btf->btf;
	func_id = env->prog->func_info[func].type_id;
	proto = btf__type_by_id(btf, btf__type_by_id(btf, func_id)->type);
	err = check_shape(env, func, proto);
	if (err)
		return err;
	for (unsigned i = 0; i < btf_vlen(proto); i++) {
		struct reader r = { .env = env,
			.btf = btf,
			.func_name = sl_sig_name(env, func),
			.global = sig->global,
			.index = i,
			.arg = &sig->args[i] };

		*r.arg = (struct sl_sig_arg){ .kind = SL_SIG_SCALAR };
		err = read_arg(&r, func_id, btf_params(proto)[i].type);
		if (err)
			return err;
	}
	sig->arg_count = (uint8_t)btf_vlen(proto);
	sig->known = true;
	return 0;
}

const char *sl_sig_name(const struct sl_env *env, uint32_t func)
{
	const struct btf *btf;

	if (func >= env->prog->func_info_count)
		return "";
	btf = env->prog->btf->btf;
	return name_of(btf, btf__type_by_id(btf, env->prog->func_info[func].type_id));
}

int sl_sigs_new(struct sl_env *env)
{
	env->sigs = calloc(env->cfg->func_count, sizeof(*env->sigs));
	if (!env->sigs)
		return -ENOMEM;
	for (uint32_t i = 0; i < env->prog->func_info_count; i++) {
		const struct btf_type *type =
			btf__type_by_id(env->prog->btf->btf, env->prog->func_info[i].type_id);

		env->sigs[i].global = btf_vlen(type) == BTF_FUNC_GLOBAL;
	}
	return 0;
}
