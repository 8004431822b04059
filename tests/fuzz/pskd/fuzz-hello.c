/*
 * The tunnel's handshake as a sequence of happenings: both sides with their real code, the network in the
 * fuzzer's hand, which delivers, repeats, alters and moves what was sent, makes up its own, and, in some
 * runs, is a peer that has the right key and lies. Time passes, people start and stop, sides
 * start anew. Key material is a double that counts, timers are one that the fuzzer fires.
 *
 * What must hold: nothing that is not authentic has any effect; a session is made once, from an address
 * that was proven within 16 s, and alike on both sides; no answer is longer than what it answers.
 */
#include <assert.h>
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "crypto/secret.h"
#include "fuzz/lib/quick_group.h"
#include "fuzz/lib/sequence.h"
#include "fuzz/lib/timers.h"
#include "pskd/handshake/hello_internal.h"
#include "pskd/keys/ledger.h"
#include "pskd/packet/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAIL = 64, PLACES = 4, SESSIONS = 128, SIGNING = 8, NONE = 255 };

/* ---- doubles ---- */

struct keys {
	uint64_t tx_next, rx_next;
	bool handshaken;
	unsigned int moves;
};

static const uint8_t hello_key[PSKH_KEY_LEN] = "the hello key", hint[PSKH_HINT_LEN] = "hint";
enum { BURN_OVER = 10000 };

static int forward(struct keys *k, uint64_t *at, uint64_t next)
{
	if (next > LEDGER_SEQ_MAX)
		return KEYS_E_EXHAUSTED;
	if (next > *at + BURN_OVER)
		return KEYS_E_NEEDS_BURN;
	assert(next > *at);
	*at = next;
	k->moves++;
	return 0;
}

uint64_t keys_tx_next(const struct keys *k)
{
	return k->tx_next;
}

uint64_t keys_rx_high(const struct keys *k)
{
	return k->rx_next - 1;
}

int keys_tx_forward(struct keys *k, uint64_t next, bool burn)
{
	assert(!burn);
	return forward(k, &k->tx_next, next);
}

int keys_rx_forward(struct keys *k, uint64_t next, bool burn)
{
	assert(!burn);
	return forward(k, &k->rx_next, next);
}

void keys_hello_key(const struct keys *k, uint8_t out[static 32])
{
	(void)k;
	memcpy(out, hello_key, sizeof(hello_key));
}

void keys_hint(const struct keys *k, uint8_t out[static 8])
{
	(void)k;
	memcpy(out, hint, sizeof(hint));
}

int keys_mark_handshaken(struct keys *k)
{
	k->handshaken = true;
	return 0;
}

const struct slot_key *keys_rx_slot(const struct keys *k, uint64_t slot)
{
	(void)k;
	(void)slot;
	return NULL;
}

size_t path_rx_slots(uint32_t window)
{
	(void)window;
	return 2;
}

/* ---- the world ---- */

struct mail {
	uint8_t msg[PSKH_MAX];
	size_t len;
	unsigned int from;
	struct sockaddr_in6 to;
	uint64_t at_ms;
};

struct side {
	struct hello *hello;
	struct hello_options o;
	struct keys keys;
	struct drops drops;
	struct session_id made[SESSIONS];
	size_t n_made;
	struct {
		hello_signed_fn done;
		void *token;
		uint8_t hash[PSKH_HASH_LEN];
	} signing[SIGNING];
	size_t n_signing;
	uint64_t bytes_in, bytes_out; /* what came; what was answered to it */
};

static struct side side[2];
static struct mail mail[MAIL];
static size_t n_mail;
static struct sign_key *sign_keys[2];
static struct sockaddr_in6 places[PLACES]; /* 0 the initiator's, 1 the responder's */
static bool pinned, insider;
/* While a message is looked at: whether it may have an effect, and where it came from. */
static bool delivering, answering;
static const struct sockaddr_in6 *delivered_from;

static unsigned int other(unsigned int i)
{
	return 1 - i;
}

static void on_send(const uint8_t *msg, size_t len, const struct udp_ends *to, void *arg)
{
	struct side *s = arg;
	struct mail *m = &mail[n_mail++ % MAIL];

	assert(len <= PSKH_MAX);
	if (answering)
		s->bytes_out += len;
	/* Nobody is sent anything by a responder's answer but who asked. */
	if (delivering && s == &side[1])
		assert(memcmp(&to->peer.sin6_addr, &delivered_from->sin6_addr, 16) == 0 &&
		       to->peer.sin6_port == delivered_from->sin6_port);
	memcpy(m->msg, msg, len);
	m->len = len;
	m->from = (unsigned int)(s - side);
	m->to = to->peer;
	m->at_ms = timers_now_ms;
}

static int on_sign(const uint8_t hash[static PSKH_HASH_LEN], hello_signed_fn done, void *token, void *arg)
{
	struct side *s = arg;

	if (s->n_signing == SIGNING)
		return -EAGAIN;
	memcpy(s->signing[s->n_signing].hash, hash, PSKH_HASH_LEN);
	s->signing[s->n_signing].done = done;
	s->signing[s->n_signing++].token = token;
	return 0;
}

static void sign_one(struct side *s, bool can)
{
	uint8_t sig[SIGN_LEN];

	if (s->n_signing == 0)
		return;
	s->n_signing--;
	sign_make(sig, sign_keys[s - side], PSKH_SIGN_CONTEXT, s->signing[s->n_signing].hash, PSKH_HASH_LEN);
	answering = true;
	s->signing[s->n_signing].done(can ? sig : NULL, can ? SIGN_LEN : 0, s->signing[s->n_signing].token);
	answering = false;
}

/* Whoever is at a got a WELCOME with this nonce not long ago. */
static bool was_welcomed(const struct session *s)
{
	for (size_t i = 0; i < MAIL && i < n_mail; i++) {
		struct pskh m;

		if (mail[i].from == 1 && timers_now_ms - mail[i].at_ms < 16000 &&
		    memcmp(&mail[i].to.sin6_addr, &s->address.sin6_addr, 16) == 0 &&
		    mail[i].to.sin6_port == s->address.sin6_port &&
		    pskh_decode(&m, mail[i].msg, mail[i].len) == 0 && m.type == PSKH_WELCOME &&
		    memcmp(m.nonce_b, s->id.nonce_b, PSKH_NONCE_LEN) == 0)
			return true;
	}
	return false;
}

static bool has_made(const struct side *s, const struct session_id *id)
{
	for (size_t i = 0; i < s->n_made; i++)
		if (memcmp(&s->made[i], id, sizeof(*id)) == 0)
			return true;
	return false;
}

static void on_session(struct session **session, uint64_t peer_tx_next, void *arg)
{
	struct side *s = arg;
	struct session *new = *session;

	(void)peer_tx_next;
	assert(s->keys.handshaken && !new->plain);
	for (size_t i = 0; i < s->n_made; i++) {
		assert(memcmp(s->made[i].nonce_a, new->id.nonce_a, PSKH_NONCE_LEN) != 0 || s == &side[0]);
		assert(memcmp(&s->made[i], &new->id, sizeof(new->id)) != 0);
	}
	if (s == &side[1]) {
		assert(delivering);
		/* What is older than the mail that is kept, nobody can tell. */
		assert(was_welcomed(new) || n_mail > MAIL);
		assert(insider || has_made(&side[0], &new->id));
	}
	assert(s->n_made < SESSIONS);
	s->made[s->n_made++] = new->id;
	*session = NULL;
	session_free(new);
}

static void on_bind_again(void *arg)
{
	assert(delivering && arg == &side[1]);
}

static bool may_call(const struct sockaddr_in6 *from, void *arg)
{
	(void)arg;
	return from->sin6_port != places[3].sin6_port;
}

static void on_round(unsigned int round, void *arg)
{
	(void)arg;
	assert(round <= 5);
}

static void on_event(enum hello_event e, const struct sockaddr_in6 *from, uint64_t n, void *arg)
{
	(void)arg;
	(void)n;
	assert(e <= HELLO_FAILED && (from || e == HELLO_CANNOT_SIGN));
}

static const struct hello_ops ops = { on_send, on_sign, on_session, on_bind_again, may_call, on_round, on_event };

static void deliver(unsigned int to, const uint8_t *msg, size_t len, const struct sockaddr_in6 *from)
{
	struct side *s = &side[to];
	uint64_t before = s->bytes_out;
	struct keys keys = s->keys;
	size_t made = s->n_made, signing = s->n_signing, sent = n_mail;
	bool authentic = len >= PSKH_MAC_LEN && pskh_is_authentic(msg, len, hello_key);

	if (s->n_made == SESSIONS)
		return;
	delivering = answering = true;
	delivered_from = from;
	hello_on_message(s->hello, msg, len, &(struct udp_ends){ .peer = *from }, keys_rx_high(&s->keys));
	delivering = answering = false;
	s->bytes_in += len;
	/* Of the initiator, a BIND answers a WELCOME from where it asked: nothing else may grow. */
	assert(s->bytes_out - before <= len || (to == 0 && s->n_made > made));
	assert(to == 0 || s->bytes_out <= s->bytes_in);
	if (!authentic)
		assert(sent == n_mail && made == s->n_made && signing == s->n_signing && keys.moves == s->keys.moves);
}

/* A message that was sent, with a field changed by somebody who has the key, and perhaps signed again. */
static void lie(const struct happening *h, unsigned int i)
{
	uint8_t msg[PSKH_MAX], hash[PSKH_HASH_LEN];
	unsigned int from = mail[i].from;
	struct pskh m;
	size_t len;

	if (pskh_decode(&m, mail[i].msg, mail[i].len))
		return;
	switch (happening_byte(h, 1) % 8) {
	case 0:
		m.tx_next = happening_number(h, 3, 8);
		break;
	case 1:
		m.rx_next = happening_number(h, 3, 8);
		break;
	case 2:
		m.session = (uint32_t)happening_number(h, 3, 4);
		break;
	case 3:
		m.peer_tx_next = happening_number(h, 3, 8);
		break;
	case 4:
		m.nonce_a[happening_byte(h, 3) % PSKH_NONCE_LEN] ^= happening_byte(h, 4);
		break;
	case 5:
		m.identity[happening_byte(h, 3) % PSKH_IDENTITY_LEN] ^= happening_byte(h, 4);
		break;
	case 6:
		m.tx_next += happening_byte(h, 3);
		m.rx_next += happening_byte(h, 4);
		break;
	default:
		m.sig_len = 0;
	}
	if (pinned && m.sig_len && happening_byte(h, 2) & 1) {
		/* Of a WELCOME the HELLO is signed, too, which this liar does not have. */
		pskh_signed_hash(hash, &m, NULL, 0);
		sign_make(m.sig, sign_keys[from], PSKH_SIGN_CONTEXT, hash, sizeof(hash));
	}
	len = pskh_encode(msg, &m, hello_key);
	insider = true;
	deliver(other(from), msg, len, &places[from]);
}

static void start(unsigned int i)
{
	struct side *s = &side[i];

	assert(hello_new(&s->hello, &s->o) == 0);
	hello_set_candidates(s->hello, &places[other(i)], 1);
}

static void happen(const struct happening *h)
{
	unsigned int who = h->what >> 7, i = n_mail ? happening_byte(h, 0) % (n_mail < MAIL ? (unsigned int)n_mail : MAIL) : NONE;
	uint8_t msg[PSKH_MAX];
	size_t at;

	switch (h->what & 15) {
	case 0:
		if (i != NONE)
			deliver(other(mail[i].from), mail[i].msg, mail[i].len, &places[mail[i].from]);
		break;
	case 1:
		/* the newest, which has not been delivered as a rule */
		if (i != NONE) {
			i = (unsigned int)((n_mail - 1) % MAIL);
			deliver(other(mail[i].from), mail[i].msg, mail[i].len, &places[mail[i].from]);
		}
		break;
	case 2:
		if (i == NONE)
			break;
		memcpy(msg, mail[i].msg, mail[i].len);
		at = happening_byte(h, 1) % mail[i].len;
		msg[at] ^= happening_byte(h, 2);
		deliver(who, msg, mail[i].len - happening_byte(h, 3) % mail[i].len, &places[mail[i].from]);
		break;
	case 3:
		if (i != NONE)
			deliver(who, mail[i].msg, mail[i].len, &places[happening_byte(h, 1) % PLACES]);
		break;
	case 4:
		deliver(who, h->data, h->len, &places[who + 1]);
		break;
	case 5:
		if (i != NONE)
			lie(h, i);
		break;
	case 6:
		if (side[0].n_made < SESSIONS && side[1].n_made < SESSIONS)
			timers_pass(happening_number(h, 0, 2));
		break;
	case 7:
		hello_start(side[who].hello);
		break;
	case 8:
		hello_stop(side[who].hello);
		break;
	case 9:
		hello_hurry(side[who].hello);
		break;
	case 10:
		hello_on_proven(side[who].hello);
		break;
	case 11:
		if (side[who].n_made < SESSIONS)
			sign_one(&side[who], !(happening_byte(h, 0) & 1));
		break;
	case 12:
		hello_free(side[who].hello);
		start(who);
		break;
	case 13:
		hello_add_candidate(side[who].hello, &places[happening_byte(h, 0) % PLACES]);
		break;
	case 14:
		/* packets were sent, or received */
		*(h->what & 64 ? &side[who].keys.tx_next : &side[who].keys.rx_next) += happening_number(h, 0, 2);
		break;
	default:
		hello_clear_burn(side[who].hello);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sequence seq = { data, size };
	struct happening h;

	if (!sign_keys[0]) {
		sequence_own_randomness();
		assert(crypto_init() == 0);
		for (unsigned int i = 0; i < 2; i++) {
			uint8_t seed[SIGN_SEED_LEN] = { (uint8_t)(i + 1) };

			assert(sign_key_from_seed(&sign_keys[i], seed) == 0);
		}
		for (uint8_t i = 0; i < PLACES; i++) {
			places[i] = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)(1000 + i)) };
			places[i].sin6_addr.s6_addr[15] = i;
		}
	}
	if (size == 0)
		return 0;
	sequence_random_state = 0;
	timers_begin(1000000);
	n_mail = 0;
	insider = false;
	/* Signatures take most of the time: one run in eight has them. */
	pinned = (data[0] & 7) == 7;
	seq.p++;
	seq.left--;
	for (unsigned int i = 0; i < 2; i++) {
		memset(&side[i], 0, sizeof(side[i]));
		side[i].o = (struct hello_options){ .keys = &side[i].keys, .role = i ? KEYS_RESPONDER : KEYS_INITIATOR,
						    .window = 8192, .pinned = pinned, .ops = &ops, .arg = &side[i],
						    .drops = &side[i].drops };
	}
	for (unsigned int i = 0; i < 2; i++) {
		struct sign_public own;

		sign_key_public(sign_keys[i], &own);
		identity_id(side[i].o.own_identity, &own);
		side[other(i)].o.peer_public = own;
		start(i);
	}
	while (sequence_next(&seq, &h))
		happen(&h);
	for (unsigned int i = 0; i < 2; i++) {
		hello_free(side[i].hello);
		while (side[i].n_signing > 0)
			sign_one(&side[i], true);
	}
	return 0;
}
