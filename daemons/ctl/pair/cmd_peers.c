/* handfast peers, identity: who this device knows, and who it is. */
#include <jansson.h>
#include <string.h>
#include <time.h>

#include "base/json.h"

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/daemon.h"

static void date_format(char *out, size_t cap, int64_t at)
{
	time_t t = (time_t)at;
	struct tm tm;

	if (at <= 0 || !localtime_r(&t, &tm) || strftime(out, cap, "%Y-%m-%d", &tm) == 0)
		snprintf(out, cap, "-");
}

static void state_cell(struct table *t, const json_t *p)
{
	const char *state = clean_member(p, "state");
	const char *root = json_get_str(p, "tunnel_root");

	if (root && strcmp(root, "none") == 0)
		table_cell(t, PAINT_RED, "%s, pair again", state);
	else if (json_is_true(json_object_get(p, "newer_unconfirmed")))
		table_cell(t, PAINT_YELLOW, "%s, newer pairing unconfirmed", state);
	else
		table_cell(t, strcmp(state, "active") == 0 ? PAINT_GREEN : PAINT_YELLOW, "%s", state);
}

static void peers_text(const struct ctl *c, const json_t *result)
{
	static const char *const headings[] = { "NAME", "STATE", "PAIRED", "NUMBER", "HOST", "ID",
						NULL };
	const json_t *peers = json_object_get(result, "peers"), *p;
	struct table *t;
	size_t i;

	if (json_array_size(peers) == 0) {
		printf("No device is paired with this one. “handfast pair” begins.\n");
		return;
	}
	t = table_new(headings);
	json_array_foreach(peers, i, p) {
		char date[32];

		date_format(date, sizeof(date), json_get_int(p, "paired_at", 0));
		table_cell(t, PAINT_BOLD, "%s", clean_member(p, "name"));
		state_cell(t, p);
		table_cell(t, PAINT_PLAIN, "%s", date);
		table_cell(t, PAINT_PLAIN, "%s",
			   json_is_true(json_object_get(p, "sas_compared")) ? "compared" :
									      "not compared");
		table_cell(t, PAINT_PLAIN, "%s", clean_member(p, "host_name"));
		table_cell(t, PAINT_DIM, "%s", clean_member(p, "id"));
	}
	table_print(t, stdout, &c->style);
}

int cmd_peers(struct ctl *c)
{
	json_t *reply = NULL;
	int r = daemon_call(c, PAIRINGD, "Pairing.Peers", NULL, &reply);

	return r ? r : ctl_result(c, reply, peers_text);
}

static void identity_text(const struct ctl *c, const json_t *result)
{
	printf("%s%s%s\n", paint_begin(&c->style, PAINT_BOLD), clean_member(result, "name"),
	       paint_end(&c->style, PAINT_BOLD));
	fact(stdout, &c->style, "id", "%s", clean_member(result, "id"));
	fact(stdout, &c->style, "public key", "%s", clean_member(result, "public_key"));
}

int cmd_identity(struct ctl *c)
{
	json_t *reply = NULL;
	int r = daemon_call(c, PAIRINGD, "Pairing.Identity", NULL, &reply);

	return r ? r : ctl_result(c, reply, identity_text);
}
