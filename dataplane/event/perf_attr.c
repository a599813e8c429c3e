#include "perf_object.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SAMPLE_RATE_MAX = 100000 };

static const uint64_t supported_fields = PERF_SAMPLE_RAW | PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP |
					 PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_ADDR |
					 PERF_SAMPLE_ID | PERF_SAMPLE_STREAM_ID | PERF_SAMPLE_CPU |
					 PERF_SAMPLE_PERIOD;

/* The attributes grow at their end: what an older program did not write counts as zero. */
static int copy(struct perf_event_attr *user, struct perf_event_attr *attr)
{
	static const struct perf_event_attr *const nowhere = (void *)4096; /* never mapped below */
	uint32_t size;

	if (user < nowhere)
		return -EFAULT;
	size = user->size ? user->size : PERF_ATTR_SIZE_VER0;
	if (size < PERF_ATTR_SIZE_VER0 || size > (uint32_t)sysconf(_SC_PAGESIZE))
		goto too_big;
	for (uint32_t i = sizeof(*attr); i < size; i++) {
		if (((const uint8_t *)user)[i])
			goto too_big;
	}
	memset(attr, 0, sizeof(*attr));
	memcpy(attr, user, sl_min(size, sizeof(*attr)));
	attr->size = size;
	return 0;
too_big:
	user->size = sizeof(*attr);
	return -E2BIG;
}

static int check(const struct perf_event_attr *attr)
{
	if (attr->__reserved_1 || attr->__reserved_2 || attr->__reserved_3 ||
		attr->sample_type >= PERF_SAMPLE_MAX || attr->read_format >= PERF_FORMAT_MAX)
		return -EINVAL;
	if (attr->inherit_thread && !attr->inherit)
		return -EINVAL;
	if (attr->sigtrap && !attr->remove_on_exec)
		return -EINVAL;
	if (attr->freq ? attr->sample_freq > SAMPLE_RATE_MAX : attr->sample_period >> 63)
		return -EINVAL;
	if (!sl_perf_clock(attr))
		return -EINVAL;
	if (attr->sample_type & ~supported_fields || attr->write_backward || attr->aux_output ||
		attr->sigtrap)
		return -EOPNOTSUPP;
	return 0;
}

int sl_perf_attr_check(const struct perf_event_attr *user, struct perf_event_attr *ret_attr)
{
	struct perf_event_attr attr;
	int err = copy((struct perf_event_attr *)user, &attr);

	if (err)
		return err;
	if (attr.type != PERF_TYPE_SOFTWARE || attr.config != PERF_COUNT_SW_BPF_OUTPUT)
		return -ENOENT;
	err = check(&attr);
	if (!err)
		*ret_attr = attr;
	return err;
}

#define CLOCK(name, id)                                                   \
	static uint64_t name(void)                                        \
	{                                                                 \
		struct timespec ts;                                       \
                                                                          \
		clock_gettime(id, &ts); /* in the vDSO: no system call */ \
		return ts.tv_sec * 1000000000ull + ts.tv_nsec;            \
	}

CLOCK(now_monotonic, CLOCK_MONOTONIC)
CLOCK(now_monotonic_raw, CLOCK_MONOTONIC_RAW)
CLOCK(now_realtime, CLOCK_REALTIME)
CLOCK(now_boottime, CLOCK_BOOTTIME)
CLOCK(now_tai, CLOCK_TAI)

uint64_t (*sl_perf_clock(const struct perf_event_attr *attr))(void)
{
	if (!attr->use_clockid)
		return now_monotonic;
	switch (attr->clockid) {
	case CLOCK_MONOTONIC:
		return now_monotonic;
	case CLOCK_MONOTONIC_RAW:
		return now_monotonic_raw;
	case CLOCK_REALTIME:
		return now_realtime;
	case CLOCK_BOOTTIME:
		return now_boottime;
	case CLOCK_TAI:
		return now_tai;
	default:
		return NULL;
	}
}
