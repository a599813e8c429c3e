#include <bpf/btf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <string.h>
#include <unistd.h>

#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>
#include <sluice/bpf.h>

#include "bed.h"
#include "defs.h"
#include "port.h"
#include "test.h"

/*
 * Real programs at ports: packets of several segments, and what a device notes of packets beside
 * their bytes. A program leaves its results in an array of 64-bit values.
 */

#define F_XDP_DEV_BOUND_ONLY (1U << 6)
#define RESULTS 8
#define INSNS_MAX 128

#define INSN(code, dst, src, off, imm) ((struct bpf_insn){ code, dst, src, off, imm })
#define MOV(dst, imm) INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm)
#define MOVX(dst, src) INSN(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define ADD(dst, imm) INSN(BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, imm)
#define ST(size, dst, off, imm) INSN(BPF_ST | BPF_MEM | (size), dst, 0, off, imm)
#define STX(size, dst, src, off) INSN(BPF_STX | BPF_MEM | (size), dst, src, off, 0)
#define LDX(size, dst, src, off) INSN(BPF_LDX | BPF_MEM | (size), dst, src, off, 0)
#define CALL(id) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, id)
#define KFUNC(id) INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, id)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

static struct bed bed;
static int results_map;

static int bpf(int cmd, union bpf_attr *attr)
{
	long ret = sluice_bpf(cmd, attr, sizeof(*attr));

	return ret < 0 ? -errno : (int)ret;
}

static int results_new(void)
{
	union bpf_attr attr = { .map_type = BPF_MAP_TYPE_ARRAY };

	attr.key_size = 4;
	attr.value_size = 8 * RESULTS;
	attr.max_entries = 1;
	return bpf(BPF_MAP_CREATE, &attr);
}

static void results_read(uint64_t *results)
{
	union bpf_attr attr;
	uint32_t key = 0;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)results_map;
	attr.key = (uintptr_t)&key;
	attr.value = (uintptr_t)results;
	EXPECT_EQ(bpf(BPF_MAP_LOOKUP_ELEM, &attr), 0);
}

struct program {
	struct bpf_insn insns[INSNS_MAX];
	uint32_t count;
};

static void add(struct program *p, struct bpf_insn insn)
{
	p->insns[p->count++] = insn;
}

/* R6 is the context, R7 the results. */
static void begin(struct program *p)
{
	p->count = 0;
	add(p, MOVX(6, 1));
	add(p, ST(BPF_DW, 10, -8, 0));
	add(p, MOVX(2, 10));
	add(p, ADD(2, -8));
	add(p, INSN(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, results_map));
	add(p, INSN(0, 0, 0, 0, 0));
	add(p, CALL(BPF_FUNC_map_lookup_elem));
	add(p, INSN(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 1, 0));
	add(p, EXIT);
	add(p, MOVX(7, 0));
}

static int load(const struct program *p, uint32_t type, uint32_t flags, uint32_t ifindex)
{
	union bpf_attr attr = { .prog_type = type };

	attr.insns = (uintptr_t)p->insns;
	attr.insn_cnt = p->count;
	attr.license = (uintptr_t)"GPL";
	attr.prog_flags = flags;
	attr.prog_ifindex = ifindex;
	return bpf(BPF_PROG_LOAD, &attr);
}

static int load_and_attach(
	const struct program *p, const struct ring_port *port, uint32_t flags, uint32_t ifindex)
{
	int fd = load(p, BPF_PROG_TYPE_XDP, flags, ifindex), err;

	EXPECT_GE(fd, 0);
	err = sluice_xdp_attach(port->ifindex, fd, -1, 0);
	close(fd);
	return err;
}

/* ---- several segments ---- */

/* `pieces` segments of `len` bytes each; byte i of the packet is i, behind an Ethernet header. */
static void send_pieces(unsigned pieces, unsigned len)
{
	uint64_t before = counter_of(&bed.a, SLUICE_RX);
	struct rte_mbuf *first = NULL;
	uint8_t bytes[2048];

	for (unsigned i = 0; i < pieces; i++) {
		struct rte_mbuf *m;

		for (unsigned j = 0; j < len; j++)
			bytes[j] = (uint8_t)(i * len + j);
		if (i == 0)
			memcpy(bytes, frame_of(0, 0).bytes, PAYLOAD);
		m = ring_new_frame(bytes, len);
		if (!first)
			first = m;
		else
			rte_pktmbuf_chain(first, m);
	}
	ring_send_mbuf(&bed.a, first);
	settle(&bed.a, before + 1);
}

/* Length, first segment's length, bytes across the cut; and two bytes written across it. */
static void measure(struct program *p, unsigned cut, int verdict)
{
	begin(p);
	add(p, MOVX(1, 6));
	add(p, CALL(BPF_FUNC_xdp_get_buff_len));
	add(p, STX(BPF_DW, 7, 0, 0));
	add(p, LDX(BPF_W, 1, 6, offsetof(struct xdp_md, data_end)));
	add(p, LDX(BPF_W, 2, 6, offsetof(struct xdp_md, data)));
	add(p, INSN(BPF_ALU64 | BPF_SUB | BPF_X, 1, 2, 0, 0));
	add(p, STX(BPF_DW, 7, 1, 8));
	add(p, MOVX(1, 6));
	add(p, MOV(2, (int)cut - 4));
	add(p, MOVX(3, 7));
	add(p, ADD(3, 16));
	add(p, MOV(4, 8));
	add(p, CALL(BPF_FUNC_xdp_load_bytes));
	add(p, ST(BPF_DW, 10, -8, 0x55aa));
	add(p, MOVX(1, 6));
	add(p, MOV(2, (int)cut - 1));
	add(p, MOVX(3, 10));
	add(p, ADD(3, -8));
	add(p, MOV(4, 2));
	add(p, CALL(BPF_FUNC_xdp_store_bytes));
	add(p, MOV(0, verdict));
	add(p, EXIT);
}

TEST(segments, reach_programs_that_know_of_them)
{
	uint64_t results[RESULTS];
	uint8_t frame[RING_FRAME_MAX];
	struct program p;

	ASSERT_TRUE(bed_open(&bed, 1));
	results_map = results_new();
	measure(&p, 100, XDP_TX);
	EXPECT_EQ(load_and_attach(&p, &bed.a, BPF_F_XDP_HAS_FRAGS, 0), 0);
	send_pieces(2, 100);
	results_read(results);
	EXPECT_EQ(results[0], 200);
	EXPECT_EQ(results[1], 100);
	EXPECT_EQ(((uint8_t *)&results[2])[0], 96);
	EXPECT_EQ(((uint8_t *)&results[2])[7], 103);
	EXPECT_EQ(ring_receive(&bed.a, frame), 200);
	EXPECT_EQ(frame[99], 0xaa);
	EXPECT_EQ(frame[100], 0x55);
	EXPECT_EQ(frame[199], 199);
	close(results_map);
	bed_close(&bed);
}

TEST(segments, are_joined_for_those_that_do_not)
{
	uint64_t results[RESULTS];
	struct program p;

	ASSERT_TRUE(bed_open(&bed, 1));
	results_map = results_new();
	measure(&p, 100, XDP_PASS);
	EXPECT_EQ(load_and_attach(&p, &bed.a, 0, 0), 0);
	send_pieces(3, 100);
	results_read(results);
	EXPECT_EQ(results[0], 300);
	EXPECT_EQ(results[1], 300);
	EXPECT_EQ(counter_of(&bed.a, SLUICE_XDP_FRAGS), 0);
	/* More than the first one's buffer holds. */
	send_pieces(4, 1000);
	EXPECT_EQ(counter_of(&bed.a, SLUICE_XDP_FRAGS), 1);
	EXPECT_EQ(counter_of(&bed.a, SLUICE_XDP_PASS), 1);
	close(results_map);
	bed_close(&bed);
}

/* Grown, shrunk and pulled, and then out of the other port. */
TEST(segments, move_their_end)
{
	static const int by[] = { 50, -60, -140 };
	uint8_t frame[RING_FRAME_MAX];
	struct program p;

	ASSERT_TRUE(bed_open(&bed, 1));
	for (unsigned i = 0; i < sl_array_size(by); i++) {
		p.count = 0;
		add(&p, MOVX(6, 1));
		add(&p, MOV(2, by[i]));
		add(&p, CALL(BPF_FUNC_xdp_adjust_tail));
		add(&p, MOV(1, (int)bed.b.ifindex));
		add(&p, MOV(2, 0));
		add(&p, CALL(BPF_FUNC_redirect));
		add(&p, EXIT);
		EXPECT_EQ(load_and_attach(&p, &bed.a, BPF_F_XDP_HAS_FRAGS, 0), 0);
		send_pieces(2, 100);
		EXPECT_EQ(ring_receive(&bed.b, frame), 200 + (uint32_t)by[i]);
		if (by[i] > 0)
			EXPECT_EQ(frame[200], 0);
	}
	bed_close(&bed);
}

/* As a driver that knows of one segment needs them, or not at all. */
TEST(segments, are_joined_for_drivers_that_do_not)
{
	uint8_t frame[RING_FRAME_MAX];
	struct program p;

	ASSERT_TRUE(bed_open(&bed, 1));
	EXPECT_TRUE(sl_port_peek(bed.a.ifindex)->sends_segments);
	sl_port_peek(bed.a.ifindex)->sends_segments = false;
	p.count = 0;
	add(&p, MOV(0, XDP_TX));
	add(&p, EXIT);
	EXPECT_EQ(load_and_attach(&p, &bed.a, BPF_F_XDP_HAS_FRAGS, 0), 0);
	send_pieces(2, 100);
	EXPECT_EQ(ring_receive(&bed.a, frame), 200);
	EXPECT_EQ(frame[100], 100);
	EXPECT_EQ(counter_of(&bed.a, SLUICE_NO_ROOM), 0);
	send_pieces(4, 1000);
	EXPECT_EQ(counter_of(&bed.a, SLUICE_NO_ROOM), 1);
	EXPECT_EQ(counter_of(&bed.a, SLUICE_TX), 1);
	bed_close(&bed);
}

/* ---- metadata ---- */

/* Eight bytes in front of the packet, from a constant. */
static void put_metadata(struct program *p)
{
	begin(p);
	add(p, MOVX(1, 6));
	add(p, MOV(2, -8));
	add(p, CALL(BPF_FUNC_xdp_adjust_meta));
	add(p, LDX(BPF_W, 1, 6, offsetof(struct xdp_md, data_meta)));
	add(p, LDX(BPF_W, 2, 6, offsetof(struct xdp_md, data)));
	add(p, MOVX(3, 1));
	add(p, ADD(3, 8));
	add(p, INSN(BPF_JMP | BPF_JGT | BPF_X, 3, 2, 1, 0));
	add(p, ST(BPF_DW, 1, 0, 0x11223344));
	add(p, MOV(0, XDP_PASS));
	add(p, EXIT);
}

/* Results: its size, then itself, changed by the dynptr to what R6's data_meta shows. */
static void get_metadata(struct program *p, int from_skb_meta, int size)
{
	begin(p);
	add(p, MOVX(1, 6));
	add(p, MOV(2, 0));
	add(p, MOVX(3, 10));
	add(p, ADD(3, -24));
	add(p, KFUNC(from_skb_meta));
	add(p, MOVX(1, 10));
	add(p, ADD(1, -24));
	add(p, KFUNC(size));
	add(p, STX(BPF_DW, 7, 0, 0));
	add(p, MOVX(1, 7));
	add(p, ADD(1, 8));
	add(p, MOV(2, 8));
	add(p, MOVX(3, 10));
	add(p, ADD(3, -24));
	add(p, MOV(4, 0));
	add(p, MOV(5, 0));
	add(p, CALL(BPF_FUNC_dynptr_read));
	add(p, ST(BPF_DW, 10, -8, 0x55667788));
	add(p, MOVX(1, 10));
	add(p, ADD(1, -24));
	add(p, MOV(2, 0));
	add(p, MOVX(3, 10));
	add(p, ADD(3, -8));
	add(p, MOV(4, 8));
	add(p, MOV(5, 0));
	add(p, CALL(BPF_FUNC_dynptr_write));
	add(p, LDX(BPF_W, 1, 6, offsetof(struct __sk_buff, data_meta)));
	add(p, LDX(BPF_W, 2, 6, offsetof(struct __sk_buff, data)));
	add(p, MOVX(3, 1));
	add(p, ADD(3, 8));
	add(p, INSN(BPF_JMP | BPF_JGT | BPF_X, 3, 2, 2, 0));
	add(p, LDX(BPF_DW, 1, 1, 0));
	add(p, STX(BPF_DW, 7, 1, 16));
	add(p, MOV(0, 0));
	add(p, EXIT);
}

TEST(metadata, goes_from_xdp_to_tc)
{
	struct btf *btf = btf__parse("/sys/kernel/btf/vmlinux", NULL);
	struct sluice_tc_filter filter = { .direct_action = true };
	uint64_t results[RESULTS];
	int from, size;
	struct program p;

	if (!btf)
		SKIP("the kernel does not show its BTF");
	from = btf__find_by_name_kind(btf, "bpf_dynptr_from_skb_meta", BTF_KIND_FUNC);
	size = btf__find_by_name_kind(btf, "bpf_dynptr_size", BTF_KIND_FUNC);
	btf__free(btf);
	if (from <= 0)
		SKIP("the kernel has no dynptr of metadata");
	ASSERT_TRUE(bed_open(&bed, 1));
	results_map = results_new();
	put_metadata(&p);
	EXPECT_EQ(load_and_attach(&p, &bed.a, 0, 0), 0);
	get_metadata(&p, from, size);
	filter.prog_fd = load(&p, BPF_PROG_TYPE_SCHED_CLS, 0, 0);
	EXPECT_GE(filter.prog_fd, 0);
	EXPECT_EQ(sluice_tc_add(bed.a.ifindex, SLUICE_TC_INGRESS, &filter, 0), 0);
	close(filter.prog_fd);
	send_one(&bed, frame_of(0, 0));
	results_read(results);
	EXPECT_EQ(results[0], 8);
	EXPECT_EQ(results[1], 0x11223344);
	EXPECT_EQ(results[2], 0x55667788);
	close(results_map);
	bed_close(&bed);
}

/* ---- what the device notes ---- */

enum { TIMESTAMP, HASH, VLAN, KFUNCS };

static const char *const kfunc_names[KFUNCS] = {
	"bpf_xdp_metadata_rx_timestamp",
	"bpf_xdp_metadata_rx_hash",
	"bpf_xdp_metadata_rx_vlan_tag",
};

static int kfuncs[KFUNCS];

static bool find_kfuncs(void)
{
	struct btf *btf = btf__parse("/sys/kernel/btf/vmlinux", NULL);

	for (unsigned i = 0; btf && i < KFUNCS; i++)
		kfuncs[i] = btf__find_by_name_kind(btf, kfunc_names[i], BTF_KIND_FUNC);
	btf__free(btf);
	return kfuncs[VLAN] > 0;
}

/* Results: each function's and its values. */
static void ask_for_all(struct program *p)
{
	begin(p);
	for (int i = 0; i < KFUNCS; i++) {
		add(p, MOVX(1, 6));
		add(p, MOVX(2, 7));
		add(p, ADD(2, 8 * 2 * i + 8));
		add(p, MOVX(3, 7));
		add(p, ADD(3, 8 * 2 * i + 12));
		add(p, KFUNC(kfuncs[i]));
		add(p, STX(BPF_DW, 7, 0, (int16_t)(8 * 2 * i)));
	}
	add(p, MOV(0, XDP_DROP));
	add(p, EXIT);
}

static void send_noted(uint64_t flags, bool stamped)
{
	static const struct rte_mbuf_dynfield field = {
		.name = RTE_MBUF_DYNFIELD_TIMESTAMP_NAME,
		.size = sizeof(rte_mbuf_timestamp_t),
		.align = __alignof__(rte_mbuf_timestamp_t),
	};
	uint64_t before = counter_of(&bed.a, SLUICE_RX);
	struct rte_mbuf *m = ring_new_frame(frame_of(0, 0).bytes, FRAME);
	int offset = rte_mbuf_dynfield_register(&field);
	int bit = rte_mbuf_dynflag_lookup(RTE_MBUF_DYNFLAG_RX_TIMESTAMP_NAME, NULL);

	ASSERT_GE(offset, 0);
	ASSERT_GE(bit, 0);
	*RTE_MBUF_DYNFIELD(m, offset, uint64_t *) = 0x123456789abcdef;
	m->ol_flags |= flags | (stamped ? 1ULL << bit : 0);
	m->hash.rss = 0xdeadbeef;
	m->packet_type = RTE_PTYPE_L2_ETHER | RTE_PTYPE_L3_IPV6_EXT | RTE_PTYPE_L4_UDP;
	m->vlan_tci = 0x6123;
	ring_send_mbuf(&bed.a, m);
	settle(&bed.a, before + 1);
}

TEST(hints, are_what_the_mbuf_says)
{
	uint64_t r[RESULTS];
	struct program p;

	if (!find_kfuncs())
		SKIP("the kernel does not show its BTF");
	ASSERT_TRUE(bed_open(&bed, 1));
	results_map = results_new();
	ask_for_all(&p);
	EXPECT_EQ(load_and_attach(&p, &bed.a, F_XDP_DEV_BOUND_ONLY, bed.a.ifindex), 0);
	send_noted(RTE_MBUF_F_RX_RSS_HASH | RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED, true);
	results_read(r);
	EXPECT_EQ(r[0], 0);
	EXPECT_EQ(r[1], 0x123456789abcdef);
	EXPECT_EQ(r[2], 0);
	/* IPv6 with extension headers, an L4 hash, UDP. */
	EXPECT_EQ(r[3], 0xdeadbeef | (1ULL << 1 | 1 << 2 | 1 << 3 | 1 << 5) << 32);
	EXPECT_EQ(r[4], 0);
	EXPECT_EQ(r[5], RTE_BE16(0x8100) | 0x6123ULL << 32);
	send_noted(0, false);
	results_read(r);
	for (int i = 0; i < KFUNCS; i++)
		EXPECT_EQ((int32_t)r[2 * i], -ENODATA);
	close(results_map);
	bed_close(&bed);
}

TEST(hints, are_for_programs_of_the_device)
{
	struct program p;
	union bpf_attr attr;
	int fd, other;

	if (!find_kfuncs())
		SKIP("the kernel does not show its BTF");
	ASSERT_TRUE(bed_open(&bed, 1));
	results_map = results_new();
	ask_for_all(&p);
	EXPECT_EQ(load(&p, BPF_PROG_TYPE_XDP, 0, 0), -EINVAL);
	EXPECT_EQ(load(&p, BPF_PROG_TYPE_XDP, 0, bed.a.ifindex), -EINVAL);
	EXPECT_EQ(load(&p, BPF_PROG_TYPE_XDP, F_XDP_DEV_BOUND_ONLY, 12345), -EINVAL);
	EXPECT_EQ(load(&p, BPF_PROG_TYPE_SCHED_CLS, F_XDP_DEV_BOUND_ONLY, bed.a.ifindex), -EINVAL);
	fd = load(&p, BPF_PROG_TYPE_XDP, F_XDP_DEV_BOUND_ONLY | BPF_F_XDP_HAS_FRAGS, bed.a.ifindex);
	EXPECT_GE(fd, 0);
	EXPECT_EQ(sluice_xdp_attach(bed.b.ifindex, fd, -1, 0), -EINVAL);
	EXPECT_EQ(sluice_xdp_attach(bed.a.ifindex, fd, -1, XDP_FLAGS_SKB_MODE), -EINVAL);
	EXPECT_EQ(sluice_xdp_attach(bed.a.ifindex, fd, -1, XDP_FLAGS_DRV_MODE), 0);
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)fd;
	attr.test.data_in = (uintptr_t)p.insns;
	attr.test.data_size_in = 64;
	EXPECT_EQ(bpf(BPF_PROG_TEST_RUN, &attr), -EINVAL);
	/* A port that takes the number of one that went is another device. */
	EXPECT_EQ(sluice_xdp_attach(bed.a.ifindex, -1, -1, 0), 0);
	other = (int)bed.a.ifindex;
	bed_close(&bed);
	ASSERT_TRUE(bed_open(&bed, 1));
	EXPECT_EQ(bed.a.ifindex, other);
	EXPECT_EQ(sluice_xdp_attach(bed.a.ifindex, fd, -1, 0), -EINVAL);
	close(fd);
	close(results_map);
	bed_close(&bed);
}

/*
 * With types, and so with global functions of the context, which begin at `starts`; their types are
 * FIRST_FUNC and those that follow.
 */
enum { FIRST_FUNC = 5 };

static int load_typed(
	const struct program *p, union bpf_attr *attr, const uint32_t *starts, unsigned count)
{
	struct btf *btf = btf__new_empty();
	struct bpf_func_info infos[2];
	union bpf_attr types;
	int int_id = btf__add_int(btf, "int", 4, BTF_INT_SIGNED), btf_fd, fd;
	int ctx = btf__add_ptr(btf, btf__add_struct(btf, "xdp_md", 0));
	int proto = btf__add_func_proto(btf, int_id);
	uint32_t size;

	btf__add_func_param(btf, "ctx", ctx);
	for (unsigned i = 0; i < count; i++)
		infos[i] = (struct bpf_func_info){ starts[i],
			(uint32_t)btf__add_func(btf, i ? "f1" : "f0", BTF_FUNC_GLOBAL, proto) };
	EXPECT_EQ(infos[0].type_id, FIRST_FUNC);
	memset(&types, 0, sizeof(types));
	types.btf = (uintptr_t)btf__raw_data(btf, &size);
	types.btf_size = size;
	btf_fd = bpf(BPF_BTF_LOAD, &types);
	btf__free(btf);
	attr->insns = (uintptr_t)p->insns;
	attr->insn_cnt = p->count;
	attr->license = (uintptr_t)"GPL";
	attr->prog_btf_fd = (uint32_t)btf_fd;
	attr->func_info = (uintptr_t)infos;
	attr->func_info_cnt = count;
	attr->func_info_rec_size = sizeof(infos[0]);
	fd = bpf(BPF_PROG_LOAD, attr);
	close(btf_fd);
	return fd;
}

static int load_typed_target(uint32_t flags, uint32_t ifindex)
{
	static const uint32_t starts[] = { 0, 2 };
	struct program p = { .count = 4,
		.insns = { INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, 1), EXIT,
			MOV(0, XDP_DROP), EXIT } };
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.prog_flags = flags;
	attr.prog_ifindex = ifindex;
	return load_typed(&p, &attr, starts, 2);
}

static int link_extension(int fd, int target)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.link_create.prog_fd = (uint32_t)fd;
	attr.link_create.target_fd = (uint32_t)target;
	attr.link_create.target_btf_id = FIRST_FUNC + 1;
	return bpf(BPF_LINK_CREATE, &attr);
}

TEST(hints, are_for_extensions_of_the_devices_programs)
{
	static const uint32_t start = 0;
	uint64_t r[RESULTS];
	struct program p;
	union bpf_attr attr;
	int bound, unbound, extension, link;

	if (!find_kfuncs())
		SKIP("the kernel does not show its BTF");
	ASSERT_TRUE(bed_open(&bed, 1));
	results_map = results_new();
	bound = load_typed_target(F_XDP_DEV_BOUND_ONLY, bed.a.ifindex);
	unbound = load_typed_target(0, 0);
	ASSERT_GE(bound, 0);
	ASSERT_GE(unbound, 0);
	EXPECT_EQ(sluice_xdp_attach(bed.a.ifindex, bound, -1, 0), 0);
	ask_for_all(&p);
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_EXT;
	attr.attach_btf_id = FIRST_FUNC + 1;
	attr.attach_prog_fd = (uint32_t)unbound;
	EXPECT_EQ(load_typed(&p, &attr, &start, 1), -EINVAL);
	attr.attach_prog_fd = (uint32_t)bound;
	extension = load_typed(&p, &attr, &start, 1);
	ASSERT_GE(extension, 0);
	EXPECT_EQ(link_extension(extension, unbound), -EINVAL);
	link = link_extension(extension, bound);
	ASSERT_GE(link, 0);
	send_noted(RTE_MBUF_F_RX_RSS_HASH, true);
	results_read(r);
	EXPECT_EQ(r[0], 0);
	EXPECT_EQ(r[1], 0x123456789abcdef);
	EXPECT_EQ((int32_t)r[4], -ENODATA);
	close(link);
	close(extension);
	close(bound);
	close(unbound);
	close(results_map);
	bed_close(&bed);
}
