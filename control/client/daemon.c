#include "daemon.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "connection.h"
#include "remote.h"

static int say(char *reason, int err, const char *text)
{
	snprintf(reason, SL_DAEMON_REASON, "%s", text);
	return err;
}

/* {"method": ..., "params": ...}; takes params over. */
static struct json_object *make_request(const char *method, struct json_object *params)
{
	struct json_object *request = json_object_new_object();

	if (!request) {
		json_object_put(params);
		return NULL;
	}
	json_object_object_add(request, "method", json_object_new_string(method));
	if (params)
		json_object_object_add(request, "params", params);
	return request;
}

/* Why there was no answer. */
static int say_no_answer(char *reason, int err)
{
	if (err == -ECONNREFUSED || err == -ENOENT || err == -EACCES)
		snprintf(reason, SL_DAEMON_REASON, "cannot reach sluiced at %s: %s",
			sl_connection_path(), strerror(-err));
	else
		snprintf(reason, SL_DAEMON_REASON, "%s", strerror(-err));
	return err;
}

static void hand_over_fds(struct sl_remote_call *call, struct sl_daemon_fds *ret_fds)
{
	for (unsigned i = 0; i < call->ret_fd_count; i++) {
		if (ret_fds && ret_fds->count < SL_DAEMON_FDS)
			ret_fds->fds[ret_fds->count++] = call->ret_fds[i];
		else
			close(call->ret_fds[i]);
	}
}

/* The answer's result, or its reason. */
static int read_answer(int err, const char *text, struct json_object **ret_result, char *reason)
{
	struct json_object *answer = json_tokener_parse(text), *value;

	if (err && json_object_object_get_ex(answer, "error", &value))
		say(reason, err, json_object_get_string(value));
	else if (err)
		say(reason, err, strerror(-err));
	else if (!json_object_object_get_ex(answer, "result", &value))
		err = say(reason, -EPROTO, "the daemon's answer makes no sense");
	else if (ret_result)
		*ret_result = json_object_get(value);
	json_object_put(answer);
	return err;
}

int sl_daemon_call(const char *method, struct json_object *params, const struct sl_daemon_fds *fds,
	struct json_object **ret_result, struct sl_daemon_fds *ret_fds,
	char ret_reason[SL_DAEMON_REASON])
{
	struct json_object *request = make_request(method, params);
	struct sl_remote_call call = { .type = SL_WIRE_METHOD,
		.fds = fds ? fds->fds : NULL,
		.fd_count = fds ? fds->count : 0 };
	int err;

	if (ret_fds)
		ret_fds->count = 0;
	if (!request)
		return say(ret_reason, -ENOMEM, strerror(ENOMEM));
	call.text = json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN);
	err = call.text ? (int)sl_remote_call(&sl_space_self, &call) : -ENOMEM;
	json_object_put(request);
	if (!call.ret_text)
		return say_no_answer(ret_reason, err ? err : -EPROTO);
	err = read_answer(err, call.ret_text, ret_result, ret_reason);
	free(call.ret_text);
	hand_over_fds(&call, ret_fds);
	return err;
}
