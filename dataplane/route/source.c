#include "interface.h"

#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <string.h>

#include "fib.h"

/* Which of our addresses a packet gets that has none. */

static bool matches(const struct sl_address *a, uint32_t dst)
{
	uint32_t ours, mask = a->prefix_len ? ~0u << (32 - a->prefix_len) : 0;

	memcpy(&ours, a->ip.bytes, sizeof(ours));
	return !((ntohl(ours) ^ ntohl(dst)) & mask);
}

static uint32_t word_of(const struct sl_address *a)
{
	uint32_t word;

	memcpy(&word, a->ip.bytes, sizeof(word));
	return word;
}

static bool is_primary(const struct sl_address *a, uint8_t scope)
{
	return a->ip.family == AF_INET && !a->secondary && a->scope <= scope;
}

uint32_t sl_source_ipv4(const struct sl_interface *interface, uint32_t dst, uint8_t scope)
{
	const struct sl_interface_list *all = sl_interface_peek_all();
	uint32_t found = 0;

	for (uint32_t n = 0; n < interface->address_count; n++) {
		const struct sl_address *a = &interface->addresses[n];

		if (!is_primary(a, scope))
			continue;
		if (!dst || matches(a, dst))
			return word_of(a);
		if (!found)
			found = word_of(a);
	}
	/* Any interface's will do. */
	for (uint32_t i = 0; !found && all && i < all->count; i++) {
		const struct sl_interface *other = all->interfaces[i];

		for (uint32_t n = 0; !found && n < other->address_count; n++) {
			const struct sl_address *a = &other->addresses[n];

			if (is_primary(a, scope) && a->scope != RT_SCOPE_LINK)
				found = word_of(a);
		}
	}
	return found;
}

/* The default policy table of RFC 6724, as the kernel has it; the longest prefix decides. */
static const struct {
	uint8_t prefix[16];
	uint8_t len, label;
} labels[] = {
	{ { [15] = 1 }, 128, 0 },
	{ { [10] = 0xff, 0xff }, 96, 4 },
	{ { 0 }, 96, 3 },
	{ { 0x20, 0x01 }, 32, 6 },
	{ { 0x20, 0x01, 0x00, 0x10 }, 28, 7 },
	{ { 0x3f, 0xfe }, 16, 12 },
	{ { 0x20, 0x02 }, 16, 2 },
	{ { 0xfe, 0xc0 }, 10, 11 },
	{ { 0xfc }, 7, 5 },
	{ { 0 }, 0, 1 },
};

/* How many leading bits two addresses have in common. */
static unsigned common_bits(const uint8_t *a, const uint8_t *b)
{
	unsigned i = 0;

	while (i < 16 && a[i] == b[i])
		i++;
	return i == 16 ? 128 : i * 8 + (unsigned)__builtin_clz((unsigned)(a[i] ^ b[i])) - 24;
}

static unsigned label_of(const uint8_t *ip)
{
	for (unsigned i = 0; i < sl_array_size(labels); i++) {
		if (common_bits(ip, labels[i].prefix) >= labels[i].len)
			return labels[i].label;
	}
	return 1;
}

enum { SCOPE_LINK = 2, SCOPE_SITE = 5, SCOPE_GLOBAL = 14, RULES = 6 };

static int scope_of(const uint8_t *ip)
{
	if (ip[0] == 0xff)
		return ip[1] & 0xf;
	if (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80)
		return SCOPE_LINK;
	if (ip[0] == 0xfe && (ip[1] & 0xc0) == 0xc0)
		return SCOPE_SITE;
	return ip[15] == 1 && common_bits(ip, labels[0].prefix) == 128 ? SCOPE_LINK : SCOPE_GLOBAL;
}

/* What the rules of RFC 6724, 5, say of a candidate, in their order: larger is better. */
struct score {
	int rule[RULES];
};

static bool is_orchid(const uint8_t *ip)
{
	return common_bits(ip, labels[4].prefix) >= labels[4].len;
}

static struct score score_of(
	const struct sl_address *a, bool outgoing, const uint8_t *dst, int dst_scope)
{
	const uint8_t *ip = a->ip.bytes;
	int scope = scope_of(ip);
	unsigned common = common_bits(ip, dst);

	return (struct score){ {
		common == 128,
		scope >= dst_scope ? -scope : scope - 128,
		outgoing,
		label_of(ip) == label_of(dst),
		is_orchid(ip) == is_orchid(dst),
		(int)sl_min(common, (unsigned)a->prefix_len),
	} };
}

static bool is_better(const struct score *a, const struct score *b)
{
	for (unsigned i = 0; i < RULES; i++) {
		if (a->rule[i] != b->rule[i])
			return a->rule[i] > b->rule[i];
	}
	return false;
}

bool sl_source_ipv6(
	const struct sl_interface *interface, const uint8_t dst[16], uint8_t ret_source[16])
{
	const struct sl_interface_list *all = sl_interface_peek_all();
	const struct sl_address *best = NULL;
	int dst_scope = scope_of(dst);
	bool on_link = dst[0] == 0xff || dst_scope <= SCOPE_LINK;
	struct score best_score = { 0 }, score;

	for (uint32_t i = 0; all && i < all->count; i++) {
		const struct sl_interface *from = all->interfaces[i];
		bool outgoing = from->info.ifindex == interface->info.ifindex;

		for (uint32_t n = 0; (outgoing || !on_link) && n < from->address_count; n++) {
			if (from->addresses[n].ip.family != AF_INET6)
				continue;
			score = score_of(&from->addresses[n], outgoing, dst, dst_scope);
			if (best && !is_better(&score, &best_score))
				continue;
			best = &from->addresses[n];
			best_score = score;
		}
	}
	if (best)
		memcpy(ret_source, best->ip.bytes, sizeof(best->ip.bytes));
	return best != NULL;
}
