/*
 * Session keys lie in locked memory of their own. The receiving half is a ring
 * of as many slots as the window and the slots ahead of it can need, so that a
 * packet's slot is found by its number, without a search.
 */
#include "pskd/handshake/session.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"

#define INFO "handfast psk2 session"
#define TX_SLOTS 2

struct half {
	uint64_t slot_plus_1; /* 0: empty */
	struct slot_key key;
};

struct session_keys {
	struct secret *memory; /* holds the halves */
	struct half *tx, *rx;
	size_t n_rx;
	uint8_t tx_direction;
};

int session_new(struct session **out, const struct session_id *id, enum keys_role own_role,
		size_t rx_slots)
{
	_cleanup_(session_freep) struct session *s = NULL;
	uint8_t *bytes;
	int r;

	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->keys = calloc(1, sizeof(*s->keys));
	if (!s->keys)
		return -ENOMEM;
	/* Whole halves from the start of a page-aligned block: no half is misaligned. */
	r = secret_new(&s->keys->memory, (TX_SLOTS + rx_slots) * sizeof(struct half), &bytes);
	if (r)
		return err_fold(r);
	assert((uintptr_t)bytes % _Alignof(struct half) == 0);
	s->keys->tx = (struct half *)(void *)bytes;
	s->keys->rx = s->keys->tx + TX_SLOTS;
	s->keys->n_rx = rx_slots;
	s->keys->tx_direction = own_role == KEYS_INITIATOR ? PSK2_FROM_INITIATOR : PSK2_FROM_RESPONDER;
	s->plain = !id;
	if (id)
		s->id = *id;
	s->created_ms = clock_now_ms();
	*out = steal(&s);
	return 0;
}

struct session *session_free(struct session *s)
{
	if (!s)
		return NULL;
	if (s->keys)
		secret_free(s->keys->memory);
	free(s->keys);
	free(s);
	return NULL;
}

static void derive(const struct session *s, struct half *h, uint64_t slot, uint8_t direction,
		   const struct slot_key *from)
{
	uint8_t salt[2 * PSKH_NONCE_LEN], info[sizeof(INFO) - 1 + 1 + 2 * PSKH_IDENTITY_LEN];
	struct wbuf w;

	h->key = *from;
	h->slot_plus_1 = slot + 1;
	if (s->plain)
		return;
	memcpy(salt, s->id.nonce_a, PSKH_NONCE_LEN);
	memcpy(salt + PSKH_NONCE_LEN, s->id.nonce_b, PSKH_NONCE_LEN);
	wbuf_init(&w, info, sizeof(info));
	wbuf_put(&w, INFO, sizeof(INFO) - 1);
	wbuf_u8(&w, direction);
	wbuf_put(&w, s->id.identity_a, PSKH_IDENTITY_LEN);
	wbuf_put(&w, s->id.identity_b, PSKH_IDENTITY_LEN);
	hkdf_sha256(h->key.key, sizeof(h->key.key), salt, sizeof(salt), from->key,
		    sizeof(from->key), info, w.len);
}

const struct slot_key *session_tx(struct session *s, uint64_t slot, const struct slot_key *from)
{
	struct half *h = &s->keys->tx[slot % TX_SLOTS];

	if (h->slot_plus_1 != slot + 1)
		derive(s, h, slot, s->keys->tx_direction, from);
	return &h->key;
}

const uint8_t *session_own_tag(const struct session *s, uint64_t slot)
{
	const struct half *h = &s->keys->tx[slot % TX_SLOTS];

	return h->slot_plus_1 == slot + 1 ? h->key.tag : NULL;
}

const struct slot_key *session_rx(const struct session *s, uint64_t slot)
{
	const struct half *h = &s->keys->rx[slot % s->keys->n_rx];

	return h->slot_plus_1 == slot + 1 ? &h->key : NULL;
}

void session_prepare_rx(struct session *s, const struct keys *k, uint64_t first, uint64_t last)
{
	uint8_t direction = s->keys->tx_direction ^ 1;

	if (last - first >= s->keys->n_rx)
		first = last - s->keys->n_rx + 1;
	for (uint64_t slot = first; slot <= last; slot++) {
		struct half *h = &s->keys->rx[slot % s->keys->n_rx];
		const struct slot_key *from;

		if (h->slot_plus_1 == slot + 1)
			continue;
		from = keys_rx_slot(k, slot);
		if (from)
			derive(s, h, slot, direction, from);
	}
}
