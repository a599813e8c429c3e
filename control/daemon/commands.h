#pragma once

#include <signal.h>

/*
 * Runs the lines of a file, as one would type them in a shell: each with /bin/sh -e, Sluice's preload
 * library and the daemon's socket, one after the other. Empty lines and those that begin with # are
 * skipped; a line that ends with \ goes on in the next. The first that fails ends it: 1, after a line
 * in the log with its number. A signal of `signals` ends it too, and the command: 1.
 */
int sl_commands_run(const char *file, const char *socket_path, const sigset_t *signals);
