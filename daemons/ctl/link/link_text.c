/* One interface as facts, several as a table; both read the JSON that programs get. */
#include "ctl/link/link_text.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

#include "ctl/ctl.h"

static json_t *feature_json(enum link_feature f)
{
	return f == LINK_FEATURE_UNKNOWN ? json_null() : json_boolean(f == LINK_FEATURE_ON);
}

static json_t *addresses_json(const struct link_cidr *a, size_t n, bool with_prefix)
{
	json_t *out = json_array();
	char text[LINK_CIDR_TEXT];

	for (size_t i = 0; i < n; i++) {
		link_cidr_format(text, &a[i], with_prefix);
		json_array_append_new(out, json_string(text));
	}
	return out;
}

static json_t *profile_json(const struct link_profile *p)
{
	static const char *const states[] = {
		[LINK_FILE_NONE] = "none",	 [LINK_FILE_OURS] = "whole",
		[LINK_FILE_CHANGED] = "changed", [LINK_FILE_FOREIGN] = "foreign",
		[LINK_FILE_UNREADABLE] = "unreadable",
	};

	if (!p || p->file == LINK_FILE_NONE)
		return json_null();
	return json_pack("{s:s, s:s, s:s, s:s, s:o}", "file", p->path, "manager",
			 link_manager_name(p->manager), "state", states[p->file], "role", p->role,
			 "peer_addresses", addresses_json(p->peer, p->n_peer, false));
}

static json_t *answers_json(const struct link_answers *a)
{
	json_t *out;

	if (!a)
		return json_null();
	out = json_array();
	for (size_t i = 0; i < a->n; i++)
		json_array_append_new(out, json_string(a->text[i]));
	return out;
}

json_t *link_json(const struct link_state *l, const struct link_found *found,
		  const struct link_profile *profile, const struct link_answers *answers)
{
	return json_pack(
		"{s:s, s:s, s:b, s:b, s:b, s:I, s:b, s:I, s:o, s:b, s:s, s:s, s:{s:o, s:o, s:o, s:o}, s:o, s:o}",
		"interface", clean_text(l->name), "mac", l->mac, "wired", (int)link_is_wired(l), "up", (int)l->up,
		"carrier", (int)l->carrier, "speed_mbit", (json_int_t)l->speed_mbit, "full_duplex",
		(int)l->full_duplex, "mtu", (json_int_t)l->mtu, "addresses",
		addresses_json(l->addresses, l->n_addresses, true), "default_route",
		(int)l->default_route, "manager", link_manager_name(found->manager), "manager_profile",
		found->profile, "offloads", "gro", feature_json(l->gro), "lro", feature_json(l->lro),
		"gso", feature_json(l->gso), "tso", feature_json(l->tso), "profile",
		profile_json(profile), "answers", answers_json(answers));
}

/* ---- for people ---- */

static void join(char *out, size_t cap, const json_t *array, const char *empty)
{
	const json_t *one;
	size_t i, len = 0;

	snprintf(out, cap, "%s", json_array_size(array) ? "" : empty);
	json_array_foreach(array, i, one)
		if (len < cap)
			len += (size_t)snprintf(out + len, cap - len, "%s%s", i ? ", " : "",
						clean_text(json_string_value(one)));
}

static void speed_format(char *out, size_t cap, const json_t *link)
{
	long long speed = json_get_int(link, "speed_mbit", 0);

	if (!json_is_true(json_object_get(link, "carrier")))
		snprintf(out, cap, "no cable");
	else if (speed > 0)
		snprintf(out, cap, "%lld Mbit/s%s", speed,
			 json_is_true(json_object_get(link, "full_duplex")) ? "" : ", half duplex");
	else
		snprintf(out, cap, "yes");
}

static void offloads_format(char *out, size_t cap, const json_t *link)
{
	static const char *const names[] = { "gro", "lro", "gso", "tso" };
	const json_t *all = json_object_get(link, "offloads");
	size_t len = 0;

	*out = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(names) && len < cap; i++) {
		const json_t *one = json_object_get(all, names[i]);

		len += (size_t)snprintf(out + len, cap - len, "%s%s %s", i ? ", " : "", names[i],
					json_is_null(one) ? "unknown" :
					json_is_true(one) ? "on" :
							    "off");
	}
}

static const char *profile_words(const json_t *profile)
{
	const char *state = json_get_str(profile, "state");

	if (!state)
		return "none by handfast";
	if (strcmp(state, "whole") == 0)
		return clean_member(profile, "role");
	return strcmp(state, "changed") == 0 ? "by handfast, then changed by hand" :
	       strcmp(state, "foreign") == 0 ? "not by handfast" :
					       "only root can read it";
}

static void answers_fact(const struct ctl *c, const json_t *link)
{
	const json_t *answers = json_object_get(link, "answers");
	char text[512];

	if (!answers || json_is_null(answers))
		return;
	join(text, sizeof(text), answers, "");
	fact(stdout, &c->style, "other end", "%s",
	     *text					    ? text :
	     json_is_true(json_object_get(link, "carrier")) ? "does not answer" :
							      "no cable");
}

void link_one_text(const struct ctl *c, const json_t *link)
{
	const json_t *profile = json_object_get(link, "profile");
	const char *in_use = clean_member(link, "manager_profile");
	char text[512];

	printf("%s%s%s\n", paint_begin(&c->style, PAINT_BOLD), clean_member(link, "interface"),
	       paint_end(&c->style, PAINT_BOLD));
	speed_format(text, sizeof(text), link);
	fact(stdout, &c->style, "cable", "%s", text);
	join(text, sizeof(text), json_object_get(link, "addresses"), "none");
	fact(stdout, &c->style, "addresses", "%s%s", text,
	     json_is_true(json_object_get(link, "default_route")) ? " (leads to the internet)" : "");
	fact(stdout, &c->style, "managed by", "%s%s%s", clean_member(link, "manager"),
	     *in_use ? ", " : "", in_use);
	fact(stdout, &c->style, "set up as", "%s%s%s", profile_words(profile),
	     json_is_object(profile) ? ", " : "", clean_member(profile, "file"));
	fact(stdout, &c->style, "MTU", "%lld", (long long)json_get_int(link, "mtu", 0));
	offloads_format(text, sizeof(text), link);
	fact(stdout, &c->style, "offloads", "%s", text);
	if (json_is_true(json_object_get(json_object_get(link, "offloads"), "lro")))
		fact(stdout, &c->style, "", "LRO is on: see handfast-link(7) if this machine forwards packets");
	answers_fact(c, link);
}

void link_table_text(const struct ctl *c, const json_t *result)
{
	static const char *const headings[] = { "INTERFACE", "CABLE",	  "MANAGED BY",
						"SET UP AS", "OTHER END", "ADDRESSES", NULL };
	const json_t *links = json_object_get(result, "links"), *link;
	struct table *t;
	size_t i;

	if (json_array_size(links) == 0) {
		printf("There is no wired interface here.\n");
		return;
	}
	t = table_new(headings);
	json_array_foreach(links, i, link) {
		const json_t *answers = json_object_get(link, "answers");
		const json_t *profile = json_object_get(link, "profile");
		char cable[64], addresses[512];

		speed_format(cable, sizeof(cable), link);
		join(addresses, sizeof(addresses), json_object_get(link, "addresses"), "-");
		table_cell(t, PAINT_PLAIN, "%s", clean_member(link, "interface"));
		table_cell(t, PAINT_PLAIN, "%s", cable);
		table_cell(t, PAINT_PLAIN, "%s", clean_member(link, "manager"));
		table_cell(t, PAINT_PLAIN, "%s", json_is_object(profile) ? profile_words(profile) : "-");
		if (json_is_array(answers))
			table_cell(t, json_array_size(answers) ? PAINT_GREEN : PAINT_YELLOW, "%s",
				   json_array_size(answers) ? "answers" : "silent");
		else
			table_cell(t, PAINT_DIM, "-");
		table_cell(t, PAINT_PLAIN, "%s", addresses);
	}
	table_print(t, stdout, &c->style);
}
