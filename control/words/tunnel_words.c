#include "tunnel_words.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* NAME=KIND[,KEY[=VALUE]...], with the words of ip-link(8): read, and written back. */

enum { TEXT_MAX = 64 };

static int number(const char *text, unsigned long max, uint32_t *ret_n)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 0);
	if (errno || end == text || *end || *text == '-' || n > max)
		return -EINVAL;
	*ret_n = (uint32_t)n;
	return 0;
}

static int mac(const char *text, uint8_t *ret_mac)
{
	char left;

	return sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%c", &ret_mac[0], &ret_mac[1],
		       &ret_mac[2], &ret_mac[3], &ret_mac[4], &ret_mac[5], &left) == 6
		       ? 0
		       : -EINVAL;
}

static int address(const char *text, struct sluice_tunnel_address *ret_address)
{
	memset(ret_address, 0, sizeof(*ret_address));
	if (inet_pton(AF_INET, text, ret_address->bytes) == 1)
		ret_address->family = 4;
	else if (inet_pton(AF_INET6, text, ret_address->bytes) == 1)
		ret_address->family = 6;
	return ret_address->family ? 0 : -EINVAL;
}

static int set_underlay(struct sl_tunnel_words *t, char *value)
{
	t->underlay = value;
	return *value ? 0 : -EINVAL;
}

static int set_local(struct sl_tunnel_words *t, char *value)
{
	for (unsigned i = 0; i < SLUICE_TUNNEL_LOCALS; i++) {
		if (!t->options.local[i].family)
			return address(value, &t->options.local[i]);
	}
	return -E2BIG;
}

static int set_remote(struct sl_tunnel_words *t, char *value)
{
	return address(value, &t->options.remote);
}

static int set_nexthop(struct sl_tunnel_words *t, char *value)
{
	t->options.flags |= SLUICE_TUNNEL_NEXTHOP;
	return mac(value, t->options.nexthop);
}

static int set_address(struct sl_tunnel_words *t, char *value)
{
	t->options.flags |= SLUICE_TUNNEL_ADDRESS;
	return mac(value, t->options.mac);
}

static int set_id(struct sl_tunnel_words *t, char *value)
{
	return number(value, UINT32_MAX, &t->options.id);
}

static int set_key(struct sl_tunnel_words *t, char *value)
{
	t->options.flags |= SLUICE_TUNNEL_KEY;
	return set_id(t, value);
}

static int number16(const char *text, uint32_t min, uint16_t *ret_n)
{
	uint32_t n;

	if (number(text, UINT16_MAX, &n) != 0 || n < min)
		return -EINVAL;
	*ret_n = (uint16_t)n;
	return 0;
}

static int set_dst_port(struct sl_tunnel_words *t, char *value)
{
	return number16(value, 1, &t->options.dst_port);
}

static int set_src_port(struct sl_tunnel_words *t, char *value)
{
	char *dash = strchr(value, '-');

	if (!dash)
		return -EINVAL;
	*dash = '\0';
	if (number16(value, 1, &t->options.src_port_min) != 0)
		return -EINVAL;
	return number16(dash + 1, 1, &t->options.src_port_max);
}

static int set_mtu(struct sl_tunnel_words *t, char *value)
{
	return number16(value, 68, &t->options.mtu);
}

/* A byte of the outer header, or "inherit". */
static int set_byte(struct sl_tunnel_words *t, const char *value, uint32_t inherit, uint8_t *ret)
{
	uint32_t n;

	if (strcmp(value, "inherit") == 0) {
		t->options.flags |= inherit;
		return 0;
	}
	if (number(value, UINT8_MAX, &n) != 0)
		return -EINVAL;
	*ret = (uint8_t)n;
	return 0;
}

static int set_ttl(struct sl_tunnel_words *t, char *value)
{
	return set_byte(t, value, SLUICE_TUNNEL_TTL_INHERIT, &t->options.ttl);
}

static int set_tos(struct sl_tunnel_words *t, char *value)
{
	return set_byte(t, value, SLUICE_TUNNEL_TOS_INHERIT, &t->options.tos);
}

static int set_label(struct sl_tunnel_words *t, char *value)
{
	return number(value, 0xfffff, &t->options.label);
}

static const char *const df_words[] = {
	[SLUICE_TUNNEL_DF_UNSET] = "unset",
	[SLUICE_TUNNEL_DF_SET] = "set",
	[SLUICE_TUNNEL_DF_INHERIT] = "inherit",
};

static int set_df(struct sl_tunnel_words *t, char *value)
{
	for (unsigned i = 0; i < sizeof(df_words) / sizeof(df_words[0]); i++) {
		if (strcmp(df_words[i], value) == 0) {
			t->options.df = (enum sluice_tunnel_df)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* ---- the same, written ---- */

static bool show_number(uint64_t n, char *text)
{
	snprintf(text, TEXT_MAX, "%llu", (unsigned long long)n);
	return n != 0;
}

static bool show_mac(const uint8_t mac[6], char *text)
{
	snprintf(text, TEXT_MAX, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
		mac[4], mac[5]);
	return true;
}

static bool show_address(const struct sluice_tunnel_address *address, char *text)
{
	return address->family &&
	       inet_ntop(address->family == 6 ? AF_INET6 : AF_INET, address->bytes, text, TEXT_MAX);
}

static bool show_local(const struct sl_tunnel_words *t, unsigned n, char *text)
{
	return n < SLUICE_TUNNEL_LOCALS && show_address(&t->options.local[n], text);
}

static bool show_remote(const struct sl_tunnel_words *t, unsigned n, char *text)
{
	return n == 0 && show_address(&t->options.remote, text);
}

static bool show_nexthop(const struct sl_tunnel_words *t, unsigned n, char *text)
{
	return n == 0 && t->options.flags & SLUICE_TUNNEL_NEXTHOP &&
	       show_mac(t->options.nexthop, text);
}

static bool show_mac_of(const struct sl_tunnel_words *t, unsigned n, char *text)
{
	return n == 0 && t->options.flags & SLUICE_TUNNEL_ADDRESS && show_mac(t->options.mac, text);
}

static bool show_id(const struct sl_tunnel_words *t, unsigned n, char *text)
{
	return n == 0 && !(t->options.flags & SLUICE_TUNNEL_KEY) &&
	       show_number(t->options.id, text);
}

/* A key may be 0. */
static bool show_key(const struct sl_tunnel_words *t, unsigned n, char *text)
{
	show_number(t->options.id, text);
	return n == 0 && t->options.flags & SLUICE_TUNNEL_KEY;
}

static bool show_dst_port(const struct sl_tunnel_words *t, unsigned n, char *text)
{
	return n == 0 && show_number(t->options.dst_port, text);
}

static bool show_src_port(const struct sl_tunnel_words *t, unsigned n, char *text)
{
	snprintf(text, TEXT_MAX, "%u-%u", t->options.src_port_min, t->options.src_port_max);
	return n == 0 && t->options.src_port_max;
}

static bool show_mtu(const struct sl_tunnel_words *t, unsigned n, char *text)
{
	return n == 0 && show_number(t->options.mtu, text);
}

static bool show_byte(
	const struct sl_tunnel_words *t, uint8_t value, uint32_t inherit, unsigned n, char *text)
{
	if (!(t->options.flags & inherit))
		return n == 0 && show_number(value, text);
	snprintf(text, TEXT_MAX, "inherit");
	return n == 0;
}

static bool show_ttl(const struct sl_tunnel_words *t, unsigned n, char *text)
{
	return show_byte(t, t->options.ttl, SLUICE_TUNNEL_TTL_INHERIT, n, text);
}

static bool show_tos(const struct sl_tunnel_words *t, unsigned n, char *text)
{
	return show_byte(t, t->options.tos, SLUICE_TUNNEL_TOS_INHERIT, n, text);
}

static bool show_label(const struct sl_tunnel_words *t, unsigned n, char *text)
{
	return n == 0 && show_number(t->options.label, text);
}

static bool show_df(const struct sl_tunnel_words *t, unsigned n, char *text)
{
	snprintf(text, TEXT_MAX, "%s", df_words[t->options.df]);
	return n == 0 && t->options.df;
}

/* A key with a value, or a flag; `show` says whether there is an n-th value. */
static const struct tunnel_key {
	const char *name;
	int (*set)(struct sl_tunnel_words *t, char *value);
	bool (*show)(const struct sl_tunnel_words *t, unsigned n, char *text);
	uint32_t flag;
} keys[] = {
	{ "external", .flag = SLUICE_TUNNEL_EXTERNAL },
	{ "underlay", set_underlay, NULL },
	{ "local", set_local, show_local },
	{ "remote", set_remote, show_remote },
	{ "nexthop", set_nexthop, show_nexthop },
	{ "address", set_address, show_mac_of },
	{ "id", set_id, show_id },
	{ "key", set_key, show_key },
	{ "dstport", set_dst_port, show_dst_port },
	{ "srcport", set_src_port, show_src_port },
	{ "mtu", set_mtu, show_mtu },
	{ "ttl", set_ttl, show_ttl },
	{ "tos", set_tos, show_tos },
	{ "flowlabel", set_label, show_label },
	{ "df", set_df, show_df },
	{ "gbp", .flag = SLUICE_TUNNEL_GBP },
	{ "csum", .flag = SLUICE_TUNNEL_CSUM },
	/* An alias is read only. */
	{ "udpcsum", .flag = SLUICE_TUNNEL_CSUM },
	{ "udp6zerocsumtx", .flag = SLUICE_TUNNEL_NO_CSUM6_TX },
	{ "udp6zerocsumrx", .flag = SLUICE_TUNNEL_NO_CSUM6_RX },
	{ "seq", .flag = SLUICE_TUNNEL_SEQ },
};

enum { KEYS = sizeof(keys) / sizeof(keys[0]) };

struct reason {
	char *text;
	size_t size;
};

__attribute__((format(printf, 2, 3))) static int refuse(
	const struct reason *reason, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(reason->text, reason->size, fmt, args);
	va_end(args);
	return -EINVAL;
}

static int set_tunnel_key(struct sl_tunnel_words *t, char *text, const struct reason *reason)
{
	char *equals = strchr(text, '=');

	if (equals)
		*equals = '\0';
	for (unsigned i = 0; i < KEYS; i++) {
		if (strcmp(keys[i].name, text) != 0)
			continue;
		t->options.flags |= keys[i].flag;
		if (keys[i].set ? equals && keys[i].set(t, equals + 1) == 0 : !equals)
			return 0;
		return refuse(
			reason, "tunnel %s: bad value of '%s'", t->options.name, keys[i].name);
	}
	return refuse(reason, "tunnel %s: there is no option '%s'", t->options.name, text);
}

static int set_kind(struct sl_tunnel_words *t, const char *word, const struct reason *reason)
{
	const char *name;

	for (unsigned i = 0; (name = sluice_tunnel_kind_name((enum sluice_tunnel_kind)i)); i++) {
		if (word && strcmp(name, word) == 0) {
			t->options.kind = (enum sluice_tunnel_kind)i;
			return 0;
		}
	}
	return refuse(
		reason, "tunnel %s: there is no kind '%s'", t->options.name, word ? word : "");
}

int sl_tunnel_words_parse(
	char *text, struct sl_tunnel_words *ret, char *ret_reason, size_t reason_size)
{
	const struct reason reason = { ret_reason, reason_size };
	char *name = strsep(&text, "="), *word;
	int err;

	memset(ret, 0, sizeof(*ret));
	if (!*name || !text)
		return refuse(&reason, "'%s' is not NAME=KIND,...", name);
	ret->options.name = name;
	err = set_kind(ret, strsep(&text, ","), &reason);
	while (!err && (word = strsep(&text, ",")))
		err = set_tunnel_key(ret, word, &reason);
	if (!err && !ret->underlay)
		err = refuse(&reason, "tunnel %s: no underlay=PORT", name);
	return err;
}

void sl_tunnel_words_show(const struct sl_tunnel_words *words, sl_tunnel_word_fn fn, void *arg)
{
	char text[TEXT_MAX];
	uint32_t shown = 0;

	for (unsigned i = 0; i < KEYS; i++) {
		const struct tunnel_key *key = &keys[i];

		if (key->flag & words->options.flags & ~shown)
			fn(key->name, NULL, arg);
		shown |= key->flag;
		for (unsigned n = 0; key->show && key->show(words, n, text); n++)
			fn(key->name, text, arg);
	}
}
