#include <dirent.h>
#include <stdio.h>

#include "cpu.h"
#include "row.h"
#include "start.h"

static uint16_t node_of[SL_MAX_CPUS];

/* The node is a directory entry of the CPU's: nodeN. */
static unsigned read_node(unsigned cpu)
{
	char path[64];
	struct dirent *entry;
	unsigned node = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u", cpu);
	dir = opendir(path);
	if (!dir)
		return 0;
	while ((entry = readdir(dir)) && sscanf(entry->d_name, "node%u", &node) != 1)
		;
	closedir(dir);
	return node;
}

void sl_numa_start(void)
{
	for (unsigned cpu = 0; cpu < sl_cpu_count(); cpu++)
		node_of[cpu] = read_node(cpu);
}

SL_HELPER_FN(get_numa_node_id)
{
	return node_of[ctx->cpu];
}

const struct sl_helper sl_helper_get_smp_processor_id = { SL_ROW(get_smp_processor_id, ANY) };
const struct sl_helper sl_helper_get_numa_node_id = { SL_ROW(get_numa_node_id, ANY) };
