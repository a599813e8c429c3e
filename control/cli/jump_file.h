#pragma once

#include <json-c/json.h>
#include <limits.h>
#include <stdbool.h>

struct sl_loader;

/*
 * A file for `sluice jump apply` (docs/jump-tables.md), and what it names: descriptors of maps and
 * programs, found or loaded. Nothing of it outlives sl_jump_file_free but what a generation takes.
 */
enum { SL_JUMP_OBJECTS = 64, SL_JUMP_FDS = 8192 };

struct sl_jump_object {
	char *path;
	struct sl_loader *loader;
};

struct sl_jump_fd {
	bool is_map;
	uint32_t id;
	int fd;
};

struct sl_jump_file {
	const char *name; /* in messages */
	char directory[PATH_MAX]; /* that object files are relative to */
	struct json_object *root;
	struct json_object *maps, *programs, *objects, *slots, *hooks; /* of root; NULL without */
	struct sl_jump_object loaded[SL_JUMP_OBJECTS];
	unsigned object_count;
	struct sl_jump_fd *fds; /* each map and program once */
	unsigned fd_count, fd_room;
};

/*
 * All of these return 0, or 1 after one line on stderr.
 * Reads a file, "-" for standard input, and checks its form: which members there are, of which type.
 */
int sl_jump_file_read(const char *path, struct sl_jump_file *ret_file);
/* Opens and loads the object files that programs come from. */
int sl_jump_file_load(struct sl_jump_file *file);
/* What jump.apply takes: the caller's to put. */
int sl_jump_file_params(struct sl_jump_file *file, struct json_object **ret_params);
void sl_jump_file_free(struct sl_jump_file *file);

/* One line on stderr, with the place in the file; returns 1. */
int sl_jump_fail(const struct sl_jump_file *file, const char *where, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Refuses members that are not in the list, which NULL ends. */
int sl_jump_only(const struct sl_jump_file *file, const char *where, struct json_object *object,
	const char *const names[]);

/*
 * jump_find.c: the descriptor of what `reference` names: a string is an alias of the file, an object
 * says {"pinned": PATH}, {"id": N} or {"name": NAME}, or of a program where it is loaded from.
 */
int sl_jump_find(struct sl_jump_file *file, const char *where, struct json_object *reference,
	bool is_map, int *ret_fd);
/* Takes over a descriptor, which may be another one of something that there is; -1 after a message. */
int sl_jump_keep(struct sl_jump_file *file, const char *where, bool is_map, int fd);
void sl_jump_close(struct sl_jump_file *file);

/* jump_load.c: the program of an object file, loaded. */
int sl_jump_loaded(
	struct sl_jump_file *file, const char *where, struct json_object *program, int *ret_fd);
