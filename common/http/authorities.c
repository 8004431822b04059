/* Authorities of relays, as the library that connects to these reads them. */
#include "http/certificate.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

static int say(char *text, size_t cap, const char *what)
{
	ERR_clear_error();
	snprintf(text, cap, "%s", what);
	return CERTIFICATE_E_BAD;
}

/* Read to the end, so that a file cut off in the middle is seen. */
int certificate_check_authorities(const char *pem, char *text, size_t cap)
{
	BIO *in = BIO_new_mem_buf(pem, -1);
	unsigned int n = 0;
	X509 *cert;
	bool ended;

	if (!in)
		return -ENOMEM;
	ERR_clear_error();
	while ((cert = PEM_read_bio_X509(in, NULL, NULL, NULL))) {
		n++;
		X509_free(cert);
	}
	/* Nothing more that begins like PEM: the end, and no error. */
	ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
	BIO_free(in);
	if (n == 0 && ended)
		return say(text, cap, "holds no certificate");
	if (!ended)
		return say(text, cap, "holds a certificate that is damaged");
	ERR_clear_error();
	return 0;
}
