/* Calls and answers as text. The daemon is trusted more than a caller is, but its answers are bounded too. */
#include "event/varlink_message.h"

#include <errno.h>
#include <string.h>

#include <jansson.h>

#include "base/json.h"

char *varlink_call_text(const char *method, struct json_t *params, bool more)
{
	_cleanup_json_ json_t *p = params ? params : json_object();
	_cleanup_json_ json_t *m = json_pack("{s:s, s:O}", "method", method, "parameters", p);

	if (!m || (more && json_object_set_new(m, "more", json_true())))
		return NULL;
	return json_text(m);
}

int varlink_answer_init(struct varlink_answer *a, const char *text, size_t len)
{
	static const struct json_limits limits = { .max_bytes = VARLINK_ANSWER_MAX,
						   .max_depth = 40,
						   .max_keys = 1000000 };
	json_t *error, *params, *continues;
	int r;

	memset(a, 0, sizeof(*a));
	r = json_parse(&a->message, text, len, &limits);
	if (r)
		return r > 0 ? -EPROTO : r;
	error = json_object_get(a->message, "error");
	params = json_object_get(a->message, "parameters");
	continues = json_object_get(a->message, "continues");
	if (!params || json_is_null(params)) {
		params = json_object();
		if (!params || json_object_set_new(a->message, "parameters", params)) {
			varlink_answer_done(a);
			return -ENOMEM;
		}
	}
	if ((error && !json_is_string(error)) || !json_is_object(params) ||
	    (continues && !json_is_boolean(continues)) || (error && json_is_true(continues))) {
		varlink_answer_done(a);
		return -EPROTO;
	}
	a->error = json_string_value(error);
	a->params = params;
	a->continues = json_is_true(continues);
	return 0;
}

void varlink_answer_done(struct varlink_answer *a)
{
	json_unrefp(&a->message);
	memset(a, 0, sizeof(*a));
}
