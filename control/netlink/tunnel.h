#pragma once

#include <sluice/tunnel.h>

#include "call.h"

/*
 * Tunnels over ports, as links: what `ip link add NAME type vxlan ... dev PORT` asks for, in the
 * attributes that the kernel's device of that kind has.
 */

/* What a request for a new link says of a tunnel. */
struct sl_nl_tunnel {
	struct sl_nl_call *call;
	struct sluice_tunnel_options options;
	uint16_t in_flags, out_flags; /* GRE_*, of the header */
	uint32_t in_key, out_key;
};

struct sl_nl_tunnel_attr {
	uint16_t type;
	uint16_t len; /* the least, as the kernel's policy has it; 0: it is there or not */
	/* 0 or a negative errno, with the reason in the call. */
	int (*get)(struct sl_nl_tunnel *t, const struct nlattr *attr);
	/* Into the message, where it has something to say; NULL: nothing. */
	void (*put)(struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o);
};

struct sl_nl_tunnel_kind {
	const char *name;
	const struct sl_nl_tunnel_attr *attrs; /* ends with type 0, which none has */
	uint16_t link; /* the attribute that names the device below; 0: IFLA_LINK */
	uint16_t external; /* the one that makes it external */
	bool external_is_number; /* by not being 0; otherwise by being there */
	uint16_t device_type; /* ARPHRD_* */
	void (*begin)(struct sl_nl_tunnel *t); /* the kernel's defaults that are not Sluice's */
	int (*check)(struct sl_nl_tunnel *t); /* of attributes together; NULL: nothing */
};

/* NULL for a kind that Sluice does not have. */
const struct sl_nl_tunnel_kind *sl_nl_tunnel_kind(enum sluice_tunnel_kind kind);

/* A request for a new link that is no port's: a tunnel's or the kernel's business. */
int sl_nl_new_tunnel(struct sl_nl_call *call, const struct nlattr **attrs);
/* What a tunnel's link has in place of a device's, IFLA_LINKINFO for one. */
void sl_nl_put_tunnel(struct nlmsghdr *message, const struct sluice_port_info *port);
