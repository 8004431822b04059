/* What relayd.yaml may say, beyond what the table checks. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "relayd/config.h"
#include "unit/lib/test.h"

static char *write_file(const char *name, const char *text)
{
	char *path = path_join(test_tmpdir(), name);

	CHECK_EQ(file_write_atomic(path, text, strlen(text), 0600), 0);
	return path;
}

static int load(struct relayd_config **c, const char *text, struct config_error *err)
{
	char *path = write_file("relayd.yaml", text);
	int r = relayd_config_load(c, path, false, err);

	free(path);
	return r;
}

static void refused(const char *text, const char *because)
{
	struct config_error err = { "" };
	struct relayd_config *c = NULL;

	CHECK(load(&c, text, &err) < 0);
	if (!strstr(err.text, because))
		test_fail(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", err.text, because);
}

TEST(an_empty_file_gives_the_designs_limits)
{
	struct relayd_config *c = NULL;
	struct config_error err;

	CHECK_EQ(load(&c, "", &err), 0);
	CHECK_EQ(c->listen.n, 1);
	CHECK_STR(c->listen.v[0], "127.0.0.1:7117");
	CHECK_EQ(c->message_size, 16384);
	CHECK_EQ(c->message_depth, 10);
	CHECK_EQ(c->message_keys, 100);
	CHECK_EQ(c->messages_per_minute, 90);
	CHECK_EQ(c->message_burst, 30);
	CHECK_EQ(c->session_ttl_ms, 1800000);
	relayd_config_free(c);
}

TEST(addresses_and_origins_are_checked)
{
	refused("listen: [\"localhost:7117\"]\n", ":1:");
	refused("listen: [\"127.0.0.1\"]\n", ":1:");
	refused("listen: [\"::1:80\"]\n", ":1:");
	refused("listen: [\"127.0.0.1:65536\"]\n", ":1:");
	refused("origins:\n  allow: [\"example.org\"]\n", ":2:");
	refused("proxies: [\"127.0.0.1\", \"10.1.2.3/8\"]\n", ":1:");
	refused("proxies: [localhost]\n", ":1:");
	refused("origins:\n  allow: [\"https://example.org/x\"]\n", ":2:");
}

TEST(limits_that_contradict_each_other_are_refused)
{
	refused("limits:\n  waiting_size: 512KiB\n", "limits.unsent_size");
	refused("limits:\n  message_size: 1MiB\n", "limits.unsent_size");
}

TEST(tls_needs_both_files)
{
	refused("tls:\n  certificate: /nonexistent/a\n", "both");
	refused("tls:\n  certificate: /nonexistent/a\n  key: /nonexistent/b\n", "/nonexistent/a");
}

TEST(tls_files_are_looked_into)
{
	char *cert = write_file("cert.pem", "hello\n"), *key = write_file("key.pem", "hello\n");
	char text[8400];

	snprintf(text, sizeof(text), "tls:\n  certificate: %s\n  key: %s\n", cert, key);
	refused(text, "cert.pem holds no certificate");
	free(cert);
	free(key);
}

TEST(tokens_are_read_one_a_line)
{
	char *tokens = write_file("tokens", "# who\n0123456789abcdef\n\nfedcba9876543210\n");
	struct relayd_config *c = NULL;
	struct config_error err;
	char text[4200];

	snprintf(text, sizeof(text), "tokens_file: %s\n", tokens);
	CHECK_EQ(load(&c, text, &err), 0);
	CHECK(relayd_config_knows_token(c, "0123456789abcdef"));
	CHECK(relayd_config_knows_token(c, "fedcba9876543210"));
	CHECK(!relayd_config_knows_token(c, "0123456789abcdee"));
	CHECK(!relayd_config_knows_token(c, ""));
	CHECK(!relayd_config_knows_token(c, "# who"));
	relayd_config_free(c);
	free(tokens);
	free(write_file("tokens", "0123456789abcdef\nshort\n"));
	refused(text, "tokens:2: a token has");
}

TEST(origins_are_decided_explicitly)
{
	struct relayd_config *c = NULL;
	struct config_error err;

	CHECK_EQ(load(&c, "", &err), 0);
	CHECK(relayd_config_allows_origin(c, NULL));
	CHECK(!relayd_config_allows_origin(c, "null"));
	CHECK(!relayd_config_allows_origin(c, "https://example.org"));
	relayd_config_free(c);
	CHECK_EQ(load(&c, "origins:\n  absent: false\n  allow: [\"https://Example.org\", \"null\"]\n", &err), 0);
	CHECK(!relayd_config_allows_origin(c, NULL));
	CHECK(relayd_config_allows_origin(c, "null"));
	CHECK(relayd_config_allows_origin(c, "https://example.org"));
	CHECK(!relayd_config_allows_origin(c, "https://example.org.evil"));
	CHECK(!relayd_config_allows_origin(c, "http://example.org"));
	relayd_config_free(c);
}
