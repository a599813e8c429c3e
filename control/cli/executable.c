#include "executable.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool sl_executable_find(const char *name, char *ret_path, size_t size)
{
	const char *dir = getenv("PATH");

	if (strchr(name, '/'))
		return snprintf(ret_path, size, "%s", name) < (int)size &&
		       access(ret_path, X_OK) == 0;
	while (dir && *name) {
		size_t len = strcspn(dir, ":");
		int n = snprintf(ret_path, size, "%.*s/%s", (int)len, len ? dir : ".", name);

		if (n < (int)size && access(ret_path, X_OK) == 0)
			return true;
		dir = dir[len] ? dir + len + 1 : NULL;
	}
	return false;
}

bool sl_executable_is_static(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool elf = false, dynamic = false;
	Elf64_Ehdr header;
	Elf64_Phdr segment;

	if (fd < 0)
		return false;
	if (pread(fd, &header, sizeof(header), 0) == sizeof(header))
		elf = memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 &&
		      header.e_ident[EI_CLASS] == ELFCLASS64 &&
		      header.e_phentsize == sizeof(segment);
	for (unsigned i = 0; elf && i < header.e_phnum; i++) {
		if (pread(fd, &segment, sizeof(segment), header.e_phoff + i * sizeof(segment)) !=
			sizeof(segment))
			break;
		dynamic |= segment.p_type == PT_INTERP;
	}
	close(fd);
	return elf && !dynamic;
}
