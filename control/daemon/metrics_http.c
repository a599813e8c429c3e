#include "metrics_http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <microhttpd.h>

#include "logging.h"
#include "metrics.h"

/*
 * One thread serves all scrapers by epoll, with sockets that never block: a slow one costs a slot. A
 * connection is for one request and for CONNECTION_S seconds at most, however it spends them, so
 * that slow ones cannot have all slots for long.
 */
enum { CONNECTIONS = 32, CONNECTION_S = 5, CONNECTION_BYTES = 16384 };

static struct MHD_Daemon *server;
static pthread_t thread;
static bool stopping;

/* The thread's own. */
static struct slot {
	int fd; /* -1: free */
	time_t end;
} slots[CONNECTIONS];

static time_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static int parse(const char *text, struct sockaddr_storage *ret_addr, socklen_t *ret_len)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
		.ai_socktype = SOCK_STREAM };
	const char *colon = strrchr(text, ':'), *port = colon ? colon + 1 : text;
	char host[INET6_ADDRSTRLEN + 2] = "127.0.0.1";
	size_t len = colon ? (size_t)(colon - text) : 0;
	unsigned long number;
	struct addrinfo *info;
	char *end;

	if (*port < '0' || *port > '9')
		return -EINVAL;
	number = strtoul(port, &end, 10);
	if (*end || number > UINT16_MAX || len >= sizeof(host))
		return -EINVAL;
	if (len) {
		bool brackets = text[0] == '[' && text[len - 1] == ']';

		if (!brackets && memchr(text, ':', len))
			return -EINVAL;
		snprintf(host, sizeof(host), "%.*s", (int)(len - 2 * brackets), text + brackets);
	}
	if (getaddrinfo(host, port, &hints, &info) != 0)
		return -EINVAL;
	memcpy(ret_addr, info->ai_addr, info->ai_addrlen);
	*ret_len = info->ai_addrlen;
	freeaddrinfo(info);
	return 0;
}

int sl_metrics_check(const char *address)
{
	struct sockaddr_storage addr;
	socklen_t len;

	return parse(address, &addr, &len);
}

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, char *text,
	size_t len, const char *type)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result queued;

	if (!response) {
		free(text);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_VARY, MHD_HTTP_HEADER_ACCEPT);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	queued = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return queued;
}

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned status, const char *why)
{
	char *text = strdup(why);

	return text ? answer(connection, status, text, strlen(text), "text/plain; charset=utf-8")
		    : MHD_NO;
}

static enum MHD_Result serve(void *arg, struct MHD_Connection *connection, const char *url,
	const char *method, const char *version, const char *data, size_t *data_len, void **context)
{
	enum sl_metrics_format format;
	size_t len;
	char *text;

	/* Once before and once after a body, which nobody wants. */
	if (*data_len)
		return MHD_NO;
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		return refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET it\n");
	if (strcmp(url, "/metrics") != 0)
		return refuse(connection, MHD_HTTP_NOT_FOUND, "only /metrics is here\n");
	format = sl_metrics_negotiate(
		MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT));
	text = sl_metrics_text(format, &len);
	if (!text)
		return refuse(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory\n");
	return answer(connection, MHD_HTTP_OK, text, len, sl_metrics_content_type(format));
}

/* A connection comes, or goes. */
static void note(void *arg, struct MHD_Connection *connection, void **context,
	enum MHD_ConnectionNotificationCode what)
{
	const union MHD_ConnectionInfo *info;
	struct slot *slot = *context;

	if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (slot)
			slot->fd = -1;
		return;
	}
	info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	for (unsigned i = 0; info && i < CONNECTIONS; i++) {
		if (slots[i].fd >= 0)
			continue;
		slots[i] = (struct slot){ .fd = info->connect_fd, .end = now() + CONNECTION_S };
		*context = &slots[i];
		break;
	}
}

/* The library finds them closed, and tells note(). */
static void shut_slow(void)
{
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		if (slots[i].fd >= 0 && now() > slots[i].end)
			shutdown(slots[i].fd, SHUT_RDWR);
	}
}

static void *serve_all(void *arg)
{
	pthread_setname_np(pthread_self(), "sluice-metrics");
	while (!__atomic_load_n(&stopping, __ATOMIC_RELAXED)) {
		MHD_run_wait(server, 500);
		shut_slow();
	}
	return NULL;
}

/* What the library has to say; errors of single connections are theirs. */
static void say(void *arg, const char *fmt, va_list args)
{
	char text[256];

	vsnprintf(text, sizeof(text), fmt, args);
	text[strcspn(text, "\n")] = '\0';
	sl_log(SL_LOG_DEBUG, "metrics: %s", text);
}

static int start_server(const struct sockaddr *addr)
{
	unsigned flags = MHD_USE_EPOLL | MHD_USE_ERROR_LOG;

	if (addr->sa_family == AF_INET6)
		flags |= MHD_USE_IPv6;
	for (unsigned i = 0; i < CONNECTIONS; i++)
		slots[i].fd = -1;
	errno = 0;
	server = MHD_start_daemon(flags, 0, NULL, NULL, serve, NULL, MHD_OPTION_EXTERNAL_LOGGER,
		say, NULL, MHD_OPTION_SOCK_ADDR, addr, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS,
		MHD_OPTION_CONNECTION_TIMEOUT, CONNECTION_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)CONNECTION_BYTES, MHD_OPTION_NOTIFY_CONNECTION, note, NULL, MHD_OPTION_END);
	return server ? 0 : -(errno ? errno : EINVAL);
}

static void say_where(const struct sockaddr *addr, socklen_t len)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(server, MHD_DAEMON_INFO_BIND_PORT);
	char host[INET6_ADDRSTRLEN] = "?";

	getnameinfo(addr, len, host, sizeof(host), NULL, 0, NI_NUMERICHOST);
	/* Whatever the log's level: with port 0 nobody else knows. */
	fprintf(stderr,
		addr->sa_family == AF_INET6 ? "sluiced: metrics at http://[%s]:%u/metrics\n"
					    : "sluiced: metrics at http://%s:%u/metrics\n",
		host, info ? info->port : 0u);
}

int sl_metrics_start(const char *address)
{
	struct sockaddr_storage addr;
	socklen_t len;
	int err = parse(address, &addr, &len);

	if (!err)
		err = start_server((const struct sockaddr *)&addr);
	if (!err) {
		__atomic_store_n(&stopping, false, __ATOMIC_RELAXED);
		err = -pthread_create(&thread, NULL, serve_all, NULL);
		if (err) {
			MHD_stop_daemon(server);
			server = NULL;
		}
	}
	if (err)
		sl_log(SL_LOG_ERROR, "cannot serve metrics at %s: %s", address, strerror(-err));
	else
		say_where((const struct sockaddr *)&addr, len);
	return err;
}

void sl_metrics_stop(void)
{
	if (!server)
		return;
	__atomic_store_n(&stopping, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	MHD_stop_daemon(server);
	server = NULL;
}
