#include "call.h"

#include <errno.h>
#include <string.h>
#include <linux/rtnetlink.h>

/* Types come in fours: new, delete, get, set. */
int sl_nl_check_caller(struct sl_nl_call *call)
{
	unsigned operation = call->request->nlmsg_type & 3;

	if (operation != (RTM_GETLINK & 3) && !call->socket->privileged)
		return -EPERM;
	if (operation == (RTM_DELLINK & 3) && call->request->nlmsg_flags & NLM_F_BULK)
		return sl_nl_refuse(call, -EOPNOTSUPP, "Bulk delete is not supported");
	return 0;
}

void *sl_nl_begin(struct sl_nl_call *call, uint16_t type, uint16_t flags, size_t extra)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(&call->message);

	message->nlmsg_type = type;
	message->nlmsg_flags = flags;
	message->nlmsg_seq = call->request->nlmsg_seq;
	message->nlmsg_pid = call->socket->portid;
	return mnl_nlmsg_put_extra_header(message, extra);
}

void sl_nl_flush(struct sl_nl_call *call)
{
	if (call->datagram_len)
		sl_netlink_list_add(call->out, call->datagram, call->datagram_len);
	call->datagram_len = 0;
}

void sl_nl_put(struct sl_nl_call *call, const struct nlmsghdr *message)
{
	size_t len = NLMSG_ALIGN(message->nlmsg_len);

	if (call->datagram_len && call->datagram_len + len > SL_NL_DATAGRAM_MAX)
		sl_nl_flush(call);
	if (len > sizeof(call->datagram)) {
		sl_netlink_list_add(call->out, message, message->nlmsg_len);
		return;
	}
	memset(call->datagram + call->datagram_len, 0, len);
	memcpy(call->datagram + call->datagram_len, message, message->nlmsg_len);
	call->datagram_len += len;
}

void sl_nl_put_done(struct sl_nl_call *call, int err)
{
	int *ret_err = sl_nl_begin(call, NLMSG_DONE, NLM_F_MULTI, sizeof(err));

	*ret_err = err;
	call->complete = true;
	sl_nl_put(call, &call->message);
}

int sl_nl_ask(struct sl_nl_call *call, const struct nlmsghdr *message)
{
	call->verdict = SL_NETLINK_ASK;
	sl_netlink_list_add(call->out, message, message->nlmsg_len);
	return 0;
}

int sl_nl_pass(struct sl_nl_call *call)
{
	call->verdict = SL_NETLINK_PASS;
	return 0;
}

static void note(const struct nlattr *attr, const struct nlattr **attrs, unsigned max)
{
	if (mnl_attr_get_type(attr) <= max)
		attrs[mnl_attr_get_type(attr)] = attr;
}

void sl_nl_parse(
	const struct nlmsghdr *message, size_t head, const struct nlattr **ret_attrs, unsigned max)
{
	const struct nlattr *attr;

	memset(ret_attrs, 0, (max + 1) * sizeof(struct nlattr *));
	mnl_attr_for_each(attr, message, head)
	{
		note(attr, ret_attrs, max);
	}
}

void sl_nl_parse_nested(const struct nlattr *nest, const struct nlattr **ret_attrs, unsigned max)
{
	const struct nlattr *attr;

	memset(ret_attrs, 0, (max + 1) * sizeof(struct nlattr *));
	mnl_attr_for_each_nested(attr, nest)
	{
		note(attr, ret_attrs, max);
	}
}

int sl_nl_check_len(const struct nlattr *attr, size_t len)
{
	return attr && mnl_attr_get_payload_len(attr) < len ? -ERANGE : 0;
}

uint32_t sl_nl_u32(const struct nlattr *attr, uint32_t otherwise)
{
	uint32_t value;

	if (!attr || mnl_attr_get_payload_len(attr) < sizeof(value))
		return otherwise;
	memcpy(&value, mnl_attr_get_payload(attr), sizeof(value));
	return value;
}

static size_t string_len(const struct nlattr *attr)
{
	return strnlen(mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr));
}

bool sl_nl_is(const struct nlattr *attr, const char *text)
{
	size_t len = strlen(text);

	return string_len(attr) == len && memcmp(mnl_attr_get_payload(attr), text, len) == 0;
}

bool sl_nl_string(const struct nlattr *attr, char *ret_text, size_t size)
{
	size_t len = string_len(attr);

	if (len >= size)
		return false;
	memcpy(ret_text, mnl_attr_get_payload(attr), len);
	ret_text[len] = '\0';
	return true;
}

bool sl_nl_next_port(
	const struct sl_nl_call *call, uint32_t ifindex, struct sluice_port_info *ret_info)
{
	while (sluice_port_next(ifindex, ret_info) == 0) {
		if (call->socket->with_twins || !ret_info->has_twin)
			return true;
		ifindex = ret_info->ifindex;
	}
	return false;
}

bool sl_nl_port(const struct sl_nl_call *call, uint32_t ifindex, struct sluice_port_info *ret_info)
{
	return ifindex && sl_nl_next_port(call, ifindex - 1, ret_info) &&
	       ret_info->ifindex == ifindex;
}

bool sl_nl_port_by_name(
	const struct sl_nl_call *call, const char *name, struct sluice_port_info *ret_info)
{
	uint32_t ifindex = 0;

	while (sl_nl_next_port(call, ifindex, ret_info)) {
		if (strcmp(ret_info->name, name) == 0)
			return true;
		ifindex = ret_info->ifindex;
	}
	return false;
}
