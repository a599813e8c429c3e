#include <errno.h>

#include "object_graph.h"
#include "objects.h"

/* Doubly linked lists of nodes in objects. The list's lock is held. */

/* The head as the node before the first and behind the last. */
static struct sl_list_node *end_of(struct sl_list_head *h)
{
	return (struct sl_list_node *)h;
}

static bool is_empty(const struct sl_list_head *h)
{
	return !h->next || h->next == (const struct sl_list_node *)h;
}

int sl_list_push(void *head, void *node, bool back, unsigned cpu)
{
	struct sl_list_head *h = head;
	struct sl_list_node *n = node, *after;

	if (!sl_node_claim(&n->owner)) {
		sl_object_drop(sl_object_of(node), cpu);
		return -EINVAL;
	}
	if (!h->next)
		h->next = h->prev = end_of(h);
	after = back ? h->prev : end_of(h);
	n->prev = after;
	n->next = after->next;
	after->next->prev = n;
	after->next = n;
	sl_node_set_owner(&n->owner, head);
	return 0;
}

void *sl_list_peek(void *head, bool back)
{
	struct sl_list_head *h = head;

	if (is_empty(h))
		return NULL;
	return back ? h->prev : h->next;
}

void *sl_list_pop(void *head, bool back)
{
	struct sl_list_node *n = sl_list_peek(head, back);

	if (!n)
		return NULL;
	n->prev->next = n->next;
	n->next->prev = n->prev;
	sl_node_set_owner(&n->owner, NULL);
	return n;
}

void *sl_list_take_all(void *head)
{
	struct sl_list_head *h = head;
	struct sl_list_node *first = h->next;

	if (is_empty(h)) {
		first = NULL;
	} else {
		h->prev->next = NULL;
		for (struct sl_list_node *n = first; n; n = n->next)
			sl_node_set_owner(&n->owner, SL_NODE_BUSY);
	}
	h->next = h->prev = NULL;
	return first;
}
