/*
 * What common/ does with secrets. Not here: argon2id(), whose memory accesses
 * depend on the password from the middle of its first pass on, by its design
 * (RFC 9106 section 1): whoever could watch them on this machine reads more.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "base/base64.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "crypto/aead.h"
#include "crypto/archive.h"
#include "crypto/bulk.h"
#include "crypto/kdf.h"
#include "crypto/keyfile_io.h"
#include "crypto/opaque.h"
#include "crypto/oprf.h"
#include "crypto/seal.h"
#include "crypto/sign.h"
#include "crypto/spake2.h"
#include "crypto/x25519.h"
#include "ct/ct.h"
#include "proto/bundle.h"
#include "proto/identity_msg.h"
#include "proto/pop.h"
#include "proto/psk2.h"
#include "proto/psk_handshake.h"
#include "proto/secret_msg.h"

/* ---- memory and comparing ---- */

CHECK(secret_equal)
{
	_cleanup_(secret_freep) struct secret *a = marked(32), *b = marked(32);
	bool same = secret_equal(a, secret_bytes(b), 32);

	mark_public(&same, sizeof(same));
	must(!same, "two random secrets are equal");
}

CHECK(bytes_equal)
{
	_cleanup_(secret_freep) struct secret *a = marked(100);
	uint8_t copy[100];

	memcpy(copy, secret_bytes(a), sizeof(copy));
	must(bytes_equal(secret_bytes(a), copy, sizeof(copy)), "a copy is not equal");
	copy[99] ^= 1;
	must(!bytes_equal(secret_bytes(a), copy, sizeof(copy)), "what differs is equal");
}

CHECK(secret_memory)
{
	_cleanup_(secret_freep) struct secret *small = marked(32), *large = marked(10000);
	_cleanup_(secret_freep) struct secret *copy = NULL, *taken = NULL;
	uint8_t bytes[32];

	memcpy(bytes, secret_bytes(small), sizeof(bytes));
	must_be(secret_dup(&copy, large), 0, "no memory");
	must_be(secret_take(&taken, bytes, sizeof(bytes)), 0, "no memory");
	wipe(bytes, sizeof(bytes));
}

/* ---- as text ---- */

CHECK(base64)
{
	_cleanup_(secret_freep) struct secret *a = marked(50);
	char text[BASE64_SPACE(50)];
	uint8_t back[50];
	size_t len;

	for (enum base64_variant v = BASE64_STANDARD; v <= BASE64_URL; v++) {
		base64_encode(text, secret_bytes(a), 50, v);
		/* Where there may be padding, the end of the text is looked at. */
		if (v == BASE64_STANDARD)
			mark_public(text + 66, 2);
		must_be(base64_decode(back, sizeof(back), &len, text, v == BASE64_URL ? 67 : 68, v), 0,
			"base64 does not come back");
		must(len == sizeof(back), "base64 comes back shorter");
	}
}

CHECK(hex)
{
	_cleanup_(secret_freep) struct secret *a = marked(16);
	uint8_t bytes[16], back[16];
	char text[33], changed[33];

	hex_format(text, secret_bytes(a), 16);
	/* Letters and digits are told apart by nobody; that there are 32 is no secret. */
	memcpy(bytes, secret_bytes(a), sizeof(bytes));
	mark_public(bytes, sizeof(bytes));
	mark_public(text, sizeof(text));
	memcpy(changed, text, sizeof(text));
	for (size_t i = 0; i < 32; i++)
		changed[i] = '7';
	mark_digits(changed, 32);
	must_be(hex_parse(back, sizeof(back), changed), 0, "hex is refused");
	must_be(hex_parse(back, sizeof(back), text), 0, "hex does not come back");
	must(memcmp(back, bytes, sizeof(back)) == 0, "hex comes back changed");
}

/* ---- hashes and keys ---- */

CHECK(sha2)
{
	_cleanup_(secret_freep) struct secret *data = marked(200);
	uint8_t out[SHA512_LEN];

	sha256(out, secret_bytes(data), 200);
	sha512(out, secret_bytes(data), 200);
}

CHECK(hmac_sha256)
{
	_cleanup_(secret_freep) struct secret *key = marked(32), *long_key = marked(100);
	_cleanup_(secret_freep) struct secret *data = marked(200);
	uint8_t mac[HMAC_SHA256_LEN];

	hmac_sha256(mac, secret_bytes(key), 32, secret_bytes(data), 200);
	hmac_sha256(mac, secret_bytes(long_key), 100, secret_bytes(data), 200);
}

CHECK(hkdf)
{
	_cleanup_(secret_freep) struct secret *ikm = marked(32), *salt = marked(32), *out = NULL;
	uint8_t okm[100];

	hkdf_sha256(okm, sizeof(okm), secret_bytes(salt), 32, secret_bytes(ikm), 32, "info", 4);
	hkdf_sha512(okm, sizeof(okm), secret_bytes(salt), 32, secret_bytes(ikm), 32, "info", 4);
	must_be(kdf_expand(&out, 64, ikm, "label"), 0, "no memory");
}

/* ---- X25519 and Ed25519 ---- */

CHECK(x25519)
{
	_cleanup_(secret_freep) struct secret *a = NULL, *b = NULL, *ab = NULL, *ba = NULL;
	uint8_t pub_a[X25519_LEN], pub_b[X25519_LEN];

	must_be(x25519_keypair(&a, pub_a), 0, "no memory");
	must_be(x25519_keypair(&b, pub_b), 0, "no memory");
	mark_public(pub_a, sizeof(pub_a));
	mark_public(pub_b, sizeof(pub_b));
	must_be(x25519(&ab, a, pub_b), 0, "no agreement");
	must_be(x25519(&ba, b, pub_a), 0, "no agreement");
	must_be(secret_equal(ab, secret_bytes(ba), X25519_LEN), true, "no common secret");
}

CHECK(x25519_of_a_point_of_small_order)
{
	static const uint8_t zero[X25519_LEN];
	_cleanup_(secret_freep) struct secret *a = marked(X25519_LEN), *shared = NULL;

	must_be(x25519(&shared, a, zero), -EBADMSG, "a point of small order is taken");
}

static struct sign_key *marked_key(void)
{
	uint8_t seed[SIGN_SEED_LEN];
	struct sign_key *key;

	random_bytes(seed, sizeof(seed));
	must_be(sign_key_from_seed(&key, seed), 0, "no memory");
	return key;
}

CHECK(ed25519_sign)
{
	_cleanup_(sign_key_freep) struct sign_key *key = marked_key();
	uint8_t sig[SIGN_LEN], message[100];
	struct sign_public pub;

	random_bytes(message, sizeof(message));
	sign_make(sig, key, "context", message, sizeof(message));
	mark_public(message, sizeof(message));
	mark_public(sig, sizeof(sig));
	sign_key_public(key, &pub);
	must(sign_verify(sig, &pub, "context", message, sizeof(message)), "a signature does not verify");
	sign_make_plain(sig, key, message, sizeof(message));
}

CHECK(ed25519_keys)
{
	_cleanup_(sign_key_freep) struct sign_key *made = NULL, *again = NULL;
	_cleanup_(secret_freep) struct secret *seed = NULL;
	uint8_t copy[SIGN_SEED_LEN];

	must_be(sign_key_generate(&made), 0, "no memory");
	must_be(sign_key_seed(made, &seed), 0, "no memory");
	memcpy(copy, secret_bytes(seed), sizeof(copy));
	must_be(sign_key_from_seed(&again, copy), 0, "no memory");
}

/* ---- sealing ---- */

CHECK(aead)
{
	_cleanup_(secret_freep) struct secret *key = marked(AEAD_KEY_LEN), *nonce = marked(AEAD_NONCE_LEN);
	uint8_t text[100 + AEAD_TAG_LEN];

	random_bytes(text, 100);
	aead_seal(text, text, 100, "aad", 3, secret_bytes(nonce), secret_bytes(key));
	mark_public(text, sizeof(text));
	must_be(aead_open(text, text, sizeof(text), "aad", 3, secret_bytes(nonce), secret_bytes(key)), 0,
		"what was sealed does not open");
}

CHECK(aead_of_a_wrong_tag)
{
	_cleanup_(secret_freep) struct secret *key = marked(AEAD_KEY_LEN);
	static const uint8_t nonce[AEAD_NONCE_LEN];
	uint8_t text[100 + AEAD_TAG_LEN] = { 0 };

	must_be(aead_open(text, text, sizeof(text), NULL, 0, nonce, secret_bytes(key)), -EBADMSG,
		"what was not sealed opens");
}

/* One length for each way through it: less and more than its prepared stream, and ends of all kinds. */
static void seal_in_bulk(void)
{
	static const size_t lengths[] = { 0, 1, 15, 16, 31, 100, 1420, 9000 };
	_cleanup_(secret_freep) struct secret *key = marked(AEAD_KEY_LEN), *nonce = marked(AEAD_NONCE_LEN);
	static uint8_t buf[BULK_HEADER_LEN + 9000 + AEAD_TAG_LEN];

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		size_t n = lengths[i];

		random_bytes(buf + BULK_HEADER_LEN, n);
		bulk_seal(buf, n, secret_bytes(nonce), secret_bytes(key));
		mark_public(buf, sizeof(buf));
		must_be(bulk_open(buf, n, secret_bytes(nonce), secret_bytes(key)), 0,
			"what was sealed does not open");
		must_be(bulk_open(buf, n, secret_bytes(nonce), secret_bytes(key)), n ? -EBADMSG : 0,
			"what was not sealed opens");
	}
}

CHECK(bulk)
{
	seal_in_bulk();
}

/* Where it can be had: valgrind's processor has AVX2. The proof at the start goes by random keys, which are public here. */
CHECK(bulk_by_ipsec_mb)
{
	int r;

	randoms_are_public = true;
	r = bulk_choose(BULK_IPSEC_MB);
	randoms_are_public = false;
	must(r != BULK_E_WRONG, "ipsec-mb does not seal as libsodium does");
	seal_in_bulk();
	must_be(bulk_choose(BULK_SODIUM), 0, "there is no way back");
}

CHECK(state_key)
{
	_cleanup_(secret_freep) struct secret *master = marked(32), *text = marked(96), *back = NULL;
	_cleanup_(seal_key_freep) struct seal_key *key = NULL;
	uint8_t blob[96 + SEAL_BLOB_EXTRA];

	must_be(seal_key_new(&key, master, "label"), 0, "no memory");
	/* It lies in clear beside whatever is sealed. */
	mark_public(seal_key_id(key), SEAL_ID_LEN);
	seal_blob(blob, secret_bytes(text), 96, "context", 7, key);
	mark_public(blob, sizeof(blob));
	must_be(seal_blob_open(&back, blob, sizeof(blob), "context", 7, key), 0,
		"what was sealed does not open");
	back = secret_free(back);
	blob[60] ^= 1;
	must_be(seal_blob_open(&back, blob, sizeof(blob), "context", 7, key), SEAL_E_BROKEN,
		"what was changed opens");
}

/* A backup's header, without the work that Argon2id would be. */
static void make_archive(struct pages *out, const struct secret *key, const uint8_t *data, size_t len)
{
	static const char label[] = "handfast backup check";
	crypto_secretstream_xchacha20poly1305_state st;
	uint8_t head[ARCHIVE_HEAD_LEN] = "handfast backup\n", sum[SHA256_LEN];

	be32_store(head + 16, ARCHIVE_VERSION);
	be32_store(head + 20, ARCHIVE_MEM_KIB_MIN);
	be32_store(head + 24, 1);
	crypto_secretstream_xchacha20poly1305_init_push(&st, head + 44, secret_bytes(key));
	hkdf_sha256(head + 68, 16, NULL, 0, secret_bytes(key) + 32, 32, label, strlen(label));
	mark_public(head, sizeof(head));
	sha256(sum, head, 84);
	memcpy(head + 84, sum, 8);
	must_be(pages_init(out, sizeof(head) + len + ARCHIVE_CHUNK_EXTRA), 0, "no memory");
	memcpy(out->p, head, sizeof(head));
	crypto_secretstream_xchacha20poly1305_push(&st, out->p + sizeof(head), NULL, data, len, head, sizeof(head),
						   crypto_secretstream_xchacha20poly1305_TAG_FINAL);
	out->len = sizeof(head) + len + ARCHIVE_CHUNK_EXTRA;
	mark_public(out->p, out->len);
}

CHECK(archive_open)
{
	_cleanup_(secret_freep) struct secret *key = marked(64), *other = marked(64), *data = marked(3000);
	struct pages file, back;

	make_archive(&file, key, secret_bytes(data), 3000);
	must_be(archive_open_with(&back, file.p, file.len, key), 0, "a backup does not open");
	pages_done(&back);
	must_be(archive_open_with(&back, file.p, file.len, other), ARCHIVE_E_PASSPHRASE,
		"a wrong passphrase is not noticed");
	file.p[file.len - 1] ^= 1;
	must_be(archive_open_with(&back, file.p, file.len, key), ARCHIVE_E_BROKEN, "a changed backup opens");
	pages_done(&file);
}

CHECK(bundle_of_a_backup)
{
	_cleanup_(secret_freep) struct secret *data = marked(500);
	uint8_t buf[BUNDLE_HEAD_LEN + BUNDLE_PREFIX_MAX + 500 + BUNDLE_END_LEN] = { 0 };
	struct bundle_piece piece;
	size_t len = BUNDLE_HEAD_LEN;

	bundle_head(buf);
	len += bundle_prefix(buf + len, "pairingd/identity", 500);
	memcpy(buf + len, secret_bytes(data), 500);
	len += 500 + BUNDLE_END_LEN;
	must_be(bundle_check(buf, len, NULL), 0, "a bundle is refused");
	must(bundle_find(buf, len, "pairingd/identity", &piece), "a piece is not found");
}

/* ---- SPAKE2 ---- */

/* One side; its message goes over the wire and is public. */
static void start_side(struct spake2 **out, uint8_t msg[static SPAKE2_MSG_LEN],
		       enum spake2_side side, const struct secret *password)
{
	must_be(spake2_new(out, side, secret_bytes(password), secret_len(password), "a", 1, "b", 1), 0,
		"a side does not start");
	spake2_message(*out, msg);
	mark_public(msg, SPAKE2_MSG_LEN);
}

static bool run_spake2(const struct secret *alice, const struct secret *bob)
{
	_cleanup_(secret_freep) struct secret *key_a = NULL, *key_b = NULL;
	_cleanup_(spake2_freep) struct spake2 *a = NULL, *b = NULL;
	uint8_t msg_a[SPAKE2_MSG_LEN], msg_b[SPAKE2_MSG_LEN];
	bool same;

	start_side(&a, msg_a, SPAKE2_A, alice);
	start_side(&b, msg_b, SPAKE2_B, bob);
	must_be(spake2_finish(a, &key_a, msg_b, sizeof(msg_b)), 0, "a side refuses");
	must_be(spake2_finish(b, &key_b, msg_a, sizeof(msg_a)), 0, "a side refuses");
	same = secret_equal(key_a, secret_bytes(key_b), SPAKE2_KEY_LEN);
	mark_public(&same, sizeof(same));
	return same;
}

CHECK(spake2)
{
	_cleanup_(secret_freep) struct secret *password = marked(32);

	must(run_spake2(password, password), "the keys differ");
}

CHECK(spake2_with_another_password)
{
	_cleanup_(secret_freep) struct secret *alice = marked(32), *bob = marked(32);

	must(!run_spake2(alice, bob), "two passwords give one key");
}

CHECK(spake2_of_no_element)
{
	_cleanup_(secret_freep) struct secret *password = marked(32), *key = NULL;
	uint8_t msg[SPAKE2_MSG_LEN], bad[SPAKE2_MSG_LEN] = { 'B', 2 };
	_cleanup_(spake2_freep) struct spake2 *a = NULL;

	start_side(&a, msg, SPAKE2_A, password);
	must_be(spake2_finish(a, &key, bad, sizeof(bad)), SPAKE2_E_BAD_MESSAGE, "no element is taken");
}

/* ---- messages that carry secrets ---- */

CHECK(pin_handed_over)
{
	struct secret_msg in = { .class = SECRET_PIN, .value_len = 6 }, out;
	uint8_t pin[6], msg[SECRET_MSG_MAX];
	ssize_t len;

	memcpy(pin, "493817", 6);
	mark_secret(pin, 6);
	in.value = pin;
	len = secret_msg_encode(msg, sizeof(msg), &in);
	must(len > 0, "a PIN is not encoded");
	must_be(secret_msg_decode(&out, msg, (size_t)len), 0, "a PIN is refused");
}

CHECK(secret_handed_over)
{
	_cleanup_(secret_freep) struct secret *value = marked(40);
	struct secret_msg in = { .class = SECRET_SEC, .value = secret_bytes(value), .value_len = 40 }, out;
	uint8_t msg[SECRET_MSG_MAX];
	ssize_t len = secret_msg_encode(msg, sizeof(msg), &in);

	must(len > 0, "a secret is not encoded");
	must_be(secret_msg_decode(&out, msg, (size_t)len), 0, "a secret is refused");
}

CHECK(root_handed_over)
{
	struct identity_root in = { .role = IDENTITY_ALICE, .own_port = 7200, .peer_port = 7201 }, out;
	uint8_t msg[2048];
	ssize_t len;

	strcpy(in.peer_name, "pi");
	memset(in.peer_public.b, 7, sizeof(in.peer_public.b));
	identity_id(in.peer_id, &in.peer_public);
	random_bytes(in.root, sizeof(in.root));
	len = identity_root_encode(msg, sizeof(msg), &in);
	must(len > 0, "a root is not encoded");
	must_be(identity_root_decode(&out, msg, (size_t)len), 0, "a root is refused");
	identity_root_wipe(&in);
	identity_root_wipe(&out);
}

CHECK(handshake_mac)
{
	_cleanup_(secret_freep) struct secret *key = marked(PSKH_KEY_LEN), *other = marked(PSKH_KEY_LEN);
	struct pskh m = { .type = PSKH_HELLO, .role = PSKH_INITIATOR, .tx_next = 1234 };
	uint8_t msg[PSKH_MAX];
	size_t len;

	random_bytes(m.nonce_a, sizeof(m.nonce_a));
	len = pskh_encode(msg, &m, secret_bytes(key));
	must(pskh_is_authentic(msg, len, secret_bytes(key)), "our own MAC is refused");
	must(!pskh_is_authentic(msg, len, secret_bytes(other)), "another key's MAC is taken");
}

CHECK(packet_nonce)
{
	_cleanup_(secret_freep) struct secret *nonce = marked(PSK2_NONCE_LEN);
	uint8_t out[PSK2_NONCE_LEN];

	psk2_nonce(out, secret_bytes(nonce), 123456789);
}

/* Made, and read through. */
CHECK(keyfile_io)
{
	char path[256], detail[256];

	snprintf(path, sizeof(path), "%s/made.key", ct_tmpdir());
	must_be(keyfile_make(path, 300 * KEYFILE_SLOT_LEN, "/dev/urandom", NULL, NULL, NULL, NULL, detail, sizeof(detail)), 0,
		"a key file is not made");
	reads_are_secret = true;
	must_be(keyfile_verify(path, NULL, NULL, NULL, NULL, detail, sizeof(detail)), 0, "a key file is refused");
}

/* ---- OPAQUE ---- */

/* What a client that has gone halfway, and its server, hold. */
struct opaque_sides {
	struct opaque_keys *keys;
	struct opaque_client *client;
	uint8_t record[OPAQUE_RECORD_LEN];
};

static const struct opaque_ids opaque_ids = { "alice", 5, "https://example.org", 19, NULL, 0 };
/* Argon2id is no part of this, as is said above. */
static const struct opaque_ksf no_stretching = { .kind = OPAQUE_KSF_IDENTITY };

static void opaque_sides_done(struct opaque_sides *s)
{
	opaque_keys_free(s->keys);
	opaque_client_free(s->client);
}

/* A server's keys are made with its public one, which everybody sees. */
static void opaque_register(struct opaque_sides *s, const struct secret *password)
{
	uint8_t request[OPAQUE_REQUEST_LEN], response[OPAQUE_RESPONSE_LEN];
	_cleanup_(secret_freep) struct secret *export_key = NULL;

	memset(s, 0, sizeof(*s));
	must_be(opaque_keys_generate(&s->keys), 0, "no keys");
	mark_public(opaque_keys_public(s->keys), OPAQUE_PUBLIC_LEN);
	must_be(opaque_register_start(&s->client, request, secret_bytes(password),
				      secret_len(password), NULL),
		0, "a registration does not start");
	mark_public(request, sizeof(request));
	must_be(opaque_server_register(s->keys, response, request, "alice", 5), 0,
		"a registration is refused");
	mark_public(response, sizeof(response));
	must_be(opaque_register_finish(s->client, s->record, &export_key, response, &opaque_ids,
				       &no_stretching),
		0, "a registration does not finish");
	s->client = opaque_client_free(s->client);
	/* The rest of a record is the server's secret. */
	mark_public(s->record, OPAQUE_PUBLIC_LEN);
	must_be(opaque_record_check(s->record), 0, "a record is refused");
}

/* KE1 and KE2 go over the wire and are public. */
static void opaque_to_ke2(struct opaque_sides *s, uint8_t ke2[static OPAQUE_KE2_LEN],
			  struct secret **state, const uint8_t *record, const struct secret *password)
{
	uint8_t ke1[OPAQUE_KE1_LEN];

	must_be(opaque_login_start(&s->client, ke1, secret_bytes(password), secret_len(password), NULL), 0,
		"a login does not start");
	mark_public(ke1, sizeof(ke1));
	must_be(opaque_server_ke2(s->keys, ke2, state, record, "alice", 5, ke1, &opaque_ids, NULL), 0,
		"a login is refused");
	mark_public(ke2, OPAQUE_KE2_LEN);
}

CHECK(opaque)
{
	_cleanup_(secret_freep) struct secret *password = marked(20), *state = NULL, *export_key = NULL;
	_cleanup_(secret_freep) struct secret *ours = NULL, *theirs = NULL;
	uint8_t ke2[OPAQUE_KE2_LEN], ke3[OPAQUE_KE3_LEN];
	_cleanup_(opaque_sides_done) struct opaque_sides s;

	opaque_register(&s, password);
	opaque_to_ke2(&s, ke2, &state, s.record, password);
	must_be(opaque_login_finish(s.client, ke3, &ours, &export_key, ke2, &opaque_ids, &no_stretching), 0,
		"a login does not finish");
	mark_public(ke3, sizeof(ke3));
	must_be(opaque_server_finish(&theirs, secret_bytes(state), ke3), 0, "a login is not believed");
	must_be(secret_equal(ours, secret_bytes(theirs), OPAQUE_SESSION_KEY_LEN), true, "the keys differ");
	ke3[0] ^= 1;
	must_be(opaque_server_finish(&theirs, secret_bytes(state), ke3), OPAQUE_E_WRONG,
		"a wrong proof is believed");
}

CHECK(opaque_with_another_password)
{
	_cleanup_(secret_freep) struct secret *password = marked(20), *other = marked(20);
	_cleanup_(secret_freep) struct secret *state = NULL, *key = NULL;
	uint8_t ke2[OPAQUE_KE2_LEN], ke3[OPAQUE_KE3_LEN];
	_cleanup_(opaque_sides_done) struct opaque_sides s;

	opaque_register(&s, password);
	opaque_to_ke2(&s, ke2, &state, s.record, other);
	must_be(opaque_login_finish(s.client, ke3, &key, NULL, ke2, &opaque_ids, &no_stretching),
		OPAQUE_E_WRONG, "another password is taken");
}

CHECK(opaque_of_an_unknown_user)
{
	_cleanup_(secret_freep) struct secret *password = marked(20), *state = NULL, *key = NULL;
	uint8_t ke2[OPAQUE_KE2_LEN], ke3[OPAQUE_KE3_LEN];
	_cleanup_(opaque_sides_done) struct opaque_sides s;

	opaque_register(&s, password);
	opaque_to_ke2(&s, ke2, &state, NULL, password);
	must_be(opaque_login_finish(s.client, ke3, &key, NULL, ke2, &opaque_ids, &no_stretching),
		OPAQUE_E_WRONG, "an unknown user logs in");
}

CHECK(opaque_keys_kept)
{
	_cleanup_(opaque_keys_freep) struct opaque_keys *keys = NULL, *again = NULL;
	_cleanup_(secret_freep) struct secret *bytes = NULL;

	must_be(opaque_keys_generate(&keys), 0, "no keys");
	must_be(opaque_keys_export(&bytes, keys), 0, "no memory");
	must_be(opaque_keys_import(&again, secret_bytes(bytes)), 0, "keys do not come back");
}

CHECK(oprf_keys)
{
	_cleanup_(secret_freep) struct secret *seed = marked(OPRF_SEED_LEN);
	uint8_t key[OPRF_SCALAR_LEN];

	must_be(oprf_derive_key(key, secret_bytes(seed), "info", 4), 0, "no key");
}

CHECK(proof_of_possession)
{
	static const struct pop_request request = { "https", "example.org", "GET", "/" };
	_cleanup_(secret_freep) struct secret *session_key = marked(64), *key = NULL, *other = NULL;
	static const uint8_t sum[POP_DIGEST_LEN], nonce[POP_NONCE_BYTES];
	struct pop_signed sent;
	struct pop_proof proof;
	struct pop_fields f;

	must_be(pop_key(&key, session_key), 0, "no memory");
	must_be(pop_key(&other, key), 0, "no memory");
	must_be(pop_sign(&sent, &request, NULL, 1785000000, sum, nonce, key), 0, "a request is not signed");
	mark_public(&sent, sizeof(sent));
	f = (struct pop_fields){ "Bearer x", sent.ts, NULL, sent.nonce, sent.content_digest, sent.mac };
	must_be(pop_parse(&proof, &f), 0, "a proof is refused");
	must_be(pop_check(&proof, &request, key), 0, "a proof does not hold");
	must_be(pop_check(&proof, &request, other), POP_E_WRONG, "another key's proof holds");
}
