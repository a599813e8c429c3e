#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What `sluice top` and `sluice stats` show: rows made from two answers of stats.get, the figures of
 * the time in between. Without the first one they are those since the start.
 */
enum sl_figures_sort { SL_SORT_PACKETS, SL_SORT_CYCLES, SL_SORT_DROPS, SL_SORT_NAME, SL_SORTS };

/* "packets", ...; NULL past the last. */
const char *sl_figures_sort_name(unsigned sort);

struct sl_figures_row {
	char name[64];
	char text[128]; /* what else there is to say of it: verdicts, hooks, reasons */
	uint64_t id;
	const char *type;
	double packets, sent, drops, missed; /* a second, or in all */
	double cycles; /* a packet */
	double busy; /* of the time: 0 to 1 */
	double burst; /* packets in one */
	uint64_t total; /* of drops and events */
};

struct sl_figures_list {
	struct sl_figures_row *rows;
	unsigned count;
};

struct sl_figures {
	bool rates; /* figures are a second's */
	double seconds;
	double received, sent, dropped, missed, lost_events;
	struct sl_figures_list ports, workers, programs, drops, events;
	unsigned map_count;
};

/*
 * Takes nothing over; texts of the rows refer to `now`. `before` may be NULL. -EPROTO when an answer is
 * not what it should be.
 */
int sl_figures_make(struct sl_figures *ret_figures, struct json_object *before,
	struct json_object *now, enum sl_figures_sort sort, bool reverse);
void sl_figures_done(struct sl_figures *figures);

/* Puts them on lines of at most `width` columns, one call of `put` each. */
void sl_figures_print(const struct sl_figures *figures, unsigned width,
	void (*put)(void *arg, const char *line, bool heading), void *arg);
