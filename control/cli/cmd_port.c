#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "daemon.h"
#include "verb.h"

/* The daemon's ports: sluice port add, del, list, show, set, stats. */

static const char help[] =
	"Usage: sluice port add DEVARGS [--name NAME] [--twin try|require|none] [OPTION]... [SETTING]...\n"
	"       sluice port del PORT\n"
	"       sluice port list [--json]\n"
	"       sluice port show PORT [--json]\n"
	"       sluice port set PORT SETTING...\n"
	"       sluice port stats PORT [--all] [--json]\n"
	"\n"
	"The ports of the running daemon, while packets flow. A PORT is its name, its device's name,\n"
	"or its number.\n"
	"\n"
	"add      takes DEVARGS as DPDK's --vdev and -a do: 0000:01:00.0, net_af_packet0,iface=eth1,\n"
	"         net_pcap0,rx_pcap=in.pcap,tx_pcap=out.pcap; or the name of a device that the daemon's\n"
	"         EAL has found. Traffic starts at once. With a kernel twin, which is made where the\n"
	"         daemon may, the port is an interface of the kernel's, too: it has that interface's\n"
	"         number, ip(8) and routing daemons see it, what programs pass arrives there, and what\n"
	"         the kernel sends there leaves by the port, after its TC egress filters.\n"
	"  --name NAME           of port and twin (the device's, or dpdkN where no interface can have it)\n"
	"  --twin try|require|none\n"
	"                        whether it has a twin; require fails where the daemon may not make one\n"
	"  --rx-queues N         at most one per worker, which is the default\n"
	"  --rx-descriptors N, --tx-descriptors N\n"
	"                        of each queue (1024)\n"
	"  --mbufs N             that the port's pool holds\n"
	"  --tx-offloads         let the device complete checksums and cut packets\n"
	"  --rx-hash, --rx-timestamp, --rx-vlan\n"
	"                        let the device note these of packets, for programs\n"
	"del      removes a port and its twin, with the programs at its hooks.\n"
	"list     shows all ports in a line each, show everything about one.\n"
	"set      changes all that it names, or nothing.\n"
	"stats    shows where packets of the port ended, and the device's own counters; those that are\n"
	"         0 with --all.\n"
	"\n"
	"Settings:\n"
	"  mtu N                 bytes behind the Ethernet header; the twin's follows, and leads\n"
	"  mac ADDRESS           the same holds for it\n"
	"  promiscuous on|off, allmulticast on|off, link up|down\n"
	"  pass-to PORT|kernel   where what programs pass goes\n"
	"  rss TYPE[,TYPE]...    what spreads packets over queues: ip, tcp, udp, sctp, ipv4, ipv4-tcp,\n"
	"                        ipv6-udp, l3-src-only, l4-dst-only, vxlan, ...; none\n"
	"  rss-key HEX           the key of its hash\n"
	"  rss-table QUEUE[,QUEUE]...\n"
	"                        the queues of its table, repeated to fill it\n"
	"\n"
	"Exit status: 0, 1 when something failed, 2 for wrong arguments; then nothing has changed.\n";

enum kind { TEXT, NUMBER, FLAG, SWITCH, LIST };

struct word {
	const char *name, *param;
	enum kind kind;
	const char *on, *off; /* of a switch */
};

static const struct word settings[] = {
	{ "mtu", "mtu", NUMBER },
	{ "mac", "mac", TEXT },
	{ "address", "mac", TEXT },
	{ "promiscuous", "promiscuous", SWITCH, "on", "off" },
	{ "promisc", "promiscuous", SWITCH, "on", "off" },
	{ "allmulticast", "all_multicast", SWITCH, "on", "off" },
	{ "link", "link", SWITCH, "up", "down" },
	{ "pass-to", "pass_to", TEXT },
	{ "rss", "rss", TEXT },
	{ "rss-key", "rss_key", TEXT },
	{ "rss-table", "rss_table", LIST },
	{ 0 },
};

static const struct word options[] = {
	{ "--name", "name", TEXT },
	{ "--twin", "twin", TEXT },
	{ "--mbufs", "mbufs", NUMBER },
	{ "--rx-queues", "rx_queues", NUMBER },
	{ "--rx-descriptors", "rx_descriptors", NUMBER },
	{ "--tx-descriptors", "tx_descriptors", NUMBER },
	{ "--tx-offloads", "tx_offloads", FLAG },
	{ "--rx-hash", "rx_hash", FLAG },
	{ "--rx-timestamp", "rx_timestamp", FLAG },
	{ "--rx-vlan", "rx_vlan", FLAG },
	{ 0 },
};

static const struct word *find_word(const struct word *words, const char *name)
{
	for (; words->name; words++) {
		if (strcmp(words->name, name) == 0)
			return words;
	}
	return NULL;
}

static bool parse_number(const char *text, size_t len, int64_t *ret)
{
	char *end;

	if (len == 0 || text[0] < '0' || text[0] > '9')
		return false;
	*ret = strtoll(text, &end, 0);
	return end == text + len;
}

static struct json_object *parse_list(const char *text)
{
	struct json_object *list = json_object_new_array();

	for (;;) {
		size_t len = strcspn(text, ",");
		int64_t value;

		if (!parse_number(text, len, &value)) {
			json_object_put(list);
			return NULL;
		}
		json_object_array_add(list, json_object_new_int64(value));
		if (!text[len])
			return list;
		text += len + 1;
	}
}

static struct json_object *parse_value(const struct word *word, const char *text)
{
	int64_t number;

	switch (word->kind) {
	case NUMBER:
		return parse_number(text, strlen(text), &number) ? json_object_new_int64(number)
								 : NULL;
	case SWITCH:
		if (strcmp(text, word->on) != 0 && strcmp(text, word->off) != 0)
			return NULL;
		return json_object_new_boolean(strcmp(text, word->on) == 0);
	case LIST:
		return parse_list(text);
	default:
		return json_object_new_string(text);
	}
}

/* The words from argv[0] on, into params; an exit status. */
static int parse_words(int argc, char **argv, bool with_options, struct json_object *params)
{
	for (int i = 0; i < argc; i++) {
		const struct word *word = find_word(settings, argv[i]);
		struct json_object *value;

		if (!word && with_options)
			word = find_word(options, argv[i]);
		if (!word)
			return sl_cli_usage("port: unknown word '%s'", argv[i]);
		if (word->kind != FLAG && i + 1 == argc)
			return sl_cli_usage("port: '%s' needs a value", argv[i]);
		if (json_object_object_get_ex(params, word->param, NULL))
			return sl_cli_usage("port: '%s' is given twice", argv[i]);
		value = word->kind == FLAG ? json_object_new_boolean(true)
					   : parse_value(word, argv[++i]);
		if (!value)
			return sl_cli_usage("port: bad value '%s' of '%s'", argv[i], word->name);
		json_object_object_add(params, word->param, value);
	}
	return 0;
}

/* The only argument that a verb takes besides --json and --all; NULL for none. */
static int parse_one(int argc, char **argv, const char **ret_port, bool *ret_json, bool *ret_all)
{
	for (int i = 0; i < argc; i++) {
		if (ret_json && strcmp(argv[i], "--json") == 0)
			*ret_json = true;
		else if (ret_all && strcmp(argv[i], "--all") == 0)
			*ret_all = true;
		else if (argv[i][0] == '-')
			return sl_cli_usage("port: unknown option '%s'", argv[i]);
		else if (!ret_port || *ret_port)
			return sl_cli_usage("port: unexpected argument '%s'", argv[i]);
		else
			*ret_port = argv[i];
	}
	return ret_port && !*ret_port ? sl_cli_usage("port: no port given") : 0;
}

/* Takes over params; an exit status. */
static int call(const char *method, struct json_object *params, struct json_object **ret_result)
{
	char reason[SL_DAEMON_REASON];

	if (sl_daemon_call(method, params, NULL, ret_result, NULL, reason) != 0)
		return sl_cli_fail("%s", reason);
	return 0;
}

static struct json_object *with_port(const char *port)
{
	struct json_object *params = json_object_new_object();

	json_object_object_add(params, "port", json_object_new_string(port));
	return params;
}

static int add(int argc, char **argv)
{
	struct json_object *params;
	int status;

	if (argc == 0)
		return sl_cli_usage("port: no devargs given");
	params = json_object_new_object();
	json_object_object_add(params, "devargs", json_object_new_string(argv[0]));
	status = parse_words(argc - 1, argv + 1, true, params);
	if (status) {
		json_object_put(params);
		return status;
	}
	return call("port.add", params, NULL);
}

static int del(int argc, char **argv)
{
	const char *port = NULL;
	int status = parse_one(argc, argv, &port, NULL, NULL);

	return status ? status : call("port.del", with_port(port), NULL);
}

static int set(int argc, char **argv)
{
	struct json_object *params;
	int status;

	if (argc == 0)
		return sl_cli_usage("port: no port given");
	if (argc == 1)
		return sl_cli_usage("port: no setting given");
	params = with_port(argv[0]);
	status = parse_words(argc - 1, argv + 1, false, params);
	if (status) {
		json_object_put(params);
		return status;
	}
	return call("port.set", params, NULL);
}

static int print_json(struct json_object *object)
{
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
							    JSON_C_TO_STRING_SPACED |
							    JSON_C_TO_STRING_NOSLASHESCAPE));
	return 0;
}

static const char *text_of(struct json_object *port, const char *name)
{
	return json_object_get_string(json_object_object_get(port, name));
}

static int64_t number_of(struct json_object *port, const char *name)
{
	return json_object_get_int64(json_object_object_get(port, name));
}

static bool is(struct json_object *port, const char *name)
{
	return json_object_get_boolean(json_object_object_get(port, name));
}

static void print_line(struct json_object *port)
{
	char link[32] = "down";

	if (is(port, "link") && number_of(port, "speed_mbps"))
		snprintf(link, sizeof(link), "%" PRId64 "G", number_of(port, "speed_mbps") / 1000);
	else if (is(port, "link"))
		snprintf(link, sizeof(link), "up");
	if (is(port, "link") && number_of(port, "speed_mbps") % 1000)
		snprintf(link, sizeof(link), "%" PRId64 "M", number_of(port, "speed_mbps"));
	printf("%7" PRId64 " %-15s %-15s %-17s %5" PRId64 " %-6s %-6s %2" PRId64 "/%-4" PRId64
	       " %6" PRId64 " %s\n",
		number_of(port, "ifindex"), text_of(port, "name"), text_of(port, "driver"),
		text_of(port, "mac"), number_of(port, "mtu"), link,
		is(port, "twin") ? "kernel" : "-", number_of(port, "rx_queues"),
		number_of(port, "tx_queues"), number_of(port, "xdp_prog_id"),
		text_of(port, "pass_to"));
}

static int list(int argc, char **argv)
{
	struct json_object *result, *ports;
	bool json = false;
	int status = parse_one(argc, argv, NULL, &json, NULL);

	if (!status)
		status = call("port.list", NULL, &result);
	if (status)
		return status;
	ports = json_object_object_get(result, "ports");
	if (json) {
		print_json(ports);
	} else {
		printf("%7s %-15s %-15s %-17s %5s %-6s %-6s %-7s %6s %s\n", "IFINDEX", "NAME",
			"DRIVER", "MAC", "MTU", "LINK", "TWIN", "RX/TX", "XDP", "PASSES TO");
		for (size_t i = 0; i < json_object_array_length(ports); i++)
			print_line(json_object_array_get_idx(ports, i));
	}
	json_object_put(result);
	return 0;
}

static void print_words(const char *name, struct json_object *words)
{
	printf("%-16s", name);
	for (size_t i = 0; i < json_object_array_length(words); i++)
		printf(" %s", json_object_get_string(json_object_array_get_idx(words, i)));
	putchar('\n');
}

static void print_value(const char *name, struct json_object *value)
{
	if (json_object_is_type(value, json_type_boolean))
		printf("%-16s %s\n", name, json_object_get_boolean(value) ? "yes" : "no");
	else if (json_object_is_type(value, json_type_array))
		print_words(name, value);
	else if (*json_object_get_string(value))
		printf("%-16s %s\n", name, json_object_get_string(value));
}

static int show(int argc, char **argv)
{
	struct json_object *result, *port;
	const char *name = NULL;
	bool json = false;
	int status = parse_one(argc, argv, &name, &json, NULL);

	if (!status)
		status = call("port.show", with_port(name), &result);
	if (status)
		return status;
	port = json_object_object_get(result, "port");
	if (json)
		print_json(port);
	json_object_object_foreach(port, key, value)
	{
		if (json)
			break;
		if (strcmp(key, "rss") != 0) {
			print_value(key, value);
			continue;
		}
		json_object_object_foreach(value, part, of_part)
		{
			char full[32];

			snprintf(full, sizeof(full), "rss_%s", part);
			print_value(full, of_part);
		}
	}
	json_object_put(result);
	return 0;
}

static int stats(int argc, char **argv)
{
	struct json_object *result;
	const char *name = NULL;
	bool json = false, all = false;
	int status = parse_one(argc, argv, &name, &json, &all);

	if (!status)
		status = call("port.stats", with_port(name), &result);
	if (status)
		return status;
	if (json)
		print_json(result);
	json_object_object_foreach(result, group, values)
	{
		if (json)
			break;
		printf("%s\n", group);
		json_object_object_foreach(values, key, value)
		{
			if (all || json_object_get_int64(value))
				printf("  %-36s %20s\n", key, json_object_get_string(value));
		}
	}
	json_object_put(result);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} verbs[] = {
	{ "add", add },
	{ "del", del },
	{ "delete", del },
	{ "remove", del },
	{ "list", list },
	{ "show", show },
	{ "set", set },
	{ "stats", stats },
};

int sl_cmd_port(int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			fputs(help, stdout);
			return 0;
		}
	}
	if (argc == 0)
		return sl_cli_usage("port: add, del, list, show, set or stats?");
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(verbs[i].name, argv[0]) == 0)
			return verbs[i].run(argc - 1, argv + 1);
	}
	return sl_cli_usage("port: unknown verb '%s'", argv[0]);
}
