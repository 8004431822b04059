/* pairing_msg.c: one encoding a message, and nothing else decodes. */
#include "unit/lib/test.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "crypto/secret.h"
#include "proto/pairing_msg.h"
#include "proto/secret_msg.h"

static void fill(struct pairing_msg *m, uint8_t kind)
{
	static const char *const names[] = { "v40-spake2-x25519", "v50-test" };

	memset(m, 0, sizeof(*m));
	m->kind = kind;
	switch (kind) {
	case PAIRING_HELLO:
		m->hello.protocol = PAIRING_PROTOCOL;
		m->hello.role = PAIRING_BOB;
		m->hello.secret_class = SECRET_PIN;
		m->hello.compare_sas = true;
		CHECK_EQ(negotiate_offer_init(&m->hello.offer, names, 2, NULL), 0);
		break;
	case PAIRING_CHOOSE:
		strcpy(m->choose.profile, names[0]);
		memset(m->choose.digest, 1, sizeof(m->choose.digest));
		break;
	case PAIRING_PAKE:
		m->pake.len = 33;
		memset(m->pake.share, 2, 33);
		break;
	case PAIRING_CONFIRM:
		memset(&m->confirm, 3, sizeof(m->confirm));
		break;
	case PAIRING_HANDSHAKE:
		memset(m->handshake.nonce, 4, sizeof(m->handshake.nonce));
		m->handshake.len = 32;
		memset(m->handshake.share, 5, 32);
		break;
	case PAIRING_FINISH:
		memset(&m->finish, 6, sizeof(m->finish));
		break;
	case PAIRING_VERDICT:
		m->verdict.compared = true;
		break;
	case PAIRING_IDENTITY:
		strcpy(m->identity.name, "pi");
		m->identity.key_type = PAIRING_KEY_ED25519;
		m->identity.port = 7200;
		m->identity.n_candidates = 2;
		strcpy(m->identity.candidates[0], "192.0.2.1");
		strcpy(m->identity.candidates[1], "[2001:db8::1]");
		strcpy(m->identity.host_name, "pi.local");
		strcpy(m->identity.version, "handfast 0.1.0");
		strcpy(m->identity.note, "Gr\xc3\xbc\xc3\x9f dich");
		break;
	case PAIRING_ABORT:
		m->abort.code = PAIRING_CANCELLED;
		break;
	}
}

static const uint8_t all_kinds[] = { PAIRING_HELLO, PAIRING_CHOOSE, PAIRING_PAKE, PAIRING_CONFIRM,
				     PAIRING_HANDSHAKE, PAIRING_FINISH, PAIRING_VERDICT,
				     PAIRING_IDENTITY, PAIRING_PREPARED, PAIRING_ABORT };

TEST(every_kind_comes_back_as_it_went)
{
	for (size_t i = 0; i < sizeof(all_kinds); i++) {
		static struct pairing_msg m, back;
		uint8_t body[PAIRING_BODY_MAX], again[PAIRING_BODY_MAX];
		ssize_t len;

		fill(&m, all_kinds[i]);
		len = pairing_msg_encode(body, sizeof(body), &m);
		CHECK(len >= 0);
		CHECK_EQ(pairing_msg_decode(&back, all_kinds[i], body, (size_t)len), 0);
		CHECK_EQ(pairing_msg_encode(again, sizeof(again), &back), len);
		CHECK_MEM(again, body, (size_t)len);
	}
}

TEST(i4_cut_and_lengthened_bodies_are_refused)
{
	for (size_t i = 0; i < sizeof(all_kinds); i++) {
		static struct pairing_msg m, back;
		uint8_t body[PAIRING_BODY_MAX] = { 0 };
		ssize_t len;

		fill(&m, all_kinds[i]);
		len = pairing_msg_encode(body, sizeof(body), &m);
		for (ssize_t cut = 0; cut < len; cut++)
			CHECK_EQ(pairing_msg_decode(&back, all_kinds[i], body, (size_t)cut), -EBADMSG);
		CHECK_EQ(pairing_msg_decode(&back, all_kinds[i], body, (size_t)len + 1), -EBADMSG);
	}
}

TEST(i4_whatever_decodes_has_that_one_encoding)
{
	static struct pairing_msg m, back;
	uint8_t body[PAIRING_BODY_MAX], again[PAIRING_BODY_MAX];

	for (size_t i = 0; i < sizeof(all_kinds); i++) {
		ssize_t len;

		fill(&m, all_kinds[i]);
		len = pairing_msg_encode(body, sizeof(body), &m);
		for (size_t bit = 0; bit < 8 * (size_t)len; bit++) {
			body[bit / 8] ^= (uint8_t)(1 << bit % 8);
			if (pairing_msg_decode(&back, all_kinds[i], body, (size_t)len) == 0) {
				CHECK_EQ(pairing_msg_encode(again, sizeof(again), &back), len);
				CHECK_MEM(again, body, (size_t)len);
			}
			body[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
}

TEST(i4_random_bodies_do_no_harm)
{
	static struct pairing_msg back;
	uint8_t body[600];

	for (unsigned int round = 0; round < 20000; round++) {
		size_t len = random_below(sizeof(body));

		random_bytes(body, len);
		(void)pairing_msg_decode(&back, (uint8_t)random_below(40), body, len);
	}
}

static int decode_identity(void (*spoil)(struct pairing_identity *i))
{
	static struct pairing_msg m, back;
	uint8_t body[PAIRING_BODY_MAX];
	ssize_t len;

	fill(&m, PAIRING_IDENTITY);
	spoil(&m.identity);
	len = pairing_msg_encode(body, sizeof(body), &m);
	CHECK(len > 0);
	return pairing_msg_decode(&back, PAIRING_IDENTITY, body, (size_t)len);
}

static void bad_name(struct pairing_identity *i) { strcpy(i->name, "-x"); }
static void no_name(struct pairing_identity *i) { *i->name = '\0'; }
static void no_port(struct pairing_identity *i) { i->port = 0; }
static void escape(struct pairing_identity *i) { strcpy(i->note, "\x1b[2J"); }
static void bidi(struct pairing_identity *i) { strcpy(i->note, "a\xe2\x80\xae" "b"); }
static void not_utf8(struct pairing_identity *i) { strcpy(i->note, "\xff"); }
static void host_candidate(struct pairing_identity *i) { strcpy(i->candidates[0], "evil.example"); }
static void bare_v6(struct pairing_identity *i) { strcpy(i->candidates[0], "2001:db8::1"); }
static void long_v4(struct pairing_identity *i) { strcpy(i->candidates[0], "192.000.2.1"); }
static bool is_candidate_of_no_other(const char *s)
{
	return !pairing_is_candidate(s);
}
static void key_type(struct pairing_identity *i) { i->key_type = 2; }
static void fine(struct pairing_identity *i) { (void)i; }

TEST(identities_are_checked)
{
	CHECK_EQ(decode_identity(fine), 0);
	CHECK_EQ(decode_identity(bad_name), -EBADMSG);
	CHECK_EQ(decode_identity(no_name), -EBADMSG);
	CHECK_EQ(decode_identity(no_port), -EBADMSG);
	CHECK_EQ(decode_identity(escape), -EBADMSG);
	CHECK_EQ(decode_identity(bidi), -EBADMSG);
	CHECK_EQ(decode_identity(not_utf8), -EBADMSG);
	CHECK_EQ(decode_identity(host_candidate), -EBADMSG);
	CHECK_EQ(decode_identity(bare_v6), -EBADMSG);
	CHECK_EQ(decode_identity(long_v4), -EBADMSG);
	CHECK_EQ(decode_identity(key_type), -EBADMSG);
	CHECK(is_candidate_of_no_other("0.0.0.0") && is_candidate_of_no_other("127.0.0.1"));
	CHECK(is_candidate_of_no_other("224.0.0.1") && pairing_is_candidate("169.254.10.2"));
	CHECK(is_candidate_of_no_other("255.255.255.255") && is_candidate_of_no_other("[::]"));
	CHECK(is_candidate_of_no_other("[::1]") && is_candidate_of_no_other("[fe80::1]"));
	CHECK(is_candidate_of_no_other("[ff02::1]") && is_candidate_of_no_other("[::ffff:127.0.0.1]"));
	CHECK(pairing_is_candidate("10.0.0.1") && pairing_is_candidate("[fd00::1]"));
}

static int decode_payload(const char *text)
{
	struct pairing_packet p;
	json_t *json = json_loads(text, 0, NULL);
	int r;

	CHECK(json);
	r = pairing_packet_decode(&p, json);
	json_decref(json);
	return r;
}

TEST(payloads_are_checked)
{
	CHECK_EQ(decode_payload("{\"kind\":\"pake\",\"seq\":3,\"body_b64\":\"AAAA\"}"), 0);
	CHECK_EQ(decode_payload("{\"kind\":\"prepared\",\"seq\":9,\"body_b64\":\"\"}"), 0);
	CHECK_EQ(decode_payload("{\"kind\":\"other\",\"seq\":3,\"body_b64\":\"AAAA\"}"), -EBADMSG);
	CHECK_EQ(decode_payload("{\"kind\":\"pake\",\"seq\":0,\"body_b64\":\"AAAA\"}"), -EBADMSG);
	CHECK_EQ(decode_payload("{\"kind\":\"pake\",\"seq\":-1,\"body_b64\":\"AAAA\"}"), -EBADMSG);
	CHECK_EQ(decode_payload("{\"kind\":\"pake\",\"seq\":\"3\",\"body_b64\":\"AAAA\"}"), -EBADMSG);
	CHECK_EQ(decode_payload("{\"kind\":\"pake\",\"seq\":3.5,\"body_b64\":\"AAAA\"}"), -EBADMSG);
	CHECK_EQ(decode_payload("{\"kind\":\"pake\",\"seq\":3,\"body_b64\":\"AAA\"}"), -EBADMSG);
	CHECK_EQ(decode_payload("{\"kind\":\"pake\",\"seq\":3,\"body_b64\":\"AAB=\"}"), -EBADMSG);
	CHECK_EQ(decode_payload("{\"kind\":\"pake\",\"seq\":3}"), -EBADMSG);
	CHECK_EQ(decode_payload("{\"kind\":\"pake\",\"seq\":3,\"body_b64\":\"AAAA\",\"x\":1}"), -EBADMSG);
	CHECK_EQ(decode_payload("{\"kind\":1,\"seq\":3,\"body_b64\":\"AAAA\"}"), -EBADMSG);
}

TEST(a_body_beyond_the_limit_is_refused)
{
	struct pairing_packet p;
	size_t n = (PAIRING_BODY_MAX + 3) / 3 * 4;
	char *body = malloc(n + 1);
	json_t *json;

	memset(body, 'A', n);
	body[n] = '\0';
	json = json_pack("{s:s, s:i, s:s}", "kind", "sealed", "seq", 7, "body_b64", body);
	CHECK_EQ(pairing_packet_decode(&p, json), -EBADMSG);
	json_decref(json);
	free(body);
}

TEST(a_packet_frame_is_what_the_relay_expects)
{
	struct pairing_packet p = { .kind = PAIRING_PREPARED, .seq = 9, .len = 2, .body = { 1, 2 } }, back;
	char *text = NULL;
	size_t len = 0;
	json_t *json;

	CHECK_EQ(pairing_packet_encode(&text, &len, &p), 0);
	json = json_loads(text, 0, NULL);
	CHECK_STR(json_get_str(json, "type"), "packet");
	CHECK_EQ(pairing_packet_decode(&back, json_object_get(json, "payload")), 0);
	CHECK_EQ(back.kind, p.kind);
	CHECK_EQ(back.seq, 9);
	CHECK_EQ(back.len, 2);
	json_decref(json);
	free(text);
}
