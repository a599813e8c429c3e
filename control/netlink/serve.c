#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include "call.h"
#include "request.h"

/* As the kernel's rtnl_lock: a request looks and then acts. */
static pthread_mutex_t rtnl = PTHREAD_MUTEX_INITIALIZER;

static const struct handler {
	uint16_t type;
	size_t head;
	int (*handle)(struct sl_nl_call *call);
} handlers[] = {
	{ RTM_NEWLINK, sizeof(struct ifinfomsg), sl_nl_set_link },
	{ RTM_DELLINK, sizeof(struct ifinfomsg), sl_nl_del_link },
	{ RTM_SETLINK, sizeof(struct ifinfomsg), sl_nl_set_link },
	{ RTM_GETLINK, sizeof(struct ifinfomsg), sl_nl_get_link },
	{ RTM_NEWQDISC, sizeof(struct tcmsg), sl_nl_new_qdisc },
	{ RTM_DELQDISC, sizeof(struct tcmsg), sl_nl_del_qdisc },
	{ RTM_GETQDISC, sizeof(struct tcmsg), sl_nl_get_qdisc },
	{ RTM_NEWTFILTER, sizeof(struct tcmsg), sl_nl_new_filter },
	{ RTM_DELTFILTER, sizeof(struct tcmsg), sl_nl_del_filter },
	{ RTM_GETTFILTER, sizeof(struct tcmsg), sl_nl_get_filter },
	{ RTM_NEWACTION, sizeof(struct tcamsg), sl_nl_new_action },
	{ RTM_DELACTION, sizeof(struct tcamsg), sl_nl_del_action },
	{ RTM_GETACTION, sizeof(struct tcamsg), sl_nl_get_action },
};

static const struct handler *find(const struct nlmsghdr *request)
{
	for (unsigned i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
		size_t head = handlers[i].head;

		if (handlers[i].type != request->nlmsg_type)
			continue;
		/* The kernel lists links for who names a family only, as Go's net does. */
		if (request->nlmsg_type == RTM_GETLINK && request->nlmsg_flags & NLM_F_DUMP)
			head = sizeof(struct rtgenmsg);
		/* What is too short for its header the kernel knows how to refuse. */
		return request->nlmsg_len >= NLMSG_LENGTH(head) ? &handlers[i] : NULL;
	}
	return NULL;
}

/* The kernel's acknowledgement, which repeats a refused request unless told not to. */
static void put_ack(struct sl_nl_call *call, int err)
{
	const struct nlmsghdr *request = call->request;
	bool capped = !err || call->socket->cap_ack;
	bool words = call->socket->ext_ack && call->reason;
	size_t rest = request->nlmsg_len - sizeof(*request);
	struct nlmsgerr *ack;

	if (!capped && sizeof(*ack) + rest > SL_NL_MESSAGE_MAX / 2)
		capped = true;
	ack = sl_nl_begin(call, NLMSG_ERROR,
		(uint16_t)((capped ? NLM_F_CAPPED : 0) | (words ? NLM_F_ACK_TLVS : 0)),
		sizeof(*ack));
	ack->error = err;
	ack->msg = *request;
	if (!capped)
		memcpy(mnl_nlmsg_put_extra_header(&call->message, rest), request + 1, rest);
	if (words)
		mnl_attr_put_strz(&call->message, NLMSGERR_ATTR_MSG, call->reason);
	sl_nl_flush(call);
	sl_nl_put(call, &call->message);
}

static void finish(struct sl_nl_call *call, int err)
{
	if (call->verdict != SL_NETLINK_ANSWER)
		return;
	if (err || (call->request->nlmsg_flags & NLM_F_ACK && !call->complete))
		put_ack(call, err);
	sl_nl_flush(call);
}

int sl_netlink_serve(const struct nlmsghdr *request, const struct sl_netlink_socket *socket,
	const struct sl_netlink_list *kernel, enum sl_netlink_verdict *ret_verdict,
	struct sl_netlink_list *out)
{
	const struct handler *handler = find(request);
	struct sl_nl_call *call;
	int err;

	*ret_verdict = SL_NETLINK_PASS;
	if (!handler || !(request->nlmsg_flags & NLM_F_REQUEST))
		return 0;
	call = malloc(sizeof(*call));
	if (!call)
		return -ENOMEM;
	call->request = request;
	call->socket = socket;
	call->kernel = kernel;
	call->out = out;
	call->verdict = SL_NETLINK_ANSWER;
	call->reason = NULL;
	call->complete = false;
	call->datagram_len = 0;
	pthread_mutex_lock(&rtnl);
	err = handler->handle(call);
	pthread_mutex_unlock(&rtnl);
	finish(call, err);
	*ret_verdict = call->verdict;
	free(call);
	return out->failed ? -ENOMEM : 0;
}
