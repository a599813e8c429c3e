#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Datagrams one after the other, as they go over the wire: each is its length in bytes as a u32,
 * then the bytes, padded to a multiple of 4. Any thread; callers lock.
 */
struct sl_netlink_list {
	uint8_t *bytes;
	size_t len, room;
	bool failed; /* for want of memory: what is there is not all */
};

/* Room for a datagram at the end of the list, NULL when there is no memory. */
void *sl_netlink_list_put(struct sl_netlink_list *list, size_t len);
void sl_netlink_list_add(struct sl_netlink_list *list, const void *data, size_t len);

/*
 * The datagram at *cursor, which begins as 0 and is moved behind it. False at the end, and where
 * what came from elsewhere makes no sense.
 */
bool sl_netlink_list_next(
	const struct sl_netlink_list *list, size_t *cursor, const void **ret_data, size_t *ret_len);

void sl_netlink_list_done(struct sl_netlink_list *list);
