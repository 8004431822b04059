/* libmicrohttpd says no more of a wrong file than that it does not start; this says what is wrong. */
#include "http/certificate.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

enum { DAYS_LOW = 14 };

static int say(char *text, size_t cap, int outcome, const char *what)
{
	ERR_clear_error();
	snprintf(text, cap, "%s", what);
	return outcome;
}

/* Read to the end, so that a chain cut off in the middle is seen. *first may be NULL; the caller frees it. */
static int read_certificates(X509 **first, const char *pem, char *text, size_t cap)
{
	BIO *in = BIO_new_mem_buf(pem, -1);
	unsigned int n = 0;
	X509 *cert;
	bool ended;

	*first = NULL;
	if (!in)
		return -ENOMEM;
	ERR_clear_error();
	while ((cert = PEM_read_bio_X509(in, NULL, NULL, NULL))) {
		if (n++ == 0)
			*first = cert;
		else
			X509_free(cert);
	}
	/* Nothing more that begins like PEM: the end, and no error. */
	ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
	BIO_free(in);
	if (n == 0 && ended)
		return say(text, cap, CERTIFICATE_E_BAD, "holds no certificate");
	if (!ended)
		return say(text, cap, CERTIFICATE_E_BAD, "holds a certificate that is damaged");
	ERR_clear_error();
	return 0;
}

/* A key that needs a passphrase: nobody is there to be asked. */
static int no_passphrase(char *buf, int size, int writing, void *asked)
{
	(void)buf;
	(void)size;
	(void)writing;
	*(bool *)asked = true;
	return -1;
}

static int check_key(X509 *cert, const char *pem, char *text, size_t cap)
{
	BIO *in = BIO_new_mem_buf(pem, -1);
	bool asked = false, fits;
	EVP_PKEY *key;

	if (!in)
		return -ENOMEM;
	key = PEM_read_bio_PrivateKey(in, NULL, no_passphrase, &asked);
	BIO_free(in);
	if (!key)
		return say(text, cap, CERTIFICATE_E_KEY,
			   asked ? "is encrypted with a passphrase, which nobody can type here" : "holds no private key");
	fits = X509_check_private_key(cert, key) == 1;
	EVP_PKEY_free(key);
	return fits ? 0 : say(text, cap, CERTIFICATE_E_KEY, "is the key of another certificate");
}

static int check_time(X509 *cert, char *text, size_t cap)
{
	const ASN1_TIME *from = X509_get0_notBefore(cert), *to = X509_get0_notAfter(cert);
	int days = 0, seconds = 0;
	char date[32] = "?";
	struct tm tm;

	if (X509_cmp_current_time(from) > 0) {
		if (ASN1_TIME_to_tm(from, &tm) == 1)
			strftime(date, sizeof(date), "%Y-%m-%d", &tm);
		snprintf(text, cap, "is not valid before %s, or this clock is wrong", date);
		return CERTIFICATE_E_TIME;
	}
	if (ASN1_TIME_to_tm(to, &tm) == 1)
		strftime(date, sizeof(date), "%Y-%m-%d", &tm);
	if (X509_cmp_current_time(to) < 0) {
		snprintf(text, cap, "was valid until %s only, or this clock is wrong", date);
		return CERTIFICATE_E_TIME;
	}
	if (ASN1_TIME_diff(&days, &seconds, NULL, to) == 1 && days < DAYS_LOW) {
		snprintf(text, cap, "is valid until %s only", date);
		return CERTIFICATE_E_TIME;
	}
	return 0;
}

int certificate_check(const char *cert_pem, const char *key_pem, char *text, size_t cap)
{
	X509 *cert;
	int r = read_certificates(&cert, cert_pem, text, cap);

	if (!r)
		r = check_key(cert, key_pem, text, cap);
	if (!r)
		r = check_time(cert, text, cap);
	X509_free(cert);
	ERR_clear_error();
	return r;
}

int certificate_check_authorities(const char *pem, char *text, size_t cap)
{
	X509 *first;
	int r = read_certificates(&first, pem, text, cap);

	X509_free(first);
	return r;
}
