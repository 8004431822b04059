/* The PIN or secret of a pairing. Every buffer it passes through is wiped. */
#include "ctl/pair/pair_secret.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "crypto/secret.h"
#include "event/unixsock.h"

#include "ctl/ctl.h"
#include "ctl/daemon.h"
#include "ctl/terminal.h"

enum { PIN_MIN = 6, PIN_MAX = 8, LINE_MAX_LEN = 64, ANSWER_S = 15 };

void pair_secret_wipe(struct pair_secret *s)
{
	explicit_bzero(s, sizeof(*s));
}

bool pair_secret_take_pin(struct pair_secret *s, char *text)
{
	size_t n = 0, len = strlen(text), keep;
	unsigned int bad = 0;

	/* Where a separator is, may be seen; which digit is where, may not: only a digit's lower half tells it. */
	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)text[i];

		if (c >> 4 != '0' >> 4) {
			bad |= !strchr(" -\t\r", c);
			continue;
		}
		if (n < PIN_MAX)
			s->value[n] = c;
		bad |= (c & 15U) / 10;
		n++;
	}
	explicit_bzero(text, len);
	s->value[n < PIN_MAX ? n : PIN_MAX] = '\0';
	/* All ones, or 0: without a branch. */
	keep = 0 - (size_t)((bad == 0) & (n >= PIN_MIN) & (n <= PIN_MAX));
	s->len = n & keep;
	return keep & 1;
}

/* The first line, without waiting for the writer to hang up. */
static int read_line(int fd, char *line, size_t cap)
{
	size_t len = 0;

	while (len + 1 < cap) {
		ssize_t n = read(fd, line + len, 1);

		if (n < 0 && errno == EINTR && !interrupt_seen())
			continue;
		if (n < 0)
			return -errno;
		if (n == 0 || line[len] == '\n')
			break;
		len++;
	}
	line[len] = '\0';
	return 0;
}

static int not_a_pin(const char *where, struct failure *f)
{
	return failure_set(f, EXIT_USAGE, ERROR_BAD_SECRET,
			   "The other device shows it: 6 to 8 digits.", "%s holds no PIN", where);
}

static int cannot_read(const char *path, int r, struct failure *f)
{
	if (r == -ENOENT || r == -ENOTDIR)
		return failure_set(f, EXIT_NO_SUCH, ERROR_NO_SUCH_FILE, NULL, "there is no file %s",
				   path);
	return failure_set(f, r == -EACCES ? EXIT_PERMISSION : EXIT_FAILED, ERROR_FILE, NULL,
			   "cannot read %s: %s", path, strerror(-r));
}

static int read_pin_file(struct pair_secret *s, const char *path, struct failure *f)
{
	char *text = NULL;
	size_t len = 0;
	int r;

	r = file_read(&text, &len, path, LINE_MAX_LEN);
	/* -EINVAL: no regular file. */
	if (r == -EFBIG || r == -EINVAL)
		return not_a_pin(path, f);
	if (r)
		return cannot_read(path, r, f);
	text[strcspn(text, "\n")] = '\0';
	r = pair_secret_take_pin(s, text) ? EXIT_DONE : not_a_pin(path, f);
	explicit_bzero(text, len);
	free(text);
	return r;
}

static int read_pin_fd(struct pair_secret *s, const char *number, struct failure *f)
{
	char line[LINE_MAX_LEN], where[64];
	uint64_t fd;
	int r;

	snprintf(where, sizeof(where), "file descriptor %s", number);
	/* One that is too large must not be taken for another. */
	if (text_parse_u64(&fd, number, 0, INT_MAX))
		return cannot_read(where, -EBADF, f);
	r = read_line((int)fd, line, sizeof(line));
	if (r == -EINTR)
		return failure_set(f, EXIT_INTERRUPTED, ERROR_INTERRUPTED, NULL, "interrupted");
	if (r)
		return cannot_read(where, r, f);
	return pair_secret_take_pin(s, line) ? EXIT_DONE : not_a_pin(where, f);
}

static int read_secret_file(struct pair_secret *s, const char *path, struct failure *f)
{
	char *text = NULL;
	size_t len = 0;
	int r;

	r = file_read(&text, &len, path, SECRET_VALUE_MAX);
	if (r && r != -EFBIG)
		return cannot_read(path, r, f);
	if (r == -EFBIG || len < SECRET_VALUE_MIN_SEC) {
		r = failure_set(f, EXIT_USAGE, ERROR_BAD_SECRET,
				"“head -c 32 /dev/urandom” makes a good one.",
				"a secret has %d to %d bytes; %s has %s", SECRET_VALUE_MIN_SEC,
				SECRET_VALUE_MAX, path, r ? "more" : "fewer");
	} else {
		memcpy(s->value, text, len);
		s->len = len;
		s->class = SECRET_SEC;
	}
	if (text)
		explicit_bzero(text, len);
	free(text);
	return r;
}

int pair_secret_read(struct pair_secret *s, const struct ctl *c, struct failure *f)
{
	const char *pin_file = ctl_option(c, "pin-file"), *pin_fd = ctl_option(c, "pin-fd");
	const char *secret_file = ctl_option(c, "secret-file");

	*s = (struct pair_secret){ .class = SECRET_PIN };
	if (pin_file)
		return read_pin_file(s, pin_file, f);
	if (pin_fd)
		return read_pin_fd(s, pin_fd, f);
	if (secret_file)
		return read_secret_file(s, secret_file, f);
	return EXIT_DONE;
}

int pair_secret_make(struct pair_secret *s, int64_t digits, struct failure *f)
{
	if (crypto_init() != 0)
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL,
				   "the cryptographic library does not start");
	if (digits < PIN_MIN || digits > PIN_MAX)
		digits = PIN_MIN;
	for (int64_t i = 0; i < digits; i++)
		s->value[i] = (uint8_t)('0' + random_below(10));
	s->value[digits] = '\0';
	s->len = (size_t)digits;
	return EXIT_DONE;
}

/* ---- over to pairingd ---- */

static int refused(uint8_t status, struct failure *f)
{
	switch (status) {
	case SECRET_OK:
		return EXIT_DONE;
	case SECRET_NO_TICKET:
		return failure_set(f, EXIT_FAILED, ERROR_BROKEN_ANSWER,
				   "Begin again: “handfast pair”.",
				   "pairingd no longer waits for this secret");
	case SECRET_BAD_VALUE:
		return failure_set(f, EXIT_USAGE, ERROR_BAD_SECRET,
				   "A PIN has 6 to 8 digits, a secret at least 16 bytes.",
				   "pairingd does not take this as a PIN or secret");
	case SECRET_DENIED:
		return failure_set(f, EXIT_PERMISSION, ERROR_NO_PERMISSION,
				   "Pairing needs the group handfast-admin.",
				   "you may not pair this device");
	default:
		return failure_set(f, EXIT_FAILED, ERROR_BROKEN_ANSWER, NULL,
				   "pairingd gave an answer that makes no sense");
	}
}

int pair_secret_hand_over(const struct pair_secret *s, const struct ctl *c, const char *ticket,
			  struct failure *f)
{
	struct secret_msg m = { .class = s->class, .value = s->value, .value_len = s->len };
	uint8_t msg[SECRET_MSG_MAX], status = 0xff;
	char path[4096];
	const struct timeval limit = { .tv_sec = ANSWER_S };
	ssize_t len, n;
	int fd;

	if (!ticket || hex_parse(m.ticket, sizeof(m.ticket), ticket) != 0)
		return refused(0xff, f);
	len = secret_msg_encode(msg, sizeof(msg), &m);
	if (len < 0)
		return refused(SECRET_BAD_VALUE, f);

	runtime_path(c, path, sizeof(path), "pairing-secret.sock");
	fd = unix_connect(path, SOCK_SEQPACKET, false);
	/* A daemon without a free descriptor takes no connection, and says nothing. */
	if (fd >= 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	n = fd < 0 ? fd : unix_send(fd, msg, (size_t)len, -1);
	explicit_bzero(msg, sizeof(msg));
	/* Who may not pair is answered unheard: before our message, or as a reset by it. */
	if (n == 0 || n == -EPIPE)
		n = unix_recv(fd, &status, 1, NULL);
	if (n == -ECONNRESET)
		n = unix_recv(fd, &status, 1, NULL);
	if (fd >= 0)
		close(fd);
	if (n == -EACCES || n == -EPERM)
		return refused(SECRET_DENIED, f);
	if (n == -EAGAIN || n == -ETIMEDOUT)
		return failure_set(f, EXIT_TIMED_OUT, ERROR_TIMED_OUT, NULL, "pairingd does not take the secret");
	if (n < 0)
		return failure_set(f, EXIT_FAILED, ERROR_BROKEN_ANSWER, NULL,
				   "cannot give pairingd the secret (%s): %s", path,
				   strerror((int)-n));
	return refused(n == 1 ? status : 0xff, f);
}
