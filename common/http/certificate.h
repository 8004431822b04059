/* PEM files for TLS, looked at before anything depends on them. */
#pragma once

#include <stddef.h>

enum certificate_outcome {
	CERTIFICATE_E_BAD = 1, /* the certificate's file */
	CERTIFICATE_E_KEY,     /* the key's file, or that it belongs to another certificate */
	CERTIFICATE_E_TIME,    /* fit for use, but not now or not for long: worth a warning */
};

/*
 * A server's certificate with its chain, and its key, as text. 0, -ENOMEM, or an
 * outcome with text, which goes on after the file's name: "holds no certificate".
 */
int certificate_check(const char *cert_pem, const char *key_pem, char *text, size_t cap);

/* A file of authorities, for those who connect: 0, -ENOMEM, or CERTIFICATE_E_BAD with text. */
int certificate_check_authorities(const char *pem, char *text, size_t cap);
