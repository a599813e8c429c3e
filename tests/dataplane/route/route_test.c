#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fib.h"
#include "test.h"

/* sluice/route.h and the look-ups behind it, without programs. */

static struct sluice_ip ip_of(const char *text)
{
	struct sluice_ip ip = { .family = strchr(text, ':') ? AF_INET6 : AF_INET };

	EXPECT_EQ(inet_pton(ip.family, text, ip.bytes), 1);
	return ip;
}

static struct sluice_ip ipv4(uint32_t word)
{
	struct sluice_ip ip = { .family = AF_INET };

	word = htonl(word);
	memcpy(ip.bytes, &word, sizeof(word));
	return ip;
}

static void make_interfaces(uint32_t first, uint32_t count)
{
	for (uint32_t i = first; i < first + count; i++) {
		struct sluice_interface interface = { .ifindex = i, .mtu = 1500 };

		ASSERT_EQ(sluice_interface_set(&interface), 0);
	}
}

static int change(int (*fn)(const struct sluice_route *route, unsigned flags), unsigned flags,
	struct sluice_ip prefix, uint8_t len, uint32_t ifindex, uint32_t metric)
{
	struct sluice_nexthop hop = { .ifindex = ifindex };
	struct sluice_route route = { .prefix = prefix,
		.prefix_len = len,
		.metric = metric,
		.nexthop_count = ifindex ? 1 : 0,
		.nexthops = &hop };

	return fn(&route, flags);
}

static int del(const struct sluice_route *route, unsigned flags)
{
	(void)flags;
	return sluice_route_del(route);
}

/* The interface that the route leads to; negative errno for none. */
static int look_up(struct sluice_ip dst, uint32_t oif)
{
	struct sl_fib_flow flow = { .family = dst.family, .oif = oif };
	struct sl_fib_result result;
	int err;

	memcpy(flow.dst, dst.bytes, sizeof(flow.dst));
	sl_rcu_read_begin();
	err = sl_fib_lookup(&flow, &result);
	if (!err)
		err = (int)result.path->ifindex;
	sl_rcu_read_end();
	return err;
}

TEST(route, metrics_decide_and_errors_are_the_kernels)
{
	struct sluice_ip p = ip_of("10.0.0.0"), in = ip_of("10.1.2.3");

	make_interfaces(101, 3);
	EXPECT_EQ(look_up(in, 0), -ENETUNREACH);
	EXPECT_EQ(change(sluice_route_add, 0, p, 8, 101, 5), 0);
	EXPECT_EQ(change(sluice_route_add, 0, p, 8, 102, 5), -EEXIST);
	EXPECT_EQ(change(sluice_route_add, 0, p, 8, 102, 4), 0);
	EXPECT_EQ(look_up(in, 0), 102);
	EXPECT_EQ(change(sluice_route_add, SLUICE_ROUTE_REPLACE, p, 8, 103, 4), 0);
	EXPECT_EQ(look_up(in, 0), 103);
	EXPECT_EQ(change(sluice_route_add, SLUICE_ROUTE_APPEND, p, 8, 102, 4), 0);
	EXPECT_EQ(look_up(in, 0), 103);
	EXPECT_EQ(look_up(in, 102), 102);
	EXPECT_EQ(look_up(in, 101), 101);
	EXPECT_EQ(change(sluice_route_add, 0, ip_of("10.0.0.1"), 8, 101, 9), -EINVAL);
	EXPECT_EQ(change(sluice_route_add, 0, p, 33, 101, 9), -EINVAL);
	EXPECT_EQ(change(sluice_route_add, 0, p, 8, 999, 9), -ENODEV);
	EXPECT_EQ(change(sluice_route_add, 0, p, 8, 0, 9), -EINVAL);
	EXPECT_EQ(change(sluice_route_add, 1 << 7, p, 8, 101, 9), -EINVAL);
	EXPECT_EQ(change(del, 0, p, 9, 0, 0), -ESRCH);
	EXPECT_EQ(change(del, 0, p, 8, 0, 7), -ESRCH);
	EXPECT_EQ(change(del, 0, p, 8, 102, 0), 0);
	EXPECT_EQ(change(del, 0, p, 8, 0, 0), 0);
	EXPECT_EQ(look_up(in, 0), 101);
	/* The interface takes its routes along. */
	EXPECT_EQ(sluice_interface_del(101), 0);
	EXPECT_EQ(sluice_interface_del(101), -ENODEV);
	EXPECT_EQ(look_up(in, 0), -ENETUNREACH);
	EXPECT_EQ(change(del, 0, p, 8, 0, 0), -ESRCH);
}

TEST(route, a_gateway_has_to_be_on_a_link)
{
	struct sluice_ip here = ip_of("172.16.0.1");
	struct sluice_nexthop hop = { .gateway = ip_of("172.16.0.9") };
	struct sluice_route route = { .prefix = ip_of("172.17.0.0"),
		.prefix_len = 16,
		.nexthop_count = 1,
		.nexthops = &hop };

	make_interfaces(111, 1);
	EXPECT_EQ(sluice_route_add(&route, 0), -ENETUNREACH);
	EXPECT_EQ(sluice_address_add(111, &here, 24), 0);
	EXPECT_EQ(sluice_address_add(111, &here, 24), -EEXIST);
	EXPECT_EQ(sluice_route_add(&route, 0), 0);
	EXPECT_EQ(look_up(ip_of("172.17.1.1"), 0), 111);
	/* Not by another gateway. */
	hop.gateway = ip_of("172.17.0.1");
	route.prefix = ip_of("172.18.0.0");
	EXPECT_EQ(sluice_route_add(&route, 0), -ENETUNREACH);
	EXPECT_EQ(sluice_address_del(111, &here, 24), 0);
	EXPECT_EQ(sluice_address_del(111, &here, 24), -EADDRNOTAVAIL);
	EXPECT_EQ(look_up(ip_of("172.16.0.7"), 0), -ENETUNREACH);
	EXPECT_EQ(sluice_interface_del(111), 0);
}

enum { HOPS = 3, FLOWS = 30000 };

/* Weights 1, 2 and 5: of the flows so many each; a flow always the same way. */
TEST(route, next_hops_share_the_flows_by_weight)
{
	static const struct {
		const char *prefix;
		uint8_t len;
	} rows[] = { { "10.0.0.0", 8 }, { "fd00::", 8 } };
	static const unsigned weights[HOPS] = { 1, 2, 5 };

	make_interfaces(121, HOPS);
	for (unsigned r = 0; r < 2; r++) {
		struct sluice_nexthop hops[HOPS];
		struct sluice_route route = { .prefix = ip_of(rows[r].prefix),
			.prefix_len = rows[r].len,
			.nexthop_count = HOPS,
			.nexthops = hops };
		unsigned seen[HOPS] = { 0 };

		for (unsigned i = 0; i < HOPS; i++)
			hops[i] = (struct sluice_nexthop){ .ifindex = 121 + i,
				.weight = (uint8_t)weights[i] };
		ASSERT_EQ(sluice_route_add(&route, 0), 0);
		for (uint32_t i = 0; i < FLOWS; i++) {
			struct sluice_ip dst = route.prefix;
			int ifindex;

			memcpy(dst.bytes + 1, &i, 3);
			ifindex = look_up(dst, 0);
			ASSERT_TRUE(ifindex >= 121 && ifindex < 121 + HOPS);
			EXPECT_EQ(look_up(dst, 0), ifindex);
			seen[ifindex - 121]++;
		}
		for (unsigned i = 0; i < HOPS; i++) {
			EXPECT_GT(seen[i], FLOWS * weights[i] / 8 * 9 / 10);
			EXPECT_LT(seen[i], FLOWS * weights[i] / 8 * 11 / 10);
		}
		/* One that is gone gets none. */
		EXPECT_EQ(sluice_interface_del(123), 0);
		for (uint32_t i = 0; i < 1000; i++) {
			struct sluice_ip dst = route.prefix;

			memcpy(dst.bytes + 1, &i, 3);
			EXPECT_LT(look_up(dst, 0), 123);
			EXPECT_GE(look_up(dst, 0), 121);
		}
		make_interfaces(123, 1);
		EXPECT_EQ(sluice_route_del(&route), 0);
	}
}

enum { ROUTES = 20000, PROBES = 400 };

struct prefix {
	uint32_t word;
	uint8_t len;
	bool there;
};

static uint32_t masked(uint32_t word, uint8_t len)
{
	return len ? word & ~0u << (32 - len) : 0;
}

static int count_route(const struct sluice_route *route, void *arg)
{
	(void)route;
	++*(unsigned *)arg;
	return 0;
}

/* Random prefixes of a table, against a search through all of them. */
TEST(route, many_routes_are_all_found)
{
	struct prefix *p = calloc(ROUTES, sizeof(*p));
	unsigned there = 0, walked = 0;

	srand(3);
	make_interfaces(141, 33);
	for (unsigned i = 0; i < ROUTES; i++) {
		p[i].len = (uint8_t)(8 + rand() % 25);
		p[i].word = masked((uint32_t)rand() << 8 ^ (uint32_t)rand(), p[i].len);
		p[i].there = change(sluice_route_add, 0, ipv4(p[i].word), p[i].len, 141 + p[i].len,
				     0) == 0;
	}
	/* Every third one goes again. */
	for (unsigned i = 0; i < ROUTES; i += 3) {
		if (!p[i].there)
			continue;
		EXPECT_EQ(change(del, 0, ipv4(p[i].word), p[i].len, 0, 0), 0);
		p[i].there = false;
	}
	for (unsigned i = 0; i < ROUTES; i++)
		there += p[i].there;
	EXPECT_EQ(sluice_route_walk(AF_INET, RT_TABLE_MAIN, count_route, &walked), 0);
	EXPECT_EQ(walked, there);
	for (unsigned i = 0; i < PROBES && !sl_test_has_failed(); i++) {
		uint32_t dst = p[(unsigned)rand() % ROUTES].word | ((uint32_t)rand() & 0xff);
		int want = -ENETUNREACH, best = -1;

		for (unsigned n = 0; n < ROUTES; n++) {
			if (p[n].there && p[n].len > best && masked(dst, p[n].len) == p[n].word) {
				best = p[n].len;
				want = 141 + p[n].len;
			}
		}
		EXPECT_EQ(look_up(ipv4(dst), 0), want);
	}
	for (unsigned i = 0; i < 33; i++)
		sluice_interface_del(141 + i);
	walked = 0;
	EXPECT_EQ(sluice_route_walk(AF_INET, RT_TABLE_MAIN, count_route, &walked), 0);
	EXPECT_EQ(walked, 0u);
	free(p);
}

static int done;

/* Looks for an address that always has a route, while what is around and over it comes and goes. */
static void *keep_looking(void *arg)
{
	unsigned *wrong = arg;

	while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
		int ifindex = look_up(ip_of("10.77.0.5"), 0);

		*wrong += ifindex < 181 || ifindex > 183;
		ifindex = look_up(ip_of("10.78.0.5"), 0);
		*wrong += ifindex != 181;
	}
	return NULL;
}

TEST(route, readers_never_miss_a_route_that_stays)
{
	unsigned wrong = 0;
	pthread_t reader;

	make_interfaces(181, 3);
	done = 0;
	ASSERT_EQ(change(sluice_route_add, 0, ip_of("10.0.0.0"), 8, 181, 0), 0);
	ASSERT_EQ(pthread_create(&reader, NULL, keep_looking, &wrong), 0);
	for (unsigned i = 0; i < 3000; i++) {
		uint8_t len = (uint8_t)(9 + i % 24);
		struct sluice_ip p = ipv4(masked(0x0a4d0005, len));

		/* A length below 15 covers the other address as well. */
		if (len < 16)
			continue;
		EXPECT_EQ(change(sluice_route_add, 0, p, len, 182, 0), 0);
		EXPECT_EQ(change(sluice_route_add, SLUICE_ROUTE_REPLACE, p, len, 183, 0), 0);
		EXPECT_EQ(change(del, 0, p, len, 0, 0), 0);
	}
	__atomic_store_n(&done, 1, __ATOMIC_RELEASE);
	pthread_join(reader, NULL);
	EXPECT_EQ(wrong, 0u);
	for (unsigned i = 0; i < 3; i++)
		sluice_interface_del(181 + i);
}

TEST(neighbour, states_decide_who_is_known)
{
	struct sluice_neighbour n = { .ifindex = 191, .address = ip_of("10.0.0.2") }, got;
	const struct sl_interface *interface;

	EXPECT_EQ(sluice_neighbour_set(&n), -ENODEV);
	make_interfaces(191, 1);
	EXPECT_EQ(sluice_neighbour_set(&n), 0);
	EXPECT_EQ(sluice_neighbour_get(191, &n.address, &got), 0);
	EXPECT_EQ(got.state, 0x80); /* NUD_PERMANENT */
	for (unsigned bit = 0; bit < 8; bit++) {
		bool known = 0xde >> bit & 1;

		n.state = (uint16_t)(1u << bit);
		EXPECT_EQ(sluice_neighbour_set(&n), 0);
		sl_rcu_read_begin();
		interface = sl_interface_peek(191);
		EXPECT_EQ(sl_neighbour_resolve(interface, AF_INET, n.address.bytes) != NULL, known);
		sl_rcu_read_end();
	}
	EXPECT_EQ(sluice_neighbour_del(191, &n.address), 0);
	EXPECT_EQ(sluice_neighbour_del(191, &n.address), -ENOENT);
	n.address.family = 0;
	EXPECT_EQ(sluice_neighbour_set(&n), -EINVAL);
	EXPECT_EQ(sluice_interface_del(191), 0);
}
