#include "forward.h"

#include "verb.h"

/* --tunnel NAME=KIND[,KEY[=VALUE]...]: see tunnel_words.h. */

int sl_forward_add_tunnel(struct sl_forward_spec *spec, char *value)
{
	char reason[256];

	if (spec->tunnel_count == SL_FORWARD_TUNNELS)
		return sl_cli_usage("forward: more than %d tunnels", SL_FORWARD_TUNNELS);
	if (sl_tunnel_words_parse(
		    value, &spec->tunnels[spec->tunnel_count], reason, sizeof(reason)) != 0)
		return sl_cli_usage("forward: %s", reason);
	spec->tunnel_count++;
	return 0;
}

int sl_forward_add_tunnels(struct sl_forward_spec *spec)
{
	for (unsigned i = 0; i < spec->tunnel_count; i++) {
		struct sl_tunnel_words *t = &spec->tunnels[i];
		uint32_t ifindex;

		t->options.underlay = sl_forward_port(t->underlay);
		if (!t->options.underlay)
			return sl_cli_fail("forward: there is no port %s", t->underlay);
		if (sluice_tunnel_add(&t->options, &ifindex) != 0)
			return 1;
	}
	return 0;
}
