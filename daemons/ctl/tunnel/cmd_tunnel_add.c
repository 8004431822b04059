/*
 * handfast tunnel add, set, stage, unstage: the daemon has another working folder, so paths become
 * absolute here; and it reads the key file whole, so it says how far it is.
 */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/daemon.h"
#include "ctl/stream.h"
#include "ctl/terminal.h"
#include "ctl/tunnel/file_progress.h"

static void add_text(const struct ctl *c, const json_t *result)
{
	const char *name = clean_member(json_object_get(result, "tunnel"), "name");

	(void)c;
	printf("Tunnel %s is added. “handfast tunnel up %s” starts it.\n", name, name);
}

static int no_such_file(struct ctl *c, const char *path, int error)
{
	if (error == ENOENT || error == ENOTDIR)
		return ctl_fail(c, EXIT_NO_SUCH, ERROR_NO_SUCH_FILE,
				"“handfast tunnel generate FILE SIZE” makes a key file.",
				"there is no file %s", path);
	return ctl_fail(c, error == EACCES ? EXIT_PERMISSION : EXIT_FAILED, ERROR_FILE, NULL, "%s: %s",
			path, strerror(error));
}

/* pskd wants the public key; people know the name. Names are shorter than any key. */
static int add_pin(struct ctl *c, json_t *params)
{
	const char *pin = ctl_option(c, "pin");
	_cleanup_json_ json_t *reply = NULL;
	json_t *key = NULL;
	int r;

	if (!pin)
		return EXIT_DONE;
	if (text_is_name(pin)) {
		r = daemon_call(c, PAIRINGD, "Pairing.Peer", json_pack("{s:s}", "name", pin), &reply);
		if (r)
			return r;
		key = json_object_get(json_object_get(reply, "peer"), "public_key");
	}
	json_object_set_new(params, "pin", key ? json_incref(key) : json_string(pin));
	return EXIT_DONE;
}

/* Values of an option that may be given again, where it was given at all. */
static void add_list(const struct ctl *c, json_t *params, const char *option, const char *member)
{
	json_t *list = NULL;
	const char *value;
	size_t at = 0;

	while ((value = parsed_option_next(&c->parsed, option, &at))) {
		if (!list)
			list = json_array();
		json_array_append_new(list, json_string(value));
	}
	if (list)
		json_object_set_new(params, member, list);
}

static int interrupted(struct ctl *c)
{
	const char *name = clean_text(ctl_argument(c, 0));
	char hint[200];

	snprintf(hint, sizeof(hint), "pskd reads no further; “handfast tunnel show %s” tells whether it was done already.", name);
	return ctl_fail(c, interrupt_exit(), ERROR_INTERRUPTED, hint, "no longer waiting for %s", name);
}

static void on_progress(struct file_progress *p, const json_t *params)
{
	int64_t done = json_get_int(params, "done", -1), total = json_get_int(params, "total", -1);

	if (done >= 0 && total >= done)
		file_progress_tell(p, (uint64_t)done, (uint64_t)total);
}

static int wait_for_it(struct ctl *c, struct stream *s, struct file_progress *p, ctl_text_fn text)
{
	for (;;) {
		struct pollfd fds[2] = { { .fd = stream_fd(s), .events = POLLIN },
					 { .fd = interrupt_fd(), .events = POLLIN } };
		_cleanup_json_ json_t *params = NULL;
		struct failure f = { 0 };

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return ctl_fail(c, EXIT_FAILED, ERROR_INTERNAL, NULL, "poll: %s", strerror(errno));
		if (interrupt_seen()) {
			file_progress_end(p);
			return interrupted(c);
		}
		switch (stream_next(s, &params, &f)) {
		case STREAM_MESSAGE:
			on_progress(p, params);
			break;
		case STREAM_LAST:
			file_progress_end(p);
			return ctl_result(c, steal(&params), text);
		case STREAM_FAILED:
			file_progress_end(p);
			return ctl_fail_with(c, &f);
		case STREAM_NOTHING:
			break;
		}
	}
}

/* A call by which pskd reads a key file; takes params. */
static int read_by(struct ctl *c, const char *method, json_t *params, ctl_text_fn text)
{
	_cleanup_(stream_closep) struct stream *stream = NULL;
	struct file_progress progress;
	struct failure f = { 0 };

	interrupt_arm();
	file_progress_begin(&progress, c, "reading");
	if (stream_open(&stream, c, PSKD, method, params, &f))
		return ctl_fail_with(c, &f);
	return wait_for_it(c, stream, &progress, text);
}

/* Absolute; an exit code when there is no such file. */
static int find_file(struct ctl *c, const char *key_file, char **path)
{
	*path = realpath(key_file, NULL);
	/* A folder closed to this user may be open to pskd. */
	if (!*path && errno == EACCES && key_file[0] == '/')
		*path = strdup(key_file);
	return *path ? EXIT_DONE : no_such_file(c, key_file, errno);
}

static int bad_path(struct ctl *c, const char *path)
{
	return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, NULL, "%s: the name is not valid UTF-8", path);
}

/* Options that go to the daemon as they are, under its own names. */
static const struct setting {
	const char *option, *member, *label;
	enum { TEXT, NUMBER, LIST } kind;
} settings[] = {
	{ "endpoint", "endpoint", "endpoint", TEXT },
	{ "listen", "listen", "listens on", TEXT },
	{ "local-address", "local_address", "own address", TEXT },
	{ "peer-address", "peer_address", "peer address", TEXT },
	{ "route", "routes", "routes", LIST },
	{ "allow", "allowed", "heard for", LIST },
	{ "mtu", "mtu", "MTU", NUMBER },
	{ "keepalive", "keepalive", "keepalive", TEXT },
	{ "dscp", "dscp", "outer DSCP", TEXT },
	{ "salt", "salt", "salt", TEXT },
	{ "erase", "erase", "erase", TEXT },
};

static void add_settings(const struct ctl *c, json_t *params)
{
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		const char *value = settings[i].kind == LIST ? NULL : ctl_option(c, settings[i].option);

		if (settings[i].kind == LIST)
			add_list(c, params, settings[i].option, settings[i].member);
		else if (value)
			json_object_set_new(params, settings[i].member,
					    settings[i].kind == NUMBER ? json_integer(strtoll(value, NULL, 10)) : json_string(value));
	}
}

int cmd_tunnel_add(struct ctl *c)
{
	const char *key_file = ctl_option(c, "key-file"), *role = ctl_option(c, "role");
	_cleanup_free_ char *path = NULL;
	json_t *params;
	int r;

	if (!key_file || !role)
		return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, "See “handfast help tunnel add”.",
				"“handfast tunnel add” needs --key-file FILE and --role ROLE");
	r = find_file(c, key_file, &path);
	if (r)
		return r;
	params = json_pack("{s:s, s:s, s:s}", "name", ctl_argument(c, 0), "key_file", path, "role",
			   role);
	if (!params)
		return bad_path(c, path);
	if (ctl_option(c, "peer"))
		json_object_set_new(params, "peer", json_string(ctl_option(c, "peer")));
	add_settings(c, params);
	r = add_pin(c, params);
	if (r) {
		json_decref(params);
		return r;
	}
	return read_by(c, "Tunnel.Add", params, add_text);
}

static void setting_format(char *out, size_t cap, const json_t *value)
{
	const json_t *one;
	uint64_t ms;
	size_t i, len = 0;

	out[0] = '\0';
	if (json_is_integer(value))
		snprintf(out, cap, "%lld", (long long)json_integer_value(value));
	else if (json_is_string(value) && text_parse_duration_ms(&ms, json_string_value(value)) == 0 && strstr(json_string_value(value), "ms"))
		text_format_duration(out, cap, ms);
	else if (json_is_string(value))
		snprintf(out, cap, "%s", clean_text(json_string_value(value)));
	json_array_foreach(value, i, one)
		if (len < cap)
			len += (size_t)snprintf(out + len, cap - len, "%s%s", i ? ", " : "", clean_text(json_string_value(one)));
}

static void set_text(const struct ctl *c, const json_t *result)
{
	const json_t *t = json_object_get(result, "tunnel"), *set = json_object_get(t, "settings");
	char value[600];

	printf("%s%s%s\n", paint_begin(&c->style, PAINT_BOLD), clean_member(t, "name"), paint_end(&c->style, PAINT_BOLD));
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		setting_format(value, sizeof(value), json_object_get(set, settings[i].member));
		if (*value)
			fact(stdout, &c->style, settings[i].label, "%s", value);
	}
}

/* The members that options of --default name. */
static json_t *defaults_of(const struct ctl *c)
{
	json_t *list = json_array();
	const char *value;
	size_t at = 0;

	while ((value = parsed_option_next(&c->parsed, "default", &at)))
		for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
			if (strcmp(settings[i].option, value) == 0)
				json_array_append_new(list, json_string(settings[i].member));
	return list;
}

int cmd_tunnel_set(struct ctl *c)
{
	json_t *params = json_pack("{s:s}", "name", ctl_argument(c, 0)), *reply = NULL, *defaults = defaults_of(c);
	bool changes;
	int r;

	add_settings(c, params);
	changes = json_object_size(params) > 1 || json_array_size(defaults) > 0;
	if (changes)
		json_object_set(params, "defaults", defaults);
	json_decref(defaults);
	r = daemon_call(c, PSKD, changes ? "Tunnel.Set" : "Tunnel.Show", params, &reply);
	return r ? r : ctl_result(c, reply, set_text);
}

static void stage_text(const struct ctl *c, const json_t *result)
{
	const json_t *tunnel = json_object_get(result, "tunnel"), *staged = json_object_get(tunnel, "staged");
	const char *name = clean_member(tunnel, "name");

	(void)c;
	if (json_is_object(staged))
		printf("Staged, with fingerprint %s.\nOnce the other side has it staged, too, tunnel %s goes over to it; “handfast "
		       "tunnel show %s” tells.\n",
		       clean_member(staged, "fingerprint"), name, name);
	else
		printf("Tunnel %s uses it already: the other side had it staged.\n", name);
}

int cmd_tunnel_stage(struct ctl *c)
{
	_cleanup_free_ char *path = NULL;
	json_t *params;
	int r = find_file(c, ctl_argument(c, 1), &path);

	if (r)
		return r;
	params = json_pack("{s:s, s:s}", "name", ctl_argument(c, 0), "key_file", path);
	return params ? read_by(c, "Tunnel.Stage", params, stage_text) : bad_path(c, path);
}

static void unstage_text(const struct ctl *c, const json_t *result)
{
	(void)c;
	printf("Tunnel %s stays with the key file that it uses.\n", clean_member(json_object_get(result, "tunnel"), "name"));
}

int cmd_tunnel_unstage(struct ctl *c)
{
	json_t *reply = NULL;
	int r = daemon_call(c, PSKD, "Tunnel.Unstage", json_pack("{s:s}", "name", ctl_argument(c, 0)), &reply);

	return r ? r : ctl_result(c, reply, unstage_text);
}
