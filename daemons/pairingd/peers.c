/*
 * The pairing store. An identity has at most one row of an active pairing, and
 * after it prepared ones, of which any may be the one that the peer has: its
 * first message says which. Roots are erased with secure_delete, and
 * the write-ahead log is truncated afterwards, so that a moved root is in no
 * file of ours.
 */
#include "pairingd/peers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "crypto/seal.h"
#include "store/store.h"

#include "pairingd/operations.h"

/* Spent sessions that are remembered: more than a relay gives codes in a day. */
#define ATTEMPTS_KEPT 4096

#define NAME_TRIES 1000

#define ROOT_LEN 32

/* Digits of an id that stand for a peer. */
#define ID_DIGITS_MIN 8

struct peers {
	struct store *store;
	const struct seal_key *key; /* of roots at rest; NULL: they are not sealed */
	int unscrubbed; /* why what was deleted may still be in the file or its log; 0: it is not */
	void (*on_unscrubbed)(int r, void *arg);
	void *arg;
	unsigned int failures; /* secrets that failed in a row, as stored */
};

static const struct store_migration migrations[] = {
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
	  "CREATE INDEX attempt_code ON attempt (code);"
	  "CREATE TABLE guard (one INTEGER PRIMARY KEY CHECK (one = 1),"
	  " failures INTEGER NOT NULL) STRICT;"
	  "INSERT INTO guard VALUES (1, 0);" },
	/* sealed: under which state key roots are; imported: whose identity.key belongs to these rows. */
	{ "ALTER TABLE peer ADD COLUMN restored INTEGER NOT NULL DEFAULT 0;"
	  "CREATE TABLE sealed (one INTEGER PRIMARY KEY CHECK (one = 1), key_id BLOB NOT NULL) STRICT;"
	  "CREATE TABLE imported (one INTEGER PRIMARY KEY CHECK (one = 1),"
	  " public_key BLOB NOT NULL) STRICT;" },
	/* number: the order of an identity's pairings. An active one came before all prepared ones there are. */
	{ "ALTER TABLE peer RENAME TO peer_2;"
	  "CREATE TABLE peer ("
	  " id BLOB NOT NULL, active INTEGER NOT NULL, name TEXT NOT NULL, public_key BLOB NOT NULL,"
	  " peer_name TEXT NOT NULL, role INTEGER NOT NULL, profile TEXT NOT NULL,"
	  " sas_compared INTEGER NOT NULL, paired_at INTEGER NOT NULL, host_name TEXT NOT NULL,"
	  " version TEXT NOT NULL, note TEXT NOT NULL, candidates TEXT NOT NULL,"
	  " port INTEGER NOT NULL, own_port INTEGER NOT NULL, tunnel_id BLOB NOT NULL, root BLOB,"
	  " restored INTEGER NOT NULL DEFAULT 0, number INTEGER NOT NULL,"
	  " PRIMARY KEY (id, tunnel_id)) STRICT;"
	  "CREATE UNIQUE INDEX peer_number ON peer (id, number);"
	  "CREATE UNIQUE INDEX peer_active ON peer (id) WHERE active = 1;"
	  "INSERT INTO peer SELECT id, active, name, public_key, peer_name, role, profile, sas_compared,"
	  " paired_at, host_name, version, note, candidates, port, own_port, tunnel_id, root, restored,"
	  " 2 - active FROM peer_2;"
	  "DROP TABLE peer_2;" },
};

#define PEER_COLUMNS                                                                              \
	"id, active, name, public_key, peer_name, role, profile, sas_compared, paired_at, "       \
	"host_name, version, note, candidates, port, own_port, tunnel_id, root IS NOT NULL, "       \
	"active = 1 AND EXISTS (SELECT 1 FROM peer AS newer WHERE newer.id = peer.id AND newer.active = 0), " \
	"restored"

/* The active row of an identity, else its newest prepared one. */
#define PEER_SHOWN                                                        \
	"number = (SELECT number FROM peer AS other WHERE other.id = peer.id" \
	" ORDER BY active DESC, number DESC LIMIT 1)"

const char *peers_outcome_text(int outcome)
{
	switch (outcome) {
	case PEERS_E_NO_SUCH:
		return "there is no such peer";
	case PEERS_E_NAME_TAKEN:
		return "another peer has this name";
	case PEERS_E_NO_ROOT:
		return "the root was moved already";
	case PEERS_E_SPENT:
		return "a secret was spent on this session before";
	case PEERS_E_NEWER:
		return "the state is of a newer handfast";
	case PEERS_E_CORRUPT:
		return "the state is damaged";
	case PEERS_E_LOCKED:
		return "another pairingd has the state open";
	case PEERS_E_SEALED:
		return "roots are sealed, and the credential handfast.state-key is missing";
	case PEERS_E_OTHER_KEY:
		return "roots are sealed under another credential handfast.state-key";
	case PEERS_E_FULL:
		return "too many pairings with this device are unconfirmed; forget it and pair again";
	}
	return "unknown outcome";
}

static int fold_store(int r)
{
	switch (r) {
	case STORE_E_NEWER:
		return PEERS_E_NEWER;
	case STORE_E_CORRUPT:
		return PEERS_E_CORRUPT;
	case STORE_E_LOCKED:
		return PEERS_E_LOCKED;
	}
	return err_fold(r);
}

/* ---- statements ---- */

/* Run one that gives no row. */
static int run(struct store_stmt *st)
{
	return err_fold(store_step(st));
}

static int run_sql(struct peers *p, const char *sql)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r;

	r = store_prepare(&st, p->store, sql);
	if (r)
		return err_fold(r);
	return run(st);
}

static int run_sql_id(struct peers *p, const char *sql, const void *id, size_t id_len)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r;

	r = store_prepare(&st, p->store, sql);
	if (r)
		return err_fold(r);
	store_bind_blob(st, 1, id, id_len);
	return run(st);
}

struct transaction {
	struct store *store;
};

static void transaction_end(struct transaction *t)
{
	if (t->store)
		store_rollback(t->store);
}

static int transaction_begin(struct transaction *t, struct peers *p)
{
	int r;

	r = store_begin(p->store);
	if (r)
		return err_fold(r);
	t->store = p->store;
	return 0;
}

static int transaction_commit(struct transaction *t)
{
	int r;

	r = store_commit(t->store);
	if (r)
		return err_fold(r);
	t->store = NULL;
	return 0;
}

/*
 * What was deleted is gone for every reader already; when the disk refuses to
 * have it overwritten, that is owed, and tried again.
 */
int peers_scrub(struct peers *p)
{
	p->unscrubbed = err_fold(store_scrub(p->store));
	if (p->unscrubbed && p->on_unscrubbed)
		p->on_unscrubbed(p->unscrubbed, p->arg);
	return p->unscrubbed;
}

void peers_on_unscrubbed(struct peers *p, void (*fn)(int r, void *arg), void *arg)
{
	p->on_unscrubbed = fn;
	p->arg = arg;
	if (p->unscrubbed && fn)
		fn(p->unscrubbed, arg);
}

/* ---- spent secrets ---- */

unsigned int peers_pin_digits(const struct peers *p)
{
	return p->failures >= PEERS_FAILURES_MAX ? PEERS_PIN_LONG : PEERS_PIN_SHORT;
}

static int load_failures(struct peers *p)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r;

	r = store_prepare(&st, p->store, "SELECT failures FROM guard");
	if (r)
		return err_fold(r);
	r = store_step(st);
	if (r != STORE_E_ROW)
		return r ? err_fold(r) : PEERS_E_CORRUPT;
	p->failures = (unsigned int)store_int(st, 0);
	return 0;
}

bool peers_is_spent(struct peers *p, const char *code)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;

	/* What cannot be looked up counts as spent. */
	if (store_prepare(&st, p->store, "SELECT 1 FROM attempt WHERE code = ?"))
		return true;
	store_bind_text(st, 1, code);
	return store_step(st) != 0;
}

int peers_spend(struct peers *p, const char *code, const uint8_t session_id[static 16],
		enum pairing_role role, enum secret_class class)
{
	_cleanup_(transaction_end) struct transaction t = { NULL };
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	_cleanup_(store_donep) struct store_stmt *prune = NULL;
	int r;

	r = transaction_begin(&t, p);
	if (r)
		return r;
	r = store_prepare(&st, p->store,
			  "INSERT INTO attempt (session_id, code, role, class, spent_at)"
			  " VALUES (?, ?, ?, ?, ?)");
	if (r)
		return err_fold(r);
	store_bind_blob(st, 1, session_id, 16);
	store_bind_text(st, 2, code);
	store_bind_int(st, 3, role);
	store_bind_int(st, 4, class);
	store_bind_int(st, 5, clock_wall_s());
	r = store_step(st);
	if (r == STORE_E_CONSTRAINT)
		return PEERS_E_SPENT;
	if (r)
		return err_fold(r);
	r = store_prepare(&prune, p->store,
			  "DELETE FROM attempt WHERE number <= (SELECT max(number) FROM attempt) - ?");
	if (r)
		return err_fold(r);
	store_bind_int(prune, 1, ATTEMPTS_KEPT);
	r = run(prune);
	if (r)
		return r;
	/* Only PINs can be guessed. */
	if (class == SECRET_PIN) {
		r = run_sql(p, "UPDATE guard SET failures = failures + 1");
		if (r)
			return r;
	}
	r = transaction_commit(&t);
	if (r)
		return r;
	p->failures += class == SECRET_PIN;
	return 0;
}

int peers_proven(struct peers *p, const uint8_t session_id[static 16])
{
	_cleanup_(transaction_end) struct transaction t = { NULL };
	int r;

	r = transaction_begin(&t, p);
	if (r)
		return r;
	/* A secret of 16 bytes says nothing about who guesses PINs. */
	r = run_sql_id(p,
		       "UPDATE guard SET failures = 0 WHERE EXISTS"
		       " (SELECT 1 FROM attempt WHERE session_id = ? AND class = 1)",
		       session_id, 16);
	if (!r)
		r = run_sql_id(p, "UPDATE attempt SET proven = 1 WHERE session_id = ?", session_id, 16);
	if (!r)
		r = transaction_commit(&t);
	return r ? r : load_failures(p);
}

int peers_ended(struct peers *p, const uint8_t session_id[static 16], const char *outcome)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r;

	r = store_prepare(&st, p->store, "UPDATE attempt SET outcome = ? WHERE session_id = ?");
	if (r)
		return err_fold(r);
	store_bind_text(st, 1, outcome);
	store_bind_blob(st, 2, session_id, 16);
	return run(st);
}

int peers_take_cut_off(struct peers *p, unsigned int *n)
{
	int r;

	r = run_sql(p, "UPDATE attempt SET outcome = 'cut off' WHERE outcome IS NULL");
	if (r)
		return r;
	*n = (unsigned int)store_changes(p->store);
	return 0;
}

/* ---- pairings ---- */

static void read_text(char *out, size_t cap, struct store_stmt *st, int col)
{
	const char *s = store_text(st, col);

	snprintf(out, cap, "%s", s ? s : "");
}

static bool read_blob(void *out, size_t len, struct store_stmt *st, int col)
{
	size_t got = 0;
	const void *b = store_blob(st, col, &got);

	if (!b || got != len)
		return false;
	memcpy(out, b, len);
	return true;
}

/* Lines to addresses; the file is ours, but it may be damaged. */
static void read_candidates(struct pairing_identity *i, const char *text)
{
	while (text && *text && i->n_candidates < IDENTITY_CANDIDATES_MAX) {
		size_t len = strcspn(text, "\n");

		if (len > 0 && len < IDENTITY_CANDIDATE_LEN) {
			memcpy(i->candidates[i->n_candidates], text, len);
			i->candidates[i->n_candidates++][len] = '\0';
		}
		text += len + (text[len] == '\n');
	}
}

static int read_peer(struct peer *out, struct store_stmt *st)
{
	struct pairing_identity *i = &out->identity;

	memset(out, 0, sizeof(*out));
	i->key_type = PAIRING_KEY_ED25519;
	if (!read_blob(out->id, sizeof(out->id), st, 0) ||
	    !read_blob(i->public_key.b, sizeof(i->public_key.b), st, 3) ||
	    !read_blob(out->tunnel_id, sizeof(out->tunnel_id), st, 15))
		return -EIO;
	out->active = store_int(st, 1) != 0;
	read_text(out->name, sizeof(out->name), st, 2);
	read_text(i->name, sizeof(i->name), st, 4);
	out->role = store_int(st, 5) == PAIRING_ALICE ? PAIRING_ALICE : PAIRING_BOB;
	read_text(out->profile, sizeof(out->profile), st, 6);
	out->sas_compared = store_int(st, 7) != 0;
	out->paired_at = store_int(st, 8);
	read_text(i->host_name, sizeof(i->host_name), st, 9);
	read_text(i->version, sizeof(i->version), st, 10);
	read_text(i->note, sizeof(i->note), st, 11);
	read_candidates(i, store_text(st, 12));
	i->port = (uint16_t)store_int(st, 13);
	out->own_port = (uint16_t)store_int(st, 14);
	out->has_root = store_int(st, 16) != 0;
	out->newer_unconfirmed = store_int(st, 17) != 0;
	out->restored = store_int(st, 18) != 0;
	return 0;
}

/* The one row of a statement that is bound already. */
static int read_one(struct peer *out, struct store_stmt *st)
{
	int r = store_step(st);

	if (r == 0)
		return PEERS_E_NO_SUCH;
	if (r != STORE_E_ROW)
		return err_fold(r);
	return read_peer(out, st);
}

int peers_get(struct peers *p, const uint8_t id[static IDENTITY_ID_LEN], struct peer *out)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r;

	r = store_prepare(&st, p->store,
			  "SELECT " PEER_COLUMNS " FROM peer WHERE id = ? AND " PEER_SHOWN);
	if (r)
		return err_fold(r);
	store_bind_blob(st, 1, id, IDENTITY_ID_LEN);
	return read_one(out, st);
}

/* A statement about one pairing: ?1 is the peer's id, ?2 the tunnel's. */
static int prepare_tunnel(struct store_stmt **st, struct peers *p, const char *sql, const uint8_t *id,
			  const uint8_t *tunnel_id)
{
	int r = store_prepare(st, p->store, sql);

	if (r)
		return err_fold(r);
	store_bind_blob(*st, 1, id, IDENTITY_ID_LEN);
	store_bind_blob(*st, 2, tunnel_id, IDENTITY_TUNNEL_ID_LEN);
	return 0;
}

/* Run one that gives no row. */
static int run_tunnel(struct peers *p, const char *sql, const uint8_t *id, const uint8_t *tunnel_id)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r = prepare_tunnel(&st, p, sql, id, tunnel_id);

	return r ? r : run(st);
}

int peers_get_tunnel(struct peers *p, const uint8_t id[static IDENTITY_ID_LEN],
		     const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN], struct peer *out)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r;

	r = prepare_tunnel(&st, p, "SELECT " PEER_COLUMNS " FROM peer WHERE id = ? AND tunnel_id = ?", id,
			   tunnel_id);
	return r ? r : read_one(out, st);
}

bool peers_name_is_id(const char *name)
{
	size_t len = strlen(name);

	return len >= ID_DIGITS_MIN && len <= 2 * IDENTITY_ID_LEN &&
	       strspn(name, "0123456789abcdef") == len;
}

static int find_by_hex(struct peers *p, const char *hex, struct peer *out)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	struct peer more;
	int r;

	if (!peers_name_is_id(hex))
		return PEERS_E_NO_SUCH;
	r = store_prepare(&st, p->store,
			  "SELECT " PEER_COLUMNS " FROM peer"
			  " WHERE substr(lower(hex(id)), 1, length(?1)) = ?1 AND " PEER_SHOWN);
	if (r)
		return err_fold(r);
	store_bind_text(st, 1, hex);
	r = read_one(out, st);
	if (r)
		return r;
	r = read_one(&more, st);
	if (r == PEERS_E_NO_SUCH)
		return 0;
	return r ? r : PEERS_E_NO_SUCH;
}

int peers_find(struct peers *p, const char *name, struct peer *out)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r;

	/* A whole id is nobody's name, whatever a peer calls itself. */
	if (strlen(name) == 2 * IDENTITY_ID_LEN) {
		r = find_by_hex(p, name, out);
		if (r != PEERS_E_NO_SUCH)
			return r;
	}
	r = store_prepare(&st, p->store,
			  "SELECT " PEER_COLUMNS " FROM peer WHERE name = ? AND " PEER_SHOWN);
	if (r)
		return err_fold(r);
	store_bind_text(st, 1, name);
	r = read_one(out, st);
	return r == PEERS_E_NO_SUCH ? find_by_hex(p, name, out) : r;
}

static int each_row(struct peers *p, const char *sql, void (*fn)(const struct peer *peer, void *arg),
		    void *arg)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r;

	r = store_prepare(&st, p->store, sql);
	if (r)
		return err_fold(r);
	while ((r = store_step(st)) == STORE_E_ROW) {
		struct peer peer;

		r = read_peer(&peer, st);
		if (r)
			return r;
		fn(&peer, arg);
	}
	return err_fold(r);
}

int peers_each(struct peers *p, void (*fn)(const struct peer *peer, void *arg), void *arg)
{
	return each_row(p, "SELECT " PEER_COLUMNS " FROM peer WHERE " PEER_SHOWN " ORDER BY name", fn, arg);
}

int peers_each_pairing(struct peers *p, void (*fn)(const struct peer *peer, void *arg), void *arg)
{
	return each_row(p, "SELECT " PEER_COLUMNS " FROM peer ORDER BY id, active, number", fn, arg);
}

int peers_each_root(struct peers *p, void (*fn)(const struct peer *peer, void *arg), void *arg)
{
	return each_row(p, "SELECT " PEER_COLUMNS " FROM peer WHERE root IS NOT NULL ORDER BY id, number", fn, arg);
}

bool peers_port_is_used(struct peers *p, uint16_t port)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;

	if (store_prepare(&st, p->store, "SELECT 1 FROM peer WHERE own_port = ?"))
		return true;
	store_bind_int(st, 1, port);
	return store_step(st) != 0;
}

/* 0: free (or of id itself); PEERS_E_NAME_TAKEN. */
static int name_is_free(struct peers *p, const char *name, const uint8_t *id)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r;

	r = store_prepare(&st, p->store, "SELECT 1 FROM peer WHERE name = ? AND id != ?");
	if (r)
		return err_fold(r);
	store_bind_text(st, 1, name);
	store_bind_blob(st, 2, id, IDENTITY_ID_LEN);
	r = store_step(st);
	return r == STORE_E_ROW ? PEERS_E_NAME_TAKEN : err_fold(r);
}

/* base, or base-2, base-3 … cut so that it stays a name. */
static int choose_name(struct peers *p, char out[static IDENTITY_NAME_MAX + 1], const char *base,
		       const uint8_t *id)
{
	int r = PEERS_E_NAME_TAKEN;

	/* What reads as an id must not be a name: it could be another peer's. */
	if (peers_name_is_id(base))
		base = "device";
	snprintf(out, IDENTITY_NAME_MAX + 1, "%s", base);
	for (unsigned int n = 2; n < NAME_TRIES; n++) {
		char suffix[16];
		int len;

		r = name_is_free(p, out, id);
		if (r != PEERS_E_NAME_TAKEN)
			return r;
		len = snprintf(suffix, sizeof(suffix), "-%u", n);
		snprintf(out, IDENTITY_NAME_MAX + 1, "%.*s%s", IDENTITY_NAME_MAX - len, base, suffix);
	}
	return r;
}

static void format_candidates(char *out, size_t cap, const struct pairing_identity *i)
{
	size_t len = 0;

	*out = '\0';
	for (size_t n = 0; n < i->n_candidates && len < cap; n++)
		len += (size_t)snprintf(out + len, cap - len, "%s\n", i->candidates[n]);
}

/* ---- roots at rest ---- */

/* What is sealed is bound to its row. */
struct root_context {
	char what[16];
	uint8_t id[IDENTITY_ID_LEN];
	uint8_t tunnel_id[IDENTITY_TUNNEL_ID_LEN];
};

static struct root_context root_context(const uint8_t *id, const uint8_t *tunnel_id)
{
	struct root_context c = { .what = "pairing root" };

	memcpy(c.id, id, sizeof(c.id));
	memcpy(c.tunnel_id, tunnel_id, sizeof(c.tunnel_id));
	return c;
}

static void bind_root(struct peers *p, struct store_stmt *st, int i, const uint8_t *id, const uint8_t *tunnel_id,
		      const struct secret *root)
{
	struct root_context c = root_context(id, tunnel_id);
	uint8_t blob[ROOT_LEN + SEAL_BLOB_EXTRA];
	uint64_t begun;

	if (!p->key || !root || secret_len(root) != ROOT_LEN) {
		store_bind_blob(st, i, root ? secret_bytes(root) : NULL, root ? secret_len(root) : 0);
		return;
	}
	begun = opstat_begin();
	seal_blob(blob, secret_bytes(root), ROOT_LEN, &c, sizeof(c), p->key);
	opstat_end(&pairing_operations[OP_STATE_SEAL], begun, ROOT_LEN, true);
	store_bind_blob(st, i, blob, sizeof(blob));
}

/* 0 with a new secret; PEERS_E_NO_ROOT; -EBADMSG when it is damaged; -ENOMEM. */
static int read_root(struct peers *p, struct secret **root, struct store_stmt *st, int col, const uint8_t *id,
		     const uint8_t *tunnel_id)
{
	struct root_context c = root_context(id, tunnel_id);
	uint8_t copy[ROOT_LEN];
	size_t len = 0;
	const void *b = store_blob(st, col, &len);
	int r;

	if (b && seal_is_blob(b, len)) {
		uint64_t begun = opstat_begin();

		r = seal_blob_open(root, b, len, &c, sizeof(c), p->key);
		opstat_end(&pairing_operations[OP_STATE_OPEN], begun, len, r == 0);
		return r > 0 ? -EBADMSG : r;
	}
	if (!b || len != sizeof(copy))
		return PEERS_E_NO_ROOT;
	memcpy(copy, b, sizeof(copy));
	r = secret_take(root, copy, sizeof(copy));
	wipe(copy, sizeof(copy));
	return r;
}

/* root NULL: it came from a backup. */
static int insert(struct peers *p, const struct peer *peer, const struct secret *root)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	char candidates[IDENTITY_CANDIDATES_MAX * (IDENTITY_CANDIDATE_LEN + 1) + 1];
	const struct pairing_identity *i = &peer->identity;
	int r;

	r = store_prepare(&st, p->store,
			  "INSERT INTO peer (id, name, public_key, peer_name, role,"
			  " profile, sas_compared, paired_at, host_name, version, note, candidates,"
			  " port, own_port, tunnel_id, root, active, restored, number)"
			  " VALUES (?1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
			  " (SELECT ifnull(max(number), 0) + 1 FROM peer WHERE id = ?1))");
	if (r)
		return err_fold(r);
	format_candidates(candidates, sizeof(candidates), i);
	store_bind_blob(st, 1, peer->id, sizeof(peer->id));
	store_bind_text(st, 2, peer->name);
	store_bind_blob(st, 3, i->public_key.b, sizeof(i->public_key.b));
	store_bind_text(st, 4, i->name);
	store_bind_int(st, 5, peer->role);
	store_bind_text(st, 6, peer->profile);
	store_bind_int(st, 7, peer->sas_compared);
	store_bind_int(st, 8, peer->paired_at);
	store_bind_text(st, 9, i->host_name);
	store_bind_text(st, 10, i->version);
	store_bind_text(st, 11, i->note);
	store_bind_text(st, 12, candidates);
	store_bind_int(st, 13, i->port);
	store_bind_int(st, 14, peer->own_port);
	store_bind_blob(st, 15, peer->tunnel_id, sizeof(peer->tunnel_id));
	bind_root(p, st, 16, peer->id, peer->tunnel_id, root);
	store_bind_int(st, 17, peer->active);
	store_bind_int(st, 18, root == NULL);
	return run(st);
}

/* 0 when one more can be unconfirmed with this peer; PEERS_E_FULL. */
static int has_room(struct peers *p, const uint8_t *id)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r;

	r = store_prepare(&st, p->store, "SELECT count(*) FROM peer WHERE id = ? AND active = 0");
	if (r)
		return err_fold(r);
	store_bind_blob(st, 1, id, IDENTITY_ID_LEN);
	r = store_step(st);
	if (r != STORE_E_ROW)
		return err_fold(r);
	return store_int(st, 0) < PEERS_PREPARED_MAX ? 0 : PEERS_E_FULL;
}

int peers_store(struct peers *p, const struct pairing_result *result, uint16_t own_port,
		const char *wanted, struct peer *out)
{
	_cleanup_(transaction_end) struct transaction t = { NULL };
	struct peer peer = { .identity = *result->peer }, earlier;
	const char *base = result->peer->name;
	int r;

	identity_id(peer.id, &result->peer->public_key);
	peer.role = result->role;
	snprintf(peer.profile, sizeof(peer.profile), "%s", result->profile);
	peer.sas_compared = result->sas_compared;
	peer.paired_at = clock_wall_s();
	peer.own_port = own_port;
	memcpy(peer.tunnel_id, result->tunnel_id, sizeof(peer.tunnel_id));
	peer.has_root = true;

	r = transaction_begin(&t, p);
	if (!r)
		r = has_room(p, peer.id);
	if (r)
		return r;
	r = peers_get(p, peer.id, &earlier);
	if (r < 0)
		return r;
	if (wanted && *wanted)
		base = wanted;
	else if (r == 0)
		base = earlier.name;
	r = choose_name(p, peer.name, base, peer.id);
	if (!r)
		r = insert(p, &peer, result->tunnel_root);
	if (!r)
		r = transaction_commit(&t);
	if (r)
		return r;
	if (out)
		*out = peer;
	return 0;
}

int peers_activate(struct peers *p, const uint8_t id[static IDENTITY_ID_LEN],
		   const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN])
{
	_cleanup_(transaction_end) struct transaction t = { NULL };
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r;

	r = transaction_begin(&t, p);
	if (r)
		return r;
	r = prepare_tunnel(&st, p, "SELECT active FROM peer WHERE id = ? AND tunnel_id = ?", id, tunnel_id);
	if (r)
		return r;
	r = store_step(st);
	if (r == 0)
		return PEERS_E_NO_SUCH;
	if (r != STORE_E_ROW)
		return err_fold(r);
	if (store_int(st, 0))
		return 0;
	store_done(steal(&st));
	r = run_tunnel(p,
		       "DELETE FROM peer WHERE id = ?1 AND (active = 1 OR"
		       " number < (SELECT number FROM peer WHERE id = ?1 AND tunnel_id = ?2))",
		       id, tunnel_id);
	if (!r)
		r = run_tunnel(p, "UPDATE peer SET active = 1 WHERE id = ? AND tunnel_id = ?", id, tunnel_id);
	if (!r)
		r = transaction_commit(&t);
	if (r)
		return r;
	/* Roots of earlier ones, if they were still here. */
	peers_scrub(p);
	return 0;
}

/* After a DELETE that returned r: rows that may have held a root are gone from the file, too. */
static int removed(struct peers *p, int r)
{
	if (r)
		return r;
	if (store_changes(p->store) == 0)
		return PEERS_E_NO_SUCH;
	peers_scrub(p);
	return 0;
}

int peers_remove_prepared(struct peers *p, const uint8_t id[static IDENTITY_ID_LEN],
			  const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN])
{
	return removed(p, run_tunnel(p, "DELETE FROM peer WHERE id = ? AND tunnel_id = ? AND active = 0", id,
				     tunnel_id));
}

int peers_forget(struct peers *p, const uint8_t id[static IDENTITY_ID_LEN])
{
	return removed(p, run_sql_id(p, "DELETE FROM peer WHERE id = ?", id, IDENTITY_ID_LEN));
}

int peers_rename(struct peers *p, const uint8_t id[static IDENTITY_ID_LEN], const char *new_name)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r;

	r = name_is_free(p, new_name, id);
	if (r)
		return r;
	r = store_prepare(&st, p->store, "UPDATE peer SET name = ? WHERE id = ?");
	if (r)
		return err_fold(r);
	store_bind_text(st, 1, new_name);
	store_bind_blob(st, 2, id, IDENTITY_ID_LEN);
	r = run(st);
	if (r)
		return r;
	return store_changes(p->store) == 0 ? PEERS_E_NO_SUCH : 0;
}

/* ---- roots ---- */

int peers_root(struct peers *p, const uint8_t id[static IDENTITY_ID_LEN],
	       const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN], struct secret **root)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r;

	r = prepare_tunnel(&st, p, "SELECT root FROM peer WHERE id = ? AND tunnel_id = ?", id, tunnel_id);
	if (r)
		return r;
	r = store_step(st);
	if (r == 0)
		return PEERS_E_NO_SUCH;
	if (r != STORE_E_ROW)
		return err_fold(r);
	return read_root(p, root, st, 0, id, tunnel_id);
}

int peers_root_moved(struct peers *p, const uint8_t id[static IDENTITY_ID_LEN],
		     const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN])
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r;

	r = prepare_tunnel(&st, p, "UPDATE peer SET root = NULL WHERE id = ? AND tunnel_id = ?", id,
			   tunnel_id);
	if (!r)
		r = run(st);
	if (r)
		return r;
	if (store_changes(p->store) == 0)
		return PEERS_E_NO_SUCH;
	/* Its read mark would keep the log from being truncated. */
	store_done(steal(&st));
	peers_scrub(p);
	return 0;
}

/* ---- from a backup ---- */

int peers_replace(struct peers *p, const struct peer *v, size_t n, const struct sign_public *own)
{
	_cleanup_(transaction_end) struct transaction t = { NULL };
	int r;

	r = transaction_begin(&t, p);
	if (!r)
		r = run_sql(p, "DELETE FROM peer");
	/* No root is left that a state key had sealed: a lost one is not missed any more. */
	if (!r)
		r = run_sql(p, "DELETE FROM sealed");
	for (size_t i = 0; !r && i < n; i++)
		r = insert(p, &v[i], NULL);
	if (!r)
		r = run_sql_id(p, "INSERT OR REPLACE INTO imported VALUES (1, ?)", own->b, sizeof(own->b));
	if (!r)
		r = transaction_commit(&t);
	if (r)
		return r;
	peers_scrub(p);
	return 0;
}

int peers_imported_identity(struct peers *p, struct sign_public *own)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r;

	r = store_prepare(&st, p->store, "SELECT public_key FROM imported");
	if (r)
		return err_fold(r);
	r = store_step(st);
	if (r == 0)
		return PEERS_E_NO_SUCH;
	if (r != STORE_E_ROW)
		return err_fold(r);
	return read_blob(own->b, sizeof(own->b), st, 0) ? 0 : PEERS_E_CORRUPT;
}

int peers_import_done(struct peers *p)
{
	return run_sql(p, "DELETE FROM imported");
}

/* ---- life ---- */

/* Whose key the file names: 0 with the right one, or with none named and none there; PEERS_E_NO_SUCH: none named, but one is there. */
static int check_seal(struct peers *p)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	uint8_t id[SEAL_ID_LEN];
	int r;

	r = store_prepare(&st, p->store, "SELECT key_id FROM sealed");
	if (r)
		return err_fold(r);
	r = store_step(st);
	if (r == 0)
		return p->key ? PEERS_E_NO_SUCH : 0;
	if (r != STORE_E_ROW)
		return err_fold(r);
	if (!read_blob(id, sizeof(id), st, 0))
		return PEERS_E_CORRUPT;
	if (!p->key)
		return PEERS_E_SEALED;
	return memcmp(id, seal_key_id(p->key), sizeof(id)) == 0 ? 0 : PEERS_E_OTHER_KEY;
}

/* One row whose root lies open. 0; PEERS_E_NO_SUCH: there is none any more. */
static int seal_one(struct peers *p)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	_cleanup_(store_donep) struct store_stmt *update = NULL;
	_cleanup_(secret_freep) struct secret *root = NULL;
	uint8_t id[IDENTITY_ID_LEN], tunnel_id[IDENTITY_TUNNEL_ID_LEN];
	int r;

	r = store_prepare(&st, p->store, "SELECT root, id, tunnel_id FROM peer WHERE length(root) = 32 LIMIT 1");
	if (r)
		return err_fold(r);
	r = store_step(st);
	if (r == 0)
		return PEERS_E_NO_SUCH;
	if (r != STORE_E_ROW)
		return err_fold(r);
	if (!read_blob(id, sizeof(id), st, 1) || !read_blob(tunnel_id, sizeof(tunnel_id), st, 2))
		return PEERS_E_CORRUPT;
	r = read_root(p, &root, st, 0, id, tunnel_id);
	if (r)
		return r;
	store_done(steal(&st));
	r = prepare_tunnel(&update, p, "UPDATE peer SET root = ?3 WHERE id = ?1 AND tunnel_id = ?2", id, tunnel_id);
	if (r)
		return r;
	bind_root(p, update, 3, id, tunnel_id, root);
	r = run(update);
	/* Where a damaged index does not lead to the row, it would be the next one again. */
	return !r && store_changes(p->store) != 1 ? PEERS_E_CORRUPT : r;
}

/* All of them, and whose key it was, in one transaction. */
static int seal_all(struct peers *p, size_t *n_sealed)
{
	_cleanup_(transaction_end) struct transaction t = { NULL };
	size_t n = 0;
	int r;

	r = transaction_begin(&t, p);
	while (!r && (r = seal_one(p)) == 0)
		n++;
	if (r == PEERS_E_NO_SUCH)
		r = run_sql_id(p, "INSERT OR REPLACE INTO sealed VALUES (1, ?)", seal_key_id(p->key), SEAL_ID_LEN);
	if (!r)
		r = transaction_commit(&t);
	if (!r)
		*n_sealed = n;
	return r;
}

static int explain(int r, const char *dir, const char *path, int64_t found, char *why, size_t cap)
{
	if (r == PEERS_E_NEWER)
		snprintf(why, cap,
			 "%s was written by a newer handfast (version %lld, this one knows up to %zu): install that "
			 "version again, or move %s away and restore a backup; nothing was changed",
			 path, (long long)found, ARRAY_SIZE(migrations), dir);
	else if (r == PEERS_E_CORRUPT)
		snprintf(why, cap, "%s: %s: move %s away and restore a backup; nothing was changed", path,
			 peers_outcome_text(r), dir);
	else if (r == PEERS_E_SEALED || r == PEERS_E_OTHER_KEY)
		snprintf(why, cap, "%s: %s: put the right one back (handfast-security(7)); nothing was changed", path,
			 peers_outcome_text(r));
	else if (r > 0)
		snprintf(why, cap, "%s: %s", path, peers_outcome_text(r));
	return r;
}

enum opening { OPEN_TO_USE, OPEN_TO_REPLACE, OPEN_TO_LOOK };

static int open_store(struct peers **out, const char *dir, const struct seal_key *key, enum opening how, size_t *n_sealed,
		      char *why, size_t cap)
{
	_cleanup_(peers_freep) struct peers *p = calloc(1, sizeof(*p));
	_cleanup_free_ char *path = path_join(dir, "pairings.db");
	int64_t found = 0;
	int r;

	if (!p || !path)
		return -ENOMEM;
	p->key = key;
	if (how == OPEN_TO_LOOK)
		r = store_look(&p->store, path, migrations, ARRAY_SIZE(migrations), &found);
	else
		r = store_open_version(&p->store, path, migrations, ARRAY_SIZE(migrations), &found);
	r = fold_store(r);
	if (!r && how == OPEN_TO_USE)
		r = check_seal(p);
	if (r == PEERS_E_NO_SUCH)
		r = seal_all(p, n_sealed);
	if (!r)
		r = load_failures(p);
	if (r)
		return explain(r, dir, path, found, why, cap);
	/* A stop may have come between a root's deletion, or its sealing, and its overwriting. */
	if (how != OPEN_TO_LOOK)
		peers_scrub(p);
	*out = steal(&p);
	return 0;
}

int peers_open(struct peers **out, const char *dir)
{
	size_t n_sealed;

	return open_store(out, dir, NULL, OPEN_TO_USE, &n_sealed, NULL, 0);
}

int peers_open_sealed(struct peers **out, const char *dir, const struct seal_key *key, size_t *n_sealed,
		      char *why, size_t cap)
{
	*n_sealed = 0;
	return open_store(out, dir, key, OPEN_TO_USE, n_sealed, why, cap);
}

int peers_open_import(struct peers **out, const char *dir, bool look, char *why, size_t cap)
{
	size_t n_sealed;

	return open_store(out, dir, NULL, look ? OPEN_TO_LOOK : OPEN_TO_REPLACE, &n_sealed, why, cap);
}

struct peers *peers_free(struct peers *p)
{
	if (!p)
		return NULL;
	store_close(p->store);
	free(p);
	return NULL;
}
