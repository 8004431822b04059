/* What others are told of key material. */
#include "pskd/keys/keys_internal.h"

#include <string.h>

#include "crypto/kdf.h"
#include "pskd/packet/drops.h"

void keys_hello_key(const struct keys *k, uint8_t out[static 32])
{
	memcpy(out, k->newest->hello_key, 32);
}

void keys_hint_of(const struct ledger_record *r, uint8_t out[static 8])
{
	static const char domain[] = "handfast key hint";
	uint8_t data[sizeof(domain) - 1 + 32], mac[HMAC_SHA256_LEN];

	memcpy(data, domain, sizeof(domain) - 1);
	memcpy(data + sizeof(domain) - 1, r->fingerprint, 32);
	hmac_sha256(mac, r->hello_key, 32, data, sizeof(data));
	memcpy(out, mac, 8);
}

void keys_hint(const struct keys *k, uint8_t out[static 8])
{
	keys_hint_of(k->newest, out);
}

uint64_t keys_end(const struct keys *k)
{
	return k->end;
}

void keys_info(const struct keys *k, struct keys_info *out)
{
	uint64_t tx_next = figure_get(&k->tx_next);

	*out = (struct keys_info){
		.is_file = k->file != NULL,
		.handshaken = k->handshaken,
		.slots_total = k->newest->slots_total,
		.tx_next = tx_next,
		.tx_reserved = k->newest->tx_reserved,
		.rx_high = figure_get(&k->rx_high),
		.rx_floor = k->rx_floor,
		.slots_erased = k->erased,
		.packets_left = k->file ? k->end - tx_next : UINT64_MAX,
		.taken = figure_get(&k->taken),
		.ledger_writes = ledger_writes(k->ledger),
		.write_error = k->write_error,
		.source_error = k->tx.error ? k->tx.error : k->rx.error,
		.erase_error = k->erase_error,
	};
	memcpy(out->fingerprint, k->newest->fingerprint, sizeof(out->fingerprint));
}
