#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

/*
 * fill_map fill|check PATH COUNT: pins a hash of COUNT entries at PATH, or says whether the one that is
 * pinned there has them.
 */
static int fill(const char *path, unsigned count, unsigned *keys, unsigned long *values)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_HASH, "many", 4, 8, count, NULL);
	__u32 done = count;

	for (unsigned i = 0; i < count; i++) {
		keys[i] = i * 2654435761u;
		values[i] = i * 3ul + 1;
	}
	if (fd < 0 || bpf_map_update_batch(fd, keys, values, &done, NULL) != 0 || done != count)
		return (perror("fill"), 1);
	return bpf_obj_pin(fd, path) == 0 ? 0 : (perror("pin"), 1);
}

static int check(const char *path, unsigned count, unsigned *keys, unsigned long *values)
{
	int fd = bpf_obj_get(path);
	unsigned position[2];
	__u32 got, all = 0;
	unsigned long sum = 0, expected = 0;
	int err = 0;

	if (fd < 0)
		return (perror(path), 1);
	while (!err && all < count) {
		got = count - all;
		err = bpf_map_lookup_batch(
			fd, all ? position : NULL, position, keys, values, &got, NULL);
		if (err && errno != ENOENT)
			return (perror("look up"), 1);
		for (unsigned i = 0; i < got; i++)
			sum += (keys[i] ^ values[i]) * (unsigned long)keys[i];
		all += got;
	}
	for (unsigned long i = 0; i < count; i++) {
		unsigned key = (unsigned)i * 2654435761u;

		expected += (key ^ (i * 3 + 1)) * (unsigned long)key;
	}
	printf("%u entries, %s\n", all, sum == expected ? "right" : "wrong");
	return all == count && sum == expected ? 0 : 1;
}

int main(int argc, char **argv)
{
	unsigned count = argc == 4 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
	unsigned *keys = calloc(count + 1, sizeof(*keys));
	unsigned long *values = calloc(count + 1, sizeof(*values));

	if (!count || !keys || !values)
		return 2;
	return strcmp(argv[1], "fill") == 0 ? fill(argv[2], count, keys, values)
					    : check(argv[2], count, keys, values);
}
