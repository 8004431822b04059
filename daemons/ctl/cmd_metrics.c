/* handfast metrics: what every daemon counts, as Prometheus reads it. */
#include <jansson.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "service/exposition.h"

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/daemon.h"
#include "ctl/systemd.h"

enum { ANSWER_MS = 3000 };

static void collect_up(struct exposition *all, const char *daemon, bool up)
{
	exposition_add(all, json_pack("{s:s, s:s, s:s, s:{s:s}, s:i}", "name", "handfast_up", "kind", "gauge", "help",
			       "1 when the daemon answers.", "labels", "daemon", daemon, "value", (int)up));
}

/* EXIT_DONE also for a daemon that is down; else an exit code with *f filled. */
static int ask(struct exposition *all, const struct ctl *c, const struct awake *a, size_t which, struct failure *f)
{
	_cleanup_json_ json_t *reply = NULL;
	int r = awake_ask(a, c, which, "Daemon.Metrics", &reply, f);

	/* Without permission all would look as if it were down. */
	if (r == EXIT_PERMISSION)
		return r;
	/* One that runs an earlier version refuses, but it is there. */
	collect_up(all, awake_names[which], r == EXIT_DONE || strcmp(f->code, "org.varlink.service.MethodNotFound") == 0);
	exposition_add_reply(all, reply);
	return EXIT_DONE;
}

static void metrics_text(const struct ctl *c, const json_t *result)
{
	(void)c;
	exposition_write(stdout, json_object_get(result, "metrics"));
}

int cmd_metrics(struct ctl *c)
{
	_cleanup_(exposition_freep) struct exposition *all = exposition_new();
	struct failure f = { 0 };
	struct awake awake;
	json_t *list;
	int r = EXIT_DONE;

	c->answer_ms = ANSWER_MS;
	awake_look(&awake, c);
	for (size_t i = 0; all && !r && i < AWAKE_MAX; i++)
		r = ask(all, c, &awake, i, &f);
	if (r)
		return ctl_fail_with(c, &f);
	list = all ? exposition_list(all) : NULL;
	if (!list)
		return ctl_fail(c, EXIT_FAILED, ERROR_INTERNAL, NULL, "out of memory");
	return ctl_result(c, json_pack("{s:o}", "metrics", list), metrics_text);
}
