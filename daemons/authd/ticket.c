/* Used ones are remembered for as long as they would be good. */
#include "authd/ticket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "authd/replay.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "crypto/secret.h"

#define CONTEXT "authd login"

/* Finished logins within the life of a ticket. */
enum { USED_MAX = 1 << 20 };

struct tickets {
	struct seal_key *key;
	struct replay *used;
	uint64_t ttl_ms, number;
};

int tickets_new(struct tickets **out, uint64_t ttl_ms)
{
	_cleanup_(tickets_freep) struct tickets *t = calloc(1, sizeof(*t));
	_cleanup_(secret_freep) struct secret *master = NULL;
	int r;

	if (!t)
		return -ENOMEM;
	t->ttl_ms = ttl_ms;
	r = secret_random(&master, 32);
	if (!r)
		r = seal_key_new(&t->key, master, CONTEXT);
	if (!r)
		r = replay_new(&t->used, USED_MAX, USED_MAX, ttl_ms);
	if (r)
		return r;
	*out = steal(&t);
	return 0;
}

struct tickets *tickets_free(struct tickets *t)
{
	if (!t)
		return NULL;
	seal_key_free(t->key);
	replay_free(t->used);
	free(t);
	return NULL;
}

void tickets_set_ttl(struct tickets *t, uint64_t ttl_ms)
{
	t->ttl_ms = ttl_ms;
	/* Those out there live as long as they were made for. */
	if (ttl_ms > replay_interval(t->used))
		replay_set_limits(t->used, USED_MAX, USED_MAX, ttl_ms);
}

void ticket_seal(struct tickets *t, char out[static TICKET_SPACE], const struct ticket *in)
{
	uint8_t plain[TICKET_LEN], sealed[TICKET_LEN + SEAL_EXTRA];
	struct wbuf w;

	wbuf_init(&w, plain, sizeof(plain));
	wbuf_be64(&w, t->number++);
	wbuf_be64(&w, clock_now_ms() + t->ttl_ms);
	wbuf_be64(&w, (uint64_t)in->user);
	wbuf_be64(&w, (uint64_t)in->version);
	wbuf_put(&w, in->name, sizeof(in->name));
	wbuf_u8(&w, in->address.family);
	wbuf_put(&w, in->address.b, sizeof(in->address.b));
	wbuf_put(&w, in->login_state, sizeof(in->login_state));
	seal_make(sealed, plain, sizeof(plain), CONTEXT, sizeof(CONTEXT) - 1, t->key);
	base64_encode(out, sealed, sizeof(sealed), BASE64_URL);
	wipe(plain, sizeof(plain));
}

static int read_plain(struct tickets *t, struct ticket *out, const uint8_t *plain)
{
	uint64_t expires;
	struct rbuf b;
	int r;

	rbuf_init(&b, plain, TICKET_LEN);
	(void)rbuf_be64(&b);
	expires = rbuf_be64(&b);
	if (clock_now_ms() >= expires)
		return TICKET_E_EXPIRED;
	r = replay_add(t->used, 0, plain, 8, 0);
	if (r)
		return r == REPLAY_E_SEEN ? TICKET_E_USED : r == REPLAY_E_FULL ? TICKET_E_FULL : r;
	out->user = (int64_t)rbuf_be64(&b);
	out->version = (int64_t)rbuf_be64(&b);
	rbuf_get(&b, out->name, sizeof(out->name));
	out->address.family = rbuf_u8(&b);
	rbuf_get(&b, out->address.b, sizeof(out->address.b));
	rbuf_get(&b, out->login_state, sizeof(out->login_state));
	return 0;
}

int ticket_open(struct tickets *t, struct ticket *out, const char *text)
{
	uint8_t sealed[TICKET_LEN + SEAL_EXTRA], plain[TICKET_LEN];
	int r;

	if (base64_decode_exact(sealed, sizeof(sealed), text, BASE64_URL) ||
	    seal_open(plain, sealed, sizeof(sealed), CONTEXT, sizeof(CONTEXT) - 1, t->key))
		return TICKET_E_BAD;
	r = read_plain(t, out, plain);
	wipe(plain, sizeof(plain));
	return r;
}
