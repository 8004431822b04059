/* Any kind with any body; what decodes must encode to the same bytes. And the relay's payload around it. */
#include <assert.h>
#include <jansson.h>
#include <stdint.h>
#include <string.h>

#include "base/json.h"
#include "proto/pairing_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void fuzz_payload(const uint8_t *data, size_t len)
{
	static const struct json_limits limits = { 16384, 10, 100 };
	static struct pairing_packet p;
	struct json_t *json = NULL;

	if (json_parse(&json, (const char *)data, len, &limits))
		return;
	if (pairing_packet_decode(&p, json) == 0)
		assert(pairing_kind_name(p.kind) && p.seq > 0 && p.len <= sizeof(p.body));
	json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct pairing_msg m;
	uint8_t again[PAIRING_BODY_MAX];

	if (len == 0 || len > PAIRING_BODY_MAX)
		return 0;
	if (*data == '{') {
		fuzz_payload(data, len);
		return 0;
	}
	if (pairing_msg_decode(&m, data[0], data + 1, len - 1) == 0) {
		ssize_t n = pairing_msg_encode(again, sizeof(again), &m);

		assert(n == (ssize_t)(len - 1));
		assert(memcmp(again, data + 1, (size_t)n) == 0);
	}
	return 0;
}
