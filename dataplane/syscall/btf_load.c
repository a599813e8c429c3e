#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "btf.h"
#include "command.h"
#include "user.h"
#include "user_log.h"

enum {
	BTF_SIZE_MAX = 16 << 20,
	F_TOKEN_FD = 1 << 16, /* BPF_F_TOKEN_FD, the only flag there is */
};

static int load(const union bpf_attr *attr, struct sl_user_log *log, struct sl_btf **ret_btf)
{
	char reason[SL_BTF_REASON_LEN];
	void *data;
	int err;

	if (attr->btf_size > BTF_SIZE_MAX)
		return -E2BIG;
	data = malloc(sl_max(attr->btf_size, 1u));
	if (!data)
		return -ENOMEM;
	err = sl_user_read(data, attr->btf, attr->btf_size);
	if (!err) {
		err = sl_btf_new(data, attr->btf_size, reason, ret_btf);
		if (err && reason[0])
			sl_user_log_line(log, "%s\n", reason);
	}
	free(data);
	return err;
}

int sl_cmd_btf_load(const struct sl_call *call)
{
	const union bpf_attr *attr = call->attr;
	struct sl_user_log log;
	struct sl_btf *btf = NULL;
	int err;

	if (sl_attr_u32(attr, SL_ATTR_BTF_FLAGS))
		return -EINVAL;
	err = sl_user_log_init(&log, attr->btf_log_level, attr->btf_log_buf, attr->btf_log_size);
	if (err)
		return err;
	err = load(attr, &log, &btf);
	if (log.log.buf && log.log.true_size > log.log.size)
		err = -ENOSPC;
	err = sl_user_log_done(&log, call, SL_ATTR_BTF_LOG_TRUE_SIZE, err);
	if (!err)
		err = sl_object_publish(&btf->obj);
	if (err) {
		if (btf)
			sl_object_unref(&btf->obj);
		return err;
	}
	return sl_fd_give(&btf->obj, O_RDWR);
}
