/*
 * The responder's side, without state before a BIND: nonce_b is a MAC under a
 * key of this start over the initiator's nonce, its address, an epoch of the
 * boot clock and how many BINDs were accepted, so that a right BIND proves that
 * its sender got our WELCOME at that address within the last 8 to 16 seconds,
 * and that no session was made since: one that was held back comes too late.
 */
#include "pskd/handshake/hello_internal.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"

static void make_nonce(const struct hello *h, uint8_t out[static PSKH_NONCE_LEN],
		       const uint8_t nonce_a[static PSKH_NONCE_LEN], const struct sockaddr_in6 *from,
		       uint64_t epoch, uint64_t n_binds)
{
	uint8_t text[PSKH_NONCE_LEN + 16 + 2 + 4 + 8 + 8];
	struct wbuf w;

	wbuf_init(&w, text, sizeof(text));
	wbuf_put(&w, nonce_a, PSKH_NONCE_LEN);
	wbuf_put(&w, from->sin6_addr.s6_addr, 16);
	wbuf_put(&w, &from->sin6_port, 2);
	wbuf_be32(&w, from->sin6_scope_id);
	wbuf_be64(&w, epoch);
	wbuf_be64(&w, n_binds);
	hmac_sha256(out, h->boot_key, sizeof(h->boot_key), text, w.len);
}

static void on_welcome_signed(struct signing *s, bool ok)
{
	uint8_t msg[PSKH_MAX];
	size_t len;

	if (!ok)
		return;
	len = hello_encode(s->h, msg, &s->msg);
	s->h->o.ops->send(msg, len, &s->to, s->h->o.arg);
}

static bool is_candidate(const struct hello *h, const struct in6_addr *a)
{
	for (size_t i = 0; i < h->n_candidates; i++)
		if (memcmp(&h->candidates[i].sin6_addr, a, sizeof(*a)) == 0)
			return true;
	return false;
}

/*
 * A flood of recorded HELLOs stops no new one: those are counted apart, and by
 * their source. From where the peer may be, which anybody can forge, each HELLO
 * has a bucket: an answer to a copy of the peer's serves the peer.
 */
static bool may_welcome(struct hello *h, const struct pskh *m, const struct sockaddr_in6 *from, bool past, uint64_t now)
{
	const struct in6_addr *a = &from->sin6_addr;
	uint8_t hash[SHA256_LEN];

	/* The boot key hides which ones share a bucket. */
	if (is_candidate(h, a)) {
		hmac_sha256(hash, h->boot_key, sizeof(h->boot_key), m->nonce_a, PSKH_NONCE_LEN);
		return bucket_take(&h->known[past][hash[0] % N_KNOWN], now, 5, 10);
	}
	/* Whoever has one IPv6 address has the /64. */
	hmac_sha256(hash, h->boot_key, sizeof(h->boot_key), a->s6_addr, IN6_IS_ADDR_V4MAPPED(a) ? 16 : 8);
	return bucket_take(&h->strangers[past][hash[0] % N_STRANGERS], now, 5, 10);
}

void welcome_on_hello(struct hello *h, const struct pskh *m, const uint8_t *msg, size_t len,
		      const struct udp_ends *from, uint64_t high)
{
	uint64_t now = clock_now_ms();
	struct pskh w;

	if (!may_welcome(h, m, &from->peer, hello_is_past(m, high), now)) {
		hello_drop(h, DROP_HS_RATE);
		return;
	}
	hello_fill(h, &w, PSKH_WELCOME);
	memcpy(w.nonce_a, m->nonce_a, PSKH_NONCE_LEN);
	make_nonce(h, w.nonce_b, m->nonce_a, &from->peer, now / EPOCH_MS, h->n_binds);
	hello_sign(h, &w, msg, len, from, on_welcome_signed);
}

static bool nonce_is_ours(const struct hello *h, const struct pskh *m, const struct sockaddr_in6 *from,
			  uint64_t n_binds)
{
	uint64_t epoch = clock_now_ms() / EPOCH_MS;
	uint8_t nonce[PSKH_NONCE_LEN];

	for (uint64_t back = 0; back <= 1 && back <= epoch; back++) {
		make_nonce(h, nonce, m->nonce_a, from, epoch - back, n_binds);
		if (bytes_equal(nonce, m->nonce_b, sizeof(nonce)))
			return true;
	}
	return false;
}

/*
 * Of the newest session, while nothing came in it: our answer may be lost. Else
 * a replay. Each answer costs a sequence, so a recorded BIND must not buy many.
 */
static void on_same_bind(struct hello *h)
{
	if (!h->awaited)
		hello_drop(h, DROP_HS_UNEXPECTED);
	else if (!bucket_take(&h->again, clock_now_ms(), 2, 4))
		hello_drop(h, DROP_HS_RATE);
	else
		h->o.ops->on_bind_again(h->o.arg);
}

void welcome_on_bind(struct hello *h, const struct pskh *m, const struct udp_ends *from)
{
	_cleanup_(session_freep) struct session *s = NULL;
	bool again = h->n_binds > 0 && memcmp(m->nonce_a, h->last_nonce, PSKH_NONCE_LEN) == 0;

	if (!nonce_is_ours(h, m, &from->peer, again ? h->n_binds - 1 : h->n_binds)) {
		hello_drop(h, DROP_HS_NONCE);
		return;
	}
	if (memcmp(m->peer_identity, h->o.own_identity, PSKH_IDENTITY_LEN) != 0) {
		hello_drop(h, DROP_HS_IDENTITY);
		return;
	}
	if (again) {
		on_same_bind(h);
		return;
	}
	if (!hello_signature_is_right(h, m, NULL, 0, &from->peer))
		return;
	if (!bucket_take(&h->calls, clock_now_ms(), BINDS_PER_S, BINDS_BURST)) {
		hello_drop(h, DROP_HS_RATE);
		return;
	}
	if (hello_forward(h, m->tx_next, m->rx_next, &from->peer))
		return;
	if (hello_make_session(h, &s, m, m->identity, h->o.own_identity, m->software, from))
		return;
	h->n_binds++;
	h->awaited = true;
	h->o.ops->on_session(&s, m->tx_next, h->o.arg);
}
