#include "packets.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <string.h>

struct test_packet test_packets[PACKETS];

enum { VXLAN_PORT = 4789, PAYLOAD = 64 };

static struct test_packet *begin(struct test_packet *packet, const char *name)
{
	static const uint8_t macs[12] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2 };

	packet->name = name;
	packet->len = sizeof(macs);
	memcpy(packet->data, macs, sizeof(macs));
	return packet;
}

static void *append(struct test_packet *packet, uint32_t len)
{
	void *at = packet->data + packet->len;

	packet->len += len;
	return at;
}

static void append_u16(struct test_packet *packet, uint16_t value)
{
	value = htons(value);
	memcpy(append(packet, 2), &value, 2);
}

static uint16_t checksum(const void *data, unsigned len)
{
	const uint8_t *bytes = data;
	uint32_t sum = 0;

	for (unsigned i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static void append_ipv4(struct test_packet *packet, uint8_t protocol, uint16_t inner, uint16_t frag)
{
	struct iphdr *ip;

	append_u16(packet, ETH_P_IP);
	ip = append(packet, sizeof(*ip));
	*ip = (struct iphdr){ .version = 4,
		.ihl = 5,
		.tot_len = htons((uint16_t)(sizeof(*ip) + inner)),
		.frag_off = htons(frag),
		.ttl = 64,
		.protocol = protocol,
		.saddr = htonl(0x0a000001),
		.daddr = htonl(0x0a000002) };
	ip->check = checksum(ip, sizeof(*ip));
}

static void append_ipv6(struct test_packet *packet, uint8_t protocol, uint16_t inner)
{
	struct ip6_hdr *ip;

	append_u16(packet, ETH_P_IPV6);
	ip = append(packet, sizeof(*ip));
	memset(ip, 0, sizeof(*ip));
	ip->ip6_flow = htonl(0x60012345);
	ip->ip6_plen = htons(inner);
	ip->ip6_nxt = protocol;
	ip->ip6_hlim = 64;
	inet_pton(AF_INET6, "fd00::1", &ip->ip6_src);
	inet_pton(AF_INET6, "fd00::2", &ip->ip6_dst);
}

static void append_tcp(struct test_packet *packet, bool syn)
{
	struct tcphdr *tcp = append(packet, sizeof(*tcp));

	*tcp = (struct tcphdr){ .source = htons(40000),
		.dest = htons(80),
		.seq = htonl(1),
		.ack_seq = syn ? 0 : htonl(1),
		.doff = 5,
		.syn = syn,
		.ack = !syn,
		.window = htons(1024) };
	memset(append(packet, PAYLOAD), 'x', PAYLOAD);
}

static void append_udp(struct test_packet *packet, uint16_t port, uint16_t len)
{
	struct udphdr *udp = append(packet, sizeof(*udp));

	*udp = (struct udphdr){ .source = htons(5353), .dest = htons(port), .len = htons(8 + len) };
}

static void add_ipv4(struct test_packet *packet)
{
	const uint16_t tcp = sizeof(struct tcphdr) + PAYLOAD, udp = sizeof(struct udphdr) + PAYLOAD;

	begin(packet, "ipv4 tcp syn");
	append_ipv4(packet, IPPROTO_TCP, tcp, 0);
	append_tcp(packet++, true);
	begin(packet, "ipv4 tcp");
	append_ipv4(packet, IPPROTO_TCP, tcp, 0);
	append_tcp(packet++, false);
	begin(packet, "ipv4 udp dns");
	append_ipv4(packet, IPPROTO_UDP, udp, 0);
	append_udp(packet, 53, PAYLOAD);
	memset(append(packet, PAYLOAD), 1, PAYLOAD);
	packet++;
	begin(packet, "ipv4 icmp echo");
	append_ipv4(packet, IPPROTO_ICMP, 8, 0);
	memcpy(append(packet, 8), "\x08\0\xf7\xff\0\0\0\0", 8);
	packet++;
	begin(packet, "ipv4 fragment");
	append_ipv4(packet, IPPROTO_UDP, PAYLOAD, 0x2010);
	memset(append(packet, PAYLOAD), 2, PAYLOAD);
}

static void add_ipv6(struct test_packet *packet)
{
	begin(packet, "ipv6 tcp syn");
	append_ipv6(packet, IPPROTO_TCP, sizeof(struct tcphdr) + PAYLOAD);
	append_tcp(packet++, true);
	begin(packet, "ipv6 udp");
	append_ipv6(packet, IPPROTO_UDP, sizeof(struct udphdr) + PAYLOAD);
	append_udp(packet, 443, PAYLOAD);
	memset(append(packet, PAYLOAD), 3, PAYLOAD);
	packet++;
	begin(packet, "ipv6 echo");
	append_ipv6(packet, IPPROTO_ICMPV6, 8);
	memcpy(append(packet, 8), "\x80\0\0\0\0\0\0\0", 8);
}

static void add_tunnels(struct test_packet *packet)
{
	struct test_packet *inner = &test_packets[0];
	uint16_t inner_ip = (uint16_t)(inner->len - ETH_HLEN);

	begin(packet, "vlan");
	append_u16(packet, ETH_P_8021Q);
	append_u16(packet, 42);
	append_ipv4(packet, IPPROTO_TCP, sizeof(struct tcphdr) + PAYLOAD, 0);
	append_tcp(packet++, true);
	begin(packet, "ipip");
	append_ipv4(packet, IPPROTO_IPIP, inner_ip, 0);
	memcpy(append(packet, inner_ip), inner->data + ETH_HLEN, inner_ip);
	packet++;
	begin(packet, "vxlan");
	append_ipv4(packet, IPPROTO_UDP, (uint16_t)(16 + inner->len), 0);
	append_udp(packet, VXLAN_PORT, (uint16_t)(8 + inner->len));
	memcpy(append(packet, 8), "\x08\0\0\0\0\0\x07\0", 8);
	memcpy(append(packet, inner->len), inner->data, inner->len);
}

static void add_rest(struct test_packet *packet)
{
	begin(packet, "arp");
	append_u16(packet, ETH_P_ARP);
	memcpy(append(packet, 8), "\0\x01\x08\0\x06\x04\0\x01", 8);
	memset(append(packet, 38), 0, 38);
	packet++;
	begin(packet, "bare header");
	append_u16(packet++, ETH_P_IP);
	begin(packet, "full size");
	append_ipv4(packet, IPPROTO_UDP, 1480, 0);
	append_udp(packet, 9, 1472);
	memset(append(packet, 1472), 4, 1472);
}

/* Numbers that are the same on every machine. */
static uint32_t next_random(void)
{
	static uint64_t state = 0x9e3779b97f4a7c15;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 16);
}

static void fill_random(uint8_t *bytes, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)next_random();
}

/* Mostly in the headers, where programs look; every fourth is cut off as well. */
static void add_changed(struct test_packet *packet)
{
	for (unsigned i = 0; i < PACKETS_CHANGED; i++, packet++) {
		*packet = test_packets[i % PACKETS_KNOWN];
		packet->name = "changed";
		packet->mark = next_random();
		for (unsigned n = next_random() % 4 + 1; n > 0; n--)
			packet->data[ETH_HLEN + next_random() % 48] = (uint8_t)next_random();
		if (i % 4 == 3)
			packet->len = ETH_HLEN + next_random() % (packet->len - ETH_HLEN + 1);
	}
}

static void add_noise(struct test_packet *packet)
{
	static const uint16_t protocols[] = { ETH_P_IP, ETH_P_IPV6, ETH_P_8021Q };

	for (unsigned i = 0; i < PACKETS_NOISE; i++, packet++) {
		begin(packet, "noise");
		append_u16(packet, protocols[i % 3]);
		packet->len += next_random() % 200;
		fill_random(packet->data + ETH_HLEN, packet->len - ETH_HLEN);
		packet->data[ETH_HLEN] = i % 3 ? 0x60 : 0x45;
		packet->meta_len = i == 5 ? 8 : 0;
	}
}

static void add_large(struct test_packet *packet)
{
	static const uint16_t payloads[PACKETS_LARGE] = { 3000, 4000, 5000, 9000 };

	for (unsigned i = 0; i < PACKETS_LARGE; i++, packet++) {
		begin(packet, "large");
		append_ipv4(packet, IPPROTO_UDP, (uint16_t)(8 + payloads[i]), 0);
		append_udp(packet, 9, payloads[i]);
		fill_random(append(packet, payloads[i]), payloads[i]);
	}
}

void test_packets_init(void)
{
	add_ipv4(&test_packets[0]);
	add_ipv6(&test_packets[5]);
	add_tunnels(&test_packets[8]);
	add_rest(&test_packets[11]);
	add_changed(&test_packets[PACKETS_KNOWN]);
	add_noise(&test_packets[PACKETS_KNOWN + PACKETS_CHANGED]);
	add_large(&test_packets[PACKETS - PACKETS_LARGE]);
}
