#include "sock_read.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * The kernel's sockets through NETLINK_SOCK_DIAG dumps. It answers in the order of its own lists,
 * and the table keeps it: IPv4 first, since IPv6 sockets that share a port go to the end of a list.
 */

enum { BUFFER = 1 << 15, INDEX_STEP = 4096 };

/* include/net/tcp_states.h; uapi names only some of them, and not all fit together with libc's. */
enum {
	STATE_ESTABLISHED = 1,
	STATE_TIME_WAIT = 6,
	STATE_CLOSE = 7,
	STATE_LISTEN = 10,
	STATE_NEW_SYN_RECV = 12,
	STATES_ALL = (1 << 13) - 1,
};

/* What tcp_init_sock sets, and sock_diag does not tell of a listening socket. */
enum { INIT_SSTHRESH = 0x7fffffff, INIT_MSS = 536 };

enum { ECN_OK = 1, ECN_SEEN = 8 }; /* of tcp_sock.ecn_flags */
#define INFO_ECN 8 /* of tcp_info.tcpi_options */
#define INFO_ECN_SEEN 16

/* 127.0.0.6: the IPv4 address of a socket that has only an IPv6 one. */
#define NO_IPV4 htonl(0x7f000006)

static const struct {
	uint8_t family, protocol;
} dumps[] = {
	{ AF_INET, IPPROTO_TCP },
	{ AF_INET6, IPPROTO_TCP },
	{ AF_INET, IPPROTO_UDP },
	{ AF_INET6, IPPROTO_UDP },
};

static uint32_t get_u32(const struct rtattr *a)
{
	uint32_t value = 0;

	if (a)
		memcpy(&value, RTA_DATA(a), sl_min(RTA_PAYLOAD(a), sizeof(value)));
	return value;
}

static bool is_any(const uint32_t ip[4])
{
	return !(ip[0] | ip[1] | ip[2] | ip[3]);
}

/* The IPv4 address that the kernel keeps with an IPv6 one of the socket's own. */
static uint32_t ipv4_of(const uint32_t ip[4])
{
	if (is_any(ip))
		return 0;
	if (!ip[0] && !ip[1] && ip[2] == htonl(0xffff))
		return ip[3];
	return NO_IPV4;
}

static void set_addresses(struct sl_sock *s, const struct inet_diag_msg *msg)
{
	struct bpf_sock *sock = &s->sock;

	sock->family = msg->idiag_family;
	sock->src_port = ntohs(msg->id.idiag_sport);
	sock->dst_port = msg->id.idiag_dport;
	sock->bound_dev_if = msg->id.idiag_if;
	if (msg->idiag_family == AF_INET) {
		sock->src_ip4 = msg->id.idiag_src[0];
		sock->dst_ip4 = msg->id.idiag_dst[0];
		return;
	}
	memcpy(sock->src_ip6, msg->id.idiag_src, sizeof(sock->src_ip6));
	memcpy(sock->dst_ip6, msg->id.idiag_dst, sizeof(sock->dst_ip6));
	sock->src_ip4 = ipv4_of(sock->src_ip6);
	/* Of connections that were accepted it is NO_IPV4, but which ones those are nobody tells. */
	sock->dst_ip4 = ipv4_of(sock->dst_ip6);
	if (sock->dst_ip4 == NO_IPV4)
		sock->dst_ip4 = 0;
}

static void set_tcp(struct bpf_tcp_sock *tcp, const struct rtattr *a, bool listens)
{
	struct tcp_info info = { 0 };

	if (a)
		memcpy(&info, RTA_DATA(a), sl_min(RTA_PAYLOAD(a), sizeof(info)));
	tcp->snd_cwnd = info.tcpi_snd_cwnd;
	if (listens) {
		/* The rest of what there is means something else. */
		tcp->snd_ssthresh = INIT_SSTHRESH;
		tcp->mss_cache = INIT_MSS;
		tcp->rtt_min = UINT32_MAX;
		return;
	}
	tcp->srtt_us = info.tcpi_rtt << 3;
	tcp->rtt_min = info.tcpi_min_rtt;
	tcp->snd_ssthresh = info.tcpi_snd_ssthresh;
	tcp->mss_cache = info.tcpi_snd_mss;
	tcp->ecn_flags = (info.tcpi_options & INFO_ECN ? ECN_OK : 0) |
			 (info.tcpi_options & INFO_ECN_SEEN ? ECN_SEEN : 0);
	tcp->packets_out = info.tcpi_unacked;
	tcp->retrans_out = info.tcpi_retrans;
	tcp->total_retrans = info.tcpi_total_retrans;
	tcp->segs_in = info.tcpi_segs_in;
	tcp->data_segs_in = info.tcpi_data_segs_in;
	tcp->segs_out = info.tcpi_segs_out;
	tcp->data_segs_out = info.tcpi_data_segs_out;
	tcp->lost_out = info.tcpi_lost;
	tcp->sacked_out = info.tcpi_sacked;
	tcp->bytes_received = info.tcpi_bytes_received;
	tcp->bytes_acked = info.tcpi_bytes_acked;
	tcp->dsack_dups = info.tcpi_dsack_dups;
	tcp->delivered = info.tcpi_delivered;
	tcp->delivered_ce = info.tcpi_delivered_ce;
	tcp->icsk_retransmits = info.tcpi_retransmits;
}

/* TCP leaves the IPv4 addresses of connections, but not of listening sockets, as mapped ones too. */
static void map_addresses(struct bpf_sock *sock)
{
	sock->src_ip6[2] = sock->dst_ip6[2] = htonl(0xffff);
	sock->src_ip6[3] = sock->src_ip4;
	sock->dst_ip6[3] = sock->dst_ip4;
}

/* The kernel's state of a socket: sock_diag shows those that are not full ones as something else. */
static uint32_t state_of(const struct inet_diag_msg *msg, bool full)
{
	enum { SYN_RECV = 3 };

	if (full)
		return msg->idiag_state;
	return msg->idiag_state == SYN_RECV ? STATE_NEW_SYN_RECV : STATE_TIME_WAIT;
}

static bool is_connected(const struct sl_sock *s)
{
	if (s->sock.protocol == IPPROTO_TCP)
		return s->sock.state != STATE_LISTEN;
	return s->sock.src_ip4 && s->sock.dst_port &&
	       (s->sock.family == AF_INET ? s->sock.dst_ip4 : !is_any(s->sock.dst_ip6));
}

static int read_sock(struct sl_sock_table *table, struct nlmsghdr *message, uint8_t protocol)
{
	const struct inet_diag_msg *msg = NLMSG_DATA(message);
	const struct rtattr *a[INET_DIAG_MAX + 1] = { NULL };
	struct rtattr *at = (struct rtattr *)(msg + 1);
	int len = (int)NLMSG_PAYLOAD(message, sizeof(*msg));
	struct sl_sock *s;

	if (len < 0 || !msg->id.idiag_sport)
		return 0;
	for (; RTA_OK(at, len); at = RTA_NEXT(at, len))
		if (at->rta_type <= INET_DIAG_MAX)
			a[at->rta_type] = at;
	s = sl_sock_table_add(table);
	if (!s)
		return -ENOMEM;
	set_addresses(s, msg);
	memcpy(&s->cookie, msg->id.idiag_cookie, sizeof(s->cookie));
	s->uid = msg->idiag_uid;
	s->full = a[INET_DIAG_SHUTDOWN] != NULL;
	s->sock.type = protocol == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM;
	s->sock.protocol = protocol;
	s->sock.mark = get_u32(a[INET_DIAG_MARK]);
	/* Its class, which is its priority unless a control group says otherwise. */
	s->sock.priority = get_u32(a[INET_DIAG_CLASS_ID]);
	s->sock.state = state_of(msg, s->full);
	s->sock.rx_queue_mapping = -1;
	s->connected = is_connected(s);
	s->v6_only = (get_u32(a[INET_DIAG_SKV6ONLY]) & 1) || s->sock.src_ip4 == NO_IPV4;
	if (protocol == IPPROTO_TCP && s->connected && s->sock.family == AF_INET)
		map_addresses(&s->sock);
	if (protocol == IPPROTO_TCP && s->full)
		set_tcp(&s->tcp, a[INET_DIAG_INFO], s->sock.state == STATE_LISTEN);
	return 0;
}

/* Asks for the next kind of sockets. */
static int ask(const struct sl_sock_reader *reader)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 body;
	} request = {
		.header = { .nlmsg_len = sizeof(request),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.body = { .sdiag_family = dumps[reader->dump].family,
			.sdiag_protocol = dumps[reader->dump].protocol,
			/* The class comes with the traffic class. */
			.idiag_ext = 1 << (INET_DIAG_INFO - 1) | 1 << (INET_DIAG_TCLASS - 1),
			.idiag_states = STATES_ALL },
	};

	if (send(reader->fd, &request, sizeof(request), 0) == (ssize_t)sizeof(request))
		return 0;
	return -errno;
}

/* One answer's messages. 1: it was the last. */
static int read_messages(const struct sl_sock_reader *reader, int len)
{
	struct nlmsghdr *message = (struct nlmsghdr *)reader->buffer;
	int err;

	for (; NLMSG_OK(message, len); message = NLMSG_NEXT(message, len)) {
		/* A kernel without the family or protocol has none of its sockets. */
		if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR)
			return 1;
		if (message->nlmsg_type != SOCK_DIAG_BY_FAMILY)
			continue;
		err = read_sock(reader->table, message, dumps[reader->dump].protocol);
		if (err)
			return err;
	}
	return 0;
}

static bool read_syncookies(void)
{
	int fd = open("/proc/sys/net/ipv4/tcp_syncookies", O_RDONLY | O_CLOEXEC);
	char value = '1';

	if (fd < 0)
		return true;
	if (read(fd, &value, 1) != 1)
		value = '1';
	close(fd);
	return value != '0';
}

int sl_sock_read_begin(struct sl_sock_reader *reader, uint32_t expected)
{
	int err = -ENOMEM;

	*reader = (struct sl_sock_reader){ 0 };
	reader->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (reader->fd < 0)
		return -errno;
	reader->buffer = malloc(BUFFER);
	reader->table = sl_sock_table_new(expected);
	if (reader->buffer && reader->table)
		err = ask(reader);
	if (err) {
		close(reader->fd);
		free(reader->buffer);
		sl_sock_table_free(reader->table);
		reader->table = NULL;
		return err;
	}
	reader->table->syncookies = read_syncookies();
	return 0;
}

void sl_sock_read_end(struct sl_sock_reader *reader)
{
	if (!reader->table)
		return;
	close(reader->fd);
	free(reader->buffer);
	sl_sock_table_free(reader->table);
	*reader = (struct sl_sock_reader){ 0 };
}

static int step(struct sl_sock_reader *reader)
{
	ssize_t len;
	int ret;

	if (reader->dump == sl_array_size(dumps))
		return sl_sock_table_index(reader->table, INDEX_STEP);
	len = recv(reader->fd, reader->buffer, BUFFER, 0);
	if (len <= 0)
		return len ? -errno : -EPIPE;
	ret = read_messages(reader, (int)len);
	if (ret < 0)
		return ret;
	if (ret > 0 && ++reader->dump < sl_array_size(dumps))
		return ask(reader) ?: 1;
	return 1;
}

int sl_sock_read_step(struct sl_sock_reader *reader, struct sl_sock_table **ret_table)
{
	int ret = step(reader);

	if (ret > 0)
		return ret;
	if (ret == 0) {
		*ret_table = reader->table;
		reader->table = NULL;
		close(reader->fd);
		free(reader->buffer);
		*reader = (struct sl_sock_reader){ 0 };
		return 0;
	}
	sl_sock_read_end(reader);
	return ret;
}
