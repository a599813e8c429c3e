#include "row.h"

/*
 * What the kernel answers for a packet that belongs to no route or cgroup: here that is every packet.
 */

SL_HELPER_FN(get_cgroup_classid)
{
	return 0;
}

const struct sl_helper sl_helper_get_cgroup_classid = {
	SL_ROW(get_cgroup_classid, ANY),
	.args = { SL_ARG_CTX },
};

SL_HELPER_FN(skb_cgroup_classid)
{
	return 0;
}

const struct sl_helper sl_helper_skb_cgroup_classid = {
	SL_ROW(skb_cgroup_classid, TC),
	.args = { SL_ARG_CTX },
};

SL_HELPER_FN(skb_cgroup_id)
{
	return 0;
}

const struct sl_helper sl_helper_skb_cgroup_id = {
	SL_ROW(skb_cgroup_id, TC),
	.args = { SL_ARG_CTX },
};

SL_HELPER_FN(skb_ancestor_cgroup_id)
{
	return 0;
}

const struct sl_helper sl_helper_skb_ancestor_cgroup_id = {
	SL_ROW(skb_ancestor_cgroup_id, TC),
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING },
};

SL_HELPER_FN(get_route_realm)
{
	return 0;
}

const struct sl_helper sl_helper_get_route_realm = {
	SL_ROW(get_route_realm, TC),
	.args = { SL_ARG_CTX },
};
