#include "handlers.h"

#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>

#include "netlink_socket.h"

/*
 * What if_nametoindex(3) and if_indextoname(3) ask: of a port that has no interface of the kernel only
 * the daemon knows. Every other one is the kernel's, which says so in the program's network namespace.
 */
void sl_handle_ifreq(struct sl_notified *n)
{
	bool by_name = (uint32_t)n->data->args[1] == SIOCGIFINDEX;
	uint64_t address = n->data->args[2];
	struct sl_netlink_asked asked;
	struct sl_route_interface found;
	struct ifreq req;

	sl_netlink_describe(&asked, n, -1);
	if (n->space.ops->read(&n->space, &req, address, sizeof(req)) != 0) {
		sl_notified_continue(n);
		return;
	}
	req.ifr_name[IFNAMSIZ - 1] = '\0';
	if (!sl_route_find(&asked.route, by_name ? req.ifr_name : "",
		    by_name ? 0 : (uint32_t)req.ifr_ifindex, &found)) {
		sl_notified_continue(n);
		return;
	}
	if (by_name)
		req.ifr_ifindex = (int)found.ifindex;
	else
		memcpy(req.ifr_name, found.name, sizeof(req.ifr_name));
	sl_notified_answer(n, n->space.ops->write(&n->space, address, &req, sizeof(req)));
}
