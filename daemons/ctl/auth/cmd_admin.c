/* handfast auth invite, users, sessions, keys, bans: the administrator's, through the local authd's control socket. */
#include <arpa/inet.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/daemon.h"
#include "ctl/terminal.h"

enum { TOKEN_BYTES = 16, PAGES_MAX = 100000, LIFETIME_MAX_DAYS = 365 };

/* ---- asking authd ---- */

/*
 * Every page of a list: result {key: [...]}, a new reference. after is the member of the last entry that the
 * next page begins behind.
 */
static int list_all(struct ctl *c, const char *method, json_t *params, const char *key, const char *after, json_t **result)
{
	_cleanup_json_ json_t *owned = params ? params : json_object();
	json_t *all = json_array();

	for (int page = 0; page < PAGES_MAX; page++) {
		_cleanup_json_ json_t *reply = NULL;
		json_t *list;
		int r = daemon_call(c, AUTHD, method, json_copy(owned), &reply);

		if (r) {
			json_decref(all);
			return r;
		}
		list = json_object_get(reply, key);
		json_array_extend(all, list);
		if (!json_is_true(json_object_get(reply, "more")) || json_array_size(list) == 0)
			break;
		json_object_set(owned, "after",
				json_object_get(json_array_get(list, json_array_size(list) - 1), after));
	}
	*result = json_pack("{s:o}", key, all);
	return EXIT_DONE;
}

/* "list" where nothing is said. */
static const char *action(const struct ctl *c)
{
	return ctl_argument(c, 0) ? ctl_argument(c, 0) : "list";
}

static bool is_action(const struct ctl *c, const char *name)
{
	return strcmp(action(c), name) == 0;
}

static int missing(struct ctl *c, const char *what)
{
	char hint[128];

	snprintf(hint, sizeof(hint), "See “handfast help %s”.", c->parsed.command->name);
	return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, hint, "“%s” needs %s", action(c), what);
}

static int surplus(struct ctl *c)
{
	char hint[128];

	snprintf(hint, sizeof(hint), "See “handfast help %s”.", c->parsed.command->name);
	return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, hint, "“%s” does not know what to do with “%s”", action(c),
			ctl_argument(c, 1));
}

/* An option that says nothing of this action would be ignored: what its author meant is not known. */
static int check_option(struct ctl *c, const char *option, const char *only)
{
	char hint[128];

	if (!ctl_option(c, option) || is_action(c, only))
		return EXIT_DONE;
	snprintf(hint, sizeof(hint), "See “handfast help %s”.", c->parsed.command->name);
	return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, hint, "--%s is for “%s”, not for “%s”", option, only, action(c));
}

/* EXIT_DONE to go on. */
static int confirm(struct ctl *c, const char *question)
{
	int r;

	if (ctl_flag(c, "yes"))
		return EXIT_DONE;
	r = terminal_confirm("%s", question);
	if (r == 0)
		return EXIT_DONE;
	if (r == TERMINAL_E_NONE)
		return ctl_fail(c, EXIT_USAGE, ERROR_NO_TERMINAL, "Say --yes.", "there is no terminal to ask on");
	if (r == TERMINAL_E_INTERRUPTED)
		return ctl_fail(c, interrupt_exit(), ERROR_INTERRUPTED, NULL, "interrupted");
	return ctl_fail(c, EXIT_FAILED, ERROR_DECLINED, NULL, "nothing was done");
}

/* "2026-11-21 14:03", or "-". */
static const char *time_text(char out[static 32], const json_t *o, const char *key)
{
	time_t at = (time_t)json_get_int(o, key, 0);
	struct tm tm;

	if (at <= 0 || !localtime_r(&at, &tm) || strftime(out, 32, "%Y-%m-%d %H:%M", &tm) == 0)
		snprintf(out, 32, "-");
	return out;
}

static void left_text(char out[static 32], int64_t left_s)
{
	if (left_s > 0)
		text_format_duration(out, 32, (uint64_t)left_s * 1000);
	else
		snprintf(out, 32, "over");
}

/* ---- invitations ---- */

static void invite_text(const struct ctl *c, const json_t *result)
{
	const char *user = json_get_str(result, "user");
	char lives[32];

	left_text(lives, json_get_int(result, "expires_in_s", 0));
	(void)c;
	printf("%s\n\nGood once within %s, for %s. This asks for it:\n  handfast auth register URL %s\n"
	       "(from a script: --invite-file FILE)\n",
	       json_get_str(result, "token"), lives, user ? clean_text(user) : "any name that nobody has",
	       user ? clean_text(user) : "USER");
}

static void invitations_text(const struct ctl *c, const json_t *result)
{
	static const char *const headings[] = { "ID", "FOR", "MADE", "ENDS IN", NULL };
	const json_t *list = json_object_get(result, "invitations"), *one;
	struct table *t;
	size_t i;

	if (json_array_size(list) == 0) {
		printf("There is no invitation.\n");
		return;
	}
	t = table_new(headings);
	json_array_foreach(list, i, one) {
		char made[32], left[32];

		left_text(left, json_get_int(one, "expires_at", 0) - clock_wall_s());
		table_cell(t, PAINT_BOLD, "%lld", (long long)json_get_int(one, "id", 0));
		table_cell(t, PAINT_PLAIN, "%s", json_get_str(one, "user") ? clean_member(one, "user") : "anybody");
		table_cell(t, PAINT_PLAIN, "%s", time_text(made, one, "created_at"));
		table_cell(t, PAINT_PLAIN, "%s", left);
	}
	table_print(t, stdout, &c->style);
}

static void withdrawn_text(const struct ctl *c, const json_t *result)
{
	(void)result;
	printf("Invitation %s is withdrawn.\n", clean_text(ctl_option(c, "withdraw")));
}

/* The token is made here, and authd gets its hash: who reads control calls cannot use it. */
static int make_invitation(struct ctl *c)
{
	const char *lifetime = ctl_option(c, "lifetime");
	uint8_t raw[TOKEN_BYTES], hash[SHA256_LEN];
	char token[2 * TOKEN_BYTES + 1], hash_text[2 * SHA256_LEN + 1];
	uint64_t lifetime_ms = 0;
	json_t *params, *reply = NULL;
	int r;

	if (lifetime && (text_parse_duration_ms(&lifetime_ms, lifetime) || lifetime_ms == 0))
		return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, "For example 30min, 12h or 7d.", "“%s” is no time", lifetime);
	if (lifetime_ms / 1000 > LIFETIME_MAX_DAYS * 86400)
		return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, NULL, "an invitation is good for %d days at most", LIFETIME_MAX_DAYS);
	if (crypto_init() != 0)
		return ctl_fail(c, EXIT_FAILED, ERROR_INTERNAL, NULL, "the cryptographic library does not start");
	random_bytes(raw, sizeof(raw));
	hex_format(token, raw, sizeof(raw));
	sha256(hash, token, strlen(token));
	hex_format(hash_text, hash, sizeof(hash));
	params = json_pack("{s:s, s:s?}", "hash", hash_text, "user", ctl_argument(c, 0));
	if (lifetime)
		json_object_set_new(params, "lifetime_s", json_integer((json_int_t)((lifetime_ms + 999) / 1000)));
	r = daemon_call(c, AUTHD, "Auth.Invite", params, &reply);
	if (r)
		return r;
	json_object_set_new(reply, "token", json_string(token));
	return ctl_result(c, reply, invite_text);
}

int cmd_auth_invite(struct ctl *c)
{
	const char *id = ctl_option(c, "withdraw");
	json_t *reply = NULL;
	int r;

	if (ctl_flag(c, "list") + (id != NULL) + (ctl_argument(c, 0) || ctl_option(c, "lifetime")) > 1)
		return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, "See “handfast help auth invite”.",
				"--list, --withdraw and a new invitation are three commands");
	if (ctl_flag(c, "list")) {
		r = list_all(c, "Auth.Invitations", NULL, "invitations", "id", &reply);
		return r ? r : ctl_result(c, reply, invitations_text);
	}
	if (!id)
		return make_invitation(c);
	r = daemon_call(c, AUTHD, "Auth.Withdraw", json_pack("{s:I}", "id", (json_int_t)strtoll(id, NULL, 10)), &reply);
	return r ? r : ctl_result(c, reply, withdrawn_text);
}

/* ---- users ---- */

static void users_text(const struct ctl *c, const json_t *result)
{
	static const char *const headings[] = { "USER", "STATE", "REGISTERED", "LAST LOGIN", "SESSIONS", "KEYS", NULL };
	const json_t *list = json_object_get(result, "users"), *one;
	struct table *t;
	size_t i;

	if (json_array_size(list) == 0) {
		printf("There is no user. Invite one: handfast auth invite\n");
		return;
	}
	t = table_new(headings);
	json_array_foreach(list, i, one) {
		bool disabled = json_is_true(json_object_get(one, "disabled"));
		char made[32], seen[32];

		table_cell(t, PAINT_BOLD, "%s", clean_member(one, "user"));
		table_cell(t, disabled ? PAINT_YELLOW : PAINT_PLAIN, "%s", disabled ? "disabled" : "enabled");
		table_cell(t, PAINT_PLAIN, "%s", time_text(made, one, "created_at"));
		table_cell(t, PAINT_PLAIN, "%s", time_text(seen, one, "seen_at"));
		table_cell(t, PAINT_PLAIN, "%lld", (long long)json_get_int(one, "sessions", 0));
		table_cell(t, PAINT_PLAIN, "%lld", (long long)json_get_int(one, "generation", 0));
	}
	table_print(t, stdout, &c->style);
}

static void user_done_text(const struct ctl *c, const json_t *result)
{
	(void)result;
	printf("%s is %sd.\n", clean_text(ctl_argument(c, 1)), action(c));
}

int cmd_auth_users(struct ctl *c)
{
	static const struct {
		const char *action, *method;
	} changes[] = { { "disable", "Auth.DisableUser" }, { "enable", "Auth.EnableUser" }, { "delete", "Auth.DeleteUser" } };
	const char *user = ctl_argument(c, 1);
	char question[256];
	json_t *reply = NULL;
	int r = check_option(c, "yes", "delete");

	if (r)
		return r;
	if (is_action(c, "list")) {
		if (user)
			return surplus(c);
		r = list_all(c, "Auth.Users", NULL, "users", "user", &reply);
		return r ? r : ctl_result(c, reply, users_text);
	}
	if (!user)
		return missing(c, "USER");
	snprintf(question, sizeof(question), "Delete %s, with all its sessions and notes?", clean_text(user));
	r = is_action(c, "delete") ? confirm(c, question) : EXIT_DONE;
	if (r)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		if (!is_action(c, changes[i].action))
			continue;
		r = daemon_call(c, AUTHD, changes[i].method, json_pack("{s:s}", "user", user), &reply);
		return r ? r : ctl_result(c, reply, user_done_text);
	}
	return missing(c, "another action");
}

/* ---- sessions ---- */

static void sessions_text(const struct ctl *c, const json_t *result)
{
	static const char *const headings[] = { "ID", "USER", "SINCE", "ENDS IN", "FROM", NULL };
	const json_t *list = json_object_get(result, "sessions"), *one;
	struct table *t;
	size_t i;

	if (json_array_size(list) == 0) {
		printf("Nobody is logged in.\n");
		return;
	}
	t = table_new(headings);
	json_array_foreach(list, i, one) {
		char since[32], left[32];

		left_text(left, json_get_int(one, "expires_at", 0) - clock_wall_s());
		table_cell(t, PAINT_BOLD, "%lld", (long long)json_get_int(one, "id", 0));
		table_cell(t, PAINT_PLAIN, "%s", clean_member(one, "user"));
		table_cell(t, PAINT_PLAIN, "%s", time_text(since, one, "created_at"));
		table_cell(t, PAINT_PLAIN, "%s", left);
		table_cell(t, PAINT_PLAIN, "%s", clean_member(one, "address"));
	}
	table_print(t, stdout, &c->style);
}

static void revoked_text(const struct ctl *c, const json_t *result)
{
	const char *user = ctl_option(c, "user");

	if (user)
		printf("%lld sessions of %s are ended.\n", (long long)json_get_int(result, "ended", 0), clean_text(user));
	else
		printf("Session %s is ended.\n", clean_text(ctl_argument(c, 1)));
}

int cmd_auth_sessions(struct ctl *c)
{
	const char *id = ctl_argument(c, 1), *user = ctl_option(c, "user");
	json_t *reply = NULL;
	int r;

	if (is_action(c, "list")) {
		if (id)
			return surplus(c);
		r = list_all(c, "Auth.Sessions", user ? json_pack("{s:s}", "user", user) : NULL, "sessions", "id", &reply);
		return r ? r : ctl_result(c, reply, sessions_text);
	}
	if (!id == !user)
		return missing(c, "either ID or --user USER");
	r = id ? daemon_call(c, AUTHD, "Auth.RevokeSession", json_pack("{s:I}", "id", (json_int_t)strtoll(id, NULL, 10)),
			     &reply) :
		 daemon_call(c, AUTHD, "Auth.RevokeSessions", json_pack("{s:s}", "user", user), &reply);
	return r ? r : ctl_result(c, reply, revoked_text);
}

/* ---- keys ---- */

static void keys_text(const struct ctl *c, const json_t *result)
{
	static const char *const headings[] = { "ID", "STATE", "MADE", "USERS", "STRETCHING", NULL };
	const json_t *list = json_object_get(result, "generations"), *one;
	int64_t all = 0, moved = 0;
	struct table *t = table_new(headings);
	size_t i;

	json_array_foreach(list, i, one) {
		bool newest = json_is_true(json_object_get(one, "newest"));
		char made[32], size[32];

		all += json_get_int(one, "users", 0);
		moved += newest ? json_get_int(one, "users", 0) : 0;
		text_format_size(size, sizeof(size), (uint64_t)json_get_int(one, "memory_kib", 0) * 1024);
		table_cell(t, PAINT_BOLD, "%lld", (long long)json_get_int(one, "id", 0));
		table_cell(t, newest ? PAINT_GREEN : PAINT_PLAIN, "%s", newest ? "newest" : "leaving");
		table_cell(t, PAINT_PLAIN, "%s", time_text(made, one, "created_at"));
		table_cell(t, PAINT_PLAIN, "%lld", (long long)json_get_int(one, "users", 0));
		table_cell(t, PAINT_PLAIN, "%s, %lld passes", size, (long long)json_get_int(one, "passes", 0));
	}
	table_print(t, stdout, &c->style);
	if (json_array_size(list) > 1)
		printf("\n%lld of %lld users have moved to the newest keys; the others do at their next login.\n",
		       (long long)moved, (long long)all);
}

static void rotated_text(const struct ctl *c, const json_t *result)
{
	(void)c;
	printf("Generation %lld is the newest. Users move to it at their next login: handfast auth keys list\n",
	       (long long)json_get_int(json_object_get(result, "generation"), "id", 0));
}

static void retired_text(const struct ctl *c, const json_t *result)
{
	(void)result;
	printf("Generation %s is gone.\n", clean_text(ctl_argument(c, 1)));
}

static int retire_keys(struct ctl *c, const char *id)
{
	char question[200];
	json_t *reply = NULL;
	int r;

	snprintf(question, sizeof(question), "Retire generation %s? Records made under it open nothing any more.",
		 clean_text(id));
	r = confirm(c, question);
	if (!r)
		r = daemon_call(c, AUTHD, "Auth.RetireKeys",
				json_pack("{s:I, s:b}", "id", (json_int_t)strtoll(id, NULL, 10), "force",
					  (int)ctl_flag(c, "force")),
				&reply);
	return r ? r : ctl_result(c, reply, retired_text);
}

int cmd_auth_keys(struct ctl *c)
{
	const char *id = ctl_argument(c, 1);
	json_t *reply = NULL;
	int r = check_option(c, "force", "retire");

	if (!r)
		r = check_option(c, "yes", "retire");
	if (r)
		return r;
	if (is_action(c, "retire"))
		return id ? retire_keys(c, id) : missing(c, "ID");
	if (id)
		return surplus(c);
	if (is_action(c, "rotate")) {
		r = daemon_call(c, AUTHD, "Auth.RotateKeys", NULL, &reply);
		return r ? r : ctl_result(c, reply, rotated_text);
	}
	r = daemon_call(c, AUTHD, "Auth.Keys", NULL, &reply);
	return r ? r : ctl_result(c, reply, keys_text);
}

/* ---- bans ---- */

static void bans_text(const struct ctl *c, const json_t *result)
{
	static const char *const headings[] = { "WHO", "KIND", "ATTEMPTS", "ENDS IN", NULL };
	const json_t *list = json_object_get(result, "bans"), *one;
	struct table *t;
	size_t i;

	if (json_array_size(list) == 0) {
		printf("Nobody is banned.\n");
		return;
	}
	t = table_new(headings);
	json_array_foreach(list, i, one) {
		const char *user = json_get_str(one, "user"), *address = json_get_str(one, "address");
		char left[32];

		text_format_duration(left, sizeof(left), (uint64_t)json_get_int(one, "left_ms", 0));
		if (user && address)
			table_cell(t, PAINT_BOLD, "%s at %s", clean_text(user), clean_member(one, "address"));
		else
			table_cell(t, PAINT_BOLD, "%s", user ? clean_text(user) : address ? clean_text(address) : "(no user's name)");
		table_cell(t, PAINT_PLAIN, "%s", clean_member(one, "kind"));
		table_cell(t, PAINT_PLAIN, "%lld", (long long)json_get_int(one, "attempts", 0));
		table_cell(t, PAINT_PLAIN, "%s", left);
	}
	table_print(t, stdout, &c->style);
}

static void lifted_text(const struct ctl *c, const json_t *result)
{
	(void)result;
	printf("The ban of %s is lifted.\n", clean_text(ctl_argument(c, 1)));
}

static bool is_address(const char *who)
{
	unsigned char raw[16];
	char text[64];

	snprintf(text, sizeof(text), "%.*s", (int)strcspn(who, "/"), who);
	return inet_pton(AF_INET, text, raw) == 1 || inet_pton(AF_INET6, text, raw) == 1;
}

int cmd_auth_bans(struct ctl *c)
{
	const char *who = ctl_argument(c, 1), *bits = who ? strchr(who, '/') : NULL;
	json_t *reply = NULL;
	int r = check_option(c, "user", "lift");

	if (r)
		return r;
	if (is_action(c, "list")) {
		if (who)
			return surplus(c);
		r = daemon_call(c, AUTHD, "Auth.Bans", NULL, &reply);
		return r ? r : ctl_result(c, reply, bans_text);
	}
	if (!who)
		return missing(c, "WHO");
	if (bits && is_address(who) && (strcmp(bits, "/64") != 0 || !strchr(who, ':')))
		return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, "“handfast auth bans” lists what is banned.",
				"bans are of one IPv4 address, or of a /64 of IPv6, not of %s", clean_text(who));
	r = daemon_call(c, AUTHD, "Auth.LiftBan",
			json_pack("{s:s}", is_address(who) && !ctl_flag(c, "user") ? "address" : "user", who), &reply);
	return r ? r : ctl_result(c, reply, lifted_text);
}
