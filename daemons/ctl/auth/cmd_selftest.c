/*
 * handfast auth selftest: a throw-away user against a real server. Each attack is tried beside its twin
 * without the fault: that must be taken, the attack refused, or nothing was shown.
 */
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/json.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"

#include "ctl/auth/auth.h"
#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/terminal.h"

enum { LEAVE_MS = 10000 };

struct selftest {
	struct auth_target target;
	struct auth_session *session;
	char user[72];
	char password[64];
	bool may_exist; /* the user was registered, or nobody knows */
	char body[256], other_body[256]; /* of POST /api/transfer */
	size_t passed, failed;
	json_t *results;
	struct ctl *c;
};

/* One request: what is signed, and what is sent. */
struct shot {
	const char *scheme, *authority, *method, *path, *body; /* signed; NULL: as sent */
	const char *sent_method, *sent_path, *sent_body;
	const struct secret *key;	     /* NULL: the session's */
	int64_t later_s;		     /* added to the time that is signed */
	const char *snonce;		     /* signed and sent; NULL: as the session says */
	const uint8_t *nonce;		     /* NULL: fresh */
	void (*edit)(struct pop_signed *p, char *snonce); /* after signing */
	bool bare;			     /* the session id alone */
	bool by_time;			     /* X-TS, whatever the session is used to */
};

/* ---- shooting ---- */

struct outcome {
	unsigned int status;
	char text[56];
};

struct lines {
	char authorization[POP_SESSION_MAX + 16], snonce[POP_SNONCE_MAX + 1];
	struct pop_signed proof;
};

static void put_field(struct transport_request *r, const char *name, const char *value)
{
	r->fields[r->n_fields].name = name;
	r->fields[r->n_fields++].value = value;
}

static int sign_shot(const struct selftest *t, const struct shot *s, const char *path, struct lines *l)
{
	const struct auth_url *url = &t->target.url;
	const char *body = s->body ? s->body : s->sent_body;
	const struct pop_request what = { s->scheme ? s->scheme : url->scheme,
					  s->authority ? s->authority : url->authority,
					  s->method ? s->method : s->sent_method, path };
	const char *snonce = s->by_time ? NULL : s->snonce ? s->snonce : *t->session->snonce ? t->session->snonce : NULL;
	uint8_t digest[POP_DIGEST_LEN];

	sha256(digest, body, body ? strlen(body) : 0);
	snprintf(l->authorization, sizeof(l->authorization), "Bearer %s", t->session->id);
	snprintf(l->snonce, sizeof(l->snonce), "%s", snonce ? snonce : "");
	if (pop_sign(&l->proof, &what, snonce, clock_wall_s() + s->later_s, digest, s->nonce,
		     s->key ? s->key : t->session->key))
		return -1;
	if (s->edit)
		s->edit(&l->proof, l->snonce);
	return 0;
}

/* EXIT_DONE with the status, or an exit code with *f filled. The lines stay for another shot. */
static int send_lines(const struct selftest *t, const struct shot *s, const struct lines *l, struct transport_answer *a,
		      struct failure *f)
{
	const struct auth_url *url = &t->target.url;
	char target[sizeof(url->prefix) + 128];
	int result;
	struct transport_request r = { .scheme = url->scheme,
				       .authority = url->authority,
				       .method = s->sent_method,
				       .target = target,
				       .loopback = url->loopback,
				       .body = s->sent_body,
				       .body_len = s->sent_body ? strlen(s->sent_body) : 0,
				       .answer_max = AUTH_ANSWER_MAX };

	snprintf(target, sizeof(target), "%s%s", url->prefix, s->sent_path);
	put_field(&r, "Authorization", l->authorization);
	if (!s->bare) {
		put_field(&r, *l->snonce ? "X-SNONCE" : "X-TS", *l->snonce ? l->snonce : l->proof.ts);
		put_field(&r, "X-NONCE", l->proof.nonce);
		put_field(&r, "Content-Digest", l->proof.content_digest);
		put_field(&r, "X-POP", l->proof.mac);
	}
	if (s->sent_body)
		put_field(&r, "Content-Type", "application/json");
	result = transport_do(t->target.transport, &r, a, f);
	if (result || a->status != 429)
		return result;
	/* Neither taken nor refused for what it is: nothing would be shown. */
	transport_answer_done(a);
	return failure_set(f, EXIT_FAILED, ERROR_TOO_MANY,
			   "Try later; or see “handfast auth bans list” there, and lift it.",
			   "%s has banned this address for now, or does not take so many requests", url->authority);
}

/* "401 wrong_proof": the status, and the code of the error that comes with it. */
static void remember(struct outcome *o, const struct transport_answer *a)
{
	static const struct json_limits limits = { .max_bytes = AUTH_ANSWER_MAX, .max_depth = 6, .max_keys = 100 };
	_cleanup_json_ json_t *reply = NULL;
	const char *code = NULL;

	if (a->len && json_parse(&reply, a->body, a->len, &limits) == 0)
		code = json_get_str(json_object_get(reply, "error"), "code");
	o->status = a->status;
	snprintf(o->text, sizeof(o->text), "%u%s%.40s", a->status, code ? " " : "", code ? clean_text(code) : "");
}

static int shoot(struct selftest *t, const struct shot *s, struct lines *l, struct outcome *o, struct failure *f)
{
	struct transport_answer a = { 0 };
	char path[sizeof(t->target.url.prefix) + 128];
	int r;

	snprintf(path, sizeof(path), "%s%s", t->target.url.prefix, s->path ? s->path : s->sent_path);
	if (sign_shot(t, s, path, l))
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "%s cannot be signed", path);
	r = send_lines(t, s, l, &a, f);
	if (r)
		return r;
	remember(o, &a);
	transport_answer_done(&a);
	return EXIT_DONE;
}

/* The same request without a fault; moves to server nonces, or to a newer one, where the server wants it. */
static int shoot_right(struct selftest *t, const struct shot *s, struct lines *l, struct outcome *o, struct failure *f)
{
	const struct shot right = { .sent_method = s->sent_method, .sent_path = s->sent_path, .sent_body = s->sent_body };
	struct transport_answer a = { 0 };
	char path[sizeof(t->target.url.prefix) + 128];
	int r = EXIT_DONE;

	snprintf(path, sizeof(path), "%s%s", t->target.url.prefix, s->sent_path);
	for (int attempt = 0; attempt < 2 && !r; attempt++) {
		if (sign_shot(t, &right, path, l))
			return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "%s cannot be signed", path);
		r = send_lines(t, &right, l, &a, f);
		if (r)
			break;
		remember(o, &a);
		if (attempt > 0 || !auth_session_retry(t->session, a.status, *a.snonce ? a.snonce : NULL))
			break;
		transport_answer_done(&a);
	}
	transport_answer_done(&a);
	return r;
}

/* ---- telling ---- */

__attribute__((format(printf, 4, 5))) static void tell(struct selftest *t, bool ok, const char *name, const char *fmt, ...)
{
	const struct style *style = &t->c->style;
	enum paint p = ok ? PAINT_GREEN : PAINT_RED;
	char what[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	t->passed += ok;
	t->failed += !ok;
	json_array_append_new(t->results, json_pack("{s:s, s:b, s:s}", "name", name, "ok", (int)ok, "told", what));
	if (!t->c->json)
		printf("%s%s%s  %-44s %s\n", paint_begin(style, p), ok ? "ok  " : "FAIL", paint_end(style, p), name, what);
	fflush(stdout);
}

static bool is_taken(unsigned int status)
{
	return status >= 200 && status <= 299;
}

/* Refused for what it is: not because the server broke, nor because there is no such thing. */
static bool is_refused(unsigned int status)
{
	return status == 400 || status == 401 || status == 403;
}

/* ---- the attacks ---- */

#define WHOAMI .sent_method = "GET", .sent_path = "/api/whoami"
#define TRANSFER .sent_method = "POST", .sent_path = "/api/transfer"

/* The twin first, then the attack. */
static int attack(struct selftest *t, const char *name, const struct shot *s, struct failure *f)
{
	struct outcome right = { 0 }, wrong = { 0 };
	struct lines l;
	int r = shoot_right(t, s, &l, &right, f);

	if (!r)
		r = shoot(t, s, &l, &wrong, f);
	if (r)
		return r;
	tell(t, is_taken(right.status) && is_refused(wrong.status), name, "right one: %s, attack: %s", right.text, wrong.text);
	return EXIT_DONE;
}

/* A request that was taken, once more, byte for byte. */
static int replay(struct selftest *t, const char *name, const struct shot *s, struct failure *f)
{
	struct transport_answer a = { 0 };
	struct outcome first = { 0 }, again;
	struct lines l;
	int r = shoot_right(t, s, &l, &first, f);

	if (!r)
		r = send_lines(t, s, &l, &a, f);
	if (r)
		return r;
	remember(&again, &a);
	transport_answer_done(&a);
	tell(t, is_taken(first.status) && is_refused(again.status), name, "first: %s, again: %s", first.text, again.text);
	return EXIT_DONE;
}

/* Another request, signed and right, but for a nonce that was used. */
static int old_nonce(struct selftest *t, const char *name, struct failure *f)
{
	uint8_t nonce[POP_NONCE_BYTES];
	const struct shot s = { WHOAMI, .nonce = nonce };
	const struct shot other = { .sent_method = "GET", .sent_path = "/api/transfers", .nonce = nonce };
	struct outcome right = { 0 }, first = { 0 }, again = { 0 };
	struct lines l;
	int r = shoot_right(t, &s, &l, &right, f);

	random_bytes(nonce, sizeof(nonce));
	if (!r)
		r = shoot(t, &s, &l, &first, f);
	if (!r)
		r = shoot(t, &other, &l, &again, f);
	if (r)
		return r;
	tell(t, is_taken(first.status) && is_refused(again.status), name, "first: %s, another request with it: %s", first.text,
	     again.text);
	return EXIT_DONE;
}

static void edit_time(struct pop_signed *p, char *snonce)
{
	char *text = *snonce ? snonce : p->ts;
	char *last = text + strlen(text) - 1;

	/* A second more, or one character of the server's nonce: both are still well formed. */
	*last = *last == '0' ? '1' : *last == '9' ? '8' : *last == 'A' ? 'Q' : *snonce ? 'A' : (char)(*last + 1);
}

static void edit_nonce(struct pop_signed *p, char *snonce)
{
	uint8_t fresh[POP_NONCE_BYTES];

	(void)snonce;
	random_bytes(fresh, sizeof(fresh));
	base64_encode(p->nonce, fresh, sizeof(fresh), BASE64_URL);
}

static int attack_all(struct selftest *t, struct failure *f)
{
	_cleanup_(secret_freep) struct secret *other_key = NULL;
	char long_ago[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
	const struct {
		const char *name;
		struct shot shot;
	} attacks[] = {
		{ "stolen session id, no proof", { WHOAMI, .bare = true } },
		{ "changed body", { TRANSFER, .sent_body = t->other_body, .body = t->body } },
		{ "changed path", { .sent_method = "GET", .sent_path = "/api/transfers", .path = "/api/whoami" } },
		{ "changed query", { .sent_method = "GET", .sent_path = "/api/whoami?x=2", .path = "/api/whoami?x=1" } },
		{ "changed method", { TRANSFER, .sent_body = t->body, .method = "PUT" } },
		{ "changed authority", { WHOAMI, .authority = "other.example" } },
		{ "changed scheme",
		  { WHOAMI, .scheme = strcmp(t->target.url.scheme, "https") == 0 ? "http" : "https" } },
		{ "changed time", { WHOAMI, .edit = edit_time } },
		{ "changed nonce", { WHOAMI, .edit = edit_nonce } },
		{ "old time", { WHOAMI, .later_s = -3600, .by_time = true } },
		{ "time to come", { WHOAMI, .later_s = 3600, .by_time = true } },
		{ "invented server nonce", { WHOAMI, .snonce = long_ago } },
	};
	const struct shot whoami = { WHOAMI }, transfer = { TRANSFER, .sent_body = t->body };
	struct outcome o = { 0 };
	struct lines l;
	int r = secret_random(&other_key, POP_KEY_LEN) ?
			failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory") :
			shoot_right(t, &whoami, &l, &o, f);

	if (r)
		return r;
	tell(t, is_taken(o.status), "signed request", "%s", o.text);
	if (!is_taken(o.status))
		return EXIT_DONE;
	r = replay(t, "replayed request", &whoami, f);
	if (!r)
		r = replay(t, "replayed change", &transfer, f);
	for (size_t i = 0; !r && i < ARRAY_SIZE(attacks); i++)
		r = attack(t, attacks[i].name, &attacks[i].shot, f);
	if (!r)
		r = attack(t, "stolen session id, another key", &(const struct shot){ WHOAMI, .key = other_key }, f);
	if (!r)
		r = old_nonce(t, "old nonce", f);
	/* None of it has hurt the session. */
	if (!r)
		r = shoot_right(t, &whoami, &l, &o, f);
	if (!r)
		tell(t, is_taken(o.status), "signed request afterwards", "%s", o.text);
	return r;
}

/* ---- the user ---- */

static void invent(struct selftest *t)
{
	uint8_t bytes[24];

	random_bytes(bytes, sizeof(bytes));
	base64_encode(t->password, bytes, sizeof(bytes), BASE64_URL);
	random_bytes(bytes, 6);
	memcpy(t->user, "selftest-", 9);
	hex_format(t->user + 9, bytes, 6);
	snprintf(t->body, sizeof(t->body), "{\"to\":\"%s\",\"note\":\"one\"}", t->user);
	snprintf(t->other_body, sizeof(t->other_body), "{\"to\":\"%s\",\"note\":\"two\"}", t->user);
}

static int begin(struct selftest *t, bool registers, const char *password, const char *invitation,
		 struct auth_exchange **out, struct failure *f)
{
	_cleanup_(secret_freep) struct secret *secret = NULL;
	uint8_t copy[sizeof(t->password)];
	size_t len = strlen(password);

	memcpy(copy, password, len);
	if (secret_take(&secret, copy, len))
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	return auth_begin(out, &t->target, registers, t->user, secret, invitation, f);
}

static int log_in(struct selftest *t, struct failure *f)
{
	_cleanup_(auth_exchange_freep) struct auth_exchange *x = NULL;
	int r = begin(t, false, t->password, NULL, &x, f);

	if (r)
		return r;
	t->session = auth_exchange_take_session(x, clock_wall_s());
	return t->session ? EXIT_DONE : failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
}

static int join(struct selftest *t, const char *invitation, struct failure *f)
{
	_cleanup_(auth_exchange_freep) struct auth_exchange *registered = NULL, *wrong = NULL;
	struct failure said = { 0 };
	int r = begin(t, true, t->password, *invitation ? invitation : NULL, &registered, f);

	/* What was cut off may have been done all the same. */
	t->may_exist = !r || (registered && auth_exchange_call(registered) &&
			      strstr(auth_exchange_call(registered)->target, "/register/finish"));
	if (r)
		return r;
	tell(t, true, "registration", "a throw-away user, %s", t->user);
	r = begin(t, false, "not the password", NULL, &wrong, &said);
	if (r && r != EXIT_WRONG_SECRET) {
		*f = said;
		return r;
	}
	tell(t, r == EXIT_WRONG_SECRET, "login with another password", "%s", r ? "refused" : "taken");
	r = log_in(t, f);
	if (!r)
		tell(t, true, "login", "with the right one");
	return r;
}

static int unregister(struct selftest *t, struct failure *f)
{
	_cleanup_json_ json_t *reply = NULL;
	unsigned int status = 0;
	int r = auth_ask(&t->target, t->session, "POST", "/unregister", NULL, &status, &reply, f);

	if (!r && !is_taken(status))
		r = auth_refused(&t->target, status, reply, "cannot delete the user", f);
	if (!r)
		tell(t, true, "the user deletes itself", "%u", status);
	return r;
}

/* Whatever happened: what was made goes, or is named. */
static int leave(struct selftest *t, struct failure *f)
{
	struct failure why = { 0 };
	int r = EXIT_DONE;

	if (!t->may_exist)
		return EXIT_DONE;
	transport_set_limits(t->target.transport, LEAVE_MS, 0, true);
	if (!t->session)
		r = log_in(t, &why);
	if (r == EXIT_WRONG_SECRET)
		return EXIT_DONE;
	if (!r)
		r = unregister(t, &why);
	if (!r)
		return EXIT_DONE;
	fprintf(stderr, "handfast: the throw-away user %s is left over, or may be: %s\n"
			"There, “handfast auth users delete %s” deletes it.\n", t->user, why.message, t->user);
	*f = why;
	return r;
}

static void summary_text(const struct ctl *c, const json_t *result)
{
	(void)c;
	printf("\n%lld right, %lld wrong\n", (long long)json_get_int(result, "right", 0),
	       (long long)json_get_int(result, "wrong", 0));
}

static int run(struct selftest *t, struct failure *f)
{
	struct failure first = { 0 };
	char invitation[AUTH_INVITATION_SPACE];
	int r;

	invent(t);
	r = auth_invitation(invitation, t->c, false, f);
	if (!r)
		r = join(t, invitation, f);
	wipe(invitation, sizeof(invitation));
	if (!r)
		r = attack_all(t, f);
	if (r)
		first = *f;
	if (leave(t, f) && !r)
		return (int)f->exit;
	if (r)
		*f = first;
	return r;
}

int cmd_auth_selftest(struct ctl *c)
{
	struct selftest t = { .c = c, .results = json_array() };
	struct failure f = { 0 };
	json_t *result;
	int r = auth_target_open(&t.target, c, ctl_argument(c, 0), &f);

	if (!r) {
		interrupt_arm();
		t.target.holds_signals = true;
		r = run(&t, &f);
	}
	auth_session_free(t.session);
	auth_target_done(&t.target);
	result = json_pack("{s:s, s:i, s:i, s:o}", "user", t.user, "right", (int)t.passed, "wrong", (int)t.failed, "checks",
			   t.results);
	if (r)
		return ctl_result_failed(c, result, NULL, &f);
	if (!t.failed)
		return ctl_result(c, result, summary_text);
	failure_set(&f, EXIT_VERIFICATION, ERROR_VERIFICATION, "Do not rely on this server before its administrator knows why.",
		    "%zu of %zu checks came out wrong", t.failed, t.passed + t.failed);
	return ctl_result_failed(c, result, summary_text, &f);
}
