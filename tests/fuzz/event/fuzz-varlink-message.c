/* Bytes from a caller through a real socket into the server, and the same bytes as an answer to a client. */
#include "fuzz/lib/pairs.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <jansson.h>

#include "base/json.h"
#include "event/loop.h"
#include "event/varlink.h"
#include "event/varlink_message.h"
#include "fuzz/lib/quick_loop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char description[] = "interface org.example.fuzz\n"
				  "type Point (x: int, y: ?float)\n"
				  "method Echo(text: string, at: ?Point, many: ?[]string) -> (text: string)\n"
				  "method Later() -> (n: int)\n"
				  "method Denied() -> ()\n";

static struct varlink_call *waiting;

static void on_gone(void *arg)
{
	(void)arg;
	waiting = NULL;
}

static void echo(struct varlink_call *call, const json_t *params, void *arg)
{
	(void)arg;
	varlink_notify(call, json_pack("{s:s}", "text", "…"));
	varlink_reply(call, json_pack("{s:s}", "text", json_get_str(params, "text")));
}

static void later(struct varlink_call *call, const json_t *params, void *arg)
{
	(void)arg;
	(void)params;
	if (waiting) {
		varlink_error(call, "org.example.fuzz.Busy", "one at a time", NULL);
		return;
	}
	waiting = call;
	varlink_call_on_gone(call, on_gone, NULL);
}

static const struct varlink_method methods[] = {
	{ "Echo", VARLINK_READ, echo },
	{ "Later", VARLINK_READ, later },
	{ 0 },
};

static const struct varlink_interface interface = { "org.example.fuzz", description, methods };

static struct loop *l;
static char path[64];

static void set_up(void)
{
	static const struct varlink_info info = { .vendor = "v", .product = "p", .version = "1", .url = "u" };
	static struct varlink_server *s;
	int fd;

	snprintf(path, sizeof(path), "/tmp/hf-fuzz-%d.sock", (int)getpid());
	fd = unix_listen(path, SOCK_STREAM, 0600, NULL, false);
	if (fd < 0 || loop_new(&l) || varlink_server_new(&s, l, &info) ||
	    varlink_server_add(s, &interface, NULL) || varlink_server_listen(s, fd))
		abort();
}

static void clean_up(void)
{
	unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct varlink_answer a;
	char got[4096];
	int fd;

	if (!l) {
		set_up();
		atexit(clean_up);
	}
	timers_begin(1000000);
	if (!varlink_answer_init(&a, (const char *)data, size))
		varlink_answer_done(&a);

	fd = pairs_connect(SOCK_STREAM);
	if (fd < 0)
		abort();
	if (send(fd, data, size, MSG_NOSIGNAL) < 0)
		size = 0;
	/* One message more, so that an unfinished one is ended, and every turn of the loop that it takes. */
	if (send(fd, "", 1, MSG_NOSIGNAL) < 0)
		size = 0;
	for (int i = 0; i < 8; i++) {
		loop_step(l, 0);
		if (recv(fd, got, sizeof(got), 0) == 0)
			break;
	}
	if (waiting) {
		varlink_reply(waiting, json_pack("{s:i}", "n", 1));
		waiting = NULL;
		loop_step(l, 0);
	}
	close(fd);
	for (int i = 0; i < 4 && n_timers > 0; i++)
		loop_step(l, 0);
	assert(n_timers == 0 && n_ios == 0);
	return 0;
}
