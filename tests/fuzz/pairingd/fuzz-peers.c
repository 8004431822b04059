/*
 * pairings.db of any content: it is refused, or opened and used. The first byte says how it is opened, and with which key.
 *
 * What must hold: opening and every question end, with an outcome that is one of theirs; what is read fits; a secret that
 * was spent in it stays spent.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "crypto/seal.h"
#include "pairingd/peers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX = 1 << 16 };

static char dir[64], path[96], log_path[112];
static struct seal_key *key;
static struct peer last;
static size_t n_rows;

static void remove_files(void)
{
	unlink(path);
	unlink(log_path);
	rmdir(dir);
}

static void set_up(void)
{
	uint8_t bytes[32] = "a master key";
	struct secret *master;

	log_set_level(LOG_CRIT);
	clock_fake_ms(1000000);
	assert(crypto_init() == 0 && secret_take(&master, bytes, sizeof(bytes)) == 0);
	assert(seal_key_new(&key, master, "a label") == 0);
	secret_free(master);
	snprintf(dir, sizeof(dir), "%s/handfast-fuzz-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	assert(mkdtemp(dir) && atexit(remove_files) == 0);
	snprintf(path, sizeof(path), "%s/pairings.db", dir);
	snprintf(log_path, sizeof(log_path), "%s-wal", path);
}

static void put_file(const uint8_t *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	unlink(log_path);
	assert(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	close(fd);
}

static void check_outcome(int r)
{
	assert(r <= 0 || (r <= PEERS_E_FULL && *peers_outcome_text(r)));
}

static void on_peer(const struct peer *peer, void *arg)
{
	(void)arg;
	assert(strlen(peer->name) <= IDENTITY_NAME_MAX && strlen(peer->profile) <= PROFILE_NAME_MAX);
	assert(peer->identity.n_candidates <= IDENTITY_CANDIDATES_MAX);
	for (size_t i = 0; i < peer->identity.n_candidates; i++)
		assert(strlen(peer->identity.candidates[i]) < IDENTITY_CANDIDATE_LEN);
	assert(strlen(peer->identity.note) <= PAIRING_NOTE_MAX);
	last = *peer;
	n_rows++;
}

static void ask(struct peers *p)
{
	struct secret *root = NULL;
	struct peer peer;
	int r;

	n_rows = 0;
	check_outcome(peers_each(p, on_peer, NULL));
	check_outcome(peers_each_pairing(p, on_peer, NULL));
	check_outcome(peers_each_root(p, on_peer, NULL));
	if (n_rows == 0)
		return;
	check_outcome(peers_get(p, last.id, &peer));
	check_outcome(peers_find(p, last.name, &peer));
	check_outcome(peers_find(p, "0123456789abcdef", &peer));
	r = peers_root(p, last.id, last.tunnel_id, &root);
	check_outcome(r);
	assert((r == 0) == (root != NULL) && (!root || secret_len(root) == 32));
	secret_free(root);
	(void)peers_port_is_used(p, last.own_port);
}

static void change(struct peers *p)
{
	static const uint8_t session_id[16] = "a session";
	unsigned int n;
	int r;

	check_outcome(peers_take_cut_off(p, &n));
	r = peers_spend(p, "ABCDEFGH", session_id, PAIRING_ALICE, SECRET_PIN);
	check_outcome(r);
	if (r == 0)
		assert(peers_is_spent(p, "ABCDEFGH") && peers_spend(p, "ABCDEFGH", session_id, PAIRING_ALICE, SECRET_PIN) != 0);
	check_outcome(peers_proven(p, session_id));
	check_outcome(peers_ended(p, session_id, "over"));
	if (n_rows == 0)
		return;
	check_outcome(peers_rename(p, last.id, "another"));
	check_outcome(peers_activate(p, last.id, last.tunnel_id));
	check_outcome(peers_root_moved(p, last.id, last.tunnel_id));
	check_outcome(peers_remove_prepared(p, last.id, last.tunnel_id));
	check_outcome(peers_forget(p, last.id));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct peers *p = NULL;
	char why[512] = "";
	size_t n_sealed;
	int r;

	if (!key)
		set_up();
	if (size < 2 || size > MAX)
		return 0;
	put_file(data + 1, size - 1);
	if (data[0] & 1)
		r = peers_open_import(&p, dir, data[0] & 2, why, sizeof(why));
	else
		r = peers_open_sealed(&p, dir, data[0] & 2 ? key : NULL, &n_sealed, why, sizeof(why));
	check_outcome(r);
	assert((r == 0) == (p != NULL) && (r <= 0 || *why));
	if (r)
		return 0;
	assert(peers_pin_digits(p) == PEERS_PIN_SHORT || peers_pin_digits(p) == PEERS_PIN_LONG);
	ask(p);
	/* To look at: nothing changes. */
	if (!(data[0] & 1))
		change(p);
	peers_free(p);
	return 0;
}
