#include <errno.h>
#include <string.h>
#include <linux/if.h>
#include <linux/pkt_cls.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_bpf.h>
#include <linux/tc_act/tc_gact.h>

#include "call.h"

/*
 * Actions of the kinds bpf and gact, alone or as part of a filter. A request with one of these is
 * ours as a whole: ports know no others. One without is the kernel's.
 */

enum { IN_HW_COUNT = 10, ACTION_MAX = IN_HW_COUNT };
enum { ROOT_EXT_WARN_MSG = 5, ROOT_MAX = ROOT_EXT_WARN_MSG };
/* One list message has at most these, unless asked for large ones; either has a page at most. */
enum { LIST_MESSAGE_MAX = 3000, HW_STATS_ANY = 3 };

struct kind {
	const char *name;
	enum sluice_tc_kind kind;
	uint16_t parms, fd, text, id, tag, tm; /* attributes of the options; 0: it has none */
	uint16_t max;
};

static const struct kind kinds[] = {
	{ "bpf", SLUICE_TC_BPF, TCA_ACT_BPF_PARMS, TCA_ACT_BPF_FD, TCA_ACT_BPF_NAME, TCA_ACT_BPF_ID,
		TCA_ACT_BPF_TAG, TCA_ACT_BPF_TM, TCA_ACT_BPF_MAX },
	{ "gact", SLUICE_TC_GACT, TCA_GACT_PARMS, 0, 0, 0, 0, TCA_GACT_TM, TCA_GACT_MAX },
};

/* Which both kinds' parameters are. */
struct parms {
	tc_gen;
};

static const struct kind *find_kind(const struct nlattr *name)
{
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (sl_nl_is(name, kinds[i].name))
			return &kinds[i];
	}
	return NULL;
}

static const struct kind *kind_of(enum sluice_tc_kind kind)
{
	return kind == SLUICE_TC_BPF ? &kinds[0] : &kinds[1];
}

/* ---- what a request says ---- */

static int check_verdict(struct sl_nl_call *call, int verdict)
{
	if (TC_ACT_EXT_CMP(verdict, TC_ACT_GOTO_CHAIN))
		return sl_nl_refuse(call, -EOPNOTSUPP, "Sluice ports have chain 0 only");
	if (verdict < TC_ACT_UNSPEC || verdict > TC_ACT_VALUE_MAX)
		return sl_nl_refuse(call, -EINVAL, "invalid control action");
	return 0;
}

static int parse_program(struct sl_nl_call *call, const struct kind *kind,
	const struct nlattr **options, struct sluice_tc_action *action)
{
	const struct nlattr *name = options[kind->text];
	bool classic = options[TCA_ACT_BPF_OPS] && options[TCA_ACT_BPF_OPS_LEN];

	if (sl_nl_check_len(options[kind->fd], 4))
		return -ERANGE;
	if (name && !memchr(mnl_attr_get_payload(name), '\0', mnl_attr_get_payload_len(name)))
		return -EINVAL;
	if (name && strlen(mnl_attr_get_payload(name)) >= SLUICE_TC_NAME_LEN)
		return -ERANGE;
	if (classic == (options[kind->fd] != NULL))
		return -EINVAL;
	if (classic)
		return sl_nl_refuse(
			call, -EOPNOTSUPP, "Sluice ports take actions of eBPF programs only");
	action->prog_fd = (int)sl_nl_u32(options[kind->fd], 0);
	if (action->prog_fd < 0)
		return -EBADF;
	action->name = name ? mnl_attr_get_payload(name) : NULL;
	return 0;
}

static bool exists(enum sluice_tc_kind kind, uint32_t index)
{
	struct sluice_tc_action_info info;

	return index && sluice_tc_action_next(kind, index, &info) == 0 && info.index == index;
}

static int parse_options(struct sl_nl_call *call, const struct kind *kind, bool binding,
	const struct nlattr *nest, struct sluice_tc_action *action)
{
	const struct nlattr *options[TCA_ACT_BPF_MAX + TCA_GACT_MAX + 1];
	struct parms parms;
	int err;

	if (!nest)
		return -EINVAL;
	sl_nl_parse_nested(nest, options, TCA_ACT_BPF_MAX + TCA_GACT_MAX);
	err = sl_nl_check_len(options[kind->parms], sizeof(parms));
	if (err || !options[kind->parms])
		return err ? err : -EINVAL;
	memcpy(&parms, mnl_attr_get_payload(options[kind->parms]), sizeof(parms));
	if (kind->kind == SLUICE_TC_GACT && options[TCA_GACT_PROB])
		return -EOPNOTSUPP;
	action->index = parms.index;
	action->verdict = parms.action;
	if (binding && exists(kind->kind, action->index))
		return 0;
	if (!binding && exists(kind->kind, action->index) &&
		!(call->request->nlmsg_flags & NLM_F_REPLACE))
		return -EEXIST;
	err = check_verdict(call, action->verdict);
	return !err && kind->fd ? parse_program(call, kind, options, action) : err;
}

static int parse_kind(struct sl_nl_call *call, const struct nlattr *entry, const struct kind **ret)
{
	const struct nlattr *attrs[ACTION_MAX + 1];
	char name[IFNAMSIZ];

	sl_nl_parse_nested(entry, attrs, ACTION_MAX);
	if (!attrs[TCA_ACT_KIND])
		return sl_nl_refuse(call, -EINVAL, "TC action kind must be specified");
	if (!sl_nl_string(attrs[TCA_ACT_KIND], name, sizeof(name)))
		return sl_nl_refuse(call, -EINVAL, "TC action name too long");
	*ret = find_kind(attrs[TCA_ACT_KIND]);
	return *ret ? 0 : sl_nl_refuse(call, -ENOENT, "Failed to load TC action module");
}

static int parse_action(struct sl_nl_call *call, const struct nlattr *entry, bool binding,
	struct sluice_tc_action *action)
{
	const struct nlattr *attrs[ACTION_MAX + 1];
	const struct nlattr *cookie;
	const struct kind *kind;
	int err = parse_kind(call, entry, &kind);

	if (err)
		return err;
	sl_nl_parse_nested(entry, attrs, ACTION_MAX);
	*action = (struct sluice_tc_action){ .kind = kind->kind, .prog_fd = -1 };
	cookie = attrs[TCA_ACT_COOKIE];
	if (cookie && mnl_attr_get_payload_len(cookie) > SLUICE_TC_COOKIE_LEN)
		return -ERANGE;
	if (cookie) {
		action->cookie = mnl_attr_get_payload(cookie);
		action->cookie_len = (uint8_t)mnl_attr_get_payload_len(cookie);
	}
	return parse_options(call, kind, binding, attrs[TCA_ACT_OPTIONS], action);
}

/* The entries of a table: by their types from 1 on, up to the first that is missing. */
static unsigned entries_of(
	const struct nlattr *table, const struct nlattr *entries[static SLUICE_TC_ACTIONS + 1])
{
	unsigned count = 0;

	sl_nl_parse_nested(table, entries, SLUICE_TC_ACTIONS);
	while (count < SLUICE_TC_ACTIONS && entries[count + 1])
		count++;
	return count;
}

int sl_nl_parse_actions(struct sl_nl_call *call, const struct nlattr *table, bool binding,
	struct sluice_tc_action *ret_actions, unsigned *ret_count)
{
	const struct nlattr *entries[SLUICE_TC_ACTIONS + 1];
	unsigned count = entries_of(table, entries);
	const struct kind *kind;
	int err = 0;

	/* The kinds of all are looked at first, as the kernel does. */
	for (unsigned i = 0; i < count && !err; i++)
		err = parse_kind(call, entries[i + 1], &kind);
	for (unsigned i = 0; i < count && !err; i++)
		err = parse_action(call, entries[i + 1], binding, &ret_actions[i]);
	if (!err)
		*ret_count = count;
	return err;
}

/* ---- what lists show ---- */

static void put_stats(struct nlmsghdr *message, const struct sluice_tc_action_info *info)
{
	const struct {
		uint64_t bytes;
		uint32_t packets, pad;
	} basic = { info->bytes, (uint32_t)info->packets, 0 }, none = { 0 };
	const uint32_t queue[5] = { [2] = (uint32_t)info->drops };
	struct nlattr *nest = mnl_attr_nest_start(message, TCA_ACT_STATS);

	nest->nla_type &= NLA_TYPE_MASK; /* as the kernel's, which has no flag */
	mnl_attr_put(message, 1 /* TCA_STATS_BASIC */, sizeof(basic), &basic);
	if (info->packets > UINT32_MAX)
		mnl_attr_put_u64(message, 8 /* TCA_STATS_PKT64 */, info->packets);
	mnl_attr_put(message, 7 /* TCA_STATS_BASIC_HW */, sizeof(none), &none);
	mnl_attr_put(message, 3 /* TCA_STATS_QUEUE */, sizeof(queue), queue);
	mnl_attr_nest_end(message, nest);
}

/* USER_HZ is 100 everywhere. */
static uint64_t to_ticks(uint64_t ns)
{
	return ns / 10000000;
}

static void put_options(struct nlmsghdr *message, const struct sluice_tc_action_info *info)
{
	const struct kind *kind = kind_of(info->kind);
	const struct parms parms = {
		.index = info->index,
		.action = info->verdict,
		.refcnt = (int)info->references,
		.bindcnt = (int)info->bindings,
	};
	const struct tcf_t times = {
		.install = to_ticks(info->age_ns),
		.lastuse = to_ticks(info->idle_ns),
		.firstuse = to_ticks(info->first_ns),
	};
	struct nlattr *nest = mnl_attr_nest_start(message, TCA_ACT_OPTIONS);

	nest->nla_type &= NLA_TYPE_MASK;
	mnl_attr_put(message, kind->parms, sizeof(parms), &parms);
	if (kind->text && info->named)
		mnl_attr_put_strz(message, kind->text, info->name);
	if (kind->id)
		mnl_attr_put_u32(message, kind->id, info->prog_id);
	if (kind->tag)
		mnl_attr_put(message, kind->tag, sizeof(info->prog_tag), info->prog_tag);
	mnl_attr_put(message, kind->tm, sizeof(times), &times);
	mnl_attr_nest_end(message, nest);
}

static void put_head(
	struct nlmsghdr *message, const struct sluice_tc_action_info *info, bool with_index)
{
	mnl_attr_put_strz(message, TCA_ACT_KIND, kind_of(info->kind)->name);
	put_stats(message, info);
	if (with_index)
		mnl_attr_put_u32(message, TCA_ACT_INDEX, info->index);
	if (info->cookie_len)
		mnl_attr_put(message, TCA_ACT_COOKIE, info->cookie_len, info->cookie);
}

static void put_action(struct nlmsghdr *message, uint16_t type,
	const struct sluice_tc_action_info *info, bool listed)
{
	const struct nla_bitfield32 none = { .selector = HW_STATS_ANY };
	struct nlattr *nest = mnl_attr_nest_start(message, type);

	nest->nla_type &= NLA_TYPE_MASK;
	put_head(message, info, false);
	/* The kernel asks devices about those that they could run. */
	if (listed && info->kind == SLUICE_TC_GACT)
		mnl_attr_put(message, TCA_ACT_USED_HW_STATS, sizeof(none), &none);
	mnl_attr_put_u32(message, IN_HW_COUNT, 0);
	put_options(message, info);
	mnl_attr_nest_end(message, nest);
}

void sl_nl_put_action(
	struct nlmsghdr *message, uint16_t type, const struct sluice_tc_action_info *info)
{
	put_action(message, type, info, false);
}

/* ---- requests ---- */

static int get_table(struct sl_nl_call *call, const struct nlattr **ret_table)
{
	const struct nlattr *attrs[ROOT_MAX + 1];

	sl_nl_parse(call->request, sizeof(struct tcamsg), attrs, ROOT_MAX);
	*ret_table = attrs[TCA_ACT_TAB];
	return *ret_table ? 0 : -EINVAL;
}

/* Whether one of the actions is of a kind that ports have. */
static bool is_ours(const struct nlattr *table)
{
	const struct nlattr *entries[SLUICE_TC_ACTIONS + 1], *attrs[ACTION_MAX + 1];
	unsigned count = entries_of(table, entries);

	for (unsigned i = 0; i < count; i++) {
		sl_nl_parse_nested(entries[i + 1], attrs, ACTION_MAX);
		if (attrs[TCA_ACT_KIND] && find_kind(attrs[TCA_ACT_KIND]))
			return true;
	}
	return false;
}

static struct nlattr *begin_table(struct sl_nl_call *call, uint16_t type, uint16_t flags)
{
	struct nlattr *nest;

	sl_nl_begin(call, type, flags, sizeof(struct tcamsg));
	nest = mnl_attr_nest_start(&call->message, TCA_ACT_TAB);
	nest->nla_type &= NLA_TYPE_MASK;
	return nest;
}

static void put_named(struct sl_nl_call *call, const struct sluice_tc_action *actions,
	unsigned count, uint16_t type, uint16_t flags)
{
	struct nlattr *nest = begin_table(call, type, flags);
	struct sluice_tc_action_info info;

	for (unsigned i = 0; i < count; i++) {
		if (sluice_tc_action_next(actions[i].kind, actions[i].index, &info) == 0 &&
			info.index == actions[i].index)
			sl_nl_put_action(&call->message, (uint16_t)(i + 1), &info);
	}
	mnl_attr_nest_end(&call->message, nest);
	sl_nl_put(call, &call->message);
	sl_nl_flush(call);
}

/* All or, but for what was replaced, none. */
static int add_all(struct sluice_tc_action *actions, unsigned count, unsigned flags)
{
	bool created[SLUICE_TC_ACTIONS];

	for (unsigned i = 0; i < count; i++) {
		int err;

		created[i] = !exists(actions[i].kind, actions[i].index);
		err = sluice_tc_action_add(&actions[i], flags);
		if (!err)
			continue;
		while (i-- > 0) {
			if (created[i])
				sluice_tc_action_del(actions[i].kind, actions[i].index);
		}
		return err;
	}
	return 0;
}

int sl_nl_new_action(struct sl_nl_call *call)
{
	struct sluice_tc_action actions[SLUICE_TC_ACTIONS];
	uint16_t flags = call->request->nlmsg_flags;
	const struct nlattr *table;
	unsigned count;
	int err;

	if (get_table(call, &table) || !is_ours(table))
		return sl_nl_pass(call);
	err = sl_nl_check_caller(call);
	if (!err)
		err = sl_nl_parse_actions(call, table, false, actions, &count);
	if (!err)
		err = add_all(actions, count, flags & NLM_F_REPLACE ? SLUICE_TC_REPLACE : 0);
	if (!err && flags & NLM_F_ECHO)
		put_named(call, actions, count, RTM_NEWACTION, flags);
	return err;
}

/* The actions that a request names by kind and index, which have to be there. */
static int find_named(struct sl_nl_call *call, const struct nlattr *table,
	struct sluice_tc_action *ret_actions, unsigned *ret_count)
{
	const struct nlattr *entries[SLUICE_TC_ACTIONS + 1], *attrs[ACTION_MAX + 1];
	const struct kind *kind;

	*ret_count = entries_of(table, entries);
	for (unsigned i = 0; i < *ret_count; i++) {
		sl_nl_parse_nested(entries[i + 1], attrs, ACTION_MAX);
		if (!attrs[TCA_ACT_INDEX] || sl_nl_check_len(attrs[TCA_ACT_INDEX], 4))
			return sl_nl_refuse(call, -EINVAL, "Invalid TC action index value");
		kind = attrs[TCA_ACT_KIND] ? find_kind(attrs[TCA_ACT_KIND]) : NULL;
		if (!kind)
			return sl_nl_refuse(call, -EINVAL, "Specified TC action kind not found");
		ret_actions[i] = (struct sluice_tc_action){
			.kind = kind->kind,
			.index = sl_nl_u32(attrs[TCA_ACT_INDEX], 0),
		};
		if (!exists(kind->kind, ret_actions[i].index))
			return sl_nl_refuse(
				call, -ENOENT, "TC action with specified index not found");
	}
	return 0;
}

/* All of a kind, up to the first that a filter has. */
static int flush(struct sl_nl_call *call, const struct nlattr *table)
{
	const struct nlattr *entries[SLUICE_TC_ACTIONS + 1], *attrs[ACTION_MAX + 1];
	struct sluice_tc_action_info info = { 0 };
	const struct kind *kind;
	struct nlattr *nest, *inner;
	uint32_t count = 0;
	int err = 0;

	if (entries_of(table, entries) == 0)
		return sl_nl_refuse(
			call, -EINVAL, "Invalid netlink attributes while flushing TC action");
	sl_nl_parse_nested(entries[1], attrs, ACTION_MAX);
	kind = attrs[TCA_ACT_KIND] ? find_kind(attrs[TCA_ACT_KIND]) : NULL;
	if (!kind)
		return sl_nl_refuse(call, -EINVAL, "Cannot flush unknown TC action");
	while (!err && sluice_tc_action_next(kind->kind, info.index + 1, &info) == 0) {
		err = sluice_tc_action_del(kind->kind, info.index);
		count += !err;
	}
	if (err)
		call->reason = count ? "Unable to flush all TC actions" : NULL;
	if (!count)
		return err;
	if (!(call->request->nlmsg_flags & NLM_F_ECHO))
		return 0;
	nest = begin_table(call, RTM_DELACTION, NLM_F_ROOT);
	inner = mnl_attr_nest_start(&call->message, 0);
	inner->nla_type &= NLA_TYPE_MASK;
	mnl_attr_put_strz(&call->message, TCA_ACT_KIND, kind->name);
	mnl_attr_put_u32(&call->message, 5 /* TCA_FCNT */, count);
	mnl_attr_nest_end(&call->message, inner);
	mnl_attr_nest_end(&call->message, nest);
	sl_nl_put(call, &call->message);
	sl_nl_flush(call);
	return 0;
}

int sl_nl_del_action(struct sl_nl_call *call)
{
	struct sluice_tc_action actions[SLUICE_TC_ACTIONS];
	const struct nlattr *table;
	unsigned count;
	int err;

	if (get_table(call, &table) || !is_ours(table))
		return sl_nl_pass(call);
	err = sl_nl_check_caller(call);
	if (err)
		return err;
	if (call->request->nlmsg_flags & NLM_F_ROOT)
		return flush(call, table);
	err = find_named(call, table, actions, &count);
	if (err)
		return err;
	if (call->request->nlmsg_flags & NLM_F_ECHO)
		put_named(call, actions, count, RTM_DELACTION, 0);
	for (unsigned i = 0; i < count && !err; i++)
		err = sluice_tc_action_del(actions[i].kind, actions[i].index);
	return err ? sl_nl_refuse(call, err, "Failed to delete TC action") : 0;
}

/* ---- lists of a kind ---- */

struct list {
	struct sl_nl_call *call;
	const struct kind *kind;
	bool terse, large;
	uint64_t idle_max_ns; /* those used since; 0: all */
};

static void put_listed(struct list *list, uint16_t type, const struct sluice_tc_action_info *info)
{
	struct nlmsghdr *message = &list->call->message;
	struct nlattr *nest;

	if (!list->terse) {
		put_action(message, type, info, true);
		return;
	}
	nest = mnl_attr_nest_start(message, type);
	nest->nla_type &= NLA_TYPE_MASK;
	put_head(message, info, true);
	mnl_attr_nest_end(message, nest);
}

/* One message from `index` on; returns where the next one begins, 0 after the last. */
static uint32_t put_list(struct list *list, uint32_t index)
{
	struct nlmsghdr *message = &list->call->message;
	struct sluice_tc_action_info info;
	uint32_t *count, entries = 0;
	struct nlattr *nest;

	sl_nl_begin(list->call, RTM_GETACTION, NLM_F_MULTI, sizeof(struct tcamsg));
	mnl_attr_put_u32(message, TCA_ROOT_COUNT, 0);
	count = mnl_attr_get_payload(mnl_nlmsg_get_payload_offset(message, sizeof(struct tcamsg)));
	nest = mnl_attr_nest_start(message, TCA_ACT_TAB);
	nest->nla_type &= NLA_TYPE_MASK;
	while (index && sluice_tc_action_next(list->kind->kind, index, &info) == 0) {
		if (message->nlmsg_len > LIST_MESSAGE_MAX ||
			(!list->large && entries == SLUICE_TC_ACTIONS))
			break;
		index = info.index + 1;
		if (list->idle_max_ns && info.idle_ns > list->idle_max_ns)
			continue;
		put_listed(list, (uint16_t)entries++, &info);
	}
	mnl_attr_nest_end(message, nest);
	if (list->large)
		*count = entries;
	if (!entries)
		return 0;
	sl_nl_put(list->call, message);
	return index;
}

static int dump(struct sl_nl_call *call)
{
	const struct nlattr *attrs[ROOT_MAX + 1], *action[ACTION_MAX + 1];
	const struct nlattr *entries[SLUICE_TC_ACTIONS + 1];
	struct list list = { .call = call };
	uint32_t flags, index = 1;

	sl_nl_parse(call->request, sizeof(struct tcamsg), attrs, ROOT_MAX);
	if (!attrs[TCA_ACT_TAB] || !is_ours(attrs[TCA_ACT_TAB]))
		return sl_nl_pass(call);
	entries_of(attrs[TCA_ACT_TAB], entries);
	sl_nl_parse_nested(entries[1], action, ACTION_MAX);
	list.kind = action[TCA_ACT_KIND] ? find_kind(action[TCA_ACT_KIND]) : NULL;
	/* A bit field: its value comes first. */
	flags = sl_nl_u32(attrs[TCA_ROOT_FLAGS], 0);
	list.large = flags & TCA_ACT_FLAG_LARGE_DUMP_ON;
	list.terse = flags & TCA_ACT_FLAG_TERSE_DUMP;
	list.idle_max_ns = sl_nl_u32(attrs[TCA_ROOT_TIME_DELTA], 0) * UINT64_C(1000000);
	while (list.kind && index)
		index = put_list(&list, index);
	sl_nl_put_done(call, 0);
	return 0;
}

int sl_nl_get_action(struct sl_nl_call *call)
{
	struct sluice_tc_action actions[SLUICE_TC_ACTIONS];
	const struct nlattr *table;
	unsigned count;
	int err;

	if (sl_nl_is_dump(call))
		return dump(call);
	if (get_table(call, &table) || !is_ours(table))
		return sl_nl_pass(call);
	err = find_named(call, table, actions, &count);
	if (!err)
		put_named(call, actions, count, RTM_GETACTION, 0);
	return err;
}
