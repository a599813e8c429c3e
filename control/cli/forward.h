#pragma once

#include <pthread.h>
#include <sluice/dataplane.h>
#include <stdint.h>
#include <stdio.h>

#include "tunnel_words.h"

struct bpf_program;
struct sl_loader;
struct sl_pcap_file;

/*
 * What `sluice forward` attaches: read from its command line, loaded through libbpf once per object
 * file (so that programs of one file share its maps), attached when the ports are there. Functions
 * that return an exit status have printed the reason.
 */
enum {
	SL_FORWARD_MAX = 64,
	SL_FORWARD_ACTIONS = 8,
	SL_FORWARD_TUNNELS = 32,
	SL_FORWARD_IP_MAX = 1024
};

/* A program in an object file. */
struct sl_forward_prog {
	char *path;
	char *name; /* function or section; NULL: the only one of its type */
	unsigned object; /* index in sl_forward_spec.objects */
	struct bpf_program *prog;
};

struct sl_forward_filter {
	char *port;
	enum sluice_tc_hook hook;
	struct sluice_tc_filter filter;
	struct sl_forward_prog classifier;
	struct sluice_tc_action verdicts[SL_FORWARD_ACTIONS];
	struct sl_forward_prog actions[SL_FORWARD_ACTIONS]; /* path NULL: a plain verdict */
};

struct sl_forward_xdp {
	char *port;
	struct sl_forward_prog prog;
};

struct sl_forward_tap {
	char *port;
	struct sl_forward_prog prog;
	char *file; /* NULL: packets are only counted */
	bool ignore_outgoing;
	uint32_t id;
	struct sl_pcap_file *pcap;
};

struct sl_forward_spec {
	struct sl_forward_xdp xdp[SL_FORWARD_MAX];
	struct sl_forward_filter tc[SL_FORWARD_MAX];
	struct {
		const char *path;
		struct sl_loader *loader;
	} objects[SL_FORWARD_MAX];
	struct sl_tunnel_words tunnels[SL_FORWARD_TUNNELS];
	struct sl_forward_tap taps[SL_FORWARD_MAX];
	unsigned xdp_count, tc_count, object_count, tunnel_count, tap_count;
	pthread_t tap_thread;
	bool tap_started, tap_stop; /* the latter atomic */
};

/* Take an option's value apart, in place. 0 or negative errno. */
int sl_forward_add_xdp(struct sl_forward_spec *spec, char *value);
int sl_forward_add_tc(struct sl_forward_spec *spec, char *value);
int sl_forward_add_tap(struct sl_forward_spec *spec, char *value);

/* The same for a tunnel, but with an exit status. */
int sl_forward_add_tunnel(struct sl_forward_spec *spec, char *value);

/* Adds the tunnels' ports, when those below them are there. */
int sl_forward_add_tunnels(struct sl_forward_spec *spec);

/* Opens and loads all objects. */
int sl_forward_load(struct sl_forward_spec *spec);
void sl_forward_unload(struct sl_forward_spec *spec);

/* Attaches everything. */
int sl_forward_attach(struct sl_forward_spec *spec);

/* Attaches the taps, and starts and ends the thread that writes what they keep. */
int sl_forward_tap_start(struct sl_forward_spec *spec);
int sl_forward_tap_stop(struct sl_forward_spec *spec);
void sl_forward_tap_print(const struct sl_forward_spec *spec);
void sl_forward_tap_write_json(FILE *f, const struct sl_forward_spec *spec);

/* Commands of ip(8), and files of them, in the order of the command line. */
struct sl_forward_ip {
	struct {
		const char *text;
		bool is_file;
	} commands[SL_FORWARD_IP_MAX];
	unsigned count;
};

/* -E2BIG for too many. */
int sl_forward_add_ip(struct sl_forward_ip *ip, const char *text, bool is_file);
/* Does all of them; the ports must be there. */
int sl_forward_run_ip(const struct sl_forward_ip *ip);

/* The ifindex of a port by name or number, 0 when there is none. */
uint32_t sl_forward_port(const char *name);

/* The counters since the start. */
void sl_forward_print(double seconds);
int sl_forward_write_json(const char *path, const struct sl_forward_spec *spec, double seconds);
