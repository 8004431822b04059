/* handfast peer show, rename, forget. */
#include <jansson.h>
#include <string.h>
#include <time.h>

#include "base/json.h"

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/daemon.h"
#include "ctl/pair/peer_text.h"
#include "ctl/terminal.h"

static void optional_fact(const struct ctl *c, const json_t *obj, const char *label,
			  const char *key)
{
	const char *value = clean_member(obj, key);

	if (*value)
		fact(stdout, &c->style, label, "%s", value);
}

void peer_text(const struct ctl *c, const json_t *peer)
{
	const json_t *candidates = json_object_get(peer, "candidates"), *one;
	const char *state = clean_member(peer, "state");
	time_t at = (time_t)json_get_int(peer, "paired_at", 0);
	char line[512] = "", date[64] = "-";
	size_t i, len = 0;
	struct tm tm;

	if (at > 0 && localtime_r(&at, &tm))
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M", &tm);
	printf("%s%s%s\n", paint_begin(&c->style, PAINT_BOLD), clean_member(peer, "name"),
	       paint_end(&c->style, PAINT_BOLD));
	fact(stdout, &c->style, "state", "%s%s", state,
	     strcmp(state, "prepared") == 0 ?
		     " (the other side has not confirmed; its first message makes it active)" :
	     json_is_true(json_object_get(peer, "newer_unconfirmed")) ?
		     ", a newer pairing is unconfirmed" :
		     "");
	fact(stdout, &c->style, "paired", "%s as %s, profile %s, number %s", date,
	     clean_member(peer, "role"), clean_member(peer, "profile"),
	     json_is_true(json_object_get(peer, "sas_compared")) ? "compared" : "not compared");
	optional_fact(c, peer, "host name", "host_name");
	optional_fact(c, peer, "version", "version");
	optional_fact(c, peer, "note", "note");
	json_array_foreach(candidates, i, one) {
		if (json_is_string(one) && len < sizeof(line))
			len += (size_t)snprintf(line + len, sizeof(line) - len, "%s%s",
						len ? ", " : "", json_string_value(one));
	}
	if (len)
		fact(stdout, &c->style, "addresses", "%s, UDP port %lld", line,
		     (long long)json_get_int(peer, "port", 0));
	fact(stdout, &c->style, "tunnel key", "%s",
	     strcmp(clean_member(peer, "tunnel_root"), "waiting") == 0 ? "waiting for pskd to take it" :
	     strcmp(clean_member(peer, "tunnel_root"), "none") == 0 ?
		     "none, since this pairing came from a backup; pair again for a tunnel" :
		     "with pskd");
	fact(stdout, &c->style, "id", "%s", clean_member(peer, "id"));
	fact(stdout, &c->style, "public key", "%s", clean_member(peer, "public_key"));
}

static void peer_reply_text(const struct ctl *c, const json_t *result)
{
	peer_text(c, json_object_get(result, "peer"));
}

int cmd_peer_show(struct ctl *c)
{
	json_t *reply = NULL;
	int r = daemon_call(c, PAIRINGD, "Pairing.Peer", json_pack("{s:s}", "name", ctl_argument(c, 0)),
			    &reply);

	return r ? r : ctl_result(c, reply, peer_reply_text);
}

static void rename_text(const struct ctl *c, const json_t *result)
{
	printf("%s is now called %s.\n", clean_text(ctl_argument(c, 0)),
	       clean_member(json_object_get(result, "peer"), "name"));
}

int cmd_peer_rename(struct ctl *c)
{
	json_t *reply = NULL;
	int r = daemon_call(c, PAIRINGD, "Pairing.Rename",
			    json_pack("{s:s, s:s}", "name", ctl_argument(c, 0), "new_name",
				      ctl_argument(c, 1)),
			    &reply);

	return r ? r : ctl_result(c, reply, rename_text);
}

static void forget_text(const struct ctl *c, const json_t *result)
{
	(void)result;
	printf("%s is forgotten here. Forget this device there, too.\n",
	       clean_text(ctl_argument(c, 0)));
}

int cmd_peer_forget(struct ctl *c)
{
	const char *name = ctl_argument(c, 0);
	json_t *reply = NULL;
	int r;

	if (!ctl_flag(c, "yes")) {
		/* First whether there is such a peer: nobody should be asked about a slip. */
		r = daemon_call(c, PAIRINGD, "Pairing.Peer", json_pack("{s:s}", "name", name), &reply);
		json_decref(reply);
		reply = NULL;
		if (r)
			return r;
		r = terminal_confirm("Forget %s? Its identity, its keys and its tunnel are removed here.",
				     clean_text(name));
		if (r == TERMINAL_E_NONE)
			return ctl_fail(c, EXIT_USAGE, ERROR_NO_TERMINAL, "Say --yes.",
					"there is no terminal to ask on whether to forget %s", name);
		if (r == TERMINAL_E_INTERRUPTED)
			return ctl_fail(c, EXIT_INTERRUPTED, ERROR_INTERRUPTED, NULL, "interrupted");
		if (r)
			return ctl_fail(c, EXIT_FAILED, ERROR_DECLINED, NULL, "%s is kept", name);
	}
	r = daemon_call(c, PAIRINGD, "Pairing.Forget", json_pack("{s:s}", "name", name), &reply);
	return r ? r : ctl_result(c, reply, forget_text);
}
