/*
 * io.handfast.Auth: users, sessions, invitations, keys and bans, for the command. No secret comes in or goes
 * out: of an invitation the caller sends the hash.
 */
#include "authd/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "authd/bans.h"
#include "authd/config.h"
#include "authd/fresh.h"
#include "authd/keys.h"
#include "authd/metrics.h"
#include "authd/server.h"
#include "authd/sessions.h"
#include "authd/state.h"
#include "authd/users.h"
#include "base/bytes.h"
#include "base/json.h"
#include "base/log.h"
#include "event/varlink.h"
#include "service/listening.h"
#include "service/service.h"
#include "varlink/io.handfast.Auth.h"

#define E(name) "io.handfast.Auth." #name

enum { PAGE = 500, LIFETIME_MAX_S = 365 * 86400 };

static void fail(struct authd *a, struct varlink_call *call, int r, const char *what)
{
	a->storage_error = r < 0 ? r : -EIO;
	log_event(LOG_ERR, &MSG_AUTH_STORAGE, LOG_NO_FIELDS, "%s: %s", what, strerror(r < 0 ? -r : EIO));
	varlink_error(call, E(StorageFailed), what, "authd's journal says why");
}

static void no_such_user(struct varlink_call *call)
{
	varlink_error(call, E(NoSuchUser), "there is no such user", "\"handfast auth users\" lists them");
}

/* The canonical spelling of parameter user; false: answered. */
static bool read_user(struct varlink_call *call, const json_t *params, char out[static USERNAME_SPACE])
{
	const json_t *v = json_object_get(params, "user");
	int r = username_canonical(out, json_string_value(v), json_string_length(v));

	if (!r)
		return true;
	varlink_error(call, E(BadName), username_outcome_text(r), "letters, digits and . _ - + @; it begins with a letter or digit");
	return false;
}

static bool is_given(const json_t *params, const char *key)
{
	const json_t *v = json_object_get(params, key);

	return v && !json_is_null(v);
}

static json_t *or_null(const char *text)
{
	return text && *text ? json_string(text) : json_null();
}

/* ---- status ---- */

static json_t *listeners(const struct authd *a)
{
	json_t *all = json_array();

	for (size_t i = 0; i < listening_count(a->listening); i++)
		json_array_append_new(all, json_string(listening_address(a->listening, i)));
	return all;
}

static json_t *status(struct authd *a)
{
	int64_t users = 0, sessions = 0;
	int storage = authd_storage(a);

	(void)users_count(a->state, &users);
	(void)sessions_count(a->state, &sessions);
	return json_pack("{s:o, s:s, s:s, s:I, s:I, s:o, s:o}", "listeners", listeners(a), "origin", a->cfg->origin, "registration",
			 authd_registration_name(a->cfg->registration), "users", (json_int_t)users, "sessions",
			 (json_int_t)sessions, "times_why_not", or_null(fresh_why_not(a->fresh)), "storage",
			 or_null(storage ? strerror(-storage) : NULL));
}

static void on_status_call(struct varlink_call *call, const json_t *params, void *arg)
{
	(void)params;
	varlink_reply(call, status(arg));
}

/* ---- invitations ---- */

static void invite(struct varlink_call *call, struct authd *a, const uint8_t *hash, const char *user, uint64_t lifetime_s)
{
	int r = invitation_add(a->state, hash, *user ? user : NULL, lifetime_s);

	if (r == USERS_E_TAKEN) {
		varlink_invalid_parameter(call, "hash");
		return;
	}
	if (r) {
		fail(a, call, r, "the invitation cannot be stored");
		return;
	}
	log_event(LOG_NOTICE, &MSG_AUTH_INVITED, LOG_FIELDS({ FIELD_USER, *user ? user : NULL }), "invited %s",
		  *user ? user : "a new user");
	varlink_reply(call, json_pack("{s:o, s:I}", "user", or_null(user), "expires_in_s", (json_int_t)lifetime_s));
}

static void on_invite_call(struct varlink_call *call, const json_t *params, void *arg)
{
	struct authd *a = arg;
	uint8_t hash[INVITATION_HASH_LEN];
	char user[USERNAME_SPACE] = "";
	int64_t lifetime_s = json_get_int(params, "lifetime_s", (int64_t)(a->cfg->invitation_ttl_ms / 1000));

	if (hex_parse(hash, sizeof(hash), json_get_str(params, "hash")))
		varlink_invalid_parameter(call, "hash");
	else if (lifetime_s < 1 || lifetime_s > LIFETIME_MAX_S)
		varlink_invalid_parameter(call, "lifetime_s");
	else if (!is_given(params, "user") || read_user(call, params, user))
		invite(call, a, hash, user, (uint64_t)lifetime_s);
}

static void on_invitations_call(struct varlink_call *call, const json_t *params, void *arg)
{
	struct authd *a = arg;
	_cleanup_free_ struct invitation *page = calloc(PAGE + 1, sizeof(*page));
	json_t *all = json_array();
	int n = page ? invitations_list(a->state, json_get_int(params, "after", 0), page, PAGE + 1) : -ENOMEM;

	if (n < 0) {
		json_decref(all);
		fail(a, call, n, "the invitations cannot be read");
		return;
	}
	for (int i = 0; i < n && i < PAGE; i++)
		json_array_append_new(all, json_pack("{s:I, s:o, s:I, s:I}", "id", (json_int_t)page[i].id, "user",
						     or_null(page[i].name), "created_at", (json_int_t)page[i].created_at,
						     "expires_at", (json_int_t)page[i].expires_at));
	varlink_reply(call, json_pack("{s:o, s:b}", "invitations", all, "more", n > PAGE));
}

static void on_withdraw_call(struct varlink_call *call, const json_t *params, void *arg)
{
	struct authd *a = arg;
	int r = invitation_remove(a->state, json_get_int(params, "id", 0));

	if (r == USERS_E_NO_SUCH)
		varlink_error(call, E(NoSuchInvitation), "there is no such invitation", "it may be used, or over");
	else if (r)
		fail(a, call, r, "the invitation cannot be withdrawn");
	else
		varlink_reply(call, NULL);
}

/* ---- users ---- */

static json_t *describe_user(const struct user *u)
{
	return json_pack("{s:s, s:b, s:I, s:I, s:o, s:I, s:I}", "user", u->name, "disabled", u->disabled, "created_at",
			 (json_int_t)u->created_at, "changed_at", (json_int_t)u->changed_at, "seen_at",
			 u->seen_at ? json_integer(u->seen_at) : json_null(), "generation", (json_int_t)u->generation, "sessions",
			 (json_int_t)u->sessions);
}

static void on_users_call(struct varlink_call *call, const json_t *params, void *arg)
{
	struct authd *a = arg;
	_cleanup_free_ struct user *page = calloc(PAGE + 1, sizeof(*page));
	const char *after = json_get_str(params, "after");
	json_t *all = json_array();
	int n = page ? users_list(a->state, after ? after : "", page, PAGE + 1) : -ENOMEM;

	if (n < 0) {
		json_decref(all);
		fail(a, call, n, "the users cannot be read");
		return;
	}
	for (int i = 0; i < n && i < PAGE; i++)
		json_array_append_new(all, describe_user(&page[i]));
	varlink_reply(call, json_pack("{s:o, s:b}", "users", all, "more", n > PAGE));
}

static void answer_change(struct authd *a, struct varlink_call *call, int r, const char *user, const struct log_id *id, const char *done)
{
	if (r == USERS_E_NO_SUCH) {
		no_such_user(call);
	} else if (r) {
		fail(a, call, r, "the user cannot be changed");
	} else {
		log_event(LOG_NOTICE, id, LOG_FIELDS({ FIELD_USER, user }), "%s %s by command", user, done);
		varlink_reply(call, NULL);
	}
}

static void on_disable_call(struct varlink_call *call, const json_t *params, void *arg)
{
	struct authd *a = arg;
	char user[USERNAME_SPACE];

	if (read_user(call, params, user))
		answer_change(a, call, users_set_disabled(a->state, user, true), user, &MSG_AUTH_USER_CHANGED, "was disabled");
}

static void on_enable_call(struct varlink_call *call, const json_t *params, void *arg)
{
	struct authd *a = arg;
	char user[USERNAME_SPACE];

	if (read_user(call, params, user))
		answer_change(a, call, users_set_disabled(a->state, user, false), user, &MSG_AUTH_USER_CHANGED, "was enabled");
}

static void on_delete_call(struct varlink_call *call, const json_t *params, void *arg)
{
	struct authd *a = arg;
	char user[USERNAME_SPACE];

	if (read_user(call, params, user))
		answer_change(a, call, users_delete(a->state, user), user, &MSG_AUTH_USER_DELETED, "was deleted");
}

/* ---- sessions ---- */

static json_t *describe_session(const struct session *s)
{
	return json_pack("{s:I, s:s, s:I, s:I, s:s}", "id", (json_int_t)s->id, "user", s->name, "created_at",
			 (json_int_t)s->created_at, "expires_at", (json_int_t)s->expires_at, "address", s->address);
}

static void on_sessions_call(struct varlink_call *call, const json_t *params, void *arg)
{
	struct authd *a = arg;
	_cleanup_free_ struct session *page = NULL;
	char user[USERNAME_SPACE] = "";
	json_t *all;
	int n;

	if (is_given(params, "user") && !read_user(call, params, user))
		return;
	page = calloc(PAGE + 1, sizeof(*page));
	n = page ? sessions_list(a->state, *user ? user : NULL, json_get_int(params, "after", 0), page, PAGE + 1) : -ENOMEM;
	if (n < 0) {
		fail(a, call, n, "the sessions cannot be read");
		return;
	}
	all = json_array();
	for (int i = 0; i < n && i < PAGE; i++)
		json_array_append_new(all, describe_session(&page[i]));
	varlink_reply(call, json_pack("{s:o, s:b}", "sessions", all, "more", n > PAGE));
}

static void on_revoke_call(struct varlink_call *call, const json_t *params, void *arg)
{
	struct authd *a = arg;
	int r = sessions_end(a->state, json_get_int(params, "id", 0));

	if (r == SESSIONS_E_NONE) {
		varlink_error(call, E(NoSuchSession), "there is no such session", "\"handfast auth sessions\" lists them");
	} else if (r) {
		fail(a, call, r, "the session cannot be ended");
	} else {
		log_event(LOG_NOTICE, &MSG_AUTH_SESSION_ENDED, LOG_NO_FIELDS, "a session was ended by command");
		varlink_reply(call, NULL);
	}
}

static void on_revoke_user_call(struct varlink_call *call, const json_t *params, void *arg)
{
	struct authd *a = arg;
	char user[USERNAME_SPACE];
	struct user found;
	int r;

	if (!read_user(call, params, user))
		return;
	r = users_find(a->state, user, &found);
	if (r == USERS_E_NO_SUCH) {
		no_such_user(call);
		return;
	}
	if (!r)
		r = sessions_end_user(a->state, user);
	if (r < 0) {
		fail(a, call, r, "the sessions cannot be ended");
		return;
	}
	log_event(LOG_NOTICE, &MSG_AUTH_SESSION_ENDED, LOG_FIELDS({ FIELD_USER, user }), "all sessions of %s were ended by command",
		  user);
	varlink_reply(call, json_pack("{s:i}", "ended", r));
}

/* ---- keys ---- */

static json_t *describe_generation(struct authd *a, const struct generation *g)
{
	int64_t users = 0;

	(void)keys_users(a->keys, g->id, &users);
	return json_pack("{s:I, s:b, s:I, s:I, s:i, s:i}", "id", (json_int_t)g->id, "newest", g == keys_newest(a->keys), "users",
			 (json_int_t)users, "created_at", (json_int_t)g->created_at, "memory_kib", (int)g->memory_kib, "passes",
			 (int)g->passes);
}

static void on_keys_call(struct varlink_call *call, const json_t *params, void *arg)
{
	struct authd *a = arg;
	json_t *all = json_array();

	(void)params;
	for (size_t i = 0; i < keys_count(a->keys); i++)
		json_array_append_new(all, describe_generation(a, keys_at(a->keys, i)));
	varlink_reply(call, json_pack("{s:o}", "generations", all));
}

static void on_rotate_call(struct varlink_call *call, const json_t *params, void *arg)
{
	struct authd *a = arg;
	int r = keys_rotate(a->keys, (uint32_t)(a->cfg->argon2id_memory / 1024), (uint32_t)a->cfg->argon2id_passes);

	(void)params;
	if (r == KEYS_E_TWO) {
		varlink_error(call, E(TwoGenerations), "two generations of keys are in use already",
			      "retire the older one first: \"handfast auth keys retire\"");
	} else if (r) {
		fail(a, call, r, "new keys cannot be stored");
	} else {
		log_event(LOG_NOTICE, &MSG_AUTH_KEYS, LOG_NO_FIELDS, "generation %lld of the server's keys is for new records now",
			  (long long)keys_newest(a->keys)->id);
		varlink_reply(call, json_pack("{s:o}", "generation", describe_generation(a, keys_newest(a->keys))));
	}
}

static void on_retire_call(struct varlink_call *call, const json_t *params, void *arg)
{
	struct authd *a = arg;
	int64_t id = json_get_int(params, "id", 0);
	int r = keys_retire(a->keys, id, json_is_true(json_object_get(params, "force")));

	switch (r) {
	case 0:
		log_event(LOG_NOTICE, &MSG_AUTH_KEYS, LOG_NO_FIELDS, "generation %lld of the server's keys is retired and erased",
			  (long long)id);
		varlink_reply(call, NULL);
		return;
	case KEYS_E_NO_SUCH:
		varlink_error(call, E(NoSuchKeys), "there is no such generation of keys", "\"handfast auth keys\" lists them");
		return;
	case KEYS_E_NEWEST:
		varlink_error(call, E(KeysInUse), "the newest generation is in use", "rotate first: \"handfast auth keys rotate\"");
		return;
	case KEYS_E_IN_USE:
		varlink_error(call, E(KeysInUse), "users have not moved to the new keys yet",
			      "they move at their next login; with --force, those who are left need a new invitation");
		return;
	}
	fail(a, call, r, "the keys cannot be erased");
}

/* ---- bans ---- */

struct listing {
	struct authd *a;
	json_t *all;
};

static const char *const kinds[] = { [BAN_USER] = "user", [BAN_ADDRESS] = "address", [BAN_PROOFS] = "proofs",
				       [BAN_RENEWALS] = "renewals" };

static void append_ban(const struct ban *ban, void *arg)
{
	struct listing *l = arg;
	char address[ADDRESS_TEXT_SPACE] = "";
	struct user user;
	const char *name = *ban->name && users_find(l->a->state, ban->name, &user) == 0 ? ban->name : NULL;

	if (ban->address.family)
		address_key_format(address, &ban->address);
	json_array_append_new(l->all,
			      json_pack("{s:s, s:o, s:o, s:I, s:I}", "kind", kinds[ban->kind], "user",
					or_null(name), "address", or_null(address), "attempts", (json_int_t)ban->attempts, "left_ms",
					(json_int_t)ban->left_ms));
}

static void on_bans_call(struct varlink_call *call, const json_t *params, void *arg)
{
	struct authd *a = arg;
	struct listing l = { a, json_array() };

	(void)params;
	bans_each(a->bans, append_ban, &l);
	bans_each(a->proof_bans, append_ban, &l);
	varlink_reply(call, json_pack("{s:o}", "bans", l.all));
}

static void answer_lifted(struct varlink_call *call, bool lifted, const char *what)
{
	if (!lifted) {
		varlink_error(call, E(NoSuchBan), "no attempts are counted of it", "\"handfast auth bans\" lists what is banned");
		return;
	}
	log_event(LOG_NOTICE, &MSG_AUTH_BAN_LIFTED, LOG_NO_FIELDS, "the ban of %s was lifted by command", what);
	varlink_reply(call, NULL);
}

static void on_lift_call(struct varlink_call *call, const json_t *params, void *arg)
{
	struct authd *a = arg;
	const char *address = json_get_str(params, "address");
	char user[USERNAME_SPACE], text[ADDRESS_TEXT_SPACE];
	struct address_key key;

	if (is_given(params, "user") == is_given(params, "address")) {
		varlink_invalid_parameter(call, "user");
	} else if (!address) {
		if (read_user(call, params, user))
			answer_lifted(call, bans_lift_user(a->bans, user), "a user");
	} else if (address_key_parse(&key, address)) {
		varlink_invalid_parameter(call, "address");
	} else {
		bool logins = bans_lift_address(a->bans, &key), proofs = bans_lift_address(a->proof_bans, &key);

		address_key_format(text, &key);
		answer_lifted(call, logins || proofs, text);
	}
}

static const struct varlink_method methods[] = {
	{ "Status", VARLINK_READ, on_status_call },
	{ "Invite", VARLINK_CHANGE, on_invite_call },
	{ "Invitations", VARLINK_READ, on_invitations_call },
	{ "Withdraw", VARLINK_CHANGE, on_withdraw_call },
	{ "Users", VARLINK_READ, on_users_call },
	{ "DisableUser", VARLINK_CHANGE, on_disable_call },
	{ "EnableUser", VARLINK_CHANGE, on_enable_call },
	{ "DeleteUser", VARLINK_CHANGE, on_delete_call },
	{ "Sessions", VARLINK_READ, on_sessions_call },
	{ "RevokeSession", VARLINK_CHANGE, on_revoke_call },
	{ "RevokeSessions", VARLINK_CHANGE, on_revoke_user_call },
	{ "Keys", VARLINK_READ, on_keys_call },
	{ "RotateKeys", VARLINK_CHANGE, on_rotate_call },
	{ "RetireKeys", VARLINK_CHANGE, on_retire_call },
	{ "Bans", VARLINK_READ, on_bans_call },
	{ "LiftBan", VARLINK_CHANGE, on_lift_call },
	{ NULL, VARLINK_READ, NULL },
};

static const struct varlink_interface interface = {
	.name = "io.handfast.Auth",
	.description = varlink_io_handfast_Auth,
	.methods = methods,
};

static void on_status(json_t *details, void *arg)
{
	json_t *now = status(arg);

	if (now)
		json_object_update(details, now);
	json_decref(now);
}

int control_start(struct service *svc, struct authd *a)
{
	a->service = svc;
	service_on_status(svc, on_status, a);
	service_on_metrics(svc, authd_metrics, a);
	return service_add_interface(svc, &interface, a);
}
