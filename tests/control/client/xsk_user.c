#include "xsk_user.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

int user_load(struct user *u)
{
	struct bpf_insn insns[] = {
		{ .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 2, .src_reg = 1, .off = 16 },
		{ .code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD },
		{ 0 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect_map },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	u->map_fd = bpf_map_create(BPF_MAP_TYPE_XSKMAP, "sockets", 4, 4, 4, NULL);
	insns[1].imm = u->map_fd;
	u->prog_fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "to_socket", "GPL", insns,
		sizeof(insns) / sizeof(insns[0]), NULL);
	return u->map_fd < 0 ? u->map_fd : u->prog_fd < 0 ? u->prog_fd : 0;
}

int user_open(
	struct user *u, const char *ifname, const struct xsk_umem_config *config, int bind_flags)
{
	static const struct xsk_umem_config defaults = {
		.fill_size = USER_RING,
		.comp_size = USER_RING,
		.frame_size = USER_FRAME_BYTES,
	};
	struct xsk_socket_config sock = {
		.rx_size = USER_RING,
		.tx_size = USER_RING,
		.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
		.bind_flags = (uint16_t)(XDP_COPY | bind_flags),
	};
	size_t len = USER_FRAMES * USER_FRAME_BYTES;
	int err;

	/* libxdp expects them to be fresh. */
	memset(&u->fill, 0, sizeof(u->fill));
	memset(&u->tx, 0, sizeof(u->tx));
	memset(&u->completion, 0, sizeof(u->completion));
	memset(&u->rx, 0, sizeof(u->rx));
	u->area = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (u->area == MAP_FAILED)
		return -ENOMEM;
	err = xsk_umem__create(
		&u->umem, u->area, len, &u->fill, &u->completion, config ? config : &defaults);
	if (!err)
		err = xsk_socket__create(&u->xsk, ifname, 0, u->umem, &u->rx, &u->tx, &sock);
	if (!err)
		err = xsk_socket__update_xskmap(u->xsk, u->map_fd);
	return err;
}

void user_close(struct user *u)
{
	xsk_socket__delete(u->xsk);
	xsk_umem__delete(u->umem);
	munmap(u->area, USER_FRAMES * USER_FRAME_BYTES);
	close(u->prog_fd);
	close(u->map_fd);
}

void user_fill_one(struct user *u, uint64_t addr)
{
	uint32_t index;

	if (xsk_ring_prod__reserve(&u->fill, 1, &index) != 1)
		return;
	*xsk_ring_prod__fill_addr(&u->fill, index) = addr;
	xsk_ring_prod__submit(&u->fill, 1);
}

void user_fill(struct user *u, uint64_t first, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		user_fill_one(u, first + (uint64_t)i * USER_FRAME_BYTES);
}

void user_send(struct user *u, const struct xdp_desc *desc)
{
	uint32_t index;

	if (xsk_ring_prod__reserve(&u->tx, 1, &index) != 1)
		return;
	*xsk_ring_prod__tx_desc(&u->tx, index) = *desc;
	xsk_ring_prod__submit(&u->tx, 1);
}

bool user_receive(struct user *u, struct xdp_desc *ret_desc)
{
	struct pollfd fd = { .fd = xsk_socket__fd(u->xsk), .events = POLLIN };
	uint32_t index;

	if (poll(&fd, 1, 3000) != 1 || !(fd.revents & POLLIN) ||
		xsk_ring_cons__peek(&u->rx, 1, &index) != 1)
		return false;
	*ret_desc = *xsk_ring_cons__rx_desc(&u->rx, index);
	xsk_ring_cons__release(&u->rx, 1);
	return true;
}

bool user_completed(struct user *u, uint64_t *ret_addr)
{
	uint32_t index;

	for (unsigned i = 0; i < 6000; i++) {
		/* What a program does whose kernel sends when it is told to. */
		sendto(xsk_socket__fd(u->xsk), NULL, 0, MSG_DONTWAIT, NULL, 0);
		if (xsk_ring_cons__peek(&u->completion, 1, &index) == 1) {
			*ret_addr = *xsk_ring_cons__comp_addr(&u->completion, index);
			xsk_ring_cons__release(&u->completion, 1);
			return true;
		}
		usleep(500);
	}
	return false;
}

struct xdp_statistics user_statistics(struct user *u)
{
	struct xdp_statistics stats = { 0 };
	socklen_t len = sizeof(stats);

	getsockopt(xsk_socket__fd(u->xsk), SOL_XDP, XDP_STATISTICS, &stats, &len);
	return stats;
}
