/*
 * Structured log events. With stderr connected to the journal, fields go there
 * by sd_journal_sendv(); else each event is one line on stderr. A small table
 * counts what is repeated, so that a flood costs lines in the order of minutes,
 * not packets.
 */
#include "base/log.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <systemd/sd-journal.h>

#include "base/clock.h"
#include "base/text.h"

enum {
	LINE_MAX_LEN = 2048,
	VALUE_MAX_LEN = 512,
	FIELDS_MAX = 16,
	BUCKETS = 64,
	BURST = 10,
	WINDOW_MS = 60000,
};

/* One (event, first field's value) that was seen lately. */
struct bucket {
	const struct log_id *id;
	uint64_t key;
	uint64_t since_ms;
	unsigned int passed;
	uint64_t held;
};

static struct {
	pthread_mutex_t lock;
	const char *name;
	int level;
	bool journal;
	struct bucket buckets[BUCKETS];
} state = { .lock = PTHREAD_MUTEX_INITIALIZER, .name = "handfast", .level = LOG_INFO };

static const char *const level_names[] = { "emerg",   "alert",	"crit", "err",
					   "warning", "notice", "info", "debug" };

/* JOURNAL_STREAM=DEV:INODE names stderr when systemd connected it to the journal. */
static bool stderr_is_journal(void)
{
	const char *s = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return s && sscanf(s, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	       st.st_dev == dev && st.st_ino == ino;
}

void log_init(const char *name, int level)
{
	state.name = name;
	state.level = level;
	state.journal = stderr_is_journal();
}

void log_set_level(int level)
{
	state.level = level;
}

int log_level_parse(const char *s)
{
	for (int i = LOG_ERR; i <= LOG_DEBUG; i++)
		if (strcmp(s, level_names[i]) == 0)
			return i;
	return -1;
}

static uint64_t bucket_key(const char *value)
{
	uint64_t h = 14695981039346656037u; /* FNV-1a: spreads, and need not resist anybody */

	for (; value && *value; value++)
		h = (h ^ (uint8_t)*value) * 1099511628211u;
	return h;
}

/* Whether this event may be written now; *held is how many before it were not. */
static bool limiter_passes(const struct log_id *id, const char *value, uint64_t *held)
{
	uint64_t key = bucket_key(value), now = clock_now_ms();
	struct bucket *b = &state.buckets[(key ^ bucket_key(id->id)) % BUCKETS];

	*held = 0;
	if (b->id != id || b->key != key) {
		*b = (struct bucket){ .id = id, .key = key, .since_ms = now, .passed = 1 };
		return true;
	}
	if (now - b->since_ms >= WINDOW_MS) {
		*held = b->held;
		b->since_ms = now;
		b->passed = 1;
		b->held = 0;
		return true;
	}
	if (b->passed < BURST) {
		b->passed++;
		return true;
	}
	b->held++;
	return false;
}

static void write_stderr(int level, struct log_fields fields, const char *event, const char *text)
{
	char line[LINE_MAX_LEN];
	size_t n;

	n = (size_t)snprintf(line, sizeof(line), "<%d>%s: %s: %s", level, state.name,
			     level_names[level & 7], text);
	for (size_t i = 0; event && i <= fields.n && n < sizeof(line); i++) {
		char value[VALUE_MAX_LEN];
		const char *name = i ? fields.v[i - 1].name : "HANDFAST_EVENT";
		const char *raw = i ? fields.v[i - 1].value : event;

		if (!raw)
			continue;
		text_clean(value, sizeof(value), raw, strlen(raw));
		n += (size_t)snprintf(line + n, sizeof(line) - n, " %s%s=%s", i ? "" : "[", name,
				      value);
	}
	if (n > sizeof(line) - 3)
		n = sizeof(line) - 3;
	if (event)
		line[n++] = ']';
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0)
		return; /* nowhere left to say so */
}

static void write_journal(int level, const struct log_id *id, struct log_fields fields,
			  const char *text)
{
	char buf[FIELDS_MAX + 4][VALUE_MAX_LEN + 64];
	struct iovec iov[FIELDS_MAX + 4];
	int n = 0;

	snprintf(buf[n++], sizeof(buf[0]), "MESSAGE=%s", text);
	snprintf(buf[n++], sizeof(buf[0]), "PRIORITY=%d", level);
	if (id) {
		snprintf(buf[n++], sizeof(buf[0]), "MESSAGE_ID=%s", id->id);
		snprintf(buf[n++], sizeof(buf[0]), "HANDFAST_EVENT=%s", id->event);
	}
	for (size_t i = 0; i < fields.n && i < FIELDS_MAX; i++) {
		char value[VALUE_MAX_LEN];

		if (!fields.v[i].value)
			continue;
		text_clean(value, sizeof(value), fields.v[i].value, strlen(fields.v[i].value));
		snprintf(buf[n++], sizeof(buf[0]), "%s=%s", fields.v[i].name, value);
	}
	for (int i = 0; i < n; i++)
		iov[i] = (struct iovec){ buf[i], strlen(buf[i]) };
	sd_journal_sendv(iov, n);
}

static void emit(int level, const struct log_id *id, struct log_fields fields, const char *text)
{
	if (state.journal)
		write_journal(level, id, fields, text);
	else
		write_stderr(level, fields, id ? id->event : NULL, text);
}

void log_event(int level, const struct log_id *id, struct log_fields fields, const char *fmt, ...)
{
	char raw[VALUE_MAX_LEN], text[VALUE_MAX_LEN];
	uint64_t held;
	va_list ap;
	size_t n;

	if (level > state.level)
		return;
	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	n = text_clean(text, sizeof(text), raw, strlen(raw));

	pthread_mutex_lock(&state.lock);
	if (limiter_passes(id, fields.n ? fields.v[0].value : NULL, &held)) {
		if (held)
			snprintf(text + n, sizeof(text) - n, " (and %llu more like it before)",
				 (unsigned long long)held);
		emit(level, id, fields, text);
	}
	pthread_mutex_unlock(&state.lock);
}

void log_debug(const char *fmt, ...)
{
	char raw[VALUE_MAX_LEN], text[VALUE_MAX_LEN];
	va_list ap;

	if (state.level < LOG_DEBUG)
		return;
	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	text_clean(text, sizeof(text), raw, strlen(raw));
	pthread_mutex_lock(&state.lock);
	emit(LOG_DEBUG, NULL, LOG_NO_FIELDS, text);
	pthread_mutex_unlock(&state.lock);
}
