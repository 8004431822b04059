/*
 * One run of the command: what was asked, how to answer. Handlers read their
 * arguments here and answer with exactly one ctl_result() or ctl_fail().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/command.h"
#include "ctl/failure.h"
#include "ctl/output_text.h"

struct json_t;

struct ctl {
	struct parsed parsed;
	const char *runtime_dir;
	const char *program; /* argv[0] */
	bool json;
	int answer_ms; /* how long a daemon may take for one answer; 0: daemon.c says */
	bool want_color;
	struct style style; /* of standard output */
};

/* An argument by position, NULL when it was left out. */
const char *ctl_argument(const struct ctl *c, size_t i);
/* An option's value: NULL when not given, "" for a given flag. */
const char *ctl_option(const struct ctl *c, const char *name);
bool ctl_flag(const struct ctl *c, const char *name);

/*
 * The answer. result (stolen) is what --json prints; otherwise text writes the
 * same for people. Returns EXIT_DONE, or EXIT_FAILED when it could not be written.
 */
typedef void (*ctl_text_fn)(const struct ctl *c, const struct json_t *result);
int ctl_result(struct ctl *c, struct json_t *result, ctl_text_fn text);
/* An answer that is bad news (a self-check that failed): the result, and the failure after it. */
int ctl_result_failed(struct ctl *c, struct json_t *result, ctl_text_fn text,
		      const struct failure *f);

/* Something happened on the way; members (stolen, may be NULL). Printed with --json alone. */
void ctl_event(struct ctl *c, const char *event, struct json_t *members);

/* End badly: print the failure and return its exit code. */
int ctl_fail_with(struct ctl *c, const struct failure *f);
int ctl_fail(struct ctl *c, enum exit_code exit, const char *code, const char *hint,
	     const char *fmt, ...) __attribute__((format(printf, 5, 6)));
