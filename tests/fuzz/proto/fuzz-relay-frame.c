/* A client's frame: whatever the relay takes, the peer's reader can take, too. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/json.h"
#include "proto/relay_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct relay_frame_limits limits = { RELAY_MESSAGE_MAX, RELAY_DEPTH_MAX, RELAY_KEYS_MAX };
	const struct json_limits same = { RELAY_MESSAGE_MAX, RELAY_DEPTH_MAX, RELAY_KEYS_MAX };
	struct relay_client_frame f;
	json_t *json = NULL;
	int r;

	r = relay_client_frame_decode(&f, (const char *)data, size, &limits);
	if (r)
		return 0;
	r = json_parse(&json, (const char *)data, size, &same);
	/* Keys that come twice where the relay does not look, and numbers out of range, are the peer's to refuse. */
	assert(r == 0 || r == JSON_E_SYNTAX);
	if (r == 0 && f.type == RELAY_PACKET)
		assert(json_get_int(json_object_get(json, "payload"), "seq", -1) == (int64_t)f.seq);
	json_decref(json);
	return 0;
}
