/*
 * Constant time, checked: under valgrind secrets are marked as undefined, so
 * that memcheck reports each branch and each index that depends on one. Each
 * case is run by name; "list" names them. "leak" branches on a secret, so that
 * whoever runs this sees that it would be noticed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/cleanup.h"
#include "crypto/aead.h"
#include "crypto/bulk.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "crypto/sign.h"
#include "crypto/spake2.h"
#include "crypto/x25519.h"
#include "proto/secret_msg.h"

#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define mark_secret(p, len) VALGRIND_MAKE_MEM_UNDEFINED(p, len)
#define mark_public(p, len) VALGRIND_MAKE_MEM_DEFINED(p, len)
static bool is_watched(void)
{
	return RUNNING_ON_VALGRIND != 0;
}
#else
#define mark_secret(p, len) ((void)(p), (void)(len))
#define mark_public(p, len) ((void)(p), (void)(len))
static bool is_watched(void)
{
	return false;
}
#endif

static void must(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "ct-check: %s\n", what);
		exit(2);
	}
}

/* A random secret, marked. */
static struct secret *marked(size_t len)
{
	struct secret *s;

	must(secret_random(&s, len) == 0, "no memory");
	mark_secret(secret_bytes(s), len);
	return s;
}

static void run_secret_equal(void)
{
	_cleanup_(secret_freep) struct secret *a = marked(32), *b = marked(32);
	bool same = secret_equal(a, secret_bytes(b), 32);

	mark_public(&same, sizeof(same));
	must(!same, "two random secrets are equal");
}

static void run_bytes_equal(void)
{
	_cleanup_(secret_freep) struct secret *a = marked(100);
	uint8_t copy[100];
	bool same;

	memcpy(copy, secret_bytes(a), sizeof(copy));
	same = bytes_equal(secret_bytes(a), copy, sizeof(copy));
	mark_public(&same, sizeof(same));
	must(same, "a copy is not equal");
}

static void run_base64(void)
{
	_cleanup_(secret_freep) struct secret *a = marked(50);
	char text[BASE64_SPACE(50)];
	uint8_t back[50];
	size_t len;
	int r;

	for (enum base64_variant v = BASE64_STANDARD; v <= BASE64_URL; v++) {
		base64_encode(text, secret_bytes(a), 50, v);
		/* Where there may be padding, the end of the text is looked at. */
		if (v == BASE64_STANDARD)
			mark_public(text + 66, 2);
		r = base64_decode(back, sizeof(back), &len, text, v == BASE64_URL ? 67 : 68, v);
		mark_public(&r, sizeof(r));
		must(r == 0 && len == sizeof(back), "base64 does not come back");
	}
}

static void run_hmac(void)
{
	_cleanup_(secret_freep) struct secret *key = marked(32), *long_key = marked(100);
	_cleanup_(secret_freep) struct secret *data = marked(200);
	uint8_t mac[HMAC_SHA256_LEN];

	hmac_sha256(mac, secret_bytes(key), 32, secret_bytes(data), 200);
	hmac_sha256(mac, secret_bytes(long_key), 100, secret_bytes(data), 200);
}

static void run_hkdf(void)
{
	_cleanup_(secret_freep) struct secret *ikm = marked(32), *out = NULL;
	uint8_t okm[100];

	hkdf_sha256(okm, sizeof(okm), "salt", 4, secret_bytes(ikm), 32, "info", 4);
	hkdf_sha512(okm, sizeof(okm), "salt", 4, secret_bytes(ikm), 32, "info", 4);
	must(kdf_expand(&out, 64, ikm, "label") == 0, "no memory");
}

static void run_x25519(void)
{
	_cleanup_(secret_freep) struct secret *a = NULL, *b = NULL, *shared = NULL;
	uint8_t pub_a[X25519_LEN], pub_b[X25519_LEN];
	int r;

	must(x25519_keypair(&a, pub_a) == 0 && x25519_keypair(&b, pub_b) == 0, "no memory");
	mark_secret(secret_bytes(a), X25519_LEN);
	r = x25519(&shared, a, pub_b);
	mark_public(&r, sizeof(r));
	must(r == 0, "no agreement");
}

static void run_ed25519(void)
{
	_cleanup_(sign_key_freep) struct sign_key *key = NULL;
	uint8_t seed[SIGN_SEED_LEN], sig[SIGN_LEN];
	struct sign_public pub;

	random_bytes(seed, sizeof(seed));
	mark_secret(seed, sizeof(seed));
	must(sign_key_from_seed(&key, seed) == 0, "no memory");
	sign_key_public(key, &pub);
	sign_make(sig, key, "context", "message", 7);
	mark_public(&pub, sizeof(pub));
	mark_public(sig, sizeof(sig));
	must(sign_verify(sig, &pub, "context", "message", 7), "a signature does not verify");
}

static void run_aead(void)
{
	_cleanup_(secret_freep) struct secret *key = marked(AEAD_KEY_LEN);
	static const uint8_t nonce[AEAD_NONCE_LEN];
	uint8_t text[100 + AEAD_TAG_LEN];
	int r;

	memset(text, 'x', sizeof(text));
	mark_secret(text, 100);
	aead_seal(text, text, 100, "aad", 3, nonce, secret_bytes(key));
	mark_public(text, sizeof(text));
	r = aead_open(text, text, sizeof(text), "aad", 3, nonce, secret_bytes(key));
	mark_public(&r, sizeof(r));
	must(r == 0, "what was sealed does not open");
}

static void run_bulk(void)
{
	_cleanup_(secret_freep) struct secret *key = marked(AEAD_KEY_LEN);
	static const uint8_t nonce[AEAD_NONCE_LEN];
	uint8_t buf[BULK_HEADER_LEN + 100 + AEAD_TAG_LEN] = { 0 };
	int r;

	mark_secret(buf + BULK_HEADER_LEN, 100);
	bulk_seal(buf, 100, nonce, secret_bytes(key));
	mark_public(buf, sizeof(buf));
	r = bulk_open(buf, 100, nonce, secret_bytes(key));
	mark_public(&r, sizeof(r));
	must(r == 0, "what was sealed does not open");
}

/* One side with a marked password and scalar; its message goes over the wire and is public. */
static void start_side(struct spake2 **out, uint8_t msg[static SPAKE2_MSG_LEN],
		       enum spake2_side side, const struct secret *password)
{
	uint8_t seed[64];
	int r;

	random_bytes(seed, sizeof(seed));
	mark_secret(seed, sizeof(seed));
	r = spake2_new_seeded(out, side, secret_bytes(password), secret_len(password), "a", 1, "b",
			      1, seed);
	mark_public(&r, sizeof(r));
	must(r == 0, "a side does not start");
	spake2_message(*out, msg);
	mark_public(msg, SPAKE2_MSG_LEN);
}

static void run_spake2(void)
{
	_cleanup_(secret_freep) struct secret *password = marked(32), *key_a = NULL, *key_b = NULL;
	_cleanup_(spake2_freep) struct spake2 *a = NULL, *b = NULL;
	uint8_t msg_a[SPAKE2_MSG_LEN], msg_b[SPAKE2_MSG_LEN];
	bool same;
	int r[2];

	start_side(&a, msg_a, SPAKE2_A, password);
	start_side(&b, msg_b, SPAKE2_B, password);
	r[0] = spake2_finish(a, &key_a, msg_b, sizeof(msg_b));
	r[1] = spake2_finish(b, &key_b, msg_a, sizeof(msg_a));
	mark_public(r, sizeof(r));
	must(r[0] == 0 && r[1] == 0, "a side refuses");
	same = secret_equal(key_a, secret_bytes(key_b), SPAKE2_KEY_LEN);
	mark_public(&same, sizeof(same));
	must(same, "the keys differ");
}

static void run_pin(void)
{
	uint8_t in[SECRET_TICKET_LEN + 1 + 6] = { [SECRET_TICKET_LEN] = SECRET_PIN };
	struct secret_msg m;
	int r;

	memcpy(in + SECRET_TICKET_LEN + 1, "123456", 6);
	mark_secret(in + SECRET_TICKET_LEN + 1, 6);
	r = secret_msg_decode(&m, in, sizeof(in));
	mark_public(&r, sizeof(r));
	must(r == 0, "a PIN is refused");
}

static void run_leak(void)
{
	_cleanup_(secret_freep) struct secret *a = marked(1);

	if (secret_bytes(a)[0] & 1)
		fputs("odd\n", stderr);
}

static const struct check {
	const char *name;
	void (*run)(void);
} checks[] = {
	{ "secret_equal", run_secret_equal },
	{ "bytes_equal", run_bytes_equal },
	{ "base64", run_base64 },
	{ "hmac_sha256", run_hmac },
	{ "hkdf", run_hkdf },
	{ "x25519", run_x25519 },
	{ "ed25519", run_ed25519 },
	{ "aead", run_aead },
	{ "bulk", run_bulk },
	{ "spake2", run_spake2 },
	{ "pin", run_pin },
	{ "leak", run_leak },
};

int main(int argc, char **argv)
{
	must(argc == 2, "usage: ct-check list|NAME");
	must(crypto_init() == 0, "cannot start the crypto library");
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		if (!strcmp(argv[1], "list")) {
			puts(checks[i].name);
		} else if (!strcmp(argv[1], checks[i].name)) {
			must(is_watched(), "not under valgrind, or built without its headers");
			checks[i].run();
			return 0;
		}
	}
	must(!strcmp(argv[1], "list"), "no such check");
	return 0;
}
