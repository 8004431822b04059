/* handfast relay status, sessions, drop: the local relay. */
#include <jansson.h>
#include <stdio.h>

#include "base/json.h"
#include "base/text.h"

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/daemon.h"

static uint64_t unsigned_member(const json_t *obj, const char *key)
{
	int64_t v = json_get_int(obj, key, 0);

	return v < 0 ? 0 : (uint64_t)v;
}

static void status_text(const struct ctl *c, const json_t *result)
{
	const json_t *listeners = json_object_get(result, "listeners"), *one, *n;
	char bytes[32], used[32], max[32];
	const char *cause;
	size_t i;

	json_array_foreach(listeners, i, one)
		fact(stdout, &c->style, "listens on", "%s", clean_text(json_string_value(one)));
	fact(stdout, &c->style, "sessions", "%llu of at most %llu (%llu made, %llu expired)",
	     (unsigned long long)unsigned_member(result, "sessions"),
	     (unsigned long long)unsigned_member(result, "sessions_max"),
	     (unsigned long long)unsigned_member(result, "sessions_created"),
	     (unsigned long long)unsigned_member(result, "sessions_expired"));
	fact(stdout, &c->style, "connections", "%llu",
	     (unsigned long long)unsigned_member(result, "connections"));
	text_format_size(bytes, sizeof(bytes), unsigned_member(result, "bytes"));
	fact(stdout, &c->style, "forwarded", "%llu messages, %s",
	     (unsigned long long)unsigned_member(result, "messages"), bytes);
	text_format_size(used, sizeof(used), unsigned_member(result, "memory_bytes"));
	text_format_size(max, sizeof(max), unsigned_member(result, "memory_max_bytes"));
	fact(stdout, &c->style, "memory", "%s of at most %s", used, max);
	json_object_foreach((json_t *)(uintptr_t)json_object_get(result, "refused"), cause, n)
		if (json_integer_value(n) > 0)
			fact(stdout, &c->style, "refused", "%lld: %s",
			     (long long)json_integer_value(n), clean_text(cause));
}

int cmd_relay_status(struct ctl *c)
{
	json_t *reply = NULL;
	int r = daemon_call(c, RELAYD, "Relay.Status", NULL, &reply);

	return r ? r : ctl_result(c, reply, status_text);
}

static void sessions_text(const struct ctl *c, const json_t *result)
{
	static const char *const headings[] = { "CODE",	     "ALICE", "BOB",   "AGE",
						"ENDS IN",   "MESSAGES", "BYTES", "WHERE", NULL };
	const json_t *sessions = json_object_get(result, "sessions"), *s;
	struct table *t;
	size_t i;

	if (json_array_size(sessions) == 0) {
		printf("The relay has no open session.\n");
		return;
	}
	t = table_new(headings);
	json_array_foreach(sessions, i, s) {
		char age[32], rest[32], bytes[32];

		text_format_duration(age, sizeof(age), unsigned_member(s, "age_ms"));
		text_format_duration(rest, sizeof(rest), unsigned_member(s, "expires_in_ms"));
		text_format_size(bytes, sizeof(bytes), unsigned_member(s, "bytes"));
		table_cell(t, PAINT_BOLD, "%s", clean_member(s, "code"));
		table_cell(t, PAINT_PLAIN, "%s",
			   json_is_true(json_object_get(s, "alice")) ? "here" : "-");
		table_cell(t, PAINT_PLAIN, "%s",
			   json_is_true(json_object_get(s, "bob")) ? "here" : "-");
		table_cell(t, PAINT_PLAIN, "%s", age);
		table_cell(t, PAINT_PLAIN, "%s", rest);
		table_cell(t, PAINT_PLAIN, "%lld", (long long)json_get_int(s, "messages", 0));
		table_cell(t, PAINT_PLAIN, "%s", bytes);
		table_cell(t, PAINT_PLAIN, "%s",
			   json_is_true(json_object_get(s, "lan")) ? "local network" : "relay");
	}
	table_print(t, stdout, &c->style);
}

int cmd_relay_sessions(struct ctl *c)
{
	json_t *reply = NULL;
	int r = daemon_call(c, RELAYD, "Relay.Sessions", NULL, &reply);

	return r ? r : ctl_result(c, reply, sessions_text);
}

static void drop_text(const struct ctl *c, const json_t *result)
{
	(void)result;
	printf("Session %s is ended.\n", clean_text(ctl_argument(c, 0)));
}

int cmd_relay_drop(struct ctl *c)
{
	json_t *reply = NULL;
	int r = daemon_call(c, RELAYD, "Relay.Drop", json_pack("{s:s}", "code", ctl_argument(c, 0)),
			    &reply);

	return r ? r : ctl_result(c, reply, drop_text);
}
