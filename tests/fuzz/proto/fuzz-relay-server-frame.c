/* What a hostile relay sends to a client: frames, and the answer to POST /session. */
#include <assert.h>
#include <string.h>

#include "base/text.h"
#include "proto/relay_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct relay_session_reply reply;
	struct relay_server_frame f;

	if (relay_server_frame_decode(&f, (const char *)data, size) == 0) {
		assert(f.type >= RELAY_HELLO && f.type <= RELAY_ERROR);
		assert(f.type != RELAY_RELAY || (f.payload && f.seq > 0 && f.seq <= RELAY_SEQ_MAX));
		assert(text_is_utf8(f.error_text, strlen(f.error_text)));
		relay_server_frame_done(&f);
	}
	if (relay_session_reply_decode(&reply, (const char *)data, size) == 0)
		assert(relay_code_is_valid(reply.code, strlen(reply.code)));
	return 0;
}
