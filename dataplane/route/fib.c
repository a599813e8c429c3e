#include "fib.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/random.h>

#include "rule.h"
#include "table.h"

/* Look-ups: which prefix, which of its routes, which of the route's paths. */

/* The DSCP bits that a route's TOS is compared with. */
#define TOS_MASK 0x1c

/* What a route of the type answers; 0 where it leads somewhere. */
static int type_error(uint8_t type)
{
	switch (type) {
	case RTN_BLACKHOLE:
		return -EINVAL;
	case RTN_UNREACHABLE:
		return -EHOSTUNREACH;
	case RTN_PROHIBIT:
		return -EACCES;
	case RTN_THROW:
		return -EAGAIN;
	default:
		return 0;
	}
}

/* The first path that is up and leads where the flow has to go. */
static bool first_path(const struct sl_route *route, const struct sl_fib_flow *flow,
	struct sl_fib_result *ret_result)
{
	for (uint32_t i = 0; i < route->path_count; i++) {
		const struct sl_path *path = &route->paths[i];
		const struct sl_interface *interface;

		if (flow->oif && flow->oif != path->ifindex)
			continue;
		interface = sl_interface_peek(path->ifindex);
		if (!interface)
			continue;
		*ret_result = (struct sl_fib_result){ route, path, interface };
		return true;
	}
	return false;
}

/* 1: none of these, go on with a shorter prefix. */
static int select_ipv4(const struct sl_fib_list *list, const struct sl_fib_flow *flow,
	uint32_t only_table, struct sl_fib_result *ret_result)
{
	for (uint32_t i = 0; i < list->count; i++) {
		const struct sl_route *route = list->routes[i];
		int err;

		if (only_table && route->table != only_table)
			continue;
		if (route->tos && route->tos != (flow->tos & TOS_MASK))
			continue;
		err = type_error(route->type);
		if (err) {
			*ret_result = (struct sl_fib_result){ .route = route };
			return err;
		}
		if (first_path(route, flow, ret_result))
			return 0;
	}
	return 1;
}

/*
 * The first that scores best, among those of the lowest metric that has any: as in the kernel a
 * path out of the interface that the look-up is about is preferred, that a packet came in by as
 * well.
 */
static int select_ipv6(const struct sl_fib_list *list, const struct sl_fib_flow *flow,
	struct sl_fib_result *ret_result)
{
	uint32_t wanted = flow->oif ? flow->oif : flow->iif;
	bool found = false;

	for (uint32_t i = 0; i < list->count; i++) {
		const struct sl_route *route = list->routes[i];

		if (found && route->metric != ret_result->route->metric)
			break;
		if (route->path_count == 0 && !found) {
			*ret_result = (struct sl_fib_result){ .route = route };
			found = true;
		}
		for (uint32_t n = 0; n < route->path_count; n++) {
			const struct sl_path *path = &route->paths[n];
			const struct sl_interface *interface;

			if (found && path->ifindex != wanted)
				continue;
			interface = sl_interface_peek(path->ifindex);
			if (!interface)
				continue;
			*ret_result = (struct sl_fib_result){ route, path, interface };
			if (path->ifindex == wanted)
				return 0;
			found = true;
		}
	}
	return found ? 0 : 1;
}

static int look_up(const struct sl_fib_table *table, const struct sl_fib_flow *flow,
	uint32_t only_table, struct sl_fib_result *ret_result)
{
	uint32_t bytes = sl_ip_bytes(flow->family);
	const struct sl_fib_list *list;
	struct sl_fib_key key;

	key.prefix_len = bytes * 8;
	memcpy(key.bytes, flow->dst, sizeof(key.bytes));
	while ((list = sl_fib_table_find(table, &key))) {
		int err = flow->family == AF_INET ? select_ipv4(list, flow, only_table, ret_result)
						  : select_ipv6(list, flow, ret_result);

		if (err <= 0)
			return err;
		if (list->prefix_len == 0)
			break;
		key.prefix_len = list->prefix_len - 1;
	}
	return -EAGAIN;
}

int sl_fib_table_lookup(
	const struct sl_fib_flow *flow, uint32_t table, struct sl_fib_result *ret_result)
{
	const struct sl_fib_table *t = sl_fib_table_peek(flow->family, table);
	bool shared =
		flow->family == AF_INET && (table == RT_TABLE_MAIN || table == RT_TABLE_LOCAL);

	if (!t)
		return -EAGAIN;
	return look_up(t, flow, shared && sl_fib_has_rules(AF_INET) ? table : 0, ret_result);
}

static int look_up_by_rules(const struct sl_rule_list *list, const struct sl_fib_flow *flow,
	struct sl_fib_result *ret_result)
{
	int err = -ENETUNREACH;

	for (uint32_t i = 0; i < list->count; i++) {
		const struct sluice_rule *rule = &list->rules[i];

		if (!sl_rule_matches(rule, flow))
			continue;
		switch (rule->action) {
		case FR_ACT_TO_TBL:
			err = sl_fib_table_lookup(flow, rule->table, ret_result);
			if (err != -EAGAIN)
				return err;
			break;
		case FR_ACT_PROHIBIT:
			return -EACCES;
		case FR_ACT_BLACKHOLE:
			return -EINVAL;
		default:
			return -ENETUNREACH;
		}
	}
	return -ENETUNREACH;
}

/* Without rules: local, main, default. */
static int look_up_simply(const struct sl_fib_flow *flow, struct sl_fib_result *ret_result)
{
	int err;

	if (flow->family == AF_INET6) {
		err = sl_fib_table_lookup(flow, RT_TABLE_LOCAL, ret_result);
		return err ? sl_fib_table_lookup(flow, RT_TABLE_MAIN, ret_result) : 0;
	}
	err = sl_fib_table_lookup(flow, RT_TABLE_MAIN, ret_result);
	if (sl_unlikely(err == -EAGAIN))
		err = sl_fib_table_lookup(flow, RT_TABLE_DEFAULT, ret_result);
	return err;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Drawn with the first table: nobody shall choose flows that all go the same way. */
static uint64_t hash_seed = 0x2545f4914f6cdd1d;

void sl_fib_draw_seed(void)
{
	uint64_t drawn;

	if (getrandom(&drawn, sizeof(drawn), GRND_NONBLOCK) == (ssize_t)sizeof(drawn))
		__atomic_store_n(&hash_seed, drawn, __ATOMIC_RELAXED);
}

/* Of what the kernel hashes by default: both addresses, of IPv6 the label and protocol too. */
static uint32_t hash_flow(const struct sl_fib_flow *flow)
{
	uint64_t words[5] = { 0 }, hash = __atomic_load_n(&hash_seed, __ATOMIC_RELAXED);

	memcpy(&words[0], flow->src, sl_ip_bytes(flow->family));
	memcpy(&words[2], flow->dst, sl_ip_bytes(flow->family));
	if (flow->family == AF_INET6)
		words[4] = (uint64_t)(flow->flow_label & htonl(0xfffff)) << 8 | flow->protocol;
	for (unsigned i = 0; i < sl_array_size(words); i++)
		hash = mix(hash ^ words[i], 0x9e3779b97f4a7c15 + i);
	return (uint32_t)(hash >> 33);
}

/* How much a path that is up and takes the flow's share speaks for itself; 3 is all. */
static unsigned score(const struct sl_fib_flow *flow, const struct sl_route *route,
	const struct sl_path *path, const struct sl_interface *interface, uint32_t hash)
{
	unsigned points = hash <= path->bound;
	uint32_t src, gateway = 0;

	memcpy(&src, flow->src, sizeof(src));
	if (flow->family != AF_INET || !src)
		return points;
	if (path->gateway_family)
		memcpy(&gateway, path->gateway, sizeof(gateway));
	return points + 2 * (sl_source_ipv4(interface, gateway, route->scope) == src);
}

/* Among several paths; the one that has been found stays when no other is up. */
static void choose_path(const struct sl_fib_flow *flow, struct sl_fib_result *result)
{
	const struct sl_route *route = result->route;
	uint32_t hash = hash_flow(flow), src;
	unsigned best = 0;

	memcpy(&src, flow->src, sizeof(src));
	for (uint32_t i = 0; i < route->path_count; i++) {
		const struct sl_path *path = &route->paths[i];
		const struct sl_interface *interface = sl_interface_peek(path->ifindex);
		unsigned points;

		if (!interface)
			continue;
		points = score(flow, route, path, interface, hash);
		if (points <= best)
			continue;
		result->path = path;
		result->interface = interface;
		best = points;
		if (points == 3 || flow->family == AF_INET6 || !src)
			return;
	}
}

int sl_fib_lookup(const struct sl_fib_flow *flow, struct sl_fib_result *ret_result)
{
	const struct sl_rule_list *rules;
	int err;

	if (flow->table) {
		err = sl_fib_table_lookup(flow, flow->table, ret_result);
	} else {
		rules = sl_rules_peek(flow->family);
		err = sl_unlikely(rules != NULL) ? look_up_by_rules(rules, flow, ret_result)
						 : look_up_simply(flow, ret_result);
	}
	if (err)
		return err == -EAGAIN ? -ENETUNREACH : err;
	if (sl_unlikely(ret_result->route->path_count > 1) && !flow->oif)
		choose_path(flow, ret_result);
	return 0;
}
