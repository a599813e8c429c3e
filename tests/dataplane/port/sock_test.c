#include <errno.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sluice/bpf.h>

#include "bed.h"
#include "test.h"

/*
 * A worker's programs and the kernel's sockets: one that is opened is found soon, one that is closed
 * is soon found no more. The program sends packets for a listening socket back, and drops others.
 */

#define INSN(c, d, s, o, i) ((struct bpf_insn){ (c), (d), (s), (o), (i) })
#define MOV_X(d, s) INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define MOV_K(d, i) INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define ADD_K(d, i) INSN(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, i)
#define LOAD(size, d, s, o) INSN(BPF_LDX | BPF_MEM | (size), d, s, o, 0)
#define STORE(size, d, s, o) INSN(BPF_STX | BPF_MEM | (size), d, s, o, 0)
#define CALL(id) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, id)
#define IF_ZERO(d, off) INSN(BPF_JMP | BPF_JEQ | BPF_K, d, 0, off, 0)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

enum { AT_TUPLE = 16, AT_ASSIGN = 32, AT_COOKIE = 40, AT_PORT = 48 };

/* R7 is the packet; looks the tuple in it up. */
#define FIND(data, data_end)                                                                     \
	MOV_X(6, 1), LOAD(BPF_W, 7, 1, data), LOAD(BPF_W, 2, 1, data_end), MOV_X(3, 7),          \
		ADD_K(3, FRAME), INSN(BPF_JMP | BPF_JLE | BPF_X, 3, 2, 2, 0), MOV_K(0, 0), EXIT, \
		MOV_X(2, 7), ADD_K(2, AT_TUPLE), MOV_K(3, 12), MOV_K(4, -1), MOV_K(5, 0),        \
		CALL(BPF_FUNC_sk_lookup_tcp)

static const struct bpf_insn xdp_program[] = {
	FIND(0, 4),
	MOV_K(8, XDP_DROP),
	IF_ZERO(0, 3),
	MOV_K(8, XDP_TX),
	MOV_X(1, 0),
	CALL(BPF_FUNC_sk_release),
	MOV_X(0, 8),
	EXIT,
};

/* What became of the packet's socket, and its port, go into the packet, which is sent back. */
static const struct bpf_insn tc_program[] = {
	FIND(76, 80),
	MOV_K(8, TC_ACT_SHOT),
	IF_ZERO(0, 22),
	MOV_X(9, 0),
	MOV_X(1, 6),
	MOV_X(2, 9),
	MOV_K(3, 0),
	CALL(BPF_FUNC_sk_assign),
	STORE(BPF_DW, 7, 0, AT_ASSIGN),
	MOV_X(1, 9),
	CALL(BPF_FUNC_sk_release),
	MOV_X(1, 6),
	CALL(BPF_FUNC_get_socket_cookie),
	STORE(BPF_DW, 7, 0, AT_COOKIE),
	LOAD(BPF_DW, 1, 6, offsetof(struct __sk_buff, sk)),
	IF_ZERO(1, 5),
	CALL(BPF_FUNC_sk_fullsock),
	IF_ZERO(0, 3),
	LOAD(BPF_W, 1, 0, offsetof(struct bpf_sock, src_port)),
	STORE(BPF_W, 7, 1, AT_PORT),
	MOV_K(9, 0),
	LOAD(BPF_W, 1, 6, offsetof(struct __sk_buff, ifindex)),
	MOV_K(2, 0),
	CALL(BPF_FUNC_redirect),
	MOV_X(8, 0),
	MOV_X(0, 8),
	EXIT,
};

static struct bed bed;

static int load(uint32_t type, const struct bpf_insn *insns, size_t count)
{
	union bpf_attr attr = { .prog_type = type };

	attr.insns = (uintptr_t)insns;
	attr.insn_cnt = (uint32_t)count;
	attr.license = (uintptr_t)"GPL";
	return (int)sluice_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
}

static int listen_anywhere(struct sockaddr_in *ret_address, uint64_t *ret_cookie)
{
	socklen_t len = sizeof(*ret_address), cookie_len = sizeof(*ret_cookie);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*ret_address = (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	EXPECT_EQ(bind(fd, (struct sockaddr *)ret_address, len), 0);
	EXPECT_EQ(listen(fd, 1), 0);
	EXPECT_EQ(getsockname(fd, (struct sockaddr *)ret_address, &len), 0);
	EXPECT_EQ(getsockopt(fd, SOL_SOCKET, SO_COOKIE, ret_cookie, &cookie_len), 0);
	return fd;
}

static struct frame frame_for(const struct sockaddr_in *address)
{
	struct frame f = frame_of(0, 0);
	uint8_t *tuple = f.bytes + AT_TUPLE;

	memset(tuple, 1, 12);
	memcpy(tuple + 4, &address->sin_addr, 4);
	memcpy(tuple + 10, &address->sin_port, 2);
	return f;
}

/* Sends until what comes back is as expected; false after some seconds. */
static bool soon(struct frame f, bool found, uint8_t *ret_frame)
{
	for (int i = 0; i < 200; i++) {
		bool came;

		send_one(&bed, f);
		came = found ? counter_of(&bed.a, SLUICE_TX) > 0 : false;
		if (found && came)
			return ring_receive(&bed.a, ret_frame) == FRAME;
		if (!found) {
			usleep(20000);
			if (ring_receive_all(&bed.a) == 0)
				return true;
		}
		usleep(10000);
	}
	return false;
}

TEST(sock, is_found_while_it_is_there)
{
	struct sockaddr_in address;
	uint8_t frame[RING_FRAME_MAX];
	struct frame f;
	uint64_t cookie;
	int fd, prog;

	ASSERT_TRUE(bed_open(&bed, 1));
	prog = load(BPF_PROG_TYPE_XDP, xdp_program, sizeof(xdp_program) / sizeof(xdp_program[0]));
	ASSERT_GE(prog, 0);
	EXPECT_EQ(sluice_xdp_attach(bed.a.ifindex, prog, -1, 0), 0);
	close(prog);
	fd = listen_anywhere(&address, &cookie);
	f = frame_for(&address);
	EXPECT_TRUE(soon(f, true, frame));
	close(fd);
	EXPECT_TRUE(soon(f, false, frame));
	bed_close(&bed);
}

TEST(sock, is_the_packets_once_it_is_assigned)
{
	struct sluice_tc_filter filter = { .direct_action = true };
	struct sockaddr_in address;
	uint8_t frame[RING_FRAME_MAX];
	uint64_t cookie, seen;
	uint32_t port;
	int fd;

	ASSERT_TRUE(bed_open(&bed, 1));
	filter.prog_fd = load(
		BPF_PROG_TYPE_SCHED_CLS, tc_program, sizeof(tc_program) / sizeof(tc_program[0]));
	ASSERT_GE(filter.prog_fd, 0);
	EXPECT_EQ(sluice_tc_add(bed.a.ifindex, SLUICE_TC_INGRESS, &filter, 0), 0);
	close(filter.prog_fd);
	fd = listen_anywhere(&address, &cookie);
	ASSERT_TRUE(soon(frame_for(&address), true, frame));
	memcpy(&seen, frame + AT_ASSIGN, sizeof(seen));
	EXPECT_EQ(seen, 0);
	memcpy(&seen, frame + AT_COOKIE, sizeof(seen));
	EXPECT_EQ(seen, cookie);
	memcpy(&port, frame + AT_PORT, sizeof(port));
	EXPECT_EQ(port, ntohs(address.sin_port));
	close(fd);
	bed_close(&bed);
}
