/* handfast auth register, login, logout, status: this user's own logins. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "crypto/secret.h"

#include "ctl/auth/auth.h"
#include "ctl/auth/logins.h"
#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/terminal.h"

_Static_assert(sizeof(((struct auth_session *)0)->user) == 72, "auth_user() writes one");

/* ---- register ---- */

static void register_text(const struct ctl *c, const json_t *result)
{
	(void)c;
	printf("%s is registered at %s.\nLog in: handfast auth login %s %s\n", clean_member(result, "user"),
	       clean_member(result, "url"), clean_member(result, "url"), clean_member(result, "user"));
}

/* Whoever was refused for want of an invitation is asked: a command line shows it to everybody on this machine. */
static int register_user(struct ctl *c, struct auth_target *t, const char *user, const struct secret *password,
			 char invitation[static AUTH_INVITATION_SPACE], struct failure *f)
{
	_cleanup_(auth_exchange_freep) struct auth_exchange *x = NULL, *again = NULL;
	int r = auth_begin(&x, t, true, user, password, *invitation ? invitation : NULL, f);

	if (!r || !x || *invitation || strcmp(auth_exchange_refusal(x)->code, "invitation") != 0 || !terminal_is_there())
		return r;
	*f = (struct failure){ 0 };
	r = auth_invitation(invitation, c, true, f);
	return r ? r : auth_begin(&again, t, true, user, password, invitation, f);
}

static int do_register(struct ctl *c, struct auth_target *t, struct failure *f)
{
	_cleanup_(secret_freep) struct secret *password = NULL;
	char user[72], invitation[AUTH_INVITATION_SPACE];
	int r = auth_user(user, ctl_argument(c, 1), f);

	if (!r)
		r = auth_invitation(invitation, c, false, f);
	if (!r)
		r = auth_password(&password, c, user, t, true, f);
	if (!r)
		r = register_user(c, t, user, password, invitation, f);
	wipe(invitation, sizeof(invitation));
	if (r)
		return r;
	return ctl_result(c, json_pack("{s:s, s:s}", "user", user, "url", ctl_argument(c, 0)), register_text);
}

int cmd_auth_register(struct ctl *c)
{
	_cleanup_(auth_target_done) struct auth_target t = { 0 };
	struct failure f = { 0 };
	int r = auth_target_open(&t, c, ctl_argument(c, 0), &f);

	if (!r)
		r = do_register(c, &t, &f);
	return f.exit ? ctl_fail_with(c, &f) : r;
}

/* ---- ending a session ---- */

/* One that is over there already is ended, too. */
static int end_session(const struct auth_target *t, struct auth_session *s, struct failure *f)
{
	_cleanup_json_ json_t *reply = NULL;
	unsigned int status = 0;
	int r = auth_ask(t, s, "POST", "/logout", NULL, &status, &reply, f);

	if (r)
		return r;
	if ((status >= 200 && status <= 299) || auth_is_over(status, reply))
		return EXIT_DONE;
	return auth_refused(t, status, reply, "cannot log out", f);
}

/* One that nobody can use any more. */
static void end_quietly(const struct auth_target *t, struct auth_session *s, const char *what)
{
	struct failure f = { 0 };

	if (end_session(t, s, &f))
		fprintf(stderr, "handfast: the %s session of %s could not be ended, and lives until it expires: %s\n", what, s->user,
			f.message);
}

/* ---- login ---- */

static const char *const stores[] = { [LOGIN_KEY_ANY] = "any", [LOGIN_KEY_KEYRING] = "keyring", [LOGIN_KEY_FILE] = "file" };

static enum login_key key_store(const struct ctl *c)
{
	const char *given = ctl_option(c, "key-store");

	for (size_t i = LOGIN_KEY_KEYRING; given && i < ARRAY_SIZE(stores); i++)
		if (strcmp(stores[i], given) == 0)
			return (enum login_key)i;
	return LOGIN_KEY_ANY;
}

static json_t *login_json(const struct auth_session *s)
{
	char url[512];

	snprintf(url, sizeof(url), "%s://%s%s", s->url.scheme, s->url.authority, s->url.prefix);
	return json_pack("{s:s, s:s, s:s, s:I, s:I}", "url", url, "origin", s->origin, "user", s->user, "since",
			 (json_int_t)s->created_s, "expires", (json_int_t)s->expires_s);
}

static void login_text(const struct ctl *c, const json_t *result)
{
	int64_t lives_s = json_get_int(result, "expires", 0) - json_get_int(result, "since", 0);
	char lives[32];

	(void)c;
	text_format_duration(lives, sizeof(lives), (uint64_t)(lives_s > 0 ? lives_s : 0) * 1000);
	printf("%s is logged in at %s for %s.\n", clean_member(result, "user"), clean_member(result, "url"), lives);
}

/* The server has new keys, and its old ones will go: now is when the password is at hand. */
static void renew(const struct auth_target *t, struct auth_session *s, const struct secret *password)
{
	struct failure f = { 0 };

	/* The login is good all the same; the next one tries again. */
	if (auth_renew(t, s, password, &f))
		fprintf(stderr, "handfast: the registration could not be renewed for the server's new keys: %s\n", f.message);
}

static int keep(struct ctl *c, const struct auth_target *t, struct auth_session *s, struct failure *f)
{
	_cleanup_(auth_session_freep) struct auth_session *earlier = NULL;
	int r = logins_save(s, key_store(c), &earlier, f);

	if (r)
		end_quietly(t, s, "new");
	else if (earlier)
		end_quietly(t, earlier, "earlier");
	return r;
}

static int do_login(struct ctl *c, struct auth_target *t, struct failure *f)
{
	_cleanup_(auth_exchange_freep) struct auth_exchange *x = NULL;
	_cleanup_(auth_session_freep) struct auth_session *s = NULL;
	_cleanup_(secret_freep) struct secret *password = NULL;
	char user[72];
	int r = auth_user(user, ctl_argument(c, 1), f);

	if (!r)
		r = logins_check(key_store(c), f);
	if (!r)
		r = auth_password(&password, c, user, t, false, f);
	if (!r)
		r = auth_begin(&x, t, false, user, password, NULL, f);
	if (r)
		return r;
	s = auth_exchange_take_session(x, clock_wall_s());
	if (!s)
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	if (auth_exchange_is_to_renew(x))
		renew(t, s, password);
	logins_tidy();
	r = keep(c, t, s, f);
	return r ? r : ctl_result(c, login_json(s), login_text);
}

int cmd_auth_login(struct ctl *c)
{
	_cleanup_(auth_target_done) struct auth_target t = { 0 };
	struct failure f = { 0 };
	int r = auth_target_open(&t, c, ctl_argument(c, 0), &f);

	if (!r)
		r = do_login(c, &t, &f);
	return f.exit ? ctl_fail_with(c, &f) : r;
}

/* ---- password ---- */

static void password_text(const struct ctl *c, const json_t *result)
{
	(void)c;
	printf("%s has a new password at %s. All other logins of it have ended.\n", clean_member(result, "user"),
	       clean_member(result, "url"));
}

static int do_password(struct ctl *c, struct auth_target *t, struct failure *f)
{
	_cleanup_(auth_session_freep) struct auth_session *s = NULL;
	_cleanup_(secret_freep) struct secret *password = NULL;
	const char *user = ctl_argument(c, 1);
	char canonical[72];
	int r = user ? auth_user(canonical, user, f) : EXIT_DONE;

	if (!r)
		r = logins_find(&s, &t->url, user ? canonical : NULL, f);
	if (r)
		return r;
	t->url = s->url;
	r = auth_password(&password, c, s->user, t, true, f);
	if (!r)
		r = auth_renew(t, s, password, f);
	return r ? r : ctl_result(c, login_json(s), password_text);
}

int cmd_auth_password(struct ctl *c)
{
	_cleanup_(auth_target_done) struct auth_target t = { 0 };
	struct failure f = { 0 };
	int r = auth_target_open(&t, c, ctl_argument(c, 0), &f);

	if (!r)
		r = do_password(c, &t, &f);
	return f.exit ? ctl_fail_with(c, &f) : r;
}

/* ---- logout ---- */

static void logout_text(const struct ctl *c, const json_t *result)
{
	bool expired = json_is_true(json_object_get(result, "expired"));

	(void)c;
	printf("%s is logged out of %s%s.\n", clean_member(result, "user"), clean_member(result, "url"),
	       expired						? "; the login had expired" :
	       json_is_true(json_object_get(result, "told")) ? "" :
								 " here; the server still has the session until it expires");
}

/* What has expired, or has lost its key, can be forgotten all the same. */
static int find_to_end(struct auth_session **out, const struct ctl *c, const struct auth_target *t, const char *user,
		       struct failure *f)
{
	_cleanup_(auth_session_freep) struct auth_session *s = NULL;
	int r = logins_look(&s, &t->url, user, f);

	if (r)
		return r;
	if (ctl_flag(c, "local") || login_is_expired(s) || s->key) {
		*out = steal(&s);
		return EXIT_DONE;
	}
	r = logins_find(out, &t->url, user, f);
	return r ? failure_set(f, (enum exit_code)r, f->code, "To forget it here alone: --local.", "%s", f->message) : r;
}

static int do_logout(struct ctl *c, struct auth_target *t, struct failure *f)
{
	_cleanup_(auth_session_freep) struct auth_session *s = NULL;
	const char *user = ctl_argument(c, 1);
	char canonical[72];
	bool tells;
	json_t *result;
	int r = user ? auth_user(canonical, user, f) : EXIT_DONE;

	if (!r)
		r = find_to_end(&s, c, t, user ? canonical : NULL, f);
	if (r)
		return r;
	t->url = s->url;
	tells = !ctl_flag(c, "local") && !login_is_expired(s);
	if (tells) {
		r = end_session(t, s, f);
		if (r)
			return failure_set(f, f->exit, f->code, "To forget it here alone: --local.", "%s", f->message);
	}
	logins_forget(s);
	result = login_json(s);
	json_object_set_new(result, "told", json_boolean(tells));
	json_object_set_new(result, "expired", json_boolean(login_is_expired(s)));
	return ctl_result(c, result, logout_text);
}

int cmd_auth_logout(struct ctl *c)
{
	_cleanup_(auth_target_done) struct auth_target t = { 0 };
	struct failure f = { 0 };
	int r = auth_target_open(&t, c, ctl_argument(c, 0), &f);

	if (!r)
		r = do_logout(c, &t, &f);
	return f.exit ? ctl_fail_with(c, &f) : r;
}

/* ---- status ---- */

static void add_login(const struct auth_session *s, enum login_key where, bool has_key, void *arg)
{
	json_t *one = login_json(s);

	json_object_set_new(one, "key", json_string(login_is_expired(s) ? "expired" : has_key ? stores[where] : "gone"));
	json_array_append_new(arg, one);
}

static void expiry_format(char out[static 40], const json_t *login)
{
	int64_t left_s = json_get_int(login, "expires", 0) - clock_wall_s();

	if (left_s > 0)
		text_format_duration(out, 40, (uint64_t)left_s * 1000);
	else
		snprintf(out, 40, "expired");
}

static void list_text(const struct ctl *c, const json_t *result)
{
	static const char *const headings[] = { "SERVER", "USER", "ENDS IN", "KEY", NULL };
	const json_t *logins = json_object_get(result, "logins"), *one;
	struct table *t;
	size_t i;

	if (json_array_size(logins) == 0) {
		printf("You are logged in nowhere.\n");
		return;
	}
	t = table_new(headings);
	json_array_foreach(logins, i, one) {
		char left[40];

		expiry_format(left, one);
		table_cell(t, PAINT_BOLD, "%s", clean_member(one, "url"));
		table_cell(t, PAINT_PLAIN, "%s", clean_member(one, "user"));
		table_cell(t, strcmp(left, "expired") == 0 ? PAINT_DIM : PAINT_PLAIN, "%s", left);
		table_cell(t, PAINT_PLAIN, "%s", strcmp(left, "expired") == 0 ? "-" : clean_member(one, "key"));
	}
	table_print(t, stdout, &c->style);
}

static int list_logins(struct ctl *c)
{
	struct failure f = { 0 };
	json_t *logins = json_array();
	int r;

	logins_tidy();
	r = logins_each(add_login, logins, &f);

	if (!r)
		return ctl_result(c, json_pack("{s:o}", "logins", logins), list_text);
	json_decref(logins);
	return ctl_fail_with(c, &f);
}

static void session_text(const struct ctl *c, const json_t *result)
{
	const json_t *server = json_object_get(result, "server");
	int64_t left_s = json_get_int(server, "expires_in_s", -1);
	char left[40];

	fact(stdout, &c->style, "server", "%s", clean_member(result, "url"));
	fact(stdout, &c->style, "user", "%s", clean_member(result, "user"));
	if (left_s >= 0)
		text_format_duration(left, sizeof(left), (uint64_t)left_s * 1000);
	else
		expiry_format(left, result);
	fact(stdout, &c->style, "ends in", "%s", left);
}

static int ask_session(struct ctl *c, struct auth_target *t, struct failure *f)
{
	_cleanup_(auth_session_freep) struct auth_session *s = NULL;
	_cleanup_json_ json_t *reply = NULL;
	const char *user = ctl_argument(c, 1);
	unsigned int status = 0;
	char canonical[72];
	json_t *result;
	int r = user ? auth_user(canonical, user, f) : EXIT_DONE;

	if (!r)
		r = logins_find(&s, &t->url, user ? canonical : NULL, f);
	if (r)
		return r;
	t->url = s->url;
	r = auth_ask(t, s, "GET", "/session", NULL, &status, &reply, f);
	if (r)
		return r;
	if (status != 200 || !reply)
		return auth_refused(t, status, reply, "no session", f);
	result = login_json(s);
	json_object_set(result, "server", reply);
	return ctl_result(c, result, session_text);
}

/* The list asks no server. */
static int check_options(struct ctl *c)
{
	static const char *const of_servers[] = { "ca", "unix-socket", "plain-http" };

	for (size_t i = 0; i < ARRAY_SIZE(of_servers); i++)
		if (ctl_option(c, of_servers[i]))
			return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, "See “handfast help auth status”.",
					"--%s says how to reach a server, and none is named", of_servers[i]);
	return EXIT_DONE;
}

int cmd_auth_status(struct ctl *c)
{
	_cleanup_(auth_target_done) struct auth_target t = { 0 };
	struct failure f = { 0 };
	int r;

	if (!ctl_argument(c, 0)) {
		r = check_options(c);
		return r ? r : list_logins(c);
	}
	r = auth_target_open(&t, c, ctl_argument(c, 0), &f);
	if (!r)
		r = ask_session(c, &t, &f);
	return f.exit ? ctl_fail_with(c, &f) : r;
}
