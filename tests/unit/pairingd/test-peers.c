/* peers.c: what is kept, over restarts and without the roots that were moved. */
#include "unit/lib/test.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "pairingd/identity.h"
#include "pairingd/peers.h"
#include "store/store.h"

static struct peers *open_peers(void)
{
	struct peers *p = NULL;

	CHECK_EQ(peers_open(&p, test_tmpdir()), 0);
	return p;
}

static void store_named(struct peers *p, uint8_t key, const char *name, uint8_t root_byte,
			const char *wanted, struct peer *out)
{
	struct pairing_identity identity = { .key_type = PAIRING_KEY_ED25519, .port = 7201,
					     .n_candidates = 2,
					     .candidates = { "192.0.2.7", "[2001:db8::7]" } };
	struct pairing_result result = { .profile = "v40-spake2-x25519", .role = PAIRING_BOB,
					 .sas_compared = true, .peer = &identity,
					 .tunnel_id = "tunnel id sixtee" };
	struct secret *root = NULL;
	uint8_t bytes[32];

	/* Each pairing has a tunnel of its own. */
	result.tunnel_id[0] = root_byte;
	memset(identity.public_key.b, key, sizeof(identity.public_key.b));
	snprintf(identity.name, sizeof(identity.name), "%s", name);
	snprintf(identity.note, sizeof(identity.note), "a note");
	memset(bytes, root_byte, sizeof(bytes));
	CHECK_EQ(secret_take(&root, bytes, sizeof(bytes)), 0);
	result.tunnel_root = root;
	CHECK_EQ(peers_store(p, &result, 7200, wanted, out), 0);
	secret_free(root);
}

static bool file_holds(const char *name, const void *needle, size_t len)
{
	char path[256];
	char *data = NULL;
	size_t n = 0;
	bool found;

	snprintf(path, sizeof(path), "%s/%s", test_tmpdir(), name);
	if (file_read(&data, &n, path, 64 << 20))
		return false;
	found = memmem(data, n, needle, len) != NULL;
	free(data);
	return found;
}

TEST(i9_what_was_stored_is_there_after_a_restart)
{
	struct peers *p = open_peers();
	struct peer stored, found;

	store_named(p, 1, "pi", 0xa1, NULL, &stored);
	CHECK_EQ(peers_activate(p, stored.id, stored.tunnel_id), 0);
	peers_free(p);

	p = open_peers();
	CHECK_EQ(peers_find(p, "pi", &found), 0);
	CHECK(found.active && found.has_root && found.sas_compared);
	CHECK_MEM(found.id, stored.id, sizeof(stored.id));
	CHECK_EQ(found.identity.n_candidates, 2);
	CHECK_STR(found.identity.candidates[1], "[2001:db8::7]");
	CHECK_STR(found.identity.note, "a note");
	CHECK_EQ(found.own_port, 7200);
	CHECK_EQ(found.identity.port, 7201);
	CHECK(peers_port_is_used(p, 7200));
	CHECK(!peers_port_is_used(p, 7201));
	peers_free(p);
}

TEST(i9_a_prepared_pairing_is_unconfirmed_after_a_restart_and_recovers)
{
	struct peers *p = open_peers();
	struct peer peer;

	store_named(p, 1, "pi", 0xa1, NULL, &peer);
	peers_free(p);
	p = open_peers();
	CHECK_EQ(peers_get(p, peer.id, &peer), 0);
	CHECK(!peer.active && peer.has_root);
	CHECK_EQ(peers_activate(p, peer.id, peer.tunnel_id), 0);
	CHECK_EQ(peers_get(p, peer.id, &peer), 0);
	CHECK(peer.active);
	/* The peer's word may come twice: in the pairing, and in the tunnel. */
	CHECK_EQ(peers_activate(p, peer.id, peer.tunnel_id), 0);
	peers_free(p);
}

TEST(an_earlier_pairing_stays_until_the_new_one_is_active)
{
	struct peers *p = open_peers();
	struct secret *root = NULL;
	struct peer peer, first;

	store_named(p, 1, "pi", 0xa1, NULL, &first);
	CHECK_EQ(peers_activate(p, first.id, first.tunnel_id), 0);
	store_named(p, 1, "pi", 0xb2, NULL, &peer);
	CHECK_STR(peer.name, "pi");
	CHECK_EQ(peers_root(p, peer.id, first.tunnel_id, &root), 0);
	CHECK_EQ(secret_bytes(root)[0], 0xa1);
	root = secret_free(root);
	CHECK_EQ(peers_activate(p, peer.id, peer.tunnel_id), 0);
	CHECK_EQ(peers_root(p, peer.id, peer.tunnel_id, &root), 0);
	CHECK_EQ(secret_bytes(root)[0], 0xb2);
	secret_free(root);
	peers_free(p);
}

TEST(a_failed_new_pairing_leaves_the_earlier_one)
{
	struct peers *p = open_peers();
	struct peer peer;

	store_named(p, 1, "pi", 0xa1, NULL, &peer);
	CHECK_EQ(peers_activate(p, peer.id, peer.tunnel_id), 0);
	store_named(p, 1, "pi", 0xb2, NULL, &peer);
	CHECK_EQ(peers_remove_prepared(p, peer.id, peer.tunnel_id), 0);
	CHECK_EQ(peers_get(p, peer.id, &peer), 0);
	CHECK(peer.active);
	peers_free(p);
}

TEST(names_are_kept_apart)
{
	struct peers *p = open_peers();
	struct peer a, b, c;

	store_named(p, 1, "pi", 1, NULL, &a);
	store_named(p, 2, "pi", 2, NULL, &b);
	store_named(p, 3, "pi", 3, "shed", &c);
	CHECK_STR(a.name, "pi");
	CHECK_STR(b.name, "pi-2");
	CHECK_STR(c.name, "shed");
	CHECK_EQ(peers_rename(p, c.id, "pi"), PEERS_E_NAME_TAKEN);
	CHECK_EQ(peers_rename(p, c.id, "garage"), 0);
	CHECK_EQ(peers_find(p, "garage", &c), 0);
	CHECK_EQ(peers_find(p, "shed", &c), PEERS_E_NO_SUCH);
	peers_free(p);
}

TEST(a_long_name_that_is_taken_is_cut_for_its_number)
{
	struct peers *p = open_peers();
	struct peer a, b;

	store_named(p, 1, "abcdefghijklmnopqrstuvwxyz012345", 1, NULL, &a);
	store_named(p, 2, "abcdefghijklmnopqrstuvwxyz012345", 2, NULL, &b);
	CHECK_STR(b.name, "abcdefghijklmnopqrstuvwxyz0123-2");
	peers_free(p);
}

TEST(a_forgotten_peer_is_gone)
{
	struct peers *p = open_peers();
	struct peer peer;

	store_named(p, 1, "pi", 1, NULL, &peer);
	CHECK_EQ(peers_forget(p, peer.id), 0);
	CHECK_EQ(peers_find(p, "pi", &peer), PEERS_E_NO_SUCH);
	CHECK_EQ(peers_forget(p, peer.id), PEERS_E_NO_SUCH);
	peers_free(p);
}

TEST(i5_a_moved_or_forgotten_root_is_in_no_file)
{
	struct peers *p = open_peers();
	uint8_t moved[32], forgotten[32];
	struct secret *root = NULL;
	struct peer a, b;

	memset(moved, 0xc3, sizeof(moved));
	memset(forgotten, 0xd4, sizeof(forgotten));
	store_named(p, 1, "a", 0xc3, NULL, &a);
	store_named(p, 2, "b", 0xd4, NULL, &b);
	CHECK(file_holds("pairings.db", moved, 32) || file_holds("pairings.db-wal", moved, 32));
	CHECK_EQ(peers_root_moved(p, a.id, a.tunnel_id), 0);
	CHECK(!file_holds("pairings.db", moved, 32) && !file_holds("pairings.db-wal", moved, 32));
	CHECK_EQ(peers_forget(p, b.id), 0);
	CHECK(!file_holds("pairings.db", forgotten, 32) && !file_holds("pairings.db-wal", forgotten, 32));
	CHECK_EQ(peers_root(p, a.id, a.tunnel_id, &root), PEERS_E_NO_ROOT);
	CHECK_EQ(peers_root(p, b.id, b.tunnel_id, &root), PEERS_E_NO_SUCH);
	peers_free(p);
}

TEST(a_root_that_nobody_took_is_not_erased_for_another)
{
	struct peers *p = open_peers();
	struct secret *root = NULL;
	struct peer first, second, shown;

	store_named(p, 1, "pi", 0xa1, NULL, &first);
	CHECK_EQ(peers_activate(p, first.id, first.tunnel_id), 0);
	store_named(p, 1, "pi", 0xb2, NULL, &second);
	CHECK_EQ(peers_get(p, first.id, &shown), 0);
	CHECK(shown.active && shown.newer_unconfirmed);
	CHECK_EQ(peers_activate(p, first.id, first.tunnel_id), 0);
	CHECK_EQ(peers_get(p, first.id, &shown), 0);
	CHECK(shown.newer_unconfirmed);
	CHECK_EQ(peers_activate(p, second.id, second.tunnel_id), 0);
	CHECK_EQ(peers_get(p, first.id, &shown), 0);
	CHECK(shown.active && !shown.newer_unconfirmed);
	CHECK_EQ(peers_activate(p, first.id, first.tunnel_id), PEERS_E_NO_SUCH);
	CHECK_EQ(peers_root_moved(p, first.id, first.tunnel_id), PEERS_E_NO_SUCH);
	CHECK_EQ(peers_root(p, second.id, second.tunnel_id, &root), 0);
	secret_free(root);
	peers_free(p);
}

TEST(i5_a_root_that_was_replaced_is_in_no_file)
{
	struct peers *p = open_peers();
	uint8_t first[32], second[32];
	struct peer peer;

	memset(first, 0xc5, sizeof(first));
	memset(second, 0xd6, sizeof(second));
	store_named(p, 1, "pi", 0xc5, NULL, &peer);
	store_named(p, 1, "pi", 0xd6, NULL, &peer);
	CHECK_EQ(peers_activate(p, peer.id, peer.tunnel_id), 0);
	CHECK(!file_holds("pairings.db", first, 32) && !file_holds("pairings.db-wal", first, 32));
	store_named(p, 1, "pi", 0xe7, NULL, &peer);
	CHECK_EQ(peers_activate(p, peer.id, peer.tunnel_id), 0);
	CHECK(!file_holds("pairings.db", second, 32) && !file_holds("pairings.db-wal", second, 32));
	peers_free(p);
}

static void check_root(struct peers *p, const struct peer *peer, uint8_t byte)
{
	struct secret *root = NULL;

	CHECK_EQ(peers_root(p, peer->id, peer->tunnel_id, &root), 0);
	CHECK_EQ(secret_bytes(root)[0], byte);
	secret_free(root);
}

/* The peer may have the earlier one as active: its acknowledgement of that one was lost. */
TEST(i9_a_prepared_pairing_comes_back_when_a_newer_one_is_taken_back)
{
	struct peers *p = open_peers();
	struct peer first, second, shown;

	store_named(p, 1, "pi", 0xa1, NULL, &first);
	store_named(p, 1, "pi", 0xb2, NULL, &second);
	CHECK_EQ(peers_get(p, first.id, &shown), 0);
	CHECK_MEM(shown.tunnel_id, second.tunnel_id, sizeof(shown.tunnel_id));
	CHECK_EQ(peers_remove_prepared(p, second.id, second.tunnel_id), 0);
	peers_free(p);

	p = open_peers();
	CHECK_EQ(peers_get(p, first.id, &shown), 0);
	CHECK(!shown.active && shown.has_root);
	CHECK_MEM(shown.tunnel_id, first.tunnel_id, sizeof(shown.tunnel_id));
	check_root(p, &first, 0xa1);
	CHECK_EQ(peers_activate(p, first.id, first.tunnel_id), 0);
	CHECK_EQ(peers_get(p, first.id, &shown), 0);
	CHECK(shown.active && !shown.newer_unconfirmed);
	peers_free(p);
}

static void count_rows(const struct peer *peer, void *arg)
{
	(void)peer;
	++*(unsigned int *)arg;
}

TEST(i9_any_of_the_prepared_pairings_may_be_the_one_that_the_peer_has)
{
	struct peers *p = open_peers();
	struct peer v[4], shown;
	unsigned int n = 0;

	for (uint8_t i = 0; i < 4; i++)
		store_named(p, 1, "pi", (uint8_t)(0xa1 + i), NULL, &v[i]);
	store_named(p, 2, "other", 0x77, NULL, NULL);
	/* What came before it goes; what came after it may be the peer's now. */
	CHECK_EQ(peers_activate(p, v[1].id, v[1].tunnel_id), 0);
	CHECK_EQ(peers_get_tunnel(p, v[0].id, v[0].tunnel_id, &shown), PEERS_E_NO_SUCH);
	CHECK_EQ(peers_get(p, v[1].id, &shown), 0);
	CHECK(shown.active && shown.newer_unconfirmed);
	CHECK_MEM(shown.tunnel_id, v[1].tunnel_id, sizeof(shown.tunnel_id));
	check_root(p, &v[2], 0xa3);
	check_root(p, &v[3], 0xa4);
	CHECK_EQ(peers_activate(p, v[3].id, v[3].tunnel_id), 0);
	CHECK_EQ(peers_get_tunnel(p, v[1].id, v[1].tunnel_id, &shown), PEERS_E_NO_SUCH);
	CHECK_EQ(peers_get_tunnel(p, v[2].id, v[2].tunnel_id, &shown), PEERS_E_NO_SUCH);
	CHECK_EQ(peers_get(p, v[3].id, &shown), 0);
	CHECK(shown.active && !shown.newer_unconfirmed);
	CHECK_EQ(peers_each_pairing(p, count_rows, &n), 0);
	CHECK_EQ(n, 2);
	CHECK_EQ(peers_forget(p, v[3].id), 0);
	peers_free(p);
}

static void first_byte(const struct peer *peer, void *arg)
{
	char *out = arg;

	snprintf(out + strlen(out), 3, "%02x", peer->tunnel_id[0]);
}

/* pskd makes the earliest the peer's tunnel, and the later ones its successors; names end with the one that is shown. */
TEST(roots_are_told_in_their_order_and_the_shown_pairing_last)
{
	struct peers *p = open_peers();
	char roots[16] = "", pairings[16] = "";
	struct peer peer;

	store_named(p, 1, "pi", 0xf1, NULL, &peer);
	CHECK_EQ(peers_activate(p, peer.id, peer.tunnel_id), 0);
	store_named(p, 1, "pi", 0xb2, NULL, NULL);
	store_named(p, 1, "pi", 0xa3, NULL, NULL);
	CHECK_EQ(peers_each_root(p, first_byte, roots), 0);
	CHECK_STR(roots, "f1b2a3");
	CHECK_EQ(peers_each_pairing(p, first_byte, pairings), 0);
	CHECK_STR(pairings, "b2a3f1");
	peers_free(p);
}

TEST(unconfirmed_pairings_with_one_peer_are_bounded_and_none_is_lost)
{
	struct peers *p = open_peers();
	struct pairing_identity identity = { .key_type = PAIRING_KEY_ED25519, .name = "pi" };
	struct pairing_result result = { .profile = "v40-spake2-x25519", .peer = &identity };
	struct peer v[PEERS_PREPARED_MAX], one;

	for (uint8_t i = 0; i < PEERS_PREPARED_MAX; i++)
		store_named(p, 1, "pi", (uint8_t)(1 + i), NULL, &v[i]);
	memcpy(identity.public_key.b, v[0].identity.public_key.b, sizeof(identity.public_key.b));
	CHECK_EQ(peers_store(p, &result, 7200, NULL, NULL), PEERS_E_FULL);
	for (uint8_t i = 0; i < PEERS_PREPARED_MAX; i++)
		check_root(p, &v[i], (uint8_t)(1 + i));
	/* An active one beside them is none of them. */
	CHECK_EQ(peers_activate(p, v[0].id, v[0].tunnel_id), 0);
	store_named(p, 1, "pi", 0x99, NULL, NULL);
	CHECK_EQ(peers_store(p, &result, 7200, NULL, NULL), PEERS_E_FULL);
	CHECK_EQ(peers_get(p, v[0].id, &one), 0);
	CHECK(one.active && one.newer_unconfirmed);
	peers_free(p);
}

/* As version 2 had them: one active and one prepared, by that. */
static const struct store_migration version_2[] = {
	{ "CREATE TABLE peer ("
	  " id BLOB NOT NULL, active INTEGER NOT NULL, name TEXT NOT NULL, public_key BLOB NOT NULL,"
	  " peer_name TEXT NOT NULL, role INTEGER NOT NULL, profile TEXT NOT NULL,"
	  " sas_compared INTEGER NOT NULL, paired_at INTEGER NOT NULL, host_name TEXT NOT NULL,"
	  " version TEXT NOT NULL, note TEXT NOT NULL, candidates TEXT NOT NULL,"
	  " port INTEGER NOT NULL, own_port INTEGER NOT NULL, tunnel_id BLOB NOT NULL, root BLOB,"
	  " PRIMARY KEY (id, active)) STRICT;"
	  "CREATE TABLE attempt ("
	  " number INTEGER PRIMARY KEY AUTOINCREMENT, session_id BLOB NOT NULL UNIQUE,"
	  " code TEXT NOT NULL, role INTEGER NOT NULL, class INTEGER NOT NULL,"
	  " spent_at INTEGER NOT NULL, proven INTEGER NOT NULL DEFAULT 0, outcome TEXT) STRICT;"
	  "CREATE TABLE guard (one INTEGER PRIMARY KEY CHECK (one = 1),"
	  " failures INTEGER NOT NULL) STRICT;"
	  "INSERT INTO guard VALUES (1, 2);" },
	{ "ALTER TABLE peer ADD COLUMN restored INTEGER NOT NULL DEFAULT 0;"
	  "CREATE TABLE sealed (one INTEGER PRIMARY KEY CHECK (one = 1), key_id BLOB NOT NULL) STRICT;"
	  "CREATE TABLE imported (one INTEGER PRIMARY KEY CHECK (one = 1),"
	  " public_key BLOB NOT NULL) STRICT;"
	  "INSERT INTO peer VALUES (x'11111111111111111111111111111111', 0, 'pi',"
	  " x'0000000000000000000000000000000000000000000000000000000000000000', 'raspberry', 1,"
	  " 'v40-spake2-x25519', 1, 1790000000, 'pi.local', 'handfast 0', 'hi', '192.0.2.7', 7201, 7200,"
	  " x'22222222222222222222222222222222',"
	  " x'b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5', 0);"
	  "INSERT INTO peer SELECT id, 1, name, public_key, peer_name, role, profile, sas_compared, paired_at,"
	  " host_name, version, note, candidates, port, 7300, x'33333333333333333333333333333333', NULL, 1"
	  " FROM peer;" },
};

TEST(i9_pairings_of_an_older_version_are_taken_over)
{
	struct store *s = NULL;
	struct peer older, shown;
	char path[256];
	struct peers *p;

	snprintf(path, sizeof(path), "%s/pairings.db", test_tmpdir());
	CHECK_EQ(store_open(&s, path, version_2, 2), 0);
	store_close(s);
	p = open_peers();
	CHECK_EQ(peers_find(p, "pi", &shown), 0);
	CHECK(shown.active && shown.newer_unconfirmed && shown.restored && !shown.has_root);
	CHECK_EQ(shown.own_port, 7300);
	CHECK_STR(shown.identity.note, "hi");
	CHECK_STR(shown.identity.candidates[0], "192.0.2.7");
	memset(older.tunnel_id, 0x22, sizeof(older.tunnel_id));
	memcpy(older.id, shown.id, sizeof(older.id));
	check_root(p, &older, 0xb5);
	CHECK_EQ(peers_activate(p, older.id, older.tunnel_id), 0);
	CHECK_EQ(peers_get(p, older.id, &shown), 0);
	CHECK(shown.active && !shown.newer_unconfirmed && !shown.restored && shown.has_root);
	CHECK_EQ(shown.own_port, 7200);
	peers_free(p);
}

TEST(no_peers_name_is_an_id)
{
	struct peers *p = open_peers();
	struct peer victim, shadow, found;
	char hex[33];

	store_named(p, 1, "pi", 1, NULL, &victim);
	for (int i = 0; i < 16; i++)
		snprintf(hex + 2 * i, 3, "%02x", victim.id[i]);
	store_named(p, 2, hex, 2, NULL, &shadow);
	CHECK_STR(shadow.name, "device");
	CHECK_EQ(peers_find(p, hex, &found), 0);
	CHECK_MEM(found.id, victim.id, sizeof(found.id));
	CHECK(peers_name_is_id("deadbeef") && !peers_name_is_id("deadbee") && !peers_name_is_id("deadbeefs"));
	peers_free(p);
}

static const uint8_t session_a[16] = "session a", session_b[16] = "session b";

TEST(i3_a_session_whose_pin_was_spent_is_refused_also_after_a_restart)
{
	struct peers *p = open_peers();
	unsigned int cut_off = 0;

	CHECK(!peers_is_spent(p, "ABCD2345"));
	CHECK_EQ(peers_spend(p, "ABCD2345", session_a, PAIRING_BOB, SECRET_PIN), 0);
	/* As after kill -9: nothing else was said. */
	peers_free(p);
	p = open_peers();
	CHECK(peers_is_spent(p, "ABCD2345"));
	CHECK_EQ(peers_spend(p, "ABCD2345", session_a, PAIRING_BOB, SECRET_PIN), PEERS_E_SPENT);
	CHECK_EQ(peers_take_cut_off(p, &cut_off), 0);
	CHECK_EQ(cut_off, 1);
	CHECK_EQ(peers_take_cut_off(p, &cut_off), 0);
	CHECK_EQ(cut_off, 0);
	peers_free(p);
}

/* More than a relay gives codes in a day come in between. */
TEST(i3_a_spent_session_is_remembered_beyond_many_others)
{
	struct peers *p = open_peers();

	CHECK_EQ(peers_spend(p, "ABCD2345", session_a, PAIRING_BOB, SECRET_PIN), 0);
	for (unsigned int i = 1; i <= 300; i++) {
		uint8_t id[16] = { 0xee, (uint8_t)(i >> 8), (uint8_t)i };

		CHECK_EQ(peers_spend(p, "ABCD2346", id, PAIRING_BOB, SECRET_PIN), 0);
	}
	CHECK(peers_is_spent(p, "ABCD2345"));
	CHECK_EQ(peers_spend(p, "ABCD2345", session_a, PAIRING_BOB, SECRET_PIN), PEERS_E_SPENT);
	peers_free(p);
}

TEST(i3_after_three_failures_in_a_row_pins_have_eight_digits)
{
	struct peers *p = open_peers();
	uint8_t id[16] = { 0 };

	for (uint8_t i = 1; i <= 3; i++) {
		CHECK_EQ(peers_pin_digits(p), 6);
		id[0] = i;
		CHECK_EQ(peers_spend(p, "ABCD2345", id, PAIRING_ALICE, SECRET_PIN), 0);
		CHECK_EQ(peers_ended(p, id, "WrongSecret"), 0);
	}
	CHECK_EQ(peers_pin_digits(p), 8);
	peers_free(p);
	p = open_peers();
	CHECK_EQ(peers_pin_digits(p), 8);
	/* One that is right ends the row. */
	CHECK_EQ(peers_spend(p, "ABCD2346", session_b, PAIRING_ALICE, SECRET_PIN), 0);
	CHECK_EQ(peers_pin_digits(p), 8);
	CHECK_EQ(peers_proven(p, session_b), 0);
	CHECK_EQ(peers_pin_digits(p), 6);
	peers_free(p);
}

TEST(i3_long_secrets_neither_count_nor_clear)
{
	struct peers *p = open_peers();
	uint8_t id[16] = { 0 };

	for (uint8_t i = 1; i <= 3; i++) {
		id[0] = i;
		CHECK_EQ(peers_spend(p, "ABCD2345", id, PAIRING_ALICE, SECRET_PIN), 0);
	}
	id[0] = 4;
	CHECK_EQ(peers_spend(p, "ABCD2345", id, PAIRING_ALICE, SECRET_SEC), 0);
	CHECK_EQ(peers_proven(p, id), 0);
	CHECK_EQ(peers_pin_digits(p), 8);
	peers_free(p);
}

TEST(a_second_daemon_does_not_get_the_store)
{
	struct peers *p = open_peers(), *second = NULL;

	CHECK_EQ(peers_open(&second, test_tmpdir()), PEERS_E_LOCKED);
	CHECK(!second);
	peers_free(p);
}

TEST(a_peer_is_found_by_its_id)
{
	struct peers *p = open_peers();
	struct peer peer, found;
	char hex[33];

	store_named(p, 1, "pi", 1, NULL, &peer);
	for (int i = 0; i < 16; i++)
		snprintf(hex + 2 * i, 3, "%02x", peer.id[i]);
	CHECK_EQ(peers_find(p, hex, &found), 0);
	hex[8] = '\0';
	CHECK_EQ(peers_find(p, hex, &found), 0);
	hex[7] = '\0';
	CHECK_EQ(peers_find(p, hex, &found), PEERS_E_NO_SUCH);
	peers_free(p);
}

TEST(the_identity_is_made_once_and_read_by_nobody_else)
{
	struct sign_key *a = NULL, *b = NULL;
	struct sign_public pa, pb;
	char path[256];
	struct stat st;
	enum identity_news news;

	CHECK_EQ(identity_load(&a, test_tmpdir(), NULL, &news), 0);
	CHECK_EQ(news, IDENTITY_MADE);
	CHECK_EQ(identity_load(&b, test_tmpdir(), NULL, &news), 0);
	CHECK_EQ(news, IDENTITY_AS_BEFORE);
	sign_key_public(a, &pa);
	sign_key_public(b, &pb);
	CHECK_MEM(pa.b, pb.b, sizeof(pa.b));
	sign_key_free(a);
	sign_key_free(b);
	snprintf(path, sizeof(path), "%s/identity.key", test_tmpdir());
	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(st.st_mode & 0777, 0600);
	CHECK_EQ(chmod(path, 0644), 0);
	CHECK_EQ(identity_load(&a, test_tmpdir(), NULL, &news), -1);
	CHECK_EQ(chmod(path, 0600), 0);
	CHECK_EQ(truncate(path, 31), 0);
	CHECK_EQ(identity_load(&a, test_tmpdir(), NULL, &news), -74);
}

TEST(host_names_become_device_names)
{
	static const char *const cases[][2] = {
		{ "laptop", "laptop" },	     { "pi.local", "pi" },
		{ "Bob's Mac", "Bob-s-Mac" }, { "--x", "x" },
		{ "", "device" },	     { "\xc3\xa4", "device" },
		{ "0123456789012345678901234567890123456789", "01234567890123456789012345678901" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char name[IDENTITY_NAME_MAX + 1];

		identity_name(name, cases[i][0]);
		CHECK_STR(name, cases[i][1]);
	}
}
