#include "metrics.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Content negotiation, as a scraper does it: it lists what it takes, with weights. */

static const char *skip_space(const char *at)
{
	return at + strspn(at, " \t");
}

static bool is_token(const char *text, size_t len, const char *token)
{
	return strlen(token) == len && strncasecmp(text, token, len) == 0;
}

/* One element of the list, which ends at `end`. */
struct range {
	const char *type;
	size_t type_len;
	double weight;
	bool other_version; /* of OpenMetrics than there is here */
};

static void read_parameter(struct range *range, const char *text, size_t len)
{
	size_t name_len = strcspn(text, "=");
	const char *value = text + name_len + 1;
	size_t value_len;

	if (name_len >= len)
		return;
	value_len = len - name_len - 1;
	if (is_token(text, name_len, "q"))
		range->weight = strtod(value, NULL);
	else if (is_token(text, name_len, "version"))
		range->other_version = !is_token(value, value_len, "1.0.0") &&
				       !is_token(value, value_len, "\"1.0.0\"") &&
				       !is_token(value, value_len, "0.0.1");
}

static struct range read_range(const char *text, const char *end)
{
	struct range range = { .type = skip_space(text), .weight = 1 };

	range.type_len = strcspn(range.type, ";, \t");
	text = range.type + range.type_len;
	while (text < end) {
		size_t len;

		text = skip_space(text + (*text == ';'));
		len = strcspn(text, ";, \t");
		read_parameter(&range, text, len);
		text = skip_space(text + len);
		if (!len && *text != ';')
			break;
	}
	return range;
}

enum sl_metrics_format sl_metrics_negotiate(const char *accept)
{
	double openmetrics = 0, older = 0;

	for (const char *at = accept; at && *at;) {
		const char *end = at + strcspn(at, ",");
		struct range range = read_range(at, end);

		if (is_token(range.type, range.type_len, "application/openmetrics-text")) {
			if (!range.other_version && range.weight > openmetrics)
				openmetrics = range.weight;
		} else if (is_token(range.type, range.type_len, "text/plain") ||
			   is_token(range.type, range.type_len, "text/*") ||
			   is_token(range.type, range.type_len, "*/*")) {
			if (range.weight > older)
				older = range.weight;
		}
		at = *end ? end + 1 : end;
	}
	/* Who names it understands it; browsers and old scrapers do not. */
	return openmetrics > 0 && openmetrics >= older ? SL_METRICS_OPENMETRICS
						       : SL_METRICS_PROMETHEUS;
}

const char *sl_metrics_content_type(enum sl_metrics_format format)
{
	return format == SL_METRICS_OPENMETRICS
		       ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
		       : "text/plain; version=0.0.4; charset=utf-8";
}
