/*
 * A tunnel's key material: its ledger, made when it is new (a key file is read whole once), and
 * what is done about one that is another's, lost, used up or cannot be read.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "event/loop.h"
#include "pskd/keys/twins.h"
#include "pskd/tunnel/earlier.h"
#include "pskd/tunnel/stage.h"
#include "pskd/tunnel/store.h"
#include "pskd/tunnel/tunnel_internal.h"

#define LEDGER_TRIES 100
#define UNREADABLE_TRIES 3

static void open_keys(struct tunnel *t);
static void create_ledger(struct tunnel *t);
static bool take_over(struct tunnel *t, int r, const char *detail);

/* The unit lets pskd see and write less than its user could. */
static const char *unreadable_hint(const char *path, const char *detail)
{
	if (strstr(detail, strerror(EROFS)))
		return "pskd may write there only when its unit says so: “sudo systemctl edit pskd”, [Service], "
		       "ReadWritePaths= the folder of the key file, and restart pskd; see handfast-link(7).";
	if (strstr(detail, strerror(ENOENT)) && (strncmp(path, "/tmp/", 5) == 0 || strncmp(path, "/var/tmp/", 9) == 0))
		return "pskd has a /tmp and a /var/tmp of its own: put the key file elsewhere.";
	if (strstr(detail, strerror(ENOENT)))
		return "Is the disk or the stick mounted that it is on? pskd sees no home folders.";
	return "pskd runs as handfast-psk, who must be able to read it (chown it), and sees no home folders.";
}

void tunnel_keys_error(struct tunnel_error *e, const struct tunnel *t, int r, const char *key_file, const char *detail)
{
	static const struct {
		int r;
		const char *code, *text, *hint;
	} known[] = {
		{ KEYS_E_BAD_FILE, E(BadKeyFile), "this is no key file",
		  "“handfast tunnel generate FILE SIZE” makes one." },
		{ KEYS_E_CHANGED, E(KeyFileDiffers), "the key file is not the one that was added",
		  "Put the right file back, or add the new one under another name." },
		{ KEYS_E_IN_USE, E(KeyFileInUse), "the key file is in use already",
		  "Each key file is good for one tunnel, and for one only." },
		{ KEYS_E_UNREADABLE, E(KeyFileUnreadable), "the key file cannot be read", NULL },
		{ KEYS_E_SHORTAGE, E(KeyFileUnreadable), "the key file cannot be read just now", NULL },
		{ KEYS_E_EXHAUSTED, E(Exhausted), "the key material is used up",
		  "Make a new key file, carry it to both sides, and stage it there." },
		{ KEYS_E_LEDGER, E(StorageFailed), "the ledger cannot be used", "pskd(8), RECOVERY, says what can be done." },
		{ KEYS_E_NEEDS_HANDSHAKE, E(BadKeyFile),
		  "this material has been used with handshakes and may not be used without", NULL },
		{ KEYS_E_NEEDS_BURN, E(NeedsBurn), "key material must be given up to go on",
		  "“handfast tunnel burn NAME” does so." },
	};
	const char *own = t->spec->f.key_file ? t->spec->f.key_file : t->spec->name;
	const char *subject = key_file ? key_file : own, *why;

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (known[i].r == r) {
			tunnel_error_set(e, known[i].code,
					 r == KEYS_E_UNREADABLE ? unreadable_hint(subject, detail) : known[i].hint,
					 "%s%s%s%s%s", strstr(detail, subject) ? "" : subject,
					 strstr(detail, subject) ? "" : ": ", known[i].text, detail[0] ? ": " : "", detail);
			return;
		}
	if (r == -ENOENT && t->spec->origin == SPEC_PAIRED) {
		tunnel_error_set(e, E(StorageFailed), "Pair the two devices again: that brings new keys.",
				 "%s: its ledger, and its keys with it, are gone: %s", subject, detail);
		return;
	}
	why = strerror(r < 0 ? -r : EIO);
	if (strstr(detail, why))
		why = "";
	tunnel_error_set(e, E(StorageFailed), NULL, "%s: %s%s%s", subject, detail, detail[0] && *why ? ": " : "", why);
}

struct create_job {
	struct tunnel_link link;
	struct keys_options o;
	char *ledger_path, *ledgers_dir, *key_file;
	struct twins *twins;
	char twin[SPEC_LEDGER_LEN], detail[200];
	int r;
	/* Of the key file, in bytes; written by the worker, read by the loop. */
	_Atomic uint64_t done, total;
};

static void create_job_free(struct create_job *j)
{
	free(j->ledger_path);
	free(j->ledgers_dir);
	free(j->key_file);
	twins_unref(j->twins);
	free(j);
}

void tunnel_keys_options(const struct tunnel *t, struct keys_options *o, const char *ledger_path, const char *key_file)
{
	*o = (struct keys_options){
		.ledger_path = ledger_path,
		.ledgers_dir = t->ctx.store->ledgers_dir,
		.twins = t->ctx.store->twins,
		.role = (enum keys_role)t->spec->f.role,
		.prototype = t->spec->f.peer != 0,
		.window = (uint32_t)t->spec->f.window,
		.restored = t->ctx.store->restored || t->ledger_lost,
		.key_file = key_file,
		.erase = (enum keys_erase)t->spec->f.erase,
		.loop = t->ctx.loop,
	};
}

static void ledger_name(const struct tunnel *t, char out[static SPEC_LEDGER_LEN])
{
	if (t->earlier_ledger[0])
		memcpy(out, t->earlier_ledger, SPEC_LEDGER_LEN);
	else if (t->ledger_try == 0)
		snprintf(out, SPEC_LEDGER_LEN, "%s.ledger", t->spec->name);
	else
		snprintf(out, SPEC_LEDGER_LEN, "%s.%u.ledger", t->spec->name, t->ledger_try);
}

static int on_progress(uint64_t done, uint64_t total, void *arg)
{
	struct create_job *j = arg;

	j->total = total;
	j->done = done;
	return j->link.unwanted;
}

bool tunnel_progress(const struct tunnel *t, uint64_t *done, uint64_t *total)
{
	const struct create_job *j;

	if (stage_progress(t, done, total))
		return true;
	if (!t->job || !t->job->creates)
		return false;
	j = container_of(t->job, struct create_job, link);
	*done = j->done;
	*total = j->total;
	return *total > 0;
}

static void create_work(void *arg)
{
	struct create_job *j = arg;

	j->r = keys_create_file(&j->o, on_progress, j, j->detail, sizeof(j->detail));
}

/* The file had another tunnel, or this one's name another file: its ledger goes on, with its marks. */
static void take_earlier(struct tunnel *t, const char *ledger)
{
	struct tunnel_error e = { 0 };

	switch (earlier_check(t, ledger, t->spec->f.key_file, &e)) {
	case 0:
		snprintf(t->earlier_ledger, sizeof(t->earlier_ledger), "%s", ledger);
		open_keys(t);
		return;
	case EARLIER_E_GONE:
		create_ledger(t);
		return;
	default:
		tunnel_fail(t, &e);
	}
}

static void create_done(void *arg, bool cancelled)
{
	struct create_job *j = arg;
	struct tunnel *t = j->link.t;
	struct tunnel_error e = { 0 };

	if (t && !cancelled) {
		t->job = NULL;
		/* One of this name that was removed: perhaps of the same file, with its marks. */
		if (j->r == 0 || j->r == KEYS_E_EXISTS) {
			open_keys(t);
		} else if (j->r == KEYS_E_IN_USE && j->twin[0]) {
			take_earlier(t, j->twin);
		} else if (!take_over(t, j->r, j->detail)) {
			tunnel_keys_error(&e, t, j->r, NULL, j->detail);
			tunnel_fail(t, &e);
		}
	} else if (t) {
		t->job = NULL;
	}
	create_job_free(j);
}

static void create_ledger(struct tunnel *t)
{
	struct create_job *j = calloc(1, sizeof(*j));
	char name[SPEC_LEDGER_LEN];
	int r;

	ledger_name(t, name);
	if (j) {
		j->ledger_path = tunnel_store_ledger_path(t->ctx.store, name);
		j->ledgers_dir = strdup(t->ctx.store->ledgers_dir);
		j->key_file = strdup(t->spec->f.key_file);
		j->twins = twins_ref(t->ctx.store->twins);
	}
	if (!j || !j->ledger_path || !j->ledgers_dir || !j->key_file) {
		if (j)
			create_job_free(j);
		tunnel_fail_errno(t, E(StorageFailed), -ENOMEM, "ledger");
		return;
	}
	tunnel_keys_options(t, &j->o, j->ledger_path, NULL);
	/* The worker's copies: the tunnel may be gone before it is done. */
	j->o.ledgers_dir = j->ledgers_dir;
	j->o.key_file = j->key_file;
	j->o.twin = j->twin;
	j->o.twin_cap = sizeof(j->twin);
	j->link = (struct tunnel_link){ .t = t, .creates = true };
	t->job = &j->link;
	r = worker_start(NULL, t->ctx.loop, create_work, create_done, j);
	if (r) {
		t->job = NULL;
		create_job_free(j);
		tunnel_fail_errno(t, E(StorageFailed), r, "ledger");
	}
}

/* The ledger's name is part of the state from its first use on, and which file it is of when that is known. */
static int adopt_ledger(struct tunnel *t, const char *name, const struct spec_fingerprint *of)
{
	struct spec_fingerprint fingerprint = t->spec->fingerprint;
	char before[sizeof(t->spec->ledger)];
	int r;

	if (strcmp(t->spec->ledger, name) == 0 && (!of->is_known || (fingerprint.is_known &&
	    memcmp(fingerprint.b, of->b, sizeof(of->b)) == 0)))
		return 0;
	memcpy(before, t->spec->ledger, sizeof(before));
	snprintf(t->spec->ledger, sizeof(t->spec->ledger), "%s", name);
	t->spec->fingerprint = *of;
	r = tunnel_store_save(t->ctx.store, t->spec);
	if (r) {
		memcpy(t->spec->ledger, before, sizeof(before));
		t->spec->fingerprint = fingerprint;
	}
	return r;
}

static struct spec_fingerprint fingerprint_of(const struct keys_info *info)
{
	struct spec_fingerprint f = { .is_known = info->is_file };

	if (f.is_known)
		memcpy(f.b, info->fingerprint, sizeof(f.b));
	return f;
}

/* Beside our sockets, by the ledger's name; NULL without memory: then it is done without. */
static char *received_path(const struct tunnel *t, const char *ledger)
{
	char file[sizeof("pskd-.received") + 80];

	snprintf(file, sizeof(file), "pskd-%s.received", ledger);
	return path_join(t->ctx.runtime_dir, file);
}

static bool is_shortage(int r)
{
	return r == KEYS_E_SHORTAGE || r == -EMFILE || r == -ENFILE || r == -ENOMEM;
}

/*
 * What says nothing of the file, and an error of reading one that is there, until it has come a few times in a row:
 * by then it is no accident.
 */
static bool may_pass(struct tunnel *t, int r)
{
	bool is_there = access(t->spec->f.key_file, F_OK) == 0;

	if (is_shortage(r))
		return true;
	return (r < 0 || (r == KEYS_E_UNREADABLE && is_there)) && ++t->unreadable < UNREADABLE_TRIES;
}

/*
 * The tunnel's own file is used up or cannot be read: the staged one begins in its place, and is the
 * tunnel's as soon as the peer agrees. Nothing of that is durable before.
 */
static bool take_over(struct tunnel *t, int r, const char *detail)
{
	struct tunnel_error e = { 0 };

	if (!t->spec->staged_file || t->took_over || t->prepare_only || r == KEYS_E_IN_USE || r == KEYS_E_NEEDS_BURN ||
	    may_pass(t, r))
		return false;
	tunnel_keys_error(&e, t, r, NULL, detail);
	log_event(LOG_WARNING, &MSG_TUNNEL_STAGE_FAILED,
		  LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) },
			     { FIELD_FILE, t->spec->f.key_file }, { FIELD_ERROR, e.code }),
		  "tunnel %s begins with its staged key file: %s", t->spec->name, e.message);
	t->keys = keys_close(t->keys);
	t->took_over = true;
	open_keys(t);
	return true;
}

/*
 * State says that there was a ledger, and there is none. A new one is as one that came from a backup: the peer's
 * handshake tells what was used, and where there are none, somebody has to. Until it is there the state goes on
 * to say that there was one, whatever comes between.
 */
static bool remake_ledger(struct tunnel *t, const char *name)
{
	if (!t->spec->ledger[0] || !t->spec->f.key_file || t->took_over || t->ledger_lost)
		return false;
	log_event(LOG_WARNING, &MSG_TUNNEL_LEDGER_LOST,
		  LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) }, { FIELD_FILE, name }),
		  "tunnel %s: its ledger %s is gone, and is made anew: %s has to tell what was used", t->spec->name, name,
		  t->spec->f.peer ? "somebody" : "the peer");
	t->ledger_lost = true;
	create_ledger(t);
	return true;
}

/* Its ledger is not the tunnel's yet, by what state says. */
static bool is_new(const struct tunnel *t)
{
	return !t->took_over && !t->earlier_ledger[0] && (!t->spec->ledger[0] || t->ledger_lost);
}

/* The role was wrong until now, and so nothing was used: the ledger begins anew in the other one. */
static bool turn_role(struct tunnel *t, const char *name)
{
	if (t->took_over || !t->spec->f.key_file || !earlier_forget_other_role(t, name))
		return false;
	/* State goes on to name it until the new one is there. */
	t->spec->ledger[0] = '\0';
	create_ledger(t);
	return true;
}

/*
 * A prototype peer's packets may have to wait for the disk, each of them: the control loop carries those, so that no
 * other tunnel's packets wait with them.
 */
static bool join_thread(struct tunnel *t)
{
	bool wanted = !t->thread && !t->prepare_only && !t->spec->f.peer;
	int r = wanted ? packets_join(&t->thread, t->ctx.packets) : 0;

	if (r)
		tunnel_fail_errno(t, E(DeviceFailed), r, "packet thread");
	return r == 0;
}

static void choose_ledger(const struct tunnel *t, char out[static SPEC_LEDGER_LEN])
{
	if (t->took_over)
		snprintf(out, SPEC_LEDGER_LEN, "%s", t->spec->staged_ledger);
	else if (t->spec->ledger[0] && !t->ledger_lost)
		snprintf(out, SPEC_LEDGER_LEN, "%s", t->spec->ledger);
	else
		ledger_name(t, out);
}

static int open_ledger(struct tunnel *t, const char *name, uint64_t *recovered, char *detail, size_t detail_cap)
{
	_cleanup_free_ char *path = tunnel_store_ledger_path(t->ctx.store, name);
	_cleanup_free_ char *received = t->ctx.runtime_dir ? received_path(t, name) : NULL;
	struct keys_options o;

	tunnel_keys_options(t, &o, path, t->took_over ? t->spec->staged_file : t->spec->f.key_file);
	o.received_path = received;
	o.hold = packet_thread_hold(t->thread);
	o.on_ready = tunnel_on_keys;
	o.arg = t;
	return path ? keys_open(&t->keys, &o, recovered, detail, detail_cap) : -ENOMEM;
}

/* Another way on is tried first. */
static void not_opened(struct tunnel *t, int r, const char *name, const char *detail)
{
	static const struct spec_fingerprint none = { .is_known = false };
	struct tunnel_error e = { 0 };

	if ((r == -ENOENT && remake_ledger(t, name)) || take_over(t, r, detail))
		return;
	/* The burn that it waits for has to find it. */
	if (r == KEYS_E_NEEDS_BURN)
		(void)adopt_ledger(t, name, &none);
	tunnel_keys_error(&e, t, r, t->took_over ? t->spec->staged_file : NULL, detail);
	tunnel_fail(t, &e);
}

static void tell_recovered(const struct tunnel *t, uint64_t recovered)
{
	char lost[64];

	snprintf(lost, sizeof(lost), "%llu", (unsigned long long)recovered);
	log_event(LOG_NOTICE, &MSG_TUNNEL_RECOVERED,
		  LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) }, { FIELD_COUNT, lost }),
		  "tunnel %s: after an unclean stop, %s sequences are given up so that none is used twice", t->spec->name, lost);
}

/* They are the tunnel's from here on. False: and there is nothing left of them. */
static bool take_keys(struct tunnel *t, const char *name, const struct keys_info *info)
{
	struct spec_fingerprint of = fingerprint_of(info);
	int r = t->took_over ? 0 : adopt_ledger(t, name, &of);
	struct tunnel_error e = { 0 };

	if (r) {
		tunnel_fail_errno(t, E(StorageFailed), r, "tunnel state");
		return false;
	}
	t->ledger_lost = false;
	t->unreadable = 0;
	t->earlier_ledger[0] = '\0';
	tunnel_fuel_begin(t);
	if (info->packets_left > 0)
		return true;
	if (!take_over(t, KEYS_E_EXHAUSTED, "")) {
		tunnel_keys_error(&e, t, KEYS_E_EXHAUSTED, NULL, "");
		tunnel_fail(t, &e);
	}
	return false;
}

/* It was only to be read: whether it can be. */
static void end_preparing(struct tunnel *t)
{
	t->keys = keys_close(t->keys);
	t->state = TUNNEL_DOWN;
	tunnel_tell(t, "prepared");
	/* Somebody did not wait for that. */
	if (t->spec->enabled)
		tunnel_start(t);
}

static void open_keys(struct tunnel *t)
{
	char name[SPEC_LEDGER_LEN], detail[200] = "";
	struct keys_info info = { 0 };
	uint64_t recovered = 0;
	int r;

	choose_ledger(t, name);
	if (!join_thread(t))
		return;
	r = open_ledger(t, name, &recovered, detail, sizeof(detail));
	if (r == KEYS_E_LEDGER && turn_role(t, name))
		return;
	/* One that is used up has drawn nothing, and so not found out whose it is. */
	if (!r)
		keys_info(t->keys, &info);
	/* Of another file, or of the other role's, that had our name once: it stays, ours is the next. */
	if ((r == KEYS_E_CHANGED || r == KEYS_E_LEDGER || (!r && info.packets_left == 0)) && is_new(t) &&
	    ++t->ledger_try < LEDGER_TRIES) {
		t->keys = keys_close(t->keys);
		create_ledger(t);
		return;
	}
	if (r) {
		not_opened(t, r, name, detail);
		return;
	}
	if (!take_keys(t, name, &info))
		return;
	if (recovered > 0)
		tell_recovered(t, recovered);
	if (t->prepare_only) {
		end_preparing(t);
		return;
	}
	tunnel_tell(t, "keys");
	tunnel_listen(t);
}

void tunnel_open(struct tunnel *t)
{
	if (t->spec->ledger[0])
		open_keys(t);
	else
		create_ledger(t);
}
