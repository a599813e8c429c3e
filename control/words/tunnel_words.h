#pragma once

#include <stddef.h>
#include <sluice/tunnel.h>

/*
 * The language of tunnels, NAME=KIND,underlay=PORT[,KEY[=VALUE]...], with the words of ip-link(8): of
 * `sluice forward --tunnel`, of `sluice tunnel`, and of what the daemon is told. Any thread.
 */

/* Options whose underlay has a name instead of a number. */
struct sl_tunnel_words {
	struct sluice_tunnel_options options;
	const char *underlay;
};

/*
 * Takes the text apart in place; the names in *ret point into it. Whether the options fit each other
 * sluice_tunnel_add finds out. 0, or -EINVAL with the reason in words.
 */
int sl_tunnel_words_parse(
	char *text, struct sl_tunnel_words *ret, char *ret_reason, size_t reason_size);

/* Calls fn with each key and its value (NULL of a flag), without name, kind and underlay. */
typedef void (*sl_tunnel_word_fn)(const char *key, const char *value, void *arg);
void sl_tunnel_words_show(const struct sl_tunnel_words *words, sl_tunnel_word_fn fn, void *arg);
