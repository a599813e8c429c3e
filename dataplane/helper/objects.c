#include "objects.h"

#include "context.h"
#include "kfunc_row.h"
#include "row.h"

/* Objects, lists and trees of programs: map/objects.c. */

/* Either side may be on another CPU: what is behind the pointer was written before. */
SL_HELPER_FN(kptr_xchg)
{
	return __atomic_exchange_n((uint64_t *)(uintptr_t)r1, r2, __ATOMIC_ACQ_REL);
}

const struct sl_helper sl_helper_kptr_xchg = {
	SL_ROW(kptr_xchg, ANY),
	.flags = SL_HELPER_ACQUIRES | SL_HELPER_RELEASES,
	.ret = SL_RET_KPTR_OR_NULL,
	.args = { SL_ARG_KPTR_FIELD, SL_ARG_KPTR },
};

/* The verifier puts size and record in the place of the type's number. */
SL_HELPER_FN(obj_new_impl)
{
	return (uintptr_t)sl_object_new(
		(uint32_t)r1, (const struct sl_btf_record *)(uintptr_t)r2, ctx->cpu);
}

const struct sl_kfunc sl_kfunc_obj_new_impl = {
	.call = { SL_KFUNC_ROW(obj_new_impl, CLS_XDP), .flags = SL_HELPER_ACQUIRES,
		.args = { SL_ARG_TYPE_ID, SL_ARG_ANYTHING } },
	.flags = SL_KFUNC_NEW_OBJECT,
};

SL_HELPER_FN(obj_drop_impl)
{
	sl_object_drop((void *)(uintptr_t)r1, ctx->cpu);
	return 0;
}

const struct sl_kfunc sl_kfunc_obj_drop_impl = {
	.call = { SL_KFUNC_ROW(obj_drop_impl, CLS_XDP), .ret = SL_RET_VOID,
		.args = { SL_ARG_OBJECT, SL_ARG_ANYTHING } },
};

SL_HELPER_FN(refcount_acquire_impl)
{
	return (uintptr_t)sl_object_acquire((void *)(uintptr_t)r1);
}

const struct sl_kfunc sl_kfunc_refcount_acquire_impl = {
	.call = { SL_KFUNC_ROW(refcount_acquire_impl, CLS_XDP), .flags = SL_HELPER_ACQUIRES,
		.args = { SL_ARG_REFCOUNTED, SL_ARG_ANYTHING } },
	.flags = SL_KFUNC_SHARES | SL_KFUNC_GRAPH,
};

#define PUSH(kfunc, back)                                                              \
	SL_HELPER_FN(kfunc)                                                            \
	{                                                                              \
		return (uint32_t)sl_list_push(                                         \
			(void *)(uintptr_t)r1, (void *)(uintptr_t)r2, back, ctx->cpu); \
	}                                                                              \
	const struct sl_kfunc sl_kfunc_##kfunc = {                                     \
		.call = { SL_KFUNC_ROW(kfunc, CLS_XDP),                                \
			.args = { SL_ARG_LIST_HEAD, SL_ARG_LIST_NODE, SL_ARG_ANYTHING, \
				SL_ARG_ANYTHING } },                                   \
		.flags = SL_KFUNC_GRAPH | SL_KFUNC_INSERTS,                            \
	}

PUSH(list_push_front_impl, false);
PUSH(list_push_back_impl, true);

#define TAKE(kfunc, function, acquires, back)                                \
	SL_HELPER_FN(kfunc)                                                  \
	{                                                                    \
		return (uintptr_t)function((void *)(uintptr_t)r1, back);     \
	}                                                                    \
	const struct sl_kfunc sl_kfunc_##kfunc = {                           \
		.call = { SL_KFUNC_ROW(kfunc, CLS_XDP), .flags = (acquires), \
			.args = { SL_ARG_LIST_HEAD } },                      \
		.flags = SL_KFUNC_GRAPH | SL_KFUNC_GIVES_NODE,               \
	}

TAKE(list_pop_front, sl_list_pop, SL_HELPER_ACQUIRES, false);
TAKE(list_pop_back, sl_list_pop, SL_HELPER_ACQUIRES, true);
TAKE(list_front, sl_list_peek, 0, false);
TAKE(list_back, sl_list_peek, 0, true);

SL_HELPER_FN(rbtree_add_impl)
{
	return (uint32_t)sl_rbtree_add(ctx, (void *)(uintptr_t)r1, (void *)(uintptr_t)r2,
		(sl_less_fn)(uintptr_t)r3, ctx->cpu);
}

const struct sl_kfunc sl_kfunc_rbtree_add_impl = {
	.call = { SL_KFUNC_ROW(rbtree_add_impl, CLS_XDP),
		.args = { SL_ARG_RB_ROOT, SL_ARG_RB_NODE_NEW, SL_ARG_LESS, SL_ARG_ANYTHING,
			SL_ARG_ANYTHING } },
	.flags = SL_KFUNC_GRAPH | SL_KFUNC_INSERTS | SL_KFUNC_CALLS_BACK,
};

#define LOOK(kfunc, expression, acquires, ...)                               \
	SL_HELPER_FN(kfunc)                                                  \
	{                                                                    \
		return (uintptr_t)(expression);                              \
	}                                                                    \
	const struct sl_kfunc sl_kfunc_##kfunc = {                           \
		.call = { SL_KFUNC_ROW(kfunc, CLS_XDP), .flags = (acquires), \
			.args = { SL_ARG_RB_ROOT, __VA_ARGS__ } },           \
		.flags = SL_KFUNC_GRAPH | SL_KFUNC_GIVES_NODE,               \
	}
#define ROOT ((void *)(uintptr_t)r1)
#define NODE ((void *)(uintptr_t)r2)

LOOK(rbtree_first, sl_rbtree_first(ROOT), 0, SL_ARG_NONE);
LOOK(rbtree_root, sl_rbtree_root(ROOT), 0, SL_ARG_NONE);
LOOK(rbtree_left, sl_rbtree_child(ROOT, NODE, false), 0, SL_ARG_RB_NODE);
LOOK(rbtree_right, sl_rbtree_child(ROOT, NODE, true), 0, SL_ARG_RB_NODE);
LOOK(rbtree_remove, sl_rbtree_remove(ROOT, NODE), SL_HELPER_ACQUIRES, SL_ARG_RB_NODE);
