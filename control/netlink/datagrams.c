#include "datagrams.h"

#include <stdlib.h>
#include <string.h>

/* A dump of all filters of a port with all their actions stays far below. */
enum { LIST_MAX = 64 << 20 };

static size_t padded(size_t len)
{
	return (len + 3) & ~(size_t)3;
}

static bool grow(struct sl_netlink_list *list, size_t more)
{
	size_t room = list->room ? list->room : 4096;
	uint8_t *bytes;

	if (list->failed || more > LIST_MAX - list->len)
		return false;
	while (room < list->len + more)
		room *= 2;
	if (room == list->room)
		return true;
	bytes = realloc(list->bytes, room);
	if (!bytes)
		return false;
	list->bytes = bytes;
	list->room = room;
	return true;
}

void *sl_netlink_list_put(struct sl_netlink_list *list, size_t len)
{
	uint32_t head = (uint32_t)len;
	uint8_t *to;

	if (len > LIST_MAX || !grow(list, sizeof(head) + padded(len))) {
		list->failed = true;
		return NULL;
	}
	to = list->bytes + list->len;
	memcpy(to, &head, sizeof(head));
	memset(to + sizeof(head) + len, 0, padded(len) - len);
	list->len += sizeof(head) + padded(len);
	return to + sizeof(head);
}

void sl_netlink_list_add(struct sl_netlink_list *list, const void *data, size_t len)
{
	void *to = sl_netlink_list_put(list, len);

	if (to)
		memcpy(to, data, len);
}

bool sl_netlink_list_next(
	const struct sl_netlink_list *list, size_t *cursor, const void **ret_data, size_t *ret_len)
{
	size_t left = list->len - *cursor;
	uint32_t len;

	if (left < sizeof(len))
		return false;
	memcpy(&len, list->bytes + *cursor, sizeof(len));
	if (padded(len) > left - sizeof(len))
		return false;
	*ret_data = list->bytes + *cursor + sizeof(len);
	*ret_len = len;
	*cursor += sizeof(len) + padded(len);
	return true;
}

void sl_netlink_list_done(struct sl_netlink_list *list)
{
	free(list->bytes);
	*list = (struct sl_netlink_list){ 0 };
}
