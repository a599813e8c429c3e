#include "forward.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "network.h"
#include "verb.h"

/* --ip and --ip-batch: see network.h. */

int sl_forward_add_ip(struct sl_forward_ip *ip, const char *text, bool is_file)
{
	if (ip->count == SL_FORWARD_IP_MAX)
		return -E2BIG;
	ip->commands[ip->count].text = text;
	ip->commands[ip->count++].is_file = is_file;
	return 0;
}

static int run_file(const char *path)
{
	char reason[256], *line = NULL;
	FILE *file = fopen(path, "re");
	unsigned number = 0;
	size_t size = 0;
	int status = 0;

	if (!file)
		return sl_cli_fail("forward: cannot open %s: %s", path, strerror(errno));
	while (!status && getline(&line, &size, file) >= 0) {
		number++;
		if (sl_network_line(line, sl_forward_port, reason, sizeof(reason)) != 0)
			status = sl_cli_fail("forward: %s, line %u: %s", path, number, reason);
	}
	if (!status && ferror(file))
		status = sl_cli_fail("forward: cannot read %s", path);
	free(line);
	fclose(file);
	return status;
}

int sl_forward_run_ip(const struct sl_forward_ip *ip)
{
	char reason[256];
	int status = 0;

	for (unsigned i = 0; !status && i < ip->count; i++) {
		const char *text = ip->commands[i].text;

		if (ip->commands[i].is_file)
			status = run_file(text);
		else if (sl_network_line(text, sl_forward_port, reason, sizeof(reason)) != 0)
			status = sl_cli_fail("forward: --ip '%s': %s", text, reason);
	}
	return status;
}
