/* Byte order, hex, and bounded readers and writers over byte buffers. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void be16_store(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void be32_store(uint8_t *p, uint32_t v)
{
	be16_store(p, (uint16_t)(v >> 16));
	be16_store(p + 2, (uint16_t)v);
}

static inline void be64_store(uint8_t *p, uint64_t v)
{
	be32_store(p, (uint32_t)(v >> 32));
	be32_store(p + 4, (uint32_t)v);
}

static inline uint16_t be16_load(const uint8_t *p)
{
	return (uint16_t)((uint16_t)(p[0] << 8) | p[1]);
}

static inline uint32_t be32_load(const uint8_t *p)
{
	return ((uint32_t)be16_load(p) << 16) | be16_load(p + 2);
}

static inline uint64_t be64_load(const uint8_t *p)
{
	return ((uint64_t)be32_load(p) << 32) | be32_load(p + 4);
}

/*
 * Writer over a caller's buffer. Overflow is sticky: put what you like, then
 * check wbuf_ok() once.
 */
struct wbuf {
	uint8_t *base;
	size_t cap;
	size_t len;
	bool overflow;
};

void wbuf_init(struct wbuf *w, void *base, size_t cap);
bool wbuf_ok(const struct wbuf *w);
void wbuf_put(struct wbuf *w, const void *data, size_t len);
void wbuf_u8(struct wbuf *w, uint8_t v);
void wbuf_be16(struct wbuf *w, uint16_t v);
void wbuf_be32(struct wbuf *w, uint32_t v);
void wbuf_be64(struct wbuf *w, uint64_t v);
/* A 16-bit big-endian length, then the bytes. len > 65535 is an overflow. */
void wbuf_lv16(struct wbuf *w, const void *data, size_t len);

/* Reader; reading past the end is sticky, gives zeros, and shows in rbuf_ok(). */
struct rbuf {
	const uint8_t *p;
	size_t left;
	bool underflow;
};

void rbuf_init(struct rbuf *r, const void *base, size_t len);
bool rbuf_ok(const struct rbuf *r);
/* True when everything was read and nothing was missing. */
bool rbuf_done(const struct rbuf *r);
void rbuf_get(struct rbuf *r, void *out, size_t len);
uint8_t rbuf_u8(struct rbuf *r);
uint16_t rbuf_be16(struct rbuf *r);
uint32_t rbuf_be32(struct rbuf *r);
uint64_t rbuf_be64(struct rbuf *r);
/* A view of the next len bytes inside the buffer, or NULL on underflow. */
const uint8_t *rbuf_view(struct rbuf *r, size_t len);
/* A 16-bit length and a view of that many bytes; NULL on underflow. *len is 0 then. */
const uint8_t *rbuf_lv16(struct rbuf *r, size_t *len);

/* Lower-case hex into out, which has room for 2 * len + 1 bytes. Both in time that depends on len alone. */
void hex_format(char *out, const void *data, size_t len);
/* Parse exactly 2 * len hex digits and the end of the string. 0 or -EINVAL. */
int hex_parse(uint8_t *out, size_t len, const char *hex);
