/*
 * The identity socket with two daemons on it, as a sequence: requests of any content and right ones, daemons that come, hang
 * up or do not read, pairings that change meanwhile and a store that fails. One of the daemons serves logins. The
 * store and the connections are doubles.
 *
 * What must hold: each request is answered once, by its own number; a login daemon is signed for in its own context
 * alone and gets no root and no word of pairings; a root goes only to who asked for it by peer and tunnel.
 */
#include <assert.h>
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "event/unixsock.h"
#include "fuzz/lib/sequence.h"
#include "fuzz/lib/timers.h"
#include "pairingd/identity_server.h"
#include "pairingd/signer.h"
#include "proto/identity_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PEERS = 4, DAEMONS = 2, LOGIN = 1, FD = 100000, LOGIN_UID = 4000, QUEUE = 20 };

/* ---- doubles ---- */

struct loop_io {
	loop_io_fn fn;
	void *arg;
};

static struct daemon {
	struct loop_io *io;
	bool open, reads;
	/* Requests that wait to be read, and what is owed to those that were. */
	struct {
		uint8_t b[IDENTITY_MSG_MAX];
		size_t len;
	} queue[QUEUE];
	size_t n_queue;
	unsigned int owed;
	uint8_t type;
	uint32_t number;
	unsigned int lists;
} daemons[DAEMONS];

static struct pairing {
	bool exists;
	struct peer peer;
} pairings[PEERS];
static unsigned int asking; /* whose request is looked at; DAEMONS: nobody's */
static int store_error;
static unsigned int copies; /* of each in the list, which may need several messages */
static unix_accept_fn accept_fn;
static void *accept_arg;
static size_t n_closed;
static bool signed_now;

static struct daemon *daemon_of(int fd)
{
	assert(fd >= FD && fd < FD + DAEMONS);
	return &daemons[fd - FD];
}

int loop_io_new(struct loop_io **out, struct loop *l, int fd, unsigned int events, loop_io_fn fn, void *arg)
{
	struct daemon *d = daemon_of(fd);

	(void)l;
	assert(events == LOOP_READ && !d->io);
	*out = d->io = calloc(1, sizeof(*d->io));
	assert(d->io);
	*d->io = (struct loop_io){ fn, arg };
	return 0;
}

struct loop_io *loop_io_free(struct loop_io *io)
{
	for (size_t i = 0; io && i < DAEMONS; i++)
		if (daemons[i].io == io) {
			daemons[i].io = NULL;
			/* The connection goes with it. */
			daemons[i].open = false;
		}
	free(io);
	return NULL;
}

int unix_listen(const char *path, int type, mode_t mode, const char *group, bool group_optional)
{
	(void)path;
	(void)type;
	(void)mode;
	(void)group;
	(void)group_optional;
	return FD;
}

int unix_server_new(struct unix_server **out, struct loop *l, int listen_fd, size_t max, unix_accept_fn fn, void *arg)
{
	(void)l;
	(void)listen_fd;
	assert(max >= DAEMONS);
	accept_fn = fn;
	accept_arg = arg;
	*out = (struct unix_server *)(void *)daemons;
	return 0;
}

void unix_server_conn_closed(struct unix_server *s)
{
	(void)s;
	n_closed++;
}

struct unix_server *unix_server_free(struct unix_server *s)
{
	(void)s;
	return NULL;
}

ssize_t unix_recv(int fd, void *buf, size_t cap, int *got_fd)
{
	struct daemon *d = daemon_of(fd);
	size_t len;

	(void)got_fd;
	assert(cap == IDENTITY_MSG_MAX && d->open);
	/* What was asked before has its answer by now. */
	assert(d->owed == 0);
	if (d->n_queue == 0)
		return -EAGAIN;
	len = d->queue[0].len;
	memcpy(buf, d->queue[0].b, len);
	memmove(d->queue, d->queue + 1, --d->n_queue * sizeof(d->queue[0]));
	if (len >= 5) {
		struct rbuf r;

		rbuf_init(&r, buf, len);
		d->type = rbuf_u8(&r);
		d->number = rbuf_be32(&r);
		d->owed = 1;
	}
	return (ssize_t)len;
}

static void check_answer(struct daemon *d, struct rbuf *r)
{
	uint8_t status = rbuf_u8(r);

	assert(rbuf_ok(r) && status <= IDENTITY_BAD_REQUEST && d->owed == 1);
	d->owed = 0;
	if (status != IDENTITY_OK)
		assert(rbuf_done(r));
	if (d == &daemons[LOGIN])
		assert(status != IDENTITY_OK || d->type == IDENTITY_SIGN || d->type == IDENTITY_WHOAMI);
	assert(signed_now == (d->type == IDENTITY_SIGN && status == IDENTITY_OK));
	signed_now = false;
}

int unix_send(int fd, const void *data, size_t len, int pass_fd)
{
	struct daemon *d = daemon_of(fd);
	struct rbuf r;
	uint8_t type;
	uint32_t number;

	assert(d->open && pass_fd < 0 && len >= 5 && len <= IDENTITY_MSG_MAX);
	rbuf_init(&r, data, len);
	type = rbuf_u8(&r);
	number = rbuf_be32(&r);
	if (type < 0x80) {
		assert(type >= IDENTITY_EVENT_ROOT && type <= IDENTITY_EVENT_PAIRINGS && number == 0 && d != &daemons[LOGIN]);
		d->lists += type == IDENTITY_EVENT_PAIRINGS && rbuf_u8(&r) == 0;
	} else {
		assert(type == (d->type | 0x80) && number == d->number);
		check_answer(d, &r);
	}
	return d->reads ? 0 : -EAGAIN;
}

struct passwd *getpwnam(const char *name)
{
	static struct passwd pw;

	assert(strcmp(name, "handfast-auth") == 0);
	pw.pw_uid = LOGIN_UID;
	return &pw;
}

/* ---- the store ---- */

static struct peer *find(const uint8_t *id, const uint8_t *tunnel_id)
{
	for (size_t i = 0; i < PEERS; i++)
		if (pairings[i].exists && memcmp(pairings[i].peer.id, id, IDENTITY_ID_LEN) == 0 &&
		    memcmp(pairings[i].peer.tunnel_id, tunnel_id, IDENTITY_TUNNEL_ID_LEN) == 0)
			return &pairings[i].peer;
	return NULL;
}

int peers_get_tunnel(struct peers *p, const uint8_t id[static IDENTITY_ID_LEN],
		     const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN], struct peer *out)
{
	struct peer *peer = find(id, tunnel_id);

	(void)p;
	if (store_error)
		return store_error;
	if (!peer)
		return PEERS_E_NO_SUCH;
	*out = *peer;
	return 0;
}

int peers_root(struct peers *p, const uint8_t id[static IDENTITY_ID_LEN],
	       const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN], struct secret **root)
{
	struct peer *peer = find(id, tunnel_id);
	uint8_t bytes[32] = "a root";

	(void)p;
	assert(asking != LOGIN && daemons[asking].type == IDENTITY_TAKE_ROOT);
	if (!peer || !peer->has_root)
		return peer ? PEERS_E_NO_ROOT : PEERS_E_NO_SUCH;
	return secret_take(root, bytes, sizeof(bytes));
}

int peers_root_moved(struct peers *p, const uint8_t id[static IDENTITY_ID_LEN],
		     const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN])
{
	struct peer *peer = find(id, tunnel_id);

	(void)p;
	assert(asking != LOGIN && daemons[asking].type == IDENTITY_ROOT_STORED);
	if (store_error)
		return store_error;
	if (!peer)
		return PEERS_E_NO_SUCH;
	peer->has_root = false;
	return 0;
}

int peers_activate(struct peers *p, const uint8_t id[static IDENTITY_ID_LEN],
		   const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN])
{
	struct peer *peer = find(id, tunnel_id);

	(void)p;
	assert(asking != LOGIN && daemons[asking].type == IDENTITY_PEER_SEEN && peer);
	if (store_error)
		return store_error;
	peer->active = true;
	return 0;
}

const char *peers_outcome_text(int outcome)
{
	assert(outcome > 0);
	return "it did not work";
}

int peers_each_pairing(struct peers *p, void (*fn)(const struct peer *peer, void *arg), void *arg)
{
	(void)p;
	for (size_t i = 0; i < PEERS; i++)
		for (unsigned int n = 0; pairings[i].exists && n < copies; n++)
			fn(&pairings[i].peer, arg);
	return store_error;
}

int peers_each_root(struct peers *p, void (*fn)(const struct peer *peer, void *arg), void *arg)
{
	(void)p;
	for (size_t i = 0; i < PEERS; i++)
		if (pairings[i].exists && pairings[i].peer.has_root)
			fn(&pairings[i].peer, arg);
	return store_error;
}

/* ---- the key ---- */

/* A key that is out of reach when the store is. */
static int sign(uint8_t sig[static SIGN_LEN], const void *of, const char *context, const void *message, size_t len)
{
	(void)of;
	assert(asking < DAEMONS && len <= IDENTITY_SIGN_MAX && (len == 0 || message));
	assert(strcmp(context, asking == LOGIN ? "handfast login server" : "handfast tunnel handshake") == 0);
	if (store_error)
		return -EIO;
	memset(sig, 's', SIGN_LEN);
	signed_now = true;
	return 0;
}

/* Of the kind that is not used here. */
void sign_make(uint8_t sig[static SIGN_LEN], const struct sign_key *k, const char *context, const void *message, size_t len)
{
	(void)sig;
	(void)k;
	(void)context;
	(void)message;
	(void)len;
	abort();
}

void sign_key_public(const struct sign_key *k, struct sign_public *out)
{
	(void)k;
	(void)out;
	abort();
}

void identity_id(uint8_t out[static IDENTITY_ID_LEN], const struct sign_public *pub)
{
	memcpy(out, pub->b, IDENTITY_ID_LEN);
}

/* ---- the world ---- */

static struct identity_server *server;

static void come(unsigned int who)
{
	const struct unix_caller caller = { .uid = who == LOGIN ? LOGIN_UID : 0 };
	const struct unix_caller stranger = { .uid = LOGIN_UID + 1 };
	struct daemon *d = &daemons[who];
	size_t closed = n_closed;

	if (d->open)
		return;
	/* Whoever else comes is closed, and told nothing. */
	accept_fn(FD + (int)who, &stranger, accept_arg);
	assert(n_closed == closed + 1 && !d->io);
	memset(d, 0, offsetof(struct daemon, queue));
	d->n_queue = d->owed = d->lists = 0;
	d->open = d->reads = true;
	accept_fn(FD + (int)who, &caller, accept_arg);
	assert(d->open && (store_error || d->lists == (who != LOGIN)));
}

static void ask(struct daemon *d, const uint8_t *b, size_t len)
{
	if (!d->open || d->n_queue == QUEUE)
		return;
	memcpy(d->queue[d->n_queue].b, b, len);
	d->queue[d->n_queue++].len = len;
}

/* A request as a daemon makes it. */
static void ask_right(struct daemon *d, const struct happening *h)
{
	static const uint8_t types[] = { IDENTITY_SIGN, IDENTITY_TAKE_ROOT, IDENTITY_ROOT_STORED, IDENTITY_PEER_SEEN, IDENTITY_WHOAMI };
	uint8_t b[IDENTITY_MSG_MAX], type = types[happening_byte(h, 0) % sizeof(types)];
	const struct peer *peer = &pairings[happening_byte(h, 1) % PEERS].peer;
	struct wbuf w;

	wbuf_init(&w, b, sizeof(b));
	wbuf_u8(&w, type);
	wbuf_be32(&w, (uint32_t)happening_number(h, 2, 4));
	if (type == IDENTITY_SIGN) {
		wbuf_lv16(&w, h->data, h->len);
	} else if (type != IDENTITY_WHOAMI) {
		wbuf_put(&w, peer->id, sizeof(peer->id));
		wbuf_put(&w, peer->tunnel_id, sizeof(peer->tunnel_id));
	}
	ask(d, b, w.len);
}

static void serve(unsigned int who)
{
	struct daemon *d = &daemons[who];

	if (!d->open || d->n_queue == 0)
		return;
	asking = who;
	d->io->fn(FD + (int)who, LOOP_READ, d->io->arg);
	asking = DAEMONS;
	/* Answered, or let go. */
	assert(!d->open || d->owed == 0);
	signed_now = false;
}

static void hang_up(unsigned int who)
{
	struct daemon *d = &daemons[who];

	if (!d->open)
		return;
	d->n_queue = 0;
	ask(d, (const uint8_t *)"", 0);
	asking = who;
	d->io->fn(FD + (int)who, LOOP_READ, d->io->arg);
	asking = DAEMONS;
	assert(!d->open);
}

static void make_pairing(const struct happening *h)
{
	size_t i = happening_byte(h, 0) % PEERS, n = h->len > 3 ? h->len - 3 : 0;
	struct pairing *p = &pairings[i];

	memset(&p->peer, 0, sizeof(p->peer));
	p->exists = !(h->what & 64);
	copies = h->what & 16 ? 50 : 1;
	/* Two tunnels of each of two identities. */
	memset(p->peer.id, (int)(i / 2 + 1), sizeof(p->peer.id));
	memset(p->peer.tunnel_id, (int)(i % 2 + 1), sizeof(p->peer.tunnel_id));
	p->peer.has_root = happening_byte(h, 1) & 1;
	p->peer.active = happening_byte(h, 1) & 2;
	p->peer.own_port = 7200;
	for (size_t at = 0; at < n && at < IDENTITY_NAME_MAX; at++)
		p->peer.name[at] = (char)('a' + h->data[3 + at] % 26);
	p->peer.identity.n_candidates = happening_byte(h, 2) % (IDENTITY_CANDIDATES_MAX + 1);
	for (size_t c = 0; c < p->peer.identity.n_candidates; c++)
		strcpy(p->peer.identity.candidates[c], "192.0.2.1");
}

static void tell(const struct happening *h)
{
	const struct peer *peer = &pairings[happening_byte(h, 1) % PEERS].peer;

	switch (happening_byte(h, 0) & 3) {
	case 0:
		identity_server_tell_root(server, peer->id, peer->tunnel_id);
		break;
	case 1:
		identity_server_tell_forgotten(server, peer->id, happening_byte(h, 2) & 1 ? peer->tunnel_id : NULL);
		break;
	case 2:
		identity_server_tell_renamed(server, peer->id, peer->name);
		break;
	default:
		identity_server_tell_pairings(server);
	}
}

static void happen(const struct happening *h)
{
	unsigned int who = h->what >> 7;

	switch (h->what & 15) {
	case 0:
		ask(&daemons[who], h->data, h->len);
		break;
	case 1:
	case 2:
	case 3:
		ask_right(&daemons[who], h);
		break;
	case 4:
		come(who);
		break;
	case 5:
		hang_up(who);
		break;
	case 6:
		daemons[who].reads = h->what & 64;
		break;
	case 7:
		make_pairing(h);
		break;
	case 8:
		tell(h);
		break;
	case 9:
		store_error = h->what & 64 ? happening_byte(h, 0) & 1 ? -EIO : PEERS_E_NO_ROOT : 0;
		break;
	case 10:
		timers_pass(happening_byte(h, 0));
		break;
	default:
		serve(who);
	}
	if (h->what & 32)
		serve(who);
}

static void set_up(void)
{
	static char login[] = "handfast-auth", *users[] = { login };
	static const struct config_list list = { users, 1 };
	static struct signer signer = { .sign = sign };
	const struct identity_server_options o = { .path = "/dev/null/identity.sock", .signer = &signer, .name = "a-device",
						   .users = &list };

	memset(&signer.public_key, 'p', sizeof(signer.public_key));
	log_set_level(LOG_CRIT);
	assert(crypto_init() == 0 && identity_server_new(&server, &o) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sequence seq = { data, size };
	struct happening h;

	timers_begin(1000000);
	memset(pairings, 0, sizeof(pairings));
	store_error = 0;
	copies = 1;
	asking = DAEMONS;
	set_up();
	come(0);
	while (sequence_next(&seq, &h))
		happen(&h);
	server = identity_server_free(server);
	assert(!daemons[0].open && !daemons[1].open && n_timers == 0);
	return 0;
}
