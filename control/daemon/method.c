#include "method.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum permission { ANYBODY, PRIVILEGED };

static const struct method {
	const char *name;
	sl_method_fn run;
	enum permission permission;
} methods[] = {
#define SL_METHOD(name, fn, permission) { name, sl_method_##fn, permission },
#include "methods.def"
#undef SL_METHOD
};

int sl_method_fail(struct sl_method_call *call, int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(call->reason, sizeof(call->reason), fmt, args);
	va_end(args);
	return err;
}

/* 1: it is there and of the type; 0: it is not there. */
static int find(struct sl_method_call *call, const char *name, bool required, enum json_type type,
	struct json_object **ret)
{
	if (!json_object_object_get_ex(call->params, name, ret))
		return required ? sl_method_fail(call, -EINVAL, "'%s' is missing", name) : 0;
	if (json_object_get_type(*ret) != type)
		return sl_method_fail(
			call, -EINVAL, "'%s' is not a %s", name, json_type_to_name(type));
	return 1;
}

int sl_method_string(struct sl_method_call *call, const char *name, bool required, const char **ret)
{
	struct json_object *value;
	int found = find(call, name, required, json_type_string, &value);

	if (found != 1)
		return found;
	if (strlen(json_object_get_string(value)) != (size_t)json_object_get_string_len(value))
		return sl_method_fail(call, -EINVAL, "'%s' contains a NUL", name);
	*ret = json_object_get_string(value);
	return 0;
}

int sl_method_number(struct sl_method_call *call, const char *name, bool required, int64_t min,
	int64_t max, int64_t *ret)
{
	struct json_object *value;
	int found = find(call, name, required, json_type_int, &value);
	int64_t number;

	if (found != 1)
		return found;
	number = json_object_get_int64(value);
	if (number < min || number > max)
		return sl_method_fail(call, -ERANGE, "'%s' is not between %lld and %lld", name,
			(long long)min, (long long)max);
	*ret = number;
	return 0;
}

int sl_method_bool(struct sl_method_call *call, const char *name, bool required, bool *ret)
{
	struct json_object *value;
	int found = find(call, name, required, json_type_boolean, &value);

	if (found != 1)
		return found;
	*ret = json_object_get_boolean(value);
	return 0;
}

int sl_method_only(struct sl_method_call *call, const char *const names[])
{
	json_object_object_foreach(call->params, key, value)
	{
		unsigned i = 0;

		(void)value;
		while (names[i] && strcmp(names[i], key) != 0)
			i++;
		if (!names[i])
			return sl_method_fail(call, -EINVAL, "unknown parameter '%.64s'", key);
	}
	return 0;
}

static int run_method(struct sl_method_call *call, const char *name)
{
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		const struct method *m = &methods[i];

		if (strcmp(m->name, name) != 0)
			continue;
		if (m->permission == PRIVILEGED && !call->peer->privileged)
			return sl_method_fail(call, -EPERM, "not permitted");
		return m->run(call);
	}
	return sl_method_fail(call, -ENOSYS, "unknown method '%.64s'", name);
}

/* The text of a request, into `call` and the method's name. */
static int parse(struct sl_method_call *call, struct json_object *request, const char **ret_name)
{
	struct json_object *name, *params;

	if (!request || !json_object_is_type(request, json_type_object) ||
		!json_object_object_get_ex(request, "method", &name) ||
		!json_object_is_type(name, json_type_string))
		return sl_method_fail(call, -EINVAL, "not a request");
	*ret_name = json_object_get_string(name);
	if (json_object_object_get_ex(request, "params", &params)) {
		if (!json_object_is_type(params, json_type_object))
			return sl_method_fail(call, -EINVAL, "'params' is not an object");
		call->params = json_object_get(params);
	} else {
		call->params = json_object_new_object();
	}
	return call->params ? 0 : -ENOMEM;
}

/* What the client gets: the result or the reason. */
static char *answer_text(struct sl_method_call *call, int err)
{
	struct json_object *answer = json_object_new_object();
	char *text;

	if (!answer)
		return NULL;
	if (err)
		json_object_object_add(answer, "error",
			json_object_new_string(call->reason[0] ? call->reason : strerror(-err)));
	else
		json_object_object_add(answer, "result", json_object_get(call->result));
	text = strdup(json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PLAIN));
	json_object_put(answer);
	return text;
}

int64_t sl_method_run(struct sl_session *s, const uint64_t *args, struct sl_answer *ret_answer)
{
	struct sl_method_call call = { .peer = &s->caller,
		.fds = s->text_fds,
		.fd_count = s->text_fd_count,
		.result = json_object_new_object(),
		.answer = ret_answer };
	struct json_object *request = json_tokener_parse(s->text);
	const char *name = NULL;
	int err = call.result ? parse(&call, request, &name) : -ENOMEM;

	if (!err)
		err = run_method(&call, name);
	ret_answer->text = answer_text(&call, err);
	json_object_put(call.params);
	json_object_put(call.result);
	json_object_put(request);
	return err;
}
