/* A login's session: what signs, and what of it can be kept. */
#include "auth/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/json.h"
#include "base/text.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "proto/username.h"

/* RFC 6750 section 2.1: b64token. */
static bool is_token(const char *s, size_t max)
{
	static const char characters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~+/";
	size_t n = strspn(s, characters), len;

	len = n + strspn(s + n, "=");
	return n > 0 && s[len] == '\0' && len <= max;
}

static bool is_snonce(const char *s)
{
	static const char characters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";

	return *s && !s[strspn(s, characters)] && strlen(s) <= POP_SNONCE_MAX;
}

int auth_session_new(struct auth_session **out, const char *id, const struct secret *opaque_key)
{
	_cleanup_(auth_session_freep) struct auth_session *s = NULL;
	int r;

	if (!is_token(id, POP_SESSION_MAX))
		return AUTH_E_BAD_ANSWER;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	snprintf(s->id, sizeof(s->id), "%s", id);
	r = pop_key(&s->key, opaque_key);
	if (r)
		return r;
	*out = steal(&s);
	return 0;
}

struct auth_session *auth_session_free(struct auth_session *s)
{
	if (!s)
		return NULL;
	secret_free(s->key);
	wipe(s, sizeof(*s));
	free(s);
	return NULL;
}

/* ---- signing ---- */

static void field(struct auth_fields *out, const char *name, const char *prefix, const char *value)
{
	out->v[out->n].name = name;
	snprintf(out->v[out->n].value, sizeof(out->v[out->n].value), "%s%s", prefix, value);
	out->n++;
}

int auth_sign_digest(struct auth_fields *out, const struct auth_session *s, const struct pop_request *request,
		     const uint8_t body_sha256[static POP_DIGEST_LEN], int64_t now_s)
{
	struct auth_fields f = { 0 };
	struct pop_signed proof;
	int r;

	r = pop_sign(&proof, request, *s->snonce ? s->snonce : NULL, now_s, body_sha256, NULL, s->key);
	if (r)
		return r;
	field(&f, "Authorization", "Bearer ", s->id);
	if (*s->snonce)
		field(&f, "X-SNONCE", "", s->snonce);
	else
		field(&f, "X-TS", "", proof.ts);
	field(&f, "X-NONCE", "", proof.nonce);
	field(&f, "Content-Digest", "", proof.content_digest);
	field(&f, "X-POP", "", proof.mac);
	*out = f;
	return 0;
}

int auth_sign(struct auth_fields *out, const struct auth_session *s, const struct pop_request *request,
	      const void *body, size_t len, int64_t now_s)
{
	uint8_t digest[POP_DIGEST_LEN];

	sha256(digest, body, len);
	return auth_sign_digest(out, s, request, digest, now_s);
}

bool auth_session_retry(struct auth_session *s, unsigned int status, const char *snonce)
{
	if (status != 401 || !snonce || !is_snonce(snonce) || strcmp(snonce, s->snonce) == 0)
		return false;
	snprintf(s->snonce, sizeof(s->snonce), "%s", snonce);
	return true;
}

/* ---- keeping it ---- */

enum { FORMAT = 1 };

json_t *auth_session_to_json(const struct auth_session *s)
{
	char url[sizeof(s->url.scheme) + sizeof(s->url.authority) + sizeof(s->url.prefix) + 4];

	snprintf(url, sizeof(url), "%s://%s%s", s->url.scheme, s->url.authority, s->url.prefix);
	return json_pack("{s:i, s:s, s:s, s:s, s:s, s:I, s:I}", "format", FORMAT, "url", url, "origin", s->origin, "user",
			 s->user, "session_id", s->id, "created", (json_int_t)s->created_s, "expires",
			 (json_int_t)s->expires_s);
}

/* Copy a member that fits. */
static bool take_text(char *out, size_t cap, const json_t *o, const char *key)
{
	const char *s = json_get_str(o, key);

	return s && *s && (size_t)snprintf(out, cap, "%s", s) < cap;
}

int auth_session_from_json(struct auth_session **out, const json_t *o)
{
	_cleanup_(auth_session_freep) struct auth_session *s = calloc(1, sizeof(*s));
	const char *url = json_get_str(o, "url");
	char canonical[USERNAME_SPACE];

	if (!s)
		return -ENOMEM;
	if (json_get_int(o, "format", 0) != FORMAT || !url || auth_url_parse(&s->url, url) ||
	    !take_text(s->origin, sizeof(s->origin), o, "origin") || !take_text(s->user, sizeof(s->user), o, "user") ||
	    username_canonical(canonical, s->user, strlen(s->user)) || strcmp(canonical, s->user) != 0 ||
	    !take_text(s->id, sizeof(s->id), o, "session_id") || !is_token(s->id, POP_SESSION_MAX))
		return -EBADMSG;
	s->created_s = json_get_int(o, "created", 0);
	s->expires_s = json_get_int(o, "expires", 0);
	*out = steal(&s);
	return 0;
}
