#include <bpf/btf.h>
#include <linux/btf.h>
#include <stdlib.h>

#include "generate.h"
#include "writer.h"

/* The maps and the types that generated programs know. */

static struct fuzz_setting setting = {
	.maps = {
		[MAP_ARRAY] = { BPF_MAP_TYPE_ARRAY, KEY_BYTES, VALUE_BYTES, MAP_ENTRIES },
		[MAP_HASH] = { BPF_MAP_TYPE_HASH, KEY_BYTES, VALUE_BYTES, MAP_ENTRIES },
		[MAP_PERCPU] = { BPF_MAP_TYPE_PERCPU_ARRAY, KEY_BYTES, VALUE_BYTES, MAP_ENTRIES },
		[MAP_DATA] = { BPF_MAP_TYPE_ARRAY, KEY_BYTES, VALUE_BYTES, 1 },
		[MAP_RODATA] = { BPF_MAP_TYPE_ARRAY, KEY_BYTES, VALUE_BYTES, 1, BPF_F_RDONLY_PROG,
			.frozen = true },
		[MAP_SLOTS_XDP] = { BPF_MAP_TYPE_PROG_ARRAY, 4, 4, MAP_ENTRIES,
			.prog_type = BPF_PROG_TYPE_XDP },
		[MAP_SLOTS_TC] = { BPF_MAP_TYPE_PROG_ARRAY, 4, 4, MAP_ENTRIES,
			.prog_type = BPF_PROG_TYPE_SCHED_CLS },
		[MAP_SLOTS_SOCKET] = { BPF_MAP_TYPE_PROG_ARRAY, 4, 4, MAP_ENTRIES,
			.prog_type = BPF_PROG_TYPE_SOCKET_FILTER },
		[MAP_RINGBUF] = { BPF_MAP_TYPE_RINGBUF, 0, 0, 4096 },
		[MAP_INNER] = { BPF_MAP_TYPE_ARRAY, KEY_BYTES, VALUE_BYTES, MAP_ENTRIES },
		[MAP_OUTER] = { BPF_MAP_TYPE_ARRAY_OF_MAPS, KEY_BYTES, 4, MAP_ENTRIES },
		[MAP_LOCKED] = { BPF_MAP_TYPE_ARRAY, KEY_BYTES, VALUE_BYTES, MAP_ENTRIES },
		[MAP_QUEUE] = { BPF_MAP_TYPE_QUEUE, 0, 8, MAP_ENTRIES },
		[MAP_STACK] = { BPF_MAP_TYPE_STACK, 0, 8, MAP_ENTRIES },
		[MAP_TRIE] = { BPF_MAP_TYPE_LPM_TRIE, 8, VALUE_BYTES, 2 * MAP_ENTRIES,
			BPF_F_NO_PREALLOC },
		[MAP_TIMED] = { BPF_MAP_TYPE_ARRAY, KEY_BYTES, VALUE_BYTES, MAP_ENTRIES },
	},
	.map_count = STANDARD_MAPS,
};

static uint32_t function_types[FUNCTIONS], main_type;

uint32_t standard_function_type(enum function function)
{
	return function_types[function];
}

uint32_t standard_main_type(void)
{
	return main_type;
}

static void add_lock(struct btf *btf, int word, int number)
{
	int lock = btf__add_struct(btf, "bpf_spin_lock", 4);

	btf__add_field(btf, "val", word, 0, 0);
	setting.maps[MAP_LOCKED].btf_key = (uint32_t)word;
	setting.maps[MAP_LOCKED].btf_value = (uint32_t)btf__add_struct(btf, "value", VALUE_BYTES);
	btf__add_field(btf, "lock", lock, 0, 0);
	btf__add_field(btf, "small", word, 32, 0);
	btf__add_field(btf, "a", number, 64, 0);
	btf__add_field(btf, "b", number, 128, 0);
	btf__add_field(btf, "c", number, 192, 0);
	btf__add_field(btf, "d", number, 256, 0);
}

static void add_timer(struct btf *btf, int word, int number)
{
	int timer = btf__add_struct(btf, "bpf_timer", 16);

	btf__add_field(btf, "a", number, 0, 0);
	btf__add_field(btf, "b", number, 64, 0);
	setting.maps[MAP_TIMED].btf_key = (uint32_t)word;
	setting.maps[MAP_TIMED].btf_value = (uint32_t)btf__add_struct(btf, "timed", VALUE_BYTES);
	btf__add_field(btf, "timer", timer, 0, 0);
	btf__add_field(btf, "a", number, 128, 0);
	btf__add_field(btf, "b", number, 192, 0);
	btf__add_field(btf, "c", number, 256, 0);
}

int32_t standard_kfunc(enum standard_kfunc kfunc)
{
	static const char *const names[KFUNCS] = { "bpf_iter_num_new", "bpf_iter_num_next",
		"bpf_iter_num_destroy" };
	static int32_t numbers[KFUNCS];
	static bool known;
	struct btf *btf;

	if (!known) {
		known = true;
		btf = btf__load_vmlinux_btf();
		for (unsigned i = 0; btf && i < KFUNCS; i++)
			numbers[i] =
				sl_max(btf__find_by_name_kind(btf, names[i], BTF_KIND_FUNC), 0);
		btf__free(btf);
	}
	return numbers[kfunc];
}

static void add_functions(struct btf *btf, int number)
{
	int result = btf__add_int(btf, "int", 4, BTF_INT_SIGNED), any, proto;

	any = btf__add_ptr(btf, 0);
	proto = btf__add_func_proto(btf, result);
	btf__add_func_param(btf, "ctx", any);
	main_type = (uint32_t)btf__add_func(btf, "main", BTF_FUNC_GLOBAL, proto);
	proto = btf__add_func_proto(btf, number);
	btf__add_func_param(btf, "a", number);
	btf__add_func_param(btf, "b", number);
	function_types[FUNCTION_GLOBAL] =
		(uint32_t)btf__add_func(btf, "global", BTF_FUNC_GLOBAL, proto);
	proto = btf__add_func_proto(btf, number);
	btf__add_func_param(btf, "a", number);
	btf__add_func_param(btf, "b", number);
	btf__add_func_param(btf, "slot", any);
	btf__add_func_param(btf, "ctx", any);
	function_types[FUNCTION_STATIC] =
		(uint32_t)btf__add_func(btf, "local", BTF_FUNC_STATIC, proto);
	function_types[FUNCTION_LOOP] =
		(uint32_t)btf__add_func(btf, "round", BTF_FUNC_STATIC, proto);
	function_types[FUNCTION_TIMER] =
		(uint32_t)btf__add_func(btf, "fired", BTF_FUNC_STATIC, proto);
	function_types[FUNCTION_EACH] =
		(uint32_t)btf__add_func(btf, "each", BTF_FUNC_STATIC, proto);
}

const struct fuzz_setting *fuzz_standard_setting(void)
{
	struct btf *btf;
	int word, number;

	if (setting.btf)
		return &setting;
	btf = btf__new_empty();
	if (!btf)
		return NULL;
	word = btf__add_int(btf, "unsigned int", 4, 0);
	number = btf__add_int(btf, "unsigned long", 8, 0);
	add_lock(btf, word, number);
	add_timer(btf, word, number);
	add_functions(btf, number);
	for (unsigned i = 0; i < STANDARD_MAPS; i++)
		setting.maps[i].inner = i == MAP_OUTER ? MAP_INNER : -1;
	setting.maps[MAP_RODATA].initial = malloc(VALUE_BYTES);
	setting.btf = malloc(1 << 16);
	if (setting.maps[MAP_RODATA].initial && setting.btf) {
		const void *raw = btf__raw_data(btf, &setting.btf_size);

		memcpy(setting.btf, raw, setting.btf_size);
		for (unsigned i = 0; i < VALUE_BYTES; i++)
			setting.maps[MAP_RODATA].initial[i] = (uint8_t)(i * 29);
	}
	btf__free(btf);
	return setting.btf ? &setting : NULL;
}
