/*
 * Varlink (https://varlink.org): JSON calls over a Unix socket, each message
 * ended by NUL. Server with introspection (org.varlink.service), typed errors
 * and more/continues; a client that blocks (the command) and one in the loop
 * (daemons that call daemons).
 *
 * Limits: 1 MiB a message, depth 20, 1000 keys, 64 connections, 16 per uid
 * except root, for which the last 8 are kept and which has 48 per process; 16
 * calls waiting per connection (then it is not read), 8 MiB unsent per connection (then it is closed); 10 s
 * for a begun message to become whole, 30 s for unsent bytes to move.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "event/unixsock.h"

struct json_t;
struct loop;
struct varlink_server;
struct varlink_call;

enum varlink_access {
	VARLINK_READ,	/* group handfast, handfast-admin, root, the daemon's own uid */
	VARLINK_CHANGE, /* group handfast-admin, root, the daemon's own uid */
	VARLINK_ANYONE, /* whoever may connect */
};

/*
 * params is an object (empty when the caller sent none), borrowed; it was
 * checked against the interface's description: known names, right types,
 * nothing missing. The method must answer exactly once, now or later, by
 * varlink_reply() or varlink_error() (either frees the call).
 */
typedef void (*varlink_method_fn)(struct varlink_call *call, const struct json_t *params, void *arg);

struct varlink_method {
	const char *name;
	enum varlink_access access;
	varlink_method_fn fn;
};

struct varlink_interface {
	const char *name;	 /* "io.handfast.Relay" */
	const char *description; /* the IDL text, also the source of parameter checks */
	const struct varlink_method *methods; /* ends with name == NULL */
};

struct varlink_info {
	const char *vendor, *product, *version, *url;
	const char *read_group, *admin_group; /* "handfast", "handfast-admin" */
	/* Told of each call that was denied; may be NULL. */
	void (*on_denied)(const struct unix_caller *caller, const char *method, void *arg);
	void *on_denied_arg;
};

int varlink_server_new(struct varlink_server **out, struct loop *l, const struct varlink_info *info);
/* The interface must outlive the server; its description is parsed here (-EINVAL when wrong: our own mistake). */
int varlink_server_add(struct varlink_server *s, const struct varlink_interface *i, void *arg);
/* Look the groups up again, after a reload: a call never does, since a name service may take its time. */
void varlink_server_find_groups(struct varlink_server *s);
int varlink_server_listen(struct varlink_server *s, int listen_fd); /* takes the fd */
struct varlink_server *varlink_server_free(struct varlink_server *s);
DEFINE_CLEANUP(struct varlink_server *, varlink_server_free);

/* True when the caller asked for several replies; without it varlink_notify() is a no-op. */
bool varlink_call_wants_more(const struct varlink_call *c);
const struct unix_caller *varlink_call_caller(const struct varlink_call *c);
/*
 * For methods of VARLINK_ANYONE that decide by themselves: whether the caller
 * has the access that others would need, and the answer if nothing lets it in.
 */
bool varlink_call_has_access(const struct varlink_call *c, enum varlink_access access);
void varlink_deny(struct varlink_call *c, enum varlink_access access);
/*
 * fn(arg) is called once if the caller goes away (or the server is freed) before the last answer; the
 * call is freed after it. Without fn the call lives on and wants its answer all the same.
 */
void varlink_call_on_gone(struct varlink_call *c, void (*fn)(void *arg), void *arg);

/* params: a reference that is stolen, or NULL for {}. What differs from the description is sent as an Internal error. */
void varlink_notify(struct varlink_call *c, struct json_t *params); /* continues: true */
void varlink_reply(struct varlink_call *c, struct json_t *params);
/* error is the full name, "io.handfast.Relay.NoSuchSession"; message and hint go into its parameters. */
void varlink_error(struct varlink_call *c, const char *error, const char *message, const char *hint);

/* org.varlink.service.InvalidParameter: a value that the description cannot refuse, but the method does. */
void varlink_invalid_parameter(struct varlink_call *c, const char *parameter);

/* ---- blocking client ---- */
struct varlink_client;

struct varlink_failure {
	char *error; /* full Varlink error name */
	char *message; /* parameters.message, or the error's own words */
	char *hint;
};
void varlink_failure_done(struct varlink_failure *f);

enum { VARLINK_E_ERROR = 1 }; /* the daemon answered with an error: see *failure */

/*
 * 0 or the errno of connecting (-ENOENT, -ECONNREFUSED: not running; -EACCES: no
 * permission; -ETIMEDOUT: its backlog stayed full, for ms or UNIX_CONNECT_MS).
 */
int varlink_client_open(struct varlink_client **out, const char *path);
int varlink_client_open_within(struct varlink_client **out, const char *path, unsigned int ms);
/*
 * One call. params is stolen (NULL for {}). on_more gets each continued
 * reply (borrowed) when not NULL; returning nonzero from it ends the wait with
 * that value. 0 with the last reply's parameters in *reply (new reference),
 * VARLINK_E_ERROR with *failure filled, or a negative errno (-EPROTO, -ECONNRESET).
 */
int varlink_client_call(struct varlink_client *c, const char *method, struct json_t *params,
			int (*on_more)(const struct json_t *params, void *arg), void *arg,
			struct json_t **reply, struct varlink_failure *failure);
/* How long each wait for the daemon may take (-ETIMEDOUT then); -1, as at the start: for ever. */
void varlink_client_set_timeout(struct varlink_client *c, int timeout_ms);
int varlink_client_fd(const struct varlink_client *c);
struct varlink_client *varlink_client_free(struct varlink_client *c);
DEFINE_CLEANUP(struct varlink_client *, varlink_client_free);

/* ---- client in the loop ---- */
struct varlink_async;
/*
 * on_reply gets each answer: params borrowed, or NULL with error (a Varlink
 * error name, or "connection" when it was lost); continues tells whether more
 * follow. After the last one nothing more comes; free the handle then or
 * earlier (which closes the connection). Freeing inside on_reply is allowed.
 */
typedef void (*varlink_async_fn)(const struct json_t *params, const char *error, bool continues,
				 void *arg);
int varlink_async_call(struct varlink_async **out, struct loop *l, const char *path,
		       const char *method, struct json_t *params, bool more,
		       varlink_async_fn on_reply, void *arg);
struct varlink_async *varlink_async_free(struct varlink_async *a);
DEFINE_CLEANUP(struct varlink_async *, varlink_async_free);
