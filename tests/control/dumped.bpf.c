#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

/* Maps whose keys and values have every kind of type that bpftool prints. */

enum state { IDLE, BUSY = 7, GONE = -1 };

struct address {
	__u8 bytes[4];
	__u16 port;
};

struct key {
	struct address from;
	enum state state;
};

struct value {
	__u64 packets;
	__s32 balance;
	__u8 low : 3, high : 5;
	_Bool active;
	char name[8];
	struct {
		__u16 inner[2][2];
		union {
			__u32 number;
			__u8 bytes[4];
		};
	} part;
	const void *where;
	__s64 last;
};

struct prefix {
	__u32 prefixlen;
	__u8 address[4];
};

#define MAP(map_type, map_name, map_key, map_value, count, flags) \
	struct {                                                  \
		__uint(type, map_type);                           \
		__uint(max_entries, count);                       \
		__uint(map_flags, flags);                         \
		__type(key, map_key);                             \
		__type(value, map_value);                         \
	} map_name SEC(".maps")

MAP(BPF_MAP_TYPE_HASH, hash, struct key, struct value, 4, 0);
MAP(BPF_MAP_TYPE_ARRAY, array, __u32, struct value, 3, 0);
MAP(BPF_MAP_TYPE_PERCPU_HASH, percpu_hash, struct address, struct address, 4, 0);
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, percpu_array, __u32, struct prefix, 2, 0);
MAP(BPF_MAP_TYPE_LRU_HASH, lru_hash, __u64, enum state, 4, 0);
MAP(BPF_MAP_TYPE_LPM_TRIE, trie, struct prefix, struct address, 4, BPF_F_NO_PREALLOC);

__u32 number = 5;
const volatile char text[6] = "text";
struct value zero;

SEC("xdp")
int use(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct key tuple = { .state = BUSY };
	struct prefix prefix = { .prefixlen = 32 };
	struct address address = { .port = 9 };
	__u64 wide = 1;
	struct value *value = bpf_map_lookup_elem(&array, &key);

	if (value)
		value->packets += number + text[0];
	zero.packets++;
	bpf_map_lookup_elem(&hash, &tuple);
	bpf_map_lookup_elem(&percpu_hash, &address);
	bpf_map_lookup_elem(&percpu_array, &key);
	bpf_map_lookup_elem(&lru_hash, &wide);
	bpf_map_lookup_elem(&trie, &prefix);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
