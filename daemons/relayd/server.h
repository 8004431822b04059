/* The relay itself: HTTP routes, the frames on the WebSockets, what is counted and bounded. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct http_counters;
struct http_listener;
struct http_request;
struct listening;
struct loop;
struct relay;
struct relayd_config;
struct service_fds;
struct session;
struct sessions;

/* Why something was refused; relay_refusal_name() is the key in Status(). */
enum refusal {
	REFUSED_CODE, /* unknown, expired, full, taken: one answer, one count */
	REFUSED_ORIGIN,
	REFUSED_TOKEN,
	REFUSED_SESSION_RATE,
	REFUSED_JOIN_RATE,
	REFUSED_SESSIONS_FULL,
	REFUSED_MEMORY,
	REFUSED_MESSAGE_RATE,
	REFUSED_MESSAGE,
	REFUSED_WAITING_FULL,
	REFUSED_SLOW,
	N_REFUSALS,
};
const char *relay_refusal_name(enum refusal why);

struct relay_counters {
	uint64_t messages, bytes; /* forwarded or kept for later */
	uint64_t sessions_created, sessions_expired;
	uint64_t refused[N_REFUSALS];
};

/* Close codes beside RFC 6455's (section 7.4.2: 4000 and up are ours). */
enum {
	CLOSE_GOING_AWAY = 1001,
	CLOSE_POLICY = 1008,
	CLOSE_EXPIRED = 4000,
	CLOSE_DROPPED = 4001,
	CLOSE_ENDED = 4002,
};

/* cfg is borrowed until the next relay_reconfigure(). 0 or a negative errno. */
int relay_new(struct relay **out, struct loop *l, const struct relayd_config *cfg);
/* Listen on what was passed and on what cfg names; *failed (borrowed from cfg, or constant) could not be had. */
int relay_listen(struct relay *r, struct service_fds *fds, const char **failed);
const struct listening *relay_listening(const struct relay *r);
/* cfg's certificate for connections that come from now on; as http_server_set_certificate(). */
int relay_set_certificate(struct relay *r, const struct relayd_config *cfg);
/* New limits, origins, tokens; listeners and TLS stay as they are. 0, or -ENOMEM with nothing changed. */
int relay_reconfigure(struct relay *r, const struct relayd_config *cfg);
/* Accept nobody, answer those who are accepted, close every WebSocket with 1001; they are gone within 2 s. */
void relay_stop(struct relay *r);
/* After relay_stop(): nobody waits for an answer. */
bool relay_is_stopped(const struct relay *r);
struct relay *relay_free(struct relay *r);
DEFINE_CLEANUP(struct relay *, relay_free);

/* For control.c and lan.c. */
struct loop *relay_loop(struct relay *r);
const struct relayd_config *relay_config(const struct relay *r);
struct sessions *relay_sessions(struct relay *r);
const struct relay_counters *relay_counters(const struct relay *r);
size_t relay_memory(struct relay *r);
/* Of all listeners together. */
void relay_http_counters(const struct relay *r, struct http_counters *out);
size_t relay_connections(const struct relay *r);
/* 0 with a new session, -ENOBUFS when limits forbid one, or -ENOMEM. */
int relay_session_new(struct relay *r, struct session **out);
/* Tell both sides why (an error frame, unless error is NULL), and close. */
void relay_session_end(struct relay *r, struct session *s, uint16_t code, const char *error,
		       const char *reason);

/* Serve a socket in plain WebSocket for the LAN; sessions name the handle in their lan member. */
int relay_lan_listen(struct relay *r, int fd, struct http_listener **out);
void relay_lan_unlisten(struct relay *r, struct http_listener *which);
/* fn is called when a session that has a lan listener is about to be freed. */
void relay_on_lan_session_free(struct relay *r, void (*fn)(struct session *s, void *arg), void *arg);
