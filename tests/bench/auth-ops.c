/*
 * What a login costs without network and store: processor time of each operation of
 * OPAQUE and of a signed request. Started by auth-crypto.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "crypto/kdf.h"
#include "crypto/opaque.h"
#include "proto/pop.h"

static const struct opaque_ids ids = { "alice", 5, "https://example.org", 19, NULL, 0 };
static const struct opaque_ksf no_ksf = { .kind = OPAQUE_KSF_IDENTITY };
static const struct pop_request request = { "https", "example.org", "POST", "/api/transfer?to=bob" };

/* Everything that an operation needs of those before it. */
static struct {
	struct opaque_keys *keys;
	struct opaque_client *registering, *client;
	uint8_t request[OPAQUE_REQUEST_LEN], response[OPAQUE_RESPONSE_LEN], record[OPAQUE_RECORD_LEN];
	uint8_t ke1[OPAQUE_KE1_LEN], ke2[OPAQUE_KE2_LEN], ke3[OPAQUE_KE3_LEN];
	struct secret *state, *session_key, *pop_key;
	struct pop_signed sent;
	struct pop_fields fields;
	uint8_t sum[POP_DIGEST_LEN];
} b;

static const uint8_t *const password = (const uint8_t *)"correct horse";

static int register_start(void)
{
	b.registering = opaque_client_free(b.registering);
	return opaque_register_start(&b.registering, b.request, password, 13, NULL);
}

static int server_register(void)
{
	return opaque_server_register(b.keys, b.response, b.request, "alice", 5);
}

static int register_finish(void)
{
	return opaque_register_finish(b.registering, b.record, NULL, b.response, &ids, &no_ksf);
}

static int login_start(void)
{
	b.client = opaque_client_free(b.client);
	return opaque_login_start(&b.client, b.ke1, password, 13, NULL);
}

static int ke2_of(const uint8_t *record)
{
	b.state = secret_free(b.state);
	return opaque_server_ke2(b.keys, b.ke2, &b.state, record, "alice", 5, b.ke1, &ids, NULL);
}

static int server_ke2_unknown(void)
{
	return ke2_of(NULL);
}

static int server_ke2(void)
{
	return ke2_of(b.record);
}

static int login_finish(void)
{
	b.session_key = secret_free(b.session_key);
	return opaque_login_finish(b.client, b.ke3, &b.session_key, NULL, b.ke2, &ids, &no_ksf);
}

static int server_finish(void)
{
	b.session_key = secret_free(b.session_key);
	return opaque_server_finish(&b.session_key, secret_bytes(b.state), b.ke3);
}

static int make_pop_key(void)
{
	b.pop_key = secret_free(b.pop_key);
	return pop_key(&b.pop_key, b.session_key);
}

static int sign_request(void)
{
	int r = pop_sign(&b.sent, &request, NULL, 1785000000, b.sum, NULL, b.pop_key);

	b.fields = (struct pop_fields){ "Bearer abcdefghijklmnop", b.sent.ts, NULL, b.sent.nonce,
					b.sent.content_digest, b.sent.mac };
	return r;
}

static int check_request(void)
{
	struct pop_proof proof;
	int r = pop_parse(&proof, &b.fields);

	return r ? r : pop_check(&proof, &request, b.pop_key);
}

static int stretch(void)
{
	static const uint8_t salt[16];
	_cleanup_(secret_freep) struct secret *out = NULL;

	return argon2id(&out, 64, password, 13, salt, 64 * 1024, 3);
}

/* In the order in which they need each other. What has a second one is measured with it, turn by turn. */
static const struct {
	const char *name;
	int (*run)(void);
	unsigned int n;
	const char *second_name;
	int (*second)(void);
} operations[] = {
	{ "client: registration request", register_start, 2000, NULL, NULL },
	{ "server: registration response", server_register, 2000, NULL, NULL },
	{ "client: record (no Argon2id)", register_finish, 2000, NULL, NULL },
	{ "client: KE1", login_start, 2000, NULL, NULL },
	{ "server: KE2, unknown user", server_ke2_unknown, 5000, "server: KE2, known user", server_ke2 },
	{ "client: KE3 (no Argon2id)", login_finish, 2000, NULL, NULL },
	{ "client: Argon2id 64 MiB, t=3", stretch, 5, NULL, NULL },
	{ "server: check KE3", server_finish, 20000, NULL, NULL },
	{ "key of proofs", make_pop_key, 20000, NULL, NULL },
	{ "client: sign a request", sign_request, 20000, NULL, NULL },
	{ "server: check a request", check_request, 20000, NULL, NULL },
};

/* Of this thread's work: what else the machine does is no cost of ours. */
static double microseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *x, const void *y)
{
	double a = *(const double *)x, c = *(const double *)y;

	return (a > c) - (a < c);
}

static int measure_once(double *us, const char *name, int (*run)(void))
{
	double start = microseconds();
	int r = run();

	*us = microseconds() - start;
	if (r)
		fprintf(stderr, "%s: %d\n", name, r);
	return r;
}

static void show(const char *name, double *us, unsigned int n)
{
	qsort(us, n, sizeof(*us), by_value);
	printf("%-32s median %10.1f us   99 %% within %10.1f us   %8.0f/s   (%u runs)\n", name, us[n / 2],
	       us[n - 1 - n / 100], 1e6 / us[n / 2], n);
}

static int measure(size_t i)
{
	unsigned int n = operations[i].n;
	_cleanup_free_ double *us = calloc(n, sizeof(*us)), *second_us = calloc(n, sizeof(*us));

	if (!us || !second_us)
		return -1;
	for (unsigned int j = 0; j < n; j++)
		if (measure_once(&us[j], operations[i].name, operations[i].run) ||
		    (operations[i].second &&
		     measure_once(&second_us[j], operations[i].second_name, operations[i].second)))
			return -1;
	show(operations[i].name, us, n);
	if (operations[i].second)
		show(operations[i].second_name, second_us, n);
	return 0;
}

int main(void)
{
	if (crypto_init() || opaque_keys_generate(&b.keys))
		return 1;
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		if (measure(i))
			return 1;
	return 0;
}
