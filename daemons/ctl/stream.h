/*
 * A call that answers many times while the person is asked, a countdown runs
 * and Ctrl-C must work: the blocking call runs in a thread of its own, and what
 * it brings is taken here, by a descriptor that poll() can wait for.
 */
#pragma once

#include "base/cleanup.h"
#include "ctl/failure.h"

struct ctl;
struct json_t;
struct stream;

/* Connect and call; params is stolen. EXIT_DONE, or an exit code with *f filled. */
int stream_open(struct stream **out, const struct ctl *c, const char *daemon, const char *method,
		struct json_t *params, struct failure *f);

/* Readable when stream_next() has something to say. */
int stream_fd(const struct stream *s);

enum stream_item {
	STREAM_NOTHING,	 /* not now */
	STREAM_MESSAGE,	 /* one of several replies */
	STREAM_LAST,	 /* the last reply: it went well */
	STREAM_FAILED,	 /* the call failed: *f */
};
/* *params is a new reference after a message and the last reply. */
enum stream_item stream_next(struct stream *s, struct json_t **params, struct failure *f);

/* Hang up, whether or not it is over: a daemon sees its caller go. */
struct stream *stream_close(struct stream *s);
DEFINE_CLEANUP(struct stream *, stream_close);
