/*
 * Which file a side sends with is nobody's word but the handshake's: each file has a handshake key of
 * its own, so a session of the staged file proves that the peer has the very same one, and its first
 * packet that the peer can send with it. Then this side does, too. State is written after that: a crash
 * before finds both files as they were, with ledgers that know what each has used, and agrees once more.
 */
#include "pskd/tunnel/stage.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "pskd/tunnel/retire.h"
#include "pskd/tunnel/store.h"

/* A staged file that cannot be opened may be on a disk that is not there yet. */
#define REOPEN_MS 30000

void stage_say(const struct tunnel *t, int level, const struct log_id *id, const char *code, const char *file,
	       const char *text)
{
	log_event(level, id,
		  LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) }, { FIELD_FILE, file },
			     { FIELD_ERROR, code }),
		  "tunnel %s: %s: %s", t->spec->name, file, text);
}

/* ---- the handshake of the staged file ---- */

static void on_send(const uint8_t *msg, size_t len, const struct udp_ends *to, void *arg)
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
	stage_say(t, LOG_WARNING, known[e].id, NULL, t->spec->staged_file, known[e].text);
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
		stage_say(t, LOG_ERR, &MSG_TUNNEL_STAGE_FAILED, error == -EBADMSG ? E(KeyFileDiffers) : E(StorageFailed),
		    t->spec->staged_file,
		    error == -EBADMSG ? "the staged key file is not as it was" : strerror(-error));
	if (t->path)
		path_on_keys_ready(t->path);
}

void stage_close(struct tunnel *t)
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
	stage_close(t);
	snprintf(t->stage.problem, sizeof(t->stage.problem), "%s", e.message);
	if (is_new)
		stage_say(t, LOG_WARNING, &MSG_TUNNEL_STAGE_FAILED, e.code, t->spec->staged_file, e.message);
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
	o.hold = packet_thread_hold(t->thread);
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
		.revoked = &t->ctx.policy->revoked, .revoked_here = &t->spec->revoked_ids, .ops = &stage_ops, .arg = t,
		.drops = path_drops(t->path), .last_session = &t->last_session, .patient = true,
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
	stage_close(t);
	/* Packets of it may still come until the path has let it go. */
	if (t->path && t->earlier_keys)
		path_unstage(t->path);
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
	stage_on_candidates(t);
	stage_hurry(t);
}

void stage_hurry(struct tunnel *t)
{
	if (t->stage.hello)
		hello_hurry(t->stage.hello);
}

bool stage_on_message(struct tunnel *t, const uint8_t *msg, size_t len, const struct udp_ends *from, uint64_t high)
{
	struct pskh m;

	if ((!t->stage.hello && !t->earlier_keys) || pskh_decode(&m, msg, len))
		return false;
	if (t->stage.hello && memcmp(m.hint, t->stage.hint, sizeof(m.hint)) == 0) {
		hello_on_message(t->stage.hello, msg, len, from, high);
		return true;
	}
	/* The peer has begun anew and asks with both files: the other one is answered. */
	if (t->earlier_keys && memcmp(m.hint, t->earlier_hint, sizeof(m.hint)) == 0) {
		drops_count(path_drops(t->path), DROP_HS_OTHER_KEY);
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
		stage_say(t, LOG_ERR, &MSG_TUNNEL_LEDGER, E(StorageFailed), t->spec->staged_file, strerror(-r));
	t->switch_unsaved = r != 0;
	if (r)
		return;
	stage_say(t, LOG_NOTICE, &MSG_TUNNEL_SWITCHED, NULL, t->spec->f.key_file, "this is the key file from now on, on both sides");
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
