/*
 * Step by step, each of a few MiB, so that a stop need not wait. First the ledger says that all is given
 * up: from then on nothing can be used, whatever comes. Then the file is read through once, for its
 * path may lead to another by now: every piece must be what its hash in the ledger's table says, or
 * have slots of zeros, which no key file has until it is erased. Only then are zeros written, from the
 * beginning. After a crash all of that begins anew, and finds less to do.
 */
#include "pskd/tunnel/retire.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "crypto/keyfile_io.h"
#include "pskd/keys/erase.h"
#include "pskd/keys/keyfile.h"
#include "pskd/keys/ledger.h"
#include "pskd/tunnel/stage.h"
#include "pskd/tunnel/store.h"

#define PIECES_A_STEP 8
#define RETRY_MS (3600 * 1000)
/* The packet path's own last work on it takes no longer; whoever else has it may have it for ever. */
#define BUSY_MS 1000
#define BUSY_TRIES 5

enum phase { FINISH, OPEN, VERIFY, VERIFY_WHOLE, ERASE, TELL, DONE };

struct retire_job {
	struct tunnel *t; /* NULL: gone */
	char *key_file, *ledger_path;
	char ledger[SPEC_LEDGER_LEN];
	struct spec_fingerprint fingerprint;
	uint8_t role;
	enum keys_erase how;
	enum phase phase;
	int fd, table_fd;
	uint64_t size, piece; /* the next to look at, or to erase */
	int error;
	bool is_gone; /* there is nothing of ours to erase */
	bool is_left; /* there may be, and nobody but a person can tell */
	bool is_buried; /* its ledger was lost, and made anew */
	bool is_held_long, is_locked;
	char detail[200];
};

static void next_step(struct retire_job *j);

static void job_free(struct retire_job *j)
{
	closep(&j->fd);
	closep(&j->table_fd);
	free(j->key_file);
	free(j->ledger_path);
	free(j);
}

/* ---- in the worker ---- */

static void fail(struct retire_job *j, int error, const char *what)
{
	j->error = error;
	snprintf(j->detail, sizeof(j->detail), "%s: %s", what, strerror(-error));
}

/* It is not the file any more that was one of ours. */
static void give_up(struct retire_job *j, const char *why)
{
	j->is_gone = true;
	j->phase = DONE;
	snprintf(j->detail, sizeof(j->detail), "%s", why);
}

/* Nothing of it is needed any more but that the file is never taken again, and that is made sure of. */
static int bury(struct retire_job *j)
{
	int r;

	if (!j->fingerprint.is_known) {
		fail(j, -ENOENT, "its ledger is lost, and with it which file it was");
		return -1;
	}
	r = ledger_bury(j->ledger_path, j->role, j->fingerprint.b);
	if (r) {
		fail(j, r, "its ledger is lost, and cannot be made anew");
		return -1;
	}
	j->is_buried = true;
	return 0;
}

static void finish(struct retire_job *j)
{
	int r = ledger_finish(j->ledger_path, false);

	if (r == -ENOENT || r == LEDGER_E_BROKEN || r == LEDGER_E_MIXED) {
		if (bury(j))
			return;
	} else if (r) {
		fail(j, err_fold(r), "its ledger cannot be written");
		return;
	}
	j->phase = j->how == KEYS_ERASE_NONE ? DONE : OPEN;
}

static void open_table(struct retire_job *j)
{
	static const uint8_t buried[KEYFILE_HASH_LEN];
	uint8_t first[KEYFILE_HASH_LEN];
	char path[PATH_MAX];
	int r = keyfile_table_path(path, sizeof(path), j->ledger_path);
	struct stat st;

	j->table_fd = r ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (!r && (j->table_fd < 0 || fstat(j->table_fd, &st) < 0))
		r = -errno;
	else if (!r)
		r = file_pread_all(j->table_fd, first, sizeof(first), 0);
	/* Lost, as the ledger was: then the whole has to tell. */
	if (r == -ENOENT || (!r && memcmp(first, buried, sizeof(first)) == 0))
		j->phase = VERIFY_WHOLE;
	else if (r)
		fail(j, r, "the table of its ledger cannot be read");
	else if ((uint64_t)st.st_size != keyfile_chunks(j->size) * KEYFILE_HASH_LEN)
		give_up(j, "another file has its place");
	else
		j->phase = VERIFY;
}

static void open_file(struct retire_job *j)
{
	char detail[200] = "";
	int r;

	if (access(j->key_file, F_OK) != 0 && errno == ENOENT) {
		give_up(j, "it is not there any more");
		return;
	}
	j->fd = keyfile_open(j->key_file, true, &j->size, &r, detail, sizeof(detail));
	if (j->fd < 0 && r == KEYFILE_E_BAD_FILE) {
		give_up(j, "it is no key file any more");
		return;
	}
	if (j->fd < 0) {
		fail(j, r, "it cannot be opened for writing");
		return;
	}
	j->is_locked = flock(j->fd, LOCK_EX | LOCK_NB) == 0;
	/* Held for long it may be the file of another generation, which has its path by now: that shows by looking. */
	if (!j->is_locked && (errno != EWOULDBLOCK || !j->is_held_long)) {
		fail(j, -errno, "it is in use");
		return;
	}
	open_table(j);
}

/* No key file has such a slot before it is erased: adding one looks for that. */
static int has_zeros(const struct retire_job *j, uint64_t piece, bool *yes)
{
	static const uint8_t zeros[SLOT_LEN];
	uint8_t slot[SLOT_LEN];
	uint64_t first = piece * KEYFILE_CHUNK_SLOTS, end = first + KEYFILE_CHUNK_SLOTS;

	*yes = false;
	if (end > j->size / SLOT_LEN)
		end = j->size / SLOT_LEN;
	for (uint64_t i = first; i < end && !*yes; i++) {
		int r = file_pread_all(j->fd, slot, sizeof(slot), (off_t)(i * SLOT_LEN));

		if (r)
			return r;
		*yes = memcmp(slot, zeros, sizeof(slot)) == 0;
	}
	explicit_bzero(slot, sizeof(slot));
	return 0;
}

static int is_ours(const struct retire_job *j, uint64_t piece, bool *yes)
{
	uint8_t sum[KEYFILE_HASH_LEN], wanted[KEYFILE_HASH_LEN] = { 0 };
	int r = keyfile_read_chunk(j->fd, j->size, piece, 0, 0, 0, NULL, sum);

	if (!r)
		r = file_pread_all(j->table_fd, wanted, sizeof(wanted), (off_t)(piece * KEYFILE_HASH_LEN));
	*yes = !r && memcmp(sum, wanted, sizeof(sum)) == 0;
	return r || *yes ? err_fold(r) : has_zeros(j, piece, yes);
}

static bool step_on(struct retire_job *j, enum phase next)
{
	if (++j->piece < keyfile_chunks(j->size))
		return true;
	j->piece = 0;
	j->phase = next;
	return false;
}

static void verify(struct retire_job *j)
{
	for (unsigned int i = 0; i < PIECES_A_STEP; i++) {
		bool yes;
		int r = is_ours(j, j->piece, &yes);

		if (r) {
			fail(j, r, "it cannot be read");
			return;
		}
		if (!yes) {
			give_up(j, "another file has its place");
			return;
		}
		if (!step_on(j, ERASE))
			return;
	}
}

/* Without its table it is known by its fingerprint, unless some of it was erased already. */
static void verify_whole(struct retire_job *j)
{
	uint8_t sum[KEYFILE_HASH_LEN];
	int r = j->fingerprint.is_known ? keyfile_hash(j->fd, j->size, NULL, NULL, sum, NULL) : KEYFILE_E_BAD_FILE;

	if (r < 0) {
		fail(j, r, "it cannot be read");
		return;
	}
	if (!r && memcmp(sum, j->fingerprint.b, sizeof(sum)) == 0) {
		j->phase = ERASE;
		return;
	}
	j->is_left = true;
	give_up(j, "the table of its ledger is lost, and without it the file cannot be told from others: erase it by hand");
}

static void erase(struct retire_job *j)
{
	if (!j->is_locked) {
		fail(j, -EWOULDBLOCK, "it is in use");
		return;
	}
	for (unsigned int i = 0; i < PIECES_A_STEP; i++) {
		uint64_t at = j->piece * KEYFILE_CHUNK_LEN;
		uint64_t len = j->size - at < KEYFILE_CHUNK_LEN ? j->size - at : KEYFILE_CHUNK_LEN;
		int r = erase_range(j->fd, (off_t)at, (off_t)len, j->how);

		if (r) {
			fail(j, r, "it cannot be erased");
			return;
		}
		if (!step_on(j, TELL))
			return;
	}
}

static void tell_ledger(struct retire_job *j)
{
	int r = ledger_finish(j->ledger_path, true);

	if (r)
		fail(j, err_fold(r), "its ledger cannot be written");
	else
		j->phase = DONE;
}

static void work(void *arg)
{
	static void (*const steps[])(struct retire_job *j) = {
		[FINISH] = finish, [OPEN] = open_file, [VERIFY] = verify, [VERIFY_WHOLE] = verify_whole,
		[ERASE] = erase, [TELL] = tell_ledger,
	};
	struct retire_job *j = arg;

	steps[j->phase](j);
}

/* ---- in the loop ---- */

static void say(const struct tunnel *t, int level, const struct log_id *id, const char *code, const char *file,
		const char *text, const char *more)
{
	log_event(level, id,
		  LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) }, { FIELD_FILE, file }, { FIELD_ERROR, code }),
		  "tunnel %s: %s: %s%s", t->spec->name, file, text, more);
}

static size_t find(const struct tunnel *t, const struct retire_job *j)
{
	size_t i = 0;

	/* Two may have had the same path, one after the other; a ledger is of one alone. */
	while (i < t->spec->n_retired && strcmp(t->spec->retired[i].ledger, j->ledger) != 0)
		i++;
	return i;
}

static void on_retry(void *arg)
{
	struct tunnel *t = arg;

	t->retire.at = 0;
	retire_begin(t);
}

static void retry_after(struct tunnel *t, uint64_t ms)
{
	if (!t->retire.timer && loop_timer_new(&t->retire.timer, t->ctx.loop, on_retry, t) != 0)
		return;
	(void)loop_timer_start(t->retire.timer, ms);
}

/* The state forgets it last: until then all of this is done again after a crash. */
static void on_end(struct tunnel *t, const struct retire_job *j)
{
	size_t i = find(t, j);
	struct spec_retired kept;
	int r;

	if (i == t->spec->n_retired)
		return;
	kept = t->spec->retired[i];
	kept.key_file = strdup(kept.key_file);
	if (!kept.key_file)
		return;
	spec_drop_retired(t->spec, i);
	r = tunnel_store_save(t->ctx.store, t->spec);
	if (r) {
		t->spec->retired[t->spec->n_retired++] = kept;
		say(t, LOG_ERR, &MSG_TUNNEL_LEDGER, E(StorageFailed), j->key_file, "tunnel state: ", strerror(-r));
		retry_after(t, RETRY_MS);
		return;
	}
	free(kept.key_file);
	t->retire.busy = 0;
	memset(t->retire.problems, 0, sizeof(t->retire.problems));
	say(t, j->is_left ? LOG_WARNING : LOG_NOTICE, &MSG_TUNNEL_RETIRED, NULL, j->key_file,
	    j->is_gone		     ? "finished, and not erased: " :
	    j->how == KEYS_ERASE_NONE ? "finished; it is never used again" :
					"finished and erased",
	    j->is_gone ? j->detail : "");
	tunnel_tell(t, "retired");
}

static void on_failed(struct tunnel *t, const struct retire_job *j)
{
	size_t i = find(t, j);
	bool is_busy = j->error == -EWOULDBLOCK && ++t->retire.busy <= BUSY_TRIES;

	if (i < t->spec->n_retired && !is_busy && strcmp(t->retire.problems[i], j->detail) != 0) {
		snprintf(t->retire.problems[i], sizeof(t->retire.problems[i]), "%s", j->detail);
		say(t, LOG_ERR, &MSG_TUNNEL_NOT_RETIRED, E(StorageFailed), j->key_file, j->detail, "");
	}
	t->retire.at++;
	retry_after(t, is_busy ? BUSY_MS : RETRY_MS);
}

static void say_buried(const struct tunnel *t, struct retire_job *j)
{
	j->is_buried = false;
	say(t, LOG_WARNING, &MSG_TUNNEL_BURIED, NULL, j->key_file,
	    "this earlier key file's ledger was lost; a new one says that it is never used again", "");
}

static void done(void *arg, bool cancelled)
{
	struct retire_job *j = arg;
	struct tunnel *t = j->t;

	if (t && j->is_buried)
		say_buried(t, j);
	if (t && !cancelled && !j->error && j->phase != DONE) {
		next_step(j);
		return;
	}
	if (t) {
		t->retire.job = NULL;
		if (!cancelled && j->error)
			on_failed(t, j);
		else if (!cancelled)
			on_end(t, j);
	}
	job_free(j);
	if (t && !cancelled)
		retire_begin(t);
}

static void next_step(struct retire_job *j)
{
	int r = worker_start(NULL, j->t->ctx.loop, work, done, j);

	if (!r)
		return;
	j->t->retire.job = NULL;
	retry_after(j->t, BUSY_MS);
	job_free(j);
}

/* Its packets may come yet: the newest of them has its time when those are over. */
static bool is_heard(const struct tunnel *t)
{
	return t->earlier_keys && !t->switch_unsaved && t->retire.at + 1 == t->spec->n_retired;
}

void retire_begin(struct tunnel *t)
{
	const struct spec_retired *r = &t->spec->retired[t->retire.at];
	struct retire_job *j;

	if (t->retire.job || t->retire.at >= t->spec->n_retired || is_heard(t))
		return;
	j = calloc(1, sizeof(*j));
	if (!j)
		return;
	j->t = t;
	j->fd = j->table_fd = -1;
	j->how = (enum keys_erase)r->erase;
	j->is_held_long = t->retire.busy >= BUSY_TRIES;
	memcpy(j->ledger, r->ledger, sizeof(j->ledger));
	j->fingerprint = r->fingerprint;
	j->role = (uint8_t)t->spec->f.role;
	j->key_file = strdup(r->key_file);
	j->ledger_path = tunnel_store_ledger_path(t->ctx.store, r->ledger);
	if (!j->key_file || !j->ledger_path) {
		job_free(j);
		return;
	}
	t->retire.job = j;
	next_step(j);
}

void retire_end(struct tunnel *t)
{
	if (t->retire.job)
		t->retire.job->t = NULL;
	t->retire.job = NULL;
	t->retire.timer = loop_timer_free(t->retire.timer);
}
