/* Relay frames: what the relay takes from clients, what clients take from a relay. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/json.h"
#include "proto/relay_frame.h"
#include "unit/lib/test.h"

#define HEAD "{\"type\":\"packet\",\"proto\":\"handfast-relay\",\"ver\":1,\"payload\":"

static const struct relay_frame_limits limits = { RELAY_MESSAGE_MAX, RELAY_DEPTH_MAX, RELAY_KEYS_MAX };

static int decode(struct relay_client_frame *f, const char *text)
{
	return relay_client_frame_decode(f, text, strlen(text), &limits);
}

static void expect(const char *text, int outcome)
{
	struct relay_client_frame f;
	/* A copy of exact size, so that the sanitizers see a byte read too far. */
	size_t len = strlen(text);
	char *copy = malloc(len ? len : 1);
	int r;

	memcpy(copy, text, len);
	r = relay_client_frame_decode(&f, copy, len, &limits);
	free(copy);
	if (r != outcome)
		test_fail(__FILE__, __LINE__, "%d, not %d, for %.200s", r, outcome, text);
}

/* ---- codes, targets, invitations ---- */

TEST(codes_have_an_alphabet_without_look_alikes)
{
	static const uint8_t low[8] = { 0 }, high[8] = { 30, 30, 30, 30, 30, 30, 30, 30 };
	char code[RELAY_CODE_LEN + 1];

	CHECK_EQ(strlen(RELAY_CODE_ALPHABET), RELAY_CODE_BASE);
	CHECK(!strpbrk(RELAY_CODE_ALPHABET, "ILO01"));
	relay_code_format(code, low);
	CHECK_STR(code, "AAAAAAAA");
	relay_code_format(code, high);
	CHECK_STR(code, "99999999");
	CHECK(relay_code_is_valid("ABCD2345", 8));
	CHECK(!relay_code_is_valid("abcd2345", 8));
	CHECK(!relay_code_is_valid("ABCD234", 7));
	CHECK(!relay_code_is_valid("ABCD23456", 9));
	CHECK(!relay_code_is_valid("ABCD234I", 8));
	CHECK(!relay_code_is_valid("ABCD234\0", 8));
	CHECK_EQ(relay_code_parse(code, "abcd2345", 8), 0);
	CHECK_STR(code, "ABCD2345");
	CHECK_EQ(relay_code_parse(code, "abcd2340", 8), -EINVAL);
}

TEST(targets_are_exact)
{
	static const char *const bad[] = { "", "/", "/ws", "/ws/", "/ws/ABCD2345", "/ws/ABCD2345/",
					   "/ws/ABCD2345/eve", "/ws/ABCD2345/alice/", "/ws/ABCD2345/alice?x",
					   "/ws/abcd2345/alice", "/ws/ABCD234%35/alice", "/ws/ABCD23456/alice",
					   "//ws/ABCD2345/alice", "/WS/ABCD2345/alice", "/ws/ABCD2345/bobby" };
	char code[RELAY_CODE_LEN + 1];
	enum relay_role role;

	CHECK_EQ(relay_target_parse(code, &role, "/ws/ABCD2345/alice"), 0);
	CHECK_STR(code, "ABCD2345");
	CHECK_EQ(role, RELAY_ALICE);
	CHECK_EQ(relay_target_parse(code, &role, "/ws/ABCD2345/bob"), 0);
	CHECK_EQ(role, RELAY_BOB);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (relay_target_parse(code, &role, bad[i]) != -EINVAL)
			test_fail(__FILE__, __LINE__, "%s was taken", bad[i]);
}

TEST(invitations_name_a_code_and_perhaps_a_relay)
{
	static const struct {
		const char *text, *url;
	} good[] = {
		{ "abcd2345", "" },
		{ "ABCD2345@192.0.2.1:7118", "ws://192.0.2.1:7118" },
		{ "ABCD2345@relay.example", "ws://relay.example:7117" },
		{ "ABCD2345@[2001:db8::1]:80", "ws://[2001:db8::1]:80" },
		{ "ABCD2345@ws://h:1/", "ws://h:1" },
		{ "ABCD2345@wss://relay.example", "wss://relay.example" },
		{ "ABCD2345@wss://relay.example:443", "wss://relay.example:443" },
	};
	static const char *const bad[] = { "", "@", "ABCD2345@", "ABCD234@h", "ABCD2345@h:0", "ABCD2345@h:65536",
					   "ABCD2345@h:1x", "ABCD2345@http://h", "ABCD2345@h/path", "ABCD2345@u@h",
					   "ABCD2345@[::1", "ABCD2345@[]:1", "ABCD2345@::1", "ABCD2345@h h",
					   "ABCD2345@h:123456" };
	struct relay_invitation inv;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		CHECK_EQ(relay_invitation_parse(&inv, good[i].text), 0);
		CHECK_STR(inv.code, "ABCD2345");
		CHECK_STR(inv.url, good[i].url);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (relay_invitation_parse(&inv, bad[i]) != -EINVAL)
			test_fail(__FILE__, __LINE__, "%s was taken", bad[i]);
}

/* ---- what the relay takes ---- */

TEST(packets_and_pings_are_taken)
{
	struct relay_client_frame f;

	CHECK_EQ(decode(&f, HEAD "{\"kind\":\"pake\",\"seq\":7,\"share_b64\":\"AAEC\"}}"), 0);
	CHECK_EQ(f.type, RELAY_PACKET);
	CHECK_EQ(f.seq, 7);
	CHECK_EQ(decode(&f, relay_ping_text()), 0);
	CHECK_EQ(f.type, RELAY_PING);
	CHECK_EQ(decode(&f, " {\n\t\"payload\" : { \"x\" : [ ] , \"seq\" : 9007199254740991 , \"kind\":\"a\" } ,"
			    " \"ver\" : 1, \"proto\":\"handfast-relay\", \"type\":\"packet\" } \r\n"), 0);
	CHECK_EQ(f.seq, RELAY_SEQ_MAX);
	CHECK_EQ(decode(&f, HEAD "{\"kind\":\"a\",\"seq\":1,\"t\":\"\\ud83d\\ude00 \xc3\xa9\",\"n\":-0.5e+3,"
			    "\"l\":[true,false,null,0]}}"), 0);
}

TEST(i4_text_that_is_no_json_object_is_refused)
{
	static const char *const bad[] = {
		"", " ", "1", "[]", "\"x\"", "{", "{}x", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,}", "{\"a\":1 \"b\":2}",
		"{'a':1}", "{\"a\":01}", "{\"a\":1.}", "{\"a\":.5}", "{\"a\":1e}", "{\"a\":+1}", "{\"a\":-}",
		"{\"a\":tru}", "{\"a\":nul", "{\"a\":[1,]}", "{\"a\":[1}", "{\"a\":\"\t\"}", "{\"a\":\"\\x\"}",
		"{\"a\":\"\\u12\"}", "{\"a\":\"\\u0000\"}", "{\"a\":\"\\ud800\"}", "{\"a\":\"\\ud800\\u0041\"}",
		"{\"a\":\"\\udc00\"}", "{\"a\":\"\xff\"}", "{\"a\":\"\xc0\xaf\"}", "{\"a\":\"\xed\xa0\x80\"}",
		"{\"a\":\"x", "{\"a\":\"\\", "{\"a\":\"\\\"}", "{\"a\":NaN}", "{\"a\":Infinity}", "/**/{}",
		"\xef\xbb\xbf{}",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		expect(bad[i], RELAY_E_SYNTAX);
}

TEST(frames_have_four_members_and_no_other)
{
	expect("{}", RELAY_E_FRAME);
	expect("{\"type\":\"ping\",\"proto\":\"handfast-relay\",\"ver\":1}", RELAY_E_FRAME);
	expect("{\"type\":\"ping\",\"proto\":\"handfast-relay\",\"ver\":1,\"payload\":[]}", RELAY_E_FRAME);
	expect("{\"type\":\"ping\",\"proto\":\"handfast-relay\",\"ver\":2,\"payload\":{}}", RELAY_E_FRAME);
	expect("{\"type\":\"ping\",\"proto\":\"handfast-relay\",\"ver\":\"1\",\"payload\":{}}", RELAY_E_FRAME);
	expect("{\"type\":\"ping\",\"proto\":\"handfast-relay\",\"ver\":1.0,\"payload\":{}}", RELAY_E_FRAME);
	expect("{\"type\":\"ping\",\"proto\":\"other\",\"ver\":1,\"payload\":{}}", RELAY_E_FRAME);
	expect("{\"type\":\"hello\",\"proto\":\"handfast-relay\",\"ver\":1,\"payload\":{}}", RELAY_E_FRAME);
	expect("{\"type\":7,\"proto\":\"handfast-relay\",\"ver\":1,\"payload\":{}}", RELAY_E_FRAME);
	expect("{\"type\":\"ping\",\"proto\":\"handfast-relay\",\"ver\":1,\"payload\":{},\"x\":1}", RELAY_E_FRAME);
	expect("{\"type\":\"ping\",\"type\":\"ping\",\"proto\":\"handfast-relay\",\"ver\":1,\"payload\":{}}",
	       RELAY_E_FRAME);
	/* "\u0074ype" is type once more. */
	expect("{\"type\":\"ping\",\"\\u0074ype\":\"packet\",\"proto\":\"handfast-relay\",\"ver\":1,\"payload\":{}}",
	       RELAY_E_FRAME);
	expect(HEAD "{\"seq\":1}}", RELAY_E_FRAME);
	expect(HEAD "{\"kind\":\"\",\"seq\":1}}", RELAY_E_FRAME);
	expect(HEAD "{\"kind\":\"A\",\"seq\":1}}", RELAY_E_FRAME);
	expect(HEAD "{\"kind\":5,\"seq\":1}}", RELAY_E_FRAME);
	expect(HEAD "{\"kind\":\"a\",\"kind\":\"b\",\"seq\":1}}", RELAY_E_FRAME);
	expect(HEAD "{\"kind\":\"abcdefghijabcdefghijabcdefghijabc\",\"seq\":1}}", RELAY_E_FRAME);
}

TEST(seq_is_a_whole_number_above_zero)
{
	static const char *const bad[] = { "0", "-1", "1.0", "1e1", "\"1\"", "null", "[1]", "9007199254740992",
					   "99999999999999999999999999" };
	char text[256];

	expect(HEAD "{\"kind\":\"a\"}}", RELAY_E_SEQ);
	expect(HEAD "{\"kind\":\"a\",\"seq\":1,\"seq\":2}}", RELAY_E_SEQ);
	expect(HEAD "{\"kind\":\"a\",\"seq\":1,\"s\\u0065q\":2}}", RELAY_E_SEQ);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		snprintf(text, sizeof(text), HEAD "{\"kind\":\"a\",\"seq\":%s}}", bad[i]);
		expect(text, RELAY_E_SEQ);
	}
}

TEST(base64_is_canonical_or_refused)
{
	static const char *const good[] = { "\"\"", "\"AA==\"", "\"AAA=\"", "\"AAAA\"", "\"+/+/\"", "\"//8=\"" };
	static const char *const bad[] = { "\"A\"", "\"AA\"", "\"AAA\"", "\"AB==\"", "\"AAB=\"", "\"AA=A\"", "\"====\"",
					   "\"A===\"", "\"AAAA====\"", "\"AA-_\"", "\"AA A\"", "\"\\u0041AAA\"",
					   "\"\\/AAA\"", "1", "null", "[\"AAAA\"]", "\"AAAA\\n\"" };
	char text[256];

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		snprintf(text, sizeof(text), HEAD "{\"kind\":\"a\",\"seq\":1,\"x_b64\":%s}}", good[i]);
		expect(text, 0);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		snprintf(text, sizeof(text), HEAD "{\"kind\":\"a\",\"seq\":1,\"x_b64\":%s}}", bad[i]);
		expect(text, RELAY_E_BASE64);
		snprintf(text, sizeof(text), HEAD "{\"kind\":\"a\",\"seq\":1,\"y\":[{\"x_b6\\u0034\":%s}]}}", bad[i]);
		expect(text, RELAY_E_BASE64);
	}
}

TEST(i4_depth_is_bounded)
{
	char text[4096];
	size_t n;

	/* The frame and its payload are two; eight more are allowed. */
	n = (size_t)snprintf(text, sizeof(text), HEAD "{\"kind\":\"a\",\"seq\":1,\"x\":");
	memset(text + n, '[', 8);
	memset(text + n + 8, ']', 8);
	strcpy(text + n + 16, "}}");
	expect(text, 0);
	memset(text + n, '[', 9);
	memset(text + n + 9, ']', 9);
	strcpy(text + n + 18, "}}");
	expect(text, RELAY_E_TOO_DEEP);
	memset(text + n, '[', 3000);
	text[n + 3000] = '\0';
	expect(text, RELAY_E_TOO_DEEP);
}

static void expect_members(size_t more, int outcome)
{
	char text[4096] = HEAD "{\"kind\":\"a\",\"seq\":1,\"x\":[0";

	for (size_t i = 1; i < more; i++)
		strcat(text, ",0");
	strcat(text, "]}}");
	expect(text, outcome);
}

TEST(i4_members_are_bounded)
{
	/* Four of the frame, three of the payload, the rest elements. */
	expect_members(93, 0);
	expect_members(94, RELAY_E_TOO_MANY_KEYS);
	expect_members(1500, RELAY_E_TOO_MANY_KEYS);
}

TEST(i4_length_is_bounded)
{
	static char text[RELAY_MESSAGE_MAX + 2];
	const char *head = HEAD "{\"kind\":\"a\",\"seq\":1,\"x\":\"";
	struct relay_client_frame f;

	memset(text, 'x', sizeof(text));
	memcpy(text, head, strlen(head));
	memcpy(text + RELAY_MESSAGE_MAX - 3, "\"}}", 3);
	CHECK_EQ(relay_client_frame_decode(&f, text, RELAY_MESSAGE_MAX, &limits), 0);
	CHECK_EQ(relay_client_frame_decode(&f, text, RELAY_MESSAGE_MAX + 1, &limits), RELAY_E_TOO_LONG);
}

TEST(i4_every_prefix_of_a_frame_is_refused)
{
	static const char text[] = HEAD "{\"kind\":\"a\",\"seq\":12,\"x\":[{\"y\":\"\\u00e9\\n\"},-1.5e3,true]}}";
	struct relay_client_frame f;

	CHECK_EQ(decode(&f, text), 0);
	for (size_t len = 0; len < sizeof(text) - 1; len++) {
		char *copy = malloc(len ? len : 1);

		memcpy(copy, text, len);
		CHECK_EQ(relay_client_frame_decode(&f, copy, len, &limits), RELAY_E_SYNTAX);
		free(copy);
	}
}

TEST(the_scanner_takes_nothing_that_the_peers_parser_refuses)
{
	/*
	 * Random damage to a good frame: what passes must be JSON to jansson's strict
	 * reading, too (which also wants numbers in range; so no exponents here).
	 */
	static const char good[] = HEAD "{\"kind\":\"a\",\"seq\":12,\"x\":[{\"y\":\"\\u00e9\\n\"},-1.5,true]}}";
	static const char bytes[] = "{}[],:\"\\u0019atrfn.-+ \xc3\xa9\x80";
	const struct json_limits wide = { 1 << 20, 64, 1000 };
	unsigned int state = 1, taken = 0;

	for (int i = 0; i < 200000; i++) {
		struct relay_client_frame f;
		char text[sizeof(good)];
		json_t *json = NULL;
		int r;

		memcpy(text, good, sizeof(good));
		for (int k = 0; k < 1 + i % 3; k++) {
			state = state * 1103515245u + 12345u;
			text[(state >> 8) % (sizeof(good) - 1)] = bytes[(state >> 20) % (sizeof(bytes) - 1)];
		}
		if (decode(&f, text))
			continue;
		taken++;
		r = json_parse(&json, text, strlen(text), &wide);
		if (r)
			test_fail(__FILE__, __LINE__, "taken, but no JSON: %s", text);
		json_decref(json);
	}
	CHECK(taken > 100);
}

/* ---- both sides ---- */

TEST(what_the_relay_writes_the_client_reads)
{
	static const uint8_t id[16] = { 1, 2, 3, 255 };
	struct relay_server_frame f;
	char text[RELAY_ENVELOPE_MAX];
	size_t len;

	len = relay_hello_encode(text, sizeof(text), "ABCD2345", RELAY_BOB, id, 1800, 7);
	CHECK_EQ(relay_server_frame_decode(&f, text, len), 0);
	CHECK_EQ(f.type, RELAY_HELLO);
	CHECK_STR(f.code, "ABCD2345");
	CHECK_EQ(f.role, RELAY_BOB);
	CHECK_MEM(f.session_id, id, 16);
	CHECK_EQ(f.expires_in_s, 1800);
	CHECK_EQ(f.last_seq, 7);
	relay_server_frame_done(&f);

	len = relay_peer_encode(text, sizeof(text), RELAY_PEER_LEFT, RELAY_ALICE);
	CHECK_EQ(relay_server_frame_decode(&f, text, len), 0);
	CHECK_EQ(f.type, RELAY_PEER_LEFT);
	CHECK_EQ(f.role, RELAY_ALICE);
	relay_server_frame_done(&f);

	len = relay_pong_encode(text, sizeof(text));
	CHECK_EQ(relay_server_frame_decode(&f, text, len), 0);
	CHECK_EQ(f.type, RELAY_PONG);
	relay_server_frame_done(&f);

	len = relay_error_encode(text, sizeof(text), "bad_seq", "no good");
	CHECK_EQ(relay_server_frame_decode(&f, text, len), 0);
	CHECK_EQ(f.type, RELAY_ERROR);
	CHECK_STR(f.error_code, "bad_seq");
	CHECK_STR(f.error_text, "no good");
	relay_server_frame_done(&f);
}

TEST(every_outcome_has_a_code_and_fits_a_frame)
{
	char text[RELAY_ENVELOPE_MAX];

	for (int i = RELAY_E_TOO_LONG; i <= RELAY_E_SEQ; i++)
		CHECK(relay_error_encode(text, sizeof(text), relay_outcome_code(i), relay_outcome_text(i)) > 0);
}

TEST(a_packet_passes_through_a_relay_unchanged)
{
	json_t *fields = json_pack("{s:s, s:i}", "share_b64", "AAEC", "n", 5);
	struct relay_client_frame seen;
	struct relay_server_frame f;
	char text[4096];
	char *packet;
	size_t len, n;

	CHECK_EQ(relay_packet_encode(&packet, &len, "pake", 3, fields), 0);
	json_decref(fields);
	CHECK_EQ(relay_client_frame_decode(&seen, packet, len, &limits), 0);
	CHECK_EQ(seen.seq, 3);
	n = relay_relay_head(text, sizeof(text), RELAY_ALICE);
	memcpy(text + n, packet, len);
	strcpy(text + n + len, RELAY_RELAY_TAIL);
	CHECK_EQ(relay_server_frame_decode(&f, text, strlen(text)), 0);
	CHECK_EQ(f.type, RELAY_RELAY);
	CHECK_EQ(f.role, RELAY_ALICE);
	CHECK_STR(f.kind, "pake");
	CHECK_EQ(f.seq, 3);
	CHECK_STR(json_get_str(f.payload, "share_b64"), "AAEC");
	CHECK_EQ(json_get_int(f.payload, "n", 0), 5);
	relay_server_frame_done(&f);
	free(packet);
}

TEST(packets_with_a_wrong_kind_or_seq_are_not_made)
{
	char *text;
	size_t len;

	CHECK_EQ(relay_packet_encode(&text, &len, "Pake", 1, NULL), -EINVAL);
	CHECK_EQ(relay_packet_encode(&text, &len, "", 1, NULL), -EINVAL);
	CHECK_EQ(relay_packet_encode(&text, &len, "pake", 0, NULL), -EINVAL);
	CHECK_EQ(relay_packet_encode(&text, &len, "pake", RELAY_SEQ_MAX + 1, NULL), -EINVAL);
}

static void expect_server(const char *text, int outcome)
{
	struct relay_server_frame f;
	int r = relay_server_frame_decode(&f, text, strlen(text));

	if (r != outcome)
		test_fail(__FILE__, __LINE__, "%d, not %d, for %.200s", r, outcome, text);
}

#define SERVER(type, payload) "{\"type\":\"" type "\",\"proto\":\"handfast-relay\",\"ver\":1,\"payload\":" payload "}"

TEST(i2_a_relay_is_believed_in_nothing)
{
	expect_server("", RELAY_E_SYNTAX);
	expect_server("{}", RELAY_E_FRAME);
	expect_server(SERVER("hello", "{}"), RELAY_E_FRAME);
	expect_server(SERVER("hello", "{\"session_code\":\"ABCD2345\",\"role\":\"eve\"}"), RELAY_E_FRAME);
	expect_server(SERVER("hello", "{\"session_code\":\"ABCD2345\",\"role\":\"bob\",\"session_id_b64\":"
				      "\"AQID/wAAAAAAAAAAAAAAAB==\",\"expires_in_s\":1,\"last_seq\":0}"), RELAY_E_BASE64);
	expect_server(SERVER("hello", "{\"session_code\":\"ABCD2345\",\"role\":\"bob\",\"session_id_b64\":"
				      "\"AQID\",\"expires_in_s\":1,\"last_seq\":0}"), RELAY_E_BASE64);
	expect_server(SERVER("hello", "{\"session_code\":\"ABCD2345\",\"role\":\"bob\",\"session_id_b64\":"
				      "\"AQID/wAAAAAAAAAAAAAAAA==\",\"expires_in_s\":-1,\"last_seq\":0}"), RELAY_E_FRAME);
	expect_server(SERVER("welcome", "{}"), RELAY_E_FRAME);
	expect_server(SERVER("relay", "{\"from\":\"alice\"}"), RELAY_E_FRAME);
	expect_server(SERVER("relay", "{\"from\":\"alice\",\"msg\":\"x\"}"), RELAY_E_FRAME);
	expect_server(SERVER("relay", "{\"from\":\"alice\",\"msg\":" SERVER("ping", "{}") "}"), RELAY_E_FRAME);
	expect_server(SERVER("relay", "{\"from\":\"alice\",\"msg\":" SERVER("packet", "{\"kind\":\"a\"}") "}"), RELAY_E_SEQ);
	expect_server(SERVER("relay", "{\"from\":\"alice\",\"msg\":" SERVER("packet", "{\"kind\":\"a\",\"seq\":0}") "}"),
		      RELAY_E_SEQ);
	expect_server(SERVER("error", "{\"code\":\"x\"}"), RELAY_E_FRAME);
	expect_server(SERVER("error", "{\"code\":\"X Y\",\"text\":\"t\"}"), RELAY_E_FRAME);
	expect_server(SERVER("peer_left", "{\"role\":1}"), RELAY_E_FRAME);
}

TEST(an_errors_text_is_cleaned_for_terminals)
{
	static const char text[] = SERVER("error", "{\"code\":\"x\",\"text\":\"a\\u001b[31mb\\u202ec\"}");
	struct relay_server_frame f;

	CHECK_EQ(relay_server_frame_decode(&f, text, sizeof(text) - 1), 0);
	CHECK_STR(f.error_text, "a[31mbc");
	relay_server_frame_done(&f);
}

TEST(session_answers_are_read_as_written)
{
	struct relay_session_reply out, in = { "ABCD2345", { 9, 8, 7 }, 1800 };
	char text[256];
	size_t len = relay_session_reply_encode(text, sizeof(text), &in);

	CHECK_EQ(relay_session_reply_decode(&out, text, len), 0);
	CHECK_STR(out.code, "ABCD2345");
	CHECK_MEM(out.id, in.id, 16);
	CHECK_EQ(out.expires_in_s, 1800);
	CHECK_EQ(relay_session_reply_decode(&out, "{}", 2), RELAY_E_FRAME);
	CHECK_EQ(relay_session_reply_decode(&out, "x", 1), RELAY_E_FRAME);
}
