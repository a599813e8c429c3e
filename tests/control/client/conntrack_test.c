#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/netfilter/nf_conntrack_common.h>

#include "client.h"
#include "conntrack.bpf.h"
#include "conntrack.skel.h"
#include "conntrack_rules.skel.h"
#include "oracle.h"
#include "test.h"

/*
 * Programs' connections: what each call gives, what the options then say, and what the connection
 * reads as, in the kernel and here, for random requests. The kernel's are in a namespace of ours.
 */

enum { SIDES = 2, PACKET_BYTES = 64 };

static const enum sl_client_target targets[SIDES] = { SL_CLIENT_KERNEL, SL_CLIENT_IN_PROCESS };

struct fixture {
	struct conntrack *skels[SIDES];
};

static int begin(struct fixture *f)
{
	if (unshare(CLONE_NEWNET))
		return -errno;
	for (int i = 0; i < SIDES; i++) {
		sl_client_use(targets[i]);
		f->skels[i] = conntrack__open_and_load();
		if (!f->skels[i])
			return -errno;
	}
	return 0;
}

static void end(struct fixture *f)
{
	for (int i = 0; i < SIDES; i++) {
		sl_client_use(targets[i]);
		conntrack__destroy(f->skels[i]);
	}
}

static int run(const struct fixture *f, int side, bool xdp, const struct conntrack_request *request,
	struct conntrack_answer *answer)
{
	static char packet[PACKET_BYTES];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));
	const struct conntrack *skel = f->skels[side];
	int err;

	sl_client_use(targets[side]);
	skel->bss->request = *request;
	memset(&skel->bss->answer, 0, sizeof(*answer));
	err = bpf_prog_test_run_opts(
		bpf_program__fd(xdp ? skel->progs.on_xdp : skel->progs.on_skb), &opts);
	*answer = skel->bss->answer;
	return err ? -errno : (int)opts.retval;
}

static uint32_t any(uint32_t n)
{
	return (uint32_t)rand() % n;
}

/* Few enough to meet again, in both directions. */
static void random_endpoint(uint8_t *addr, uint8_t *port, size_t addr_bytes)
{
	memset(addr, (int)any(3), addr_bytes);
	port[0] = 0;
	port[1] = (uint8_t)any(3);
}

static void random_tuple(struct conntrack_request *r)
{
	bool v6 = any(4) == 0;
	size_t addr = v6 ? 16 : 4;

	random_endpoint(r->tuple, r->tuple + 2 * addr, addr);
	random_endpoint(r->tuple + addr, r->tuple + 2 * addr + 2, addr);
	r->tuple_size = v6 ? 36 : 12;
}

/* Ports are given, or the source is its own: what the kernel takes at random cannot be compared. */
static void random_nat(struct conntrack_request *r)
{
	random_endpoint(r->source, (uint8_t *)&r->source_port, 16);
	random_endpoint(r->destination, (uint8_t *)&r->destination_port, 16);
	r->source_port = 1 + any(3);
	r->destination_port = any(3);
	if (any(8) == 0)
		r->destination_port = (uint32_t)-5;
}

static void spoil(struct conntrack_request *r)
{
	switch (any(9)) {
	case 0:
		r->tuple_size = any(37);
		break;
	case 1:
		/* The kernel writes the error past what is shorter; we do not. */
		r->opts_size = 8 + any(9);
		break;
	case 2:
		r->opts.netns_id = (int32_t[]){ -2, 0, 0xf00f, INT32_MIN, INT32_MAX }[any(5)];
		break;
	case 3:
		r->opts.l4proto = (uint8_t)rand();
		break;
	case 4:
		r->opts.reserved[any(3)] = 1;
		break;
	case 5:
		r->opts.dir = (uint8_t)rand();
		break;
	case 6:
		r->opts.zone_dir = (uint8_t)rand();
		break;
	case 7:
		r->steps |= STEP_NO_TUPLE;
		break;
	default:
		r->opts.zone_id = (uint16_t)rand();
	}
}

static struct conntrack_request random_request(void)
{
	struct conntrack_request r = {
		.steps = (uint32_t)rand() & (STEP_NO_TUPLE - 1),
		.opts = { .netns_id = -1, .error = 77, .l4proto = any(3) ? 6 : 17 },
		.opts_size = any(2) ? 16 : 12,
		.timeout_ms = 100000 + any(100000),
		.new_timeout_ms = 200000 + any(1000),
		.status = 1u << any(18) | 1u << any(18),
		.new_status = IPS_CONFIRMED | 1u << any(18) | (any(2) ? 1u << any(18) : 0),
		.mark = (uint32_t)rand(),
	};

	random_tuple(&r);
	random_nat(&r);
	if (any(2))
		r.steps |= STEP_LOOKUP_AGAIN;
	/* Most are not translated: else few would be found. */
	if (any(3))
		r.steps &= ~(uint32_t)(STEP_SOURCE | STEP_DESTINATION);
	/* A fixed timeout, or what marks a dying one, is for later tests. */
	if (r.opts_size == 16) {
		r.opts.zone_id = (uint16_t)any(2);
		r.opts.zone_dir = (uint8_t)any(4);
	}
	if (any(20) == 0)
		r.timeout_ms = r.new_timeout_ms = (uint32_t)rand() | 0x80000000;
	if (any(4) == 0)
		spoil(&r);
	return r;
}

/* Timeouts differ by the time between the two runs. */
static bool equal_but_time(struct conntrack_answer *a, struct conntrack_answer *b)
{
	bool close = abs(a->before.timeout - b->before.timeout) < 500 &&
		     abs(a->after.timeout - b->after.timeout) < 500;

	a->before.timeout = b->before.timeout = a->after.timeout = b->after.timeout = 0;
	return close && memcmp(a, b, sizeof(*a)) == 0;
}

static void say(const struct conntrack_request *r, const struct conntrack_answer *a)
{
	fprintf(stderr,
		"steps %#x tuple_size %u opts_size %u netns %d proto %u zone %u/%u status %#x/%#x "
		"ports %d %d: found %u inserted %u again %u error %d dir %u zone_dir %u; set %d "
		"nat %d %d change %d %d; status %#llx %#llx mark %#x %#x use %u %u\n",
		r->steps, r->tuple_size, r->opts_size, r->opts.netns_id, r->opts.l4proto,
		r->opts.zone_id, r->opts.zone_dir, r->status, r->new_status, (int)r->source_port,
		(int)r->destination_port, a->found, a->inserted, a->found_again, a->opts.error,
		a->opts.dir, a->opts.zone_dir, a->set_status, a->source, a->destination,
		a->change_timeout, a->change_status, (unsigned long long)a->before.status,
		(unsigned long long)a->after.status, a->before.mark, a->after.mark, a->before.use,
		a->after.use);
	for (unsigned dir = 0; dir < 2; dir++) {
		for (unsigned i = 0; i < 40; i++)
			fprintf(stderr, "%02x%s", a->before.tuples[dir][i],
				i % 20 == 19 ? "\n"
				: i % 4 == 3 ? " "
					     : "");
	}
	fprintf(stderr, "timeouts %d %d\n", a->before.timeout, a->after.timeout);
}

TEST(conntrack, random_requests_are_answered_as_by_the_kernel)
{
	enum { REQUESTS = 4000 };
	uint32_t found = 0, inserted = 0;
	struct fixture f;

	ORACLE_OR_SKIP();
	ASSERT_EQ(begin(&f), 0);
	for (unsigned i = 0; i < REQUESTS; i++) {
		struct conntrack_request request = random_request();
		struct conntrack_answer answers[SIDES], seen[SIDES];
		bool xdp = any(2);

		for (int side = 0; side < SIDES; side++) {
			ASSERT_EQ(run(&f, side, xdp, &request, &answers[side]), 0);
			seen[side] = answers[side];
		}
		found += !(request.steps & STEP_ALLOC) && answers[0].found;
		inserted += answers[0].inserted;
		if (!equal_but_time(&answers[0], &answers[1])) {
			fprintf(stderr, "request %u\n", i);
			say(&request, &seen[0]);
			say(&request, &seen[1]);
			ASSERT_TRUE(false);
		}
	}
	ASSERT_GT(found, 100u);
	ASSERT_GT(inserted, 100u);
	end(&f);
}

enum { LOG_BYTES = 1 << 20 };

/* Loads one of the programs; the verdict, and the last line that says why. */
static int load_one(int side, const char *name, char *log, const char **ret_line)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .kernel_log_buf = log, .kernel_log_size = LOG_BYTES,
		.kernel_log_level = 1);
	struct conntrack_rules *skel;
	char *end;
	int err;

	sl_client_use(targets[side]);
	log[0] = '\0';
	skel = conntrack_rules__open_opts(&opts);
	if (!skel)
		return -errno;
	bpf_program__set_autoload(bpf_object__find_program_by_name(skel->obj, name), true);
	err = conntrack_rules__load(skel);
	conntrack_rules__destroy(skel);
	*ret_line = log;
	if (!err)
		return 0;
	end = strstr(log, "processed ");
	if (!end || end - log < 2)
		return err;
	end[-1] = '\0';
	*ret_line = strrchr(log, '\n') ? strrchr(log, '\n') + 1 : log;
	return err;
}

TEST(conntrack, rules_are_the_kernels)
{
	char *logs[SIDES] = { malloc(LOG_BYTES), malloc(LOG_BYTES) };
	struct conntrack_rules *all = conntrack_rules__open();
	struct bpf_program *prog;
	unsigned accepted = 0, refused = 0;

	ORACLE_OR_SKIP();
	ASSERT_TRUE(all != NULL);
	bpf_object__for_each_program(prog, all->obj)
	{
		const char *name = bpf_program__name(prog), *lines[SIDES] = { "", "" };
		int verdicts[SIDES];

		for (int side = 0; side < SIDES; side++)
			verdicts[side] = load_one(side, name, logs[side], &lines[side]);
		TRACE_PUSH("%s: kernel: %s, ours: %s", name, lines[0], lines[1]);
		EXPECT_EQ(verdicts[0], verdicts[1]);
		if (verdicts[0])
			EXPECT_CONTAINS(lines[1], lines[0]);
		TRACE_POP();
		accepted += !verdicts[0];
		refused += !!verdicts[0];
	}
	EXPECT_GT(accepted, 20u);
	EXPECT_GT(refused, 20u);
	conntrack_rules__destroy(all);
	free(logs[0]);
	free(logs[1]);
}
