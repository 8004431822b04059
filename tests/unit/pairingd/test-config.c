/* config.c: what pairingd.yaml may say. */
#include "unit/lib/test.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "pairingd/config.h"

static int parse(struct pairingd_config *c, const char *text, struct config_error *e)
{
	memset(c, 0, sizeof(*c));
	return config_parse(&pairingd_config_schema, c, "pairingd.yaml", text, strlen(text), e);
}

TEST(an_empty_file_is_the_defaults)
{
	struct pairingd_config c;
	struct config_error e;

	CHECK_EQ(parse(&c, "", &e), 0);
	CHECK(!c.device_name && !c.relay && !c.relay_ca);
	CHECK_STR(c.minimum_profile, "v40-spake2-x25519");
	CHECK_EQ(c.tunnel_port_base, 7200);
	CHECK_EQ(c.identity_users.n, 2);
	CHECK_STR(c.identity_users.v[0], "handfast-psk");
	CHECK_EQ(c.join_ms, 30 * 60 * 1000);
	config_done(&pairingd_config_schema, &c);
}

TEST(every_option_can_be_set)
{
	struct pairingd_config c;
	struct config_error e;

	CHECK_EQ(parse(&c,
		       "device_name: laptop\nrelay: wss://relay.example.org\nrelay_ca: /etc/ca.pem\n"
		       "minimum_profile: v40-spake2-x25519\ntunnel_port_base: 9000\n"
		       "identity_users: [me]\ndeadlines:\n  secret: 1min\n  relay: 2s\n  join: 1h\n"
		       "  step: 10s\n  compare: 90s\n",
		       &e),
		 0);
	CHECK_STR(c.relay, "wss://relay.example.org");
	CHECK_EQ(c.sas_ms, 90000);
	CHECK_EQ(c.identity_users.n, 1);
	config_done(&pairingd_config_schema, &c);
}

TEST(wrong_values_are_refused_with_their_place)
{
	static const char *const cases[] = {
		"device_name: -x\n",	      "device_name: a b\n",
		"relay: ftp://x\n",	      "relay: \"\"\n",
		"relay_ca: relative.pem\n",   "relay_token_file: relative\n",
		"minimum_profile: v39-none\n",
		"tunnel_port_base: 0\n",      "tunnel_port_base: 70000\n",
		"identity_users: me\n",	      "identity_users: [\"a b\"]\n",
		"deadlines:\n  secret: 0s\n", "deadlines:\n  step: 2d\n",
		"deadlines:\n  other: 2s\n",  "pin: 123456\n",
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct pairingd_config c;
		struct config_error e = { "" };

		if (parse(&c, cases[i], &e) == 0)
			test_fail(__FILE__, __LINE__, "accepted: %s", cases[i]);
		CHECK(strncmp(e.text, "pairingd.yaml:", 14) == 0);
	}
}

TEST(authorities_that_are_none_are_refused)
{
	_cleanup_free_ char *config = path_join(test_tmpdir(), "pairingd.yaml"), *ca = path_join(test_tmpdir(), "ca.pem");
	struct pairingd_config *c = NULL;
	struct config_error e = { "" };
	char text[4200];

	snprintf(text, sizeof(text), "relay_ca: %s\n", ca);
	CHECK_EQ(file_write_atomic(config, text, strlen(text), 0600), 0);
	CHECK(pairingd_config_load(&c, config, false, &e) < 0);
	CHECK(strstr(e.text, "ca.pem: No such file"));
	CHECK_EQ(file_write_atomic(ca, "hello\n", 6, 0600), 0);
	CHECK(pairingd_config_load(&c, config, false, &e) < 0);
	CHECK(strstr(e.text, "ca.pem holds no certificate"));
}

/* ---- the relay's token ---- */

static int load_with_token(struct pairingd_config **out, const char *relay, const char *token, struct config_error *e)
{
	_cleanup_free_ char *config = path_join(test_tmpdir(), "pairingd.yaml"), *file = path_join(test_tmpdir(), "token");
	char text[4400];

	CHECK_EQ(file_write_atomic(file, token, strlen(token), 0600), 0);
	snprintf(text, sizeof(text), "%s%s%srelay_token_file: %s\n", relay ? "relay: \"" : "", relay ? relay : "",
		 relay ? "\"\n" : "", file);
	CHECK_EQ(file_write_atomic(config, text, strlen(text), 0600), 0);
	return pairingd_config_load(out, config, false, e);
}

#define TOKEN "0123456789abcdef"

TEST(token_is_shown_to_its_relay_alone)
{
	static const char *const others[] = { "ws://relay.example.org:7117", "wss://relay.example.org:444", "wss://relay.example.or",
					      "wss://relay.example.org.evil.example", "wss://evil.example", "" };
	_cleanup_(pairingd_config_freep) struct pairingd_config *c = NULL;
	struct config_error e;

	CHECK_EQ(load_with_token(&c, "wss://relay.example.org/", "# ours\n\n" TOKEN "\n", &e), 0);
	CHECK_STR(pairingd_config_token(c, "wss://relay.example.org"), TOKEN);
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		CHECK(!pairingd_config_token(c, others[i]));
}

static void token_refused(const char *relay, const char *token, const char *because)
{
	_cleanup_(pairingd_config_freep) struct pairingd_config *c = NULL;
	struct config_error e = { "" };

	CHECK(load_with_token(&c, relay, token, &e) < 0);
	if (!strstr(e.text, because) || strstr(e.text, "abcdef"))
		test_fail(__FILE__, __LINE__, "\"%s\" for \"%s\" does not say \"%s\"", e.text, token, because);
}

TEST(i5_token_never_goes_over_an_open_line)
{
	static const char *const here[] = { "127.0.0.1:7117", "[::1]:7117", "ws://localhost:7117", "wss://192.0.2.1" };
	static const char *const elsewhere[] = { "192.0.2.1:7117", "ws://relay.example.org:7117", "[::2]:7117",
						 "ws://localhost.example.org:7117" };

	for (size_t i = 0; i < sizeof(here) / sizeof(*here); i++) {
		_cleanup_(pairingd_config_freep) struct pairingd_config *c = NULL;
		struct config_error e;

		CHECK_EQ(load_with_token(&c, here[i], TOKEN, &e), 0);
	}
	for (size_t i = 0; i < sizeof(elsewhere) / sizeof(*elsewhere); i++)
		token_refused(elsewhere[i], TOKEN, "wss://");
	token_refused(NULL, TOKEN, "wss://");
}

TEST(i5_wrong_tokens_are_refused_and_not_repeated)
{
	char much[5000];

	token_refused("wss://r", "", "no token");
	token_refused("wss://r", "# nothing\n", "no token");
	token_refused("wss://r", "abcdef", "16 to 128");
	token_refused("wss://r", TOKEN " " TOKEN, "blanks");
	token_refused("wss://r", TOKEN "\r\n", "blanks");
	token_refused("wss://r", TOKEN "\n" TOKEN "\n", "more than one");
	token_refused("wss://r", TOKEN "\xc3\xa9", "blanks");
	memset(much, 'a', sizeof(much) - 1);
	much[sizeof(much) - 1] = '\0';
	token_refused("wss://r", much, "");
	much[129] = '\0';
	token_refused("wss://r", much, "16 to 128");
}
