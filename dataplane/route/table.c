#include "table.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "lpm.h"

enum {
	BUCKETS = 256,
	PREFIXES_MAX = 1 << 22, /* of a table */
	TABLES_MAX = 1 << 14,
};

/* Written with the lock held, read through sl_rcu_load. */
static struct sl_fib_table *buckets[BUCKETS];
static uint32_t table_count;

/* The two that nearly every look-up is in. */
static struct sl_fib_table *main_tables[2];

static uint32_t canonical(uint16_t family, uint32_t id)
{
	return family == AF_INET && id == RT_TABLE_LOCAL ? (uint32_t)RT_TABLE_MAIN : id;
}

static struct sl_fib_table **bucket_of(uint16_t family, uint32_t id)
{
	return &buckets[(id * 2 + (family == AF_INET6)) % BUCKETS];
}

struct sl_fib_table *sl_fib_table_peek(uint16_t family, uint32_t id)
{
	struct sl_fib_table *t;

	id = canonical(family, id);
	if (id == RT_TABLE_MAIN)
		return sl_rcu_load(main_tables[family == AF_INET6]);
	t = sl_rcu_load(*bucket_of(family, id));
	while (t && (t->id != id || t->family != family))
		t = sl_rcu_load(t->next);
	return t;
}

static struct sl_map *trie_new(uint16_t family)
{
	union bpf_attr attr;
	struct sl_map *trie;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_LPM_TRIE;
	attr.key_size = 4 + sl_ip_bytes(family);
	attr.value_size = sizeof(struct sl_fib_list *);
	attr.max_entries = PREFIXES_MAX;
	attr.map_flags = BPF_F_NO_PREALLOC;
	return sl_map_ops_of(BPF_MAP_TYPE_LPM_TRIE)->new(&attr, &trie) == 0 ? trie : NULL;
}

struct sl_fib_table *sl_fib_table_get(uint16_t family, uint32_t id)
{
	struct sl_fib_table *t = sl_fib_table_peek(family, id), **link;

	if (t || table_count == TABLES_MAX)
		return t;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->id = canonical(family, id);
	t->family = family;
	t->trie = trie_new(family);
	if (!t->trie) {
		free(t);
		return NULL;
	}
	if (table_count++ == 0)
		sl_fib_draw_seed();
	link = bucket_of(family, t->id);
	t->next = *link;
	sl_rcu_store(*link, t);
	if (t->id == RT_TABLE_MAIN)
		sl_rcu_store(main_tables[family == AF_INET6], t);
	return t;
}

struct sl_fib_table *sl_fib_table_next(const struct sl_fib_table *table)
{
	struct sl_fib_table *next = table ? sl_rcu_load(table->next) : NULL;
	size_t i = table ? (size_t)(bucket_of(table->family, table->id) - buckets) + 1 : 0;

	for (; !next && i < BUCKETS; i++)
		next = sl_rcu_load(buckets[i]);
	return next;
}

static const struct sl_fib_list *list_at(const void *value)
{
	return value ? __atomic_load_n((const struct sl_fib_list *const *)value, __ATOMIC_ACQUIRE)
		     : NULL;
}

const struct sl_fib_list *sl_fib_table_find(
	const struct sl_fib_table *table, const struct sl_fib_key *key)
{
	const struct sl_map_desc *desc = &table->trie->desc;

	if (sl_likely(key->prefix_len == sl_ip_bytes(table->family) * 8))
		return list_at(sl_lpm_lookup(desc, NULL, key));
	return list_at(sl_lpm_lookup_short(desc, key));
}

const struct sl_fib_list *sl_fib_table_exact(
	const struct sl_fib_table *table, const struct sl_fib_key *key)
{
	const struct sl_fib_list *list = sl_fib_table_find(table, key);

	return list && list->prefix_len == key->prefix_len ? list : NULL;
}

static void free_list_rcu(struct sl_rcu_head *head)
{
	free(sl_container_of(head, struct sl_fib_list, rcu));
}

static int change(struct sl_map *trie, const struct sl_fib_key *key, struct sl_fib_list *list)
{
	int err;

	sl_rcu_read_begin();
	err = list ? trie->ops->sys_update(trie, key, &list, BPF_ANY)
		   : trie->ops->sys_delete(trie, key);
	sl_rcu_read_end();
	return err;
}

static __thread bool in_section;

void sl_fib_table_in_section(bool in)
{
	in_section = in;
}

int sl_fib_table_set(
	struct sl_fib_table *table, const struct sl_fib_key *key, struct sl_fib_list *list)
{
	struct sl_fib_list *old = (struct sl_fib_list *)sl_fib_table_exact(table, key);
	int err = change(table->trie, key, list);

	/* The trie's memory waits for a grace period, where many changes come at once. */
	if (err == -ENOMEM && !in_section) {
		sl_rcu_synchronize();
		err = change(table->trie, key, list);
	}
	if (!err && old)
		sl_rcu_call(&old->rcu, free_list_rcu);
	return err;
}

bool sl_fib_table_next_key(const struct sl_fib_table *table, bool first, struct sl_fib_key *key)
{
	struct sl_fib_key next = { 0 };

	if (table->trie->ops->next_key(table->trie, first ? NULL : key, &next) != 0)
		return false;
	*key = next;
	return true;
}
