#pragma once

#include <linux/netlink.h>
#include <pthread.h>

#include "item.h"

/*
 * What the files of follow.c share. All of it is of who holds the mutex, but for `running`, which anybody
 * may read who would catch up.
 */

enum sl_follow_stale {
	SL_STALE_LINKS = 1 << 0,
	SL_STALE_ADDRESSES = 1 << 1,
	SL_STALE_RULES = 1 << 2,
	SL_STALE_ROUTES4 = 1 << 3,
	SL_STALE_ROUTES6 = 1 << 4,
	SL_STALE_NEIGHBOURS = 1 << 5,
};

enum { SL_FOLLOW_BUFFER = 1 << 16 };

struct sl_follow_link {
	uint32_t ifindex;
	bool up, seen;
};

struct sl_follow {
	pthread_mutex_t mutex;
	pthread_t thread;
	bool running;
	int events_fd, dump_fd, stop_fd;
	unsigned stale; /* to be dumped: enum sl_follow_stale */
	bool doubles; /* the kernel may have an IPv4 route twice, of which one is here */
	struct sl_follow_link *links; /* the kernel's */
	uint32_t link_count, link_size;
	char *buffer;
};

extern struct sl_follow sl_follow;

/* follow_apply.c: what the kernel says, one message at a time. */
SL_CONTROL struct sl_follow_link *sl_follow_find_link(uint32_t ifindex);
SL_CONTROL void sl_follow_drop_link(struct sl_follow_link *link);
/* What tells routes apart, and all that look-ups are told of one. */
SL_CONTROL uint64_t sl_follow_hash(const struct sluice_route *route);
/* Deletes the one of the table and prefix that has the hash; false for none. With the routes' lock. */
SL_CONTROL bool sl_follow_del(const struct sluice_route *where, uint64_t hash);
/* Makes it so here. */
SL_CONTROL void sl_follow_apply(const struct nlmsghdr *message, struct sl_item *item);
/* A change that the kernel tells of. */
SL_CONTROL void sl_follow_hear(struct nlmsghdr *message);

/* follow_dump.c: dumps what is stale, and compares; 0 also where it goes on changing. */
SL_CONTROL int sl_follow_refresh(void);
/* What the kernel has said is forgotten. */
SL_CONTROL void sl_follow_forget(void);
