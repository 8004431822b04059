/* config.c: what pairingd.yaml may say. */
#include "unit/lib/test.h"

#include <string.h>

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
		"relay_ca: relative.pem\n",   "minimum_profile: v39-none\n",
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
