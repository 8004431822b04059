/* What of `handfast auth` needs no server: header lines, and logins on disk. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/session.h"
#include "base/clock.h"
#include "crypto/secret.h"
#include "ctl/auth/logins.h"
#include "ctl/auth/transport.h"
#include "unit/lib/test.h"

TEST(header_lines_are_a_token_a_colon_and_no_control_characters)
{
	static const char *const good[] = { "A: b", "A:", "X-Y_z: \t b", "Accept:text/plain", "A: \xc3\xa4" };
	static const char *const bad[] = { "", ":", ": a", "A", "A b: c", "A : b", "A: b\r\nC: d", "A: b\nC: d", "A: \x7f", "A\n: b", "\"A\": b" };

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		CHECK(transport_field_is_right(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CHECK(!transport_field_is_right(bad[i]));
}

/* A login of this user at this server, whose key is known; each with an id of its own. */
static struct auth_session *login(const char *url, const char *user)
{
	struct auth_session *s = NULL;
	struct secret *opaque_key = NULL;
	static int n;
	char id[64];

	CHECK(crypto_init() == 0);
	CHECK(secret_random(&opaque_key, 64) == 0);
	snprintf(id, sizeof(id), "test-%d-%d-%lld", (int)getpid(), n++, (long long)clock_now_us());
	CHECK(auth_session_new(&s, id, opaque_key) == 0);
	secret_free(opaque_key);
	CHECK(auth_url_parse(&s->url, url) == 0);
	auth_url_origin(s->origin, &s->url);
	snprintf(s->user, sizeof(s->user), "%s", user);
	s->created_s = clock_wall_s();
	s->expires_s = s->created_s + 600;
	return s;
}

static struct auth_session *find(const char *url, const char *user, int code)
{
	struct auth_session *s = NULL;
	struct failure f = { 0 };
	struct auth_url u;

	CHECK(auth_url_parse(&u, url) == 0);
	CHECK_EQ(logins_find(&s, &u, user, &f), code);
	CHECK((s != NULL) == (code == EXIT_DONE));
	return s;
}

static void home(void)
{
	CHECK(setenv("XDG_STATE_HOME", test_tmpdir(), 1) == 0);
}

static void keep_and_find(enum login_key where)
{
	_cleanup_(auth_session_freep) struct auth_session *a = login("https://one.example", "anna");
	_cleanup_(auth_session_freep) struct auth_session *b = login("https://one.example", "berta");
	_cleanup_(auth_session_freep) struct auth_session *c = login("https://two.example/auth", "anna");
	_cleanup_(auth_session_freep) struct auth_session *found = NULL;
	struct failure f = { 0 };

	home();
	find("https://one.example", NULL, EXIT_NO_SUCH);
	CHECK_EQ(logins_save(a, where, &f), EXIT_DONE);
	CHECK_EQ(logins_save(c, where, &f), EXIT_DONE);
	found = find("https://one.example", NULL, EXIT_DONE);
	CHECK_STR(found->id, a->id);
	CHECK(secret_equal(found->key, secret_bytes(a->key), secret_len(a->key)));
	auth_session_free(found);
	CHECK_EQ(logins_save(b, where, &f), EXIT_DONE);
	/* Two users there: which? */
	found = find("https://one.example", NULL, EXIT_USAGE);
	found = find("https://one.example", "berta", EXIT_DONE);
	CHECK_STR(found->id, b->id);
	auth_session_free(found);
	/* The server alone, or with its prefix; not another prefix, scheme or port. */
	found = find("https://two.example", "anna", EXIT_DONE);
	auth_session_free(found);
	found = find("https://two.example/auth", "anna", EXIT_DONE);
	CHECK_STR(found->id, c->id);
	auth_session_free(found);
	found = find("https://two.example/other", "anna", EXIT_NO_SUCH);
	found = find("http://two.example", "anna", EXIT_NO_SUCH);
	found = find("https://two.example:444", "anna", EXIT_NO_SUCH);
	logins_forget(a);
	found = find("https://one.example", "anna", EXIT_NO_SUCH);
	logins_forget(b);
	logins_forget(c);
}

TEST(logins_are_found_by_server_and_user)
{
	keep_and_find(LOGIN_KEY_FILE);
}

TEST(logins_are_found_with_their_keys_in_the_keyring)
{
	_cleanup_(auth_session_freep) struct auth_session *s = login("https://one.example", "anna");
	struct failure f = { 0 };
	int r;

	home();
	r = logins_save(s, LOGIN_KEY_KEYRING, &f);
	logins_forget(s);
	if (r)
		test_skip("no keyring here: %s", f.message);
	keep_and_find(LOGIN_KEY_KEYRING);
}

TEST(later_login_takes_the_place_and_the_key_of_an_earlier)
{
	_cleanup_(auth_session_freep) struct auth_session *a = login("https://one.example", "anna");
	_cleanup_(auth_session_freep) struct auth_session *b = login("https://one.example", "anna");
	_cleanup_(auth_session_freep) struct auth_session *found = NULL;
	struct failure f = { 0 };

	home();
	CHECK_EQ(logins_save(a, LOGIN_KEY_FILE, &f), EXIT_DONE);
	CHECK_EQ(logins_save(b, LOGIN_KEY_ANY, &f), EXIT_DONE);
	found = find("https://one.example", NULL, EXIT_DONE);
	CHECK_STR(found->id, b->id);
	CHECK(secret_equal(found->key, secret_bytes(b->key), secret_len(b->key)));
	logins_forget(b);
}

TEST(i5_files_of_a_login_are_its_owners_alone)
{
	_cleanup_(auth_session_freep) struct auth_session *s = login("https://one.example", "anna");
	struct failure f = { 0 };
	char command[600];

	home();
	umask(0);
	CHECK_EQ(logins_save(s, LOGIN_KEY_FILE, &f), EXIT_DONE);
	snprintf(command, sizeof(command),
		 "cd '%s/handfast/logins' && test $(stat -c %%a .) = 700 && test \"$(stat -c %%a * | sort -u)\" = 600 && "
		 "test $(ls | wc -l) = 2 && chmod 640 *.key",
		 getenv("XDG_STATE_HOME"));
	CHECK_EQ(system(command), 0);
	find("https://one.example", NULL, EXIT_NO_SUCH);
	logins_forget(s);
}
