/*
 * Asking the person. Echo is switched off before the question is written and
 * back on by whatever way the wait ends; input typed ahead of the question is
 * thrown away, since it was no answer to it.
 */
#include "ctl/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"

static int interrupt_pipe[2] = { -1, -1 };
static volatile sig_atomic_t interrupted;

static void on_interrupt(int signo)
{
	int saved = errno;

	interrupted = signo;
	if (write(interrupt_pipe[1], "", 1) < 0) {
		/* Full: it is readable already. */
	}
	errno = saved;
}

static void handle(void (*handler)(int))
{
	/* No SA_RESTART: a blocking call in progress ends, too. */
	const struct sigaction sa = { .sa_handler = handler };

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
}

void interrupt_arm(void)
{
	if (interrupt_pipe[0] >= 0)
		return;
	if (pipe2(interrupt_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		return;
	handle(on_interrupt);
}

void interrupt_block(bool block)
{
	sigset_t all;

	sigemptyset(&all);
	sigaddset(&all, SIGINT);
	sigaddset(&all, SIGTERM);
	sigaddset(&all, SIGHUP);
	sigprocmask(block ? SIG_BLOCK : SIG_UNBLOCK, &all, NULL);
}

void interrupt_hold(bool hold)
{
	if (interrupt_pipe[0] < 0)
		return;
	handle(hold ? on_interrupt : SIG_DFL);
	if (!hold && interrupted)
		raise(interrupted);
}

int interrupt_seen(void)
{
	return interrupted;
}

enum exit_code interrupt_exit(void)
{
	return interrupted ? (enum exit_code)(128 + interrupted) : EXIT_INTERRUPTED;
}

int interrupt_fd(void)
{
	return interrupt_pipe[0];
}

struct terminal {
	int fd;
	bool restore;
	struct termios before;
	char buffer[256];
	size_t len;
};

bool terminal_is_there(void)
{
	int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

int terminal_open(struct terminal **out, bool echo)
{
	struct terminal *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (t->fd < 0) {
		free(t);
		return TERMINAL_E_NONE;
	}
	if (!echo && tcgetattr(t->fd, &t->before) == 0) {
		struct termios quiet = t->before;

		quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK);
		quiet.c_lflag |= ECHONL;
		t->restore = true;
		tcsetattr(t->fd, TCSAFLUSH, &quiet);
	} else {
		tcflush(t->fd, TCIFLUSH);
	}
	*out = t;
	return 0;
}

int terminal_fd(const struct terminal *t)
{
	return t->fd;
}

void terminal_write(struct terminal *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vdprintf(t->fd, fmt, ap);
	va_end(ap);
}

int terminal_read(struct terminal *t, char *line, size_t cap)
{
	char *end;
	ssize_t n;
	size_t len;

	if (t->len == sizeof(t->buffer))
		return TERMINAL_E_TOO_LONG;
	n = read(t->fd, t->buffer + t->len, sizeof(t->buffer) - t->len);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? -EAGAIN : TERMINAL_E_INTERRUPTED;
	if (n == 0)
		return TERMINAL_E_INTERRUPTED; /* Ctrl-D, or the terminal is gone */
	t->len += (size_t)n;
	end = memchr(t->buffer, '\n', t->len);
	if (!end)
		return -EAGAIN;
	len = (size_t)(end - t->buffer);
	if (len >= cap)
		return TERMINAL_E_TOO_LONG;
	memcpy(line, t->buffer, len);
	line[len] = '\0';
	explicit_bzero(t->buffer, sizeof(t->buffer));
	t->len = 0;
	return 0;
}

struct terminal *terminal_close(struct terminal *t)
{
	if (!t)
		return NULL;
	if (t->restore)
		tcsetattr(t->fd, TCSANOW, &t->before);
	explicit_bzero(t->buffer, sizeof(t->buffer));
	close(t->fd);
	free(t);
	return NULL;
}

int terminal_confirm(const char *fmt, ...)
{
	struct terminal *t = NULL;
	char question[512], line[64] = "";
	va_list ap;
	int r;

	r = terminal_open(&t, true);
	if (r)
		return r < 0 ? TERMINAL_E_NONE : r;
	interrupt_arm();
	va_start(ap, fmt);
	vsnprintf(question, sizeof(question), fmt, ap);
	va_end(ap);
	terminal_write(t, "%s [y/N] ", question);
	do {
		struct pollfd fds[2] = { { .fd = t->fd, .events = POLLIN },
					 { .fd = interrupt_fd(), .events = POLLIN } };

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break;
		r = interrupt_seen() ? TERMINAL_E_INTERRUPTED :
		    fds[0].revents   ? terminal_read(t, line, sizeof(line)) :
				       -EAGAIN;
	} while (r == -EAGAIN);
	if (r == TERMINAL_E_INTERRUPTED)
		terminal_write(t, "\n");
	terminal_close(t);
	if (r)
		return r == TERMINAL_E_TOO_LONG ? TERMINAL_E_DECLINED : r;
	return strcmp(line, "y") == 0 || strcmp(line, "Y") == 0 || strcmp(line, "yes") == 0 ?
		       0 :
		       TERMINAL_E_DECLINED;
}
