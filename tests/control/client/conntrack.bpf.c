#include <stdbool.h>

#include "conntrack.bpf.h"
#include "conntrack_kfuncs.h"

/* One connection's way through the kernel functions, as the request says. */

struct conntrack_request request;
struct conntrack_answer answer;

static __always_inline void see(const struct nf_conn *conn, struct conntrack_seen *seen)
{
	seen->status = conn->status;
	seen->mark = conn->mark;
	seen->timeout = conn->timeout - (__u32)bpf_jiffies64();
	seen->use = *(volatile const __u32 *)conn;
	seen->zone_id = conn->zone.id;
	seen->zone_dir = conn->zone.dir;
	seen->zone_flags = conn->zone.flags;
	for (int dir = 0; dir < 2; dir++) {
		const char *from = (const char *)&conn->tuplehash[dir].tuple;
		__u8 *to = seen->tuples[dir];

#pragma clang loop unroll(full)
		for (int i = 0; i < 4; i++) {
			((__u32 *)to)[i] = *(volatile const __u32 *)(from + i * 4);
			((__u32 *)(to + 20))[i] = *(volatile const __u32 *)(from + 20 + i * 4);
		}
		((__u16 *)to)[8] = *(volatile const __u16 *)(from + 16);
		((__u16 *)to)[9] = *(volatile const __u16 *)(from + 18);
		((__u16 *)to)[18] = *(volatile const __u16 *)(from + 36);
		to[38] = *(volatile const __u8 *)(from + 38);
		to[39] = *(volatile const __u8 *)(from + 39);
	}
}

static __always_inline struct nf_conn *insert(struct nf_conn___init *init)
{
	struct conntrack_request *r = &request;

	if (r->steps & STEP_SET_TIMEOUT)
		bpf_ct_set_timeout(init, r->timeout_ms);
	if (r->steps & STEP_SET_STATUS)
		answer.set_status = bpf_ct_set_status(init, r->status);
	if (r->steps & STEP_MARK)
		((struct nf_conn *)init)->mark = r->mark;
	if (r->steps & STEP_SOURCE)
		answer.source = bpf_ct_set_nat_info(init, (union nf_inet_addr *)r->source,
			(int)r->source_port, NF_NAT_MANIP_SRC);
	if (r->steps & STEP_DESTINATION)
		answer.destination = bpf_ct_set_nat_info(init, (union nf_inet_addr *)r->destination,
			(int)r->destination_port, NF_NAT_MANIP_DST);
	see((struct nf_conn *)init, &answer.before);
	return bpf_ct_insert_entry(init);
}

static __always_inline int go(void *ctx, bool is_xdp)
{
	struct conntrack_request *r = &request;
	struct bpf_ct_opts *opts = (struct bpf_ct_opts *)&answer.opts;
	struct bpf_sock_tuple *tuple = (struct bpf_sock_tuple *)r->tuple;
	__u32 tuple_size = r->tuple_size, opts_size = r->opts_size;
	struct nf_conn___init *init;
	struct nf_conn *conn, *again;

	if (tuple_size > sizeof(r->tuple) || opts_size > sizeof(answer.opts))
		return -1;
	answer.opts = r->opts;
	if (r->steps & STEP_NO_TUPLE) {
		conn = is_xdp ? bpf_xdp_ct_lookup(ctx, NULL, 0, opts, opts_size)
			      : bpf_skb_ct_lookup(ctx, NULL, 0, opts, opts_size);
	} else if (r->steps & STEP_ALLOC) {
		init = is_xdp ? bpf_xdp_ct_alloc(ctx, tuple, tuple_size, opts, opts_size)
			      : bpf_skb_ct_alloc(ctx, tuple, tuple_size, opts, opts_size);
		if (!init)
			return 0;
		answer.found = 1;
		conn = insert(init);
		answer.inserted = conn != NULL;
	} else {
		conn = is_xdp ? bpf_xdp_ct_lookup(ctx, tuple, tuple_size, opts, opts_size)
			      : bpf_skb_ct_lookup(ctx, tuple, tuple_size, opts, opts_size);
		answer.found = conn != NULL;
	}
	if (!conn)
		return 0;
	if (r->steps & STEP_CHANGE_TIMEOUT)
		answer.change_timeout = bpf_ct_change_timeout(conn, r->new_timeout_ms);
	if (r->steps & STEP_CHANGE_STATUS)
		answer.change_status = bpf_ct_change_status(conn, r->new_status);
	if (r->steps & STEP_MARK)
		conn->mark += r->mark;
	if (r->steps & STEP_LOOKUP_AGAIN) {
		again = is_xdp ? bpf_xdp_ct_lookup(ctx, tuple, tuple_size, opts, opts_size)
			       : bpf_skb_ct_lookup(ctx, tuple, tuple_size, opts, opts_size);
		if (again) {
			answer.found_again = again == conn ? 1 : 2;
			see(again, &answer.after);
			bpf_ct_release(again);
		}
	} else {
		see(conn, &answer.after);
	}
	bpf_ct_release(conn);
	return 0;
}

SEC("tc")
int on_skb(struct __sk_buff *skb)
{
	return go(skb, false);
}

SEC("xdp")
int on_xdp(struct xdp_md *xdp)
{
	return go(xdp, true);
}

char _license[] SEC("license") = "GPL";
