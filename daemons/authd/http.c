/* Nothing that a client sent is ever part of an answer's text. */
#include "authd/http.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <jansson.h>

#include "authd/config.h"
#include "authd/fresh.h"
#include "authd/server.h"
#include "base/base64.h"
#include "base/json.h"
#include "base/log.h"
#include "http/proxies.h"
#include "proto/username.h"

/* A page of ours may load nothing, be framed by nobody, and be kept nowhere. */
#define COMMON_FIELDS                                                                                   \
	"Cache-Control", "no-store", "X-Content-Type-Options", "nosniff", "Referrer-Policy", "no-referrer", \
		"Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'",                        \
		"Cross-Origin-Resource-Policy", "same-origin"

enum { EXTRA_MAX = 8 };

static void reply(struct http_request *req, unsigned int status, const char *type, const void *body, size_t len,
		  const char *const *extra)
{
	const char *fields[10 + 2 * EXTRA_MAX + 1] = { COMMON_FIELDS };
	size_t n = 10;

	for (; extra && extra[0] && n < 10 + 2 * EXTRA_MAX; extra += 2) {
		fields[n++] = extra[0];
		fields[n++] = extra[1];
	}
	fields[n] = NULL;
	http_reply(req, status, type, body, len, fields);
}

static void reply_object(struct http_request *req, unsigned int status, json_t *body, const char *const *extra)
{
	_cleanup_json_ json_t *owned = body;
	_cleanup_free_ char *text = owned ? json_text(owned) : NULL;

	if (text)
		reply(req, status, "application/json", text, strlen(text), extra);
	else
		reply(req, 503, NULL, "", 0, NULL);
}

void reply_json(struct http_request *req, unsigned int status, json_t *body)
{
	reply_object(req, status, body ? body : json_object(), NULL);
}

void reply_empty(struct http_request *req, unsigned int status, const char *const *extra)
{
	reply(req, status, NULL, "", 0, extra);
}

static json_t *error_object(const char *code, const char *text)
{
	return json_pack("{s:{s:s, s:s}}", "error", "code", code, "text", text);
}

void reply_error(struct http_request *req, unsigned int status, const char *code, const char *text)
{
	reply_object(req, status, error_object(code, text), NULL);
}

void reply_not_found(struct http_request *req)
{
	reply_error(req, 404, "not_found", "nothing is served here");
}

void reply_later(struct http_request *req, unsigned int status, const char *code, const char *text, uint64_t ms)
{
	char seconds[24];
	const char *const extra[] = { "Retry-After", seconds, NULL };

	snprintf(seconds, sizeof(seconds), "%" PRIu64, (ms + 999) / 1000);
	reply_object(req, status, error_object(code, text), extra);
}

void reply_failure(struct authd *a, struct http_request *req, int r, const char *what)
{
	a->counted[COUNT_FAILURES]++;
	a->storage_error = r < 0 ? r : -EIO;
	log_event(LOG_ERR, &MSG_AUTH_STORAGE, LOG_NO_FIELDS, "%s: %s", what, strerror(r < 0 ? -r : EIO));
	reply_later(req, 503, "unavailable", "this cannot be done now; nothing was changed", 1000);
}

void reply_unproven(struct authd *a, struct http_request *req, const char *code, const char *text)
{
	char nonce[SNONCE_SPACE], challenge[SNONCE_SPACE + 64];
	const char *const extra[] = { "WWW-Authenticate", challenge, "X-SNONCE", nonce, NULL };

	fresh_snonce(a->fresh, nonce);
	snprintf(challenge, sizeof(challenge), "Bearer realm=\"handfast\", snonce=\"%s\"", nonce);
	reply_object(req, 401, error_object(code, text), extra);
}

/* ---- bodies ---- */

static bool bad_request(struct authd *a, struct http_request *req, unsigned int status, const char *code, const char *text)
{
	a->counted[COUNT_BAD_REQUESTS]++;
	reply_error(req, status, code, text);
	return false;
}

/* RFC 8259: JSON is UTF-8; a parameter that says so is let be. */
static bool is_json_type(const char *type)
{
	static const char json[] = "application/json";
	size_t n = sizeof(json) - 1;

	if (!type || strncasecmp(type, json, n) != 0)
		return false;
	type += n;
	type += strspn(type, " \t");
	if (*type == '\0')
		return true;
	if (*type++ != ';')
		return false;
	type += strspn(type, " \t");
	return strcasecmp(type, "charset=utf-8") == 0 || strcasecmp(type, "charset=\"utf-8\"") == 0;
}

static bool take_text(struct authd *a, struct http_request *req, const struct member *m, const json_t *v)
{
	if (json_string_length(v) > m->max || json_string_length(v) == 0)
		return bad_request(a, req, 400, "bad_value", "a member is empty or too long");
	if (m->len)
		*m->len = json_string_length(v);
	else if (strlen(json_string_value(v)) != json_string_length(v))
		return bad_request(a, req, 400, "bad_value", "a member holds a NUL character");
	*m->text = json_string_value(v);
	return true;
}

static bool take_member(struct authd *a, struct http_request *req, const struct member *m, const json_t *v)
{
	if (!v && m->optional)
		return true;
	if (!v)
		return bad_request(a, req, 400, "missing_member", "a member is missing");
	if (!json_is_string(v))
		return bad_request(a, req, 400, "bad_value", "a member is no string");
	if (!m->bytes)
		return take_text(a, req, m, v);
	if (strlen(json_string_value(v)) != json_string_length(v) ||
	    base64_decode_exact(m->bytes, m->n_bytes, json_string_value(v), BASE64_URL))
		return bad_request(a, req, 400, "bad_value",
				   "a member is not base64url without padding, or of the wrong length");
	return true;
}

static bool is_known(const struct member *m, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(m[i].name, name) == 0)
			return true;
	return false;
}

static bool take_members(struct authd *a, struct http_request *req, const struct member *m, size_t n, json_t *body)
{
	const char *name;
	json_t *v;

	json_object_foreach(body, name, v)
		if (!is_known(m, n, name))
			return bad_request(a, req, 400, "unknown_member", "there is a member that this request does not have");
	for (size_t i = 0; i < n; i++)
		if (!take_member(a, req, &m[i], json_object_get(body, m[i].name)))
			return false;
	return true;
}

bool read_body(struct authd *a, struct http_request *req, const struct member *m, size_t n, json_t **body)
{
	const struct json_limits limits = { .max_bytes = a->cfg->max_body, .max_depth = 2, .max_keys = 16 };
	const char *type;
	const void *text;
	size_t len;
	int r;

	if (!http_request_header_once(req, "Content-Type", &type) || !is_json_type(type))
		return bad_request(a, req, 415, "content_type", "the body must be application/json");
	text = http_request_body(req, &len);
	r = json_parse(body, text, len, &limits);
	if (r < 0) {
		reply_failure(a, req, r, "cannot read a request");
		return false;
	}
	if (r)
		return bad_request(a, req, 400, "bad_json", "the body is no JSON object, or not one of this protocol");
	return take_members(a, req, m, n, *body);
}

bool read_name(struct authd *a, struct http_request *req, char *out, const char *name, size_t len)
{
	int r = username_canonical(out, name, len);

	return r ? bad_request(a, req, 400, "bad_name", username_outcome_text(r)) : true;
}

/* ---- who asks, and how ---- */

void request_address(const struct http_request *req, struct address_key *key)
{
	address_key_init(key, http_request_address(req));
}

bool request_is_proxied(const struct authd *a, const struct http_request *req)
{
	return http_proxies_has(a->cfg->trusted_proxies, http_request_peer(req));
}

const char *request_scheme(const struct authd *a, const struct http_request *req)
{
	const char *forwarded = NULL;

	if (a->cfg->tls.certificate_pem)
		return "https";
	if (!request_is_proxied(a, req))
		return "http";
	if (!http_request_header_once(req, "X-Forwarded-Proto", &forwarded))
		return NULL;
	if (!forwarded || strcasecmp(forwarded, "http") == 0)
		return "http";
	return strcasecmp(forwarded, "https") == 0 ? "https" : NULL;
}

static bool is_this_machine(const struct sockaddr *s)
{
	struct address_key k;

	if (s->sa_family == AF_UNIX)
		return true;
	address_key_init(&k, s);
	if (k.family == 4)
		return k.b[0] == 127;
	return s->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)s)->sin6_addr);
}

bool request_is_forwarded(const struct http_request *req)
{
	return http_request_header(req, "X-Forwarded-For") || http_request_header(req, "Forwarded") || http_request_header(req, "Via");
}

bool request_is_confidential(const struct authd *a, const struct http_request *req)
{
	const char *scheme = request_scheme(a, req);

	if (!scheme)
		return false;
	if (strcmp(scheme, "https") == 0)
		return true;
	if (!request_is_proxied(a, req) && request_is_forwarded(req))
		return false;
	return is_this_machine(http_request_address(req)) ||
	       (!request_is_proxied(a, req) && http_proxies_has(a->cfg->private_peers, http_request_address(req)));
}
