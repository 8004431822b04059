/*
 * Names are resolved in a worker thread, because getaddrinfo() blocks; the
 * addresses are tried one after the other, each over a bufferevent of its own.
 * TLS is checked against the name in the URL (RFC 9525) and is 1.2 or newer.
 */
#include "http/dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "event/loop.h"
#include "http/websocket.h"

/* A name being looked up; outlives its dial when that is given up. */
struct lookup {
	struct dial *dial; /* NULL: nobody waits */
	char host[256], port[6];
	int error; /* of getaddrinfo() */
	struct addrinfo *found;
};

struct dial {
	struct loop *loop;
	struct dial_url url;
	char *ca_file;
	dial_fn fn;
	void *arg;
	struct lookup *lookup;
	struct addrinfo *addresses, *next;
	struct bufferevent *bev;
	SSL_CTX *ctx;
	struct loop_timer *failer; /* reports what failed at once, from the loop */
	int outcome;
	char detail[256];
};

int dial_url_parse(struct dial_url *out, const char *url)
{
	static const struct {
		const char *scheme;
		bool tls;
	} schemes[] = { { "ws://", false }, { "wss://", true }, { "http://", false }, { "https://", true } };
	struct dial_url u = { 0 };
	const char *at = NULL, *end, *colon;
	uint64_t port;
	size_t len;

	for (size_t i = 0; i < ARRAY_SIZE(schemes) && !at; i++)
		if (strncmp(url, schemes[i].scheme, strlen(schemes[i].scheme)) == 0) {
			at = url + strlen(schemes[i].scheme);
			u.tls = schemes[i].tls;
		}
	if (!at)
		return -EINVAL;
	end = at + strcspn(at, "/?#");
	if (*end && *end != '/')
		return -EINVAL;
	/* What would end a header line, or hide a name in front of the host, is no URL. */
	for (const char *c = at; *c; c++)
		if (*c <= ' ' || *c >= 0x7f || *c == '#' || (*c == '@' && c < end))
			return -EINVAL;
	len = (size_t)(end - at);
	if (len == 0 || len >= sizeof(u.authority) || strlen(end) >= sizeof(u.path))
		return -EINVAL;
	memcpy(u.authority, at, len);
	snprintf(u.path, sizeof(u.path), "%s", *end ? end : "/");

	at = u.authority;
	if (*at == '[') {
		colon = strchr(at, ']');
		if (!colon)
			return -EINVAL;
		at++;
		len = (size_t)(colon - at);
		colon++;
	} else {
		len = strcspn(at, ":");
		colon = at + len;
	}
	if (len == 0 || len >= sizeof(u.host) || (*colon && *colon != ':'))
		return -EINVAL;
	memcpy(u.host, at, len);
	if (*colon && text_parse_u64(&port, colon + 1, 1, 65535))
		return -EINVAL;
	snprintf(u.port, sizeof(u.port), "%s", *colon ? colon + 1 : u.tls ? "443" : "80");
	*out = u;
	return 0;
}

/* ---- telling ---- */

static void report(struct dial *d, struct bufferevent *bev, int outcome, const char *detail)
{
	dial_fn fn = d->fn;

	d->fn = NULL;
	if (fn)
		fn(bev, outcome, detail, d->arg);
}

static void on_failer(void *arg)
{
	struct dial *d = arg;

	report(d, NULL, d->outcome, d->detail);
}

static void fail_soon(struct dial *d, int outcome, const char *detail)
{
	d->outcome = outcome;
	snprintf(d->detail, sizeof(d->detail), "%s", detail);
	(void)loop_timer_start(d->failer, 0);
}

/* ---- TLS ---- */

static int make_ctx(struct dial *d)
{
	d->ctx = SSL_CTX_new(TLS_client_method());
	if (!d->ctx)
		return -ENOMEM;
	SSL_CTX_set_min_proto_version(d->ctx, TLS1_2_VERSION);
	SSL_CTX_set_verify(d->ctx, SSL_VERIFY_PEER, NULL);
	if (d->ca_file ? SSL_CTX_load_verify_locations(d->ctx, d->ca_file, NULL) != 1 :
			 SSL_CTX_set_default_verify_paths(d->ctx) != 1) {
		ERR_clear_error();
		return -ENOENT;
	}
	return 0;
}

static SSL *make_ssl(struct dial *d)
{
	uint8_t address[16];
	SSL *ssl = SSL_new(d->ctx);
	bool is_address = inet_pton(AF_INET, d->url.host, address) == 1 ||
			  inet_pton(AF_INET6, d->url.host, address) == 1;
	int ok;

	if (!ssl)
		return NULL;
	/* RFC 6066 section 3: no server name for an address. */
	if (is_address)
		ok = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), d->url.host);
	else
		ok = SSL_set1_host(ssl, d->url.host) && SSL_set_tlsext_host_name(ssl, d->url.host);
	if (ok == 1)
		return ssl;
	SSL_free(ssl);
	return NULL;
}

/* ---- connecting ---- */

static void try_next(struct dial *d);

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct dial *d = arg;
	SSL *ssl = d->url.tls ? bufferevent_openssl_get_ssl(bev) : NULL;
	long verdict;

	if (what & BEV_EVENT_CONNECTED) {
		d->bev = NULL;
		bufferevent_setcb(bev, NULL, NULL, NULL, NULL);
		report(d, bev, 0, NULL);
		return;
	}
	if (ssl) {
		verdict = SSL_get_verify_result(ssl);
		if (verdict != X509_V_OK) {
			fail_soon(d, WEBSOCKET_E_CERTIFICATE, X509_verify_cert_error_string(verdict));
			bufferevent_disable(bev, EV_READ | EV_WRITE);
			return;
		}
		if (bufferevent_get_openssl_error(bev)) {
			fail_soon(d, WEBSOCKET_E_TLS, "the other side does not speak TLS as it should");
			bufferevent_disable(bev, EV_READ | EV_WRITE);
			return;
		}
	}
	snprintf(d->detail, sizeof(d->detail), "%s",
		 what & BEV_EVENT_ERROR ? strerror(errno) : "the connection was closed");
	d->bev = NULL;
	bufferevent_free(bev);
	try_next(d);
}

static struct bufferevent *make_bev(struct dial *d)
{
	struct bufferevent *bev;
	SSL *ssl;

	if (!d->url.tls)
		return bufferevent_socket_new(loop_base(d->loop), -1, BEV_OPT_CLOSE_ON_FREE);
	ssl = make_ssl(d);
	if (!ssl)
		return NULL;
	bev = bufferevent_openssl_socket_new(loop_base(d->loop), -1, ssl, BUFFEREVENT_SSL_CONNECTING,
					     BEV_OPT_CLOSE_ON_FREE);
	if (!bev)
		SSL_free(ssl);
	else
		bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
	return bev;
}

static void try_next(struct dial *d)
{
	while (d->next) {
		const struct addrinfo *a = d->next;

		d->next = a->ai_next;
		d->bev = make_bev(d);
		if (!d->bev) {
			fail_soon(d, WEBSOCKET_E_CONNECT, "out of memory");
			return;
		}
		bufferevent_setcb(d->bev, NULL, NULL, on_event, d);
		bufferevent_enable(d->bev, EV_READ | EV_WRITE);
		if (bufferevent_socket_connect(d->bev, a->ai_addr, (int)a->ai_addrlen) == 0)
			return;
		snprintf(d->detail, sizeof(d->detail), "%s", strerror(errno));
		bufferevent_free(steal(&d->bev));
	}
	d->outcome = WEBSOCKET_E_CONNECT;
	(void)loop_timer_start(d->failer, 0);
}

static void lookup_work(void *arg)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
	struct lookup *l = arg;

	l->error = getaddrinfo(l->host, l->port, &hints, &l->found);
}

static void lookup_free(struct lookup *l)
{
	if (l->found)
		freeaddrinfo(l->found);
	free(l);
}

static void lookup_done(void *arg, bool cancelled)
{
	struct lookup *l = arg;
	struct dial *d = l->dial;

	(void)cancelled;
	if (d) {
		d->lookup = NULL;
		if (l->error) {
			fail_soon(d, WEBSOCKET_E_RESOLVE, gai_strerror(l->error));
		} else {
			d->addresses = steal(&l->found);
			d->next = d->addresses;
			try_next(d);
		}
	}
	lookup_free(l);
}

/* An address needs no lookup, and no thread. */
static bool take_address(struct dial *d)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
					.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };

	if (getaddrinfo(d->url.host, d->url.port, &hints, &d->addresses)) {
		d->addresses = NULL;
		return false;
	}
	d->next = d->addresses;
	try_next(d);
	return true;
}

static int start_lookup(struct dial *d)
{
	struct lookup *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	memcpy(l->host, d->url.host, sizeof(l->host));
	memcpy(l->port, d->url.port, sizeof(l->port));
	l->dial = d;
	r = worker_start(NULL, d->loop, lookup_work, lookup_done, l);
	if (r) {
		lookup_free(l);
		return r;
	}
	d->lookup = l;
	return 0;
}

int dial_start(struct dial **out, struct loop *l, const struct dial_url *url, const char *ca_file,
	       dial_fn fn, void *arg)
{
	struct dial *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->loop = l;
	d->url = *url;
	d->fn = fn;
	d->arg = arg;
	r = loop_timer_new(&d->failer, l, on_failer, d);
	if (!r && ca_file) {
		d->ca_file = strdup(ca_file);
		r = d->ca_file ? 0 : -ENOMEM;
	}
	if (!r && url->tls) {
		r = make_ctx(d);
		if (r == -ENOENT) {
			fail_soon(d, WEBSOCKET_E_CERTIFICATE,
				  "the file of certificate authorities cannot be read");
			*out = d;
			return 0;
		}
	}
	if (!r && !take_address(d))
		r = start_lookup(d);
	if (r) {
		dial_free(d);
		return r;
	}
	*out = d;
	return 0;
}

struct dial *dial_free(struct dial *d)
{
	if (!d)
		return NULL;
	if (d->lookup)
		d->lookup->dial = NULL;
	if (d->bev)
		bufferevent_free(d->bev);
	if (d->addresses)
		freeaddrinfo(d->addresses);
	SSL_CTX_free(d->ctx);
	loop_timer_free(d->failer);
	free(d->ca_file);
	free(d);
	return NULL;
}
