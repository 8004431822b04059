/*
 * Pairing messages: bytes in, struct out. Encoding and decoding walk the same
 * fields in the same order; the decoder refuses whatever the encoder would
 * not have written, so that the transcript may hash received bodies as they are.
 */
#include "proto/pairing_msg.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "base/base64.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "proto/relay_frame.h"
#include "proto/secret_msg.h"

enum field_type { TYPE_U8 = 1, TYPE_U16 = 2, TYPE_BYTES = 3, TYPE_TEXT = 4, TYPE_LIST = 5 };

static const struct {
	uint8_t kind;
	const char *name;
} kinds[] = {
	{ PAIRING_HELLO, "hello" },	    { PAIRING_CHOOSE, "choose" },
	{ PAIRING_PAKE, "pake" },	    { PAIRING_CONFIRM, "confirm" },
	{ PAIRING_HANDSHAKE, "handshake" }, { PAIRING_FINISH, "finish" },
	{ PAIRING_VERDICT, "verdict" },	    { PAIRING_IDENTITY, "identity" },
	{ PAIRING_PREPARED, "prepared" },   { PAIRING_SEALED, "sealed" },
	{ PAIRING_ABORT, "abort" },
};

const char *pairing_kind_name(uint8_t kind)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].kind == kind)
			return kinds[i].name;
	return NULL;
}

/*
 * Where no other device is: unspecified, loopback, multicast, broadcast (RFC 6890). IPv4's
 * link-local addresses are those of a direct cable, and mean the same on both ends; IPv6's
 * mean nothing without an interface.
 */
static bool is_elsewhere_v4(struct in_addr a)
{
	uint32_t v = ntohl(a.s_addr);

	return v >> 24 != 0 && v >> 24 != 127 && v >> 28 < 0xe;
}

static bool is_elsewhere_v6(const struct in6_addr *a)
{
	struct in_addr v4;

	if (IN6_IS_ADDR_V4MAPPED(a)) {
		memcpy(&v4, a->s6_addr + 12, sizeof(v4));
		return is_elsewhere_v4(v4);
	}
	return !IN6_IS_ADDR_UNSPECIFIED(a) && !IN6_IS_ADDR_LOOPBACK(a) && !IN6_IS_ADDR_LINKLOCAL(a) &&
	       !IN6_IS_ADDR_MULTICAST(a);
}

bool pairing_is_candidate(const char *s)
{
	char text[INET6_ADDRSTRLEN + 2], back[INET6_ADDRSTRLEN + 2];
	struct in6_addr v6;
	struct in_addr v4;
	size_t len = strnlen(s, sizeof(text));

	if (len == 0 || len >= sizeof(text))
		return false;
	if (*s != '[') {
		if (inet_pton(AF_INET, s, &v4) != 1 ||
		    !inet_ntop(AF_INET, &v4, back, sizeof(back)))
			return false;
		return strcmp(s, back) == 0 && is_elsewhere_v4(v4);
	}
	if (len < 4 || s[len - 1] != ']')
		return false;
	memcpy(text, s + 1, len - 2);
	text[len - 2] = '\0';
	if (inet_pton(AF_INET6, text, &v6) != 1 || !inet_ntop(AF_INET6, &v6, back, sizeof(back)))
		return false;
	return strcmp(text, back) == 0 && is_elsewhere_v6(&v6);
}

/* ---- writing ---- */

static void put_field(struct wbuf *w, uint8_t id, enum field_type type, const void *data,
		      size_t len)
{
	wbuf_u8(w, id);
	wbuf_u8(w, (uint8_t)type);
	wbuf_lv16(w, data, len);
}

static void put_u8(struct wbuf *w, uint8_t id, uint8_t v)
{
	put_field(w, id, TYPE_U8, &v, 1);
}

static void put_u16(struct wbuf *w, uint8_t id, uint16_t v)
{
	uint8_t b[2];

	be16_store(b, v);
	put_field(w, id, TYPE_U16, b, sizeof(b));
}

static void put_text(struct wbuf *w, uint8_t id, const char *s)
{
	put_field(w, id, TYPE_TEXT, s, strlen(s));
}

/* n strings, stride bytes apart. */
static void put_list(struct wbuf *w, uint8_t id, const char *base, size_t stride, size_t n)
{
	uint8_t buf[PAIRING_BODY_MAX];
	struct wbuf list;

	wbuf_init(&list, buf, sizeof(buf));
	for (size_t i = 0; i < n; i++)
		wbuf_lv16(&list, base + i * stride, strlen(base + i * stride));
	put_field(w, id, TYPE_LIST, buf, list.len);
	w->overflow = w->overflow || list.overflow;
}

static void put_identity(struct wbuf *w, const struct pairing_identity *m)
{
	put_text(w, 1, m->name);
	put_u8(w, 2, m->key_type);
	put_field(w, 3, TYPE_BYTES, m->public_key.b, sizeof(m->public_key.b));
	put_field(w, 4, TYPE_BYTES, m->signature, sizeof(m->signature));
	put_field(w, 5, TYPE_BYTES, m->tunnel_share, sizeof(m->tunnel_share));
	put_u16(w, 6, m->port);
	put_list(w, 7, m->candidates[0], sizeof(m->candidates[0]), m->n_candidates);
	put_text(w, 8, m->host_name);
	put_text(w, 9, m->version);
	put_text(w, 10, m->note);
}

ssize_t pairing_msg_encode(uint8_t *out, size_t cap, const struct pairing_msg *m)
{
	struct wbuf w;

	wbuf_init(&w, out, cap);
	switch (m->kind) {
	case PAIRING_HELLO:
		put_u8(&w, 1, m->hello.protocol);
		put_u8(&w, 2, m->hello.role);
		put_u8(&w, 3, m->hello.secret_class);
		put_u8(&w, 4, m->hello.compare_sas);
		put_list(&w, 5, m->hello.offer.names[0], sizeof(m->hello.offer.names[0]),
			 m->hello.offer.n);
		put_text(&w, 6, m->hello.offer.minimum);
		break;
	case PAIRING_CHOOSE:
		put_text(&w, 1, m->choose.profile);
		put_field(&w, 2, TYPE_BYTES, m->choose.digest, sizeof(m->choose.digest));
		break;
	case PAIRING_PAKE:
		put_field(&w, 1, TYPE_BYTES, m->pake.share, m->pake.len);
		break;
	case PAIRING_CONFIRM:
		put_field(&w, 1, TYPE_BYTES, m->confirm.commitment, sizeof(m->confirm.commitment));
		put_field(&w, 2, TYPE_BYTES, m->confirm.tag, sizeof(m->confirm.tag));
		break;
	case PAIRING_HANDSHAKE:
		put_field(&w, 1, TYPE_BYTES, m->handshake.nonce, sizeof(m->handshake.nonce));
		put_field(&w, 2, TYPE_BYTES, m->handshake.share, m->handshake.len);
		break;
	case PAIRING_FINISH:
		put_field(&w, 1, TYPE_BYTES, m->finish.tag, sizeof(m->finish.tag));
		break;
	case PAIRING_VERDICT:
		put_u8(&w, 1, m->verdict.compared);
		break;
	case PAIRING_IDENTITY:
		put_identity(&w, &m->identity);
		break;
	case PAIRING_PREPARED:
		break;
	case PAIRING_ABORT:
		put_u8(&w, 1, m->abort.code);
		break;
	default:
		assert(0 && "a message of a kind that has a body");
	}
	return wbuf_ok(&w) ? (ssize_t)w.len : -EMSGSIZE;
}

/* ---- reading ---- */

static const uint8_t *get_field(struct rbuf *r, uint8_t id, enum field_type type, size_t min,
				size_t max, size_t *len)
{
	uint8_t got_id = rbuf_u8(r), got_type = rbuf_u8(r);
	const uint8_t *v = rbuf_lv16(r, len);

	if (!v || got_id != id || got_type != type || *len < min || *len > max) {
		r->underflow = true;
		return NULL;
	}
	return v;
}

static void get_bytes(struct rbuf *r, uint8_t id, void *out, size_t exact)
{
	size_t len;
	const uint8_t *v = get_field(r, id, TYPE_BYTES, exact, exact, &len);

	if (v)
		memcpy(out, v, exact);
}

static uint8_t get_u8(struct rbuf *r, uint8_t id, uint8_t min, uint8_t max)
{
	size_t len;
	const uint8_t *v = get_field(r, id, TYPE_U8, 1, 1, &len);

	if (!v)
		return 0;
	if (*v < min || *v > max)
		r->underflow = true;
	return *v;
}

static uint16_t get_u16(struct rbuf *r, uint8_t id)
{
	size_t len;
	const uint8_t *v = get_field(r, id, TYPE_U16, 2, 2, &len);

	return v ? be16_load(v) : 0;
}

/* Text that is already as text_clean() would leave it: nothing else may sit in a name or a note. */
static bool copy_clean(char *out, size_t cap, const uint8_t *v, size_t len)
{
	if (len >= cap)
		return false;
	return text_clean(out, cap, (const char *)v, len) == len && memcmp(out, v, len) == 0;
}

static void get_text(struct rbuf *r, uint8_t id, char *out, size_t cap)
{
	size_t len;
	const uint8_t *v = get_field(r, id, TYPE_TEXT, 0, cap - 1, &len);

	if (v && !copy_clean(out, cap, v, len))
		r->underflow = true;
}

static size_t get_list(struct rbuf *r, uint8_t id, char *base, size_t stride, size_t max)
{
	struct rbuf list;
	size_t len, n = 0;
	const uint8_t *v = get_field(r, id, TYPE_LIST, 0, PAIRING_BODY_MAX, &len);

	if (!v)
		return 0;
	rbuf_init(&list, v, len);
	while (!rbuf_done(&list)) {
		const uint8_t *item = rbuf_lv16(&list, &len);

		if (!item || n == max || !copy_clean(base + n * stride, stride, item, len)) {
			r->underflow = true;
			return 0;
		}
		n++;
	}
	return n;
}

static bool get_hello(struct rbuf *r, struct pairing_hello *m)
{
	m->protocol = get_u8(r, 1, 1, UINT8_MAX);
	m->role = get_u8(r, 2, PAIRING_ALICE, PAIRING_BOB);
	m->secret_class = get_u8(r, 3, SECRET_PIN, SECRET_SEC);
	m->compare_sas = get_u8(r, 4, 0, 1);
	m->offer.n = get_list(r, 5, m->offer.names[0], sizeof(m->offer.names[0]), PROFILES_MAX);
	get_text(r, 6, m->offer.minimum, sizeof(m->offer.minimum));
	return rbuf_ok(r) && negotiate_offer_is_valid(&m->offer);
}

static void get_share(struct rbuf *r, uint8_t id, uint8_t *out, size_t *len)
{
	const uint8_t *v = get_field(r, id, TYPE_BYTES, 1, PAIRING_SHARE_MAX, len);

	if (v)
		memcpy(out, v, *len);
}

static bool get_identity(struct rbuf *r, struct pairing_identity *m)
{
	get_text(r, 1, m->name, sizeof(m->name));
	m->key_type = get_u8(r, 2, PAIRING_KEY_ED25519, PAIRING_KEY_ED25519);
	get_bytes(r, 3, m->public_key.b, sizeof(m->public_key.b));
	get_bytes(r, 4, m->signature, sizeof(m->signature));
	get_bytes(r, 5, m->tunnel_share, sizeof(m->tunnel_share));
	m->port = get_u16(r, 6);
	m->n_candidates = get_list(r, 7, m->candidates[0], sizeof(m->candidates[0]),
				   IDENTITY_CANDIDATES_MAX);
	get_text(r, 8, m->host_name, sizeof(m->host_name));
	get_text(r, 9, m->version, sizeof(m->version));
	get_text(r, 10, m->note, sizeof(m->note));
	if (!rbuf_ok(r) || !text_is_name(m->name) || m->port == 0)
		return false;
	for (size_t i = 0; i < m->n_candidates; i++)
		if (!pairing_is_candidate(m->candidates[i]))
			return false;
	return true;
}

int pairing_msg_decode(struct pairing_msg *out, uint8_t kind, const uint8_t *body, size_t len)
{
	struct pairing_msg m;
	struct rbuf r;
	bool ok = true;

	memset(&m, 0, sizeof(m));
	m.kind = kind;
	rbuf_init(&r, body, len);
	switch (kind) {
	case PAIRING_HELLO:
		ok = get_hello(&r, &m.hello);
		break;
	case PAIRING_CHOOSE:
		get_text(&r, 1, m.choose.profile, sizeof(m.choose.profile));
		get_bytes(&r, 2, m.choose.digest, sizeof(m.choose.digest));
		ok = rbuf_ok(&r) && profile_is_name(m.choose.profile, NULL);
		break;
	case PAIRING_PAKE:
		get_share(&r, 1, m.pake.share, &m.pake.len);
		break;
	case PAIRING_CONFIRM:
		get_bytes(&r, 1, m.confirm.commitment, sizeof(m.confirm.commitment));
		get_bytes(&r, 2, m.confirm.tag, sizeof(m.confirm.tag));
		break;
	case PAIRING_HANDSHAKE:
		get_bytes(&r, 1, m.handshake.nonce, sizeof(m.handshake.nonce));
		get_share(&r, 2, m.handshake.share, &m.handshake.len);
		break;
	case PAIRING_FINISH:
		get_bytes(&r, 1, m.finish.tag, sizeof(m.finish.tag));
		break;
	case PAIRING_VERDICT:
		m.verdict.compared = get_u8(&r, 1, 0, 1);
		break;
	case PAIRING_IDENTITY:
		ok = get_identity(&r, &m.identity);
		break;
	case PAIRING_PREPARED:
		break;
	case PAIRING_ABORT:
		m.abort.code = get_u8(&r, 1, 0, UINT8_MAX);
		break;
	default:
		return -EBADMSG;
	}
	if (!ok || !rbuf_done(&r))
		return -EBADMSG;
	*out = m;
	return 0;
}

/* ---- the relay's payload ---- */

int pairing_packet_encode(char **out, size_t *len, const struct pairing_packet *p)
{
	char body[BASE64_SPACE(PAIRING_BODY_MAX)];
	const char *kind = pairing_kind_name(p->kind);
	_cleanup_json_ struct json_t *fields = NULL;
	int r;

	assert(kind && p->seq > 0 && p->len <= sizeof(p->body));
	base64_encode(body, p->body, p->len, BASE64_STANDARD);
	fields = json_pack("{s:s}", "body_b64", body);
	if (!fields)
		return -ENOMEM;
	r = relay_packet_encode(out, len, kind, p->seq, fields);
	return err_fold(r);
}

static uint8_t kind_parse(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strcmp(kinds[i].name, name) == 0)
			return kinds[i].kind;
	return 0;
}

int pairing_packet_decode(struct pairing_packet *out, const struct json_t *payload)
{
	struct pairing_packet p;
	const char *kind, *body;
	int64_t seq;

	if (!json_is_object(payload) || json_object_size(payload) != 3)
		return -EBADMSG;
	kind = json_get_str(payload, "kind");
	body = json_get_str(payload, "body_b64");
	seq = json_get_int(payload, "seq", 0);
	if (!kind || !body || seq <= 0)
		return -EBADMSG;
	p.kind = kind_parse(kind);
	p.seq = (uint64_t)seq;
	if (p.kind == 0 || base64_decode(p.body, sizeof(p.body), &p.len, body, strlen(body),
					 BASE64_STANDARD))
		return -EBADMSG;
	memcpy(out, &p, offsetof(struct pairing_packet, body) + p.len);
	return 0;
}
