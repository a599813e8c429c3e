#pragma once

#include "notified.h"

/* The rows of calls.h: each answers the call that it is given. */
void sl_handle_bpf(struct sl_notified *n);
void sl_handle_perf_event_open(struct sl_notified *n);
/* Of a ring: an event's, or a RINGBUF's. */
void sl_handle_mmap(struct sl_notified *n);
void sl_handle_perf_ioctl(struct sl_notified *n);
/* rtnetlink, on sockets that have numbers of the window. */
void sl_handle_netlink_socket(struct sl_notified *n);
void sl_handle_netlink_sendto(struct sl_notified *n);
void sl_handle_netlink_sendmsg(struct sl_notified *n);
void sl_handle_netlink_recvfrom(struct sl_notified *n);
void sl_handle_netlink_recvmsg(struct sl_notified *n);
/* Of a RINGBUF, which is a file and cannot be waited for. */
void sl_handle_epoll_ctl(struct sl_notified *n);
/* Of paths in a bpf file system, and descriptors. */
void sl_handle_statfs(struct sl_notified *n);
void sl_handle_fstatfs(struct sl_notified *n);
/* Names and numbers of interfaces. */
void sl_handle_ifreq(struct sl_notified *n);
