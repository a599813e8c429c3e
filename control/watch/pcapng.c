#include "pcapng.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/utsname.h>

#include <sluice/dataplane.h>

/*
 * draft-ietf-opsawg-pcapng, in this machine's byte order. A block is built in memory and written
 * whole; its length stands at both of its ends.
 */
enum block { SECTION = 0x0a0d0d0a, INTERFACE = 1, STATISTICS = 5, PACKET = 6 };

enum option {
	END = 0,
	COMMENT = 1,
	SECTION_OS = 3,
	SECTION_APPLICATION = 4,
	INTERFACE_NAME = 2,
	INTERFACE_DESCRIPTION = 3,
	INTERFACE_RESOLUTION = 9,
	INTERFACE_FILTER = 11,
	PACKET_FLAGS = 2,
	PACKET_DROPS = 4,
	PACKET_QUEUE = 6,
	PACKET_VERDICT = 7,
	STATISTICS_START = 2,
	STATISTICS_END = 3,
	STATISTICS_RECEIVED = 4,
	STATISTICS_ACCEPTED = 6,
	STATISTICS_LOST = 7,
	STATISTICS_DELIVERED = 8,
};

enum { LINK_ETHERNET = 1, LINK_RAW = 101, NANOSECONDS = 9, MAGIC = 0x1a2b3c4d };
enum { INBOUND = 1, OUTBOUND = 2 }; /* epb_flags */
enum { VERDICT_TC = 1, VERDICT_XDP = 2 }; /* first byte of epb_verdict */

struct interface {
	uint32_t ifindex, prog_id;
	uint8_t point;
	bool raw;
	uint64_t packets;
};

struct sl_pcapng {
	FILE *stream;
	struct sl_pcapng_options options;
	int error;
	uint64_t written, begin_ns;
	struct interface *interfaces;
	uint32_t interface_count;
	uint8_t *block;
	size_t len, room;
};

/* A block. */

static uint8_t *append(struct sl_pcapng *file, const void *data, size_t len)
{
	size_t padded = (len + 3) & ~(size_t)3;
	uint8_t *at;

	if (file->len + padded > file->room) {
		size_t room = (file->len + padded) * 2;
		uint8_t *block = realloc(file->block, room);

		if (!block) {
			file->error = file->error ?: -ENOMEM;
			return NULL;
		}
		file->block = block;
		file->room = room;
	}
	at = file->block + file->len;
	memset(at, 0, padded);
	if (len)
		memcpy(at, data, len);
	file->len += padded;
	return at;
}

static void append_u32(struct sl_pcapng *file, uint32_t value)
{
	append(file, &value, sizeof(value));
}

static void begin_block(struct sl_pcapng *file, enum block type)
{
	file->len = 0;
	append_u32(file, type);
	append_u32(file, 0);
}

static void end_block(struct sl_pcapng *file)
{
	uint32_t total = (uint32_t)file->len + 4;

	append_u32(file, total);
	if (file->error)
		return;
	memcpy(file->block + 4, &total, sizeof(total));
	if (fwrite(file->block, 1, file->len, file->stream) != file->len)
		file->error = errno ? -errno : -EIO;
}

static void add_option(struct sl_pcapng *file, enum option code, const void *value, size_t len)
{
	uint16_t head[2] = { (uint16_t)code, (uint16_t)len };

	append(file, head, sizeof(head));
	append(file, value, len);
}

static void add_text(struct sl_pcapng *file, enum option code, const char *text)
{
	size_t len = strlen(text);

	add_option(file, code, text, len < UINT16_MAX ? len : UINT16_MAX);
}

static void add_u32(struct sl_pcapng *file, enum option code, uint32_t value)
{
	add_option(file, code, &value, sizeof(value));
}

static void add_u64(struct sl_pcapng *file, enum option code, uint64_t value)
{
	add_option(file, code, &value, sizeof(value));
}

/* The upper half first, whatever the byte order. */
static void add_time(struct sl_pcapng *file, enum option code, uint64_t ns)
{
	uint32_t halves[2] = { (uint32_t)(ns >> 32), (uint32_t)ns };

	add_option(file, code, halves, sizeof(halves));
}

static void end_options(struct sl_pcapng *file)
{
	append_u32(file, END);
}

/* The blocks. */

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void write_section(struct sl_pcapng *file)
{
	static const uint16_t version[2] = { 1, 0 };
	static const uint32_t unknown[2] = { UINT32_MAX, UINT32_MAX };
	struct utsname name;
	char os[2 * sizeof(name.sysname)];

	begin_block(file, SECTION);
	append_u32(file, MAGIC);
	append(file, version, sizeof(version));
	append(file, unknown, sizeof(unknown));
	if (uname(&name) == 0) {
		snprintf(os, sizeof(os), "%s %s", name.sysname, name.release);
		add_text(file, SECTION_OS, os);
	}
	add_text(file, SECTION_APPLICATION, "sluice");
	end_options(file);
	end_block(file);
}

static const char *const descriptions[SLUICE_POINT_COUNT] = {
	[SLUICE_POINT_RX] = "as received",
	[SLUICE_POINT_XDP_EXIT] = "after XDP",
	[SLUICE_POINT_INGRESS] = "before TC ingress",
	[SLUICE_POINT_INGRESS_EXIT] = "after TC ingress",
	[SLUICE_POINT_EGRESS] = "before TC egress",
	[SLUICE_POINT_EGRESS_EXIT] = "after TC egress",
	[SLUICE_POINT_TX] = "as sent",
	[SLUICE_POINT_DROP] = "dropped",
};

static void write_interface(struct sl_pcapng *file, const struct sluice_record *record)
{
	const char *port = file->options.port_name(file->options.arg, record->ifindex);
	uint16_t link[2] = { record->flags & SLUICE_RECORD_RAW ? LINK_RAW : LINK_ETHERNET, 0 };
	uint8_t resolution = NANOSECONDS, filter[1024] = { 0 };
	char number[32], text[192];

	snprintf(number, sizeof(number), "port%u", record->ifindex);
	begin_block(file, INTERFACE);
	append(file, link, sizeof(link));
	append_u32(file, file->options.snaplen);
	snprintf(text, sizeof(text), "%s@%s", port ?: number, sluice_point_name(record->point));
	add_text(file, INTERFACE_NAME, text);
	if (record->prog_id)
		snprintf(text, sizeof(text), "%s, with the verdict of program %.16s (id %u)",
			descriptions[record->point], record->prog_name, record->prog_id);
	else
		snprintf(text, sizeof(text), "%s", descriptions[record->point]);
	add_text(file, INTERFACE_DESCRIPTION, text);
	add_option(file, INTERFACE_RESOLUTION, &resolution, 1);
	/* The first byte: in libpcap's words. */
	if (file->options.filter && *file->options.filter) {
		snprintf((char *)filter + 1, sizeof(filter) - 1, "%s", file->options.filter);
		add_option(file, INTERFACE_FILTER, filter, 1 + strlen((char *)filter + 1));
	}
	end_options(file);
	end_block(file);
}

/* The number of the record's interface; a new one is written first. */
static uint32_t interface_of(struct sl_pcapng *file, const struct sluice_record *record)
{
	bool raw = record->flags & SLUICE_RECORD_RAW;
	struct interface *more;
	uint32_t i;

	for (i = 0; i < file->interface_count; i++) {
		const struct interface *known = &file->interfaces[i];

		if (known->ifindex == record->ifindex && known->point == record->point &&
			known->prog_id == record->prog_id && known->raw == raw)
			return i;
	}
	more = realloc(file->interfaces, (i + 1) * sizeof(*more));
	if (!more) {
		file->error = file->error ?: -ENOMEM;
		return 0;
	}
	file->interfaces = more;
	more[i] = (struct interface){ .ifindex = record->ifindex,
		.prog_id = record->prog_id,
		.point = record->point,
		.raw = raw };
	file->interface_count++;
	write_interface(file, record);
	return i;
}

static uint32_t direction(uint8_t point)
{
	switch (point) {
	case SLUICE_POINT_EGRESS:
	case SLUICE_POINT_EGRESS_EXIT:
	case SLUICE_POINT_TX:
		return OUTBOUND;
	case SLUICE_POINT_DROP:
		return 0;
	default:
		return INBOUND;
	}
}

static bool is_xdp_drop(const struct sluice_record *record)
{
	return record->reason == SLUICE_XDP_DROP || record->reason == SLUICE_XDP_ABORTED ||
	       record->reason == SLUICE_XDP_INVALID;
}

static void add_verdict(struct sl_pcapng *file, const struct sluice_record *record)
{
	bool xdp = record->point == SLUICE_POINT_RX || record->point == SLUICE_POINT_XDP_EXIT ||
		   (record->point == SLUICE_POINT_DROP && is_xdp_drop(record));
	int64_t verdict = record->verdict;
	uint8_t value[1 + sizeof(verdict)] = { xdp ? VERDICT_XDP : VERDICT_TC };

	memcpy(value + 1, &verdict, sizeof(verdict));
	add_option(file, PACKET_VERDICT, value, sizeof(value));
}

static void write_packet(struct sl_pcapng *file, uint32_t interface, uint64_t ns,
	const struct sluice_record *record, const uint8_t *data)
{
	const char *reason = sluice_counter_name(record->reason);
	char text[64];

	begin_block(file, PACKET);
	append_u32(file, interface);
	append_u32(file, (uint32_t)(ns >> 32));
	append_u32(file, (uint32_t)ns);
	append_u32(file, record->captured);
	append_u32(file, record->len);
	append(file, data, record->captured);
	if (direction(record->point))
		add_u32(file, PACKET_FLAGS, direction(record->point));
	if (record->lost)
		add_u64(file, PACKET_DROPS, record->lost);
	add_u32(file, PACKET_QUEUE, record->queue);
	if (record->flags & SLUICE_RECORD_VERDICT)
		add_verdict(file, record);
	if (record->point == SLUICE_POINT_DROP && reason) {
		snprintf(text, sizeof(text), "drop: %s", reason);
		add_text(file, COMMENT, text);
	}
	end_options(file);
	end_block(file);
}

struct sl_pcapng *sl_pcapng_new(FILE *stream, const struct sl_pcapng_options *options)
{
	struct sl_pcapng *file = calloc(1, sizeof(*file));

	if (!file)
		return NULL;
	file->stream = stream;
	file->options = *options;
	file->begin_ns = now_ns();
	write_section(file);
	return file;
}

void sl_pcapng_add(struct sl_pcapng *file, const struct sluice_watch_area *area,
	const struct sluice_record *record, const uint8_t *data)
{
	uint32_t interface;

	if (record->kind != SLUICE_RECORD_PACKET || record->point >= SLUICE_POINT_COUNT)
		return;
	interface = interface_of(file, record);
	if (file->error)
		return;
	write_packet(file, interface, record->time_ns + (uint64_t)area->realtime_ns, record, data);
	file->interfaces[interface].packets++;
	file->written++;
}

/* Several programs may have been at a point: what was seen there stands with the last of them. */
static bool is_last(const struct sl_pcapng *file, uint32_t index)
{
	const struct interface *of = &file->interfaces[index];

	for (uint32_t i = index + 1; i < file->interface_count; i++)
		if (file->interfaces[i].ifindex == of->ifindex &&
			file->interfaces[i].point == of->point)
			return false;
	return true;
}

void sl_pcapng_end(struct sl_pcapng *file, const struct sluice_watch *watch)
{
	uint64_t end_ns = now_ns();

	for (uint32_t i = 0; i < file->interface_count; i++) {
		const struct interface *of = &file->interfaces[i];
		struct sluice_watch_counts counts;

		sluice_watch_counts(watch, of->ifindex, of->point, &counts);
		begin_block(file, STATISTICS);
		append_u32(file, i);
		append_u32(file, (uint32_t)(end_ns >> 32));
		append_u32(file, (uint32_t)end_ns);
		add_time(file, STATISTICS_START, file->begin_ns);
		add_time(file, STATISTICS_END, end_ns);
		if (is_last(file, i)) {
			add_u64(file, STATISTICS_RECEIVED, counts.seen);
			add_u64(file, STATISTICS_ACCEPTED, counts.matched);
			add_u64(file, STATISTICS_LOST, counts.lost);
		}
		add_u64(file, STATISTICS_DELIVERED, of->packets);
		end_options(file);
		end_block(file);
	}
}

int sl_pcapng_error(const struct sl_pcapng *file)
{
	return file->error;
}

uint64_t sl_pcapng_written(const struct sl_pcapng *file)
{
	return file->written;
}

void sl_pcapng_free(struct sl_pcapng *file)
{
	if (!file)
		return;
	free(file->interfaces);
	free(file->block);
	free(file);
}
