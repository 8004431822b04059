/*
 * Handshake messages. Each has one encoding: what decodes was encoded so, and
 * what is reserved or padding must be zero.
 */
#include "proto/psk_handshake.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"

/* Up to and with rx_next; the same for all three. */
#define FIXED_LEN 120
#define ECHO_LEN 32
/* After magic, version, type, role and a reserved byte. */
#define HINT_AT 8

static const uint8_t zeros[PSKH_HELLO_LEN];

static size_t body_len(uint8_t type)
{
	return type == PSKH_BIND ? FIXED_LEN + ECHO_LEN : FIXED_LEN;
}

static void put_body(struct wbuf *w, const struct pskh *m)
{
	wbuf_put(w, PSKH_MAGIC, 4);
	wbuf_u8(w, PSKH_VERSION);
	wbuf_u8(w, m->type);
	wbuf_u8(w, m->role);
	wbuf_u8(w, 0);
	wbuf_put(w, m->hint, PSKH_HINT_LEN);
	wbuf_put(w, m->identity, PSKH_IDENTITY_LEN);
	wbuf_be32(w, m->software);
	wbuf_be32(w, m->session);
	wbuf_put(w, m->nonce_a, PSKH_NONCE_LEN);
	wbuf_put(w, m->nonce_b, PSKH_NONCE_LEN);
	wbuf_be64(w, m->tx_next);
	wbuf_be64(w, m->rx_next);
	if (m->type != PSKH_BIND)
		return;
	wbuf_put(w, m->peer_identity, PSKH_IDENTITY_LEN);
	wbuf_be64(w, m->peer_tx_next);
	wbuf_be64(w, m->peer_rx_next);
}

bool pskh_is_handshake(const uint8_t *msg, size_t len)
{
	return len >= 4 && memcmp(msg, PSKH_MAGIC, 4) == 0;
}

const uint8_t *pskh_hint(const uint8_t *msg, size_t len)
{
	return pskh_is_handshake(msg, len) && len >= HINT_AT + PSKH_HINT_LEN ? msg + HINT_AT : NULL;
}

static void get_body(struct pskh *m, struct rbuf *r)
{
	rbuf_get(r, m->hint, PSKH_HINT_LEN);
	rbuf_get(r, m->identity, PSKH_IDENTITY_LEN);
	m->software = rbuf_be32(r);
	m->session = rbuf_be32(r);
	rbuf_get(r, m->nonce_a, PSKH_NONCE_LEN);
	rbuf_get(r, m->nonce_b, PSKH_NONCE_LEN);
	m->tx_next = rbuf_be64(r);
	m->rx_next = rbuf_be64(r);
	if (m->type != PSKH_BIND)
		return;
	rbuf_get(r, m->peer_identity, PSKH_IDENTITY_LEN);
	m->peer_tx_next = rbuf_be64(r);
	m->peer_rx_next = rbuf_be64(r);
}

/* What follows the body, up to the MAC. */
static bool get_tail(struct pskh *m, struct rbuf *r)
{
	const uint8_t *p;
	size_t len;

	if (m->type == PSKH_HELLO) {
		len = PSKH_HELLO_LEN - FIXED_LEN - PSKH_MAC_LEN;
		p = rbuf_view(r, len);
		return p && memcmp(p, zeros, len) == 0 &&
		       memcmp(m->nonce_b, zeros, PSKH_NONCE_LEN) == 0;
	}
	p = rbuf_lv16(r, &len);
	if (!p || len > PSKH_SIG_MAX)
		return false;
	memcpy(m->sig, p, len);
	m->sig_len = len;
	return true;
}

int pskh_decode(struct pskh *out, const uint8_t *msg, size_t len)
{
	struct pskh m = { 0 };
	struct rbuf r;

	if (!pskh_is_handshake(msg, len) || len > PSKH_MAX)
		return PSKH_E_MALFORMED;
	rbuf_init(&r, msg + 4, len - 4);
	if (rbuf_u8(&r) != PSKH_VERSION)
		return PSKH_E_MALFORMED;
	m.type = rbuf_u8(&r);
	m.role = rbuf_u8(&r);
	if (m.type < PSKH_HELLO || m.type > PSKH_BIND || m.role > PSKH_RESPONDER ||
	    rbuf_u8(&r) != 0)
		return PSKH_E_MALFORMED;
	/* Only the responder welcomes, only the initiator binds. */
	if ((m.type == PSKH_WELCOME && m.role != PSKH_RESPONDER) ||
	    (m.type == PSKH_BIND && m.role != PSKH_INITIATOR))
		return PSKH_E_MALFORMED;
	get_body(&m, &r);
	if (!get_tail(&m, &r))
		return PSKH_E_MALFORMED;
	rbuf_view(&r, PSKH_MAC_LEN);
	if (!rbuf_done(&r))
		return PSKH_E_MALFORMED;
	*out = m;
	return 0;
}

bool pskh_is_authentic(const uint8_t *msg, size_t len, const uint8_t key[static PSKH_KEY_LEN])
{
	uint8_t mac[PSKH_MAC_LEN];

	assert(len >= PSKH_MAC_LEN);
	hmac_sha256(mac, key, PSKH_KEY_LEN, msg, len - PSKH_MAC_LEN);
	return bytes_equal(mac, msg + len - PSKH_MAC_LEN, PSKH_MAC_LEN);
}

size_t pskh_encode(uint8_t out[static PSKH_MAX], const struct pskh *m,
		   const uint8_t key[static PSKH_KEY_LEN])
{
	struct wbuf w;

	assert(m->sig_len <= PSKH_SIG_MAX);
	wbuf_init(&w, out, PSKH_MAX);
	put_body(&w, m);
	if (m->type == PSKH_HELLO)
		wbuf_put(&w, zeros, PSKH_HELLO_LEN - FIXED_LEN - PSKH_MAC_LEN);
	else
		wbuf_lv16(&w, m->sig, m->sig_len);
	assert(wbuf_ok(&w) && w.len + PSKH_MAC_LEN <= PSKH_MAX);
	hmac_sha256(out + w.len, key, PSKH_KEY_LEN, out, w.len);
	return w.len + PSKH_MAC_LEN;
}

void pskh_signed_hash(uint8_t out[static PSKH_HASH_LEN], const struct pskh *m,
		      const uint8_t *hello, size_t hello_len)
{
	uint8_t text[sizeof(PSKH_SIGN_CONTEXT) + 1 + 2 * (2 + PSKH_MAX)];
	uint8_t body[FIXED_LEN + ECHO_LEN];
	struct wbuf b, w;

	wbuf_init(&b, body, sizeof(body));
	put_body(&b, m);
	assert(wbuf_ok(&b) && b.len == body_len(m->type));
	wbuf_init(&w, text, sizeof(text));
	wbuf_put(&w, PSKH_SIGN_CONTEXT, sizeof(PSKH_SIGN_CONTEXT)); /* with its NUL: no other context is a prefix */
	wbuf_u8(&w, m->role);
	wbuf_lv16(&w, hello, hello_len);
	wbuf_lv16(&w, body, b.len);
	assert(wbuf_ok(&w));
	sha256(out, text, w.len);
}
