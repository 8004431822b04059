/*
 * OpenLan: one session with a TCP listener of its own on every address. The
 * session lives as long as the call: when the caller hangs up it ends, and when
 * it ends the call gets its last answer and the listener is closed, in the
 * loop's next turn, because the end may come from inside one of its sockets.
 */
#include "relayd/lan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/list.h"
#include "base/log.h"
#include "event/loop.h"
#include "event/varlink.h"
#include "http/http_server.h"
#include "relayd/config.h"
#include "relayd/server.h"
#include "relayd/session.h"

enum { OPEN_MAX_LAN = 8, PORTS_TRIED = 32, ADDRESSES_MAX = 16 };

struct lan_session {
	struct list node;
	struct lan *lan;
	struct session *session; /* NULL: over */
	struct http_listener *listener;
	struct varlink_call *call; /* NULL: the caller hung up */
	uint16_t port;
	json_t *where; /* what the caller was told */
};

struct lan {
	struct relay *relay;
	struct list open;
	size_t count;
};

static void lan_session_free(struct lan_session *ls)
{
	list_remove(&ls->node);
	json_decref(ls->where);
	free(ls);
}

/* The session is gone: from the loop, where nothing of the listener is running. */
static void close_listener(void *arg)
{
	struct lan_session *ls = arg;
	struct lan *lan = ls->lan;
	char port[8];

	relay_lan_unlisten(lan->relay, ls->listener);
	if (ls->call)
		varlink_reply(ls->call, json_incref(ls->where));
	snprintf(port, sizeof(port), "%u", ls->port);
	log_event(LOG_INFO, &MSG_RELAY_LAN_CLOSED, LOG_NO_FIELDS,
		  "closed the session on the local network (port %s)", port);
	lan->count--;
	lan_session_free(ls);
}

static void on_session_free(struct session *s, void *arg)
{
	struct lan *lan = arg;

	list_for_each(it, &lan->open) {
		struct lan_session *ls = container_of(it, struct lan_session, node);

		if (ls->session == s) {
			ls->session = NULL;
			(void)loop_defer(relay_loop(lan->relay), close_listener, ls);
		}
	}
}

static void on_caller_gone(void *arg)
{
	struct lan_session *ls = arg;

	ls->call = NULL;
	if (ls->session && !ls->session->ended)
		relay_session_end(ls->lan->relay, ls->session, CLOSE_ENDED, NULL,
				  "the session on the local network was closed");
}

int lan_new(struct lan **out, struct relay *r)
{
	struct lan *lan = calloc(1, sizeof(*lan));

	if (!lan)
		return -ENOMEM;
	lan->relay = r;
	list_init(&lan->open);
	relay_on_lan_session_free(r, on_session_free, lan);
	*out = lan;
	return 0;
}

/*
 * Addresses at which others on the network reach this machine. Only a machine
 * that has no interface but loopback is offered that one: there, the other
 * device can but be the same machine. 0 or a negative errno.
 */
static int own_addresses(json_t **out)
{
	_cleanup_json_ json_t *all = json_array();
	struct ifaddrs *list = NULL;
	bool alone = true;

	if (!all)
		return -ENOMEM;
	if (getifaddrs(&list) < 0)
		return -errno;
	for (const struct ifaddrs *i = list; i && json_array_size(all) < ADDRESSES_MAX; i = i->ifa_next) {
		char text[INET6_ADDRSTRLEN];
		const void *ip;

		alone = alone && (i->ifa_flags & IFF_LOOPBACK);
		if (!i->ifa_addr || (i->ifa_flags & IFF_LOOPBACK) || !(i->ifa_flags & IFF_UP))
			continue;
		if (i->ifa_addr->sa_family == AF_INET) {
			ip = &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr;
		} else if (i->ifa_addr->sa_family == AF_INET6) {
			const struct in6_addr *six =
				&((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr;

			/* A link-local address means nothing without naming an interface of the reader's. */
			if (IN6_IS_ADDR_LINKLOCAL(six))
				continue;
			ip = six;
		} else {
			continue;
		}
		if (inet_ntop(i->ifa_addr->sa_family, ip, text, sizeof(text)))
			json_array_append_new(all, json_string(text));
	}
	freeifaddrs(list);
	if (json_array_size(all) == 0 && !alone)
		return -ENETUNREACH;
	if (json_array_size(all) == 0)
		json_array_append_new(all, json_string("127.0.0.1"));
	*out = steal(&all);
	return 0;
}

/* The first free port from the configured one on. The fd or a negative errno. */
static int listen_somewhere(const struct relayd_config *cfg, uint16_t *port)
{
	int fd = -EADDRINUSE;

	for (uint64_t p = cfg->lan_port; p <= 65535 && p < cfg->lan_port + PORTS_TRIED; p++) {
		char address[16];

		snprintf(address, sizeof(address), "*:%u", (unsigned int)p);
		fd = http_listen_tcp(address, port);
		if (fd != -EADDRINUSE)
			break;
	}
	return fd;
}

/* addresses: stolen. */
static json_t *describe(const struct session *s, uint16_t port, json_t *addresses)
{
	char id[BASE64_SPACE(RELAY_SESSION_ID_LEN)];
	uint64_t left = (s->expires_ms - s->created_ms) / 1000;

	base64_encode(id, s->id, sizeof(s->id), BASE64_STANDARD);
	return json_pack("{s:s, s:s, s:I, s:i, s:o}", "session_code", s->code, "session_id_b64", id,
			 "expires_in_s", (json_int_t)left, "port", (int)port, "addresses",
			 addresses);
}

static void refuse_listen(struct varlink_call *call, int r)
{
	char text[160];

	snprintf(text, sizeof(text), "no TCP port could be opened on the local network: %s", strerror(-r));
	varlink_error(call, "io.handfast.Relay.LanUnavailable", text,
		      "see lan_port in relayd.yaml, or name a relay with --relay");
}

static void refuse_addresses(struct varlink_call *call, int r)
{
	char text[160] = "this machine has no address on a local network";

	if (r != -ENETUNREACH)
		snprintf(text, sizeof(text), "the network interfaces cannot be listed: %s", strerror(-r));
	varlink_error(call, "io.handfast.Relay.LanUnavailable", text,
		      "connect it to a network, or name a relay with --relay");
}

void lan_open(struct lan *lan, struct varlink_call *call)
{
	json_t *addresses = NULL;
	struct lan_session *ls;
	struct session *s;
	int fd, r;

	if (!varlink_call_wants_more(call)) {
		varlink_error(call, "org.varlink.service.ExpectedMore",
			      "OpenLan must be called with \"more\"", "the listener lives as long as the call");
		return;
	}
	r = own_addresses(&addresses);
	if (r) {
		refuse_addresses(call, r);
		return;
	}
	if (lan->count >= OPEN_MAX_LAN || relay_session_new(lan->relay, &s)) {
		varlink_error(call, "io.handfast.Relay.LimitReached",
			      "the relay holds as many sessions as it may",
			      "end one with \"handfast relay drop CODE\", or raise limits.sessions");
		json_decref(addresses);
		return;
	}
	ls = calloc(1, sizeof(*ls));
	if (!ls) {
		relay_session_end(lan->relay, s, CLOSE_ENDED, NULL, NULL);
		varlink_error(call, "io.handfast.Daemon.Internal", "out of memory", "");
		json_decref(addresses);
		return;
	}
	ls->lan = lan;
	fd = listen_somewhere(relay_config(lan->relay), &ls->port);
	r = fd < 0 ? fd : relay_lan_listen(lan->relay, fd, &ls->listener);
	if (!r && !(ls->where = describe(s, ls->port, json_incref(addresses)))) {
		relay_lan_unlisten(lan->relay, ls->listener);
		r = -ENOMEM;
	}
	json_decref(addresses);
	if (r) {
		relay_session_end(lan->relay, s, CLOSE_ENDED, NULL, NULL);
		free(ls);
		refuse_listen(call, r);
		return;
	}
	s->lan = ls->listener;
	ls->session = s;
	ls->call = call;
	list_append(&lan->open, &ls->node);
	lan->count++;
	varlink_call_on_gone(call, on_caller_gone, ls);
	log_event(LOG_INFO, &MSG_RELAY_LAN_OPENED, LOG_NO_FIELDS,
		  "opened one session on the local network, port %u", ls->port);
	varlink_notify(call, json_incref(ls->where));
}

struct lan *lan_free(struct lan *lan)
{
	if (!lan)
		return NULL;
	relay_on_lan_session_free(lan->relay, NULL, NULL);
	list_for_each(it, &lan->open) {
		struct lan_session *ls = container_of(it, struct lan_session, node);

		if (ls->call)
			varlink_error(ls->call, "io.handfast.Relay.LanUnavailable",
				      "the relay is stopping", "");
		lan_session_free(ls);
	}
	free(lan);
	return NULL;
}
