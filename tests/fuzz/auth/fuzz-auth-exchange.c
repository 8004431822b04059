/*
 * Answers to a client that registers or logs in. The first byte says which; then answers, each
 * ended by a byte 0xff, which JSON cannot hold: the status in three digits, and a body. The stretching that an answer
 * may set going is not done: it ends the run.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "auth/exchange.h"
#include "auth/session.h"
#include "crypto/secret.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct auth_exchange *begin(bool registers)
{
	struct auth_options o = { .user = "anna", .password = (const uint8_t *)"password", .password_len = 8 };
	struct auth_exchange *x = NULL;
	int r = auth_url_parse(&o.url, "https://login.example");

	assert(r == 0);
	o.invitation = registers ? "token" : NULL;
	r = registers ? auth_register(&x, &o) : auth_login(&x, &o);
	assert(r == 0);
	return x;
}

static void run(struct auth_exchange *x, const uint8_t *data, size_t len)
{
	const struct auth_call *call;
	int r = 0;

	while (!r && len > 0 && (call = auth_exchange_call(x))) {
		const uint8_t *end = memchr(data, 0xff, len);
		size_t n = end ? (size_t)(end - data) : len;
		unsigned int status = 200;

		assert(*call->target == '/' && (!call->body || strlen(call->body) == call->body_len));
		if (n >= 3 && data[0] >= '1' && data[0] <= '5') {
			status = (unsigned int)(data[0] - '0') * 100;
			data += 3;
			len -= 3;
			n -= 3;
		}
		r = auth_exchange_answer(x, status, data, n);
		data += n + (end != NULL);
		len -= n + (end != NULL);
	}
	if (r == AUTH_WORK)
		assert(!auth_exchange_call(x));
	else if (r)
		assert(*auth_exchange_why(x) && !auth_exchange_call(x) && !auth_exchange_take_session(x, 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct auth_exchange *x;

	if (len < 1 || crypto_init() != 0)
		return 0;
	x = begin(data[0] & 1);
	run(x, data + 1, len - 1);
	auth_exchange_free(x);
	return 0;
}
