/*
 * The client's half of registration and login with authd, without a socket: it says which
 * request to make, takes the answer, says the next one. Whoever embeds it brings the
 * transport (TLS verified, no redirect followed), and a thread for the work that takes long.
 *
 *	for (;;) {
 *		const struct auth_call *call = auth_exchange_call(x);
 *		if (!call)
 *			break;			// done: auth_exchange_take_session()
 *		… make it, get status and body …
 *		r = auth_exchange_answer(x, status, body, len);
 *		if (r == AUTH_WORK)
 *			r = auth_exchange_work(x);	// half a second, 64 MiB: in a worker
 *		if (r)
 *			break;			// auth_exchange_why()
 *	}
 *
 * What is asked and answered (JSON; byte strings in base64url without padding):
 *
 *	GET  /config		-> {origin, registration, ksf: {name, memory_kib, passes, parallelism}, …}
 *	POST /register/start	{user, request}			-> {response[, ksf]}
 *	POST /register/finish	{user, record[, invitation]}	-> 2xx
 *	POST /login/start	{user, ke1}			-> {login_id, ke2[, ksf]}
 *	POST /login/finish	{login_id, ke3}			-> {session_id, expires_in_s[, renew]}
 *	any, refused		{error: {code, text}}
 *
 * A ksf with the response or KE2 is that of the user's key generation, in place of /config's.
 * invitation goes with /register/start, too, so that whoever has none is refused before the work.
 * Whoever is logged in registers anew (another password, or the server's next keys, when renew
 * was true) by signing both (auth/session.h).
 * Members that are not named here are let be.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct auth_exchange;
struct auth_session;

/* Outcomes. */
enum auth_outcome {
	AUTH_WORK = 1,	     /* no failure: auth_exchange_work() comes next */
	AUTH_E_BAD_NAME,     /* the user's name is none */
	AUTH_E_BAD_PASSWORD, /* empty, or longer than OPAQUE takes */
	AUTH_E_BAD_URL,
	AUTH_E_BAD_ANSWER,   /* the answer is not one of this protocol: no authd there, or one that lies */
	AUTH_E_KSF,	     /* the server asks for a stretching that is too weak, or too heavy */
	AUTH_E_ORIGIN,	     /* the server says that it is another */
	AUTH_E_REFUSED,	     /* the server says no: auth_exchange_refusal() */
	AUTH_E_WRONG,	     /* wrong password, no such user, or a server that does not know the record */
	AUTH_E_TOO_MANY,     /* the server asks to come back later */
};

/* An authd: "https://login.home:8443/auth" has the prefix "/auth". */
struct auth_url {
	char scheme[6];	     /* "https" or "http" */
	char authority[264]; /* canonical */
	char prefix[128];    /* "", or begins with / and does not end with it */
	bool loopback;	     /* the host is this machine: 127.0.0.0/8, ::1, localhost */
};
#define AUTH_ORIGIN_SPACE 280

/* 0 or AUTH_E_BAD_URL. No user, query or fragment; http or https. */
int auth_url_parse(struct auth_url *out, const char *url);
/* "https://login.home:8443". */
void auth_url_origin(char out[static AUTH_ORIGIN_SPACE], const struct auth_url *url);

/*
 * What the server may ask for. The floor keeps a record that is stolen from being
 * guessed cheaply, the ceiling keeps a server from taking the client's memory.
 */
#define AUTH_KSF_MEM_KIB_MIN (19 * 1024)
#define AUTH_KSF_MEM_KIB_MAX (1024 * 1024)
#define AUTH_KSF_PASSES_MIN 2
#define AUTH_KSF_PASSES_MAX 16
/* Memory times passes: some seconds of a PC's work. */
#define AUTH_KSF_WORK_KIB_MAX (4 * 1024 * 1024)
/* The longest answer of an authd. */
#define AUTH_ANSWER_MAX 16384

struct auth_options {
	struct auth_url url;
	const char *user;
	const uint8_t *password;
	size_t password_len;
	const char *invitation; /* registration: NULL for none */
	bool in_session;	/* registration: anew, of a user who is logged in */
	/*
	 * Who the server must say it is: NULL is the URL's origin. Another one is for a server behind a
	 * tunnel or a Unix socket, whose name is not in the URL.
	 */
	const char *origin;
};

/*
 * Begin. All of the options is copied; the password into locked memory, until the exchange is freed. 0,
 * AUTH_E_BAD_NAME, AUTH_E_BAD_PASSWORD or -ENOMEM.
 */
int auth_register(struct auth_exchange **out, const struct auth_options *o);
int auth_login(struct auth_exchange **out, const struct auth_options *o);

struct auth_call {
	const char *method;
	const char *target; /* path */
	const char *body;   /* NULL for none, else JSON: application/json */
	size_t body_len;
	bool is_signed; /* goes with a proof of the session */
};

/* The request to make now; NULL when all is done, and before auth_exchange_work(). Valid until the next call here. */
const struct auth_call *auth_exchange_call(const struct auth_exchange *x);
/*
 * Its answer. 0: go on; AUTH_WORK; or why it ended. -ENOMEM may be a lack of memory for the
 * stretching. After a failure nothing more can be done with x.
 */
int auth_exchange_answer(struct auth_exchange *x, unsigned int status, const void *body, size_t len);
/* After AUTH_WORK; touches nothing but x. 0 or why it ended. */
int auth_exchange_work(struct auth_exchange *x);

/* What went wrong, a sentence without its end; from the server's text only what is fit to be shown. */
const char *auth_exchange_why(const struct auth_exchange *x);

/* What the server said when it refused: the HTTP status, and its code ("" for none). */
struct auth_refusal {
	unsigned int status;
	char code[64];
	char text[256]; /* cleaned */
};
const struct auth_refusal *auth_exchange_refusal(const struct auth_exchange *x);

/* The user's name in its canonical spelling. */
const char *auth_exchange_user(const struct auth_exchange *x);

/* After a whole login: whether the server wants the user to register anew, in the session, for its next keys. */
bool auth_exchange_is_to_renew(const struct auth_exchange *x);

/* After a whole login, once: the session, which the caller frees. now_s: Unix seconds. NULL otherwise. */
struct auth_session *auth_exchange_take_session(struct auth_exchange *x, int64_t now_s);

struct auth_exchange *auth_exchange_free(struct auth_exchange *x);
DEFINE_CLEANUP(struct auth_exchange *, auth_exchange_free);
