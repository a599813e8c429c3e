#include "format.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <rte_hash_crc.h>

#include "cpu.h"

#define NAME "state"
#define NEW_NAME "state.new"

static bool path_in(const char *dir, const char *name, char ret_path[PATH_MAX])
{
	return snprintf(ret_path, PATH_MAX, "%s/%s", dir, name) < PATH_MAX;
}

int sl_state_create(struct sl_state_file *file, const char *dir)
{
	struct sl_state_header none = { 0 };
	char path[PATH_MAX];
	int fd;

	*file = (struct sl_state_file){ 0 };
	if (!path_in(dir, NEW_NAME, path))
		return -ENAMETOOLONG;
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	file->out = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (!file->out)
		return -errno;
	/* Its place; what is in it is known at the end. */
	fwrite(&none, sizeof(none), 1, file->out);
	return 0;
}

void sl_state_put(struct sl_state_file *file, const void *bytes, uint64_t len)
{
	fwrite(bytes, 1, len, file->out);
	file->len_bytes += len;
	for (const uint8_t *p = bytes; len > 0;) {
		uint32_t part = (uint32_t)(len < (1 << 30) ? len : 1 << 30);

		file->crc = rte_hash_crc(p, part, file->crc);
		p += part;
		len -= part;
	}
}

void sl_state_begin(struct sl_state_file *file, enum sl_state_kind kind, uint64_t len)
{
	struct sl_state_record record = { .kind = kind, .len_bytes = len };

	sl_state_put(file, &record, sizeof(record));
}

void sl_state_pad(struct sl_state_file *file)
{
	static const uint8_t zeroes[8];

	sl_state_put(file, zeroes, -file->len_bytes & 7);
}

int sl_state_finish(struct sl_state_file *file, const char *dir, int err)
{
	struct sl_state_header header = { .magic = SL_STATE_MAGIC,
		.version = SL_STATE_VERSION,
		.cpu_count = sl_cpu_count(),
		.len_bytes = file->len_bytes,
		.crc = file->crc };
	char from[PATH_MAX], to[PATH_MAX];

	if (!file->out)
		return err;
	if (!path_in(dir, NEW_NAME, from) || !path_in(dir, NAME, to))
		err = -ENAMETOOLONG;
	if (!err && (fflush(file->out) != 0 || fseek(file->out, 0, SEEK_SET) != 0 ||
			    fwrite(&header, sizeof(header), 1, file->out) != 1 ||
			    fflush(file->out) != 0 || fsync(fileno(file->out)) != 0))
		err = -errno;
	if (ferror(file->out) && !err)
		err = -EIO;
	fclose(file->out);
	if (!err && rename(from, to) != 0)
		err = -errno;
	if (err)
		unlink(from);
	return err;
}

static const char *check(const struct sl_state_header *header, size_t size)
{
	const uint8_t *bytes = (const uint8_t *)(header + 1);
	uint32_t crc = 0;

	if (size < sizeof(*header) || memcmp(header->magic, SL_STATE_MAGIC, 8) != 0)
		return "it is no state";
	if (header->version != SL_STATE_VERSION)
		return "it is of another version";
	if (header->cpu_count != sl_cpu_count())
		return "it is of a machine with another number of CPUs";
	if (header->len_bytes != size - sizeof(*header))
		return "it is not whole";
	for (uint64_t at = 0; at < header->len_bytes;) {
		uint64_t left = header->len_bytes - at;
		uint32_t part = (uint32_t)(left < (1 << 30) ? left : 1 << 30);

		crc = rte_hash_crc(bytes + at, part, crc);
		at += part;
	}
	return crc == header->crc ? NULL : "it has been changed";
}

int sl_state_open(struct sl_state_file *file, const char *dir, const char **ret_why)
{
	char path[PATH_MAX];
	struct stat st;
	int fd, err = 0;

	*file = (struct sl_state_file){ 0 };
	*ret_why = "it cannot be read";
	if (!path_in(dir, NAME, path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0) {
		err = -EINVAL;
	} else if (st.st_uid != geteuid()) {
		*ret_why = "it is another user's";
		err = -EINVAL;
	} else {
		file->mapped_bytes = (size_t)st.st_size;
		file->mapping = mmap(NULL, file->mapped_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
		if (file->mapping == MAP_FAILED) {
			file->mapping = NULL;
			err = -errno;
		}
	}
	close(fd);
	if (!err)
		*ret_why = check(file->mapping, file->mapped_bytes);
	if (!err && *ret_why)
		err = -EINVAL;
	if (err) {
		sl_state_close(file);
		return err;
	}
	file->bytes = (const uint8_t *)file->mapping + sizeof(struct sl_state_header);
	file->len_bytes = file->mapped_bytes - sizeof(struct sl_state_header);
	return 0;
}

void sl_state_close(struct sl_state_file *file)
{
	if (file->mapping)
		munmap(file->mapping, file->mapped_bytes);
	*file = (struct sl_state_file){ 0 };
}
