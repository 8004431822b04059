/* One JSON object a line: handfast-json(7). */
#include "ctl/output_json.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static json_t *envelope(const char *command)
{
	return json_pack("{s:i, s:s}", "handfast", 1, "command", command);
}

/*
 * ASCII alone: what a peer chose to call itself cannot turn a terminal's text
 * around. Each line leaves at once, because a script waits for it.
 */
static int put_line(json_t *line)
{
	_cleanup_free_ char *text = NULL;
	bool gone;

	text = line ? json_dumps(line, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6)) :
		      NULL;
	json_decref(line);
	if (!text)
		return -ENOMEM;
	gone = printf("%s\n", text) >= 0 && fflush(stdout) == 0;
	/* One of the lines has the PIN of a pairing. */
	explicit_bzero(text, strlen(text));
	return gone ? 0 : -EIO;
}

int output_json_event(const char *command, const char *event, json_t *members)
{
	json_t *line = envelope(command), *value;
	const char *key;

	json_object_set_new(line, "event", json_string(event));
	/* A member without a value says nothing; scripts ask whether it is there. */
	json_object_foreach(members, key, value)
		if (!json_is_null(value))
			json_object_set(line, key, value);
	json_decref(members);
	return put_line(line);
}

int output_json_result(const char *command, json_t *result)
{
	json_t *line = envelope(command);

	json_object_set_new(line, "ok", json_true());
	json_object_set_new(line, "result", result ? result : json_object());
	return put_line(line);
}

int output_json_failure(const char *command, const struct failure *f, json_t *result)
{
	json_t *line = envelope(command);

	json_object_set_new(line, "ok", json_false());
	json_object_set_new(line, "error",
			    json_pack("{s:s, s:s, s:s}", "code", f->code, "message", f->message,
				      "hint", f->hint));
	if (result)
		json_object_set_new(line, "result", result);
	return put_line(line);
}
