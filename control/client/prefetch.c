#include "prefetch.h"

#include <stddef.h>
#include <string.h>

/* Where in the attributes: a descriptor; an address, and either a number of bytes or a count. */
struct range {
	uint16_t address;
	uint16_t bytes; /* at most, up to the end of the page; or with a count, of each element */
	uint16_t count; /* offset of the number of elements; 0: none */
};

struct row {
	uint16_t fd_count;
	uint16_t fds[SL_PREFETCH_FDS];
	struct range ranges[SL_PREFETCH_RANGES];
};

#define AT(field) offsetof(union bpf_attr, field)

/* Newer than Debian 12's header: a file, where a path is led to one (remote_pin.c). */
enum { AT_PATH_FD = 16 };

enum { KEY_BYTES = 64, VALUE_BYTES = 256, PAGE = 4096, COUNTED_MAX = 256 << 10 };

static const struct row rows[] = {
	[BPF_MAP_LOOKUP_ELEM] = { 1, { AT(map_fd) }, { { AT(key), KEY_BYTES } } },
	[BPF_MAP_UPDATE_ELEM] = { 1, { AT(map_fd) },
		{ { AT(key), KEY_BYTES }, { AT(value), VALUE_BYTES } } },
	[BPF_MAP_DELETE_ELEM] = { 1, { AT(map_fd) }, { { AT(key), KEY_BYTES } } },
	[BPF_MAP_GET_NEXT_KEY] = { 1, { AT(map_fd) }, { { AT(key), KEY_BYTES } } },
	[BPF_MAP_LOOKUP_AND_DELETE_ELEM] = { 1, { AT(map_fd) }, { { AT(key), KEY_BYTES } } },
	[BPF_MAP_FREEZE] = { 1, { AT(map_fd) }, { { 0 } } },
	[BPF_MAP_LOOKUP_BATCH] = { 1, { AT(batch.map_fd) }, { { AT(batch.in_batch), KEY_BYTES } } },
	[BPF_MAP_LOOKUP_AND_DELETE_BATCH] = { 1, { AT(batch.map_fd) },
		{ { AT(batch.in_batch), KEY_BYTES } } },
	[BPF_MAP_UPDATE_BATCH] = { 1, { AT(batch.map_fd) }, { { 0 } } },
	[BPF_MAP_DELETE_BATCH] = { 1, { AT(batch.map_fd) }, { { 0 } } },
	[BPF_PROG_LOAD] = { 0, { 0 },
		{ { AT(insns), sizeof(struct bpf_insn), AT(insn_cnt) },
			{ AT(license), KEY_BYTES } } },
	[BPF_PROG_TEST_RUN] = { 1, { AT(test.prog_fd) },
		{ { AT(test.data_in), 1, AT(test.data_size_in) },
			{ AT(test.ctx_in), 1, AT(test.ctx_size_in) } } },
	[BPF_PROG_BIND_MAP] = { 2, { AT(prog_bind_map.prog_fd), AT(prog_bind_map.map_fd) },
		{ { 0 } } },
	[BPF_BTF_LOAD] = { 0, { 0 }, { { AT(btf), 1, AT(btf_size) } } },
	[BPF_OBJ_PIN] = { 2, { AT(bpf_fd), AT_PATH_FD }, { { AT(pathname), 1 } } },
	[BPF_OBJ_GET] = { 1, { AT_PATH_FD }, { { AT(pathname), 1 } } },
	[BPF_OBJ_GET_INFO_BY_FD] = { 1, { AT(info.bpf_fd) },
		{ { AT(info.info), 1, AT(info.info_len) } } },
	[BPF_LINK_CREATE] = { 1, { AT(link_create.prog_fd) }, { { 0 } } },
	[BPF_LINK_UPDATE] = { 2, { AT(link_update.link_fd), AT(link_update.new_prog_fd) },
		{ { 0 } } },
	[BPF_LINK_DETACH] = { 1, { AT(link_detach.link_fd) }, { { 0 } } },
};

static uint32_t u32_at(const union bpf_attr *attr, size_t offset)
{
	uint32_t value;

	memcpy(&value, (const char *)attr + offset, sizeof(value));
	return value;
}

static uint64_t u64_at(const union bpf_attr *attr, size_t offset)
{
	uint64_t value;

	memcpy(&value, (const char *)attr + offset, sizeof(value));
	return value;
}

static void plan_range(
	const struct range *range, const union bpf_attr *attr, struct sl_prefetch *ret)
{
	uint64_t address = u64_at(attr, range->address);
	uint64_t len = range->bytes;

	if (range->count)
		len *= u32_at(attr, range->count);
	else if (len > PAGE - address % PAGE)
		len = PAGE - address % PAGE;
	if (!address || !len || len > COUNTED_MAX)
		return;
	ret->ranges[ret->range_count].address = address;
	ret->ranges[ret->range_count++].len_bytes = (uint32_t)len;
}

void sl_prefetch_plan(int cmd, const union bpf_attr *attr, struct sl_prefetch *ret)
{
	const struct row *row;

	ret->range_count = ret->fd_count = 0;
	if (cmd < 0 || (size_t)cmd >= sizeof(rows) / sizeof(rows[0]))
		return;
	row = &rows[cmd];
	for (unsigned i = 0; i < row->fd_count; i++)
		ret->fds[ret->fd_count++] = (int)u32_at(attr, row->fds[i]);
	for (unsigned i = 0; i < SL_PREFETCH_RANGES && row->ranges[i].bytes; i++)
		plan_range(&row->ranges[i], attr, ret);
}
