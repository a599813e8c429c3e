#include "prog.h"

#include <errno.h>
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

/* Here and not at unlink: a worker may be running the program until the grace period is over. */
static void release(struct sl_object *obj)
{
	struct sl_prog *prog = sl_prog_of(obj);

	if (prog->code && free_code_hook)
		free_code_hook(prog->code);
	if (prog->facts && free_facts_hook)
		free_facts_hook(prog->facts);
	for (uint32_t i = 0; i < prog->used_map_count; i++)
		unref_map_hook(prog->used_maps[i]);
	if (prog->btf)
		sl_object_unref(&prog->btf->obj);
	free(prog->used_maps);
	free(prog->func_info);
	free(prog->line_info);
	free(prog->insns);
	free(prog->stats);
	free(prog);
}

static const struct sl_object_ops ops = { .release = release };

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
