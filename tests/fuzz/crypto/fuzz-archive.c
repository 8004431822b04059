/*
 * Backups: no input opens that was not sealed, and none takes long. The key is fixed, and
 * header and key check are put right, so that the chunks are reached, too; Argon2id is
 * never run.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "crypto/archive.h"
#include "crypto/kdf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CHECK_AT = 68, SUM_AT = 84, MAX = 1 << 18 };

static struct secret *fixed_key(void)
{
	static struct secret *key;
	uint8_t bytes[64];

	if (key)
		return key;
	memset(bytes, 7, sizeof(bytes));
	assert(crypto_init() == 0);
	assert(secret_take(&key, bytes, sizeof(bytes)) == 0);
	return key;
}

static void mend(uint8_t *file)
{
	static const char label[] = "handfast backup check";
	const struct secret *key = fixed_key();
	uint8_t sum[SHA256_LEN];

	hkdf_sha256(file + CHECK_AT, 16, NULL, 0, secret_bytes(key) + 32, 32, label, strlen(label));
	sha256(sum, file, SUM_AT);
	memcpy(file + SUM_AT, sum, 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t file[MAX];
	struct archive_head h;
	struct pages out;

	if (archive_head_decode(&h, data, size) == 0) {
		assert(h.mem_kib <= ARCHIVE_MEM_KIB_MAX && h.passes <= ARCHIVE_PASSES_MAX);
		assert(archive_open_with(&out, data, size, fixed_key()) != 0);
	}
	if (size < ARCHIVE_HEAD_LEN || size > sizeof(file))
		return 0;
	memcpy(file, data, size);
	mend(file);
	/* Nobody who does not have the key makes a chunk that opens. */
	assert(archive_open_with(&out, file, size, fixed_key()) != 0);
	return 0;
}
