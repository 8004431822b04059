/*
 * ws-tool URL [CA-FILE]: connect our WebSocket client, send a long message, and say whether it came
 * back: "echoed", or the outcome's name and detail. For tests against servers that we did not write.
 */
#include <stdio.h>
#include <string.h>

#include "event/loop.h"
#include "http/websocket.h"

static struct loop *loop;
static struct websocket_connector *connector;
static char text[12000];

static const char *name_of(int outcome)
{
	static const char *const names[] = {
		[WEBSOCKET_E_URL] = "url",	   [WEBSOCKET_E_RESOLVE] = "resolve",
		[WEBSOCKET_E_CONNECT] = "connect", [WEBSOCKET_E_TLS] = "tls",
		[WEBSOCKET_E_CERTIFICATE] = "certificate", [WEBSOCKET_E_REFUSED] = "refused",
		[WEBSOCKET_E_TIMEOUT] = "timeout",
	};

	return names[outcome];
}

static void on_message(struct websocket *ws, const char *got, size_t len, void *arg)
{
	(void)arg;
	if (len == sizeof(text) && memcmp(got, text, len) == 0)
		puts("echoed");
	else
		printf("damaged: %zu bytes\n", len);
	websocket_close(ws, 1000, "done");
}

static void on_close(struct websocket *ws, uint16_t code, void *arg)
{
	(void)ws;
	(void)arg;
	loop_stop(loop, code == 1000 ? 0 : 1);
}

static void on_connect(struct websocket *ws, int outcome, unsigned int status, const char *detail, void *arg)
{
	const struct websocket_handlers h = { on_message, on_close, NULL };
	const struct websocket_limits limits = { .max_message = 1 << 16, .max_unsent = 1 << 20 };

	(void)status;
	(void)arg;
	if (!ws) {
		printf("%s: %s\n", name_of(outcome), detail);
		loop_stop(loop, 1);
		return;
	}
	websocket_start(ws, &h, &limits);
	websocket_send(ws, text, sizeof(text));
}

int main(int argc, char **argv)
{
	struct websocket_connect_options o = { .timeout_ms = 10000 };
	int r;

	if (argc < 2 || loop_new(&loop))
		return 2;
	memset(text, 't', sizeof(text));
	o.url = argv[1];
	o.ca_file = argc > 2 ? argv[2] : NULL;
	if (websocket_connect(&connector, loop, &o, on_connect, NULL)) {
		puts("url: refused");
		return 1;
	}
	r = loop_run(loop);
	websocket_connector_free(connector);
	loop_free(loop);
	return r;
}
