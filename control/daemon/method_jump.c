#include <errno.h>
#include <limits.h>
#include <string.h>

#include <sluice/generation.h>

#include "method.h"

/*
 * Generations. Programs and maps are named by the caller's descriptors, so whoever may change a table
 * has one; what is at ports is for privileged peers, and so is the way back.
 */

static int fail_reason(
	struct sl_method_call *call, int err, const struct sluice_generation *generation)
{
	return sl_method_fail(call, err, "%s", sluice_generation_reason(generation));
}

/* An integer between min and max. */
static bool is_number(struct json_object *value, int64_t min, int64_t max, int64_t *ret)
{
	if (!json_object_is_type(value, json_type_int))
		return false;
	*ret = json_object_get_int64(value);
	return *ret >= min && *ret <= max;
}

/* ---- slots: [map, index, program or -1], descriptors ---- */

static int stage_slot(
	struct sl_method_call *call, struct sluice_generation *generation, struct json_object *slot)
{
	int64_t map, index, prog;
	int err;

	if (!json_object_is_type(slot, json_type_array) || json_object_array_length(slot) != 3 ||
		!is_number(json_object_array_get_idx(slot, 0), 0, INT_MAX, &map) ||
		!is_number(json_object_array_get_idx(slot, 1), 0, UINT32_MAX, &index) ||
		!is_number(json_object_array_get_idx(slot, 2), -1, INT_MAX, &prog))
		return sl_method_fail(call, -EINVAL, "a slot is not [map, index, program]");
	err = sluice_generation_slot(generation, (int)map, (uint32_t)index, (int)prog);
	return err ? fail_reason(call, err, generation) : 0;
}

/* ---- hooks: {"hook", "port", "program", "old", "priority", "handle"} ---- */

struct hook {
	const char *name; /* as in `hooks` */
	uint32_t ifindex;
	int64_t prog, old, priority, handle;
};

static int stage_xdp(struct sluice_generation *g, const struct hook *h)
{
	return sluice_generation_xdp(g, h->ifindex, (int)h->prog, (int)h->old);
}

static int stage_tcx(struct sluice_generation *g, const struct hook *h, enum sluice_tc_hook hook)
{
	return sluice_generation_tcx(g, h->ifindex, hook, (int)h->prog, (int)h->old);
}

static int stage_tcx_ingress(struct sluice_generation *g, const struct hook *h)
{
	return stage_tcx(g, h, SLUICE_TC_INGRESS);
}

static int stage_tcx_egress(struct sluice_generation *g, const struct hook *h)
{
	return stage_tcx(g, h, SLUICE_TC_EGRESS);
}

static int stage_filter(struct sluice_generation *g, const struct hook *h, enum sluice_tc_hook hook)
{
	return sluice_generation_filter(g, h->ifindex, hook, (uint32_t)h->priority,
		(uint32_t)h->handle, (int)h->prog, (int)h->old);
}

static int stage_tc_ingress(struct sluice_generation *g, const struct hook *h)
{
	return stage_filter(g, h, SLUICE_TC_INGRESS);
}

static int stage_tc_egress(struct sluice_generation *g, const struct hook *h)
{
	return stage_filter(g, h, SLUICE_TC_EGRESS);
}

static const struct {
	const char *name;
	int (*stage)(struct sluice_generation *g, const struct hook *h);
} hooks[] = {
	{ "xdp", stage_xdp },
	{ "tcx/ingress", stage_tcx_ingress },
	{ "tcx/egress", stage_tcx_egress },
	{ "tc/ingress", stage_tc_ingress },
	{ "tc/egress", stage_tc_egress },
};

/* By name or number. */
static int find_port(struct sl_method_call *call, struct json_object *value, uint32_t *ret_ifindex)
{
	struct sluice_port_info port = { .ifindex = 0 };
	int64_t number = 0;

	if (!is_number(value, 1, UINT32_MAX, &number) &&
		!json_object_is_type(value, json_type_string))
		return sl_method_fail(call, -EINVAL, "'port' is no name and no number");
	*ret_ifindex = (uint32_t)number;
	if (number)
		return 0;
	while (sluice_port_next(port.ifindex, &port) == 0) {
		if (strcmp(port.name, json_object_get_string(value)) != 0)
			continue;
		*ret_ifindex = port.ifindex;
		return 0;
	}
	return sl_method_fail(
		call, -ENODEV, "there is no port '%.64s'", json_object_get_string(value));
}

static int read_hook(struct sl_method_call *call, struct json_object *object, struct hook *ret)
{
	const struct {
		const char *name;
		int64_t min, max, *ret;
	} numbers[] = {
		{ "program", 0, INT_MAX, &ret->prog },
		{ "old", 0, INT_MAX, &ret->old },
		{ "priority", 1, UINT16_MAX, &ret->priority },
		{ "handle", 1, UINT32_MAX, &ret->handle },
	};
	struct json_object *value;

	*ret = (struct hook){ .prog = -1, .old = -1, .handle = 1 };
	if (!json_object_is_type(object, json_type_object) ||
		!json_object_object_get_ex(object, "hook", &value) ||
		!json_object_is_type(value, json_type_string))
		return sl_method_fail(call, -EINVAL, "a hook does not say which");
	ret->name = json_object_get_string(value);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (json_object_object_get_ex(object, numbers[i].name, &value) &&
			!is_number(value, numbers[i].min, numbers[i].max, numbers[i].ret))
			return sl_method_fail(call, -EINVAL,
				"'%s' of a hook is not between %lld and %lld", numbers[i].name,
				(long long)numbers[i].min, (long long)numbers[i].max);
	}
	if (!json_object_object_get_ex(object, "port", &value))
		return sl_method_fail(call, -EINVAL, "'port' of a hook is missing");
	return find_port(call, value, &ret->ifindex);
}

static int stage_hook(struct sl_method_call *call, struct sluice_generation *generation,
	struct json_object *object)
{
	struct hook hook;
	int err = read_hook(call, object, &hook);

	if (err)
		return err;
	if (!call->peer->privileged)
		return sl_method_fail(call, -EPERM, "programs at ports: not permitted");
	for (size_t i = 0; i < sizeof(hooks) / sizeof(hooks[0]); i++) {
		if (strcmp(hooks[i].name, hook.name) != 0)
			continue;
		err = hooks[i].stage(generation, &hook);
		return err ? fail_reason(call, err, generation) : 0;
	}
	return sl_method_fail(call, -EINVAL, "there is no hook '%.32s'", hook.name);
}

/* ---- the methods ---- */

static void put_number(struct json_object *object, const char *name, uint64_t value)
{
	json_object_object_add(object, name, json_object_new_uint64(value));
}

static void describe(struct json_object *object, const struct sluice_generation_info *info)
{
	put_number(object, "generation", info->number);
	put_number(object, "slots", info->slots);
	put_number(object, "maps", info->maps);
	put_number(object, "hooks", info->hooks);
	if (info->rollback)
		put_number(object, "back_to", info->back_to);
	if (!info->published_ns)
		return;
	put_number(object, "published_ns", info->published_ns);
	put_number(object, "prepare_ns", info->prepare_ns);
	put_number(object, "adopt_ns", info->adopt_ns);
}

/* All members of an array, which may be missing. */
static int stage_all(struct sl_method_call *call, struct sluice_generation *generation,
	const char *name,
	int (*stage)(struct sl_method_call *call, struct sluice_generation *generation,
		struct json_object *member))
{
	struct json_object *all;
	int err = 0;

	if (!json_object_object_get_ex(call->params, name, &all))
		return 0;
	if (!json_object_is_type(all, json_type_array))
		return sl_method_fail(call, -EINVAL, "'%s' is not an array", name);
	for (size_t i = 0; i < json_object_array_length(all) && !err; i++)
		err = stage(call, generation, json_object_array_get_idx(all, i));
	return err;
}

static int apply(struct sl_method_call *call, struct sluice_generation *generation, bool dry_run)
{
	unsigned flags = dry_run ? SLUICE_GENERATION_DRY_RUN : 0;
	struct sluice_generation_info info;
	int err = stage_all(call, generation, "slots", stage_slot);

	if (!err)
		err = stage_all(call, generation, "hooks", stage_hook);
	if (err)
		return err;
	/* What is kept is the administrator's to roll back, and no one else's to push out. */
	if (!call->peer->privileged)
		flags |= SLUICE_GENERATION_UNKEPT;
	err = sluice_generation_commit(generation, flags, &info);
	if (err)
		return fail_reason(call, err, generation);
	describe(call->result, &info);
	return 0;
}

int sl_method_jump_apply(struct sl_method_call *call)
{
	static const char *const names[] = { "slots", "hooks", "dry_run", NULL };
	struct sluice_generation *generation;
	bool dry_run = false;
	int err = sl_method_bool(call, "dry_run", false, &dry_run);

	if (!err)
		err = sl_method_only(call, names);
	if (err)
		return err;
	err = sluice_generation_new(&generation);
	if (err)
		return err;
	err = apply(call, generation, dry_run);
	sluice_generation_free(generation);
	return err;
}

int sl_method_jump_rollback(struct sl_method_call *call)
{
	static const char *const names[] = { "generation", "dry_run", NULL };
	char reason[SLUICE_GENERATION_REASON] = "";
	struct sluice_generation_info info;
	bool dry_run = false;
	int64_t to = -1; /* before the last one */
	int err = sl_method_number(call, "generation", false, 0, INT64_MAX, &to);

	if (!err)
		err = sl_method_bool(call, "dry_run", false, &dry_run);
	if (!err)
		err = sl_method_only(call, names);
	if (err)
		return err;
	err = sluice_generation_rollback(to < 0 ? UINT64_MAX : (uint64_t)to,
		dry_run ? SLUICE_GENERATION_DRY_RUN : 0, &info, reason, sizeof(reason));
	if (err)
		return sl_method_fail(call, err, "%s", reason);
	describe(call->result, &info);
	return 0;
}

int sl_method_jump_list(struct sl_method_call *call)
{
	static const char *const none[] = { NULL };
	struct sluice_generation_info info = { .number = 0 };
	struct json_object *all = json_object_new_array();
	int err = sl_method_only(call, none);

	json_object_object_add(call->result, "generations", all);
	put_number(call->result, "last", sluice_generation_number());
	while (!err && sluice_generation_next(info.number, &info) == 0) {
		struct json_object *object = json_object_new_object();

		describe(object, &info);
		json_object_array_add(all, object);
	}
	return err;
}
