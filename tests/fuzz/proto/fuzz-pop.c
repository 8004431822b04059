/*
 * The fields of a signed request, a line each, empty where absent: Authorization, X-TS,
 * X-SNONCE, X-NONCE, Content-Digest, X-POP; then scheme, authority, method, target. What is
 * taken is as the header says; a request that can be signed is believed afterwards.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/pop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { N_LINES = 10 };

static struct secret *key;

static void check_proof(const struct pop_proof *p, const struct pop_fields *f)
{
	assert(p->session_len > 0 && p->session_len <= POP_SESSION_MAX);
	assert(p->session > f->authorization &&
	       p->session + p->session_len <= f->authorization + strlen(f->authorization));
	assert(!f->ts != !f->snonce && !p->snonce == !f->snonce);
	assert(p->ts >= 0 && p->ts <= 253402300799);
	assert(p->nonce_len >= POP_NONCE_BYTES_MIN && p->nonce_len <= POP_NONCE_BYTES_MAX);
}

/* Our own signature of what may be signed. */
static void sign_again(const struct pop_request *r, const char *snonce, int64_t ts)
{
	static const uint8_t sum[POP_DIGEST_LEN] = { 1 };
	struct pop_signed out;
	struct pop_proof p;
	struct pop_fields f;

	if (pop_sign(&out, r, snonce, ts, sum, NULL, key) != 0)
		return;
	f = (struct pop_fields){ "Bearer x", snonce ? NULL : out.ts, snonce, out.nonce,
				 out.content_digest, out.mac };
	assert(pop_parse(&p, &f) == 0 && pop_check(&p, r, key) == 0);
	assert(memcmp(p.digest, sum, sizeof(sum)) == 0 && (snonce || p.ts == ts));
}

static void run(const char *const line[static N_LINES])
{
	const struct pop_fields f = { line[0], line[1], line[2], line[3], line[4], line[5] };
	char authority[POP_AUTHORITY_SPACE] = "", again[POP_AUTHORITY_SPACE];
	const char *text[4];
	struct pop_request r;
	struct pop_proof p;
	int outcome;

	for (int i = 0; i < 4; i++)
		text[i] = line[6 + i] ? line[6 + i] : "";
	if (pop_authority(authority, text[0], text[1]) == 0)
		assert(pop_authority(again, text[0], authority) == 0 && strcmp(again, authority) == 0);
	r = (struct pop_request){ text[0], authority, text[2], text[3] };

	outcome = pop_parse(&p, &f);
	assert(outcome >= 0 && outcome <= POP_E_MAC);
	if (!outcome) {
		check_proof(&p, &f);
		outcome = pop_check(&p, &r, key);
		assert(outcome == POP_E_REQUEST || outcome == POP_E_WRONG);
	}
	sign_again(&r, line[2], (int64_t)strlen(text[3]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *line[N_LINES] = { NULL };
	char *text, *at;

	if (!key)
		assert(crypto_init() == 0 && secret_random(&key, POP_KEY_LEN) == 0);
	text = at = malloc(len + 1);
	assert(text);
	memcpy(text, data, len);
	text[len] = '\0';
	for (size_t i = 0; i < N_LINES && at; i++) {
		line[i] = strsep(&at, "\n");
		if (!*line[i])
			line[i] = NULL;
	}
	run(line);
	free(text);
	return 0;
}
