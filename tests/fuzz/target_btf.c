#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include "sluice/bpf.h"

/* A libFuzzer target: the input as BTF, with a log; what is accepted also types a map. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char log[1 << 16];
	union bpf_attr attr = { .btf = (uintptr_t)data,
		.btf_size = (uint32_t)size,
		.btf_log_buf = (uintptr_t)log,
		.btf_log_size = sizeof(log),
		.btf_log_level = 1 };
	long btf = sluice_bpf(BPF_BTF_LOAD, &attr, sizeof(attr)), map;

	if (btf < 0)
		return 0;
	for (uint32_t type = 1; type < 8; type++) {
		union bpf_attr create = { .map_type = BPF_MAP_TYPE_ARRAY,
			.key_size = 4,
			.value_size = size > type ? data[size - type] : 8,
			.max_entries = 1,
			.btf_fd = (uint32_t)btf,
			.btf_key_type_id = 1,
			.btf_value_type_id = type };

		map = sluice_bpf(BPF_MAP_CREATE, &create, sizeof(create));
		if (map >= 0)
			close((int)map);
	}
	close((int)btf);
	return 0;
}
