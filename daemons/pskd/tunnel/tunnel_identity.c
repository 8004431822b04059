/* Who we are in a tunnel's handshakes, and what becomes of a peer that is somebody else than it may be. */
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "crypto/secret.h"
#include "pskd/handshake/identity_client.h"
#include "pskd/tunnel/tunnel_internal.h"

/* Somebody who may not be the peer goes on trying, and is logged no oftener. */
#define STRANGER_MS 3600000

static void warn(struct tunnel *t, const struct log_id *id, const char *code, const struct sockaddr_in6 *from,
		 const char *text)
{
	char address[UDP_TEXT_MAX] = "";

	if (from)
		udp_format(address, from);
	log_event(LOG_WARNING, id,
		  LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) }, { FIELD_ERROR, code }),
		  "tunnel %s: %s%s%s", t->spec->name, text, from ? ", from " : "", address);
}

/* A label, as in the prototype's document: nothing rests on it. */
static void own_label(struct tunnel *t)
{
	uint8_t serial[LABEL_SERIAL_MAX], hint[PSKH_HINT_LEN];
	const char *source = "random";
	size_t len = label_serial(serial, &t->ctx.policy->label_sources, &source);

	t->has_label = true;
	snprintf(t->label_source, sizeof(t->label_source), "%s", source);
	if (len == 0) {
		random_bytes(serial, len = 32);
		log_event(LOG_WARNING, &MSG_LABEL_RANDOM,
			  LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) }),
			  "tunnel %s: nothing that label_sources names can be read, so its label is another one at each start",
			  t->spec->name);
	}
	/* The first key file's, for ever: another file makes nobody somebody else. */
	if (t->spec->has_first)
		memcpy(hint, t->spec->first_hint, sizeof(hint));
	else
		keys_hint(t->keys, hint);
	if (t->spec->f.salt)
		label_make(t->own_identity, t->spec->f.salt, strlen(t->spec->f.salt), serial, len);
	else
		label_make(t->own_identity, hint, sizeof(hint), serial, len);
	wipe(serial, sizeof(serial));
}

void tunnel_make_identity(struct tunnel *t)
{
	t->has_label = false;
	if (t->spec->origin == SPEC_PAIRED)
		identity_id(t->own_identity, &t->spec->own_public);
	else if (t->spec->pinned && identity_own(t->ctx.identity))
		identity_id(t->own_identity, identity_own(t->ctx.identity));
	else
		own_label(t);
}

bool tunnel_is_somebody_else(const struct tunnel *t)
{
	const struct sign_public *own = identity_own(t->ctx.identity);

	return t->spec->origin == SPEC_PAIRED && own && memcmp(own, &t->spec->own_public, sizeof(*own)) != 0;
}

void tunnel_on_own_key(struct tunnel *t)
{
	const struct sign_public *own = identity_own(t->ctx.identity);
	uint8_t id[PSKH_IDENTITY_LEN];

	if (!own || !t->hello || t->has_label)
		return;
	identity_id(id, own);
	if (memcmp(id, t->own_identity, sizeof(id)) == 0)
		return;
	warn(t, &MSG_TUNNEL_OWN_KEY, NULL, NULL, "this device's key is another one than before, so everything is agreed anew");
	tunnel_restart(t);
}

bool tunnel_pins_itself(const struct tunnel *t)
{
	const struct sign_public *own = identity_own(t->ctx.identity);

	return t->spec->pinned && own && memcmp(own, &t->spec->peer_public, sizeof(*own)) == 0;
}

void tunnel_on_stranger(struct tunnel *t, enum hello_event e, const struct sockaddr_in6 *from,
			uint64_t identity)
{
	static const struct {
		const char *code, *text, *hint;
	} known[] = {
		[HELLO_BAD_SIGNATURE] = { E(WrongIdentity), "the peer's handshake is not signed by the pinned device",
					  "See handfast-journal(7), tunnel-wrong-peer." },
		[HELLO_WRONG_IDENTITY] = { E(WrongIdentity), "the peer has our key but is not the pinned device",
					   "Each side pins the other's key, as “handfast tunnel pin” shows it there." },
		[HELLO_NOT_ALLOWED] = { E(WrongIdentity), "the peer has our key but not a label that is allowed",
					"“handfast tunnel show” on the other side shows its label." },
		[HELLO_REVOKED] = { E(Revoked), "the peer has our key, but its identity is revoked",
				    "“handfast tunnel revoke” has it, or the list “revoked” of pskd.yaml." },
	};
	const char *hint = t->spec->origin == SPEC_PAIRED && e != HELLO_REVOKED ?
				   "Pair again if the peer has a new identity." : known[e].hint;
	uint64_t now = clock_now_ms();
	char text[200];

	if (e == HELLO_BAD_SIGNATURE)
		snprintf(text, sizeof(text), "%s", known[e].text);
	else
		snprintf(text, sizeof(text), "%s: it says %016llx", known[e].text, (unsigned long long)identity);
	if (t->state == TUNNEL_WAITING)
		tunnel_set_problem(t, known[e].code, hint, "%s", text);
	if (t->stranger_ms && t->stranger == identity && t->stranger_is == e && now - t->stranger_ms < STRANGER_MS)
		return;
	t->stranger = identity;
	t->stranger_is = e;
	t->stranger_ms = now;
	warn(t, e == HELLO_REVOKED ? &MSG_TUNNEL_REVOKED : &MSG_TUNNEL_WRONG_PEER, known[e].code, from, text);
}

const uint8_t *tunnel_peer_identity(const struct tunnel *t, const struct session *s)
{
	return t->spec->f.role == KEYS_INITIATOR ? s->id.identity_b : s->id.identity_a;
}

bool tunnel_take_label(struct tunnel *t)
{
	const struct session *current = path_current(t->path);
	struct spec *s = t->spec;
	char text[sizeof(s->last_identity)], said[200];

	hex_format(text, tunnel_peer_identity(t, current), PSKH_IDENTITY_LEN);
	if (s->pinned || strcmp(text, s->last_identity) == 0)
		return false;
	snprintf(said, sizeof(said), "the peer's label was %s and is %s now", s->last_identity, text);
	if (s->last_identity[0])
		warn(t, &MSG_TUNNEL_OTHER_LABEL, NULL, &current->address, said);
	memcpy(s->last_identity, text, sizeof(s->last_identity));
	return true;
}

static bool is_revoked(const struct tunnel *t, const struct session *s)
{
	return s && (label_list_has(&t->ctx.policy->revoked, tunnel_peer_identity(t, s)) ||
		     label_list_has(&t->spec->revoked_ids, tunnel_peer_identity(t, s)));
}

void tunnel_on_policy(struct tunnel *t)
{
	const struct session *s;
	struct sockaddr_in6 from;
	uint64_t identity;

	/* Without hello it is a prototype's, which says nothing of itself. */
	if (!t->path || !t->hello)
		return;
	s = path_current(t->path);
	if (!is_revoked(t, s))
		s = path_pending(t->path);
	if (!is_revoked(t, s))
		s = path_staged(t->path);
	if (!is_revoked(t, s))
		return;
	from = s->address;
	identity = be64_load(tunnel_peer_identity(t, s));
	path_drop_sessions(t->path);
	t->unanswered_ms = 0;
	if (t->state == TUNNEL_UP)
		t->state = TUNNEL_WAITING;
	tunnel_on_stranger(t, HELLO_REVOKED, &from, identity);
	/* Another device that may be the peer. */
	if (!hello_is_running(t->hello))
		hello_start(t->hello);
	tunnel_on_timer(t);
}
