#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/dataplane.h>
#include <sluice/observe.h>

#include "method.h"

/* Watches. The client reads the memory of what it gets; nothing of it is left here. */

static int find_port(struct sl_method_call *call, const char *name, uint32_t *ret_ifindex)
{
	struct sluice_port_info info = { 0 };
	char *end;
	unsigned long number = strtoul(name, &end, 10);
	bool is_number = *name && !*end;

	while (sluice_port_next(info.ifindex, &info) == 0) {
		if (strcmp(info.name, name) == 0 || (is_number && info.ifindex == number)) {
			*ret_ifindex = info.ifindex;
			return 0;
		}
	}
	return sl_method_fail(call, -ENODEV, "there is no port %.64s", name);
}

static int read_points(struct sl_method_call *call, uint32_t *ret_points)
{
	struct json_object *list, *name;

	if (!json_object_object_get_ex(call->params, "points", &list))
		return 0;
	if (!json_object_is_type(list, json_type_array))
		return sl_method_fail(call, -EINVAL, "'points' is not an array");
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		unsigned point = 0;

		name = json_object_array_get_idx(list, i);
		while (point < SLUICE_POINT_COUNT &&
			(!name || strcmp(sluice_point_name(point), json_object_get_string(name)) !=
					  0))
			point++;
		if (point == SLUICE_POINT_COUNT)
			return sl_method_fail(
				call, -EINVAL, "there is no such point to capture at");
		*ret_points |= 1u << point;
	}
	return 0;
}

static int read_options(struct sl_method_call *call, struct sluice_watch_options *ret_options)
{
	static const char *const names[] = { "paths", "port", "points", "snaplen", "sample",
		"ring_bytes", "filter_fd", "raw_filter_fd", NULL };
	int64_t snaplen = 0, sample = 0, ring = 0, filter = -1, raw_filter = -1;
	const char *port = NULL;
	int err = sl_method_only(call, names);

	if (!err)
		err = sl_method_bool(call, "paths", false, &ret_options->paths);
	if (!err)
		err = sl_method_string(call, "port", false, &port);
	if (!err && port)
		err = find_port(call, port, &ret_options->ifindex);
	if (!err)
		err = read_points(call, &ret_options->points);
	if (!err)
		err = sl_method_number(call, "snaplen", false, 0, UINT32_MAX, &snaplen);
	if (!err)
		err = sl_method_number(call, "sample", false, 0, UINT32_MAX, &sample);
	if (!err)
		err = sl_method_number(call, "ring_bytes", false, 0, SLUICE_WATCH_RING_MAX, &ring);
	/* Numbers of the client's descriptors. */
	if (!err)
		err = sl_method_number(call, "filter_fd", false, -1, INT32_MAX, &filter);
	if (!err)
		err = sl_method_number(call, "raw_filter_fd", false, -1, INT32_MAX, &raw_filter);
	ret_options->snaplen = (uint32_t)snaplen;
	ret_options->sample = (uint32_t)sample;
	ret_options->ring_bytes = (uint32_t)ring;
	ret_options->filter_fd = (int)filter;
	ret_options->raw_filter_fd = (int)raw_filter;
	return err;
}

int sl_method_watch_open(struct sl_method_call *call)
{
	struct sluice_watch_options options = { 0 };
	int fd, err = read_options(call, &options);

	if (err)
		return err;
	err = sluice_watch_open(&options, &fd);
	if (err == -ENOSPC)
		return sl_method_fail(
			call, err, "there are %d captures and traces already", SLUICE_WATCHES);
	if (err)
		return err;
	call->answer->fds[call->answer->fd_count++] = fd;
	return 0;
}

int sl_method_watch_ports(struct sl_method_call *call)
{
	static const char *const none[] = { NULL };
	struct sluice_port_info info = { 0 };
	struct json_object *ports;
	int err = sl_method_only(call, none);

	if (err)
		return err;
	ports = json_object_new_object();
	while (sluice_port_next(info.ifindex, &info) == 0) {
		char key[16];

		snprintf(key, sizeof(key), "%u", info.ifindex);
		json_object_object_add(ports, key, json_object_new_string(info.name));
	}
	json_object_object_add(call->result, "ports", ports);
	return 0;
}
