#include "path_text.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <string.h>
#include <linux/if_ether.h>
#include <netinet/in.h>

/* What is left of a packet, and the text so far. */
struct cursor {
	const uint8_t *at;
	uint32_t left;
	char *text;
	size_t size, len;
};

static void say(struct cursor *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct cursor *c, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(c->text + c->len, c->size - c->len, format, args);
	va_end(args);
	if (n > 0)
		c->len += (size_t)n;
	if (c->len >= c->size)
		c->len = c->size - 1;
}

/* False when there are not as many bytes left. */
static bool skip(struct cursor *c, uint32_t n)
{
	if (c->left < n)
		return false;
	c->at += n;
	c->left -= n;
	return true;
}

static uint16_t be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void say_protocol(struct cursor *c, uint8_t protocol)
{
	static const char *const names[256] = {
		[IPPROTO_ICMP] = "ICMP",
		[IPPROTO_IGMP] = "IGMP",
		[IPPROTO_TCP] = "TCP",
		[IPPROTO_UDP] = "UDP",
		[IPPROTO_GRE] = "GRE",
		[IPPROTO_ESP] = "ESP",
		[IPPROTO_ICMPV6] = "ICMPv6",
		[IPPROTO_SCTP] = "SCTP",
		[IPPROTO_IPIP] = "IPIP",
		[IPPROTO_IPV6] = "IPv6",
	};

	if (names[protocol])
		say(c, "%s", names[protocol]);
	else
		say(c, "proto %u", protocol);
}

static void say_flags(struct cursor *c)
{
	static const char letters[] = "FSRP.UEW";

	if (c->left < 14)
		return;
	say(c, " [");
	for (unsigned bit = 0; bit < 8; bit++)
		if (c->at[13] & 1u << bit)
			say(c, "%c", letters[bit]);
	say(c, "]");
}

static void say_hosts(struct cursor *c, int family, const uint8_t *from, const uint8_t *to,
	uint8_t protocol, bool first)
{
	bool ports =
		first && c->left >= 4 &&
		(protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP);
	char a[INET6_ADDRSTRLEN], b[INET6_ADDRSTRLEN];

	inet_ntop(family, from, a, sizeof(a));
	inet_ntop(family, to, b, sizeof(b));
	say(c, family == AF_INET ? "IP " : "IP6 ");
	if (ports)
		say(c, "%s.%u > %s.%u: ", a, be16(c->at), b, be16(c->at + 2));
	else
		say(c, "%s > %s: ", a, b);
	say_protocol(c, protocol);
	if (ports && protocol == IPPROTO_TCP)
		say_flags(c);
	if (first && c->left >= 2 && (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6))
		say(c, " type %u code %u", c->at[0], c->at[1]);
	if (!first)
		say(c, " fragment");
}

static void say_ipv4(struct cursor *c)
{
	const uint8_t *ip = c->at;

	if (c->left < 20 || !skip(c, (ip[0] & 15) * 4u)) {
		say(c, "IP cut short");
		return;
	}
	say_hosts(c, AF_INET, ip + 12, ip + 16, ip[9], !(be16(ip + 6) & 0x1fff));
}

static void say_ipv6(struct cursor *c)
{
	const uint8_t *ip = c->at;

	if (!skip(c, 40)) {
		say(c, "IP6 cut short");
		return;
	}
	say_hosts(c, AF_INET6, ip + 8, ip + 24, ip[6], true);
}

static void say_arp(struct cursor *c)
{
	char from[INET_ADDRSTRLEN], to[INET_ADDRSTRLEN];

	if (c->left < 28) {
		say(c, "ARP cut short");
		return;
	}
	inet_ntop(AF_INET, c->at + 14, from, sizeof(from));
	inet_ntop(AF_INET, c->at + 24, to, sizeof(to));
	say(c, "ARP %s %s tell %s", be16(c->at + 6) == 1 ? "who-has" : "reply to", to, from);
}

static void say_frame(struct cursor *c)
{
	const uint8_t *frame = c->at;
	uint16_t type;

	if (!skip(c, ETH_HLEN)) {
		say(c, "frame cut short");
		return;
	}
	type = be16(frame + 12);
	while ((type == ETH_P_8021Q || type == ETH_P_8021AD) && c->left >= 4) {
		say(c, "vlan %u, ", be16(c->at) & 0xfff);
		type = be16(c->at + 2);
		skip(c, 4);
	}
	if (type == ETH_P_IP)
		say_ipv4(c);
	else if (type == ETH_P_IPV6)
		say_ipv6(c);
	else if (type == ETH_P_ARP)
		say_arp(c);
	else
		say(c,
			"%02x:%02x:%02x:%02x:%02x:%02x > %02x:%02x:%02x:%02x:%02x:%02x, "
			"ethertype 0x%04x",
			frame[6], frame[7], frame[8], frame[9], frame[10], frame[11], frame[0],
			frame[1], frame[2], frame[3], frame[4], frame[5], type);
}

void sl_packet_summary(
	const uint8_t *data, uint32_t captured, uint32_t len, bool raw, char *text, size_t size)
{
	struct cursor c = { data, captured, text, size, 0 };

	(void)len;
	text[0] = '\0';
	if (!raw)
		say_frame(&c);
	else if (captured && data[0] >> 4 == 6)
		say_ipv6(&c);
	else
		say_ipv4(&c);
}
