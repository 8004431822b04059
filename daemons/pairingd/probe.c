/* Is the relay there, does it speak TLS as it should, until when. Five seconds in all. */
#include "pairingd/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "http/client.h"
#include "proto/relay_frame.h"

enum { TOTAL_MS = 5000, DAYS_LOW = 14 };

/* ---- names, which may take longer than we wait ---- */

struct lookup {
	pthread_mutex_t lock;
	pthread_cond_t done;
	bool finished, given_up;
	char host[256], port[8];
	struct addrinfo *found;
	int result; /* of getaddrinfo() */
};

static void lookup_free(struct lookup *l)
{
	if (l->found)
		freeaddrinfo(l->found);
	pthread_cond_destroy(&l->done);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static void *look_up(void *arg)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
	struct lookup *l = arg;
	struct addrinfo *found = NULL;
	int r = getaddrinfo(l->host, l->port, &hints, &found);
	bool given_up;

	pthread_mutex_lock(&l->lock);
	l->result = r;
	l->found = found;
	l->finished = true;
	given_up = l->given_up;
	pthread_cond_signal(&l->done);
	pthread_mutex_unlock(&l->lock);
	if (given_up)
		lookup_free(l);
	return NULL;
}

/* 0 with *out, which freeaddrinfo() frees; an EAI_ code; EAI_AGAIN when the time is over. */
static int resolve(const struct http_url *url, struct addrinfo **out, unsigned int seconds)
{
	struct lookup *l = calloc(1, sizeof(*l));
	pthread_attr_t attr;
	struct timespec end;
	pthread_t thread;
	bool finished;
	int r;

	if (!l)
		return EAI_MEMORY;
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->done, NULL);
	snprintf(l->host, sizeof(l->host), "%s", url->host);
	snprintf(l->port, sizeof(l->port), "%s", url->port);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attr, look_up, l);
	pthread_attr_destroy(&attr);
	if (r) {
		lookup_free(l);
		return EAI_MEMORY;
	}
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += seconds;
	pthread_mutex_lock(&l->lock);
	while (!l->finished && pthread_cond_timedwait(&l->done, &l->lock, &end) == 0)
		;
	finished = l->finished;
	l->given_up = !finished;
	r = finished ? l->result : EAI_AGAIN;
	if (finished && !r) {
		*out = l->found;
		l->found = NULL;
	}
	pthread_mutex_unlock(&l->lock);
	if (finished)
		lookup_free(l);
	return r;
}

/* ---- the connection ---- */

struct line {
	int fd;
	SSL_CTX *ctx;
	SSL *ssl;
	uint64_t end_ms;
};

static void line_done(struct line *l)
{
	SSL_free(l->ssl);
	SSL_CTX_free(l->ctx);
	if (l->fd >= 0)
		close(l->fd);
}

/* 0 when ready, -ETIMEDOUT at the end. */
static int line_wait(const struct line *l, short events)
{
	uint64_t now = clock_now_ms();
	struct pollfd p = { .fd = l->fd, .events = events };

	if (now >= l->end_ms)
		return -ETIMEDOUT;
	return poll(&p, 1, (int)(l->end_ms - now)) > 0 ? 0 : -ETIMEDOUT;
}

/* One address. 0 or a negative errno; l->fd is open then. */
static int connect_one(struct line *l, const struct addrinfo *a, uint64_t end_ms)
{
	struct line one = { .end_ms = end_ms };
	socklen_t len = sizeof(int);
	int r = 0;

	one.fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (one.fd < 0)
		return -errno;
	if (connect(one.fd, a->ai_addr, a->ai_addrlen) < 0) {
		r = errno == EINPROGRESS ? line_wait(&one, POLLOUT) : -errno;
		if (!r && getsockopt(one.fd, SOL_SOCKET, SO_ERROR, &r, &len) == 0)
			r = -r;
	}
	if (r)
		close(one.fd);
	else
		l->fd = one.fd;
	return r;
}

/* All addresses in turn, the first ones leaving time for the next. */
static int connect_any(struct line *l, const struct addrinfo *list)
{
	int r = -EADDRNOTAVAIL;

	for (const struct addrinfo *a = list; a; a = a->ai_next) {
		uint64_t now = clock_now_ms(), left = l->end_ms > now ? l->end_ms - now : 0;

		r = connect_one(l, a, now + (a->ai_next ? left / 2 : left));
		if (!r)
			return 0;
	}
	return r;
}

/* What an SSL_ call waits for. 1: try again. */
static int ssl_turn(struct line *l, int result)
{
	switch (SSL_get_error(l->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		return line_wait(l, POLLIN) ? 0 : 1;
	case SSL_ERROR_WANT_WRITE:
		return line_wait(l, POLLOUT) ? 0 : 1;
	default:
		return 0;
	}
}

static bool handshake(struct line *l, const struct http_url *url, const char *ca)
{
	X509_VERIFY_PARAM *param;
	int r;

	l->ctx = SSL_CTX_new(TLS_client_method());
	if (!l->ctx)
		return false;
	if (*ca ? SSL_CTX_load_verify_locations(l->ctx, ca, NULL) != 1 : SSL_CTX_set_default_verify_paths(l->ctx) != 1)
		return false;
	/* Whatever is wrong with the certificate is to be told, not only that something is. */
	SSL_CTX_set_verify(l->ctx, SSL_VERIFY_NONE, NULL);
	l->ssl = SSL_new(l->ctx);
	if (!l->ssl || SSL_set_fd(l->ssl, l->fd) != 1)
		return false;
	param = SSL_get0_param(l->ssl);
	if (X509_VERIFY_PARAM_set1_ip_asc(param, url->host) != 1 &&
	    (X509_VERIFY_PARAM_set1_host(param, url->host, 0) != 1 || SSL_set_tlsext_host_name(l->ssl, url->host) != 1))
		return false;
	do
		r = SSL_connect(l->ssl);
	while (r != 1 && ssl_turn(l, r));
	return r == 1;
}

static ssize_t line_write(struct line *l, const char *data, size_t len)
{
	int r;

	if (!l->ssl)
		return line_wait(l, POLLOUT) ? -1 : send(l->fd, data, len, MSG_NOSIGNAL);
	do
		r = SSL_write(l->ssl, data, (int)len);
	while (r <= 0 && ssl_turn(l, r));
	return r;
}

static ssize_t line_read(struct line *l, char *data, size_t cap)
{
	int r;

	if (!l->ssl)
		return line_wait(l, POLLIN) ? -1 : recv(l->fd, data, cap, 0);
	do
		r = SSL_read(l->ssl, data, (int)cap);
	while (r <= 0 && ssl_turn(l, r));
	return r;
}

/* ---- findings ---- */

#define OK "ok"
#define WARNING "warning"
#define FAILURE "failure"

/* One finding, a line. todo may be NULL. What came from the relay is cleaned. */
__attribute__((format(printf, 4, 5))) static void tell(const char *relay, const char *verdict, const char *todo,
						       const char *what, ...)
{
	_cleanup_json_ json_t *line = NULL;
	_cleanup_free_ char *out = NULL;
	char text[600], clean[600];
	va_list ap;

	va_start(ap, what);
	vsnprintf(text, sizeof(text), what, ap);
	va_end(ap);
	text_clean(clean, sizeof(clean), text, strlen(text));
	line = json_pack("{s:s, s:s, s:s, s:s}", "verdict", verdict, "about", relay, "message", clean, "todo",
			 todo ? todo : "");
	out = line ? json_text(line) : NULL;
	if (out)
		printf("%s\n", out);
}

static void tell_certificate(const char *relay, struct line *l)
{
	static const char renew[] = "Renew it on the relay, then “sudo systemctl reload relayd” (or restart) there.";
	X509 *cert = SSL_get1_peer_certificate(l->ssl);
	long verdict = SSL_get_verify_result(l->ssl);
	int days = 0, seconds = 0;
	char until[32] = "";
	struct tm tm;

	if (!cert) {
		tell(relay, FAILURE, NULL, "shows no certificate");
		return;
	}
	if (ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) == 1)
		strftime(until, sizeof(until), "%Y-%m-%d", &tm);
	ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert));
	X509_free(cert);
	if (verdict == X509_V_ERR_CERT_HAS_EXPIRED)
		tell(relay, FAILURE, renew, "its certificate was valid until %s only, or this clock is wrong",
			    until);
	else if (verdict == X509_V_ERR_CERT_NOT_YET_VALID)
		tell(relay, FAILURE, "Set this machine's clock.", "its certificate is not valid yet by this clock");
	else if (verdict == X509_V_ERR_HOSTNAME_MISMATCH || verdict == X509_V_ERR_IP_ADDRESS_MISMATCH)
		tell(relay, FAILURE, "Use the name that the certificate is for.",
			    "its certificate is for another name");
	else if (verdict != X509_V_OK)
		tell(relay, FAILURE, "Where it has an authority of its own, name that with relay_ca in pairingd.yaml.",
			    "its certificate is not believed: %s", X509_verify_cert_error_string(verdict));
	else if (days < DAYS_LOW)
		tell(relay, WARNING, renew, "its certificate is valid for %d days more, until %s", days, until);
	else
		tell(relay, OK, NULL, "its certificate is valid until %s", until);
}

static void ask_health(const char *relay, struct line *l, const struct http_url *url)
{
	char request[512], answer[1024];
	uint64_t before = clock_now_ms();
	ssize_t n;

	snprintf(request, sizeof(request), "GET /healthz HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", url->authority);
	n = line_write(l, request, strlen(request)) > 0 ? line_read(l, answer, sizeof(answer) - 1) : -1;
	if (n <= 0) {
		tell(relay, FAILURE, url->tls ? "See the relay's log." : "See the relay's log; and whether it wants wss:// instead of ws://.",
			    "takes the connection and says nothing");
		return;
	}
	answer[n] = '\0';
	if (strncmp(answer, "HTTP/1.1 200", 12) == 0)
		tell(relay, OK, NULL, "answers, within %llu ms",
			    (unsigned long long)(clock_now_ms() - before));
	else
		tell(relay, FAILURE, "See that address and port are relayd's; a proxy must pass everything on.",
			    "answers, but not as a relay does: %.*s", (int)strcspn(answer, "\r\n"), answer);
}

static void look_at(const char *relay, const struct http_url *url, const char *ca)
{
	_cleanup_(line_done) struct line l = { .fd = -1, .end_ms = clock_now_ms() + TOTAL_MS };
	struct addrinfo *list = NULL;
	int r = resolve(url, &list, 3);

	if (r) {
		tell(relay, FAILURE, "See whether this machine has a network, and how the name is written.",
			    "its name is not found: %s", gai_strerror(r));
		return;
	}
	r = connect_any(&l, list);
	freeaddrinfo(list);
	if (r) {
		tell(relay, FAILURE, "See that relayd runs there, listens on that address (listen: in relayd.yaml), and that no firewall is between.",
			    "cannot be reached: %s", strerror(-r));
		return;
	}
	if (url->tls && !handshake(&l, url, ca)) {
		unsigned long e = ERR_get_error();

		tell(relay, FAILURE, "See that it serves TLS there (tls: in relayd.yaml, or a proxy in front), and relay_ca in pairingd.yaml.",
			    "the TLS handshake fails: %s", e ? ERR_reason_error_string(e) : "no answer");
		return;
	}
	if (url->tls)
		tell_certificate(relay, &l);
	ask_health(relay, &l, url);
}

void probe_relay(const char *relay, const char *ca)
{
	struct http_url url;
	char text[300];

	if (relay_url_parse(text, sizeof(text), relay) || http_url_parse(&url, text))
		tell(relay, FAILURE, "Write it as host:port, ws://host:port or wss://host.", "is no address of a relay");
	else
		look_at(relay, &url, ca ? ca : "");
}
