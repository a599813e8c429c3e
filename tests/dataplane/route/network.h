#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * One network twice: in a network namespace of the kernel's, which the process is in from then on,
 * and in Sluice's tables, by the same commands.
 */

/* Cleared before anything else: only the kernel is told, and Sluice has to look for itself. */
extern bool network_is_mirrored;

/* False, with a reason, where this user may not make one. */
bool network_enter(const char **ret_reason);

enum { NETWORK_LINKS = 4 };

/* d0 to d3: ends of veth pairs, up, of several MTUs; the last one forwards nothing. */
void network_make_links(uint32_t link[NETWORK_LINKS]);
/* Sluice's interface as the kernel's is now. */
void network_mirror_link(const char *name, bool forward);

/* Runs ip(8) with these words; true when it succeeds. */
bool network_ip(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same line for both sides; failures are the test's. */
void network_both(const char *format, ...) __attribute__((format(printf, 1, 2)));
