/*
 * Names are looked up in a worker thread by getaddrinfo(), which knows /etc/hosts,
 * mDNS and whatever else the machine is set up for; the addresses are tried in its
 * order. TLS 1.2 or newer, the certificate checked against the host's name.
 */
#include "http/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/text.h"
#include "event/loop.h"
#include "http/websocket.h"

enum { HEAD_MAX = 16 * 1024 };

/* A name being looked up; outlives a client that gives up. */
struct lookup {
	struct http_client *client; /* NULL: nobody waits any more */
	char host[256], port[6];
	struct addrinfo *found;
	int failure; /* getaddrinfo's */
};

struct http_client {
	struct loop *loop;
	struct http_url url;
	char *request;
	SSL_CTX *tls;
	SSL *ssl; /* the present stream's, owned by it */
	struct bufferevent *stream;
	struct lookup *lookup;
	struct worker *worker;
	struct addrinfo *addresses, *next;
	struct loop_timer *begin, *deadline;
	http_client_fn fn;
	void *arg;
	const char *doing;
	bool asked; /* the request is on its way */
	char *head;
	char detail[256];
};

/* ---- URLs ---- */

static bool take_prefix(const char **p, const char *prefix)
{
	size_t len = strlen(prefix);

	if (strncmp(*p, prefix, len) != 0)
		return false;
	*p += len;
	return true;
}

/* Nothing that could end a line or a word of the request. */
static bool is_plain(const char *s)
{
	for (; *s; s++)
		if (*s <= ' ' || *s == 0x7f || (*s & 0x80))
			return false;
	return true;
}

int http_url_parse(struct http_url *out, const char *url)
{
	struct http_url u = { 0 };
	const char *p = url, *end;
	size_t len;
	uint64_t port;

	if (!is_plain(url))
		return -EINVAL;
	if (take_prefix(&p, "wss://") || take_prefix(&p, "https://"))
		u.tls = true;
	else if (!take_prefix(&p, "ws://") && !take_prefix(&p, "http://"))
		return -EINVAL;
	len = strcspn(p, "/?#");
	if (len == 0 || len >= sizeof(u.authority) || memchr(p, '@', len))
		return -EINVAL;
	memcpy(u.authority, p, len);
	if (p[len] && p[len] != '/')
		return -EINVAL;
	if (strlen(p + len) >= sizeof(u.path) || strchr(p + len, '#'))
		return -EINVAL;
	strcpy(u.path, p[len] ? p + len : "/");

	p = u.authority;
	end = *p == '[' ? strchr(p, ']') : p + strcspn(p, ":");
	if (!end)
		return -EINVAL;
	if (*p == '[')
		p++;
	len = (size_t)(end - p);
	if (len == 0 || len >= sizeof(u.host))
		return -EINVAL;
	memcpy(u.host, p, len);
	if (*end == ']')
		end++;
	snprintf(u.port, sizeof(u.port), "%s", u.tls ? "443" : "80");
	if (*end == ':') {
		if (text_parse_u64(&port, end + 1, 1, 65535))
			return -EINVAL;
		snprintf(u.port, sizeof(u.port), "%u", (unsigned int)port);
	} else if (*end) {
		return -EINVAL;
	}
	*out = u;
	return 0;
}

/* ---- the end, good or bad ---- */

static void drop_stream(struct http_client *c)
{
	if (c->stream)
		bufferevent_free(c->stream);
	c->stream = NULL;
	c->ssl = NULL;
}

/* fn may free c: nothing may follow. */
static void fail(struct http_client *c, int outcome)
{
	drop_stream(c);
	loop_timer_stop(c->deadline);
	loop_timer_stop(c->begin);
	c->fn(NULL, outcome, c->detail, c->arg);
}

static void on_deadline(void *arg)
{
	struct http_client *c = arg;

	snprintf(c->detail, sizeof(c->detail), "no answer in time while %s", c->doing);
	fail(c, WEBSOCKET_E_TIMEOUT);
}

/* ---- the answer ---- */

const char *http_answer_header(const struct http_answer *a, const char *name, unsigned int *count)
{
	const char *found = NULL, *end = a->headers + a->headers_len;
	size_t len = strlen(name);
	unsigned int n = 0;

	for (const char *line = a->headers; line < end; line += strlen(line) + 1) {
		if (strncasecmp(line, name, len) != 0 || line[len] != ':')
			continue;
		if (n++ == 0)
			found = line + len + 1 + strspn(line + len + 1, " \t");
	}
	if (count)
		*count = n;
	return found;
}

/* "HTTP/1.1 101 Switching Protocols", and the lines after it, cut apart in place. */
static int parse_head(struct http_answer *a, char *head, size_t len)
{
	char *p = head, *end = head + len;
	bool first = true;

	if (len < 12 || memcmp(head, "HTTP/1.", 7) != 0 || head[8] != ' ' || memchr(head, '\0', len))
		return -EPROTO;
	for (size_t i = 9; i < 12; i++)
		if (head[i] < '0' || head[i] > '9')
			return -EPROTO;
	a->status = (unsigned int)((head[9] - '0') * 100 + (head[10] - '0') * 10 + head[11] - '0');
	while (p < end) {
		char *eol = memchr(p, '\n', (size_t)(end - p)), *last;

		if (!eol)
			return -EPROTO;
		*eol = '\0';
		/* Blanks at a line's end are no part of it. */
		for (last = eol; last > p && strchr(" \t\r", last[-1]); last--)
			last[-1] = '\0';
		if (first) {
			a->headers = eol + 1;
			first = false;
		}
		p = eol + 1;
	}
	a->headers_len = (size_t)(end - a->headers);
	return 0;
}

static void on_readable(struct bufferevent *stream, void *arg)
{
	struct http_client *c = arg;
	struct evbuffer *in = bufferevent_get_input(stream);
	struct evbuffer_ptr end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
	struct http_answer answer = { 0 };
	size_t len;

	if (end.pos < 0 && evbuffer_get_length(in) < HEAD_MAX)
		return;
	if (end.pos < 0 || end.pos >= HEAD_MAX) {
		snprintf(c->detail, sizeof(c->detail), "the answer's head is too long");
		fail(c, WEBSOCKET_E_CONNECT);
		return;
	}
	/* With the line end of the last header, without the empty line. */
	len = (size_t)end.pos + 2;
	c->head = malloc(len + 1);
	if (!c->head || evbuffer_remove(in, c->head, len) != (int)len) {
		snprintf(c->detail, sizeof(c->detail), "out of memory");
		fail(c, WEBSOCKET_E_CONNECT);
		return;
	}
	evbuffer_drain(in, 2);
	c->head[len] = '\0';
	bufferevent_setcb(stream, NULL, NULL, NULL, NULL);
	if (parse_head(&answer, c->head, len)) {
		snprintf(c->detail, sizeof(c->detail), "the answer is not HTTP");
		fail(c, WEBSOCKET_E_CONNECT);
		return;
	}
	/* This is told once, whether or not anybody takes the stream. */
	loop_timer_stop(c->deadline);
	c->fn(&answer, 0, NULL, c->arg);
}

/* ---- TLS ---- */

static void tls_detail(struct http_client *c, unsigned long error)
{
	const char *reason = error ? ERR_reason_error_string(error) : NULL;

	snprintf(c->detail, sizeof(c->detail), "%s", reason ? reason : "the connection was closed during the TLS handshake");
}

static int make_tls(struct http_client *c, const char *ca_file)
{
	c->tls = SSL_CTX_new(TLS_client_method());
	if (!c->tls)
		return -ENOMEM;
	SSL_CTX_set_min_proto_version(c->tls, TLS1_2_VERSION);
	SSL_CTX_set_verify(c->tls, SSL_VERIFY_PEER, NULL);
	if (ca_file ? SSL_CTX_load_verify_locations(c->tls, ca_file, NULL) :
		      SSL_CTX_set_default_verify_paths(c->tls))
		return 0;
	snprintf(c->detail, sizeof(c->detail), "cannot read certificates from %s",
		 ca_file ? ca_file : "the system's store");
	ERR_clear_error();
	SSL_CTX_free(c->tls);
	c->tls = NULL;
	return 0; /* told from the loop, as every other outcome is */
}

/* A TLS session that takes the host's certificate and no other. */
static SSL *new_ssl(struct http_client *c)
{
	SSL *ssl = SSL_new(c->tls);
	uint8_t ip[16];

	if (!ssl)
		return NULL;
	if (inet_pton(AF_INET, c->url.host, ip) == 1 || inet_pton(AF_INET6, c->url.host, ip) == 1) {
		if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), c->url.host))
			return ssl;
	} else {
		SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
		if (SSL_set1_host(ssl, c->url.host) && SSL_set_tlsext_host_name(ssl, c->url.host))
			return ssl;
	}
	SSL_free(ssl);
	return NULL;
}

/* ---- connecting ---- */

/*
 * libevent hands the socket to OpenSSL before it is connected, so that an address where nobody
 * listens looks like a failed handshake. The first bytes of one are ours: while none are written
 * there was no connection, and the next address has its turn.
 */
static bool in_handshake(const struct http_client *c)
{
	BIO *out = c->ssl ? SSL_get_wbio(c->ssl) : NULL;

	return out && BIO_number_written(out) > 0 && !SSL_is_init_finished(c->ssl);
}

static void connect_next(struct http_client *c);

static void on_event(struct bufferevent *stream, short what, void *arg)
{
	struct http_client *c = arg;
	int e = EVUTIL_SOCKET_ERROR();
	const int on = 1;
	long verified;

	if (what & BEV_EVENT_CONNECTED) {
		setsockopt(bufferevent_getfd(stream), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		c->doing = "waiting for the answer";
		c->asked = true;
		bufferevent_write(stream, c->request, strlen(c->request));
		return;
	}
	if (!(what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)))
		return;
	if (in_handshake(c)) {
		verified = SSL_get_verify_result(c->ssl);
		if (verified != X509_V_OK) {
			snprintf(c->detail, sizeof(c->detail), "%s", X509_verify_cert_error_string(verified));
			fail(c, WEBSOCKET_E_CERTIFICATE);
		} else {
			tls_detail(c, bufferevent_get_openssl_error(stream));
			fail(c, WEBSOCKET_E_TLS);
		}
		return;
	}
	if (c->asked) {
		snprintf(c->detail, sizeof(c->detail), "the connection was closed before an answer came");
		fail(c, WEBSOCKET_E_CONNECT);
		return;
	}
	snprintf(c->detail, sizeof(c->detail), "%s", e ? strerror(e) : "the connection was closed");
	drop_stream(c);
	connect_next(c);
}

static int make_stream(struct http_client *c)
{
	struct event_base *base = loop_base(c->loop);

	if (c->url.tls) {
		c->ssl = new_ssl(c);
		if (!c->ssl)
			return -ENOMEM;
		/* From here on the stream owns it. */
		c->stream = bufferevent_openssl_socket_new(base, -1, c->ssl, BUFFEREVENT_SSL_CONNECTING,
							   BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
		if (c->stream)
			/* Many servers end without close_notify; the message layers know where they end. */
			bufferevent_openssl_set_allow_dirty_shutdown(c->stream, 1);
	} else {
		c->stream = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
	}
	if (!c->stream) {
		SSL_free(c->ssl);
		c->ssl = NULL;
		return -ENOMEM;
	}
	bufferevent_setcb(c->stream, on_readable, NULL, on_event, c);
	bufferevent_setwatermark(c->stream, EV_READ, 0, 128 * 1024);
	return bufferevent_enable(c->stream, EV_READ | EV_WRITE) < 0 ? -ENOMEM : 0;
}

static void connect_next(struct http_client *c)
{
	while (c->next) {
		struct addrinfo *ai = c->next;

		c->next = ai->ai_next;
		if (make_stream(c)) {
			snprintf(c->detail, sizeof(c->detail), "out of memory");
			break;
		}
		c->doing = "connecting";
		if (bufferevent_socket_connect(c->stream, ai->ai_addr, (int)ai->ai_addrlen) == 0)
			return;
		snprintf(c->detail, sizeof(c->detail), "%s", strerror(errno));
		drop_stream(c);
	}
	fail(c, WEBSOCKET_E_CONNECT);
}

static void take_addresses(struct http_client *c, struct addrinfo **found, int failure)
{
	c->addresses = steal(found);
	c->next = c->addresses;
	if (!failure && c->next) {
		connect_next(c);
		return;
	}
	snprintf(c->detail, sizeof(c->detail), "%s",
		 failure ? gai_strerror(failure) : "the name has no address");
	fail(c, WEBSOCKET_E_RESOLVE);
}

static void lookup_free(struct lookup *k)
{
	if (k->found)
		freeaddrinfo(k->found);
	free(k);
}

/* In a worker thread. */
static void lookup_work(void *arg)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
	struct lookup *k = arg;

	k->failure = getaddrinfo(k->host, k->port, &hints, &k->found);
}

static void lookup_done(void *arg, bool cancelled)
{
	struct lookup *k = arg;
	struct http_client *c = k->client;

	if (c && !cancelled) {
		c->lookup = NULL;
		c->worker = NULL;
		take_addresses(c, &k->found, k->failure);
	} else if (c) {
		c->lookup = NULL;
		c->worker = NULL;
	}
	lookup_free(k);
}

/* In the loop, so that fn is never called from inside http_client_start(). */
static void on_begin(void *arg)
{
	const struct addrinfo numeric = { .ai_socktype = SOCK_STREAM,
					  .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
	struct http_client *c = arg;
	struct addrinfo *found = NULL;

	if (c->url.tls && !c->tls) {
		fail(c, WEBSOCKET_E_TLS);
		return;
	}
	if (getaddrinfo(c->url.host, c->url.port, &numeric, &found) == 0) {
		take_addresses(c, &found, 0);
		return;
	}
	c->doing = "looking up the name";
	c->lookup = calloc(1, sizeof(*c->lookup));
	if (c->lookup) {
		c->lookup->client = c;
		strcpy(c->lookup->host, c->url.host);
		strcpy(c->lookup->port, c->url.port);
		if (worker_start(&c->worker, c->loop, lookup_work, lookup_done, c->lookup) == 0)
			return;
		free(c->lookup);
		c->lookup = NULL;
	}
	snprintf(c->detail, sizeof(c->detail), "too busy to look up the name");
	fail(c, WEBSOCKET_E_RESOLVE);
}

int http_client_start(struct http_client **out, struct loop *l, const char *method, const char *url,
		      const char *ca_file, const char *extra, const char *token, uint64_t timeout_ms,
		      http_client_fn fn, void *arg)
{
	_cleanup_(http_client_freep) struct http_client *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->loop = l;
	c->fn = fn;
	c->arg = arg;
	c->doing = "starting";
	r = http_url_parse(&c->url, url);
	if (r)
		return r;
	if (token && !is_plain(token))
		return -EINVAL;
	if (asprintf(&c->request, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: handfast\r\n%s%s%s%s\r\n",
		     method, c->url.path, c->url.authority, extra, token ? "Authorization: Bearer " : "",
		     token ? token : "", token ? "\r\n" : "") < 0) {
		c->request = NULL;
		return -ENOMEM;
	}
	if (c->url.tls && (r = make_tls(c, ca_file)))
		return r;
	r = loop_timer_new(&c->begin, l, on_begin, c);
	if (!r)
		r = loop_timer_new(&c->deadline, l, on_deadline, c);
	if (!r)
		r = loop_timer_start(c->begin, 0);
	if (!r)
		r = loop_timer_start(c->deadline, timeout_ms);
	if (r)
		return r;
	*out = steal(&c);
	return 0;
}

struct bufferevent *http_client_take(struct http_client *c)
{
	struct bufferevent *stream = steal(&c->stream);

	c->ssl = NULL;
	return stream;
}

struct http_client *http_client_free(struct http_client *c)
{
	if (!c)
		return NULL;
	if (c->lookup) {
		c->lookup->client = NULL;
		worker_cancel(c->worker);
	}
	drop_stream(c);
	if (c->addresses)
		freeaddrinfo(c->addresses);
	loop_timer_free(c->begin);
	loop_timer_free(c->deadline);
	SSL_CTX_free(c->tls);
	if (c->request)
		explicit_bzero(c->request, strlen(c->request));
	free(c->request);
	free(c->head);
	free(c);
	return NULL;
}
