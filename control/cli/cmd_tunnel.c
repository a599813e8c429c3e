#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "daemon.h"
#include "tunnel_words.h"
#include "verb.h"

/* The daemon's tunnels: sluice tunnel add, del, list, show. */

static const char help[] =
	"Usage: sluice tunnel add NAME=KIND,underlay=PORT[,KEY[=VALUE]]...\n"
	"       sluice tunnel del NAME\n"
	"       sluice tunnel list [--json]\n"
	"       sluice tunnel show NAME [--json]\n"
	"\n"
	"Ports of the running daemon without a device of their own, over one that has: what arrives there,\n"
	"passes its XDP program and TC ingress filters and is for the tunnel, comes in at the tunnel's\n"
	"port without its outer headers; what leaves by the tunnel's port gets them, and leaves by the\n"
	"port below. Filters are attached to it by tc(8) under 'sluice run', as to any port; ip(8) there\n"
	"adds tunnels, too: 'ip link add vx0 type vxlan external dstport 4789 dev PORT'.\n"
	"\n"
	"add      adds one, of the kind vxlan, geneve, gre, gretap, ip6gre, ip6gretap, ipip, sit or\n"
	"         ip6tnl. Traffic starts at once.\n"
	"del      removes it, with the filters at its hooks. It also goes with the port below.\n"
	"list     shows all, each as one would add it.\n"
	"show     shows one, a line for each key.\n"
	"\n"
	"Keys, as in ip-link(8):\n"
	"  underlay=PORT         the port below\n"
	"  external              programs read and write the outer headers' fields, with\n"
	"                        bpf_skb_get_tunnel_key and bpf_skb_set_tunnel_key; without it remote\n"
	"                        is needed\n"
	"  local=ADDRESS         that packets for it are sent to (any), and where its own come from;\n"
	"                        repeatable\n"
	"  remote=ADDRESS        where it sends its packets\n"
	"  nexthop=MAC           of outer packets; otherwise the port's routes and neighbours say\n"
	"  id=N, key=N           the VNI of vxlan and geneve, the key of gre\n"
	"  dstport=N, srcport=MIN-MAX\n"
	"                        of UDP\n"
	"  ttl=N|inherit, tos=N|inherit, flowlabel=N, df=set|unset|inherit\n"
	"                        of the outer header\n"
	"  address=MAC, mtu=N    of the tunnel's port\n"
	"  gbp                   vxlan: group policy\n"
	"  csum, seq             gre: checksums (udp, too) and sequence numbers\n"
	"  udp6zerocsumtx, udp6zerocsumrx\n"
	"                        UDP over IPv6 without checksums\n"
	"\n"
	"Examples:\n"
	"  sluice tunnel add vx0=vxlan,external,underlay=net0,local=192.0.2.1\n"
	"  sluice run -- tc qdisc add dev vx0 clsact\n"
	"  sluice run -- tc filter add dev vx0 egress bpf da obj tunnel.bpf.o sec tc\n"
	"  sluice tunnel add g0=gre,underlay=net0,local=192.0.2.1,remote=192.0.2.9,key=7,ttl=64\n"
	"\n"
	"Exit status: 0, 1 when something failed, 2 for wrong arguments; then nothing has changed.\n";

/* Takes over params; an exit status. */
static int call(const char *method, struct json_object *params, struct json_object **ret_result)
{
	char reason[SL_DAEMON_REASON];

	if (sl_daemon_call(method, params, NULL, ret_result, NULL, reason) != 0)
		return sl_cli_fail("%s", reason);
	return 0;
}

static struct json_object *with_tunnel(const char *text)
{
	struct json_object *params = json_object_new_object();

	if (text)
		json_object_object_add(params, "tunnel", json_object_new_string(text));
	return params;
}

/* The daemon reads the text; here it is read to tell wrong arguments from what cannot be done. */
static int add(int argc, char **argv)
{
	struct sl_tunnel_words words;
	char reason[256], *copy;
	int err;

	if (argc == 0)
		return sl_cli_usage("tunnel: no NAME=KIND,... given");
	if (argc > 1)
		return sl_cli_usage("tunnel: unexpected argument '%s'", argv[1]);
	copy = strdup(argv[0]);
	if (!copy)
		return sl_cli_fail("out of memory");
	err = sl_tunnel_words_parse(copy, &words, reason, sizeof(reason));
	free(copy);
	return err ? sl_cli_usage("%s", reason) : call("tunnel.add", with_tunnel(argv[0]), NULL);
}

static int parse(int argc, char **argv, const char **ret_name, bool *ret_json)
{
	for (int i = 0; i < argc; i++) {
		if (ret_json && strcmp(argv[i], "--json") == 0)
			*ret_json = true;
		else if (argv[i][0] == '-')
			return sl_cli_usage("tunnel: unknown option '%s'", argv[i]);
		else if (!ret_name || *ret_name)
			return sl_cli_usage("tunnel: unexpected argument '%s'", argv[i]);
		else
			*ret_name = argv[i];
	}
	return ret_name && !*ret_name ? sl_cli_usage("tunnel: no name given") : 0;
}

static int del(int argc, char **argv)
{
	const char *name = NULL;
	int status = parse(argc, argv, &name, NULL);

	return status ? status : call("tunnel.del", with_tunnel(name), NULL);
}

static const char *text_of(struct json_object *tunnel, const char *name)
{
	return json_object_get_string(json_object_object_get(tunnel, name));
}

static int print_json(struct json_object *object)
{
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
							    JSON_C_TO_STRING_SPACED |
							    JSON_C_TO_STRING_NOSLASHESCAPE));
	return 0;
}

/* ,KEY[=VALUE] */
static void print_word(const char *key, struct json_object *value)
{
	if (json_object_is_type(value, json_type_boolean)) {
		printf(",%s", key);
	} else if (!json_object_is_type(value, json_type_array)) {
		printf(",%s=%s", key, json_object_get_string(value));
	} else {
		for (size_t i = 0; i < json_object_array_length(value); i++)
			print_word(key, json_object_array_get_idx(value, i));
	}
}

static void print_line(struct json_object *tunnel)
{
	printf("%s=%s,underlay=%s", text_of(tunnel, "name"), text_of(tunnel, "kind"),
		text_of(tunnel, "underlay"));
	json_object_object_foreach(json_object_object_get(tunnel, "options"), key, value)
	{
		print_word(key, value);
	}
	putchar('\n');
}

static int list(int argc, char **argv)
{
	struct json_object *result, *tunnels;
	bool json = false;
	int status = parse(argc, argv, NULL, &json);

	if (!status)
		status = call("tunnel.list", NULL, &result);
	if (status)
		return status;
	tunnels = json_object_object_get(result, "tunnels");
	if (json)
		print_json(tunnels);
	for (size_t i = 0; !json && i < json_object_array_length(tunnels); i++)
		print_line(json_object_array_get_idx(tunnels, i));
	json_object_put(result);
	return 0;
}

static void print_value(const char *key, struct json_object *value)
{
	printf("%-16s", key);
	if (json_object_is_type(value, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(value); i++)
			printf(" %s", json_object_get_string(json_object_array_get_idx(value, i)));
	} else {
		printf(" %s", json_object_is_type(value, json_type_boolean)
				      ? "yes"
				      : json_object_get_string(value));
	}
	putchar('\n');
}

static int show(int argc, char **argv)
{
	struct json_object *result, *tunnel;
	const char *name = NULL;
	bool json = false;
	int status = parse(argc, argv, &name, &json);

	if (!status)
		status = call("tunnel.list", with_tunnel(name), &result);
	if (status)
		return status;
	tunnel = json_object_array_get_idx(json_object_object_get(result, "tunnels"), 0);
	if (!tunnel) {
		status = sl_cli_fail("tunnel %s has just gone", name);
	} else if (json) {
		print_json(tunnel);
	} else {
		json_object_object_foreach(tunnel, key, value)
		{
			if (strcmp(key, "options") != 0)
				print_value(key, value);
		}
		json_object_object_foreach(json_object_object_get(tunnel, "options"), word, of_word)
		{
			print_value(word, of_word);
		}
	}
	json_object_put(result);
	return status;
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
};

int sl_cmd_tunnel(int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		if (sl_cli_helps(argc - i, argv + i, help))
			return 0;
	}
	if (argc == 0)
		return sl_cli_usage("tunnel: add, del, list or show?");
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(verbs[i].name, argv[0]) == 0)
			return verbs[i].run(argc - 1, argv + 1);
	}
	return sl_cli_usage("tunnel: unknown verb '%s'", argv[0]);
}
