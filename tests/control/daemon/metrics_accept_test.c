#include "metrics.h"

#include <stdio.h>

#include "test.h"

/* What scrapers say that they take, and what they get. */
static const struct {
	const char *accept;
	enum sl_metrics_format format;
} rows[] = {
	{ NULL, SL_METRICS_PROMETHEUS },
	{ "", SL_METRICS_PROMETHEUS },
	{ "*/*", SL_METRICS_PROMETHEUS },
	{ "text/plain;version=0.0.4", SL_METRICS_PROMETHEUS },
	{ "application/openmetrics-text", SL_METRICS_OPENMETRICS },
	{ "Application/OpenMetrics-Text ; Version=1.0.0 ; charset=utf-8", SL_METRICS_OPENMETRICS },
	{ "application/openmetrics-text; version=\"1.0.0\"", SL_METRICS_OPENMETRICS },
	{ "application/openmetrics-text;version=9", SL_METRICS_PROMETHEUS },
	{ "application/openmetrics-text;q=0", SL_METRICS_PROMETHEUS },
	{ "application/openmetrics-text;q=0.1, text/plain;q=0.5", SL_METRICS_PROMETHEUS },
	{ "text/plain;q=0.5,application/openmetrics-text;q=0.6", SL_METRICS_OPENMETRICS },
	{ "application/openmetrics-text-not", SL_METRICS_PROMETHEUS },
	{ "xapplication/openmetrics-text", SL_METRICS_PROMETHEUS },
	{ ", ;;q=,/", SL_METRICS_PROMETHEUS },
	{ ";;;;;", SL_METRICS_PROMETHEUS },
	{ "a b c d=e;f g", SL_METRICS_PROMETHEUS },
	{ "application/openmetrics-text;version", SL_METRICS_OPENMETRICS },
	{ ",,application/openmetrics-text,,", SL_METRICS_OPENMETRICS },
	/* Prometheus 2.42 */
	{ "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
	  "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
		SL_METRICS_OPENMETRICS },
	/* Prometheus 2.50 */
	{ "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;"
	  "q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
		SL_METRICS_OPENMETRICS },
};

TEST(metrics, format_is_what_the_scraper_takes)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (sl_metrics_negotiate(rows[i].accept) == rows[i].format)
			continue;
		printf("accept: %s\n", rows[i].accept);
		EXPECT_EQ(sl_metrics_negotiate(rows[i].accept), rows[i].format);
	}
}
