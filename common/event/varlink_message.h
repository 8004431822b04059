/* What both Varlink clients share: the text of a call and the parts of an answer. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct json_t;

/* An answer may be longer than a call: lists of what a daemon keeps. */
enum { VARLINK_ANSWER_MAX = 8 << 20 };

/* params is stolen (NULL for {}). A new string, NULL without memory or when params is no JSON text. */
char *varlink_call_text(const char *method, struct json_t *params, bool more);

struct varlink_answer {
	struct json_t *message; /* owns what the others point to */
	const char *error;	/* NULL: none */
	struct json_t *params;	/* never NULL */
	bool continues;
};

/* 0, -EPROTO when it is no answer, -ENOMEM. */
int varlink_answer_init(struct varlink_answer *a, const char *text, size_t len);
void varlink_answer_done(struct varlink_answer *a);
