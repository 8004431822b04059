/*
 * python-spake2's protocol around the group operations: which M and N, how a
 * password becomes a scalar, what a message looks like, what is hashed.
 * Everything that depends on the password or the scalar is in one locked block.
 */
#include "crypto/spake2.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "crypto/kdf.h"
#include "crypto/spake2_group.h"

static_assert(SPAKE2_MSG_LEN == 1 + SPAKE2_ELEMENT_LEN, "a side byte, then the element");
static_assert(SPAKE2_KEY_LEN == SHA256_LEN, "the key is a hash");

enum { ENTROPY_LEN = 64, EXPANDED_LEN = SPAKE2_SCALAR_LEN + 16 };

/*
 * Elements whose discrete logarithm nobody knows: HKDF-SHA-256 of the seed
 * ("M", "N"; no salt, info "SPAKE2 arbitrary element", 48 bytes), as a
 * big-endian number modulo 2^255 - 19 taken for y, counted up to the first point of
 * the curve, its even x, times 8. The tests derive them again.
 */
static const uint8_t element_m[SPAKE2_ELEMENT_LEN] = {
	0x15, 0xcf, 0xd1, 0x8e, 0x38, 0x59, 0x52, 0x98, 0x2b, 0x6a, 0x8f,
	0x8c, 0x78, 0x54, 0x96, 0x3b, 0x58, 0xe3, 0x43, 0x88, 0xc8, 0xe6,
	0xda, 0xe8, 0x91, 0xdb, 0x75, 0x64, 0x81, 0xa0, 0x23, 0x12,
};
static const uint8_t element_n[SPAKE2_ELEMENT_LEN] = {
	0xf0, 0x4f, 0x2e, 0x7e, 0xb7, 0x34, 0xb2, 0xa8, 0xf8, 0xb4, 0x72,
	0xea, 0xf9, 0xc3, 0xc6, 0x32, 0x57, 0x6a, 0xc6, 0x4a, 0xea, 0x65,
	0x0b, 0x49, 0x6a, 0x8a, 0x20, 0xff, 0x00, 0xe5, 0x83, 0xc3,
};

/* What is fixed for each side. */
static const struct side {
	uint8_t byte, peer_byte;
	const uint8_t *blind, *peer_blind;
} sides[] = {
	[SPAKE2_A] = { 'A', 'B', element_m, element_n },
	[SPAKE2_B] = { 'B', 'A', element_n, element_m },
};

struct keys {
	uint8_t x[SPAKE2_SCALAR_LEN];
	uint8_t w[SPAKE2_SCALAR_LEN];
	uint8_t expanded[ENTROPY_LEN];
	/* H(password) H(idA) H(idB) X Y K, in this order. */
	struct {
		uint8_t password[SHA256_LEN];
		uint8_t id_a[SHA256_LEN];
		uint8_t id_b[SHA256_LEN];
		uint8_t x_share[SPAKE2_ELEMENT_LEN];
		uint8_t y_share[SPAKE2_ELEMENT_LEN];
		uint8_t k[SPAKE2_ELEMENT_LEN];
	} transcript;
};

struct spake2 {
	const struct side *side;
	bool finished;
	struct secret *memory;
	struct keys *keys; /* in memory */
	uint8_t share[SPAKE2_ELEMENT_LEN];
};

/* 48 bytes for a 252-bit group, so that the reduction's bias does not matter. */
static void password_to_scalar(struct keys *k, const uint8_t *password, size_t len)
{
	static const char info[] = "SPAKE2 pw";

	memset(k->expanded, 0, sizeof(k->expanded));
	hkdf_sha256(k->expanded + ENTROPY_LEN - EXPANDED_LEN, EXPANDED_LEN, NULL, 0, password, len,
		    info, sizeof(info) - 1);
	spake2_group_reduce(k->w, k->expanded);
}

int spake2_new_seeded(struct spake2 **out, enum spake2_side side, const uint8_t *password,
		      size_t password_len, const void *id_a, size_t id_a_len, const void *id_b,
		      size_t id_b_len, const uint8_t seed[static 64])
{
	_cleanup_(spake2_freep) struct spake2 *s = NULL;
	uint8_t *bytes;
	int r;

	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	r = secret_new(&s->memory, sizeof(*s->keys), &bytes);
	if (r)
		return r;
	s->side = &sides[side];
	s->keys = (struct keys *)(void *)bytes;

	spake2_group_reduce(s->keys->x, seed);
	password_to_scalar(s->keys, password, password_len);
	r = spake2_group_share(s->share, s->keys->x, s->keys->w, s->side->blind);
	if (r)
		return err_fold(r);

	sha256(s->keys->transcript.password, password, password_len);
	sha256(s->keys->transcript.id_a, id_a, id_a_len);
	sha256(s->keys->transcript.id_b, id_b, id_b_len);
	*out = steal(&s);
	return 0;
}

int spake2_new(struct spake2 **out, enum spake2_side side, const uint8_t *password,
	       size_t password_len, const void *id_a, size_t id_a_len, const void *id_b,
	       size_t id_b_len)
{
	uint8_t seed[ENTROPY_LEN];
	int r;

	random_bytes(seed, sizeof(seed));
	r = spake2_new_seeded(out, side, password, password_len, id_a, id_a_len, id_b, id_b_len,
			      seed);
	wipe(seed, sizeof(seed));
	return r;
}

void spake2_message(const struct spake2 *s, uint8_t out[static SPAKE2_MSG_LEN])
{
	out[0] = s->side->byte;
	memcpy(out + 1, s->share, sizeof(s->share));
}

int spake2_finish(struct spake2 *s, struct secret **key, const uint8_t *msg, size_t len)
{
	_cleanup_(secret_freep) struct secret *result = NULL;
	const uint8_t *theirs;
	struct keys *k = s->keys;
	bool is_a = s->side == &sides[SPAKE2_A];
	uint8_t *bytes;
	int r;

	if (s->finished)
		return SPAKE2_E_BAD_MESSAGE;
	s->finished = true;

	if (len != SPAKE2_MSG_LEN || msg[0] != s->side->peer_byte)
		return SPAKE2_E_BAD_MESSAGE;
	theirs = msg + 1;
	if (bytes_equal(theirs, s->share, sizeof(s->share)))
		return SPAKE2_E_BAD_MESSAGE;

	r = secret_new(&result, SPAKE2_KEY_LEN, &bytes);
	if (r)
		return r;
	r = spake2_group_agree(k->transcript.k, k->x, k->w, theirs, s->side->peer_blind);
	if (r == SPAKE2_GROUP_E_BAD_ELEMENT)
		return SPAKE2_E_BAD_MESSAGE;
	if (r)
		return err_fold(r);

	memcpy(k->transcript.x_share, is_a ? s->share : theirs, SPAKE2_ELEMENT_LEN);
	memcpy(k->transcript.y_share, is_a ? theirs : s->share, SPAKE2_ELEMENT_LEN);
	sha256(bytes, &k->transcript, sizeof(k->transcript));
	*key = steal(&result);
	return 0;
}

struct spake2 *spake2_free(struct spake2 *s)
{
	if (!s)
		return NULL;
	secret_free(s->memory);
	free(s);
	return NULL;
}
