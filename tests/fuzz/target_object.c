#include <bpf/libbpf.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "client.h"

/*
 * A libFuzzer target: the input as an object file, opened by libbpf and loaded into Sluice. What is
 * found is libbpf's as often as ours: look at the stack.
 */

static int silent(enum libbpf_print_level level, const char *format, va_list args)
{
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bpf_object *object;
	struct bpf_map *map;

	libbpf_set_print(silent);
	sl_client_use(SL_CLIENT_IN_PROCESS);
	object = bpf_object__open_mem(data, size, NULL);
	if (!object)
		return 0;
	bpf_object__for_each_map(map, object)
	{
		bpf_map__set_pin_path(map, NULL);
		if (bpf_map__max_entries(map) > 1 << 16)
			bpf_map__set_max_entries(map, 1 << 16);
	}
	bpf_object__load(object);
	bpf_object__close(object);
	return 0;
}
