/*
 * Which file a side sends with is nobody's word but the handshake's: each file has a handshake key of
 * its own, so a session of the staged file proves that the peer has the very same one, and its first
 * packet that the peer can send with it. Then this side does, too. State is written after that: a crash
 * before finds both files as they were, with ledgers that know what each has used, and agrees once more.
 */
#include "pskd/stage.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "crypto/secret.h"
#include "pskd/ledger.h"
#include "pskd/retire.h"
#include "pskd/store.h"

/* A staged file that cannot be opened may be on a disk that is not there yet. */
#define REOPEN_MS 60000
#define LEDGER_TRIES 1000

static void try_names(struct tunnel *t, struct stage_job *j);

static const char *name_of(const struct tunnel *t)
{
	return t->spec->name;
}

static void say(const struct tunnel *t, int level, const struct log_id *id, const char *code, const char *file,
		const char *text)
{
	log_event(level, id,
		  LOG_FIELDS({ FIELD_TUNNEL, name_of(t) }, { FIELD_PEER, tunnel_peer(t) }, { FIELD_FILE, file }, { FIELD_ERROR, code }),
		  "tunnel %s: %s: %s", name_of(t), file, text);
}

/* ---- the handshake of the staged file ---- */

static void on_send(const uint8_t *msg, size_t len, const struct sockaddr_in6 *to, void *arg)
{
	tunnel_hello_ops.send(msg, len, to, arg);
}

static int on_sign(const uint8_t hash[static PSKH_HASH_LEN], hello_signed_fn done, void *token, void *arg)
{
	return tunnel_hello_ops.sign(hash, done, token, arg);
}

static void on_session(struct session **s, uint64_t peer_tx_next, void *arg)
{
	struct tunnel *t = arg;

	path_set_staged(t->path, s, peer_tx_next);
	if (t->spec->f.role == KEYS_RESPONDER)
		path_send_proof(t->path);
}

static void on_bind_again(void *arg)
{
	path_send_proof(((struct tunnel *)arg)->path);
}

static bool may_call(const struct sockaddr_in6 *from, void *arg)
{
	return tunnel_hello_ops.may_call(from, arg);
}

static void on_round(unsigned int round, void *arg)
{
	(void)round;
	(void)arg;
}

static void on_hello_event(enum hello_event e, const struct sockaddr_in6 *from, uint64_t n, void *arg)
{
	static const struct {
		const struct log_id *id;
		const char *text;
	} known[] = {
		[HELLO_OWN_ROLE] = { &MSG_TUNNEL_OWN_ROLE, "somebody with this file plays our role" },
		[HELLO_REFLECTED] = { &MSG_TUNNEL_REFLECTED, "our own message came back" },
		[HELLO_OWN_ROLLBACK] = { &MSG_TUNNEL_ROLLBACK, "our ledger was behind what the peer has received; went forward" },
		[HELLO_PEER_ROLLBACK] = { &MSG_TUNNEL_ROLLBACK, "the peer's ledger was behind what we have received; it goes forward" },
		[HELLO_NEEDS_BURN] = { &MSG_TUNNEL_STAGE_FAILED, "it was used on one side already, and to agree too much of it would be given up: take another one" },
		[HELLO_EXHAUSTED] = { &MSG_TUNNEL_STAGE_FAILED, "it is used up: take another one" },
		[HELLO_CANNOT_SIGN] = { &MSG_IDENTITY_LOST, "pairingd, which signs the handshake, cannot be reached" },
		[HELLO_FAILED] = { &MSG_TUNNEL_LEDGER, "its ledger cannot be written" },
	};
	struct tunnel *t = arg;

	if (e == HELLO_WRONG_IDENTITY || e == HELLO_BAD_SIGNATURE || e == HELLO_NOT_ALLOWED || e == HELLO_REVOKED) {
		tunnel_on_stranger(t, e, from, n);
		return;
	}
	if (e >= ARRAY_SIZE(known) || !known[e].id)
		return;
	if (e == HELLO_NEEDS_BURN || e == HELLO_EXHAUSTED)
		snprintf(t->stage.problem, sizeof(t->stage.problem), "%s", known[e].text);
	say(t, LOG_WARNING, known[e].id, NULL, t->spec->staged_file, known[e].text);
}

static const struct hello_ops stage_ops = {
	.send = on_send,
	.sign = on_sign,
	.on_session = on_session,
	.on_bind_again = on_bind_again,
	.may_call = may_call,
	.on_round = on_round,
	.on_event = on_hello_event,
};

/* ---- opening ---- */

static void on_keys(int error, void *arg)
{
	struct tunnel *t = arg;

	if (error)
		say(t, LOG_ERR, &MSG_TUNNEL_STAGE_FAILED, error == -EBADMSG ? E(KeyFileDiffers) : E(StorageFailed),
		    t->spec->staged_file,
		    error == -EBADMSG ? "the staged key file is not as it was" : strerror(-error));
	if (t->path)
		path_on_keys_ready(t->path);
}

static void close_stage(struct tunnel *t)
{
	struct stage *s = &t->stage;

	s->hello = hello_free(s->hello);
	if (t->path && s->keys)
		path_unstage(t->path);
	s->keys = keys_close(s->keys);
	s->problem[0] = '\0';
	s->reopen = loop_timer_free(s->reopen);
}

static void on_reopen(void *arg)
{
	stage_begin(arg);
}

/* Without it the tunnel goes on with the file it has; it may come back. */
static void cannot_open(struct tunnel *t, int r, const char *detail)
{
	struct tunnel_error e = { 0 };
	bool is_new;

	tunnel_keys_error(&e, t, r, t->spec->staged_file, detail);
	is_new = strcmp(t->stage.problem, e.message) != 0;
	close_stage(t);
	snprintf(t->stage.problem, sizeof(t->stage.problem), "%s", e.message);
	if (is_new)
		say(t, LOG_WARNING, &MSG_TUNNEL_STAGE_FAILED, e.code, t->spec->staged_file, e.message);
	if (loop_timer_new(&t->stage.reopen, t->ctx.loop, on_reopen, t) == 0)
		(void)loop_timer_start(t->stage.reopen, REOPEN_MS);
}

static int open_keys(struct tunnel *t, char *detail, size_t cap)
{
	_cleanup_free_ char *path = tunnel_store_ledger_path(t->ctx.store, t->spec->staged_ledger);
	struct keys_options o;
	struct keys_info info;
	int r;

	if (!path)
		return -ENOMEM;
	tunnel_keys_options(t, &o, path, t->spec->staged_file);
	o.on_ready = on_keys;
	o.arg = t;
	r = keys_open(&t->stage.keys, &o, NULL, detail, cap);
	if (r)
		return r;
	keys_info(t->stage.keys, &info);
	return info.packets_left ? 0 : KEYS_E_EXHAUSTED;
}

static int open_stage(struct tunnel *t, char *detail, size_t cap)
{
	struct hello_options ho = {
		.loop = t->ctx.loop, .role = (enum keys_role)t->spec->f.role,
		.window = (uint32_t)t->spec->f.window, .pinned = t->spec->pinned,
		.peer_public = t->spec->peer_public, .allowed = &t->spec->labels,
		.revoked = &t->ctx.policy->revoked, .ops = &stage_ops, .arg = t,
		.drops = &path_counters(t->path)->drops, .last_session = &t->last_session, .patient = true,
	};
	int r = open_keys(t, detail, cap);

	if (!r)
		r = path_stage(t->path, t->stage.keys);
	if (r)
		return r;
	ho.keys = t->stage.keys;
	memcpy(ho.own_identity, t->own_identity, sizeof(ho.own_identity));
	keys_hint(ho.keys, t->stage.hint);
	return hello_new(&t->stage.hello, &ho);
}

void stage_begin(struct tunnel *t)
{
	char detail[200] = "";
	int r;

	/* One after the other: the file before has its time first. */
	if (!t->spec->staged_file || t->stage.keys || !t->hello || t->took_over || path_is_retiring(t->path))
		return;
	r = open_stage(t, detail, sizeof(detail));
	if (r) {
		cannot_open(t, r, detail);
		return;
	}
	t->stage.problem[0] = '\0';
	hello_copy_candidates(t->stage.hello, t->hello);
	hello_start(t->stage.hello);
}

void stage_end(struct tunnel *t)
{
	close_stage(t);
	t->earlier_keys = keys_close(t->earlier_keys);
	t->took_over = false;
	/* The next start finds both files as they were, and the switch is made again. */
	t->switch_unsaved = false;
}

void stage_on_candidates(struct tunnel *t)
{
	if (t->stage.hello)
		hello_copy_candidates(t->stage.hello, t->hello);
}

void stage_on_up(struct tunnel *t)
{
	if (!t->stage.hello)
		return;
	hello_copy_candidates(t->stage.hello, t->hello);
	hello_hurry(t->stage.hello);
}

bool stage_on_message(struct tunnel *t, const uint8_t *msg, size_t len, const struct sockaddr_in6 *from)
{
	struct pskh m;

	if ((!t->stage.hello && !t->earlier_keys) || pskh_decode(&m, msg, len))
		return false;
	if (t->stage.hello && memcmp(m.hint, t->stage.hint, sizeof(m.hint)) == 0) {
		hello_on_message(t->stage.hello, msg, len, from);
		return true;
	}
	/* The peer has begun anew and asks with both files: the other one is answered. */
	if (t->earlier_keys && memcmp(m.hint, t->earlier_hint, sizeof(m.hint)) == 0) {
		drops_count(&path_counters(t->path)->drops, DROP_HS_OTHER_KEY);
		return true;
	}
	return false;
}

/* ---- the switch ---- */

/* Durable: the staged file is the tunnel's. Tried again by the timer when the disk does not take it. */
static void save_switch(struct tunnel *t)
{
	int r = spec_switch(t->spec);

	if (!r) {
		r = tunnel_store_save(t->ctx.store, t->spec);
		if (r)
			spec_switch_back(t->spec);
	}
	if (r && !t->switch_unsaved)
		say(t, LOG_ERR, &MSG_TUNNEL_LEDGER, E(StorageFailed), t->spec->staged_file, strerror(-r));
	t->switch_unsaved = r != 0;
	if (r)
		return;
	say(t, LOG_NOTICE, &MSG_TUNNEL_SWITCHED, NULL, t->spec->f.key_file, "this is the key file from now on, on both sides");
	tunnel_tell(t, "switched");
	if (!t->earlier_keys)
		retire_begin(t);
}

void stage_on_switched(struct tunnel *t)
{
	tunnel_fuel_look(t);
	hello_free(t->hello);
	t->earlier_keys = t->keys;
	keys_hint(t->earlier_keys, t->earlier_hint);
	t->keys = steal(&t->stage.keys);
	t->hello = steal(&t->stage.hello);
	t->stage.problem[0] = '\0';
	hello_hand_over(t->hello, &tunnel_hello_ops, t);
	keys_hand_over(t->keys, tunnel_on_keys, t);
	tunnel_fuel_begin(t);
	save_switch(t);
}

void stage_on_taken_over(struct tunnel *t)
{
	if (!t->took_over)
		return;
	t->took_over = false;
	save_switch(t);
}

void stage_on_timer(struct tunnel *t)
{
	if (t->switch_unsaved)
		save_switch(t);
	if (!t->earlier_keys || path_is_retiring(t->path) || t->switch_unsaved)
		return;
	t->earlier_keys = keys_close(t->earlier_keys);
	retire_begin(t);
	stage_begin(t);
}

/* ---- staging ---- */

struct stage_job {
	struct tunnel_link link;
	struct keys_options o;
	char *ledger_path, *ledgers_dir, *key_file;
	unsigned int tries;
	char ledger[SPEC_LEDGER_LEN], twin[SPEC_LEDGER_LEN], detail[200];
	bool is_new; /* the ledger was made here */
	int r;
	_Atomic uint64_t done, total; /* of the key file, in bytes; written by the worker */
};

static void job_end(struct stage_job *j)
{
	if (j->link.t)
		j->link.t->staging = NULL;
	free(j->ledger_path);
	free(j->ledgers_dir);
	free(j->key_file);
	free(j);
}

static void job_fail(struct stage_job *j, const struct tunnel_error *e)
{
	struct tunnel *t = j->link.t;

	if (j->is_new)
		(void)keys_remove(j->ledger_path);
	job_end(j);
	if (t)
		t->ctx.on_event(t, "stage-failed", e, t->ctx.arg);
}

static void job_fail_errno(struct stage_job *j, int r, const char *what)
{
	struct tunnel_error e = { 0 };

	tunnel_error_set(&e, E(StorageFailed), NULL, "%s: %s", what, strerror(-err_fold(r)));
	job_fail(j, &e);
}

/* What a ledger says, but for its secrets; hint may be NULL. */
static int look(const struct tunnel *t, const char *ledger, struct ledger_record *out, uint8_t *hint)
{
	_cleanup_free_ char *path = tunnel_store_ledger_path(t->ctx.store, ledger);
	_cleanup_(secret_freep) struct secret *mem = NULL;
	struct ledger_state *s;
	uint8_t *bytes;
	int r = path ? secret_new(&mem, sizeof(*s), &bytes) : -ENOMEM;

	if (r)
		return r;
	s = (void *)bytes;
	r = ledger_look(path, s);
	if (r)
		return err_fold(r);
	*out = s->newest;
	if (hint)
		keys_hint_of(out, hint);
	wipe(out->hello_key, sizeof(out->hello_key));
	wipe(out->tx_chain, sizeof(out->tx_chain));
	wipe(out->rx_chain, sizeof(out->rx_chain));
	return 0;
}

/* Its ledger is here from an earlier time. 0: it may go on with that; else e says why not. */
static int check_twin(const struct tunnel *t, const struct stage_job *j, struct tunnel_error *e)
{
	struct ledger_record r;

	if (look(t, j->twin, &r, NULL))
		tunnel_error_set(e, E(StorageFailed), NULL, "its ledger %s cannot be read", j->twin);
	else if (t->ctx.ledger_is_used(j->twin, t->ctx.arg))
		tunnel_error_set(e, E(KeyFileInUse), "Each key file is good for one tunnel, and for one only.",
				 "%s is the key file of a tunnel already, or was one's and is to be erased", j->key_file);
	else if (ledger_record_is_finished(&r))
		tunnel_error_set(e, E(KeyFileInUse), "“handfast tunnel generate FILE SIZE” makes a new one.",
				 "%s had its time: it was replaced by another key file, and is never used again",
				 j->key_file);
	else if (r.role != t->spec->f.role)
		tunnel_error_set(e, E(KeyFileInUse), NULL, "%s was used here in the other role", j->key_file);
	else
		return 0;
	return -1;
}

/* Where addresses and labels come from the key file, they come from the first one for ever. */
static int keep_first(struct tunnel *t)
{
	struct ledger_record r;
	int e;

	if (t->spec->has_first)
		return 0;
	e = look(t, t->spec->ledger, &r, t->spec->first_hint);
	if (e)
		return e;
	memcpy(t->spec->first_fingerprint, r.fingerprint, sizeof(t->spec->first_fingerprint));
	t->spec->has_first = true;
	return 0;
}

/* The ledger is there: the tunnel may know it. */
static void adopt(struct stage_job *j)
{
	struct tunnel *t = j->link.t;
	int r = keep_first(t);

	if (r) {
		job_fail_errno(j, r, "the tunnel's own ledger");
		return;
	}
	t->spec->staged_file = steal(&j->key_file);
	memcpy(t->spec->staged_ledger, j->ledger, sizeof(j->ledger));
	r = tunnel_store_save(t->ctx.store, t->spec);
	if (r) {
		j->key_file = steal(&t->spec->staged_file);
		job_fail_errno(j, r, "tunnel state");
		return;
	}
	job_end(j);
	say(t, LOG_NOTICE, &MSG_TUNNEL_STAGED, NULL, t->spec->staged_file,
	    "this will be the key file as soon as the peer has it staged, too");
	if (t->path)
		stage_begin(t);
	tunnel_tell(t, "staged");
}

static void on_progress(uint64_t done, uint64_t total, void *arg)
{
	struct stage_job *j = arg;

	j->total = total;
	j->done = done;
}

bool stage_progress(const struct tunnel *t, uint64_t *done, uint64_t *total)
{
	const struct stage_job *j = t->staging;

	if (!j)
		return false;
	*done = j->done;
	*total = j->total;
	return *total > 0;
}

static void work(void *arg)
{
	struct stage_job *j = arg;

	j->twin[0] = '\0';
	j->r = keys_create_file(&j->o, on_progress, j, j->detail, sizeof(j->detail));
}

static void done(void *arg, bool cancelled)
{
	struct stage_job *j = arg;
	struct tunnel *t = j->link.t;
	struct tunnel_error e = { 0 };

	j->is_new = j->r == 0;
	if (!t || cancelled) {
		/* Nobody knows of it, and nothing of it was used. */
		if (j->is_new)
			(void)keys_remove(j->ledger_path);
		job_end(j);
	} else if (j->is_new) {
		adopt(j);
	} else if (j->r == KEYS_E_EXISTS) {
		try_names(t, j);
	} else if (j->r == KEYS_E_IN_USE && j->twin[0]) {
		if (check_twin(t, j, &e)) {
			job_fail(j, &e);
			return;
		}
		memcpy(j->ledger, j->twin, sizeof(j->ledger));
		adopt(j);
	} else {
		tunnel_keys_error(&e, t, j->r, j->key_file, j->detail);
		job_fail(j, &e);
	}
}

/* A ledger of a name that no other has. */
static void try_names(struct tunnel *t, struct stage_job *j)
{
	int r;

	snprintf(j->ledger, sizeof(j->ledger), "%s.%u.ledger", name_of(t), ++j->tries);
	free(j->ledger_path);
	j->ledger_path = j->tries < LEDGER_TRIES ? tunnel_store_ledger_path(t->ctx.store, j->ledger) : NULL;
	if (!j->ledger_path) {
		job_fail_errno(j, -ENOMEM, "ledger");
		return;
	}
	tunnel_keys_options(t, &j->o, j->ledger_path, j->key_file);
	/* The worker's copies: the tunnel may be gone before it is done. */
	j->o.ledgers_dir = j->ledgers_dir;
	j->o.twin = j->twin;
	j->o.twin_cap = sizeof(j->twin);
	r = worker_start(NULL, t->ctx.loop, work, done, j);
	if (r)
		job_fail_errno(j, r, "ledger");
}

static int check_stage(const struct tunnel *t, struct tunnel_error *e)
{
	const struct spec *s = t->spec;

	if (s->origin == SPEC_PAIRED)
		tunnel_error_set(e, E(CannotStage), "“handfast pair --refresh” gives it new keys.",
				 "tunnel %s has its keys from a pairing, not from a file", name_of(t));
	else if (s->f.peer)
		tunnel_error_set(e, E(CannotStage), NULL,
				 "a prototype peer has no handshake by which two sides could agree on another key file");
	else if (!s->ledger[0])
		tunnel_error_set(e, E(CannotStage), "Let its file name the new key file, or bring it up once.",
				 "tunnel %s has not used its own key file yet", name_of(t));
	else if (s->staged_file || t->staging)
		tunnel_error_set(e, E(CannotStage), "“handfast tunnel unstage NAME” takes it back.",
				 "tunnel %s has a staged key file already%s%s", name_of(t), s->staged_file ? ": " : "",
				 s->staged_file ? s->staged_file : "");
	else if (s->n_retired == SPEC_RETIRED_MAX)
		tunnel_error_set(e, E(CannotStage), "“handfast tunnel show NAME” tells what is in the way.",
				 "%u earlier key files of %s wait to be erased", SPEC_RETIRED_MAX, name_of(t));
	else
		return 0;
	return -1;
}

int tunnel_stage(struct tunnel *t, const char *key_file, struct tunnel_error *e)
{
	struct stage_job *j;

	if (check_stage(t, e))
		return -1;
	if (key_file[0] != '/') {
		tunnel_error_set(e, "io.handfast.Daemon.BadRequest", NULL, "%s is no absolute path", key_file);
		return -1;
	}
	j = calloc(1, sizeof(*j));
	if (j) {
		j->link.t = t;
		j->ledgers_dir = strdup(t->ctx.store->ledgers_dir);
		j->key_file = strdup(key_file);
	}
	if (!j || !j->ledgers_dir || !j->key_file) {
		if (j)
			job_end(j);
		tunnel_error_set(e, "io.handfast.Daemon.Internal", NULL, "no memory");
		return -1;
	}
	t->staging = j;
	try_names(t, j);
	return 0;
}

void stage_cancel(struct tunnel *t)
{
	struct stage_job *j = t->staging;
	struct tunnel_error e = { 0 };

	if (!j)
		return;
	j->link.t = NULL;
	t->staging = NULL;
	tunnel_error_set(&e, E(NoSuchTunnel), NULL, "tunnel %s is gone", name_of(t));
	t->ctx.on_event(t, "stage-failed", &e, t->ctx.arg);
}

/* Nothing of it ever left: it may be any tunnel's yet. */
static void forget_unused(const struct tunnel *t, const char *ledger)
{
	_cleanup_free_ char *path = tunnel_store_ledger_path(t->ctx.store, ledger);
	struct ledger_record r;

	if (path && look(t, ledger, &r, NULL) == 0 && !r.handshaken && r.tx_reserved == 0 && r.rx_mark == 0)
		(void)keys_remove(path);
}

int tunnel_unstage(struct tunnel *t, struct tunnel_error *e)
{
	_cleanup_free_ char *file = NULL;
	struct spec *s = t->spec;
	int r;

	if (!s->staged_file || t->took_over || t->switch_unsaved) {
		tunnel_error_set(e, E(NotStaged), NULL, s->staged_file ? "tunnel %s is using its staged key file" :
							 "tunnel %s has no staged key file", name_of(t));
		return -1;
	}
	file = steal(&s->staged_file);
	r = tunnel_store_save(t->ctx.store, s);
	if (r) {
		s->staged_file = steal(&file);
		tunnel_error_set(e, E(StorageFailed), NULL, "the state of tunnel %s was not written: %s", name_of(t),
				 strerror(-r));
		return -1;
	}
	close_stage(t);
	forget_unused(t, s->staged_ledger);
	s->staged_ledger[0] = '\0';
	say(t, LOG_NOTICE, &MSG_TUNNEL_UNSTAGED, NULL, file, "it will not take the current key file's place");
	return 0;
}

/* ---- showing ---- */

static void add_fingerprint(const struct tunnel *t, json_t *j, const struct keys *k, const char *ledger)
{
	struct ledger_record r;
	struct keys_info info;
	char text[65];

	if (k) {
		keys_info(k, &info);
		hex_format(text, info.fingerprint, 32);
	} else if (ledger[0] && look(t, ledger, &r, NULL) == 0) {
		hex_format(text, r.fingerprint, 32);
	} else {
		return;
	}
	json_object_set_new(j, "fingerprint", json_string(text));
}

static const char *state_of(const struct tunnel *t)
{
	if (t->took_over || t->switch_unsaved)
		return "in use";
	if (!t->stage.hello)
		return "not open";
	return path_staged(t->path) ? "agreed" : "waiting for the peer";
}

void stage_to_json(const struct tunnel *t, json_t *j)
{
	const struct spec *s = t->spec;
	json_t *one, *list;

	if (s->origin == SPEC_PAIRED)
		return;
	add_fingerprint(t, j, t->took_over || t->switch_unsaved ? NULL : t->keys, s->ledger);
	if (s->staged_file) {
		one = json_pack("{s:s, s:s, s:s*}", "key_file", s->staged_file, "state", state_of(t), "problem",
				t->stage.problem[0] ? t->stage.problem : NULL);
		add_fingerprint(t, one, t->stage.keys, s->staged_ledger);
		json_object_set_new(j, "staged", one);
	}
	if (s->n_retired == 0)
		return;
	list = json_array();
	for (size_t i = 0; i < s->n_retired; i++) {
		one = json_pack("{s:s, s:s*}", "key_file", s->retired[i].key_file, "problem",
				t->retire.problems[i][0] ? t->retire.problems[i] : NULL);
		add_fingerprint(t, one, NULL, s->retired[i].ledger);
		json_array_append_new(list, one);
	}
	json_object_set_new(j, "retired", list);
}
