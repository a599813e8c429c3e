#include <sluice/route.h>

#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "follow.h"
#include "interface.h"
#include "test.h"

/*
 * What has been followed change by change is what a process finds that looks
 * for the first time: after random sequences of ip(8)'s commands, in a network
 * namespace of the test's own.
 */

enum { LINES = 4096, LINE = 256 };

struct state {
	unsigned count;
	char (*lines)[LINE];
};

static void add_line(struct state *s, const char *line)
{
	if (s->count < LINES)
		snprintf(s->lines[s->count++], LINE, "%s", line);
}

static const char *text_of(const struct sluice_ip *ip, char buffer[INET6_ADDRSTRLEN])
{
	return ip->family ? inet_ntop(ip->family, ip->bytes, buffer, INET6_ADDRSTRLEN) : "-";
}

static int add_route(const struct sluice_route *r, void *arg)
{
	char line[LINE], a[INET6_ADDRSTRLEN], b[INET6_ADDRSTRLEN];
	int n = snprintf(line, sizeof(line),
		"route %s/%u type %u tos %u table %u metric %u mtu %u src %s",
		text_of(&r->prefix, a), r->prefix_len, r->type, r->tos, r->table, r->metric, r->mtu,
		text_of(&r->source, b));

	for (unsigned i = 0; i < r->nexthop_count && n < LINE; i++)
		n += snprintf(line + n, sizeof(line) - (size_t)n, " dev %u via %s weight %u",
			r->nexthops[i].ifindex, text_of(&r->nexthops[i].gateway, a),
			r->nexthops[i].weight);
	add_line(arg, line);
	return 0;
}

static void add_interfaces(struct state *s)
{
	const struct sl_interface_list *list;
	char line[LINE], text[INET6_ADDRSTRLEN];

	sl_rcu_read_begin();
	list = sl_interface_peek_all();
	for (uint32_t i = 0; list && i < list->count; i++) {
		const struct sl_interface *f = list->interfaces[i];

		snprintf(line, sizeof(line), "interface %u mtu %u mac %02x:%02x forward %d %d",
			f->info.ifindex, f->info.mtu, f->info.mac[0], f->info.mac[5],
			!f->info.no_forward_ipv4, !f->info.no_forward_ipv6);
		add_line(s, line);
		for (uint32_t n = 0; n < f->address_count; n++) {
			snprintf(line, sizeof(line), "address %u %s/%u scope %u second %d",
				f->info.ifindex, text_of(&f->addresses[n].ip, text),
				f->addresses[n].prefix_len, f->addresses[n].scope,
				f->addresses[n].secondary);
			add_line(s, line);
		}
	}
	sl_rcu_read_end();
}

/* Those that the test makes. */
static void add_neighbours(struct state *s)
{
	for (uint32_t ifindex = 1; ifindex < 40; ifindex++) {
		for (uint8_t host = 1; host < 8; host++) {
			struct sluice_ip ip = { AF_INET, { 10, 1, 0, host } };
			struct sluice_neighbour n;
			char line[LINE];

			if (sluice_neighbour_get(ifindex, &ip, &n) != 0)
				continue;
			snprintf(line, sizeof(line), "neighbour %u .%u state %u %02x", ifindex,
				host, n.state, n.lladdr[5]);
			add_line(s, line);
		}
	}
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

static struct state take_state(void)
{
	struct state s = { .lines = calloc(LINES, LINE) };

	sluice_route_walk(AF_UNSPEC, 0, add_route, &s);
	add_interfaces(&s);
	add_neighbours(&s);
	qsort(s.lines, s.count, LINE, by_text);
	return s;
}

/* The process that looks for the first time. */
__attribute__((constructor)) static void look_once(void)
{
	struct state s;

	if (!getenv("FOLLOW_LOOK"))
		return;
	if (sluice_route_follow() != 0)
		_exit(1);
	s = take_state();
	for (unsigned i = 0; i < s.count; i++)
		puts(s.lines[i]);
	fflush(stdout);
	_exit(0);
}

static struct state ask_another(void)
{
	struct state s = { .lines = calloc(LINES, LINE) };
	FILE *f = popen("FOLLOW_LOOK=1 /proc/$PPID/exe", "r");
	char line[LINE];

	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		add_line(&s, line);
	}
	if (f)
		pclose(f);
	return s;
}

/* A route that the kernel has twice does what it does once. */
static void drop_doubles(struct state *s)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < s->count; i++) {
		if (kept && strcmp(s->lines[kept - 1], s->lines[i]) == 0)
			continue;
		memmove(s->lines[kept++], s->lines[i], LINE);
	}
	s->count = kept;
}

/* The first line that only one of them has; NULL for none. */
static const char *differ(const struct state *a, const struct state *b)
{
	for (unsigned i = 0; i < a->count || i < b->count; i++) {
		int order = i >= a->count   ? 1
			    : i >= b->count ? -1
					    : strcmp(a->lines[i], b->lines[i]);

		if (order)
			return order < 0 ? a->lines[i] : b->lines[i];
	}
	return NULL;
}

/* The kernel goes on for a while after a command: once they have to be equal.
 */
static void expect_same(const char *after)
{
	char found[LINE] = "";

	for (unsigned i = 0; i < 40; i++) {
		struct state here, there;
		const char *line;

		sl_follow_catch_up();
		here = take_state();
		there = ask_another();
		drop_doubles(&here);
		drop_doubles(&there);
		line = differ(&here, &there);
		snprintf(found, sizeof(found), "%s (%u lines here, %u there)", line ?: "",
			here.count, there.count);
		free(here.lines);
		free(there.lines);
		if (!line && there.count > 0)
			return;
		usleep(50000);
	}
	sl_test_fail(__FILE__, __LINE__, "after\n%s\nthis differs: %s", after, found);
}

static bool set_up(void)
{
	return (unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0) &&
	       system("sysctl -qw net.ipv6.conf.default.accept_dad=0 "
		      "net.ipv6.conf.default.router_solicitations=0 2>/dev/null;"
		      "ip link set lo up && ip link add v0 type veth peer name w0 && "
		      "ip link add v1 type veth peer name w1 && "
		      "for i in v0 w0 v1 w1; do ip link set $i up; done && "
		      "ip addr add 10.1.0.1/24 dev v0 && ip addr add 10.2.0.1/24 dev "
		      "v1 && "
		      "ip addr add fd01::1/64 dev v0 && ip addr add fd02::1/64 dev "
		      "v1") == 0;
}

/* Runs commands of ip(8), those that fail too. */
static void run(const char *commands)
{
	FILE *f = popen("ip -force -batch - >/dev/null 2>&1", "w");

	if (f) {
		fputs(commands, f);
		pclose(f);
	}
}

TEST(follow, each_command_is_followed)
{
	static const char *const rows[] = {
		"route add 10.9.0.0/24 via 10.1.0.9",
		"route add 10.9.0.0/24 via 10.2.0.9 metric 7",
		"route append 10.9.0.0/24 via 10.2.0.8",
		"route replace 10.9.0.0/24 via 10.1.0.7 mtu 1300",
		"route del 10.9.0.0/24 via 10.2.0.8",
		"route add 10.8.0.0/24 nexthop via 10.1.0.9 weight 2 nexthop via "
		"10.2.0.9",
		"route add 10.7.0.0/24 via 10.1.0.9 table 77",
		"route add blackhole 10.6.0.0/24",
		"route del blackhole 10.6.0.0/24",
		"addr add 10.3.0.1/24 dev v0",
		"route add 10.5.0.0/24 via 10.1.0.9 src 10.3.0.1",
		"addr add 10.3.0.2/24 dev v0",
		"addr del 10.3.0.1/24 dev v0",
		"neigh add 10.1.0.3 lladdr 02:00:00:00:00:03 dev v0 nud permanent",
		"neigh replace 10.1.0.3 lladdr 02:00:00:00:00:33 dev v0 nud permanent",
		"neigh del 10.1.0.3 dev v0",
		"rule add from 10.1.0.0/24 table 77 pref 100",
		"rule del pref 100",
		"-6 route add fd09::/64 via fd01::9",
		"-6 route append fd09::/64 via fd02::9",
		"-6 route append fd09::/64 via fd01::8",
		"-6 route del fd09::/64 via fd02::9",
		"-6 route replace fd09::/64 via fd02::7",
		"-6 route del fd09::/64",
		"-6 route add fd08::/64 nexthop via fd01::9 nexthop via fd02::9",
		"-6 route add unreachable fd07::/64",
		"link set v0 mtu 1400 address 02:00:00:00:00:99",
		"link set v0 down",
		"link set v0 up",
		"link set w1 down",
		"link set w1 up",
		"link del v1",
		"link add v2 type veth peer name w2",
		"link set v2 netns 1",
	};

	if (!set_up())
		SKIP("may not make network namespaces");
	ASSERT_EQ(sluice_route_follow(), 0);
	EXPECT_EQ(sluice_route_follow(), -EBUSY);
	expect_same("the first look");
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]) - 1; i++) {
		run(rows[i]);
		expect_same(rows[i]);
	}
	EXPECT_EQ(system("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"), 0);
	expect_same("forwarding");
	sluice_route_unfollow();
}

static unsigned draw(unsigned n)
{
	static uint32_t x = 2463534242;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return x % n;
}

static int random_command(char *to, size_t size)
{
	static const char *const verbs[] = { "add", "append", "replace", "del", "add", "append" };
	const char *verb = verbs[draw(6)];
	unsigned link = 1 + draw(2), host = 2 + draw(4), net = draw(3), metric = draw(2) * 5;

	switch (draw(8)) {
	case 0:
	case 1:
		return snprintf(to, size, "route %s 10.9.%u.0/24 via 10.%u.0.%u metric %u\n", verb,
			net, link, host, metric);
	case 2:
		return snprintf(to, size, "route %s 10.9.%u.0/24 dev v%u\n", verb, net, link - 1);
	case 3:
		return snprintf(to, size, "-6 route %s fd09:%u::/64 via fd0%u::%u metric %u\n",
			verb, net, link, host, metric + 1);
	case 4:
		return snprintf(to, size,
			"-6 route %s fd09:%u::/64 nexthop via fd01::%u nexthop via fd02::%u\n",
			verb, net, host, host);
	case 5:
		return snprintf(to, size, "neigh %s 10.1.0.%u lladdr 02:00:00:00:00:0%u dev v0\n",
			draw(2) ? "replace" : "del", host, net);
	case 6:
		return snprintf(to, size, "addr %s 10.%u.0.%u/24 dev v%u\n",
			draw(2) ? "add" : "del", link, host, link - 1);
	default:
		return draw(3) ? snprintf(to, size, "-6 addr %s fd0%u::%u/64 dev v%u\n",
					 draw(2) ? "add" : "del", link, host + 16, link - 1)
			       : snprintf(to, size, "link set v%u %s\n", link - 1,
					 draw(3) ? "up" : "down");
	}
}

TEST(follow, random_commands_are_followed)
{
	enum { ROUNDS = 25, COMMANDS = 25 };

	if (!set_up())
		SKIP("may not make network namespaces");
	ASSERT_EQ(sluice_route_follow(), 0);
	for (unsigned round = 0; round < ROUNDS && !sl_test_has_failed(); round++) {
		char commands[COMMANDS * 128] = "";
		int n = 0;

		for (unsigned i = 0; i < COMMANDS; i++)
			n += random_command(commands + n, sizeof(commands) - (size_t)n);
		run(commands);
		expect_same(commands);
	}
	sluice_route_unfollow();
}

TEST(follow, what_is_not_the_kernels_stays)
{
	struct sluice_interface own = { .ifindex = 9999, .mtu = 1500, .header_bytes = 14 };
	struct sluice_ip address = { AF_INET, { 192, 0, 2, 1 } };
	struct state s;
	unsigned routes = 0;

	if (!set_up())
		SKIP("may not make network namespaces");
	ASSERT_EQ(sluice_interface_set(&own), 0);
	ASSERT_EQ(sluice_address_add(9999, &address, 24), 0);
	ASSERT_EQ(sluice_route_follow(), 0);
	run("link set v0 down\nlink set v0 up\naddr del 10.1.0.1/24 dev v0\n");
	sl_follow_catch_up();
	sluice_route_unfollow();
	s = take_state();
	for (unsigned i = 0; i < s.count; i++) {
		routes += strstr(s.lines[i], "route 192.0.2.") != NULL;
		EXPECT_TRUE(strstr(s.lines[i], "192.0.2.") || strstr(s.lines[i], "9999"));
	}
	EXPECT_EQ(routes, 3u);
	free(s.lines);
	EXPECT_EQ(sluice_interface_del(9999), 0);
}
