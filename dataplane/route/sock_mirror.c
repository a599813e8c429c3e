#include <fcntl.h>
#include <pthread.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "background.h"
#include "cpu.h"
#include "sock_read.h"

/*
 * When the table of sockets is read: by a test run that asks for a socket, at once; and by the
 * background thread as long as a loaded program may ask and there are workers, again and again. That
 * thread has others to serve, so it reads a piece at a time, and rests between two readings for at
 * least PAUSE_MS and for as long as PAUSE_FACTOR times the reading took.
 */
enum { PAUSE_MS = 100, PAUSE_FACTOR = 4, STEPS = 4, STEP_PAUSE_US = 200 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all below */
static unsigned wanted; /* programs */
static int timer_fd = -1;
static struct sl_sock_reader reader; /* the background thread's */
static uint64_t began_ns;
static uint32_t last_count; /* sockets of the last table */
static bool current; /* read without the lock: no test run has begun since it was read */

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* 0: never. */
static void wake_in(uint64_t ns)
{
	struct itimerspec at = { .it_value = { .tv_sec = (time_t)(ns / 1000000000),
					 .tv_nsec = (long)(ns % 1000000000) } };

	timerfd_settime(timer_fd, 0, &at, NULL);
}

static bool has_workers(void)
{
	for (unsigned cpu = 0; cpu < sl_cpu_count(); cpu++)
		if (sl_cpu_is_owned(cpu))
			return true;
	return false;
}

/* With the lock held. */
static void publish(struct sl_sock_table *table)
{
	last_count = table ? table->count : 0;
	sl_sock_table_publish(table);
}

/* With the lock held. How long to wait until the next step, 0 for ever. */
static uint64_t work(void)
{
	uint64_t pause = PAUSE_MS * 1000000ull;
	struct sl_sock_table *table;
	int ret = 1;

	if (!wanted || !has_workers()) {
		sl_sock_read_end(&reader);
		return wanted ? pause : 0;
	}
	if (!reader.table) {
		began_ns = now_ns();
		/* Without memory or descriptors: later. What there is stays. */
		if (sl_sock_read_begin(&reader, last_count + last_count / 8))
			return pause;
	}
	for (unsigned i = 0; i < STEPS && ret > 0; i++)
		ret = sl_sock_read_step(&reader, &table);
	if (ret > 0)
		return STEP_PAUSE_US * 1000ull;
	if (ret == 0)
		publish(table);
	return sl_max(pause, PAUSE_FACTOR * (now_ns() - began_ns));
}

static void on_timer(void *arg)
{
	uint64_t expirations;

	(void)arg;
	/* A test run reads them right now, and others than it are not to wait for it. */
	if (pthread_mutex_trylock(&lock) != 0) {
		wake_in(PAUSE_MS * 1000000ull);
		return;
	}
	if (read(timer_fd, &expirations, sizeof(expirations)) == sizeof(expirations))
		wake_in(work());
	pthread_mutex_unlock(&lock);
}

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void in_parent(void)
{
	pthread_mutex_unlock(&lock);
}

/* The timer and the half-read answer are the parent's: the child gets its own under the same number. */
static void in_child(void)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	pthread_mutex_init(&lock, NULL);
	sl_sock_read_end(&reader);
	current = false;
	if (fd < 0)
		return;
	dup3(fd, timer_fd, O_CLOEXEC);
	close(fd);
	if (wanted)
		wake_in(1);
}

/* With the lock held. */
static void start(void)
{
	if (timer_fd >= 0)
		return;
	timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (timer_fd < 0)
		return;
	if (sl_background_add_fd(timer_fd, on_timer, NULL)) {
		close(timer_fd);
		timer_fd = -1;
		return;
	}
	pthread_atfork(before_fork, in_parent, in_child);
}

void sl_sock_want(void)
{
	pthread_mutex_lock(&lock);
	start();
	if (!wanted++ && timer_fd >= 0)
		wake_in(1);
	pthread_mutex_unlock(&lock);
}

void sl_sock_unwant(void)
{
	pthread_mutex_lock(&lock);
	if (!--wanted) {
		/* The background thread ends a reading that it is in at its next step. */
		publish(NULL);
		__atomic_store_n(&current, false, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&lock);
}

void sl_sock_expire(void)
{
	__atomic_store_n(&current, false, __ATOMIC_RELEASE);
}

void sl_sock_import(void)
{
	struct sl_sock_reader own;
	struct sl_sock_table *table = NULL;
	int ret;

	if (__atomic_load_n(&current, __ATOMIC_ACQUIRE))
		return;
	pthread_mutex_lock(&lock);
	if (!current) {
		ret = sl_sock_read_begin(&own, last_count + last_count / 8);
		if (!ret)
			do
				ret = sl_sock_read_step(&own, &table);
			while (ret > 0);
		/* Those of another time would be worse than none. */
		publish(ret ? NULL : table);
		__atomic_store_n(&current, true, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&lock);
}
