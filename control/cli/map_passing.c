#include "map_passing.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include "map_open.h"

/* iproute2's struct bpf_elf_map, in which an object file of old describes a map. */
struct wire_map {
	uint32_t type, key_size, value_size, max_entries, flags, id, pinning, inner_id, inner_index;
};

/* What is in the datagram; as many maps as there are descriptors. */
struct wire {
	uint16_t version, count;
	char object[64];
	uint64_t object_dev, object_inode;
	struct wire_map maps[SL_PASSED_MAX];
};

enum {
	WIRE_VERSION = 1,
	WIRE_HEAD = offsetof(struct wire, maps),
	/* Older tools' maps end before the last two members. */
	WIRE_MAP_MIN = offsetof(struct wire_map, inner_id),
};

static_assert(WIRE_HEAD == 88 && sizeof(struct wire_map) == 36, "iproute2's bpf_map_aux");

void sl_passed_maps_init(struct sl_passed_maps *maps)
{
	*maps = (struct sl_passed_maps){ 0 };
}

void sl_passed_maps_done(struct sl_passed_maps *maps)
{
	for (unsigned i = 0; i < maps->count; i++)
		close(maps->fds[i]);
	maps->count = 0;
}

int sl_passed_maps_add(struct sl_passed_maps *maps, uint32_t id, int fd)
{
	for (unsigned i = 0; i < maps->count; i++) {
		if (maps->ids[i] == id) {
			close(maps->fds[i]);
			maps->fds[i] = fd;
			return 0;
		}
	}
	if (maps->count == SL_PASSED_MAX)
		return -E2BIG;
	maps->ids[maps->count] = id;
	maps->fds[maps->count++] = fd;
	return 0;
}

static int set_path(struct sockaddr_un *address, const char *path)
{
	if (strlen(path) >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	strcpy(address->sun_path, path);
	return 0;
}

int sl_map_socket_bind(const char *path)
{
	struct sockaddr_un address;
	int err = set_path(&address, path), fd;
	mode_t old;

	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	old = umask(0177);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		err = -errno;
		close(fd);
	}
	umask(old);
	return err ? err : fd;
}

/* The descriptors of one message, which are this process's from here on. */
static unsigned take_descriptors(struct msghdr *msg, int *ret_fds)
{
	unsigned count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		unsigned n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		/* The buffer has no room for more. */
		for (unsigned i = 0; i < n && count < SL_PASSED_MAX; i++)
			memcpy(&ret_fds[count++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
	}
	return count;
}

/* The datagram's maps have one of the sizes that struct bpf_elf_map had over time. */
static bool is_wire(const struct wire *wire, size_t len, unsigned count, size_t *ret_map_size)
{
	if (len < WIRE_HEAD || wire->version != WIRE_VERSION || count == 0 || wire->count != count)
		return false;
	*ret_map_size = (len - WIRE_HEAD) / count;
	return (len - WIRE_HEAD) % count == 0 && *ret_map_size >= WIRE_MAP_MIN &&
	       *ret_map_size <= sizeof(struct wire_map);
}

static int take_maps(const struct wire *wire, size_t len, const int *fds, unsigned count,
	struct sl_passed_maps *ret_maps)
{
	const char *first = (const char *)wire->maps;
	size_t map_size;

	sl_passed_maps_init(ret_maps);
	if (!is_wire(wire, len, count, &map_size)) {
		for (unsigned i = 0; i < count; i++)
			close(fds[i]);
		return -EPROTO;
	}
	snprintf(ret_maps->object, sizeof(ret_maps->object), "%.*s", (int)sizeof(wire->object) - 1,
		wire->object);
	for (unsigned i = 0; i < count; i++) {
		uint32_t id;

		memcpy(&id, first + i * map_size + offsetof(struct wire_map, id), sizeof(id));
		sl_passed_maps_add(ret_maps, id, fds[i]);
	}
	return 0;
}

int sl_map_socket_receive(int socket_fd, int timeout_ms, struct sl_passed_maps *ret_maps)
{
	struct pollfd ready = { .fd = socket_fd, .events = POLLIN };
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * SL_PASSED_MAX)];
	struct wire wire = { 0 };
	struct iovec iov = { &wire, sizeof(wire) };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control) };
	int fds[SL_PASSED_MAX], n = poll(&ready, 1, timeout_ms);
	unsigned count;
	ssize_t len;

	if (n <= 0)
		return n == 0 ? -EAGAIN : -errno;
	len = recvmsg(socket_fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (len < 0)
		return -errno;
	count = take_descriptors(&msg, fds);
	if (msg.msg_flags & (MSG_CTRUNC | MSG_TRUNC))
		wire.version = 0;
	return take_maps(&wire, (size_t)len, fds, count, ret_maps);
}

static void describe(struct wire_map *wire, int fd, uint32_t id)
{
	enum sl_client_target old = sl_client_use(sl_map_owner(fd));
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	int err = bpf_obj_get_info_by_fd(fd, &info, &len);

	sl_client_use(old);
	*wire = (struct wire_map){ .id = id };
	/* Only told to the receiver: the descriptor is what counts. */
	if (err)
		return;
	wire->type = info.type;
	wire->key_size = info.key_size;
	wire->value_size = info.value_size;
	wire->max_entries = info.max_entries;
	wire->flags = info.map_flags;
}

static int send_maps(int socket_fd, const struct sl_passed_maps *maps)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * SL_PASSED_MAX)] = { 0 };
	struct wire wire = { .version = WIRE_VERSION, .count = (uint16_t)maps->count };
	struct iovec iov = { &wire, WIRE_HEAD + maps->count * sizeof(struct wire_map) };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = CMSG_SPACE(sizeof(int) * maps->count) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	memcpy(wire.object, maps->object, sizeof(wire.object));
	for (unsigned i = 0; i < maps->count; i++)
		describe(&wire.maps[i], maps->fds[i], maps->ids[i]);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int) * maps->count);
	memcpy(CMSG_DATA(cmsg), maps->fds, sizeof(int) * maps->count);
	return sendmsg(socket_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Connected through the inode that was looked at: the path may mean another one by then. */
static int connect_inode(int socket_fd, int path_fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat st;

	if (fstat(path_fd, &st) != 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return -EPERM;
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", path_fd);
	return connect(socket_fd, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
}

/* Sends `maps`, if there are any. */
static int reach(const char *path, const struct sl_passed_maps *maps)
{
	int path_fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC), socket_fd, err;

	if (path_fd < 0)
		return -errno;
	socket_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	err = socket_fd < 0 ? -errno : connect_inode(socket_fd, path_fd);
	if (err == 0 && maps)
		err = send_maps(socket_fd, maps);
	if (socket_fd >= 0)
		close(socket_fd);
	close(path_fd);
	return err;
}

int sl_map_socket_send(const char *path, const struct sl_passed_maps *maps)
{
	return reach(path, maps);
}

int sl_map_socket_probe(const char *path)
{
	return reach(path, NULL);
}
