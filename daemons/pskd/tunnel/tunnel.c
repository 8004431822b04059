/*
 * A tunnel's start is a chain of steps, each of which may take its time
 * elsewhere: ledger (a key file is read whole once), keys, socket, device,
 * handshake. Whatever fails takes down what was there and says why.
 */
#include "pskd/tunnel/tunnel.h"

#include <errno.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "pskd/handshake/identity_client.h"
#include "pskd/keys/twins.h"
#include "pskd/packet/offload.h"
#include "pskd/packet/tun.h"
#include "pskd/tunnel/earlier.h"
#include "pskd/tunnel/kept.h"
#include "pskd/tunnel/retire.h"
#include "pskd/tunnel/stage.h"
#include "pskd/tunnel/store.h"
#include "pskd/tunnel/tunnel_internal.h"

#define RETRY_MAX_MS 60000
#define SETTLE_MS 20
#define LEDGER_TRIES 100
#define UNREADABLE_TRIES 3

static void open_keys(struct tunnel *t);
static void create_ledger(struct tunnel *t);
static bool take_over(struct tunnel *t, int r, const char *detail);

void tunnel_error_set(struct tunnel_error *e, const char *code, const char *hint, const char *fmt, ...)
{
	va_list ap;

	e->code = code;
	va_start(ap, fmt);
	vsnprintf(e->message, sizeof(e->message), fmt, ap);
	va_end(ap);
	snprintf(e->hint, sizeof(e->hint), "%s", hint ? hint : "");
}

void tunnel_set_problem(struct tunnel *t, const char *code, const char *hint, const char *fmt, ...)
{
	va_list ap;

	t->problem.code = code;
	va_start(ap, fmt);
	vsnprintf(t->problem.message, sizeof(t->problem.message), fmt, ap);
	va_end(ap);
	snprintf(t->problem.hint, sizeof(t->problem.hint), "%s", hint ? hint : "");
}

void tunnel_clear_problem(struct tunnel *t)
{
	t->problem.code = NULL;
}

void tunnel_tell(struct tunnel *t, const char *event)
{
	t->ctx.on_event(t, event, NULL, t->ctx.arg);
}

static void listen_now(struct tunnel *t);

static void on_retry(void *arg)
{
	struct tunnel *t = arg;

	if (t->state != TUNNEL_FAILED)
		listen_now(t);
	/* Who asked for it once, in vain, has it down again. */
	else if (t->spec->enabled)
		tunnel_start(t);
}

int tunnel_new(struct tunnel **out, const struct tunnel_context *ctx, struct spec **spec)
{
	_cleanup_(tunnel_freep) struct tunnel *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	t->ctx = *ctx;
	t->udp.fd = -1;
	r = loop_timer_new(&t->timer, ctx->loop, tunnel_on_timer, t);
	if (!r)
		r = loop_timer_new(&t->retry, ctx->loop, on_retry, t);
	if (!r)
		r = loop_timer_new(&t->mend_later, ctx->loop, tunnel_on_mend_later, t);
	if (r)
		return r;
	t->spec = steal(spec);
	*out = steal(&t);
	return 0;
}

/* Everything that a start made, in reverse. */
static void take_down(struct tunnel *t)
{
	if (t->job)
		t->job->t = NULL;
	if (t->resolving)
		t->resolving->t = NULL;
	t->job = NULL;
	t->resolving = NULL;
	loop_timer_stop(t->timer);
	loop_timer_stop(t->retry);
	tunnel_forget_device(t);
	tunnel_untold_drops(t, &t->drops_before);
	t->drops_told = (struct drops){ .arrived = 0 };
	tunnel_fuel_look(t);
	stage_end(t);
	t->hello = hello_free(t->hello);
	t->path = path_free(t->path);
	udp_close(&t->udp);
	t->keys = keys_close(t->keys);
	packets_leave(t->thread);
	t->thread = NULL;
	if (t->kept)
		kept_drop(t->ctx.kept, t->spec->name);
	t->kept = false;
	t->ifname[0] = '\0';
	t->unanswered_ms = 0;
	t->is_unfound = false;
}

struct tunnel *tunnel_free(struct tunnel *t)
{
	if (!t)
		return NULL;
	list_remove(&t->node);
	stage_cancel(t);
	take_down(t);
	retire_end(t);
	loop_timer_free(t->timer);
	loop_timer_free(t->retry);
	loop_timer_free(t->mend_later);
	spec_free(t->spec);
	free(t);
	return NULL;
}

const char *tunnel_peer(const struct tunnel *t)
{
	return t->spec->peer_name[0] ? t->spec->peer_name : NULL;
}

void tunnel_untold_drops(struct tunnel *t, struct drops *out)
{
	const struct drops *now = t->path ? &path_counters(t->path)->drops : &t->drops_told;
	struct drops sum = t->drops_before;

	t->drops_looked = *now;
	for (enum drop d = 0; d < N_DROPS; d++)
		sum.n[d] += now->n[d] - t->drops_told.n[d];
	sum.arrived += now->arrived - t->drops_told.arrived;
	*out = sum;
}

void tunnel_told_drops(struct tunnel *t)
{
	/* What the packet thread has dropped since is told the next time. */
	t->drops_told = t->drops_looked;
	t->drops_before = (struct drops){ .arrived = 0 };
}

void tunnel_set_identity(struct tunnel *t, struct identity_client *identity)
{
	t->ctx.identity = identity;
}

const struct spec *tunnel_spec(const struct tunnel *t)
{
	return t->spec;
}

struct spec *tunnel_spec_mutable(struct tunnel *t)
{
	return t->spec;
}

struct list *tunnel_node(struct tunnel *t)
{
	return &t->node;
}

struct tunnel *tunnel_of_node(struct list *node)
{
	return container_of(node, struct tunnel, node);
}

bool tunnel_is_running(const struct tunnel *t)
{
	return t->state != TUNNEL_DOWN && t->state != TUNNEL_FAILED;
}

void tunnel_queue(struct tunnel *t)
{
	t->queued = !tunnel_is_running(t);
}

bool tunnel_is_queued(const struct tunnel *t)
{
	return t->queued;
}

bool tunnel_is_starting(const struct tunnel *t)
{
	return t->state == TUNNEL_STARTING && !t->waits_for_list;
}

bool tunnel_is_up(const struct tunnel *t)
{
	return t->state == TUNNEL_UP;
}

/* What time does not mend: trying again would only read a whole key file again. */
static bool is_lasting(const struct tunnel_error *e)
{
	static const char *const codes[] = { E(BadKeyFile), E(KeyFileDiffers), E(KeyFileInUse), E(Exhausted), E(BadPin) };

	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (strcmp(e->code, codes[i]) == 0)
			return true;
	return false;
}

void tunnel_fail(struct tunnel *t, const struct tunnel_error *e)
{
	log_event(LOG_ERR, &MSG_TUNNEL_FAILED,
		  LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) },
			     { FIELD_ERROR, e->code }),
		  "tunnel %s: %s", t->spec->name, e->message);
	take_down(t);
	t->state = TUNNEL_FAILED;
	t->problem = *e;
	if (t->spec->enabled && !t->prepare_only && !is_lasting(e)) {
		t->retry_ms = t->retry_ms ? t->retry_ms * 2 : 1000;
		if (t->retry_ms > RETRY_MAX_MS)
			t->retry_ms = RETRY_MAX_MS;
		loop_timer_start(t->retry, t->retry_ms);
	}
	t->ctx.on_event(t, "failed", e, t->ctx.arg);
}

static void fail_errno(struct tunnel *t, const char *code, int r, const char *what)
{
	struct tunnel_error e = { 0 };

	tunnel_error_set(&e, code, NULL, "%s: %s", what, strerror(r < 0 ? -r : EIO));
	tunnel_fail(t, &e);
}

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

/* ---- ledger and keys ---- */

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

static void on_progress(uint64_t done, uint64_t total, void *arg)
{
	struct create_job *j = arg;

	j->total = total;
	j->done = done;
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
		fail_errno(t, E(StorageFailed), -ENOMEM, "ledger");
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
		fail_errno(t, E(StorageFailed), r, "ledger");
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

static void listen_now(struct tunnel *t);

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
		fail_errno(t, E(DeviceFailed), r, "packet thread");
	return r == 0;
}

static void open_keys(struct tunnel *t)
{
	_cleanup_free_ char *path = NULL, *received = NULL;
	char name[SPEC_LEDGER_LEN], detail[200] = "", lost[64];
	struct spec_fingerprint of = { .is_known = false };
	struct tunnel_error e = { 0 };
	struct keys_options o;
	struct keys_info info;
	uint64_t recovered = 0;
	int r;

	if (t->took_over)
		snprintf(name, sizeof(name), "%s", t->spec->staged_ledger);
	else if (t->spec->ledger[0] && !t->ledger_lost)
		snprintf(name, sizeof(name), "%s", t->spec->ledger);
	else
		ledger_name(t, name);
	if (!join_thread(t))
		return;
	path = tunnel_store_ledger_path(t->ctx.store, name);
	tunnel_keys_options(t, &o, path, t->took_over ? t->spec->staged_file : t->spec->f.key_file);
	received = t->ctx.runtime_dir ? received_path(t, name) : NULL;
	o.received_path = received;
	o.hold = packet_thread_hold(t->thread);
	o.on_ready = tunnel_on_keys;
	o.arg = t;
	r = path ? keys_open(&t->keys, &o, &recovered, detail, sizeof(detail)) : -ENOMEM;
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
	if (r == -ENOENT && remake_ledger(t, name))
		return;
	if (r && take_over(t, r, detail))
		return;
	if (r) {
		/* The burn that it waits for has to find it. */
		if (r == KEYS_E_NEEDS_BURN)
			(void)adopt_ledger(t, name, &of);
		tunnel_keys_error(&e, t, r, t->took_over ? t->spec->staged_file : NULL, detail);
		tunnel_fail(t, &e);
		return;
	}
	of = fingerprint_of(&info);
	r = t->took_over ? 0 : adopt_ledger(t, name, &of);
	if (r) {
		fail_errno(t, E(StorageFailed), r, "tunnel state");
		return;
	}
	t->ledger_lost = false;
	t->unreadable = 0;
	t->earlier_ledger[0] = '\0';
	tunnel_fuel_begin(t);
	if (info.packets_left == 0 && take_over(t, KEYS_E_EXHAUSTED, ""))
		return;
	if (info.packets_left == 0) {
		tunnel_keys_error(&e, t, KEYS_E_EXHAUSTED, NULL, "");
		tunnel_fail(t, &e);
		return;
	}
	if (recovered > 0) {
		snprintf(lost, sizeof(lost), "%llu", (unsigned long long)recovered);
		log_event(LOG_NOTICE, &MSG_TUNNEL_RECOVERED,
			  LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) },
				     { FIELD_COUNT, lost }),
			  "tunnel %s: after an unclean stop, %s sequences are given up so that none is used twice",
			  t->spec->name, lost);
	}
	if (t->prepare_only) {
		t->keys = keys_close(t->keys);
		t->state = TUNNEL_DOWN;
		tunnel_tell(t, "prepared");
		/* Somebody did not wait for that. */
		if (t->spec->enabled)
			tunnel_start(t);
		return;
	}
	tunnel_tell(t, "keys");
	listen_now(t);
}

/* ---- socket, device ---- */

static int listen_address(const struct tunnel *t, struct sockaddr_in6 *at)
{
	char port[8];

	if (t->spec->f.listen)
		return udp_parse(at, t->spec->f.listen);
	if (t->spec->origin == SPEC_PAIRED) {
		snprintf(port, sizeof(port), "%u", t->spec->own_port);
		return udp_parse(at, port);
	}
	/* Who knows where the peer is need not be found itself. */
	if (t->spec->f.endpoint) {
		*at = (struct sockaddr_in6){ .sin6_family = AF_INET6 };
		return 0;
	}
	snprintf(port, sizeof(port), "%d", SPEC_PORT);
	return udp_parse(at, port);
}

static void on_device(const struct tun_result *result, void *arg);
static void use_device(struct tunnel *t, int fd, bool is_kept);

/* ---- what an earlier life left ---- */

static void refuse_kept(struct tunnel *t, int fd, const char *what)
{
	log_event(LOG_NOTICE, &MSG_FD_REFUSED,
		  LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) }),
		  "tunnel %s: the %s that was kept is not the one it needs now; it is closed", t->spec->name, what);
	close(fd);
}

static bool take_socket(struct tunnel *t, const struct sockaddr_in6 *at)
{
	int fd = kept_take_udp(t->ctx.kept, t->spec->name);

	if (fd < 0)
		return false;
	t->kept = true;
	if (udp_adopt(&t->udp, fd, at) == 0)
		return true;
	refuse_kept(t, fd, "socket");
	kept_drop_udp(t->ctx.kept, t->spec->name);
	return false;
}

/* The device that was kept, or -1. *is_same: it needs nothing. */
static int take_device(struct tunnel *t, bool *is_same)
{
	int fd = kept_take_tun(t->ctx.kept, t->spec->name);
	enum tun_state state;

	*is_same = false;
	if (fd < 0)
		return -1;
	t->kept = true;
	state = tun_look(fd, t->spec->f.interface, (uint16_t)t->spec->f.mtu, &t->addresses, t->ifname);
	if (state == TUN_OTHER) {
		refuse_kept(t, fd, "device");
		kept_drop_tun(t->ctx.kept, t->spec->name);
		return -1;
	}
	log_event(LOG_INFO, &MSG_TUNNEL_KEPT,
		  LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) },
			     { FIELD_DEVICE, t->ifname }),
		  "tunnel %s goes on with %s", t->spec->name, t->ifname);
	*is_same = state == TUN_SAME;
	return fd;
}

static void choose_addresses(struct tunnel *t)
{
	struct keys_info info;
	enum keys_role role = (enum keys_role)t->spec->f.role;

	if (t->spec->f.local_address) {
		/* Checked when the spec was read. */
		address_parse(&t->addresses, t->spec->f.local_address, t->spec->f.peer_address);
		return;
	}
	keys_info(t->keys, &info);
	/* Both sides have the same file, so its fingerprint names the tunnel. */
	if (info.is_file)
		address_derive(&t->addresses, t->spec->has_first ? t->spec->first_fingerprint : info.fingerprint, role);
	else
		address_derive(&t->addresses, t->spec->tunnel_id, role);
}

static void choose_networks(struct tunnel *t)
{
	choose_addresses(t);
	t->addresses.routes = t->spec->routes;
	sources_init(&t->sources, &t->addresses, &t->spec->allowed);
}

/* The manager still has what a tunnel that went down had, which is in the way; listen_now() is called again. */
static bool must_wait(struct tunnel *t)
{
	if (kept_is_settled(t->ctx.kept))
		return false;
	loop_timer_start(t->retry, SETTLE_MS);
	return true;
}

/* -EAGAIN: not yet. */
static int open_socket(struct tunnel *t, struct sockaddr_in6 *at)
{
	int r = listen_address(t, at);

	if (r || take_socket(t, at))
		return r;
	if (must_wait(t))
		return -EAGAIN;
	r = udp_open(&t->udp, at);
	if (!r)
		kept_store_udp(t->ctx.kept, t->spec->name, t->udp.fd);
	t->kept = true;
	return r;
}

static void listen_now(struct tunnel *t)
{
	struct sockaddr_in6 at;
	struct tunnel_error e = { 0 };
	struct tunnel_link *link;
	char text[UDP_TEXT_MAX];
	int device, r;
	bool is_same;

	r = t->udp.fd >= 0 ? 0 : open_socket(t, &at);
	if (r == -EAGAIN)
		return;
	if (r) {
		udp_format(text, &at);
		tunnel_error_set(&e, E(ListenFailed),
				 r == -EADDRNOTAVAIL ? "This machine does not have that address: “listen” with a port alone takes any." :
						       "Choose another port with “listen”.",
				 "cannot listen on UDP %s: %s", text, strerror(-r));
		tunnel_fail(t, &e);
		return;
	}
	choose_networks(t);
	device = take_device(t, &is_same);
	if (device < 0 && must_wait(t))
		return;
	tunnel_tell(t, "listening");
	if (is_same) {
		use_device(t, device, true);
		return;
	}
	link = calloc(1, sizeof(*link));
	r = link ? tun_request(t->ctx.loop, t->ctx.tund_socket, t->spec->f.interface,
			       (uint16_t)t->spec->f.mtu, t->ctx.offload & OFFLOAD_VNET_HEADER, &t->addresses,
			       device, on_device, link) :
		   -ENOMEM;
	if (r) {
		if (device >= 0)
			close(device);
		free(link);
		fail_errno(t, E(DeviceFailed), r, "device");
		return;
	}
	link->t = t;
	t->job = link;
}

static void device_error(struct tunnel_error *e, const struct tunnel *t, const struct tun_result *result)
{
	if (result->error == EADDRINUSE) {
		tunnel_error_set(e, E(AddressConflict),
				 "Set local_address and peer_address, on both sides.",
				 "the tunnel's address cannot be used: %s", result->detail);
		return;
	}
	if (result->error == EEXIST) {
		tunnel_error_set(e, E(RouteConflict), "Leave that network out of “routes”, or take the other one away.",
				 "a route cannot be set: %s", result->detail);
		return;
	}
	tunnel_error_set(e, E(DeviceFailed),
			 result->error == ENOENT || result->error == ECONNREFUSED ? "“systemctl start tund.socket” starts it." :
			 strstr(result->detail, "--any-") ? "tund(8) says how it gets that option." : NULL,
			 "no device for %s: %s (%s)", t->spec->name, result->detail,
			 strerror(result->error));
}

static int make_path(struct tunnel *t, int tun_fd)
{
	struct path_options po = {
		.loop = t->ctx.loop, .keys = t->keys, .role = (enum keys_role)t->spec->f.role,
		.prototype = t->spec->f.peer != 0, .window = (uint32_t)t->spec->f.window,
		.hold = packet_thread_hold(t->thread), .control = t->ctx.loop,
		.mtu = (uint16_t)t->spec->f.mtu, .sources = &t->sources, .udp = t->udp, .tun_fd = tun_fd, .ifindex = t->ifindex,
		.offload = t->ctx.offload, .addresses = t->addresses, .dscp = t->spec->dscp,
		.events = &tunnel_path_events, .arg = t,
	};
	struct hello_options ho = {
		.loop = t->ctx.loop, .keys = t->keys, .role = po.role, .window = po.window,
		.pinned = t->spec->pinned, .peer_public = t->spec->peer_public, .allowed = &t->spec->labels,
		.revoked = &t->ctx.policy->revoked, .revoked_here = &t->spec->revoked_ids, .ops = &tunnel_hello_ops, .arg = t,
		.last_session = &t->last_session,
	};
	int r;

	if (t->thread)
		po.loop = packet_thread_loop(t->thread);
	r = path_new(&t->path, &po);
	if (r) {
		close(tun_fd);
		return r;
	}
	t->udp.fd = -1;
	t->offload_told = path_offload(t->path);
	if (po.prototype)
		return 0;
	tunnel_make_identity(t);
	memcpy(ho.own_identity, t->own_identity, sizeof(ho.own_identity));
	ho.drops = path_drops(t->path);
	return hello_new(&t->hello, &ho);
}

static void use_device(struct tunnel *t, int fd, bool is_kept)
{
	int r;

	if (!is_kept) {
		/* One that could not be configured again may be there still. */
		kept_drop_tun(t->ctx.kept, t->spec->name);
		kept_store_tun(t->ctx.kept, t->spec->name, fd);
	}
	t->kept = true;
	t->ifindex = if_nametoindex(t->ifname);
	r = make_path(t, fd);
	if (!r) {
		t->state = TUNNEL_WAITING;
		tunnel_clear_problem(t);
		t->retry_ms = 0;
		tunnel_tell(t, "device");
		r = tunnel_begin(t);
	}
	if (r)
		fail_errno(t, E(DeviceFailed), r, "packet path");
}

static void on_device(const struct tun_result *result, void *arg)
{
	struct tunnel_link *link = arg;
	struct tunnel *t = link->t;
	struct tunnel_error e = { 0 };

	free(link);
	if (!t) {
		if (!result->error)
			close(result->fd);
		return;
	}
	t->job = NULL;
	if (result->error) {
		device_error(&e, t, result);
		tunnel_fail(t, &e);
		return;
	}
	memcpy(t->ifname, result->ifname, sizeof(t->ifname));
	use_device(t, result->fd, result->is_old);
}

/* ---- life ---- */

static void begin(struct tunnel *t, bool prepare_only)
{
	struct tunnel_error e = { 0 };

	t->queued = false;
	if (tunnel_is_running(t))
		return;
	loop_timer_stop(t->retry);
	t->prepare_only = prepare_only;
	t->state = TUNNEL_STARTING;
	t->rollback[0] = '\0';
	t->burn_unwritten = t->ledger_lost = false;
	t->earlier_ledger[0] = '\0';
	t->handshakes = 0;
	t->last_handshake_ms = 0;
	t->stranger_ms = 0;
	if (t->spec->pinned && t->spec->origin != SPEC_PAIRED && !prepare_only &&
	    !identity_own(t->ctx.identity)) {
		tunnel_error_set(&e, E(NoAnswer), "“systemctl start pairingd” starts it.",
				 "pairingd, which signs the handshake, cannot be reached");
		tunnel_fail(t, &e);
		return;
	}
	if (tunnel_pins_itself(t)) {
		tunnel_error_set(&e, E(BadPin), "Pin the key of the other machine here, and this one there.",
				 "what is pinned is the key of this machine itself");
		tunnel_fail(t, &e);
		return;
	}
	if (tunnel_is_somebody_else(t)) {
		tunnel_error_set(&e, E(WrongIdentity), "Put pairingd's identity.key back, or pair again.",
				 "this device's key is not the one that was paired with %s", t->spec->peer_name);
		tunnel_fail(t, &e);
		return;
	}
	/* It may have been forgotten while we did not hear; nothing could be signed now anyway. */
	t->waits_for_list = t->spec->origin == SPEC_PAIRED && !prepare_only &&
			    !identity_is_listed(t->ctx.identity);
	if (t->waits_for_list) {
		tunnel_set_problem(t, E(NoAnswer), "“systemctl start pairingd” starts it.",
				   "pairingd, which knows whether the pairing still holds, was not reached yet");
		return;
	}
	if (t->spec->ledger[0])
		open_keys(t);
	else
		create_ledger(t);
}

void tunnel_prepare(struct tunnel *t)
{
	begin(t, true);
}

void tunnel_start(struct tunnel *t)
{
	begin(t, false);
}

static void stop(struct tunnel *t)
{
	bool was = t->state != TUNNEL_DOWN;

	loop_timer_stop(t->retry);
	take_down(t);
	retire_begin(t);
	t->state = TUNNEL_DOWN;
	t->queued = false;
	t->waits_for_list = false;
	t->retry_ms = 0;
	t->unreadable = 0;
	tunnel_clear_problem(t);
	if (was) {
		log_event(LOG_INFO, &MSG_TUNNEL_STOPPED,
			  LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) }),
			  "tunnel %s is down", t->spec->name);
		tunnel_tell(t, "down");
	}
}

void tunnel_stop(struct tunnel *t)
{
	/* Also what was left for it and not taken yet. */
	t->kept = true;
	stop(t);
}

void tunnel_stop_replaced(struct tunnel *t)
{
	if (t->path)
		kept_hand_over(t->ctx.kept, t->spec->name, path_tun_fd(t->path), path_udp(t->path)->fd);
	t->kept = false;
	stop(t);
}

void tunnel_restart(struct tunnel *t)
{
	if (t->path)
		tunnel_stop_replaced(t);
	else
		tunnel_stop(t);
	if (t->spec->enabled)
		tunnel_start(t);
}

bool tunnel_is_being_added(const struct tunnel *t)
{
	return t->prepare_only && t->state == TUNNEL_STARTING;
}

void tunnel_on_identity(struct tunnel *t)
{
	if (t->waits_for_list && identity_is_listed(t->ctx.identity)) {
		tunnel_clear_problem(t);
		t->state = TUNNEL_DOWN;
		tunnel_start(t);
	} else if (t->state == TUNNEL_FAILED && t->spec->enabled && t->spec->pinned) {
		t->retry_ms = 0;
		tunnel_start(t);
	}
	tunnel_on_own_key(t);
	if (t->state == TUNNEL_UP)
		tunnel_tell_seen(t);
}

void tunnel_on_identity_new(struct tunnel *t)
{
	t->peer_told = false;
	t->mark = TUNNEL_UNLISTED;
}

void tunnel_on_network(struct tunnel *t)
{
	if (t->state == TUNNEL_FAILED && t->spec->enabled && t->problem.code &&
	    strcmp(t->problem.code, E(ListenFailed)) == 0) {
		t->retry_ms = 0;
		tunnel_start(t);
		return;
	}
	tunnel_hurry(t);
	tunnel_seek(t, false);
}

void tunnel_on_renamed(struct tunnel *t, const char *before)
{
	kept_rename(t->ctx.kept, before, t->spec->name, t->path ? path_tun_fd(t->path) : -1,
		    t->path ? path_udp(t->path)->fd : -1);
}

void tunnel_on_seen(struct tunnel *t)
{
	t->peer_told = true;
}

enum tunnel_mark tunnel_mark(const struct tunnel *t)
{
	return t->mark;
}

void tunnel_retire(struct tunnel *t)
{
	retire_begin(t);
}

void tunnel_set_mark(struct tunnel *t, enum tunnel_mark mark)
{
	t->mark = mark;
}
