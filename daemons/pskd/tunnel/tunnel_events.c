/* What the handshake and the packet path tell a tunnel, and what makes it look for its peer. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "pskd/handshake/identity_client.h"
#include "pskd/packet/drop_log.h"
#include "pskd/tunnel/stage.h"
#include "pskd/tunnel/store.h"
#include "pskd/tunnel/tunnel_internal.h"

/* ---- the handshake's events ---- */

static void send_handshake(const uint8_t *msg, size_t len, const struct udp_ends *to, void *arg)
{
	struct tunnel *t = arg;

	path_send_handshake(t->path, msg, len, to);
}

static int sign(const uint8_t hash[static PSKH_HASH_LEN], hello_signed_fn done, void *token, void *arg)
{
	struct tunnel *t = arg;

	return identity_sign(t->ctx.identity, hash, PSKH_HASH_LEN, done, token);
}

static void on_session(struct session **s, uint64_t peer_tx_next, void *arg)
{
	struct tunnel *t = arg;
	HOLD(packet_thread_hold(t->thread));

	path_rx_forward(t->path, peer_tx_next);
	path_set_pending(t->path, s);
	if (!tunnel_is_initiator(t))
		path_send_keepalive(t->path, true);
}

static void on_bind_again(void *arg)
{
	struct tunnel *t = arg;

	path_send_keepalive(t->path, true);
}

/*
 * A call can be recorded and sent again by anyone, from anywhere, and who then
 * passes on what is said would be where the peer seems to be. So while the peer
 * is heard, it calls from where it is, also when it has just come there; when it is not heard, we
 * ask ourselves.
 */
static bool may_call(const struct sockaddr_in6 *from, void *arg)
{
	struct tunnel *t = arg;
	const struct session *s = path_current(t->path);

	return !s || udp_same(from, &s->address) || hello_is_running(t->hello) ||
	       clock_since_ms(path_counters(t->path)->received_ms, clock_now_ms()) >= TUNNEL_QUIET_MS ||
	       path_is_heard_from(t->path, from);
}

static void on_round(unsigned int round, void *arg)
{
	struct tunnel *t = arg;

	if (round > 0 && tunnel_has_names(t))
		tunnel_resolve_again(t);
}

void tunnel_hurry(struct tunnel *t)
{
	if (!t->hello || !hello_is_running(t->hello))
		return;
	if (tunnel_has_names(t))
		tunnel_resolve_again(t);
	hello_hurry(t->hello);
}

static bool find_way(struct tunnel *t, struct way_out *out)
{
	const struct sockaddr_in6 *to = &path_current(t->path)->address;

	return way_look(out, to, path_way(t->path, to)) == 0;
}

/* Packets to the peer leave otherwise than before: the peer may not find us, nor what is between us. */
static bool has_moved(struct tunnel *t)
{
	const struct session *s = path_current(t->path);
	struct way_out now;

	if (!s || !t->has_way)
		return false;
	/* Without its device: one that comes in its place has the same name, but another number. */
	return find_way(t, &now) ? !way_same(&now, &t->way) : s->address.sin6_scope_id != 0;
}

void tunnel_seek(struct tunnel *t, bool always)
{
	bool moved = t->path && has_moved(t);

	/* Whose way is not watched may go by any. */
	if (t->path && (moved || !t->has_way))
		path_forget_locals(t->path);
	if (!t->path || (!always && !moved))
		return;
	if (tunnel_has_names(t))
		tunnel_resolve_again(t);
	if (t->hello && hello_is_running(t->hello))
		hello_hurry(t->hello);
	else if (t->hello)
		hello_start(t->hello);
	tunnel_arm(t);
}

void tunnel_on_wake(struct tunnel *t)
{
	t->woke_ms = clock_now_ms();
	tunnel_seek(t, true);
}

static void on_rollback(struct tunnel *t, bool own, const struct sockaddr_in6 *from, uint64_t n)
{
	snprintf(t->rollback, sizeof(t->rollback),
		 own ? "our ledger was %llu sequences behind what the peer has received; went forward" :
		       "the peer's ledger was %llu sequences behind what we have received; it goes forward",
		 (unsigned long long)n);
	tunnel_note(t, LOG_WARNING, &MSG_TUNNEL_ROLLBACK, NULL, from, t->rollback);
}

static void on_needs_burn(struct tunnel *t, const struct sockaddr_in6 *from, uint64_t n)
{
	t->state = TUNNEL_NEEDS_BURN;
	tunnel_set_problem(t, E(NeedsBurn), "“handfast tunnel burn NAME” gives it up and goes on.",
			   "to agree with the peer, the key material of %llu packets would have to be given up",
			   (unsigned long long)n);
	tunnel_note(t, LOG_ERR, &MSG_TUNNEL_NEEDS_BURN, t->problem.code, from, t->problem.message);
	t->ctx.on_event(t, "needs-burn", &t->problem, t->ctx.arg);
}

static void on_exhausted(void *arg)
{
	struct tunnel *t = arg;

	if (t->state == TUNNEL_EXHAUSTED)
		return;
	t->state = TUNNEL_EXHAUSTED;
	tunnel_set_problem(t, E(Exhausted), "Make a new key file, carry it to both sides, and stage it there.",
			   "the key material is used up: nothing can be sent any more");
	tunnel_note(t, LOG_ERR, &MSG_TUNNEL_EXHAUSTED, t->problem.code, NULL, t->problem.message);
	t->ctx.on_event(t, "exhausted", &t->problem, t->ctx.arg);
}

/* What is unauthenticated, or of a stranger, is a problem only while there is nothing better. */
static void suspect(struct tunnel *t, const struct log_id *id, const char *code,
		    const struct sockaddr_in6 *from, const char *text, const char *hint)
{
	if (t->state == TUNNEL_WAITING)
		tunnel_set_problem(t, code, hint, "%s", text);
	tunnel_note(t, LOG_WARNING, id, code, from, text);
}

static void on_hello_event(enum hello_event e, const struct sockaddr_in6 *from, uint64_t n, void *arg)
{
	struct tunnel *t = arg;
	char text[200];

	switch (e) {
	case HELLO_OTHER_KEY:
		snprintf(text, sizeof(text), "somebody says hello with another key file (its hint is %016llx)",
			 (unsigned long long)n);
		suspect(t, &MSG_TUNNEL_OTHER_KEY, E(KeyFileDiffers), from, text,
			"If that is the peer: both sides need the same key file.");
		return;
	case HELLO_OWN_ROLE:
		suspect(t, &MSG_TUNNEL_OWN_ROLE, E(KeyFileInUse), from,
			tunnel_is_initiator(t) ? "somebody with our key is initiator, too" :
					  "somebody with our key is responder, too",
			"One side must be initiator, the other responder.");
		return;
	case HELLO_REFLECTED:
		tunnel_note(t, LOG_WARNING, &MSG_TUNNEL_REFLECTED, NULL, from, "our own message came back");
		return;
	case HELLO_WRONG_IDENTITY:
	case HELLO_BAD_SIGNATURE:
	case HELLO_NOT_ALLOWED:
	case HELLO_REVOKED:
		tunnel_on_stranger(t, e, from, n);
		return;
	case HELLO_OWN_ROLLBACK:
	case HELLO_PEER_ROLLBACK:
		on_rollback(t, e == HELLO_OWN_ROLLBACK, from, n);
		return;
	case HELLO_NEEDS_BURN:
		on_needs_burn(t, from, n);
		return;
	case HELLO_EXHAUSTED:
		on_exhausted(t);
		return;
	case HELLO_CANNOT_SIGN:
		suspect(t, &MSG_IDENTITY_LOST, E(NoAnswer), NULL,
			"pairingd, which signs the handshake, cannot be reached",
			"“systemctl start pairingd” starts it.");
		return;
	case HELLO_FAILED:
		tunnel_note(t, LOG_ERR, &MSG_TUNNEL_LEDGER, E(StorageFailed), NULL, strerror((int)n));
		return;
	}
}

const struct hello_ops tunnel_hello_ops = {
	.send = send_handshake,
	.sign = sign,
	.on_session = on_session,
	.on_bind_again = on_bind_again,
	.may_call = may_call,
	.on_round = on_round,
	.on_event = on_hello_event,
};

/* ---- the path's events ---- */

static void on_handshake(const uint8_t *msg, size_t len, const struct udp_ends *from, uint64_t high, void *arg)
{
	struct tunnel *t = arg;

	if (stage_on_message(t, msg, len, from, high))
		return;
	if (t->hello)
		hello_on_message(t->hello, msg, len, from, high);
	else
		drops_count(path_drops(t->path), DROP_HS_UNEXPECTED);
}

/* Where the peer was last is where it is looked for first after a restart; and who it was. */
static void remember_peer(struct tunnel *t)
{
	bool changed = tunnel_take_label(t);
	char text[UDP_TEXT_MAX];
	int r;

	udp_format(text, &path_current(t->path)->address);
	if (strcmp(text, t->spec->last_endpoint) == 0 && !changed)
		return;
	snprintf(t->spec->last_endpoint, sizeof(t->spec->last_endpoint), "%s", text);
	r = tunnel_store_save(t->ctx.store, t->spec);
	if (r)
		log_debug("tunnel %s: its peer is not kept: %s", t->spec->name, strerror(-r));
}

void tunnel_tell_seen(struct tunnel *t)
{
	if (t->spec->origin == SPEC_PAIRED && !t->peer_told)
		identity_peer_seen(t->ctx.identity, t->spec->peer_id, t->spec->tunnel_id);
}

/* A session that was due for another; the two sides do not count quite the same. */
static bool was_due(const struct session *s, uint64_t now)
{
	return s && (session_packets(s) >= SESSION_RENEW_PACKETS / 2 || now - s->created_ms >= SESSION_RENEW_MS / 2);
}

static void check_moves(struct tunnel *t)
{
	uint64_t now = clock_now_ms();
	char here[UDP_TEXT_MAX], there[UDP_TEXT_MAX];

	if (!moves_on_session(&t->moves, &path_current(t->path)->address, was_due(path_previous(t->path), now), now))
		return;
	udp_format(here, &t->moves.at);
	udp_format(there, &t->moves.before);
	snprintf(t->clone, sizeof(t->clone),
		 "the peer goes to and fro between %s and %s: two machines may have its keys", there, here);
	tunnel_note(t, LOG_WARNING, &MSG_TUNNEL_CLONE, NULL, NULL, t->clone);
}

static void on_proven(void *arg)
{
	struct tunnel *t = arg;
	char address[UDP_TEXT_MAX];

	/* Else the handshake of the pending one goes on. */
	if (!path_pending(t->path))
		hello_on_proven(t->hello);
	hello_add_candidate(t->hello, &path_current(t->path)->address);
	if (tunnel_is_initiator(t))
		path_send_keepalive(t->path, false);
	t->handshakes++;
	t->last_handshake_ms = clock_now_ms();
	t->unanswered_ms = 0;
	t->has_way = find_way(t, &t->way);
	udp_format(address, &path_current(t->path)->address);
	if (t->state != TUNNEL_UP) {
		t->state = TUNNEL_UP;
		tunnel_clear_problem(t);
		log_event(LOG_NOTICE, &MSG_TUNNEL_UP, LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) }),
			  "tunnel %s is up, the peer is at %s", t->spec->name, address);
	} else if (t->spec->last_endpoint[0] && strcmp(address, t->spec->last_endpoint) != 0) {
		tunnel_note(t, LOG_NOTICE, &MSG_TUNNEL_MOVED, NULL, &path_current(t->path)->address,
		     "the peer is somewhere else now");
	}
	remember_peer(t);
	check_moves(t);
	stage_on_taken_over(t);
	stage_on_up(t);
	tunnel_tell_seen(t);
	tunnel_tell(t, "up");
	tunnel_arm(t);
}

static void on_switched(void *arg)
{
	stage_on_switched(arg);
	on_proven(arg);
}

static void on_traffic(void *arg)
{
	tunnel_arm(arg);
}

static void on_own_packet(const struct sockaddr_in6 *from, void *arg)
{
	tunnel_note(arg, LOG_WARNING, &MSG_TUNNEL_REFLECTED, NULL, from,
	     "our own packet came back, or a second device has our key and role");
}

static void on_drops(void *arg)
{
	drop_log_on_drops(((struct tunnel *)arg)->ctx.drop_log);
}

const struct path_events tunnel_path_events = {
	.on_handshake = on_handshake,
	.on_proven = on_proven,
	.on_switched = on_switched,
	.on_traffic = on_traffic,
	.on_exhausted = on_exhausted,
	.on_own_packet = on_own_packet,
	.on_drops = on_drops,
};
