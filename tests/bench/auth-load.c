/*
 * Load for a login service on loopback, authd or anything that speaks its paths. Clients stretch no password
 * (OPAQUE's identity function), so that what is measured is the server.
 *
 *	auth-load register PORT ORIGIN USERS		u0, u1 …
 *	auth-load login PORT ORIGIN USERS SECONDS CLIENTS
 *	auth-load sessions PORT ORIGIN USERS EACH FILE	EACH logins a user, kept in FILE
 *	auth-load sign FILE SESSIONS N verify|plain AUTHORITY OUT
 *
 * login prints a line of JSON: logins, seconds, and percentiles of both steps in microseconds. sign writes N
 * requests, each with a nonce of its own and the time of now, of the first SESSIONS sessions in turn: for wrk,
 * which cannot sign as fast as they are checked. verify asks as a proxy does for /notes, plain asks for /notes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "crypto/kdf.h"
#include "crypto/opaque.h"
#include "proto/pop.h"

enum { BUF = 16384, CLIENTS_MAX = 64, SAMPLES_MAX = 200000, SESSION_SPACE = 80 };

static const uint8_t password[] = "correct horse";
static const struct opaque_ksf no_ksf = { .kind = OPAQUE_KSF_IDENTITY };

static void die(const char *what, const char *why)
{
	fprintf(stderr, "auth-load: %s: %s\n", what, why);
	exit(1);
}

/* ---- HTTP, one connection ---- */

struct http {
	int fd;
	char buf[BUF];
};

static void http_open(struct http *h, const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	int one = 1;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	h->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (h->fd < 0 || connect(h->fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		die("connect", strerror(errno));
	setsockopt(h->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* The body of an answer, NUL-terminated in h->buf. Both servers say its length. */
static char *read_answer(struct http *h)
{
	size_t have = 0, want = 0;
	char *end = NULL;

	while (!end || have < want) {
		ssize_t n = recv(h->fd, h->buf + have, BUF - 1 - have, 0);

		if (n <= 0)
			die("receive", n ? strerror(errno) : "the server hung up");
		have += (size_t)n;
		h->buf[have] = '\0';
		if (!end && (end = strstr(h->buf, "\r\n\r\n"))) {
			const char *length = strcasestr(h->buf, "\r\ncontent-length:");

			if (!length || length > end)
				die("answer", "it has no length");
			want = (size_t)(end + 4 - h->buf) + strtoul(length + 17, NULL, 10);
			if (want >= BUF)
				die("answer", "it is too long");
		}
	}
	return end + 4;
}

/* What was answered to a POST, which must succeed. */
static json_t *post(struct http *h, const char *path, const char *body)
{
	char out[BUF];
	int len = snprintf(out, sizeof(out),
			   "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
			   path, strlen(body), body);
	const char *answer;
	json_t *o;

	if (len < 0 || (size_t)len >= sizeof(out) || send(h->fd, out, (size_t)len, MSG_NOSIGNAL) != len)
		die("send", strerror(errno));
	answer = read_answer(h);
	o = json_loads(answer, 0, NULL);
	if (!o || strncmp(h->buf + 9, "20", 2) != 0)
		die(path, h->buf);
	return o;
}

static void member(uint8_t *out, size_t len, const json_t *o, const char *name)
{
	const char *text = json_get_str(o, name);
	size_t n;

	if (!text || base64_decode(out, len, &n, text, strlen(text), BASE64_URL) || n != len)
		die(name, "it is not in the answer");
}

/* ---- OPAQUE ---- */

struct visitor {
	struct http http;
	const char *origin;
	unsigned int first, n; /* users */
	double until;
	size_t done;
	uint32_t *start_us, *finish_us;
};

static double seconds(void)
{
	return (double)clock_now_us() / 1e6;
}

static struct opaque_ids ids_of(const char *user, const char *origin)
{
	return (struct opaque_ids){ user, strlen(user), origin, strlen(origin), NULL, 0 };
}

static void register_one(struct http *h, const char *origin, unsigned int number)
{
	uint8_t request[OPAQUE_REQUEST_LEN], response[OPAQUE_RESPONSE_LEN], record[OPAQUE_RECORD_LEN];
	_cleanup_(opaque_client_freep) struct opaque_client *c = NULL;
	char user[24], coded[BASE64_SPACE(OPAQUE_RECORD_LEN)], body[512];
	struct opaque_ids ids;
	json_t *answer;

	snprintf(user, sizeof(user), "u%u", number);
	ids = ids_of(user, origin);
	if (opaque_register_start(&c, request, password, sizeof(password) - 1, NULL))
		die("register", "no request");
	base64_encode(coded, request, sizeof(request), BASE64_URL);
	snprintf(body, sizeof(body), "{\"user\":\"%s\",\"request\":\"%s\"}", user, coded);
	answer = post(h, "/register/start", body);
	member(response, sizeof(response), answer, "response");
	json_decref(answer);
	if (opaque_register_finish(c, record, NULL, response, &ids, &no_ksf))
		die("register", "no record");
	base64_encode(coded, record, sizeof(record), BASE64_URL);
	snprintf(body, sizeof(body), "{\"user\":\"%s\",\"record\":\"%s\"}", user, coded);
	json_decref(post(h, "/register/finish", body));
}

/* A whole login; the session's id and key where they are wanted. */
static void login_one(struct visitor *v, const char *user, char session[static SESSION_SPACE], struct secret **key)
{
	uint8_t ke1[OPAQUE_KE1_LEN], ke2[OPAQUE_KE2_LEN], ke3[OPAQUE_KE3_LEN];
	_cleanup_(opaque_client_freep) struct opaque_client *c = NULL;
	_cleanup_(secret_freep) struct secret *session_key = NULL;
	struct opaque_ids ids = ids_of(user, v->origin);
	char coded[BASE64_SPACE(OPAQUE_KE1_LEN)], body[2048];
	json_t *answer;
	double start;

	if (opaque_login_start(&c, ke1, password, sizeof(password) - 1, NULL))
		die("login", "no KE1");
	base64_encode(coded, ke1, sizeof(ke1), BASE64_URL);
	snprintf(body, sizeof(body), "{\"user\":\"%s\",\"ke1\":\"%s\"}", user, coded);
	start = seconds();
	answer = post(&v->http, "/login/start", body);
	v->start_us[v->done] = (uint32_t)((seconds() - start) * 1e6);
	member(ke2, sizeof(ke2), answer, "ke2");
	if (opaque_login_finish(c, ke3, &session_key, NULL, ke2, &ids, &no_ksf))
		die("login", "no KE3");
	base64_encode(coded, ke3, sizeof(ke3), BASE64_URL);
	snprintf(body, sizeof(body), "{\"login_id\":\"%s\",\"ke3\":\"%s\"}", json_get_str(answer, "login_id"), coded);
	json_decref(answer);
	start = seconds();
	answer = post(&v->http, "/login/finish", body);
	v->finish_us[v->done] = (uint32_t)((seconds() - start) * 1e6);
	snprintf(session, SESSION_SPACE, "%s", json_get_str(answer, "session_id"));
	json_decref(answer);
	if (key && pop_key(key, session_key))
		die("login", "no key");
	if (v->done < SAMPLES_MAX - 1)
		v->done++;
}

static void visitor_open(struct visitor *v, const char *port, const char *origin, unsigned int first, unsigned int n)
{
	*v = (struct visitor){ .origin = origin, .first = first, .n = n };
	v->start_us = calloc(SAMPLES_MAX, sizeof(*v->start_us));
	v->finish_us = calloc(SAMPLES_MAX, sizeof(*v->finish_us));
	if (!v->start_us || !v->finish_us)
		die("start", "no memory");
	http_open(&v->http, port);
}

/* ---- what the first argument asks for ---- */

static int do_register(char **argv)
{
	static struct http h;

	http_open(&h, argv[0]);
	for (unsigned int i = 0; i < (unsigned int)atoi(argv[2]); i++)
		register_one(&h, argv[1], i);
	return 0;
}

static void *visit(void *arg)
{
	struct visitor *v = arg;
	char user[24], session[SESSION_SPACE];

	for (unsigned int i = 0; seconds() < v->until; i++) {
		snprintf(user, sizeof(user), "u%u", v->first + i % v->n);
		login_one(v, user, session, NULL);
	}
	return NULL;
}

static int by_value(const void *x, const void *y)
{
	uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;

	return (a > b) - (a < b);
}

static void show(const char *name, uint32_t *us, size_t n)
{
	qsort(us, n, sizeof(*us), by_value);
	printf(", \"%s_p50_us\": %u, \"%s_p99_us\": %u", name, us[n / 2], name, us[n - 1 - n / 100]);
}

static int do_login(char **argv)
{
	static struct visitor v[CLIENTS_MAX];
	static uint32_t start_us[SAMPLES_MAX], finish_us[SAMPLES_MAX];
	pthread_t threads[CLIENTS_MAX];
	unsigned int users = (unsigned int)atoi(argv[2]), n = (unsigned int)atoi(argv[4]);
	size_t all = 0;
	double begin;

	if (!n || n > CLIENTS_MAX || users < n)
		die("login", "1 to 64 clients, and no fewer users");
	for (unsigned int i = 0; i < n; i++)
		visitor_open(&v[i], argv[0], argv[1], i * (users / n), users / n);
	begin = seconds();
	for (unsigned int i = 0; i < n; i++) {
		v[i].until = begin + atof(argv[3]);
		if (pthread_create(&threads[i], NULL, visit, &v[i]))
			die("thread", "it does not start");
	}
	for (unsigned int i = 0; i < n; i++) {
		pthread_join(threads[i], NULL);
		for (size_t j = 0; j < v[i].done && all < SAMPLES_MAX; j++, all++) {
			start_us[all] = v[i].start_us[j];
			finish_us[all] = v[i].finish_us[j];
		}
	}
	if (!all)
		die("login", "none was done in that time");
	printf("{\"logins\": %zu, \"seconds\": %.3f", all, seconds() - begin);
	show("start", start_us, all);
	show("finish", finish_us, all);
	printf("}\n");
	return 0;
}

static int do_sessions(char **argv)
{
	static struct visitor v;
	FILE *f = fopen(argv[4], "we");
	unsigned int users = (unsigned int)atoi(argv[2]), each = (unsigned int)atoi(argv[3]);

	if (!f)
		die(argv[4], strerror(errno));
	visitor_open(&v, argv[0], argv[1], 0, users);
	for (unsigned int i = 0; i < users * each; i++) {
		_cleanup_(secret_freep) struct secret *key = NULL;
		char user[24], session[SESSION_SPACE], coded[BASE64_SPACE(POP_KEY_LEN)];

		snprintf(user, sizeof(user), "u%u", i % users);
		login_one(&v, user, session, &key);
		base64_encode(coded, secret_bytes(key), POP_KEY_LEN, BASE64_URL);
		fprintf(f, "%s %s\n", session, coded);
	}
	return fclose(f) ? 1 : 0;
}

struct kept {
	char id[SESSION_SPACE];
	struct secret *key;
};

static struct kept *load(const char *path, unsigned int n)
{
	struct kept *all = calloc(n, sizeof(*all));
	FILE *f = fopen(path, "re");
	char coded[128];
	uint8_t *bytes;

	if (!all || !f)
		die(path, strerror(errno));
	for (unsigned int i = 0; i < n; i++)
		if (fscanf(f, "%79s %127s", all[i].id, coded) != 2 || secret_new(&all[i].key, POP_KEY_LEN, &bytes) ||
		    base64_decode_exact(bytes, POP_KEY_LEN, coded, BASE64_URL))
			die(path, "too few sessions, or no memory that can be locked");
	fclose(f);
	return all;
}

static void write_request(FILE *f, const struct kept *k, bool verify, const char *authority, const uint8_t *digest)
{
	const struct pop_request request = { "http", authority, "GET", "/notes" };
	struct pop_signed s;

	if (pop_sign(&s, &request, NULL, clock_wall_s(), digest, NULL, k->key))
		die("sign", "this cannot be signed");
	if (verify)
		fprintf(f,
			"GET /verify HTTP/1.1\r\nHost: %s\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Proto: http\r\n"
			"X-Forwarded-Host: %s\r\nX-Forwarded-Uri: /notes\r\nX-Forwarded-For: 127.0.0.1\r\n",
			authority, authority);
	else
		fprintf(f, "GET /notes HTTP/1.1\r\nHost: %s\r\n", authority);
	fprintf(f, "Authorization: Bearer %s\r\nX-TS: %s\r\nX-NONCE: %s\r\nContent-Digest: %s\r\nX-POP: %s\r\n\r\n", k->id, s.ts,
		s.nonce, s.content_digest, s.mac);
}

static int do_sign(char **argv)
{
	unsigned int sessions = (unsigned int)atoi(argv[1]), n = (unsigned int)atoi(argv[2]);
	struct kept *all = load(argv[0], sessions);
	FILE *f = fopen(argv[5], "we");
	uint8_t digest[POP_DIGEST_LEN];

	if (!f)
		die(argv[5], strerror(errno));
	sha256(digest, "", 0);
	for (unsigned int i = 0; i < n; i++)
		write_request(f, &all[i % sessions], strcmp(argv[3], "verify") == 0, argv[4], digest);
	for (unsigned int i = 0; i < sessions; i++)
		secret_free(all[i].key);
	free(all);
	return fclose(f) ? 1 : 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int arguments;
		int (*run)(char **argv);
	} all[] = { { "register", 3, do_register }, { "login", 5, do_login }, { "sessions", 5, do_sessions }, { "sign", 6, do_sign } };

	if (crypto_init())
		return 1;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (argc > 1 && strcmp(argv[1], all[i].name) == 0 && argc == 2 + all[i].arguments)
			return all[i].run(argv + 2);
	fprintf(stderr, "auth-load register|login|sessions|sign …: see tests/bench/auth-load.c\n");
	return 2;
}
