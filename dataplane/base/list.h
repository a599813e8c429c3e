#pragma once

#include "defs.h"

/* A circular doubly linked list, intrusive; the head is a node of its own. Callers lock. */
struct sl_list {
	struct sl_list *next, *prev;
};

#define SL_LIST_INIT(name) { &(name), &(name) }

static inline void sl_list_init(struct sl_list *head)
{
	head->next = head->prev = head;
}

static inline bool sl_list_empty(const struct sl_list *head)
{
	return head->next == head;
}

static inline void sl_list_add_tail(struct sl_list *head, struct sl_list *node)
{
	node->next = head;
	node->prev = head->prev;
	head->prev->next = node;
	head->prev = node;
}

/* Leaves `node` initialised, so that a second removal does nothing. */
static inline void sl_list_del(struct sl_list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	sl_list_init(node);
}

#define sl_list_entry(node, type, member) sl_container_of(node, type, member)

/* Behind the last entry `pos` is none: its member's address is computed, not taken. */
#define sl_list_of_entry(pos, member) \
	((struct sl_list *)((char *)(pos) + offsetof(__typeof__(*pos), member)))

#define sl_list_for_each(pos, head, member)                               \
	for (pos = sl_list_entry((head)->next, __typeof__(*pos), member); \
		sl_list_of_entry(pos, member) != (head);                  \
		pos = sl_list_entry(pos->member.next, __typeof__(*pos), member))

/* Like sl_list_for_each; `pos` may be removed or freed in the body. */
#define sl_list_for_each_safe(pos, tmp, head, member)                        \
	for (pos = sl_list_entry((head)->next, __typeof__(*pos), member),    \
	    tmp = sl_list_entry(pos->member.next, __typeof__(*pos), member); \
		&pos->member != (head);                                      \
		pos = tmp, tmp = sl_list_entry(tmp->member.next, __typeof__(*tmp), member))
