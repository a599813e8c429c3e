#include "objects.bpf.h"

/* What may not be done with objects: every program is refused, and the kernel's reason is ours. */

struct item {
	__u64 key;
	struct bpf_list_node in_list;
	struct bpf_rb_node in_tree;
	struct bpf_refcount refcount;
	__u32 half;
	__u8 bytes[5];
	void *pointer;
	struct {
		__u32 inner;
	} part;
	__u64 bits : 12;
};

struct other {
	__u64 key;
	struct bpf_rb_node first, second;
};

struct plain {
	__u64 a, b;
};

struct locked {
	struct bpf_spin_lock lock;
	struct bpf_list_head list CONTAINS(item, in_list);
	__u64 number;
};

struct value {
	struct bpf_spin_lock lock;
	struct bpf_list_head list CONTAINS(item, in_list);
	struct bpf_rb_root tree CONTAINS(item, in_tree);
	struct bpf_rb_root others CONTAINS(other, second);
	__u64 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct value);
} array SEC(".maps");

/* Locks behind two look-ups are two locks. */
static struct value *value_at(__u32 key)
{
	return bpf_map_lookup_elem(&array, &key);
}

static _Bool less(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	return OF(struct item, in_tree, a)->key < OF(struct item, in_tree, b)->key;
}

struct stash {
	__u64 before;
	struct plain OWNS *plain;
	struct item OWNS *item;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stash);
} stashes SEC(".maps");

struct plain *some_plain;

static struct stash *stash(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&stashes, &key);
}

#define PROGRAM(name) \
	SEC("?tc")    \
	int name(struct __sk_buff *skb)
#define BEGIN                          \
	struct value *v = value_at(0); \
	struct item *item;             \
                                       \
	if (!v)                        \
		return 0;              \
	item = NEW(struct item);       \
	if (!item)                     \
		return 0;

PROGRAM(not_dropped)
{
	BEGIN
	return 0;
}

PROGRAM(dropped_twice)
{
	BEGIN
	DROP(item);
	DROP(item);
	return 0;
}

PROGRAM(used_after_drop)
{
	BEGIN
	DROP(item);
	return item->key;
}

PROGRAM(not_checked)
{
	struct item *item = NEW(struct item);

	item->key = 1;
	DROP(item);
	return 0;
}

PROGRAM(not_checked_and_dropped)
{
	DROP(NEW(struct item));
	return 0;
}

PROGRAM(no_type)
{
	void *p = bpf_obj_new_impl(0, NULL);

	if (p)
		DROP(p);
	return 0;
}

PROGRAM(type_that_is_not_known)
{
	void *p = bpf_obj_new_impl(skb->len, NULL);

	if (p)
		DROP(p);
	return 0;
}

PROGRAM(type_that_is_large)
{
	void *p = bpf_obj_new_impl(1ull << 40, NULL);

	if (p)
		DROP(p);
	return 0;
}

PROGRAM(no_struct)
{
	void *p = bpf_obj_new_impl(bpf_core_type_id_local(int), NULL);

	if (p)
		DROP(p);
	return 0;
}

PROGRAM(drop_of_context)
{
	DROP(skb);
	return 0;
}

PROGRAM(drop_of_part)
{
	BEGIN
	DROP(&item->in_list);
	return 0;
}

PROGRAM(write_to_node)
{
	BEGIN
	*(__u64 *)&item->in_list = 0;
	DROP(item);
	return 0;
}

PROGRAM(read_of_refcount)
{
	__u32 count;

	BEGIN
	count = *(volatile __u32 *)&item->refcount;
	DROP(item);
	return count;
}

PROGRAM(read_past_end)
{
	__u64 x;

	BEGIN
	x = *((volatile __u64 *)(item + 1));
	DROP(item);
	return x;
}

PROGRAM(read_of_half_a_pointer)
{
	__u64 x;

	BEGIN
	x = *(volatile __u32 *)&item->pointer;
	DROP(item);
	return x;
}

PROGRAM(read_over_end_of_part)
{
	__u64 x;

	BEGIN
	x = *(volatile __u64 *)&item->part;
	DROP(item);
	return x;
}

PROGRAM(read_before)
{
	__u64 x;

	BEGIN
	x = ((volatile __u64 *)item)[-1];
	DROP(item);
	return x;
}

PROGRAM(read_somewhere)
{
	__u64 x;

	BEGIN
	x = ((volatile __u8 *)item)[skb->len & 7];
	DROP(item);
	return x;
}

PROGRAM(helper_writes)
{
	BEGIN
	bpf_skb_load_bytes(skb, 0, &item->key, 8);
	DROP(item);
	return 0;
}

PROGRAM(push_without_lock)
{
	BEGIN
	bpf_list_push_back_impl(&v->list, &item->in_list, NULL, 0);
	return 0;
}

PROGRAM(push_with_another_lock)
{
	struct value *w = value_at(1);

	BEGIN
	if (!w) {
		DROP(item);
		return 0;
	}
	bpf_spin_lock(&w->lock);
	bpf_list_push_back_impl(&v->list, &item->in_list, NULL, 0);
	bpf_spin_unlock(&w->lock);
	return 0;
}

PROGRAM(pop_without_lock)
{
	BEGIN
	DROP(item);
	return !bpf_list_pop_front(&v->list);
}

PROGRAM(push_twice)
{
	BEGIN
	bpf_spin_lock(&v->lock);
	bpf_list_push_back_impl(&v->list, &item->in_list, NULL, 0);
	bpf_list_push_back_impl(&v->list, &item->in_list, NULL, 0);
	bpf_spin_unlock(&v->lock);
	return 0;
}

PROGRAM(drop_after_push)
{
	BEGIN
	bpf_spin_lock(&v->lock);
	bpf_list_push_back_impl(&v->list, &item->in_list, NULL, 0);
	bpf_spin_unlock(&v->lock);
	DROP(item);
	return 0;
}

PROGRAM(use_after_unlock)
{
	BEGIN
	bpf_spin_lock(&v->lock);
	bpf_list_push_back_impl(&v->list, &item->in_list, NULL, 0);
	bpf_spin_unlock(&v->lock);
	return item->key;
}

PROGRAM(push_of_wrong_node)
{
	BEGIN
	bpf_spin_lock(&v->lock);
	bpf_list_push_back_impl(&v->list, (void *)&item->in_tree, NULL, 0);
	bpf_spin_unlock(&v->lock);
	return 0;
}

PROGRAM(push_to_no_list)
{
	BEGIN
	bpf_spin_lock(&v->lock);
	bpf_list_push_back_impl((void *)&v->count, &item->in_list, NULL, 0);
	bpf_spin_unlock(&v->lock);
	return 0;
}

PROGRAM(push_to_somewhere)
{
	BEGIN
	bpf_spin_lock(&v->lock);
	bpf_list_push_back_impl((void *)&v->list + (skb->len & 1), &item->in_list, NULL, 0);
	bpf_spin_unlock(&v->lock);
	return 0;
}

PROGRAM(push_to_context)
{
	BEGIN
	bpf_spin_lock(&v->lock);
	bpf_list_push_back_impl((void *)skb, &item->in_list, NULL, 0);
	bpf_spin_unlock(&v->lock);
	return 0;
}

PROGRAM(add_of_another_type)
{
	struct other *other = NEW(struct other);
	struct value *v = value_at(0);

	if (!other)
		return 0;
	if (!v) {
		DROP(other);
		return 0;
	}
	bpf_spin_lock(&v->lock);
	bpf_rbtree_add_impl(&v->tree, &other->first, less, NULL, 0);
	bpf_spin_unlock(&v->lock);
	return 0;
}

PROGRAM(add_of_another_node)
{
	struct other *other = NEW(struct other);
	struct value *v = value_at(0);

	if (!other)
		return 0;
	if (!v) {
		DROP(other);
		return 0;
	}
	bpf_spin_lock(&v->lock);
	bpf_rbtree_add_impl(&v->others, &other->first, less, NULL, 0);
	bpf_spin_unlock(&v->lock);
	return 0;
}

PROGRAM(removed_and_kept)
{
	struct value *v = value_at(0);
	struct bpf_rb_node *node;

	if (!v)
		return 0;
	bpf_spin_lock(&v->lock);
	node = bpf_rbtree_first(&v->tree);
	if (node)
		node = bpf_rbtree_remove(&v->tree, node);
	bpf_spin_unlock(&v->lock);
	return 0;
}

PROGRAM(first_not_checked)
{
	struct value *v = value_at(0);
	struct bpf_rb_node *node;
	__u64 key;

	if (!v)
		return 0;
	bpf_spin_lock(&v->lock);
	node = bpf_rbtree_first(&v->tree);
	key = OF(struct item, in_tree, node)->key;
	bpf_spin_unlock(&v->lock);
	return key;
}

static _Bool less_that_locks(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	struct value *v = value_at(0);

	return !v;
}

PROGRAM(less_calls)
{
	BEGIN
	bpf_spin_lock(&v->lock);
	bpf_rbtree_add_impl(&v->tree, &item->in_tree, less_that_locks, NULL, 0);
	bpf_spin_unlock(&v->lock);
	return 0;
}

static _Bool less_that_writes(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	*(volatile __u64 *)a = 0;
	return 0;
}

PROGRAM(less_writes)
{
	BEGIN
	bpf_spin_lock(&v->lock);
	bpf_rbtree_add_impl(&v->tree, &item->in_tree, less_that_writes, NULL, 0);
	bpf_spin_unlock(&v->lock);
	return 0;
}

PROGRAM(less_is_no_function)
{
	BEGIN
	bpf_spin_lock(&v->lock);
	bpf_rbtree_add_impl(&v->tree, &item->in_tree, (void *)skb, NULL, 0);
	bpf_spin_unlock(&v->lock);
	return 0;
}

PROGRAM(share_what_has_no_count)
{
	struct other *plain = NEW(struct other), *second;

	if (!plain)
		return 0;
	second = bpf_refcount_acquire_impl(plain, NULL);
	DROP(second);
	DROP(plain);
	return 0;
}

PROGRAM(share_not_checked)
{
	struct item *item = bpf_refcount_acquire_impl(NEW(struct item), NULL);

	if (item)
		DROP(item);
	return 0;
}

PROGRAM(share_and_keep)
{
	BEGIN
	bpf_refcount_acquire_impl(item, NULL);
	DROP(item);
	return 0;
}

PROGRAM(lock_of_plain)
{
	struct plain *plain = NEW(struct plain);

	if (!plain)
		return 0;
	bpf_spin_lock((void *)plain);
	bpf_spin_unlock((void *)plain);
	DROP(plain);
	return 0;
}

PROGRAM(lock_kept)
{
	struct locked *locked = NEW(struct locked);

	if (!locked)
		return 0;
	bpf_spin_lock(&locked->lock);
	DROP(locked);
	return 0;
}

PROGRAM(lock_of_another_object)
{
	struct locked *a = NEW(struct locked), *b;

	if (!a)
		return 0;
	b = NEW(struct locked);
	if (!b) {
		DROP(a);
		return 0;
	}
	bpf_spin_lock(&a->lock);
	bpf_spin_unlock(&b->lock);
	DROP(a);
	DROP(b);
	return 0;
}

#define BEGIN_STASH                \
	struct stash *s = stash(); \
	struct plain *plain;       \
                                   \
	if (!s)                    \
		return 0;          \
	plain = NEW(struct plain); \
	if (!plain)                \
		return 0;

PROGRAM(stashed_and_dropped)
{
	struct plain *old;

	BEGIN_STASH
	old = bpf_kptr_xchg(&s->plain, plain);
	if (old)
		DROP(old);
	DROP(plain);
	return 0;
}

PROGRAM(stashed_and_old_kept)
{
	BEGIN_STASH
	bpf_kptr_xchg(&s->plain, plain);
	return 0;
}

PROGRAM(stash_of_another_type)
{
	BEGIN_STASH
	plain = bpf_kptr_xchg(&s->item, plain);
	if (plain)
		DROP(plain);
	return 0;
}

PROGRAM(stash_of_number)
{
	struct stash *s = stash();
	struct plain *old;

	if (!s)
		return 0;
	old = bpf_kptr_xchg(&s->plain, (void *)8);
	if (old)
		DROP(old);
	return 0;
}

PROGRAM(stash_in_no_pointer)
{
	BEGIN_STASH
	plain = bpf_kptr_xchg(&s->before, plain);
	if (plain)
		DROP(plain);
	return 0;
}

PROGRAM(stash_somewhere)
{
	BEGIN_STASH
	plain = bpf_kptr_xchg((void *)&s->plain + (skb->len & 8), plain);
	if (plain)
		DROP(plain);
	return 0;
}

PROGRAM(stash_in_map_without)
{
	struct value *v = value_at(0);

	BEGIN_STASH
	if (!v) {
		DROP(plain);
		return 0;
	}
	plain = bpf_kptr_xchg(&v->count, plain);
	if (plain)
		DROP(plain);
	return 0;
}

PROGRAM(stored_directly)
{
	BEGIN_STASH
	*(struct plain *volatile *)&s->plain = plain;
	return 0;
}

PROGRAM(stored_null)
{
	struct stash *s = stash();

	if (s)
		*(void *volatile *)&s->plain = NULL;
	return 0;
}

PROGRAM(stash_read_in_part)
{
	struct stash *s = stash();

	return s ? *(volatile __u32 *)&s->plain : 0;
}

PROGRAM(stash_given_to_helper)
{
	struct stash *s = stash();

	return s ? bpf_skb_load_bytes(skb, 0, &s->plain, 8) : 0;
}

PROGRAM(seen_and_not_checked)
{
	struct stash *s = stash();

	return s ? s->plain->a : 0;
}

PROGRAM(seen_and_dropped)
{
	struct stash *s = stash();
	struct plain *seen = s ? s->plain : NULL;

	if (seen)
		DROP(seen);
	return 0;
}

PROGRAM(spilled_and_lost)
{
	struct item *volatile kept;

	BEGIN
	kept = item;
	kept = NULL;
	return !kept;
}

char _license[] SEC("license") = "GPL";
