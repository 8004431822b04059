#include "ct/ct.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <sodium.h>

#include "crypto/aead.h"
#include "crypto/group.h"
#include "crypto/keyfile_io.h"
#include "crypto/seal.h"
#include "crypto/sign.h"
#include "crypto/spake2.h"
#include "crypto/x25519.h"
#include "proto/psk2.h"
#include "proto/psk_handshake.h"

#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#else
#define RUNNING_ON_VALGRIND 0
#define VALGRIND_COUNT_ERRORS 0
#define VALGRIND_PRINTF(...) ((void)0)
#define VALGRIND_MAKE_MEM_UNDEFINED(p, len) ((void)(p), (void)(len))
#define VALGRIND_MAKE_MEM_DEFINED(p, len) ((void)(p), (void)(len))
#define VALGRIND_SET_VBITS(p, bits, len) ((void)(p), (void)(bits), (void)(len))
#endif

static struct check *checks, **last = &checks;
static char tmpdir[64];

bool reads_are_secret, answers_are_secret, randoms_are_public;

void check_register(struct check *c)
{
	*last = c;
	last = &c->next;
}

void mark_secret(const void *p, size_t len)
{
	VALGRIND_MAKE_MEM_UNDEFINED(p, len);
}

void mark_public(const void *p, size_t len)
{
	VALGRIND_MAKE_MEM_DEFINED(p, len);
}

void mark_digits(const void *p, size_t len)
{
	static const uint8_t low_half = 0x0f;

	for (size_t i = 0; i < len; i++)
		(void)VALGRIND_SET_VBITS((const uint8_t *)p + i, &low_half, 1);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void remove_tmpdir(void)
{
	if (*tmpdir)
		nftw(tmpdir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *ct_tmpdir(void)
{
	if (!*tmpdir) {
		strcpy(tmpdir, "/tmp/handfast-ct-XXXXXX");
		must(mkdtemp(tmpdir) != NULL, "no temporary folder");
	}
	return tmpdir;
}

void must(bool ok, const char *what)
{
	if (!ok) {
		printf("FAIL broken: %s\n", what);
		remove_tmpdir();
		exit(2);
	}
}

void must_be(int r, int wanted, const char *what)
{
	mark_public(&r, sizeof(r));
	must(r == wanted, what);
}

struct secret *marked(size_t len)
{
	struct secret *s;

	must(secret_random(&s, len) == 0, "no memory");
	mark_secret(secret_bytes(s), len);
	return s;
}

/* ---- what is looked through ---- */

void __real_random_bytes(void *out, size_t len);
void __wrap_random_bytes(void *out, size_t len);
void __wrap_random_bytes(void *out, size_t len)
{
	__real_random_bytes(out, len);
	if (!randoms_are_public)
		mark_secret(out, len);
}

int __real_random_bulk(void *out, size_t len);
int __wrap_random_bulk(void *out, size_t len);
int __wrap_random_bulk(void *out, size_t len)
{
	int r = __real_random_bulk(out, len);

	mark_secret(out, len);
	return r;
}

int __real_file_pread_all(int fd, void *buf, size_t len, off_t at);
int __wrap_file_pread_all(int fd, void *buf, size_t len, off_t at);
int __wrap_file_pread_all(int fd, void *buf, size_t len, off_t at)
{
	int r = __real_file_pread_all(fd, buf, len, at);

	if (!r && reads_are_secret)
		mark_secret(buf, len);
	return r;
}

/* That two tags, MACs, commitments or keys are equal decides what happens next, for all to see. */
bool __real_bytes_equal(const void *a, const void *b, size_t len);
bool __wrap_bytes_equal(const void *a, const void *b, size_t len);
bool __wrap_bytes_equal(const void *a, const void *b, size_t len)
{
	bool same = __real_bytes_equal(a, b, len);

	if (!answers_are_secret)
		mark_public(&same, sizeof(same));
	return same;
}

/* An erased slot, a scalar that is none: both are refused. */
int __real_sodium_is_zero(const unsigned char *n, size_t len);
int __wrap_sodium_is_zero(const unsigned char *n, size_t len);
int __wrap_sodium_is_zero(const unsigned char *n, size_t len)
{
	int zero = __real_sodium_is_zero(n, len);

	mark_public(&zero, sizeof(zero));
	return zero;
}

/* What came out is a peer's message or a packet of a person's traffic: parsed, and no key. */
int __real_aead_open(uint8_t *out, const uint8_t *in, size_t len, const void *aad, size_t aad_len,
		     const uint8_t *nonce, const uint8_t *key);
int __wrap_aead_open(uint8_t *out, const uint8_t *in, size_t len, const void *aad, size_t aad_len,
		     const uint8_t *nonce, const uint8_t *key);
int __wrap_aead_open(uint8_t *out, const uint8_t *in, size_t len, const void *aad, size_t aad_len,
		     const uint8_t *nonce, const uint8_t *key)
{
	int r = __real_aead_open(out, in, len, aad, aad_len, nonce, key);

	mark_public(&r, sizeof(r));
	if (!r)
		mark_public(out, len - AEAD_TAG_LEN);
	return r;
}

int __real_bulk_open(uint8_t *header, size_t len, const uint8_t *nonce, const uint8_t *key);
int __wrap_bulk_open(uint8_t *header, size_t len, const uint8_t *nonce, const uint8_t *key);
int __wrap_bulk_open(uint8_t *header, size_t len, const uint8_t *nonce, const uint8_t *key)
{
	int r = __real_bulk_open(header, len, nonce, key);

	mark_public(&r, sizeof(r));
	if (!r)
		mark_public(header, 32 + len);
	return r;
}

/* What is sealed under the state key stays secret. */
int __real_seal_open(uint8_t *out, const uint8_t *in, size_t len, const void *aad, size_t aad_len,
		     const struct seal_key *k);
int __wrap_seal_open(uint8_t *out, const uint8_t *in, size_t len, const void *aad, size_t aad_len,
		     const struct seal_key *k);
int __wrap_seal_open(uint8_t *out, const uint8_t *in, size_t len, const void *aad, size_t aad_len,
		     const struct seal_key *k)
{
	int r = __real_seal_open(out, in, len, aad, aad_len, k);

	mark_public(&r, sizeof(r));
	return r;
}

int __real_seal_blob_open(struct secret **out, const void *blob, size_t len, const void *context,
			  size_t context_len, const struct seal_key *k);
int __wrap_seal_blob_open(struct secret **out, const void *blob, size_t len, const void *context,
			  size_t context_len, const struct seal_key *k);
int __wrap_seal_blob_open(struct secret **out, const void *blob, size_t len, const void *context,
			  size_t context_len, const struct seal_key *k)
{
	int r = __real_seal_blob_open(out, blob, len, context, context_len, k);

	mark_public(&r, sizeof(r));
	return r;
}

/* A share that is none, or of small order: the pairing ends. */
int __real_x25519(struct secret **out, const struct secret *own, const uint8_t *peer);
int __wrap_x25519(struct secret **out, const struct secret *own, const uint8_t *peer);
int __wrap_x25519(struct secret **out, const struct secret *own, const uint8_t *peer)
{
	int r = __real_x25519(out, own, peer);

	mark_public(&r, sizeof(r));
	return r;
}

int __real_spake2_finish(struct spake2 *s, struct secret **key, const uint8_t *msg, size_t len);
int __wrap_spake2_finish(struct spake2 *s, struct secret **key, const uint8_t *msg, size_t len);
int __wrap_spake2_finish(struct spake2 *s, struct secret **key, const uint8_t *msg, size_t len)
{
	int r = __real_spake2_finish(s, key, msg, len);

	mark_public(&r, sizeof(r));
	return r;
}

int __real_spake2_new_seeded(struct spake2 **out, enum spake2_side side, const uint8_t *password,
			     size_t password_len, const void *id_a, size_t id_a_len, const void *id_b,
			     size_t id_b_len, const uint8_t *seed);
int __wrap_spake2_new_seeded(struct spake2 **out, enum spake2_side side, const uint8_t *password,
			     size_t password_len, const void *id_a, size_t id_a_len, const void *id_b,
			     size_t id_b_len, const uint8_t *seed);
int __wrap_spake2_new_seeded(struct spake2 **out, enum spake2_side side, const uint8_t *password,
			     size_t password_len, const void *id_a, size_t id_a_len, const void *id_b,
			     size_t id_b_len, const uint8_t *seed)
{
	int r = __real_spake2_new_seeded(out, side, password, password_len, id_a, id_a_len, id_b, id_b_len, seed);

	mark_public(&r, sizeof(r));
	return r;
}

/*
 * Whether a scalar or an element is one. Peers' are refused in public; our own are
 * refused for one random choice in 2^252.
 */
int __real_group_check_scalar(const uint8_t *scalar);
int __wrap_group_check_scalar(const uint8_t *scalar);
int __wrap_group_check_scalar(const uint8_t *scalar)
{
	int r = __real_group_check_scalar(scalar);

	mark_public(&r, sizeof(r));
	return r;
}

int __real_group_multiply(uint8_t *out, const uint8_t *scalar, const uint8_t *element);
int __wrap_group_multiply(uint8_t *out, const uint8_t *scalar, const uint8_t *element);
int __wrap_group_multiply(uint8_t *out, const uint8_t *scalar, const uint8_t *element)
{
	int r = __real_group_multiply(out, scalar, element);

	mark_public(&r, sizeof(r));
	return r;
}

int __real_group_invert(uint8_t *out, const uint8_t *scalar);
int __wrap_group_invert(uint8_t *out, const uint8_t *scalar);
int __wrap_group_invert(uint8_t *out, const uint8_t *scalar)
{
	int r = __real_group_invert(out, scalar);

	mark_public(&r, sizeof(r));
	return r;
}

int __real_group_public_key(uint8_t *out, const uint8_t *scalar);
int __wrap_group_public_key(uint8_t *out, const uint8_t *scalar);
int __wrap_group_public_key(uint8_t *out, const uint8_t *scalar)
{
	int r = __real_group_public_key(out, scalar);

	mark_public(&r, sizeof(r));
	return r;
}

bool __real_pskh_is_authentic(const uint8_t *msg, size_t len, const uint8_t *key);
bool __wrap_pskh_is_authentic(const uint8_t *msg, size_t len, const uint8_t *key);
bool __wrap_pskh_is_authentic(const uint8_t *msg, size_t len, const uint8_t *key)
{
	bool good = __real_pskh_is_authentic(msg, len, key);

	mark_public(&good, sizeof(good));
	return good;
}

void __real_sign_key_public(const struct sign_key *k, struct sign_public *out);
void __wrap_sign_key_public(const struct sign_key *k, struct sign_public *out);
void __wrap_sign_key_public(const struct sign_key *k, struct sign_public *out)
{
	__real_sign_key_public(k, out);
	mark_public(out, sizeof(*out));
}

/* On the wire from here on. */
size_t __real_pskh_encode(uint8_t *out, const struct pskh *m, const uint8_t *key);
size_t __wrap_pskh_encode(uint8_t *out, const struct pskh *m, const uint8_t *key);
size_t __wrap_pskh_encode(uint8_t *out, const struct pskh *m, const uint8_t *key)
{
	size_t len = __real_pskh_encode(out, m, key);

	mark_public(out, len);
	return len;
}

void __real_psk2_header_encode(uint8_t *out, const struct psk2_header *h);
void __wrap_psk2_header_encode(uint8_t *out, const struct psk2_header *h);
void __wrap_psk2_header_encode(uint8_t *out, const struct psk2_header *h)
{
	__real_psk2_header_encode(out, h);
	mark_public(out, PSK2_HEADER_LEN);
}

/* Of our files only keyfile_io.c hashes piece by piece: a key file's fingerprint, which is shown. */
int __real_crypto_hash_sha256_final(crypto_hash_sha256_state *st, unsigned char *out);
int __wrap_crypto_hash_sha256_final(crypto_hash_sha256_state *st, unsigned char *out);
int __wrap_crypto_hash_sha256_final(crypto_hash_sha256_state *st, unsigned char *out)
{
	int r = __real_crypto_hash_sha256_final(st, out);

	mark_public(out, KEYFILE_HASH_LEN);
	return r;
}

/* Sent in clear, to name the key material. */
struct keys;
__attribute__((weak)) void __real_keys_hint(const struct keys *k, uint8_t *out);
void __wrap_keys_hint(const struct keys *k, uint8_t *out);
void __wrap_keys_hint(const struct keys *k, uint8_t *out)
{
	__real_keys_hint(k, out);
	mark_public(out, 8);
}

/* Shown on both screens: it proves, it hides nothing. */
__attribute__((weak)) void __real_sas_format(char *out, const uint8_t *value);
void __wrap_sas_format(char *out, const uint8_t *value);
void __wrap_sas_format(char *out, const uint8_t *value)
{
	__real_sas_format(out, value);
	mark_public(out, 7);
}

/* A transcript is of what the relay sees. */
struct transcript;
__attribute__((weak)) void __real_transcript_add(struct transcript *t, int role, uint8_t kind, uint64_t seq,
						 const uint8_t *body, size_t len);
void __wrap_transcript_add(struct transcript *t, int role, uint8_t kind, uint64_t seq, const uint8_t *body,
			   size_t len);
void __wrap_transcript_add(struct transcript *t, int role, uint8_t kind, uint64_t seq, const uint8_t *body,
			   size_t len)
{
	mark_public(body, len);
	__real_transcript_add(t, role, kind, seq, body, len);
}

/* ---- the program ---- */

CHECK(planted_branch)
{
	_cleanup_(secret_freep) struct secret *a = marked(1);

	if (secret_bytes(a)[0] & 1)
		fputs("\n", stderr);
}

CHECK(planted_index)
{
	static const volatile uint8_t table[256] = { 1, 2, 3 };
	_cleanup_(secret_freep) struct secret *a = marked(1);
	volatile uint8_t sink = table[secret_bytes(a)[0]];

	(void)sink;
}

/* Memcheck's word on one check. */
static int judge(const struct check *c)
{
	bool planted = strncmp(c->name, "planted_", 8) == 0;
	unsigned int before = (unsigned int)VALGRIND_COUNT_ERRORS, n;

	VALGRIND_PRINTF("check %s\n", c->name);
	c->run();
	reads_are_secret = answers_are_secret = randoms_are_public = false;
	n = (unsigned int)VALGRIND_COUNT_ERRORS - before;
	if (planted == (n > 0)) {
		printf("ok %s%s\n", c->name, planted ? "_is_seen" : "");
		return 0;
	}
	printf("FAIL %s: %u reports of memcheck\n", c->name, n);
	return 1;
}

int main(int argc, char **argv)
{
	int failed = 0;

	must(crypto_init() == 0, "cannot start the crypto library");
	if (!RUNNING_ON_VALGRIND) {
		puts("skip constant_time: not under valgrind, or built without its headers");
		return 0;
	}
	for (struct check *c = checks; c; c = c->next) {
		if (argc > 1 && !strstr(c->name, argv[1]))
			continue;
		failed += judge(c);
		fflush(stdout);
	}
	remove_tmpdir();
	return failed ? 1 : 0;
}
