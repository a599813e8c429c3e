#include "top.h"

#include <errno.h>
#include <ncurses.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon.h"
#include "verb.h"

/*
 * The terminal. Nothing is drawn but by this thread, which waits for keys between two looks: no signal
 * handlers but the library's own, for a new size (KEY_RESIZE) and for those that end the program, before
 * which it restores the terminal.
 */
enum { FIRST_LOOK_MS = 300, EARLY_MAX = 20 };

struct screen {
	struct sl_top *top;
	struct sl_figures figures;
	bool filled;
	int line, scroll; /* being drawn; first that is shown */
	int count; /* of lines, in all */
	char reason[SL_DAEMON_REASON]; /* why there is nothing new; empty */
};

static void draw_line(void *arg, const char *text, bool heading)
{
	struct screen *s = arg;
	int row = s->line++ - s->scroll + 1;

	if (row < 1 || row >= LINES)
		return;
	if (heading)
		attron(A_REVERSE);
	/* A heading goes over the whole width, an empty one is an empty line. */
	if (heading && *text)
		mvprintw(row, 0, "%-*.*s", COLS, COLS, text);
	else if (*text) {
		attroff(A_REVERSE);
		mvaddnstr(row, 0, text, COLS);
	}
	attroff(A_REVERSE);
}

static void draw(struct screen *s)
{
	time_t now = time(NULL);
	char title[512], clock[16];
	struct tm tm;

	erase();
	strftime(clock, sizeof(clock), "%H:%M:%S", localtime_r(&now, &tm));
	snprintf(title, sizeof(title), "sluice top - %s, every %g s, by %s%s  %s", clock,
		s->top->delay_s, sl_figures_sort_name(s->top->sort),
		s->top->reverse ? " (turned)" : "", s->reason);
	attron(A_BOLD);
	mvaddnstr(0, 0, title, COLS);
	attroff(A_BOLD);
	s->line = 0;
	if (s->filled)
		sl_figures_print(&s->figures, (unsigned)COLS, draw_line, s);
	s->count = s->line;
	refresh();
}

static void scroll_to(struct screen *s, int line)
{
	int last = s->count - (LINES - 1);

	if (line > last)
		line = last;
	s->scroll = line < 0 ? 0 : line;
}

static void change_delay(struct sl_top *top, double factor)
{
	double delay = top->delay_s * factor;

	if (delay * 1000 >= SL_TOP_DELAY_MIN_MS && delay <= SL_TOP_DELAY_MAX_S)
		top->delay_s = delay;
}

enum verdict { GO_ON, LOOK, SORTED, QUIT };

static enum verdict act(struct screen *s, int key)
{
	switch (key) {
	case 'q':
	case 'Q':
		return QUIT;
	case ' ':
		return LOOK;
	case 's':
		s->top->sort = (s->top->sort + 1) % SL_SORTS;
		return SORTED;
	case 'r':
		s->top->reverse = !s->top->reverse;
		return SORTED;
	case '+':
		change_delay(s->top, 2);
		break;
	case '-':
		change_delay(s->top, 0.5);
		break;
	case KEY_UP:
		scroll_to(s, s->scroll - 1);
		break;
	case KEY_DOWN:
		scroll_to(s, s->scroll + 1);
		break;
	case KEY_PPAGE:
		scroll_to(s, s->scroll - (LINES - 2));
		break;
	case KEY_NPAGE:
		scroll_to(s, s->scroll + LINES - 2);
		break;
	case KEY_HOME:
		scroll_to(s, 0);
		break;
	case 'L' & 0x1f:
		clearok(stdscr, TRUE);
		break;
	case KEY_RESIZE:
		scroll_to(s, s->scroll);
		break;
	default:
		break;
	}
	return GO_ON;
}

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int wait_ms(long left)
{
	return (int)(left < 1000 ? left : 1000);
}

/* Answers keys until it is time for the next look. */
static enum verdict wait_for_keys(
	struct screen *s, long until_ms, struct json_object *before, struct json_object *now)
{
	for (unsigned early = 0; early < EARLY_MAX;) {
		long left = until_ms - now_ms();
		enum verdict verdict;
		int key;

		if (left <= 0)
			return LOOK;
		timeout(wait_ms(left));
		key = getch();
		/* Without a key before its time: the terminal is gone. */
		if (key == ERR) {
			early = now_ms() + 5 < until_ms - left + wait_ms(left) ? early + 1 : 0;
			continue;
		}
		early = 0;
		verdict = act(s, key);
		if (verdict == QUIT || verdict == LOOK)
			return verdict;
		if (verdict == SORTED && s->filled) {
			sl_figures_done(&s->figures);
			s->filled = sl_figures_make(&s->figures, before, now, s->top->sort,
					    s->top->reverse) == 0;
		}
		draw(s);
	}
	return QUIT;
}

/* An exit status; 1 when the daemon has never answered. */
static int run(struct screen *s)
{
	struct json_object *before = NULL, *now = sl_top_ask(s->reason);
	enum verdict verdict = now ? GO_ON : QUIT;
	unsigned long looks = 0;

	if (!now)
		return 1;
	while (verdict != QUIT && (!s->top->iterations || looks <= s->top->iterations)) {
		long delay_ms = before ? (long)(s->top->delay_s * 1000) : FIRST_LOOK_MS;
		struct json_object *next;

		if (s->filled)
			sl_figures_done(&s->figures);
		s->filled = sl_figures_make(
				    &s->figures, before, now, s->top->sort, s->top->reverse) == 0;
		draw(s);
		if (s->top->iterations && looks == s->top->iterations)
			break;
		verdict = wait_for_keys(s, now_ms() + delay_ms, before, now);
		if (verdict == QUIT)
			break;
		next = sl_top_ask(s->reason);
		/* A daemon that starts again counts from the beginning. */
		if (next) {
			json_object_put(before);
			before = now;
			now = next;
			s->reason[0] = '\0';
			looks++;
		}
	}
	if (s->filled)
		sl_figures_done(&s->figures);
	json_object_put(before);
	json_object_put(now);
	return 0;
}

int sl_top_screen(struct sl_top *top)
{
	struct screen s = { .top = top };
	int status;
	SCREEN *terminal = newterm(NULL, stdout, stdin);

	if (!terminal)
		return sl_cli_fail("cannot use this terminal (TERM is '%s')",
			getenv("TERM") ? getenv("TERM") : "");
	cbreak();
	noecho();
	curs_set(0);
	keypad(stdscr, TRUE);
	status = run(&s);
	endwin();
	delscreen(terminal);
	return status ? sl_cli_fail("%s", s.reason) : 0;
}
