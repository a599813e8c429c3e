#include "field.h"

#include <errno.h>

#include "ctx_rows.h"

/* hwtstamp is the last member, newer than the build machine's header may be. */
#define SK_BUFF_SIZE 192

const struct sl_field *sl_fields_of(enum bpf_prog_type type, unsigned *ret_count)
{
	switch (type) {
	case BPF_PROG_TYPE_XDP:
		*ret_count = sl_xdp_field_count;
		return sl_xdp_fields;
	case BPF_PROG_TYPE_SOCKET_FILTER:
	case BPF_PROG_TYPE_SCHED_CLS:
	case BPF_PROG_TYPE_SCHED_ACT:
		*ret_count = sl_skb_field_count;
		return sl_skb_fields;
	default:
		*ret_count = 0;
		return NULL;
	}
}

const struct sl_field *sl_field_at(enum bpf_prog_type type, unsigned offset)
{
	unsigned count;
	const struct sl_field *rows = sl_fields_of(type, &count);

	for (unsigned i = 0; i < count; i++)
		if (offset >= rows[i].offset && offset < rows[i].offset + rows[i].size)
			return &rows[i];
	return NULL;
}

int sl_field_access(enum bpf_prog_type type, enum bpf_attach_type attach, unsigned offset,
	unsigned size, bool write, bool sign_extend, const struct sl_field **ret_field)
{
	const struct sl_field *row = sl_field_at(type, offset);

	if (!row || offset % size != 0 || offset + size > row->offset + row->size)
		return -EACCES;
	if (!((write ? row->writable_by : row->readable_by) & SL_PROG_BIT(type)))
		return -EACCES;
	if (!((write ? row->write_widths : row->read_widths) & size))
		return -EACCES;
	if (row->only_attach && row->only_attach != attach)
		return -EACCES;
	if (sign_extend && row->kind != SL_FIELD_SCALAR)
		return -EACCES;
	*ret_field = row;
	return 0;
}

unsigned sl_ctx_size(enum bpf_prog_type type)
{
	unsigned count;
	const struct sl_field *rows = sl_fields_of(type, &count);

	if (!rows)
		return 0;
	return rows == sl_xdp_fields ? sizeof(struct xdp_md) : SK_BUFF_SIZE;
}
