#include <errno.h>
#include <string.h>

#include <sluice/stats.h>

#include "port.h"
#include "twin.h"
#include "worker.h"

static const struct {
	const char *name;
	enum sluice_counter_kind kind;
} counters[SLUICE_COUNTER_COUNT] = {
#define X(id, text, of_kind) [SLUICE_##id] = { .name = text, .kind = SLUICE_KIND_##of_kind },
	SLUICE_COUNTERS(X)
#undef X
};

const char *sluice_counter_name(enum sluice_counter counter)
{
	return (unsigned)counter < SLUICE_COUNTER_COUNT ? counters[counter].name : NULL;
}

enum sluice_counter_kind sluice_counter_kind(enum sluice_counter counter)
{
	return counters[counter].kind;
}

/* The hooks' verdicts, in the order of enum sluice_counter. */
#define XDP(id, text) [SLUICE_XDP_##id] = { "xdp", text }
#define TC_HOOK(HOOK, text)                                                                       \
	[SLUICE_##HOOK##_UNSPEC] = { text, "unspec" }, [SLUICE_##HOOK##_OK] = { text, "ok" },     \
	[SLUICE_##HOOK##_RECLASSIFY] = { text, "reclassify" },                                    \
	[SLUICE_##HOOK##_PIPE] = { text, "pipe" }, [SLUICE_##HOOK##_REPEAT] = { text, "repeat" }, \
	[SLUICE_##HOOK##_REDIRECT] = { text, "redirect" },                                        \
	[SLUICE_##HOOK##_SHOT] = { text, "shot" }, [SLUICE_##HOOK##_STOLEN] = { text, "stolen" }, \
	[SLUICE_##HOOK##_QUEUED] = { text, "queued" }, [SLUICE_##HOOK##_TRAP] = { text, "trap" }

static const struct {
	const char *hook, *verdict;
} verdicts[SLUICE_COUNTER_COUNT] = {
	XDP(PASS, "pass"),
	XDP(TX, "tx"),
	XDP(REDIRECT, "redirect"),
	XDP(DROP, "drop"),
	XDP(ABORTED, "aborted"),
	XDP(INVALID, "invalid"),
	TC_HOOK(INGRESS, "ingress"),
	TC_HOOK(EGRESS, "egress"),
};

bool sluice_counter_verdict(
	enum sluice_counter counter, const char **ret_hook, const char **ret_verdict)
{
	if (!verdicts[counter].hook)
		return false;
	*ret_hook = verdicts[counter].hook;
	*ret_verdict = verdicts[counter].verdict;
	return true;
}

bool sluice_counter_is_drop(enum sluice_counter counter)
{
	/* Who gets the packet then: the other end of a cable, the kernel, a socket. */
	if (counter == SLUICE_TX || counter == SLUICE_KERNEL || counter == SLUICE_XSK)
		return false;
	return counters[counter].kind == SLUICE_KIND_OUT;
}

static void add(struct sluice_counters *sum, const struct sluice_counters *counters_of_one)
{
	for (unsigned i = 0; i < SLUICE_COUNTER_COUNT; i++)
		sum->value[i] += __atomic_load_n(&counters_of_one->value[i], __ATOMIC_RELAXED);
}

int sluice_counters_read(uint32_t ifindex, int worker, struct sluice_counters *ret_counters)
{
	uint32_t first = 0, last = SL_PORTS_MAX - 1;

	if (worker >= (int)sl_worker_count())
		return -EINVAL;
	memset(ret_counters, 0, sizeof(*ret_counters));
	sl_port_lock();
	if (ifindex) {
		const struct sl_port *port = sl_port_peek(ifindex);

		if (!port) {
			sl_port_unlock();
			return -ENODEV;
		}
		first = last = port->id;
	}
	for (unsigned w = 0; w < sl_worker_count(); w++) {
		if (worker >= 0 && w != (unsigned)worker)
			continue;
		for (uint32_t port = first; port <= last; port++)
			add(ret_counters, &sl_worker_at(w)->counters[port]);
		if (!ifindex) {
			add(ret_counters, &sl_worker_at(w)->retired);
			add(ret_counters, &sl_worker_at(w)->homeless);
		}
	}
	for (uint32_t port = first; worker < 0 && port <= last; port++) {
		if (sl_ports[port] && sl_ports[port]->twin)
			add(ret_counters, &sl_ports[port]->twin->counters);
	}
	sl_port_unlock();
	return 0;
}

void sl_counters_retire_more(const struct sluice_counters *last)
{
	add(&sl_worker_at(0)->retired, last);
}

void sl_counters_retire(uint16_t port_id)
{
	for (unsigned w = 0; w < sl_worker_count(); w++) {
		struct sl_worker *worker = sl_worker_at(w);

		add(&worker->retired, &worker->counters[port_id]);
		memset(&worker->counters[port_id], 0, sizeof(worker->counters[port_id]));
	}
}

uint64_t sluice_counters_sum(const struct sluice_counters *from, enum sluice_counter_kind kind)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < SLUICE_COUNTER_COUNT; i++) {
		if (counters[i].kind == kind)
			sum += from->value[i];
	}
	return sum;
}
