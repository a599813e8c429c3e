#pragma once

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Traffic control at ports: cls_bpf filters at the two hooks of clsact, and act_bpf and gact
 * actions, with the meaning and the errors of rtnetlink's requests. As dataplane.h, which includes
 * this: any thread but a worker may call; 0 or a negative errno.
 */
enum sluice_tc_hook { SLUICE_TC_INGRESS, SLUICE_TC_EGRESS };

#define SLUICE_TC_ACTIONS 32 /* TCA_ACT_MAX_PRIO */
#define SLUICE_TC_ACTION_OBJECTS 65536 /* of one kind, in all */
#define SLUICE_TC_FILTERS 1024 /* at one hook */
#define SLUICE_TC_NAME_LEN 257 /* CLS_BPF_NAME_LEN and a 0 */
#define SLUICE_TC_COOKIE_LEN 16 /* TC_COOKIE_MAX_SIZE */

enum sluice_tc_kind {
	SLUICE_TC_BY_FD, /* to add: bpf with a program, else gact */
	SLUICE_TC_GACT,
	SLUICE_TC_BPF,
};

/*
 * An action: a bpf program, or a plain verdict. Actions are objects with an index that filters may
 * share; each filter that has one refers to it, and it goes with the last reference.
 */
struct sluice_tc_action {
	int prog_fd; /* -1: none */
	int verdict; /* TC_ACT_*: of a plain action, and what -1 of a program stands for */
	enum sluice_tc_kind kind;
	uint32_t index; /* 0: a free one; one that is there is shared, whatever the rest says */
	const char *name; /* of the program, what the list shows; NULL: none */
	const void *cookie;
	uint8_t cookie_len; /* bytes */
};

enum sluice_tc_flags {
	SLUICE_TC_REPLACE = 1 << 0, /* an existing filter of this priority and handle, or action */
};

/*
 * Adds an action without a filter, as RTM_NEWACTION; one reference keeps it until sluice_tc_action_del.
 * The index that it got is written back. -EEXIST when the index is taken and SLUICE_TC_REPLACE is
 * not set.
 */
int sluice_tc_action_add(struct sluice_tc_action *action, unsigned flags);
/* Drops a reference; -EPERM while filters share it, -ENOENT when there is none. */
int sluice_tc_action_del(enum sluice_tc_kind kind, uint32_t index);

struct sluice_tc_action_info {
	enum sluice_tc_kind kind;
	uint32_t index, references, bindings; /* bindings: of the references, those of filters */
	int verdict;
	uint32_t prog_id; /* 0: none */
	uint8_t prog_tag[BPF_TAG_SIZE];
	bool named;
	char name[SLUICE_TC_NAME_LEN];
	uint8_t cookie[SLUICE_TC_COOKIE_LEN], cookie_len;
	uint64_t packets, bytes, drops;
	uint64_t age_ns; /* since it was added */
	uint64_t idle_ns; /* since its last packet, or since it was added */
	uint64_t first_ns; /* since its first packet, 0 without any */
};
/* The action of a kind with the smallest index from `index` on; -ENOENT after the last. */
int sluice_tc_action_next(
	enum sluice_tc_kind kind, uint32_t index, struct sluice_tc_action_info *ret_info);

/*
 * What holds a port's filters: clsact both hooks', ingress those of its one. Without one there are
 * none; sluice_tc_add puts clsact there first. Dropping or replacing it drops the filters.
 */
enum sluice_tc_qdisc { SLUICE_TC_NO_QDISC, SLUICE_TC_QDISC_INGRESS, SLUICE_TC_QDISC_CLSACT };

int sluice_tc_qdisc_set(uint32_t ifindex, enum sluice_tc_qdisc qdisc);
int sluice_tc_qdisc_get(uint32_t ifindex, enum sluice_tc_qdisc *ret_qdisc);
/*
 * By what number the filters of ingress were last spoken of: rtnetlink knows many for them, and lists
 * show that one. 0 before.
 */
int sluice_tc_parent_set(uint32_t ifindex, uint32_t parent);
uint32_t sluice_tc_parent_get(uint32_t ifindex);

struct sluice_tc_filter {
	uint32_t priority; /* 1 to 65535, 0: before all that were added with 0 */
	uint32_t handle; /* 0: the smallest free one of the priority */
	uint32_t classid; /* major << 16 | minor */
	uint16_t protocol; /* ETH_P_*; 0: ETH_P_ALL */
	bool direct_action;
	int prog_fd;
	const char *name; /* what the list shows, NULL: the program's name */
	unsigned action_count; /* none: a match ends with TC_ACT_OK */
	const struct sluice_tc_action *actions;
	uint32_t
		offload_flags; /* TCA_CLS_FLAGS_SKIP_*, which the list shows; SKIP_SW: -EOPNOTSUPP */
};

/*
 * Adds a cls_bpf filter, as RTM_NEWTFILTER; it holds references to its programs. The priority and
 * handle that it got are written back. -EEXIST when handle is taken, -EINVAL when another protocol
 * has the priority.
 */
int sluice_tc_add(uint32_t ifindex, enum sluice_tc_hook hook, struct sluice_tc_filter *filter,
	unsigned flags);
/* priority 0: all filters; handle 0: all of the priority. -ENOENT when there is none. */
int sluice_tc_del(uint32_t ifindex, enum sluice_tc_hook hook, uint32_t priority, uint32_t handle);

struct sluice_tc_info {
	uint32_t priority, handle, classid, prog_id;
	uint8_t prog_tag[BPF_TAG_SIZE];
	uint16_t protocol;
	bool direct_action;
	uint32_t offload_flags;
	unsigned action_count;
	struct {
		enum sluice_tc_kind kind;
		uint32_t index;
	} actions[SLUICE_TC_ACTIONS];
	bool named; /* it was given a name; else `name` is the program's */
	char name[SLUICE_TC_NAME_LEN];
};
/* The filter at `index` in the order in which packets meet them; -ENOENT past the last. */
int sluice_tc_get(uint32_t ifindex, enum sluice_tc_hook hook, unsigned index,
	struct sluice_tc_info *ret_info);

#ifdef __cplusplus
}
#endif
