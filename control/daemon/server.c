#include "server.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "list.h"
#include "logging.h"
#include "session.h"

/*
 * Who floods the socket with connections gets no more than its share of the threads: the rest of the
 * clients have theirs.
 */
enum { CLIENTS_MAX = 1024, CLIENTS_PER_USER_MAX = 256, BACKLOG = 256, STOP_S = 2 };

struct client {
	struct sl_list node;
	int fd; /* the session's; ours to shut down while it is in the list */
	uid_t uid;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gone = PTHREAD_COND_INITIALIZER;
static struct sl_list clients = SL_LIST_INIT(clients);
static unsigned client_count;
static int listen_fd = -1, stop_fd = -1;
static pthread_t acceptor;
static struct sockaddr_un address = { .sun_family = AF_UNIX };

static void forget(struct client *client)
{
	pthread_mutex_lock(&lock);
	sl_list_del(&client->node);
	client_count--;
	pthread_cond_broadcast(&gone);
	pthread_mutex_unlock(&lock);
	free(client);
}

static void *serve(void *arg)
{
	struct client *client = arg;
	/* The session closes its own; ours is closed with the lock, so that it is the right one. */
	int fd = dup(client->fd);

	if (fd >= 0)
		sl_session_run(fd);
	close(client->fd);
	forget(client);
	return NULL;
}

/*
 * Whether one more client of this user fits; with the lock held. However many users the others are,
 * the administrator's share is free for it.
 */
static bool has_room(uid_t uid)
{
	bool privileged = uid == 0 || uid == geteuid();
	const struct client *client;
	unsigned of_user = 0;

	sl_list_for_each (client, &clients, node)
		of_user += client->uid == uid;
	return of_user < CLIENTS_PER_USER_MAX &&
	       client_count < CLIENTS_MAX - (privileged ? 0 : CLIENTS_PER_USER_MAX);
}

static int start_client(int fd)
{
	struct client *client = calloc(1, sizeof(*client));
	struct ucred peer = { .uid = (uid_t)-1 };
	socklen_t len = sizeof(peer);
	pthread_attr_t attr;
	pthread_t thread;
	int err;

	if (!client)
		return -ENOMEM;
	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
	client->fd = fd;
	client->uid = peer.uid;
	pthread_mutex_lock(&lock);
	err = has_room(peer.uid) ? 0 : -EUSERS;
	if (!err) {
		sl_list_add_tail(&clients, &client->node);
		client_count++;
	}
	pthread_mutex_unlock(&lock);
	if (err) {
		free(client);
		return err;
	}
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	err = -pthread_create(&thread, &attr, serve, client);
	pthread_attr_destroy(&attr);
	if (err)
		forget(client);
	return err;
}

static void *accept_clients(void *arg)
{
	struct pollfd fds[] = { { listen_fd, POLLIN, 0 }, { stop_fd, POLLIN, 0 } };
	int fd, err;

	(void)arg;
	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break;
		if (fds[1].revents)
			break;
		fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0) {
			/* Out of descriptors: the others have to go first. */
			if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
				usleep(10000);
			continue;
		}
		err = start_client(fd);
		if (err) {
			sl_log(SL_LOG_WARN, "a client is turned away: %s", strerror(-err));
			close(fd);
		}
	}
	return NULL;
}

/* A socket that nobody listens on was left by a daemon that was killed. */
static int remove_stale(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct stat st;
	int err = 0;

	if (fd < 0)
		return -errno;
	if (lstat(address.sun_path, &st) != 0)
		err = errno == ENOENT ? 0 : -errno;
	else if (!S_ISSOCK(st.st_mode))
		err = -EEXIST;
	else if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		err = -EADDRINUSE;
	else if (errno != ECONNREFUSED)
		err = -errno;
	else if (unlink(address.sun_path) != 0)
		err = -errno;
	close(fd);
	return err;
}

static int open_socket(const struct sl_server_options *options)
{
	mode_t old_mask;
	int err;

	if (strlen(options->path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, options->path);
	err = remove_stale();
	if (err)
		return err;
	listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listen_fd < 0)
		return -errno;
	/* Nobody may connect before the socket is whose it is to be. */
	old_mask = umask(0177);
	err = bind(listen_fd, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
	umask(old_mask);
	if (err)
		return err;
	if ((options->group != (gid_t)-1 &&
		    chown(address.sun_path, (uid_t)-1, options->group) != 0) ||
		chmod(address.sun_path, 0660) != 0 || listen(listen_fd, BACKLOG) != 0) {
		err = -errno;
		unlink(address.sun_path);
	}
	return err;
}

static void close_fds(void)
{
	if (listen_fd >= 0)
		close(listen_fd);
	if (stop_fd >= 0)
		close(stop_fd);
	listen_fd = stop_fd = -1;
}

int sl_server_start(const struct sl_server_options *options)
{
	int err = open_socket(options);

	if (!err) {
		stop_fd = eventfd(0, EFD_CLOEXEC);
		err = stop_fd >= 0 ? -pthread_create(&acceptor, NULL, accept_clients, NULL)
				   : -errno;
		if (err)
			unlink(address.sun_path);
	}
	if (err) {
		sl_log(SL_LOG_ERROR, "cannot listen on %s: %s", options->path, strerror(-err));
		close_fds();
	}
	return err;
}

bool sl_server_stop(void)
{
	struct timespec until;
	struct client *client;
	int err = 0;

	if (listen_fd < 0)
		return true;
	eventfd_write(stop_fd, 1);
	pthread_join(acceptor, NULL);
	unlink(address.sun_path);
	close_fds();
	pthread_mutex_lock(&lock);
	sl_list_for_each (client, &clients, node)
		shutdown(client->fd, SHUT_RDWR);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += STOP_S;
	while (!sl_list_empty(&clients) && !err)
		err = pthread_cond_timedwait(&gone, &lock, &until);
	if (err)
		sl_log(SL_LOG_WARN, "%u clients' calls do not end; going without them",
			client_count);
	pthread_mutex_unlock(&lock);
	return !err;
}
