/*
 * The data packet of a tunnel (handfast-tunnel(7)), format "PSK2" version 2:
 * a 32-byte header, then the ciphertext of one IP packet and its 16-byte tag.
 * The header is the associated data. Bytes in, struct out, and back.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PSK2_MAGIC "PSK2"
#define PSK2_VERSION 2
#define PSK2_HEADER_LEN 32
#define PSK2_AEAD_TAG_LEN 16
#define PSK2_OVERHEAD (PSK2_HEADER_LEN + PSK2_AEAD_TAG_LEN)
#define PSK2_SLOT_TAG_LEN 16
#define PSK2_NONCE_LEN 12
/* Sequences of one slot. */
#define PSK2_SLOT_PACKETS 1000

/* flags: the key belongs to one session, whose number mod 256 is in reserved. */
#define PSK2_FLAG_SESSION 1

enum psk2_direction { PSK2_FROM_INITIATOR = 0, PSK2_FROM_RESPONDER = 1 };

struct psk2_header {
	uint8_t flags;
	uint8_t direction;
	uint8_t reserved;
	uint8_t slot_tag[PSK2_SLOT_TAG_LEN];
	uint64_t sequence;
};

/* Outcomes of decoding. */
enum {
	PSK2_E_LENGTH = 1, /* shorter than PSK2_OVERHEAD */
	PSK2_E_MAGIC,
	PSK2_E_VERSION,
	PSK2_E_PROBE, /* neither a probe nor an answer, or not as long as it says */
};

void psk2_header_encode(uint8_t out[static PSK2_HEADER_LEN], const struct psk2_header *h);
/* len is that of the whole packet. 0 or a PSK2_E_ outcome; flags, direction and reserved are the caller's to judge. */
int psk2_header_decode(struct psk2_header *out, const uint8_t *packet, size_t len);

/*
 * What is inside may also be a probe of the path, or the answer to one: its
 * first byte, 0, is that of no IP packet, so that a peer that does not know
 * probes drops it. A probe is as long as it says, with anything behind these
 * fields; an answer is these alone.
 */
#define PSK2_PROBE_LEN 8

enum psk2_probe_type { PSK2_PROBE = 1, PSK2_PROBE_ANSWER = 2 };

struct psk2_probe {
	uint8_t type;
	uint16_t size; /* of the probe; of the one that is answered */
	uint32_t number; /* of the asker's question; the answer repeats it */
};

/* Whether what is inside is not for the device. */
static inline bool psk2_is_probe(const uint8_t *inside, size_t len)
{
	return len > 0 && inside[0] == 0;
}
void psk2_probe_encode(uint8_t out[static PSK2_PROBE_LEN], const struct psk2_probe *p);
/* Of len bytes. 0 or PSK2_E_PROBE. */
int psk2_probe_decode(struct psk2_probe *out, const uint8_t *inside, size_t len);

/* The slot's nonce with its last four bytes replaced by the low 32 bits of the sequence. */
void psk2_nonce(uint8_t out[static PSK2_NONCE_LEN], const uint8_t slot_nonce[static PSK2_NONCE_LEN],
		uint64_t sequence);
