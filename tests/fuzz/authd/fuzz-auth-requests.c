/*
 * authd as a sequence of requests: people who register, log in and sign, each of whose messages may be changed on the way,
 * come again, or come in another's session; strangers' requests of any content on any path; time; users that are
 * disabled. Handlers, keys and database are authd's own; HTTP is a double that hands requests over, elements are numbers, and
 * clients do not stretch their passwords.
 *
 * What must hold: each request is answered once, in a form that handfast-auth(7) tells; a login succeeds once for
 * each proof that an honest client made, and for nothing else; so does a signed request, whose method, target and body
 * are those that were signed; nobody's record changes but by its own session.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "authd/config.h"
#include "authd/keys.h"
#include "authd/server.h"
#include "authd/sessions.h"
#include "authd/state.h"
#include "authd/users.h"
#include "base/base64.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "crypto/kdf.h"
#include "crypto/opaque.h"
#include "crypto/secret.h"
#include "fuzz/lib/quick_group.h"
#include "fuzz/lib/requests.h"
#include "fuzz/lib/sequence.h"
#include "proto/pop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One of the group that takes the place of ristretto255: its generator. */
#define ELEMENT "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

enum { LOGINS = 4, SESSIONS = 4, SIGNED = 32, PEOPLE = 3 };

static const char *const people[PEOPLE] = { "ann", "bob", "eve" }; /* eve is nobody's name */
static const char *const origin = "http://127.0.0.1:7150";

/* A login of an honest client that may succeed. */
struct login {
	struct opaque_client *client;
	char id[600], ke3[BASE64_SPACE(OPAQUE_KE3_LEN)];
	uint8_t ke2[OPAQUE_KE2_LEN];
	struct secret *key;
	unsigned int who;
	bool done;
};

struct held {
	char id[SESSION_ID_SPACE];
	struct secret *key;
	unsigned int who;
};

/* What was signed, to come once. */
struct promise {
	struct http_request req;
	char mac[POP_MAC_SPACE];
	bool kept, forwarded;
};

static struct loop *const no_loop;
static struct authd_config *cfg;
static struct state *state;
static struct keys *keys;
static struct authd *authd;
static uint8_t records[2][OPAQUE_RECORD_LEN];
static int64_t changes[2]; /* of ann's and bob's records */
static struct login logins[LOGINS];
static struct held held[SESSIONS];
static struct promise promises[SIGNED];
static size_t n_promises;
static uint64_t now_ms;

/* ---- requests ---- */

static json_t *reply_of(const struct http_request *r)
{
	return json_loads(r->reply, 0, NULL);
}

static const char *member_of(const json_t *o, const char *name)
{
	const char *text = json_string_value(json_object_get(o, name));

	return text ? text : "";
}

/* ---- the judge ---- */

static _Noreturn void wrong(const char *why)
{
	fprintf(stderr, "%s\n", why);
	abort();
}

static bool is_proven_path(const struct http_request *r)
{
	const char *unused;

	if (strncmp(r->target, "/register/", 10) == 0)
		return !http_request_header_once(r, "Authorization", &unused) || unused;
	return strncmp(r->target, "/session", 8) == 0 || strncmp(r->target, "/logout", 7) == 0 ||
	       strncmp(r->target, "/unregister", 11) == 0 || strncmp(r->target, "/verify", 7) == 0 ||
	       strncmp(r->target, "/api/", 5) == 0;
}

static bool is_same_request(const struct http_request *r, const struct promise *p)
{
	const char *method = r->method, *target = r->target;

	if (p->forwarded) {
		method = http_request_header(r, "X-Forwarded-Method");
		target = http_request_header(r, "X-Forwarded-Uri");
		return method && target && strcmp(method, p->req.method) == 0 && strcmp(target, p->req.target) == 0;
	}
	return strcmp(method, p->req.method) == 0 && strcmp(target, p->req.target) == 0 && r->len == p->req.len &&
	       memcmp(r->body, p->req.body, r->len) == 0;
}

/* It passed: somebody signed it, and it did not pass before. */
static struct promise *find_promise(const struct http_request *r)
{
	const char *mac = http_request_header(r, "X-POP");

	assert(mac);
	for (size_t i = 0; i < n_promises; i++) {
		struct promise *p = &promises[i];

		if (strcmp(p->mac, mac) != 0)
			continue;
		assert(!p->kept && p->forwarded == (strncmp(r->target, "/verify", 7) == 0) && is_same_request(r, p));
		return p;
	}
	wrong("a request passed that nobody signed");
}

static void judge_session(const struct http_request *r)
{
	json_t *sent = json_loadb(r->body, r->len, 0, NULL);

	for (size_t i = 0; i < LOGINS; i++) {
		struct login *l = &logins[i];

		if (l->done || !*l->ke3 || strcmp(member_of(sent, "ke3"), l->ke3) != 0 ||
		    strcmp(member_of(sent, "login_id"), l->id) != 0)
			continue;
		l->done = true;
		json_decref(sent);
		return;
	}
	wrong("a login succeeded that no client made");
}

static void judge_record(const struct http_request *r)
{
	const struct promise *p = is_proven_path(r) ? find_promise(r) : NULL;
	json_t *reply = reply_of(r);

	for (int i = 0; i < 2; i++)
		if (strcmp(member_of(reply, "user"), people[i]) == 0) {
			assert(p);
			changes[i]++;
		}
	json_decref(reply);
}

static void judge(const struct http_request *r)
{
	json_t *reply;

	assert(r->answered && ((r->status >= 200 && r->status < 202) || (r->status >= 400 && r->status <= 503)));
	if (*r->reply) {
		reply = reply_of(r);
		assert(json_is_object(reply));
		assert(r->status < 400 || *member_of(json_object_get(reply, "error"), "code"));
		json_decref(reply);
	}
	if (r->status >= 400)
		return;
	if (strncmp(r->target, "/login/finish", 13) == 0)
		judge_session(r);
	else if (strncmp(r->target, "/register/finish", 16) == 0)
		judge_record(r);
	if (is_proven_path(r))
		find_promise(r)->kept = true;
}

static void send_request(struct http_request *r)
{
	served.on_request(r, served.arg);
	judge(r);
}

/* ---- people ---- */

static struct opaque_ids ids_of(unsigned int who)
{
	return (struct opaque_ids){ .client = people[who], .client_len = 3, .server = origin, .server_len = strlen(origin) };
}

static void forget_login(struct login *l)
{
	opaque_client_free(l->client);
	secret_free(l->key);
	memset(l, 0, sizeof(*l));
}

static void start_login(const struct happening *h)
{
	struct login *l = &logins[happening_byte(h, 0) % LOGINS];
	char body[400], text[BASE64_SPACE(OPAQUE_KE1_LEN)];
	uint8_t ke1[OPAQUE_KE1_LEN];
	struct http_request *r;
	json_t *reply;

	forget_login(l);
	l->who = happening_byte(h, 1) % PEOPLE;
	assert(opaque_login_start(&l->client, ke1, (const uint8_t *)people[l->who], 3, NULL) == 0);
	base64_encode(text, ke1, sizeof(ke1), BASE64_URL);
	snprintf(body, sizeof(body), "{\"user\":\"%s\",\"ke1\":\"%s\"}", people[l->who], text);
	r = new_request("POST", "/login/start", body);
	meddle(r, h, 2);
	send_request(r);
	reply = reply_of(r);
	snprintf(l->id, sizeof(l->id), "%s", member_of(reply, "login_id"));
	if (base64_decode_exact(l->ke2, sizeof(l->ke2), member_of(reply, "ke2"), BASE64_URL))
		l->id[0] = '\0';
	json_decref(reply);
}

/* The honest client's proof, if the answer was to it. */
static void prove_login(struct login *l, const struct happening *h)
{
	const struct opaque_ksf none = { .kind = OPAQUE_KSF_IDENTITY };
	struct opaque_ids ids = ids_of(l->who);
	uint8_t ke3[OPAQUE_KE3_LEN];
	int r;

	if (!l->client || !*l->id)
		return;
	if (happening_byte(h, 1) & 1)
		l->ke2[happening_number(h, 2, 2) % sizeof(l->ke2)] ^= (uint8_t)(happening_byte(h, 4) | 1);
	r = opaque_login_finish(l->client, ke3, &l->key, NULL, l->ke2, &ids, &none);
	/* eve's name is nobody's, and what was changed is noticed. */
	assert(r || (l->who < 2 && !(happening_byte(h, 1) & 1)));
	l->client = opaque_client_free(l->client);
	if (r == 0)
		base64_encode(l->ke3, ke3, sizeof(ke3), BASE64_URL);
}

static void finish_login(const struct happening *h)
{
	struct login *l = &logins[happening_byte(h, 0) % LOGINS];
	const struct login *other = &logins[happening_byte(h, 5) % LOGINS];
	struct held *s = &held[happening_byte(h, 6) % SESSIONS];
	static const char zeros[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
	char body[1000];
	struct http_request *r;
	json_t *reply;

	prove_login(l, h);
	/* Proofs of one login under the id of another. */
	snprintf(body, sizeof(body), "{\"login_id\":\"%s\",\"ke3\":\"%s\"}", happening_byte(h, 1) & 2 ? other->id : l->id,
		 *l->ke3 ? l->ke3 : zeros);
	r = new_request("POST", "/login/finish", body);
	meddle(r, h, 7);
	send_request(r);
	if (r->status != 200 || !l->key)
		return;
	reply = reply_of(r);
	secret_free(s->key);
	s->key = NULL;
	assert(pop_key(&s->key, l->key) == 0);
	s->who = l->who;
	snprintf(s->id, sizeof(s->id), "%s", member_of(reply, "session_id"));
	json_decref(reply);
}

static void sign(struct http_request *r, const struct held *s, bool forwarded)
{
	struct promise *p = &promises[n_promises % SIGNED];
	const struct pop_request of = { "http", "127.0.0.1:7150", r->method, r->target };
	uint8_t sum[SHA256_LEN];
	struct pop_signed made;
	char bearer[100];

	sha256(sum, r->body, r->len);
	if (n_promises == SIGNED || pop_sign(&made, &of, last_snonce, 0, sum, NULL, s->key))
		return;
	snprintf(bearer, sizeof(bearer), "Bearer %s", s->id);
	put_field(r, "Authorization", bearer);
	put_field(r, "X-SNONCE", last_snonce);
	put_field(r, "X-NONCE", made.nonce);
	put_field(r, "Content-Digest", made.content_digest);
	put_field(r, "X-POP", made.mac);
	p->req = *r;
	p->kept = false;
	p->forwarded = forwarded;
	snprintf(p->mac, sizeof(p->mac), "%s", made.mac);
	n_promises++;
}

static void forward(struct http_request *r)
{
	put_field(r, "X-Forwarded-Method", r->method);
	put_field(r, "X-Forwarded-Uri", r->target);
	put_field(r, "X-Forwarded-Host", "127.0.0.1:7150");
	put_field(r, "X-Forwarded-Proto", "http");
	snprintf(r->method, sizeof(r->method), "GET");
	snprintf(r->target, sizeof(r->target), "/verify");
	/* Its body stays with the proxy. */
	r->len = 0;
}

static void signed_request(const struct happening *h)
{
	static const struct {
		const char *method, *target, *body;
	} asks[] = {
		{ "GET", "/session", "" },
		{ "POST", "/api/transfer", "{\"to\":\"bob\",\"note\":\"a note\"}" },
		{ "GET", "/api/transfers?after=0", "" },
		{ "GET", "/api/whoami", "" },
		{ "POST", "/logout", "" },
		{ "GET", "/api/metrics", "" },
		{ "HEAD", "/session", "" },
		{ "POST", "/register/start", "{\"user\":\"ann\",\"request\":\"" ELEMENT "\"}" },
	};
	const struct held *s = &held[happening_byte(h, 0) % SESSIONS];
	size_t i = happening_byte(h, 1) % ARRAY_SIZE(asks);
	bool forwarded = happening_byte(h, 2) & 1;
	struct http_request *r;

	if (!s->key)
		return;
	if (!*last_snonce)
		send_request(new_request("GET", "/session", ""));
	r = new_request(asks[i].method, asks[i].target, asks[i].body);
	sign(r, s, forwarded);
	if (forwarded)
		forward(r);
	if (happening_byte(h, 2) & 2)
		snprintf(r->fields[r->n_fields > 2 ? 2 : 0].value, 100, "Bearer %s", held[happening_byte(h, 3) % SESSIONS].id);
	meddle(r, h, 4);
	send_request(r);
}

static void replay(const struct happening *h)
{
	struct http_request *r = new_request("GET", "/", "");

	if (n_promises == 0)
		return;
	*r = promises[happening_byte(h, 0) % n_promises].req;
	if (promises[happening_byte(h, 0) % n_promises].forwarded)
		forward(r);
	meddle(r, h, 1);
	send_request(r);
}

/* A new record for somebody, who may be there and may have signed. */
static void register_somebody(const struct happening *h)
{
	static const char *const names[] = { "ann", "bob", "zoe", "zed" };
	const struct held *s = &held[happening_byte(h, 1) % SESSIONS];
	char body[500], text[BASE64_SPACE(OPAQUE_RECORD_LEN)];
	const char *name = names[happening_byte(h, 0) % ARRAY_SIZE(names)];
	struct http_request *r;

	snprintf(body, sizeof(body), "{\"user\":\"%s\",\"request\":\"" ELEMENT "\"}", name);
	r = new_request("POST", "/register/start", body);
	send_request(r);
	/* Everybody keeps the password that he has. */
	base64_encode(text, records[happening_byte(h, 0) % 2], OPAQUE_RECORD_LEN, BASE64_URL);
	snprintf(body, sizeof(body), "{\"user\":\"%s\",\"record\":\"%s\"}", name, text);
	r = new_request("POST", "/register/finish", body);
	if (s->key && *last_snonce && happening_byte(h, 2) & 1)
		sign(r, s, false);
	/* What is signed must not be changed into a record of another password: then logins below would fail. */
	if (!(happening_byte(h, 2) & 1))
		meddle(r, h, 3);
	send_request(r);
}

static void any_request(const struct happening *h)
{
	static const char *const methods[] = { "GET", "POST", "HEAD", "PUT" };
	static const char *const targets[] = { "/login/start",	"/login/finish", "/register/start", "/register/finish",
					       "/api/transfer", "/session",	 "/verify",	    "/config",
					       "/metrics",	"/healthz" };
	char body[300] = "";
	struct http_request *r;

	memcpy(body, h->data + (h->len > 2 ? 2 : h->len), h->len > 2 ? h->len - 2 : 0);
	r = new_request(methods[happening_byte(h, 0) % ARRAY_SIZE(methods)],
			targets[happening_byte(h, 1) % ARRAY_SIZE(targets)], "x");
	r->len = h->len > 2 ? h->len - 2 : 0;
	memcpy(r->body, body, r->len);
	send_request(r);
}

static void look_after(const struct happening *h)
{
	const char *name = people[happening_byte(h, 0) % 2];

	assert(users_set_disabled(state, name, happening_byte(h, 1) & 1) == 0);
}

static void happen(const struct happening *h)
{
	switch (h->what % 8) {
	case 0:
		start_login(h);
		break;
	case 1:
		finish_login(h);
		break;
	case 2:
		signed_request(h);
		break;
	case 3:
		replay(h);
		break;
	case 4:
		register_somebody(h);
		break;
	case 5:
		any_request(h);
		break;
	case 6:
		now_ms += happening_number(h, 0, 2) * 100;
		clock_fake_ms(now_ms);
		break;
	case 7:
		look_after(h);
		break;
	}
}

/* ---- set-up ---- */

static void make_record(unsigned int who)
{
	const struct opaque_ksf none = { .kind = OPAQUE_KSF_IDENTITY };
	uint8_t request[OPAQUE_REQUEST_LEN], response[OPAQUE_RESPONSE_LEN];
	struct opaque_ids ids = ids_of(who);
	struct opaque_client *c;

	assert(opaque_register_start(&c, request, (const uint8_t *)people[who], 3, NULL) == 0);
	assert(opaque_server_register(keys_newest(keys)->keys, response, request, people[who], 3) == 0);
	assert(opaque_register_finish(c, records[who], NULL, response, &ids, &none) == 0);
	opaque_client_free(c);
}

static void set_up(void)
{
	static const char yaml[] = "registration: open\nproxies: [\"127.0.0.1\"]\n"
				   "bans:\n  attempts: 50\n  attempts_per_address: 5000\n";
	char dir[] = "/dev/shm/handfast-fuzz-XXXXXX", path[64], why[256];
	struct config_error err;
	size_t sealed;
	FILE *f;

	log_set_level(LOG_CRIT);
	sequence_own_randomness();
	assert(crypto_init() == 0 && mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/c", dir);
	f = fopen(path, "w");
	assert(f && fputs(yaml, f) >= 0 && fclose(f) == 0);
	assert(authd_config_load(&cfg, path, false, &err) == 0);
	assert(strcmp(cfg->origin, origin) == 0);
	unlink(path);
	assert(state_open(&state, dir, NULL, why, sizeof(why)) == 0);
	assert(keys_open(&keys, state, 19456, 2, &sealed) == 0);
	for (unsigned int i = 0; i < 2; i++)
		make_record(i);
	/* Nothing of it stays when this process ends. */
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/authd.db%s", dir, (const char *const[]){ "", "-wal", "-shm" }[i]);
		unlink(path);
	}
	rmdir(dir);
}

static void begin(void)
{
	static const struct users_claim nobody;
	bool replaced;

	sequence_random_state = 1;
	now_ms = 1000000;
	clock_fake_ms(now_ms);
	n_promises = 0;
	*last_snonce = '\0';
	assert(state_run(state, "DELETE FROM user WHERE id > 0", NULL, NULL) == 0);
	for (unsigned int i = 0; i < 2; i++) {
		assert(users_register(state, people[i], records[i], keys_newest(keys)->id, &nobody, 0, 100, &replaced) == 0);
		changes[i] = 0;
	}
	assert(authd_new(&authd, no_loop, cfg, state, keys) == 0);
}

/* Nobody's record changed but where its session did it. */
static void end(void)
{
	struct user u;

	for (unsigned int i = 0; i < 2; i++) {
		assert(users_find(state, people[i], &u) == 0);
		assert(changes[i] > 0 || memcmp(u.record, records[i], sizeof(u.record)) == 0);
	}
	authd = authd_free(authd);
	for (size_t i = 0; i < LOGINS; i++)
		forget_login(&logins[i]);
	for (size_t i = 0; i < SESSIONS; i++) {
		secret_free(held[i].key);
		memset(&held[i], 0, sizeof(held[i]));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sequence s = { data, size };
	struct happening h;

	if (!cfg)
		set_up();
	begin();
	for (int i = 0; i < 40 && sequence_next(&s, &h); i++)
		happen(&h);
	end();
	return 0;
}
