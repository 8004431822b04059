/* What authd.yaml may say, beyond what the table checks. */
#include "authd/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "http/http_server.h"
#include "unit/lib/test.h"

static int load(struct authd_config **c, const char *text, struct config_error *err)
{
	char *path = path_join(test_tmpdir(), "authd.yaml");
	int r;

	CHECK_EQ(file_write_atomic(path, text, strlen(text), 0600), 0);
	r = authd_config_load(c, path, false, err);
	free(path);
	return r;
}

static struct authd_config *taken(const char *text)
{
	struct config_error err = { "" };
	struct authd_config *c = NULL;

	if (load(&c, text, &err))
		test_fail(__FILE__, __LINE__, "%s: %s", text, err.text);
	return c;
}

static void refused(const char *text, const char *where, const char *because)
{
	struct config_error err = { "" };
	struct authd_config *c = NULL;

	CHECK(load(&c, text, &err) < 0);
	CHECK(c == NULL);
	if (!strstr(err.text, "authd.yaml:") || !strstr(err.text, where) || !strstr(err.text, because))
		test_fail(__FILE__, __LINE__, "\"%s\" does not say \"%s\" and \"%s\"", err.text, where, because);
}

static void origin_is(const char *text, const char *origin)
{
	struct authd_config *c = taken(text);

	CHECK_STR(c->origin, origin);
	authd_config_free(c);
}

TEST(an_empty_file_gives_what_the_manual_says)
{
	struct authd_config *c = taken("");

	CHECK_EQ(c->listen.n, 1);
	CHECK_STR(c->listen.v[0], "127.0.0.1:7150");
	CHECK_STR(c->origin, "http://127.0.0.1:7150");
	CHECK_STR(c->prefix, "");
	CHECK_STR(authd_registration_name(c->registration), "invitation");
	CHECK_EQ(c->session_ttl_ms, 12 * 3600 * 1000);
	CHECK_EQ(c->pop_window_ms, 30000);
	CHECK_EQ(c->argon2id_memory, 64 << 20);
	CHECK(authd_config_missing(c) == NULL);
	authd_config_free(c);
}

TEST(an_absent_file_is_an_empty_one_where_that_is_allowed)
{
	struct config_error err = { "" };
	struct authd_config *c = NULL;

	CHECK_EQ(authd_config_load(&c, "/no/such/authd.yaml", true, &err), 0);
	authd_config_free(c);
	c = NULL;
	CHECK(authd_config_load(&c, "/no/such/authd.yaml", false, &err) < 0);
	CHECK(c == NULL && strstr(err.text, "/no/such/authd.yaml"));
}

TEST(the_origin_follows_from_the_first_address_where_clients_can_call_it_so)
{
	origin_is("listen: [\"127.0.0.1:80\"]\n", "http://127.0.0.1");
	origin_is("listen: [\"[::1]:7150\", \"*:7151\"]\n", "http://[::1]:7150");
	origin_is("listen: [\"*:7150\"]\norigin: https://login.example.org\n", "https://login.example.org");
	origin_is("listen: [\"/run/x.sock\"]\norigin: http://localhost\n", "http://localhost");
	origin_is("listen: []\n", "http://127.0.0.1:7150");
	refused("listen: [\"*:7150\"]\n", "", "by which nobody calls this service");
	refused("listen: [\"0.0.0.0:7150\"]\n", "", "by which nobody calls this service");
	refused("listen: [\"[::]:7150\"]\n", "", "by which nobody calls this service");
	refused("listen: [\"/run/x.sock\"]\n", "", "origin must say how clients do");
}

TEST(origins_are_as_browsers_send_them)
{
	static const char *const bad[] = { "login.example.org", "ftp://example.org", "https://Example.org", "https://example.org/",
					   "https://example.org:443", "http://example.org:80", "https://user@example.org",
					   "https://", "https://example.org:0", "https://example.org?x", "null" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		char text[200];

		snprintf(text, sizeof(text), "origin: \"%s\"\n", bad[i]);
		refused(text, ":1:", "an origin as browsers send it");
		if (strcmp(bad[i], "null") == 0)
			continue;
		snprintf(text, sizeof(text), "origins: [\"%s\"]\n", bad[i]);
		refused(text, ":1:", "an origin as browsers send it");
	}
}

TEST(pages_of_listed_origins_may_change_things)
{
	struct authd_config *c = taken("origin: https://a.example\norigins: [\"https://b.example\", \"null\"]\n");

	CHECK(authd_config_allows_origin(c, "https://a.example"));
	CHECK(authd_config_allows_origin(c, "https://b.example"));
	CHECK(authd_config_allows_origin(c, "null"));
	CHECK(!authd_config_allows_origin(c, "http://a.example"));
	CHECK(!authd_config_allows_origin(c, "https://a.example:444"));
	CHECK(!authd_config_allows_origin(c, ""));
	authd_config_free(c);
}

TEST(wrong_values_are_told_with_their_line)
{
	refused("listen: [\"localhost:7150\"]\n", ":1:", "an address and a port");
	refused("listen: [\"127.0.0.1\"]\n", ":1:", "an address and a port");
	refused("listen: [\"relative.sock\"]\n", ":1:", "an address and a port");
	refused("# one\nprefix: auth\n", ":2:", "a path that begins with /");
	refused("prefix: /auth/\n", ":1:", "a path that begins with /");
	refused("prefix: \"/a b\"\n", ":1:", "a path that begins with /");
	refused("proxies: [example.org]\n", ":1:", "");
	refused("private_networks: [10.0.0.0/33]\n", ":1:", "");
	refused("registration: maybe\n", ":1:", "invitation");
	refused("pop:\n  timestamps: sometimes\n", ":2:", "kernel");
	refused("argon2id:\n  memory: 1MiB\n", ":2:", "");
	refused("argon2id:\n  passes: 1\n", ":2:", "");
	refused("argon2id:\n  memory: 1GiB\n  passes: 5\n", "", "argon2id.memory times argon2id.passes");
	refused("session_ttl: 1s\n", ":1:", "");
	refused("bans:\n  proofs_per_address: 0\n", ":2:", "");
	refused("limits:\n  body: 1KiB\n", ":2:", "");
	refused("no_such_key: 1\n", ":1:", "no_such_key");
	refused("bans:\n  first: 10min\n  longest: 5min\n", "", "bans.longest is shorter than bans.first");
}

TEST(tls_takes_both_files_and_says_which_is_wrong)
{
	refused("tls:\n  certificate: /no/such.pem\n", "", "tls needs both certificate and key");
	refused("tls:\n  key: /no/such.key\n", "", "tls needs both certificate and key");
	refused("tls:\n  certificate: such.pem\n  key: /no/such.key\n", ":2:", "a path from the root on");
}

TEST(limits_reach_the_server)
{
	struct authd_config *c = taken("limits:\n  body: 4KiB\n  connections: 17\n  connections_per_address: 3\n  request_timeout: 2s\n");
	struct http_limits limits;

	authd_config_http_limits(c, &limits);
	CHECK_EQ(limits.max_body, 4096);
	CHECK_EQ(limits.max_connections, 17);
	CHECK_EQ(limits.max_connections_per_address, 3);
	CHECK_EQ(limits.header_timeout_ms, 2000);
	CHECK_EQ(limits.body_timeout_ms, 2000);
	authd_config_free(c);
}
