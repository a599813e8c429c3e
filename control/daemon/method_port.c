#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/dataplane.h>
#include <sluice/port.h>

#include "logging.h"
#include "method.h"

/* Ports, as the sluice command asks for them: what they are, and every change of them. */

enum { MAC_BYTES = 6, MAC_TEXT = 18 };

/* What the data plane says is wrong goes to who asked, in place of the log. */
static void ask(struct sl_method_call *call)
{
	sl_log_capture(call->reason, sizeof(call->reason));
}

static int asked(int err)
{
	sl_log_capture(NULL, 0);
	return err;
}

static int get_port(struct sl_method_call *call, const char *name, uint32_t *ret_ifindex)
{
	const char *port = NULL;
	int err = sl_method_string(call, name, true, &port);

	if (err)
		return err;
	if (sluice_port_find(port, ret_ifindex) != 0)
		return sl_method_fail(call, -ENODEV, "there is no port %.64s", port);
	return 0;
}

static bool parse_mac(const char *text, uint8_t ret_mac[MAC_BYTES])
{
	int end = 0;

	return sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &ret_mac[0], &ret_mac[1],
		       &ret_mac[2], &ret_mac[3], &ret_mac[4], &ret_mac[5], &end) == MAC_BYTES &&
	       !text[end];
}

/* What port.set changes, and port.add sets; `given` has a bit for each. */
enum setting { MTU, MAC, PROMISCUOUS, ALL_MULTICAST, LINK, PASS_TO, RSS, SETTINGS };

struct settings {
	unsigned given;
	uint16_t mtu;
	uint8_t mac[MAC_BYTES];
	bool promiscuous, all_multicast, link;
	uint32_t pass_to;
	unsigned rss_parts;
	struct sluice_rss rss;
};

static int get_mtu(struct sl_method_call *call, struct settings *s)
{
	int64_t mtu = -1;
	int err = sl_method_number(call, "mtu", false, 68, UINT16_MAX, &mtu);

	if (err || mtu < 0)
		return err;
	s->mtu = (uint16_t)mtu;
	s->given |= 1 << MTU;
	return 0;
}

static int get_mac(struct sl_method_call *call, struct settings *s)
{
	const char *mac = NULL;
	int err = sl_method_string(call, "mac", false, &mac);

	if (err || !mac)
		return err;
	if (!parse_mac(mac, s->mac))
		return sl_method_fail(call, -EINVAL, "'%.32s' is no MAC address", mac);
	s->given |= 1 << MAC;
	return 0;
}

static int get_switches(struct sl_method_call *call, struct settings *s)
{
	const struct {
		const char *name;
		enum setting setting;
		bool *value;
	} switches[] = {
		{ "promiscuous", PROMISCUOUS, &s->promiscuous },
		{ "all_multicast", ALL_MULTICAST, &s->all_multicast },
		{ "link", LINK, &s->link },
	};

	for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++) {
		struct json_object *value;
		int err = sl_method_bool(call, switches[i].name, false, switches[i].value);

		if (err)
			return err;
		if (json_object_object_get_ex(call->params, switches[i].name, &value))
			s->given |= 1u << switches[i].setting;
	}
	return 0;
}

/* "kernel", or a port. */
static int get_pass_to(struct sl_method_call *call, struct settings *s)
{
	const char *to = NULL;
	int err = sl_method_string(call, "pass_to", false, &to);

	if (err || !to)
		return err;
	s->given |= 1 << PASS_TO;
	return strcmp(to, "kernel") == 0 ? 0 : get_port(call, "pass_to", &s->pass_to);
}

static int get_types(struct sl_method_call *call, const char *text, uint64_t *ret_types)
{
	char copy[512], *save = NULL;

	if (snprintf(copy, sizeof(copy), "%s", text) >= (int)sizeof(copy))
		return sl_method_fail(call, -EINVAL, "too many RSS types");
	for (char *word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		const char *name;
		uint64_t types;
		unsigned i = 0;

		while ((name = sluice_rss_type(i, &types)) && strcmp(name, word) != 0)
			i++;
		if (!name)
			return sl_method_fail(call, -EINVAL,
				"'%.32s' is no type of RSS (see sluice port --help)", word);
		*ret_types |= types;
	}
	return 0;
}

static int get_key(struct sl_method_call *call, const char *text, struct sluice_rss *rss)
{
	size_t digits = strlen(text);

	if (digits % 2 || digits / 2 >= SLUICE_RSS_KEY_BYTES ||
		strspn(text, "0123456789abcdefABCDEF") != digits)
		return sl_method_fail(
			call, -EINVAL, "the key of RSS is not in pairs of hex digits");
	for (size_t i = 0; i < digits / 2; i++)
		sscanf(text + 2 * i, "%2hhx", &rss->key[i]);
	rss->key_bytes = (uint8_t)(digits / 2);
	return 0;
}

static int get_table(struct sl_method_call *call, struct json_object *list, struct sluice_rss *rss)
{
	size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;

	if (n == 0 || n > SLUICE_RSS_RETA)
		return sl_method_fail(call, -EINVAL, "'rss_table' is not a list of queues");
	for (size_t i = 0; i < n; i++) {
		struct json_object *queue = json_object_array_get_idx(list, i);
		int64_t value = json_object_get_int64(queue);

		if (!json_object_is_type(queue, json_type_int) || value < 0 || value > UINT16_MAX)
			return sl_method_fail(call, -EINVAL, "'rss_table' is not a list of queues");
		rss->reta[i] = (uint16_t)value;
	}
	rss->reta_size = (uint16_t)n;
	return 0;
}

static int get_rss(struct sl_method_call *call, struct settings *s)
{
	const char *types = NULL, *key = NULL;
	struct json_object *table;
	int err = sl_method_string(call, "rss", false, &types);

	if (!err)
		err = sl_method_string(call, "rss_key", false, &key);
	if (!err && types) {
		s->rss_parts |= SLUICE_RSS_TYPES;
		err = get_types(call, types, &s->rss.types);
	}
	if (!err && key) {
		s->rss_parts |= SLUICE_RSS_KEY;
		err = get_key(call, key, &s->rss);
	}
	if (!err && json_object_object_get_ex(call->params, "rss_table", &table)) {
		s->rss_parts |= SLUICE_RSS_TABLE;
		err = get_table(call, table, &s->rss);
	}
	if (s->rss_parts)
		s->given |= 1 << RSS;
	return err;
}

static int get_settings(struct sl_method_call *call, struct settings *s)
{
	static int (*const parts[])(struct sl_method_call *, struct settings *) = { get_mtu,
		get_mac, get_switches, get_pass_to, get_rss };
	int err = 0;

	memset(s, 0, sizeof(*s));
	for (size_t i = 0; !err && i < sizeof(parts) / sizeof(parts[0]); i++)
		err = parts[i](call, s);
	return err;
}

static int apply_one(uint32_t ifindex, const struct settings *s, enum setting setting)
{
	switch (setting) {
	case MTU:
		return sluice_port_set_mtu(ifindex, s->mtu);
	case MAC:
		return sluice_port_set_mac(ifindex, s->mac);
	case PROMISCUOUS:
		return sluice_port_set_promiscuous(ifindex, s->promiscuous);
	case ALL_MULTICAST:
		return sluice_port_set_all_multicast(ifindex, s->all_multicast);
	case LINK:
		return sluice_port_set_link(ifindex, s->link);
	case PASS_TO:
		return sluice_port_pass_to(ifindex, s->pass_to);
	default:
		return sluice_port_set_rss(ifindex, &s->rss, s->rss_parts);
	}
}

/* What there is, of what is to be changed. */
static int get_present(
	uint32_t ifindex, const struct settings *wanted, struct settings *ret_present)
{
	struct sluice_port_state state;
	struct sluice_port_info info;
	int err = sluice_port_state(ifindex, &state);

	memset(ret_present, 0, sizeof(*ret_present));
	if (err || sluice_port_next(ifindex - 1, &info) != 0 || info.ifindex != ifindex)
		return -ENODEV;
	ret_present->mtu = state.mtu;
	memcpy(ret_present->mac, info.mac, MAC_BYTES);
	ret_present->promiscuous = state.promiscuous;
	ret_present->all_multicast = state.all_multicast;
	ret_present->link = state.link_up;
	ret_present->pass_to = info.pass_to;
	ret_present->rss_parts = wanted->rss_parts;
	return wanted->rss_parts ? sluice_port_get_rss(ifindex, &ret_present->rss) : 0;
}

/* All of them, or none. */
static int apply(uint32_t ifindex, const struct settings *wanted)
{
	struct settings present;
	int err = get_present(ifindex, wanted, &present);
	unsigned done = 0;

	while (!err && done < SETTINGS) {
		if (wanted->given & 1u << done)
			err = apply_one(ifindex, wanted, (enum setting)done);
		if (!err)
			done++;
	}
	while (err && done-- > 0) {
		if (wanted->given & 1u << done)
			apply_one(ifindex, &present, (enum setting)done);
	}
	return err;
}

static const struct {
	const char *name;
	enum sluice_kernel_twin twin;
} twins[] = {
	{ "none", SLUICE_TWIN_NONE },
	{ "try", SLUICE_TWIN_TRY },
	{ "require", SLUICE_TWIN_REQUIRE },
};

static int get_twin(struct sl_method_call *call, struct sluice_port_options *o)
{
	const char *twin = "try";
	int err = sl_method_string(call, "twin", false, &twin);

	for (size_t i = 0; !err && i < sizeof(twins) / sizeof(twins[0]); i++) {
		if (strcmp(twins[i].name, twin) == 0) {
			o->kernel_twin = twins[i].twin;
			o->beside_kernel = true;
			return 0;
		}
	}
	return err ? err
		   : sl_method_fail(
			     call, -EINVAL, "'twin' is not none, try or require: '%.32s'", twin);
}

static int get_numbers(struct sl_method_call *call, struct sluice_port_options *o)
{
	int64_t mbufs = 0, queues = 0, rx = 0, tx = 0;
	int err = sl_method_number(call, "mbufs", false, 1, 1 << 24, &mbufs);

	if (!err)
		err = sl_method_number(call, "rx_queues", false, 1, 1024, &queues);
	if (!err)
		err = sl_method_number(call, "rx_descriptors", false, 1, UINT16_MAX, &rx);
	if (!err)
		err = sl_method_number(call, "tx_descriptors", false, 1, UINT16_MAX, &tx);
	o->mbufs = (uint32_t)mbufs;
	o->rx_queues = (uint16_t)queues;
	o->rx_descriptors = (uint16_t)rx;
	o->tx_descriptors = (uint16_t)tx;
	return err;
}

static int get_hints(struct sl_method_call *call, struct sluice_port_options *o)
{
	static const struct {
		const char *name;
		uint32_t hint;
	} hints[] = {
		{ "rx_hash", SLUICE_RX_HASH },
		{ "rx_timestamp", SLUICE_RX_TIMESTAMP },
		{ "rx_vlan", SLUICE_RX_VLAN },
	};
	int err = sl_method_bool(call, "tx_offloads", false, &o->tx_offloads);

	for (size_t i = 0; !err && i < sizeof(hints) / sizeof(hints[0]); i++) {
		bool on = false;

		err = sl_method_bool(call, hints[i].name, false, &on);
		o->rx_hints |= on ? hints[i].hint : 0;
	}
	return err;
}

#define SETTING_NAMES                                                                      \
	"mtu", "mac", "promiscuous", "all_multicast", "link", "pass_to", "rss", "rss_key", \
		"rss_table"

int sl_method_port_add(struct sl_method_call *call)
{
	static const char *const names[] = { "devargs", "name", "twin", "mbufs", "rx_queues",
		"rx_descriptors", "tx_descriptors", "tx_offloads", "rx_hash", "rx_timestamp",
		"rx_vlan", SETTING_NAMES, NULL };
	struct sluice_port_options options = { 0 };
	struct settings settings;
	const char *devargs = NULL;
	uint32_t ifindex;
	int err = sl_method_string(call, "devargs", true, &devargs);

	if (!err)
		err = sl_method_string(call, "name", false, &options.name);
	if (!err)
		err = get_twin(call, &options);
	if (!err)
		err = get_numbers(call, &options);
	if (!err)
		err = get_hints(call, &options);
	if (!err)
		err = get_settings(call, &settings);
	if (!err)
		err = sl_method_only(call, names);
	if (err)
		return err;
	ask(call);
	err = sluice_port_add(devargs, &options, &ifindex);
	if (!err && settings.given) {
		err = apply(ifindex, &settings);
		if (err)
			sluice_port_remove(ifindex);
	}
	asked(err);
	if (!err)
		json_object_object_add(call->result, "ifindex", json_object_new_int64(ifindex));
	return err;
}

int sl_method_port_del(struct sl_method_call *call)
{
	static const char *const names[] = { "port", NULL };
	uint32_t ifindex;
	int err = get_port(call, "port", &ifindex);

	if (!err)
		err = sl_method_only(call, names);
	if (err)
		return err;
	ask(call);
	return asked(sluice_port_remove(ifindex));
}

int sl_method_port_set(struct sl_method_call *call)
{
	static const char *const names[] = { "port", SETTING_NAMES, NULL };
	struct settings settings;
	uint32_t ifindex;
	int err = get_port(call, "port", &ifindex);

	if (!err)
		err = get_settings(call, &settings);
	if (!err)
		err = sl_method_only(call, names);
	if (!err && !settings.given)
		err = sl_method_fail(call, -EINVAL, "nothing is to be set");
	if (err)
		return err;
	ask(call);
	return asked(apply(ifindex, &settings));
}

static void add_text(struct json_object *to, const char *name, const char *text)
{
	json_object_object_add(to, name, json_object_new_string(text));
}

static void add_number(struct json_object *to, const char *name, uint64_t number)
{
	json_object_object_add(to, name, json_object_new_int64((int64_t)number));
}

static void add_bool(struct json_object *to, const char *name, bool value)
{
	json_object_object_add(to, name, json_object_new_boolean(value));
}

static void add_mac(struct json_object *to, const uint8_t mac[MAC_BYTES])
{
	char text[MAC_TEXT];

	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		mac[3], mac[4], mac[5]);
	add_text(to, "mac", text);
}

static void add_state(struct json_object *to, const struct sluice_port_state *state)
{
	add_number(to, "mtu", state->mtu);
	add_number(to, "mtu_min", state->mtu_min);
	add_number(to, "mtu_max", state->mtu_max);
	add_bool(to, "link", state->link_up);
	add_number(to, "speed_mbps", state->speed_mbps);
	add_bool(to, "full_duplex", state->full_duplex);
	add_bool(to, "autonegotiated", state->autonegotiated);
	add_bool(to, "promiscuous", state->promiscuous);
	add_bool(to, "all_multicast", state->all_multicast);
	add_number(to, "rx_queues", state->rx_queues);
	add_number(to, "tx_queues", state->tx_queues);
	add_number(to, "rx_queues_max", state->rx_queues_max);
	add_number(to, "tx_queues_max", state->tx_queues_max);
	add_number(to, "rx_descriptors", state->rx_descriptors);
	add_number(to, "tx_descriptors", state->tx_descriptors);
	add_number(to, "mbufs", state->mbufs);
	add_number(to, "mbufs_free", state->mbufs_free);
	json_object_object_add(to, "numa_node", json_object_new_int(state->numa_node));
	add_text(to, "bus", state->bus);
	add_text(to, "firmware", state->firmware);
}

/* NULL where it has just gone. */
static struct json_object *describe(const struct sluice_port_info *info, bool *ret_spreads)
{
	struct sluice_port_state state;
	struct sluice_port_info to;
	struct json_object *port;

	if (sluice_port_state(info->ifindex, &state) != 0)
		return NULL;
	*ret_spreads = state.rss_types_possible != 0;
	port = json_object_new_object();
	add_number(port, "ifindex", info->ifindex);
	add_text(port, "name", info->name);
	add_text(port, "device", info->device);
	add_text(port, "driver", info->driver);
	add_mac(port, info->mac);
	add_bool(port, "twin", info->has_twin);
	add_bool(port, "tunnel", info->is_tunnel);
	add_number(port, "xdp_prog_id", info->xdp_prog_id);
	if (info->pass_to && sluice_port_next(info->pass_to - 1, &to) == 0)
		add_text(port, "pass_to", to.name);
	else
		add_text(port, "pass_to", "kernel");
	add_state(port, &state);
	return port;
}

static struct json_object *names_of(uint64_t types)
{
	struct json_object *list = json_object_new_array();
	const char *name;
	uint64_t single;

	for (unsigned i = 0; (name = sluice_rss_type(i, &single)); i++) {
		if (single && !(single & (single - 1)) && types & single)
			json_object_array_add(list, json_object_new_string(name));
	}
	return list;
}

static void add_rss(struct json_object *port, uint32_t ifindex)
{
	struct json_object *rss = json_object_new_object(), *table = json_object_new_array();
	char key[2 * SLUICE_RSS_KEY_BYTES + 1] = "";
	struct sluice_port_state state;
	struct sluice_rss present;

	if (sluice_port_state(ifindex, &state) == 0 &&
		sluice_port_get_rss(ifindex, &present) == 0) {
		for (unsigned i = 0; i < present.key_bytes; i++)
			snprintf(key + 2 * i, 3, "%02x", present.key[i]);
		for (unsigned i = 0; i < present.reta_size; i++)
			json_object_array_add(table, json_object_new_int(present.reta[i]));
		json_object_object_add(rss, "types", names_of(present.types));
		json_object_object_add(rss, "possible", names_of(state.rss_types_possible));
		add_text(rss, "key", key);
	}
	json_object_object_add(rss, "table", table);
	json_object_object_add(port, "rss", rss);
}

int sl_method_port_list(struct sl_method_call *call)
{
	static const char *const names[] = { NULL };
	struct sluice_port_info info = { 0 };
	struct json_object *list;
	int err = sl_method_only(call, names);
	bool spreads;

	if (err)
		return err;
	list = json_object_new_array();
	ask(call);
	while (sluice_port_next(info.ifindex, &info) == 0) {
		struct json_object *port = describe(&info, &spreads);

		if (port)
			json_object_array_add(list, port);
	}
	asked(0);
	json_object_object_add(call->result, "ports", list);
	return 0;
}

int sl_method_port_show(struct sl_method_call *call)
{
	static const char *const names[] = { "port", NULL };
	struct sluice_port_info info = { 0 };
	struct json_object *port = NULL;
	bool spreads = false;
	uint32_t ifindex;
	int err = get_port(call, "port", &ifindex);

	if (!err)
		err = sl_method_only(call, names);
	if (err)
		return err;
	ask(call);
	if (sluice_port_next(ifindex - 1, &info) == 0 && info.ifindex == ifindex)
		port = describe(&info, &spreads);
	if (port && spreads)
		add_rss(port, ifindex);
	asked(0);
	if (!port)
		return sl_method_fail(call, -ENODEV, "the port has just gone");
	json_object_object_add(call->result, "port", port);
	return 0;
}

static int add_xstat(const char *name, uint64_t value, void *arg)
{
	add_number(arg, name, value);
	return 0;
}

int sl_method_port_stats(struct sl_method_call *call)
{
	static const char *const names[] = { "port", NULL };
	struct json_object *counters, *device;
	struct sluice_counters c;
	uint32_t ifindex;
	int err = get_port(call, "port", &ifindex);

	if (!err)
		err = sl_method_only(call, names);
	if (err)
		return err;
	if (sluice_counters_read(ifindex, -1, &c) != 0)
		return sl_method_fail(call, -ENODEV, "the port has just gone");
	counters = json_object_new_object();
	device = json_object_new_object();
	for (unsigned i = 0; i < SLUICE_COUNTER_COUNT; i++)
		add_number(counters, sluice_counter_name(i), c.value[i]);
	ask(call);
	err = asked(sluice_port_xstats(ifindex, add_xstat, device));
	json_object_object_add(call->result, "counters", counters);
	json_object_object_add(call->result, "device", device);
	/* A tunnel has no device to ask. */
	return err == -EOPNOTSUPP ? 0 : err;
}
