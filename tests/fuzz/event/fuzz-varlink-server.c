/*
 * A control socket and four callers, as a sequence: calls right and wrong, in pieces, with more, oneway and upgrade, with a
 * descriptor nobody wants, callers that do not read or hang up, answers that come now, later, several, or an error.
 *
 * What must hold: every call is answered once and in its connection's order, whoever hung up is told
 * of once, and nothing of a connection is left when it is closed.
 */
#include "fuzz/lib/pairs.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "event/loop.h"
#include "event/unixsock.h"
#include "event/varlink.h"
#include "fuzz/lib/quick_loop.h"
#include "fuzz/lib/sequence.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CALLERS = 4, WAITING = 32 };

static const char description[] = "interface org.example.fuzz\n"
				  "type Point (x: int, y: ?float)\n"
				  "method Echo(text: string, at: ?Point, many: ?[]string) -> (text: string)\n"
				  "method Later() -> (n: int)\n"
				  "method Change() -> ()\n"
				  "error Busy (n: int)\n";

static struct loop *loop;
static char path[64];
static int callers[CALLERS];
static struct varlink_call *waiting[WAITING];

static void on_gone(void *arg)
{
	struct varlink_call **place = arg;

	assert(*place);
	*place = NULL;
}

static void echo(struct varlink_call *call, const json_t *params, void *arg)
{
	(void)arg;
	assert(json_is_string(json_object_get(params, "text")));
	for (int i = 0; i < 2 && varlink_call_wants_more(call); i++)
		varlink_notify(call, json_pack("{s:s}", "text", "…"));
	varlink_reply(call, json_pack("{s:O}", "text", json_object_get(params, "text")));
}

static void later(struct varlink_call *call, const json_t *params, void *arg)
{
	(void)params;
	(void)arg;
	for (size_t i = 0; i < WAITING; i++)
		if (!waiting[i]) {
			waiting[i] = call;
			varlink_call_on_gone(call, on_gone, &waiting[i]);
			return;
		}
	varlink_error(call, "org.example.fuzz.Busy", "too many", "wait");
}

static void change(struct varlink_call *call, const json_t *params, void *arg)
{
	(void)params;
	(void)arg;
	varlink_invalid_parameter(call, "none");
}

static const struct varlink_method methods[] = {
	{ "Echo", VARLINK_READ, echo },
	{ "Later", VARLINK_READ, later },
	{ "Change", VARLINK_CHANGE, change },
	{ 0 },
};

static const struct varlink_interface interface = { "org.example.fuzz", description, methods };

static void remove_socket(void)
{
	unlink(path);
}

static void set_up(void)
{
	static const struct varlink_info info = { .vendor = "v", .product = "p", .version = "1", .url = "u" };
	static struct varlink_server *s;
	int fd;

	log_set_level(LOG_CRIT);
	snprintf(path, sizeof(path), "%s/handfast-fuzz-%d", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm", (int)getpid());
	fd = unix_listen(path, SOCK_STREAM, 0600, NULL, false);
	assert(fd >= 0 && atexit(remove_socket) == 0);
	assert(loop_new(&loop) == 0 && varlink_server_new(&s, loop, &info) == 0);
	assert(varlink_server_add(s, &interface, NULL) == 0 && varlink_server_listen(s, fd) == 0);
}

static void put(int fd, const void *data, size_t len, bool with_fd)
{
	if (fd < 0 || len == 0)
		return;
	if (with_fd)
		(void)unix_send(fd, data, len, 2);
	else
		(void)!send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* A call as a library would write it, with the words that the input picks. */
static void put_call(int fd, const struct happening *h)
{
	static const char *const names[] = { "org.example.fuzz.Echo", "org.example.fuzz.Later", "org.example.fuzz.Change",
					     "org.varlink.service.GetInfo", "org.varlink.service.GetInterfaceDescription",
					     "org.example.fuzz.Absent", "org.example.absent.Echo", "Echo" };
	static const char *const params[] = { "", ",\"parameters\":{}", ",\"parameters\":{\"text\":\"hello\"}",
					      ",\"parameters\":{\"text\":\"x\",\"at\":{\"x\":1,\"y\":2.5},\"many\":[\"a\",\"b\"]}",
					      ",\"parameters\":{\"text\":7}", ",\"parameters\":{\"interface\":\"org.example.fuzz\"}",
					      ",\"parameters\":{\"text\":\"x\",\"unknown\":1}", ",\"parameters\":[]" };
	static const char *const flags[] = { "", ",\"more\":true", ",\"oneway\":true", ",\"upgrade\":true", ",\"more\":true,\"oneway\":true",
					     ",\"more\":1", ",\"upgrade\":false", ",\"other\":null" };
	uint8_t a = happening_byte(h, 0), b = happening_byte(h, 1);
	char text[300];
	int n = snprintf(text, sizeof(text), "{\"method\":\"%s\"%s%s}", names[a & 7], params[a >> 3 & 7], flags[b & 7]);

	put(fd, text, (size_t)n + !(b & 8), b & 16);
}

static void read_all(int fd)
{
	char got[8192];

	while (fd >= 0 && recv(fd, got, sizeof(got), MSG_DONTWAIT) > 0)
		;
}

static void answer(const struct happening *h)
{
	size_t i = happening_byte(h, 0) % WAITING;
	struct varlink_call *call;

	while (i < WAITING && !waiting[i])
		i++;
	if (i == WAITING)
		return;
	call = waiting[i];
	if (happening_byte(h, 1) & 1) {
		varlink_notify(call, json_pack("{s:i}", "n", 1));
		return;
	}
	waiting[i] = NULL;
	if (happening_byte(h, 1) & 2)
		varlink_error(call, "org.example.fuzz.Busy", "no", NULL);
	else
		varlink_reply(call, json_pack("{s:i}", "n", 2));
}

static void happen(const struct happening *h)
{
	int *fd = &callers[h->what >> 6];

	switch (h->what & 7) {
	case 0:
		put(*fd, h->data, h->len, false);
		break;
	case 1:
	case 2:
		put_call(*fd, h);
		break;
	case 3:
		answer(h);
		break;
	case 4:
		if (*fd >= 0)
			close(*fd);
		*fd = h->what & 8 ? -1 : pairs_connect(SOCK_STREAM);
		break;
	case 5:
		read_all(*fd);
		break;
	case 6:
		if (*fd >= 0)
			shutdown(*fd, h->what & 8 ? SHUT_WR : SHUT_RD);
		break;
	default:
		if (h->what & 32)
			timers_pass(happening_number(h, 0, 2));
		else
			put(*fd, "", 1, false);
	}
	if (!(h->what & 16))
		loop_step(loop, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sequence seq = { data, size };
	struct happening h;

	if (!loop)
		set_up();
	timers_begin(1000000);
	callers[0] = pairs_connect(SOCK_STREAM);
	assert(callers[0] >= 0);
	for (size_t i = 1; i < CALLERS; i++)
		callers[i] = -1;
	loop_step(loop, 0);
	while (sequence_next(&seq, &h))
		happen(&h);
	for (size_t i = 0; i < CALLERS; i++)
		if (callers[i] >= 0)
			close(callers[i]);
	/* Whoever waited is told that its caller has gone. */
	for (int i = 0; i < 40; i++) {
		size_t left = 0;

		loop_step(loop, 0);
		for (size_t at = 0; at < WAITING; at++)
			left += waiting[at] != NULL;
		if (left == 0)
			break;
		assert(i < 39);
	}
	/* Nothing of them is left, at the latest when all that they asked for was done and they have taken nothing for a while. */
	for (int i = 0; i < 400 && n_timers > 0; i++) {
		loop_step(loop, 0);
		timers_pass(i > 3 ? 5000 : 0);
	}
	assert(n_timers == 0 && n_ios == 0);
	return 0;
}
