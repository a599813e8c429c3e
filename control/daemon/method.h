#pragma once

#include <json-c/json.h>

#include "session.h"

/*
 * What the sluice command asks of the daemon besides bpf(2): {"method": NAME, "params": {...}}, answered
 * with {"result": {...}} or {"error": REASON}; descriptors may travel both ways. One row per method in
 * methods.def; the functions live in a file per family, method_FAMILY.c, and only decode, check and
 * encode: what they do is in the data plane's public headers.
 */
enum { SL_METHOD_REASON = 256 };

struct sl_method_call {
	const struct sl_caller *peer; /* who asks */
	struct json_object *params; /* an object */
	const int *fds; /* that came along: closed after the call */
	unsigned fd_count;
	struct json_object *result; /* an object, empty, to be filled */
	struct sl_answer *answer; /* descriptors that go along: closed when they have been sent */
	char reason[SL_METHOD_REASON]; /* of a failure, in words, without a full stop */
};

/* 0 or a negative errno. */
typedef int (*sl_method_fn)(struct sl_method_call *call);

#define SL_METHOD(name, fn, permission) int sl_method_##fn(struct sl_method_call *call);
#include "methods.def"
#undef SL_METHOD

/* Says why, for a method to return: `err` as it is. */
int sl_method_fail(struct sl_method_call *call, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Parameters. A missing one is an error that is said if `required`, else *ret stays. Strings are the
 * call's.
 */
int sl_method_string(
	struct sl_method_call *call, const char *name, bool required, const char **ret);
int sl_method_number(struct sl_method_call *call, const char *name, bool required, int64_t min,
	int64_t max, int64_t *ret);
int sl_method_bool(struct sl_method_call *call, const char *name, bool required, bool *ret);
/* A parameter that no method of this name has is a mistake: call it last. NULL ends the names. */
int sl_method_only(struct sl_method_call *call, const char *const names[]);

int64_t sl_method_run(struct sl_session *s, const uint64_t *args, struct sl_answer *ret_answer);
