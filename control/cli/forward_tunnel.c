#include "forward.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verb.h"

/* --tunnel NAME=KIND[,KEY[=VALUE]...], with the words of ip-link(8). */

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

static int set_underlay(struct sl_forward_tunnel *t, char *value)
{
	t->underlay = value;
	return *value ? 0 : -EINVAL;
}

static int set_local(struct sl_forward_tunnel *t, char *value)
{
	for (unsigned i = 0; i < SLUICE_TUNNEL_LOCALS; i++) {
		if (!t->options.local[i].family)
			return address(value, &t->options.local[i]);
	}
	return -E2BIG;
}

static int set_remote(struct sl_forward_tunnel *t, char *value)
{
	return address(value, &t->options.remote);
}

static int set_nexthop(struct sl_forward_tunnel *t, char *value)
{
	t->options.flags |= SLUICE_TUNNEL_NEXTHOP;
	return mac(value, t->options.nexthop);
}

static int set_address(struct sl_forward_tunnel *t, char *value)
{
	t->options.flags |= SLUICE_TUNNEL_ADDRESS;
	return mac(value, t->options.mac);
}

static int set_id(struct sl_forward_tunnel *t, char *value)
{
	return number(value, UINT32_MAX, &t->options.id);
}

static int set_key(struct sl_forward_tunnel *t, char *value)
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

static int set_dst_port(struct sl_forward_tunnel *t, char *value)
{
	return number16(value, 1, &t->options.dst_port);
}

static int set_src_port(struct sl_forward_tunnel *t, char *value)
{
	char *dash = strchr(value, '-');

	if (!dash)
		return -EINVAL;
	*dash = '\0';
	if (number16(value, 1, &t->options.src_port_min) != 0)
		return -EINVAL;
	return number16(dash + 1, 1, &t->options.src_port_max);
}

static int set_mtu(struct sl_forward_tunnel *t, char *value)
{
	return number16(value, 68, &t->options.mtu);
}

/* A byte of the outer header, or "inherit". */
static int set_byte(struct sl_forward_tunnel *t, const char *value, uint32_t inherit, uint8_t *ret)
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

static int set_ttl(struct sl_forward_tunnel *t, char *value)
{
	return set_byte(t, value, SLUICE_TUNNEL_TTL_INHERIT, &t->options.ttl);
}

static int set_tos(struct sl_forward_tunnel *t, char *value)
{
	return set_byte(t, value, SLUICE_TUNNEL_TOS_INHERIT, &t->options.tos);
}

static int set_label(struct sl_forward_tunnel *t, char *value)
{
	return number(value, 0xfffff, &t->options.label);
}

static int set_df(struct sl_forward_tunnel *t, char *value)
{
	static const char *const words[] = {
		[SLUICE_TUNNEL_DF_UNSET] = "unset",
		[SLUICE_TUNNEL_DF_SET] = "set",
		[SLUICE_TUNNEL_DF_INHERIT] = "inherit",
	};

	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(words[i], value) == 0) {
			t->options.df = (enum sluice_tunnel_df)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* A key with a value, or a flag. */
static const struct tunnel_key {
	const char *name;
	int (*set)(struct sl_forward_tunnel *t, char *value);
	uint32_t flag;
} keys[] = {
	{ "external", .flag = SLUICE_TUNNEL_EXTERNAL },
	{ "underlay", set_underlay },
	{ "local", set_local },
	{ "remote", set_remote },
	{ "nexthop", set_nexthop },
	{ "address", set_address },
	{ "id", set_id },
	{ "key", set_key },
	{ "dstport", set_dst_port },
	{ "srcport", set_src_port },
	{ "mtu", set_mtu },
	{ "ttl", set_ttl },
	{ "tos", set_tos },
	{ "flowlabel", set_label },
	{ "df", set_df },
	{ "gbp", .flag = SLUICE_TUNNEL_GBP },
	{ "csum", .flag = SLUICE_TUNNEL_CSUM },
	{ "udpcsum", .flag = SLUICE_TUNNEL_CSUM },
	{ "udp6zerocsumtx", .flag = SLUICE_TUNNEL_NO_CSUM6_TX },
	{ "udp6zerocsumrx", .flag = SLUICE_TUNNEL_NO_CSUM6_RX },
	{ "seq", .flag = SLUICE_TUNNEL_SEQ },
};

static int set_tunnel_key(struct sl_forward_tunnel *t, char *text)
{
	char *equals = strchr(text, '=');

	if (equals)
		*equals = '\0';
	for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (strcmp(keys[i].name, text) != 0)
			continue;
		t->options.flags |= keys[i].flag;
		if (keys[i].set ? equals && keys[i].set(t, equals + 1) == 0 : !equals)
			return 0;
		return sl_cli_usage("forward: tunnel %s: bad value of '%s'", t->options.name, text);
	}
	return sl_cli_usage("forward: tunnel %s: there is no option '%s'", t->options.name, text);
}

static int set_kind(struct sl_forward_tunnel *t, const char *word)
{
	const char *name;

	for (unsigned i = 0; (name = sluice_tunnel_kind_name((enum sluice_tunnel_kind)i)); i++) {
		if (word && strcmp(name, word) == 0) {
			t->options.kind = (enum sluice_tunnel_kind)i;
			return 0;
		}
	}
	return sl_cli_usage(
		"forward: tunnel %s: there is no kind '%s'", t->options.name, word ?: "");
}

int sl_forward_add_tunnel(struct sl_forward_spec *spec, char *value)
{
	char *name = strsep(&value, "="), *text;
	struct sl_forward_tunnel *t;
	int status;

	if (spec->tunnel_count == SL_FORWARD_TUNNELS)
		return sl_cli_usage("forward: more than %d tunnels", SL_FORWARD_TUNNELS);
	if (!*name || !value)
		return sl_cli_usage("forward: '%s' is not NAME=KIND,...", name);
	t = &spec->tunnels[spec->tunnel_count++];
	t->options.name = name;
	status = set_kind(t, strsep(&value, ","));
	while (!status && (text = strsep(&value, ",")))
		status = set_tunnel_key(t, text);
	if (!status && !t->underlay)
		status = sl_cli_usage("forward: tunnel %s: no underlay=PORT", name);
	return status;
}

int sl_forward_add_tunnels(struct sl_forward_spec *spec)
{
	for (unsigned i = 0; i < spec->tunnel_count; i++) {
		struct sl_forward_tunnel *t = &spec->tunnels[i];
		uint32_t ifindex;

		t->options.underlay = sl_forward_port(t->underlay);
		if (!t->options.underlay)
			return sl_cli_fail("forward: there is no port %s", t->underlay);
		if (sluice_tunnel_add(&t->options, &ifindex) != 0)
			return 1;
	}
	return 0;
}
