#pragma once

/*
 * Puts the filter made from calls.h on this process and what it will execute and fork. Returns the
 * listener, close-on-exec, or a negative errno: -EBUSY when something else listens already, -EINVAL on
 * a kernel before 5.19. Without CAP_SYS_ADMIN it sets no_new_privs first, so that setuid programs will
 * run without the other user's rights.
 */
int sl_filter_install(void);
