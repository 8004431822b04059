/* handfast tunnel fuel: what is left of key files, and an exit code for whoever watches it. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/daemon.h"
#include "ctl/tunnel/tunnel_text.h"

#define HINT "Make a new key file (“handfast tunnel generate”), carry it over, and stage it on both sides (“handfast tunnel stage”)."

/* From the best to the worst. */
enum level { FULL, BELOW_20, BELOW_5, BELOW_1, UNKNOWN, EMPTY };

static enum level level_of(const json_t *t)
{
	double percent = json_number_value(json_object_get(t, "fuel_percent"));

	if (strcmp(clean_member(t, "source"), "pairing") == 0)
		return FULL;
	if (json_get_int(t, "slots_total", 0) <= 0)
		return UNKNOWN;
	if (json_get_int(t, "packets_left", 0) <= 0)
		return EMPTY;
	return percent < 1 ? BELOW_1 : percent < 5 ? BELOW_5 : percent < 20 ? BELOW_20 : FULL;
}

static void describe(struct failure *f, enum level level, const json_t *t)
{
	static const struct {
		enum exit_code exit;
		const char *code, *text;
	} levels[] = {
		[BELOW_20] = { EXIT_FUEL_BELOW_20, ERROR_FUEL_LOW, "less than 20 % of its key file is left" },
		[BELOW_5] = { EXIT_FUEL_BELOW_5, ERROR_FUEL_LOW, "less than 5 % of its key file is left" },
		[BELOW_1] = { EXIT_FUEL_BELOW_1, ERROR_FUEL_LOW, "less than 1 % of its key file is left" },
		[UNKNOWN] = { EXIT_FAILED, ERROR_FUEL_UNKNOWN, "how much of its key file is left is not known" },
		[EMPTY] = { EXIT_FUEL_EMPTY, ERROR_FUEL_EMPTY, "its key file is used up: it sends nothing" },
	};
	const char *problem = clean_member(t, "problem");

	failure_set(f, levels[level].exit, levels[level].code, level == UNKNOWN && *problem ? problem : HINT, "%s: %s",
		    clean_member(t, "name"), levels[level].text);
}

int tunnel_fuel_result(struct ctl *c, json_t *result, const json_t *tunnels, ctl_text_fn text)
{
	enum level worst = FULL;
	struct failure f = { 0 };
	const json_t *t;
	size_t i;

	json_array_foreach(tunnels, i, t) {
		if (level_of(t) <= worst)
			continue;
		worst = level_of(t);
		describe(&f, worst, t);
	}
	return worst == FULL ? ctl_result(c, result, text) : ctl_result_failed(c, result, text, &f);
}

static void fuel_text(const struct ctl *c, const json_t *result)
{
	const json_t *tunnels = json_object_get(result, "tunnels");

	if (ctl_argument(c, 0))
		tunnel_fuel_text(c, json_array_get(tunnels, 0));
	else if (json_array_size(tunnels) == 0)
		printf("There is no tunnel.\n");
	else
		tunnels_fuel_table(c, tunnels);
}

int cmd_tunnel_fuel(struct ctl *c)
{
	const char *name = ctl_argument(c, 0);
	json_t *reply = NULL, *result;
	int r;

	if (!name) {
		r = daemon_call(c, PSKD, "Tunnel.List", NULL, &reply);
		return r ? r : tunnel_fuel_result(c, reply, json_object_get(reply, "tunnels"), fuel_text);
	}
	r = daemon_call(c, PSKD, "Tunnel.Show", json_pack("{s:s}", "name", name), &reply);
	if (r)
		return r;
	result = json_pack("{s:[O]}", "tunnels", json_object_get(reply, "tunnel"));
	json_decref(reply);
	return tunnel_fuel_result(c, result, json_object_get(result, "tunnels"), fuel_text);
}
