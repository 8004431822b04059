/*
 * The container of backups. What it opens is a stranger's until the last chunk
 * is authentic: nothing is given out before.
 */
#include "crypto/archive.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <sodium.h>

#include "base/bytes.h"
#include "crypto/kdf.h"

static const char magic[] = "handfast backup\n";

enum {
	MAGIC_LEN = sizeof(magic) - 1,
	SUM_LEN = 8,
	SUM_AT = ARCHIVE_HEAD_LEN - SUM_LEN,
	KEY_LEN = 64,
};

static_assert(ARCHIVE_CHUNK_EXTRA == crypto_secretstream_xchacha20poly1305_ABYTES, "chunk overhead");
static_assert(sizeof(((struct archive_head *)0)->stream) == crypto_secretstream_xchacha20poly1305_HEADERBYTES,
	      "stream header");

/* ---- pages ---- */

int pages_init(struct pages *b, size_t cap)
{
	void *p;

	cap = cap ? cap : 1;
	p = mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	(void)madvise(p, cap, MADV_DONTDUMP);
	(void)mlock(p, cap);
	*b = (struct pages){ p, 0, cap };
	return 0;
}

void pages_done(struct pages *b)
{
	if (!b->p)
		return;
	wipe(b->p, b->len);
	munmap(b->p, b->cap);
	*b = (struct pages){ NULL, 0, 0 };
}

int pages_add(struct pages *b, const void *data, size_t len)
{
	if (len > b->cap - b->len) {
		struct pages more;
		size_t cap = b->cap * 2 > b->len + len ? b->cap * 2 : b->len + len;

		if (pages_init(&more, cap))
			return -ENOMEM;
		memcpy(more.p, b->p, b->len);
		more.len = b->len;
		pages_done(b);
		*b = more;
	}
	if (len > 0)
		memcpy(b->p + b->len, data, len);
	b->len += len;
	return 0;
}

/* ---- header ---- */

static void head_encode(uint8_t out[static ARCHIVE_HEAD_LEN], const struct archive_head *h)
{
	uint8_t sum[SHA256_LEN];
	struct wbuf w;

	wbuf_init(&w, out, SUM_AT);
	wbuf_put(&w, magic, MAGIC_LEN);
	wbuf_be32(&w, h->version);
	wbuf_be32(&w, h->mem_kib);
	wbuf_be32(&w, h->passes);
	wbuf_put(&w, h->salt, sizeof(h->salt));
	wbuf_put(&w, h->stream, sizeof(h->stream));
	wbuf_put(&w, h->check, sizeof(h->check));
	sha256(sum, out, SUM_AT);
	memcpy(out + SUM_AT, sum, SUM_LEN);
}

int archive_head_decode(struct archive_head *h, const void *data, size_t len)
{
	uint8_t found[MAGIC_LEN], sum[SHA256_LEN];
	struct rbuf r;

	memset(h, 0, sizeof(*h));
	if (len < MAGIC_LEN || memcmp(data, magic, MAGIC_LEN) != 0)
		return ARCHIVE_E_NONE;
	rbuf_init(&r, data, len);
	rbuf_get(&r, found, sizeof(found));
	/* Magic and version stay where they are in every version to come. */
	h->version = rbuf_be32(&r);
	if (len < ARCHIVE_HEAD_LEN)
		return ARCHIVE_E_BROKEN;
	if (h->version > ARCHIVE_VERSION)
		return ARCHIVE_E_NEWER;
	sha256(sum, data, SUM_AT);
	if (memcmp(sum, (const uint8_t *)data + SUM_AT, SUM_LEN) != 0 || h->version == 0)
		return ARCHIVE_E_BROKEN;
	h->mem_kib = rbuf_be32(&r);
	h->passes = rbuf_be32(&r);
	rbuf_get(&r, h->salt, sizeof(h->salt));
	rbuf_get(&r, h->stream, sizeof(h->stream));
	rbuf_get(&r, h->check, sizeof(h->check));
	/* Whoever made the file must not decide how long we work, or how much memory we take. */
	if (h->mem_kib < ARCHIVE_MEM_KIB_MIN || h->mem_kib > ARCHIVE_MEM_KIB_MAX || h->passes == 0 ||
	    h->passes > ARCHIVE_PASSES_MAX)
		return ARCHIVE_E_COST;
	return 0;
}

/* ---- sealing ---- */

uint32_t archive_mem_kib(void)
{
	unsigned long available = 0;
	uint32_t mem = ARCHIVE_MEM_KIB;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %lu kB", &available) == 1)
			break;
	if (f)
		fclose(f);
	while (available && mem > ARCHIVE_MEM_KIB_MIN && available / 2 < mem)
		mem /= 2;
	return mem;
}

static void key_check(uint8_t out[static 16], const struct secret *key)
{
	static const char label[] = "handfast backup check";

	hkdf_sha256(out, 16, NULL, 0, secret_bytes(key) + 32, 32, label, strlen(label));
}

static int seal_chunks(struct pages *out, crypto_secretstream_xchacha20poly1305_state *st, const uint8_t *head,
		       const uint8_t *p, size_t left)
{
	uint8_t *chunk = out->p + out->len;
	bool first = true;

	do {
		size_t n = left < ARCHIVE_CHUNK_LEN ? left : ARCHIVE_CHUNK_LEN;

		crypto_secretstream_xchacha20poly1305_push(
			st, chunk, NULL, p, n, first ? head : NULL, first ? ARCHIVE_HEAD_LEN : 0,
			n == left ? crypto_secretstream_xchacha20poly1305_TAG_FINAL : 0);
		chunk += n + ARCHIVE_CHUNK_EXTRA;
		p += n;
		left -= n;
		first = false;
	} while (left > 0);
	out->len = (size_t)(chunk - out->p);
	return 0;
}

int archive_seal(struct pages *out, const void *data, size_t len, const struct secret *passphrase,
		 uint32_t mem_kib)
{
	struct archive_head h = { .version = ARCHIVE_VERSION, .mem_kib = mem_kib, .passes = ARCHIVE_PASSES };
	crypto_secretstream_xchacha20poly1305_state st;
	_cleanup_(secret_freep) struct secret *key = NULL;
	uint8_t head[ARCHIVE_HEAD_LEN];
	int r;

	random_bytes(h.salt, sizeof(h.salt));
	r = argon2id(&key, KEY_LEN, secret_bytes(passphrase), secret_len(passphrase), h.salt, h.mem_kib, h.passes);
	if (r)
		return r;
	r = pages_init(out, ARCHIVE_HEAD_LEN + len + (len / ARCHIVE_CHUNK_LEN + 1) * ARCHIVE_CHUNK_EXTRA);
	if (r)
		return r;
	crypto_secretstream_xchacha20poly1305_init_push(&st, h.stream, secret_bytes(key));
	key_check(h.check, key);
	head_encode(head, &h);
	memcpy(out->p, head, sizeof(head));
	out->len = sizeof(head);
	seal_chunks(out, &st, head, data, len);
	wipe(&st, sizeof(st));
	return 0;
}

/* ---- opening ---- */

static int open_chunks(struct pages *out, crypto_secretstream_xchacha20poly1305_state *st, const uint8_t *head,
		       const uint8_t *p, size_t left)
{
	unsigned char tag = 0;
	bool first = true;

	while (left > 0 && tag != crypto_secretstream_xchacha20poly1305_TAG_FINAL) {
		size_t n = left < ARCHIVE_CHUNK_LEN + ARCHIVE_CHUNK_EXTRA ? left :
									    ARCHIVE_CHUNK_LEN + ARCHIVE_CHUNK_EXTRA;
		unsigned long long got = 0;

		if (n < ARCHIVE_CHUNK_EXTRA ||
		    crypto_secretstream_xchacha20poly1305_pull(st, out->p + out->len, &got, &tag, p, n,
							       first ? head : NULL,
							       first ? ARCHIVE_HEAD_LEN : 0) != 0)
			return ARCHIVE_E_BROKEN;
		out->len += (size_t)got;
		p += n;
		left -= n;
		first = false;
	}
	return left == 0 && tag == crypto_secretstream_xchacha20poly1305_TAG_FINAL ? 0 : ARCHIVE_E_BROKEN;
}

int archive_open_with(struct pages *out, const void *data, size_t len, const struct secret *key)
{
	crypto_secretstream_xchacha20poly1305_state st;
	struct archive_head h;
	uint8_t check[16];
	int r;

	r = archive_head_decode(&h, data, len);
	if (r)
		return r;
	key_check(check, key);
	if (!bytes_equal(check, h.check, sizeof(check)))
		return ARCHIVE_E_PASSPHRASE;
	r = pages_init(out, len);
	if (r)
		return r;
	if (crypto_secretstream_xchacha20poly1305_init_pull(&st, h.stream, secret_bytes(key)) != 0)
		r = ARCHIVE_E_BROKEN;
	else
		r = open_chunks(out, &st, data, (const uint8_t *)data + ARCHIVE_HEAD_LEN, len - ARCHIVE_HEAD_LEN);
	wipe(&st, sizeof(st));
	if (r)
		pages_done(out);
	return r;
}

int archive_open(struct pages *out, const void *data, size_t len, const struct secret *passphrase)
{
	_cleanup_(secret_freep) struct secret *key = NULL;
	struct archive_head h;
	int r;

	r = archive_head_decode(&h, data, len);
	if (r)
		return r;
	r = argon2id(&key, KEY_LEN, secret_bytes(passphrase), secret_len(passphrase), h.salt, h.mem_kib, h.passes);
	return r ? r : archive_open_with(out, data, len, key);
}
