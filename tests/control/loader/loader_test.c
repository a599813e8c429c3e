#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "elf_image.h"
#include "loader.h"
#include "oracle.h"
#include "test.h"

static const char *const variants[] = { "debug", "plain", "v1" };
enum { VARIANTS = sizeof(variants) / sizeof(variants[0]) };

static const char *object_path(const char *name, const char *variant)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s-%s.bpf.o", OBJECTS_DIR, name, variant);
	return path;
}

static struct sl_loader *load(const char *path, bool unpinned)
{
	const struct sl_loader_options options = { .unpinned = unpinned };
	char why[SL_LOADER_WHY_MAX];
	struct sl_loader *loader;
	int err = sl_loader_open(path, &options, &loader, why);

	if (!err) {
		sl_loader_type_tail_calls(loader, BPF_PROG_TYPE_SCHED_CLS);
		err = sl_loader_load(loader, why);
		if (err)
			sl_loader_free(loader);
	}
	if (err)
		sl_test_fail(__FILE__, __LINE__, "%s: %s: %s", path, strerror(-err), why);
	return err ? NULL : loader;
}

static int run(const struct sl_loader *loader, const char *program)
{
	const struct bpf_program *p =
		bpf_object__find_program_by_name(sl_loader_object(loader), program);
	static char packet[64];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));

	return p && bpf_prog_test_run_opts(bpf_program__fd(p), &opts) == 0 ? (int)opts.retval
									   : -errno;
}

static void check_iproute2(void)
{
	for (int i = 0; i < VARIANTS; i++) {
		struct sl_loader *loader = load(object_path("iproute2", variants[i]), true);

		if (!loader)
			return;
		/* Through the slot of the jump table and that of the outer map. */
		EXPECT_EQ(101, run(loader, "entry"));
		EXPECT_EQ(102, run(loader, "entry"));
		sl_loader_free(loader);
	}
}

static void check_samples(void)
{
	for (int i = 0; i < VARIANTS; i++) {
		struct sl_loader *loader = load(object_path("samples", variants[i]), true);
		struct bpf_map_info info = { 0 };
		uint32_t size = sizeof(info);
		int key = 0, pair[2] = { 0 };

		if (!loader)
			return;
		EXPECT_EQ(XDP_PASS, run(loader, "alternate"));
		EXPECT_EQ(XDP_TX, run(loader, "alternate"));
		key = bpf_object__find_map_fd_by_name(sl_loader_object(loader), "seen");
		EXPECT_EQ(0, bpf_obj_get_info_by_fd(key, &info, &size));
		EXPECT_EQ(BPF_F_NO_PREALLOC, info.map_flags);
		EXPECT_EQ(16, info.max_entries);
		EXPECT_EQ(strcmp(variants[i], "plain") != 0, info.btf_value_type_id != 0);
		EXPECT_EQ(0, bpf_map_lookup_elem(key, &(int){ 0 }, pair));
		EXPECT_EQ(2, pair[0]);
		EXPECT_EQ(2, pair[1]);
		sl_loader_free(loader);
	}
}

TEST(loader, maps_of_iproute2)
{
	check_iproute2();
}

TEST(loader, maps_of_samples)
{
	check_samples();
}

TEST(loader, the_kernel_takes_the_same_objects)
{
	ORACLE_OR_SKIP();
	sl_client_use(SL_CLIENT_KERNEL);
	check_iproute2();
	check_samples();
	sl_client_use(SL_CLIENT_IN_PROCESS);
}

TEST(loader, pinned_maps_are_shared)
{
	struct sl_loader *first = load(object_path("iproute2", "debug"), false);
	struct sl_loader *second = load(object_path("iproute2", "plain"), false);
	uint64_t value = 0;
	uint32_t key = 0;
	int fd = bpf_obj_get("/sys/fs/bpf/tc/globals/counts");

	ASSERT_TRUE(first && second);
	EXPECT_EQ(101, run(first, "entry"));
	EXPECT_EQ(102, run(second, "entry"));
	EXPECT_TRUE(fd >= 0);
	EXPECT_EQ(0, bpf_map_lookup_elem(fd, &key, &value));
	EXPECT_EQ(2, value);
	close(fd);
	sl_loader_free(first);
	sl_loader_free(second);
}

TEST(loader, entries_and_their_types)
{
	char why[SL_LOADER_WHY_MAX];
	struct sl_loader *loader;
	struct bpf_object *object;

	ASSERT_EQ(0, sl_loader_open(object_path("samples", "debug"), NULL, &loader, why));
	object = sl_loader_object(loader);
	EXPECT_EQ(BPF_PROG_TYPE_XDP,
		bpf_program__type(bpf_object__find_program_by_name(object, "alternate")));
	sl_loader_free(loader);
	ASSERT_EQ(0, sl_loader_open(object_path("iproute2", "debug"), NULL, &loader, why));
	object = sl_loader_object(loader);
	EXPECT_EQ(BPF_PROG_TYPE_SCHED_CLS,
		bpf_program__type(bpf_object__find_program_by_name(object, "entry")));
	EXPECT_EQ(BPF_PROG_TYPE_UNSPEC,
		bpf_program__type(bpf_object__find_program_by_name(object, "count")));
	sl_loader_free(loader);
}

/* A file in memory, to be damaged. */
struct file {
	uint8_t *bytes;
	size_t len;
};

static struct file read_file(const char *path)
{
	struct file file = { 0 };
	FILE *f = fopen(path, "re");

	if (!f)
		return file;
	file.bytes = malloc(1 << 20);
	file.len = fread(file.bytes, 1, 1 << 20, f);
	fclose(f);
	return file;
}

/* Opens what is in memory as the loader would; returns its errno. */
static int open_bytes(const void *bytes, size_t len, char *why)
{
	char path[] = "/tmp/sluice-loader-XXXXXX";
	int fd = mkstemp(path), err = -EIO;
	struct sl_loader *loader = NULL;

	if (fd >= 0 && write(fd, bytes, len) == (ssize_t)len)
		err = sl_loader_open(path, NULL, &loader, why);
	if (!err)
		sl_loader_free(loader);
	close(fd);
	unlink(path);
	return err;
}

TEST(loader, says_what_is_wrong_with_a_file)
{
	static const struct {
		size_t at;
		uint8_t value;
		const char *words;
	} rows[] = {
		{ 0, 'X', "not an ELF file" },
		{ EI_CLASS, ELFCLASS32, "32-bit" },
		{ EI_DATA, ELFDATA2MSB, "big-endian" },
		{ offsetof(Elf64_Ehdr, e_machine), EM_X86_64, "another machine" },
		{ offsetof(Elf64_Ehdr, e_type), ET_EXEC, "not an object file" },
		{ offsetof(Elf64_Ehdr, e_shoff) + 3, 1, "cut off" },
		{ offsetof(Elf64_Ehdr, e_shstrndx), 0, "no names" },
	};
	struct file file = read_file(object_path("samples", "debug"));
	char why[SL_LOADER_WHY_MAX];

	ASSERT_TRUE(file.bytes != NULL);
	EXPECT_EQ(0, open_bytes(file.bytes, file.len, why));
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t kept = file.bytes[rows[i].at];

		if (rows[i].at == offsetof(Elf64_Ehdr, e_machine))
			file.bytes[rows[i].at + 1] = 0;
		file.bytes[rows[i].at] = rows[i].value;
		EXPECT_EQ(-ENOEXEC, open_bytes(file.bytes, file.len, why));
		EXPECT_CONTAINS(why, rows[i].words);
		file.bytes[rows[i].at] = kept;
	}
	EXPECT_EQ(-ENOEXEC, open_bytes("", 0, why));
	EXPECT_CONTAINS(why, "empty");
	EXPECT_EQ(-ENOENT, sl_loader_open("/nonexistent", NULL, &(struct sl_loader *){ 0 }, why));
	EXPECT_CONTAINS(why, "No such file");
	EXPECT_EQ(-EISDIR, sl_loader_open("/tmp", NULL, &(struct sl_loader *){ 0 }, why));
	free(file.bytes);
}

TEST(loader, no_prefix_of_a_file_is_one)
{
	struct file file = read_file(object_path("iproute2", "debug"));
	char why[SL_LOADER_WHY_MAX];

	ASSERT_TRUE(file.bytes != NULL);
	for (size_t len = 0; len < file.len; len += 1 + len / 16) {
		EXPECT_EQ(-ENOEXEC, open_bytes(file.bytes, len, why));
		EXPECT_TRUE(why[0] && !strchr(why, '\n'));
	}
	free(file.bytes);
}

/* No crash, and words for every refusal. */
TEST(loader, random_damage)
{
	struct file file = read_file(object_path("iproute2", "debug"));
	uint8_t *damaged = malloc(file.len);
	char why[SL_LOADER_WHY_MAX];
	unsigned refused = 0;

	srand(1);
	for (int i = 0; i < 400; i++) {
		memcpy(damaged, file.bytes, file.len);
		for (int n = rand() % 8; n >= 0; n--)
			damaged[(size_t)rand() % file.len] = (uint8_t)rand();
		why[0] = '\0';
		if (open_bytes(damaged, file.len, why) != 0) {
			refused++;
			EXPECT_TRUE(why[0] && !strchr(why, '\n'));
		}
	}
	EXPECT_TRUE(refused > 0 && refused < 400);
	free(damaged);
	free(file.bytes);
}

TEST(loader, damaged_definitions)
{
	struct sl_elf_image image;
	char why[SL_LOADER_WHY_MAX];
	unsigned section;

	ASSERT_EQ(0, sl_elf_image_read(object_path("iproute2", "plain"), &image, why));
	section = sl_elf_find_section(&image, "maps", SHT_PROGBITS);
	ASSERT_TRUE(section != 0);
	/* The outer map's template. */
	((uint32_t *)sl_elf_section_bytes(&image, section))[2 * 9 + 7] = 99;
	EXPECT_EQ(-EINVAL, open_bytes(image.bytes, image.len, why));
	EXPECT_CONTAINS(why, "map outer: there is no map for its template");
	image.sections[section].sh_size = 2 * 36 + 12;
	ASSERT_EQ(0, sl_elf_image_seal(&image));
	EXPECT_EQ(-EINVAL, open_bytes(image.bytes, image.len, why));
	EXPECT_CONTAINS(why, "map outer: its definition is cut off");
	sl_elf_image_done(&image);
}

/* Section 0 stands for none, but a file may say something else of it. */
TEST(loader, a_first_section_that_is_one)
{
	static const Elf64_Shdr nowhere[] = {
		{ .sh_type = SHT_STRTAB, .sh_offset = 1ull << 40, .sh_size = 64 },
		{ .sh_type = SHT_PROGBITS,
			.sh_flags = SHF_EXECINSTR,
			.sh_offset = 1ull << 40,
			.sh_size = 1 << 20 },
	};

	for (unsigned i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
		struct sl_elf_image image;
		char why[SL_LOADER_WHY_MAX];

		ASSERT_EQ(0, sl_elf_image_read(object_path("iproute2", "plain"), &image, why));
		image.sections[0] = nowhere[i];
		for (unsigned k = 1; k < image.section_count; k++)
			if (image.sections[k].sh_type == SHT_REL)
				image.sections[k].sh_info = 0;
		if (nowhere[i].sh_type == SHT_STRTAB)
			image.header.e_shstrndx = 0;
		ASSERT_EQ(0, sl_elf_image_seal(&image));
		EXPECT_EQ(-ENOEXEC, open_bytes(image.bytes, image.len, why));
		EXPECT_CONTAINS(why, "cut off");
		sl_elf_image_done(&image);
	}
}
