#pragma once

#include <linux/netlink.h>
#include <sluice/route.h>

#include "interface.h"

/* What one message of rtnetlink tells. */
enum { SL_ITEM_HOPS = 32 };

enum sl_item_kind { SL_ITEM_LINK, SL_ITEM_ADDRESS, SL_ITEM_ROUTE, SL_ITEM_RULE, SL_ITEM_NEIGHBOUR };

struct sl_item {
	enum sl_item_kind kind;
	union {
		struct sluice_interface link;
		struct {
			uint32_t ifindex;
			struct sl_address address;
		};
		struct {
			struct sluice_route route; /* its nexthops are to be set to hops */
			struct sluice_nexthop hops[SL_ITEM_HOPS];
		};
		struct sluice_rule rule;
		struct sluice_neighbour neighbour;
	};
};

/* Of an RTM_NEW* or RTM_DEL*; false for what is of no use here. */
SL_CONTROL bool sl_item_read(struct nlmsghdr *message, struct sl_item *ret_item);
