/*
 * Lines are built on the stack and written by one system call, so that threads
 * need a lock for the rate limit alone. Everything that came from outside is
 * cleaned on its way in: no value can end a line, forge a field or steer a
 * terminal.
 */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "base/clock.h"
#include "base/text.h"

enum {
	MESSAGE_MAX = 1024,
	VALUE_MAX = 512,
	NAME_MAX_LEN = 64,
	FIELDS_MAX = 16,
	LINE_MAX_LEN = 8192,
	BURST = 10,
	WINDOW_MS = 60 * 1000,
	BUCKETS = 128,
	/* A silent bucket whose count was never told is given up only then. */
	FORGET_MS = 10 * WINDOW_MS,
};

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

static char program[NAME_MAX_LEN] = "handfast";
static _Atomic int max_level = LOG_INFO;
static bool to_journal;
static bool with_prefix;

static const char *const level_names[] = { "emerg",   "alert",	"crit", "err",
					   "warning", "notice", "info", "debug" };

/* systemd.exec(5): $JOURNAL_STREAM holds device and inode of the stream it connected. */
static bool stderr_is_journal(void)
{
	const char *env = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;
	int end = 0;

	if (!env || sscanf(env, "%llu:%llu%n", &dev, &ino, &end) != 2 || env[end])
		return false;
	return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == (dev_t)dev && st.st_ino == (ino_t)ino;
}

void log_init(const char *name, int level)
{
	text_clean(program, sizeof(program), name, strlen(name));
	log_set_level(level);
	/* sd_journal_sendv() says 0 where nobody listens: sd_journal_send(3). */
	to_journal = stderr_is_journal() && access(JOURNAL_SOCKET, W_OK) == 0;
	with_prefix = !isatty(STDERR_FILENO);
}

void log_set_level(int level)
{
	atomic_store_explicit(&max_level, level, memory_order_relaxed);
}

int log_level_parse(const char *s)
{
	for (int i = LOG_ERR; i <= LOG_DEBUG; i++)
		if (strcmp(s, level_names[i]) == 0)
			return i;
	return -1;
}

/* ---- the rate limit ---- */

/*
 * A bucket counts one event with one value of its first field. Values come
 * from strangers, so there is a bounded number; when all are taken, the events
 * without one share a bucket, and a flood of ever new values meets its limit.
 */
struct bucket {
	uint64_t key; /* 0: free */
	uint64_t start_ms;
	unsigned int passed;
	unsigned int held;
};

static pthread_mutex_t buckets_lock = PTHREAD_MUTEX_INITIALIZER;
static struct bucket buckets[BUCKETS], shared_bucket;
static uint64_t suppressed; /* since the start; under the same lock */

/* FNV-1a. A collision makes two events share a limit, no worse. */
static uint64_t hash_text(uint64_t h, const char *s)
{
	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001b3ULL;
	return (h ^ 0xff) * 0x100000001b3ULL;
}

static struct bucket *bucket_for(uint64_t key, uint64_t now)
{
	struct bucket *spare = NULL;

	for (size_t i = 0; i < BUCKETS; i++) {
		struct bucket *b = &buckets[i];

		if (b->key == key)
			return b;
		if (!b->key || now - b->start_ms >= (b->held ? FORGET_MS : WINDOW_MS))
			spare = b;
	}
	if (!spare)
		return &shared_bucket;
	*spare = (struct bucket){ .key = key, .start_ms = now };
	return spare;
}

/* True when the event may pass; *held is how many before it did not. */
static bool rate_pass(const struct log_id *id, struct log_fields fields, unsigned int *held)
{
	uint64_t key = hash_text(0xcbf29ce484222325ULL, id->id), now = clock_now_ms();
	struct bucket *b;
	bool pass = true;

	if (fields.n && fields.v[0].value)
		key = hash_text(key, fields.v[0].value);
	*held = 0;
	pthread_mutex_lock(&buckets_lock);
	b = bucket_for(key ? key : 1, now);
	if (now - b->start_ms >= WINDOW_MS) {
		*held = b->held;
		b->start_ms = now;
		b->passed = 0;
		b->held = 0;
	}
	if (b->passed < BURST) {
		b->passed++;
	} else {
		b->held++;
		suppressed++;
		pass = false;
	}
	pthread_mutex_unlock(&buckets_lock);
	return pass;
}

uint64_t log_suppressed(void)
{
	uint64_t n;

	pthread_mutex_lock(&buckets_lock);
	n = suppressed;
	pthread_mutex_unlock(&buckets_lock);
	return n;
}

/* ---- writing ---- */

struct line {
	char b[LINE_MAX_LEN];
	size_t len;
};

__attribute__((format(printf, 2, 3))) static void line_add(struct line *l, const char *fmt, ...)
{
	size_t room = sizeof(l->b) - l->len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(l->b + l->len, room, fmt, ap);
	va_end(ap);
	if (n > 0)
		l->len += (size_t)n < room ? (size_t)n : room - 1;
}

/* A value is quoted when a reader could not see where it ends. */
static void line_add_value(struct line *l, const char *value)
{
	if (*value && !strpbrk(value, " \"\\[]=")) {
		line_add(l, "%s", value);
		return;
	}
	line_add(l, "\"");
	for (; *value; value++)
		line_add(l, *value == '"' || *value == '\\' ? "\\%c" : "%c", *value);
	line_add(l, "\"");
}

struct event {
	int level;
	const struct log_id *id; /* NULL: a debug line */
	const char *message;
	struct log_field fields[FIELDS_MAX]; /* cleaned, no NULL values */
	size_t n_fields;
};

static void write_stderr(const struct event *e)
{
	struct line l = { .len = 0 };

	if (with_prefix)
		line_add(&l, "<%d>", e->level);
	line_add(&l, "%s: %s: %s", program, level_names[e->level], e->message);
	if (e->id)
		line_add(&l, " [HANDFAST_EVENT=%s", e->id->event);
	for (size_t i = 0; i < e->n_fields; i++) {
		line_add(&l, " %s=", e->fields[i].name);
		line_add_value(&l, e->fields[i].value);
	}
	if (e->id)
		line_add(&l, "]");
	if (l.len == sizeof(l.b) - 1)
		l.len--;
	l.b[l.len++] = '\n';
	while (write(STDERR_FILENO, l.b, l.len) < 0 && errno == EINTR)
		;
}

/* 0, or a negative errno when journald is not there. */
static int write_journal(const struct event *e)
{
	struct line l = { .len = 0 };
	struct iovec iov[FIELDS_MAX + 5];
	size_t starts[FIELDS_MAX + 5], n = 0;

/* The journal's own order of things: NAME=value, one iovec each. */
#define ADD(...)                              \
	do {                                  \
		starts[n++] = l.len;          \
		line_add(&l, __VA_ARGS__);    \
	} while (0)
	ADD("PRIORITY=%d", e->level);
	ADD("SYSLOG_IDENTIFIER=%s", program);
	ADD("MESSAGE=%s", e->message);
	if (e->id) {
		ADD("MESSAGE_ID=%s", e->id->id);
		ADD("HANDFAST_EVENT=%s", e->id->event);
	}
	for (size_t i = 0; i < e->n_fields; i++)
		ADD("%s=%s", e->fields[i].name, e->fields[i].value);
#undef ADD
	for (size_t i = 0; i < n; i++) {
		iov[i].iov_base = l.b + starts[i];
		iov[i].iov_len = (i + 1 < n ? starts[i + 1] : l.len) - starts[i];
	}
	return sd_journal_sendv(iov, (int)n);
}

static void write_event(const struct event *e)
{
	/* Where the journal cannot take it as fields, its stream takes it as a line. */
	if (!to_journal || write_journal(e) < 0)
		write_stderr(e);
}

void log_event(int level, const struct log_id *id, struct log_fields fields, const char *fmt, ...)
{
	char raw[MESSAGE_MAX], message[MESSAGE_MAX + 64], values[4096], count[16];
	struct event e = { .level = level & LOG_PRIMASK, .id = id, .message = message };
	unsigned int held;
	size_t used = 0, len;
	va_list ap;

	if (e.level > atomic_load_explicit(&max_level, memory_order_relaxed))
		return;
	if (!rate_pass(id, fields, &held))
		return;

	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	len = text_clean(message, MESSAGE_MAX, raw, strlen(raw));
	if (held) {
		snprintf(message + len, sizeof(message) - len, " (%u more like this were not logged)",
			 held);
		snprintf(count, sizeof(count), "%u", held);
		e.fields[e.n_fields++] = (struct log_field){ FIELD_COUNT, count };
	}
	for (size_t i = 0; i < fields.n && e.n_fields < FIELDS_MAX; i++) {
		const char *value = fields.v[i].value;
		size_t room = sizeof(values) - used;

		if (!value || room < 2)
			continue;
		e.fields[e.n_fields++] = (struct log_field){ fields.v[i].name, values + used };
		used += 1 + text_clean(values + used, room < VALUE_MAX ? room : VALUE_MAX, value,
				       strlen(value));
	}
	write_event(&e);
}

void log_debug(const char *fmt, ...)
{
	char raw[MESSAGE_MAX], message[MESSAGE_MAX];
	struct event e = { .level = LOG_DEBUG, .message = message };
	va_list ap;

	if (atomic_load_explicit(&max_level, memory_order_relaxed) < LOG_DEBUG)
		return;
	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	text_clean(message, sizeof(message), raw, strlen(raw));
	write_event(&e);
}
