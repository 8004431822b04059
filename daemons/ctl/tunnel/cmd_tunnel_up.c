/* handfast tunnel up: ask pskd, and tell each step until the first handshake. */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/daemon.h"
#include "ctl/stream.h"
#include "ctl/terminal.h"
#include "ctl/tunnel/tunnel_text.h"

enum {
	WAIT_DEFAULT_MS = 30000,
	WAIT_MAX_MS = 24 * 3600 * 1000,
	GRACE_MS = 5000, /* for pskd to say itself that the time is over */
};

static void up_text(const struct ctl *c, const json_t *result)
{
	const json_t *tunnel = json_object_get(result, "tunnel");

	if (json_is_object(tunnel))
		tunnel_text(c, tunnel);
	else
		printf("%s is coming up.\n", clean_text(ctl_argument(c, 0)));
}

static int interrupted(struct ctl *c)
{
	char hint[200];

	snprintf(hint, sizeof(hint), "It goes on coming up; “handfast tunnel down %s” ends that.",
		 clean_text(ctl_argument(c, 0)));
	return ctl_fail(c, interrupt_exit(), ERROR_INTERRUPTED, hint, "no longer waiting for %s",
			clean_text(ctl_argument(c, 0)));
}

static const char *step_words(const char *step)
{
	static const char *const words[][2] = {
		{ "keys", "the key material is open" },
		{ "listening", "listening for the other side" },
		{ "device", "the device is there" },
		{ "hello", "waiting for the other side's answer" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strcmp(words[i][0], step) == 0)
			return words[i][1];
	return step;
}

static void on_step(struct ctl *c, struct progress *p, const json_t *params)
{
	const json_t *tunnel = json_object_get(params, "tunnel");
	const char *problem = clean_member(tunnel, "problem");

	ctl_event(c, json_get_str(params, "event") ? json_get_str(params, "event") : "step",
		  json_copy((json_t *)(uintptr_t)params));
	if (!c->json)
		progress_show(p, "%s: %s%s%s", clean_text(ctl_argument(c, 0)),
			      step_words(clean_member(params, "event")), *problem ? ": " : "", problem);
}

/* A peer from a backup has no tunnel, and pskd knows nothing of it: pairingd does. */
static int explain_missing(struct ctl *c, struct failure *f)
{
	const char *name = ctl_argument(c, 0);
	json_t *reply = NULL;
	struct failure other;

	if (strcmp(f->code, "io.handfast.Tunnel.NoSuchTunnel") == 0 &&
	    daemon_try(c, PAIRINGD, "Pairing.Peer", json_pack("{s:s}", "name", name), NULL, NULL, &reply, &other) == 0) {
		const char *root = json_get_str(json_object_get(reply, "peer"), "tunnel_root");

		if (root && strcmp(root, "none") == 0)
			failure_set(f, EXIT_NO_SUCH, "io.handfast.Tunnel.NoRoot",
				    "Pair again: “handfast pair”. The keys of its tunnel are in no backup.",
				    "%s came from a backup, without a tunnel", name);
		if (root && strcmp(root, "moved") == 0)
			failure_set(f, EXIT_NO_SUCH, "io.handfast.Tunnel.NoRoot",
				    "Pair again: “handfast pair” makes new ones.",
				    "%s is paired, but its tunnel was removed here, and the keys with it", name);
	}
	json_decref(reply);
	return ctl_fail_with(c, f);
}

static int wait_for_it(struct ctl *c, struct stream *s, uint64_t until_ms)
{
	struct progress progress;

	progress_init(&progress, c->want_color);
	for (;;) {
		struct pollfd fds[2] = { { .fd = stream_fd(s), .events = POLLIN },
					 { .fd = interrupt_fd(), .events = POLLIN } };
		uint64_t now = clock_now_ms();
		json_t *params = NULL;
		struct failure f = { 0 };

		if (now >= until_ms)
			return ctl_fail(c, EXIT_TIMED_OUT, ERROR_TIMED_OUT, NULL,
					"pskd did not say how it went with %s in time",
					clean_text(ctl_argument(c, 0)));
		if (poll(fds, 2, (int)(until_ms - now)) < 0 && errno != EINTR)
			return ctl_fail(c, EXIT_FAILED, ERROR_INTERNAL, NULL, "poll: %s",
					strerror(errno));
		if (interrupt_seen()) {
			progress_clear(&progress);
			return interrupted(c);
		}
		switch (stream_next(s, &params, &f)) {
		case STREAM_MESSAGE:
			on_step(c, &progress, params);
			json_decref(params);
			break;
		case STREAM_LAST:
			progress_clear(&progress);
			return ctl_result(c, params, up_text);
		case STREAM_FAILED:
			progress_clear(&progress);
			return explain_missing(c, &f);
		case STREAM_NOTHING:
			break;
		}
	}
}

int cmd_tunnel_up(struct ctl *c)
{
	_cleanup_(stream_closep) struct stream *stream = NULL;
	const char *timeout = ctl_option(c, "timeout");
	uint64_t wait_ms = WAIT_DEFAULT_MS;
	struct failure f = { 0 };
	json_t *params, *reply = NULL;
	int r;

	if (timeout && (text_parse_duration_ms(&wait_ms, timeout) != 0 || wait_ms > WAIT_MAX_MS))
		return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, "For example 10s, 2min; at most 1d.",
				"--timeout: “%s” is no time", clean_text(timeout));
	if (ctl_flag(c, "no-wait") && timeout)
		return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, NULL,
				"--no-wait and --timeout exclude each other");
	params = json_pack("{s:s}", "name", ctl_argument(c, 0));
	if (ctl_flag(c, "no-wait")) {
		r = daemon_try(c, PSKD, "Tunnel.Up", params, NULL, NULL, &reply, &f);
		return r ? explain_missing(c, &f) : ctl_result(c, reply, up_text);
	}
	interrupt_arm();
	json_object_set_new(params, "wait_ms", json_integer((json_int_t)wait_ms));
	if (stream_open(&stream, c, PSKD, "Tunnel.Up", params, &f))
		return ctl_fail_with(c, &f);
	return wait_for_it(c, stream, clock_now_ms() + wait_ms + GRACE_MS);
}
