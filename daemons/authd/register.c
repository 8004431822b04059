/*
 * Registration (RFC 9807 section 5): by whoever comes, by invitation, or by a session for its own user. An
 * answer to /register/start evaluates the user's OPRF, which is what testing one password against a recorded KE2
 * takes; so it counts as an attempt like a login's. That it ended well takes that back for an address where an
 * invitation was spent for it, and not otherwise: who registers freely could do it again and again. In a session it
 * counts apart, and is never taken back.
 */
#include "authd/routes.h"

#include <string.h>

#include <jansson.h>

#include "authd/bans.h"
#include "authd/config.h"
#include "authd/guard.h"
#include "authd/http.h"
#include "authd/keys.h"
#include "authd/proof.h"
#include "authd/replay.h"
#include "authd/server.h"
#include "authd/users.h"
#include "base/bytes.h"
#include "base/json.h"
#include "base/log.h"
#include "crypto/kdf.h"
#include "crypto/opaque.h"

enum { INVITATION_MAX = 256 };

/* Somebody who wants to register. */
struct applicant {
	char name[USERNAME_SPACE];
	struct address_key address;
	uint8_t invitation[INVITATION_HASH_LEN];
	bool has_invitation;
	bool is_invited;	/* by name */
	struct session session; /* id 0: none */
};

static void applicant_done(struct applicant *p)
{
	session_done(&p->session);
}

static bool refuse(struct http_request *req, const char *code, const char *text)
{
	reply_error(req, 403, code, text);
	return false;
}

static bool admit_session(struct authd *a, struct http_request *req, struct applicant *p, bool starts)
{
	if (!prove(a, req, &p->session))
		return false;
	if (strcmp(p->session.name, p->name) != 0)
		return refuse(req, "other_user", "the session is another user's");
	return guard_address(a, req, &p->address) && (!starts || guard_renewal(a, req, p->name));
}

static bool check_invitation(struct authd *a, struct http_request *req, struct applicant *p)
{
	const struct attempt wrong = { .from = p->address };
	int r = invitation_check(a->state, p->invitation, p->name, &p->is_invited);

	if (r < 0) {
		reply_failure(a, req, r, "cannot look up an invitation");
		return false;
	}
	if (r == 0)
		return true;
	guard_count(a, &wrong, false);
	return refuse(req, "invitation", "there is no such invitation, or not for this name");
}

static bool check_mode(struct authd *a, struct http_request *req, struct applicant *p)
{
	switch ((enum registration)a->cfg->registration) {
	case REGISTRATION_CLOSED:
		return refuse(req, "closed", "this server takes no registrations");
	case REGISTRATION_OPEN:
		return p->has_invitation ? check_invitation(a, req, p) : true;
	case REGISTRATION_INVITATION:
		break;
	}
	return p->has_invitation ? check_invitation(a, req, p) : refuse(req, "invitation", "this server takes registrations by invitation");
}

static struct attempt attempt_of(const struct applicant *p)
{
	return (struct attempt){ .name = p->name, .from = p->address };
}

/* Whether p may register at all. False: answered. */
static bool admit(struct authd *a, struct http_request *req, struct applicant *p, bool starts)
{
	const struct attempt t = attempt_of(p);
	const char *authorization;

	if (!request_is_confidential(a, req))
		return refuse(req, "insecure",
			      "registration takes TLS, this machine, or a private network; a proxy must be listed");
	if (!http_request_header_once(req, "Authorization", &authorization) || authorization)
		return admit_session(a, req, p, starts);
	if (!guard_address(a, req, &p->address) || !check_mode(a, req, p))
		return false;
	/* What others do to a name keeps nobody out who was invited for it; and a finish needs its start. */
	return p->is_invited || !starts || guard_name(a, req, &t);
}

static bool read_applicant(struct authd *a, struct http_request *req, struct applicant *p, struct member *bytes, bool starts)
{
	_cleanup_json_ json_t *body = NULL;
	const char *name = NULL, *invitation = NULL;
	size_t name_len = 0, invitation_len = 0;
	const struct member members[] = {
		{ .name = "user", .max = 1024, .text = &name, .len = &name_len },
		*bytes,
		{ .name = "invitation", .optional = true, .max = INVITATION_MAX, .text = &invitation, .len = &invitation_len },
	};

	if (!read_body(a, req, members, ARRAY_SIZE(members), &body) || !read_name(a, req, p->name, name, name_len))
		return false;
	p->has_invitation = invitation != NULL;
	if (invitation)
		sha256(p->invitation, invitation, invitation_len);
	request_address(req, &p->address);
	return admit(a, req, p, starts);
}

/* A registration that was started: of this name, by this session's user or none, under these keys, from there. */
struct started {
	char name[USERNAME_SPACE];
	uint8_t user[8], generation[8];
	struct address_key from;
};

static struct started started_key(const struct applicant *p, const struct generation *g, const struct address_key *from)
{
	struct started s = { .from = *from };

	memcpy(s.name, p->name, strlen(p->name));
	be64_store(s.user, (uint64_t)p->session.user);
	be64_store(s.generation, (uint64_t)g->id);
	return s;
}

/* A client may finish from another address than it started from; that is then not the one of the attempt. */
static const struct address_key anywhere = { .family = UINT8_MAX };

static int note_started(struct authd *a, const struct applicant *p, const struct generation *g)
{
	const struct started s = started_key(p, g, &anywhere), here = started_key(p, g, &p->address);
	int r = replay_renew(a->started, &s, sizeof(s));

	return r ? r : replay_renew(a->started, &here, sizeof(here));
}

static bool is_started(struct authd *a, const struct applicant *p, const struct generation *g)
{
	const struct started s = started_key(p, g, &anywhere);

	return replay_has(a->started, &s, sizeof(s));
}

/* It ended well: it is no start of another one. The name is its user's now; the address may have many more. */
static void end_started(struct authd *a, const struct applicant *p, const struct generation *g)
{
	const struct started s = started_key(p, g, &anywhere), here = started_key(p, g, &p->address);
	struct attempt t = attempt_of(p);

	replay_take(a->started, &s, sizeof(s));
	if (!replay_take(a->started, &here, sizeof(here)) || !p->has_invitation)
		t.from = (struct address_key){ 0 };
	if (!p->session.id)
		bans_uncount(a->bans, &t);
}

static void answer_start(struct http_request *req, const uint8_t response[static OPAQUE_RESPONSE_LEN], const struct generation *g)
{
	char text[BASE64_SPACE(OPAQUE_RESPONSE_LEN)];

	base64_encode(text, response, OPAQUE_RESPONSE_LEN, BASE64_URL);
	reply_json(req, 200, json_pack("{s:s, s:o}", "response", text, "ksf", generation_json(g)));
}

void route_register_start(struct authd *a, struct http_request *req)
{
	_cleanup_(applicant_done) struct applicant p = { .name = "" };
	uint8_t request[OPAQUE_REQUEST_LEN], response[OPAQUE_RESPONSE_LEN];
	struct member bytes = { .name = "request", .bytes = request, .n_bytes = sizeof(request) };
	const struct generation *g = keys_newest(a->keys);
	struct attempt t;
	uint64_t begun;
	int r;

	if (!read_applicant(a, req, &p, &bytes, true))
		return;
	t = attempt_of(&p);
	if (!p.session.id)
		guard_count(a, &t, p.is_invited);
	begun = opstat_begin();
	r = opaque_server_register(g->keys, response, request, p.name, strlen(p.name));
	opstat_end(&a->measured[OP_REGISTER_START], begun, sizeof(request), r == 0);
	if (r == OPAQUE_E_BAD_MESSAGE) {
		reply_error(req, 400, "bad_value", "the request is no element of the group");
		return;
	}
	if (!r)
		r = note_started(a, &p, g);
	if (r == REPLAY_E_FULL) {
		reply_later(req, 503, "busy", "too many registrations are under way", 60000);
		return;
	}
	if (r)
		reply_failure(a, req, r, "cannot start a registration");
	else
		answer_start(req, response, g);
}

static void tell_registered(const struct applicant *p, bool replaced)
{
	char address[ADDRESS_TEXT_SPACE];

	address_key_format(address, &p->address);
	if (p->session.id)
		log_event(LOG_NOTICE, &MSG_AUTH_PASSWORD, LOG_FIELDS({ FIELD_USER, p->name }, { FIELD_ADDRESS, address }),
			  "%s registered anew in a session; its other sessions ended", p->name);
	else if (replaced)
		log_event(LOG_NOTICE, &MSG_AUTH_RECOVERED, LOG_FIELDS({ FIELD_USER, p->name }, { FIELD_ADDRESS, address }),
			  "%s registered anew by invitation; all its sessions ended", p->name);
	else
		log_event(LOG_NOTICE, &MSG_AUTH_REGISTERED, LOG_FIELDS({ FIELD_USER, p->name }, { FIELD_ADDRESS, address }),
			  "%s registered", p->name);
}

static void answer_finish(struct authd *a, struct http_request *req, const struct applicant *p, int r, bool replaced)
{
	switch (r) {
	case 0:
		a->counted[COUNT_REGISTERED]++;
		tell_registered(p, replaced);
		reply_json(req, replaced ? 200 : 201, json_pack("{s:s}", "user", p->name));
		return;
	case USERS_E_TAKEN:
		reply_error(req, 409, "taken", "this name is another's");
		return;
	case USERS_E_FULL:
		reply_error(req, 403, "full", "this server takes no more users");
		return;
	case USERS_E_INVITATION:
		(void)refuse(req, "invitation", "there is no such invitation, or not for this name");
		return;
	case USERS_E_NO_SUCH:
		reply_unproven(a, req, "no_session", "the session's user is gone");
		return;
	}
	reply_failure(a, req, r, "cannot store a registration");
}

void route_register_finish(struct authd *a, struct http_request *req)
{
	_cleanup_(applicant_done) struct applicant p = { .name = "" };
	uint8_t record[OPAQUE_RECORD_LEN];
	struct member bytes = { .name = "record", .bytes = record, .n_bytes = sizeof(record) };
	const struct generation *g = keys_newest(a->keys);
	struct users_claim claim = { 0 };
	bool replaced = false;
	uint64_t begun;
	int r;

	if (!read_applicant(a, req, &p, &bytes, false))
		return;
	if (!is_started(a, &p, g)) {
		/* Also when the keys changed meanwhile: the record would open nothing. */
		reply_error(req, 409, "start_again", "this registration was not started, or too long ago");
		return;
	}
	begun = opstat_begin();
	r = opaque_record_check(record);
	opstat_end(&a->measured[OP_REGISTER_FINISH], begun, sizeof(record), r == 0);
	if (r) {
		reply_error(req, 400, "bad_value", "the record holds a key that is none");
		return;
	}
	claim.user = p.session.user;
	claim.invitation_hash = p.has_invitation && !claim.user ? p.invitation : NULL;
	r = users_register(a->state, p.name, record, g->id, &claim, p.session.id, (int64_t)a->cfg->users, &replaced);
	if (!r)
		end_started(a, &p, g);
	answer_finish(a, req, &p, r, replaced);
}
