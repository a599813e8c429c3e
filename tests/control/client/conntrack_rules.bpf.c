#include "conntrack_kfuncs.h"

/* What programs may do with connections, and what not: each is a row for the verifiers. */

struct opts {
	__s32 netns_id, error;
	__u8 l4proto, dir, reserved[2];
};

#define TUPLE_AND_OPTS                                              \
	struct bpf_sock_tuple tuple = { .ipv4 = { 1, 2, 3, 4 } };   \
	struct opts opts = { .netns_id = -1, .l4proto = 6 };        \
	struct bpf_ct_opts *opts_arg = (struct bpf_ct_opts *)&opts; \
	(void)tuple;                                                \
	(void)opts_arg

#define ALLOC() bpf_skb_ct_alloc(skb, &tuple, sizeof(tuple.ipv4), opts_arg, sizeof(opts))
#define LOOKUP() bpf_skb_ct_lookup(skb, &tuple, sizeof(tuple.ipv4), opts_arg, sizeof(opts))

#define PROGRAM(name, body)             \
	SEC("?tc")                      \
	int name(struct __sk_buff *skb) \
	{                               \
		TUPLE_AND_OPTS;         \
		body return 0;          \
	}

#define WITH_CONN(name, body)                    \
	PROGRAM(name, {                          \
		struct nf_conn *conn = LOOKUP(); \
		if (!conn)                       \
			return 0;                \
		body                             \
	})
#define WITH_INIT(name, body)                          \
	PROGRAM(name, {                                \
		struct nf_conn___init *init = ALLOC(); \
		struct nf_conn *conn;                  \
		(void)conn;                            \
		if (!init)                             \
			return 0;                      \
		body                                   \
	})

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64[16]);
} values SEC(".maps");

__u32 zero;
/* The offset is not the compiler's to know. */
#define AT(pointer, off, type)                            \
	({                                                \
		const char *at = (const char *)(pointer); \
		__u64 off_ = (off);                       \
		asm volatile("" : "+r"(at));              \
		*(volatile type *)(at + off_);            \
	})
#define PUT(pointer, off, type, value)                    \
	({                                                \
		char *at = (char *)(pointer);             \
		asm volatile("" : "+r"(at));              \
		*(volatile type *)(at + (off)) = (value); \
	})

/* References. */
WITH_CONN(released, { bpf_ct_release(conn); })
WITH_CONN(leaked, {})
WITH_CONN(released_twice, {
	bpf_ct_release(conn);
	bpf_ct_release(conn);
})
WITH_CONN(read_when_released, {
	bpf_ct_release(conn);
	zero = conn->mark;
})
WITH_INIT(init_leaked, {})
WITH_INIT(init_released, { bpf_ct_release((struct nf_conn *)init); })
WITH_INIT(inserted_and_leaked, { conn = bpf_ct_insert_entry(init); })
WITH_INIT(inserted, {
	conn = bpf_ct_insert_entry(init);
	if (conn)
		bpf_ct_release(conn);
})
WITH_INIT(inserted_twice, {
	conn = bpf_ct_insert_entry(init);
	if (conn)
		bpf_ct_release(conn);
	bpf_ct_insert_entry(init);
})
WITH_INIT(init_read_when_inserted, {
	conn = bpf_ct_insert_entry(init);
	zero = ((struct nf_conn *)init)->mark;
	if (conn)
		bpf_ct_release(conn);
})
WITH_CONN(inserted_when_found, { bpf_ct_insert_entry((struct nf_conn___init *)conn); })
PROGRAM(released_unchecked, { bpf_ct_release(LOOKUP()); })
PROGRAM(inserted_unchecked, { bpf_ct_insert_entry(ALLOC()); })
PROGRAM(read_unchecked, {
	struct nf_conn *conn = LOOKUP();
	zero = conn->mark;
})
PROGRAM(released_null, { bpf_ct_release(0); })
PROGRAM(released_stack, { bpf_ct_release((struct nf_conn *)&tuple); })
PROGRAM(released_number, { bpf_ct_release((struct nf_conn *)bpf_ktime_get_ns()); })
PROGRAM(released_ctx, { bpf_ct_release((struct nf_conn *)skb); })
WITH_CONN(released_inside, {
	struct nf_conn *moved = conn;
	asm volatile("%0 += 8" : "+r"(moved));
	bpf_ct_release(moved);
})
WITH_CONN(released_somewhere, {
	struct nf_conn *moved = conn;
	__u64 by = bpf_get_prandom_u32() & 8;
	asm volatile("%0 += %1" : "+r"(moved) : "r"(by));
	bpf_ct_release(moved);
})
PROGRAM(two_at_once, {
	struct nf_conn *a = LOOKUP();
	struct nf_conn *b = LOOKUP();
	if (a)
		bpf_ct_release(a);
	if (b)
		bpf_ct_release(b);
})
PROGRAM(compared, {
	struct nf_conn *a = LOOKUP();
	struct nf_conn *b;
	if (!a)
		return 0;
	b = LOOKUP();
	if (b)
		bpf_ct_release(b);
	if (a == b)
		zero = 1;
	bpf_ct_release(a);
})
PROGRAM(in_a_loop, {
	for (int i = 0; i < 10; i++) {
		struct nf_conn *conn = LOOKUP();
		if (!conn)
			continue;
		zero += conn->mark;
		bpf_ct_release(conn);
	}
})

/* Which one a function takes. */
WITH_CONN(set_timeout_when_found, {
	bpf_ct_set_timeout((struct nf_conn___init *)conn, 1);
	bpf_ct_release(conn);
})
WITH_CONN(set_status_when_found, {
	bpf_ct_set_status((struct nf_conn___init *)conn, 1);
	bpf_ct_release(conn);
})
WITH_CONN(set_nat_when_found, {
	bpf_ct_set_nat_info((struct nf_conn___init *)conn, (union nf_inet_addr *)&tuple, 1, 0);
	bpf_ct_release(conn);
})
WITH_INIT(change_timeout_of_init, {
	bpf_ct_change_timeout((struct nf_conn *)init, 1);
	bpf_ct_insert_entry(init);
})
WITH_INIT(change_status_of_init, {
	bpf_ct_change_status((struct nf_conn *)init, 1);
	bpf_ct_insert_entry(init);
})
WITH_INIT(nat_of_short_address, {
	__u32 *address = bpf_map_lookup_elem(&values, &zero);
	if (address)
		bpf_ct_set_nat_info(init, (union nf_inet_addr *)(address + 29), 1, 0);
	conn = bpf_ct_insert_entry(init);
	if (conn)
		bpf_ct_release(conn);
})
WITH_INIT(nat_of_no_address, {
	bpf_ct_set_nat_info(init, 0, 1, 0);
	conn = bpf_ct_insert_entry(init);
	if (conn)
		bpf_ct_release(conn);
})
WITH_INIT(timeout_of_pointer, {
	bpf_ct_set_timeout(init, (__u32)(long)&tuple);
	conn = bpf_ct_insert_entry(init);
	if (conn)
		bpf_ct_release(conn);
})
WITH_INIT(all_that_may_be_set, {
	bpf_ct_set_timeout(init, 1);
	bpf_ct_set_status(init, 2);
	((struct nf_conn *)init)->mark = 3;
	zero = ((struct nf_conn *)init)->timeout;
	conn = bpf_ct_insert_entry(init);
	if (!conn)
		return 0;
	bpf_ct_change_timeout(conn, 1);
	bpf_ct_change_status(conn, 10);
	conn->mark++;
	bpf_ct_release(conn);
})

/* Memory and its length. */
#define CALL_LOOKUP(...)                                       \
	struct nf_conn *conn = bpf_skb_ct_lookup(__VA_ARGS__); \
	if (conn)                                              \
	bpf_ct_release(conn)
PROGRAM(no_tuple, { CALL_LOOKUP(skb, 0, 0, opts_arg, sizeof(opts)); })
PROGRAM(no_tuple_but_a_size, { CALL_LOOKUP(skb, 0, 12, opts_arg, sizeof(opts)); })
PROGRAM(no_opts, { CALL_LOOKUP(skb, &tuple, 12, 0, 0); })
PROGRAM(size_beyond, { CALL_LOOKUP(skb, &tuple, 12, opts_arg, 200); })
PROGRAM(size_negative, { CALL_LOOKUP(skb, &tuple, -1, opts_arg, sizeof(opts)); })
PROGRAM(size_unknown, { CALL_LOOKUP(skb, &tuple, skb->len, opts_arg, sizeof(opts)); })
PROGRAM(size_in_range, { CALL_LOOKUP(skb, &tuple, skb->len & 31, opts_arg, sizeof(opts)); })
PROGRAM(size_in_range_beyond, {
	__u8 *value = bpf_map_lookup_elem(&values, &zero);
	if (value) {
		CALL_LOOKUP(skb, (void *)value, skb->len & 255, opts_arg, sizeof(opts));
	}
})
PROGRAM(tuple_in_map, {
	__u8 *value = bpf_map_lookup_elem(&values, &zero);
	if (value) {
		CALL_LOOKUP(skb, (void *)value, 36, (void *)(value + 36), 12);
	}
})
PROGRAM(tuple_or_null, { CALL_LOOKUP(skb, bpf_map_lookup_elem(&values, &zero), 36, opts_arg, 12); })
PROGRAM(opts_or_null, { CALL_LOOKUP(skb, &tuple, 12, bpf_map_lookup_elem(&values, &zero), 12); })
PROGRAM(opts_in_ctx, { CALL_LOOKUP(skb, &tuple, 12, (struct bpf_ct_opts *)skb, 12); })
PROGRAM(not_a_context, { CALL_LOOKUP((struct __sk_buff *)&tuple, &tuple, 12, opts_arg, 12); })
PROGRAM(context_of_xdp, {
	struct nf_conn *conn =
		bpf_xdp_ct_lookup((struct xdp_md *)skb, &tuple, 12, opts_arg, sizeof(opts));
	if (conn)
		bpf_ct_release(conn);
})

/* Reads and writes. */
#define READ(name, off, type)                      \
	WITH_CONN(name, {                          \
		zero = (__u32)AT(conn, off, type); \
		bpf_ct_release(conn);              \
	})
#define WRITE(name, off, type)           \
	WITH_CONN(name, {                \
		PUT(conn, off, type, 1); \
		bpf_ct_release(conn);    \
	})
/* BPF_FIELD_BYTE_OFFSET */
#define MARK __builtin_preserve_field_info(conn->mark, 0)

READ(read_first, 0, __u32)
READ(read_first_two, 0, __u64)
READ(read_byte_of_first, 3, __u8)
READ(read_across, 2, __u32)
READ(read_timeout_half, 8, __u16)
READ(read_zone, 12, __u16)
READ(read_zone_as_one, 12, __u32)
READ(read_link, 16, __u64)
READ(read_half_link, 16, __u32)
READ(read_second_link, 24, __u64)
READ(read_address, 32, __u64)
READ(read_address_word, 36, __u32)
READ(read_address_across, 46, __u32)
READ(read_port, 48, __u16)
READ(read_port_and_more, 48, __u32)
READ(read_second_tuple, 88, __u32)
READ(read_second_links, 72, __u64)
READ(read_status, 128, __u64)
READ(read_status_half, 132, __u32)
READ(read_net, 136, __u64)
READ(read_net_half, 136, __u32)
READ(read_master, 160, __u64)
READ(read_last, 240, __u64)
READ(read_last_byte, 247, __u8)
READ(read_past_end, 248, __u8)
READ(read_across_end, 244, __u64)
READ(read_far_away, 4096, __u32)
READ(read_before, -4, __u32)
READ(read_hole, 4, __u32)
WITH_CONN(read_somewhere, {
	const char *at = (const char *)conn;
	__u64 by = bpf_get_prandom_u32() & 8;
	asm volatile("%0 += %1" : "+r"(at) : "r"(by));
	zero = *(volatile __u32 *)at;
	bpf_ct_release(conn);
})
WRITE(write_status, 128, __u64)
WRITE(write_timeout, 8, __u32)
WRITE(write_first, 0, __u32)
WRITE(write_before, -4, __u32)
WRITE(write_past_end, 248, __u32)
WRITE(write_mark, MARK, __u32)
WRITE(write_mark_byte, MARK, __u8)
WRITE(write_mark_inside, MARK + 1, __u8)
WRITE(write_mark_and_more, MARK, __u64)
WITH_CONN(add_to_mark, {
	__sync_fetch_and_add(&conn->mark, 1);
	bpf_ct_release(conn);
})
WITH_CONN(add_to_status, {
	__sync_fetch_and_add(&conn->status, 1);
	bpf_ct_release(conn);
})
WITH_CONN(one_insn_two_kinds, {
	struct nf_conn *from = conn;
	if (skb->len & 1)
		from = (struct nf_conn *)&tuple;
	asm volatile("" : "+r"(from));
	zero = from->mark;
	bpf_ct_release(conn);
})
WITH_CONN(as_a_helpers_memory, {
	bpf_map_update_elem(&values, &zero, conn, 0);
	bpf_ct_release(conn);
})
WITH_CONN(as_a_key, {
	bpf_map_lookup_elem(&values, conn);
	bpf_ct_release(conn);
})
WITH_CONN(kept_on_the_stack, {
	struct nf_conn *volatile kept = conn;
	zero = bpf_get_prandom_u32();
	zero += kept->mark;
	bpf_ct_release(kept);
})
WITH_CONN(kept_in_a_map, {
	__u64 *value = bpf_map_lookup_elem(&values, &zero);
	if (value)
		*value = (__u64)conn;
	bpf_ct_release(conn);
})

static __noinline int mark_of(struct nf_conn *conn)
{
	return conn ? conn->mark : 0;
}
WITH_CONN(read_by_function, {
	zero = mark_of(conn);
	bpf_ct_release(conn);
})

char _license[] SEC("license") = "GPL";
