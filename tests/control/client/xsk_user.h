#pragma once

#include <linux/if_xdp.h>
#include <stdbool.h>
#include <stdint.h>
#include <xdp/xsk.h>

/* A user of AF_XDP as programs are written: with libxdp, which knows nothing of Sluice. */

enum {
	USER_FRAMES = 64,
	USER_FRAME_BYTES = 2048,
	USER_RING = 32, /* smaller than what tests send, so that it wraps */
	USER_HEADROOM = 256, /* XDP_PACKET_HEADROOM */
};

struct user {
	uint8_t *area;
	struct xsk_umem *umem;
	struct xsk_socket *xsk;
	struct xsk_ring_prod fill, tx;
	struct xsk_ring_cons completion, rx;
	int map_fd, prog_fd;
};

/* In front of a socket on queue 0: XDP redirects to an XSKMAP, and passes where that is empty. */
int user_load(struct user *u);
/* `bind_flags` besides XDP_COPY; 0 or a negative errno. */
int user_open(
	struct user *u, const char *ifname, const struct xsk_umem_config *config, int bind_flags);
void user_close(struct user *u);

/* Gives frames to be filled: `first`, and those after it. */
void user_fill(struct user *u, uint64_t first, unsigned n);
void user_fill_one(struct user *u, uint64_t addr);
void user_send(struct user *u, const struct xdp_desc *desc);
/* The next descriptor, within three seconds. */
bool user_receive(struct user *u, struct xdp_desc *ret_desc);
/* The next frame that has been sent, or was no good; the same. */
bool user_completed(struct user *u, uint64_t *ret_addr);
struct xdp_statistics user_statistics(struct user *u);
