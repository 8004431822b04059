/*
 * Events whose texts and values are any bytes, as they reach stderr and the journal: a row of events, time, and readers that
 * do not read. Writing is a double.
 *
 * What must hold: an event is one line of clean UTF-8, no longer than a pipe takes whole; in the journal each field is
 * a line of its own, and there is none that was not given.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "fuzz/lib/sequence.h"

static ssize_t on_write(int fd, const void *data, size_t len);
static ssize_t on_sendmsg(int fd, const struct msghdr *msg, int flags);
static int on_poll(struct pollfd *p, nfds_t n, int ms);
static int on_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old);

#define write on_write
#define sendmsg on_sendmsg
#define poll on_poll
#define timerfd_settime on_settime
#include "../../../common/base/log.c"
#undef write
#undef sendmsg
#undef poll
#undef timerfd_settime

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VALUES = 6 };

static unsigned int refusals; /* writes to come that nobody takes */
static uint64_t now_ms;
static const char *const names[VALUES] = { FIELD_TUNNEL, FIELD_PEER, FIELD_ERROR, FIELD_CALLER, FIELD_STEP, "HANDFAST_WORD" };

static bool is_clean(const char *text, size_t len)
{
	char copy[LINE_MAX_LEN];

	return text_is_utf8(text, len) && text_clean(copy, sizeof(copy), text, len) == len;
}

static bool is_refused(void)
{
	refusals -= refusals > 0;
	return refusals > 0;
}

static ssize_t on_write(int fd, const void *data, size_t len)
{
	const char *text = data;

	assert(fd == STDERR_FILENO && len > 1 && len <= STDERR_MAX && text[len - 1] == '\n');
	assert(is_clean(text, len - 1));
	if (!is_refused())
		return (ssize_t)len;
	errno = EPIPE;
	return -1;
}

static bool is_expected(const char *name, size_t len)
{
	static const char *const own[] = { "PRIORITY", "SYSLOG_IDENTIFIER", "MESSAGE", "MESSAGE_ID", "HANDFAST_EVENT", FIELD_COUNT, FIELD_UNLOGGED };

	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (strlen(own[i]) == len && memcmp(own[i], name, len) == 0)
			return true;
	for (size_t i = 0; i < VALUES; i++)
		if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
			return true;
	return false;
}

static ssize_t on_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	const char *text = msg->msg_iov->iov_base, *p = text, *end = text + msg->msg_iov->iov_len, *eol;
	unsigned int n = 0, events = 0;

	assert(fd == journal_fd && (flags & MSG_DONTWAIT) && msg->msg_iovlen == 1);
	for (; p < end; p = eol + 1, n++) {
		const char *equals;

		eol = memchr(p, '\n', (size_t)(end - p));
		assert(eol && is_clean(p, (size_t)(eol - p)));
		equals = memchr(p, '=', (size_t)(eol - p));
		assert(equals && is_expected(p, (size_t)(equals - p)));
		events += strncmp(p, "HANDFAST_EVENT=", 15) == 0;
	}
	assert(n >= 3 && n <= 5 + FIELDS_MAX && events <= 1);
	if (!is_refused())
		return end - text;
	errno = now_ms & 1 ? EAGAIN : ENOENT;
	return -1;
}

static int on_poll(struct pollfd *p, nfds_t n, int ms)
{
	assert(p->fd == STDERR_FILENO && n == 1 && ms == 0);
	return refusals % 3 != 2;
}

static int on_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old)
{
	(void)fd;
	(void)flags;
	(void)old;
	assert(new->it_value.tv_sec >= 0 && new->it_value.tv_sec * 1000 <= WINDOW_MS);
	return 0;
}

/* The message, then values, each ended by a NUL; an empty one is none. */
static void log_one(const struct happening *h)
{
	static const struct log_id *const ids[] = { &MSG_TUNNEL_UP, &MSG_IDENTITY_DENIED, &MSG_EVENTS_NOT_LOGGED, &MSG_TUNNEL_OTHER_KEY };
	char text[256];
	const char *part = text, *message;
	struct log_field v[VALUES];
	size_t n = 0;

	memcpy(text, h->data, h->len);
	text[h->len] = '\0';
	message = part;
	while (n < VALUES && (part += strlen(part) + 1) < text + h->len) {
		/* Which are there is the input's, too: the first may be a subject. */
		v[n].name = names[(n + (h->what >> 5)) % VALUES];
		v[n++].value = *part ? part : NULL;
	}
	if (h->what & 16)
		log_debug("%s%s%s", message, message, message);
	else
		log_event(h->what >> 2 & 7, ids[h->what >> 5 & 3], (struct log_fields){ v, n }, "%s", message);
}

/* Values as long as they come. */
static void log_long(const struct happening *h)
{
	char text[2048];
	struct log_field v[VALUES];
	size_t len = 0;

	while (h->len > 0 && len + h->len < sizeof(text)) {
		memcpy(text + len, h->data, h->len);
		len += h->len;
	}
	text[len] = '\0';
	for (size_t i = 0; i < VALUES; i++)
		v[i] = (struct log_field){ names[i], text };
	log_event(LOG_ERR, &MSG_TUNNEL_UP, (struct log_fields){ v, (size_t)(h->what >> 5) % (VALUES + 1) }, "%s", text);
}

static void happen(const struct happening *h)
{
	switch (h->what & 3) {
	case 0:
	case 1:
		log_one(h);
		break;
	case 2:
		log_long(h);
		break;
	default:
		if (h->what & 4)
			now_ms += happening_number(h, 0, 2) * 8;
		else if (h->what & 8)
			refusals = happening_byte(h, 0);
		clock_fake_ms(now_ms);
		log_tell(h->what & 16);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sequence seq = { data, size };
	struct happening h;

	if (size == 0)
		return 0;
	memset(buckets, 0, sizeof(buckets));
	held_since_ms = suppressed = lost = provoked_until_ms = 0;
	refusals = 0;
	now_ms = 1000000;
	clock_fake_ms(now_ms);
	to_journal = data[0] & 1;
	with_prefix = data[0] & 2;
	journal_fd = 1000;
	log_set_level(data[0] & 4 ? LOG_DEBUG : LOG_INFO);
	seq.p++;
	seq.left--;
	while (sequence_next(&seq, &h))
		happen(&h);
	refusals = 0;
	log_tell(true);
	assert(!held_since_ms && !lost);
	for (size_t i = 0; i <= BUCKETS; i++)
		assert(!buckets[i].held);
	return 0;
}
