#pragma once

#include <json-c/json.h>
#include <sluice/observe.h>
#include <stdbool.h>

/* What `sluice capture` and `sluice trace` have in common: a watch of the daemon's, read here. */
struct sl_observe {
	const char *verb;
	struct sluice_watch *watch;
	struct json_object *ports; /* names by number */
	uint32_t unknown; /* the last number that had no name */
	uint64_t ends_ns; /* once it is to end: what is younger is not read; 0: not yet */
};

/*
 * Opens a watch with the daemon's parameters, which it takes over, and a filter (NULL or empty: none).
 * Takes the signals that end it. Returns an exit status, having said what is wrong.
 */
int sl_observe_open(struct sl_observe *o, const char *verb, struct json_object *params,
	const char *filter, uint32_t snaplen);
void sl_observe_close(struct sl_observe *o);

/* Waits for the next record. NULL: a signal came, and all is read that was there then. */
const struct sluice_record *sl_observe_next(
	struct sl_observe *o, const struct sluice_path **ret_path, const uint8_t **ret_data);

/* sl_port_name_fn. */
const char *sl_observe_port_name(void *observe, uint32_t ifindex);

/* The words of a filter, as one text to be freed; NULL: none. */
char *sl_observe_filter(int argc, char **argv);

/* A positive number. 0 or -EINVAL. */
int sl_observe_number(const char *text, uint64_t max, uint64_t *ret);
