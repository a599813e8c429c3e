#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <linux/if_packet.h>

#include <rte_mbuf.h>

#include "clock.h"
#include "fd.h"
#include "logging.h"
#include "packet.h"
#include "port.h"
#include "prog.h"
#include "run_stats.h"
#include "tap_ring.h"
#include "worker.h"

enum { RING_MIN = 1 << 16, RING_MAX = 1 << 30, TAGGED_MAX = 1 << 16 };

/* All taps, by id - 1. Under the ports' lock. */
static struct sl_tap *taps[SLUICE_TAPS];

/* The worker's part. */

static void count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* The mbuf's own bounds of the first segment are stale while programs run; those of others hold. */
static void copy_out(uint8_t *to, const struct sl_ctx *ctx, uint32_t len)
{
	uint32_t n = sl_min((uint32_t)(ctx->data_end - ctx->data), len);

	memcpy(to, ctx->data, n);
	for (const struct rte_mbuf *m = ctx->mbuf->next; m && n < len; m = m->next) {
		uint32_t part = sl_min((uint32_t)m->data_len, len - n);

		memcpy(to + n, rte_pktmbuf_mtod(m, const uint8_t *), part);
		n += part;
	}
}

static void keep(struct sl_tap_worker *w, const struct sl_ctx *ctx, uint32_t len)
{
	struct sl_tap_record *record;

	count(&w->accepted, 1);
	count(&w->bytes, len);
	if (!w->ring)
		return;
	record = sl_tap_ring_reserve(w->ring, len);
	if (!record) {
		count(&w->lost, 1);
		return;
	}
	record->len = ctx->len;
	record->mark = ctx->mark;
	record->time_ns = sl_clock_ns();
	record->vlan_tci = (uint16_t)ctx->vlan_tci;
	record->vlan_proto = ctx->vlan_present ? (uint16_t)ctx->vlan_proto : 0;
	record->pkt_type = (uint8_t)ctx->pkt_type;
	copy_out((uint8_t *)(record + 1), ctx, len);
	sl_tap_ring_publish(w->ring, record);
}

void sl_tap_show(struct sl_worker *worker, const struct sl_tap_list *list, const struct sl_ctx *ctx,
	bool outgoing)
{
	for (uint32_t i = 0; i < list->count; i++) {
		struct sl_tap *tap = list->taps[i];
		struct sl_tap_worker *w = &tap->workers[worker->index];
		struct sl_ctx own = *ctx;
		uint32_t kept;

		if (outgoing && tap->ignore_outgoing)
			continue;
		if (outgoing)
			own.pkt_type = PACKET_OUTGOING;
		memset(own.cb, 0, sizeof(own.cb));
		own.tail_calls = 0;
		count(&w->seen, 1);
		kept = (uint32_t)sl_run_one(tap->prog, &own);
		if (kept)
			keep(w, &own, sl_min(kept, own.len));
	}
}

/* The control threads' part. */

static void tap_free(struct sl_tap *tap)
{
	if (!tap)
		return;
	for (unsigned i = 0; tap->workers && i < sl_worker_count(); i++)
		sl_tap_ring_free(tap->workers[i].ring);
	free(tap->workers);
	if (tap->prog)
		sl_object_unref(&tap->prog->obj);
	free(tap);
}

static int64_t realtime_offset_ns(void)
{
	struct timespec real, mono;

	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	return (int64_t)(real.tv_sec - mono.tv_sec) * 1000000000 + real.tv_nsec - mono.tv_nsec;
}

static int new_workers(struct sl_tap *tap, uint32_t ring_bytes)
{
	size_t size = sl_worker_count() * sizeof(*tap->workers);
	uint32_t capacity = RING_MIN;

	if (ring_bytes > RING_MAX)
		return -E2BIG;
	while (capacity < ring_bytes)
		capacity *= 2;
	tap->workers = aligned_alloc(SL_CACHE_LINE, size);
	if (!tap->workers)
		return -ENOMEM;
	memset(tap->workers, 0, size);
	for (unsigned i = 0; ring_bytes && i < sl_worker_count(); i++) {
		tap->workers[i].ring = sl_tap_ring_new(capacity);
		if (!tap->workers[i].ring)
			return -ENOMEM;
	}
	return 0;
}

static int new_tap(int prog_fd, const struct sluice_tap_options *options, struct sl_tap **ret_tap)
{
	struct sl_tap *tap = calloc(1, sizeof(*tap));
	struct sl_object *obj;
	int err = tap ? sl_fd_get(prog_fd, SL_OBJECT_PROG, &obj) : -ENOMEM;

	if (!err) {
		tap->prog = sl_prog_of(obj);
		err = tap->prog->type == BPF_PROG_TYPE_SOCKET_FILTER ? 0 : -EINVAL;
	}
	if (!err)
		err = new_workers(tap, options->ring_bytes);
	if (err) {
		tap_free(tap);
		return err;
	}
	tap->ignore_outgoing = options->ignore_outgoing;
	tap->realtime_ns = realtime_offset_ns();
	*ret_tap = tap;
	return 0;
}

static void list_free(struct sl_rcu_head *head)
{
	free(sl_container_of(head, struct sl_tap_list, rcu));
}

/* Publishes the port's list with one tap more or less. With the lock held. */
static int change_list(struct sl_port *port, struct sl_tap *add, const struct sl_tap *del)
{
	struct sl_tap_list *old = port->taps, *new = NULL;
	uint32_t count = old ? old->count : 0;

	if (count + (add != NULL) - (del != NULL) > 0) {
		new = calloc(1, sizeof(*new) + (count + 1) * sizeof(new->taps[0]));
		if (!new)
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < count; i++)
		if (old->taps[i] != del)
			new->taps[new->count++] = old->taps[i];
	if (add)
		new->taps[new->count++] = add;
	sl_rcu_store(port->taps, new);
	if (old)
		sl_rcu_call(&old->rcu, list_free);
	return 0;
}

/* With the lock held. */
static int publish(struct sl_tap *tap, uint32_t ifindex)
{
	struct sl_port *port = sl_port_peek(ifindex);
	unsigned free_id = 0;
	int err;

	if (!port)
		return -ENODEV;
	while (free_id < SLUICE_TAPS && taps[free_id])
		free_id++;
	if (free_id == SLUICE_TAPS)
		return -ENOSPC;
	err = change_list(port, tap, NULL);
	if (err)
		return err;
	tap->port = port;
	tap->id = free_id + 1;
	taps[free_id] = tap;
	return 0;
}

int sluice_tap_add(
	uint32_t ifindex, int prog_fd, const struct sluice_tap_options *options, uint32_t *ret_tap)
{
	static const struct sluice_tap_options defaults;
	struct sl_tap *tap = NULL;
	int err = sl_clock_start();

	if (!err)
		err = new_tap(prog_fd, options ?: &defaults, &tap);
	if (!err) {
		sl_port_lock();
		err = publish(tap, ifindex);
		if (!err)
			*ret_tap = tap->id;
		sl_port_unlock();
	}
	if (err) {
		tap_free(tap);
		sl_log(SL_LOG_ERROR, "cannot tap port %u: %s", ifindex, strerror(-err));
	}
	return err;
}

/* With the lock held. */
static struct sl_tap *tap_of(uint32_t id)
{
	return id && id <= SLUICE_TAPS ? taps[id - 1] : NULL;
}

int sluice_tap_del(uint32_t id)
{
	struct sl_tap *tap;
	int err = 0;

	sl_port_lock();
	tap = tap_of(id);
	if (!tap)
		err = -ENOENT;
	else if (tap->reading)
		err = -EBUSY;
	else if (tap->port)
		err = change_list(tap->port, NULL, tap);
	if (!err) {
		taps[id - 1] = NULL;
		sl_rcu_synchronize();
	}
	sl_port_unlock();
	if (!err)
		tap_free(tap);
	return err;
}

void sl_tap_forget_port(struct sl_port *port)
{
	for (unsigned i = 0; i < SLUICE_TAPS; i++)
		if (taps[i] && taps[i]->port == port)
			taps[i]->port = NULL;
	free(port->taps);
	port->taps = NULL;
}

int sluice_tap_counters(uint32_t id, struct sluice_tap_counters *ret_counters)
{
	struct sluice_tap_counters sum = { 0 };
	const struct sl_tap *tap;

	sl_port_lock();
	tap = tap_of(id);
	for (unsigned i = 0; tap && i < sl_worker_count(); i++) {
		const struct sl_tap_worker *w = &tap->workers[i];

		sum.seen += __atomic_load_n(&w->seen, __ATOMIC_RELAXED);
		sum.accepted += __atomic_load_n(&w->accepted, __ATOMIC_RELAXED);
		sum.lost += __atomic_load_n(&w->lost, __ATOMIC_RELAXED);
		sum.bytes += __atomic_load_n(&w->bytes, __ATOMIC_RELAXED);
	}
	sl_port_unlock();
	if (!tap)
		return -ENOENT;
	*ret_counters = sum;
	return 0;
}

/* The ring with the oldest record, so that packets come in the order of their time. */
static struct sl_tap_ring *oldest(struct sl_tap *tap, const struct sl_tap_record **ret_record)
{
	struct sl_tap_ring *ring = NULL;

	for (unsigned i = 0; i < sl_worker_count(); i++) {
		const struct sl_tap_record *record =
			tap->workers[i].ring ? sl_tap_ring_peek(tap->workers[i].ring) : NULL;

		if (record && (!ring || record->time_ns < (*ret_record)->time_ns)) {
			ring = tap->workers[i].ring;
			*ret_record = record;
		}
	}
	return ring;
}

/* What the wire had: the tag goes back into the data. */
static void hand_over(const struct sl_tap *tap, const struct sl_tap_record *record,
	sluice_tap_fn fn, void *arg, uint8_t *tagged)
{
	enum { ADDRS = 12, TAG = 4 };
	struct sluice_tap_packet packet = {
		.time_ns = record->time_ns + (uint64_t)tap->realtime_ns,
		.data = (const uint8_t *)(record + 1),
		.captured = record->captured,
		.len = record->len,
		.mark = record->mark,
		.outgoing = record->pkt_type == PACKET_OUTGOING,
	};

	if (record->vlan_proto && record->captured >= ADDRS &&
		record->captured + TAG <= TAGGED_MAX) {
		uint16_t tag[2] = { record->vlan_proto,
			(uint16_t)(record->vlan_tci << 8 | record->vlan_tci >> 8) };

		memcpy(tagged, packet.data, ADDRS);
		memcpy(tagged + ADDRS, tag, TAG);
		memcpy(tagged + ADDRS + TAG, packet.data + ADDRS, record->captured - ADDRS);
		packet.data = tagged;
		packet.captured += TAG;
		packet.len += TAG;
	}
	fn(&packet, arg);
}

static struct sl_tap *begin_reading(uint32_t id, int *ret_err)
{
	struct sl_tap *tap;

	sl_port_lock();
	tap = tap_of(id);
	*ret_err = !tap ? -ENOENT : tap->reading ? -EBUSY : 0;
	if (!*ret_err)
		tap->reading = true;
	sl_port_unlock();
	return tap;
}

int sluice_tap_read(uint32_t id, unsigned max, sluice_tap_fn fn, void *arg)
{
	const struct sl_tap_record *record = NULL;
	struct sl_tap_ring *ring;
	int err, n = 0;
	struct sl_tap *tap = begin_reading(id, &err);
	uint8_t *tagged;

	if (err)
		return err;
	tagged = malloc(TAGGED_MAX);
	while (tagged && (unsigned)n < max && (ring = oldest(tap, &record)) != NULL) {
		hand_over(tap, record, fn, arg, tagged);
		sl_tap_ring_release(ring, record);
		n++;
	}
	sl_port_lock();
	tap->reading = false;
	sl_port_unlock();
	err = tagged ? 0 : -ENOMEM;
	free(tagged);
	return err ?: n;
}
