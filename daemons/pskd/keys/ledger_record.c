/*
 * One record as its block holds it: handfast-ledger(5). Pure, but for the key that the secrets in it
 * are sealed under.
 */
#include "pskd/keys/ledger.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/kdf.h"
#include "crypto/seal.h"
#include "crypto/secret.h"
#include "pskd/keys/keys.h"

static const char magic[] = "handfast ledger\n";

enum {
	MAGIC_LEN = sizeof(magic) - 1,
	SUM_AT = LEDGER_BLOCK_LEN - SHA256_LEN,
	/* hello_key and the two chains, in this order, when they are sealed */
	SECRETS_LEN = 32 + 32 + 32,
	FLAG_SEALED = 1,
	FLAG_RESTORED = 2,
};

static const struct seal_key *state_key;

void ledger_use_key(const struct seal_key *key)
{
	state_key = key;
}

bool ledger_has_key(void)
{
	return state_key != NULL;
}

/* After the clear part: the key's id, and what seal_make() gives, bound to all before it. */
static void seal_secrets(struct wbuf *w, const struct ledger_record *r, const struct seal_key *key)
{
	uint8_t secrets[SECRETS_LEN], sealed[SECRETS_LEN + SEAL_EXTRA];

	memcpy(secrets, r->hello_key, 32);
	memcpy(secrets + 32, r->tx_chain, 32);
	memcpy(secrets + 64, r->rx_chain, 32);
	wbuf_put(w, seal_key_id(key), SEAL_ID_LEN);
	seal_make(sealed, secrets, sizeof(secrets), w->base, w->len, key);
	wipe(secrets, sizeof(secrets));
	wbuf_put(w, sealed, sizeof(sealed));
}

static int open_secrets(struct ledger_record *r, const uint8_t *block, struct rbuf *b)
{
	uint8_t id[SEAL_ID_LEN], secrets[SECRETS_LEN];
	const uint8_t *sealed;
	size_t clear;

	rbuf_get(b, id, sizeof(id));
	clear = (size_t)(b->p - block);
	sealed = rbuf_view(b, SECRETS_LEN + SEAL_EXTRA);
	if (!state_key || !sealed)
		return LEDGER_E_SEALED;
	if (memcmp(id, seal_key_id(state_key), sizeof(id)) != 0)
		return LEDGER_E_OTHER_KEY;
	if (seal_open(secrets, sealed, SECRETS_LEN + SEAL_EXTRA, block, clear, state_key))
		return LEDGER_E_BROKEN;
	memcpy(r->hello_key, secrets, 32);
	memcpy(r->tx_chain, secrets + 32, 32);
	memcpy(r->rx_chain, secrets + 64, 32);
	wipe(secrets, sizeof(secrets));
	return 0;
}

static void encode(uint8_t block[static LEDGER_BLOCK_LEN], const struct ledger_record *r,
		   const struct seal_key *key)
{
	static const uint8_t zeros[32];
	uint8_t flags = (uint8_t)((key ? FLAG_SEALED : 0) | (r->restored ? FLAG_RESTORED : 0));
	struct wbuf w;

	memset(block, 0, LEDGER_BLOCK_LEN);
	wbuf_init(&w, block, SUM_AT);
	wbuf_put(&w, magic, MAGIC_LEN);
	/* What an older handfast can read, it may. */
	wbuf_be32(&w, flags ? LEDGER_VERSION : 1);
	wbuf_be64(&w, r->generation);
	wbuf_u8(&w, r->kind);
	wbuf_u8(&w, r->role);
	wbuf_u8(&w, r->handshaken);
	wbuf_u8(&w, flags);
	wbuf_put(&w, r->fingerprint, sizeof(r->fingerprint));
	wbuf_put(&w, r->tunnel_id, sizeof(r->tunnel_id));
	wbuf_put(&w, key ? zeros : r->hello_key, 32);
	wbuf_be64(&w, r->slots_total);
	wbuf_put(&w, r->table_sum, sizeof(r->table_sum));
	wbuf_be64(&w, r->tx_next);
	wbuf_be64(&w, r->tx_reserved);
	wbuf_be32(&w, r->tx_limit);
	wbuf_be64(&w, r->rx_high);
	wbuf_be64(&w, r->rx_mark);
	wbuf_be32(&w, r->rx_limit);
	wbuf_be64(&w, r->erase_to);
	wbuf_be64(&w, r->erased);
	wbuf_put(&w, r->edge_sum, sizeof(r->edge_sum));
	wbuf_put(&w, key ? zeros : r->tx_chain, 32);
	wbuf_put(&w, key ? zeros : r->rx_chain, 32);
	if (key)
		seal_secrets(&w, r, key);
	assert(wbuf_ok(&w));
	sha256(block + SUM_AT, block, SUM_AT);
}

void ledger_encode(uint8_t block[static LEDGER_BLOCK_LEN], const struct ledger_record *r)
{
	encode(block, r, state_key);
}

void ledger_encode_plain(uint8_t block[static LEDGER_BLOCK_LEN], const struct ledger_record *r)
{
	encode(block, r, NULL);
}

/* A checksum is no signature: what a record claims must also make sense. */
static bool record_is_sane(const struct ledger_record *r)
{
	uint64_t end = r->slots_total ? r->slots_total * SLOT_PACKETS : LEDGER_SEQ_MAX;

	if (r->kind != LEDGER_FILE && r->kind != LEDGER_ROOT)
		return false;
	if (r->role != KEYS_INITIATOR && r->role != KEYS_RESPONDER)
		return false;
	if ((r->kind == LEDGER_FILE) != (r->slots_total > 0) ||
	    r->slots_total > LEDGER_SEQ_MAX / SLOT_PACKETS)
		return false;
	if (r->tx_next > r->tx_reserved || r->tx_reserved > end)
		return false;
	if (r->tx_limit == 0 || r->tx_limit > LEDGER_TX_LIMIT_MAX || r->rx_limit > LEDGER_RX_LIMIT_MAX)
		return false;
	if (r->rx_mark > end)
		return false;
	if (r->rx_high != LEDGER_NONE && r->rx_high >= r->rx_mark)
		return false;
	/* Only what was left behind both ways is erased: nothing is drawn from below. */
	return r->erased <= r->erase_to && r->erase_to <= ledger_slot(r->tx_next) &&
	       r->erase_to <= ledger_slot(r->rx_mark);
}

/* Magic, version and checksum stay where they are in every version to come. */
static int get_head(struct rbuf *b, struct ledger_record *r, const uint8_t *block)
{
	uint8_t sum[SHA256_LEN], found[MAGIC_LEN];

	sha256(sum, block, SUM_AT);
	if (!bytes_equal(sum, block + SUM_AT, sizeof(sum)))
		return LEDGER_E_BROKEN;

	*r = (struct ledger_record){ 0 };
	rbuf_get(b, found, sizeof(found));
	r->version = rbuf_be32(b);
	if (memcmp(found, magic, MAGIC_LEN) != 0 || r->version == 0)
		return LEDGER_E_BROKEN;
	return r->version > LEDGER_VERSION ? LEDGER_E_NEWER : 0;
}

/* The clear part. LEDGER_E_BROKEN when a flag says what no version of ours does. */
static int get_fields(struct rbuf *b, struct ledger_record *r)
{
	uint8_t handshaken, flags;

	r->generation = rbuf_be64(b);
	r->kind = rbuf_u8(b);
	r->role = rbuf_u8(b);
	handshaken = rbuf_u8(b);
	flags = rbuf_u8(b);
	rbuf_get(b, r->fingerprint, sizeof(r->fingerprint));
	rbuf_get(b, r->tunnel_id, sizeof(r->tunnel_id));
	rbuf_get(b, r->hello_key, sizeof(r->hello_key));
	r->slots_total = rbuf_be64(b);
	rbuf_get(b, r->table_sum, sizeof(r->table_sum));
	r->tx_next = rbuf_be64(b);
	r->tx_reserved = rbuf_be64(b);
	r->tx_limit = rbuf_be32(b);
	r->rx_high = rbuf_be64(b);
	r->rx_mark = rbuf_be64(b);
	r->rx_limit = rbuf_be32(b);
	r->erase_to = rbuf_be64(b);
	r->erased = rbuf_be64(b);
	rbuf_get(b, r->edge_sum, sizeof(r->edge_sum));
	rbuf_get(b, r->tx_chain, sizeof(r->tx_chain));
	rbuf_get(b, r->rx_chain, sizeof(r->rx_chain));
	r->handshaken = handshaken;
	r->sealed = flags & FLAG_SEALED;
	r->restored = flags & FLAG_RESTORED;
	if (handshaken > 1 || (r->version == 1) != (flags == 0) || flags > (FLAG_SEALED | FLAG_RESTORED))
		return LEDGER_E_BROKEN;
	return 0;
}

static bool rest_is_zero(struct rbuf *b)
{
	size_t n = b->left;
	const uint8_t *rest = rbuf_view(b, n);
	uint8_t any = 0;

	for (size_t i = 0; i < n; i++)
		any |= rest[i];
	return any == 0;
}

int ledger_decode(struct ledger_record *r, const uint8_t block[static LEDGER_BLOCK_LEN])
{
	struct rbuf b;
	int e;

	rbuf_init(&b, block, SUM_AT);
	e = get_head(&b, r, block);
	if (!e)
		e = get_fields(&b, r);
	if (e)
		return e;
	if (r->sealed)
		e = open_secrets(r, block, &b);
	/* Before it is said that the key is missing: no key would help. */
	return rest_is_zero(&b) && record_is_sane(r) ? e : LEDGER_E_BROKEN;
}
