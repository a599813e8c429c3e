#include <bpf/libbpf.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client.h"
#include "loader.h"

/*
 * A libFuzzer target: the input as an object file, opened by our loader and libbpf and loaded into
 * Sluice. What is found is libbpf's as often as ours: look at the stack.
 */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct sl_loader_options options = { .unpinned = true };
	int fd = memfd_create("object", MFD_CLOEXEC);
	char path[32], why[SL_LOADER_WHY_MAX];
	struct sl_loader *loader;
	struct bpf_map *map;

	sl_client_use(SL_CLIENT_IN_PROCESS);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (write(fd, data, size) != (ssize_t)size ||
		sl_loader_open(path, &options, &loader, why) != 0) {
		close(fd);
		return 0;
	}
	close(fd);
	bpf_object__for_each_map(map, sl_loader_object(loader))
	{
		if (bpf_map__max_entries(map) > 1 << 16)
			bpf_map__set_max_entries(map, 1 << 16);
	}
	sl_loader_type_tail_calls(loader, BPF_PROG_TYPE_SCHED_CLS);
	sl_loader_load(loader, why);
	sl_loader_free(loader);
	return 0;
}
