#include "forward.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

/* The options' values: OBJ[:PROG] and what surrounds it. */

static const struct name {
	const char *name;
	int value;
} verdicts[] = {
	{ "ok", TC_ACT_OK },
	{ "pass", TC_ACT_OK },
	{ "reclassify", TC_ACT_RECLASSIFY },
	{ "shot", TC_ACT_SHOT },
	{ "drop", TC_ACT_SHOT },
	{ "pipe", TC_ACT_PIPE },
	{ "continue", TC_ACT_UNSPEC },
	{ "stolen", TC_ACT_STOLEN },
	{ "trap", TC_ACT_TRAP },
	{ 0 },
}, protocols[] = {
	{ "all", ETH_P_ALL },
	{ "ip", ETH_P_IP },
	{ "ipv6", ETH_P_IPV6 },
	{ "arp", ETH_P_ARP },
	{ "802.1Q", ETH_P_8021Q },
	{ "802.1ad", ETH_P_8021AD },
	{ 0 },
};

static int find(const struct name *names, const char *name, int *ret_value)
{
	for (; names->name; names++) {
		if (strcmp(names->name, name) == 0) {
			*ret_value = names->value;
			return 0;
		}
	}
	return -EINVAL;
}

static int number(const char *text, int base, unsigned long max, uint32_t *ret_value)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, base);
	if (errno || end == text || *end || *text == '-' || n > max)
		return -EINVAL;
	*ret_value = (uint32_t)n;
	return 0;
}

/* A colon belongs to the path where there is a file of that name. */
static int split_prog(char *text, struct sl_forward_prog *ret_prog)
{
	char *colon = strrchr(text, ':');

	if (!*text)
		return -EINVAL;
	ret_prog->path = text;
	if (!colon || access(text, F_OK) == 0)
		return 0;
	*colon = '\0';
	ret_prog->name = colon + 1;
	return 0;
}

int sl_forward_add_xdp(struct sl_forward_spec *spec, char *value)
{
	char *equals = strchr(value, '=');
	struct sl_forward_xdp *xdp;

	if (!equals)
		return -EINVAL;
	if (spec->xdp_count == SL_FORWARD_MAX)
		return -E2BIG;
	*equals = '\0';
	xdp = &spec->xdp[spec->xdp_count++];
	xdp->port = value;
	return split_prog(equals + 1, &xdp->prog);
}

static int add_action(struct sl_forward_filter *f, char *value)
{
	unsigned i = f->filter.action_count;
	int verdict;

	if (i == SL_FORWARD_ACTIONS)
		return -E2BIG;
	f->filter.action_count++;
	f->verdicts[i].prog_fd = -1;
	f->verdicts[i].verdict = TC_ACT_PIPE; /* iproute2's default for a bpf action */
	if (find(verdicts, value, &verdict) != 0)
		return split_prog(value, &f->actions[i]);
	f->verdicts[i].verdict = verdict;
	return 0;
}

/* MAJOR:MINOR, hexadecimal as in tc. */
static int set_classid(struct sl_forward_filter *f, char *value)
{
	char *colon = strchr(value, ':');
	uint32_t major, minor = 0;

	if (!colon)
		return -EINVAL;
	*colon = '\0';
	if (number(value, 16, 0xffff, &major) != 0 ||
		(colon[1] && number(colon + 1, 16, 0xffff, &minor) != 0))
		return -EINVAL;
	f->filter.classid = major << 16 | minor;
	return 0;
}

static int set_protocol(struct sl_forward_filter *f, char *value)
{
	int protocol;
	int err = find(protocols, value, &protocol);

	if (!err)
		f->filter.protocol = (uint16_t)protocol;
	return err;
}

static int set_priority(struct sl_forward_filter *f, char *value)
{
	return number(value, 0, 0xffff, &f->filter.priority);
}

static int set_handle(struct sl_forward_filter *f, char *value)
{
	return number(value, 0, UINT32_MAX, &f->filter.handle);
}

static int set_direct(struct sl_forward_filter *f, char *value)
{
	f->filter.direct_action = true;
	return *value ? -EINVAL : 0;
}

static const struct key {
	const char *name;
	int (*set)(struct sl_forward_filter *f, char *value);
} keys[] = {
	{ "da", set_direct },
	{ "direct-action", set_direct },
	{ "prio", set_priority },
	{ "handle", set_handle },
	{ "classid", set_classid },
	{ "protocol", set_protocol },
	{ "action", add_action },
};

static int set_key(struct sl_forward_filter *f, char *text)
{
	char *equals = strchr(text, '='), *value = equals ? equals + 1 : strchr(text, '\0');

	if (equals)
		*equals = '\0';
	for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (strcmp(keys[i].name, text) == 0)
			return keys[i].set(f, value);
	}
	return -EINVAL;
}

int sl_forward_add_tc(struct sl_forward_spec *spec, char *value)
{
	char *hook, *prog, *text;
	struct sl_forward_filter *f;
	int err;

	if (spec->tc_count == SL_FORWARD_MAX)
		return -E2BIG;
	f = &spec->tc[spec->tc_count++];
	f->port = strsep(&value, ",");
	hook = strsep(&value, ",");
	prog = strsep(&value, ",");
	if (!hook || !prog)
		return -EINVAL;
	if (strcmp(hook, "ingress") != 0 && strcmp(hook, "egress") != 0)
		return -EINVAL;
	f->hook = *hook == 'i' ? SLUICE_TC_INGRESS : SLUICE_TC_EGRESS;
	err = split_prog(prog, &f->classifier);
	while (!err && (text = strsep(&value, ",")))
		err = set_key(f, text);
	return err;
}

int sl_forward_add_tap(struct sl_forward_spec *spec, char *value)
{
	struct sl_forward_tap *tap;
	char *text, *prog;
	int err;

	if (spec->tap_count == SL_FORWARD_MAX)
		return -E2BIG;
	tap = &spec->taps[spec->tap_count++];
	tap->port = strsep(&value, "=");
	prog = strsep(&value, ",");
	if (!prog)
		return -EINVAL;
	err = split_prog(prog, &tap->prog);
	while (!err && (text = strsep(&value, ","))) {
		if (strcmp(text, "in") == 0)
			tap->ignore_outgoing = true;
		else if (strncmp(text, "write=", 6) == 0 && text[6])
			tap->file = text + 6;
		else
			err = -EINVAL;
	}
	return err;
}
