/*
 * Key files, read so that every byte passes the hash before it is believed. All reading goes through
 * a locked buffer of whole slots, because what passes through is key material.
 */
#include "crypto/keyfile_io.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <sodium.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "crypto/keyfile_internal.h"
#include "crypto/secret.h"

enum {
	PACKET_LEN = 1400,
	/* Where the two 32-byte keys lie in a slot: each after a tag of 16 and a nonce of 12. */
	KEY_A_AT = 28,
	KEY_B_AT = 88,
	KEY_LEN = 32,
	SIDECAR_MAX = 64 + 2 + NAME_MAX + 2,
};

void keyfile_capacity(struct keyfile_capacity *out, uint64_t bytes)
{
	uint64_t slots = bytes / KEYFILE_SLOT_LEN;

	*out = (struct keyfile_capacity){
		.bytes = slots * KEYFILE_SLOT_LEN,
		.slots = slots,
		.packets = slots * KEYFILE_SLOT_PACKETS,
		.traffic_bytes = slots * KEYFILE_SLOT_PACKETS * PACKET_LEN,
	};
}

uint64_t keyfile_chunks(uint64_t size)
{
	return (size + KEYFILE_CHUNK_LEN - 1) / KEYFILE_CHUNK_LEN;
}

/* ---- reading ---- */

int keyfile_open(const char *path, bool writable, uint64_t *size, int *outcome, char *detail,
		 size_t detail_cap)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	/* O_NONBLOCK: a FIFO in the file's place must not stop us; for a file it means nothing. */
	fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0) {
		*outcome = text_explain(detail, detail_cap, -errno, "cannot open %s%s: %s", path,
					writable ? " for writing" : "", strerror(errno));
		return -1;
	}
	*outcome = KEYFILE_E_BAD_FILE;
	if (!S_ISREG(st.st_mode)) {
		text_say(detail, detail_cap, "%s is no regular file", path);
		return -1;
	}
	if (st.st_size == 0 || st.st_size % KEYFILE_SLOT_LEN != 0 ||
	    (uint64_t)st.st_size > KEYFILE_SIZE_MAX) {
		text_say(detail, detail_cap,
			 st.st_size == 0 ?
				 "%s is empty" :
				 "%s has %lld bytes, which is no whole number of 120-byte slots: "
				 "is it cut short, or no key file?",
			 path, (long long)st.st_size);
		return -1;
	}
	*size = (uint64_t)st.st_size;
	*outcome = 0;
	return steal_fd(&fd);
}

static bool slot_is_empty(const uint8_t *slot)
{
	return sodium_is_zero(slot + KEY_A_AT, KEY_LEN) || sodium_is_zero(slot + KEY_B_AT, KEY_LEN);
}

static int read_slots(int fd, uint64_t at, uint8_t *buf, size_t len)
{
	int r = file_pread_all(fd, buf, len, (off_t)at);

	return r == -ENODATA ? KEYFILE_E_BAD_FILE : r;
}

int keyfile_hash(int fd, uint64_t size, keyfile_progress_fn progress, void *arg,
		 uint8_t sha256_out[static KEYFILE_HASH_LEN], uint8_t *chunk_hashes)
{
	_cleanup_(secret_freep) struct secret *buf = NULL;
	crypto_hash_sha256_state whole, piece;
	uint8_t *bytes;
	int r;

	assert(size > 0 && size % KEYFILE_SLOT_LEN == 0);
	r = secret_new(&buf, KEYFILE_BUF_LEN, &bytes);
	if (r)
		return r;

	(void)posix_fadvise(fd, 0, (off_t)size, POSIX_FADV_SEQUENTIAL);
	crypto_hash_sha256_init(&whole);
	for (uint64_t done = 0; done < size;) {
		uint64_t chunk = done / KEYFILE_CHUNK_LEN;
		uint64_t end = (chunk + 1) * KEYFILE_CHUNK_LEN < size ?
				       (chunk + 1) * KEYFILE_CHUNK_LEN : size;

		if (progress && progress(done, size, arg))
			return KEYFILE_E_STOPPED;
		crypto_hash_sha256_init(&piece);
		while (done < end) {
			size_t n = end - done < KEYFILE_BUF_LEN ? (size_t)(end - done) : KEYFILE_BUF_LEN;

			r = read_slots(fd, done, bytes, n);
			if (r)
				return r;
			for (size_t i = 0; i < n; i += KEYFILE_SLOT_LEN)
				if (slot_is_empty(bytes + i))
					return KEYFILE_E_BAD_FILE;
			crypto_hash_sha256_update(&whole, bytes, n);
			if (chunk_hashes)
				crypto_hash_sha256_update(&piece, bytes, n);
			done += n;
		}
		if (chunk_hashes)
			crypto_hash_sha256_final(&piece, chunk_hashes + chunk * KEYFILE_HASH_LEN);
	}
	crypto_hash_sha256_final(&whole, sha256_out);
	wipe(&whole, sizeof(whole));
	wipe(&piece, sizeof(piece));
	if (progress)
		progress(size, size, arg);
	return 0;
}

int keyfile_read_chunk(int fd, uint64_t size, uint64_t chunk, uint64_t erased, uint64_t first,
		       size_t n, uint8_t *out, uint8_t hash[static KEYFILE_HASH_LEN])
{
	_cleanup_(secret_freep) struct secret *buf = NULL;
	uint64_t slot = chunk * KEYFILE_CHUNK_SLOTS, end = slot + KEYFILE_CHUNK_SLOTS;
	crypto_hash_sha256_state st;
	uint8_t *bytes;
	int r;

	if (end > size / KEYFILE_SLOT_LEN)
		end = size / KEYFILE_SLOT_LEN;
	assert(n == 0 || (first >= slot && n <= end - slot && first - slot <= end - slot - n));
	r = secret_new(&buf, KEYFILE_BUF_LEN, &bytes);
	if (r)
		return r;

	crypto_hash_sha256_init(&st);
	while (slot < end) {
		size_t slots = end - slot < KEYFILE_BUF_SLOTS ? (size_t)(end - slot) : KEYFILE_BUF_SLOTS;

		r = read_slots(fd, slot * KEYFILE_SLOT_LEN, bytes, slots * KEYFILE_SLOT_LEN);
		if (r)
			return r;
		if (slot < erased)
			memset(bytes, 0,
			       (erased - slot < slots ? (size_t)(erased - slot) : slots) *
				       KEYFILE_SLOT_LEN);
		crypto_hash_sha256_update(&st, bytes, slots * KEYFILE_SLOT_LEN);
		for (size_t i = 0; i < slots && n > 0; i++) {
			if (slot + i < first || slot + i >= first + n)
				continue;
			memcpy(out + (slot + i - first) * KEYFILE_SLOT_LEN,
			       bytes + i * KEYFILE_SLOT_LEN, KEYFILE_SLOT_LEN);
		}
		slot += slots;
	}
	crypto_hash_sha256_final(&st, hash);
	wipe(&st, sizeof(st));
	return 0;
}

/* ---- verifying ---- */

int keyfile_sidecar_parse(const char *text, size_t len, uint8_t hash[static KEYFILE_HASH_LEN],
			  const char **name, size_t *name_len)
{
	char hex[2 * KEYFILE_HASH_LEN + 1];
	uint8_t parsed[KEYFILE_HASH_LEN];
	const size_t head = 2 * KEYFILE_HASH_LEN + 2;

	if (len > 0 && text[len - 1] == '\n')
		len--;
	if (len <= head || memchr(text, '\n', len) || memchr(text, '\0', len))
		return KEYFILE_E_BAD_SIDECAR;
	if (text[head - 2] != ' ' || (text[head - 1] != ' ' && text[head - 1] != '*'))
		return KEYFILE_E_BAD_SIDECAR;
	memcpy(hex, text, 2 * KEYFILE_HASH_LEN);
	hex[2 * KEYFILE_HASH_LEN] = '\0';
	if (hex_parse(parsed, sizeof(parsed), hex))
		return KEYFILE_E_BAD_SIDECAR;

	memcpy(hash, parsed, sizeof(parsed));
	*name = text + head;
	*name_len = len - head;
	return 0;
}

static int load_sidecar(const char *path, uint8_t hash[static KEYFILE_HASH_LEN], char *detail,
			size_t cap)
{
	char side_path[PATH_MAX], copy[PATH_MAX];
	_cleanup_free_ char *text = NULL;
	const char *name, *slash, *own;
	size_t len, name_len;
	int r;

	if (snprintf(side_path, sizeof(side_path), "%s%s", path, KEYFILE_SIDECAR_SUFFIX) >=
	    (int)sizeof(side_path))
		return text_explain(detail, cap, -ENAMETOOLONG, "%.200s…: the name is too long", path);
	r = file_read(&text, &len, side_path, SIDECAR_MAX + PATH_MAX);
	if (r == -ENOENT)
		return text_explain(detail, cap, KEYFILE_E_NO_SIDECAR, "there is no %s", side_path);
	if (r && r != -EFBIG)
		return text_explain(detail, cap, r, "cannot read %s: %s", side_path, strerror(-r));
	if (r || keyfile_sidecar_parse(text, len, hash, &name, &name_len))
		return text_explain(detail, cap, KEYFILE_E_BAD_SIDECAR,
				    "%s is not one line as sha256sum writes it", side_path);

	/* sha256sum was perhaps given a path: the last part of it counts. */
	slash = memrchr(name, '/', name_len);
	if (slash) {
		name_len -= (size_t)(slash + 1 - name);
		name = slash + 1;
	}
	snprintf(copy, sizeof(copy), "%s", path);
	own = basename(copy);
	if (strlen(own) != name_len || memcmp(own, name, name_len) != 0)
		return text_explain(detail, cap, KEYFILE_E_BAD_SIDECAR, "%s was made for another file name",
				    side_path);
	return 0;
}

int keyfile_verify(const char *path, keyfile_progress_fn progress, void *arg,
		   uint8_t sha256_out[KEYFILE_HASH_LEN], struct keyfile_capacity *capacity,
		   char *detail, size_t detail_cap)
{
	_cleanup_close_ int fd = -1;
	uint8_t sum[KEYFILE_HASH_LEN], wanted[KEYFILE_HASH_LEN];
	uint64_t size;
	int r, side;

	fd = keyfile_open(path, false, &size, &r, detail, detail_cap);
	if (fd < 0)
		return r;
	side = load_sidecar(path, wanted, detail, detail_cap);
	if (side && side != KEYFILE_E_NO_SIDECAR)
		return side;

	r = keyfile_hash(fd, size, progress, arg, sum, NULL);
	if (r == KEYFILE_E_BAD_FILE)
		return text_explain(detail, detail_cap, r,
				    "%s has slots that are zero: it was used and erased, or is not random",
				    path);
	if (r == KEYFILE_E_STOPPED)
		return text_explain(detail, detail_cap, r, "stopped; %s was not read to its end", path);
	if (r)
		return text_explain(detail, detail_cap, r, "cannot read %s: %s", path, strerror(-r));

	if (sha256_out)
		memcpy(sha256_out, sum, sizeof(sum));
	if (capacity)
		keyfile_capacity(capacity, size);
	if (side)
		return side;
	if (memcmp(sum, wanted, sizeof(sum)) != 0)
		return text_explain(detail, detail_cap, KEYFILE_E_DIFFERS,
				    "%s is not the file that its sidecar was made for: "
				    "copied badly, changed, or used", path);
	return 0;
}
