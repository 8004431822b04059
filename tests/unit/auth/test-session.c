/* Sessions: what they sign is what a server checks, and what is kept comes back. */
#include "auth/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/json.h"
#include "crypto/secret.h"
#include "unit/lib/test.h"

static struct auth_session *session(void)
{
	struct auth_session *s = NULL;
	struct secret *opaque_key = NULL;

	CHECK(crypto_init() == 0);
	CHECK(secret_random(&opaque_key, 64) == 0);
	CHECK(auth_session_new(&s, "session.id", opaque_key) == 0);
	secret_free(opaque_key);
	CHECK(auth_url_parse(&s->url, "https://login.example/auth") == 0);
	snprintf(s->origin, sizeof(s->origin), "https://login.example");
	snprintf(s->user, sizeof(s->user), "anna");
	s->created_s = 1000;
	s->expires_s = 4600;
	return s;
}

static const char *value(const struct auth_fields *f, const char *name)
{
	for (size_t i = 0; i < f->n; i++)
		if (strcmp(f->v[i].name, name) == 0)
			return f->v[i].value;
	return NULL;
}

static int check(const struct auth_fields *f, const struct pop_request *q, const char *body, const struct secret *key)
{
	const struct pop_fields fields = { .authorization = value(f, "Authorization"),
					   .ts = value(f, "X-TS"),
					   .snonce = value(f, "X-SNONCE"),
					   .nonce = value(f, "X-NONCE"),
					   .content_digest = value(f, "Content-Digest"),
					   .mac = value(f, "X-POP") };
	struct pop_proof proof;
	int r = pop_parse(&proof, &fields);

	if (!r)
		r = pop_check_body(&proof, body, strlen(body));
	return r ? r : pop_check(&proof, q, key);
}

TEST(what_is_signed_is_what_a_server_checks)
{
	static const struct pop_request q = { "https", "app.example", "POST", "/a%2fb?x=%00&y" };
	_cleanup_(auth_session_freep) struct auth_session *s = session();
	struct auth_fields f;

	CHECK(auth_sign(&f, s, &q, "body", 4, 1785000000) == 0);
	CHECK_EQ(f.n, 5);
	CHECK_STR(value(&f, "Authorization"), "Bearer session.id");
	CHECK_STR(value(&f, "X-TS"), "1785000000");
	CHECK(!value(&f, "X-SNONCE"));
	CHECK_EQ(check(&f, &q, "body", s->key), 0);
	CHECK_EQ(check(&f, &q, "bodY", s->key), POP_E_WRONG);
}

TEST(each_signature_covers_its_own_request)
{
	static const struct pop_request q = { "https", "app.example", "POST", "/a?x=1" };
	static const struct pop_request others[] = { { "http", "app.example", "POST", "/a?x=1" },
						     { "https", "app.example:444", "POST", "/a?x=1" },
						     { "https", "app.example", "PUT", "/a?x=1" },
						     { "https", "app.example", "POST", "/a?x=2" },
						     { "https", "app.example", "POST", "/b?x=1" } };
	_cleanup_(auth_session_freep) struct auth_session *s = session(), *other = session();
	struct auth_fields f;

	CHECK(auth_sign(&f, s, &q, NULL, 0, 1785000000) == 0);
	CHECK_EQ(check(&f, &q, "", s->key), 0);
	CHECK_EQ(check(&f, &q, "", other->key), POP_E_WRONG);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		CHECK_EQ(check(&f, &others[i], "", s->key), POP_E_WRONG);
}

TEST(nonces_are_never_the_same)
{
	static const struct pop_request q = { "https", "app.example", "GET", "/" };
	_cleanup_(auth_session_freep) struct auth_session *s = session();
	struct auth_fields a, b;

	CHECK(auth_sign(&a, s, &q, NULL, 0, 1785000000) == 0);
	CHECK(auth_sign(&b, s, &q, NULL, 0, 1785000000) == 0);
	CHECK(strcmp(value(&a, "X-NONCE"), value(&b, "X-NONCE")) != 0);
	CHECK(strcmp(value(&a, "X-POP"), value(&b, "X-POP")) != 0);
}

TEST(i7_server_nonce_takes_the_place_of_the_time)
{
	static const struct pop_request q = { "https", "app.example", "GET", "/" };
	_cleanup_(auth_session_freep) struct auth_session *s = session();
	struct auth_fields f;

	CHECK(!auth_session_retry(s, 200, "nonce-1"));
	CHECK(!auth_session_retry(s, 401, NULL));
	CHECK(auth_session_retry(s, 401, "nonce-1"));
	CHECK(auth_sign(&f, s, &q, NULL, 0, 5) == 0);
	CHECK(!value(&f, "X-TS"));
	CHECK_STR(value(&f, "X-SNONCE"), "nonce-1");
	CHECK_EQ(check(&f, &q, "", s->key), 0);
	/* The same one again brings nothing; a newer one does. */
	CHECK(!auth_session_retry(s, 401, "nonce-1"));
	CHECK(auth_session_retry(s, 401, "nonce-2"));
}

TEST(server_nonces_that_are_none_are_not_taken)
{
	_cleanup_(auth_session_freep) struct auth_session *s = session();
	char long_one[POP_SNONCE_MAX + 2];

	memset(long_one, 'a', sizeof(long_one));
	long_one[sizeof(long_one) - 1] = '\0';
	CHECK(!auth_session_retry(s, 401, ""));
	CHECK(!auth_session_retry(s, 401, "a b"));
	CHECK(!auth_session_retry(s, 401, "a\r\nX-Evil: 1"));
	CHECK(!auth_session_retry(s, 401, "a="));
	CHECK(!auth_session_retry(s, 401, long_one));
	CHECK_STR(s->snonce, "");
	long_one[POP_SNONCE_MAX] = '\0';
	CHECK(auth_session_retry(s, 401, long_one));
}

TEST(what_cannot_be_sent_is_not_signed)
{
	static const struct pop_request bad[] = { { "https", "app.example", "GET", "no-slash" },
						  { "https", "app.example", "G T", "/" },
						  { "ftp", "app.example", "GET", "/" },
						  { "https", "app.example", "GET", "/a b" } };
	_cleanup_(auth_session_freep) struct auth_session *s = session();
	struct auth_fields f;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ(auth_sign(&f, s, &bad[i], NULL, 0, 1785000000), POP_E_REQUEST);
}

TEST(kept_session_comes_back_without_its_key)
{
	_cleanup_(auth_session_freep) struct auth_session *s = session(), *back = NULL;
	_cleanup_json_ json_t *o = auth_session_to_json(s);

	CHECK(!json_object_get(o, "key"));
	CHECK_EQ(auth_session_from_json(&back, o), 0);
	CHECK(!back->key);
	CHECK_STR(back->id, s->id);
	CHECK_STR(back->user, s->user);
	CHECK_STR(back->origin, s->origin);
	CHECK_STR(back->url.authority, "login.example");
	CHECK_STR(back->url.prefix, "/auth");
	CHECK(back->created_s == 1000 && back->expires_s == 4600);
}

TEST(i4_damaged_sessions_are_no_sessions)
{
	static const struct {
		const char *key, *value;
	} bad[] = { { "url", "" },	  { "url", "gopher://x" }, { "user", "" },	      { "user", "Anna" },
		    { "user", "a b" },	  { "session_id", "" },	   { "session_id", "a b" },   { "session_id", "a\nb" },
		    { "origin", "" } };
	_cleanup_(auth_session_freep) struct auth_session *s = session();
	struct auth_session *back = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_json_ json_t *o = auth_session_to_json(s);

		json_object_set_new(o, bad[i].key, json_string(bad[i].value));
		CHECK_EQ(auth_session_from_json(&back, o), -EBADMSG);
		json_object_del(o, bad[i].key);
		CHECK_EQ(auth_session_from_json(&back, o), -EBADMSG);
	}
	for (int format = 0; format < 3; format += 2) {
		_cleanup_json_ json_t *o = auth_session_to_json(s);

		json_object_set_new(o, "format", json_integer(format));
		CHECK_EQ(auth_session_from_json(&back, o), -EBADMSG);
	}
	CHECK(!back);
}
