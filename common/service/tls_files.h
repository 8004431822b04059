/*
 * A server's certificate and key, named in its configuration: two files, or two credentials that systemd
 * passes ("credential:NAME"), read and checked before anything depends on them.
 */
#pragma once

#include <stdbool.h>

#include "base/cleanup.h"

struct config_error;

struct tls_files {
	char *certificate_pem, *key_pem; /* contents; NULL when there is none */
	char warning[160];		 /* what is wrong with the certificate's time; empty: nothing */
};

/* For a table of options: NULL for a path or a credential's name, else what would be accepted. */
const char *tls_files_accepts(const char *value);

/*
 * Read what certificate and key name; both NULL is no TLS. daemon ("relayd") and config_path are for
 * words. Outside of the service credentials are not there, which is no error here: tls_files_missing()
 * tells. 0, or a negative errno with *err saying why; *out then is to be given to tls_files_done() all the same.
 */
int tls_files_load(struct tls_files *out, const char *daemon, const char *config_path, const char *certificate,
		   const char *key, struct config_error *err);

/* Which of the two was named and not read, since there are no credentials; NULL: neither. */
const char *tls_files_missing(const struct tls_files *t, const char *certificate, const char *key);

void tls_files_done(struct tls_files *t);
