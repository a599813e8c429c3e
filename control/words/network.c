#include "network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/route.h>

/* Commands of ip(8): a line is cut into words, an object and a verb choose the function. */

enum { WORDS_MAX = 256, LINE_MAX_BYTES = 8192 };

struct line {
	char text[LINE_MAX_BYTES];
	char *words[WORDS_MAX + 1]; /* ends with NULL */
	unsigned at;
	uint16_t family; /* -4, -6, or 0 */
	sl_network_name_fn ifindex_of;
	bool only_read; /* nothing is done */
	char *reason;
	size_t reason_size;
};

__attribute__((format(printf, 2, 3))) static int refuse(struct line *l, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(l->reason, l->reason_size, fmt, args);
	va_end(args);
	return -EINVAL;
}

static const char *peek(const struct line *l)
{
	return l->words[l->at];
}

static const char *take(struct line *l)
{
	return l->words[l->at] ? l->words[l->at++] : NULL;
}

/* Whether the next word is that one, or the start of it; then it is taken. */
static bool takes(struct line *l, const char *word, size_t least)
{
	const char *next = peek(l);
	size_t len = next ? strlen(next) : 0;

	if (len < least || len > strlen(word) || strncmp(next, word, len) != 0)
		return false;
	l->at++;
	return true;
}

static bool is(struct line *l, const char *word)
{
	return takes(l, word, strlen(word));
}

static int get_number(struct line *l, const char *what, unsigned long max, uint32_t *ret_n)
{
	const char *word = take(l);
	unsigned long n;
	char *end;

	if (!word)
		return refuse(l, "%s: a number is missing", what);
	errno = 0;
	n = strtoul(word, &end, 0);
	if (errno || end == word || *end || *word == '-' || n > max)
		return refuse(l, "%s: '%s' is no number that fits", what, word);
	*ret_n = (uint32_t)n;
	return 0;
}

static int get_device(struct line *l, uint32_t *ret_ifindex)
{
	const char *word = take(l);

	*ret_ifindex = word ? l->ifindex_of(word) : 0;
	if (*ret_ifindex)
		return 0;
	refuse(l, "there is no interface '%s'", word ? word : "");
	return -ENODEV;
}

static bool parse_ip(const char *word, struct sluice_ip *ret_ip)
{
	*ret_ip = (struct sluice_ip){ .family = strchr(word, ':') ? AF_INET6 : AF_INET };
	return inet_pton(ret_ip->family, word, ret_ip->bytes) == 1;
}

static int get_ip(struct line *l, struct sluice_ip *ret_ip)
{
	const char *word = take(l);

	if (word && parse_ip(word, ret_ip))
		return 0;
	return refuse(l, "'%s' is no address", word ? word : "");
}

static uint8_t bits_of(uint16_t family)
{
	return family == AF_INET ? 32 : 128;
}

/* ADDRESS[/LEN], default, all; *ret_ip without a family where the word does not say which. */
static int get_prefix(struct line *l, struct sluice_ip *ret_ip, uint8_t *ret_len)
{
	const char *word = take(l);
	char address[INET6_ADDRSTRLEN + 1];
	unsigned long len;
	char *end;

	if (!word)
		return refuse(l, "a prefix is missing");
	*ret_ip = (struct sluice_ip){ .family = l->family };
	*ret_len = 0;
	if (strcmp(word, "default") == 0 || strcmp(word, "all") == 0 || strcmp(word, "any") == 0)
		return 0;
	snprintf(address, sizeof(address), "%.*s", (int)strcspn(word, "/"), word);
	if (!parse_ip(address, ret_ip))
		return refuse(l, "'%s' is no prefix", word);
	*ret_len = bits_of(ret_ip->family);
	if (!strchr(word, '/'))
		return 0;
	len = strtoul(strchr(word, '/') + 1, &end, 10);
	if (*end || end[-1] == '/' || len > *ret_len)
		return refuse(l, "'%s' is no prefix", word);
	*ret_len = (uint8_t)len;
	return 0;
}

static int get_mac(struct line *l, uint8_t ret_mac[6])
{
	const char *word = take(l);
	unsigned b[6];
	char rest;

	if (!word || sscanf(word, "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2], &b[3], &b[4],
			     &b[5], &rest) != 6)
		return refuse(l, "'%s' is no link-layer address", word ? word : "");
	for (unsigned i = 0; i < 6; i++)
		ret_mac[i] = (uint8_t)b[i];
	return 0;
}

struct name {
	const char *name;
	uint32_t value;
};

static bool find_name(const struct name *names, const char *word, uint32_t *ret_value)
{
	for (; names->name; names++) {
		if (word && strcmp(names->name, word) == 0) {
			*ret_value = names->value;
			return true;
		}
	}
	return false;
}

static int get_table(struct line *l, uint32_t *ret_table)
{
	static const struct name tables[] = { { "main", RT_TABLE_MAIN },
		{ "local", RT_TABLE_LOCAL }, { "default", RT_TABLE_DEFAULT }, { 0 } };

	if (find_name(tables, peek(l), ret_table)) {
		l->at++;
		return 0;
	}
	return get_number(l, "table", UINT32_MAX, ret_table);
}

static int unknown(struct line *l)
{
	return refuse(l, "'%s' is not understood", peek(l));
}

static int set_link(struct line *l)
{
	struct sluice_interface interface;
	uint32_t ifindex = 0;
	int err;

	takes(l, "dev", 3);
	err = get_device(l, &ifindex);
	if (!err && !l->only_read)
		err = sluice_interface_get(ifindex, &interface);
	while (!err && peek(l)) {
		if (is(l, "mtu"))
			err = get_number(l, "mtu", 65535, &interface.mtu);
		else if (is(l, "address"))
			err = get_mac(l, interface.mac);
		else if (!is(l, "up"))
			err = unknown(l);
	}
	return err || l->only_read ? err : sluice_interface_set(&interface);
}

static int change_address(struct line *l, bool add)
{
	uint32_t ifindex = 0;
	struct sluice_ip ip;
	uint8_t len;
	int err;

	takes(l, "local", 5);
	err = get_prefix(l, &ip, &len);
	while (!err && peek(l)) {
		if (is(l, "dev"))
			err = get_device(l, &ifindex);
		else if (is(l, "broadcast") || is(l, "brd") || is(l, "scope") || is(l, "label"))
			take(l);
		else if (!is(l, "nodad"))
			err = unknown(l);
	}
	if (!err && !ifindex)
		err = refuse(l, "dev is missing");
	if (err || l->only_read)
		return err;
	return add ? sluice_address_add(ifindex, &ip, len) : sluice_address_del(ifindex, &ip, len);
}

static int add_address(struct line *l)
{
	return change_address(l, true);
}

static int del_address(struct line *l)
{
	return change_address(l, false);
}

static const struct name route_types[] = { { "unicast", RTN_UNICAST }, { "local", RTN_LOCAL },
	{ "broadcast", RTN_BROADCAST }, { "anycast", RTN_ANYCAST }, { "blackhole", RTN_BLACKHOLE },
	{ "unreachable", RTN_UNREACHABLE }, { "prohibit", RTN_PROHIBIT }, { "throw", RTN_THROW },
	{ 0 } };

/* via [inet6] ADDRESS, dev NAME, weight N, onlink: of a route, or of one of its next hops. */
static int get_hop_word(struct line *l, struct sluice_nexthop *hop, bool *ret_taken)
{
	uint32_t weight = 0;
	int err = 0;

	*ret_taken = true;
	if (is(l, "via")) {
		if (!is(l, "inet6"))
			is(l, "inet");
		err = get_ip(l, &hop->gateway);
	} else if (is(l, "dev")) {
		err = get_device(l, &hop->ifindex);
	} else if (is(l, "weight")) {
		err = get_number(l, "weight", 255, &weight);
		hop->weight = (uint8_t)weight;
	} else if (!is(l, "onlink")) {
		*ret_taken = false;
	}
	return err;
}

struct route {
	struct sluice_route route;
	struct sluice_nexthop hops[SLUICE_NEXTHOPS];
};

static int get_mtu(struct line *l, struct sluice_route *route)
{
	route->mtu_locked = is(l, "lock");
	return get_number(l, "mtu", 65535, &route->mtu);
}

/* nexthop ... nexthop ...: up to the end of the line. */
static int get_nexthops(struct line *l, struct route *r)
{
	bool taken = true;
	int err = 0;

	r->route.nexthop_count = 0;
	while (!err && is(l, "nexthop")) {
		if (r->route.nexthop_count == SLUICE_NEXTHOPS)
			return refuse(l, "too many next hops");
		do
			err = get_hop_word(l, &r->hops[r->route.nexthop_count], &taken);
		while (!err && taken && peek(l));
		r->route.nexthop_count++;
	}
	return err;
}

static int get_route_word(struct line *l, struct route *r)
{
	uint32_t tos;
	bool taken;
	int err = get_hop_word(l, &r->hops[0], &taken);

	if (err || taken) {
		r->route.nexthop_count = 1;
		return err;
	}
	if (is(l, "metric") || is(l, "preference") || is(l, "priority"))
		return get_number(l, "metric", UINT32_MAX, &r->route.metric);
	if (is(l, "table"))
		return get_table(l, &r->route.table);
	if (is(l, "mtu"))
		return get_mtu(l, &r->route);
	if (is(l, "src"))
		return get_ip(l, &r->route.source);
	if (is(l, "tos") || is(l, "dsfield")) {
		err = get_number(l, "tos", 255, &tos);
		r->route.tos = (uint8_t)tos;
		return err;
	}
	if (is(l, "proto") || is(l, "protocol") || is(l, "scope") || is(l, "pref")) {
		take(l);
		return 0;
	}
	if (peek(l) && strcmp(peek(l), "nexthop") == 0)
		return get_nexthops(l, r);
	return unknown(l);
}

static int get_route(struct line *l, struct route *r)
{
	uint32_t type = 0;
	int err;

	if (find_name(route_types, peek(l), &type))
		l->at++;
	r->route.type = (uint8_t)type;
	is(l, "to");
	err = get_prefix(l, &r->route.prefix, &r->route.prefix_len);
	while (!err && peek(l))
		err = get_route_word(l, r);
	if (err)
		return err;
	r->route.nexthops = r->hops;
	/* "ip route show" names a device for these too. */
	if (type >= RTN_BLACKHOLE)
		r->route.nexthop_count = 0;
	/* "default" alone does not say; the gateway does, but for one of IPv6 for an IPv4 route. */
	if (!r->route.prefix.family)
		r->route.prefix.family =
			r->hops[0].gateway.family ? r->hops[0].gateway.family : AF_INET;
	return 0;
}

static int change_route(
	struct line *l, int (*fn)(const struct sluice_route *route, unsigned flags), unsigned flags)
{
	struct route *r = calloc(1, sizeof(*r));
	int err = r ? get_route(l, r) : -ENOMEM;

	if (!err && !l->only_read)
		err = fn(&r->route, flags);
	free(r);
	return err;
}

static int add_route(struct line *l)
{
	return change_route(l, sluice_route_add, 0);
}

static int append_route(struct line *l)
{
	return change_route(l, sluice_route_add, SLUICE_ROUTE_APPEND);
}

static int replace_route(struct line *l)
{
	return change_route(l, sluice_route_add, SLUICE_ROUTE_REPLACE);
}

static int without_flags(const struct sluice_route *route, unsigned flags)
{
	(void)flags;
	return sluice_route_del(route);
}

static int del_route(struct line *l)
{
	return change_route(l, without_flags, 0);
}

static const struct name states[] = { { "permanent", NUD_PERMANENT }, { "noarp", NUD_NOARP },
	{ "reachable", NUD_REACHABLE }, { "stale", NUD_STALE }, { "delay", NUD_DELAY },
	{ "probe", NUD_PROBE }, { "failed", NUD_FAILED }, { "incomplete", NUD_INCOMPLETE },
	{ "none", NUD_NONE }, { 0 } };

static int get_neighbour(struct line *l, struct sluice_neighbour *n)
{
	uint32_t state;
	int err;

	is(l, "to");
	err = get_ip(l, &n->address);
	while (!err && peek(l)) {
		if (is(l, "dev")) {
			err = get_device(l, &n->ifindex);
		} else if (is(l, "lladdr")) {
			err = get_mac(l, n->lladdr);
		} else if (is(l, "nud") || is(l, "state")) {
			if (!find_name(states, peek(l), &state))
				return unknown(l);
			n->state = (uint16_t)state;
			take(l);
		} else if (!is(l, "router") && !is(l, "extern_learn")) {
			err = unknown(l);
		}
	}
	return err || n->ifindex ? err : refuse(l, "dev is missing");
}

static int replace_neighbour(struct line *l)
{
	struct sluice_neighbour n = { 0 };
	int err = get_neighbour(l, &n);

	return err || l->only_read ? err : sluice_neighbour_set(&n);
}

static int add_neighbour(struct line *l)
{
	struct sluice_neighbour n = { 0 }, old;
	int err = get_neighbour(l, &n);

	if (err || l->only_read)
		return err;
	return sluice_neighbour_get(n.ifindex, &n.address, &old) == 0 ? -EEXIST
								      : sluice_neighbour_set(&n);
}

static int del_neighbour(struct line *l)
{
	struct sluice_neighbour n = { 0 };
	int err = get_neighbour(l, &n);

	return err || l->only_read ? err : sluice_neighbour_del(n.ifindex, &n.address);
}

/* N or FROM-TO. */
static int get_ports(struct line *l, uint16_t ret_ports[2])
{
	const char *word = take(l);
	unsigned from, to;
	char rest;

	if (!word || (sscanf(word, "%u-%u%c", &from, &to, &rest) != 2 &&
			     (sscanf(word, "%u%c", &from, &rest) != 1 || ((to = from), 0))))
		return refuse(l, "'%s' is no range of ports", word ? word : "");
	if (from > to || to > 65535 || !to)
		return refuse(l, "'%s' is no range of ports", word);
	ret_ports[0] = (uint16_t)from;
	ret_ports[1] = (uint16_t)to;
	return 0;
}

/* MARK[/MASK] */
static int get_mark(struct line *l, struct sluice_rule *rule)
{
	const char *word = take(l);
	char *end = NULL;

	rule->mark_mask = UINT32_MAX;
	if (word) {
		rule->mark = (uint32_t)strtoul(word, &end, 0);
		if (end != word && *end == '/')
			rule->mark_mask = (uint32_t)strtoul(end + 1, &end, 0);
	}
	return word && end != word && !*end ? 0 : refuse(l, "'%s' is no mark", word ? word : "");
}

static int get_protocol(struct line *l, struct sluice_rule *rule)
{
	static const struct name protocols[] = { { "tcp", IPPROTO_TCP }, { "udp", IPPROTO_UDP },
		{ "icmp", IPPROTO_ICMP }, { "sctp", IPPROTO_SCTP }, { 0 } };
	uint32_t n;
	int err = 0;

	if (find_name(protocols, peek(l), &n))
		l->at++;
	else
		err = get_number(l, "ipproto", 255, &n);
	rule->protocol = (uint8_t)n;
	return err;
}

static const struct name actions[] = { { "blackhole", FR_ACT_BLACKHOLE },
	{ "unreachable", FR_ACT_UNREACHABLE }, { "prohibit", FR_ACT_PROHIBIT }, { 0 } };

static int get_rule_word(struct line *l, struct sluice_rule *rule)
{
	uint32_t n;

	if (is(l, "from"))
		return get_prefix(l, &rule->from, &rule->from_len);
	if (is(l, "to"))
		return get_prefix(l, &rule->to, &rule->to_len);
	if (is(l, "fwmark"))
		return get_mark(l, rule);
	if (is(l, "iif") || is(l, "dev"))
		return get_device(l, &rule->iif);
	if (is(l, "oif"))
		return get_device(l, &rule->oif);
	if (is(l, "ipproto"))
		return get_protocol(l, rule);
	if (is(l, "sport"))
		return get_ports(l, rule->sport);
	if (is(l, "dport"))
		return get_ports(l, rule->dport);
	if (is(l, "tos") || is(l, "dsfield")) {
		int err = get_number(l, "tos", 255, &n);

		rule->tos = (uint8_t)n;
		return err;
	}
	if (takes(l, "preference", 4) || is(l, "priority") || is(l, "prio") || is(l, "order"))
		return get_number(l, "priority", UINT32_MAX, &rule->priority);
	if (is(l, "table") || is(l, "lookup"))
		return get_table(l, &rule->table);
	if (is(l, "not")) {
		rule->invert = true;
		return 0;
	}
	is(l, "type");
	if (!find_name(actions, peek(l), &n))
		return unknown(l);
	take(l);
	rule->action = (uint8_t)n;
	return 0;
}

static int get_rule(struct line *l, struct sluice_rule *rule)
{
	int err = 0;

	while (!err && peek(l))
		err = get_rule_word(l, rule);
	if (err)
		return err;
	rule->family = l->family                         ? l->family
		       : rule->from_len && !rule->to_len ? rule->from.family
		       : rule->to_len                    ? rule->to.family
							 : AF_INET;
	if (!rule->table && !rule->action)
		rule->table = RT_TABLE_MAIN;
	return 0;
}

static int add_rule(struct line *l)
{
	struct sluice_rule rule = { 0 };
	int err = get_rule(l, &rule);

	return err || l->only_read ? err : sluice_rule_add(&rule);
}

static int del_rule(struct line *l)
{
	struct sluice_rule rule = { 0 };
	int err = get_rule(l, &rule);

	return err || l->only_read ? err : sluice_rule_del(&rule);
}

static const struct command {
	const char *object, *verb;
	size_t object_least, verb_least; /* letters that will do */
	int (*run)(struct line *l);
} commands[] = {
	{ "link", "set", 1, 1, set_link },
	{ "address", "add", 1, 1, add_address },
	{ "address", "delete", 1, 1, del_address },
	{ "route", "add", 1, 1, add_route },
	{ "route", "append", 1, 2, append_route },
	{ "route", "replace", 1, 1, replace_route },
	{ "route", "delete", 1, 1, del_route },
	{ "neighbour", "add", 1, 1, add_neighbour },
	{ "neighbour", "replace", 1, 1, replace_neighbour },
	{ "neighbour", "change", 1, 1, replace_neighbour },
	{ "neighbour", "delete", 1, 1, del_neighbour },
	{ "neighbor", "add", 1, 1, add_neighbour },
	{ "neighbor", "replace", 1, 1, replace_neighbour },
	{ "neighbor", "change", 1, 1, replace_neighbour },
	{ "neighbor", "delete", 1, 1, del_neighbour },
	{ "rule", "add", 2, 1, add_rule },
	{ "rule", "delete", 2, 1, del_rule },
};

static int run(struct line *l)
{
	unsigned start;

	if (is(l, "-6"))
		l->family = AF_INET6;
	else if (is(l, "-4"))
		l->family = AF_INET;
	start = l->at;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		const struct command *c = &commands[i];

		l->at = start;
		if (takes(l, c->object, c->object_least) && takes(l, c->verb, c->verb_least))
			return c->run(l);
	}
	l->at = start;
	return unknown(l);
}

static int run_line(struct line *l, const char *line)
{
	unsigned count = 0;
	char *save = NULL;
	int err;

	l->reason[0] = '\0';
	if (snprintf(l->text, sizeof(l->text), "%s", line) >= (int)sizeof(l->text))
		return refuse(l, "the line is too long");
	for (char *word = strtok_r(l->text, " \t\r\n", &save); word;
		word = strtok_r(NULL, " \t\r\n", &save)) {
		if (count == WORDS_MAX)
			return refuse(l, "there are too many words");
		l->words[count++] = word;
	}
	if (!count || l->words[0][0] == '#')
		return 0;
	err = run(l);
	if (err && !l->reason[0])
		snprintf(l->reason, l->reason_size, "%s", strerror(-err));
	return err;
}

int sl_network_line(
	const char *line, sl_network_name_fn ifindex_of, char *ret_reason, size_t reason_size)
{
	struct line l = {
		.ifindex_of = ifindex_of, .reason = ret_reason, .reason_size = reason_size
	};

	return run_line(&l, line);
}

static uint32_t any_interface(const char *name)
{
	(void)name;
	return 1;
}

int sl_network_check(const char *line, char *ret_reason, size_t reason_size)
{
	struct line l = { .ifindex_of = any_interface,
		.only_read = true,
		.reason = ret_reason,
		.reason_size = reason_size };

	return run_line(&l, line);
}
