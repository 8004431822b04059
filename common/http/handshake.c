/*
 * What both sides of the WebSocket handshake share. The accept value is made
 * with SHA-1 (RFC 3174), which RFC 6455 prescribes to prove that the server
 * speaks WebSocket; nothing's safety rests on it. libsodium has no SHA-1, and
 * linking a second cryptographic library into every server for 28 characters
 * would cost more than these lines.
 */
#include "http/websocket_transport.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/base64.h"
#include "base/bytes.h"

static uint32_t rotate(uint32_t v, int n)
{
	return v << n | v >> (32 - n);
}

static void sha1_block(uint32_t h[5], const uint8_t block[64])
{
	uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];

	for (size_t i = 0; i < 16; i++)
		w[i] = be32_load(block + 4 * i);
	for (size_t i = 16; i < 80; i++)
		w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
	for (size_t i = 0; i < 80; i++) {
		uint32_t f, k, t;

		if (i < 20) {
			f = (b & c) | (~b & d);
			k = 0x5a827999;
		} else if (i < 40) {
			f = b ^ c ^ d;
			k = 0x6ed9eba1;
		} else if (i < 60) {
			f = (b & c) | (b & d) | (c & d);
			k = 0x8f1bbcdc;
		} else {
			f = b ^ c ^ d;
			k = 0xca62c1d6;
		}
		t = rotate(a, 5) + f + e + k + w[i];
		e = d;
		d = c;
		c = rotate(b, 30);
		b = a;
		a = t;
	}
	h[0] += a;
	h[1] += b;
	h[2] += c;
	h[3] += d;
	h[4] += e;
}

/* For messages of at most 119 bytes: two blocks. */
static void sha1_short(uint8_t out[20], const uint8_t *data, size_t len)
{
	uint32_t h[5] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 };
	uint8_t block[128] = { 0 };
	size_t blocks = len < 56 ? 1 : 2;

	assert(len < 120);
	memcpy(block, data, len);
	block[len] = 0x80;
	be64_store(block + 64 * blocks - 8, len * 8);
	for (size_t i = 0; i < blocks; i++)
		sha1_block(h, block + 64 * i);
	for (size_t i = 0; i < 5; i++)
		be32_store(out + 4 * i, h[i]);
}

void websocket_accept_value(char out[static WEBSOCKET_ACCEPT_SPACE], const char *key)
{
	/* RFC 6455 section 1.3 */
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	uint8_t text[64 + sizeof(guid)], digest[20];
	size_t len = strlen(key);

	assert(len <= 64);
	memcpy(text, key, len);
	memcpy(text + len, guid, sizeof(guid) - 1);
	sha1_short(digest, text, len + sizeof(guid) - 1);
	static_assert(BASE64_SPACE(sizeof(digest)) == WEBSOCKET_ACCEPT_SPACE, "room for the value");
	base64_encode(out, digest, sizeof(digest), BASE64_STANDARD);
}

bool websocket_header_has(const char *value, const char *token)
{
	size_t len = strlen(token);

	while (value && *value) {
		value += strspn(value, " \t,");
		if (strncasecmp(value, token, len) == 0 && strchr(" \t,", value[len]))
			return true;
		value += strcspn(value, ",");
	}
	return false;
}
