/*
 * Login (RFC 9807 section 6). A name that nobody has, one that is disabled (under the keys that it had) and one whose
 * keys were retired all get an answer from the fake record (sections 6.3.2.2 and 10.9): by the same steps, of the same
 * form, and then fail as a wrong password does.
 */
#include "authd/routes.h"

#include <string.h>

#include <jansson.h>

#include "authd/bans.h"
#include "authd/config.h"
#include "authd/guard.h"
#include "authd/http.h"
#include "authd/keys.h"
#include "authd/server.h"
#include "authd/sessions.h"
#include "authd/state.h"
#include "authd/ticket.h"
#include "authd/users.h"
#include "base/json.h"
#include "base/log.h"
#include "crypto/opaque.h"
#include "crypto/secret.h"
#include "proto/pop.h"

/* Whom a name stands for. */
struct candidate {
	struct user user;
	bool exists; /* and may log in */
	const struct generation *generation;
};

static int find_candidate(struct authd *a, struct candidate *c, const char *name)
{
	const struct generation *nobodys = keys_for_nobody(a->keys, name, state_now(a->state)), *own;
	int r = users_find(a->state, name, &c->user);

	if (r < 0)
		return r;
	own = keys_find(a->keys, c->user.generation);
	c->exists = r == 0 && !c->user.disabled && own;
	c->generation = r == 0 && own ? own : nobodys;
	return 0;
}

/* KE2 for ke1. 0, an outcome of opaque.h, or a negative errno. */
static int answer(struct authd *a, const struct candidate *c, const char *name, const uint8_t *ke1, uint8_t *ke2,
		  struct secret **state)
{
	const struct opaque_ids ids = { .client = name,
					.client_len = strlen(name),
					.server = a->cfg->origin,
					.server_len = strlen(a->cfg->origin) };
	uint64_t begun = opstat_begin();
	int r;

	r = opaque_server_ke2(c->generation->keys, ke2, state, c->exists ? c->user.record : NULL, name, strlen(name), ke1, &ids,
			      NULL);
	opstat_end(&a->measured[OP_LOGIN_START], begun, OPAQUE_KE1_LEN, r == 0);
	return r;
}

static void reply_start(struct authd *a, struct http_request *req, const struct candidate *c, const char *name,
			const struct address_key *address, const uint8_t *ke2, const struct secret *login_state)
{
	char ke2_text[BASE64_SPACE(OPAQUE_KE2_LEN)], id[TICKET_SPACE];
	struct ticket t = { .user = c->exists ? c->user.id : 0, .version = c->user.version, .address = *address };

	memcpy(t.name, name, strlen(name));
	memcpy(t.login_state, secret_bytes(login_state), sizeof(t.login_state));
	ticket_seal(a->tickets, id, &t);
	wipe(&t, sizeof(t));
	base64_encode(ke2_text, ke2, OPAQUE_KE2_LEN, BASE64_URL);
	reply_json(req, 200,
		   json_pack("{s:s, s:s, s:o}", "login_id", id, "ke2", ke2_text, "ksf", generation_json(c->generation)));
}

void route_login_start(struct authd *a, struct http_request *req)
{
	_cleanup_json_ json_t *body = NULL;
	_cleanup_(secret_freep) struct secret *login_state = NULL;
	uint8_t ke1[OPAQUE_KE1_LEN], ke2[OPAQUE_KE2_LEN];
	char name[USERNAME_SPACE];
	const char *text = NULL;
	size_t len = 0;
	const struct member members[] = {
		{ .name = "user", .max = 1024, .text = &text, .len = &len },
		{ .name = "ke1", .bytes = ke1, .n_bytes = sizeof(ke1) },
	};
	struct attempt t = { .name = name };
	struct candidate c;
	int r;

	if (!read_body(a, req, members, ARRAY_SIZE(members), &body) || !read_name(a, req, name, text, len))
		return;
	request_address(req, &t.from);
	if (!guard_address(a, req, &t.from))
		return;
	r = find_candidate(a, &c, name);
	if (r) {
		reply_failure(a, req, r, "cannot look up a user");
		return;
	}
	t.known = users_knows_address(a->state, c.exists ? c.user.id : 0, &t.from);
	if (!guard_name(a, req, &t))
		return;
	guard_count(a, &t, c.exists);
	r = answer(a, &c, name, ke1, ke2, &login_state);
	if (r == OPAQUE_E_BAD_MESSAGE)
		reply_error(req, 400, "bad_value", "KE1 holds what is no element of the group");
	else if (r)
		reply_failure(a, req, r, "cannot answer a login");
	else
		reply_start(a, req, &c, name, &t.from, ke2, login_state);
}

/* ---- the second step ---- */

static void refuse(struct authd *a, struct http_request *req, const struct ticket *t, const char *address)
{
	a->counted[COUNT_LOGINS_FAILED]++;
	/* What is nobody's name may be somebody's password, typed into the wrong field. */
	log_event(LOG_NOTICE, &MSG_AUTH_LOGIN_FAILED, LOG_FIELDS({ FIELD_USER, t->user ? t->name : NULL }, { FIELD_ADDRESS, address }),
		  "a login failed: wrong password, or no such user");
	reply_unproven(a, req, "login_failed", "wrong password, or no such user");
}

static void reply_session(struct authd *a, struct http_request *req, const struct ticket *t, const char *id)
{
	struct user user;
	/* The keys of this user's record are about to go: register anew, in this session. */
	bool renew = users_find(a->state, t->name, &user) == 0 && user.generation != keys_newest(a->keys)->id;

	reply_json(req, 200,
		   json_pack("{s:s, s:I, s:b}", "session_id", id, "expires_in_s", (json_int_t)(a->cfg->session_ttl_ms / 1000),
			     "renew", renew));
}

static void log_in(struct authd *a, struct http_request *req, const struct ticket *t, const struct secret *session_key)
{
	_cleanup_(secret_freep) struct secret *key = NULL;
	const struct attempt attempt = { .name = t->name, .from = t->address, .known = true };
	char id[SESSION_ID_SPACE], address[ADDRESS_TEXT_SPACE];
	int r;

	address_key_format(address, &t->address);
	r = pop_key(&key, session_key);
	if (!r)
		r = sessions_add(a->state, t->user, t->version, key, a->cfg->session_ttl_ms / 1000, &t->address, address,
				 a->cfg->sessions_per_user, id);
	if (r == SESSIONS_E_VOID) {
		refuse(a, req, t, address);
		return;
	}
	if (r) {
		reply_failure(a, req, r, "cannot store a session");
		return;
	}
	a->counted[COUNT_LOGINS]++;
	bans_uncount(a->bans, &attempt);
	log_event(LOG_INFO, &MSG_AUTH_LOGIN, LOG_FIELDS({ FIELD_USER, t->name }, { FIELD_ADDRESS, address }), "%s logged in from %s",
		  t->name, address);
	reply_session(a, req, t, id);
	wipe(id, sizeof(id));
}

static void finish(struct authd *a, struct http_request *req, const struct ticket *t, const uint8_t *ke3)
{
	_cleanup_(secret_freep) struct secret *session_key = NULL;
	char address[ADDRESS_TEXT_SPACE];
	uint64_t begun = opstat_begin();
	int r;

	r = opaque_server_finish(&session_key, t->login_state, ke3);
	opstat_end(&a->measured[OP_LOGIN_FINISH], begun, OPAQUE_KE3_LEN, r == 0);
	address_key_format(address, &t->address);
	if (r < 0)
		reply_failure(a, req, r, "cannot finish a login");
	else if (r)
		refuse(a, req, t, address);
	else
		log_in(a, req, t, session_key);
}

void route_login_finish(struct authd *a, struct http_request *req)
{
	_cleanup_json_ json_t *body = NULL;
	uint8_t ke3[OPAQUE_KE3_LEN];
	const char *id = NULL;
	const struct member members[] = {
		{ .name = "login_id", .max = TICKET_SPACE, .text = &id },
		{ .name = "ke3", .bytes = ke3, .n_bytes = sizeof(ke3) },
	};
	struct ticket t;
	int r;

	if (!read_body(a, req, members, ARRAY_SIZE(members), &body))
		return;
	r = ticket_open(a->tickets, &t, id);
	if (r == TICKET_E_FULL)
		reply_later(req, 503, "busy", "too many logins are under way", 1000);
	else if (r > 0)
		reply_unproven(a, req, "login_id", "there is no such login, or it is over: start again");
	else if (r)
		reply_failure(a, req, r, "cannot finish a login");
	else
		finish(a, req, &t, ke3);
	wipe(&t, sizeof(t));
}
