/*
 * In place of the HTTP server: requests that a fuzzer makes, and somebody on the way changes, are handed to a daemon's own
 * handlers, and their answers kept. Included once, in the fuzzer's own file: what is defined here goes before the
 * archive's.
 */
#pragma once

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "fuzz/lib/sequence.h"
#include "http/http_server.h"
#include "service/listening.h"

enum { FIELDS = 16, BODY_MAX = 9000 };

struct field {
	char name[24], value[512];
};

struct http_request {
	char method[16], target[256];
	struct field fields[FIELDS];
	size_t n_fields;
	char body[BODY_MAX + 1];
	size_t len;
	struct sockaddr_in peer;
	bool answered;
	unsigned int status;
	char reply[4096];
};

static struct http_server_options served;
static char last_snonce[64]; /* of the latest answer that had one */

/* ---- the server ---- */

int http_server_new(struct http_server **out, struct loop *l, const struct http_server_options *o)
{
	(void)l;
	served = *o;
	*out = (struct http_server *)(void *)&served;
	return 0;
}

struct http_server *http_server_free(struct http_server *s)
{
	(void)s;
	return NULL;
}

void http_server_set_proxies(struct http_server *s, const struct http_proxies *p)
{
	(void)s;
	(void)p;
}

void http_server_set_limits(struct http_server *s, const struct http_limits *limits)
{
	(void)s;
	(void)limits;
}

int http_server_set_certificate(struct http_server *s, const char *cert_pem, const char *key_pem)
{
	(void)s;
	(void)cert_pem;
	(void)key_pem;
	return 0;
}

void http_server_counters(const struct http_server *s, struct http_counters *out)
{
	(void)s;
	memset(out, 0, sizeof(*out));
}

size_t http_server_unanswered(const struct http_server *s)
{
	(void)s;
	return 0;
}

void http_server_close_listeners(struct http_server *s)
{
	(void)s;
}

int http_server_listen_handle(struct http_server *s, int fd, struct http_listener **out)
{
	(void)s;
	(void)fd;
	(void)out;
	return -ENOTSUP;
}

void http_server_unlisten(struct http_server *s, struct http_listener *which)
{
	(void)s;
	(void)which;
}

/* Nobody listens here: the default is as good as any. */
int http_parse_listen(struct sockaddr_storage *out, bool *all, const char *address)
{
	struct sockaddr_in *a = (struct sockaddr_in *)(void *)out;

	memset(out, 0, sizeof(*out));
	a->sin_family = AF_INET;
	a->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	a->sin_port = htons(7150);
	*all = false;
	return strcmp(address, "127.0.0.1:7150") == 0 ? 0 : -EINVAL;
}

int listening_new(struct listening **out, struct http_server *http, struct service_fds *fds, const char *passed_name,
		  const struct config_list *addresses, const char **failed)
{
	(void)out;
	(void)http;
	(void)fds;
	(void)passed_name;
	(void)addresses;
	(void)failed;
	return -ENOTSUP;
}

struct listening *listening_free(struct listening *l)
{
	(void)l;
	return NULL;
}

const char *http_request_method(const struct http_request *r)
{
	return r->method;
}

const char *http_request_target(const struct http_request *r)
{
	return r->target;
}

bool http_request_header_once(const struct http_request *r, const char *name, const char **value)
{
	size_t n = 0;

	*value = NULL;
	for (size_t i = 0; i < r->n_fields; i++)
		if (strcasecmp(r->fields[i].name, name) == 0 && n++ == 0)
			*value = r->fields[i].value;
	return n < 2;
}

const char *http_request_header(const struct http_request *r, const char *name)
{
	const char *value;

	(void)http_request_header_once(r, name, &value);
	return value;
}

const void *http_request_body(const struct http_request *r, size_t *len)
{
	*len = r->len;
	return r->body;
}

const struct sockaddr *http_request_address(const struct http_request *r)
{
	return (const struct sockaddr *)(const void *)&r->peer;
}

const struct sockaddr *http_request_peer(const struct http_request *r)
{
	return http_request_address(r);
}

void http_reply(struct http_request *r, unsigned int status, const char *content_type, const void *body, size_t len,
		const char *const *extra)
{
	assert(!r->answered && len < sizeof(r->reply));
	r->answered = true;
	r->status = status;
	memcpy(r->reply, body, len);
	r->reply[len] = '\0';
	assert(len == 0 || (content_type && memchr(r->reply, '\0', len) == NULL));
	for (; extra && extra[0]; extra += 2) {
		assert(!strpbrk(extra[1], "\r\n"));
		if (strcmp(extra[0], "X-SNONCE") == 0)
			snprintf(last_snonce, sizeof(last_snonce), "%s", extra[1]);
	}
}

/* ---- requests ---- */

static void put_field(struct http_request *r, const char *name, const char *value)
{
	if (r->n_fields == FIELDS)
		return;
	snprintf(r->fields[r->n_fields].name, sizeof(r->fields[0].name), "%s", name);
	snprintf(r->fields[r->n_fields++].value, sizeof(r->fields[0].value), "%s", value);
}

static struct http_request *new_request(const char *method, const char *target, const char *body)
{
	static struct http_request r;

	memset(&r, 0, sizeof(r));
	snprintf(r.method, sizeof(r.method), "%s", method);
	snprintf(r.target, sizeof(r.target), "%s", target);
	r.len = strlen(body);
	assert(r.len <= BODY_MAX);
	memcpy(r.body, body, r.len);
	r.peer.sin_family = AF_INET;
	r.peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (r.len > 0)
		put_field(&r, "Content-Type", "application/json");
	put_field(&r, "Host", "127.0.0.1:7150");
	return &r;
}

/* What somebody on the way does to it: triples of where, position and value. */
static void meddle(struct http_request *r, const struct happening *h, size_t from)
{
	for (size_t i = from; i + 3 <= h->len; i += 3) {
		uint8_t at = h->data[i + 1], v = h->data[i + 2];
		struct field *f = &r->fields[r->n_fields ? at % r->n_fields : 0];

		switch (h->data[i] % 7) {
		case 0:
			if (r->len)
				r->body[(at * 256U + v) % r->len] ^= (char)(v | 1);
			break;
		case 1:
			r->len = r->len * at / 256;
			break;
		case 2:
			if (*f->value)
				f->value[v % strlen(f->value)] = (char)(at ^ v ? at ^ v : 'x');
			break;
		case 3:
			f->name[0] = '_';
			break;
		case 4:
			put_field(r, f->name, f->value);
			break;
		case 5:
			r->target[v % 64 % (strlen(r->target) + 1)] = (char)(at % 94 + 33);
			break;
		case 6:
			snprintf(r->method, sizeof(r->method), "%s", at & 1 ? "GET" : at & 2 ? "POST" : "HEAD");
			break;
		}
	}
}
