#include "rows.h"

/* Sockets: references, NULL, what is derived from them, and their fields. */

/* R0 = lookup of an all-zero tuple; R1 holds the context. */
#define FIND(helper)                                                                              \
	ST(BPF_DW, R10, -8, 0), ST(BPF_DW, R10, -16, 0), MOV_X(R2, R10), ALU_K(BPF_ADD, R2, -16), \
		MOV_K(R3, 12), MOV_K(R4, 0), MOV_K(R5, 0), HELPER(helper)
#define SK(field) offsetof(struct __sk_buff, field)
/* R0 = skb->sk */
#define SKB_SK LDX(BPF_DW, R0, R1, SK(sk))
#define RELEASE(reg) MOV_X(R1, reg), HELPER(BPF_FUNC_sk_release)

static const struct row rows[] = {
	{ "look up and release", CLS, ACCEPT,
		{ FIND(BPF_FUNC_sk_lookup_tcp), JMP_K(BPF_JEQ, R0, 0, 2), RELEASE(R0),
			RETURN(0) } },
	{ "UDP from XDP", XDP, ACCEPT,
		{ FIND(BPF_FUNC_sk_lookup_udp), JMP_K(BPF_JEQ, R0, 0, 2), RELEASE(R0),
			RETURN(0) } },
	{ "common socket from XDP", XDP, ACCEPT,
		{ FIND(BPF_FUNC_skc_lookup_tcp), JMP_K(BPF_JEQ, R0, 0, 2), RELEASE(R0),
			RETURN(0) } },
	{ "not for socket filters", SOCK,
		"program of this type cannot use helper bpf_sk_lookup_tcp#84",
		{ FIND(BPF_FUNC_sk_lookup_tcp), RETURN(0) } },
	{ "leaked", CLS, "Unreleased reference id=2 alloc_insn=7",
		{ FIND(BPF_FUNC_sk_lookup_tcp), RETURN(0) } },
	{ "leaked, and said where", CLS, "would lead to reference leak",
		{ FIND(BPF_FUNC_sk_lookup_tcp), RETURN(0) } },
	{ "leaked on one path", CLS, "Unreleased reference id=2",
		{ FIND(BPF_FUNC_sk_lookup_tcp), JMP_K(BPF_JEQ, R0, 0, 4), LDX(BPF_W, R2, R0, 4),
			JMP_K(BPF_JEQ, R2, 7, 2), RELEASE(R0), RETURN(0) } },
	{ "released without a check", CLS,
		"R1 type=sock_or_null expected=sock_common, sock, tcp_sock, ",
		{ FIND(BPF_FUNC_sk_lookup_tcp), RELEASE(R0), RETURN(0) } },
	{ "common released without a check", CLS, "R1 type=sock_common_or_null expected=",
		{ FIND(BPF_FUNC_skc_lookup_tcp), RELEASE(R0), RETURN(0) } },
	{ "released twice", CLS, "R1 type=scalar expected=sock_common",
		{ FIND(BPF_FUNC_sk_lookup_tcp), MOV_X(R6, R0), JMP_K(BPF_JEQ, R0, 0, 4),
			RELEASE(R0), RELEASE(R6), RETURN(0) } },
	{ "read after the release", CLS, "R6 invalid mem access 'scalar'",
		{ FIND(BPF_FUNC_sk_lookup_tcp), MOV_X(R6, R0), JMP_K(BPF_JEQ, R0, 0, 3),
			RELEASE(R0), LDX(BPF_W, R0, R6, 4), RETURN(0) } },
	{ "read without a check", CLS, "R0 invalid mem access 'sock_or_null'",
		{ FIND(BPF_FUNC_sk_lookup_tcp), LDX(BPF_W, R0, R0, 4), RETURN(0) } },
	{ "kept on the stack", CLS, ACCEPT,
		{ FIND(BPF_FUNC_sk_lookup_tcp), STX(BPF_DW, R10, R0, -24), JMP_K(BPF_JEQ, R0, 0, 2),
			LDX(BPF_DW, R1, R10, -24), HELPER(BPF_FUNC_sk_release), RETURN(0) } },
	{ "written through", CLS, "R0 cannot write into sock",
		{ FIND(BPF_FUNC_sk_lookup_tcp), JMP_K(BPF_JEQ, R0, 0, 3), ST(BPF_W, R0, 16, 1),
			RELEASE(R0), RETURN(0) } },
	{ "atomic", CLS, "BPF_ATOMIC stores into R0 sock is not allowed",
		{ FIND(BPF_FUNC_sk_lookup_tcp), JMP_K(BPF_JEQ, R0, 0, 4), MOV_K(R2, 1),
			ATOMIC(BPF_W, BPF_ADD, R0, R2, 16), RELEASE(R0), RETURN(0) } },
	{ "moved", CLS, "R0 pointer arithmetic on sock prohibited",
		{ FIND(BPF_FUNC_sk_lookup_tcp), JMP_K(BPF_JEQ, R0, 0, 3), ALU_K(BPF_ADD, R0, 4),
			RELEASE(R0), RETURN(0) } },
	{ "moved before the check", CLS,
		"R0 pointer arithmetic on sock_or_null prohibited, null-check it first",
		{ FIND(BPF_FUNC_sk_lookup_tcp), ALU_K(BPF_ADD, R0, 4), RETURN(0) } },
	{ "tail call with a reference", CLS, "tail_call would lead to reference leak",
		{ MOV_X(R6, R1), FIND(BPF_FUNC_sk_lookup_tcp), MOV_X(R7, R0), MOV_X(R1, R6),
			LD_MAP(R2, M_PROGS), MOV_K(R3, 0), HELPER(BPF_FUNC_tail_call),
			JMP_K(BPF_JEQ, R7, 0, 2), RELEASE(R7), RETURN(0) } },
	{ "packet load with a reference", CLS, "BPF_LD_[ABS|IND] would lead to reference leak",
		{ MOV_X(R6, R1), FIND(BPF_FUNC_sk_lookup_tcp), MOV_X(R7, R0), LD_ABS(BPF_B, 0),
			JMP_K(BPF_JEQ, R7, 0, 2), RELEASE(R7), RETURN(0) } },
	{ "released in a function", CLS, ACCEPT,
		{ FIND(BPF_FUNC_sk_lookup_tcp), MOV_X(R1, R0), LOCAL_CALL(2), RETURN(0),
			JMP_K(BPF_JEQ, R1, 0, 1), HELPER(BPF_FUNC_sk_release), RETURN(0) } },
	{ "leaked by a function", CLS, "Unreleased reference id=2",
		{ LOCAL_CALL(2), RETURN(0), FIND(BPF_FUNC_sk_lookup_tcp), RETURN(0) } },
	{ "size of the tuple", CLS, "R3 min value is negative",
		{ ST(BPF_DW, R10, -8, 0), MOV_X(R2, R10), ALU_K(BPF_ADD, R2, -8), MOV_K(R3, -1),
			MOV_K(R4, 0), MOV_K(R5, 0), HELPER(BPF_FUNC_sk_lookup_tcp), RETURN(0) } },
	{ "compared with a register that is 0", CLS, "R1 type=sock_or_null expected=",
		{ FIND(BPF_FUNC_sk_lookup_tcp), MOV_K(R6, 0), JMP_X(BPF_JEQ, R0, R6, 2),
			RELEASE(R0), RETURN(0) } },
	{ "skb->sk", CLS, ACCEPT,
		{ SKB_SK, JMP_K(BPF_JEQ, R0, 0, 1), LDX(BPF_W, R0, R0, 4), RETURN(0) } },
	{ "skb->sk of a socket filter", SOCK, ACCEPT,
		{ SKB_SK, JMP_K(BPF_JEQ, R0, 0, 1), LDX(BPF_W, R0, R0, 4), RETURN(0) } },
	{ "skb->sk, unchecked", CLS, "R0 invalid mem access 'sock_common_or_null'",
		{ SKB_SK, LDX(BPF_W, R0, R0, 4), RETURN(0) } },
	{ "skb->sk, half", CLS, "invalid bpf_context access off=168 size=4",
		{ LDX(BPF_W, R0, R1, SK(sk)), RETURN(0) } },
	{ "skb->sk, written", CLS, "invalid bpf_context access off=168 size=8",
		{ MOV_K(R2, 0), STX(BPF_DW, R1, R2, SK(sk)), RETURN(0) } },
	{ "skb->sk, released", CLS, "R1 must be referenced when passed to release function",
		{ SKB_SK, JMP_K(BPF_JEQ, R0, 0, 2), RELEASE(R0), RETURN(0) } },
	{ "skb->sk, field of full sockets", CLS, "R0 invalid sock_common access off=16 size=4",
		{ SKB_SK, JMP_K(BPF_JEQ, R0, 0, 1), LDX(BPF_W, R0, R0, 16), RETURN(0) } },
	{ "full socket of skb->sk", CLS, ACCEPT,
		{ SKB_SK, JMP_K(BPF_JEQ, R0, 0, 4), MOV_X(R1, R0), HELPER(BPF_FUNC_sk_fullsock),
			JMP_K(BPF_JEQ, R0, 0, 1), LDX(BPF_W, R0, R0, 16), RETURN(0) } },
	{ "full socket, unchecked argument", CLS,
		"R1 type=sock_common_or_null expected=sock_common, sock, tcp_sock, xdp_sock",
		{ SKB_SK, MOV_X(R1, R0), HELPER(BPF_FUNC_sk_fullsock), RETURN(0) } },
	{ "TCP socket of skb->sk", CLS, ACCEPT,
		{ SKB_SK, JMP_K(BPF_JEQ, R0, 0, 4), MOV_X(R1, R0), HELPER(BPF_FUNC_tcp_sock),
			JMP_K(BPF_JEQ, R0, 0, 1), LDX(BPF_W, R0, R0, 0), RETURN(0) } },
	{ "TCP socket, unchecked", CLS, "R0 invalid mem access 'tcp_sock_or_null'",
		{ SKB_SK, JMP_K(BPF_JEQ, R0, 0, 3), MOV_X(R1, R0), HELPER(BPF_FUNC_tcp_sock),
			LDX(BPF_W, R0, R0, 0), RETURN(0) } },
	{ "TCP socket, released", CLS, "R1 must be referenced when passed to release function",
		{ SKB_SK, JMP_K(BPF_JEQ, R0, 0, 5), MOV_X(R1, R0), HELPER(BPF_FUNC_tcp_sock),
			JMP_K(BPF_JEQ, R0, 0, 2), RELEASE(R0), RETURN(0) } },
	{ "released through what was derived", CLS, ACCEPT,
		{ FIND(BPF_FUNC_sk_lookup_tcp), JMP_K(BPF_JEQ, R0, 0, 9), MOV_X(R6, R0),
			MOV_X(R1, R0), HELPER(BPF_FUNC_tcp_sock), JMP_K(BPF_JEQ, R0, 0, 3),
			RELEASE(R0), JA(2), RELEASE(R6), RETURN(0) } },
	{ "derived pointer that was NULL does not release", CLS, "Unreleased reference",
		{ FIND(BPF_FUNC_sk_lookup_tcp), JMP_K(BPF_JEQ, R0, 0, 5), MOV_X(R1, R0),
			HELPER(BPF_FUNC_tcp_sock), JMP_K(BPF_JEQ, R0, 0, 2), RELEASE(R0),
			RETURN(0) } },
	{ "derived pointer after the release", CLS, "R7 invalid mem access 'scalar'",
		{ FIND(BPF_FUNC_sk_lookup_tcp), JMP_K(BPF_JEQ, R0, 0, 10), MOV_X(R6, R0),
			MOV_X(R1, R0), HELPER(BPF_FUNC_tcp_sock), MOV_X(R7, R0),
			JMP_K(BPF_JNE, R0, 0, 3), RELEASE(R6), JA(3), RELEASE(R6),
			LDX(BPF_W, R0, R7, 0), RETURN(0) } },
	{ "released, then the derived pointer is checked", CLS, "R7 invalid mem access 'scalar'",
		{ FIND(BPF_FUNC_sk_lookup_tcp), JMP_K(BPF_JEQ, R0, 0, 8), MOV_X(R6, R0),
			MOV_X(R1, R0), HELPER(BPF_FUNC_tcp_sock), MOV_X(R7, R0), RELEASE(R6),
			JMP_K(BPF_JEQ, R7, 0, 1), LDX(BPF_W, R0, R7, 0), RETURN(0) } },
	{ "listener of a common socket", CLS, ACCEPT,
		{ MOV_X(R8, R1), SKB_SK, JMP_K(BPF_JEQ, R0, 0, 4), MOV_X(R1, R0),
			HELPER(BPF_FUNC_get_listener_sock), JMP_K(BPF_JEQ, R0, 0, 1),
			LDX(BPF_W, R0, R0, 4), RETURN(0) } },
	{ "listener is not released", CLS, "R1 must be referenced when passed to release function",
		{ FIND(BPF_FUNC_sk_lookup_tcp), JMP_K(BPF_JEQ, R0, 0, 9), MOV_X(R6, R0),
			MOV_X(R1, R0), HELPER(BPF_FUNC_get_listener_sock), JMP_K(BPF_JEQ, R0, 0, 2),
			RELEASE(R0), RELEASE(R6), RETURN(0) } },
	{ "listener outlives the release", CLS, ACCEPT,
		{ FIND(BPF_FUNC_sk_lookup_tcp), JMP_K(BPF_JEQ, R0, 0, 9), MOV_X(R6, R0),
			MOV_X(R1, R0), HELPER(BPF_FUNC_get_listener_sock), MOV_X(R7, R0),
			RELEASE(R6), JMP_K(BPF_JEQ, R7, 0, 1), LDX(BPF_W, R0, R7, 4), RETURN(0) } },
	{ "assign", CLS, ACCEPT,
		{ MOV_X(R8, R1), FIND(BPF_FUNC_skc_lookup_tcp), JMP_K(BPF_JEQ, R0, 0, 7),
			MOV_X(R7, R0), MOV_X(R1, R8), MOV_X(R2, R0), MOV_K(R3, 0),
			HELPER(BPF_FUNC_sk_assign), RELEASE(R7), RETURN(0) } },
	{ "assign nothing", CLS,
		"R2 type=scalar expected=sock_common, sock, tcp_sock, xdp_sock, ptr_",
		{ MOV_K(R2, 0), MOV_K(R3, 0), HELPER(BPF_FUNC_sk_assign), RETURN(0) } },
	{ "SYN cookie of a socket", CLS, ACCEPT,
		{ MOV_X(R8, R1), FIND(BPF_FUNC_skc_lookup_tcp), JMP_K(BPF_JEQ, R0, 0, 11),
			MOV_X(R7, R0), MOV_X(R1, R0), MOV_X(R2, R10), ALU_K(BPF_ADD, R2, -16),
			MOV_K(R3, 8), MOV_X(R4, R10), ALU_K(BPF_ADD, R4, -8), MOV_K(R5, 8),
			HELPER(BPF_FUNC_tcp_check_syncookie), RELEASE(R7), RETURN(0) } },
	{ "SYN cookies are for GPL programs", CLS,
		"cannot call GPL-restricted function from non-GPL compatible program",
		{ HELPER(BPF_FUNC_tcp_gen_syncookie), RETURN(0) }, true },
	{ "one instruction, two kinds of pointers", CLS,
		"same insn cannot be used with different pointers",
		{ MOV_X(R8, R1), SKB_SK, JMP_K(BPF_JEQ, R0, 0, 4), LDX(BPF_W, R3, R1, 0),
			JMP_K(BPF_JEQ, R3, 7, 1), MOV_X(R0, R8), LDX(BPF_W, R2, R0, 4),
			RETURN(0) } },
};

TEST(sock, rows)
{
	check_rows(rows, sl_array_size(rows));
}

/* A read of `size` bytes at every offset of each kind of socket is allowed where the kernel allows it. */
static void check_access(const struct bpf_insn *pointer, uint32_t pointer_count, int off, int size)
{
	static const uint8_t codes[] = { [1] = BPF_B, [2] = BPF_H, [4] = BPF_W, [8] = BPF_DW };
	static char ours[BOTH_LOG_BYTES], theirs[BOTH_LOG_BYTES];
	struct bpf_insn insns[32];
	const struct bpf_insn access[] = { JMP_K(BPF_JEQ, R0, 0, 1),
		LDX(codes[size], R0, R0, (short)off), RETURN(0) };
	uint32_t count = pointer_count + sl_array_size(access);
	int err, kernel_err;

	memcpy(insns, pointer, pointer_count * sizeof(*insns));
	memcpy(insns + pointer_count, access, sizeof(access));
	err = both_ours(CLS, insns, count, 1, true, ours, sizeof(ours), NULL);
	kernel_err = both_kernel(CLS, insns, count, 1, true, theirs, sizeof(theirs));
	TRACE_PUSH("%d bytes at %d", size, off);
	/* The kernel allows the upper halves of the wide fields, and then has no instruction for them. */
	if (kernel_err == -EFAULT)
		kernel_err = -EACCES;
	EXPECT_EQ(err, kernel_err);
	if (err && strstr(theirs, " invalid ")) {
		char *reason = strstr(ours, " invalid ");

		ASSERT_NE(reason, NULL);
		*strchrnul(reason, '\n') = '\0';
		EXPECT_CONTAINS(theirs, reason);
	}
	TRACE_POP();
}

TEST(sock, every_field_as_in_the_kernel)
{
	static const struct {
		const char *name;
		struct bpf_insn insns[8];
		uint32_t count;
	} pointers[] = {
		{ "sock_common", { SKB_SK }, 1 },
		{ "sock",
			{ SKB_SK, JMP_K(BPF_JEQ, R0, 0, 2), MOV_X(R1, R0),
				HELPER(BPF_FUNC_sk_fullsock) },
			4 },
		{ "tcp_sock",
			{ SKB_SK, JMP_K(BPF_JEQ, R0, 0, 2), MOV_X(R1, R0),
				HELPER(BPF_FUNC_tcp_sock) },
			4 },
	};

	ORACLE_OR_SKIP();
	for (unsigned i = 0; i < sl_array_size(pointers); i++)
		for (int size = 1; size <= 8; size *= 2)
			for (int off = -8; off <= 120; off++) {
				TRACE_PUSH("%s", pointers[i].name);
				check_access(pointers[i].insns, pointers[i].count, off, size);
				TRACE_POP();
			}
}
