/*
 * Lines are built on the stack and written by one system call, so that threads
 * need a lock for the rate limit alone. Everything that came from outside is
 * cleaned on its way in: no value can end a line, forge a field or steer a
 * terminal. The journal's datagrams are sent from here instead of by
 * sd_journal_sendv(), which waits when the journal has stopped reading.
 */
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"

enum {
	MESSAGE_MAX = 1024,
	VALUE_MAX = 512,
	NAME_MAX_LEN = 64,
	FIELDS_MAX = 16,
	LINE_MAX_LEN = 8192,
	/* What a pipe takes whole or not at all: PIPE_BUF. */
	STDERR_MAX = 4096,
	WINDOW_MS = 60 * 1000,
	BURST = 10,
	/*
	 * Strangers bring about at most 3 lines at once and 2 more a minute. Lines of
	 * counts come at the end of a minute, pskd's of dropped packets, too: together at
	 * most 9 within any minute.
	 */
	PROVOKED_BURST = 2,
	PROVOKED_AT_ONCE = 3,
	PROVOKED_EVERY_MS = 30 * 1000,
	BUCKETS = 128,
	SUBJECT_MAX = 48,
	/* Kinds that one line of counts names. */
	TOLD_MAX = 12,
};

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

static char program[NAME_MAX_LEN] = "handfast";
static _Atomic int max_level = LOG_INFO;
static int journal_fd = -1;
static int due_fd = -1;
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
	to_journal = stderr_is_journal();
	if (to_journal && journal_fd < 0)
		journal_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
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
 * A bucket counts one event with one tunnel or peer: names of ours, of which
 * there are few. Should they ever be many, those without a bucket share one.
 */
struct bucket {
	uint64_t key; /* 0: free */
	uint64_t start_ms;
	unsigned int passed;
	uint64_t held; /* not told yet */
	int level; /* of what is held, the most urgent */
	const struct log_id *id; /* NULL in the shared one */
	const char *field; /* of the subject */
	char subject[SUBJECT_MAX];
};

static pthread_mutex_t limit_lock = PTHREAD_MUTEX_INITIALIZER;
static struct bucket buckets[BUCKETS + 1]; /* the last is shared */
static uint64_t held_since_ms; /* 0: nothing waits to be told */
static uint64_t suppressed; /* held back since the start, told or not */
static uint64_t lost; /* events that could not be written */
static uint64_t provoked_until_ms; /* the lines that strangers had are paid for until then */

/* FNV-1a. A collision makes two events share a limit, no worse. */
static uint64_t hash_text(uint64_t h, const char *s)
{
	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001b3ULL;
	return (h ^ 0xff) * 0x100000001b3ULL;
}

static const struct log_field *subject_of(struct log_fields fields)
{
	const struct log_field *f = fields.v;

	return fields.n && f->value && (strcmp(f->name, FIELD_TUNNEL) == 0 || strcmp(f->name, FIELD_PEER) == 0) ?
		       f :
		       NULL;
}

static struct bucket *bucket_for(const struct log_id *id, const struct log_field *subject, uint64_t now)
{
	uint64_t key = hash_text(0xcbf29ce484222325ULL, id->id);
	struct bucket *spare = NULL;

	if (subject)
		key = hash_text(key, subject->value);
	key = key ? key : 1;
	for (size_t i = 0; i < BUCKETS; i++) {
		struct bucket *b = &buckets[i];

		if (b->key == key)
			return b;
		if (!spare && (!b->key || (now - b->start_ms >= WINDOW_MS && !b->held)))
			spare = b;
	}
	if (!spare)
		return &buckets[BUCKETS];
	*spare = (struct bucket){ .key = key, .start_ms = now, .id = id };
	if (subject) {
		spare->field = subject->name;
		text_clean(spare->subject, sizeof(spare->subject), subject->value, strlen(subject->value));
	}
	return spare;
}

static bool provoked_pass(uint64_t now)
{
	if (provoked_until_ms < now)
		provoked_until_ms = now;
	if (provoked_until_ms - now > (PROVOKED_AT_ONCE - 1) * PROVOKED_EVERY_MS)
		return false;
	provoked_until_ms += PROVOKED_EVERY_MS;
	return true;
}

static void start_timer(uint64_t ms)
{
	const struct itimerspec when = { .it_value = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 } };

	if (due_fd >= 0)
		timerfd_settime(due_fd, 0, &when, NULL);
}

/* Something waits to be told; the timer runs only from now until it was. */
static void hold_begin(uint64_t now)
{
	if (held_since_ms)
		return;
	held_since_ms = now ? now : 1;
	start_timer(WINDOW_MS);
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

/* 0, or a negative errno: -EAGAIN where nobody reads it, and waiting would stop the daemon. */
static int write_stderr(const struct event *e)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
	struct line l = { .len = 0 };
	ssize_t n;

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
	if (l.len >= STDERR_MAX) {
		l.len = STDERR_MAX - 1;
		/* Between characters: a reader takes half of one for binary data. */
		while ((l.b[l.len] & 0xc0) == 0x80)
			l.len--;
	}
	l.b[l.len++] = '\n';
	if (poll(&p, 1, 0) == 0)
		return -EAGAIN;
	do {
		n = write(STDERR_FILENO, l.b, l.len);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* 0, or a negative errno: -EAGAIN when the journal does not read. */
static int write_journal(const struct event *e)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET };
	struct msghdr msg = { .msg_name = &to, .msg_namelen = sizeof(to) };
	struct iovec iov;
	struct line l = { .len = 0 };

	/* The journal's own format, for values without line ends: NAME=value, one a line. */
	line_add(&l, "PRIORITY=%d\nSYSLOG_IDENTIFIER=%s\nMESSAGE=%s\n", e->level, program, e->message);
	if (e->id)
		line_add(&l, "MESSAGE_ID=%s\nHANDFAST_EVENT=%s\n", e->id->id, e->id->event);
	for (size_t i = 0; i < e->n_fields; i++)
		line_add(&l, "%s=%s\n", e->fields[i].name, e->fields[i].value);
	iov = (struct iovec){ l.b, l.len };
	msg.msg_iov = &iov;
	msg.msg_iovlen = 1;
	return sendmsg(journal_fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static int write_event(const struct event *e)
{
	int r = to_journal ? write_journal(e) : -ENOENT;

	/* Where the journal cannot take it as fields, its stream takes it as a line. */
	return r && r != -EAGAIN ? write_stderr(e) : r;
}

static void write_or_count(const struct event *e)
{
	if (write_event(e) == 0)
		return;
	pthread_mutex_lock(&limit_lock);
	lost++;
	hold_begin(clock_now_ms());
	pthread_mutex_unlock(&limit_lock);
}

static void event_add(struct event *e, const char *name, const char *value)
{
	for (size_t i = 0; i < e->n_fields; i++)
		if (strcmp(e->fields[i].name, name) == 0 && strcmp(e->fields[i].value, value) == 0)
			return;
	if (e->n_fields < FIELDS_MAX)
		e->fields[e->n_fields++] = (struct log_field){ name, value };
}

uint64_t log_suppressed(void)
{
	uint64_t n;

	pthread_mutex_lock(&limit_lock);
	n = suppressed;
	pthread_mutex_unlock(&limit_lock);
	return n;
}

/* ---- telling what was held back ---- */

/* "12 relay-refused, 7 tunnel-drops (lab)", and the fields to find it by. */
static uint64_t collect_held(struct line *l, struct event *e)
{
	uint64_t total = 0, others = 0;
	unsigned int told = 0;

	for (size_t i = 0; i <= BUCKETS; i++) {
		const struct bucket *b = &buckets[i];

		if (!b->held)
			continue;
		total += b->held;
		if (b->level < e->level)
			e->level = b->level;
		if (!b->id || told == TOLD_MAX) {
			others += b->held;
			continue;
		}
		line_add(l, "%s%llu %s%s%s%s", told++ ? ", " : "", (unsigned long long)b->held, b->id->event,
			 b->field ? " (" : "", b->subject, b->field ? ")" : "");
		event_add(e, FIELD_UNLOGGED, b->id->event);
		if (b->field)
			event_add(e, b->field, b->subject);
	}
	if (others)
		line_add(l, "%s%llu others", told ? ", " : "", (unsigned long long)others);
	return total;
}

static void tell(uint64_t now)
{
	struct line l = { .len = 0 };
	struct event e = { .level = LOG_DEBUG, .id = &MSG_EVENTS_NOT_LOGGED, .message = l.b };
	char count[24] = "";
	uint64_t total;

	line_add(&l, "not logged in the last %llu s: ", (unsigned long long)((now - held_since_ms + 999) / 1000));
	/* The place is kept: fields are few, and a count comes first. */
	event_add(&e, FIELD_COUNT, count);
	total = collect_held(&l, &e);
	if (lost)
		line_add(&l, "%s%llu that could not be written", total ? ", " : "", (unsigned long long)lost);
	if (lost)
		e.level = LOG_WARNING;
	snprintf(count, sizeof(count), "%llu", (unsigned long long)(total + lost));
	held_since_ms = 0;
	if (write_event(&e) != 0) {
		hold_begin(now);
		return;
	}
	lost = 0;
	for (size_t i = 0; i <= BUCKETS; i++)
		buckets[i].held = 0;
}

static bool is_due(uint64_t now)
{
	return held_since_ms && now - held_since_ms >= WINDOW_MS;
}

static bool rate_pass(int level, const struct log_id *id, struct log_fields fields)
{
	uint64_t now = clock_now_ms();
	struct bucket *b;
	bool pass;

	pthread_mutex_lock(&limit_lock);
	if (is_due(now))
		tell(now);
	b = bucket_for(id, subject_of(fields), now);
	if (now - b->start_ms >= WINDOW_MS) {
		b->start_ms = now;
		b->passed = 0;
	}
	pass = b->passed < (id->provoked ? PROVOKED_BURST : BURST) && (!id->provoked || provoked_pass(now));
	if (pass) {
		b->passed++;
	} else {
		if (!b->held || level < b->level)
			b->level = level;
		b->held++;
		suppressed++;
		hold_begin(now);
	}
	pthread_mutex_unlock(&limit_lock);
	return pass;
}

int log_due_fd(void)
{
	int r = 0;

	pthread_mutex_lock(&limit_lock);
	if (due_fd < 0) {
		due_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
		if (due_fd < 0)
			r = -errno;
		else if (held_since_ms)
			start_timer(WINDOW_MS);
	}
	r = r ? r : due_fd;
	pthread_mutex_unlock(&limit_lock);
	return r;
}

void log_tell(bool all)
{
	uint64_t now = clock_now_ms(), expired;

	pthread_mutex_lock(&limit_lock);
	/* It may have been told with an event already; the descriptor is quiet again in any case. */
	while (due_fd >= 0 && read(due_fd, &expired, sizeof(expired)) < 0 && errno == EINTR)
		;
	if (is_due(now) || (all && held_since_ms))
		tell(now);
	else if (held_since_ms)
		start_timer(WINDOW_MS - (now - held_since_ms));
	pthread_mutex_unlock(&limit_lock);
}

void log_event(int level, const struct log_id *id, struct log_fields fields, const char *fmt, ...)
{
	char raw[MESSAGE_MAX], message[MESSAGE_MAX], values[4096];
	struct event e = { .level = level & LOG_PRIMASK, .id = id, .message = message };
	size_t used = 0;
	va_list ap;

	if (e.level > atomic_load_explicit(&max_level, memory_order_relaxed))
		return;
	if (!rate_pass(e.level, id, fields))
		return;

	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	text_clean(message, sizeof(message), raw, strlen(raw));
	for (size_t i = 0; i < fields.n && e.n_fields < FIELDS_MAX; i++) {
		const char *value = fields.v[i].value;
		size_t room = sizeof(values) - used;

		if (!value || room < 2)
			continue;
		e.fields[e.n_fields++] = (struct log_field){ fields.v[i].name, values + used };
		used += 1 + text_clean(values + used, room < VALUE_MAX ? room : VALUE_MAX, value,
				       strlen(value));
	}
	write_or_count(&e);
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
	write_or_count(&e);
}
