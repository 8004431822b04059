/*
 * Proof of possession. The two signed requests were computed with Python's
 * hmac from the description in pop.h alone.
 */
#include "proto/pop.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/kdf.h"
#include "unit/lib/test.h"

static const char empty_digest[] = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";

/* The key of a login whose session key is 00 01 … 3f. */
static struct secret *fixture_key(void)
{
	_cleanup_(secret_freep) struct secret *session_key = NULL;
	struct secret *key;
	uint8_t *bytes;

	CHECK_EQ(crypto_init(), 0);
	CHECK_EQ(secret_new(&session_key, 64, &bytes), 0);
	for (size_t i = 0; i < 64; i++)
		bytes[i] = (uint8_t)i;
	CHECK_EQ(pop_key(&key, session_key), 0);
	return key;
}

struct sample {
	struct pop_request request;
	const char *snonce, *body;
	int64_t ts;
	const char *ts_text, *content_digest, *mac;
};

static const struct sample samples[] = {
	{ { "https", "example.org", "POST", "/api/transfer?a=%2F&b" }, NULL, "{\"to\":\"bob\"}",
	  1785000000, "1785000000", "sha-256=:e2YmTZpbPoZOq8/NqMnP4PrzpJ8aWL5a78tB2xPgHZY=:",
	  "aWcdHy2QNKEVOBLNStt3rTioNtwguwFN0EQRFgn7rtg" },
	{ { "http", "[::1]:8080", "GET", "/" }, "c2VydmVyIG5vbmNl", "", 0, "", empty_digest,
	  "5m6-vRE3aFgpeCvqbosWpuC7V7vZpz5hLEAdgE-kjhM" },
};
static const char nonce_text[] = "8PHy8_T19vf4-fr7_P3-_w";

static void sign_sample(struct pop_signed *out, const struct sample *s, const struct secret *key)
{
	uint8_t nonce[POP_NONCE_BYTES], sum[POP_DIGEST_LEN];

	for (size_t i = 0; i < sizeof(nonce); i++)
		nonce[i] = (uint8_t)(0xf0 + i);
	sha256(sum, s->body, strlen(s->body));
	CHECK_EQ(pop_sign(out, &s->request, s->snonce, s->ts, sum, nonce, key), 0);
}

static struct pop_fields fields_of(const struct pop_signed *s, const char *snonce)
{
	return (struct pop_fields){ "Bearer abcdef", snonce ? NULL : s->ts, snonce, s->nonce,
				    s->content_digest, s->mac };
}

TEST(pop_agrees_with_2_requests_signed_by_other_code)
{
	static const char key_hex[] =
		"975ffd37db46dedc3b0decbc42883a9a1cbe79204cca2af490e5d5d709d1b70d";
	_cleanup_(secret_freep) struct secret *key = fixture_key();
	uint8_t want[POP_KEY_LEN];

	CHECK_EQ(hex_parse(want, sizeof(want), key_hex), 0);
	CHECK(secret_equal(key, want, sizeof(want)));
	CHECK_EQ(ARRAY_SIZE(samples), 2);
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		const struct sample *s = &samples[i];
		struct pop_proof proof;
		struct pop_fields f;
		struct pop_signed got;

		sign_sample(&got, s, key);
		CHECK_STR(got.ts, s->ts_text);
		CHECK_STR(got.nonce, nonce_text);
		CHECK_STR(got.content_digest, s->content_digest);
		CHECK_STR(got.mac, s->mac);
		f = fields_of(&got, s->snonce);
		CHECK_EQ(pop_parse(&proof, &f), 0);
		CHECK_EQ(pop_check(&proof, &s->request, key), 0);
		CHECK_EQ(pop_check_body(&proof, s->body, strlen(s->body)), 0);
		CHECK_EQ(proof.ts, s->ts);
		CHECK_EQ(proof.nonce_len, POP_NONCE_BYTES);
		CHECK_EQ(proof.session_len, strlen("abcdef"));
		CHECK(memcmp(proof.session, "abcdef", proof.session_len) == 0);
		CHECK(!proof.snonce == !s->snonce);
		if (s->snonce)
			CHECK_EQ(proof.snonce_len, strlen(s->snonce));
	}
}

TEST(pop_draws_a_new_nonce_each_time)
{
	_cleanup_(secret_freep) struct secret *key = fixture_key();
	static const uint8_t sum[POP_DIGEST_LEN];
	struct pop_signed a, b;

	CHECK_EQ(pop_sign(&a, &samples[0].request, NULL, 1, sum, NULL, key), 0);
	CHECK_EQ(pop_sign(&b, &samples[0].request, NULL, 1, sum, NULL, key), 0);
	CHECK(strcmp(a.nonce, b.nonce) != 0 && strcmp(a.mac, b.mac) != 0);
}

TEST(pop_holds_for_no_other_request_key_time_nonce_or_digest)
{
	_cleanup_(secret_freep) struct secret *key = fixture_key(), *other = NULL;
	const struct sample *s = &samples[0];
	const struct pop_request wrong[] = {
		{ "http", "example.org", "POST", "/api/transfer?a=%2F&b" },
		{ "https", "example.com", "POST", "/api/transfer?a=%2F&b" },
		{ "https", "example.org:8443", "POST", "/api/transfer?a=%2F&b" },
		{ "https", "example.org", "GET", "/api/transfer?a=%2F&b" },
		{ "https", "example.org", "post", "/api/transfer?a=%2F&b" },
		{ "https", "example.org", "POST", "/api/transfer?a=/&b" },
		{ "https", "example.org", "POST", "/api/transfer?a=%2f&b" },
		{ "https", "example.org", "POST", "/api/transfer?a=%2F&b&" },
		{ "https", "example.org", "POST", "/api/transfer?a=%2F" },
		{ "https", "example.org", "POST", "/api//transfer?a=%2F&b" },
		{ "https", "example.org", "POST", "/api/./transfer?a=%2F&b" },
		{ "https", "example.org", "POST", "/api/transfer" },
		{ "https", "example.org", "POST", "/api/transfer?a=%2F&b#" },
	};
	struct pop_fields right, f;
	struct pop_signed sent;
	struct pop_proof proof;

	sign_sample(&sent, s, key);
	right = fields_of(&sent, NULL);
	CHECK_EQ(pop_parse(&proof, &right), 0);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		CHECK_EQ(pop_check(&proof, &wrong[i], key), POP_E_WRONG);

	CHECK_EQ(secret_random(&other, POP_KEY_LEN), 0);
	CHECK_EQ(pop_check(&proof, &s->request, other), POP_E_WRONG);
	CHECK_EQ(pop_check_body(&proof, "{\"to\":\"eve\"}", 12), POP_E_WRONG);
	CHECK_EQ(pop_check_body(&proof, "", 0), POP_E_WRONG);

#define OTHER(member, value)                                          \
	f = right;                                                    \
	f.member = (value);                                           \
	CHECK_EQ(pop_parse(&proof, &f), 0);                           \
	CHECK_EQ(pop_check(&proof, &s->request, key), POP_E_WRONG)
	OTHER(ts, "1785000001");
	OTHER(nonce, "8PHy8_T19vf4-fr7_P3-_Q");
	OTHER(content_digest, empty_digest);
	/* The value as a whole is signed: a member for others to check by is no free addition. */
	OTHER(content_digest, "md5=:1B2M2Y8AsgTpgAmY7PhCfg==:, "
			      "sha-256=:e2YmTZpbPoZOq8/NqMnP4PrzpJ8aWL5a78tB2xPgHZY=:");
	/* The time in place of a server nonce that reads the same: the mode is signed, too. */
	f = right;
	f.snonce = f.ts;
	f.ts = NULL;
	CHECK_EQ(pop_parse(&proof, &f), 0);
	CHECK_EQ(pop_check(&proof, &s->request, key), POP_E_WRONG);

	CHECK_EQ(pop_parse(&proof, &right), 0);
	CHECK_EQ(pop_check(&proof, &s->request, key), 0);
	for (size_t bit = 0; bit < 8 * sizeof(proof.mac); bit++) {
		proof.mac[bit / 8] ^= (uint8_t)(1 << bit % 8);
		CHECK_EQ(pop_check(&proof, &s->request, key), POP_E_WRONG);
		proof.mac[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

TEST(pop_has_no_two_ways_to_cut_its_input)
{
	_cleanup_(secret_freep) struct secret *key = fixture_key();
	struct pop_request moved = samples[0].request;
	struct pop_signed sent;
	struct pop_proof proof;
	struct pop_fields f;

	sign_sample(&sent, &samples[0], key);
	f = fields_of(&sent, NULL);
	CHECK_EQ(pop_parse(&proof, &f), 0);
	/* The same letters, one of them in the field before. */
	moved.authority = "example.orgp";
	moved.method = "OST";
	CHECK_EQ(pop_check(&proof, &moved, key), POP_E_WRONG);
}

TEST(pop_fields_may_have_white_space_around_them)
{
	_cleanup_(secret_freep) struct secret *key = fixture_key();
	char ts[64], nonce[64], digest[128], mac[64];
	struct pop_signed sent;
	struct pop_proof proof;
	struct pop_fields f;

	sign_sample(&sent, &samples[0], key);
	snprintf(ts, sizeof(ts), " %s", sent.ts);
	snprintf(nonce, sizeof(nonce), "%s \t", sent.nonce);
	snprintf(digest, sizeof(digest), "\t %s ", sent.content_digest);
	snprintf(mac, sizeof(mac), " %s ", sent.mac);
	f = (struct pop_fields){ "\tbEARER   abc== ", ts, NULL, nonce, digest, mac };
	CHECK_EQ(pop_parse(&proof, &f), 0);
	CHECK_EQ(proof.session_len, 5);
	CHECK_EQ(pop_check(&proof, &samples[0].request, key), 0);
}

/* ---- fields that are malformed ---- */

#define LONG_10 "xxxxxxxxxx"
#define LONG_100 LONG_10 LONG_10 LONG_10 LONG_10 LONG_10 LONG_10 LONG_10 LONG_10 LONG_10 LONG_10

static const struct pop_fields good_fields = {
	"Bearer abc", "1785000000", NULL, nonce_text, empty_digest,
	"aWcdHy2QNKEVOBLNStt3rTioNtwguwFN0EQRFgn7rtg"
};

static void refuse(const struct pop_fields *f, int outcome, const char *what)
{
	struct pop_proof proof = { .ts = -7 };
	int r = pop_parse(&proof, f);

	if (r != outcome)
		test_fail(__FILE__, __LINE__, "\"%s\" gives %d, not %d", what ? what : "(absent)", r,
			  outcome);
	CHECK_EQ(proof.ts, -7);
	CHECK(strcmp(pop_outcome_text(r), "not a proof") != 0);
}

TEST(pop_refuses_sessions_that_are_malformed)
{
	static const char *const bad[] = {
		NULL, "", "Bearer", "Bearer ", "Bearer  ", "abc", "Basic abc", "Bearerabc",
		"Bearer\tabc", "Bearer a b", "Bearer a,b", "Bearer =", "Bearer ==", "Bearer a=b",
		"Bearer a\"", "Bearer a\nb", "Bearer \xc3\xa4", "Bearer a%00", "Bearer a;b",
		"Bearer " LONG_100 LONG_100 LONG_10 LONG_10 LONG_10 LONG_10 LONG_10 "1234567",
	};
	struct pop_fields f = good_fields;

	refuse(&(struct pop_fields){ 0 }, POP_E_NO_SESSION, "nothing");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		f.authorization = bad[i];
		refuse(&f, POP_E_NO_SESSION, bad[i]);
	}
}

TEST(pop_refuses_times_and_server_nonces_that_are_malformed)
{
	static const char *const bad_ts[] = {
		NULL, "", " ", "-1", "+1", "01", "00", "1.5", "1e9", "0x10", "1 2", "1\n", "253402300800",
		"1785000000000", "99999999999999999999999", "now", "١",
	};
	static const char *const bad_snonce[] = {
		"", " ", "a b", "a=", "a+b", "a/b", "a,b", "a\x01", "\xff",
		LONG_100 LONG_100 LONG_10 LONG_10 LONG_10 LONG_10 LONG_10 "1234567",
	};
	struct pop_fields f = good_fields;
	struct pop_proof proof;

	for (size_t i = 0; i < ARRAY_SIZE(bad_ts); i++) {
		f.ts = bad_ts[i];
		refuse(&f, POP_E_TIME, bad_ts[i]);
	}
	f.ts = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(bad_snonce); i++) {
		f.snonce = bad_snonce[i];
		refuse(&f, POP_E_TIME, bad_snonce[i]);
	}
	f.ts = f.snonce = "1785000000";
	refuse(&f, POP_E_TIME, "both");
	f.ts = NULL;
	CHECK_EQ(pop_parse(&proof, &f), 0);
	f = good_fields;
	f.ts = "0";
	CHECK_EQ(pop_parse(&proof, &f), 0);
	f.ts = "253402300799";
	CHECK_EQ(pop_parse(&proof, &f), 0);
}

TEST(pop_refuses_nonces_that_are_malformed_short_or_long)
{
	static const char *const bad[] = {
		NULL,
		"",
		"8PHy8_T19vf4-fr7_P3-",		  /* 15 bytes */
		"8PHy8_T19vf4-fr7_P3-_",	  /* no length of base64 */
		"8PHy8_T19vf4-fr7_P3-_x",	  /* bits behind the end */
		"8PHy8_T19vf4-fr7_P3-_w==",	  /* padded */
		"8PHy8/T19vf4+fr7/P3+/w",	  /* the other alphabet */
		"8PHy8_T19vf4 fr7_P3-_w",
		"8PHy8_T19vf4-fr7_P3-_w,8PHy8_T19vf4-fr7_P3-_w",
		/* 66 bytes */
		"8PHy8_T19vf4-fr7_P3-8PHy8_T19vf4-fr7_P3-8PHy8_T19vf4-fr7_P3-8PHy8_T19vf4-fr7_P3-abcdabcd",
	};
	struct pop_fields f = good_fields;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		f.nonce = bad[i];
		refuse(&f, POP_E_NONCE, bad[i]);
	}
}

TEST(pop_refuses_macs_that_are_malformed)
{
	static const char *const bad[] = {
		NULL,
		"",
		"aWcdHy2QNKEVOBLNStt3rTioNtwguwFN0EQRFgn7rt",
		"aWcdHy2QNKEVOBLNStt3rTioNtwguwFN0EQRFgn7rth",
		"aWcdHy2QNKEVOBLNStt3rTioNtwguwFN0EQRFgn7rtg=",
		"aWcdHy2QNKEVOBLNStt3rTioNtwguwFN0EQRFgn7rtgg",
		"69671d1f2d9034a1153812cd4adb77ad38a836dc20bb014dd044111609fbaed8",
	};
	struct pop_fields f = good_fields;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		f.mac = bad[i];
		refuse(&f, POP_E_MAC, bad[i]);
	}
}

#define SUM "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

TEST(pop_refuses_content_digests_that_are_malformed_or_ambiguous)
{
	static const char *const bad[] = {
		NULL,
		"",
		" ",
		SUM,
		"sha-256",
		"sha-256=",
		"sha-256=" SUM,
		"sha-256=:",
		"sha-256=::",
		"sha-256=:" SUM,
		"sha-256=:" SUM ":,",
		"sha-256=:" SUM ": ,  ",
		",sha-256=:" SUM ":",
		"sha-256=:" SUM ":;q=1",
		"sha-256=:" SUM ": x",
		"sha-256=:" SUM ":, sha-256=:" SUM ":",
		"sha-256=:" SUM ":, md5=:AA==:, md5=:AQ==:",
		"sha-256=:" SUM ":, md5=?1",
		"sha-256=:" SUM ":, md5",
		"sha-256=:" SUM ":, md5=:A:",
		"sha-256 =:" SUM ":",
		"sha-256= :" SUM ":",
		"SHA-256=:" SUM ":",
		"sha-512=:AA==:",
		"sha-256x=:" SUM ":",
		"1sha-256=:" SUM ":",
		"sha-256=:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=:",
		"sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU:",
		"sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=:",
		"sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hS:",
		"sha-256=:47DEQpj8HBSa+/TImW+5 JCeuQeRkm5NMpJWZG3hSuFU=:",
		"a=:AA==:, b=:AA==:, c=:AA==:, d=:AA==:, e=:AA==:, f=:AA==:, g=:AA==:, h=:AA==:, sha-256=:" SUM ":",
	};
	struct pop_fields f = good_fields;
	char large[POP_CONTENT_DIGEST_MAX + 200];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		f.content_digest = bad[i];
		refuse(&f, POP_E_DIGEST, bad[i]);
	}
	memset(large, 'A', sizeof(large));
	memcpy(large, "sha-256=:" SUM ":, x=:", strlen("sha-256=:" SUM ":, x=:"));
	strcpy(large + POP_CONTENT_DIGEST_MAX + 10, ":");
	f.content_digest = large;
	refuse(&f, POP_E_DIGEST, "a large one");
}

TEST(pop_takes_content_digests_with_other_members)
{
	static const char *const good[] = {
		"sha-256=:" SUM ":",
		"sha-256=:" SUM ":,md5=:AA==:",
		"md5=:AA==: \t,\t sha-256=:" SUM ":",
		"unixsum=::, *x.y_z-1=:AQ==:, sha-256=:" SUM ":, sha-512=:AA==:",
		"a=:AA==:, b=:AA==:, c=:AA==:, d=:AA==:, e=:AA==:, f=:AA==:, g=:AA==:, sha-256=:" SUM ":",
	};
	uint8_t sum[POP_DIGEST_LEN], want[SHA256_LEN];

	sha256(want, "", 0);
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		memset(sum, 0, sizeof(sum));
		CHECK_EQ(pop_digest_parse(sum, good[i]), 0);
		CHECK_MEM(sum, want, sizeof(sum));
	}
}

TEST(pop_answers_the_first_thing_that_is_wrong)
{
	struct pop_fields f = { 0 };

	refuse(&f, POP_E_NO_SESSION, "nothing");
	f.authorization = good_fields.authorization;
	refuse(&f, POP_E_TIME, "a session");
	f.ts = good_fields.ts;
	refuse(&f, POP_E_NONCE, "and a time");
	f.nonce = good_fields.nonce;
	refuse(&f, POP_E_DIGEST, "and a nonce");
	f.content_digest = good_fields.content_digest;
	refuse(&f, POP_E_MAC, "and a digest");
}

/* ---- the request ---- */

TEST(pop_authority_has_one_spelling)
{
	static const struct {
		const char *scheme, *given, *want;
	} good[] = {
		{ "https", "example.org", "example.org" },
		{ "https", "EXAMPLE.Org", "example.org" },
		{ "https", "example.org:443", "example.org" },
		{ "https", "example.org:0443", "example.org" },
		{ "https", "example.org:", "example.org" },
		{ "https", "example.org:80", "example.org:80" },
		{ "http", "example.org:80", "example.org" },
		{ "http", "example.org:443", "example.org:443" },
		{ "http", "example.org:08080", "example.org:8080" },
		{ "https", "10.0.0.1:65535", "10.0.0.1:65535" },
		{ "https", "[FE80::1]:443", "[fe80::1]" },
		{ "http", "[::ffff:10.0.0.1]:8080", "[::ffff:10.0.0.1]:8080" },
		{ "http", "my_host", "my_host" },
	};
	char out[POP_AUTHORITY_SPACE], again[POP_AUTHORITY_SPACE];

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		CHECK_EQ(pop_authority(out, good[i].scheme, good[i].given), 0);
		CHECK_STR(out, good[i].want);
		CHECK_EQ(pop_authority(again, good[i].scheme, out), 0);
		CHECK_STR(again, out);
	}
}

TEST(pop_refuses_authorities_that_are_none)
{
	static const char *const bad[] = {
		"", ":80", "a b", "a/b", "a@b", "user:pw@host", "a:0", "a:65536", "a:99999999999999999999",
		"a:-1", "a:+1", "a: 80", "a:80x", "a:80:80", "::1", "[::1", "[]", "[x y]", "[::1]x", "[::1%eth0]",
		"]", "a\n", "\xc3\xa4", "a%2e", "a,b", "a\\b",
		LONG_100 LONG_100 LONG_10 LONG_10 LONG_10 LONG_10 LONG_10 LONG_10 "123",
		LONG_100 LONG_100 LONG_10 LONG_10 LONG_10 LONG_10 LONG_10 LONG_10 ":8443",
		"[x]", "[::g]",
	};
	char out[POP_AUTHORITY_SPACE] = "kept";

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (pop_authority(out, "https", bad[i]) != POP_E_REQUEST)
			test_fail(__FILE__, __LINE__, "\"%s\" is taken", bad[i]);
	CHECK_EQ(pop_authority(out, "HTTPS", "a"), POP_E_REQUEST);
	CHECK_EQ(pop_authority(out, "ftp", "a"), POP_E_REQUEST);
	CHECK_EQ(pop_authority(out, "", "a"), POP_E_REQUEST);
	CHECK_STR(out, "kept");
}

TEST(pop_signs_no_request_that_could_be_read_in_two_ways)
{
	_cleanup_(secret_freep) struct secret *key = fixture_key();
	static char longest[POP_TARGET_MAX + 2] = "/";
	const struct pop_request bad[] = {
		{ "HTTPS", "example.org", "GET", "/" }, { "", "example.org", "GET", "/" },
		{ "https", "Example.org", "GET", "/" }, { "https", "example.org:443", "GET", "/" },
		{ "https", "", "GET", "/" },		{ "https", "example.org", "", "/" },
		{ "https", "example.org", "G T", "/" }, { "https", "example.org", "GET\n", "/" },
		{ "https", "example.org", LONG_10 LONG_10 LONG_10 "xxx", "/" },
		{ "https", "example.org", "GET", "" },	{ "https", "example.org", "GET", "x" },
		{ "https", "example.org", "GET", "*" }, { "https", "example.org", "GET", "/ x" },
		{ "https", "example.org", "GET", "/\n" }, { "https", "example.org", "GET", "/\x7f" },
		{ "https", "example.org", "GET", "/\xc3\xa4" },
		{ "https", "example.org", "GET", "https://example.org/" },
		{ "https", "example.org", "GET", longest },
	};
	static const uint8_t sum[POP_DIGEST_LEN];
	struct pop_request r = { "https", "example.org", "GET", longest };
	struct pop_signed out = { .ts = "kept" };
	struct pop_proof proof;

	memset(longest + 1, 'x', POP_TARGET_MAX);
	CHECK_EQ(pop_parse(&proof, &good_fields), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		CHECK_EQ(pop_sign(&out, &bad[i], NULL, 1, sum, NULL, key), POP_E_REQUEST);
		CHECK_EQ(pop_check(&proof, &bad[i], key), POP_E_REQUEST);
	}
	CHECK_STR(out.ts, "kept");
	longest[POP_TARGET_MAX] = '\0';
	CHECK_EQ(pop_sign(&out, &r, NULL, 1, sum, NULL, key), 0);
}

TEST(pop_signs_with_no_time_or_server_nonce_that_a_server_would_refuse)
{
	_cleanup_(secret_freep) struct secret *key = fixture_key();
	const struct pop_request *r = &samples[0].request;
	static const uint8_t sum[POP_DIGEST_LEN];
	struct pop_signed out;

	CHECK_EQ(pop_sign(&out, r, NULL, -1, sum, NULL, key), POP_E_TIME);
	CHECK_EQ(pop_sign(&out, r, NULL, 253402300800, sum, NULL, key), POP_E_TIME);
	CHECK_EQ(pop_sign(&out, r, "", 1, sum, NULL, key), POP_E_TIME);
	CHECK_EQ(pop_sign(&out, r, "a b", 1, sum, NULL, key), POP_E_TIME);
	CHECK_EQ(pop_sign(&out, r, "a\r\nX: y", 1, sum, NULL, key), POP_E_TIME);
}

/* As large as each field may be, all together. */
TEST(pop_signs_and_checks_the_largest_request)
{
	_cleanup_(secret_freep) struct secret *key = fixture_key();
	static char target[POP_TARGET_MAX + 1], digest[POP_CONTENT_DIGEST_MAX + 1];
	char host[POP_AUTHORITY_MAX + 1], snonce[POP_SNONCE_MAX + 1], method[POP_METHOD_MAX + 1];
	char nonce[BASE64_SPACE(POP_NONCE_BYTES_MAX)];
	uint8_t bytes[POP_NONCE_BYTES_MAX] = { 0 };
	struct pop_request r = { "https", host, method, target };
	struct pop_fields f;
	struct pop_proof proof;

	memset(target, 'x', POP_TARGET_MAX);
	target[0] = '/';
	memset(host, 'h', POP_AUTHORITY_MAX - 6);
	strcpy(host + POP_AUTHORITY_MAX - 6, ":65535");
	memset(snonce, 's', POP_SNONCE_MAX);
	snonce[POP_SNONCE_MAX] = '\0';
	memset(method, 'M', POP_METHOD_MAX);
	method[POP_METHOD_MAX] = '\0';
	base64_encode(nonce, bytes, sizeof(bytes), BASE64_URL);
	memset(digest, 'A', POP_CONTENT_DIGEST_MAX);
	memcpy(digest, "sha-256=:" SUM ":, xxxxx=:", strlen("sha-256=:" SUM ":, xxxxx=:"));
	digest[POP_CONTENT_DIGEST_MAX - 1] = ':';
	f = (struct pop_fields){ "Bearer x", NULL, snonce, nonce, digest, good_fields.mac };
	CHECK_EQ(pop_parse(&proof, &f), 0);
	CHECK_EQ(pop_check(&proof, &r, key), POP_E_WRONG);
}

TEST(pop_outcomes_have_words)
{
	for (int i = POP_E_NO_SESSION; i <= POP_E_WRONG; i++)
		CHECK(strcmp(pop_outcome_text(i), pop_outcome_text(0)) != 0);
}
