/*
 * Structured log events: fields first, prose last. To journald where stderr
 * is connected to it, else plain lines on stderr. Nothing secret has a type
 * that fits in here.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <syslog.h>

#include "base/log_ids.h"

struct log_field {
	const char *name; /* a FIELD_ constant */
	const char *value; /* NULL leaves the field out; cleaned of control characters */
};

struct log_fields {
	const struct log_field *v;
	size_t n;
};

#define LOG_FIELDS(...)                                                                    \
	((struct log_fields){ .v = (const struct log_field[]){ __VA_ARGS__ },              \
			      .n = sizeof((const struct log_field[]){ __VA_ARGS__ }) /     \
				   sizeof(struct log_field) })
#define LOG_NO_FIELDS ((struct log_fields){ NULL, 0 })

/* name is the program's; level the highest syslog level that is written. */
void log_init(const char *name, int level);
void log_set_level(int level);
int log_level_parse(const char *s); /* "err".."debug" to a level, or -1 */

/*
 * One event. id is a MSG_ constant. At most 10 a minute are written of one id
 * and tunnel or peer (when that is the first field), and of those that
 * strangers can provoke 2, and 5 of all of them together. The others are
 * counted, and one line a minute, events-not-logged, tells the counts. Never
 * blocks: what neither the journal nor stderr takes at once is counted, too.
 */
void log_event(int level, const struct log_id *id, struct log_fields fields, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Events of this process that the rate limit held back so far. */
uint64_t log_suppressed(void);

/*
 * A descriptor that becomes readable when counts are to be told, by
 * log_tell(false); it is armed only while there are any. It stays the log's.
 * A negative errno when there can be none: counts are told with later events then.
 */
int log_due_fd(void);
/* Tell the counts: those that waited a minute, or all there are (when the program ends). */
void log_tell(bool all);

/* For developers: plain text at debug level. */
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
