#include <errno.h>
#include <linux/bpf.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <string.h>

#include "cpu.h"
#include "fib.h"
#include "import.h"
#include "packet.h"
#include "row.h"

/*
 * bpf_fib_lookup: the order of the steps, and so what the parameters hold when one of them fails, is
 * the kernel's (net/core/filter.c).
 */

/* Newer than the headers that we build with. */
#define FIB_LOOKUP_TBID (1u << 3)
#define FIB_LOOKUP_SRC (1u << 4)
#define FIB_LOOKUP_MARK (1u << 5)
#define FIB_LOOKUP_ALL                                                               \
	(BPF_FIB_LOOKUP_DIRECT | BPF_FIB_LOOKUP_OUTPUT | BPF_FIB_LOOKUP_SKIP_NEIGH | \
		FIB_LOOKUP_TBID | FIB_LOOKUP_SRC | FIB_LOOKUP_MARK)

enum { RET_NO_SRC_ADDR = 9 };

/* struct bpf_fib_lookup of the kernel whose flags these are. */
struct params {
	uint8_t family, l4_protocol;
	uint16_t sport, dport; /* big endian */
	uint16_t mtu; /* in: the packet's length; out: the MTU */
	uint32_t ifindex;
	uint32_t tos_or_metric; /* in: of IPv4 the TOS, of IPv6 the flow label; out: the metric */
	uint8_t src[16], dst[16];
	union {
		struct {
			uint16_t vlan_proto, vlan_tci;
		};
		uint32_t table;
	};
	union {
		uint32_t mark;
		uint8_t macs[12]; /* source, destination */
	};
};

static_assert(sizeof(struct params) == sizeof(struct bpf_fib_lookup), "the uapi's size");
static_assert(offsetof(struct params, dst) == offsetof(struct bpf_fib_lookup, ipv4_dst),
	"the uapi's layout");

enum { IPV6_MTU_MIN = 1280, IPV4_MTU_MAX = 0xffff, IPV6_MTU_MAX = 0xffff + 40 };

static bool is_ipv6(const struct params *p)
{
	return p->family == AF_INET6;
}

static struct sl_fib_flow flow_of(struct params *p, uint32_t flags)
{
	struct sl_fib_flow flow = {
		.family = p->family,
		.protocol = p->l4_protocol,
		.sport = ntohs(p->sport),
		.dport = ntohs(p->dport),
		.iif = p->ifindex,
	};

	memcpy(flow.src, p->src, sl_ip_bytes(p->family));
	memcpy(flow.dst, p->dst, sl_ip_bytes(p->family));
	if (is_ipv6(p))
		flow.flow_label = p->tos_or_metric;
	else
		flow.tos = (uint8_t)p->tos_or_metric & 0xfc;
	if (flags & BPF_FIB_LOOKUP_OUTPUT) {
		flow.iif = 1;
		flow.oif = p->ifindex;
	}
	if (flags & BPF_FIB_LOOKUP_DIRECT) {
		flow.table = RT_TABLE_MAIN;
		if (flags & FIB_LOOKUP_TBID) {
			flow.table = p->table ? p->table : (uint32_t)RT_TABLE_MAIN;
			p->table = 0;
		}
	} else if (flags & FIB_LOOKUP_MARK) {
		flow.mark = p->mark;
	}
	return flow;
}

/* Multicast, link-local and the loopback address: nobody forwards those. */
static bool stays_on_link(const uint8_t *ip)
{
	static const uint8_t loopback[16] = { [15] = 1 };

	return ip[0] == 0xff || (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80) ||
	       memcmp(ip, loopback, sizeof(loopback)) == 0;
}

static bool forwards(const struct sl_interface *interface, bool ipv6)
{
	if (!ipv6)
		return !interface->info.no_forward_ipv4;
	return !interface->info.no_forward_ipv6 && interface->info.mtu >= IPV6_MTU_MIN;
}

/* BPF_FIB_LKUP_RET_* of a look-up that has found no way. */
static int refusal(bool ipv6, int err, const struct sl_fib_result *result)
{
	if (!ipv6) {
		return err == -EINVAL         ? BPF_FIB_LKUP_RET_BLACKHOLE
		       : err == -EHOSTUNREACH ? BPF_FIB_LKUP_RET_UNREACHABLE
		       : err == -EACCES       ? BPF_FIB_LKUP_RET_PROHIBIT
					      : BPF_FIB_LKUP_RET_NOT_FWDED;
	}
	switch (err ? (int)RTN_UNSPEC : result->route->type) {
	case RTN_BLACKHOLE:
		return BPF_FIB_LKUP_RET_BLACKHOLE;
	case RTN_UNREACHABLE:
		return BPF_FIB_LKUP_RET_UNREACHABLE;
	case RTN_PROHIBIT:
		return BPF_FIB_LKUP_RET_PROHIBIT;
	default:
		return BPF_FIB_LKUP_RET_NOT_FWDED;
	}
}

static uint32_t mtu_of(const struct sl_fib_result *result, bool ipv6)
{
	uint32_t mtu = result->interface->info.mtu;

	if (result->route->mtu && result->route->mtu_locked)
		return result->route->mtu;
	if (ipv6)
		return sl_min(sl_max(mtu, (uint32_t)IPV6_MTU_MIN), (uint32_t)IPV6_MTU_MAX);
	return sl_min(mtu, (uint32_t)IPV4_MTU_MAX);
}

/* False where there is no address to choose. */
static bool set_source(
	struct params *p, const struct sl_fib_result *result, const uint8_t *dst, bool ipv6)
{
	const struct sl_route *route = result->route;
	uint32_t source, gateway = 0;

	if (route->source_family) {
		memcpy(p->src, route->source, ipv6 ? 16 : 4);
		return true;
	}
	if (ipv6)
		return sl_source_ipv6(result->interface, dst, p->src);
	memcpy(&gateway, result->path->gateway, sizeof(gateway));
	source = sl_source_ipv4(result->interface, gateway, route->scope);
	memcpy(p->src, &source, sizeof(source));
	return true;
}

static void set_gateway(struct params *p, const struct sl_path *path)
{
	if (!path->gateway_family)
		return;
	if (path->gateway_family == AF_INET6)
		p->family = AF_INET6;
	memcpy(p->dst, path->gateway, sl_ip_bytes(path->gateway_family));
}

/* From the route on. mtu 0: not asked for. */
static int resolve(struct params *p, const struct sl_fib_result *result, uint32_t flags,
	const struct sl_fib_flow *flow, uint32_t mtu)
{
	bool ipv6 = is_ipv6(p);
	const struct sl_neighbour *neighbour;

	p->tos_or_metric = result->route->metric;
	p->ifindex = result->interface->info.ifindex;
	/* The gateway first, then the source, or the other way round: they do not meet. */
	if ((flags & FIB_LOOKUP_SRC) && !set_source(p, result, flow->dst, ipv6)) {
		set_gateway(p, result->path);
		return RET_NO_SRC_ADDR;
	}
	set_gateway(p, result->path);
	if (!(flags & BPF_FIB_LOOKUP_SKIP_NEIGH)) {
		neighbour = sl_neighbour_resolve(result->interface, p->family, p->dst);
		if (!neighbour)
			return BPF_FIB_LKUP_RET_NO_NEIGH;
		memcpy(p->macs, result->interface->info.mac, 6);
		memcpy(p->macs + 6, neighbour->info.lladdr, 6);
	}
	p->vlan_proto = p->vlan_tci = 0;
	if (mtu)
		p->mtu = (uint16_t)mtu;
	return BPF_FIB_LKUP_RET_SUCCESS;
}

/* *ret_interface: where the packet goes, when it does. */
static int look_up(
	struct params *p, uint32_t flags, bool check_mtu, const struct sl_interface **ret_interface)
{
	bool ipv6 = is_ipv6(p);
	const struct sl_interface *interface;
	struct sl_fib_result result = { 0 };
	struct sl_fib_flow flow;
	uint32_t mtu = 0;
	int err;

	if (ipv6 && (stays_on_link(p->dst) || stays_on_link(p->src)))
		return BPF_FIB_LKUP_RET_NOT_FWDED;
	interface = sl_interface_peek(p->ifindex);
	if (!interface)
		return -ENODEV;
	if (!forwards(interface, ipv6))
		return BPF_FIB_LKUP_RET_FWD_DISABLED;
	flow = flow_of(p, flags);
	err = sl_fib_lookup(&flow, &result);
	if (err || result.route->type != RTN_UNICAST)
		return refusal(ipv6, err, &result);
	if (check_mtu) {
		mtu = mtu_of(&result, ipv6);
		if (p->mtu > mtu) {
			p->mtu = (uint16_t)mtu;
			return BPF_FIB_LKUP_RET_FRAG_NEEDED;
		}
	}
	if (result.path->encapsulated)
		return BPF_FIB_LKUP_RET_UNSUPP_LWT;
	*ret_interface = result.interface;
	return resolve(p, &result, flags, &flow, mtu);
}

/* Without a length the packet's own is compared with what the interface can send. */
static int check_packet(
	const struct sl_ctx *ctx, const struct sl_interface *interface, struct params *p)
{
	uint32_t room = interface->info.mtu + interface->info.header_bytes + 4;

	p->mtu = (uint16_t)interface->info.mtu;
	return ctx->len <= room || ctx->gso_size ? BPF_FIB_LKUP_RET_SUCCESS
						 : BPF_FIB_LKUP_RET_FRAG_NEEDED;
}

/*
 * The interfaces of a test run are the kernel's, and so is its network where there is no other. Some
 * test runs are done by workers, which make no system call.
 */
static void know_network(const struct sl_ctx *ctx)
{
	if (!sl_cpu_is_owned(ctx->cpu))
		sl_route_import();
}

/* R2: struct bpf_fib_lookup, R3: its size, R4: BPF_FIB_LOOKUP_* */
SL_HELPER_FN(fib_lookup)
{
	uint32_t flags = (uint32_t)r4;
	const struct sl_interface *interface = NULL;
	struct params p;
	bool check_mtu;
	int ret;

	if ((int)r3 < (int)sizeof(p) || (flags & ~(uint32_t)FIB_LOOKUP_ALL))
		return sl_helper_ret(-EINVAL);
	memcpy(&p, (const void *)r2, sizeof(p));
	if (p.family != AF_INET && p.family != AF_INET6)
		return sl_helper_ret(-EAFNOSUPPORT);
	if (sl_unlikely(!ctx->run->worker))
		know_network(ctx);
	check_mtu = !ctx->is_skb || p.mtu;
	ret = look_up(&p, flags, check_mtu, &interface);
	if (ret == BPF_FIB_LKUP_RET_SUCCESS && !check_mtu)
		ret = check_packet(ctx, interface, &p);
	memcpy((void *)r2, &p, sizeof(p));
	return sl_helper_ret(ret);
}

const struct sl_helper sl_helper_fib_lookup = {
	SL_ROW(fib_lookup, TC_XDP),
	.flags = SL_HELPER_GPL,
	.args = { SL_ARG_CTX, SL_ARG_MEM_WRITE, SL_ARG_SIZE, SL_ARG_ANYTHING },
};
