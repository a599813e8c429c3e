#pragma once

/*
 * The endpoint that monitoring systems scrape: GET /metrics. `address` is "HOST:PORT", "[HOST]:PORT",
 * ":PORT" or "PORT", with a numeric host, 127.0.0.1 when there is none; port 0: a free one. What it is
 * bound to is said on stderr.
 */

/* Whether `address` is one; nothing is opened. */
int sl_metrics_check(const char *address);
/* 0 or a negative errno, after a line in the log. */
int sl_metrics_start(const char *address);
/* Ends it, whoever is being served. Fine without a start. */
void sl_metrics_stop(void);
