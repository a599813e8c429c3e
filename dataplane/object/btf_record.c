#include "btf_record.h"

#include <bpf/btf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * The walk through a value's type: members of structs (not of unions) at any depth, elements of arrays, variables of
 * a data section. A field is special when its type has one of the names below (under no typedef) and
 * the size and alignment that belong to it; what is not aligned is an ordinary field, and so is a
 * struct of that name and another size.
 */

enum { DEPTH_MAX = 32 };

/* How a type is recognised, and what its field must be like. */
static const struct kind {
	enum sl_special type;
	const char *struct_name; /* NULL: a tagged pointer */
	const char *log_name;
	uint32_t size, align;
	bool once; /* at most one in a value */
	const char *node; /* of a root: the type of its nodes */
} kinds[] = {
	{ SL_SPECIAL_SPIN_LOCK, "bpf_spin_lock", "bpf_spin_lock", 4, 4, true, NULL },
	{ SL_SPECIAL_RES_SPIN_LOCK, "bpf_res_spin_lock", "bpf_res_spin_lock", 4, 4, true, NULL },
	{ SL_SPECIAL_TIMER, "bpf_timer", "bpf_timer", 16, 8, true, NULL },
	{ SL_SPECIAL_WORKQUEUE, "bpf_wq", "bpf_wq", 16, 8, true, NULL },
	{ SL_SPECIAL_TASK_WORK, "bpf_task_work", "bpf_task_work", 8, 8, true, NULL },
	{ SL_SPECIAL_LIST_HEAD, "bpf_list_head", "bpf_list_head", 16, 8, false, "bpf_list_node" },
	{ SL_SPECIAL_RB_ROOT, "bpf_rb_root", "bpf_rb_root", 16, 8, false, "bpf_rb_node" },
	{ SL_SPECIAL_LIST_NODE, "bpf_list_node", "bpf_list_node", 24, 8, false, NULL },
	{ SL_SPECIAL_RB_NODE, "bpf_rb_node", "bpf_rb_node", 32, 8, false, NULL },
	{ SL_SPECIAL_REFCOUNT, "bpf_refcount", "bpf_refcount", 4, 4, false, NULL },
	{ SL_SPECIAL_KPTR_UNREF, NULL, "kptr", 8, 8, false, NULL },
	{ SL_SPECIAL_KPTR_REF, NULL, "kptr", 8, 8, false, NULL },
	{ SL_SPECIAL_KPTR_PERCPU, NULL, "percpu_kptr", 8, 8, false, NULL },
	{ SL_SPECIAL_UPTR, NULL, "uptr", 8, 8, false, NULL },
};

static const struct {
	const char *tag;
	enum sl_special type;
} pointer_tags[] = {
	{ "kptr_untrusted", SL_SPECIAL_KPTR_UNREF },
	{ "kptr", SL_SPECIAL_KPTR_REF },
	{ "percpu_kptr", SL_SPECIAL_KPTR_PERCPU },
	{ "uptr", SL_SPECIAL_UPTR },
};

#define IN_MAPS (~0u & ~(SL_SPECIAL_LIST_NODE | SL_SPECIAL_RB_NODE))
#define IN_OBJECTS                                                                 \
	(SL_SPECIAL_SPIN_LOCK | SL_SPECIAL_RES_SPIN_LOCK | SL_SPECIAL_GRAPH_ROOT | \
		SL_SPECIAL_LIST_NODE | SL_SPECIAL_RB_NODE | SL_SPECIAL_REFCOUNT | SL_SPECIAL_KPTR)

struct sl_btf_struct {
	uint32_t type_id;
	struct sl_btf_record record;
};

struct walk {
	const struct btf *btf;
	uint32_t wanted; /* SL_SPECIAL_*; others are ordinary fields */
	struct sl_special_field found[SL_SPECIAL_MAX];
	uint32_t count;
	struct btf *vmlinux; /* the kernel's; read when a pointer asks for it */
	uint32_t seen; /* types of which a name came by, whatever its field was like */
};

static const struct kind *kind_of(enum sl_special type)
{
	for (unsigned i = 0; i < sl_array_size(kinds); i++)
		if (kinds[i].type == type)
			return &kinds[i];
	return NULL;
}

const char *sl_special_name(enum sl_special type)
{
	const struct kind *kind = kind_of(type);

	return kind ? kind->log_name : "unknown";
}

static const char *name_of(const struct walk *w, const struct btf_type *t)
{
	const char *name = btf__name_by_offset(w->btf, t->name_off);

	return name ? name : "";
}

/* Which special pointer it is: its SL_SPECIAL_*, 0 for none, negative for a tag that is wrong. */
static int pointer_type(const struct walk *w, const struct btf_type *t, uint32_t *ret_target)
{
	const struct btf_type *tag, *base;
	uint32_t id;

	if (btf_is_volatile(t))
		t = btf__type_by_id(w->btf, t->type);
	if (!t || !btf_is_ptr(t))
		return 0;
	tag = btf__type_by_id(w->btf, t->type);
	if (!tag || !btf_is_type_tag(tag))
		return 0;
	id = tag->type;
	base = btf__type_by_id(w->btf, id);
	if (base && btf_is_type_tag(base))
		return -EINVAL;
	while (base && (btf_is_mod(base) || btf_is_typedef(base))) {
		id = base->type;
		base = btf__type_by_id(w->btf, id);
	}
	if (ret_target)
		*ret_target = id;
	for (unsigned i = 0; i < sl_array_size(pointer_tags); i++)
		if ((w->wanted & pointer_tags[i].type) &&
			strcmp(name_of(w, tag), pointer_tags[i].tag) == 0)
			return base && btf_is_struct(base) ? (int)pointer_tags[i].type : -EINVAL;
	return -EINVAL;
}

/*
 * Whether the kernel has a struct of that name: then the pointer is to one of its own objects, else to
 * one that the program makes.
 */
static bool is_kernel_type(struct walk *w, uint32_t type_id)
{
	const struct btf_type *t = btf__type_by_id(w->btf, type_id);

	if (!w->vmlinux)
		w->vmlinux = btf__parse("/sys/kernel/btf/vmlinux", NULL);
	return !w->vmlinux || btf__find_by_name_kind(w->vmlinux, name_of(w, t), btf_kind(t)) > 0;
}

/* The text behind "contains:" in the only such tag of a member (or of a variable: -1). */
static const char *contains_tag(const struct walk *w, uint32_t owner, int member)
{
	static const char prefix[] = "contains:";
	const char *found = NULL;

	for (uint32_t id = 1; id < btf__type_cnt(w->btf); id++) {
		const struct btf_type *t = btf__type_by_id(w->btf, id);

		if (!btf_is_decl_tag(t) || t->type != owner ||
			btf_decl_tag(t)->component_idx != member ||
			strncmp(name_of(w, t), prefix, sizeof(prefix) - 1) != 0)
			continue;
		if (found)
			return NULL;
		found = name_of(w, t) + sizeof(prefix) - 1;
	}
	return found;
}

/* That struct `name_len` bytes of `name` has exactly one member `node`, of the type for nodes. */
static int check_node(const struct walk *w, const char *name, size_t name_len, const char *node,
	const char *node_type, struct sl_special_field *ret_field)
{
	const struct btf_type *owner = NULL, *found = NULL;

	for (uint32_t id = 1; !owner && id < btf__type_cnt(w->btf); id++) {
		const struct btf_type *t = btf__type_by_id(w->btf, id);

		if (!btf_is_struct(t) || strlen(name_of(w, t)) != name_len ||
			memcmp(name_of(w, t), name, name_len) != 0)
			continue;
		owner = t;
		ret_field->type_id = id;
	}
	if (!owner)
		return -ENOENT;
	for (unsigned i = 0; i < btf_vlen(owner); i++) {
		const struct btf_member *m = &btf_members(owner)[i];

		if (strcmp(btf__name_by_offset(w->btf, m->name_off), node) != 0)
			continue;
		if (found)
			return -EINVAL;
		found = btf__type_by_id(w->btf, m->type);
		if (!btf_is_struct(found) || strcmp(name_of(w, found), node_type) != 0 ||
			btf_member_bit_offset(owner, i) % 64)
			return -EINVAL;
		ret_field->node_offset = btf_member_bit_offset(owner, i) / 8;
	}
	return found ? 0 : -ENOENT;
}

static int check_root(const struct walk *w, const struct kind *kind, uint32_t owner, int member,
	struct sl_special_field *ret_field)
{
	const char *tag = contains_tag(w, owner, member), *node = tag ? strchr(tag, ':') : NULL;

	if (!node || !node[1])
		return -EINVAL;
	return check_node(w, tag, (size_t)(node - tag), node + 1, kind->node, ret_field);
}

/* Room for `count` fields of one type, `size` bytes apart. */
static int add(struct walk *w, const struct kind *kind, uint32_t off, uint32_t count,
	const struct sl_special_field *leads_to)
{
	if (count > 1 && kind->once)
		return -EINVAL;
	if (kind->struct_name && !kind->node && count > 1)
		return -EINVAL;
	if (count > SL_SPECIAL_MAX - w->count)
		return -E2BIG;
	for (uint32_t i = 0; i < count; i++)
		w->found[w->count++] = (struct sl_special_field){
			.type = kind->type,
			.offset = off + i * kind->size,
			.size = kind->size,
			.type_id = leads_to->type_id,
			.node_offset = leads_to->node_offset,
			.is_kernel = leads_to->is_kernel,
		};
	return 0;
}

static int walk_struct(struct walk *w, uint32_t id, uint32_t off, unsigned depth);

/* Everything found from `first` on once more for each further element of an array. */
static int repeat(struct walk *w, uint32_t first, uint32_t count, uint32_t elem_size)
{
	uint32_t per_elem = w->count - first;

	for (uint32_t i = first; i < w->count; i++)
		if (!(w->found[i].type &
			    (SL_SPECIAL_KPTR | SL_SPECIAL_UPTR | SL_SPECIAL_GRAPH_ROOT)))
			return -EINVAL;
	if ((uint64_t)per_elem * count > SL_SPECIAL_MAX - first)
		return -E2BIG;
	for (uint32_t i = 1; i < count; i++)
		for (uint32_t k = 0; k < per_elem; k++) {
			w->found[w->count] = w->found[first + k];
			w->found[w->count++].offset += i * elem_size;
		}
	return 0;
}

static int walk_nested(struct walk *w, uint32_t id, uint32_t off, uint32_t count, unsigned depth)
{
	uint32_t first = w->count;
	int err = depth + 1 >= DEPTH_MAX ? -E2BIG : walk_struct(w, id, off, depth + 1);

	if (err || w->count == first || count == 1)
		return err;
	return repeat(w, first, count, btf__type_by_id(w->btf, id)->size);
}

/* By the name of the type alone. *ret_kind is NULL for none of ours. */
static int kind_by_name(struct walk *w, const struct btf_type *t, const struct kind **ret_kind)
{
	*ret_kind = NULL;
	for (unsigned i = 0; i < sl_array_size(kinds); i++) {
		const struct kind *kind = &kinds[i];

		if (!kind->struct_name || !(w->wanted & kind->type) ||
			strcmp(name_of(w, t), kind->struct_name) != 0)
			continue;
		if (kind->once && (w->seen & kind->type))
			return -E2BIG;
		w->seen |= kind->type;
		*ret_kind = kind;
		return 0;
	}
	return 0;
}

/* A member (or variable) of type `id`, which in a data section has to fill expected_size bytes. */
static int walk_one(struct walk *w, uint32_t owner, int member, uint32_t id, uint32_t off,
	uint32_t expected_size, unsigned depth)
{
	const struct btf_type *t = btf__type_by_id(w->btf, id);
	uint32_t count = 1, size;
	struct sl_special_field leads_to = { .type_id = 0 };
	const struct kind *kind;
	int err, type;

	for (unsigned i = 0; btf_is_array(t); i++) {
		if (i == DEPTH_MAX)
			return -E2BIG;
		count *= btf_array(t)->nelems;
		id = btf_array(t)->type;
		t = btf__type_by_id(w->btf, id);
	}
	if (!count)
		return 0;
	err = kind_by_name(w, t, &kind);
	if (err)
		return err;
	if (!kind && btf_is_struct(t)) {
		size = t->size;
		if (expected_size && expected_size != size * count)
			return 0;
		return walk_nested(w, id, off, count, depth);
	}
	size = kind ? kind->size : sizeof(uint64_t);
	if ((expected_size && expected_size != size * count) || off % (kind ? kind->align : size))
		return 0;
	if (!kind) {
		type = pointer_type(w, t, &leads_to.type_id);
		if (type <= 0)
			return type;
		leads_to.is_kernel = is_kernel_type(w, leads_to.type_id);
		return add(w, kind_of((enum sl_special)type), off, count, &leads_to);
	}
	if (!btf_is_struct(t) || t->size != size)
		return 0;
	err = kind->node ? check_root(w, kind, owner, member, &leads_to) : 0;
	return err ? err : add(w, kind, off, count, &leads_to);
}

static int walk_struct(struct walk *w, uint32_t id, uint32_t off, unsigned depth)
{
	const struct btf_type *t = btf__type_by_id(w->btf, id);
	int err = 0;

	for (unsigned i = 0; !err && i < btf_vlen(t); i++) {
		uint32_t bits = btf_member_bit_offset(t, i);

		err = bits % 8 ? -EINVAL
			       : walk_one(w, id, (int)i, btf_members(t)[i].type, off + bits / 8, 0,
					 depth);
	}
	return err;
}

static int walk_section(struct walk *w, const struct btf_type *t)
{
	const struct btf_var_secinfo *v = btf_var_secinfos(t);
	int err = 0;

	for (unsigned i = 0; !err && i < btf_vlen(t); i++)
		err = walk_one(w, v[i].type, -1, btf__type_by_id(w->btf, v[i].type)->type,
			v[i].offset, v[i].size, 0);
	return err;
}

/* In the order in which they were found: by offset, but for unions. */
static int check_found(const struct walk *w, uint32_t value_size, uint32_t *ret_types)
{
	uint32_t end = 0, types = 0;

	for (uint32_t i = 0; i < w->count; i++) {
		if (w->found[i].offset < end)
			return -EEXIST;
		end = w->found[i].offset + w->found[i].size;
		if (end > value_size)
			return -EFAULT;
		types |= w->found[i].type;
	}
	if ((types & SL_SPECIAL_SPIN_LOCK) && (types & SL_SPECIAL_RES_SPIN_LOCK))
		return -EINVAL;
	if ((types & SL_SPECIAL_GRAPH_ROOT) &&
		!(types & (SL_SPECIAL_SPIN_LOCK | SL_SPECIAL_RES_SPIN_LOCK)))
		return -EINVAL;
	/* A node of both kinds has several owners. */
	if ((types & SL_SPECIAL_LIST_NODE) && (types & SL_SPECIAL_RB_NODE) &&
		!(types & SL_SPECIAL_REFCOUNT))
		return -EINVAL;
	*ret_types = types;
	return 0;
}

/* The first struct of that name, 0 for none. */
static uint32_t find_struct(const struct walk *w, const char *name)
{
	for (uint32_t id = 1; id < btf__type_cnt(w->btf); id++) {
		const struct btf_type *t = btf__type_by_id(w->btf, id);

		if (btf_is_struct(t) && strcmp(name_of(w, t), name) == 0)
			return id;
	}
	return 0;
}

/* Types whose members make a struct special, by id. NULL when memory is out. */
static bool *mark_special(const struct walk *w, bool *ret_any)
{
	bool *special = calloc(btf__type_cnt(w->btf), sizeof(*special));

	*ret_any = false;
	for (unsigned i = 0; special && i < sl_array_size(kinds); i++) {
		/* The kernel does not look for this one by its name. */
		bool named = kinds[i].struct_name && (kinds[i].type & IN_OBJECTS) &&
			     kinds[i].type != SL_SPECIAL_RES_SPIN_LOCK;
		uint32_t id = named ? find_struct(w, kinds[i].struct_name) : 0;

		if (id)
			*ret_any = special[id] = true;
	}
	for (uint32_t id = 1; special && id < btf__type_cnt(w->btf); id++)
		if (pointer_type(w, btf__type_by_id(w->btf, id), NULL) > 0)
			*ret_any = special[id] = true;
	return special;
}

static bool has_special_member(const struct btf_type *t, const bool *special)
{
	for (unsigned i = 0; btf_is_struct(t) && i < btf_vlen(t); i++)
		if (special[btf_members(t)[i].type])
			return true;
	return false;
}

const struct sl_btf_record *sl_btf_record_of(const struct sl_btf *btf, uint32_t type_id)
{
	for (uint32_t low = 0, high = btf->struct_count; low < high;) {
		uint32_t middle = (low + high) / 2;

		if (btf->structs[middle].type_id == type_id)
			return &btf->structs[middle].record;
		if (btf->structs[middle].type_id < type_id)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static void fill_record(struct sl_btf_record *record, const struct walk *w, uint32_t types)
{
	memset(record, 0, sizeof(*record));
	record->types = types;
	record->count = w->count;
	memcpy(record->fields, w->found, w->count * sizeof(w->found[0]));
	for (uint32_t i = 0; i < w->count; i++)
		if (w->found[i].type == SL_SPECIAL_REFCOUNT)
			record->refcount_offset = w->found[i].offset;
}

static int add_struct(struct sl_btf *btf, const struct walk *w, uint32_t id, uint32_t types)
{
	struct sl_btf_struct *structs =
		realloc(btf->structs, (btf->struct_count + 1) * sizeof(*structs));

	if (!structs)
		return -ENOMEM;
	btf->structs = structs;
	structs[btf->struct_count].type_id = id;
	fill_record(&structs[btf->struct_count++].record, w, types);
	return 0;
}

/*
 * What the fields lead to. Objects that own others and are owned themselves may not own such: so
 * nothing owns itself.
 */
static int link_record(const struct sl_btf *btf, struct sl_btf_record *record)
{
	for (uint32_t i = 0; i < record->count; i++) {
		struct sl_special_field *field = &record->fields[i];

		if (!(field->type & (SL_SPECIAL_GRAPH_ROOT | SL_SPECIAL_KPTR)) || field->is_kernel)
			continue;
		field->target = sl_btf_record_of(btf, field->type_id);
		if (!(field->type & SL_SPECIAL_GRAPH_ROOT))
			continue;
		if (!field->target)
			return -EFAULT;
		if ((record->types & SL_SPECIAL_NODE) &&
			(field->target->types & SL_SPECIAL_GRAPH_ROOT))
			return -ELOOP;
	}
	return 0;
}

int sl_btf_record_check_structs(struct sl_btf *btf)
{
	struct walk w = { .btf = btf->btf, .wanted = IN_OBJECTS };
	uint32_t types;
	bool *special, any;
	int err = 0;

	special = mark_special(&w, &any);
	if (!special)
		return -ENOMEM;
	for (uint32_t id = 1; any && !err && id < btf__type_cnt(w.btf); id++) {
		const struct btf_type *t = btf__type_by_id(w.btf, id);

		if (!has_special_member(t, special))
			continue;
		w.count = w.seen = 0;
		err = walk_struct(&w, id, 0, 0);
		if (!err)
			err = w.count ? check_found(&w, t->size, &types) : -EFAULT;
		if (!err)
			err = add_struct(btf, &w, id, types);
	}
	free(special);
	btf__free(w.vmlinux);
	for (uint32_t i = 0; !err && i < btf->struct_count; i++)
		err = link_record(btf, &btf->structs[i].record);
	return err;
}

int sl_btf_record_new(const struct sl_btf *btf, uint32_t type_id, uint32_t value_size,
	struct sl_btf_record **ret_record)
{
	struct walk w = { .btf = btf->btf, .wanted = IN_MAPS };
	const struct btf_type *t = btf__type_by_id(w.btf, type_id);
	struct sl_btf_record *record;
	uint32_t types = 0;
	int err;

	while (t && (btf_is_mod(t) || btf_is_typedef(t))) {
		type_id = t->type;
		t = btf__type_by_id(w.btf, type_id);
	}
	if (t && btf_is_struct(t))
		err = walk_struct(&w, type_id, 0, 0);
	else
		err = t && btf_is_datasec(t) ? walk_section(&w, t) : -EINVAL;
	btf__free(w.vmlinux);
	if (!err)
		err = check_found(&w, value_size, &types);
	if (err)
		return err;
	record = NULL;
	if (w.count) {
		record = malloc(sizeof(*record));
		if (!record)
			return -ENOMEM;
		fill_record(record, &w, types);
		err = link_record(btf, record);
		if (err) {
			free(record);
			return err;
		}
	}
	*ret_record = record;
	return 0;
}

bool sl_btf_record_equal(const struct sl_btf_record *a, const struct sl_btf_record *b)
{
	if (!a || !b)
		return !a && !b;
	return a->types == b->types && a->count == b->count &&
	       memcmp(a->fields, b->fields, a->count * sizeof(a->fields[0])) == 0;
}
