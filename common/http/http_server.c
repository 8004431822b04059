/*
 * One libmicrohttpd daemon a listener, each driven by its epoll descriptor in
 * our loop. libmicrohttpd parses; every limit, deadline and doubt is here.
 *
 * Debian 12 has 0.9.75. It takes a second Content-Length, and Content-Length
 * beside Transfer-Encoding, without a word, and its timeout starts again with
 * each byte. So the headers are looked at again before anything acts on them,
 * and every connection has a deadline that no byte moves.
 */
#include "http/http_server.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

#include <microhttpd.h>

#include "base/base64.h"
#include "base/list.h"
#include "base/log.h"
#include "base/text.h"
#include "event/loop.h"
#include "http/address.h"
#include "http/proxies.h"
#include "http/websocket.h"
#include "http/websocket_transport.h"

enum {
	HEAD_MAX = 8 * 1024, /* where limits.max_head says nothing */
	DISCARD_MAX = 64 * 1024,      /* of a body too large, read before hanging up, so that the answer arrives */
	RUNS_AT_ONCE = 4,
	ACCEPTS_A_TURN = 16,
	PAUSE_MS = 100, /* until a listener without descriptors is looked at again */
	SEND_BUFFER = 128 * 1024, /* the kernel's, of a WebSocket */
};

struct http_server {
	struct loop *loop;
	struct http_server_options o;
	char *cert, *key;
	struct list listeners;
	struct list upgraded;
	struct address_table *per_address;
	const struct http_proxies *proxies;
	struct http_counters counters;
	size_t n_unanswered;
};

struct listener {
	struct list node;
	struct http_server *server;
	struct MHD_Daemon *mhd;
	struct loop_io *io, *accept_io;
	struct loop_timer *again; /* libmicrohttpd has work that no descriptor announces */
	struct loop_timer *retry; /* accepting waits for descriptors or memory */
	int fd; /* -1 when it accepts no more */
	size_t n_conns;
	bool retired; /* accepts no more; goes with its last connection */
};

/* A TCP connection, from accept to close, upgraded or not. */
struct connection {
	struct listener *listener;
	struct MHD_Connection *mhd;
	struct loop_timer *deadline;
	struct address_key address; /* under which it is counted */
	bool unanswered; /* its first request, or one that has begun */
};

struct http_request {
	struct connection *conn;
	struct sockaddr_storage client; /* family 0: who connected */
	const char *method;
	char *target;
	const char *version;
	bool seen;	  /* its head was checked */
	bool answered;
	bool too_big;
	char *body;
	size_t body_len, body_cap, discarded;
	void (*on_open)(struct websocket *ws, void *arg);
	void *on_open_arg;
};

/* ---- libmicrohttpd in the loop ---- */

static void run_mhd(struct listener *ln)
{
	for (int i = 0; i < RUNS_AT_ONCE; i++) {
		MHD_UNSIGNED_LONG_LONG wait;

		MHD_run(ln->mhd);
		if (MHD_get_timeout(ln->mhd, &wait) != MHD_YES)
			return;
		if (wait > 0) {
			(void)loop_timer_start(ln->again, wait);
			return;
		}
	}
	(void)loop_timer_start(ln->again, 0);
}

static void on_epoll(int fd, unsigned int events, void *arg)
{
	(void)fd;
	(void)events;
	run_mhd(arg);
}

static void listener_free(struct listener *ln);

static void on_again(void *arg)
{
	struct listener *ln = arg;

	if (ln->retired && ln->n_conns == 0)
		listener_free(ln);
	else
		run_mhd(ln);
}

/*
 * We accept, not libmicrohttpd: out of descriptors, it would look at its
 * listener again only when a connection of that listener ends, wherever the
 * descriptors were spent and come back.
 */
static void on_acceptable(int listen_fd, unsigned int events, void *arg)
{
	struct listener *ln = arg;

	(void)events;
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		struct sockaddr_storage from = { 0 };
		socklen_t len = sizeof(from);
		int fd = accept4(listen_fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0) {
			/* The socket stays readable: look away for a while. */
			if (errno != EAGAIN && !loop_io_set(ln->accept_io, 0))
				(void)loop_timer_start(ln->retry, PAUSE_MS);
			break;
		}
		/* It closes the socket when it takes it not. */
		(void)MHD_add_connection(ln->mhd, fd, (struct sockaddr *)&from, len);
	}
	run_mhd(ln);
}

static void on_retry(void *arg)
{
	struct listener *ln = arg;

	if (ln->accept_io && loop_io_set(ln->accept_io, LOOP_READ))
		(void)loop_timer_start(ln->retry, PAUSE_MS);
}

/* Accept no more. */
static void stop_accepting(struct listener *ln)
{
	ln->accept_io = loop_io_free(ln->accept_io);
	loop_timer_stop(ln->retry);
	closep(&ln->fd);
	ln->fd = -1;
}

/* ---- connections ---- */

static bool address_is_full(struct http_server *s, const struct address_key *k)
{
	const size_t *n = address_table_get(s->per_address, k, false);

	return s->o.limits.max_connections_per_address && k->family && n &&
	       *n >= s->o.limits.max_connections_per_address;
}

static enum MHD_Result on_accept(void *cls, const struct sockaddr *addr, socklen_t len)
{
	struct listener *ln = cls;
	struct http_server *s = ln->server;
	struct address_key k;

	(void)len;
	address_key_init(&k, addr);
	/* A proxy's connections are its clients', and counted when it has said whose. */
	if (s->counters.open >= s->o.limits.max_connections ||
	    (address_is_full(s, &k) && !http_proxies_has(s->proxies, addr))) {
		s->counters.refused_limit++;
		return MHD_NO;
	}
	return MHD_YES;
}

static int connection_fd(struct connection *c)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_CONNECTION_FD);

	return info ? info->connect_fd : -1;
}

/* Nobody is told anything: whoever drips bytes for this long is not waiting for words. */
static void on_deadline(void *arg)
{
	struct connection *c = arg;
	int fd = connection_fd(c);

	c->listener->server->counters.timeouts++;
	if (fd >= 0)
		shutdown(fd, SHUT_RDWR);
	(void)loop_timer_start(c->listener->again, 0);
}

static void set_deadline(struct connection *c, uint64_t ms)
{
	if (c->deadline && ms)
		(void)loop_timer_start(c->deadline, ms);
	else if (c->deadline)
		loop_timer_stop(c->deadline);
}

/* Who connected. */
static const struct sockaddr *peer_address(struct MHD_Connection *mhd)
{
	static const struct sockaddr none = { .sa_family = AF_UNIX };
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

	return info && info->client_addr ? info->client_addr : &none;
}

static void count_address(struct connection *c, const struct sockaddr *a)
{
	size_t *n;

	address_key_init(&c->address, a);
	n = address_table_get(c->listener->server->per_address, &c->address, true);
	if (n)
		++*n;
}

static void uncount_address(struct connection *c)
{
	struct address_table *t = c->listener->server->per_address;
	size_t *n = address_table_get(t, &c->address, false);

	if (n && --*n == 0)
		address_table_remove(t, &c->address);
}

static void set_unanswered(struct connection *c, bool unanswered)
{
	struct http_server *s = c->listener->server;

	s->n_unanswered += unanswered;
	s->n_unanswered -= c->unanswered;
	c->unanswered = unanswered;
}

static void connection_open(struct listener *ln, struct MHD_Connection *mhd, void **context)
{
	struct http_server *s = ln->server;
	struct connection *c = calloc(1, sizeof(*c));

	*context = c;
	if (!c)
		return; /* its first request is refused */
	c->listener = ln;
	ln->n_conns++;
	c->mhd = mhd;
	count_address(c, peer_address(mhd));
	s->counters.connections++;
	s->counters.open++;
	set_unanswered(c, true);
	if (loop_timer_new(&c->deadline, s->loop, on_deadline, c) == 0)
		set_deadline(c, s->o.limits.header_timeout_ms);
}

static void connection_close(struct connection *c)
{
	struct listener *ln = c->listener;

	/* Not from here, which is inside of it. */
	if (--ln->n_conns == 0 && ln->retired)
		(void)loop_timer_start(ln->again, 0);
	uncount_address(c);
	c->listener->server->counters.open--;
	set_unanswered(c, false);
	loop_timer_free(c->deadline);
	free(c);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		connection_open(cls, mhd, context);
	else if (*context)
		connection_close(*context);
}

static struct connection *connection_of(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

/* ---- requests ---- */

/* The request line has been read: the target as it was sent, before any decoding. */
static void *on_request_line(void *cls, const char *target, struct MHD_Connection *mhd)
{
	struct http_request *r = calloc(1, sizeof(*r));

	(void)cls;
	if (!r)
		return NULL;
	r->conn = connection_of(mhd);
	r->target = strdup(target);
	if (!r->conn || !r->target) {
		free(r->target);
		free(r);
		return NULL;
	}
	set_unanswered(r->conn, true);
	return r;
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **req_cls,
			 enum MHD_RequestTerminationCode code)
{
	struct http_request *r = *req_cls;

	(void)cls;
	(void)code;
	if (!r)
		return;
	*req_cls = NULL;
	set_deadline(r->conn, r->conn->listener->server->o.limits.header_timeout_ms);
	set_unanswered(r->conn, false);
	if (r->client.ss_family) {
		/* The proxy may use its connection for somebody else next. */
		uncount_address(r->conn);
		count_address(r->conn, peer_address(mhd));
	}
	if (r->on_open)
		r->on_open(NULL, r->on_open_arg);
	free(r->target);
	free(r->body);
	free(r);
}

struct head {
	unsigned int lengths, encodings, hosts;
	bool bad;
	const char *length, *encoding;
};

static bool is_token(const char *s, size_t len)
{
	/* RFC 9110 section 5.6.2 */
	for (size_t i = 0; i < len; i++)
		if (s[i] <= ' ' || s[i] == 0x7f || (s[i] & 0x80) || strchr("\"(),/:;<=>?@[\\]{}", s[i]))
			return false;
	return len > 0;
}

static bool is_visible(const char *s)
{
	for (; *s; s++)
		if (*s <= ' ' || *s == 0x7f || (*s & 0x80))
			return false;
	return true;
}

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_len,
				 const char *value, size_t value_len)
{
	struct head *h = cls;

	(void)kind;
	/* A blank before the colon hides a header from one parser and shows it to the next (RFC 9112 section 5.1). */
	if (!is_token(key, key_len) || (value_len && memchr(value, '\0', value_len)))
		h->bad = true;
	if (strcasecmp(key, "Content-Length") == 0) {
		h->lengths++;
		h->length = value ? value : "";
	} else if (strcasecmp(key, "Transfer-Encoding") == 0) {
		h->encodings++;
		h->encoding = value ? value : "";
	} else if (strcasecmp(key, "Host") == 0) {
		h->hosts++;
	}
	return MHD_YES;
}

/* False for a head that two parsers could read differently (RFC 9112 section 6.3, RFC 9110 section 8.6). */
static bool head_is_clear(struct http_request *r, struct head *h)
{
	/* A control character in the first line ends it for some (RFC 9112 section 3); libmicrohttpd takes them. */
	if (!is_token(r->method, strlen(r->method)) || !is_visible(r->target))
		return false;
	MHD_get_connection_values_n(r->conn->mhd, MHD_HEADER_KIND, on_header, h);
	if (h->bad || h->lengths > 1 || h->encodings > 1 || (h->lengths && h->encodings))
		return false;
	if (h->hosts > 1 || (h->hosts == 0 && strcmp(r->version, MHD_HTTP_VERSION_1_1) == 0))
		return false;
	if (h->encodings && (strcasecmp(h->encoding, "chunked") != 0 ||
			     strcmp(r->version, MHD_HTTP_VERSION_1_1) != 0))
		return false;
	if (h->lengths && (!*h->length || h->length[strspn(h->length, "0123456789")]))
		return false;
	return true;
}

static void reply_text(struct http_request *r, unsigned int status, const char *text)
{
	static const char *const last[] = { "Connection", "close", NULL };

	http_reply(r, status, "text/plain; charset=utf-8", text, strlen(text), last);
}

static enum MHD_Result on_forwarded(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_len,
				    const char *value, size_t value_len)
{
	FILE *f = cls;

	(void)kind;
	(void)key_len;
	if (strcasecmp(key, "X-Forwarded-For") == 0)
		fprintf(f, "%s%.*s", ftell(f) > 0 ? "," : "", (int)value_len, value ? value : "");
	return MHD_YES;
}

/* Ask the proxy, if it is one, for whom it comes. False: for one who has enough connections. */
static bool find_client(struct http_request *r)
{
	struct connection *c = r->conn;
	struct http_server *s = c->listener->server;
	const struct sockaddr *peer = peer_address(c->mhd), *client = (struct sockaddr *)(void *)&r->client;
	_cleanup_free_ char *forwarded = NULL;
	struct address_key k;
	size_t len;
	FILE *f;

	if (!http_proxies_has(s->proxies, peer))
		return true;
	f = open_memstream(&forwarded, &len);
	if (f) {
		MHD_get_connection_values_n(c->mhd, MHD_HEADER_KIND, on_forwarded, f);
		fclose(f);
	}
	http_proxies_client(s->proxies, peer, forwarded ? forwarded : "", &r->client);
	address_key_init(&k, client);
	if (address_is_full(s, &k) && !http_proxies_has(s->proxies, client))
		return false;
	uncount_address(c);
	count_address(c, client);
	return true;
}

/* The head is here: 0 to go on, 1 when it was answered. */
static int check_head(struct http_request *r)
{
	struct http_server *s = r->conn->listener->server;
	struct head h = { 0 };

	if (!head_is_clear(r, &h)) {
		s->counters.refused_bad++;
		reply_text(r, MHD_HTTP_BAD_REQUEST, "bad request\n");
		return 1;
	}
	if (!find_client(r)) {
		s->counters.refused_limit++;
		reply_text(r, MHD_HTTP_TOO_MANY_REQUESTS, "too many connections from this address\n");
		return 1;
	}
	if (h.lengths && (strlen(h.length) > 18 || strtoull(h.length, NULL, 10) > s->o.limits.max_body)) {
		s->counters.refused_bad++;
		reply_text(r, MHD_HTTP_CONTENT_TOO_LARGE, "request body too large\n");
		return 1;
	}
	set_deadline(r->conn, s->o.limits.body_timeout_ms);
	return 0;
}

/* A part of the body. False: hang up. */
static bool take_body(struct http_request *r, const char *data, size_t len)
{
	size_t max = r->conn->listener->server->o.limits.max_body;

	/* A reload may have lowered the limit meanwhile. */
	if (r->too_big || r->body_len > max || len > max - r->body_len) {
		r->too_big = true;
		r->discarded += len;
		return r->discarded <= DISCARD_MAX;
	}
	if (r->body_len + len > r->body_cap) {
		size_t cap = r->body_cap ? r->body_cap * 2 : 1024;
		char *more;

		while (cap < r->body_len + len)
			cap *= 2;
		more = realloc(r->body, cap);
		if (!more)
			return false;
		r->body = more;
		r->body_cap = cap;
	}
	memcpy(r->body + r->body_len, data, len);
	r->body_len += len;
	return true;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd, const char *url,
				  const char *method, const char *version, const char *upload,
				  size_t *upload_len, void **req_cls)
{
	struct listener *ln = cls;
	struct http_server *s = ln->server;
	struct http_request *r = *req_cls;

	(void)mhd;
	(void)url;
	if (!r)
		return MHD_NO;
	r->method = method;
	r->version = version;
	if (!r->seen) {
		r->seen = true;
		(void)check_head(r);
		return MHD_YES;
	}
	if (*upload_len) {
		if (!take_body(r, upload, *upload_len))
			return MHD_NO;
		*upload_len = 0;
		return MHD_YES;
	}
	/* libmicrohttpd asks once more where bytes follow a request that expected "100 Continue". */
	if (r->answered)
		return MHD_YES;
	if (r->too_big) {
		s->counters.refused_bad++;
		reply_text(r, MHD_HTTP_CONTENT_TOO_LARGE, "request body too large\n");
	} else {
		s->o.on_request(r, s->o.arg);
		assert(r->answered);
	}
	return MHD_YES;
}

/* ---- the server ---- */

static void on_mhd_log(void *cls, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void on_mhd_log(void *cls, const char *fmt, va_list ap)
{
	char text[256];

	(void)cls;
	vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\n")] = '\0';
	log_debug("libmicrohttpd: %s", text);
}

int http_server_new(struct http_server **out, struct loop *l, const struct http_server_options *o)
{
	_cleanup_(http_server_freep) struct http_server *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	assert(!o->tls_cert_pem == !o->tls_key_pem);
	list_init(&s->listeners);
	list_init(&s->upgraded);
	s->loop = l;
	s->o = *o;
	if (o->tls_cert_pem) {
		s->cert = strdup(o->tls_cert_pem);
		s->key = strdup(o->tls_key_pem);
		if (!s->cert || !s->key)
			return -ENOMEM;
	}
	r = address_table_new(&s->per_address, sizeof(size_t));
	if (r)
		return r;
	*out = steal(&s);
	return 0;
}

void http_server_set_limits(struct http_server *s, const struct http_limits *limits)
{
	s->o.limits = *limits;
}

void http_server_set_proxies(struct http_server *s, const struct http_proxies *p)
{
	s->proxies = p;
}

static void listener_free(struct listener *ln)
{
	list_remove(&ln->node);
	stop_accepting(ln);
	loop_io_free(ln->io);
	if (ln->mhd)
		MHD_stop_daemon(ln->mhd);
	loop_timer_free(ln->retry);
	loop_timer_free(ln->again);
	free(ln);
}

static struct MHD_Daemon *start_mhd(struct http_server *s, struct listener *ln)
{
	unsigned int flags = MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_UPGRADE | MHD_USE_ERROR_LOG;
	struct MHD_OptionItem tls[] = {
		{ MHD_OPTION_HTTPS_MEM_CERT, 0, s->cert },
		{ MHD_OPTION_HTTPS_MEM_KEY, 0, s->key },
		/* TLS 1.2 and up, without what is known to be weak. */
		{ MHD_OPTION_HTTPS_PRIORITIES, 0,
		  (void *)(uintptr_t) "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE" },
		{ MHD_OPTION_END, 0, NULL },
	};
	struct MHD_OptionItem none[] = { { MHD_OPTION_END, 0, NULL } };

	if (s->cert)
		flags |= MHD_USE_TLS;
	return MHD_start_daemon(
		flags, 0, on_accept, ln, on_request, ln, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, NULL,
		MHD_OPTION_ARRAY, s->cert ? tls : none,
		/* Ours are below this; its own would leave strangers waiting in the backlog. */
		MHD_OPTION_CONNECTION_LIMIT, 1u << 20, MHD_OPTION_CONNECTION_TIMEOUT, 0u,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, s->o.limits.max_head ? s->o.limits.max_head : (size_t)HEAD_MAX,
		MHD_OPTION_CONNECTION_MEMORY_INCREMENT, (size_t)1024, MHD_OPTION_NOTIFY_COMPLETED,
		on_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, ln,
		MHD_OPTION_URI_LOG_CALLBACK, on_request_line, NULL,
#if MHD_VERSION >= 0x00097701
		MHD_OPTION_CLIENT_DISCIPLINE_LVL, 1,
#else
		MHD_OPTION_STRICT_FOR_CLIENT, 1,
#endif
		MHD_OPTION_END);
}

static int listener_watch(struct http_server *s, struct listener *ln)
{
	const union MHD_DaemonInfo *info;
	int r, flags = fcntl(ln->fd, F_GETFL);

	if (flags < 0 || fcntl(ln->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	r = loop_timer_new(&ln->again, s->loop, on_again, ln);
	if (!r)
		r = loop_timer_new(&ln->retry, s->loop, on_retry, ln);
	if (r)
		return r;
	ln->mhd = start_mhd(s, ln);
	/* It says no more than this; a wrong certificate or key is the usual reason. */
	if (!ln->mhd)
		return s->cert ? -EKEYREJECTED : -ENOMEM;
	info = MHD_get_daemon_info(ln->mhd, MHD_DAEMON_INFO_EPOLL_FD);
	r = info ? loop_io_new(&ln->io, s->loop, info->epoll_fd, LOOP_READ, on_epoll, ln) : -ENOTSUP;
	return r ? r : loop_io_new(&ln->accept_io, s->loop, ln->fd, LOOP_READ, on_acceptable, ln);
}

int http_server_listen_handle(struct http_server *s, int fd, struct http_listener **out)
{
	struct listener *ln = calloc(1, sizeof(*ln));
	int r;

	if (!ln) {
		close(fd);
		return -ENOMEM;
	}
	ln->server = s;
	ln->fd = fd;
	r = listener_watch(s, ln);
	if (r) {
		listener_free(ln);
		return r;
	}
	list_append(&s->listeners, &ln->node);
	if (out)
		*out = (struct http_listener *)ln;
	return 0;
}

int http_server_listen(struct http_server *s, int fd)
{
	return http_server_listen_handle(s, fd, NULL);
}

/* Accept no more; whoever is connected stays, with the certificate that they saw. */
static void retire(struct listener *ln)
{
	stop_accepting(ln);
	ln->retired = true;
	if (ln->n_conns == 0)
		(void)loop_timer_start(ln->again, 0);
}

static void set_pem(struct http_server *s, char *cert, char *key)
{
	free(s->cert);
	if (s->key)
		explicit_bzero(s->key, strlen(s->key));
	free(s->key);
	s->cert = cert;
	s->key = key;
}

/* A second listener on the same socket for each of the n first ones. */
static int listen_beside(struct http_server *s, size_t n)
{
	size_t i = 0;
	int r = 0;

	list_for_each(it, &s->listeners) {
		struct listener *ln = container_of(it, struct listener, node);
		int fd;

		if (r || i++ == n)
			break;
		if (ln->retired)
			continue;
		fd = fcntl(ln->fd, F_DUPFD_CLOEXEC, 3);
		r = fd < 0 ? -errno : http_server_listen(s, fd);
	}
	return r;
}

/* Of the first n, or of those after them. */
static void end_listeners(struct http_server *s, size_t n, bool first)
{
	size_t i = 0;

	list_for_each(it, &s->listeners) {
		struct listener *ln = container_of(it, struct listener, node);
		bool is_first = i++ < n;

		if (is_first != first || ln->retired)
			continue;
		if (first)
			retire(ln);
		else
			listener_free(ln);
	}
}

int http_server_set_certificate(struct http_server *s, const char *cert_pem, const char *key_pem)
{
	char *old_cert = s->cert, *old_key = s->key;
	size_t n = 0;
	int r = -ENOMEM;

	assert(old_cert && cert_pem && key_pem);
	list_for_each(it, &s->listeners)
		n++;
	s->cert = strdup(cert_pem);
	s->key = strdup(key_pem);
	if (s->cert && s->key)
		r = listen_beside(s, n);
	if (r) {
		end_listeners(s, n, false);
		set_pem(s, old_cert, old_key);
		return r;
	}
	end_listeners(s, n, true);
	free(old_cert);
	explicit_bzero(old_key, strlen(old_key));
	free(old_key);
	return 0;
}

static int resolve_listen(struct addrinfo **out, const char *address)
{
	const struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
					.ai_socktype = SOCK_STREAM };
	char host[64];
	const char *colon = strrchr(address, ':'), *start = address;
	uint64_t port;
	size_t len;

	if (!colon || colon == address || (size_t)(colon - address) >= sizeof(host))
		return -EINVAL;
	/* getaddrinfo() takes 65537 for 1. */
	if (text_parse_u64(&port, colon + 1, 0, UINT16_MAX))
		return -EINVAL;
	len = (size_t)(colon - address);
	if (*start == '[') {
		if (address[len - 1] != ']')
			return -EINVAL;
		start++;
		len -= 2;
	}
	snprintf(host, sizeof(host), "%.*s", (int)len, start);
	/* "*" is every address of both families: one IPv6 socket that takes IPv4, too. */
	if (getaddrinfo(strcmp(host, "*") == 0 ? "::" : host, colon + 1, &hints, out))
		return -EINVAL;
	return 0;
}

int http_parse_listen(struct sockaddr_storage *out, bool *all, const char *address)
{
	struct addrinfo *ai;
	int r = resolve_listen(&ai, address);

	if (r)
		return r;
	memset(out, 0, sizeof(*out));
	memcpy(out, ai->ai_addr, ai->ai_addrlen);
	*all = address[0] == '*';
	freeaddrinfo(ai);
	return 0;
}

int http_listen_tcp(const char *address, uint16_t *port)
{
	_cleanup_close_ int fd = -1;
	struct addrinfo *ai = NULL;
	struct sockaddr_in6 bound = { 0 }; /* IPv4 has its port in the same place. */
	socklen_t len = sizeof(bound);
	const int on = 1, off = 0;
	bool any = address[0] == '*';
	int r;

	r = resolve_listen(&ai, address);
	if (r)
		return r;
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 && any && errno == EAFNOSUPPORT) {
		/* A kernel without IPv6. */
		char v4[32];

		freeaddrinfo(ai);
		snprintf(v4, sizeof(v4), "0.0.0.0%.8s", strrchr(address, ':'));
		return http_listen_tcp(v4, port);
	}
	if (fd < 0) {
		r = -errno;
	} else if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
		   setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on)) < 0 ||
		   (ai->ai_family == AF_INET6 &&
		    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, any ? &off : &on, sizeof(on)) < 0) ||
		   bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0 ||
		   getsockname(fd, (struct sockaddr *)&bound, &len) < 0) {
		r = -errno;
	} else if (port) {
		*port = ntohs(bound.sin6_port);
	}
	freeaddrinfo(ai);
	return r ? r : steal_fd(&fd);
}

void http_server_counters(const struct http_server *s, struct http_counters *out)
{
	*out = s->counters;
}

/* ---- requests, for the daemon ---- */

const char *http_request_method(const struct http_request *r)
{
	return r->method;
}

const char *http_request_target(const struct http_request *r)
{
	return r->target;
}

const char *http_request_header(const struct http_request *r, const char *name)
{
	return MHD_lookup_connection_value(r->conn->mhd, MHD_HEADER_KIND, name);
}

struct only {
	const char *name, *value;
	unsigned int n;
};

static enum MHD_Result on_only(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_len,
			       const char *value, size_t value_len)
{
	struct only *o = cls;

	(void)kind;
	(void)key_len;
	(void)value_len;
	if (strcasecmp(key, o->name) == 0) {
		o->n++;
		o->value = value ? value : "";
	}
	return MHD_YES;
}

bool http_request_header_once(const struct http_request *r, const char *name, const char **value)
{
	struct only o = { .name = name };

	MHD_get_connection_values_n(r->conn->mhd, MHD_HEADER_KIND, on_only, &o);
	*value = o.value;
	return o.n <= 1;
}

const void *http_request_body(const struct http_request *r, size_t *len)
{
	*len = r->body_len;
	return r->body ? r->body : "";
}

const struct sockaddr *http_request_address(const struct http_request *r)
{
	if (r->client.ss_family)
		return (const struct sockaddr *)(const void *)&r->client;
	return peer_address(r->conn->mhd);
}

const struct sockaddr *http_request_peer(const struct http_request *r)
{
	return peer_address(r->conn->mhd);
}

struct http_listener *http_request_listener(const struct http_request *r)
{
	return (struct http_listener *)r->conn->listener;
}

/* Give it to libmicrohttpd. Should that fail there is nothing left to say: it hangs up. */
static void queue(struct http_request *r, unsigned int status, struct MHD_Response *response)
{
	r->answered = true;
	if (MHD_queue_response(r->conn->mhd, status, response) != MHD_YES)
		log_debug("libmicrohttpd did not take an answer");
	MHD_destroy_response(response);
	set_deadline(r->conn, r->conn->listener->server->o.limits.idle_timeout_ms);
}

void http_reply(struct http_request *r, unsigned int status, const char *content_type,
		const void *body, size_t len, const char *const *extra)
{
	struct MHD_Response *response;

	assert(!r->answered);
	r->answered = true;
	response = MHD_create_response_from_buffer(len, (void *)(uintptr_t)body, MHD_RESPMEM_MUST_COPY);
	if (!response)
		return;
	if (content_type)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
	for (; extra && extra[0]; extra += 2)
		MHD_add_response_header(response, extra[0], extra[1]);
	queue(r, status, response);
}

/* ---- upgraded connections ---- */

struct upgraded {
	struct list node;
	struct connection *conn;
	struct websocket *ws;
	struct MHD_UpgradeResponseHandle *urh;
	struct loop_io *io;
	int fd;
	uint8_t *early; /* what came with the request */
	size_t early_len, early_done;
};

static ssize_t upgraded_read(void *t, void *buf, size_t len)
{
	struct upgraded *u = t;
	ssize_t n;

	if (u->early_done < u->early_len) {
		if (len > u->early_len - u->early_done)
			len = u->early_len - u->early_done;
		memcpy(buf, u->early + u->early_done, len);
		u->early_done += len;
		return (ssize_t)len;
	}
	n = recv(u->fd, buf, len, 0);
	if (n < 0)
		return errno == EINTR || errno == EWOULDBLOCK ? -EAGAIN : -errno;
	return n;
}

static ssize_t upgraded_write(void *t, const void *buf, size_t len)
{
	struct upgraded *u = t;
	ssize_t n = send(u->fd, buf, len, MSG_NOSIGNAL);

	if (n < 0)
		return errno == EINTR || errno == EWOULDBLOCK ? -EAGAIN : -errno;
	return n;
}

static void upgraded_watch(void *t, bool read, bool write)
{
	struct upgraded *u = t;

	(void)loop_io_set(u->io, (read ? LOOP_READ : 0u) | (write ? LOOP_WRITE : 0u));
}

static size_t upgraded_unsent(void *t)
{
	(void)t;
	return 0;
}

static void upgraded_shutdown_write(void *t)
{
	struct upgraded *u = t;

	shutdown(u->fd, SHUT_WR);
}

static void upgraded_close(void *t)
{
	struct upgraded *u = t;
	struct loop_timer *again = u->conn->listener->again;

	list_remove(&u->node);
	loop_io_free(u->io);
	free(u->early);
	/* libmicrohttpd closes the socket in its next turn. */
	MHD_upgrade_action(u->urh, MHD_UPGRADE_ACTION_CLOSE);
	(void)loop_timer_start(again, 0);
	free(u);
}

static const struct websocket_transport upgraded_ops = {
	.read = upgraded_read,
	.write = upgraded_write,
	.watch = upgraded_watch,
	.unsent = upgraded_unsent,
	.shutdown_write = upgraded_shutdown_write,
	.close = upgraded_close,
};

static void on_upgraded_io(int fd, unsigned int events, void *arg)
{
	struct upgraded *u = arg;

	(void)fd;
	websocket_on_io(u->ws, events & LOOP_READ, events & LOOP_WRITE);
}

static void on_upgraded(void *cls, struct MHD_Connection *mhd, void *req_cls, const char *extra,
			size_t extra_len, MHD_socket fd, struct MHD_UpgradeResponseHandle *urh)
{
	struct http_request *r = req_cls;
	struct connection *c = connection_of(mhd);
	struct http_server *s = c->listener->server;
	struct upgraded *u = calloc(1, sizeof(*u));
	void (*on_open)(struct websocket *ws, void *arg);
	const int on = 1, send_buffer = SEND_BUFFER;

	(void)cls;
	if (!u)
		goto refuse;
	u->conn = c;
	u->fd = fd;
	u->urh = urh;
	if (extra_len) {
		u->early = malloc(extra_len);
		if (!u->early)
			goto refuse;
		memcpy(u->early, extra, extra_len);
		u->early_len = extra_len;
	}
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	setsockopt(connection_fd(c), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	/* The kernel would let a peer that does not read grow its queue to megabytes, which nobody counts. */
	setsockopt(connection_fd(c), SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof(send_buffer));
	if (loop_io_new(&u->io, s->loop, fd, 0, on_upgraded_io, u))
		goto refuse;
	if (websocket_new(&u->ws, s->loop, false, &upgraded_ops, u)) {
		loop_io_free(u->io);
		goto refuse;
	}
	list_append(&s->upgraded, &u->node);
	set_unanswered(c, false);
	/* From here on the websocket's own deadlines count. */
	c->deadline = loop_timer_free(c->deadline);
	on_open = r->on_open;
	r->on_open = NULL;
	on_open(u->ws, r->on_open_arg);
	if (u->early_len)
		websocket_on_io(u->ws, true, false);
	return;

refuse:
	if (u)
		free(u->early);
	free(u);
	MHD_upgrade_action(urh, MHD_UPGRADE_ACTION_CLOSE);
}

/* RFC 6455 section 4.2.1. */
static bool is_handshake(const struct http_request *r, const char **key)
{
	uint8_t nonce[16];

	*key = http_request_header(r, "Sec-WebSocket-Key");
	return strcmp(r->method, "GET") == 0 && strcmp(r->version, MHD_HTTP_VERSION_1_1) == 0 &&
	       websocket_header_has(http_request_header(r, "Upgrade"), "websocket") &&
	       websocket_header_has(http_request_header(r, "Connection"), "Upgrade") && *key &&
	       base64_decode_exact(nonce, sizeof(nonce), *key, BASE64_STANDARD) == 0;
}

int http_upgrade(struct http_request *r, void (*on_open)(struct websocket *ws, void *arg), void *arg)
{
	static const char *const which[] = { "Sec-WebSocket-Version", "13", "Upgrade", "websocket", NULL };
	char accept[WEBSOCKET_ACCEPT_SPACE];
	struct MHD_Response *response;
	const char *key, *version;

	if (!is_handshake(r, &key)) {
		reply_text(r, MHD_HTTP_BAD_REQUEST, "not a WebSocket handshake\n");
		return -EPROTO;
	}
	version = http_request_header(r, "Sec-WebSocket-Version");
	if (!version || strcmp(version, "13") != 0) {
		/* RFC 6455 section 4.2.2, item 4 */
		http_reply(r, MHD_HTTP_UPGRADE_REQUIRED, "text/plain; charset=utf-8",
			   "WebSocket version 13 only\n", 26, which);
		return -EPROTO;
	}
	response = MHD_create_response_for_upgrade(on_upgraded, NULL);
	if (!response) {
		reply_text(r, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory\n");
		return -ENOMEM;
	}
	r->on_open = on_open;
	r->on_open_arg = arg;
	websocket_accept_value(accept, key);
	MHD_add_response_header(response, MHD_HTTP_HEADER_UPGRADE, "websocket");
	MHD_add_response_header(response, "Sec-WebSocket-Accept", accept);
	queue(r, MHD_HTTP_SWITCHING_PROTOCOLS, response);
	return 0;
}

static void close_upgraded(struct http_server *s, const struct listener *of)
{
	list_for_each(it, &s->upgraded) {
		struct upgraded *u = container_of(it, struct upgraded, node);

		if (!of || u->conn->listener == of)
			websocket_abort(u->ws);
	}
}

void http_server_close_listeners(struct http_server *s)
{
	list_for_each(it, &s->listeners)
		stop_accepting(container_of(it, struct listener, node));
}

size_t http_server_unanswered(const struct http_server *s)
{
	return s->n_unanswered;
}

void http_server_unlisten(struct http_server *s, struct http_listener *which)
{
	struct listener *ln = (struct listener *)which;

	close_upgraded(s, ln);
	listener_free(ln);
}

struct http_server *http_server_free(struct http_server *s)
{
	if (!s)
		return NULL;
	close_upgraded(s, NULL);
	list_for_each(it, &s->listeners)
		listener_free(container_of(it, struct listener, node));
	address_table_free(s->per_address);
	set_pem(s, NULL, NULL);
	free(s);
	return NULL;
}
