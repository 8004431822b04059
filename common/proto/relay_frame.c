/*
 * The relay's frames. A client's frame is read by a scanner that makes one pass,
 * allocates nothing and never looks into what it has only to forward; a
 * server's frame is read with jansson behind base/json.h's limits.
 */
#include "proto/relay_frame.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"

static const char code_alphabet[] = RELAY_CODE_ALPHABET;
static_assert(sizeof(code_alphabet) == RELAY_CODE_BASE + 1, "the alphabet of session codes");

const char *relay_role_name(enum relay_role role)
{
	return role == RELAY_ALICE ? "alice" : "bob";
}

int relay_role_parse(enum relay_role *out, const char *s, size_t len)
{
	if (len == 5 && memcmp(s, "alice", 5) == 0)
		*out = RELAY_ALICE;
	else if (len == 3 && memcmp(s, "bob", 3) == 0)
		*out = RELAY_BOB;
	else
		return -EINVAL;
	return 0;
}

/* ---- session codes, targets, invitations ---- */

void relay_code_format(char out[static RELAY_CODE_LEN + 1], const uint8_t values[static RELAY_CODE_LEN])
{
	for (size_t i = 0; i < RELAY_CODE_LEN; i++) {
		assert(values[i] < RELAY_CODE_BASE);
		out[i] = code_alphabet[values[i]];
	}
	out[RELAY_CODE_LEN] = '\0';
}

int relay_code_parse(char out[static RELAY_CODE_LEN + 1], const char *text, size_t len)
{
	char code[RELAY_CODE_LEN + 1] = { 0 };

	if (len != RELAY_CODE_LEN)
		return -EINVAL;
	for (size_t i = 0; i < RELAY_CODE_LEN; i++) {
		char c = text[i];

		if (c >= 'a' && c <= 'z')
			c = (char)(c - 'a' + 'A');
		if (c == '\0' || !strchr(code_alphabet, c))
			return -EINVAL;
		code[i] = c;
	}
	memcpy(out, code, sizeof(code));
	return 0;
}

bool relay_code_is_valid(const char *text, size_t len)
{
	char code[RELAY_CODE_LEN + 1];

	return relay_code_parse(code, text, len) == 0 && memcmp(code, text, len) == 0;
}

int relay_target_parse(char code[static RELAY_CODE_LEN + 1], enum relay_role *role, const char *target)
{
	enum relay_role found;
	const char *rest;

	if (strncmp(target, "/ws/", 4) != 0)
		return -EINVAL;
	rest = target + 4;
	if (strnlen(rest, RELAY_CODE_LEN + 1) <= RELAY_CODE_LEN || rest[RELAY_CODE_LEN] != '/' ||
	    !relay_code_is_valid(rest, RELAY_CODE_LEN))
		return -EINVAL;
	if (relay_role_parse(&found, rest + RELAY_CODE_LEN + 1, strlen(rest + RELAY_CODE_LEN + 1)))
		return -EINVAL;
	memcpy(code, rest, RELAY_CODE_LEN);
	code[RELAY_CODE_LEN] = '\0';
	*role = found;
	return 0;
}

static bool is_host_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '-' || c == '_';
}

static bool is_ipv6_char(char c)
{
	return (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || (c >= '0' && c <= '9') ||
	       c == ':' || c == '.';
}

int relay_url_parse(char *out, size_t cap, const char *text)
{
	const char *scheme = "ws", *host = text, *p;
	char port[16] = "";
	size_t host_len;
	uint64_t n;
	int r;

	if (strncmp(text, "ws://", 5) == 0) {
		host = text + 5;
	} else if (strncmp(text, "wss://", 6) == 0) {
		scheme = "wss";
		host = text + 6;
	}
	p = host;
	if (*p == '[') {
		for (p++; is_ipv6_char(*p);)
			p++;
		if (*p != ']' || p - host < 3)
			return -EINVAL;
		p++;
	} else {
		while (is_host_char(*p))
			p++;
		if (p == host)
			return -EINVAL;
	}
	host_len = (size_t)(p - host);
	if (host_len > 255)
		return -EINVAL;
	if (*p == ':') {
		size_t len = strcspn(++p, "/");

		if (len == 0 || len > 5)
			return -EINVAL;
		memcpy(port, p, len);
		if (text_parse_u64(&n, port, 1, 65535))
			return -EINVAL;
		p += len;
	}
	if (*p == '/')
		p++;
	if (*p)
		return -EINVAL;
	if (!*port && strcmp(scheme, "ws") == 0)
		snprintf(port, sizeof(port), "%d", RELAY_PORT);
	r = snprintf(out, cap, "%s://%.*s%s%s", scheme, (int)host_len, host, *port ? ":" : "", port);
	return r < 0 || (size_t)r >= cap ? -EINVAL : 0;
}

int relay_invitation_parse(struct relay_invitation *out, const char *text)
{
	struct relay_invitation inv = { 0 };
	const char *at = strchr(text, '@');
	int r;

	r = relay_code_parse(inv.code, text, at ? (size_t)(at - text) : strlen(text));
	if (r)
		return r;
	if (at) {
		r = relay_url_parse(inv.url, sizeof(inv.url), at + 1);
		if (r)
			return r;
	}
	*out = inv;
	return 0;
}

/* ---- small encoders ---- */

static size_t format(char *out, size_t cap, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static size_t format(char *out, size_t cap, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(out, cap, fmt, ap);
	va_end(ap);
	assert(n >= 0 && (size_t)n < cap);
	return (size_t)n;
}

#define ENVELOPE(type) "{\"type\":\"" type "\",\"proto\":\"" RELAY_PROTO "\",\"ver\":1,\"payload\":"
static_assert(RELAY_VER == 1, "ENVELOPE spells it");

size_t relay_session_reply_encode(char *out, size_t cap, const struct relay_session_reply *r)
{
	char id[BASE64_SPACE(RELAY_SESSION_ID_LEN)];

	base64_encode(id, r->id, sizeof(r->id), BASE64_STANDARD);
	return format(out, cap,
		      "{\"session_code\":\"%s\",\"session_id_b64\":\"%s\",\"expires_in_s\":%" PRIu64 "}",
		      r->code, id, r->expires_in_s);
}

size_t relay_hello_encode(char *out, size_t cap, const char *code, enum relay_role role,
			  const uint8_t session_id[static RELAY_SESSION_ID_LEN],
			  uint64_t expires_in_s, uint64_t last_seq)
{
	char id[BASE64_SPACE(RELAY_SESSION_ID_LEN)];

	base64_encode(id, session_id, RELAY_SESSION_ID_LEN, BASE64_STANDARD);
	return format(out, cap,
		      ENVELOPE("hello") "{\"session_code\":\"%s\",\"role\":\"%s\","
					"\"session_id_b64\":\"%s\",\"expires_in_s\":%" PRIu64
					",\"last_seq\":%" PRIu64 "}}",
		      code, relay_role_name(role), id, expires_in_s, last_seq);
}

size_t relay_peer_encode(char *out, size_t cap, enum relay_frame_type type, enum relay_role role)
{
	assert(type == RELAY_PEER_JOINED || type == RELAY_PEER_LEFT);
	return format(out, cap,
		      type == RELAY_PEER_JOINED ? ENVELOPE("peer_joined") "{\"role\":\"%s\"}}" :
						  ENVELOPE("peer_left") "{\"role\":\"%s\"}}",
		      relay_role_name(role));
}

size_t relay_pong_encode(char *out, size_t cap)
{
	return format(out, cap, "%s", ENVELOPE("pong") "{}}");
}

size_t relay_error_encode(char *out, size_t cap, const char *code, const char *text)
{
	assert(!strpbrk(code, "\"\\") && !strpbrk(text, "\"\\"));
	return format(out, cap, ENVELOPE("error") "{\"code\":\"%s\",\"text\":\"%s\"}}", code, text);
}

size_t relay_relay_head(char *out, size_t cap, enum relay_role from)
{
	/* Once a packet: without printf. */
	static const char alice[] = ENVELOPE("relay") "{\"from\":\"alice\",\"msg\":";
	static const char bob[] = ENVELOPE("relay") "{\"from\":\"bob\",\"msg\":";
	const char *head = from == RELAY_ALICE ? alice : bob;
	size_t size = from == RELAY_ALICE ? sizeof(alice) : sizeof(bob);

	assert(size <= cap);
	memcpy(out, head, size);
	return size - 1;
}

const char *relay_ping_text(void)
{
	return ENVELOPE("ping") "{}}";
}

static const struct {
	const char *code, *text;
} outcomes[] = {
	[RELAY_E_TOO_LONG] = { "too_long", "the message is too long" },
	[RELAY_E_TOO_DEEP] = { "too_deep", "the message is nested too deeply" },
	[RELAY_E_TOO_MANY_KEYS] = { "too_many_keys", "the message has too many members" },
	[RELAY_E_SYNTAX] = { "bad_json", "the message is not a JSON object" },
	[RELAY_E_FRAME] = { "bad_frame", "the message is not a frame of handfast-relay version 1" },
	[RELAY_E_BASE64] = { "bad_base64", "a member named _b64 is not canonical base64" },
	[RELAY_E_SEQ] = { "bad_seq", "seq must be a whole number above 0 and above every one before" },
};

const char *relay_outcome_code(int outcome)
{
	assert(outcome > 0 && (size_t)outcome < ARRAY_SIZE(outcomes));
	return outcomes[outcome].code;
}

const char *relay_outcome_text(int outcome)
{
	assert(outcome > 0 && (size_t)outcome < ARRAY_SIZE(outcomes));
	return outcomes[outcome].text;
}

/* ---- the relay's side: a scanner (RFC 8259) ---- */

struct scan {
	const char *p, *end;
	unsigned int depth, max_depth;
	unsigned int keys, max_keys;
	bool high_bit; /* a byte above 0x7f was seen: the whole must be checked as UTF-8 */
};

/* A string's inside, between its quotes, escapes as they were written. */
struct span {
	const char *p;
	size_t len;
	bool escaped;
};

static void skip_space(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
		s->p++;
}

static bool take(struct scan *s, char c)
{
	if (s->p >= s->end || *s->p != c)
		return false;
	s->p++;
	return true;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Four hex digits at p as a UTF-16 unit, or -1. */
static int32_t unicode_unit(const char *p, const char *end)
{
	int32_t v = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int d = hex_value(p[i]);

		if (d < 0)
			return -1;
		v = v * 16 + d;
	}
	return v;
}

/*
 * p is behind a backslash. Lone surrogates and U+0000 are refused: no string of
 * text holds them, and the peer's parser would refuse them, too.
 */
static int scan_escape(struct scan *s)
{
	int32_t v;

	if (s->p >= s->end)
		return RELAY_E_SYNTAX;
	if (*s->p != 'u') {
		if (*s->p == '\0' || !strchr("\"\\/bfnrt", *s->p))
			return RELAY_E_SYNTAX;
		s->p++;
		return 0;
	}
	v = unicode_unit(s->p + 1, s->end);
	if (v <= 0 || (v >= 0xdc00 && v <= 0xdfff))
		return RELAY_E_SYNTAX;
	s->p += 5;
	if (v >= 0xd800 && v <= 0xdbff) {
		if (s->end - s->p < 6 || s->p[0] != '\\' || s->p[1] != 'u')
			return RELAY_E_SYNTAX;
		v = unicode_unit(s->p + 2, s->end);
		if (v < 0xdc00 || v > 0xdfff)
			return RELAY_E_SYNTAX;
		s->p += 6;
	}
	return 0;
}

static int scan_string(struct scan *s, struct span *out)
{
	bool escaped = false;
	unsigned char any = 0;
	const char *start;

	if (!take(s, '"'))
		return RELAY_E_SYNTAX;
	start = s->p;
	for (;;) {
		unsigned char c;

		if (s->p >= s->end)
			return RELAY_E_SYNTAX;
		c = (unsigned char)*s->p;
		if (c < 0x20)
			return RELAY_E_SYNTAX;
		any |= c;
		s->p++;
		if (c == '"')
			break;
		if (c == '\\') {
			int r = scan_escape(s);

			if (r)
				return r;
			escaped = true;
		}
	}
	s->high_bit |= any > 0x7f;
	*out = (struct span){ start, (size_t)(s->p - 1 - start), escaped };
	return 0;
}

static bool scan_digits(struct scan *s)
{
	const char *start = s->p;

	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	return s->p > start;
}

static int scan_number(struct scan *s)
{
	take(s, '-');
	if (!take(s, '0') && !scan_digits(s))
		return RELAY_E_SYNTAX;
	if (take(s, '.') && !scan_digits(s))
		return RELAY_E_SYNTAX;
	if (take(s, 'e') || take(s, 'E')) {
		if (!take(s, '+'))
			take(s, '-');
		if (!scan_digits(s))
			return RELAY_E_SYNTAX;
	}
	return 0;
}

static int scan_word(struct scan *s, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
		return RELAY_E_SYNTAX;
	s->p += n;
	return 0;
}

/*
 * The next character of a key as it is meant ('?' for one beyond ASCII): keys
 * may be written with escapes, and "\u0074ype" is "type" to the peer's parser.
 */
static char key_next(const struct span *key, size_t *i)
{
	char c = key->p[(*i)++];
	int32_t v;

	if (c != '\\')
		return c;
	c = key->p[(*i)++];
	if (c != 'u')
		return c;
	v = unicode_unit(key->p + *i, key->p + key->len);
	*i += 4;
	return v < 0x80 ? (char)v : '?';
}

static bool key_is(const struct span *key, const char *name)
{
	size_t i = 0;

	if (!key->escaped)
		return key->len == strlen(name) && memcmp(key->p, name, key->len) == 0;
	while (i < key->len && *name)
		if (key_next(key, &i) != *name++)
			return false;
	return i == key->len && !*name;
}

static bool key_is_b64(const struct span *key)
{
	char tail[4] = { 0 };

	if (!key->escaped)
		return key->len >= 4 && memcmp(key->p + key->len - 4, "_b64", 4) == 0;
	for (size_t i = 0; i < key->len;) {
		memmove(tail, tail + 1, 3);
		tail[3] = key_next(key, &i);
	}
	return memcmp(tail, "_b64", 4) == 0;
}

static bool is_canonical_base64(const struct span *v)
{
	static const int8_t values[256] = {
		['A'] = 1,  ['B'] = 2,	['C'] = 3,  ['D'] = 4,	['E'] = 5,  ['F'] = 6,	['G'] = 7,
		['H'] = 8,  ['I'] = 9,	['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14,
		['O'] = 15, ['P'] = 16, ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21,
		['V'] = 22, ['W'] = 23, ['X'] = 24, ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28,
		['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32, ['g'] = 33, ['h'] = 34, ['i'] = 35,
		['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40, ['o'] = 41, ['p'] = 42,
		['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48, ['w'] = 49,
		['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
		['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['+'] = 63,
		['/'] = 64,
	};
	size_t n = v->len, pad = 0;
	unsigned int last;

	if (n % 4)
		return false;
	if (n == 0)
		return true;
	while (pad < 2 && v->p[n - 1 - pad] == '=')
		pad++;
	for (size_t i = 0; i < n - pad; i++)
		if (!values[(unsigned char)v->p[i]])
			return false;
	/* RFC 4648 section 3.5: the bits that padding leaves over are zero. */
	last = (unsigned int)values[(unsigned char)v->p[n - pad - 1]] - 1;
	return pad == 0 || (last & (pad == 1 ? 0x3u : 0xfu)) == 0;
}

static int scan_value(struct scan *s, struct span *string, bool b64);

/* Enter an object or array: its bracket is next. */
static int scan_enter(struct scan *s)
{
	if (s->depth >= s->max_depth)
		return RELAY_E_TOO_DEEP;
	s->depth++;
	s->p++;
	skip_space(s);
	return 0;
}

static int scan_count(struct scan *s)
{
	return ++s->keys > s->max_keys ? RELAY_E_TOO_MANY_KEYS : 0;
}

/* The next key of an object and its colon; *end is set when the object has ended instead. */
static int scan_key(struct scan *s, bool *first, struct span *key, bool *end)
{
	int r;

	skip_space(s);
	*end = false;
	if (take(s, '}')) {
		s->depth--;
		*end = true;
		return 0;
	}
	if (!*first) {
		if (!take(s, ','))
			return RELAY_E_SYNTAX;
		skip_space(s);
	}
	*first = false;
	r = scan_count(s);
	if (!r)
		r = scan_string(s, key);
	if (r)
		return r;
	skip_space(s);
	if (!take(s, ':'))
		return RELAY_E_SYNTAX;
	skip_space(s);
	return 0;
}

static int scan_object(struct scan *s)
{
	bool first = true, end;
	struct span key;
	int r;

	r = scan_enter(s);
	while (!r) {
		r = scan_key(s, &first, &key, &end);
		if (!r && end)
			return 0;
		if (!r)
			r = scan_value(s, NULL, key_is_b64(&key));
	}
	return r;
}

static int scan_array(struct scan *s)
{
	int r;

	r = scan_enter(s);
	if (r)
		return r;
	if (take(s, ']')) {
		s->depth--;
		return 0;
	}
	for (;;) {
		r = scan_count(s);
		if (!r)
			r = scan_value(s, NULL, false);
		if (r)
			return r;
		skip_space(s);
		if (take(s, ']')) {
			s->depth--;
			return 0;
		}
		if (!take(s, ','))
			return RELAY_E_SYNTAX;
		skip_space(s);
	}
}

/* Any value; *string (may be NULL) is its inside when it is a string, else p == NULL. */
static int scan_value(struct scan *s, struct span *string, bool b64)
{
	struct span inside = { 0 };
	int r;

	if (s->p >= s->end)
		return RELAY_E_SYNTAX;
	switch (*s->p) {
	case '"':
		r = scan_string(s, &inside);
		break;
	case '{':
		r = scan_object(s);
		break;
	case '[':
		r = scan_array(s);
		break;
	case 't':
		r = scan_word(s, "true");
		break;
	case 'f':
		r = scan_word(s, "false");
		break;
	case 'n':
		r = scan_word(s, "null");
		break;
	default:
		r = scan_number(s);
	}
	if (r)
		return r;
	if (b64 && (!inside.p || !is_canonical_base64(&inside)))
		return RELAY_E_BASE64;
	if (string)
		*string = inside;
	return 0;
}

/* A whole number written with digits alone; UINT64_MAX for anything else. */
static uint64_t whole_number(const char *p, const char *end)
{
	uint64_t v = 0;

	if (end - p < 1 || end - p > 16)
		return UINT64_MAX;
	for (; p < end; p++) {
		if (*p < '0' || *p > '9')
			return UINT64_MAX;
		v = v * 10 + (uint64_t)(*p - '0');
	}
	return v;
}

static bool kind_is_valid(const char *p, size_t len)
{
	if (!p || len == 0 || len > RELAY_KIND_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!((p[i] >= 'a' && p[i] <= 'z') || (p[i] >= '0' && p[i] <= '9') ||
		      p[i] == '_' || p[i] == '-' || p[i] == '.'))
			return false;
	return true;
}

struct client_fields {
	bool type, proto, ver, payload, kind, seq; /* seen */
	bool kind_ok;
	bool envelope_ok;
	struct span type_value;
	uint64_t seq_value;
};

static int scan_payload(struct scan *s, struct client_fields *f)
{
	bool first = true, end;
	int r;

	if (s->p >= s->end || *s->p != '{') {
		f->envelope_ok = false;
		return scan_value(s, NULL, false);
	}
	r = scan_enter(s);
	while (!r) {
		struct span key, value;
		const char *start;

		r = scan_key(s, &first, &key, &end);
		if (r || end)
			return r;
		start = s->p;
		r = scan_value(s, &value, key_is_b64(&key));
		if (r)
			return r;
		if (key_is(&key, "kind")) {
			f->kind_ok = !f->kind && kind_is_valid(value.p, value.len);
			f->kind = true;
		} else if (key_is(&key, "seq")) {
			f->seq_value = f->seq ? UINT64_MAX : whole_number(start, s->p);
			f->seq = true;
		}
	}
	return r;
}

/* Mark a member as seen; one that comes twice, and one nobody knows, spoil the envelope. */
static void see(struct client_fields *f, bool *seen)
{
	if (*seen)
		f->envelope_ok = false;
	*seen = true;
}

static int scan_member(struct scan *s, struct client_fields *f, const struct span *key)
{
	struct span value;
	const char *start = s->p;
	int r;

	if (key_is(key, "payload")) {
		see(f, &f->payload);
		return scan_payload(s, f);
	}
	r = scan_value(s, &value, key_is_b64(key));
	if (r)
		return r;
	if (key_is(key, "type")) {
		see(f, &f->type);
		f->type_value = value;
	} else if (key_is(key, "proto")) {
		see(f, &f->proto);
		if (!value.p || value.len != strlen(RELAY_PROTO) ||
		    memcmp(value.p, RELAY_PROTO, value.len) != 0)
			f->envelope_ok = false;
	} else if (key_is(key, "ver")) {
		see(f, &f->ver);
		if (whole_number(start, s->p) != RELAY_VER)
			f->envelope_ok = false;
	} else {
		f->envelope_ok = false;
	}
	return 0;
}

static bool span_is(const struct span *v, const char *text)
{
	return v->p && v->len == strlen(text) && memcmp(v->p, text, v->len) == 0;
}

int relay_client_frame_decode(struct relay_client_frame *out, const char *text, size_t len,
			      const struct relay_frame_limits *limits)
{
	struct scan s = { .p = text, .end = text + len, .max_depth = limits->max_depth,
			  .max_keys = limits->max_keys };
	struct client_fields f = { .envelope_ok = true };
	bool first = true, end = false;
	int r;

	if (len > limits->max_bytes)
		return RELAY_E_TOO_LONG;
	skip_space(&s);
	if (s.p >= s.end || *s.p != '{')
		return RELAY_E_SYNTAX;
	r = scan_enter(&s);
	while (!r && !end) {
		struct span key;

		r = scan_key(&s, &first, &key, &end);
		if (!r && !end)
			r = scan_member(&s, &f, &key);
	}
	if (r)
		return r;
	skip_space(&s);
	if (s.p != s.end)
		return RELAY_E_SYNTAX;
	if (s.high_bit && !text_is_utf8(text, len))
		return RELAY_E_SYNTAX;

	if (!f.envelope_ok || !f.type || !f.proto || !f.ver || !f.payload)
		return RELAY_E_FRAME;
	if (span_is(&f.type_value, "ping")) {
		*out = (struct relay_client_frame){ .type = RELAY_PING };
		return 0;
	}
	if (!span_is(&f.type_value, "packet") || !f.kind_ok)
		return RELAY_E_FRAME;
	if (!f.seq || f.seq_value == 0 || f.seq_value > RELAY_SEQ_MAX)
		return RELAY_E_SEQ;
	*out = (struct relay_client_frame){ .type = RELAY_PACKET, .seq = f.seq_value };
	return 0;
}

/* ---- the client's side ---- */

int relay_packet_encode(char **out, size_t *len, const char *kind, uint64_t seq,
			const struct json_t *fields)
{
	_cleanup_json_ json_t *frame = NULL;
	json_t *payload;
	char *text;

	if (!kind_is_valid(kind, strlen(kind)) || seq == 0 || seq > RELAY_SEQ_MAX)
		return -EINVAL;
	payload = json_pack("{s:s, s:I}", "kind", kind, "seq", (json_int_t)seq);
	if (!payload)
		return -ENOMEM;
	if (fields && json_object_update_missing(payload, (json_t *)fields)) {
		json_decref(payload);
		return -ENOMEM;
	}
	frame = json_pack("{s:s, s:s, s:i, s:o}", "type", "packet", "proto", RELAY_PROTO, "ver",
			  RELAY_VER, "payload", payload);
	if (!frame)
		return -ENOMEM;
	text = json_text(frame);
	if (!text)
		return -ENOMEM;
	*out = text;
	*len = strlen(text);
	return 0;
}

/* A json_parse() outcome as ours. */
static int from_json_outcome(int r)
{
	switch (r) {
	case JSON_E_TOO_LONG:
		return RELAY_E_TOO_LONG;
	case JSON_E_TOO_DEEP:
		return RELAY_E_TOO_DEEP;
	case JSON_E_TOO_MANY_KEYS:
		return RELAY_E_TOO_MANY_KEYS;
	default:
		return r > 0 ? RELAY_E_SYNTAX : r;
	}
}

/* The envelope both directions share. */
static int open_envelope(const json_t *frame, const char **type, const json_t **payload)
{
	const char *proto = json_get_str(frame, "proto");

	*type = json_get_str(frame, "type");
	*payload = json_object_get(frame, "payload");
	if (!*type || !proto || strcmp(proto, RELAY_PROTO) != 0 ||
	    json_get_int(frame, "ver", -1) != RELAY_VER || !json_is_object(*payload))
		return RELAY_E_FRAME;
	return 0;
}

static int get_code(char out[static RELAY_CODE_LEN + 1], const json_t *obj)
{
	const char *code = json_get_str(obj, "session_code");

	if (!code || !relay_code_is_valid(code, strlen(code)))
		return RELAY_E_FRAME;
	memcpy(out, code, RELAY_CODE_LEN + 1);
	return 0;
}

static int get_session_id(uint8_t out[static RELAY_SESSION_ID_LEN], const json_t *obj)
{
	const char *id = json_get_str(obj, "session_id_b64");

	if (!id || base64_decode_exact(out, RELAY_SESSION_ID_LEN, id, BASE64_STANDARD))
		return RELAY_E_BASE64;
	return 0;
}

/* A count that is absent or out of range gives RELAY_E_FRAME. */
static int get_count(uint64_t *out, const json_t *obj, const char *key)
{
	int64_t v = json_get_int(obj, key, -1);

	if (v < 0 || (uint64_t)v > RELAY_SEQ_MAX)
		return RELAY_E_FRAME;
	*out = (uint64_t)v;
	return 0;
}

static int get_role(enum relay_role *out, const json_t *obj, const char *key)
{
	const char *role = json_get_str(obj, key);

	return role && relay_role_parse(out, role, strlen(role)) == 0 ? 0 : RELAY_E_FRAME;
}

static int decode_hello(struct relay_server_frame *f, const json_t *payload)
{
	int r;

	r = get_code(f->code, payload);
	if (!r)
		r = get_role(&f->role, payload, "role");
	if (!r)
		r = get_session_id(f->session_id, payload);
	if (!r)
		r = get_count(&f->expires_in_s, payload, "expires_in_s");
	if (!r)
		r = get_count(&f->last_seq, payload, "last_seq");
	return r;
}

static int decode_relay(struct relay_server_frame *f, const json_t *payload)
{
	const json_t *msg = json_object_get(payload, "msg");
	const char *type, *kind;
	int r;

	r = get_role(&f->role, payload, "from");
	if (!r)
		r = open_envelope(msg, &type, &f->payload);
	if (r)
		return r;
	kind = json_get_str(f->payload, "kind");
	if (strcmp(type, "packet") != 0 || !kind || !kind_is_valid(kind, strlen(kind)))
		return RELAY_E_FRAME;
	memcpy(f->kind, kind, strlen(kind) + 1);
	if (get_count(&f->seq, f->payload, "seq") || f->seq == 0)
		return RELAY_E_SEQ;
	return 0;
}

static int decode_error(struct relay_server_frame *f, const json_t *payload)
{
	const char *code = json_get_str(payload, "code"), *text = json_get_str(payload, "text");

	if (!code || !text || !kind_is_valid(code, strlen(code)))
		return RELAY_E_FRAME;
	static_assert(RELAY_ERROR_CODE_MAX >= RELAY_KIND_MAX, "codes are spelled like kinds");
	memcpy(f->error_code, code, strlen(code) + 1);
	text_clean(f->error_text, sizeof(f->error_text), text, strlen(text));
	return 0;
}

static int decode_by_type(struct relay_server_frame *f, const char *type, const json_t *payload)
{
	if (strcmp(type, "relay") == 0) {
		f->type = RELAY_RELAY;
		return decode_relay(f, payload);
	}
	if (strcmp(type, "hello") == 0) {
		f->type = RELAY_HELLO;
		return decode_hello(f, payload);
	}
	if (strcmp(type, "peer_joined") == 0 || strcmp(type, "peer_left") == 0) {
		f->type = strcmp(type, "peer_joined") == 0 ? RELAY_PEER_JOINED : RELAY_PEER_LEFT;
		return get_role(&f->role, payload, "role");
	}
	if (strcmp(type, "pong") == 0) {
		f->type = RELAY_PONG;
		return 0;
	}
	if (strcmp(type, "error") == 0) {
		f->type = RELAY_ERROR;
		return decode_error(f, payload);
	}
	return RELAY_E_FRAME;
}

int relay_server_frame_decode(struct relay_server_frame *out, const char *text, size_t len)
{
	/* A packet at its limits, and the envelope's own two levels and ten members. */
	static const struct json_limits limits = {
		.max_bytes = RELAY_MESSAGE_MAX + RELAY_ENVELOPE_MAX,
		.max_depth = RELAY_DEPTH_MAX + 2,
		.max_keys = RELAY_KEYS_MAX + 10,
	};
	_cleanup_json_ json_t *json = NULL;
	struct relay_server_frame f = { 0 };
	const json_t *payload;
	const char *type;
	int r;

	r = from_json_outcome(json_parse(&json, text, len, &limits));
	if (r)
		return r;
	r = open_envelope(json, &type, &payload);
	if (!r)
		r = decode_by_type(&f, type, payload);
	if (r)
		return r;
	f.json = steal(&json);
	*out = f;
	return 0;
}

void relay_server_frame_done(struct relay_server_frame *f)
{
	json_unrefp(&f->json);
	f->json = NULL;
	f->payload = NULL;
}

int relay_session_reply_decode(struct relay_session_reply *out, const char *text, size_t len)
{
	static const struct json_limits limits = { .max_bytes = 4096, .max_depth = 4, .max_keys = 32 };
	_cleanup_json_ json_t *json = NULL;
	struct relay_session_reply reply;
	int r;

	r = json_parse(&json, text, len, &limits);
	if (r)
		return r < 0 ? r : RELAY_E_FRAME;
	if (get_code(reply.code, json) || get_session_id(reply.id, json) ||
	    get_count(&reply.expires_in_s, json, "expires_in_s"))
		return RELAY_E_FRAME;
	*out = reply;
	return 0;
}
