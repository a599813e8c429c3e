#include "objects.bpf.h"

/* Objects in lists and trees. Each program returns a number that tells what it found. */

struct item {
	__u64 key;
	struct bpf_list_node in_list;
	struct bpf_rb_node in_tree;
	struct bpf_refcount refcount;
	__u64 value;
};

struct leaf {
	struct bpf_list_node in_box;
	__u32 value;
};

/* An object that holds others. */
struct box {
	struct bpf_list_node in_list;
	__u64 number;
	struct bpf_spin_lock lock;
	struct bpf_list_head leaves CONTAINS(leaf, in_box);
};

struct value {
	struct bpf_spin_lock lock;
	struct bpf_list_head list CONTAINS(item, in_list);
	struct bpf_rb_root tree CONTAINS(item, in_tree);
	__u64 count;
};

struct boxes {
	struct bpf_spin_lock lock;
	struct bpf_list_head list CONTAINS(box, in_list);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct value);
} array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct value);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct boxes);
} boxes SEC(".maps");

static struct value *array_value(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&array, &key);
}

/* Numbers from the packet, so that each run is another one. */
static __u32 seed_of(struct __sk_buff *skb)
{
	__u32 seed = 1;

	bpf_skb_load_bytes(skb, 14, &seed, sizeof(seed));
	return seed;
}

static __u32 next_random(__u32 *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

static _Bool less(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	return OF(struct item, in_tree, a)->key < OF(struct item, in_tree, b)->key;
}

/* Of a union any member may be meant, the longer ones too. */
struct choice {
	union {
		__u32 half;
		__u64 whole;
	};
};

SEC("tc")
int unused(struct __sk_buff *skb)
{
	struct item *item = NEW(struct item);
	struct choice *choice = NEW(struct choice);
	__u64 sum;

	if (choice) {
		choice->whole = skb->len;
		DROP(choice);
	}

	if (!item)
		return -1;
	item->key = 4;
	item->value = skb->len;
	sum = item->key + item->value;
	DROP(item);
	return sum;
}

/* Pushes to both ends, looks at them, takes from both ends. */
SEC("tc")
int list(struct __sk_buff *skb)
{
	struct value *v = array_value();
	__u32 random = seed_of(skb), sum = 0;
	struct bpf_list_node *node;
	struct item *item;

	for (int i = 0; v && i < 20; i++) {
		item = NEW(struct item);
		if (!item)
			return -1;
		item->key = next_random(&random) & 0xff;
		bpf_spin_lock(&v->lock);
		if (item->key & 1)
			bpf_list_push_front_impl(&v->list, &item->in_list, NULL, 0);
		else
			bpf_list_push_back_impl(&v->list, &item->in_list, NULL, 0);
		node = bpf_list_front(&v->list);
		if (node)
			sum = sum * 31 + OF(struct item, in_list, node)->key;
		node = bpf_list_back(&v->list);
		if (node)
			sum = sum * 31 + OF(struct item, in_list, node)->key;
		bpf_spin_unlock(&v->lock);
	}
	for (int i = 0; v && i < 30; i++) {
		bpf_spin_lock(&v->lock);
		if (next_random(&random) & 1)
			node = bpf_list_pop_front(&v->list);
		else
			node = bpf_list_pop_back(&v->list);
		bpf_spin_unlock(&v->lock);
		if (!node) {
			sum = sum * 31 + 7;
			continue;
		}
		item = OF(struct item, in_list, node);
		sum = sum * 31 + item->key;
		DROP(item);
	}
	return sum & 0x7fffffff;
}

/* The keys at the top of the tree, and at the beginning, after each step. */
static __u32 look(struct value *v, __u32 sum)
{
	struct bpf_rb_node *node = bpf_rbtree_root(&v->tree), *below;

	if (!node)
		return sum * 31 + 1;
	sum = sum * 31 + OF(struct item, in_tree, node)->key;
	below = bpf_rbtree_left(&v->tree, node);
	if (below)
		sum = sum * 31 + OF(struct item, in_tree, below)->key;
	below = bpf_rbtree_right(&v->tree, node);
	if (below) {
		sum = sum * 31 + OF(struct item, in_tree, below)->key;
		below = bpf_rbtree_right(&v->tree, below);
		if (below)
			sum = sum * 31 + OF(struct item, in_tree, below)->key;
	}
	node = bpf_rbtree_first(&v->tree);
	return node ? sum * 31 + OF(struct item, in_tree, node)->key : sum;
}

static __u32 add_some(struct value *v, __u32 *random, __u32 sum)
{
	for (int i = 0; i < 12; i++) {
		struct item *item = NEW(struct item);

		if (!item)
			return 0;
		item->key = next_random(random) & 0xfff;
		bpf_spin_lock(&v->lock);
		bpf_rbtree_add_impl(&v->tree, &item->in_tree, less, NULL, 0);
		sum = look(v, sum);
		bpf_spin_unlock(&v->lock);
	}
	return sum;
}

/* Takes out the first one, or the one at the top, or what is left or right of that. */
static __u32 remove_some(struct value *v, __u32 *random, __u32 sum, int count)
{
	for (int i = 0; i < count; i++) {
		struct bpf_rb_node *node, *below = NULL;
		__u32 which = next_random(random) & 3;
		struct item *item;

		bpf_spin_lock(&v->lock);
		node = which ? bpf_rbtree_root(&v->tree) : bpf_rbtree_first(&v->tree);
		if (!node) {
			bpf_spin_unlock(&v->lock);
			return sum;
		}
		if (which == 2)
			below = bpf_rbtree_left(&v->tree, node);
		else if (which == 3)
			below = bpf_rbtree_right(&v->tree, node);
		node = bpf_rbtree_remove(&v->tree, below ? below : node);
		sum = look(v, sum);
		bpf_spin_unlock(&v->lock);
		if (!node)
			return 1;
		item = OF(struct item, in_tree, node);
		sum = sum * 31 + item->key;
		DROP(item);
	}
	return sum;
}

SEC("tc")
int tree(struct __sk_buff *skb)
{
	struct value *v = array_value();
	__u32 random = seed_of(skb), sum = 0;

	if (!v)
		return -1;
	sum = add_some(v, &random, sum);
	sum = remove_some(v, &random, sum, 6);
	sum = add_some(v, &random, sum);
	sum = add_some(v, &random, sum);
	sum = remove_some(v, &random, sum, 40);
	return sum & 0x7fffffff;
}

/* One object in the list and in the tree, and a reference besides. */
SEC("tc")
int shared(struct __sk_buff *skb)
{
	struct value *v = array_value();
	struct item *item, *second, *third;
	struct bpf_list_node *in_list;
	struct bpf_rb_node *in_tree;
	__u32 sum = 0;

	item = v ? NEW(struct item) : NULL;
	if (!item)
		return -1;
	item->key = 5;
	second = bpf_refcount_acquire_impl(item, NULL);
	third = bpf_refcount_acquire_impl(item, NULL);
	bpf_spin_lock(&v->lock);
	sum += bpf_list_push_back_impl(&v->list, &item->in_list, NULL, 0);
	sum = sum * 31 + bpf_rbtree_add_impl(&v->tree, &second->in_tree, less, NULL, 0);
	bpf_spin_unlock(&v->lock);
	third->value = 6;
	/* In there already: the reference is gone with the attempt. */
	item = bpf_refcount_acquire_impl(third, NULL);
	bpf_spin_lock(&v->lock);
	sum = sum * 31 + bpf_list_push_front_impl(&v->list, &item->in_list, NULL, 0);
	in_list = bpf_list_pop_front(&v->list);
	in_tree = bpf_rbtree_first(&v->tree);
	if (in_tree)
		in_tree = bpf_rbtree_remove(&v->tree, in_tree);
	bpf_spin_unlock(&v->lock);
	if (in_list) {
		sum = sum * 31 + OF(struct item, in_list, in_list)->value;
		DROP(OF(struct item, in_list, in_list));
	}
	if (in_tree) {
		sum = sum * 31 + OF(struct item, in_tree, in_tree)->key;
		DROP(OF(struct item, in_tree, in_tree));
	}
	sum = sum * 31 + third->value;
	DROP(third);
	return sum & 0x7fffffff;
}

static int fill(struct value *v, int count)
{
	for (int i = 0; i < count; i++) {
		struct item *item = NEW(struct item), *second;

		if (!item)
			return -1;
		item->key = i * 7 % 11;
		second = bpf_refcount_acquire_impl(item, NULL);
		bpf_spin_lock(&v->lock);
		v->count++;
		bpf_list_push_back_impl(&v->list, &item->in_list, NULL, 0);
		bpf_rbtree_add_impl(&v->tree, &second->in_tree, less, NULL, 0);
		bpf_spin_unlock(&v->lock);
	}
	return 0;
}

/* Leaves 10 objects in a value of the array, and 10 in one of the hash. */
SEC("tc")
int leave(struct __sk_buff *skb)
{
	static const struct value nothing;
	__u32 key = seed_of(skb) & 7;
	struct value *v = array_value();

	if (!v || fill(v, 10))
		return -1;
	v = bpf_map_lookup_elem(&hash, &key);
	if (!v) {
		bpf_map_update_elem(&hash, &key, &nothing, BPF_NOEXIST);
		v = bpf_map_lookup_elem(&hash, &key);
	}
	return v ? fill(v, 10) : -1;
}

/* A deleted value drops what it has, and may get more as long as somebody looks at it. */
SEC("tc")
int outlive(struct __sk_buff *skb)
{
	static const struct value nothing;
	__u32 key = 9;
	struct value *v;

	bpf_map_update_elem(&hash, &key, &nothing, BPF_ANY);
	v = bpf_map_lookup_elem(&hash, &key);
	if (!v || fill(v, 3))
		return -1;
	bpf_map_delete_elem(&hash, &key);
	return fill(v, 2);
}

/* Lists in objects in lists. */
SEC("tc")
int nested(struct __sk_buff *skb)
{
	static const struct boxes nothing;
	__u32 key = 1, sum = 0;
	struct boxes *b;

	bpf_map_update_elem(&boxes, &key, &nothing, BPF_NOEXIST);
	b = bpf_map_lookup_elem(&boxes, &key);
	if (!b)
		return -1;
	for (int i = 0; i < 4; i++) {
		struct box *box = NEW(struct box);
		struct leaf *leaf;

		if (!box)
			return -1;
		for (int k = 0; k < 3; k++) {
			leaf = NEW(struct leaf);
			if (!leaf)
				break;
			leaf->value = i + k;
			bpf_spin_lock(&box->lock);
			bpf_list_push_front_impl(&box->leaves, &leaf->in_box, NULL, 0);
			bpf_spin_unlock(&box->lock);
		}
		box->number = i;
		if (i == 3) {
			DROP(box);
			break;
		}
		bpf_spin_lock(&b->lock);
		bpf_list_push_back_impl(&b->list, &box->in_list, NULL, 0);
		bpf_spin_unlock(&b->lock);
		sum += i;
	}
	return sum;
}

struct inner {
	__u64 number;
};

struct outer {
	__u64 number;
	struct inner OWNS *inner;
};

struct stash {
	struct outer OWNS *outer;
	struct item OWNS *item;
	__u64 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct stash);
} stashes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stash);
} own_stash SEC(".maps");

/* So that BTF has them. */
struct outer *some_outer;
struct inner *some_inner;

static int put_outer(struct stash *s, __u64 number)
{
	struct outer *outer = NEW(struct outer);
	struct inner *inner;
	int sum = 0;

	if (!outer)
		return -1;
	outer->number = number;
	inner = NEW(struct inner);
	if (inner) {
		inner->number = number * 2;
		inner = bpf_kptr_xchg(&outer->inner, inner);
		if (inner)
			DROP(inner);
	}
	outer = bpf_kptr_xchg(&s->outer, outer);
	if (outer) {
		sum = outer->number;
		inner = bpf_kptr_xchg(&outer->inner, NULL);
		if (inner) {
			sum += inner->number;
			DROP(inner);
		}
		DROP(outer);
	}
	return sum;
}

/* Objects behind pointers in values, and in objects behind those. */
SEC("tc")
int stash(struct __sk_buff *skb)
{
	static const struct stash nothing;
	__u32 key = seed_of(skb) & 3, sum, zero = 0;
	struct stash *s, *own = bpf_map_lookup_elem(&own_stash, &zero);
	struct item *item, *seen;

	bpf_map_update_elem(&stashes, &key, &nothing, BPF_NOEXIST);
	s = bpf_map_lookup_elem(&stashes, &key);
	if (!s || !own)
		return -1;
	sum = put_outer(s, key + 1);
	sum = sum * 31 + put_outer(s, key + 7);
	sum = sum * 31 + put_outer(own, 5);
	sum = sum * 31 + put_outer(own, 6);
	item = NEW(struct item);
	if (!item)
		return -1;
	item->key = 3;
	item->value = 4;
	item = bpf_kptr_xchg(&s->item, item);
	if (item)
		DROP(item);
	/* Somebody else's by now, but there. */
	seen = s->item;
	if (seen) {
		sum = sum * 31 + seen->value;
		item = bpf_refcount_acquire_impl(seen, NULL);
		if (item) {
			sum = sum * 31 + item->key;
			DROP(item);
		}
	}
	if (s->outer)
		sum = sum * 31 + s->outer->number;
	/* The value goes, and with it what it has; what was seen stays to be looked at. */
	bpf_map_delete_elem(&stashes, &key);
	return sum & 0x7fffffff;
}

/* What comes into a deleted value is dropped when that is used again. */
SEC("tc")
int stash_outlives(struct __sk_buff *skb)
{
	static const struct stash nothing;
	__u32 key = 9;
	struct stash *s;

	bpf_map_update_elem(&stashes, &key, &nothing, BPF_ANY);
	s = bpf_map_lookup_elem(&stashes, &key);
	if (!s)
		return -1;
	bpf_map_delete_elem(&stashes, &key);
	return put_outer(s, 1);
}

/* For threads: each run puts one in and takes one out, of whoever's. */
SEC("tc")
int exchange(struct __sk_buff *skb)
{
	struct value *v = array_value();
	struct item *item = v ? NEW(struct item) : NULL, *second;
	struct bpf_list_node *in_list;
	struct bpf_rb_node *in_tree;

	if (!item)
		return -1;
	item->key = bpf_get_prandom_u32();
	second = bpf_refcount_acquire_impl(item, NULL);
	bpf_spin_lock(&v->lock);
	bpf_list_push_back_impl(&v->list, &item->in_list, NULL, 0);
	bpf_rbtree_add_impl(&v->tree, &second->in_tree, less, NULL, 0);
	v->count += 2;
	bpf_spin_unlock(&v->lock);
	bpf_spin_lock(&v->lock);
	in_list = bpf_list_pop_front(&v->list);
	in_tree = bpf_rbtree_first(&v->tree);
	if (in_tree)
		in_tree = bpf_rbtree_remove(&v->tree, in_tree);
	v->count -= !!in_list + !!in_tree;
	bpf_spin_unlock(&v->lock);
	if (in_list)
		DROP(OF(struct item, in_list, in_list));
	if (in_tree)
		DROP(OF(struct item, in_tree, in_tree));
	return !in_list || !in_tree;
}

char _license[] SEC("license") = "GPL";
