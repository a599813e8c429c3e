#include "libbpf_stderr.h"

/*
 * Debian's static libbpf is not compiled for shared libraries, and one thing keeps it out of ours:
 * it takes the address of stderr, which is another library's. The build renames that to this.
 */
FILE *sl_libbpf_stderr;

__attribute__((constructor)) static void init(void)
{
	sl_libbpf_stderr = stderr;
}
