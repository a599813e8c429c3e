#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon.h"
#include "remote.h"
#include "wire.h"

/* For tests of a daemon by its protocol: one of the test's own, and calls of bpf(2) to it. */

/* Of the daemon: its directory, and the socket in it. */
extern char served_dir[64], served_socket[96];
extern pid_t served_pid;

/* With one worker, and what EAL's options `more` says (NULL: nothing); false when it does not come up. */
bool start_daemon_with(const char *more);
bool start_daemon(void);
/* Where the last one was. */
bool start_daemon_again(const char *more);
/* Its exit status: 0 for one that was still there and came down as it should. */
int stop_daemon(void);
/* Whether it answers. */
bool answers(void);

/* A connection to the socket, and one that has greeted. */
int connect_raw(void);
bool open_wire(struct sl_wire *wire);

/* bpf(2): a negative errno. */
int bpf(int cmd, union bpf_attr *attr);
int new_map(const char *name);
int update(int map, uint32_t key, uint64_t value);
int lookup(int map, uint32_t key, uint64_t *ret_value);
int load_insns(enum bpf_prog_type type, const struct bpf_insn *insns, uint32_t count);
/* An XDP program that lets packets pass after it has looked at the clock so many times. */
int load_looking(unsigned times);
int load(void);

/* A client that behaves gets everything it asks for. */
void expect_service(void);
