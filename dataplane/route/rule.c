#include "rule.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "import.h"

/* Written with the lock held, read through sl_rcu_load. */
static struct sl_rule_list *lists[2];

static struct sl_rule_list **slot_of(uint16_t family)
{
	return &lists[family == AF_INET6];
}

const struct sl_rule_list *sl_rules_peek(uint16_t family)
{
	return sl_rcu_load(*slot_of(family));
}

bool sl_fib_has_rules(uint16_t family)
{
	return sl_rules_peek(family) != NULL;
}

static bool has_prefix(const uint8_t *address, const struct sluice_ip *prefix, unsigned len)
{
	unsigned rest = len % 8;

	return memcmp(address, prefix->bytes, len / 8) == 0 &&
	       (!rest || ((address[len / 8] ^ prefix->bytes[len / 8]) >> (8 - rest)) == 0);
}

static bool in_range(uint16_t port, const uint16_t range[2])
{
	return !range[1] || (port >= range[0] && port <= range[1]);
}

bool sl_rule_matches(const struct sluice_rule *rule, const struct sl_fib_flow *flow)
{
	bool matches = (!rule->iif || rule->iif == flow->iif) &&
		       (!rule->oif || rule->oif == flow->oif) &&
		       !((rule->mark ^ flow->mark) & rule->mark_mask) &&
		       (!rule->tos || rule->tos == flow->tos) &&
		       (!rule->protocol || rule->protocol == flow->protocol) &&
		       has_prefix(flow->src, &rule->from, rule->from_len) &&
		       has_prefix(flow->dst, &rule->to, rule->to_len) &&
		       in_range(flow->sport, rule->sport) && in_range(flow->dport, rule->dport);

	return matches != rule->invert;
}

static bool same(const struct sluice_rule *a, const struct sluice_rule *b)
{
	return a->family == b->family && a->action == b->action && a->tos == b->tos &&
	       a->from_len == b->from_len && a->to_len == b->to_len && a->protocol == b->protocol &&
	       a->invert == b->invert && a->priority == b->priority && a->table == b->table &&
	       a->mark == b->mark && a->mark_mask == b->mark_mask && a->iif == b->iif &&
	       a->oif == b->oif && has_prefix(a->from.bytes, &b->from, a->from_len) &&
	       has_prefix(a->to.bytes, &b->to, a->to_len) &&
	       memcmp(a->sport, b->sport, sizeof(a->sport)) == 0 &&
	       memcmp(a->dport, b->dport, sizeof(a->dport)) == 0;
}

static int check(const struct sluice_rule *rule, struct sluice_rule *ret_rule)
{
	unsigned bits = sl_ip_bytes(rule->family) * 8;

	if ((rule->family != AF_INET && rule->family != AF_INET6) || rule->from_len > bits ||
		rule->to_len > bits || rule->sport[0] > rule->sport[1] ||
		rule->dport[0] > rule->dport[1])
		return -EINVAL;
	*ret_rule = *rule;
	if (!rule->action)
		ret_rule->action = FR_ACT_TO_TBL;
	if (ret_rule->action == FR_ACT_TO_TBL)
		return rule->table ? 0 : -EINVAL;
	return rule->action == FR_ACT_BLACKHOLE || rule->action == FR_ACT_UNREACHABLE ||
			       rule->action == FR_ACT_PROHIBIT
		       ? 0
		       : -EINVAL;
}

static void free_rcu(struct sl_rcu_head *head)
{
	free(sl_container_of(head, struct sl_rule_list, rcu));
}

static const struct {
	uint32_t priority, table;
	bool ipv4_only;
} initial[] = {
	{ 0, RT_TABLE_LOCAL, false },
	{ 32766, RT_TABLE_MAIN, false },
	{ 32767, RT_TABLE_DEFAULT, true },
};

/* With room for one more. */
static struct sl_rule_list *copy(uint16_t family, const struct sl_rule_list *old)
{
	uint32_t count = old ? old->count : sl_array_size(initial);
	struct sl_rule_list *list = calloc(1, sizeof(*list) + (count + 1) * sizeof(old->rules[0]));

	if (!list)
		return NULL;
	if (old) {
		list->count = count;
		memcpy(list->rules, old->rules, count * sizeof(old->rules[0]));
		return list;
	}
	for (uint32_t i = 0; i < count; i++) {
		if (family == AF_INET6 && initial[i].ipv4_only)
			continue;
		list->rules[list->count++] = (struct sluice_rule){
			.family = family,
			.action = FR_ACT_TO_TBL,
			.priority = initial[i].priority,
			.table = initial[i].table,
		};
	}
	return list;
}

static void publish(uint16_t family, struct sl_rule_list *list)
{
	struct sl_rule_list *old = *slot_of(family);

	sl_rcu_store(*slot_of(family), list);
	if (old)
		sl_rcu_call(&old->rcu, free_rcu);
}

static int find(const struct sl_rule_list *list, const struct sluice_rule *rule)
{
	for (uint32_t i = 0; list && i < list->count; i++) {
		if (same(&list->rules[i], rule))
			return (int)i;
	}
	return -ENOENT;
}

/* With the lock held. */
static int add(struct sluice_rule *rule)
{
	struct sl_rule_list *list, *old = *slot_of(rule->family);
	uint32_t at = 0;

	if (old && old->count == SLUICE_RULES)
		return -ENOSPC;
	list = copy(rule->family, old);
	if (!list)
		return -ENOMEM;
	if (!rule->priority && list->count > 1 && list->rules[1].priority)
		rule->priority = list->rules[1].priority - 1;
	if (find(list, rule) >= 0) {
		free(list);
		return -EEXIST;
	}
	while (at < list->count && list->rules[at].priority <= rule->priority)
		at++;
	memmove(&list->rules[at + 1], &list->rules[at],
		(list->count - at) * sizeof(list->rules[0]));
	list->rules[at] = *rule;
	list->count++;
	publish(rule->family, list);
	return 0;
}

/* With the lock held. What was there from the start goes like any other. */
static int del(const struct sluice_rule *rule)
{
	struct sl_rule_list *list = copy(rule->family, *slot_of(rule->family));
	int at;

	if (!list)
		return -ENOMEM;
	at = find(list, rule);
	if (at < 0) {
		free(list);
		return at;
	}
	list->count--;
	memmove(&list->rules[at], &list->rules[at + 1],
		(list->count - (uint32_t)at) * sizeof(list->rules[0]));
	publish(rule->family, list);
	return 0;
}

int sl_rule_put(const struct sluice_rule *rule)
{
	struct sluice_rule checked;
	int err = check(rule, &checked);

	return err ? err : add(&checked);
}

void sl_rule_clear(void)
{
	publish(AF_INET, NULL);
	publish(AF_INET6, NULL);
}

int sluice_rule_add(const struct sluice_rule *rule)
{
	int err;

	sl_route_claim();
	sl_route_lock();
	err = sl_rule_put(rule);
	sl_route_unlock();
	return err;
}

int sluice_rule_del(const struct sluice_rule *rule)
{
	struct sluice_rule checked;
	int err = check(rule, &checked);

	if (err)
		return err;
	sl_route_claim();
	sl_route_lock();
	err = del(&checked);
	sl_route_unlock();
	return err;
}
