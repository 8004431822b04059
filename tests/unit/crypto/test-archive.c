/* archive.c: a file sealed by a passphrase, and everything that is not one. */
#include "crypto/archive.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/kdf.h"
#include "unit/lib/test.h"

enum { VERSION_AT = 16, MEM_AT = 20, PASSES_AT = 24, SUM_AT = 84 };

static struct secret *word(const char *text)
{
	uint8_t copy[64];
	struct secret *s = NULL;

	CHECK_EQ(crypto_init(), 0);
	memcpy(copy, text, strlen(text));
	CHECK_EQ(secret_take(&s, copy, strlen(text)), 0);
	return s;
}

static void resum(uint8_t *head)
{
	uint8_t sum[SHA256_LEN];

	sha256(sum, head, SUM_AT);
	memcpy(head + SUM_AT, sum, 8);
}

/* Argon2id once; then the same key opens what was changed. */
static struct secret *key_of(const struct pages *file, const struct secret *passphrase)
{
	struct archive_head h;
	struct secret *key = NULL;

	CHECK_EQ(archive_head_decode(&h, file->p, file->len), 0);
	CHECK_EQ(argon2id(&key, 64, secret_bytes(passphrase), secret_len(passphrase), h.salt, h.mem_kib, h.passes),
		 0);
	return key;
}

static void fill(struct pages *b, size_t len)
{
	CHECK_EQ(pages_init(b, len), 0);
	for (size_t i = 0; i < len; i++)
		b->p[i] = (uint8_t)(i * 31 + i / 256);
	b->len = len;
}

TEST(contents_of_every_size_come_back)
{
	static const size_t sizes[] = { 0, 1, ARCHIVE_CHUNK_LEN - 1, ARCHIVE_CHUNK_LEN, ARCHIVE_CHUNK_LEN + 1,
					2 * ARCHIVE_CHUNK_LEN, 300000 };
	struct secret *pass = word("correct horse battery staple");

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct pages plain, file, back;

		fill(&plain, sizes[i]);
		CHECK_EQ(archive_seal(&file, plain.p, plain.len, pass, ARCHIVE_MEM_KIB_MIN), 0);
		CHECK_EQ(archive_open(&back, file.p, file.len, pass), 0);
		CHECK_EQ(back.len, plain.len);
		CHECK_MEM(back.p, plain.p, plain.len);
		pages_done(&plain);
		pages_done(&file);
		pages_done(&back);
	}
	secret_free(pass);
}

TEST(another_passphrase_is_told_from_damage)
{
	struct secret *pass = word("correct horse"), *wrong = word("correct house");
	struct pages plain, file, back;

	fill(&plain, 100);
	CHECK_EQ(archive_seal(&file, plain.p, plain.len, pass, ARCHIVE_MEM_KIB_MIN), 0);
	CHECK_EQ(archive_open(&back, file.p, file.len, wrong), ARCHIVE_E_PASSPHRASE);
	file.p[file.len - 1] ^= 1;
	CHECK_EQ(archive_open(&back, file.p, file.len, pass), ARCHIVE_E_BROKEN);
	pages_done(&plain);
	pages_done(&file);
	secret_free(pass);
	secret_free(wrong);
}

TEST(no_changed_cut_or_reordered_file_opens)
{
	struct secret *pass = word("correct horse battery staple"), *key;
	const size_t chunk = ARCHIVE_CHUNK_LEN + ARCHIVE_CHUNK_EXTRA;
	struct pages plain, file, back, mixed;

	fill(&plain, 3 * ARCHIVE_CHUNK_LEN + 5);
	CHECK_EQ(archive_seal(&file, plain.p, plain.len, pass, ARCHIVE_MEM_KIB_MIN), 0);
	key = key_of(&file, pass);
	CHECK_EQ(archive_open_with(&back, file.p, file.len, key), 0);
	pages_done(&back);
	/* Each byte of the header, and some of the rest. */
	for (size_t i = 0; i < file.len; i += i < ARCHIVE_HEAD_LEN ? 1 : 997) {
		file.p[i] ^= 0x10;
		CHECK(archive_open_with(&back, file.p, file.len, key) > 0);
		file.p[i] ^= 0x10;
	}
	for (size_t len = 0; len < file.len; len += len < 200 ? 1 : 4099)
		CHECK(archive_open_with(&back, file.p, len, key) > 0);
	/* Whole chunks gone from the end, swapped, doubled, or followed by more. */
	CHECK_EQ(archive_open_with(&back, file.p, ARCHIVE_HEAD_LEN + 2 * chunk, key), ARCHIVE_E_BROKEN);
	CHECK_EQ(pages_init(&mixed, file.len + chunk), 0);
	CHECK_EQ(pages_add(&mixed, file.p, file.len), 0);
	memcpy(mixed.p + ARCHIVE_HEAD_LEN, file.p + ARCHIVE_HEAD_LEN + chunk, chunk);
	memcpy(mixed.p + ARCHIVE_HEAD_LEN + chunk, file.p + ARCHIVE_HEAD_LEN, chunk);
	CHECK_EQ(archive_open_with(&back, mixed.p, mixed.len, key), ARCHIVE_E_BROKEN);
	memcpy(mixed.p, file.p, file.len);
	memcpy(mixed.p + ARCHIVE_HEAD_LEN + chunk, file.p + ARCHIVE_HEAD_LEN, chunk);
	CHECK_EQ(archive_open_with(&back, mixed.p, mixed.len, key), ARCHIVE_E_BROKEN);
	memcpy(mixed.p, file.p, file.len);
	CHECK_EQ(pages_add(&mixed, "more", 4), 0);
	CHECK_EQ(archive_open_with(&back, mixed.p, mixed.len, key), ARCHIVE_E_BROKEN);
	pages_done(&mixed);
	pages_done(&plain);
	pages_done(&file);
	secret_free(pass);
	secret_free(key);
}

TEST(newer_and_costly_files_are_refused_before_any_work)
{
	struct secret *pass = word("correct horse battery staple");
	struct pages file, back;
	struct archive_head h;

	CHECK_EQ(archive_seal(&file, "x", 1, pass, ARCHIVE_MEM_KIB_MIN), 0);
	be32_store(file.p + VERSION_AT, ARCHIVE_VERSION + 1);
	resum(file.p);
	CHECK_EQ(archive_head_decode(&h, file.p, file.len), ARCHIVE_E_NEWER);
	CHECK_EQ(h.version, ARCHIVE_VERSION + 1);
	be32_store(file.p + VERSION_AT, ARCHIVE_VERSION);
	/* 4 TiB, nothing, and a year of passes: each would be work for who made the file to decide. */
	be32_store(file.p + MEM_AT, UINT32_MAX);
	resum(file.p);
	CHECK_EQ(archive_open(&back, file.p, file.len, pass), ARCHIVE_E_COST);
	be32_store(file.p + MEM_AT, 8);
	resum(file.p);
	CHECK_EQ(archive_open(&back, file.p, file.len, pass), ARCHIVE_E_COST);
	be32_store(file.p + MEM_AT, ARCHIVE_MEM_KIB_MIN);
	be32_store(file.p + PASSES_AT, UINT32_MAX);
	resum(file.p);
	CHECK_EQ(archive_open(&back, file.p, file.len, pass), ARCHIVE_E_COST);
	be32_store(file.p + PASSES_AT, 0);
	resum(file.p);
	CHECK_EQ(archive_open(&back, file.p, file.len, pass), ARCHIVE_E_COST);
	CHECK_EQ(archive_head_decode(&h, "#!/bin/sh\n", 10), ARCHIVE_E_NONE);
	CHECK_EQ(archive_head_decode(&h, "", 0), ARCHIVE_E_NONE);
	pages_done(&file);
	secret_free(pass);
}

TEST(new_files_cost_what_they_should)
{
	uint32_t mem = archive_mem_kib();

	CHECK(mem >= ARCHIVE_MEM_KIB_MIN && mem <= ARCHIVE_MEM_KIB);
}
