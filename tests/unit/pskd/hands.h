/* Two ends of a handshake in one process, and the network between them in the test's hand. */
#pragma once

#include "pskd/handshake/hello.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "crypto/secret.h"
#include "crypto/sign.h"
#include "event/loop.h"
#include "unit/lib/test.h"

enum { HANDS_SLOTS = 1000, QUEUE = 64 };

struct datagram {
	uint8_t msg[PSKH_MAX];
	size_t len;
	struct sockaddr_in6 to;
	struct udp_local local; /* that it leaves from */
};

struct side {
	struct loop *loop;
	struct keys *keys;
	struct keys_options o;
	char dir[200], ledger[256], file[256];
	struct hello *hello;
	struct hello_options ho;
	struct drops drops;
	struct sign_key *key;
	struct sockaddr_in6 address;
	struct udp_local local; /* what comes was sent to */
	struct session *session;
	unsigned int n_sessions, again, events[HELLO_FAILED + 1];
	uint64_t event_n, peer_tx_next;
	bool cannot_sign, no_calls;
	/* signatures that are waiting */
	struct {
		hello_signed_fn done;
		void *token;
		uint8_t hash[PSKH_HASH_LEN];
	} signing[8];
	size_t n_signing;
	struct datagram out[QUEUE];
	size_t n_out;
};

static void on_send(const uint8_t *msg, size_t len, const struct udp_ends *to, void *arg)
{
	struct side *s = arg;

	CHECK(s->n_out < QUEUE);
	memcpy(s->out[s->n_out].msg, msg, len);
	s->out[s->n_out].len = len;
	s->out[s->n_out].local = to->local;
	s->out[s->n_out++].to = to->peer;
}

static int on_sign(const uint8_t hash[static PSKH_HASH_LEN], hello_signed_fn done, void *token, void *arg)
{
	struct side *s = arg;

	if (s->n_signing == 8)
		return -EAGAIN;
	memcpy(s->signing[s->n_signing].hash, hash, PSKH_HASH_LEN);
	s->signing[s->n_signing].done = done;
	s->signing[s->n_signing++].token = token;
	return 0;
}

static void sign_all(struct side *s)
{
	while (s->n_signing > 0) {
		uint8_t sig[SIGN_LEN];

		s->n_signing--;
		sign_make(sig, s->key, PSKH_SIGN_CONTEXT, s->signing[s->n_signing].hash, PSKH_HASH_LEN);
		s->signing[s->n_signing].done(s->cannot_sign ? NULL : sig, s->cannot_sign ? 0 : SIGN_LEN,
					      s->signing[s->n_signing].token);
	}
}

static void on_session(struct session **session, uint64_t peer_tx_next, void *arg)
{
	struct side *s = arg;

	session_free(s->session);
	s->session = steal(session);
	s->peer_tx_next = peer_tx_next;
	s->n_sessions++;
}

static void on_again(void *arg)
{
	((struct side *)arg)->again++;
}

static bool may_call(const struct sockaddr_in6 *from, void *arg)
{
	(void)from;
	return !((struct side *)arg)->no_calls;
}

static void on_round(unsigned int round, void *arg)
{
	(void)round;
	(void)arg;
}

static void on_event(enum hello_event e, const struct sockaddr_in6 *from, uint64_t n, void *arg)
{
	struct side *s = arg;

	(void)from;
	s->events[e]++;
	s->event_n = n;
}

static const struct hello_ops ops = { on_send, on_sign, on_session, on_again, may_call, on_round, on_event };

static void open_side(struct side *s)
{
	char detail[200];

	CHECK_EQ(keys_open(&s->keys, &s->o, NULL, detail, sizeof(detail)), 0);
	s->ho.keys = s->keys;
	CHECK_EQ(hello_new(&s->hello, &s->ho), 0);
}

static void close_side(struct side *s)
{
	s->hello = hello_free(s->hello);
	s->keys = keys_close(s->keys);
}

static void side_init(struct side *s, const char *name, enum keys_role role, const uint8_t *material)
{
	static unsigned int n;
	struct sign_public pub;
	char detail[200];

	memset(s, 0, sizeof(*s));
	CHECK_EQ(crypto_init(), 0);
	snprintf(s->dir, sizeof(s->dir), "%s/%s%u", test_tmpdir(), name, n++);
	CHECK_EQ(mkdir(s->dir, 0700), 0);
	snprintf(s->ledger, sizeof(s->ledger), "%s/t.ledger", s->dir);
	snprintf(s->file, sizeof(s->file), "%s/key", s->dir);
	CHECK_EQ(file_write_atomic(s->file, material, HANDS_SLOTS * SLOT_LEN, 0600), 0);
	CHECK_EQ(loop_new(&s->loop), 0);
	s->o = (struct keys_options){ .ledger_path = s->ledger, .ledgers_dir = s->dir, .role = role,
				      .window = 8192, .key_file = s->file, .loop = s->loop };
	CHECK_EQ(keys_create_file(&s->o, NULL, NULL, detail, sizeof(detail)), 0);
	CHECK_EQ(sign_key_generate(&s->key), 0);
	sign_key_public(s->key, &pub);
	s->ho = (struct hello_options){ .loop = s->loop, .role = role, .window = 8192, .ops = &ops, .arg = s,
					.drops = &s->drops };
	identity_id(s->ho.own_identity, &pub);
	s->address = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(role ? 2000 : 1000) };
	s->address.sin6_addr.s6_addr[15] = role ? 2 : 1;
	open_side(s);
}

struct pair {
	struct side a, b;
};

static struct pair *pair_new(bool pinned)
{
	struct pair *p = calloc(1, sizeof(*p));
	uint8_t *material = malloc(HANDS_SLOTS * SLOT_LEN);

	CHECK(p && material);
	clock_fake_ms(1000000);
	CHECK_EQ(crypto_init(), 0);
	random_bytes(material, HANDS_SLOTS * SLOT_LEN);
	side_init(&p->a, "a", KEYS_INITIATOR, material);
	side_init(&p->b, "b", KEYS_RESPONDER, material);
	free(material);
	if (pinned) {
		close_side(&p->a);
		close_side(&p->b);
		p->a.ho.pinned = p->b.ho.pinned = true;
		sign_key_public(p->b.key, &p->a.ho.peer_public);
		sign_key_public(p->a.key, &p->b.ho.peer_public);
		open_side(&p->a);
		open_side(&p->b);
	}
	hello_set_candidates(p->a.hello, &p->b.address, 1);
	return p;
}

static void side_done(struct side *s)
{
	session_free(s->session);
	close_side(s);
	sign_all(s);
	sign_key_free(s->key);
	loop_free(s->loop);
}

static void pair_free(struct pair *p)
{
	side_done(&p->a);
	side_done(&p->b);
	free(p);
	clock_fake_ms(UINT64_MAX);
}
DEFINE_CLEANUP(struct pair *, pair_free);

/* What comes is looked at at once. */
static void hear(struct side *to, const struct datagram *d, const struct sockaddr_in6 *from)
{
	hello_on_message(to->hello, d->msg, d->len, &(struct udp_ends){ .peer = *from, .local = to->local }, keys_rx_high(to->keys));
}

/* The next datagram of from, as if it came from its address. */
static struct datagram take(struct side *from)
{
	struct datagram d = from->out[0];

	CHECK(from->n_out > 0);
	memmove(from->out, from->out + 1, --from->n_out * sizeof(d));
	return d;
}
