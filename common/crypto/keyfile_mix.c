/*
 * Reads without blocking, since a device that has broken may never answer. The tests are those of a noise
 * source that fails, as in SP 800-90B section 4.4, with cutoffs for one bit of entropy a byte at 2^-30: a
 * sound source of any make never meets them.
 */
#include "crypto/keyfile_mix.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "crypto/keyfile_io.h"
#include "crypto/secret.h"

enum {
	REPEATS_MAX = 31, /* SP 800-90B section 4.4.1 */
	WINDOW = 512,	  /* SP 800-90B section 4.4.2 */
	WINDOW_MAX = 325,
	PERIOD_MAX = 512, /* patterns up to this long are seen */
	HEAD_LEN = 64,	  /* what is remembered of the piece before */
	WAIT_MS = 100,
	SILENCE_MS = 60000,
};

struct keyfile_mix {
	int fd;
	char *path;
	struct secret *secret;
	uint8_t *bytes;
	uint64_t done;
	/* Of what was read so far. */
	uint8_t last, head[HEAD_LEN];
	unsigned int repeats;
	size_t head_len;
};

int keyfile_mix_open(struct keyfile_mix **out, const char *path, char *detail, size_t cap)
{
	_cleanup_(keyfile_mix_closep) struct keyfile_mix *m = calloc(1, sizeof(*m));
	struct stat st;
	int r;

	if (!m)
		return text_explain(detail, cap, -ENOMEM, "no memory");
	m->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (m->fd < 0 || fstat(m->fd, &st) < 0)
		return text_explain(detail, cap, -errno, "cannot open %s: %s", path, strerror(errno));
	if (!S_ISCHR(st.st_mode) && !S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
		return text_explain(detail, cap, KEYFILE_E_MIX, "%s is no device, pipe or file to read from", path);
	m->path = strdup(path);
	r = m->path ? secret_new(&m->secret, KEYFILE_MIX_MAX, &m->bytes) : -ENOMEM;
	if (r)
		return text_explain(detail, cap, r, "no memory");
	*out = steal(&m);
	return 0;
}

struct keyfile_mix *keyfile_mix_close(struct keyfile_mix *m)
{
	if (!m)
		return NULL;
	closep(&m->fd);
	secret_free(m->secret);
	free(m->path);
	wipe(m, sizeof(*m));
	free(m);
	return NULL;
}

/* ---- reading ---- */

/* poll() is not told by every device when it has something: never only that. */
static void wait_a_little(const struct keyfile_mix *m)
{
	struct pollfd p = { .fd = m->fd, .events = POLLIN };
	const struct timespec ms10 = { .tv_nsec = 10000000 };

	if (poll(&p, 1, WAIT_MS) > 0)
		nanosleep(&ms10, NULL);
}

static int read_piece(struct keyfile_mix *m, size_t n, int (*keep_waiting)(void *arg), void *arg, char *detail, size_t cap)
{
	uint64_t heard_ms = clock_now_ms();
	size_t have = 0;

	while (have < n) {
		ssize_t got = read(m->fd, m->bytes + have, n - have);

		if (got > 0) {
			have += (size_t)got;
			heard_ms = clock_now_ms();
			continue;
		}
		if (got == 0)
			return text_explain(detail, cap, KEYFILE_E_MIX, "%s ended after %llu bytes: a key file needs as many as it has itself",
					    m->path, (unsigned long long)(m->done + have));
		if (errno != EAGAIN && errno != EINTR)
			return text_explain(detail, cap, KEYFILE_E_MIX, "cannot read %s: %s", m->path, strerror(errno));
		if (keep_waiting(arg))
			return KEYFILE_E_STOPPED;
		if (clock_now_ms() - heard_ms >= SILENCE_MS)
			return text_explain(detail, cap, KEYFILE_E_MIX, "%s has given nothing for a minute", m->path);
		wait_a_little(m);
	}
	m->done += n;
	return 0;
}

/* ---- testing ---- */

/* SP 800-90B section 4.4.1, across pieces. */
static bool repeats_itself(struct keyfile_mix *m, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		m->repeats = m->repeats > 0 && m->bytes[i] == m->last ? m->repeats + 1 : 1;
		m->last = m->bytes[i];
		if (m->repeats >= REPEATS_MAX)
			return true;
	}
	return false;
}

/* SP 800-90B section 4.4.2, in the whole windows of a piece. */
static bool prefers_a_byte(const struct keyfile_mix *m, size_t n)
{
	for (size_t at = 0; at + WINDOW <= n; at += WINDOW) {
		unsigned int same = 0;

		for (size_t i = 0; i < WINDOW; i++)
			same += m->bytes[at + i] == m->bytes[at];
		if (same >= WINDOW_MAX)
			return true;
	}
	return false;
}

/* A pattern, as of a register that nobody fills. */
static bool has_period(const struct keyfile_mix *m, size_t n)
{
	size_t most = n / 2 < PERIOD_MAX ? n / 2 : PERIOD_MAX;

	for (size_t period = 1; period <= most; period++)
		if (memcmp(m->bytes, m->bytes + period, most) == 0)
			return true;
	return false;
}

/* The piece before once more, as of a buffer that nobody fills. */
static bool is_the_last_again(struct keyfile_mix *m, size_t n)
{
	size_t len = n < HEAD_LEN ? n : HEAD_LEN;
	bool again = m->head_len == len && memcmp(m->head, m->bytes, len) == 0;

	memcpy(m->head, m->bytes, len);
	m->head_len = len;
	return again;
}

static int check(struct keyfile_mix *m, size_t n, char *detail, size_t cap)
{
	const char *what = NULL;

	if (repeats_itself(m, n))
		what = "gives one byte over and over";
	else if (prefers_a_byte(m, n))
		what = "gives one byte too often";
	else if (has_period(m, n))
		what = "gives one pattern over and over";
	else if (is_the_last_again(m, n))
		what = "gives the same again";
	return what ? text_explain(detail, cap, KEYFILE_E_MIX, "%s %s: it is stuck, or no random generator", m->path, what) : 0;
}

int keyfile_mix_xor(struct keyfile_mix *m, uint8_t *bytes, size_t n, int (*keep_waiting)(void *arg), void *arg, char *detail,
		    size_t cap)
{
	int r = read_piece(m, n, keep_waiting, arg, detail, cap);

	if (!r)
		r = check(m, n, detail, cap);
	for (size_t i = 0; !r && i < n; i++)
		bytes[i] ^= m->bytes[i];
	return r;
}
