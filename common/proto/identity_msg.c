/* The body that TAKE_ROOT gives, in the order of the struct; texts are lv16. */
#include "proto/identity_msg.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/text.h"

void identity_root_wipe(struct identity_root *r)
{
	wipe(r, sizeof(*r));
}

static void put_text(struct wbuf *w, const char *s, size_t cap)
{
	wbuf_lv16(w, s, strnlen(s, cap));
}

ssize_t identity_root_encode(uint8_t *out, size_t cap, const struct identity_root *r)
{
	struct wbuf w;

	if (r->n_candidates > IDENTITY_CANDIDATES_MAX)
		return -EMSGSIZE;

	wbuf_init(&w, out, cap);
	wbuf_put(&w, r->peer_id, sizeof(r->peer_id));
	put_text(&w, r->peer_name, sizeof(r->peer_name));
	wbuf_u8(&w, r->role);
	wbuf_put(&w, r->own_public.b, sizeof(r->own_public.b));
	wbuf_put(&w, r->peer_public.b, sizeof(r->peer_public.b));
	wbuf_put(&w, r->tunnel_id, sizeof(r->tunnel_id));
	wbuf_put(&w, r->root, sizeof(r->root));
	wbuf_be16(&w, r->own_port);
	wbuf_be16(&w, r->peer_port);
	wbuf_u8(&w, (uint8_t)r->n_candidates);
	for (size_t i = 0; i < r->n_candidates; i++)
		put_text(&w, r->candidates[i], sizeof(r->candidates[i]));
	return wbuf_ok(&w) ? (ssize_t)w.len : -EMSGSIZE;
}

/* Read text of 1 to cap - 1 bytes, NUL-terminated in out; a NUL inside is refused. */
static bool get_text(struct rbuf *r, char *out, size_t cap)
{
	const uint8_t *p;
	size_t len;

	p = rbuf_lv16(r, &len);
	if (!p || len == 0 || len >= cap || memchr(p, 0, len))
		return false;
	memcpy(out, p, len);
	out[len] = '\0';
	return true;
}

static bool candidate_is_plain(const char *s)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789.:-_%[]";

	return s[strspn(s, allowed)] == '\0';
}

static bool get_root(struct rbuf *b, struct identity_root *r)
{
	rbuf_get(b, r->peer_id, sizeof(r->peer_id));
	if (!get_text(b, r->peer_name, sizeof(r->peer_name)))
		return false;
	r->role = rbuf_u8(b);
	rbuf_get(b, r->own_public.b, sizeof(r->own_public.b));
	rbuf_get(b, r->peer_public.b, sizeof(r->peer_public.b));
	rbuf_get(b, r->tunnel_id, sizeof(r->tunnel_id));
	rbuf_get(b, r->root, sizeof(r->root));
	r->own_port = rbuf_be16(b);
	r->peer_port = rbuf_be16(b);
	r->n_candidates = rbuf_u8(b);
	if (r->n_candidates > IDENTITY_CANDIDATES_MAX)
		return false;
	for (size_t i = 0; i < r->n_candidates; i++)
		if (!get_text(b, r->candidates[i], sizeof(r->candidates[i])) ||
		    !candidate_is_plain(r->candidates[i]))
			return false;
	return rbuf_done(b);
}

static bool root_is_sound(const struct identity_root *r)
{
	uint8_t id[IDENTITY_ID_LEN];

	identity_id(id, &r->peer_public);
	return text_is_name(r->peer_name) && r->role <= IDENTITY_BOB &&
	       memcmp(id, r->peer_id, sizeof(id)) == 0 &&
	       memcmp(r->own_public.b, r->peer_public.b, SIGN_PUBLIC_LEN) != 0 &&
	       r->own_port != 0 && r->peer_port != 0;
}

int identity_root_decode(struct identity_root *out, const uint8_t *in, size_t len)
{
	struct rbuf b;

	memset(out, 0, sizeof(*out));
	rbuf_init(&b, in, len);
	if (!get_root(&b, out) || !root_is_sound(out)) {
		identity_root_wipe(out);
		return -EBADMSG;
	}
	return 0;
}
