/* What of `handfast auth` needs no server: header lines, and logins on disk. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
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

/* Kept; no earlier one. */
static void save(const struct auth_session *s, enum login_key where)
{
	struct auth_session *earlier = NULL;
	struct failure f = { 0 };

	CHECK_EQ(logins_save(s, where, &earlier, &f), EXIT_DONE);
	CHECK(!earlier);
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

	home();
	find("https://one.example", NULL, EXIT_NO_SUCH);
	save(a, where);
	save(c, where);
	found = find("https://one.example", NULL, EXIT_DONE);
	CHECK_STR(found->id, a->id);
	CHECK(secret_equal(found->key, secret_bytes(a->key), secret_len(a->key)));
	auth_session_free(found);
	save(b, where);
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
	struct auth_session *earlier = NULL;
	struct failure f = { 0 };
	int r;

	home();
	r = logins_save(s, LOGIN_KEY_KEYRING, &earlier, &f);
	logins_forget(s);
	if (r)
		test_skip("no keyring here: %s", f.message);
	keep_and_find(LOGIN_KEY_KEYRING);
}

TEST(later_login_takes_the_place_and_the_key_of_an_earlier)
{
	_cleanup_(auth_session_freep) struct auth_session *a = login("https://one.example", "anna");
	_cleanup_(auth_session_freep) struct auth_session *b = login("https://one.example", "anna");
	_cleanup_(auth_session_freep) struct auth_session *found = NULL, *earlier = NULL;
	struct failure f = { 0 };

	home();
	save(a, LOGIN_KEY_FILE);
	CHECK_EQ(logins_save(b, LOGIN_KEY_ANY, &earlier, &f), EXIT_DONE);
	/* With its key: whoever logs in again ends it at the server. */
	CHECK(earlier && earlier->key);
	CHECK_STR(earlier->id, a->id);
	CHECK(secret_equal(earlier->key, secret_bytes(a->key), secret_len(a->key)));
	found = find("https://one.example", NULL, EXIT_DONE);
	CHECK_STR(found->id, b->id);
	CHECK(secret_equal(found->key, secret_bytes(b->key), secret_len(b->key)));
	logins_forget(b);
}

static int in_home(const char *command)
{
	char text[600];

	snprintf(text, sizeof(text), "cd '%s/handfast/logins' && %s", getenv("XDG_STATE_HOME"), command);
	return system(text);
}

TEST(login_that_cannot_be_kept_leaves_the_earlier_whole)
{
	static const enum login_key where[] = { LOGIN_KEY_FILE, LOGIN_KEY_ANY };

	home();
	signal(SIGXFSZ, SIG_IGN);
	for (size_t i = 0; i < sizeof(where) / sizeof(*where); i++) {
		_cleanup_(auth_session_freep) struct auth_session *a = login("https://one.example", "anna");
		_cleanup_(auth_session_freep) struct auth_session *b = login("https://one.example", "anna");
		_cleanup_(auth_session_freep) struct auth_session *found = NULL;
		struct auth_session *earlier = NULL;
		struct failure f = { 0 };
		struct rlimit all, little;

		save(a, where[i]);
		CHECK_EQ(in_home("ls >../before"), 0);
		CHECK_EQ(getrlimit(RLIMIT_FSIZE, &all), 0);
		/* Enough for a key, and not for a login. */
		little = (struct rlimit){ 64, all.rlim_max };
		CHECK_EQ(setrlimit(RLIMIT_FSIZE, &little), 0);
		CHECK(logins_check(where[i], &f) != EXIT_DONE);
		CHECK(logins_save(b, where[i], &earlier, &f) != EXIT_DONE);
		CHECK_EQ(setrlimit(RLIMIT_FSIZE, &all), 0);
		CHECK(!earlier);
		CHECK_EQ(in_home("ls | cmp - ../before"), 0);
		found = find("https://one.example", NULL, EXIT_DONE);
		CHECK_STR(found->id, a->id);
		CHECK(secret_equal(found->key, secret_bytes(a->key), secret_len(a->key)));
		CHECK_EQ(logins_check(where[i], &f), EXIT_DONE);
		CHECK_EQ(in_home("ls -A | cmp - ../before"), 0);
		logins_forget(a);
	}
}

TEST(key_that_a_kill_left_is_nobodys_and_goes)
{
	_cleanup_(auth_session_freep) struct auth_session *a = login("https://one.example", "anna");
	_cleanup_(auth_session_freep) struct auth_session *b = login("https://one.example", "anna");
	_cleanup_(auth_session_freep) struct auth_session *found = NULL, *earlier = NULL;
	struct failure f = { 0 };

	home();
	save(a, LOGIN_KEY_FILE);
	/* Killed between the next login's key and the login. */
	CHECK_EQ(in_home("head -c 32 /dev/urandom >$(basename *.json .json).0123456789abcdef0123456789abcdef.key && chmod 600 *"), 0);
	found = find("https://one.example", NULL, EXIT_DONE);
	CHECK(secret_equal(found->key, secret_bytes(a->key), secret_len(a->key)));
	CHECK_EQ(logins_save(b, LOGIN_KEY_FILE, &earlier, &f), EXIT_DONE);
	CHECK_EQ(in_home("test $(ls | wc -l) = 2"), 0);
	logins_forget(b);
	CHECK_EQ(in_home("test $(ls | wc -l) = 0"), 0);
}

TEST(expired_logins_are_told_forgotten_and_in_nobodys_way)
{
	_cleanup_(auth_session_freep) struct auth_session *a = login("https://one.example", "anna");
	_cleanup_(auth_session_freep) struct auth_session *b = login("https://one.example", "berta");
	_cleanup_(auth_session_freep) struct auth_session *found = NULL, *looked = NULL;
	struct auth_url url;
	struct failure f = { 0 };

	home();
	a->expires_s = clock_wall_s() - 5;
	save(a, LOGIN_KEY_FILE);
	CHECK_EQ(auth_url_parse(&url, "https://one.example"), 0);
	CHECK_EQ(logins_find(&found, &url, NULL, &f), EXIT_NO_SUCH);
	CHECK(strstr(f.message, "expired"));
	CHECK_EQ(logins_look(&looked, &url, NULL, &f), EXIT_DONE);
	CHECK_STR(looked->user, "anna");
	save(b, LOGIN_KEY_FILE);
	found = find("https://one.example", NULL, EXIT_DONE);
	CHECK_STR(found->user, "berta");
	/* One that has just expired is told of; one of the day before yesterday is gone. */
	logins_tidy();
	CHECK_EQ(in_home("test $(ls *.json | wc -l) = 2"), 0);
	a->expires_s = clock_wall_s() - 2 * 86400;
	save(a, LOGIN_KEY_FILE);
	logins_tidy();
	CHECK_EQ(in_home("test $(ls *.json | wc -l) = 1"), 0);
	logins_forget(b);
}

TEST(what_a_server_says_cannot_steer_a_terminal)
{
	static const char said[] = "a\tb\n\x1b]0;x\x07\x1b[2J\xc2\x9b" "31m\xc3\xa4\r\n\x7f";
	char *text = NULL;
	size_t len = 0;

	/* Whole, and byte by byte, as it may come. */
	for (int parts = 0; parts < 2; parts++) {
		FILE *to = open_memstream(&text, &len);
		unsigned char last = 0;

		CHECK(to);
		for (size_t i = 0; i < strlen(said); i += parts ? 1 : strlen(said))
			CHECK(transport_write_clean(to, said + i, parts ? 1 : strlen(said), &last));
		CHECK_EQ(fclose(to), 0);
		CHECK_STR(text, parts ? "a\tb\n?]0;x??[2J\xc2?31m\xc3\xa4?\n?" : "a\tb\n?]0;x??[2J\xc2?31m\xc3\xa4\n?");
		free(text);
	}
}

TEST(i5_files_of_a_login_are_its_owners_alone)
{
	_cleanup_(auth_session_freep) struct auth_session *s = login("https://one.example", "anna");
	char command[600];

	home();
	umask(0);
	save(s, LOGIN_KEY_FILE);
	snprintf(command, sizeof(command),
		 "cd '%s/handfast/logins' && test $(stat -c %%a .) = 700 && test \"$(stat -c %%a * | sort -u)\" = 600 && "
		 "test $(ls | wc -l) = 2 && chmod 640 *.key",
		 getenv("XDG_STATE_HOME"));
	CHECK_EQ(system(command), 0);
	find("https://one.example", NULL, EXIT_NO_SUCH);
	logins_forget(s);
}
