#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "context.h"
#include "instrument.h"
#include "map.h"
#include "objects.h"

/*
 * What a running program may access, by thread: the frames of its functions, and the memory that
 * look-ups and reservations gave it since it began. The packet and the context are in the context.
 */

enum { FRAMES = 64, OBJECTS = 4096, TEXT_BYTES = 200 };

struct region {
	uint64_t base, len_bytes;
};

static __thread struct {
	struct region frames[FRAMES], objects[OBJECTS];
	unsigned depth, object_count;
	bool stopped;
} run;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char first[TEXT_BYTES]; /* under the lock */
static uint64_t count; /* under the lock */

static bool violation(const char *format, ...) __attribute__((format(printf, 1, 2)));

static bool violation(const char *format, ...)
{
	va_list args;

	run.stopped = true;
	pthread_mutex_lock(&lock);
	count++;
	va_start(args, format);
	if (!first[0])
		vsnprintf(first, sizeof(first), format, args);
	va_end(args);
	pthread_mutex_unlock(&lock);
	return false;
}

bool sl_instrument_take(char *ret_text, size_t size)
{
	bool any;

	pthread_mutex_lock(&lock);
	any = first[0];
	if (any)
		snprintf(ret_text, size, "%s", first);
	first[0] = '\0';
	pthread_mutex_unlock(&lock);
	return any;
}

uint64_t sl_instrument_count(void)
{
	uint64_t now;

	pthread_mutex_lock(&lock);
	now = count;
	pthread_mutex_unlock(&lock);
	return now;
}

void sl_check_enter(struct sl_ctx *ctx, uint64_t frame, uint64_t len_bytes)
{
	if (!run.depth) {
		run.object_count = 0;
		run.stopped = false;
	}
	if (run.depth < FRAMES)
		run.frames[run.depth] = (struct region){ frame, len_bytes };
	run.depth++;
}

void sl_check_leave(void)
{
	run.depth--;
}

static bool holds(const struct region *region, uint64_t address, uint64_t len_bytes)
{
	return address >= region->base && len_bytes <= region->len_bytes &&
	       address - region->base <= region->len_bytes - len_bytes;
}

static bool in_stack(uint64_t flags, uint64_t address, uint64_t off, uint64_t len_bytes)
{
	const struct region *own = &run.frames[run.depth - 1];

	if (run.depth > FRAMES)
		return true;
	if (flags & SL_CHECK_OWN_FRAME)
		return holds(own, address, len_bytes) &&
		       (!(flags & SL_CHECK_CONST_OFF) ||
			       address == own->base + own->len_bytes + off);
	for (unsigned i = 0; i < run.depth; i++)
		if (holds(&run.frames[i], address, len_bytes))
			return true;
	return false;
}

static bool in_packet(const struct sl_ctx *ctx, uint64_t flags, uint64_t address, uint64_t off,
	uint64_t len_bytes)
{
	uint64_t from = (uintptr_t)ctx->data_meta, to = (uintptr_t)ctx->data_end;

	return holds(&(struct region){ from, to - from }, address, len_bytes) &&
	       (!(flags & SL_CHECK_CONST_OFF) || address == (uintptr_t)ctx->data + off);
}

/* The latest first: an address may have been another object's before. */
static bool in_object(uint64_t flags, uint64_t address, uint64_t off, uint64_t len_bytes)
{
	for (unsigned i = run.object_count; i-- > 0;)
		if (holds(&run.objects[i], address, len_bytes) &&
			(!(flags & SL_CHECK_CONST_OFF) || address == run.objects[i].base + off))
			return true;
	return flags & SL_CHECK_LENIENT || run.object_count == OBJECTS;
}

static bool in_any(const struct sl_ctx *ctx, uint64_t address, uint64_t len_bytes)
{
	struct region context = { (uintptr_t)ctx, sizeof(*ctx) };

	return in_stack(0, address, 0, len_bytes) || in_packet(ctx, 0, address, 0, len_bytes) ||
	       holds(&context, address, len_bytes) || in_object(0, address, 0, len_bytes);
}

/* In one of the objects of programs, which nobody registers. */
static bool in_allocated(uint64_t address, uint64_t len_bytes)
{
	void *object = sl_object_of((void *)(uintptr_t)address);

	return object && address >= (uintptr_t)object &&
	       sl_object_of((void *)(uintptr_t)(address + len_bytes - 1)) == object;
}

bool sl_check_access(struct sl_ctx *ctx, uint64_t pc, uint64_t flags, uint64_t address,
	uint64_t off, uint64_t len_bytes)
{
	bool good = false;

	if (run.stopped)
		return false;
	switch (flags & SL_CHECK_KIND) {
	case SL_MEM_STACK:
		good = in_stack(flags, address, off, len_bytes);
		break;
	case SL_MEM_CTX:
		good = !(flags & SL_CHECK_CONST_OFF) || address - off == (uintptr_t)ctx;
		break;
	case SL_MEM_PACKET:
		good = in_packet(ctx, flags, address, off, len_bytes);
		break;
	case SL_MEM_OBJECT:
		good = in_allocated(address, len_bytes) ||
		       in_object(flags, address, off, len_bytes);
		break;
	case SL_MEM_MAP_VALUE:
		good = in_object(flags, address, off, len_bytes);
		break;
	case SL_MEM_MIXED:
		good = flags & SL_CHECK_LENIENT || in_any(ctx, address, len_bytes);
		break;
	}
	return good || violation("instruction %" PRIu64 ": %" PRIu64 " bytes at %#" PRIx64
				 " are not in the memory of kind %u, offset %" PRId64 ", flags %#x",
			       pc, len_bytes, address, (unsigned)(flags & SL_CHECK_KIND),
			       (int64_t)off, (unsigned)flags & ~SL_CHECK_KIND);
}

bool sl_check_range(uint64_t pc, uint64_t value, uint64_t min, uint64_t max)
{
	if (run.stopped)
		return false;
	return (value >= min && value <= max) ||
	       violation("instruction %" PRIu64 ": %#" PRIx64 " is not in [%#" PRIx64 ", %#" PRIx64
			 "]",
		       pc, value, min, max);
}

void sl_check_object(uint64_t address, uint64_t len_bytes)
{
	struct region object = { address, len_bytes };

	if (address && run.object_count < OBJECTS)
		run.objects[run.object_count++] = object;
}

void sl_check_map_value(const struct sl_map *map, uint64_t address)
{
	sl_check_object(address, map->desc.value_size);
}

bool sl_check_dead(uint64_t pc)
{
	return !run.stopped && violation("instruction %" PRIu64 " goes where no path leads", pc);
}
