#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

/* The kernel functions on connections, and as much of their types as programs here use. */

struct nf_conntrack_tuple {
	__u8 bytes[40];
};

/* Its size is the kernel's: steps in an array of them are not relocated. */
struct nf_conntrack_tuple_hash {
	void *hnnode[2];
	struct nf_conntrack_tuple tuple;
} __attribute__((preserve_access_index));

struct nf_conntrack_zone {
	__u16 id;
	__u8 flags, dir;
} __attribute__((preserve_access_index));

struct nf_conntrack {
	__u32 use;
};

struct nf_conn {
	struct nf_conntrack ct_general;
	__u32 timeout;
	struct nf_conntrack_zone zone;
	struct nf_conntrack_tuple_hash tuplehash[2];
	unsigned long status;
	__u32 mark;
} __attribute__((preserve_access_index));

/* To the loader this name means struct nf_conn as well, which it is. */
struct nf_conn___init {
	__u32 use;
};

struct bpf_ct_opts {
	__s32 netns_id;
};
union nf_inet_addr {
	__u32 all[4];
};
enum nf_nat_manip_type { NF_NAT_MANIP_SRC, NF_NAT_MANIP_DST };

extern struct nf_conn___init *bpf_skb_ct_alloc(struct __sk_buff *skb, struct bpf_sock_tuple *tuple,
	__u32 tuple_size, struct bpf_ct_opts *opts, __u32 opts_size) __ksym;
extern struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *skb, struct bpf_sock_tuple *tuple,
	__u32 tuple_size, struct bpf_ct_opts *opts, __u32 opts_size) __ksym;
extern struct nf_conn___init *bpf_xdp_ct_alloc(struct xdp_md *xdp, struct bpf_sock_tuple *tuple,
	__u32 tuple_size, struct bpf_ct_opts *opts, __u32 opts_size) __ksym;
extern struct nf_conn *bpf_xdp_ct_lookup(struct xdp_md *xdp, struct bpf_sock_tuple *tuple,
	__u32 tuple_size, struct bpf_ct_opts *opts, __u32 opts_size) __ksym;
extern struct nf_conn *bpf_ct_insert_entry(struct nf_conn___init *conn) __ksym;
extern void bpf_ct_release(struct nf_conn *conn) __ksym;
extern void bpf_ct_set_timeout(struct nf_conn___init *conn, __u32 ms) __ksym;
extern int bpf_ct_change_timeout(struct nf_conn *conn, __u32 ms) __ksym;
extern int bpf_ct_set_status(const struct nf_conn___init *conn, __u32 status) __ksym;
extern int bpf_ct_change_status(struct nf_conn *conn, __u32 status) __ksym;
extern int bpf_ct_set_nat_info(struct nf_conn___init *conn, union nf_inet_addr *addr, int port,
	enum nf_nat_manip_type manip) __ksym;
