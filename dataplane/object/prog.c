#include "prog.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "btf.h"
#include "cpu.h"

static void (*free_facts_hook)(struct sl_facts *facts);
static void (*free_code_hook)(struct sl_code *code);
static void (*unref_map_hook)(struct sl_map *map);

void sl_prog_set_free_hooks(void (*free_facts)(struct sl_facts *facts),
	void (*free_code)(struct sl_code *code), void (*unref_map)(struct sl_map *map))
{
	free_facts_hook = free_facts;
	free_code_hook = free_code;
	unref_map_hook = unref_map;
}

static pthread_mutex_t maps_lock = PTHREAD_MUTEX_INITIALIZER;

void sl_prog_lock_maps(void)
{
	pthread_mutex_lock(&maps_lock);
}

void sl_prog_unlock_maps(void)
{
	pthread_mutex_unlock(&maps_lock);
}

/* Here and not at unlink: a worker may be running the program until the grace period is over. */
static void release(struct sl_object *obj)
{
	struct sl_prog *prog = sl_prog_of(obj);

	if (prog->own_code && free_code_hook)
		free_code_hook(prog->own_code);
	if (prog->facts && free_facts_hook)
		free_facts_hook(prog->facts);
	for (uint32_t i = 0; i < prog->used_map_count; i++)
		unref_map_hook(prog->used_maps[i]);
	if (prog->btf)
		sl_object_unref(&prog->btf->obj);
	for (uint32_t i = 0; i < prog->linked_extension_count; i++)
		sl_object_unref(&prog->linked_extensions[i]->obj);
	if (prog->linked)
		sl_object_unref(&prog->linked->obj);
	if (prog->target)
		sl_object_unref(&prog->target->obj);
	free(prog->linked_extensions);
	free(prog->extensions);
	free(prog->used_maps);
	free(prog->func_info);
	free(prog->line_info);
	free(prog->insns);
	free(prog->stats);
	free(prog);
}

static const struct sl_object_ops ops = { .release = release };

void sl_prog_stats_sum(const struct sl_prog *prog, struct sl_prog_stats *ret_sum)
{
	*ret_sum = (struct sl_prog_stats){ 0 };
	for (unsigned cpu = 0; cpu < sl_cpu_count(); cpu++) {
		const struct sl_prog_stats *of_cpu = &prog->stats[cpu];

		ret_sum->run_count += __atomic_load_n(&of_cpu->run_count, __ATOMIC_RELAXED);
		ret_sum->cycles += __atomic_load_n(&of_cpu->cycles, __ATOMIC_RELAXED);
	}
}

int sl_prog_new(const struct bpf_insn *insns, uint32_t insn_count, struct sl_prog **ret_prog)
{
	size_t stats_size = sl_cpu_count() * sizeof(struct sl_prog_stats);
	struct sl_prog *prog = calloc(1, sizeof(*prog));

	if (!prog)
		return -ENOMEM;
	prog->insns = malloc((size_t)insn_count * sizeof(*insns));
	prog->stats = aligned_alloc(SL_CACHE_LINE, stats_size);
	if (!prog->insns || !prog->stats) {
		free(prog->insns);
		free(prog->stats);
		free(prog);
		return -ENOMEM;
	}
	sl_object_init(&prog->obj, SL_OBJECT_PROG, &ops);
	memcpy(prog->insns, insns, (size_t)insn_count * sizeof(*insns));
	memset(prog->stats, 0, stats_size);
	prog->insn_count = insn_count;
	*ret_prog = prog;
	return 0;
}

int sl_prog_use(struct sl_prog *prog, enum sl_prog_use use)
{
	int64_t uses = __atomic_load_n(&prog->uses, __ATOMIC_RELAXED);

	do {
		if ((uses < 0) != (use < 0) && uses != 0)
			return -EBUSY;
		/* Acquire: of the code that the last user of the other kind left behind. */
	} while (!__atomic_compare_exchange_n(
		&prog->uses, &uses, uses + use, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
	return 0;
}

void sl_prog_unuse(struct sl_prog *prog, enum sl_prog_use use)
{
	/* Pairs with sl_prog_use. */
	__atomic_sub_fetch(&prog->uses, use, __ATOMIC_RELEASE);
}
