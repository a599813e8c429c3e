#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/random.h>

#include "clock.h"
#include "logging.h"
#include "row.h"
#include "start.h"

/*
 * SYN cookies without a socket: the initial sequence number carries a hash of the connection, the
 * minute, and an index of the MSS (RFC 4987, 3.6). The layout is the kernel's: the minute in
 * the upper byte, the hashed index in the lower 24 bits. The secrets are this process's own.
 */

#define MINUTE_NS 60000000000ull
#define MAX_AGE 2 /* minutes */
#define DATA_MASK 0xffffffu
#define DEFAULT_MSS_V4 536
#define DEFAULT_MSS_V6 (1280 - 40 - 20)

static const uint16_t mss_v4[] = { 536, 1300, 1440, 1460 };
static const uint16_t mss_v6[] = { 1220, 1420, 1440, 8940 };

/* Written once, before programs run. */
static uint64_t secrets[2][2];

void sl_syncookie_start(void)
{
	/* Waits for the pool where the machine has only just booted: a secret has to be one. */
	if (getrandom(secrets, sizeof(secrets), 0) != (ssize_t)sizeof(secrets))
		sl_log(SL_LOG_WARN, "no randomness: SYN cookies can be guessed");
}

struct connection {
	uint64_t words[6]; /* addresses, ports, the minute */
	unsigned count;
	uint32_t seq; /* the client's */
};

static void sip_round(uint64_t v[4])
{
#define ROTATE(x, n) ((x) << (n) | (x) >> (64 - (n)))
	v[0] += v[1];
	v[1] = ROTATE(v[1], 13) ^ v[0];
	v[0] = ROTATE(v[0], 32);
	v[2] += v[3];
	v[3] = ROTATE(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = ROTATE(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = ROTATE(v[1], 17) ^ v[2];
	v[2] = ROTATE(v[2], 32);
}

/* SipHash-2-4 of whole words. */
static uint32_t hash(const struct connection *c, const uint64_t key[2])
{
	uint64_t v[4] = { key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
		key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573 };

	for (unsigned i = 0; i <= c->count; i++) {
		uint64_t word = i < c->count ? c->words[i] : (uint64_t)c->count << 59;

		v[3] ^= word;
		sip_round(v);
		sip_round(v);
		v[0] ^= word;
	}
	v[2] ^= 0xff;
	for (unsigned i = 0; i < 4; i++)
		sip_round(v);
	return (uint32_t)(v[0] ^ v[1] ^ v[2] ^ v[3]);
}

static uint32_t hash_at(struct connection *c, unsigned secret, uint32_t minute)
{
	c->words[c->count - 1] = (c->words[c->count - 1] & UINT32_MAX) | (uint64_t)minute << 32;
	return hash(c, secrets[secret]);
}

static uint32_t minute_now(void)
{
	return (uint32_t)(sl_clock_ns() / MINUTE_NS);
}

/* The headers may be anywhere in a packet: nothing is aligned. */
static struct tcphdr tcp_at(uint64_t address)
{
	struct tcphdr th;

	memcpy(&th, (const void *)address, sizeof(th));
	return th;
}

static uint32_t ports_of(const struct tcphdr *th)
{
	return (uint32_t)th->source << 16 | th->dest;
}

static struct connection connection_v4(uint64_t ip, const struct tcphdr *th)
{
	struct connection c = { .count = 2, .seq = ntohl(th->seq) };

	memcpy(&c.words[0], (const uint8_t *)ip + offsetof(struct iphdr, saddr), 8);
	c.words[1] = ports_of(th);
	return c;
}

static struct connection connection_v6(uint64_t ip, const struct tcphdr *th)
{
	struct connection c = { .count = 5, .seq = ntohl(th->seq) };

	memcpy(&c.words[0], (const uint8_t *)ip + offsetof(struct ip6_hdr, ip6_src), 32);
	c.words[4] = ports_of(th);
	return c;
}

/* The MSS option among those behind a SYN's header, 0 without one. */
static uint16_t mss_option(const uint8_t *at, uint32_t left)
{
	uint16_t mss = 0;

	while (left > 0 && *at != TCPOPT_EOL) {
		uint32_t len = 1;

		if (*at != TCPOPT_NOP) {
			if (left < 2 || at[1] < 2 || at[1] > left)
				break;
			len = at[1];
			if (*at == TCPOPT_MAXSEG && len == TCPOLEN_MAXSEG && (at[2] || at[3]))
				mss = (uint16_t)(at[2] << 8 | at[3]);
		}
		at += len;
		left -= len;
	}
	return mss;
}

static uint64_t generate(struct connection *c, const uint16_t *table, uint16_t mss)
{
	uint32_t minute = minute_now(), index = 3;

	while (index && mss < table[index])
		index--;
	return (uint64_t)table[index] << 32 |
	       (uint32_t)(hash_at(c, 0, 0) + c->seq + (minute << 24) +
			  ((hash_at(c, 1, minute) + index) & DATA_MASK));
}

/* The ACK that answers the cookie: its sequence number is one further on. */
static uint64_t check(struct connection *c, uint32_t ack)
{
	uint32_t minute = minute_now(), cookie = ack - 1, age;

	cookie -= hash_at(c, 0, 0) + c->seq - 1;
	age = (minute - (cookie >> 24)) & 0xff;
	if (age < MAX_AGE && ((cookie - hash_at(c, 1, minute - age)) & DATA_MASK) < 4)
		return 0;
	return sl_helper_ret(-EACCES);
}

/* R1: the network header, R2: the TCP header with its options, R3: its length. */
static uint64_t generate_for(const uint16_t *table, uint16_t otherwise, struct connection *c,
	const struct tcphdr *th, uint64_t options, uint32_t len)
{
	uint16_t mss;

	if (len != th->doff * 4u)
		return sl_helper_ret(-EINVAL);
	mss = mss_option((const uint8_t *)options, len - (uint32_t)sizeof(*th));
	return generate(c, table, mss ? mss : otherwise);
}

SL_HELPER_FN(tcp_raw_gen_syncookie_ipv4)
{
	struct connection c;
	struct tcphdr th;

	if ((uint32_t)r3 < sizeof(th))
		return sl_helper_ret(-EINVAL);
	th = tcp_at(r2);
	c = connection_v4(r1, &th);
	return generate_for(mss_v4, DEFAULT_MSS_V4, &c, &th, r2 + sizeof(th), (uint32_t)r3);
}

const struct sl_helper sl_helper_tcp_raw_gen_syncookie_ipv4 = {
	SL_ROW(tcp_raw_gen_syncookie_ipv4, TC_XDP),
	.flags = SL_HELPER_GPL | SL_HELPER_PACKET_ARGS,
	.args = { SL_ARG_MEM_FIXED, SL_ARG_MEM, SL_ARG_SIZE_OR_ZERO },
	.fixed_size = { sizeof(struct iphdr) },
};

SL_HELPER_FN(tcp_raw_gen_syncookie_ipv6)
{
	struct connection c;
	struct tcphdr th;

	if ((uint32_t)r3 < sizeof(th))
		return sl_helper_ret(-EINVAL);
	th = tcp_at(r2);
	c = connection_v6(r1, &th);
	return generate_for(mss_v6, DEFAULT_MSS_V6, &c, &th, r2 + sizeof(th), (uint32_t)r3);
}

const struct sl_helper sl_helper_tcp_raw_gen_syncookie_ipv6 = {
	SL_ROW(tcp_raw_gen_syncookie_ipv6, TC_XDP),
	.flags = SL_HELPER_GPL | SL_HELPER_PACKET_ARGS,
	.args = { SL_ARG_MEM_FIXED, SL_ARG_MEM, SL_ARG_SIZE_OR_ZERO },
	.fixed_size = { sizeof(struct ip6_hdr) },
};

/* R1: the network header, R2: the TCP header. */
SL_HELPER_FN(tcp_raw_check_syncookie_ipv4)
{
	struct tcphdr th = tcp_at(r2);
	struct connection c = connection_v4(r1, &th);

	return check(&c, ntohl(th.ack_seq));
}

const struct sl_helper sl_helper_tcp_raw_check_syncookie_ipv4 = {
	SL_ROW(tcp_raw_check_syncookie_ipv4, TC_XDP),
	.flags = SL_HELPER_GPL | SL_HELPER_PACKET_ARGS,
	.args = { SL_ARG_MEM_FIXED, SL_ARG_MEM_FIXED },
	.fixed_size = { sizeof(struct iphdr), sizeof(struct tcphdr) },
};

SL_HELPER_FN(tcp_raw_check_syncookie_ipv6)
{
	struct tcphdr th = tcp_at(r2);
	struct connection c = connection_v6(r1, &th);

	return check(&c, ntohl(th.ack_seq));
}

const struct sl_helper sl_helper_tcp_raw_check_syncookie_ipv6 = {
	SL_ROW(tcp_raw_check_syncookie_ipv6, TC_XDP),
	.flags = SL_HELPER_GPL | SL_HELPER_PACKET_ARGS,
	.args = { SL_ARG_MEM_FIXED, SL_ARG_MEM_FIXED },
	.fixed_size = { sizeof(struct ip6_hdr), sizeof(struct tcphdr) },
};
