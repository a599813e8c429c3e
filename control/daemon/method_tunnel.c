#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/dataplane.h>
#include <sluice/port.h>

#include "logging.h"
#include "method.h"
#include "tunnel_words.h"

/* Tunnels' ports, as the sluice command asks for them, in the language of tunnel_words.h. */

enum { WORDS_MAX = 1024 };

int sl_method_tunnel_add(struct sl_method_call *call)
{
	static const char *const names[] = { "tunnel", NULL };
	char copy[WORDS_MAX];
	struct sl_tunnel_words words;
	const char *text = NULL;
	uint32_t ifindex;
	int err = sl_method_string(call, "tunnel", true, &text);

	if (!err)
		err = sl_method_only(call, names);
	if (err)
		return err;
	if (snprintf(copy, sizeof(copy), "%s", text) >= (int)sizeof(copy))
		return sl_method_fail(call, -EINVAL, "too many words for a tunnel");
	err = sl_tunnel_words_parse(copy, &words, call->reason, sizeof(call->reason));
	if (err)
		return err;
	if (sluice_port_find(words.underlay, &words.options.underlay) != 0)
		return sl_method_fail(call, -ENODEV, "tunnel %.64s: there is no port %.64s",
			words.options.name, words.underlay);
	sl_log_capture(call->reason, sizeof(call->reason));
	err = sluice_tunnel_add(&words.options, &ifindex);
	sl_log_capture(NULL, 0);
	if (!err)
		json_object_object_add(call->result, "ifindex", json_object_new_int64(ifindex));
	return err;
}

static bool find_port(uint32_t ifindex, struct sluice_port_info *ret)
{
	return ifindex && sluice_port_next(ifindex - 1, ret) == 0 && ret->ifindex == ifindex;
}

static int get_tunnel(struct sl_method_call *call, bool required, struct sluice_port_info *ret)
{
	const char *name = NULL;
	uint32_t ifindex;
	int err = sl_method_string(call, "tunnel", required, &name);

	ret->ifindex = 0;
	if (err || !name)
		return err;
	if (sluice_port_find(name, &ifindex) != 0 || !find_port(ifindex, ret))
		return sl_method_fail(call, -ENODEV, "there is no tunnel %.64s", name);
	if (!ret->is_tunnel)
		return sl_method_fail(call, -EINVAL, "port %.64s is no tunnel", name);
	return 0;
}

int sl_method_tunnel_del(struct sl_method_call *call)
{
	static const char *const names[] = { "tunnel", NULL };
	struct sluice_port_info port;
	int err = get_tunnel(call, true, &port);

	if (!err)
		err = sl_method_only(call, names);
	if (err)
		return err;
	sl_log_capture(call->reason, sizeof(call->reason));
	err = sluice_port_remove(port.ifindex);
	sl_log_capture(NULL, 0);
	return err;
}

static struct json_object *value_of(const char *text)
{
	if (!text)
		return json_object_new_boolean(true);
	if (text[strspn(text, "0123456789")] == '\0')
		return json_object_new_int64(strtoll(text, NULL, 10));
	return json_object_new_string(text);
}

/* Those that may be there more than once are lists. */
static void add_word(const char *key, const char *value, void *arg)
{
	struct json_object *options = arg, *list;

	if (strcmp(key, "local") != 0) {
		json_object_object_add(options, key, value_of(value));
		return;
	}
	if (!json_object_object_get_ex(options, key, &list)) {
		list = json_object_new_array();
		json_object_object_add(options, key, list);
	}
	json_object_array_add(list, json_object_new_string(value));
}

/* NULL where it has just gone. */
static struct json_object *describe(const struct sluice_port_info *port)
{
	struct json_object *tunnel, *options;
	struct sluice_port_info underlay;
	struct sl_tunnel_words words;

	if (sluice_tunnel_get(port->ifindex, &words.options) != 0 ||
		!find_port(words.options.underlay, &underlay))
		return NULL;
	tunnel = json_object_new_object();
	options = json_object_new_object();
	json_object_object_add(tunnel, "ifindex", json_object_new_int64(port->ifindex));
	json_object_object_add(tunnel, "name", json_object_new_string(port->name));
	json_object_object_add(tunnel, "kind",
		json_object_new_string(sluice_tunnel_kind_name(words.options.kind)));
	json_object_object_add(tunnel, "underlay", json_object_new_string(underlay.name));
	sl_tunnel_words_show(&words, add_word, options);
	json_object_object_add(tunnel, "options", options);
	return tunnel;
}

/* All of them, or the one that is named. */
int sl_method_tunnel_list(struct sl_method_call *call)
{
	static const char *const names[] = { "tunnel", NULL };
	struct sluice_port_info only, port = { 0 };
	struct json_object *list, *tunnel;
	int err = get_tunnel(call, false, &only);

	if (!err)
		err = sl_method_only(call, names);
	if (err)
		return err;
	list = json_object_new_array();
	while (sluice_port_next(port.ifindex, &port) == 0) {
		if (!port.is_tunnel || (only.ifindex && only.ifindex != port.ifindex))
			continue;
		tunnel = describe(&port);
		if (tunnel)
			json_object_array_add(list, tunnel);
	}
	json_object_object_add(call->result, "tunnels", list);
	return 0;
}
