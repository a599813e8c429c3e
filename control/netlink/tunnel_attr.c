#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/if_tunnel.h>
#include <linux/ip6_tunnel.h>
#include <linux/if_arp.h>
#include <netinet/in.h>
#include <string.h>

#include "tunnel.h"

/*
 * The attributes of each kind of tunnel, read and written by the same rows. What Sluice's tunnels
 * cannot do is refused rather than left out, unless it is what the kernel or ip(8) says anyway.
 */

enum { VNI_LIMIT = 1 << 24, KERNEL_VXLAN_PORT = 8472, FLOW_LABEL_MASK = 0xfffff };
enum { TOS_INHERIT = 1, HOP_LIMIT = 64, DF_MAX = 2 };
/* Of newer kernels than the headers may be. */
enum { VXLAN_LOCALBYPASS = 30 };
enum { ORIGINAL_TCLASS = 0x2, ORIGINAL_FLOWLABEL = 0x4 };

static const char no_such_option[] = "Sluice tunnel has no such option";

static uint8_t get_u8(const struct nlattr *attr)
{
	return *(const uint8_t *)mnl_attr_get_payload(attr);
}

static uint16_t get_u16(const struct nlattr *attr)
{
	uint16_t n;

	memcpy(&n, mnl_attr_get_payload(attr), sizeof(n));
	return n;
}

static int set_flag(struct sl_nl_tunnel *t, const struct nlattr *attr, uint32_t flag)
{
	if (get_u8(attr))
		t->options.flags |= flag;
	else
		t->options.flags &= ~flag;
	return 0;
}

static void put_flag(struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o,
	uint32_t flag)
{
	mnl_attr_put_u8(message, type, o->flags & flag ? 1 : 0);
}

/* ---- what kinds have in common ---- */

/* Read before the rest. */
static int get_nothing(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	(void)t;
	(void)attr;
	return 0;
}

/* Only off will do. */
static int get_off(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	const uint8_t *bytes = mnl_attr_get_payload(attr);

	for (unsigned i = 0; i < mnl_attr_get_payload_len(attr); i++) {
		if (bytes[i])
			return sl_nl_refuse(t->call, -EOPNOTSUPP, no_such_option);
	}
	return 0;
}

static int get_never(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	(void)attr;
	return sl_nl_refuse(t->call, -EOPNOTSUPP, no_such_option);
}

static void put_link(struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	mnl_attr_put_u32(message, type, o->underlay);
}

static void put_off(struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	(void)o;
	mnl_attr_put_u8(message, type, 0);
}

static void put_external(
	struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	if (o->flags & SLUICE_TUNNEL_EXTERNAL)
		mnl_attr_put(message, type, 0, NULL);
}

static bool is_none(const struct sluice_tunnel_address *address, size_t len)
{
	static const uint8_t zeros[16];

	return memcmp(address->bytes, zeros, len) == 0;
}

/*
 * The unspecified address says that there is none. Of one of each family the first of the table
 * counts, as for the kernel's VXLAN; its Geneve wants one.
 */
static int get_address(struct sl_nl_tunnel *t, const struct nlattr *attr, uint8_t family,
	struct sluice_tunnel_address *ret)
{
	size_t len = family == 6 ? 16 : 4;

	if (ret->family)
		return t->options.kind != SLUICE_TUNNEL_GENEVE
			       ? 0
			       : sl_nl_refuse(t->call, -EINVAL,
					 "Cannot specify both IPv4 and IPv6 Remote addresses");
	memcpy(ret->bytes, mnl_attr_get_payload(attr), len);
	ret->family = is_none(ret, len) ? 0 : family;
	return 0;
}

static bool is_multicast(const struct sluice_tunnel_address *address)
{
	return address->family == 4   ? (address->bytes[0] & 0xf0) == 0xe0
	       : address->family == 6 ? address->bytes[0] == 0xff
				      : false;
}

static int get_remote(struct sl_nl_tunnel *t, const struct nlattr *attr, uint8_t family)
{
	int err = get_address(t, attr, family, &t->options.remote);

	if (!err && is_multicast(&t->options.remote))
		err = sl_nl_refuse(t->call, -EOPNOTSUPP, "Sluice tunnel has no multicast group");
	return err;
}

static int get_remote4(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	return get_remote(t, attr, 4);
}

static int get_remote6(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	return get_remote(t, attr, 6);
}

static int get_local4(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	return get_address(t, attr, 4, &t->options.local[0]);
}

static int get_local6(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	return get_address(t, attr, 6, &t->options.local[0]);
}

static void put_address(struct nlmsghdr *message, uint16_t type,
	const struct sluice_tunnel_address *address, uint8_t family)
{
	if (address->family == family)
		mnl_attr_put(message, type, family == 6 ? 16 : 4, address->bytes);
}

static void put_remote4(
	struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	put_address(message, type, &o->remote, 4);
}

static void put_remote6(
	struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	put_address(message, type, &o->remote, 6);
}

/* A message has room for one of a family: where packets come from. */
static void put_local(struct nlmsghdr *message, uint16_t type,
	const struct sluice_tunnel_options *o, uint8_t family)
{
	for (unsigned i = 0; i < SLUICE_TUNNEL_LOCALS; i++) {
		if (o->local[i].family == family) {
			put_address(message, type, &o->local[i], family);
			return;
		}
	}
}

static void put_local4(
	struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	put_local(message, type, o, 4);
}

static void put_local6(
	struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	put_local(message, type, o, 6);
}

static int get_ttl(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	t->options.ttl = get_u8(attr);
	return 0;
}

static void put_ttl(struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	mnl_attr_put_u8(message, type, o->ttl);
}

static int get_tos(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	if (get_u8(attr) == TOS_INHERIT)
		t->options.flags |= SLUICE_TUNNEL_TOS_INHERIT;
	else
		t->options.tos = get_u8(attr);
	return 0;
}

static void put_tos(struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	mnl_attr_put_u8(message, type, o->flags & SLUICE_TUNNEL_TOS_INHERIT ? TOS_INHERIT : o->tos);
}

static int get_label(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	t->options.label = ntohl(sl_nl_u32(attr, 0)) & FLOW_LABEL_MASK;
	return 0;
}

static void put_label(
	struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	mnl_attr_put_u32(message, type, htonl(o->label));
}

/* ---- over UDP ---- */

static int get_vni(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	t->options.id = sl_nl_u32(attr, 0);
	if (t->options.id < VNI_LIMIT)
		return 0;
	return sl_nl_refuse(t->call, -ERANGE,
		t->options.kind == SLUICE_TUNNEL_VXLAN ? "VXLAN ID must be lower than 16777216"
						       : "Geneve VNI must be lower than 16777216");
}

static void put_vni(struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	mnl_attr_put_u32(message, type, o->id);
}

static int get_inherit(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	if (t->options.kind == SLUICE_TUNNEL_GENEVE && !get_u8(attr))
		return 0;
	t->options.flags |= SLUICE_TUNNEL_TTL_INHERIT;
	return 0;
}

static void put_inherit(
	struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	if (o->flags & SLUICE_TUNNEL_TTL_INHERIT)
		mnl_attr_put_u8(message, type, 1);
}

static int get_port(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	t->options.dst_port = ntohs(get_u16(attr));
	return t->options.dst_port ? 0 : sl_nl_refuse(t->call, -EOPNOTSUPP, no_such_option);
}

static void put_port(struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	mnl_attr_put_u16(message, type, htons(o->dst_port));
}

static int get_range(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	struct ifla_vxlan_port_range range;

	memcpy(&range, mnl_attr_get_payload(attr), sizeof(range));
	t->options.src_port_min = ntohs(range.low);
	t->options.src_port_max = ntohs(range.high);
	return t->options.src_port_max < t->options.src_port_min
		       ? sl_nl_refuse(t->call, -EINVAL, "Invalid source port range")
		       : 0;
}

static void put_range(
	struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	const struct ifla_vxlan_port_range range = { htons(o->src_port_min),
		htons(o->src_port_max) };

	mnl_attr_put(message, type, sizeof(range), &range);
}

static int get_df(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	if (get_u8(attr) > DF_MAX)
		return sl_nl_refuse(t->call, -EINVAL, "Invalid DF attribute");
	t->options.df = (enum sluice_tunnel_df)get_u8(attr);
	return 0;
}

static void put_df(struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	mnl_attr_put_u8(message, type, (uint8_t)o->df);
}

static int get_csum(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	return set_flag(t, attr, SLUICE_TUNNEL_CSUM);
}

static void put_csum(struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	put_flag(message, type, o, SLUICE_TUNNEL_CSUM);
}

static int get_no_csum6_tx(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	return set_flag(t, attr, SLUICE_TUNNEL_NO_CSUM6_TX);
}

static void put_no_csum6_tx(
	struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	put_flag(message, type, o, SLUICE_TUNNEL_NO_CSUM6_TX);
}

static int get_no_csum6_rx(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	return set_flag(t, attr, SLUICE_TUNNEL_NO_CSUM6_RX);
}

static void put_no_csum6_rx(
	struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	put_flag(message, type, o, SLUICE_TUNNEL_NO_CSUM6_RX);
}

static int get_gbp(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	(void)attr;
	t->options.flags |= SLUICE_TUNNEL_GBP;
	return 0;
}

static void put_gbp(struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	if (o->flags & SLUICE_TUNNEL_GBP)
		mnl_attr_put(message, type, 0, NULL);
}

static void put_external_number(
	struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	put_flag(message, type, o, SLUICE_TUNNEL_EXTERNAL);
}

/* Frames go to one address, and none are learnt: what would tune that changes nothing. */
static const struct sl_nl_tunnel_attr vxlan[] = {
	{ IFLA_VXLAN_ID, 4, get_vni, put_vni },
	{ IFLA_VXLAN_GROUP, 4, get_remote4, put_remote4 },
	{ IFLA_VXLAN_GROUP6, 16, get_remote6, put_remote6 },
	{ IFLA_VXLAN_LINK, 4, get_nothing, put_link },
	{ IFLA_VXLAN_LOCAL, 4, get_local4, put_local4 },
	{ IFLA_VXLAN_LOCAL6, 16, get_local6, put_local6 },
	{ IFLA_VXLAN_TTL, 1, get_ttl, put_ttl },
	{ IFLA_VXLAN_TTL_INHERIT, 0, get_inherit, put_inherit },
	{ IFLA_VXLAN_TOS, 1, get_tos, put_tos },
	{ IFLA_VXLAN_DF, 1, get_df, put_df },
	{ IFLA_VXLAN_LABEL, 4, get_label, put_label },
	{ IFLA_VXLAN_LEARNING, 1, get_nothing, put_off },
	{ IFLA_VXLAN_AGEING, 4, get_nothing, NULL },
	{ IFLA_VXLAN_LIMIT, 4, get_nothing, NULL },
	{ IFLA_VXLAN_PROXY, 1, get_off, put_off },
	{ IFLA_VXLAN_RSC, 1, get_off, put_off },
	{ IFLA_VXLAN_L2MISS, 1, get_off, put_off },
	{ IFLA_VXLAN_L3MISS, 1, get_off, put_off },
	{ IFLA_VXLAN_COLLECT_METADATA, 1, get_nothing, put_external_number },
	{ IFLA_VXLAN_PORT, 2, get_port, put_port },
	{ IFLA_VXLAN_PORT_RANGE, 4, get_range, put_range },
	{ IFLA_VXLAN_UDP_CSUM, 1, get_csum, put_csum },
	{ IFLA_VXLAN_UDP_ZERO_CSUM6_TX, 1, get_no_csum6_tx, put_no_csum6_tx },
	{ IFLA_VXLAN_UDP_ZERO_CSUM6_RX, 1, get_no_csum6_rx, put_no_csum6_rx },
	{ IFLA_VXLAN_REMCSUM_TX, 1, get_off, NULL },
	{ IFLA_VXLAN_REMCSUM_RX, 1, get_off, NULL },
	{ IFLA_VXLAN_GBP, 0, get_gbp, put_gbp },
	{ IFLA_VXLAN_REMCSUM_NOPARTIAL, 0, get_never, NULL },
	{ IFLA_VXLAN_GPE, 0, get_never, NULL },
	{ IFLA_VXLAN_VNIFILTER, 1, get_off, NULL },
	{ VXLAN_LOCALBYPASS, 1, get_nothing, NULL },
	{ 0 },
};

static void begin_vxlan(struct sl_nl_tunnel *t)
{
	t->options.dst_port = KERNEL_VXLAN_PORT;
	t->options.flags |= SLUICE_TUNNEL_CSUM;
}

static int check_udp(struct sl_nl_tunnel *t)
{
	const struct sluice_tunnel_options *o = &t->options;

	if (o->label && !(o->flags & SLUICE_TUNNEL_EXTERNAL) && o->remote.family != 6 &&
		o->local[0].family != 6)
		return sl_nl_refuse(t->call, -EINVAL,
			o->kind == SLUICE_TUNNEL_VXLAN
				? "Label attribute only applies to IPv6 VXLAN devices"
				: "Label attribute only applies for IPv6 Geneve devices");
	return 0;
}

static const struct sl_nl_tunnel_attr geneve[] = {
	{ IFLA_GENEVE_ID, 4, get_vni, put_vni },
	{ IFLA_GENEVE_REMOTE, 4, get_remote4, put_remote4 },
	{ IFLA_GENEVE_REMOTE6, 16, get_remote6, put_remote6 },
	{ IFLA_GENEVE_TTL, 1, get_ttl, put_ttl },
	{ IFLA_GENEVE_TTL_INHERIT, 1, get_inherit, put_inherit },
	{ IFLA_GENEVE_TOS, 1, get_tos, put_tos },
	{ IFLA_GENEVE_DF, 1, get_df, put_df },
	{ IFLA_GENEVE_LABEL, 4, get_label, put_label },
	{ IFLA_GENEVE_PORT, 2, get_port, put_port },
	{ IFLA_GENEVE_COLLECT_METADATA, 0, get_nothing, put_external },
	{ IFLA_GENEVE_UDP_CSUM, 1, get_csum, put_csum },
	{ IFLA_GENEVE_UDP_ZERO_CSUM6_TX, 1, get_no_csum6_tx, put_no_csum6_tx },
	{ IFLA_GENEVE_UDP_ZERO_CSUM6_RX, 1, get_no_csum6_rx, put_no_csum6_rx },
	{ IFLA_GENEVE_INNER_PROTO_INHERIT, 0, get_never, NULL },
	{ 0 },
};

/* An external one takes packets over IPv6 without a checksum unless told otherwise. */
static void begin_geneve(struct sl_nl_tunnel *t)
{
	if (t->options.flags & SLUICE_TUNNEL_EXTERNAL)
		t->options.flags |= SLUICE_TUNNEL_NO_CSUM6_RX;
}

/* ---- GRE ---- */

static int get_in_flags(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	t->in_flags = get_u16(attr);
	return 0;
}

static int get_out_flags(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	t->out_flags = get_u16(attr);
	return 0;
}

static void put_gre_flags(
	struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	mnl_attr_put_u16(message, type,
		(uint16_t)((o->flags & SLUICE_TUNNEL_CSUM ? GRE_CSUM : 0) |
			   (o->flags & SLUICE_TUNNEL_KEY ? GRE_KEY : 0) |
			   (o->flags & SLUICE_TUNNEL_SEQ ? GRE_SEQ : 0)));
}

static int get_in_key(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	t->in_key = ntohl(sl_nl_u32(attr, 0));
	return 0;
}

static int get_out_key(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	t->out_key = ntohl(sl_nl_u32(attr, 0));
	return 0;
}

static void put_key(struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	mnl_attr_put_u32(message, type, htonl(o->id));
}

static int check_gre(struct sl_nl_tunnel *t)
{
	const uint16_t ours = GRE_CSUM | GRE_KEY | GRE_SEQ;

	if ((t->in_flags | t->out_flags) & (GRE_VERSION | GRE_ROUTING))
		return -EINVAL;
	if ((t->in_flags ^ t->out_flags) & ours ||
		(t->in_flags & GRE_KEY && t->in_key != t->out_key))
		return sl_nl_refuse(
			t->call, -EOPNOTSUPP, "Sluice tunnel is the same in both directions");
	if (t->in_flags & GRE_CSUM)
		t->options.flags |= SLUICE_TUNNEL_CSUM;
	if (t->in_flags & GRE_SEQ)
		t->options.flags |= SLUICE_TUNNEL_SEQ;
	if (t->in_flags & GRE_KEY) {
		t->options.flags |= SLUICE_TUNNEL_KEY;
		t->options.id = t->in_key;
	}
	return 0;
}

/* Without the attribute it is on. */
static void begin_over_ipv4(struct sl_nl_tunnel *t)
{
	t->options.df = SLUICE_TUNNEL_DF_SET;
}

static int get_pmtudisc(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	t->options.df = get_u8(attr) ? SLUICE_TUNNEL_DF_SET : SLUICE_TUNNEL_DF_UNSET;
	return 0;
}

static void put_pmtudisc(
	struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	mnl_attr_put_u8(message, type, o->df == SLUICE_TUNNEL_DF_SET);
}

static int get_flow_info(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	uint32_t info = ntohl(sl_nl_u32(attr, 0));

	t->options.label = info & FLOW_LABEL_MASK;
	t->options.tos = (uint8_t)(info >> 20);
	return 0;
}

static void put_flow_info(
	struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	mnl_attr_put_u32(message, type, htonl((uint32_t)o->tos << 20 | o->label));
}

/* Encapsulation limits and the like, which are not sent, change nothing. */
static int get_ipv6_flags(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	uint32_t flags = sl_nl_u32(attr, 0);

	if (flags & ORIGINAL_FLOWLABEL)
		return sl_nl_refuse(t->call, -EOPNOTSUPP, no_such_option);
	if (flags & ORIGINAL_TCLASS)
		t->options.flags |= SLUICE_TUNNEL_TOS_INHERIT;
	return 0;
}

static void put_ipv6_flags(
	struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	mnl_attr_put_u32(message, type,
		IP6_TNL_F_IGN_ENCAP_LIMIT |
			(o->flags & SLUICE_TUNNEL_TOS_INHERIT ? ORIGINAL_TCLASS : 0));
}

static const struct sl_nl_tunnel_attr gre[] = {
	{ IFLA_GRE_LINK, 4, get_nothing, put_link },
	{ IFLA_GRE_IFLAGS, 2, get_in_flags, put_gre_flags },
	{ IFLA_GRE_OFLAGS, 2, get_out_flags, put_gre_flags },
	{ IFLA_GRE_IKEY, 4, get_in_key, put_key },
	{ IFLA_GRE_OKEY, 4, get_out_key, put_key },
	{ IFLA_GRE_LOCAL, 4, get_local4, put_local4 },
	{ IFLA_GRE_REMOTE, 4, get_remote4, put_remote4 },
	{ IFLA_GRE_TTL, 1, get_ttl, put_ttl },
	{ IFLA_GRE_TOS, 1, get_tos, put_tos },
	{ IFLA_GRE_PMTUDISC, 1, get_pmtudisc, put_pmtudisc },
	{ IFLA_GRE_ENCAP_TYPE, 2, get_off, NULL },
	{ IFLA_GRE_ENCAP_FLAGS, 2, get_nothing, NULL },
	{ IFLA_GRE_ENCAP_SPORT, 2, get_nothing, NULL },
	{ IFLA_GRE_ENCAP_DPORT, 2, get_nothing, NULL },
	{ IFLA_GRE_COLLECT_METADATA, 0, get_nothing, put_external },
	{ IFLA_GRE_IGNORE_DF, 1, get_off, NULL },
	{ IFLA_GRE_FWMARK, 4, get_off, NULL },
	{ 0 },
};

static const struct sl_nl_tunnel_attr ip6gre[] = {
	{ IFLA_GRE_LINK, 4, get_nothing, put_link },
	{ IFLA_GRE_IFLAGS, 2, get_in_flags, put_gre_flags },
	{ IFLA_GRE_OFLAGS, 2, get_out_flags, put_gre_flags },
	{ IFLA_GRE_IKEY, 4, get_in_key, put_key },
	{ IFLA_GRE_OKEY, 4, get_out_key, put_key },
	{ IFLA_GRE_LOCAL, 16, get_local6, put_local6 },
	{ IFLA_GRE_REMOTE, 16, get_remote6, put_remote6 },
	{ IFLA_GRE_TTL, 1, get_ttl, put_ttl },
	{ IFLA_GRE_ENCAP_LIMIT, 1, get_nothing, NULL },
	{ IFLA_GRE_FLOWINFO, 4, get_flow_info, put_flow_info },
	{ IFLA_GRE_FLAGS, 4, get_ipv6_flags, put_ipv6_flags },
	{ IFLA_GRE_ENCAP_TYPE, 2, get_off, NULL },
	{ IFLA_GRE_ENCAP_FLAGS, 2, get_nothing, NULL },
	{ IFLA_GRE_ENCAP_SPORT, 2, get_nothing, NULL },
	{ IFLA_GRE_ENCAP_DPORT, 2, get_nothing, NULL },
	{ IFLA_GRE_COLLECT_METADATA, 0, get_nothing, put_external },
	{ IFLA_GRE_FWMARK, 4, get_off, NULL },
	{ 0 },
};

/* ---- IP in IP ---- */

static int get_proto(struct sl_nl_tunnel *t, const struct nlattr *attr)
{
	uint8_t proto = get_u8(attr);
	bool ipv4 = proto == IPPROTO_IPIP, ipv6 = proto == IPPROTO_IPV6;
	bool ours = t->options.kind == SLUICE_TUNNEL_IPIP  ? ipv4
		    : t->options.kind == SLUICE_TUNNEL_SIT ? ipv6
							   : !proto || ipv4 || ipv6;

	return ours ? 0 : sl_nl_refuse(t->call, -EOPNOTSUPP, no_such_option);
}

static void put_proto(
	struct nlmsghdr *message, uint16_t type, const struct sluice_tunnel_options *o)
{
	mnl_attr_put_u8(message, type,
		o->kind == SLUICE_TUNNEL_IPIP  ? IPPROTO_IPIP
		: o->kind == SLUICE_TUNNEL_SIT ? IPPROTO_IPV6
					       : 0);
}

static const struct sl_nl_tunnel_attr ipip[] = {
	{ IFLA_IPTUN_LINK, 4, get_nothing, put_link },
	{ IFLA_IPTUN_LOCAL, 4, get_local4, put_local4 },
	{ IFLA_IPTUN_REMOTE, 4, get_remote4, put_remote4 },
	{ IFLA_IPTUN_TTL, 1, get_ttl, put_ttl },
	{ IFLA_IPTUN_TOS, 1, get_tos, put_tos },
	{ IFLA_IPTUN_PROTO, 1, get_proto, put_proto },
	{ IFLA_IPTUN_PMTUDISC, 1, get_pmtudisc, put_pmtudisc },
	{ IFLA_IPTUN_FLAGS, 2, get_off, NULL },
	{ IFLA_IPTUN_ENCAP_TYPE, 2, get_off, NULL },
	{ IFLA_IPTUN_ENCAP_FLAGS, 2, get_nothing, NULL },
	{ IFLA_IPTUN_ENCAP_SPORT, 2, get_nothing, NULL },
	{ IFLA_IPTUN_ENCAP_DPORT, 2, get_nothing, NULL },
	{ IFLA_IPTUN_COLLECT_METADATA, 0, get_nothing, put_external },
	{ IFLA_IPTUN_FWMARK, 4, get_off, NULL },
	{ 0 },
};

static const struct sl_nl_tunnel_attr ip6tnl[] = {
	{ IFLA_IPTUN_LINK, 4, get_nothing, put_link },
	{ IFLA_IPTUN_LOCAL, 16, get_local6, put_local6 },
	{ IFLA_IPTUN_REMOTE, 16, get_remote6, put_remote6 },
	{ IFLA_IPTUN_TTL, 1, get_ttl, put_ttl },
	{ IFLA_IPTUN_ENCAP_LIMIT, 1, get_nothing, NULL },
	{ IFLA_IPTUN_FLOWINFO, 4, get_flow_info, put_flow_info },
	{ IFLA_IPTUN_FLAGS, 4, get_ipv6_flags, put_ipv6_flags },
	{ IFLA_IPTUN_PROTO, 1, get_proto, put_proto },
	{ IFLA_IPTUN_ENCAP_TYPE, 2, get_off, NULL },
	{ IFLA_IPTUN_ENCAP_FLAGS, 2, get_nothing, NULL },
	{ IFLA_IPTUN_ENCAP_SPORT, 2, get_nothing, NULL },
	{ IFLA_IPTUN_ENCAP_DPORT, 2, get_nothing, NULL },
	{ IFLA_IPTUN_COLLECT_METADATA, 0, get_nothing, put_external },
	{ IFLA_IPTUN_FWMARK, 4, get_off, NULL },
	{ 0 },
};

static const struct sl_nl_tunnel_kind kinds[SLUICE_TUNNEL_KINDS] = {
	[SLUICE_TUNNEL_VXLAN] = { "vxlan", vxlan, IFLA_VXLAN_LINK, IFLA_VXLAN_COLLECT_METADATA,
		.external_is_number = true, .device_type = ARPHRD_ETHER, .begin = begin_vxlan,
		.check = check_udp },
	[SLUICE_TUNNEL_GENEVE] = { "geneve", geneve, 0, IFLA_GENEVE_COLLECT_METADATA,
		.device_type = ARPHRD_ETHER, .begin = begin_geneve, .check = check_udp },
	[SLUICE_TUNNEL_GRE] = { "gre", gre, IFLA_GRE_LINK, IFLA_GRE_COLLECT_METADATA,
		.device_type = ARPHRD_IPGRE, .begin = begin_over_ipv4, .check = check_gre },
	[SLUICE_TUNNEL_GRETAP] = { "gretap", gre, IFLA_GRE_LINK, IFLA_GRE_COLLECT_METADATA,
		.device_type = ARPHRD_ETHER, .begin = begin_over_ipv4, .check = check_gre },
	[SLUICE_TUNNEL_IP6GRE] = { "ip6gre", ip6gre, IFLA_GRE_LINK, IFLA_GRE_COLLECT_METADATA,
		.device_type = ARPHRD_IP6GRE, .check = check_gre },
	[SLUICE_TUNNEL_IP6GRETAP] = { "ip6gretap", ip6gre, IFLA_GRE_LINK, IFLA_GRE_COLLECT_METADATA,
		.device_type = ARPHRD_ETHER, .check = check_gre },
	[SLUICE_TUNNEL_IPIP] = { "ipip", ipip, IFLA_IPTUN_LINK, IFLA_IPTUN_COLLECT_METADATA,
		.device_type = ARPHRD_TUNNEL, .begin = begin_over_ipv4 },
	[SLUICE_TUNNEL_SIT] = { "sit", ipip, IFLA_IPTUN_LINK, IFLA_IPTUN_COLLECT_METADATA,
		.device_type = ARPHRD_SIT, .begin = begin_over_ipv4 },
	[SLUICE_TUNNEL_IP6TNL] = { "ip6tnl", ip6tnl, IFLA_IPTUN_LINK, IFLA_IPTUN_COLLECT_METADATA,
		.device_type = ARPHRD_TUNNEL6 },
};

const struct sl_nl_tunnel_kind *sl_nl_tunnel_kind(enum sluice_tunnel_kind kind)
{
	return (unsigned)kind < SLUICE_TUNNEL_KINDS ? &kinds[kind] : NULL;
}
