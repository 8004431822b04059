/*
 * In the place of common/crypto/bulk.c in pskd-plain, which only benchmarks have: packets in the
 * form of sealed ones, and neither encrypted nor verified. What is left is what everything else costs.
 */
#include "crypto/bulk.h"

#include <string.h>

const char *const bulk_choice_names[] = { "auto", "libsodium", "ipsec-mb", NULL };

static const struct bulk_info info = { .name = "nothing", .note = "for measuring: packets are readable to everybody" };

void bulk_seal(uint8_t *header, size_t len, const uint8_t nonce[static AEAD_NONCE_LEN],
	       const uint8_t key[static AEAD_KEY_LEN])
{
	(void)nonce;
	(void)key;
	memset(header + BULK_HEADER_LEN + len, 0, AEAD_TAG_LEN);
}

int bulk_open(uint8_t *header, size_t len, const uint8_t nonce[static AEAD_NONCE_LEN],
	      const uint8_t key[static AEAD_KEY_LEN])
{
	(void)header;
	(void)len;
	(void)nonce;
	(void)key;
	return 0;
}

int bulk_choose(enum bulk_choice choice)
{
	(void)choice;
	return 0;
}

const struct bulk_info *bulk_info(void)
{
	return &info;
}

bool bulk_selfcheck(void)
{
	return false;
}
