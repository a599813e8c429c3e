#pragma once

#include "fib.h"

/* Policy rules: an immutable list per family, replaced as a whole. */
struct sl_rule_list {
	struct sl_rcu_head rcu;
	uint32_t count;
	struct sluice_rule
		rules[]; /* in the order of their priority, those from the start included */
};

/* NULL: those from the start alone. In a read section. */
SL_ANY const struct sl_rule_list *sl_rules_peek(uint16_t family);
SL_ANY bool sl_rule_matches(const struct sluice_rule *rule, const struct sl_fib_flow *flow);
