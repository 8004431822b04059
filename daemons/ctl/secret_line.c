/* Secret lines. They lie in locked memory from the first byte on. */
#include "ctl/secret_line.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "crypto/secret.h"

#include "ctl/ctl.h"
#include "ctl/terminal.h"

static int not_told(const struct secret_question *q, int r, struct failure *f)
{
	char hint[128];

	snprintf(hint, sizeof(hint), "Say %s.", q->option);
	if (r == TERMINAL_E_NONE)
		return failure_set(f, EXIT_USAGE, ERROR_NO_TERMINAL, hint, "there is no terminal to ask for the %s on",
				   q->name);
	if (r == TERMINAL_E_INTERRUPTED)
		return failure_set(f, interrupt_exit(), ERROR_INTERRUPTED, NULL, "interrupted");
	return failure_set(f, EXIT_USAGE, ERROR_BAD_SECRET, NULL, "this is too long for a %s", q->name);
}

static int check_length(const struct secret_question *q, size_t len, struct failure *f)
{
	if (len >= q->min && len <= q->max)
		return EXIT_DONE;
	return failure_set(f, EXIT_USAGE, ERROR_BAD_SECRET, q->why, "a %s has %zu to %zu characters", q->name, q->min,
			   q->max);
}

static int ask(const char *question, char *line, size_t cap)
{
	struct terminal *t = NULL;
	int r = terminal_open(&t, false);

	if (r)
		return TERMINAL_E_NONE;
	terminal_write(t, "%s", question);
	do {
		struct pollfd p[] = { { .fd = terminal_fd(t), .events = POLLIN },
				      { .fd = interrupt_fd(), .events = POLLIN } };

		(void)poll(p, ARRAY_SIZE(p), -1);
		r = interrupt_seen() ? TERMINAL_E_INTERRUPTED : terminal_read(t, line, cap);
	} while (r == -EAGAIN);
	terminal_close(t);
	return r;
}

static int ask_person(const struct secret_question *q, char *line, size_t cap, struct failure *f)
{
	char *again;
	int r;

	interrupt_arm();
	r = ask(q->ask, line, cap);
	if (r)
		return not_told(q, r, f);
	if (!q->twice)
		return EXIT_DONE;
	r = check_length(q, strlen(line), f);
	if (r)
		return r;
	again = calloc(1, cap);
	if (!again)
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	r = ask("The same again: ", again, cap);
	if (r)
		r = not_told(q, r, f);
	else if (strcmp(line, again) != 0)
		r = failure_set(f, EXIT_USAGE, ERROR_BAD_SECRET, NULL, "the two are not the same");
	explicit_bzero(again, cap);
	free(again);
	return r;
}

/* The first line; from a descriptor without waiting for its writer to hang up. */
static int read_line(int fd, const char *where, char *line, size_t cap, struct failure *f)
{
	size_t len = 0;
	ssize_t n = 0;

	while (len < cap - 1) {
		n = read(fd, line + len, cap - 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
		if (memchr(line + len - (size_t)n, '\n', (size_t)n))
			break;
	}
	if (n < 0)
		return failure_set(f, EXIT_FAILED, ERROR_FILE, NULL, "cannot read %s: %s", where, strerror(errno));
	line[len] = '\0';
	line[strcspn(line, "\r\n")] = '\0';
	return EXIT_DONE;
}

static int read_file(const char *path, char *line, size_t cap, struct failure *f)
{
	_cleanup_close_ int opened = -1;

	if (strcmp(path, "-") == 0)
		return read_line(STDIN_FILENO, path, line, cap, f);
	opened = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (opened < 0)
		return failure_set(f, errno == EACCES ? EXIT_PERMISSION : EXIT_NO_SUCH, ERROR_NO_SUCH_FILE, NULL,
				   "cannot read %s: %s", path, strerror(errno));
	return read_line(opened, path, line, cap, f);
}

static int read_fd(const char *number, char *line, size_t cap, struct failure *f)
{
	char where[64];
	uint64_t fd;

	snprintf(where, sizeof(where), "file descriptor %s", number);
	/* One that is too large must not be taken for another. */
	if (text_parse_u64(&fd, number, 0, INT_MAX))
		return failure_set(f, EXIT_FAILED, ERROR_FILE, NULL, "cannot read %s: %s", where, strerror(EBADF));
	return read_line((int)fd, where, line, cap, f);
}

int secret_line_get(struct secret **out, const struct secret_question *q, struct failure *f)
{
	_cleanup_(secret_freep) struct secret *mem = NULL;
	const size_t cap = q->max + 2;
	uint8_t *bytes;
	char *line;
	int r;

	if (secret_new(&mem, cap, &bytes))
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	line = (char *)bytes;
	r = q->file ? read_file(q->file, line, cap, f) :
	    q->fd   ? read_fd(q->fd, line, cap, f) :
		      ask_person(q, line, cap, f);
	if (r)
		return r;
	/* What is too short to be made opens nothing either: that is found out by trying. */
	r = q->twice || !*line || strlen(line) > q->max ? check_length(q, strlen(line), f) : EXIT_DONE;
	if (r)
		return r;
	if (secret_take(out, bytes, strlen(line)))
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	return EXIT_DONE;
}
