#pragma once

#include "btf.h"

/*
 * The fields of a map's value that are not the program's and user space's to read and write: locks,
 * timers, and what the kernel's objects hang from. They are found by the names of their types, when
 * the map is created with BTF. Loads, stores and helpers may not touch them, copies of the value
 * leave them out.
 */
enum sl_special {
	SL_SPECIAL_SPIN_LOCK = 1 << 0,
	SL_SPECIAL_TIMER = 1 << 1,
	SL_SPECIAL_KPTR_UNREF = 1 << 2,
	SL_SPECIAL_KPTR_REF = 1 << 3,
	SL_SPECIAL_KPTR_PERCPU = 1 << 4,
	SL_SPECIAL_LIST_HEAD = 1 << 5,
	SL_SPECIAL_RB_ROOT = 1 << 6,
	SL_SPECIAL_REFCOUNT = 1 << 7,
	SL_SPECIAL_WORKQUEUE = 1 << 8,
	SL_SPECIAL_UPTR = 1 << 9,
	SL_SPECIAL_RES_SPIN_LOCK = 1 << 10,
	SL_SPECIAL_TASK_WORK = 1 << 11,
	SL_SPECIAL_LIST_NODE = 1 << 12, /* these two in objects only, not in values of maps */
	SL_SPECIAL_RB_NODE = 1 << 13,
};

#define SL_SPECIAL_KPTR (SL_SPECIAL_KPTR_UNREF | SL_SPECIAL_KPTR_REF | SL_SPECIAL_KPTR_PERCPU)
#define SL_SPECIAL_GRAPH_ROOT (SL_SPECIAL_LIST_HEAD | SL_SPECIAL_RB_ROOT)
#define SL_SPECIAL_NODE (SL_SPECIAL_LIST_NODE | SL_SPECIAL_RB_NODE)
/* What a program may put objects into. */
#define SL_SPECIAL_HOLDS (SL_SPECIAL_KPTR_REF | SL_SPECIAL_GRAPH_ROOT)

/* As many as the kernel keeps of one value. */
#define SL_SPECIAL_MAX 11

struct sl_btf_record;

/* Compared as bytes: no padding. */
struct sl_special_field {
	const struct sl_btf_record
		*target; /* of what it leads to, in the same BTF; NULL without one */
	enum sl_special type;
	uint32_t offset, size; /* bytes */
	/* Of roots: the struct that is in it, and where in that the node is. Of kptrs: what it is to. */
	uint32_t type_id, node_offset;
	uint32_t is_kernel; /* a kptr to a type of the kernel's */
};

/* Immutable. */
struct sl_btf_record {
	uint32_t types; /* all SL_SPECIAL_* in the value */
	uint32_t count;
	uint32_t refcount_offset; /* where SL_SPECIAL_REFCOUNT is, if there is one */
	struct sl_special_field fields[SL_SPECIAL_MAX]; /* by offset, which do not overlap */
};

/*
 * The special fields of the type `type_id`, a value of value_size bytes. *ret_record is NULL when it
 * has none, and owned by the caller: free(). Errors are the kernel's, which creates the map anyway,
 * as one without special fields: -E2BIG for two of what may be there once and for too many, -EINVAL
 * for what is no struct or badly tagged, -EEXIST for fields that overlap, -ENOENT for a root whose
 * nodes are not there.
 */
SL_CONTROL int sl_btf_record_new(const struct sl_btf *btf, uint32_t type_id, uint32_t value_size,
	struct sl_btf_record **ret_record);

/*
 * What BPF_BTF_LOAD asks of structs that have a special field (by the type of a member; the program
 * may make objects of them): that its fields are as sl_btf_record_new wants them, else its errors,
 * and that there is one, else -EFAULT. -ELOOP where objects could own each other in a circle. What it
 * finds is kept in btf->structs.
 */
SL_CONTROL int sl_btf_record_check_structs(struct sl_btf *btf);

/* What sl_btf_record_check_structs found of a struct: NULL for one without special fields. */
SL_ANY const struct sl_btf_record *sl_btf_record_of(const struct sl_btf *btf, uint32_t type_id);

/* Both without special fields (NULL), or the same ones at the same offsets. */
SL_ANY bool sl_btf_record_equal(const struct sl_btf_record *a, const struct sl_btf_record *b);

/* As the type is called in the verifier's log. */
SL_ANY const char *sl_special_name(enum sl_special type);

static inline bool sl_btf_record_has(const struct sl_btf_record *record, uint32_t types)
{
	return record && (record->types & types);
}

/* The first field of that type; only for types of which `record` has one. */
static inline const struct sl_special_field *sl_btf_record_find(
	const struct sl_btf_record *record, enum sl_special type)
{
	const struct sl_special_field *field = record->fields;

	while (field->type != type)
		field++;
	return field;
}
