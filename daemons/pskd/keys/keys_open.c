/*
 * Making, opening, closing and removing: what happens once in a tunnel's life, or once in a
 * daemon's. Recovery is here: what a ledger with one broken record means.
 */
#include "pskd/keys/keys_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "event/loop.h"
#include "pskd/keys/twins.h"

enum {
	/* 0.6 s at 400,000 packets a second; more would only cost more when the power is cut. */
	BLOCK_MAX = 1 << 18,
	/*
	 * A prototype peer accepts at most 16 slots more than it has seen. After the loss of a
	 * record up to two blocks are skipped: fewer than 16,000 packets must do.
	 */
	BLOCK_MAX_PROTOTYPE = 7000,
};

/* ---- creating ---- */

static uint64_t limit_for(const struct ledger_record *r, bool prototype)
{
	uint64_t limit = BLOCK_MAX;

	if (r->slots_total)
		limit = min_u64(limit, max_u64(r->slots_total * SLOT_PACKETS / 400, BLOCK_MIN));
	return prototype ? min_u64(limit, BLOCK_MAX_PROTOTYPE) : limit;
}

static int refuse_twin(const struct keys_options *o, const struct ledger_record *r, char *detail,
		       size_t cap)
{
	char name[256];
	int e;

	if (!o->ledgers_dir)
		return 0;
	e = o->twins ? twins_find(o->twins, o->ledger_path, r->fingerprint, name, sizeof(name)) :
		       ledger_find_twin(o->ledgers_dir, o->ledger_path, r->fingerprint, name, sizeof(name));
	if (e < 0)
		return text_explain(detail, cap, e, "cannot look through %s: %s", o->ledgers_dir,
				    strerror(-e));
	if (e > 0 && o->twin_cap)
		snprintf(o->twin, o->twin_cap, "%s", name);
	if (e > 0)
		return text_explain(detail, cap, KEYS_E_IN_USE,
				    "the same key material is in the ledger %s/%s", o->ledgers_dir, name);
	return 0;
}

/* The record is complete but for what every new ledger has. */
static int create(const struct keys_options *o, struct ledger_record *r, char *detail, size_t cap)
{
	int e;

	r->role = (uint8_t)o->role;
	r->rx_high = LEDGER_NONE;
	r->tx_limit = (uint32_t)limit_for(r, o->prototype);
	r->rx_limit = o->prototype ? RX_AHEAD : 0;
	r->restored = o->restored && r->kind == LEDGER_FILE;
	e = refuse_twin(o, r, detail, cap);
	if (e)
		return e;
	e = ledger_create(o->ledger_path, r);
	if (e == -EEXIST)
		return text_explain(detail, cap, KEYS_E_EXISTS, "%s exists already", o->ledger_path);
	if (e)
		return text_explain(detail, cap, e, "cannot make %s: %s", o->ledger_path, strerror(-e));
	return 0;
}

static bool path_is_there(const char *path)
{
	return access(path, F_OK) == 0;
}

int keys_create_file(const struct keys_options *o, int (*progress)(uint64_t done, uint64_t total, void *arg),
		     void *progress_arg, char *detail, size_t detail_cap)
{
	_cleanup_(secret_freep) struct secret *mem = NULL;
	_cleanup_close_ int lock_fd = -1;
	struct ledger_record *r;
	char table[PATH_MAX];
	uint8_t *bytes;
	int e;

	if (path_is_there(o->ledger_path))
		return text_explain(detail, detail_cap, KEYS_E_EXISTS, "%s exists already", o->ledger_path);
	e = secret_new(&mem, sizeof(*r), &bytes);
	if (e)
		return e;
	r = (void *)bytes;

	e = keyfile_add(r, &lock_fd, o->key_file, o->ledger_path, o->erase != KEYS_ERASE_NONE,
			progress, progress_arg, detail, detail_cap);
	if (e)
		return e;
	e = create(o, r, detail, detail_cap);
	/* Someone else's table, when the ledger came into being meanwhile: the lock on the key file forbids it. */
	if (e && e != KEYS_E_EXISTS && !keyfile_table_path(table, sizeof(table), o->ledger_path))
		unlink(table);
	return e;
}

int keys_create_root(const struct keys_options *o, uint8_t root[static 32],
		     const uint8_t tunnel_id[static 16], char *detail, size_t detail_cap)
{
	static const char domain[] = "handfast pairing tunnel";
	_cleanup_(secret_freep) struct secret *mem = NULL;
	uint8_t named[sizeof(domain) + 16];
	struct ledger_record *r;
	struct slot_key *slot;
	uint8_t *bytes;
	int e;

	e = secret_new(&mem, sizeof(*r) + sizeof(*slot), &bytes);
	if (e)
		return e;
	r = (void *)bytes;
	slot = (void *)(bytes + sizeof(*r));

	r->kind = LEDGER_ROOT;
	memcpy(r->tunnel_id, tunnel_id, sizeof(r->tunnel_id));
	memcpy(named, domain, sizeof(domain));
	memcpy(named + sizeof(domain), tunnel_id, 16);
	sha256(r->fingerprint, named, sizeof(named));

	/* Slot 0's way back gives the hello key, as in a key file. */
	ratchet_start(r->tx_chain, root, tunnel_id, 1);
	ratchet_slot(slot, r->tx_chain);
	hkdf_sha256(r->hello_key, sizeof(r->hello_key), NULL, 0, slot->key, sizeof(slot->key), "hello", 5);

	ratchet_start(r->tx_chain, root, tunnel_id, o->role == KEYS_INITIATOR ? 0 : 1);
	ratchet_start(r->rx_chain, root, tunnel_id, o->role == KEYS_INITIATOR ? 1 : 0);

	e = create(o, r, detail, detail_cap);
	if (!e)
		wipe(root, 32);
	return e;
}

/* ---- opening ---- */

static int explain_open(int e, const char *path, char *detail, size_t cap)
{
	switch (e) {
	case -EWOULDBLOCK:
		return text_explain(detail, cap, KEYS_E_IN_USE, "%s is open in another process", path);
	case LEDGER_E_BROKEN:
		return text_explain(detail, cap, KEYS_E_LEDGER,
				    "both records of %s are damaged: which keys are spent is not known any more",
				    path);
	case LEDGER_E_NEWER:
		return text_explain(detail, cap, KEYS_E_LEDGER, "%s was written by a newer handfast", path);
	case LEDGER_E_SEALED:
		return text_explain(detail, cap, KEYS_E_LEDGER,
				    "%s is sealed under the credential handfast.state-key, which is missing", path);
	case LEDGER_E_OTHER_KEY:
		return text_explain(detail, cap, KEYS_E_LEDGER,
				    "%s is sealed under another credential handfast.state-key", path);
	case LEDGER_E_MIXED:
		return text_explain(detail, cap, KEYS_E_LEDGER,
				    "the two records of %s are of different tunnels", path);
	default:
		return text_explain(detail, cap, err_fold(e), "cannot open %s: %s", path,
				    strerror(-err_fold(e)));
	}
}

static int check_options(const struct keys *k, const struct keys_options *o, char *detail, size_t cap)
{
	const struct ledger_record *r = k->newest;

	if (r->role != o->role)
		return text_explain(detail, cap, KEYS_E_LEDGER,
				    "%s was made for the %s: in the other role it would send with the peer's keys",
				    o->ledger_path, r->role == KEYS_INITIATOR ? "initiator" : "responder");
	if ((r->kind == LEDGER_FILE) != (o->key_file != NULL))
		return text_explain(detail, cap, KEYS_E_LEDGER, "%s belongs to a %s", o->ledger_path,
				    r->kind == LEDGER_FILE ? "key file" : "pairing");
	return 0;
}

static int explain_draw(int r, const char *path, char *detail, size_t cap)
{
	if (r == KEYS_E_CHANGED)
		return text_explain(detail, cap, r, "%s is not as it was when it was added", path);
	if (r == -ENOMEM)
		return r;
	return text_explain(detail, cap, KEYS_E_UNREADABLE, "cannot read %s: %s", path, strerror(-r));
}

/*
 * That the ledger is this key file's, where nothing is drawn that would show it before something is concluded from the
 * ledger: another file of the size may have had its name.
 */
static int check_file(const struct keys *k, const struct keys_options *o, char *detail, size_t cap)
{
	const struct ledger_record *n = k->newest;
	struct keyfile_edge edge = { .to = n->erase_to };
	int r;

	if (!k->file || (!k->prototype && n->tx_reserved < n->slots_total * SLOT_PACKETS))
		return 0;
	memcpy(edge.sum, n->edge_sum, sizeof(edge.sum));
	r = keyfile_check(k->file, &edge, n->erased);
	return r ? explain_draw(r, o->key_file, detail, cap) : 0;
}

/* A burn is the answer, and it must not be another file's. */
static int check_prototype(const struct keys *k, char *detail, size_t cap)
{
	const struct ledger_record *n = k->newest;

	if (!k->prototype || (!n->handshaken && !n->restored))
		return 0;
	if (n->handshaken)
		return text_explain(detail, cap, KEYS_E_NEEDS_HANDSHAKE,
				    "this key material has been used with handshakes and needs them for ever");
	return text_explain(detail, cap, KEYS_E_NEEDS_BURN,
			    "this machine came from a backup, and nothing tells what was used since: say from which slot on, "
			    "--to-slot N, neither side has used it (0 when it never was)");
}

static int load(struct keys *k, const struct keys_options *o, char *detail, size_t cap)
{
	_cleanup_(secret_freep) struct secret *mem = NULL;
	struct ledger_state *state;
	uint8_t *bytes;
	int r;

	r = secret_new(&mem, sizeof(*state), &bytes);
	if (r)
		return r;
	state = (void *)bytes;
	r = ledger_open(&k->ledger, o->ledger_path, state);
	if (r)
		return explain_open(r, o->ledger_path, detail, cap);
	*k->newest = state->newest;
	*k->other = state->other;
	k->other_ok = state->other_ok;
	return 0;
}

static void recover(struct keys *k, uint64_t *recovered)
{
	const struct ledger_record *r = k->newest;
	uint64_t tx = r->tx_reserved, rx = r->rx_mark;

	/* The lost record may have been the newer: go where it can have gone at most. */
	if (!k->other_ok) {
		tx = min_u64(tx + r->tx_limit, k->end);
		rx = min_u64(rx + r->rx_limit, k->end);
	}
	if (recovered)
		*recovered = tx - r->tx_next;
	k->tx_next = tx;
	k->rx_floor = rx;
	k->rx_high = r->rx_high;
	k->handshaken = r->handshaken;
	k->generation = r->generation;
	/* See received.c; when a record is lost, one more may have been written than is seen. */
	k->rx_writes = !k->prototype || !k->file ? 0 : k->other_ok ? 2 : 3;
	k->edge.to = r->erase_to;
	memcpy(k->edge.sum, r->edge_sum, sizeof(k->edge.sum));
	k->erased = r->erased;
}

/*
 * The mark is ahead of what was acted on. What the life before left in this boot's memory is exact, where it
 * is between what the ledger knows and the mark; a ratchet's chain is at the mark and cannot go back. Without
 * it a crash costs the peer's next packets, and nothing else.
 *
 * Beyond the mark nobody ever received: then the ledger is the older of the two, a copy that was put back.
 */
static void recall_received(struct keys *k, const struct keys_options *o)
{
	uint64_t known = max_u64(k->rx_high == LEDGER_NONE ? 0 : k->rx_high + 1, k->edge.to * SLOT_PACKETS);
	/* A lost record may have been the newest. */
	uint64_t written = k->newest->generation + (k->other_ok ? 0 : 1);
	uint64_t next, serial;
	int r;

	if (!k->prototype || !k->file || !o->received_path)
		return;
	r = received_open(&k->received, o->received_path, k->newest->fingerprint, &next, &serial);
	if (r) {
		log_debug("%s: %s: after a crash, up to 256 packets of the peer will be refused", o->received_path,
			  strerror(-r));
		return;
	}
	if (next > k->rx_floor && next <= k->end) {
		log_event(LOG_WARNING, &MSG_TUNNEL_ROLLBACK, LOG_FIELDS({ FIELD_FILE, o->ledger_path }),
			  "%s is %llu sequences behind what was received since this machine started; went forward",
			  o->ledger_path, (unsigned long long)(next - k->rx_floor));
		k->rx_floor = next;
	} else if (next >= known && next < k->rx_floor && serial >= written) {
		k->rx_floor = next;
	}
	received_set(k->received, keys_rx_exact(k));
}

static int init_lanes(struct keys *k)
{
	uint64_t marked = k->file ? k->rx_floor : k->newest->rx_mark;
	unsigned int out = k->newest->role == KEYS_INITIATOR ? 0 : 1;
	size_t spare = keys_draw_ahead(k);
	size_t tx_cap = (size_t)(k->block_max / SLOT_PACKETS) + 4 + spare;
	size_t rx_cap = 2 * (k->window / SLOT_PACKETS) + 4 + 2 * (SLOTS_AHEAD + 1) + spare;
	int r;

	r = lane_init(&k->tx, out, !k->file, tx_cap);
	if (!r)
		r = lane_init(&k->rx, !out, !k->file, rx_cap);
	if (r)
		return r;
	lane_start(&k->tx, ledger_slot(k->newest->tx_reserved), k->newest->tx_chain,
		   ledger_slot(k->tx_next));
	lane_start(&k->rx, ledger_slot(marked), k->newest->rx_chain,
		   ledger_slot(k->rx_floor));
	return 0;
}

static int alloc_records(struct keys *k)
{
	uint8_t *bytes;
	int r;

	r = secret_new(&k->records_mem, 3 * sizeof(struct ledger_record), &bytes);
	if (r)
		return r;
	k->newest = (void *)bytes;
	k->other = k->newest + 1;
	k->work = k->newest + 2;
	return 0;
}

/* The ledger and the key file, and that both are what o says. */
static int take(struct keys *k, const struct keys_options *o, char *detail, size_t cap)
{
	int r = alloc_records(k);

	if (!r)
		r = load(k, o, detail, cap);
	if (!r)
		r = check_options(k, o, detail, cap);
	if (!r)
		r = refuse_twin(o, k->newest, detail, cap);
	if (!r && o->key_file)
		r = keyfile_attach(&k->file, o->key_file, o->ledger_path, k->erase != KEYS_ERASE_NONE, k->newest,
				   detail, cap);
	if (!r)
		r = check_file(k, o, detail, cap);
	if (!r)
		r = check_prototype(k, detail, cap);
	return r;
}

/* What is needed first is drawn, a lost record written anew, and the ledger's thread begins. */
static int begin(struct keys *k, const struct keys_options *o, char *detail, size_t cap)
{
	int r = init_lanes(k);

	if (!r)
		r = loop_timer_new(&k->retry, k->loop, keys_on_retry, k);
	if (!r)
		r = loop_timer_new(&k->tell, k->loop, keys_on_tell, k);
	if (r)
		return r;
	r = keys_draw_now(k, &k->tx, keys_tx_missing);
	if (!r)
		r = keys_draw_now(k, &k->rx, keys_rx_missing);
	if (r)
		return explain_draw(r, o->key_file ? o->key_file : "the ratchet", detail, cap);
	if (!k->other_ok) {
		r = keys_write_now(k);
		if (r)
			return text_explain(detail, cap, r, "cannot repair %s: %s", o->ledger_path, strerror(-r));
	}
	return ledger_start(k->ledger, k->loop, keys_on_written, k);
}

int keys_open(struct keys **out, const struct keys_options *o, uint64_t *recovered, char *detail,
	      size_t detail_cap)
{
	_cleanup_(keys_closep) struct keys *k = NULL;
	int r;

	assert(o->window > 0 && o->loop);
	k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	k->loop = o->loop;
	k->on_ready = o->on_ready;
	k->arg = o->arg;
	k->prototype = o->prototype;
	k->window = o->window;
	k->erase = o->key_file ? o->erase : KEYS_ERASE_NONE;
	k->attempt_tx = k->attempt_rx = UINT64_MAX;
	/* Nothing is written by closing until all is well. */
	k->hold = true;

	r = take(k, o, detail, detail_cap);
	if (r)
		return r;

	k->end = k->newest->slots_total ? k->newest->slots_total * SLOT_PACKETS : LEDGER_SEQ_MAX;
	k->block_max = limit_for(k->newest, k->prototype);
	k->block = min_u64(BLOCK_MIN, k->block_max);
	recover(k, recovered);
	recall_received(k, o);

	r = begin(k, o, detail, detail_cap);
	if (r)
		return r;
	k->rx_durable_ms = k->quiet_since_ms = clock_now_ms();
	k->seen_tx = k->tx_next;
	k->seen_rx = k->rx_high;
	k->settled = true;
	k->hold = false;
	/* Until now, and when they are closed, no thread but ours knows of them. */
	k->thread = o->hold;
	*out = steal(&k);
	return 0;
}

static bool is_exact(const struct keys *k)
{
	return k->other_ok && k->newest->tx_next == k->tx_next &&
	       k->newest->tx_reserved == k->tx_next && k->newest->rx_high == k->rx_high && k->newest->rx_mark == keys_rx_exact(k) &&
	       k->newest->erased == k->erased;
}

/* The thread that may still read or erase owns all that it needs; what it erases is spent. */
static void abandon_job(struct keys *k)
{
	if (k->job)
		k->job->keys = NULL;
	k->job = NULL;
}

void keys_begin_close(struct keys *k)
{
	HOLD(k->thread);

	k->on_ready = NULL;
	loop_timer_stop(k->tell);
	k->closing = k->hold = true;
	if (!is_exact(k) && !ledger_is_busy(k->ledger))
		keys_submit_record(k);
}

/* When this fails, what was reserved is lost to the next life, and nothing else. */
static void write_last(struct keys *k)
{
	bool wrote = ledger_is_busy(k->ledger);

	k->on_ready = NULL;
	k->closing = k->hold = true;
	/* What was under way may be exact already. */
	while (ledger_is_busy(k->ledger))
		ledger_wait(k->ledger, 1000);
	if (!is_exact(k))
		wrote = keys_write_now(k) == 0;
	if (wrote && keys_chains_lag(k))
		(void)keys_write_now(k);
}

struct keys *keys_close(struct keys *k)
{
	if (!k)
		return NULL;
	k->thread = NULL;
	abandon_job(k);
	/* hold: opening failed half-way, and what it found stays as it is. */
	if (k->ledger && (!k->hold || k->closing)) {
		write_last(k);
		if (is_exact(k))
			k->received = received_remove(k->received);
	}
	received_close(k->received);
	ledger_close(k->ledger);
	loop_timer_free(k->retry);
	loop_timer_free(k->tell);
	if (k->file)
		keyfile_unlock(k->file);
	keyfile_unref(k->file);
	lane_done(&k->tx);
	lane_done(&k->rx);
	secret_free(k->records_mem);
	wipe(k, sizeof(*k));
	free(k);
	return NULL;
}

static int zero_and_unlink(const char *path, size_t len)
{
	static const uint8_t zeros[LEDGER_LEN];
	_cleanup_close_ int fd = -1;

	fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	/* Best effort, as all overwriting is; that the name goes is what counts. */
	if (file_pwrite_all(fd, zeros, len, 0) == 0)
		(void)fdatasync(fd);
	return unlink(path) < 0 ? -errno : 0;
}

int keys_remove(const char *ledger_path)
{
	char table[PATH_MAX];
	int r;

	r = zero_and_unlink(ledger_path, LEDGER_LEN);
	if (!r)
		r = keyfile_table_path(table, sizeof(table), ledger_path);
	if (!r && unlink(table) < 0 && errno != ENOENT)
		r = -errno;
	return r ? r : file_sync_parent(ledger_path);
}
