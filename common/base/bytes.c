/* Bounded buffers: an error sticks, so that callers check once, at the end. */
#include "base/bytes.h"

#include <errno.h>

void wbuf_init(struct wbuf *w, void *base, size_t cap)
{
	*w = (struct wbuf){ .base = base, .cap = cap };
}

bool wbuf_ok(const struct wbuf *w)
{
	return !w->overflow;
}

/* Room for len more bytes, or NULL. */
static uint8_t *wbuf_reserve(struct wbuf *w, size_t len)
{
	uint8_t *at;

	if (w->overflow || len > w->cap - w->len) {
		w->overflow = true;
		return NULL;
	}
	at = w->base + w->len;
	w->len += len;
	return at;
}

void wbuf_put(struct wbuf *w, const void *data, size_t len)
{
	uint8_t *at;

	/* An empty field may come with a NULL pointer, which memcpy must not see. */
	if (len == 0)
		return;
	at = wbuf_reserve(w, len);
	if (at)
		memcpy(at, data, len);
}

void wbuf_u8(struct wbuf *w, uint8_t v)
{
	wbuf_put(w, &v, 1);
}

void wbuf_be16(struct wbuf *w, uint16_t v)
{
	uint8_t b[2];

	be16_store(b, v);
	wbuf_put(w, b, sizeof(b));
}

void wbuf_be32(struct wbuf *w, uint32_t v)
{
	uint8_t b[4];

	be32_store(b, v);
	wbuf_put(w, b, sizeof(b));
}

void wbuf_be64(struct wbuf *w, uint64_t v)
{
	uint8_t b[8];

	be64_store(b, v);
	wbuf_put(w, b, sizeof(b));
}

void wbuf_lv16(struct wbuf *w, const void *data, size_t len)
{
	if (len > UINT16_MAX) {
		w->overflow = true;
		return;
	}
	wbuf_be16(w, (uint16_t)len);
	wbuf_put(w, data, len);
}

void rbuf_init(struct rbuf *r, const void *base, size_t len)
{
	*r = (struct rbuf){ .p = base, .left = len };
}

bool rbuf_ok(const struct rbuf *r)
{
	return !r->underflow;
}

bool rbuf_done(const struct rbuf *r)
{
	return !r->underflow && r->left == 0;
}

const uint8_t *rbuf_view(struct rbuf *r, size_t len)
{
	static const uint8_t nothing[1];
	const uint8_t *at = r->p ? r->p : nothing;

	if (r->underflow || len > r->left) {
		r->underflow = true;
		return NULL;
	}
	r->left -= len;
	if (len)
		r->p += len;
	return at;
}

void rbuf_get(struct rbuf *r, void *out, size_t len)
{
	const uint8_t *at;

	if (len == 0)
		return;
	at = rbuf_view(r, len);
	if (at)
		memcpy(out, at, len);
	else
		memset(out, 0, len);
}

uint8_t rbuf_u8(struct rbuf *r)
{
	uint8_t b[1];

	rbuf_get(r, b, sizeof(b));
	return b[0];
}

uint16_t rbuf_be16(struct rbuf *r)
{
	uint8_t b[2];

	rbuf_get(r, b, sizeof(b));
	return be16_load(b);
}

uint32_t rbuf_be32(struct rbuf *r)
{
	uint8_t b[4];

	rbuf_get(r, b, sizeof(b));
	return be32_load(b);
}

uint64_t rbuf_be64(struct rbuf *r)
{
	uint8_t b[8];

	rbuf_get(r, b, sizeof(b));
	return be64_load(b);
}

const uint8_t *rbuf_lv16(struct rbuf *r, size_t *len)
{
	size_t want = rbuf_be16(r);
	const uint8_t *at = rbuf_view(r, want);

	*len = at ? want : 0;
	return at;
}

/*
 * Digits are computed, not looked up or compared one by one, as in base64.c:
 * tickets are written this way, too.
 */

/* All ones when lo <= c <= hi, else 0; for c below 2^31. */
static unsigned int in_range(unsigned int c, unsigned int lo, unsigned int hi)
{
	return ((c - lo) >> 31 | (hi - c) >> 31) - 1U;
}

static char hex_encode(unsigned int v)
{
	return (char)(v + '0' + (in_range(v, 10, 15) & ('a' - '0' - 10)));
}

/* The digit's value; bit 8 is set when c is none. */
static unsigned int hex_decode(unsigned char c)
{
	unsigned int number = in_range(c, '0', '9'), upper = in_range(c, 'A', 'F'), lower = in_range(c, 'a', 'f');

	return (number & (c - '0')) | (upper & (c - 'A' + 10U)) | (lower & (c - 'a' + 10U)) |
	       (~(number | upper | lower) & 0x100U);
}

void hex_format(char *out, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++) {
		*out++ = hex_encode(p[i] >> 4);
		*out++ = hex_encode(p[i] & 15U);
	}
	*out = '\0';
}

int hex_parse(uint8_t *out, size_t len, const char *hex)
{
	unsigned int bad = 0;

	if (strnlen(hex, 2 * len + 1) != 2 * len)
		return -EINVAL;
	for (size_t i = 0; i < 2 * len; i++)
		bad |= hex_decode((unsigned char)hex[i]);
	if (bad >> 8)
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(hex_decode((unsigned char)hex[2 * i]) << 4 |
				   hex_decode((unsigned char)hex[2 * i + 1]));
	return 0;
}
