/*
 * HTTP for logins and signed requests: one request, one answer, TLS verified, no redirect followed.
 * libcurl is loaded when the first request is made: linking it would make every command
 * start seven times as slowly.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "ctl/failure.h"
#include "proto/pop.h"

struct ctl;
struct transport;

struct transport_options {
	const char *ca_file;	 /* trusted instead of the system's; NULL: the system's */
	const char *unix_socket; /* connect there; NULL: to the URL's host */
	unsigned int timeout_ms; /* of a whole request; 0: none, but for connecting */
	unsigned int stall_s;	 /* without a byte from there or to there; 0: none */
	bool to_the_end;	 /* also when the person has said to stop */
};

/* EXIT_DONE, or an exit code with *f filled. */
int transport_new(struct transport **out, const struct transport_options *o, struct failure *f);
struct transport *transport_free(struct transport *t);
/* For the requests to come. */
void transport_set_limits(struct transport *t, unsigned int timeout_ms, unsigned int stall_s, bool to_the_end);
DEFINE_CLEANUP(struct transport *, transport_free);

enum { TRANSPORT_FIELDS_MAX = 64 };

struct transport_request {
	const char *scheme, *authority; /* "https", "pi.home:8443" */
	const char *method, *target;	/* sent as they are */
	bool loopback;			/* no proxy of the environment, as for http:// */
	size_t n_fields;
	struct {
		const char *name, *value; /* value "": sent empty */
	} fields[TRANSPORT_FIELDS_MAX];
	const void *body; /* NULL: none */
	size_t body_len;
	/*
	 * Where the answer's body goes; NULL: into the answer, as far as answer_max bytes, and a longer
	 * one is a failure. keep_401: one that may be asked again is not shown. clean: for a terminal, which
	 * control characters would steer.
	 */
	FILE *to;
	bool keep_401, with_head, clean;
	size_t answer_max;
};

struct transport_answer {
	unsigned int status;
	char *body; /* NUL-terminated, the caller's: transport_answer_done() */
	size_t len;
	char content_type[128];
	char snonce[POP_SNONCE_MAX + 1]; /* X-SNONCE, "" when absent, twice, or too long */
	char *head;			 /* all header lines, with the first; cut at 64 KiB */
};

void transport_answer_done(struct transport_answer *a);

/*
 * Write what somebody else said, with ? for control characters. last is the byte before, 0 at first: a character of
 * two bytes may come in two parts. False when it cannot be written.
 */
bool transport_write_clean(FILE *to, const char *data, size_t len, unsigned char *last);

/* EXIT_DONE with *out (any status), or an exit code with *f filled. */
int transport_do(struct transport *t, const struct transport_request *r, struct transport_answer *out, struct failure *f);

/* Whether a header may be sent as given: a token, a colon, a value without control characters. */
bool transport_field_is_right(const char *line);
