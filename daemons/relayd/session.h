/*
 * Sessions: a code, two places, a life. This module knows who holds a place and
 * when a session ends; what is said on the sockets is server.c's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/list.h"
#include "proto/relay_frame.h"
#include "relayd/limits.h"
#include "relayd/mailbox.h"

struct http_listener;
struct loop;
struct session;
struct websocket;

enum place {
	PLACE_FREE,
	PLACE_HELD, /* a handshake is on its way */
	PLACE_HERE,
	PLACE_GONE, /* a place is taken once */
};

struct member {
	struct session *session;
	enum relay_role role;
	enum place place;
	bool has_token;
	struct websocket *ws; /* PLACE_HERE */
	struct bucket rate;
	unsigned int refused; /* messages refused for the rate, in a row */
	uint64_t last_seq;
	size_t unsent_seen; /* what server.c counted for it */
	struct mailbox waiting; /* for this member */
};

struct session {
	struct list by_age; /* oldest first */
	struct session *next; /* in its bucket */
	char code[RELAY_CODE_LEN + 1];
	uint8_t id[RELAY_SESSION_ID_LEN];
	uint64_t created_ms, expires_ms;
	uint64_t messages, bytes;
	struct member members[2];
	struct http_listener *lan; /* served there alone; NULL: everywhere */
	bool ended; /* in no table any more; freed when nobody holds a place */
};

struct sessions;
struct sessions_events {
	/* Time is up for s: the callee ends it. */
	void (*on_expired)(struct session *s, void *arg);
	/* s is about to be freed. */
	void (*on_free)(struct session *s, void *arg);
	void *arg;
};
int sessions_new(struct sessions **out, struct loop *l, const struct sessions_events *ev);
/* Nobody may hold a place any more. */
struct sessions *sessions_free(struct sessions *t);
DEFINE_CLEANUP(struct sessions *, sessions_free);

int session_create(struct session **out, struct sessions *t, uint64_t ttl_ms); /* 0 or -ENOMEM */

/*
 * Take role's place in the session of that code. NULL when there is none, when
 * it is over, when it is served elsewhere, and when the place is taken: after
 * the same steps, so that time tells these apart no more than the answer does.
 */
struct member *session_hold(struct sessions *t, const char code[static RELAY_CODE_LEN + 1],
			    enum relay_role role, const struct http_listener *through);
/* The place's holder is here. */
void session_enter(struct sessions *t, struct member *m);
/* The place's holder has left (or never came): may free an ended session. */
void session_release(struct sessions *t, struct member *m);
/* Take it out of the table; freed as soon as nobody holds a place. */
void session_end(struct sessions *t, struct session *s);

struct session *session_find(struct sessions *t, const char *code);
struct session *sessions_first(struct sessions *t);
struct session *session_next(struct sessions *t, struct session *s);
size_t sessions_count(const struct sessions *t);
/* Places of living sessions whose holders may still come. */
size_t sessions_awaited(const struct sessions *t);

static inline struct member *member_peer(struct member *m)
{
	return &m->session->members[relay_role_peer(m->role)];
}
