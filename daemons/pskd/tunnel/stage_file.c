/*
 * What a person does: stage a file, take it back, look. Its ledger is there, durably, before the tunnel
 * knows of it; a crash in between leaves a ledger of nobody, which the next try finds.
 */
#include "pskd/tunnel/stage.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "crypto/secret.h"
#include "pskd/keys/ledger.h"
#include "pskd/keys/twins.h"
#include "pskd/tunnel/earlier.h"
#include "pskd/tunnel/store.h"

#define LEDGER_TRIES 1000

static void try_names(struct tunnel *t, struct stage_job *j);

struct stage_job {
	struct tunnel_link link;
	struct keys_options o;
	char *ledger_path, *ledgers_dir, *key_file;
	struct twins *twins;
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
	twins_unref(j->twins);
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

/* Where addresses and labels come from the key file, they come from the first one for ever. */
static int keep_first(struct tunnel *t)
{
	struct ledger_record r;
	int e;

	if (t->spec->has_first)
		return 0;
	e = earlier_look(t, t->spec->ledger, &r, t->spec->first_hint);
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
	struct ledger_record rec;
	int r = keep_first(t);

	if (r) {
		job_fail_errno(j, r, "the tunnel's own ledger");
		return;
	}
	r = earlier_look(t, j->ledger, &rec, NULL);
	if (r) {
		job_fail_errno(j, r, "its ledger");
		return;
	}
	t->spec->staged_fingerprint.is_known = true;
	memcpy(t->spec->staged_fingerprint.b, rec.fingerprint, sizeof(rec.fingerprint));
	t->spec->staged_file = steal(&j->key_file);
	memcpy(t->spec->staged_ledger, j->ledger, sizeof(j->ledger));
	r = tunnel_store_save(t->ctx.store, t->spec);
	if (r) {
		j->key_file = steal(&t->spec->staged_file);
		t->spec->staged_ledger[0] = '\0';
		job_fail_errno(j, r, "tunnel state");
		return;
	}
	job_end(j);
	stage_say(t, LOG_NOTICE, &MSG_TUNNEL_STAGED, NULL, t->spec->staged_file,
	    "this will be the key file as soon as the peer has it staged, too");
	if (t->path)
		stage_begin(t);
	tunnel_tell(t, "staged");
	/* One that was given up for want of keys has some now. */
	if (t->state == TUNNEL_FAILED && t->spec->enabled) {
		t->retry_ms = 0;
		tunnel_start(t);
	}
}

static int on_progress(uint64_t done, uint64_t total, void *arg)
{
	struct stage_job *j = arg;

	j->total = total;
	j->done = done;
	return j->link.unwanted;
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

/* Its ledger is here from an earlier time. */
static void take_earlier(struct tunnel *t, struct stage_job *j)
{
	struct tunnel_error e = { 0 };

	switch (earlier_check(t, j->twin, j->key_file, &e)) {
	case 0:
		memcpy(j->ledger, j->twin, sizeof(j->ledger));
		adopt(j);
		return;
	case EARLIER_E_GONE:
		try_names(t, j);
		return;
	default:
		job_fail(j, &e);
	}
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
		take_earlier(t, j);
	} else {
		tunnel_keys_error(&e, t, j->r, j->key_file, j->detail);
		job_fail(j, &e);
	}
}

/* A ledger of a name that no other has. */
static void try_names(struct tunnel *t, struct stage_job *j)
{
	int r;

	snprintf(j->ledger, sizeof(j->ledger), "%s.%u.ledger", t->spec->name, ++j->tries);
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
		tunnel_error_set(e, E(CannotStage), "Pairing the two devices again gives it new keys.",
				 "tunnel %s has its keys from a pairing, not from a file", t->spec->name);
	else if (s->f.peer)
		tunnel_error_set(e, E(CannotStage), NULL,
				 "a prototype peer has no handshake by which two sides could agree on another key file");
	else if (!s->ledger[0])
		tunnel_error_set(e, E(CannotStage), "Let its file name the new key file, or bring it up once.",
				 "tunnel %s has not used its own key file yet", t->spec->name);
	else if (s->staged_file || t->staging)
		tunnel_error_set(e, E(CannotStage), "“handfast tunnel unstage NAME” takes it back.",
				 "tunnel %s has a staged key file already%s%s", t->spec->name, s->staged_file ? ": " : "",
				 s->staged_file ? s->staged_file : "");
	else if (s->n_retired == SPEC_RETIRED_MAX)
		tunnel_error_set(e, E(CannotStage), "“handfast tunnel show NAME” tells what is in the way.",
				 "%u earlier key files of %s wait to be erased", SPEC_RETIRED_MAX, t->spec->name);
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
		j->twins = twins_ref(t->ctx.store->twins);
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

void tunnel_stop_staging(struct tunnel *t)
{
	struct stage_job *j = t->staging;
	struct tunnel_error e = { 0 };

	if (!j)
		return;
	tunnel_let_go(&j->link);
	t->staging = NULL;
	tunnel_error_set(&e, E(NoSuchTunnel), NULL, "tunnel %s is gone", t->spec->name);
	t->ctx.on_event(t, "stage-failed", &e, t->ctx.arg);
}

int tunnel_unstage(struct tunnel *t, struct tunnel_error *e)
{
	_cleanup_free_ char *file = NULL;
	struct spec *s = t->spec;
	int r;

	if (!s->staged_file || t->took_over || t->switch_unsaved) {
		tunnel_error_set(e, E(NotStaged), NULL, s->staged_file ? "tunnel %s is using its staged key file" :
							 "tunnel %s has no staged key file", t->spec->name);
		return -1;
	}
	file = steal(&s->staged_file);
	r = tunnel_store_save(t->ctx.store, s);
	if (r) {
		s->staged_file = steal(&file);
		tunnel_error_set(e, E(StorageFailed), NULL, "the state of tunnel %s was not written: %s", t->spec->name,
				 strerror(-r));
		return -1;
	}
	stage_close(t);
	(void)earlier_forget_unused(t, s->staged_ledger);
	s->staged_ledger[0] = '\0';
	stage_say(t, LOG_NOTICE, &MSG_TUNNEL_UNSTAGED, NULL, file, "it will not take the current key file's place");
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
	} else if (ledger[0] && earlier_look(t, ledger, &r, NULL) == 0) {
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
