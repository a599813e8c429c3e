#include "kfunc.h"

#include <bpf/btf.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kfunc_row.h"

#define VMLINUX_BTF "/sys/kernel/btf/vmlinux"

#define SL_KFUNC(kfunc) &sl_kfunc_##kfunc,
#define REFUSED(kfunc, types, why, kfunc_flags)                           \
	&(const struct sl_kfunc){ .call = { .name = "bpf_" #kfunc,        \
					  .prog_types = SL_TYPES_##types, \
					  .unavailable = (why) },         \
		.flags = (kfunc_flags) },
#define SL_NO_KFUNC(kfunc, types, reason) REFUSED(kfunc, types, reason, 0)
#define SL_SLEEPABLE_KFUNC(kfunc, types) \
	REFUSED(kfunc, types, "no program of a packet may sleep", SL_KFUNC_SLEEPABLE)

static const struct sl_kfunc *const rows[] = {
#include "kfuncs.def"
};

/* Numbers of the rows, in the order of the numbers, and of all functions as a set of bits. */
static struct {
	struct entry {
		uint32_t btf_id;
		const struct sl_kfunc *kfunc;
	} entries[sl_array_size(rows)];
	unsigned count;
	uint64_t *functions;
	uint32_t type_count;
} found;

static void note_function(const char *name, uint32_t btf_id)
{
	found.functions[btf_id / 64] |= 1ULL << btf_id % 64;
	for (unsigned i = 0; strncmp(name, "bpf_", 4) == 0 && i < sl_array_size(rows); i++) {
		if (strcmp(rows[i]->call.name, name) != 0 || found.count == sl_array_size(rows))
			continue;
		found.entries[found.count++] = (struct entry){ btf_id, rows[i] };
		return;
	}
}

/* The BTF is some megabytes, of which a few numbers are needed: it does not stay. */
static void read_btf(void)
{
	struct btf *btf = btf__parse(VMLINUX_BTF, NULL);
	uint32_t count = btf ? btf__type_cnt(btf) : 0;

	found.functions = calloc(count / 64 + 1, sizeof(*found.functions));
	if (!found.functions)
		count = 0;
	for (uint32_t id = 1; id < count; id++) {
		const struct btf_type *type = btf__type_by_id(btf, id);

		if (btf_is_func(type))
			note_function(btf__name_by_offset(btf, type->name_off), id);
	}
	found.type_count = count;
	btf__free(btf);
}

const struct sl_kfunc *sl_kfunc_peek(uint32_t btf_id)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, read_btf);
	for (unsigned low = 0, high = found.count; low < high;) {
		unsigned middle = (low + high) / 2;

		if (found.entries[middle].btf_id == btf_id)
			return found.entries[middle].kfunc;
		if (found.entries[middle].btf_id < btf_id)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

enum sl_kfunc_lookup sl_kfunc_find(uint32_t btf_id, const struct sl_kfunc **ret_kfunc)
{
	const struct sl_kfunc *kfunc = sl_kfunc_peek(btf_id);

	if (!found.type_count)
		return SL_KFUNC_NO_BTF;
	if (kfunc) {
		*ret_kfunc = kfunc;
		return SL_KFUNC_FOUND;
	}
	if (btf_id >= found.type_count || !(found.functions[btf_id / 64] >> btf_id % 64 & 1))
		return SL_KFUNC_NOT_A_FUNCTION;
	return SL_KFUNC_UNKNOWN;
}

void sl_kfunc_name(uint32_t btf_id, char *name, size_t size)
{
	const struct sl_kfunc *kfunc = sl_kfunc_peek(btf_id);
	struct btf *btf =
		kfunc || btf_id >= found.type_count ? NULL : btf__parse(VMLINUX_BTF, NULL);
	const struct btf_type *type = btf ? btf__type_by_id(btf, btf_id) : NULL;
	const char *text = type ? btf__name_by_offset(btf, type->name_off) : NULL;

	if (kfunc)
		text = kfunc->call.name;
	snprintf(name, size, "%s", text && *text ? text : "kernel-function");
	btf__free(btf);
}

const struct sl_kfunc *const *sl_kfuncs(unsigned *ret_count)
{
	*ret_count = sl_array_size(rows);
	return rows;
}
