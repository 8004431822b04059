/* portable.c, and what of peers.c and identity.c is for it: state under a key, and state from a backup. */
#include "pairingd/portable.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"
#include "crypto/seal.h"
#include "pairingd/identity.h"
#include "unit/lib/test.h"

#define PEER                                                                                                  \
	"{\"name\":\"pi\",\"public_key\":\"1111111111111111111111111111111111111111111111111111111111111111\"," \
	"\"peer_name\":\"pi\",\"role\":\"bob\",\"profile\":\"v40-spake2-x25519\",\"sas_compared\":true,"       \
	"\"paired_at\":1790000000,\"host_name\":\"pi\",\"version\":\"0.2.0\",\"note\":\"\","                   \
	"\"candidates\":[\"192.0.2.7\"],\"port\":7201,\"own_port\":7200,"                                    \
	"\"tunnel_id\":\"22222222222222222222222222222222\"}"
#define OWN "\"public_key\":\"3333333333333333333333333333333333333333333333333333333333333333\""

static struct seal_key *make_key(uint8_t byte)
{
	struct secret *master = NULL;
	struct seal_key *k = NULL;
	uint8_t bytes[32];

	memset(bytes, byte, sizeof(bytes));
	CHECK_EQ(crypto_init(), 0);
	CHECK_EQ(secret_take(&master, bytes, sizeof(bytes)), 0);
	CHECK_EQ(seal_key_new(&k, master, "test"), 0);
	secret_free(master);
	return k;
}

static void store(struct peers *p, uint8_t byte)
{
	struct pairing_identity identity = { .key_type = PAIRING_KEY_ED25519, .name = "pi", .port = 7201 };
	struct pairing_result result = { .profile = "v40-spake2-x25519", .role = PAIRING_BOB, .peer = &identity };
	struct secret *root = NULL;
	uint8_t bytes[32];

	memset(identity.public_key.b, byte, sizeof(identity.public_key.b));
	memset(result.tunnel_id, byte, sizeof(result.tunnel_id));
	memset(bytes, byte, sizeof(bytes));
	CHECK_EQ(secret_take(&root, bytes, sizeof(bytes)), 0);
	result.tunnel_root = root;
	CHECK_EQ(peers_store(p, &result, 7200, NULL, NULL), 0);
	secret_free(root);
}

static void check_root(struct peers *p, uint8_t byte)
{
	uint8_t id[IDENTITY_ID_LEN], tunnel_id[16], bytes[32];
	struct sign_public key;
	struct secret *root = NULL;

	memset(key.b, byte, sizeof(key.b));
	memset(tunnel_id, byte, sizeof(tunnel_id));
	memset(bytes, byte, sizeof(bytes));
	identity_id(id, &key);
	CHECK_EQ(peers_root(p, id, tunnel_id, &root), 0);
	CHECK_MEM(secret_bytes(root), bytes, sizeof(bytes));
	secret_free(root);
}

static bool lies_open(uint8_t byte)
{
	static const char *const files[] = { "pairings.db", "pairings.db-wal" };
	uint8_t bytes[32];
	bool found = false;

	memset(bytes, byte, sizeof(bytes));
	for (size_t i = 0; i < 2; i++) {
		char *path = path_join(test_tmpdir(), files[i]), *data = NULL;
		size_t len = 0;

		/* The public key has the same bytes: 32 of them, once or more, but never right after the tunnel id. */
		if (file_read(&data, &len, path, 64 << 20) == 0)
			for (size_t at = 0; at + 48 <= len; at++) {
				uint8_t row[48];

				memset(row, byte, sizeof(row));
				found = found || memcmp(data + at, row, sizeof(row)) == 0;
			}
		free(data);
		free(path);
	}
	return found;
}

TEST(roots_are_sealed_when_a_key_comes_and_nobody_else_opens_them)
{
	struct seal_key *k = make_key(1), *other = make_key(2);
	struct peers *p = NULL;
	char why[400] = "";
	size_t n = 99;

	CHECK_EQ(peers_open(&p, test_tmpdir()), 0);
	store(p, 0x61);
	store(p, 0x62);
	CHECK(lies_open(0x61) && lies_open(0x62));
	peers_free(p);
	CHECK_EQ(peers_open_sealed(&p, test_tmpdir(), k, &n, why, sizeof(why)), 0);
	CHECK_EQ(n, 2);
	CHECK(!lies_open(0x61) && !lies_open(0x62));
	check_root(p, 0x61);
	check_root(p, 0x62);
	store(p, 0x63);
	CHECK(!lies_open(0x63));
	check_root(p, 0x63);
	peers_free(p);
	CHECK_EQ(peers_open_sealed(&p, test_tmpdir(), other, &n, why, sizeof(why)), PEERS_E_OTHER_KEY);
	CHECK(strstr(why, "pairings.db") && strstr(why, "another credential handfast.state-key"));
	CHECK_EQ(peers_open(&p, test_tmpdir()), PEERS_E_SEALED);
	CHECK_EQ(peers_open_sealed(&p, test_tmpdir(), k, &n, why, sizeof(why)), 0);
	CHECK_EQ(n, 0);
	check_root(p, 0x61);
	peers_free(p);
	seal_key_free(k);
	seal_key_free(other);
}

TEST(a_key_binds_the_store_even_without_a_root)
{
	struct seal_key *k = make_key(1);
	struct peers *p = NULL;
	char why[400] = "";
	size_t n;

	CHECK_EQ(peers_open_sealed(&p, test_tmpdir(), k, &n, why, sizeof(why)), 0);
	peers_free(p);
	CHECK_EQ(peers_open(&p, test_tmpdir()), PEERS_E_SEALED);
	/* What is replaced need not be readable. */
	CHECK_EQ(peers_open_import(&p, test_tmpdir(), false, why, sizeof(why)), 0);
	peers_free(p);
	seal_key_free(k);
}

TEST(the_identity_is_sealed_and_stays_the_same)
{
	struct seal_key *k = make_key(1), *other = make_key(2);
	struct sign_key *a = NULL, *b = NULL;
	struct sign_public pa, pb;
	enum identity_news news;

	CHECK_EQ(identity_load(&a, test_tmpdir(), NULL, &news), 0);
	CHECK_EQ(news, IDENTITY_MADE);
	CHECK_EQ(identity_load(&b, test_tmpdir(), k, &news), 0);
	CHECK_EQ(news, IDENTITY_SEALED);
	sign_key_public(a, &pa);
	sign_key_public(b, &pb);
	CHECK_MEM(pa.b, pb.b, sizeof(pa.b));
	sign_key_free(b);
	CHECK_EQ(identity_load(&b, test_tmpdir(), k, &news), 0);
	CHECK_EQ(news, IDENTITY_AS_BEFORE);
	sign_key_public(b, &pb);
	CHECK_MEM(pa.b, pb.b, sizeof(pa.b));
	sign_key_free(b);
	CHECK_EQ(identity_load(&b, test_tmpdir(), NULL, &news), IDENTITY_E_SEALED);
	CHECK_EQ(identity_load(&b, test_tmpdir(), other, &news), IDENTITY_E_OTHER_KEY);
	sign_key_free(a);
	seal_key_free(k);
	seal_key_free(other);
}

static void refused(const char *text, const char *because)
{
	struct portable *p = NULL;
	char why[300] = "";

	CHECK(portable_decode(&p, text, strlen(text), why, sizeof(why)) < 0);
	if (!strstr(why, because))
		test_fail(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", why, because);
}

TEST(a_list_of_pairings_is_read_or_refused_whole)
{
	static const char good[] = "{\"version\":1," OWN ",\"peers\":[" PEER "]}";
	struct portable *p = NULL;
	char why[300] = "";

	CHECK_EQ(portable_decode(&p, good, strlen(good), why, sizeof(why)), 0);
	CHECK_EQ(p->n, 1);
	CHECK_STR(p->peers[0].name, "pi");
	CHECK(p->peers[0].restored && p->peers[0].active && !p->peers[0].has_root);
	portable_free(p);
	refused("", "damaged");
	refused("{\"version\":0," OWN ",\"peers\":[]}", "damaged");
	refused("{\"version\":2," OWN ",\"peers\":[]}", "version 2, this one knows 1");
	refused("{\"version\":1," OWN "}", "damaged");
	refused("{\"version\":1,\"public_key\":\"33\",\"peers\":[]}", "damaged");
	refused("{\"version\":1," OWN ",\"peers\":[" PEER "," PEER "]}", "two of the pairings");
	refused("{\"version\":1," OWN ",\"peers\":[{}]}", "number 1");
}

/* What was paired before is replaced whole, or not at all. */
TEST(i9_an_import_that_finds_no_room_changes_nothing)
{
	enum { N = 500 };
	const struct rlimit little = { 24 << 10, RLIM_INFINITY }, plenty = { RLIM_INFINITY, RLIM_INFINITY };
	struct peer *many = calloc(N, sizeof(*many)), one = { .name = "laptop", .active = true, .profile = "v40-spake2-x25519" };
	struct sign_public own = { { 9 } };
	struct peers *p = NULL;
	struct peer back;
	int r;

	CHECK(many);
	memset(one.identity.public_key.b, 7, SIGN_PUBLIC_LEN);
	identity_id(one.id, &one.identity.public_key);
	for (size_t i = 0; i < N; i++) {
		many[i] = one;
		snprintf(many[i].name, sizeof(many[i].name), "pi-%zu", i);
		memcpy(many[i].identity.public_key.b, &i, sizeof(i));
		identity_id(many[i].id, &many[i].identity.public_key);
	}
	CHECK_EQ(peers_open(&p, test_tmpdir()), 0);
	CHECK_EQ(peers_replace(p, &one, 1, &own), 0);
	CHECK_EQ(peers_import_done(p), 0);

	signal(SIGXFSZ, SIG_IGN);
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &little), 0);
	r = peers_replace(p, many, N, &own);
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &plenty), 0);
	CHECK(r != 0);
	peers_free(p);
	CHECK_EQ(peers_open(&p, test_tmpdir()), 0);
	CHECK_EQ(peers_find(p, "laptop", &back), 0);
	CHECK_EQ(peers_find(p, "pi-0", &back), PEERS_E_NO_SUCH);
	CHECK_EQ(peers_imported_identity(p, &own), PEERS_E_NO_SUCH);

	CHECK_EQ(peers_replace(p, many, N, &own), 0);
	CHECK_EQ(peers_find(p, "pi-499", &back), 0);
	CHECK_EQ(peers_find(p, "laptop", &back), PEERS_E_NO_SUCH);
	peers_free(p);
	free(many);
}

TEST(i9_an_import_is_finished_at_the_next_start_or_never_was)
{
	struct sign_key *old = NULL, *new = NULL, *now = NULL;
	char *path = path_join(test_tmpdir(), "identity.key.restored");
	struct sign_public wanted, found;
	enum identity_news news;
	struct peers *p = NULL;
	struct peer peer = { .name = "pi", .active = true, .restored = true, .profile = "v40-spake2-x25519" };
	struct peer back;

	CHECK_EQ(identity_load(&old, test_tmpdir(), NULL, &news), 0);
	CHECK_EQ(sign_key_generate(&new), 0);
	sign_key_public(new, &wanted);
	memset(peer.identity.public_key.b, 5, SIGN_PUBLIC_LEN);
	identity_id(peer.id, &peer.identity.public_key);
	CHECK_EQ(peers_open(&p, test_tmpdir()), 0);

	/* The key is there, and the machine stopped before the commit. */
	CHECK_EQ(identity_save(new, path, NULL), 0);
	CHECK_EQ(portable_finish_import(test_tmpdir(), p), 0);
	CHECK(access(path, F_OK) != 0);
	CHECK_EQ(identity_load(&now, test_tmpdir(), NULL, &news), 0);
	sign_key_public(now, &found);
	CHECK(memcmp(found.b, wanted.b, sizeof(found.b)) != 0);
	sign_key_free(now);

	/* It stopped after it. */
	CHECK_EQ(identity_save(new, path, NULL), 0);
	CHECK_EQ(peers_replace(p, &peer, 1, &wanted), 0);
	peers_free(p);
	CHECK_EQ(peers_open(&p, test_tmpdir()), 0);
	CHECK_EQ(portable_finish_import(test_tmpdir(), p), 0);
	CHECK_EQ(identity_load(&now, test_tmpdir(), NULL, &news), 0);
	sign_key_public(now, &found);
	CHECK_MEM(found.b, wanted.b, sizeof(found.b));
	CHECK_EQ(peers_find(p, "pi", &back), 0);
	CHECK(back.restored && !back.has_root);
	/* And once more changes nothing. */
	CHECK_EQ(portable_finish_import(test_tmpdir(), p), 0);
	sign_key_free(now);
	sign_key_free(old);
	sign_key_free(new);
	peers_free(p);
	free(path);
}

/* A file with these contents in the state folder. */
static void put(const char *name, const char *text)
{
	char *path = path_join(test_tmpdir(), name);

	CHECK_EQ(file_write_atomic(path, text, strlen(text), 0600), 0);
	free(path);
}

static bool is_there(const char *name)
{
	char *path = path_join(test_tmpdir(), name);
	bool there = access(path, F_OK) == 0;

	free(path);
	return there;
}

TEST(i5_no_copy_of_an_identity_key_stays_behind)
{
	static const char *const left[] = { ".identity.key.AbCdEf", ".identity.key.restored.AbCdEf",
					    "identity.key.partial", "identity.key.restored.partial",
					    "identity.key.restored" };
	static const char *const kept[] = { "identity.key", "identity.key.old", "identity.keys", ".other.AbCdEf" };
	struct peers *p = NULL;

	CHECK_EQ(peers_open(&p, test_tmpdir()), 0);
	for (size_t i = 0; i < ARRAY_SIZE(left); i++)
		put(left[i], "0123456789abcdef0123456789abcdef");
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		put(kept[i], "mine");
	CHECK_EQ(portable_finish_import(test_tmpdir(), p), 0);
	for (size_t i = 0; i < ARRAY_SIZE(left); i++)
		CHECK(!is_there(left[i]));
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		CHECK(is_there(kept[i]));
	peers_free(p);
}

TEST(i5_an_open_identity_key_is_overwritten_by_no_other)
{
	char *path = path_join(test_tmpdir(), "identity.key");
	struct sign_key *key = NULL;

	CHECK_EQ(sign_key_generate(&key), 0);
	CHECK_EQ(identity_save(key, path, NULL), 0);
	CHECK_EQ(identity_save(key, path, NULL), -EEXIST);
	CHECK_EQ(identity_remove(path), 0);
	CHECK_EQ(identity_remove(path), 0);
	CHECK(!is_there("identity.key"));
	sign_key_free(key);
	free(path);
}

TEST(replaced_pairings_forget_the_state_key_of_the_old_ones)
{
	struct sign_public own = { { 9 } };
	struct seal_key *key = make_key(1);
	struct peers *p = NULL;
	char why[512] = "";
	size_t n;

	CHECK_EQ(peers_open_sealed(&p, test_tmpdir(), key, &n, why, sizeof(why)), 0);
	peers_free(p);
	CHECK_EQ(peers_open_sealed(&p, test_tmpdir(), NULL, &n, why, sizeof(why)), PEERS_E_SEALED);
	CHECK_EQ(peers_open_import(&p, test_tmpdir(), false, why, sizeof(why)), 0);
	CHECK_EQ(peers_replace(p, NULL, 0, &own), 0);
	peers_free(p);
	CHECK_EQ(peers_open_sealed(&p, test_tmpdir(), NULL, &n, why, sizeof(why)), 0);
	peers_free(p);
	seal_key_free(key);
}
