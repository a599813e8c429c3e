#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <sluice/bpf.h>

#include "method.h"

/* Texts may be longer than a message: they go in a file of their own. */
static int give_text(struct sl_method_call *call, const char *text)
{
	int fd = memfd_create("text", MFD_CLOEXEC);
	size_t left = strlen(text);

	if (fd < 0)
		return -errno;
	while (left > 0) {
		ssize_t n = write(fd, text, left);

		if (n < 0) {
			int err = -errno;

			close(fd);
			return err;
		}
		text += n;
		left -= (size_t)n;
	}
	lseek(fd, 0, SEEK_SET);
	call->answer->fds[call->answer->fd_count++] = fd;
	return 0;
}

/* Whoever has a descriptor of the program may see what it is made of. */
int sl_method_prog_ir(struct sl_method_call *call)
{
	static const char *const names[] = { "prog_fd", NULL };
	int64_t prog_fd = -1;
	char *text;
	int err = sl_method_only(call, names);

	if (!err)
		err = sl_method_number(call, "prog_fd", true, 0, INT32_MAX, &prog_fd);
	if (!err)
		err = sluice_prog_ir((int)prog_fd, &text);
	if (err)
		return err;
	err = give_text(call, text);
	free(text);
	return err;
}
