#include "network.h"

#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sluice/route.h>

#include "../../../control/words/network.h"
#include "test.h"

bool network_is_mirrored = true;

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return written;
}

bool network_ip(const char *format, ...)
{
	char line[1024] = "ip ";
	va_list args;

	va_start(args, format);
	vsnprintf(line + 3, sizeof(line) - 3, format, args);
	va_end(args);
	return system(line) == 0;
}

static uint32_t by_name(const char *name)
{
	return if_nametoindex(name);
}

void network_both(const char *format, ...)
{
	char line[1024], reason[256];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (!network_ip("%s", line))
		sl_test_fail(__FILE__, __LINE__, "the kernel refuses '%s'", line);
	if (network_is_mirrored && sl_network_line(line, by_name, reason, sizeof(reason)) != 0)
		sl_test_fail(__FILE__, __LINE__, "refused: '%s': %s", line, reason);
}

bool network_enter(const char **ret_reason)
{
	*ret_reason = "a network namespace is not permitted to this user";
	if (unshare(CLONE_NEWNET) != 0)
		return false;
	*ret_reason = "the namespace's forwarding cannot be switched on";
	return write_file("/proc/sys/net/ipv4/conf/all/forwarding", "1") &&
	       write_file("/proc/sys/net/ipv6/conf/all/forwarding", "1") &&
	       write_file("/proc/sys/net/ipv4/conf/default/forwarding", "1") &&
	       write_file("/proc/sys/net/ipv6/conf/default/forwarding", "1");
}

void network_mirror_link(const char *name, bool forward)
{
	struct sluice_interface interface = { .ifindex = if_nametoindex(name), .header_bytes = 14 };
	struct ifreq request = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (!network_is_mirrored)
		goto out;
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	EXPECT_EQ(ioctl(fd, SIOCGIFHWADDR, &request), 0);
	memcpy(interface.mac, request.ifr_hwaddr.sa_data, 6);
	EXPECT_EQ(ioctl(fd, SIOCGIFMTU, &request), 0);
	interface.mtu = (uint32_t)request.ifr_mtu;
	interface.no_forward_ipv4 = interface.no_forward_ipv6 = !forward;
	interface.one_peer = interface.ifindex == 1;
	EXPECT_EQ(sluice_interface_set(&interface), 0);
out:
	close(fd);
}

static void stop_forwarding(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/forwarding", name);
	EXPECT_TRUE(write_file(path, "0"));
	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/forwarding", name);
	EXPECT_TRUE(write_file(path, "0"));
}

void network_make_links(uint32_t link[NETWORK_LINKS])
{
	static const int mtus[NETWORK_LINKS] = { 1500, 9000, 1400, 1500 };
	struct sluice_ip loopback = { AF_INET, { 127, 0, 0, 1 } };
	struct sluice_ip loopback6 = { AF_INET6, { [15] = 1 } };
	char name[8];

	EXPECT_TRUE(network_ip("link set lo up"));
	network_mirror_link("lo", true);
	if (network_is_mirrored) {
		EXPECT_EQ(sluice_address_add(1, &loopback, 8), 0);
		EXPECT_EQ(sluice_address_add(1, &loopback6, 128), 0);
	}
	for (int i = 0; i < NETWORK_LINKS; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		EXPECT_TRUE(network_ip("link add %s mtu %d type veth peer name p%d mtu %d", name,
			mtus[i], i, mtus[i]));
		EXPECT_TRUE(network_ip("link set %s addrgenmode none up", name));
		EXPECT_TRUE(network_ip("link set p%d addrgenmode none up", i));
		if (i == NETWORK_LINKS - 1)
			stop_forwarding(name);
		network_mirror_link(name, i < NETWORK_LINKS - 1);
		link[i] = if_nametoindex(name);
	}
}
