#include <linux/bpf.h>
#include <netinet/in.h>
#include <pthread.h>
#include <string.h>

#include <sluice/route.h>

#include "context.h"
#include "rcu.h"
#include "row.h"
#include "test.h"

/* bpf_fib_lookup while the interface that it finds comes and goes. */

enum { IFINDEX = 301, IN = 302, ROUNDS = 20000 };

static int done;

static void put(uint32_t ifindex)
{
	struct sluice_interface interface = { .ifindex = ifindex, .mtu = 1500, .header_bytes = 14 };

	EXPECT_EQ(sluice_interface_set(&interface), 0);
}

static void *come_and_go(void *arg)
{
	struct sluice_nexthop hop = { .ifindex = IFINDEX };
	struct sluice_route route = {
		.prefix = { AF_INET, { 10 } }, .prefix_len = 8, .nexthop_count = 1, .nexthops = &hop
	};

	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		put(IFINDEX);
		EXPECT_EQ(sluice_route_add(&route, 0), 0);
		EXPECT_EQ(sluice_interface_del(IFINDEX), 0);
	}
	__atomic_store_n(&done, 1, __ATOMIC_RELEASE);
	return NULL;
}

static int look_up(struct sl_ctx *ctx)
{
	struct bpf_fib_lookup p = { .family = AF_INET, .ifindex = IN };
	int ret;

	p.ipv4_dst = htonl(0x0a000001);
	sl_rcu_read_begin();
	ret = (int)sl_bpf_fib_lookup(
		ctx, (uintptr_t)ctx, (uintptr_t)&p, sizeof(p), BPF_FIB_LOOKUP_SKIP_NEIGH, 0);
	sl_rcu_read_end();
	if (ret == BPF_FIB_LKUP_RET_SUCCESS)
		EXPECT_EQ(p.mtu_result, 1500);
	return ret;
}

TEST(fib_lookup, of_an_interface_that_goes)
{
	struct sl_run run = { .worker = &run };
	struct sl_ctx ctx = { .run = &run, .is_skb = true, .len = 60 };
	unsigned found = 0, lost = 0;
	pthread_t thread;

	put(IN);
	ASSERT_EQ(pthread_create(&thread, NULL, come_and_go, NULL), 0);
	while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
		int ret = look_up(&ctx);

		found += ret == BPF_FIB_LKUP_RET_SUCCESS;
		lost += ret == BPF_FIB_LKUP_RET_NOT_FWDED;
		EXPECT_TRUE(ret == BPF_FIB_LKUP_RET_SUCCESS || ret == BPF_FIB_LKUP_RET_NOT_FWDED);
	}
	pthread_join(thread, NULL);
	EXPECT_GT(found, 0u);
	EXPECT_GT(lost, 0u);
	EXPECT_EQ(sluice_interface_del(IN), 0);
}
