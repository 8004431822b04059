/* What a handler reads from and answers to. */
#include "ctl/ctl.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

#include "ctl/output_json.h"

const char *ctl_argument(const struct ctl *c, size_t i)
{
	return i < c->parsed.n_arguments ? c->parsed.arguments[i] : NULL;
}

const char *ctl_option(const struct ctl *c, const char *name)
{
	return parsed_option(&c->parsed, name);
}

bool ctl_flag(const struct ctl *c, const char *name)
{
	return ctl_option(c, name) != NULL;
}

static const char *command_name(const struct ctl *c)
{
	return c->parsed.command ? c->parsed.command->name : c->parsed.group ? c->parsed.group : "";
}

static int written(int r)
{
	if (r == 0 && fflush(stdout) == 0 && !ferror(stdout))
		return EXIT_DONE;
	fprintf(stderr, "handfast: cannot write the answer to standard output\n");
	return EXIT_FAILED;
}

int ctl_result(struct ctl *c, json_t *result, ctl_text_fn text)
{
	_cleanup_json_ json_t *owned = result;

	if (c->json)
		return written(output_json_result(command_name(c), json_incref(owned)));
	if (text)
		text(c, owned);
	return written(0);
}

static void print_failure(const struct ctl *c, const struct failure *f)
{
	struct style s;

	style_init(&s, stderr, c->want_color);
	fflush(stdout);
	fprintf(stderr, "%shandfast: %s%s [%s]\n", paint_begin(&s, PAINT_RED), f->message,
		paint_end(&s, PAINT_RED), f->code);
	if (*f->hint)
		fprintf(stderr, "%s\n", f->hint);
}

int ctl_result_failed(struct ctl *c, json_t *result, ctl_text_fn text, const struct failure *f)
{
	_cleanup_json_ json_t *owned = result;

	if (c->json) {
		int r = output_json_failure(command_name(c), f, json_incref(owned));

		return r ? written(r) : (int)f->exit;
	}
	if (text && owned)
		text(c, owned);
	print_failure(c, f);
	return (int)f->exit;
}

void ctl_event(struct ctl *c, const char *event, json_t *members)
{
	if (c->json)
		output_json_event(command_name(c), event, members);
	else
		json_decref(members);
}

int ctl_fail_with(struct ctl *c, const struct failure *f)
{
	return ctl_result_failed(c, NULL, NULL, f);
}

int ctl_fail(struct ctl *c, enum exit_code exit, const char *code, const char *hint,
	     const char *fmt, ...)
{
	struct failure f;
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	failure_set(&f, exit, code, hint, "%s", text);
	return ctl_fail_with(c, &f);
}
