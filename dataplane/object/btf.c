#include "btf.h"

#include <bpf/btf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "btf_check.h"
#include "btf_record.h"

static void release(struct sl_object *obj)
{
	struct sl_btf *btf = sl_btf_of(obj);

	free(btf->structs);
	btf__free(btf->btf);
	free(btf->data);
	free(btf);
}

static const struct sl_object_ops ops = { .release = release };

int sl_btf_new(
	const void *data, uint32_t size, char reason[SL_BTF_REASON_LEN], struct sl_btf **ret_btf)
{
	struct sl_btf *btf;
	int err;

	reason[0] = '\0';
	err = sl_btf_check(data, size, reason);
	if (err)
		return err;
	btf = calloc(1, sizeof(*btf));
	if (!btf)
		return -ENOMEM;
	btf->size = size;
	btf->data = malloc(size);
	if (!btf->data) {
		free(btf);
		return -ENOMEM;
	}
	memcpy(btf->data, data, size);
	btf->btf = btf__new(data, size);
	if (!btf->btf) {
		err = -errno;
		free(btf->data);
		free(btf);
		return err;
	}
	sl_object_init(&btf->obj, SL_OBJECT_BTF, &ops);
	err = sl_btf_record_check_structs(btf);
	if (err) {
		release(&btf->obj);
		return err;
	}
	*ret_btf = btf;
	return 0;
}
