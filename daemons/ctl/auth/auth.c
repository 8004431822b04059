/* Going through a registration, a login, a signed request. */
#include "ctl/auth/auth.h"

#include <errno.h>
#include <jansson.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "crypto/secret.h"
#include "proto/username.h"

#include "ctl/ctl.h"
#include "ctl/secret_line.h"
#include "ctl/terminal.h"

enum { TIMEOUT_MS = 30000, PASSWORD_MIN = 8, PASSWORD_MAX = 1024 };

/* Told here, since libcurl says of both that it cannot connect. */
static int check_files(const struct transport_options *o, struct failure *f)
{
	const size_t longest = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;

	if (o->ca_file && access(o->ca_file, R_OK) < 0)
		return failure_set(f, errno == EACCES ? EXIT_PERMISSION : EXIT_NO_SUCH, ERROR_NO_SUCH_FILE, NULL,
				   "cannot read %s: %s", clean_text(o->ca_file), strerror(errno));
	if (o->unix_socket && strlen(o->unix_socket) > longest)
		return failure_set(f, EXIT_USAGE, ERROR_USAGE, NULL, "a Unix socket's path has %zu bytes at most", longest);
	return EXIT_DONE;
}

int auth_target_open(struct auth_target *out, const struct ctl *c, const char *url, struct failure *f)
{
	const struct transport_options o = { .ca_file = ctl_option(c, "ca"),
					     .unix_socket = ctl_option(c, "unix-socket"),
					     .timeout_ms = TIMEOUT_MS };
	struct auth_target t = { .origin = ctl_option(c, "origin") };
	struct auth_url named;
	int r;

	if (auth_url_parse(&t.url, url))
		return failure_set(f, EXIT_USAGE, ERROR_USAGE, "For example https://pi.home:8443.", "%s is no address of an authd",
				   url);
	if (t.origin && (auth_url_parse(&named, t.origin) || *named.prefix))
		return failure_set(f, EXIT_USAGE, ERROR_USAGE, "For example https://pi.home.", "%s is no origin", t.origin);
	if (strcmp(t.url.scheme, "https") != 0 && !t.url.loopback && !o.unix_socket && !ctl_flag(c, "plain-http") &&
	    !ctl_flag(c, "local"))
		return failure_set(f, EXIT_USAGE, ERROR_USAGE,
				   "Use https://. If the way there is protected otherwise, by a tunnel of handfast say: "
				   "--plain-http.",
				   "everybody on the way to %s could read and change what is said", t.url.authority);
	if (crypto_init() != 0)
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "the cryptographic library does not start");
	r = check_files(&o, f);
	if (r)
		return r;
	r = transport_new(&t.transport, &o, f);
	if (r)
		return r;
	*out = t;
	return EXIT_DONE;
}

void auth_target_done(struct auth_target *t)
{
	t->transport = transport_free(t->transport);
}

int auth_user(char out[static 72], const char *given, struct failure *f)
{
	const struct passwd *own = given ? NULL : getpwuid(geteuid());
	const char *name = given ? given : own ? own->pw_name : NULL;
	char canonical[USERNAME_SPACE];
	int r;

	if (!name)
		return failure_set(f, EXIT_USAGE, ERROR_USAGE, "Name the user after the URL.", "you have no name on this machine");
	r = username_canonical(canonical, name, strlen(name));
	if (r)
		return failure_set(f, EXIT_USAGE, ERROR_USAGE, NULL, "%s is no user's name: %s", name,
				   username_outcome_text(r));
	memcpy(out, canonical, sizeof(canonical));
	return EXIT_DONE;
}

int auth_password(struct secret **out, const struct ctl *c, const char *user, const struct auth_target *t, bool is_new,
		  struct failure *f)
{
	char ask[512];
	const struct secret_question q = {
		.name = "password",
		.ask = ask,
		.option = "--password-file FILE",
		.file = ctl_option(c, "password-file"),
		.fd = ctl_option(c, "password-fd"),
		.twice = is_new,
		.min = PASSWORD_MIN,
		.max = PASSWORD_MAX,
		.why = "The server never sees it, so nobody else can tell you that it is too short.",
	};

	if (q.file && q.fd)
		return failure_set(f, EXIT_USAGE, ERROR_USAGE, NULL, "either --password-file or --password-fd");
	snprintf(ask, sizeof(ask), "%s of %s at %s: ", is_new ? "New password" : "Password", user, t->url.authority);
	return secret_line_get(out, &q, f);
}

int auth_invitation(char out[static AUTH_INVITATION_SPACE], const struct ctl *c, bool asks, struct failure *f)
{
	_cleanup_(secret_freep) struct secret *line = NULL;
	const struct secret_question q = { .name = "invitation",
					   .ask = "Invitation: ",
					   .option = "--invite-file FILE",
					   .file = ctl_option(c, "invite-file"),
					   .min = 1,
					   .max = AUTH_INVITATION_SPACE - 1 };
	const char *given = ctl_option(c, "invite");
	int r;

	*out = '\0';
	if (given && q.file)
		return failure_set(f, EXIT_USAGE, ERROR_USAGE, NULL, "either --invite or --invite-file");
	if (given && strlen(given) < AUTH_INVITATION_SPACE) {
		snprintf(out, AUTH_INVITATION_SPACE, "%s", given);
		return EXIT_DONE;
	}
	if (given)
		return failure_set(f, EXIT_USAGE, ERROR_USAGE, NULL, "the invitation is none");
	if (!q.file && !asks)
		return EXIT_DONE;
	r = secret_line_get(&line, &q, f);
	if (r)
		return r;
	memcpy(out, secret_bytes(line), secret_len(line));
	out[secret_len(line)] = '\0';
	return EXIT_DONE;
}

/* ---- requests ---- */

static int make_call(const struct auth_target *t, const struct auth_session *s, const struct auth_call *call,
		     struct transport_answer *a, struct failure *f)
{
	const struct pop_request what = { t->url.scheme, t->url.authority, call->method, call->target };
	struct transport_request r = { .scheme = t->url.scheme,
				       .authority = t->url.authority,
				       .method = call->method,
				       .target = call->target,
				       .loopback = t->url.loopback,
				       .body = call->body,
				       .body_len = call->body_len,
				       .answer_max = AUTH_ANSWER_MAX };
	struct auth_fields fields = { 0 };

	if (call->is_signed && auth_sign(&fields, s, &what, call->body, call->body_len, clock_wall_s()))
		return failure_set(f, EXIT_USAGE, ERROR_USAGE, NULL, "%s cannot be signed", call->target);
	for (; r.n_fields < fields.n; r.n_fields++) {
		r.fields[r.n_fields].name = fields.v[r.n_fields].name;
		r.fields[r.n_fields].value = fields.v[r.n_fields].value;
	}
	if (call->body) {
		r.fields[r.n_fields].name = "Content-Type";
		r.fields[r.n_fields++].value = "application/json";
	}
	return transport_do(t->transport, &r, a, f);
}

/* The same, once more where the server wants a nonce of its own. */
static int make_signed_call(const struct auth_target *t, struct auth_session *s, const struct auth_call *call,
			    struct transport_answer *a, struct failure *f)
{
	int r = make_call(t, s, call, a, f);

	if (r || !call->is_signed || !auth_session_retry(s, a->status, *a->snonce ? a->snonce : NULL))
		return r;
	transport_answer_done(a);
	return make_call(t, s, call, a, f);
}

/* ---- an exchange ---- */

static const char *refusal_hint(const struct auth_refusal *said)
{
	if (strcmp(said->code, "invitation") == 0)
		return "It may be used, too old, withdrawn, or for another name: the administrator makes one by “handfast auth "
		       "invite”.";
	if (said->status == 404)
		return "Is its path missing in the URL, or one too much there (prefix in authd.yaml)?";
	return NULL;
}

static int exchange_failed(const struct auth_target *t, struct auth_exchange *x, int r, struct failure *f)
{
	const struct auth_refusal *said = auth_exchange_refusal(x);
	const char *why = auth_exchange_why(x);

	switch (r) {
	case AUTH_E_WRONG:
		return failure_set(f, EXIT_WRONG_SECRET, ERROR_WRONG_PASSWORD, NULL, "%s: %s at %s://%s%s", why,
				   auth_exchange_user(x), t->url.scheme, t->url.authority, t->url.prefix);
	case AUTH_E_KSF:
		return failure_set(f, EXIT_VERIFICATION, ERROR_WRONG_SERVER, "Its administrator sets argon2id in authd.yaml.", "%s",
				   why);
	case AUTH_E_ORIGIN:
		return failure_set(f, EXIT_VERIFICATION, ERROR_WRONG_SERVER,
				   "Use the URL by which it calls itself; where that does not lead there, name it: --origin.",
				   "%s", why);
	case AUTH_E_BAD_ANSWER:
		return failure_set(f, EXIT_FAILED, ERROR_BROKEN_ANSWER, NULL, "%s", why);
	case AUTH_E_TOO_MANY:
		return failure_set(f, EXIT_FAILED, ERROR_TOO_MANY, "Wait; the administrator sees and lifts bans.", "%s", why);
	case AUTH_E_REFUSED:
		return failure_set(f,
				   said->status == 401 || said->status == 403 ? EXIT_PERMISSION :
				   said->status == 404			      ? EXIT_NO_SUCH :
										EXIT_FAILED,
				   ERROR_LOGIN_REFUSED, refusal_hint(said), "%s%s%s%s", why, *said->code ? " (" : "", said->code,
				   *said->code ? ")" : "");
	default:
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "%s", *why ? why : strerror(r < 0 ? -r : EPROTO));
	}
}

/* It takes long, and nothing of it need be put away: a signal ends the process as if nobody had asked for signals. */
static int work(const struct auth_target *t, struct auth_exchange *x)
{
	int r;

	if (!t->holds_signals)
		interrupt_hold(false);
	r = auth_exchange_work(x);
	if (!t->holds_signals)
		interrupt_hold(true);
	return r;
}

int auth_go(const struct auth_target *t, struct auth_exchange *x, struct auth_session *s, struct failure *f)
{
	const struct auth_call *call;

	while ((call = auth_exchange_call(x))) {
		struct transport_answer a = { 0 };
		int r = make_signed_call(t, s, call, &a, f);

		if (r)
			return r;
		r = auth_exchange_answer(x, a.status, a.body, a.len);
		transport_answer_done(&a);
		if (r == AUTH_WORK)
			r = work(t, x);
		if (r)
			return exchange_failed(t, x, r, f);
	}
	return EXIT_DONE;
}

static int begin(struct auth_exchange **out, const struct auth_target *t, bool registers, const struct auth_options *o,
		 struct auth_session *s, struct failure *f)
{
	_cleanup_(auth_exchange_freep) struct auth_exchange *x = NULL;
	int r = registers ? auth_register(&x, o) : auth_login(&x, o);

	if (r)
		return failure_set(f, r < 0 ? EXIT_FAILED : EXIT_USAGE, r < 0 ? ERROR_INTERNAL : ERROR_USAGE, NULL, "%s",
				   r < 0 ? strerror(-r) : "the name, the password or the invitation is none");
	r = auth_go(t, x, s, f);
	*out = steal(&x);
	return r;
}

int auth_begin(struct auth_exchange **out, const struct auth_target *t, bool registers, const char *user,
	       const struct secret *password, const char *invitation, struct failure *f)
{
	const struct auth_options o = { .url = t->url,
					.user = user,
					.password = secret_bytes(password),
					.password_len = secret_len(password),
					.invitation = invitation,
					.origin = t->origin };

	return begin(out, t, registers, &o, NULL, f);
}

int auth_renew(const struct auth_target *t, struct auth_session *s, const struct secret *password, struct failure *f)
{
	_cleanup_(auth_exchange_freep) struct auth_exchange *x = NULL;
	const struct auth_options o = { .url = s->url,
					.user = s->user,
					.password = secret_bytes(password),
					.password_len = secret_len(password),
					.in_session = true,
					.origin = s->origin };

	return begin(&x, t, true, &o, s, f);
}

/* ---- signed requests ---- */

int auth_ask(const struct auth_target *t, struct auth_session *s, const char *method, const char *path, json_t *body,
	     unsigned int *status, json_t **reply, struct failure *f)
{
	static const struct json_limits limits = { .max_bytes = AUTH_ANSWER_MAX, .max_depth = 8, .max_keys = 1000 };
	_cleanup_json_ json_t *owned = body;
	_cleanup_free_ char *text = owned ? json_text(owned) : NULL;
	struct transport_answer a = { 0 };
	char target[sizeof(t->url.prefix) + 256];
	struct auth_call call = { .method = method, .target = target, .body = text, .is_signed = true };
	int r;

	if (owned && !text)
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	call.body_len = text ? strlen(text) : 0;
	snprintf(target, sizeof(target), "%s%s", t->url.prefix, path);
	r = make_signed_call(t, s, &call, &a, f);
	if (r)
		return r;
	*status = a.status;
	*reply = NULL;
	if (a.len && json_parse(reply, a.body, a.len, &limits))
		*reply = NULL;
	transport_answer_done(&a);
	return EXIT_DONE;
}

bool auth_is_over(unsigned int status, const json_t *reply)
{
	const char *code = json_get_str(json_object_get(reply, "error"), "code");

	return status == 401 && code && strcmp(code, "no_session") == 0;
}

int auth_refused(const struct auth_target *t, unsigned int status, const json_t *reply, const char *what, struct failure *f)
{
	const json_t *error = json_object_get(reply, "error");
	const char *text = json_get_str(error, "text"), *code = json_get_str(error, "code");
	char hint[512];

	snprintf(hint, sizeof(hint), "Log in again: “handfast auth login %s://%s%s”.", t->url.scheme, t->url.authority,
		 t->url.prefix);
	if (auth_is_over(status, reply))
		return failure_set(f, EXIT_PERMISSION, ERROR_NOT_LOGGED_IN, hint,
				   "%s: the server does not know the session (any more)", what);
	if (status == 401 && code && strcmp(code, "wrong_proof") == 0)
		return failure_set(f, EXIT_PERMISSION, ERROR_LOGIN_REFUSED,
				   "Where a proxy passes another name or scheme on than those in the URL, no proof is right.",
				   "%s: the server does not take a proof for %s://%s", what, t->url.scheme, t->url.authority);
	if (code && strcmp(code, "misdirected") == 0)
		return failure_set(f, EXIT_VERIFICATION, ERROR_WRONG_SERVER, "Its administrator lists it in names in authd.yaml.",
				   "%s: the server does not go by the name %s://%s", what, t->url.scheme, t->url.authority);
	return failure_set(f, status == 401 || status == 403 ? EXIT_PERMISSION : EXIT_FAILED,
			   status == 429 ? ERROR_TOO_MANY : ERROR_LOGIN_REFUSED,
			   status == 429 ? "Wait; the administrator sees and lifts bans." : NULL,
			   "%s: the server answers %u%s%s%s%s%s", what, status, text ? ": " : "", text ? clean_text(text) : "",
			   code ? " (" : "", code ? clean_text(code) : "", code ? ")" : "");
}
