#pragma once

/*
 * Answers what comes in by the listener, on threads of its own, until nobody is left that it is there
 * for: then writes to `done_fd`, an eventfd. 0 or a negative errno. Once per process.
 */
int sl_listener_start(int listener, int done_fd);
