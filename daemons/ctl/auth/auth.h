/* What the commands of `handfast auth` share: which server, which user, going through it. */
#pragma once

#include <stdbool.h>

#include "auth/exchange.h"
#include "auth/session.h"
#include "base/cleanup.h"
#include "ctl/auth/transport.h"
#include "ctl/failure.h"

struct ctl;
struct json_t;
struct secret;

/* The server that a command is about. */
struct auth_target {
	struct auth_url url;
	struct transport *transport;
	const char *origin; /* --origin, or NULL */
	bool holds_signals; /* Ctrl-C is the caller's affair, also while a password is stretched */
};

/*
 * From the URL and --ca, --unix-socket, --plain-http. Passwords and sessions go over TLS, to this
 * machine, through a Unix socket, or where the person says that the way is safe. EXIT_DONE, or
 * an exit code with *f filled.
 */
int auth_target_open(struct auth_target *out, const struct ctl *c, const char *url, struct failure *f);
void auth_target_done(struct auth_target *t);

/* The user's name as given, or this machine's name for whoever runs the command; canonical. */
int auth_user(char out[static 72], const char *given, struct failure *f);

/* --password-file, --password-fd, or asked for; twice when it is new. */
int auth_password(struct secret **out, const struct ctl *c, const char *user, const struct auth_target *t, bool is_new,
		  struct failure *f);

#define AUTH_INVITATION_SPACE 257

/* --invite, --invite-file; asks: or asked for; else "". Wipe it. */
int auth_invitation(char out[static AUTH_INVITATION_SPACE], const struct ctl *c, bool asks, struct failure *f);

/* Go through it; s signs what is to be signed (NULL: nothing is). EXIT_DONE, or an exit code with *f filled. */
int auth_go(const struct auth_target *t, struct auth_exchange *x, struct auth_session *s, struct failure *f);

/*
 * Begin a registration (true) or login, and go through it; *out is the caller's, also where the server refused: what
 * it said is in there.
 */
int auth_begin(struct auth_exchange **out, const struct auth_target *t, bool registers, const char *user,
	       const struct secret *password, const char *invitation, struct failure *f);

/* Register the session's user anew: with another password, or with the same one for the server's next keys. */
int auth_renew(const struct auth_target *t, struct auth_session *s, const struct secret *password, struct failure *f);

/*
 * A signed request to the session's own server. body (stolen) may be NULL. EXIT_DONE for any status, with *reply
 * the JSON of the answer, or NULL when it is none.
 */
int auth_ask(const struct auth_target *t, struct auth_session *s, const char *method, const char *path,
	     struct json_t *body, unsigned int *status, struct json_t **reply, struct failure *f);

/* Whether an answer says that the session is over. Another 401 may be a proxy's fault, and the session lives. */
bool auth_is_over(unsigned int status, const struct json_t *reply);

/* A failure of an answer's status and of what it says. */
int auth_refused(const struct auth_target *t, unsigned int status, const struct json_t *reply, const char *what,
		 struct failure *f);
