/* handfast selfcheck: known answers for every primitive, and that a stripped offer is refused. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "crypto/secret.h"
#include "crypto/selfcheck.h"
#include "proto/negotiate.h"

#include "ctl/commands.h"
#include "ctl/ctl.h"

struct checks {
	struct ctl *c;
	json_t *list;
};

static void note(const struct selfcheck_result *r, void *arg)
{
	struct checks *k = arg;
	json_t *one = json_pack("{s:s, s:s, s:b}", "name", r->name, "source", r->source, "ok", r->ok);
	enum paint p = r->ok ? PAINT_GREEN : PAINT_RED;

	json_array_append(k->list, one);
	ctl_event(k->c, "check", one);
	if (!k->c->json) {
		printf("%s%-6s%s %-28s %s%s%s\n", paint_begin(&k->c->style, p),
		       r->ok ? "ok" : "FAILED", paint_end(&k->c->style, p), r->name,
		       paint_begin(&k->c->style, PAINT_DIM), r->source,
		       paint_end(&k->c->style, PAINT_DIM));
		fflush(stdout);
	}
}

static void summary_text(const struct ctl *c, const json_t *result)
{
	(void)c;
	printf("%zu checks, %lld failed\n", json_array_size(json_object_get(result, "checks")),
	       (long long)json_get_int(result, "failed", 0));
}

int cmd_selfcheck(struct ctl *c)
{
	struct checks k = { c, json_array() };
	struct selfcheck_result downgrade = { "downgrade-refusal",
					      "offers stripped on the way", false };
	struct failure f;
	json_t *result;
	int failed, r = crypto_init();

	if (r) {
		json_decref(k.list);
		if (r != -EIO)
			return ctl_fail(c, EXIT_VERIFICATION, ERROR_VERIFICATION,
					"Raise the limit of locked memory (ulimit -l, LimitMEMLOCK=) to 8M, or let the "
					"container use mlock.",
					"cannot lock memory for secrets (%s)", strerror(-r));
		return ctl_fail(c, EXIT_VERIFICATION, ERROR_VERIFICATION, NULL,
				"the cryptographic library does not start");
	}
	failed = selfcheck_run(note, &k);
	downgrade.ok = negotiate_selfcheck();
	note(&downgrade, &k);
	failed += !downgrade.ok;
	result = json_pack("{s:o, s:i}", "checks", k.list, "failed", failed);
	if (!failed)
		return ctl_result(c, result, summary_text);
	failure_set(&f, EXIT_VERIFICATION, ERROR_VERIFICATION,
		    "Do not use this installation: the processor, the library or the build is wrong.",
		    "%d of the checks failed", failed);
	return ctl_result_failed(c, result, summary_text, &f);
}
