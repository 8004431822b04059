/* libmicrohttpd says no more of a wrong file than that it does not start; this says what is wrong, by the library below it. */
#include "http/certificate.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

enum { DAYS_LOW = 14, DAY = 24 * 3600, KEY_ID_MAX = 64 };

static int say(char *text, size_t cap, int outcome, const char *what)
{
	snprintf(text, cap, "%s", what);
	return outcome;
}

static gnutls_datum_t datum_of(const char *pem)
{
	return (gnutls_datum_t){ .data = (unsigned char *)(uintptr_t)pem, .size = (unsigned int)strlen(pem) };
}

/* The server's own, after all of the chain was read. */
static int read_chain(gnutls_x509_crt_t *first, const char *pem, char *text, size_t cap)
{
	gnutls_datum_t in = datum_of(pem);
	gnutls_x509_crt_t *all = NULL;
	unsigned int n = 0;
	int r = gnutls_x509_crt_list_import2(&all, &n, &in, GNUTLS_X509_FMT_PEM, 0);

	if (r == GNUTLS_E_MEMORY_ERROR)
		return -ENOMEM;
	if (r == GNUTLS_E_NO_CERTIFICATE_FOUND || (r == 0 && n == 0))
		return say(text, cap, CERTIFICATE_E_BAD, "holds no certificate");
	if (r < 0)
		return say(text, cap, CERTIFICATE_E_BAD, "holds a certificate that is damaged");
	*first = all[0];
	for (unsigned int i = 1; i < n; i++)
		gnutls_x509_crt_deinit(all[i]);
	gnutls_free(all);
	return 0;
}

static bool fits(gnutls_x509_crt_t cert, gnutls_x509_privkey_t key)
{
	uint8_t a[KEY_ID_MAX], b[KEY_ID_MAX];
	size_t a_len = sizeof(a), b_len = sizeof(b);

	return gnutls_x509_crt_get_key_id(cert, GNUTLS_KEYID_USE_SHA256, a, &a_len) == 0 &&
	       gnutls_x509_privkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, b, &b_len) == 0 && a_len == b_len &&
	       memcmp(a, b, a_len) == 0;
}

static int check_key(gnutls_x509_crt_t cert, const char *pem, char *text, size_t cap)
{
	gnutls_datum_t in = datum_of(pem);
	gnutls_x509_privkey_t key;
	int r;

	if (gnutls_x509_privkey_init(&key) < 0)
		return -ENOMEM;
	r = gnutls_x509_privkey_import2(key, &in, GNUTLS_X509_FMT_PEM, NULL, 0);
	if (r == GNUTLS_E_MEMORY_ERROR)
		r = -ENOMEM;
	else if (r == GNUTLS_E_DECRYPTION_FAILED)
		r = say(text, cap, CERTIFICATE_E_KEY, "is encrypted with a passphrase, which nobody can type here");
	else if (r < 0)
		r = say(text, cap, CERTIFICATE_E_KEY, "holds no private key");
	else
		r = fits(cert, key) ? 0 : say(text, cap, CERTIFICATE_E_KEY, "is the key of another certificate");
	gnutls_x509_privkey_deinit(key);
	return r;
}

static int say_time(char *text, size_t cap, const char *before, time_t at, const char *after)
{
	char date[32] = "?";
	struct tm tm;

	if (gmtime_r(&at, &tm))
		strftime(date, sizeof(date), "%Y-%m-%d", &tm);
	snprintf(text, cap, "%s %s%s", before, date, after);
	return CERTIFICATE_E_TIME;
}

static int check_time(gnutls_x509_crt_t cert, char *text, size_t cap)
{
	time_t now = time(NULL), from = gnutls_x509_crt_get_activation_time(cert), to = gnutls_x509_crt_get_expiration_time(cert);

	if (from > now)
		return say_time(text, cap, "is not valid before", from, ", or this clock is wrong");
	if (to < now)
		return say_time(text, cap, "was valid until", to, " only, or this clock is wrong");
	return to - now < DAYS_LOW * DAY ? say_time(text, cap, "is valid until", to, " only") : 0;
}

int certificate_check(const char *cert_pem, const char *key_pem, char *text, size_t cap)
{
	gnutls_x509_crt_t cert;
	int r = read_chain(&cert, cert_pem, text, cap);

	if (r)
		return r;
	r = check_key(cert, key_pem, text, cap);
	if (!r)
		r = check_time(cert, text, cap);
	gnutls_x509_crt_deinit(cert);
	return r;
}
