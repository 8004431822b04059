/*
 * libsodium's AEAD makes nine calls for a packet: a stream block for the
 * Poly1305 key, six updates, a final, a stream over the text. One stream call
 * whose input is 64 zero bytes and then the packet gives key and ciphertext
 * together (RFC 8439 section 2.6: block 0 is the key's, the text starts at
 * block 1), and one Poly1305 call does when everything that it covers lies in
 * one piece (section 2.8: header, ciphertext, padding, lengths; a 32-byte
 * header needs no padding of its own). Measured on whole tunnels this is worth
 * a third more throughput. The pieces that are in the way are set aside first.
 *
 * Opening takes three calls, since nothing may be decrypted before it is
 * verified.
 */
#include "crypto/bulk.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <sodium.h>

#include "crypto/secret.h"

enum { BLOCK_LEN = 64, POLY_KEY_LEN = 32, LENGTHS_LEN = 16 };

static_assert(BULK_ROOM + BULK_HEADER_LEN == BLOCK_LEN, "room and header hold block 0");
static_assert(BULK_ROOM >= 15 + LENGTHS_LEN, "padding and lengths fit behind the packet");
static_assert(BULK_HEADER_LEN % 16 == 0, "the header needs no padding");

static void le64_store(uint8_t *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

/* RFC 8439 section 2.8: pad the ciphertext to 16, append both lengths. Returns the length of all that is covered. */
static size_t lay_trailer(uint8_t *header, size_t len)
{
	uint8_t *end = header + BULK_HEADER_LEN + len;
	size_t pad = -len % 16;

	memset(end, 0, pad);
	le64_store(end + pad, BULK_HEADER_LEN);
	le64_store(end + pad + 8, len);
	return BULK_HEADER_LEN + len + pad + LENGTHS_LEN;
}

void bulk_seal(uint8_t *header, size_t len, const uint8_t nonce[static AEAD_NONCE_LEN],
	       const uint8_t key[static AEAD_KEY_LEN])
{
	uint8_t *block = header - BULK_ROOM, *end = header + BULK_HEADER_LEN + len;
	uint8_t saved[BLOCK_LEN], after[BULK_ROOM], poly_key[POLY_KEY_LEN], tag[AEAD_TAG_LEN];

	memcpy(saved, block, BLOCK_LEN);
	memcpy(after, end, BULK_ROOM);

	memset(block, 0, BLOCK_LEN);
	crypto_stream_chacha20_ietf_xor(block, block, BLOCK_LEN + len, nonce, key);
	memcpy(poly_key, block, POLY_KEY_LEN);
	/* The unused half of block 0 goes here, too. */
	memcpy(block, saved, BLOCK_LEN);

	crypto_onetimeauth_poly1305(tag, header, lay_trailer(header, len), poly_key);
	wipe(poly_key, sizeof(poly_key));

	memcpy(end, tag, AEAD_TAG_LEN);
	memcpy(end + AEAD_TAG_LEN, after + AEAD_TAG_LEN, BULK_ROOM - AEAD_TAG_LEN);
}

int bulk_open(uint8_t *header, size_t len, const uint8_t nonce[static AEAD_NONCE_LEN],
	      const uint8_t key[static AEAD_KEY_LEN])
{
	uint8_t *packet = header + BULK_HEADER_LEN, *end = packet + len;
	uint8_t after[BULK_ROOM], poly_key[POLY_KEY_LEN];
	int bad;

	memcpy(after, end, BULK_ROOM);
	crypto_stream_chacha20_ietf(poly_key, sizeof(poly_key), nonce, key);
	bad = crypto_onetimeauth_poly1305_verify(after, header, lay_trailer(header, len), poly_key);
	wipe(poly_key, sizeof(poly_key));
	memcpy(end, after, BULK_ROOM);
	if (bad)
		return -EBADMSG;

	crypto_stream_chacha20_ietf_xor_ic(packet, packet, len, nonce, 1, key);
	return 0;
}
