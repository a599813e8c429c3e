#pragma once

#include <libmnl/libmnl.h>
#include <sluice/dataplane.h>

#include "netlink.h"

/*
 * One request on its way. A handler returns 0 or a negative errno, with `reason` set to what the
 * kernel says in words; the acknowledgement is then serve.c's. Messages of an answer are built in
 * `message`, one at a time, and go into datagrams of a page at most, as the kernel's: old programs
 * have no room for more.
 */
enum { SL_NL_MESSAGE_MAX = 1 << 16, SL_NL_DATAGRAM_MAX = 3776 };

struct sl_nl_call {
	const struct nlmsghdr *request;
	const struct sl_netlink_socket *socket;
	const struct sl_netlink_list *kernel; /* NULL: it has not been asked */
	enum sl_netlink_verdict verdict; /* SL_NETLINK_ANSWER unless a handler says otherwise */
	const char *reason; /* static text */
	bool complete; /* the answer has its end: of a list, or what the kernel says */
	struct sl_netlink_list *out;
	union {
		struct nlmsghdr message;
		uint8_t message_bytes[SL_NL_MESSAGE_MAX];
	};
	uint8_t datagram[SL_NL_MESSAGE_MAX]; /* what of the answer is not in `out` yet */
	size_t datagram_len;
};

/* For a refusal with words. */
static inline int sl_nl_refuse(struct sl_nl_call *call, int err, const char *words)
{
	call->reason = words;
	return err;
}

/* For a failure of a function that logs why. */
static inline int sl_nl_logged(struct sl_nl_call *call, int err)
{
	if (err && call->socket->logged && *call->socket->logged)
		call->reason = call->socket->logged;
	return err;
}

/* Of a request that asks for something: one of the two flags will do. */
static inline bool sl_nl_is_dump(const struct sl_nl_call *call)
{
	return call->request->nlmsg_flags & NLM_F_DUMP;
}

/* Before anything else, where the request is about a port: whether the caller may make it. */
int sl_nl_check_caller(struct sl_nl_call *call);

/* Begins the message in call->message; returns its header of `extra` bytes, zeroed. */
void *sl_nl_begin(struct sl_nl_call *call, uint16_t type, uint16_t flags, size_t extra);
/* Takes the message, or one of the kernel's, into the answer. */
void sl_nl_put(struct sl_nl_call *call, const struct nlmsghdr *message);
/* The next message begins a datagram of its own. */
void sl_nl_flush(struct sl_nl_call *call);
/* Ends a list, which makes the answer complete. */
void sl_nl_put_done(struct sl_nl_call *call, int err);

/* Hands the request, or a changed copy in call->message, to the kernel first. */
int sl_nl_ask(struct sl_nl_call *call, const struct nlmsghdr *message);
int sl_nl_pass(struct sl_nl_call *call);

/* Attributes by type, NULL without. `max` + 1 entries; the last of a type counts. */
void sl_nl_parse(
	const struct nlmsghdr *message, size_t head, const struct nlattr **ret_attrs, unsigned max);
void sl_nl_parse_nested(const struct nlattr *nest, const struct nlattr **ret_attrs, unsigned max);

/* Of the kernel's policies: -ERANGE for an attribute that is too short for its type. */
int sl_nl_check_len(const struct nlattr *attr, size_t len);
uint32_t sl_nl_u32(const struct nlattr *attr, uint32_t otherwise);
/* Whether the attribute's string, with or without its end, is `text`. */
bool sl_nl_is(const struct nlattr *attr, const char *text);
/* Copies a string out; false when it does not fit. */
bool sl_nl_string(const struct nlattr *attr, char *ret_text, size_t size);

/*
 * The port of a number, or the kernel's business. The numbers of twins mean something else in other
 * network namespaces, where there are no such ports then.
 */
bool sl_nl_port(const struct sl_nl_call *call, uint32_t ifindex, struct sluice_port_info *ret_info);
bool sl_nl_port_by_name(
	const struct sl_nl_call *call, const char *name, struct sluice_port_info *ret_info);
/* The one with the smallest number above; false after the last. */
bool sl_nl_next_port(
	const struct sl_nl_call *call, uint32_t ifindex, struct sluice_port_info *ret_info);

/* The port that a request about a link names by number or name. */
bool sl_nl_find_link(const struct sl_nl_call *call, const struct nlattr **attrs,
	struct sluice_port_info *ret_port);

/* The requests, by message type. */
int sl_nl_del_link(struct sl_nl_call *call);
int sl_nl_set_link(struct sl_nl_call *call);
int sl_nl_get_link(struct sl_nl_call *call);
int sl_nl_new_qdisc(struct sl_nl_call *call);
int sl_nl_del_qdisc(struct sl_nl_call *call);
int sl_nl_get_qdisc(struct sl_nl_call *call);
int sl_nl_new_filter(struct sl_nl_call *call);
int sl_nl_del_filter(struct sl_nl_call *call);
int sl_nl_get_filter(struct sl_nl_call *call);
int sl_nl_new_action(struct sl_nl_call *call);
int sl_nl_del_action(struct sl_nl_call *call);
int sl_nl_get_action(struct sl_nl_call *call);

/*
 * The actions of a filter's or of a request's table. Names and cookies point into the request.
 * `binding` as a filter has it: what is there already is taken as it is.
 */
int sl_nl_parse_actions(struct sl_nl_call *call, const struct nlattr *table, bool binding,
	struct sluice_tc_action *ret_actions, unsigned *ret_count);
/* One action into the message, in a nest of that type. */
void sl_nl_put_action(
	struct nlmsghdr *message, uint16_t type, const struct sluice_tc_action_info *info);
