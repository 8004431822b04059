/*
 * Strict about every field: what has two spellings is refused, so that a
 * request has one MAC and a nonce one name. Of Content-Digest the whole value
 * enters the MAC, not sha-256 alone: whoever checks the body by another of its
 * members checks what the client sent.
 */
#include "proto/pop.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "crypto/kdf.h"

static_assert(POP_MAC_LEN == HMAC_SHA256_LEN && POP_DIGEST_LEN == SHA256_LEN, "both are SHA-256");

/* Years up to 9999; beyond that a clock is broken. */
#define TS_MAX 253402300799

enum {
	N_FIELDS = 9,
	INPUT_MAX = N_FIELDS * 4 + 15 + 5 + 5 + POP_AUTHORITY_MAX + POP_METHOD_MAX + POP_TARGET_MAX +
		    POP_SNONCE_MAX + BASE64_SPACE(POP_NONCE_BYTES_MAX) + POP_CONTENT_DIGEST_MAX,
};

/* Part of a field's value. */
struct span {
	const char *p;
	size_t len;
};

static struct span span_of(const char *text)
{
	return (struct span){ text, strlen(text) };
}

/* Without the white space around it (RFC 9110 section 5.5). */
static struct span trimmed(const char *text)
{
	struct span s = { text, 0 };

	if (!text)
		return s;
	s.p += strspn(s.p, " \t");
	s.len = strlen(s.p);
	while (s.len > 0 && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static char lower_of(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_alnum(char c)
{
	return is_lower(lower_of(c)) || is_digit(c);
}

static bool is_one_of(char c, const char *set)
{
	return memchr(set, c, strlen(set)) != NULL;
}

static bool is_all(struct span s, bool (*is)(char c))
{
	for (size_t i = 0; i < s.len; i++)
		if (!is(s.p[i]))
			return false;
	return true;
}

const char *pop_outcome_text(int outcome)
{
	switch (outcome) {
	case POP_E_NO_SESSION:
		return "no session";
	case POP_E_TIME:
		return "no time or server nonce, or a malformed one";
	case POP_E_NONCE:
		return "no nonce, or a malformed one";
	case POP_E_DIGEST:
		return "no content digest with sha-256, or a malformed one";
	case POP_E_MAC:
		return "no proof, or a malformed one";
	case POP_E_REQUEST:
		return "a request that cannot be signed";
	case POP_E_WRONG:
		return "wrong proof";
	}
	return "not a proof";
}

int pop_key(struct secret **out, const struct secret *session_key)
{
	return kdf_expand(out, POP_KEY_LEN, session_key, "handfast pop");
}

/* ---- the request ---- */

static bool is_name_char(char c)
{
	return is_alnum(c) || is_one_of(c, "-._~");
}

/* Of an IPv6 address, with an IPv4 one at its end or without; a zone has no meaning for the other side. */
static bool is_address_char(char c)
{
	return is_digit(c) || (lower_of(c) >= 'a' && lower_of(c) <= 'f') || is_one_of(c, ":.");
}

/* Host and what follows it: "[::1]:80" is "[::1]" and ":80". False when it is no host. */
static bool split_host(struct span *host, const char **rest, const char *authority)
{
	const char *end;

	host->p = authority;
	if (*authority == '[') {
		end = strchr(authority, ']');
		if (!end)
			return false;
		host->len = (size_t)(end + 1 - authority);
		*rest = end + 1;
		return host->len > 2 &&
		       is_all((struct span){ authority + 1, host->len - 2 }, is_address_char);
	}
	host->len = strcspn(authority, ":");
	*rest = authority + host->len;
	return host->len > 0 && is_all(*host, is_name_char);
}

/* A port of 1 to 65535 after its colon, the default one as 0; -1 when it is none. */
static long parse_port(const char *text, long default_port)
{
	long port = 0;

	/* RFC 3986 section 3.2.3: a port may be empty, and then it is the default. */
	if (!*text)
		return 0;
	for (; *text; text++) {
		if (!is_digit(*text))
			return -1;
		port = port * 10 + (*text - '0');
		if (port > UINT16_MAX)
			return -1;
	}
	if (port == 0)
		return -1;
	return port == default_port ? 0 : port;
}

static long default_port_of(const char *scheme)
{
	if (strcmp(scheme, "https") == 0)
		return 443;
	return strcmp(scheme, "http") == 0 ? 80 : -1;
}

int pop_authority(char out[static POP_AUTHORITY_SPACE], const char *scheme, const char *authority)
{
	char made[POP_AUTHORITY_SPACE];
	long default_port = default_port_of(scheme), port = 0;
	struct span host;
	const char *rest;
	int len;

	if (default_port < 0 || !split_host(&host, &rest, authority))
		return POP_E_REQUEST;
	if (*rest == ':')
		port = parse_port(rest + 1, default_port);
	else if (*rest)
		return POP_E_REQUEST;
	if (port < 0 || host.len > POP_AUTHORITY_MAX)
		return POP_E_REQUEST;

	len = port ? snprintf(made, sizeof(made), "%.*s:%ld", (int)host.len, host.p, port) :
		     snprintf(made, sizeof(made), "%.*s", (int)host.len, host.p);
	if (len < 0 || (size_t)len >= sizeof(made))
		return POP_E_REQUEST;
	for (int i = 0; i <= len; i++)
		out[i] = lower_of(made[i]);
	return 0;
}

/* RFC 9110 section 5.6.2. */
static bool is_token_char(char c)
{
	return is_alnum(c) || is_one_of(c, "!#$%&'*+-.^_`|~");
}

/* Anything but white space, control characters and what is not ASCII: not decoded, and so not judged. */
static bool is_target_char(char c)
{
	return c > ' ' && c < 0x7f;
}

static bool request_is_good(const struct pop_request *r)
{
	char canonical[POP_AUTHORITY_SPACE];
	struct span method = span_of(r->method), target = span_of(r->target);

	return pop_authority(canonical, r->scheme, r->authority) == 0 &&
	       strcmp(canonical, r->authority) == 0 && method.len > 0 &&
	       method.len <= POP_METHOD_MAX && is_all(method, is_token_char) && target.len > 0 &&
	       target.len <= POP_TARGET_MAX && target.p[0] == '/' && is_all(target, is_target_char);
}

static void put(struct wbuf *w, struct span s)
{
	wbuf_be32(w, (uint32_t)s.len);
	wbuf_put(w, s.p, s.len);
}

/* The MAC of a good request. */
static void compute(uint8_t mac[static POP_MAC_LEN], const struct pop_request *r, const char *mode,
		    struct span time, struct span nonce, struct span digest,
		    const struct secret *key)
{
	uint8_t input[INPUT_MAX];
	struct wbuf w;

	wbuf_init(&w, input, sizeof(input));
	put(&w, span_of("handfast-pop-v1"));
	put(&w, span_of(mode));
	put(&w, span_of(r->scheme));
	put(&w, span_of(r->authority));
	put(&w, span_of(r->method));
	put(&w, span_of(r->target));
	put(&w, time);
	put(&w, nonce);
	put(&w, digest);
	assert(wbuf_ok(&w));
	hmac_sha256(mac, secret_bytes(key), secret_len(key), input, w.len);
}

/* ---- the fields ---- */

static bool is_b64token_char(char c)
{
	return is_alnum(c) || is_one_of(c, "-._~+/");
}

/* RFC 6750 section 2.1; the scheme in any case (RFC 9110 section 11.1). */
static bool parse_session(struct span *out, const char *authorization)
{
	static const char scheme[] = "bearer ";
	struct span s = trimmed(authorization);
	size_t padding = 0;

	if (s.len < strlen(scheme))
		return false;
	for (size_t i = 0; i < strlen(scheme); i++)
		if (lower_of(s.p[i]) != scheme[i])
			return false;
	s.p += strlen(scheme);
	s.len -= strlen(scheme);
	while (s.len > 0 && *s.p == ' ') {
		s.p++;
		s.len--;
	}
	*out = s;
	while (padding < s.len && s.p[s.len - 1 - padding] == '=')
		padding++;
	s.len -= padding;
	return s.len > 0 && out->len <= POP_SESSION_MAX && is_all(s, is_b64token_char);
}

static bool parse_ts(int64_t *out, struct span s)
{
	int64_t ts = 0;

	/* 12 digits reach TS_MAX. A leading zero would be another spelling. */
	if (s.len == 0 || s.len > 12 || !is_all(s, is_digit) || (s.len > 1 && s.p[0] == '0'))
		return false;
	for (size_t i = 0; i < s.len; i++)
		ts = ts * 10 + (s.p[i] - '0');
	if (ts > TS_MAX)
		return false;
	*out = ts;
	return true;
}

static bool is_base64url_char(char c)
{
	return is_alnum(c) || is_one_of(c, "-_");
}

static bool snonce_is_good(struct span s)
{
	return s.len > 0 && s.len <= POP_SNONCE_MAX && is_all(s, is_base64url_char);
}

static bool parse_nonce(struct pop_proof *p, struct span s)
{
	return base64_decode(p->nonce, sizeof(p->nonce), &p->nonce_len, s.p, s.len, BASE64_URL) == 0 &&
	       p->nonce_len >= POP_NONCE_BYTES_MIN;
}

static bool parse_mac(struct pop_proof *p, struct span s)
{
	size_t len;

	return base64_decode(p->mac, sizeof(p->mac), &len, s.p, s.len, BASE64_URL) == 0 &&
	       len == sizeof(p->mac);
}

/* RFC 8941 section 3.2: lower case, digits, and some more. */
static size_t key_len(struct span s)
{
	size_t n = 0;

	if (s.len == 0 || !(is_lower(s.p[0]) || s.p[0] == '*'))
		return 0;
	while (n < s.len && (is_lower(s.p[n]) || is_digit(s.p[n]) || is_one_of(s.p[n], "_-.*")))
		n++;
	return n;
}

static void advance(struct span *s, size_t n)
{
	s->p += n;
	s->len -= n;
}

/* "key=:BASE64:" at the beginning of *s, which moves behind it. */
static bool take_member(struct span *s, struct span *key, struct span *value)
{
	const char *end;

	key->p = s->p;
	key->len = key_len(*s);
	advance(s, key->len);
	if (key->len == 0 || s->len < 3 || s->p[0] != '=' || s->p[1] != ':')
		return false;
	advance(s, 2);
	end = memchr(s->p, ':', s->len);
	if (!end)
		return false;
	value->p = s->p;
	value->len = (size_t)(end - s->p);
	advance(s, value->len + 1);
	return true;
}

static bool equals(struct span s, const char *text)
{
	return s.len == strlen(text) && memcmp(s.p, text, s.len) == 0;
}

/* A comma with white space around it, and something behind. False when there is none of that. */
static bool take_comma(struct span *s)
{
	while (s->len > 0 && is_one_of(*s->p, " \t"))
		advance(s, 1);
	if (s->len == 0 || *s->p != ',')
		return false;
	advance(s, 1);
	while (s->len > 0 && is_one_of(*s->p, " \t"))
		advance(s, 1);
	return s->len > 0;
}

static int parse_digest(uint8_t out[static POP_DIGEST_LEN], struct span s)
{
	enum { MEMBERS_MAX = 8 };
	struct span keys[MEMBERS_MAX], value;
	uint8_t bytes[POP_CONTENT_DIGEST_MAX], sum[POP_DIGEST_LEN];
	bool found = false;
	size_t len;

	if (s.len == 0 || s.len > POP_CONTENT_DIGEST_MAX)
		return POP_E_DIGEST;
	for (size_t n = 0; n < MEMBERS_MAX; n++) {
		if (!take_member(&s, &keys[n], &value) ||
		    base64_decode(bytes, sizeof(bytes), &len, value.p, value.len, BASE64_STANDARD))
			return POP_E_DIGEST;
		/* The RFC lets the last of two win; whoever reads another one reads another body. */
		for (size_t i = 0; i < n; i++)
			if (keys[i].len == keys[n].len &&
			    memcmp(keys[i].p, keys[n].p, keys[n].len) == 0)
				return POP_E_DIGEST;
		if (equals(keys[n], "sha-256")) {
			if (len != sizeof(sum))
				return POP_E_DIGEST;
			memcpy(sum, bytes, sizeof(sum));
			found = true;
		}
		if (s.len == 0) {
			if (!found)
				return POP_E_DIGEST;
			memcpy(out, sum, sizeof(sum));
			return 0;
		}
		if (!take_comma(&s))
			return POP_E_DIGEST;
	}
	return POP_E_DIGEST;
}

int pop_digest_parse(uint8_t out[static POP_DIGEST_LEN], const char *content_digest)
{
	return parse_digest(out, trimmed(content_digest));
}

int pop_parse(struct pop_proof *out, const struct pop_fields *fields)
{
	struct span session, ts = trimmed(fields->ts), snonce = trimmed(fields->snonce);
	struct pop_proof p = { .fields = fields };

	if (!parse_session(&session, fields->authorization))
		return POP_E_NO_SESSION;
	p.session = session.p;
	p.session_len = session.len;

	if (!ts.p == !snonce.p)
		return POP_E_TIME;
	if (ts.p ? !parse_ts(&p.ts, ts) : !snonce_is_good(snonce))
		return POP_E_TIME;
	p.snonce = snonce.p;
	p.snonce_len = snonce.len;

	if (!fields->nonce || !parse_nonce(&p, trimmed(fields->nonce)))
		return POP_E_NONCE;
	if (!fields->content_digest || pop_digest_parse(p.digest, fields->content_digest))
		return POP_E_DIGEST;
	if (!fields->mac || !parse_mac(&p, trimmed(fields->mac)))
		return POP_E_MAC;
	*out = p;
	return 0;
}

int pop_check(const struct pop_proof *proof, const struct pop_request *request,
	      const struct secret *key)
{
	const struct pop_fields *f = proof->fields;
	uint8_t mac[POP_MAC_LEN];
	bool same;

	if (!request_is_good(request))
		return POP_E_REQUEST;
	compute(mac, request, proof->snonce ? "nonce" : "time",
		trimmed(proof->snonce ? f->snonce : f->ts), trimmed(f->nonce),
		trimmed(f->content_digest), key);
	same = bytes_equal(mac, proof->mac, sizeof(mac));
	/* What would have been right is nobody's business. */
	wipe(mac, sizeof(mac));
	return same ? 0 : POP_E_WRONG;
}

int pop_check_body(const struct pop_proof *proof, const void *body, size_t len)
{
	uint8_t sum[POP_DIGEST_LEN];

	sha256(sum, body, len);
	return bytes_equal(sum, proof->digest, sizeof(sum)) ? 0 : POP_E_WRONG;
}

/* ---- client ---- */

void pop_digest_format(char out[static POP_CONTENT_DIGEST_SPACE],
		       const uint8_t body_sha256[static POP_DIGEST_LEN])
{
	char text[BASE64_SPACE(POP_DIGEST_LEN)];

	base64_encode(text, body_sha256, POP_DIGEST_LEN, BASE64_STANDARD);
	snprintf(out, POP_CONTENT_DIGEST_SPACE, "sha-256=:%s:", text);
}

int pop_sign(struct pop_signed *out, const struct pop_request *request, const char *snonce,
	     int64_t ts, const uint8_t body_sha256[static POP_DIGEST_LEN],
	     const uint8_t nonce[POP_NONCE_BYTES], const struct secret *key)
{
	uint8_t fresh[POP_NONCE_BYTES], mac[POP_MAC_LEN];
	struct pop_signed made = { "" };

	if (!request_is_good(request))
		return POP_E_REQUEST;
	if (snonce ? !snonce_is_good(span_of(snonce)) : ts < 0 || ts > TS_MAX)
		return POP_E_TIME;

	if (!snonce)
		snprintf(made.ts, sizeof(made.ts), "%" PRId64, ts);
	if (!nonce)
		random_bytes(fresh, sizeof(fresh));
	base64_encode(made.nonce, nonce ? nonce : fresh, POP_NONCE_BYTES, BASE64_URL);
	pop_digest_format(made.content_digest, body_sha256);
	compute(mac, request, snonce ? "nonce" : "time", span_of(snonce ? snonce : made.ts),
		span_of(made.nonce), span_of(made.content_digest), key);
	base64_encode(made.mac, mac, sizeof(mac), BASE64_URL);
	*out = made;
	return 0;
}
