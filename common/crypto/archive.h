/*
 * A file sealed by a passphrase: backups. Argon2id makes the key,
 * crypto_secretstream_xchacha20poly1305 seals the contents in order, so that a
 * file that was cut, changed, reordered or put together from two opens not at all.
 *
 *   magic "handfast backup\n" (16), version (be32), memory in KiB (be32), passes (be32),
 *   salt (16), stream header (24), key check (16), first 8 bytes of the SHA-256
 *   of all before; then chunks of 65536 bytes (the last one shorter or as long) and
 *   17 bytes each, the last with the tag FINAL. The first chunk's additional data is
 *   the whole header.
 *   Argon2id gives 64 bytes: the stream's key (32), then HKDF-SHA-256(the other
 *   32, info "handfast backup check") is the key check.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "crypto/secret.h"

#define ARCHIVE_VERSION 1
#define ARCHIVE_HEAD_LEN 92
#define ARCHIVE_CHUNK_LEN 65536
#define ARCHIVE_CHUNK_EXTRA 17
/* Argon2id: what new files get, and what is believed of others'. */
#define ARCHIVE_MEM_KIB (256u * 1024)
#define ARCHIVE_MEM_KIB_MIN (64u * 1024)
#define ARCHIVE_MEM_KIB_MAX (1024u * 1024)
#define ARCHIVE_PASSES 3
#define ARCHIVE_PASSES_MAX 10

enum {
	ARCHIVE_E_NONE = 1,	 /* not such a file at all */
	ARCHIVE_E_NEWER,	 /* of a later version */
	ARCHIVE_E_COST,		 /* asks for more work than any of ours would */
	ARCHIVE_E_PASSPHRASE,	 /* wrong passphrase */
	ARCHIVE_E_BROKEN,	 /* damaged, cut short, or changed */
};

/*
 * Bytes that may be secret and may be more than secret memory holds: kept out
 * of core dumps and wiped when freed, locked as far as the limit allows.
 */
struct pages {
	uint8_t *p;
	size_t len; /* in use */
	size_t cap;
};
/* Room for cap bytes (at least 1), len 0. 0 or -ENOMEM. */
int pages_init(struct pages *b, size_t cap);
/* Append; grows. 0 or -ENOMEM. */
int pages_add(struct pages *b, const void *data, size_t len);
void pages_done(struct pages *b);

/* The memory in KiB that this machine can spare for making a file: ARCHIVE_MEM_KIB, or less, down to the minimum. */
uint32_t archive_mem_kib(void);

/* Seal data; *out is initialised here. Takes a second or so. 0, or -ENOMEM. */
int archive_seal(struct pages *out, const void *data, size_t len, const struct secret *passphrase,
		 uint32_t mem_kib);

struct archive_head {
	uint32_t version, mem_kib, passes;
	uint8_t salt[16];
	uint8_t stream[24];
	uint8_t check[16];
};
/* Read the header. 0 or an outcome above, with *h->version for ARCHIVE_E_NEWER. */
int archive_head_decode(struct archive_head *h, const void *data, size_t len);

/* Open a whole file; *out is initialised here when 0. 0, an outcome above, or -ENOMEM. */
int archive_open(struct pages *out, const void *data, size_t len, const struct secret *passphrase);

/*
 * Open the chunks after the header with a key that is known already (32 bytes of the stream, 32 of
 * the check): what archive_open() does after Argon2id. For tests, too.
 */
int archive_open_with(struct pages *out, const void *data, size_t len, const struct secret *key);
