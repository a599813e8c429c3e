#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/*
 * jump_setup OBJECT IFINDEX DIRECTORY: a program that knows nothing of Sluice puts the first generation
 * of the object's programs (benchmarks/swaps.bpf.c) into their tables and hooks, and pins it all.
 */

static void check(int result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "jump_setup: %s: %s\n", what, strerror(-result));
	exit(1);
}

static const char *in(const char *directory, const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static void fill(struct bpf_object *object, const char *table, const char *name)
{
	struct bpf_program *p = bpf_object__find_program_by_name(object, name);
	struct bpf_map *map = bpf_object__find_map_by_name(object, table);
	int fd = bpf_program__fd(p);
	unsigned key = 0;

	check(bpf_map__update_elem(map, &key, sizeof(key), &fd, sizeof(fd), BPF_ANY), table);
}

static void link_hook(
	struct bpf_object *object, const char *name, int ifindex, int type, const char *path)
{
	struct bpf_program *p = bpf_object__find_program_by_name(object, name);
	int link = bpf_link_create(bpf_program__fd(p), ifindex, (enum bpf_attach_type)type, NULL);

	check(link, name);
	check(bpf_obj_pin(link, path), path);
}

int main(int argc, char **argv)
{
	struct bpf_object *object;
	struct bpf_program *p;
	struct bpf_map *map;
	int ifindex;

	if (argc != 4)
		return 2;
	libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	ifindex = atoi(argv[2]);
	object = bpf_object__open_file(argv[1], NULL);
	check(object ? 0 : -1, argv[1]);
	check(bpf_object__load(object), "load");
	check(mkdir(argv[3], 0700) ? -errno : 0, argv[3]);
	bpf_object__for_each_program(p, object)
		check(bpf_obj_pin(bpf_program__fd(p), in(argv[3], bpf_program__name(p))), "pin");
	bpf_object__for_each_map(map, object)
		check(bpf_obj_pin(bpf_map__fd(map), in(argv[3], bpf_map__name(map))), "pin");
	fill(object, "first", "first0");
	fill(object, "second", "second0");
	fill(object, "third", "third0");
	link_hook(object, "front0", ifindex, BPF_XDP, in(argv[3], "link_xdp"));
	link_hook(object, "egress0", ifindex, 47, in(argv[3], "link_egress"));
	return 0;
}
