/* The client's half of registration and login, against a server made of crypto/opaque.h. */
#include "auth/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "auth/session.h"
#include "base/base64.h"
#include "base/json.h"
#include "crypto/opaque.h"
#include "crypto/secret.h"
#include "unit/lib/test.h"

#define ORIGIN "https://login.example:8443"
#define KSF_LIGHT "{\"name\":\"argon2id\",\"memory_kib\":19456,\"passes\":2,\"parallelism\":1}"
#define CONFIG(ksf) "{\"origin\":\"" ORIGIN "\",\"registration\":\"invitation\",\"ksf\":" ksf "}"

/* ---- a server ---- */

struct server {
	struct opaque_keys *keys;
	bool has_record;
	uint8_t record[OPAQUE_RECORD_LEN];
	struct secret *login_state, *session_key;
	char invitation[64];
	/* What it says instead of the right answer, at which path; status 0: 200. */
	const char *path, *say;
	unsigned int status;
	char answer[AUTH_ANSWER_MAX + 64];
	size_t answer_len;
};

static struct server server;

static void from_base64(uint8_t *out, size_t len, const json_t *o, const char *key)
{
	const char *text = json_get_str(o, key);

	CHECK(text != NULL);
	CHECK(base64_decode_exact(out, len, text, BASE64_URL) == 0);
}

static void answer_bytes(const char *head, const uint8_t *data, size_t len, const char *tail)
{
	char text[BASE64_SPACE(OPAQUE_KE2_LEN)];

	base64_encode(text, data, len, BASE64_URL);
	server.answer_len = (size_t)snprintf(server.answer, sizeof(server.answer), "%s%s%s", head, text, tail);
}

static void answer_text(const char *text)
{
	server.answer_len = (size_t)snprintf(server.answer, sizeof(server.answer), "%s", text);
}

static void serve_body(const char *path, const json_t *o)
{
	const struct opaque_ids ids = { .client = "anna", .client_len = 4, .server = ORIGIN, .server_len = strlen(ORIGIN) };
	uint8_t in[OPAQUE_RECORD_LEN], out[OPAQUE_KE2_LEN];

	if (strcmp(path, "/register/start") == 0) {
		CHECK_STR(json_get_str(o, "user"), "anna");
		from_base64(in, OPAQUE_REQUEST_LEN, o, "request");
		CHECK(opaque_server_register(server.keys, out, in, "anna", 4) == 0);
		answer_bytes("{\"response\":\"", out, OPAQUE_RESPONSE_LEN, "\"}");
	} else if (strcmp(path, "/register/finish") == 0) {
		from_base64(server.record, OPAQUE_RECORD_LEN, o, "record");
		server.has_record = true;
		snprintf(server.invitation, sizeof(server.invitation), "%s",
			 json_get_str(o, "invitation") ? json_get_str(o, "invitation") : "");
		answer_text("");
	} else if (strcmp(path, "/login/start") == 0) {
		from_base64(in, OPAQUE_KE1_LEN, o, "ke1");
		server.login_state = secret_free(server.login_state);
		CHECK(opaque_server_ke2(server.keys, out, &server.login_state, server.has_record ? server.record : NULL,
					"anna", 4, in, &ids, NULL) == 0);
		answer_bytes("{\"login_id\":\"some-id\",\"ke2\":\"", out, OPAQUE_KE2_LEN, "\"}");
	} else {
		CHECK_STR(path, "/login/finish");
		CHECK_STR(json_get_str(o, "login_id"), "some-id");
		from_base64(in, OPAQUE_KE3_LEN, o, "ke3");
		server.session_key = secret_free(server.session_key);
		CHECK(opaque_server_finish(&server.session_key, secret_bytes(server.login_state), in) == 0);
		answer_text("{\"session_id\":\"abc.DEF-123_~+/=\",\"expires_in_s\":3600}");
	}
}

static void serve(const struct auth_call *call)
{
	static const struct json_limits limits = { .max_bytes = 65536, .max_depth = 3, .max_keys = 10 };
	_cleanup_json_ json_t *o = NULL;

	if (server.path && strcmp(server.path, call->target) == 0) {
		answer_text(server.say);
		return;
	}
	if (strcmp(call->target, "/config") == 0) {
		CHECK_STR(call->method, "GET");
		CHECK(!call->body);
		answer_text(CONFIG(KSF_LIGHT));
		return;
	}
	CHECK_STR(call->method, "POST");
	CHECK_EQ(strlen(call->body), call->body_len);
	CHECK(json_parse(&o, call->body, call->body_len, &limits) == 0);
	serve_body(call->target, o);
}

static void server_start(void)
{
	CHECK(crypto_init() == 0);
	CHECK(opaque_keys_generate(&server.keys) == 0);
}

static struct auth_options options(const char *user, const char *password)
{
	struct auth_options o = { .user = user, .password = (const uint8_t *)password, .password_len = strlen(password) };

	CHECK(auth_url_parse(&o.url, ORIGIN) == 0);
	return o;
}

/* To the end, or to what ended it. */
static int go(struct auth_exchange *x)
{
	const struct auth_call *call;
	int r = 0;

	while (!r && (call = auth_exchange_call(x))) {
		bool is_bad = server.path && strcmp(server.path, call->target) == 0;

		serve(call);
		r = auth_exchange_answer(x, is_bad && server.status ? server.status : 200, server.answer, server.answer_len);
		if (r == AUTH_WORK) {
			CHECK(!auth_exchange_call(x));
			r = auth_exchange_work(x);
		}
	}
	if (r) {
		CHECK(*auth_exchange_why(x));
		CHECK(!auth_exchange_call(x));
		CHECK(!auth_exchange_take_session(x, 0));
	}
	return r;
}

static int register_anna(const char *password)
{
	_cleanup_(auth_exchange_freep) struct auth_exchange *x = NULL;
	struct auth_options o = options("Anna", password);

	o.invitation = "token-1";
	CHECK(auth_register(&x, &o) == 0);
	return go(x);
}

static int login_as(const char *user, const char *password, struct auth_session **s)
{
	_cleanup_(auth_exchange_freep) struct auth_exchange *x = NULL;
	struct auth_options o = options(user, password);
	int r;

	CHECK(auth_login(&x, &o) == 0);
	r = go(x);
	if (!r && s)
		*s = auth_exchange_take_session(x, 1000);
	return r;
}

/* ---- what it is for ---- */

TEST(whoever_registered_logs_in_with_a_key_that_the_server_has)
{
	_cleanup_(auth_session_freep) struct auth_session *s = NULL;
	_cleanup_(secret_freep) struct secret *key = NULL;

	server_start();
	CHECK_EQ(register_anna("correct horse"), 0);
	CHECK_STR(server.invitation, "token-1");
	CHECK_EQ(login_as("ANNA", "correct horse", &s), 0);
	CHECK(s != NULL);
	CHECK_STR(s->user, "anna");
	CHECK_STR(s->id, "abc.DEF-123_~+/=");
	CHECK_STR(s->origin, ORIGIN);
	CHECK_EQ(s->expires_s, 4600);
	CHECK(pop_key(&key, server.session_key) == 0);
	CHECK(secret_equal(s->key, secret_bytes(key), secret_len(key)));
}

TEST(i8_wrong_password_and_unknown_user_are_told_alike)
{
	char why[2][256];

	for (int i = 0; i < 2; i++) {
		_cleanup_(auth_exchange_freep) struct auth_exchange *x = NULL;
		struct auth_options o = options("anna", "wrong password");

		if (i == 0) {
			server_start();
			CHECK_EQ(register_anna("correct horse"), 0);
		}
		server.has_record = i == 0;
		CHECK(auth_login(&x, &o) == 0);
		CHECK_EQ(go(x), AUTH_E_WRONG);
		snprintf(why[i], sizeof(why[i]), "%s", auth_exchange_why(x));
	}
	CHECK_STR(why[0], why[1]);
}

TEST(record_is_useless_for_another_server)
{
	server_start();
	CHECK_EQ(register_anna("correct horse"), 0);
	/* Same record, other keys. */
	opaque_keys_free(server.keys);
	CHECK(opaque_keys_generate(&server.keys) == 0);
	CHECK_EQ(login_as("anna", "correct horse", NULL), AUTH_E_WRONG);
}

TEST(stretching_outside_of_floor_and_ceiling_is_refused)
{
	static const char *const bad[] = {
		CONFIG("{\"name\":\"argon2id\",\"memory_kib\":19455,\"passes\":2,\"parallelism\":1}"),
		CONFIG("{\"name\":\"argon2id\",\"memory_kib\":19456,\"passes\":1,\"parallelism\":1}"),
		CONFIG("{\"name\":\"argon2id\",\"memory_kib\":1048577,\"passes\":2,\"parallelism\":1}"),
		CONFIG("{\"name\":\"argon2id\",\"memory_kib\":65536,\"passes\":17,\"parallelism\":1}"),
		CONFIG("{\"name\":\"argon2id\",\"memory_kib\":1048576,\"passes\":5,\"parallelism\":1}"),
		CONFIG("{\"name\":\"argon2id\",\"memory_kib\":65536,\"passes\":3,\"parallelism\":2}"),
		CONFIG("{\"name\":\"argon2id\",\"memory_kib\":65536,\"passes\":3}"),
		CONFIG("{\"name\":\"argon2id\",\"memory_kib\":-1,\"passes\":3,\"parallelism\":1}"),
		CONFIG("{\"name\":\"argon2id\",\"memory_kib\":4295032832,\"passes\":3,\"parallelism\":1}"),
		CONFIG("{\"name\":\"argon2id\",\"memory_kib\":\"65536\",\"passes\":3,\"parallelism\":1}"),
		CONFIG("{\"name\":\"identity\",\"memory_kib\":65536,\"passes\":3,\"parallelism\":1}"),
		CONFIG("{\"memory_kib\":65536,\"passes\":3,\"parallelism\":1}"),
		CONFIG("{}"),
	};

	server_start();
	server.path = "/config";
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		server.say = bad[i];
		CHECK_EQ(login_as("anna", "correct horse", NULL), AUTH_E_KSF);
		CHECK_EQ(register_anna("correct horse"), AUTH_E_KSF);
	}
}

TEST(stretching_of_a_generation_is_held_to_the_same_bounds)
{
	char text[1024], response[BASE64_SPACE(OPAQUE_KE2_LEN)];
	uint8_t zeros[OPAQUE_KE2_LEN] = { 0 };

	server_start();
	base64_encode(response, zeros, sizeof(zeros), BASE64_URL);
	snprintf(text, sizeof(text),
		 "{\"login_id\":\"x\",\"ke2\":\"%s\",\"ksf\":{\"name\":\"argon2id\",\"memory_kib\":8,\"passes\":1,\"parallelism\":1}}",
		 response);
	server.path = "/login/start";
	server.say = text;
	CHECK_EQ(login_as("anna", "correct horse", NULL), AUTH_E_KSF);
}

TEST(server_that_calls_itself_another_is_refused)
{
	_cleanup_(auth_exchange_freep) struct auth_exchange *x = NULL;
	struct auth_options o = options("anna", "correct horse");

	server_start();
	CHECK_EQ(register_anna("correct horse"), 0);
	CHECK(auth_url_parse(&o.url, "https://phisher.example") == 0);
	CHECK(auth_login(&x, &o) == 0);
	CHECK_EQ(go(x), AUTH_E_ORIGIN);
	x = auth_exchange_free(x);
	/* Behind a tunnel the URL is another: whoever says so is believed. */
	o.origin = "HTTPS://Login.Example:8443";
	CHECK(auth_login(&x, &o) == 0);
	CHECK_EQ(go(x), 0);
}

TEST(whoever_is_logged_in_signs_what_registers_anew)
{
	_cleanup_(auth_exchange_freep) struct auth_exchange *x = NULL;
	struct auth_options o = options("anna", "another horse");
	const struct auth_call *call;

	server_start();
	CHECK_EQ(register_anna("correct horse"), 0);
	o.in_session = true;
	CHECK(auth_register(&x, &o) == 0);
	while ((call = auth_exchange_call(x))) {
		int r;

		CHECK_EQ(call->is_signed, strcmp(call->target, "/config") != 0);
		serve(call);
		r = auth_exchange_answer(x, 200, server.answer, server.answer_len);
		CHECK_EQ(r == AUTH_WORK ? auth_exchange_work(x) : r, 0);
	}
	CHECK_EQ(login_as("anna", "correct horse", NULL), AUTH_E_WRONG);
	CHECK_EQ(login_as("anna", "another horse", NULL), 0);
}

TEST(server_with_new_keys_asks_to_renew)
{
	_cleanup_(auth_exchange_freep) struct auth_exchange *x = NULL;
	struct auth_options o = options("anna", "correct horse");

	server_start();
	CHECK_EQ(register_anna("correct horse"), 0);
	server.path = "/login/finish";
	server.say = "{\"session_id\":\"abc\",\"expires_in_s\":60,\"renew\":true}";
	CHECK(auth_login(&x, &o) == 0);
	CHECK_EQ(go(x), 0);
	CHECK(auth_exchange_is_to_renew(x));
}

/* ---- answers that are none ---- */

TEST(i4_answers_of_no_authd_end_it)
{
	static const struct {
		const char *path, *say;
	} bad[] = {
		{ "/config", "" },
		{ "/config", "<html>404</html>" },
		{ "/config", "[]" },
		{ "/config", "{}" },
		{ "/config", "null" },
		{ "/config", "{\"origin\":7,\"ksf\":" KSF_LIGHT "}" },
		{ "/config", "{\"origin\":\"\",\"ksf\":" KSF_LIGHT "}" },
		{ "/config", "{\"origin\":\"login.example:8443\",\"ksf\":" KSF_LIGHT "}" },
		{ "/config", "{\"origin\":\"https://login.example:8443/path\",\"ksf\":" KSF_LIGHT "}" },
		{ "/config", "{\"origin\":\"" ORIGIN "\"}" },
		{ "/config", "{\"origin\":\"" ORIGIN "\",\"ksf\":[]}" },
		{ "/config", "{\"origin\":\"" ORIGIN "\",\"origin\":\"" ORIGIN "\",\"ksf\":" KSF_LIGHT "}" },
		{ "/login/start", "{}" },
		{ "/login/start", "" },
		{ "/login/start", "{\"login_id\":\"x\"}" },
		{ "/login/start", "{\"login_id\":\"x\",\"ke2\":\"\"}" },
		{ "/login/start", "{\"login_id\":\"x\",\"ke2\":\"AAAA\"}" },
		{ "/login/start", "{\"login_id\":\"x\",\"ke2\":7}" },
		{ "/login/start", "{\"login_id\":\"x\",\"ke2\":\"====\"}" },
		{ "/login/finish", "{}" },
		{ "/login/finish", "" },
		{ "/login/finish", "{\"session_id\":\"x\"}" },
		{ "/login/finish", "{\"session_id\":\"x\",\"expires_in_s\":0}" },
		{ "/login/finish", "{\"session_id\":\"x\",\"expires_in_s\":-5}" },
		{ "/login/finish", "{\"session_id\":\"x\",\"expires_in_s\":\"60\"}" },
		{ "/login/finish", "{\"session_id\":\"\",\"expires_in_s\":60}" },
		{ "/login/finish", "{\"session_id\":\"a b\",\"expires_in_s\":60}" },
		{ "/login/finish", "{\"session_id\":\"a\\r\\nX-Evil: 1\",\"expires_in_s\":60}" },
	};

	server_start();
	CHECK_EQ(register_anna("correct horse"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		int r;

		server.path = bad[i].path;
		server.say = bad[i].say;
		r = login_as("anna", "correct horse", NULL);
		if (r != AUTH_E_BAD_ANSWER)
			test_fail(__FILE__, __LINE__, "%s answered “%s” gave %d", bad[i].path, bad[i].say, r);
	}
	server.path = "/register/start";
	server.say = "{\"response\":\"AAAA\"}";
	CHECK_EQ(register_anna("correct horse"), AUTH_E_BAD_ANSWER);
	server.path = "/register/finish";
	server.say = "no JSON";
	CHECK_EQ(register_anna("correct horse"), AUTH_E_BAD_ANSWER);
}

TEST(i4_answer_that_is_too_long_ends_it)
{
	_cleanup_(auth_exchange_freep) struct auth_exchange *x = NULL;
	struct auth_options o = options("anna", "correct horse");
	char *text = malloc(AUTH_ANSWER_MAX + 100);

	CHECK(crypto_init() == 0 && text);
	snprintf(text, 200, "{\"origin\":\"" ORIGIN "\",\"ksf\":" KSF_LIGHT ",\"more\":\"");
	memset(text + strlen(text), 'x', AUTH_ANSWER_MAX - strlen(text));
	memcpy(text + AUTH_ANSWER_MAX - 2, "\"}", 3);
	CHECK(auth_login(&x, &o) == 0);
	CHECK_EQ(auth_exchange_answer(x, 200, text, AUTH_ANSWER_MAX), 0);
	x = auth_exchange_free(x);
	memcpy(text + AUTH_ANSWER_MAX - 2, "x\"}", 4);
	CHECK(auth_login(&x, &o) == 0);
	CHECK_EQ(auth_exchange_answer(x, 200, text, AUTH_ANSWER_MAX + 1), AUTH_E_BAD_ANSWER);
	free(text);
}

TEST(elements_that_are_none_end_it)
{
	/* The identity, and an encoding that is not canonical (2^255 - 19 in its place). */
	uint8_t bad[2][32] = { { 0 }, { 0 } };
	char text[256], coded[BASE64_SPACE(OPAQUE_RESPONSE_LEN)];

	memset(bad[1], 0xff, 32);
	bad[1][0] = 0xed;
	bad[1][31] = 0x7f;
	server_start();
	server.path = "/register/start";
	server.say = text;
	for (int i = 0; i < 2; i++) {
		uint8_t response[OPAQUE_RESPONSE_LEN];

		memcpy(response, bad[i], 32);
		memcpy(response + 32, opaque_keys_public(server.keys), 32);
		base64_encode(coded, response, sizeof(response), BASE64_URL);
		snprintf(text, sizeof(text), "{\"response\":\"%s\"}", coded);
		CHECK_EQ(register_anna("correct horse"), AUTH_E_BAD_ANSWER);
	}
}

TEST(refusals_tell_what_the_server_says_and_nothing_that_steers_a_terminal)
{
	static const struct {
		unsigned int status;
		const char *say, *code;
		int outcome;
	} refusals[] = {
		{ 403, "{\"error\":{\"code\":\"no_invitation\",\"text\":\"an invitation is needed\"}}", "no_invitation", AUTH_E_REFUSED },
		{ 403, "", "", AUTH_E_REFUSED },
		{ 500, "<html>", "", AUTH_E_REFUSED },
		{ 302, "", "", AUTH_E_REFUSED },
		{ 404, "{\"error\":\"text\"}", "", AUTH_E_REFUSED },
		{ 429, "{\"error\":{\"code\":\"later\",\"text\":\"in 10 s\"}}", "later", AUTH_E_TOO_MANY },
		{ 401, "{\"error\":{\"code\":\"a\\u001b[2Jb\",\"text\":\"c\\u202ed\\u0007\"}}", "a[2Jb", AUTH_E_REFUSED },
	};

	server_start();
	server.path = "/login/start";
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
		_cleanup_(auth_exchange_freep) struct auth_exchange *x = NULL;
		struct auth_options o = options("anna", "correct horse");

		server.say = refusals[i].say;
		server.status = refusals[i].status;
		CHECK(auth_login(&x, &o) == 0);
		CHECK_EQ(go(x), refusals[i].outcome);
		CHECK_EQ(auth_exchange_refusal(x)->status, refusals[i].status);
		CHECK_STR(auth_exchange_refusal(x)->code, refusals[i].code);
		CHECK(!strpbrk(auth_exchange_why(x), "\033\007") && !strstr(auth_exchange_why(x), "\u202e"));
	}
}

TEST(closed_registration_is_told_before_any_work)
{
	server_start();
	server.path = "/config";
	server.say = "{\"origin\":\"" ORIGIN "\",\"registration\":\"closed\",\"ksf\":" KSF_LIGHT "}";
	CHECK_EQ(register_anna("correct horse"), AUTH_E_REFUSED);
}

TEST(nothing_can_be_done_after_a_failure)
{
	_cleanup_(auth_exchange_freep) struct auth_exchange *x = NULL;
	struct auth_options o = options("anna", "correct horse");

	CHECK(crypto_init() == 0);
	CHECK(auth_login(&x, &o) == 0);
	CHECK_EQ(auth_exchange_work(x), -EINVAL);
	x = auth_exchange_free(x);
	CHECK(auth_login(&x, &o) == 0);
	CHECK_EQ(auth_exchange_answer(x, 200, "x", 1), AUTH_E_BAD_ANSWER);
	CHECK_EQ(auth_exchange_answer(x, 200, CONFIG(KSF_LIGHT), strlen(CONFIG(KSF_LIGHT))), -EINVAL);
	CHECK_EQ(auth_exchange_work(x), -EINVAL);
}

/* ---- what is given ---- */

TEST(names_and_passwords_that_are_none_begin_nothing)
{
	struct auth_exchange *x = NULL;
	struct auth_options o = options("anna", "correct horse");
	char *long_one = calloc(1, OPAQUE_FIELD_MAX + 2), invitation[400];

	CHECK(crypto_init() == 0 && long_one);
	o.user = "";
	CHECK_EQ(auth_login(&x, &o), AUTH_E_BAD_NAME);
	o.user = "anna bell";
	CHECK_EQ(auth_login(&x, &o), AUTH_E_BAD_NAME);
	o.user = "anna";
	o.password_len = 0;
	CHECK_EQ(auth_login(&x, &o), AUTH_E_BAD_PASSWORD);
	memset(long_one, 'p', OPAQUE_FIELD_MAX + 1);
	o.password = (const uint8_t *)long_one;
	o.password_len = OPAQUE_FIELD_MAX + 1;
	CHECK_EQ(auth_login(&x, &o), AUTH_E_BAD_PASSWORD);
	o = options("anna", "correct horse");
	memset(invitation, 'i', sizeof(invitation));
	invitation[sizeof(invitation) - 1] = '\0';
	o.invitation = invitation;
	CHECK_EQ(auth_register(&x, &o), AUTH_E_BAD_NAME);
	o.invitation = NULL;
	o.origin = "not an origin";
	CHECK_EQ(auth_register(&x, &o), AUTH_E_BAD_URL);
	CHECK(!x);
	free(long_one);
}

TEST(addresses_are_read_in_one_way)
{
	static const struct {
		const char *url, *origin, *prefix;
		bool loopback;
	} good[] = {
		{ "https://login.example", "https://login.example", "", false },
		{ "login.example", "https://login.example", "", false },
		{ "HTTPS://Login.Example:443/", "https://login.example", "", false },
		{ "http://127.0.0.1:7150", "http://127.0.0.1:7150", "", true },
		{ "http://127.8.9.1/auth/", "http://127.8.9.1", "/auth", true },
		{ "http://[::1]:80/a/b", "http://[::1]", "/a/b", true },
		{ "http://localhost", "http://localhost", "", true },
		{ "http://localhost.example", "http://localhost.example", "", false },
		{ "http://127.0.0.1.example", "http://127.0.0.1.example", "", false },
		{ "http://128.0.0.1", "http://128.0.0.1", "", false },
		{ "http://[fd00::1]:8080", "http://[fd00::1]:8080", "", false },
	};
	static const char *const bad[] = { "",
					   "https://",
					   "ftp://login.example",
					   "https://anna@login.example",
					   "https://login.example/?x",
					   "https://login.example/#x",
					   "https://login.example/a b",
					   "https://login.example:99999",
					   "https://login example",
					   "https://login.example/\xc3\xa4",
					   "https://login.example/\r\nX: y" };
	struct auth_url u;
	char origin[AUTH_ORIGIN_SPACE];

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		if (auth_url_parse(&u, good[i].url))
			test_fail(__FILE__, __LINE__, "%s was refused", good[i].url);
		auth_url_origin(origin, &u);
		CHECK_STR(origin, good[i].origin);
		CHECK_STR(u.prefix, good[i].prefix);
		CHECK_EQ(u.loopback, good[i].loopback);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (auth_url_parse(&u, bad[i]) != AUTH_E_BAD_URL)
			test_fail(__FILE__, __LINE__, "%s was taken", bad[i]);
}

TEST(prefix_stands_before_every_path)
{
	_cleanup_(auth_exchange_freep) struct auth_exchange *x = NULL;
	struct auth_options o = options("anna", "correct horse");

	CHECK(crypto_init() == 0);
	CHECK(auth_url_parse(&o.url, ORIGIN "/auth/") == 0);
	CHECK(auth_login(&x, &o) == 0);
	CHECK_STR(auth_exchange_call(x)->target, "/auth/config");
	CHECK_EQ(auth_exchange_answer(x, 200, CONFIG(KSF_LIGHT), strlen(CONFIG(KSF_LIGHT))), 0);
	CHECK_STR(auth_exchange_call(x)->target, "/auth/login/start");
}
