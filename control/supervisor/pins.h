#pragma once

/*
 * The bpf file systems of a supervised program are the daemon's directories, mounted where the kernel's
 * are, so that whatever the program does with paths there needs nobody. Only for this process and what it
 * starts, in a mount namespace of their own; what is mounted elsewhere is seen in both. Without
 * CAP_SYS_ADMIN nothing is done: pins are served by their paths, but only bpf(2) sees them.
 */
void sl_pins_mount(void);
