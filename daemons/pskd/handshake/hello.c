/*
 * The handshake's life and the initiator's side. Nothing here acts on a
 * message before its HMAC is right and it covers a nonce of ours that is
 * fresh; HELLOs alone, which cannot, change nothing and are answered with no
 * more bytes than they brought.
 */
#include "pskd/handshake/hello.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "crypto/secret.h"
#include "event/loop.h"
#include "pskd/handshake/hello_internal.h"
#include "pskd/operations.h"
#include "pskd/packet/path.h"
#include "pskd/packet/udp.h"

/* The longest wait between rounds is 2^5 s; of those that may go on for days, 2^8 s. */
#define ROUND_MAX 5
#define ROUND_MAX_PATIENT 8
#define HURRY_MS 1000
#define BIND_FIRST_MS 500
#define BIND_TRIES 4
/* A HELLO's bytes are used no longer than this, so that its numbers stay near the truth. */
#define ATTEMPT_MS 60000
#define SIGNING_MS 1000
#define PAST_CALLS_BURST 4
/* So that two that answer each other do not go on for ever. */
#define SAME_ROLE_MS 10000

static void on_timer(void *arg);

bool bucket_take(struct bucket *b, uint64_t now_ms, uint64_t per_s, uint64_t burst)
{
	uint64_t gained = (now_ms - b->at_ms) * per_s;

	b->milli = b->milli + gained > burst * 1000 || gained > burst * 1000 ? burst * 1000 :
									       b->milli + gained;
	b->at_ms = now_ms;
	if (b->milli < 1000)
		return false;
	b->milli -= 1000;
	return true;
}

int hello_new(struct hello **out, const struct hello_options *o)
{
	_cleanup_(hello_freep) struct hello *h = NULL;
	int r;

	h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	list_init(&h->signing);
	/* Full from the start: the boot clock has filled nothing yet when it is young. */
	h->past_calls.milli = PAST_CALLS_BURST * 1000;
	h->o = *o;
	if (!h->o.last_session)
		h->o.last_session = &h->own_last_session;
	random_bytes(h->boot_key, sizeof(h->boot_key));
	r = loop_timer_new(&h->timer, o->loop, on_timer, h);
	if (r)
		return r;
	*out = steal(&h);
	return 0;
}

struct hello *hello_free(struct hello *h)
{
	if (!h)
		return NULL;
	list_for_each (it, &h->signing) {
		list_remove(it);
		container_of(it, struct signing, node)->h = NULL;
	}
	loop_timer_free(h->timer);
	session_free(h->session);
	wipe(h->boot_key, sizeof(h->boot_key));
	free(h);
	return NULL;
}

void hello_drop(struct hello *h, enum drop cause)
{
	drops_count(h->o.drops, cause);
}

void hello_event(struct hello *h, enum hello_event e, const struct sockaddr_in6 *from, uint64_t n)
{
	h->o.ops->on_event(e, from, n, h->o.arg);
}

static uint32_t software_version(void)
{
	unsigned int major = 0, minor = 0, patch = 0;

	sscanf(HANDFAST_VERSION, "%u.%u.%u", &major, &minor, &patch);
	return major << 24 | minor << 16 | patch;
}

void hello_fill(const struct hello *h, struct pskh *m, enum pskh_type type)
{
	uint64_t high = keys_rx_high(h->o.keys);

	*m = (struct pskh){ .type = (uint8_t)type };
	m->role = h->o.role == KEYS_INITIATOR ? PSKH_INITIATOR : PSKH_RESPONDER;
	keys_hint(h->o.keys, m->hint);
	memcpy(m->identity, h->o.own_identity, PSKH_IDENTITY_LEN);
	m->software = software_version();
	m->session = *h->o.last_session;
	m->tx_next = keys_tx_next(h->o.keys);
	m->rx_next = high == UINT64_MAX ? 0 : high + 1;
}

size_t hello_encode(const struct hello *h, uint8_t out[static PSKH_MAX], const struct pskh *m)
{
	uint8_t key[PSKH_KEY_LEN];
	size_t len;

	keys_hello_key(h->o.keys, key);
	len = pskh_encode(out, m, key);
	wipe(key, sizeof(key));
	return len;
}

/* ---- signatures ---- */

static void (*signing_done(const struct signing *s))(struct signing *s, bool ok);

struct signing_call {
	struct signing s;
	void (*done)(struct signing *s, bool ok);
};

static void (*signing_done(const struct signing *s))(struct signing *s, bool ok)
{
	return ((const struct signing_call *)(const void *)s)->done;
}

static void on_signed(const uint8_t *sig, size_t len, void *token)
{
	struct signing *s = token;

	if (s->h) {
		bool ok = sig && len <= PSKH_SIG_MAX;

		list_remove(&s->node);
		if (ok) {
			memcpy(s->msg.sig, sig, len);
			s->msg.sig_len = len;
		} else {
			hello_event(s->h, HELLO_CANNOT_SIGN, NULL, 0);
		}
		signing_done(s)(s, ok);
	}
	free(s);
}

void hello_sign(struct hello *h, const struct pskh *m, const uint8_t *hello, size_t hello_len,
		const struct udp_ends *to, void (*done)(struct signing *s, bool ok))
{
	struct signing_call *c;
	uint8_t hash[PSKH_HASH_LEN];
	int r;

	if (!h->o.pinned) {
		struct signing_call now = { .s = { .h = h, .msg = *m, .to = *to }, .done = done };

		done(&now.s, true);
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		hello_drop(h, DROP_HS_RATE);
		return;
	}
	c->s = (struct signing){ .h = h, .msg = *m, .to = *to };
	c->done = done;
	pskh_signed_hash(hash, m, hello, hello_len);
	list_append(&h->signing, &c->s.node);
	r = h->o.ops->sign(hash, on_signed, c, h->o.arg);
	if (r == 0)
		return;
	list_remove(&c->s.node);
	/* -EAGAIN: eight are in flight; the peer's retransmission will find one free. */
	hello_drop(h, DROP_HS_RATE);
	if (r != -EAGAIN)
		hello_event(h, HELLO_CANNOT_SIGN, NULL, 0);
	done(&c->s, false);
	free(c);
}

bool hello_signature_is_right(struct hello *h, const struct pskh *m, const uint8_t *hello,
			      size_t hello_len, const struct sockaddr_in6 *from)
{
	uint8_t hash[PSKH_HASH_LEN];
	uint64_t begun;
	bool ok;

	if (!h->o.pinned)
		return true;
	pskh_signed_hash(hash, m, hello, hello_len);
	begun = opstat_begin();
	ok = m->sig_len == SIGN_LEN &&
	     sign_verify(m->sig, &h->o.peer_public, PSKH_SIGN_CONTEXT, hash, sizeof(hash));
	opstat_end(&pskd_operations[OP_SIGN_VERIFY], begun, sizeof(hash), ok);
	if (ok)
		return true;
	hello_drop(h, DROP_HS_SIGNATURE);
	hello_event(h, HELLO_BAD_SIGNATURE, from, 0);
	return false;
}

/* ---- key material ---- */

static int judge(struct hello *h, int r, const struct sockaddr_in6 *from, uint64_t burn)
{
	switch (r) {
	case 0:
	/* Gone forward; what is sent waits by itself until that is durable. */
	case KEYS_E_NOT_READY:
		return 0;
	case KEYS_E_NEEDS_BURN:
		hello_event(h, HELLO_NEEDS_BURN, from, burn);
		return -1;
	case KEYS_E_EXHAUSTED:
		hello_event(h, HELLO_EXHAUSTED, from, 0);
		return -1;
	default:
		hello_event(h, HELLO_FAILED, from, (uint64_t)(r < 0 ? -r : EIO));
		return -1;
	}
}

bool hello_is_past(const struct pskh *m, uint64_t high)
{
	return high != UINT64_MAX && m->tx_next <= high;
}

/* Both are asked, so that one burn can answer both. */
int hello_forward(struct hello *h, uint64_t tx_next, uint64_t rx_next, const struct sockaddr_in6 *from)
{
	uint64_t own = keys_tx_next(h->o.keys);
	uint64_t high = keys_rx_high(h->o.keys), seen = high == UINT64_MAX ? 0 : high + 1;
	int tx = 0, rx = 0;

	hello_clear_burn(h);
	if (rx_next > own)
		tx = keys_tx_forward(h->o.keys, rx_next, false);
	if (tx_next > seen)
		rx = keys_rx_forward(h->o.keys, tx_next, false);
	if (tx == KEYS_E_NEEDS_BURN)
		h->burn_tx = rx_next;
	if (rx == KEYS_E_NEEDS_BURN)
		h->burn_rx = tx_next;
	if (rx_next > own && (tx == 0 || tx == KEYS_E_NOT_READY || tx == KEYS_E_NEEDS_BURN))
		hello_event(h, HELLO_OWN_ROLLBACK, from, rx_next - own);
	if (judge(h, tx, from, rx_next - own))
		return -1;
	return judge(h, rx, from, tx_next - seen);
}

void hello_burn_targets(const struct hello *h, uint64_t *tx_next, uint64_t *rx_next)
{
	*tx_next = h->burn_tx;
	*rx_next = h->burn_rx;
}

void hello_clear_burn(struct hello *h)
{
	h->burn_tx = 0;
	h->burn_rx = 0;
}

uint32_t hello_last_session(const struct hello *h)
{
	return *h->o.last_session;
}

int hello_make_session(struct hello *h, struct session **out, const struct pskh *m,
		       const uint8_t *identity_a, const uint8_t *identity_b, uint32_t software,
		       const struct udp_ends *peer)
{
	struct session_id id = { .number = m->session };
	int r;

	memcpy(id.nonce_a, m->nonce_a, PSKH_NONCE_LEN);
	memcpy(id.nonce_b, m->nonce_b, PSKH_NONCE_LEN);
	memcpy(id.identity_a, identity_a, PSKH_IDENTITY_LEN);
	memcpy(id.identity_b, identity_b, PSKH_IDENTITY_LEN);
	r = session_new(out, &id, h->o.role, path_rx_slots(h->o.window));
	if (r) {
		hello_event(h, HELLO_FAILED, &peer->peer, ENOMEM);
		return r;
	}
	(*out)->address = peer->peer;
	(*out)->local = peer->local;
	(*out)->peer_software = software;
	/* From now on this material needs handshakes; it is durable before the first packet. */
	r = keys_mark_handshaken(h->o.keys);
	if (r) {
		hello_event(h, HELLO_FAILED, &peer->peer, (uint64_t)(r < 0 ? -r : EIO));
		*out = session_free(*out);
		return -EIO;
	}
	*h->o.last_session = m->session;
	memcpy(h->last_nonce, m->nonce_a, PSKH_NONCE_LEN);
	return 0;
}

/* ---- rounds ---- */

void hello_set_candidates(struct hello *h, const struct sockaddr_in6 *v, size_t n)
{
	if (n > HELLO_CANDIDATES_MAX)
		n = HELLO_CANDIDATES_MAX;
	if (n > 0)
		memcpy(h->candidates, v, n * sizeof(*v));
	h->n_candidates = n;
}

void hello_add_candidate(struct hello *h, const struct sockaddr_in6 *a)
{
	for (size_t i = 0; i < h->n_candidates; i++)
		if (udp_same(&h->candidates[i], a))
			return;
	/* The last one of a full list was the least likely. */
	if (h->n_candidates == HELLO_CANDIDATES_MAX)
		h->n_candidates--;
	h->candidates[h->n_candidates++] = *a;
}

/* A new HELLO: the initiator's opens an attempt, the responder's only asks for one. */
static void new_attempt(struct hello *h)
{
	struct pskh *m = &h->hello_msg;

	h->session = session_free(h->session);
	hello_fill(h, m, PSKH_HELLO);
	random_bytes(m->nonce_a, PSKH_NONCE_LEN);
	hello_encode(h, h->hello, m);
	h->begun_ms = clock_now_ms();
	h->n_asked = 0;
	h->state = HELLO_SENT;
}

static bool was_asked(const struct hello *h, const struct sockaddr_in6 *a)
{
	for (size_t i = 0; i < h->n_asked; i++)
		if (udp_same(&h->asked[i], a))
			return true;
	return false;
}

static void send_hello(struct hello *h, const struct udp_ends *to)
{
	if (!was_asked(h, &to->peer)) {
		if (h->n_asked == ARRAY_SIZE(h->asked))
			return;
		h->asked[h->n_asked++] = to->peer;
	}
	h->o.ops->send(h->hello, PSKH_HELLO_LEN, to, h->o.arg);
}

static void send_round(struct hello *h)
{
	unsigned int max = h->o.patient ? ROUND_MAX_PATIENT : ROUND_MAX;
	uint64_t delay_s = UINT64_C(1) << (h->round < max ? h->round : max);

	if (h->state != HELLO_SENT || clock_now_ms() - h->begun_ms > ATTEMPT_MS)
		new_attempt(h);
	h->round_ms = clock_now_ms();
	h->o.ops->on_round(h->round, h->o.arg);
	for (size_t i = 0; i < h->n_candidates; i++)
		send_hello(h, &(const struct udp_ends){ .peer = h->candidates[i] });
	if (h->round < max)
		h->round++;
	loop_timer_start(h->timer, delay_s * 1000);
}

void hello_start(struct hello *h)
{
	if (h->running)
		return;
	h->running = true;
	h->round = 0;
	send_round(h);
}

void hello_hurry(struct hello *h)
{
	uint64_t since_ms = clock_now_ms() - h->round_ms;

	if (!h->running || h->state != HELLO_SENT)
		return;
	h->round = 0;
	loop_timer_start(h->timer, since_ms < HURRY_MS ? HURRY_MS - since_ms : 0);
}

void hello_stop(struct hello *h)
{
	h->running = false;
	h->state = HELLO_IDLE;
	h->session = session_free(h->session);
	loop_timer_stop(h->timer);
}

void hello_hand_over(struct hello *h, const struct hello_ops *ops, void *arg)
{
	h->o.ops = ops;
	h->o.arg = arg;
	h->o.patient = false;
}

void hello_copy_candidates(struct hello *h, const struct hello *from)
{
	hello_set_candidates(h, from->candidates, from->n_candidates);
}

bool hello_is_running(const struct hello *h)
{
	return h->running;
}

static void send_bind(struct hello *h)
{
	h->o.ops->send(h->bind, h->bind_len, &h->bind_to, h->o.arg);
	loop_timer_start(h->timer, (uint64_t)BIND_FIRST_MS << h->bind_tries);
	h->bind_tries++;
}

static void on_timer(void *arg)
{
	struct hello *h = arg;

	if (h->state == HELLO_BIND_SENT && h->bind_tries < BIND_TRIES) {
		send_bind(h);
		return;
	}
	/* A new attempt would make the signature worthless, and so the next. */
	if (h->state == HELLO_SIGNING && clock_now_ms() - h->begun_ms <= ATTEMPT_MS) {
		loop_timer_start(h->timer, SIGNING_MS);
		return;
	}
	if (h->state == HELLO_BIND_SENT || h->state == HELLO_SIGNING)
		h->state = HELLO_IDLE;
	if (h->running)
		send_round(h);
}

void hello_on_proven(struct hello *h)
{
	h->awaited = false;
	hello_stop(h);
}

/* ---- the initiator's answers ---- */

/* Each handshake costs both sides sequences, so a recorded call must not buy many: four, and one a minute. */
static bool may_answer(struct hello *h, const struct pskh *call, uint64_t high)
{
	return !hello_is_past(call, high) || bucket_take(&h->past_calls, clock_now_ms() / 60, 1, PAST_CALLS_BURST);
}

/* The responder cannot be reached, or lost its session: it asks us to begin, from where it is. */
static void on_call(struct hello *h, const struct pskh *m, const struct udp_ends *from, uint64_t high)
{
	if (!h->o.ops->may_call(&from->peer, h->o.arg)) {
		hello_drop(h, DROP_HS_UNEXPECTED);
		return;
	}
	if (!may_answer(h, m, high) || !bucket_take(&h->calls, clock_now_ms(), 1, 3)) {
		hello_drop(h, DROP_HS_RATE);
		return;
	}
	if (h->state == HELLO_SIGNING || h->state == HELLO_BIND_SENT)
		return;
	if (h->state == HELLO_IDLE || clock_now_ms() - h->begun_ms > ATTEMPT_MS)
		new_attempt(h);
	/* Who looks for its peer itself may have moved: the address that was called is then not where it is. */
	send_hello(h, h->running ? &(const struct udp_ends){ .peer = from->peer } : from);
}

static bool is_revoked(const struct hello *h, const uint8_t *identity)
{
	return (h->o.revoked && label_list_has(h->o.revoked, identity)) ||
	       (h->o.revoked_here && label_list_has(h->o.revoked_here, identity));
}

static bool refuse_revoked(struct hello *h, const uint8_t *identity, const struct sockaddr_in6 *from)
{
	if (!is_revoked(h, identity))
		return false;
	hello_drop(h, DROP_HS_REVOKED);
	hello_event(h, HELLO_REVOKED, from, be64_load(identity));
	return true;
}

static void on_bind_signed(struct signing *s, bool ok)
{
	struct hello *h = s->h;

	/* Of an attempt that was given up meanwhile. */
	if (h->state != HELLO_SIGNING || !bytes_equal(s->msg.nonce_a, h->hello_msg.nonce_a, PSKH_NONCE_LEN))
		return;
	/* Signing takes its time: who was right when the WELCOME came may have been revoked since. */
	if (!ok || !h->session || refuse_revoked(h, s->msg.peer_identity, &s->to.peer)) {
		/* The next round tries again, or the same WELCOME once more. */
		h->session = session_free(h->session);
		h->state = h->running ? HELLO_SENT : HELLO_IDLE;
		return;
	}
	h->bind_len = hello_encode(h, h->bind, &s->msg);
	h->bind_to = s->to;
	h->bind_tries = 0;
	h->state = HELLO_BIND_SENT;
	h->o.ops->on_session(&h->session, s->msg.peer_tx_next, h->o.arg);
	h->session = session_free(h->session);
	send_bind(h);
}

static bool is_our_attempt(struct hello *h, const struct pskh *m, const struct sockaddr_in6 *from)
{
	if (!bytes_equal(m->nonce_a, h->hello_msg.nonce_a, PSKH_NONCE_LEN)) {
		hello_drop(h, DROP_HS_NONCE);
		return false;
	}
	if (h->state != HELLO_SENT) {
		hello_drop(h, DROP_HS_DUPLICATE);
		return false;
	}
	/* Else whoever copies a WELCOME could have our BINDs sent to anybody. */
	if (!was_asked(h, from)) {
		hello_drop(h, DROP_HS_UNEXPECTED);
		return false;
	}
	return hello_signature_is_right(h, m, h->hello, PSKH_HELLO_LEN, from);
}

static void on_welcome(struct hello *h, const struct pskh *m, const struct udp_ends *from)
{
	struct pskh bind;

	if (!is_our_attempt(h, m, &from->peer))
		return;
	/* What we received before the HELLO left, the peer sent before it answered. */
	if (m->tx_next < h->hello_msg.rx_next)
		hello_event(h, HELLO_PEER_ROLLBACK, &from->peer, h->hello_msg.rx_next - m->tx_next);
	if (hello_forward(h, m->tx_next, m->rx_next, &from->peer))
		return;

	hello_fill(h, &bind, PSKH_BIND);
	/* A number that neither side has used last, so that packets of both sessions can be told apart. */
	bind.session = (m->session > *h->o.last_session ? m->session : *h->o.last_session) + 1;
	memcpy(bind.nonce_a, m->nonce_a, PSKH_NONCE_LEN);
	memcpy(bind.nonce_b, m->nonce_b, PSKH_NONCE_LEN);
	memcpy(bind.peer_identity, m->identity, PSKH_IDENTITY_LEN);
	bind.peer_tx_next = m->tx_next;
	bind.peer_rx_next = m->rx_next;
	if (hello_make_session(h, &h->session, &bind, h->o.own_identity, m->identity, m->software, from))
		return;
	h->state = HELLO_SIGNING;
	hello_sign(h, &bind, NULL, 0, from, on_bind_signed);
}

/* ---- all messages ---- */

/* Whether who says this may be the peer. Of a pinned one the signature, where there is one, is checked later. */
static int check_identity(struct hello *h, const struct pskh *m, const struct sockaddr_in6 *from)
{
	uint8_t id[IDENTITY_ID_LEN];
	enum hello_event e;

	if (h->o.pinned)
		identity_id(id, &h->o.peer_public);
	if (is_revoked(h, m->identity))
		e = HELLO_REVOKED;
	else if (h->o.pinned && memcmp(id, m->identity, sizeof(id)) != 0)
		e = HELLO_WRONG_IDENTITY;
	else if (!h->o.pinned && h->o.allowed && h->o.allowed->n > 0 && !label_list_has(h->o.allowed, m->identity))
		e = HELLO_NOT_ALLOWED;
	else
		return 0;
	hello_drop(h, e == HELLO_REVOKED ? DROP_HS_REVOKED : DROP_HS_IDENTITY);
	hello_event(h, e, from, be64_load(m->identity));
	return -1;
}

/*
 * Somebody has our role, and has no other way to find out that it is so: our own HELLO tells. While we look for our
 * peer ourselves, which then has not come.
 */
static void tell_role(struct hello *h, const struct udp_ends *to)
{
	uint64_t now = clock_now_ms();

	if (h->state != HELLO_SENT || now - h->begun_ms > ATTEMPT_MS || (h->role_told && now - h->role_told_ms < SAME_ROLE_MS))
		return;
	h->role_told = true;
	h->role_told_ms = now;
	h->o.ops->send(h->hello, PSKH_HELLO_LEN, to, h->o.arg);
}

/* With our key and our role: ourselves, or a second one. */
static void on_own_role(struct hello *h, const struct pskh *m, const struct udp_ends *from)
{
	bool ours = memcmp(m->nonce_a, h->hello_msg.nonce_a, PSKH_NONCE_LEN) == 0;

	hello_drop(h, DROP_HS_ROLE);
	hello_event(h, ours ? HELLO_REFLECTED : HELLO_OWN_ROLE, &from->peer, 0);
	if (!ours && m->type == PSKH_HELLO)
		tell_role(h, from);
}

/* Shape, key material, HMAC, role and identity. */
static int check(struct hello *h, struct pskh *m, const uint8_t *msg, size_t len,
		 const struct udp_ends *from)
{
	uint8_t hint[PSKH_HINT_LEN], key[PSKH_KEY_LEN];
	uint64_t begun;
	bool authentic;

	if (pskh_decode(m, msg, len)) {
		hello_drop(h, DROP_HS_MALFORMED);
		return -1;
	}
	keys_hint(h->o.keys, hint);
	if (memcmp(hint, m->hint, sizeof(hint)) != 0) {
		hello_drop(h, DROP_HS_OTHER_KEY);
		hello_event(h, HELLO_OTHER_KEY, &from->peer, be64_load(m->hint));
		return -1;
	}
	keys_hello_key(h->o.keys, key);
	begun = opstat_begin();
	authentic = pskh_is_authentic(msg, len, key);
	opstat_end(&pskd_operations[OP_HANDSHAKE_CHECK], begun, len, authentic);
	wipe(key, sizeof(key));
	if (!authentic) {
		hello_drop(h, DROP_HS_MAC);
		return -1;
	}
	if (m->role == (h->o.role == KEYS_INITIATOR ? PSKH_INITIATOR : PSKH_RESPONDER)) {
		on_own_role(h, m, from);
		return -1;
	}
	return check_identity(h, m, &from->peer);
}

void hello_on_message(struct hello *h, const uint8_t *msg, size_t len, const struct udp_ends *from, uint64_t high)
{
	bool initiator = h->o.role == KEYS_INITIATOR;
	struct pskh m;

	if (check(h, &m, msg, len, from))
		return;
	switch (m.type) {
	case PSKH_HELLO:
		if (initiator)
			on_call(h, &m, from, high);
		else
			welcome_on_hello(h, &m, msg, len, from, high);
		return;
	case PSKH_WELCOME:
		/* The decoder knows that only a responder says this, so we are the initiator. */
		on_welcome(h, &m, from);
		return;
	default:
		welcome_on_bind(h, &m, from);
		return;
	}
}
