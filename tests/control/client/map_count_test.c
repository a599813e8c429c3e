#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "defs.h"
#include "map_count.skel.h"
#include "oracle.h"
#include "test.h"

/* bpf_map_sum_elem_count over random updates and deletions, in the kernel and here. */

enum { SIDES = 2, MAPS = 7, STEPS = 100, OPERATIONS = 20, KEYS = 300 };

static const enum sl_client_target targets[SIDES] = { SL_CLIENT_KERNEL, SL_CLIENT_IN_PROCESS };

static int run(const struct bpf_program *prog, uint32_t len)
{
	static char packet[64];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = len);

	return bpf_prog_test_run_opts(bpf_program__fd(prog), &opts) ? -errno : 0;
}

static const struct bpf_map *map_of(const struct map_count *skel, unsigned n)
{
	const struct bpf_map *maps[MAPS] = { skel->maps.hash, skel->maps.lazy_hash,
		skel->maps.percpu_hash, skel->maps.lru_hash, skel->maps.lru_percpu_hash,
		skel->maps.trie, skel->maps.array };

	return maps[n];
}

static int change(const struct map_count *skel, unsigned n, uint32_t number, bool drop)
{
	static const uint64_t values[256];
	/* An index; a key; a prefix of all its bits. */
	uint64_t key = n == 5 ? 32 | (uint64_t)number << 32 : number;
	int fd = bpf_map__fd(map_of(skel, n));

	return drop ? bpf_map_delete_elem(fd, &key) : bpf_map_update_elem(fd, &key, values, 0);
}

TEST(map_count, is_the_kernels)
{
	struct map_count *skels[SIDES];

	ORACLE_OR_SKIP();
	for (int i = 0; i < SIDES; i++) {
		sl_client_use(targets[i]);
		skels[i] = map_count__open_and_load();
		ASSERT_TRUE(skels[i] != NULL);
	}
	for (unsigned step = 0; step < STEPS; step++) {
		for (unsigned k = 0; k < OPERATIONS; k++) {
			uint32_t n = (uint32_t)rand() % MAPS, number = (uint32_t)rand() % KEYS;
			bool drop = rand() % 3 == 0;
			int errs[SIDES];

			for (int i = 0; i < SIDES; i++) {
				sl_client_use(targets[i]);
				errs[i] = change(skels[i], n, number, drop);
			}
			EXPECT_EQ(errs[1], errs[0]);
		}
		for (int i = 0; i < SIDES; i++) {
			sl_client_use(targets[i]);
			EXPECT_EQ(run(skels[i]->progs.count, 64), 0);
		}
		for (unsigned n = 0; n < MAPS; n++) {
			TRACE_PUSH("step %u, map %u", step, n);
			EXPECT_EQ(skels[1]->bss->counts[n], skels[0]->bss->counts[n]);
			TRACE_POP();
		}
	}
	EXPECT_GT(skels[1]->bss->counts[0], 50);
	for (int i = 0; i < SIDES; i++)
		map_count__destroy(skels[i]);
	sl_client_use(SL_CLIENT_IN_PROCESS);
}

/* Members of the kernel's struct of a map, read as programs read them. */
TEST(map_count, members_are_the_kernels)
{
	struct map_count *skels[SIDES];

	ORACLE_OR_SKIP();
	for (int i = 0; i < SIDES; i++) {
		sl_client_use(targets[i]);
		skels[i] = map_count__open_and_load();
		ASSERT_TRUE(skels[i] != NULL);
		EXPECT_EQ(run(skels[i]->progs.members, 32 + 9), 0);
	}
	for (unsigned n = 0; n < sl_array_size(skels[0]->bss->read); n++) {
		TRACE_PUSH("number %u", n);
		EXPECT_EQ(skels[1]->bss->read[n], skels[0]->bss->read[n]);
		TRACE_POP();
	}
	EXPECT_EQ(skels[1]->bss->read[21], 9u);
	EXPECT_GT(skels[1]->bss->read[32], 100u);
	for (int i = 0; i < SIDES; i++)
		map_count__destroy(skels[i]);
	sl_client_use(SL_CLIENT_IN_PROCESS);
}
