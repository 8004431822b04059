/* PSK2 headers. Relies on nothing; guarantees that what was decoded encodes to the same bytes. */
#include "proto/psk2.h"

#include <string.h>

#include "base/bytes.h"

void psk2_header_encode(uint8_t out[static PSK2_HEADER_LEN], const struct psk2_header *h)
{
	memcpy(out, PSK2_MAGIC, 4);
	out[4] = PSK2_VERSION;
	out[5] = h->flags;
	out[6] = h->direction;
	out[7] = h->reserved;
	memcpy(out + 8, h->slot_tag, PSK2_SLOT_TAG_LEN);
	be64_store(out + 24, h->sequence);
}

int psk2_header_decode(struct psk2_header *out, const uint8_t *packet, size_t len)
{
	if (len < PSK2_OVERHEAD)
		return PSK2_E_LENGTH;
	if (memcmp(packet, PSK2_MAGIC, 4) != 0)
		return PSK2_E_MAGIC;
	if (packet[4] != PSK2_VERSION)
		return PSK2_E_VERSION;
	out->flags = packet[5];
	out->direction = packet[6];
	out->reserved = packet[7];
	memcpy(out->slot_tag, packet + 8, PSK2_SLOT_TAG_LEN);
	out->sequence = be64_load(packet + 24);
	return 0;
}

void psk2_probe_encode(uint8_t out[static PSK2_PROBE_LEN], const struct psk2_probe *p)
{
	out[0] = 0;
	out[1] = p->type;
	be16_store(out + 2, p->size);
	be32_store(out + 4, p->number);
}

int psk2_probe_decode(struct psk2_probe *out, const uint8_t *inside, size_t len)
{
	struct psk2_probe p;

	if (len < PSK2_PROBE_LEN || inside[0] != 0)
		return PSK2_E_PROBE;
	p.type = inside[1];
	p.size = be16_load(inside + 2);
	p.number = be32_load(inside + 4);
	if (!(p.type == PSK2_PROBE && len == p.size) && !(p.type == PSK2_PROBE_ANSWER && len == PSK2_PROBE_LEN))
		return PSK2_E_PROBE;
	*out = p;
	return 0;
}

void psk2_nonce(uint8_t out[static PSK2_NONCE_LEN], const uint8_t slot_nonce[static PSK2_NONCE_LEN],
		uint64_t sequence)
{
	memcpy(out, slot_nonce, 8);
	be32_store(out + 8, (uint32_t)sequence);
}
