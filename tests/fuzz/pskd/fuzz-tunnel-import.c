/*
 * What pskd takes from a backup. Two parts of the input are a tunnel and the beginning of its ledger's
 * record, whose checksum is put right; the rest is the table.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "proto/bundle.h"
#include "pskd/keys/ledger.h"
#include "pskd/portable/portable.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SUM_AT = LEDGER_BLOCK_LEN - SHA256_LEN, CLEAR_LEN = 304, MAX = 1 << 16 };

static size_t add(uint8_t *out, size_t at, const char *name, const void *data, size_t len)
{
	at += bundle_prefix(out + at, name, len);
	if (len > 0)
		memcpy(out + at, data, len);
	return at + len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t bundle[MAX + 3 * BUNDLE_PREFIX_MAX + LEDGER_BLOCK_LEN + 64], block[LEDGER_BLOCK_LEN];
	size_t record = size < CLEAR_LEN ? size : CLEAR_LEN, table = (size - record) / 2, at = BUNDLE_HEAD_LEN;
	char why[256] = "";

	if (size > MAX)
		return 0;
	assert(crypto_init() == 0);
	/* As import_read() has it: only what is well-formed gets here. */
	if (bundle_check(data, size, NULL) == 0)
		(void)portable_check(data, size, why, sizeof(why));
	memset(block, 0, sizeof(block));
	memcpy(block, data, record);
	sha256(block + SUM_AT, block, SUM_AT);
	bundle_head(bundle);
	at = add(bundle, at, "ledgers/t.ledger", block, sizeof(block));
	at = add(bundle, at, "ledgers/t.ledger.chunks", data + record, table);
	at = add(bundle, at, "tunnels/t.json", data + record + table, size - record - table);
	memset(bundle + at, 0, BUNDLE_END_LEN);
	at += BUNDLE_END_LEN;
	assert(bundle_check(bundle, at, NULL) == 0);
	*why = '\0';
	if (portable_check(bundle, at, why, sizeof(why)))
		assert(*why);
	return 0;
}
