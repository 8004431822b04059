/*
 * Registration and login, step by step. Every answer is taken for a stranger's: its size, its
 * members and what they decode to are checked before anything is computed of them, and the
 * password goes into nothing before the server has said how it wants it stretched.
 */
#include "auth/exchange.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/base64.h"
#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "crypto/opaque.h"
#include "crypto/secret.h"
#include "proto/pop.h"
#include "proto/username.h"

#include "auth/session.h"

enum { INVITATION_MAX = 256, LOGIN_ID_MAX = 4096, TARGET_MAX = 128 + 32 };

enum step { STEP_CONFIG, STEP_START, STEP_WORK, STEP_FINISH, STEP_DONE, STEP_FAILED };

struct auth_exchange {
	bool registers, in_session, renew;
	enum step step;
	struct auth_url url;
	char origin[AUTH_ORIGIN_SPACE]; /* whom we mean to talk to */
	char user[USERNAME_SPACE];
	char *invitation;
	struct opaque_client *opaque;
	uint8_t first[OPAQUE_KE1_LEN]; /* the request, or KE1 */
	/* From the server. */
	char *server; /* what it calls itself: OPAQUE's server identity */
	struct opaque_ksf ksf;
	uint8_t second[OPAQUE_KE2_LEN]; /* the response, or KE2 */
	char *login_id;
	/* What the work gave. */
	uint8_t third[OPAQUE_RECORD_LEN]; /* the record, or KE3 */
	struct secret *session_key;
	struct auth_session *session;
	int64_t lives_s;
	/* The call to make. */
	struct auth_call call;
	char target[TARGET_MAX];
	char *body;
	struct auth_refusal refusal;
	char why[512];
};

/* ---- addresses ---- */

static bool is_loopback(const char *authority)
{
	size_t host = authority[0] == '[' ? strcspn(authority, "]") + 1 : strcspn(authority, ":");
	unsigned int a, b, c, d;
	char text[264];
	int end = 0;

	snprintf(text, sizeof(text), "%.*s", (int)host, authority);
	if (strcmp(text, "localhost") == 0 || strcmp(text, "[::1]") == 0)
		return true;
	return sscanf(text, "%3u.%3u.%3u.%3u%n", &a, &b, &c, &d, &end) == 4 && end == (int)strlen(text) && a == 127;
}

int auth_url_parse(struct auth_url *out, const char *url)
{
	struct auth_url u = { .scheme = "https" };
	const char *rest = url, *path;
	char authority[POP_AUTHORITY_SPACE], canonical[POP_AUTHORITY_SPACE];
	size_t len;

	if (strncasecmp(url, "https://", 8) == 0) {
		rest = url + 8;
	} else if (strncasecmp(url, "http://", 7) == 0) {
		rest = url + 7;
		memcpy(u.scheme, "http", 5);
	} else if (strstr(url, "://")) {
		return AUTH_E_BAD_URL;
	}
	len = strcspn(rest, "/");
	if (len >= sizeof(authority))
		return AUTH_E_BAD_URL;
	memcpy(authority, rest, len);
	authority[len] = '\0';
	if (pop_authority(canonical, u.scheme, authority))
		return AUTH_E_BAD_URL;
	memcpy(u.authority, canonical, sizeof(canonical));
	path = rest + len;
	len = strlen(path);
	while (len > 0 && path[len - 1] == '/')
		len--;
	if (len >= sizeof(u.prefix))
		return AUTH_E_BAD_URL;
	/* Nothing that a server or a proxy on the way might read in another way than we do. */
	for (size_t i = 0; i < len; i++)
		if (path[i] <= ' ' || path[i] >= 127 || strchr("?#\\\"<>^`{|}", path[i]))
			return AUTH_E_BAD_URL;
	memcpy(u.prefix, path, len);
	u.loopback = is_loopback(u.authority);
	*out = u;
	return 0;
}

void auth_url_origin(char out[static AUTH_ORIGIN_SPACE], const struct auth_url *url)
{
	snprintf(out, AUTH_ORIGIN_SPACE, "%s://%s", url->scheme, url->authority);
}

/* ---- how it ends ---- */

__attribute__((format(printf, 3, 4))) static int fail(struct auth_exchange *x, int r, const char *fmt, ...)
{
	char text[2 * sizeof(x->why)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	text_clean(x->why, sizeof(x->why), text, strlen(text));
	x->step = STEP_FAILED;
	x->call = (struct auth_call){ NULL };
	return r;
}

static int fail_memory(struct auth_exchange *x)
{
	return fail(x, -ENOMEM, "out of memory");
}

/* What one of crypto/opaque.h's functions said of the server's message. */
static int fail_opaque(struct auth_exchange *x, int r)
{
	switch (r) {
	case OPAQUE_E_WRONG:
		return fail(x, AUTH_E_WRONG, "wrong password, or no such user");
	case OPAQUE_E_BAD_MESSAGE:
		return fail(x, AUTH_E_BAD_ANSWER, "the server's answer holds a number that is none of this protocol");
	case -ENOMEM:
		return fail(x, -ENOMEM, "there is no memory to stretch the password: the server asks for %u MiB",
			    x->ksf.mem_kib / 1024);
	default:
		return fail(x, err_fold(r), "the cryptographic library failed");
	}
}

/* ---- the calls ---- */

/* o is taken. 0 or -ENOMEM. */
static int set_call(struct auth_exchange *x, const char *path, json_t *o)
{
	_cleanup_json_ json_t *owned = o;
	bool has_body = o != NULL;

	if (x->body)
		wipe(x->body, strlen(x->body));
	free(x->body);
	x->body = has_body ? json_text(owned) : NULL;
	if (has_body && !x->body)
		return fail_memory(x);
	snprintf(x->target, sizeof(x->target), "%s%s", x->url.prefix, path);
	x->call = (struct auth_call){ .method = has_body ? "POST" : "GET",
				      .target = x->target,
				      .body = x->body,
				      .body_len = x->body ? strlen(x->body) : 0,
				      .is_signed = has_body && x->in_session };
	return 0;
}

static json_t *base64_json(const uint8_t *data, size_t len)
{
	char text[BASE64_SPACE(OPAQUE_KE2_LEN)];

	base64_encode(text, data, len, BASE64_URL);
	return json_string(text);
}

static int call_start(struct auth_exchange *x)
{
	json_t *o = x->registers ? json_pack("{s:s, s:o}", "user", x->user, "request",
					     base64_json(x->first, OPAQUE_REQUEST_LEN)) :
				   json_pack("{s:s, s:o}", "user", x->user, "ke1", base64_json(x->first, OPAQUE_KE1_LEN));

	if (o && x->invitation && json_object_set_new(o, "invitation", json_string(x->invitation))) {
		json_decref(o);
		o = NULL;
	}
	x->step = STEP_START;
	return o ? set_call(x, x->registers ? "/register/start" : "/login/start", o) : fail_memory(x);
}

static int call_finish(struct auth_exchange *x)
{
	json_t *o = x->registers ? json_pack("{s:s, s:o}", "user", x->user, "record",
					     base64_json(x->third, OPAQUE_RECORD_LEN)) :
				   json_pack("{s:s, s:o}", "login_id", x->login_id, "ke3",
					     base64_json(x->third, OPAQUE_KE3_LEN));

	if (o && x->invitation && json_object_set_new(o, "invitation", json_string(x->invitation))) {
		json_decref(o);
		o = NULL;
	}
	x->step = STEP_FINISH;
	return o ? set_call(x, x->registers ? "/register/finish" : "/login/finish", o) : fail_memory(x);
}

/* ---- the answers ---- */

static int bad_answer(struct auth_exchange *x, const char *what)
{
	return fail(x, AUTH_E_BAD_ANSWER, "the answer to %s %s: is there an authd?", x->target, what);
}

/* Text with no more than max characters, or NULL. */
static const char *text_member(const json_t *o, const char *key, size_t max)
{
	const char *s = json_get_str(o, key);

	return s && *s && strlen(s) <= max ? s : NULL;
}

static int read_refusal(struct auth_exchange *x, unsigned int status, const json_t *o)
{
	const json_t *error = json_object_get(o, "error");
	const char *code = json_get_str(error, "code"), *text = json_get_str(error, "text");
	struct auth_refusal *f = &x->refusal;

	f->status = status;
	if (code)
		text_clean(f->code, sizeof(f->code), code, strlen(code));
	if (text)
		text_clean(f->text, sizeof(f->text), text, strlen(text));
	if (status == 429)
		return fail(x, AUTH_E_TOO_MANY, "%s", *f->text ? f->text : "the server takes no more attempts for now");
	if (status >= 300 && status < 400)
		return fail(x, AUTH_E_REFUSED, "the server sends us elsewhere (status %u), where we do not go with a password",
			    status);
	if (*f->text)
		return fail(x, AUTH_E_REFUSED, "the server refuses: %s", f->text);
	return fail(x, AUTH_E_REFUSED, "the server answers %s with status %u", x->target, status);
}

/* A number in [min, max] or 0. */
static uint32_t number_member(const json_t *o, const char *key, int64_t max)
{
	int64_t v = json_get_int(o, key, 0);

	return v > 0 && v <= max ? (uint32_t)v : 0;
}

static int read_ksf(struct auth_exchange *x, const json_t *ksf)
{
	const char *name = json_get_str(ksf, "name");
	int64_t mem = json_get_int(ksf, "memory_kib", 0), passes = json_get_int(ksf, "passes", 0);

	if (!name || strcmp(name, "argon2id") != 0 || json_get_int(ksf, "parallelism", 0) != 1)
		return fail(x, AUTH_E_KSF, "the server stretches passwords in another way than Argon2id with one lane");
	if (mem < AUTH_KSF_MEM_KIB_MIN || passes < AUTH_KSF_PASSES_MIN)
		return fail(x, AUTH_E_KSF,
			    "the server asks for a stretching that is too weak (%lld KiB, %lld passes): whoever steals its "
			    "records would guess the password",
			    (long long)mem, (long long)passes);
	if (mem > AUTH_KSF_MEM_KIB_MAX || passes > AUTH_KSF_PASSES_MAX || mem * passes > AUTH_KSF_WORK_KIB_MAX)
		return fail(x, AUTH_E_KSF, "the server asks for a stretching that is too heavy (%lld KiB, %lld passes)",
			    (long long)mem, (long long)passes);
	x->ksf = (struct opaque_ksf){ .kind = OPAQUE_KSF_ARGON2ID,
				      .mem_kib = number_member(ksf, "memory_kib", AUTH_KSF_MEM_KIB_MAX),
				      .passes = number_member(ksf, "passes", AUTH_KSF_PASSES_MAX) };
	return 0;
}

static int read_config(struct auth_exchange *x, const json_t *o)
{
	const char *origin = text_member(o, "origin", AUTH_ORIGIN_SPACE - 1);
	const char *registration = json_get_str(o, "registration");
	char canonical[AUTH_ORIGIN_SPACE];
	struct auth_url u;
	int r;

	if (!origin || !json_is_object(json_object_get(o, "ksf")))
		return bad_answer(x, "is none of its");
	if (auth_url_parse(&u, origin) || *u.prefix || !strstr(origin, "://"))
		return bad_answer(x, "names no origin");
	auth_url_origin(canonical, &u);
	if (strcmp(canonical, x->origin) != 0)
		return fail(x, AUTH_E_ORIGIN, "the server calls itself %s, not %s", canonical, x->origin);
	r = read_ksf(x, json_object_get(o, "ksf"));
	if (r)
		return r;
	if (x->registers && !x->in_session && registration && strcmp(registration, "closed") == 0) {
		x->refusal.status = 403;
		return fail(x, AUTH_E_REFUSED, "the server takes no registrations");
	}
	x->server = strdup(origin);
	return x->server ? call_start(x) : fail_memory(x);
}

static int read_start(struct auth_exchange *x, const json_t *o)
{
	const char *second = json_get_str(o, x->registers ? "response" : "ke2");
	const char *id = text_member(o, "login_id", LOGIN_ID_MAX);
	const json_t *ksf = json_object_get(o, "ksf");
	int r;

	if (!second || base64_decode_exact(x->second, x->registers ? OPAQUE_RESPONSE_LEN : OPAQUE_KE2_LEN, second, BASE64_URL))
		return bad_answer(x, x->registers ? "holds no response" : "holds no KE2");
	if (!x->registers && !id)
		return bad_answer(x, "holds no login_id");
	r = ksf ? read_ksf(x, ksf) : 0;
	if (r)
		return r;
	if (id && !(x->login_id = strdup(id)))
		return fail_memory(x);
	x->step = STEP_WORK;
	x->call = (struct auth_call){ NULL };
	return AUTH_WORK;
}

static int read_finish(struct auth_exchange *x, const json_t *o)
{
	const char *id = json_get_str(o, "session_id");
	int64_t lives_s = json_get_int(o, "expires_in_s", 0);
	int r;

	if (!x->registers) {
		if (!id || lives_s <= 0)
			return bad_answer(x, "holds no session");
		r = auth_session_new(&x->session, id, x->session_key);
		if (r < 0)
			return fail_memory(x);
		if (r)
			return bad_answer(x, "holds no session");
		x->session_key = secret_free(x->session_key);
		x->renew = json_is_true(json_object_get(o, "renew"));
		/* A year: what a clock and a file can say of it. */
		x->lives_s = lives_s < 366 * 86400 ? lives_s : 366 * 86400;
	}
	x->step = STEP_DONE;
	x->call = (struct auth_call){ NULL };
	return 0;
}

int auth_exchange_answer(struct auth_exchange *x, unsigned int status, const void *body, size_t len)
{
	static const struct json_limits limits = { .max_bytes = AUTH_ANSWER_MAX, .max_depth = 6, .max_keys = 100 };
	_cleanup_json_ json_t *o = NULL;
	bool is_json;
	int r;

	if (!x->call.method)
		return fail(x, -EINVAL, "an answer to no request");
	r = len ? json_parse(&o, body, len, &limits) : JSON_E_SYNTAX;
	if (r < 0)
		return fail_memory(x);
	is_json = r == 0;
	if (status < 200 || status > 299)
		return read_refusal(x, status, o);
	/* Nothing need be said after a registration. */
	if (!is_json && !(x->registers && x->step == STEP_FINISH && len == 0))
		return bad_answer(x, len > AUTH_ANSWER_MAX ? "is too long" : "is no JSON object");
	switch (x->step) {
	case STEP_CONFIG:
		return read_config(x, o);
	case STEP_START:
		return read_start(x, o);
	default:
		return read_finish(x, o);
	}
}

int auth_exchange_work(struct auth_exchange *x)
{
	const struct opaque_ids ids = { .client = x->user,
					.client_len = strlen(x->user),
					.server = x->server,
					.server_len = x->server ? strlen(x->server) : 0 };
	int r;

	if (x->step != STEP_WORK)
		return fail(x, -EINVAL, "there is nothing to work on");
	r = x->registers ? opaque_register_finish(x->opaque, x->third, NULL, x->second, &ids, &x->ksf) :
			   opaque_login_finish(x->opaque, x->third, &x->session_key, NULL, x->second, &ids, &x->ksf);
	if (r)
		return fail_opaque(x, r);
	x->opaque = opaque_client_free(x->opaque);
	return call_finish(x);
}

/* ---- around it ---- */

static int begin(struct auth_exchange **out, const struct auth_options *o, bool registers)
{
	_cleanup_(auth_exchange_freep) struct auth_exchange *x = calloc(1, sizeof(*x));
	struct auth_url named;
	int r;

	if (!x)
		return -ENOMEM;
	x->registers = registers;
	x->in_session = registers && o->in_session;
	x->url = o->url;
	auth_url_origin(x->origin, &x->url);
	if (o->origin) {
		if (auth_url_parse(&named, o->origin) || *named.prefix)
			return AUTH_E_BAD_URL;
		auth_url_origin(x->origin, &named);
	}
	if (username_canonical(x->user, o->user, strlen(o->user)))
		return AUTH_E_BAD_NAME;
	if (o->password_len == 0 || o->password_len > OPAQUE_FIELD_MAX)
		return AUTH_E_BAD_PASSWORD;
	if (o->invitation && strlen(o->invitation) > INVITATION_MAX)
		return AUTH_E_BAD_NAME;
	if (o->invitation && registers && !(x->invitation = strdup(o->invitation)))
		return -ENOMEM;
	r = registers ? opaque_register_start(&x->opaque, x->first, o->password, o->password_len, NULL) :
			opaque_login_start(&x->opaque, x->first, o->password, o->password_len, NULL);
	if (r)
		return r == OPAQUE_E_BAD_PARAMETER ? AUTH_E_BAD_PASSWORD : err_fold(r);
	r = set_call(x, "/config", NULL);
	if (r)
		return r;
	*out = steal(&x);
	return 0;
}

int auth_register(struct auth_exchange **out, const struct auth_options *o)
{
	return begin(out, o, true);
}

int auth_login(struct auth_exchange **out, const struct auth_options *o)
{
	return begin(out, o, false);
}

const struct auth_call *auth_exchange_call(const struct auth_exchange *x)
{
	return x->call.method ? &x->call : NULL;
}

const char *auth_exchange_why(const struct auth_exchange *x)
{
	return x->why;
}

const struct auth_refusal *auth_exchange_refusal(const struct auth_exchange *x)
{
	return &x->refusal;
}

const char *auth_exchange_user(const struct auth_exchange *x)
{
	return x->user;
}

bool auth_exchange_is_to_renew(const struct auth_exchange *x)
{
	return x->renew;
}

struct auth_session *auth_exchange_take_session(struct auth_exchange *x, int64_t now_s)
{
	struct auth_session *s = steal(&x->session);

	if (!s)
		return NULL;
	s->url = x->url;
	snprintf(s->origin, sizeof(s->origin), "%s", x->origin);
	snprintf(s->user, sizeof(s->user), "%s", x->user);
	s->created_s = now_s;
	s->expires_s = now_s + x->lives_s;
	return s;
}

struct auth_exchange *auth_exchange_free(struct auth_exchange *x)
{
	if (!x)
		return NULL;
	opaque_client_free(x->opaque);
	secret_free(x->session_key);
	auth_session_free(x->session);
	free(x->invitation);
	free(x->server);
	free(x->login_id);
	free(x->body);
	wipe(x, sizeof(*x));
	free(x);
	return NULL;
}
